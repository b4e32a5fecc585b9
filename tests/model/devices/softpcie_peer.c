/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "softpcie_peer.h"

/* 127.0.0.0/8 is all ours: four addresses a process ID, beside those that other tests use. */
static uint32_t address(unsigned n, char text[16])
{
	unsigned pid = (unsigned)getpid();

	snprintf(text, 16, "127.%u.%u.%u", 128 + (pid >> 14 & 63), pid >> 6 & 255, (pid & 63) * 4 + n);
	return inet_addr(text);
}

void softpcie_peer_open(struct softpcie_peer *p, unsigned number)
{
	memset(p, 0, sizeof(*p));
	assert_in_range(number, 0, SOFTPCIE_PEER_NUMBERS - 1);
	p->adapter_addr = address(0, p->adapter);
	p->addr = address(1 + number, p->name);
	for (unsigned i = 0; i < SOFTPCIE_HOST_TAGS; i++)
		softpcie_peer_socket(p, (uint16_t)(SOFTPCIE_PORT_HOST + i));
}

void softpcie_peer_close(struct softpcie_peer *p)
{
	for (unsigned i = 0; i < p->n; i++)
		close(p->sockets[i].fd);
	p->n = 0;
}

int softpcie_peer_socket(struct softpcie_peer *p, uint16_t port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {p->addr}};
	int fd, size = 4 << 20;

	for (unsigned i = 0; i < p->n; i++) {
		if (p->sockets[i].port == port)
			return p->sockets[i].fd;
	}
	assert_in_range(p->n, 0, SOFTPCIE_PEER_SOCKETS - 1);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	p->sockets[p->n].port = port;
	p->sockets[p->n++].fd = fd;
	return fd;
}

void softpcie_peer_bytes(struct softpcie_peer *p, uint16_t from, uint16_t to, const void *data, size_t len)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(to), .sin_addr = {p->adapter_addr}};
	int fd = softpcie_peer_socket(p, from);

	/* A port where nobody was (any longer) may have been reported meanwhile: then once more. */
	if (sendto(fd, data, len, 0, (struct sockaddr *)&name, sizeof(name)) < 0)
		assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&name, sizeof(name)), len);
}

size_t softpcie_peer_tlp(struct softpcie_peer *p, uint16_t port, const struct pcie_tlp *tlp)
{
	struct softpcie_header header = {.sequence = ++p->sequence};
	uint8_t buf[SOFTPCIE_DATAGRAM_MAX];
	enum pcie_tlp_error error = PCIE_TLP_OK;
	size_t len = pcie_tlp_encode(tlp, buf + SOFTPCIE_HEADER, PCIE_TLP_MAX_SIZE, &error);

	if (!len)
		fail_msg("the test sends a TLP that cannot be: %s", pcie_tlp_error_name(error));
	softpcie_put_header(buf, &header);
	softpcie_peer_bytes(p, port, port, buf, SOFTPCIE_HEADER + len);
	return SOFTPCIE_HEADER + len;
}

ssize_t softpcie_peer_get(struct softpcie_peer *p, uint16_t port, void *buf, size_t cap)
{
	return recv(softpcie_peer_socket(p, port), buf, cap, MSG_DONTWAIT);
}
