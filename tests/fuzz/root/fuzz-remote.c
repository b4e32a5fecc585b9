/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile remote requester against a root: whatever it sends, and whatever
 * happens to the VM meanwhile, nothing outside its rules is written.
 *
 * The VM has 64 KiB with a descriptor at 0 and 64 KiB without at 0x20000; open are
 * 0x1000..0x3fff, 0x8000..0xbfff to be read, and all of the second. The input is
 * records: kind 1 byte, length 1 byte, payload.
 *	0  a TLP, as on the wire
 *	1  rounds of the loop
 *	2  the client answers messages; payload: how
 *	3  the client goes  4  it unmaps  5  the function is reset  6  the requester goes
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../unit/root/fake.h"
#include "root/remote.h"
#include "util/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_SIZE = 1 << 16, CANARY = 0xa5 };

static struct fake k;
static struct fb_remote *remote;
static struct fb_carrier *carrier;
static struct fb_port *port;
static uint8_t *memory;
static int file = -1, peer = -1;
static bool up;

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void message_room(void *arg, struct fb_root_function *f)
{
	(void)arg;
	fb_remote_kick(remote, f);
}

static struct fb_root_function *find(void *arg, const char *name, const char **why)
{
	(void)arg;
	(void)name;
	(void)why;
	return k.f;
}

static bool on_tlp(void *arg, const struct pcie_tlp *tlp)
{
	(void)arg;
	require(pcie_tlp_fc(tlp->type) == PCIE_FC_CPL || tlp->msg_code == PCIE_MSG_ERR_NONFATAL);
	return true;
}

static void on_up(void *arg)
{
	(void)arg;
	up = true;
}

static void drop_port(void)
{
	if (port)
		fb_port_close(port, FB_LINK_R_NORMAL, NULL);
	port = NULL;
	up = false;
}

static void on_down(void *arg, int reason, const char *text)
{
	(void)arg;
	(void)reason;
	(void)text;
	drop_port();
}

static void on_writable(void *arg, enum pcie_fc cls)
{
	(void)arg;
	(void)cls;
}

static const struct fb_port_user user = {on_tlp, on_up, on_down, on_writable};

static void rounds(unsigned n)
{
	while (n--)
		require(fb_loop_once(k.loop, 0) == 0);
}

static void begin(void)
{
	static const char *const allow[] = {"0x1000+0x3000", "0x8000+0x4000,ro", "0x20000+64K", NULL};
	struct fb_remote_config config = {.listen = "loopback:remote", .allow = allow, .find = find};
	struct fb_carrier_config requester = {.peer = "loopback:remote", .self = {.incarnation = 1}};
	const char *why;
	int sv[2];

	fb_log_set_level(FB_LOG_NONE);
	if (file < 0) {
		file = memfd_create("fuzz", MFD_CLOEXEC);
		require(ftruncate(file, FILE_SIZE) == 0);
		memory = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		require(memory != MAP_FAILED);
	}
	memset(memory, CANARY, FILE_SIZE);
	fake_init(&k, false);
	k.env.message_room = message_room;
	fake_connect(&k);
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	peer = sv[0];
	require(fb_function_client(k.f, sv[1]) == 0);
	k.f->negotiated = true;
	k.f->dma.layout = FB_DMA_LAYOUT_SPEC;
	require(fb_dma_map_add(&k.f->dma.map, 0, FILE_SIZE, 3, file, 0, &why) == 0 && !why);
	require(fb_dma_map_add(&k.f->dma.map, 0x20000, FILE_SIZE, 3, -1, 0, &why) == 0);
	fb_link_config_default(&config.carrier.link);
	fb_link_config_default(&requester.link);
	config.carrier.self.incarnation = 1;
	require(fb_remote_new(&remote, k.loop, &config) == 0);
	require(fb_carrier_open(&carrier, k.loop, &requester, NULL, NULL) == 0);
	require(fb_port_connect(&port, carrier, "loopback:remote", "ssd0", &user, NULL) == 0);
	for (unsigned i = 0; i < 100 && !up; i++)
		rounds(1);
	require(up);
}

static void end(void)
{
	drop_port();
	rounds(2);
	fb_carrier_close(carrier);
	fb_remote_free(remote);
	remote = NULL;
	if (peer >= 0)
		close(peer);
	peer = -1;
	fake_free(&k);
	for (unsigned i = 0; i < FILE_SIZE; i++)
		require((i >= 0x1000 && i < 0x4000) || memory[i] == CANARY);
}

/* The client answers what it was asked: rightly, with an error, or with too little. */
static void answer(const uint8_t *how, size_t n)
{
	static uint8_t reply[16 + 16 + 4096];

	for (size_t i = 0; i < n && peer >= 0; i++) {
		uint8_t head[16], body[16 + 4096];
		uint32_t size;

		if (recv(peer, head, sizeof(head), 0) != sizeof(head))
			return;
		size = fb_get_le32(head + 4) - 16;
		require(size <= sizeof(body) && recv(peer, body, size, MSG_WAITALL) == (ssize_t)size);
		if (fb_get_le32(head + 8) & VFIO_USER_TYPE_REPLY)
			continue;
		memset(reply, how[i], sizeof(reply));
		memcpy(reply, head, 16);
		memcpy(reply + 16, body, 16);
		size = 16 + (fb_get_le32(head) >> 16 == VFIO_USER_DMA_READ ? (uint32_t)fb_get_le64(body + 8) : 0);
		if (how[i] & 1)
			size = how[i] & 2 ? 0 : size / 2;
		fb_put_le32(reply + 4, 16 + size);
		fb_put_le32(reply + 8, VFIO_USER_TYPE_REPLY | (how[i] & 4 ? VFIO_USER_ERROR : 0));
		if (send(peer, reply, 16 + size, MSG_NOSIGNAL) < 0)
			return;
		rounds(1);
	}
}

static void record(unsigned kind, const uint8_t *p, size_t n)
{
	enum pcie_tlp_error error;
	struct pcie_tlp tlp;

	switch (kind) {
	case 0:
		error = pcie_tlp_decode(&tlp, p, n);
		if (error == PCIE_TLP_OK && port && up)
			fb_port_send(port, &tlp);
		break;
	case 1:
		rounds(1 + n % 8);
		break;
	case 2:
		answer(p, n);
		break;
	case 3:
		if (k.f->state == FB_ROOT_IN_USE)
			fb_function_client_end(k.f, "left");
		break;
	case 4:
		if (k.f->state == FB_ROOT_IN_USE)
			fb_dma_map_remove(&k.f->dma.map, n & 1 ? 0 : 0x20000, FILE_SIZE);
		break;
	case 5:
		fb_dma_forget(k.f);
		break;
	case 6:
		drop_port();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	while (size >= 2) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;

		record(data[0] % 7, data + 2, n);
		data += 2 + n;
		size -= 2 + n;
	}
	rounds(4);
	end();
	return 0;
}
