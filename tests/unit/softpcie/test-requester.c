/* SPDX-License-Identifier: Apache-2.0 */
/* The requester against a completer of a few lines, in virtual time: alignment, sizes, splitting, loss, retries, tags. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "softpcie/requester.h"

enum { MEM = 1 << 16, ID = 0x0100, MAX = 4096 };
#define MS UINT64_C(1000000)

struct world {
	struct fb_softpcie_requester *rq;
	uint64_t now;
	uint8_t mem[MEM];
	uint32_t mps, rcb;

	struct pcie_tlp asked[MAX]; /* requests that wait for an answer */
	unsigned n_asked, sent;
	int room; /* TLPs that send() takes; -1: any number */

	int status[64];
	unsigned n_done, order[64];
};

struct job {
	struct world *w;
	unsigned number;
};

static int send(void *arg, const struct pcie_tlp *tlp)
{
	struct world *w = arg;
	uint8_t bytes[PCIE_TLP_MAX_SIZE];

	if (w->room == 0)
		return -EAGAIN;
	if (w->room > 0)
		w->room--;
	assert_true(pcie_tlp_encode(tlp, bytes, sizeof(bytes), NULL) > 0);
	assert_int_equal(tlp->requester_id, ID);
	w->sent++;
	if (tlp->type == PCIE_TLP_MRD) {
		assert_true(w->n_asked < MAX);
		w->asked[w->n_asked++] = *tlp;
	} else {
		uint64_t addr;
		uint32_t len;

		pcie_tlp_get_range(tlp, &addr, &len);
		assert_true(addr + len <= MEM);
		memcpy(w->mem + addr, tlp->data + (addr & 3), len);
	}
	return 0;
}

/* Answers one request in completions of at most mps bytes; `skip` leaves one of them out (-1: none). */
static void answer(struct world *w, const struct pcie_tlp *request, int skip)
{
	uint64_t addr;
	uint32_t len, done = 0;

	pcie_tlp_get_range(request, &addr, &len);
	for (int i = 0; done < len; i++) {
		uint32_t n = pcie_split_completion(addr + done, len - done, w->mps, w->rcb);
		struct pcie_tlp cpl;

		pcie_completion_for(request, 0, done, n, &cpl);
		cpl.data = w->mem + ((addr + done) & ~UINT64_C(3));
		if (i != skip)
			fb_softpcie_requester_rx(w->rq, &cpl, w->now);
		done += n;
	}
}

static void answer_all(struct world *w)
{
	while (w->n_asked) {
		struct pcie_tlp request = w->asked[0];

		memmove(w->asked, w->asked + 1, --w->n_asked * sizeof(w->asked[0]));
		answer(w, &request, -1);
	}
}

static void done(void *arg, int status)
{
	struct job *j = arg;

	j->w->status[j->number] = status;
	j->w->order[j->w->n_done++] = j->number;
	free(j);
}

static struct world *world(uint32_t mrrs, unsigned tags, unsigned retries)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fb_softpcie_requester_config c = {.send = send, .arg = w, .requester_id = ID, .mps = 256, .mrrs = mrrs,
						 .n_tags = tags, .timeout_ns = 10 * MS, .retries = retries};

	assert_int_equal(fb_softpcie_requester_new(&w->rq, &c), 0);
	w->room = -1;
	w->mps = 256;
	w->rcb = 64;
	for (unsigned i = 0; i < MEM; i++)
		w->mem[i] = (uint8_t)(i * 7 + (i >> 8));
	memset(w->status, 1, sizeof(w->status));
	return w;
}

static void start(struct world *w, unsigned number, uint64_t addr, void *buf, uint32_t len)
{
	struct job *j = malloc(sizeof(*j));

	*j = (struct job){w, number};
	assert_int_equal(fb_softpcie_read(w->rq, addr, buf, len, w->now, done, j), 0);
}

static void end(struct world *w)
{
	fb_softpcie_requester_free(w->rq);
	free(w);
}

static void pass(struct world *w, uint64_t ms)
{
	w->now += ms * MS;
	fb_softpcie_requester_timeout(w->rq, w->now);
}

/* libtlp's bugs 1, 2, 3, 4: every alignment and many sizes, both ways, nothing beside the range touched. */
static void any_alignment(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 127, 128, 300, 512, 1023, 4096, 5000};
	static const uint64_t bases[] = {0x1000, 0x1f80, 0x1ffc};
	uint8_t buf[8192], data[8192], before[MEM];

	for (uint32_t mrrs = 128; mrrs <= 4096; mrrs *= 2) {
		struct world *w = world(mrrs, 8, 0);

		for (unsigned b = 0; b < 3; b++) {
			for (unsigned off = 0; off < 4; off++) {
				for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
					uint64_t addr = bases[b] + off;
					uint32_t len = sizes[s];

					w->n_done = 0;
					memset(buf, 0xee, sizeof(buf));
					start(w, 0, addr, buf, len);
					answer_all(w);
					assert_int_equal(w->n_done, 1);
					assert_int_equal(w->status[0], 0);
					assert_memory_equal(buf, w->mem + addr, len);
					assert_int_equal(buf[len], 0xee);

					for (uint32_t i = 0; i < len; i++)
						data[i] = (uint8_t)(i + s);
					memcpy(before, w->mem, MEM);
					assert_int_equal(fb_softpcie_write(w->rq, addr, data, len), 0);
					memcpy(before + addr, data, len);
					assert_memory_equal(w->mem, before, MEM);
				}
			}
		}
		assert_true(fb_softpcie_requester_idle(w->rq));
		assert_int_equal(fb_softpcie_requester_stats(w->rq)->unexpected_completions, 0);
		end(w);
	}
}

static void many_in_flight(void **state)
{
	struct world *w = world(512, 4, 0);
	uint8_t buf[8][2048];

	for (unsigned i = 0; i < 8; i++)
		start(w, i, 0x1000 + i * 2048, buf[i], 2048);
	assert_int_equal(w->n_asked, 4);
	assert_int_equal(fb_softpcie_requester_stats(w->rq)->in_flight, 4);
	while (w->n_asked) { /* the last one first */
		struct pcie_tlp request = w->asked[--w->n_asked];

		answer(w, &request, -1);
	}
	assert_int_equal(w->n_done, 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(w->status[i], 0);
		assert_memory_equal(buf[i], w->mem + 0x1000 + i * 2048, 2048);
	}
	assert_int_equal(fb_softpcie_requester_stats(w->rq)->read_bytes, 8 * 2048);
	end(w);
}

/* A completion is lost: asked for again, whole, under the same tag; late copies find nobody. */
static void lost_completion(void **state)
{
	struct world *w = world(512, 1, 2);
	struct pcie_tlp first;
	uint8_t buf[512];

	start(w, 0, 0x1000, buf, 512);
	first = w->asked[0];
	w->n_asked = 0;
	answer(w, &first, 1);
	assert_int_equal(w->n_done, 0);
	pass(w, 9);
	assert_int_equal(w->n_asked, 0);
	pass(w, 1);
	assert_int_equal(w->n_asked, 1);
	assert_int_equal(w->asked[0].tag, first.tag);
	answer_all(w);
	assert_int_equal(w->n_done, 1);
	assert_int_equal(w->status[0], 0);
	assert_memory_equal(buf, w->mem + 0x1000, 512);
	/* Its only tag rests: the next read waits, and a late copy is for nobody. */
	start(w, 1, 0x2000, buf, 64);
	assert_int_equal(w->n_asked, 0);
	answer(w, &first, -1);
	assert_int_equal(fb_softpcie_requester_stats(w->rq)->unexpected_completions, 2);
	assert_int_equal(fb_softpcie_requester_deadline(w->rq), w->now + 40 * MS);
	pass(w, 40);
	assert_int_equal(w->n_asked, 1);
	answer_all(w);
	assert_int_equal(w->status[1], 0);
	assert_memory_equal(buf, w->mem + 0x2000, 64);
	assert_int_equal(fb_softpcie_requester_stats(w->rq)->read_retries, 1);
	end(w);
}

static void given_up(void **state)
{
	struct world *w = world(512, 4, 2);
	uint8_t buf[2048];

	start(w, 0, 0x1000, buf, 2048);
	start(w, 1, 0x3000, buf, 64);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(w->n_done, 0);
		pass(w, 10);
	}
	assert_int_equal(w->n_done, 1);
	assert_int_equal(w->status[0], -ETIMEDOUT);
	assert_int_equal(fb_softpcie_requester_stats(w->rq)->read_timeouts, 1);
	/* The second one waited for a tag, and all of them rest now. */
	w->n_asked = 0;
	pass(w, 39);
	assert_int_equal(w->n_asked, 0);
	pass(w, 1);
	assert_int_equal(w->n_asked, 1);
	answer_all(w);
	assert_int_equal(w->status[1], 0);
	end(w);
}

static void no_retries(void **state)
{
	struct world *w = world(512, 4, 0);
	uint8_t buf[64];

	start(w, 0, 0x1000, buf, 64);
	pass(w, 10);
	assert_int_equal(w->status[0], -ETIMEDOUT);
	assert_int_equal(w->sent, 1);
	end(w);
}

static void errors(void **state)
{
	struct world *w = world(512, 4, 0);
	struct pcie_tlp cpl;
	uint8_t buf[1024], zeros[64] = {0};

	start(w, 0, 0x1000, buf, 1024);
	pcie_completion_status(&w->asked[0], 0, PCIE_CPL_UR, &cpl);
	fb_softpcie_requester_rx(w->rq, &cpl, w->now);
	assert_int_equal(w->status[0], -EFAULT);
	/* The other half's completion is late. */
	answer(w, &w->asked[1], -1);
	assert_int_equal(w->n_done, 1);

	w->n_asked = 0;
	start(w, 1, 0x1000, buf, 64);
	pcie_completion_status(&w->asked[0], 0, PCIE_CPL_CA, &cpl);
	fb_softpcie_requester_rx(w->rq, &cpl, w->now);
	assert_int_equal(w->status[1], -EIO);

	w->n_asked = 0;
	start(w, 2, 0x1000, buf, 64);
	pcie_completion_for(&w->asked[0], 0, 0, 64, &cpl);
	cpl.data = zeros;
	cpl.ep = true;
	fb_softpcie_requester_rx(w->rq, &cpl, w->now);
	assert_int_equal(w->status[2], -EIO);

	assert_int_equal(fb_softpcie_read(w->rq, 0, buf, 0, 0, done, NULL), -EINVAL);
	assert_int_equal(fb_softpcie_read(w->rq, UINT64_MAX - 3, buf, 5, 0, done, NULL), -EINVAL);
	assert_int_equal(fb_softpcie_write(w->rq, UINT64_MAX, buf, 2), -EINVAL);
	/* A stranger's tags, and completions that do not fit. */
	cpl.tag = 1000;
	assert_false(fb_softpcie_requester_rx(w->rq, &cpl, w->now));
	w->n_asked = 0;
	start(w, 3, 0x1000, buf, 64);
	pcie_completion_for(&w->asked[0], 0, 0, 64, &cpl);
	cpl.data = zeros;
	cpl.byte_count = 60;
	assert_false(fb_softpcie_requester_rx(w->rq, &cpl, w->now));
	cpl.byte_count = 64;
	cpl.requester_id = ID + 1;
	assert_false(fb_softpcie_requester_rx(w->rq, &cpl, w->now));
	end(w); /* cancels it */
}

static void room(void **state)
{
	struct world *w = world(512, 8, 0);
	uint8_t buf[2048] = {0};

	w->room = 1;
	start(w, 0, 0x1000, buf, 1024);
	assert_int_equal(w->n_asked, 1);
	assert_int_equal(fb_softpcie_write(w->rq, 0x4000, buf, 64), -EAGAIN);
	w->room = 2;
	assert_int_equal(fb_softpcie_write(w->rq, 0x4000, buf, 2048), 512);
	w->room = -1;
	fb_softpcie_requester_room(w->rq, w->now);
	assert_int_equal(w->n_asked, 2);
	answer_all(w);
	assert_int_equal(w->status[0], 0);
	end(w);
}

static void cancel(void **state)
{
	struct world *w = world(512, 2, 0);
	uint8_t buf[4096];

	for (unsigned i = 0; i < 5; i++)
		start(w, i, 0x1000, buf, 1024);
	fb_softpcie_requester_cancel(w->rq);
	assert_int_equal(w->n_done, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(w->status[i], -ECANCELED);
	assert_true(fb_softpcie_requester_idle(w->rq));
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_alignment), cmocka_unit_test(many_in_flight), cmocka_unit_test(lost_completion),
		cmocka_unit_test(given_up),	 cmocka_unit_test(no_retries),	   cmocka_unit_test(errors),
		cmocka_unit_test(room),		 cmocka_unit_test(cancel),
	};

	return cmocka_run_group_tests_name("softpcie-requester", tests, NULL, NULL);
}
