/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile VM, and a hostile function, against one struct fb_root_function.
 *
 * The input is records: type 1 byte, length 1 byte (times 4 if the type has bit
 * 3 set), payload.
 *	0  raw bytes into the socket
 *	1  a message: command, flags, descriptors, then the body
 *	2  a TLP from the function, as on the wire; requester and tag, and of an offer
 *	   what it has seen, are patched to match something now and then
 *	3  events: rounds of the loop, credits, silence, loss of the session
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../unit/root/fake.h"
#include "util/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake k;
static int files[4]; /* memory, eventfd, neither, closed end of nothing */
static int peer = -1;

static void once(void)
{
	if (files[0])
		return;
	fb_log_set_level(FB_LOG_ERROR);
	files[0] = memfd_create("fuzz", MFD_CLOEXEC);
	files[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	files[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	files[3] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ftruncate(files[0], 1 << 16) < 0)
		abort();
}

static void attach(void)
{
	int sv[2];

	if (k.f->state != FB_ROOT_READY || peer >= 0)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		abort();
	peer = sv[0];
	fb_function_client(k.f, sv[1]);
}

static void to_socket(const uint8_t *p, size_t n, unsigned fds)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 8)];
	} control;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned count = fds & 7;

	if (peer < 0 || n == 0)
		return;
	if (count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &files[fds >> 3 & 3], sizeof(int));
	}
	if (sendmsg(peer, &mh, MSG_NOSIGNAL) < 0)
		return;
}

static void send_message(const uint8_t *p, size_t n)
{
	uint8_t m[1100] = {1, 0};

	if (n < 3)
		return;
	m[2] = p[0];
	fb_put_le32(m + 4, (uint32_t)(VFIO_USER_HEADER + n - 3));
	m[8] = p[1];
	memcpy(m + VFIO_USER_HEADER, p + 3, n - 3);
	to_socket(m, VFIO_USER_HEADER + n - 3, p[2]);
}

static void send_tlp(const uint8_t *p, size_t n)
{
	uint8_t payload[1024];
	struct pcie_tlp tlp;

	if (!k.connected || n < 1 || pcie_tlp_decode(&tlp, p + 1, n - 1) != PCIE_TLP_OK)
		return;
	if (p[0] & 1)
		tlp.requester_id = pcie_tlp_fc(tlp.type) == PCIE_FC_CPL ? FB_ROOT_ID : k.f->bdf;
	if (p[0] & 2 && tlp.data && tlp.length >= 2 && tlp.vendor_data == FB_OFFER) {
		memcpy(payload, tlp.data, tlp.length * 4u);
		fb_put_le32(payload + 4, k.port.requests);
		tlp.data = payload;
	}
	fake_send(&k, &tlp);
}

static void drain(void)
{
	uint8_t sink[65536];

	while (peer >= 0 && recv(peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static void event(uint8_t e)
{
	switch (e & 15) {
	case 0: fake_rounds(&k, 2); break;
	case 1: drain(); break;
	case 2: k.np_room = e >> 4; break;
	case 3: k.p_room = e >> 4; break;
	case 4:
		k.np_room = k.p_room = -1;
		if (k.connected) {
			k.port.user->writable(k.port.arg, PCIE_FC_P);
			k.port.user->writable(k.port.arg, PCIE_FC_NP);
		}
		break;
	case 5: k.slow = true; break;
	case 6:
		k.slow = false;
		fake_answer(&k);
		break;
	case 7:
		if (k.connected)
			fake_lose(&k);
		break;
	case 8:
		if (!k.connected && k.f->state == FB_ROOT_ABSENT) {
			fb_function_connect(k.f);
			k.port.user->up(k.port.arg);
		}
		break;
	case 9:
		if (peer >= 0)
			close(peer);
		peer = -1;
		break;
	case 10:
		fake_rounds(&k, 2);
		attach();
		break;
	case 11: k.crs = e >> 4; break;
	default: fake_rounds(&k, 1); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);

	once();
	fake_init(&k, size & 1);
	fb_function_connect(k.f);
	k.port.user->up(k.port.arg);
	fake_rounds(&k, 12);
	attach();
	while (r.left >= 2) {
		uint8_t type = fb_rd_u8(&r);
		size_t n = fb_rd_u8(&r) * (type & 8 ? 4u : 1u);
		const uint8_t *p;

		if (n > r.left)
			n = r.left;
		p = fb_rd_bytes(&r, n);
		switch (type & 3) {
		case 0: to_socket(p, n, type >> 4); break;
		case 1: send_message(p, n); break;
		case 2: send_tlp(p, n); break;
		case 3:
			for (size_t i = 0; i < n; i++)
				event(p[i]);
			break;
		}
		fake_rounds(&k, 1);
	}
	fake_rounds(&k, 2);
	if (peer >= 0)
		close(peer);
	peer = -1;
	fake_rounds(&k, 2);
	fake_free(&k);
	return 0;
}
