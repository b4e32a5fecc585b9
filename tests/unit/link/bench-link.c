/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds a TLP through two links in memory, all included but the network; and of the CRC alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "link/crc32c.h"
#include "link/link.h"

/* Of this process: other work on the machine counts as little as it can. */
static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t delivered;

static bool on_deliver(void *arg, enum fb_link_class cls, const uint8_t *tlp, size_t len)
{
	delivered++;
	return true;
}

static void on_state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text) {}

static const struct fb_link_user user = {on_deliver, on_state, NULL};

static void move(struct fb_link *from, struct fb_link *to, uint64_t now)
{
	struct fb_link_out out[64];
	unsigned n;

	while ((n = fb_link_tx(from, now, out, 64)))
		for (unsigned i = 0; i < n; i++)
			fb_link_rx(to, now, out[i].data, out[i].len);
}

static void bench(uint32_t mtu, size_t len, unsigned burst)
{
	static const uint8_t nonce[2][16] = {{1}, {2}};
	static uint8_t tlp[FB_LINK_TLP_MAX];
	struct fb_link_identity self = {.incarnation = 1};
	struct fb_link_config config;
	struct fb_link *root, *box;
	struct fb_link_out hello;
	uint64_t now = 1, start, ns, count = 0, total = 400000;

	fb_link_config_default(&config);
	config.mtu = mtu;
	if (fb_link_connect(&root, &config, &self, "ssd0", nonce[0], &user, NULL, now) ||
	    fb_link_tx(root, now, &hello, 1) != 1 ||
	    fb_link_accept(&box, &config, &self, hello.data, hello.len, nonce[1], &user, NULL, now))
		abort();
	move(box, root, now);
	move(root, box, now);
	delivered = 0;
	start = clock_ns();
	while (count < total) {
		for (unsigned i = 0; i < burst; i++)
			count += !fb_link_send(root, FB_LINK_P, tlp, 16, tlp + 16, len - 16);
		now += 1000;
		move(root, box, now);
		move(box, root, now);
	}
	ns = clock_ns() - start;
	if (delivered != count)
		abort();
	printf("%4zu B TLPs, %4u B datagrams, bursts of %2u: %6.1f ns a TLP, %5.1f Gb/s\n", len, mtu, burst,
	       (double)ns / (double)count, (double)len * 8 * (double)count / (double)ns);
	fb_link_free(root);
	fb_link_free(box);
}

int main(void)
{
	static uint8_t d[9000];
	static const size_t sizes[] = {64, 1472, 8972};
	uint32_t sink = 0;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t start = clock_ns(), ns;
		unsigned n = 2000000 / (unsigned)(1 + sizes[i] / 256);

		for (unsigned k = 0; k < n; k++)
			sink += fb_crc32c(0, d, sizes[i]);
		ns = clock_ns() - start;
		printf("CRC32C of %4zu B: %6.1f ns, %5.1f GB/s\n", sizes[i], (double)ns / n, (double)sizes[i] * n / (double)ns);
	}
	for (unsigned i = 1; i < 3; i++) {
		bench((uint32_t)sizes[i], 64, 1);
		bench((uint32_t)sizes[i], 64, 32);
		bench((uint32_t)sizes[i], 4112, 1);
		bench((uint32_t)sizes[i], 4112, 16);
	}
	return sink == 1; /* used, so that it is computed */
}
