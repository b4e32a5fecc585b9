/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The raw limits that Farbus is measured against: round trips of a small
 * datagram over UDP, and of a small message over a unix socket.
 *
 *	pingpong udp-server ADDR PORT SIZE [spin]      echoes until killed
 *	pingpong udp-client ADDR PORT SIZE COUNT [spin]
 *	pingpong unix SIZE COUNT [spin]                both ends, two processes
 *
 * A client prints one JSON object: {"count":…,"min_ns":…,"p50_ns":…,"p99_ns":…,"mean_ns":…}
 */
#include "samples.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOST_NS = 200000000, TRIES = 50 };

/* The size of what came; 0: nothing by `deadline` (0: none), or nobody listens; -1: the other end is gone. */
static int receive(int fd, void *buf, size_t size, struct sockaddr_in *from, bool spin, uint64_t deadline)
{
	for (;;) {
		socklen_t len = sizeof(*from);
		ssize_t n = recvfrom(fd, buf, size, spin ? MSG_DONTWAIT : 0, (struct sockaddr *)from, from ? &len : NULL);

		if (n > 0)
			return (int)n;
		if (n == 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED))
			return -1;
		if (deadline && samples_clock() > deadline)
			return 0;
	}
}

static void echo(int fd, size_t size, bool spin, bool datagram)
{
	char buf[65536];
	struct sockaddr_in from;

	for (;;) {
		int n = receive(fd, buf, size, datagram ? &from : NULL, spin, 0);

		if (n < 0)
			return;
		if (datagram ? sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, sizeof(from)) < 0
			     : send(fd, buf, (size_t)n, MSG_NOSIGNAL) < 0)
			return;
	}
}

static int measure(int fd, size_t size, unsigned count, bool spin)
{
	struct samples s;
	char buf[65536] = {0};
	const struct timeval wait = {.tv_usec = LOST_NS / 1000};
	unsigned lost = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (samples_init(&s, count))
		return 1;
	for (unsigned i = 0; i < count + count / 10; i++) {
		uint64_t start = samples_clock();
		int n = send(fd, buf, size, MSG_NOSIGNAL) < 0 && errno != ECONNREFUSED
				? -1
				: receive(fd, buf, size, NULL, spin, start + LOST_NS);

		if (n < 0 || lost > TRIES) {
			fprintf(stderr, "pingpong: no answer\n");
			return 1;
		}
		if (n == 0) { /* lost, or the server is not up yet */
			lost++;
			i--;
			continue;
		}
		if (i >= count / 10) /* the first tenth warms up */
			samples_add(&s, samples_clock() - start);
	}
	samples_print_json(&s, stdout);
	samples_free(&s);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: pingpong udp-server ADDR PORT SIZE [spin] | udp-client ADDR PORT SIZE COUNT [spin] | "
			"unix SIZE COUNT [spin]\n");
	return 2;
}

static size_t size_arg(const char *s)
{
	unsigned long n = strtoul(s, NULL, 0);

	return n < 1 ? 1 : n > 65000 ? 65000 : n;
}

int main(int argc, char **argv)
{
	bool spin = argc > 1 && !strcmp(argv[argc - 1], "spin");
	int n = argc - (spin ? 1 : 0), fds[2];
	struct sockaddr_in sa = {.sin_family = AF_INET};
	pid_t child;

	if (n == 4 && !strcmp(argv[1], "unix")) {
		int r;

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			return 1;
		child = fork();
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			close(fds[0]);
			echo(fds[1], size_arg(argv[2]), spin, false);
			_exit(0);
		}
		close(fds[1]);
		r = measure(fds[0], size_arg(argv[2]), (unsigned)strtoul(argv[3], NULL, 0), spin);
		close(fds[0]);
		waitpid(child, NULL, 0);
		return r;
	}
	if (n < 5 || inet_pton(AF_INET, argv[2], &sa.sin_addr) != 1)
		return usage();
	sa.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 0));
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	if (n == 5 && !strcmp(argv[1], "udp-server")) {
		if (bind(fds[0], (struct sockaddr *)&sa, sizeof(sa))) {
			perror("bind");
			return 1;
		}
		echo(fds[0], size_arg(argv[4]), spin, true);
		return 1;
	}
	if (n == 6 && !strcmp(argv[1], "udp-client")) {
		if (connect(fds[0], (struct sockaddr *)&sa, sizeof(sa))) {
			perror("connect");
			return 1;
		}
		return measure(fds[0], size_arg(argv[4]), (unsigned)strtoul(argv[5], NULL, 0), spin);
	}
	return usage();
}
