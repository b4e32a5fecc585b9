/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sendpages sendfile|zerocopy DEVICE OFFSET LENGTH ADDRESS PORT: sends a part of a block device by TCP from the pages that
 * the drive's DMA has filled: those of the page cache (sendfile), or a buffer of its own that O_DIRECT reads into and
 * MSG_ZEROCOPY sends from. Nothing copies or touches the data; exit status 0 when all was sent, 3 when the kernel copied.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 << 10 };

static int copied;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Waits until the kernel has let go of the pages of `sends` calls. */
static void released(int sock, uint32_t sends)
{
	static uint32_t done;

	while (done < sends) {
		char control[128];
		struct msghdr msg = {.msg_control = control, .msg_controllen = sizeof(control)};
		struct pollfd p = {sock, 0, 0};
		const struct sock_extended_err *e;

		if (recvmsg(sock, &msg, MSG_ERRQUEUE) < 0) {
			if (errno != EAGAIN || poll(&p, 1, 30000) <= 0)
				fail("zero-copy completion");
			continue;
		}
		e = (const void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
		done = e->ee_data + 1;
		copied |= e->ee_code == SO_EE_CODE_ZEROCOPY_COPIED;
	}
}

static void zerocopy(int file, off_t at, size_t left, int sock)
{
	char *buf = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t sends = 0;
	int one = 1;

	if (buf == MAP_FAILED || setsockopt(sock, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0)
		fail("SO_ZEROCOPY");
	while (left) {
		ssize_t n = pread(file, buf, left < CHUNK ? left : CHUNK, at), sent = 0;

		if (n <= 0)
			fail("read");
		while (sent < n) {
			ssize_t m = send(sock, buf + sent, (size_t)(n - sent), MSG_ZEROCOPY);

			if (m < 0)
				fail("send");
			sent += m;
			sends++;
		}
		released(sock, sends); /* the drive must not write into what is still to be sent */
		at += n;
		left -= (size_t)n;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int direct, file, sock;
	size_t left;
	off_t at;
	char end;

	if (argc != 7)
		return 2;
	direct = strcmp(argv[1], "zerocopy") == 0;
	at = (off_t)strtoull(argv[3], NULL, 0);
	left = strtoull(argv[4], NULL, 0);
	to.sin_port = htons((uint16_t)atoi(argv[6]));
	file = open(argv[2], O_RDONLY | (direct ? O_DIRECT : 0));
	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (file < 0 || sock < 0 || inet_pton(AF_INET, argv[5], &to.sin_addr) != 1 ||
	    connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail(argv[2]);
	if (direct)
		zerocopy(file, at, left, sock);
	while (!direct && left) {
		ssize_t n = sendfile(sock, file, &at, left);

		if (n <= 0)
			fail("sendfile");
		left -= (size_t)n;
	}
	shutdown(sock, SHUT_WR);
	if (read(sock, &end, 1) != 1) /* the peer has it all */
		fail("the peer's word");
	return copied ? 3 : 0;
}
