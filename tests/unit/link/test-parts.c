/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of the link: CRC, time-out, credits, ranges, window, ring, slab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/impl.h"

static uint32_t rng = 1;

static uint32_t random32(void)
{
	rng = rng * 1664525u + 1013904223u;
	return rng >> 8 | rng << 24;
}

/* CRC32C */

static void test_crc_vectors(void **state)
{
	uint8_t b[48];
	/* RFC 3720 B.4, and the check value of the CRC catalogues */
	static const uint8_t read_pdu[48] = {0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28,
					     [40] = 0x02};

	assert_int_equal(fb_crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(fb_crc32c(0, "", 0), 0);
	memset(b, 0, sizeof(b));
	assert_int_equal(fb_crc32c(0, b, 32), 0x8a9136aau);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(fb_crc32c(0, b, 32), 0x62a8ab43u);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(fb_crc32c(0, b, 32), 0x46dd794eu);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(fb_crc32c(0, b, 32), 0x113fdb5cu);
	assert_int_equal(fb_crc32c(0, read_pdu, 48), 0xd9963a56u);
	assert_int_equal(fb_crc32c_soft(0, "123456789", 9), 0xe3069283u);
}

/* Every length across all sizes of lanes and folds, every alignment, in one piece and in two: as the table says. */
static void test_crc_lengths(void **state)
{
	static uint8_t b[9100];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)random32();
	for (size_t len = 0; len < 9000; len += len < 800 ? 1 : 37) {
		size_t at = len % 16, cut = len ? random32() % len : 0;
		uint32_t want = fb_crc32c_soft(0, b + at, len);

		assert_int_equal(fb_crc32c(0, b + at, len), want);
		assert_int_equal(fb_crc32c(fb_crc32c(0, b + at, cut), b + at + cut, len - cut), want);
		assert_int_equal(fb_crc32c_lanes(0, b + at, len), want);
		assert_int_equal(fb_crc32c_lanes(fb_crc32c(0, b + at, cut), b + at + cut, len - cut), want);
		assert_int_equal(fb_crc32c_soft(fb_crc32c_soft(0, b + at, cut), b + at + cut, len - cut), want);
	}
}

/* RTO */

static void test_rto(void **state)
{
	struct fb_rto r;

	fb_rto_init(&r, 1000, 1000000, 0);
	assert_int_equal(fb_rto_get(&r), 1000000); /* no sample: long, but within bounds */
	fb_rto_sample(&r, 8000);
	assert_int_equal(r.srtt, 8000);
	assert_int_equal(r.rttvar, 4000);
	assert_int_equal(fb_rto_get(&r), 8000 + 4 * 4000);
	fb_rto_sample(&r, 16000); /* var = 3/4 4000 + 1/4 8000; srtt = 7/8 8000 + 1/8 16000 */
	assert_int_equal(r.rttvar, 5000);
	assert_int_equal(r.srtt, 9000);
	assert_int_equal(r.min_rtt, 8000);
	for (unsigned i = 0; i < 200; i++)
		fb_rto_sample(&r, 100);
	assert_int_equal(fb_rto_get(&r), 1000); /* not below the least */
	fb_rto_timeout(&r);
	assert_int_equal(fb_rto_get(&r), 2000);
	for (unsigned i = 0; i < 100; i++)
		fb_rto_timeout(&r);
	assert_int_equal(fb_rto_get(&r), 1000000); /* nor above the largest */
	fb_rto_progress(&r);
	assert_int_equal(fb_rto_get(&r), 1000);
	fb_rto_sample(&r, 0); /* a clock that stood still is a sample all the same */
	assert_true(r.min_rtt == 1);
	/* The peer's delay of acknowledgements is part of what one waits for. */
	fb_rto_init(&r, 1000, 1000000, 5000);
	fb_rto_sample(&r, 8000);
	assert_int_equal(fb_rto_get(&r), 8000 + 16000 + 5000);
}

/* Credits */

static void test_credit(void **state)
{
	struct fb_credit tx, rx;
	uint32_t p, np, sent = 0, rounds = 0;

	fb_credit_init(&tx, 10000, 4, 20000, 2);
	fb_credit_init(&rx, 20000, 2, 10000, 4);
	/* Far enough for the counters to wrap many times over. */
	for (uint64_t total = 0; total < UINT64_C(3) << 32; rounds++) {
		uint32_t record = 4 + 4 * (random32() % 1000);

		if (fb_credit_may_send(&tx, FB_LINK_P, record)) {
			fb_credit_sent(&tx, FB_LINK_P, record);
			assert_true(fb_credit_take(&rx, FB_LINK_P, record));
			sent += record;
			total += record * (rounds > 10000 ? 4096u : 1u);
			assert_true(sent <= 20000);
			if (rounds > 10000) { /* skip ahead, all freed */
				uint32_t skip = record * 4095u;

				tx.p_sent += skip;
				tx.p_limit += skip;
				rx.p_taken += skip;
				rx.p_freed += skip;
				rx.p_told += skip;
			}
			continue;
		}
		assert_true(sent + record > 20000);
		fb_credit_free(&rx, FB_LINK_P, sent);
		assert_true(fb_credit_due(&rx));
		fb_credit_tell(&rx, &p, &np);
		assert_false(fb_credit_due(&rx));
		assert_true(fb_credit_limits(&tx, p, np));
		assert_false(fb_credit_limits(&tx, p, np));
		assert_false(fb_credit_limits(&tx, p - 4, np)); /* an old datagram takes nothing back */
		sent = 0;
	}
}

static void test_credit_np(void **state)
{
	struct fb_credit tx, rx;
	uint32_t p, np;

	fb_credit_init(&tx, 10000, 4, 20000, 2);
	fb_credit_init(&rx, 20000, 2, 10000, 4);
	for (unsigned i = 0; i < 200000; i++) {
		assert_true(fb_credit_may_send(&tx, FB_LINK_NP, 4000));
		fb_credit_sent(&tx, FB_LINK_NP, 4000);
		assert_true(fb_credit_take(&rx, FB_LINK_NP, 4000));
		if (i % 2) {
			assert_false(fb_credit_may_send(&tx, FB_LINK_NP, 4));
			assert_false(fb_credit_due(&rx));
			fb_credit_free(&rx, FB_LINK_NP, 4000);
			assert_true(fb_credit_due(&rx)); /* the peer has none left */
			fb_credit_free(&rx, FB_LINK_NP, 4000);
			fb_credit_free(&rx, FB_LINK_NP, 4000); /* given back twice: counts once */
			fb_credit_tell(&rx, &p, &np);
			assert_true(fb_credit_limits(&tx, p, np));
		}
	}
	fb_credit_sent(&tx, FB_LINK_NP, 4);
	assert_true(fb_credit_take(&rx, FB_LINK_NP, 4) && fb_credit_take(&rx, FB_LINK_NP, 4));
	assert_false(fb_credit_take(&rx, FB_LINK_NP, 4)); /* a third one was not allowed */
	assert_false(fb_credit_take(&rx, FB_LINK_P, 20004));
	assert_true(fb_credit_may_send(&tx, FB_LINK_CPL, 4000) && fb_credit_take(&rx, FB_LINK_CPL, 4000));
}

/* Ranges, against a bitmap */

static void test_ranges(void **state)
{
	enum { SIZE = 2048 };
	static struct fb_ranges r;

	for (unsigned run = 0; run < 300; run++) {
		bool bit[SIZE] = {false};
		unsigned cut = 0;

		memset(&r, 0, sizeof(r));
		for (unsigned k = 0; k < 120; k++) {
			unsigned start = random32() % SIZE, len = 1 + random32() % 40, end = start + len;
			bool new = false;
			unsigned i, n = 0;

			if (k % 10 == 9) {
				cut += random32() % 60;
				fb_ranges_cut(&r, cut);
				memset(bit, 0, cut < SIZE ? cut : SIZE);
				continue;
			}
			if (start < cut)
				continue;
			if (end > SIZE)
				end = SIZE;
			for (i = start; i < end; i++) {
				new = new || !bit[i];
				bit[i] = true;
			}
			assert_int_equal(fb_ranges_add(&r, start, end), new);
			for (i = 0; i < SIZE; i++) {
				if (!bit[i])
					continue;
				assert_true(n < r.n && r.v[n].start == i);
				while (i < SIZE && bit[i])
					i++;
				assert_int_equal(r.v[n].end, i);
				n++;
			}
			assert_int_equal(n, r.n);
		}
	}
	memset(&r, 0, sizeof(r));
	for (unsigned i = 0; i < FB_RANGES_MAX; i++)
		assert_int_equal(fb_ranges_add(&r, 10 * i, 10 * i + 5), 1);
	assert_int_equal(fb_ranges_add(&r, 100000, 100001), -1);
	assert_int_equal(r.n, FB_RANGES_MAX);
	assert_int_equal(fb_ranges_add(&r, 5, 10), 1); /* joins two: room again */
	assert_int_equal(fb_ranges_add(&r, 100000, 100001), 1);
	assert_int_equal(fb_ranges_add(&r, 7, 7), 0);
}

/* The window */

static void test_cc(void **state)
{
	struct fb_cc cc;
	uint32_t w;

	fb_cc_init(&cc, 1 << 20, 1500);
	w = cc.window;
	assert_true(w >= 32 * 1500 && w < 1 << 20);
	fb_cc_acked(&cc, w, w / 1500);
	assert_int_equal(cc.window, 2 * w); /* doubles in a round trip */
	for (unsigned i = 0; i < 1000; i++)
		fb_cc_acked(&cc, 15000, 10);
	assert_int_equal(cc.window, 1 << 20);
	/* 1 % evenly: nothing */
	for (unsigned i = 0; i < 10000; i++) {
		fb_cc_acked(&cc, 99 * 1500, 99);
		fb_cc_lost(&cc, 1, i * 1000, 1000);
	}
	assert_int_equal(cc.window, 1 << 20);
	/* Heavy: shrinks, once a round trip, and to the floor at most */
	fb_cc_lost(&cc, 100, 20000000, 1000);
	w = cc.window;
	assert_int_equal(w, (1 << 20) - (1 << 17));
	fb_cc_lost(&cc, 100, 20000500, 1000);
	assert_int_equal(cc.window, w);
	for (unsigned i = 1; i < 1000; i++)
		fb_cc_lost(&cc, 100, 20000000 + i * 1001, 1000);
	assert_int_equal(cc.window, cc.floor);
	fb_cc_init(&cc, 1 << 20, 1500);
	for (unsigned i = 0; i < 1000; i++)
		fb_cc_acked(&cc, 15000, 10);
	fb_cc_timeout(&cc);
	fb_cc_timeout(&cc);
	assert_int_equal(cc.window, 1 << 18);
	fb_cc_undo(&cc);
	assert_int_equal(cc.window, 1 << 20);
	fb_cc_timeout(&cc);
	fb_cc_confirm(&cc);
	fb_cc_undo(&cc);
	assert_int_equal(cc.window, 1 << 19);
	/* A window below a datagram stays what it is. */
	fb_cc_init(&cc, 1, 1500);
	fb_cc_acked(&cc, 1500, 1);
	assert_int_equal(cc.window, 1);
}

/* Ring */

static void test_ring(void **state)
{
	struct fb_ring r = {0};
	uint64_t put = 0, taken = 0;

	for (unsigned k = 0; k < 20000; k++) {
		uint8_t b[300];
		size_t n = random32() % sizeof(b);

		for (size_t i = 0; i < n; i++)
			b[i] = (uint8_t)((put + i) * 7);
		assert_int_equal(fb_ring_reserve(&r, n), 0);
		fb_ring_put(&r, b, n);
		put += n;
		for (size_t left = k % 4000 < 200 ? n / 2 : n; left && fb_ring_len(&r);) {
			size_t m = left < fb_ring_len(&r) ? left : fb_ring_len(&r);
			const uint8_t *p = fb_ring_peek(&r, 0, &m);

			for (size_t i = 0; i < m; i++)
				assert_int_equal(p[i], (uint8_t)((taken + i) * 7));
			fb_ring_take(&r, m);
			taken += m;
			left -= m;
		}
		assert_int_equal(put - taken, fb_ring_len(&r));
	}
	assert_true(r.cap <= 262144);
	fb_ring_free(&r);
}

/* Slab: what goes in as a stream comes out as one, also after it is cut anew. */

static void check_stream(const struct fb_slab *slab, uint64_t from)
{
	uint64_t pos = from;

	for (uint64_t i = slab->una; i < slab->end; i++) {
		const struct fb_slot *s = fb_slab_slot(slab, i);
		const uint8_t *p = fb_slab_dgram(slab, i) + FB_WIRE_DATA_HLEN;

		assert_int_equal(s->pos, pos);
		assert_true(s->len && s->len <= fb_slab_payload_max(slab) && s->len % 4 == 0);
		for (unsigned k = 0; k < s->len; k++)
			assert_int_equal(p[k], (uint8_t)((pos + k) * 11 >> 2));
		pos += s->len;
	}
	assert_int_equal(pos, slab->pos);
}

static void test_slab(void **state)
{
	struct fb_slab slab;
	uint64_t start = (UINT64_C(1) << 32) - 4000, una_pos = start;

	assert_int_equal(fb_slab_init(&slab, 1472, 20000, start), 0);
	for (unsigned k = 0; k < 5000; k++) {
		uint8_t b[4400];
		size_t n = 4 * (1 + random32() % 1000);

		if (fb_slab_room(&slab) >= n) {
			for (size_t i = 0; i < n; i++)
				b[i] = (uint8_t)((slab.pos + i) * 11 >> 2);
			fb_slab_append(&slab, b, n);
		}
		if (k % 3 == 0 && slab.next < slab.end) /* the last one may go when it is not full */
			slab.next++;
		if (k % 4 == 0 && slab.una < slab.next) {
			struct fb_slot *s = fb_slab_slot(&slab, slab.una++);

			una_pos = s->pos + s->len;
		}
		assert_true(slab.end - slab.una <= slab.n);
		if (k % 25 == 0)
			check_stream(&slab, una_pos);
		if (k % 500 == 499) {
			uint64_t sent = slab.next < slab.end ? fb_slab_slot(&slab, slab.next)->pos : slab.pos;
			uint32_t stride = k % 1000 == 999 ? 1472 : 1232;

			assert_int_equal(fb_slab_recut(&slab, stride, 20000), 0);
			check_stream(&slab, una_pos);
			assert_int_equal(slab.stride, stride);
			for (uint64_t i = slab.una; i < slab.end; i++)
				assert_int_equal(fb_slab_slot(&slab, i)->flags == FB_SLOT_LOST,
						 fb_slab_slot(&slab, i)->pos < sent);
		}
	}
	fb_slab_free(&slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc_vectors), cmocka_unit_test(test_crc_lengths), cmocka_unit_test(test_rto),
		cmocka_unit_test(test_credit),	    cmocka_unit_test(test_credit_np),	cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_cc),	    cmocka_unit_test(test_ring),	cmocka_unit_test(test_slab),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
