/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two links and a network between them in virtual time: nothing here waits,
 * and a seed repeats a run exactly. End 0 is the root, end 1 the box. Each end
 * has a user that sends numbered TLPs of all classes, holds some that it gets,
 * and checks order, number and content of each; a violation ends the test with
 * the seed.
 */
#ifndef FARBUS_TESTS_SIM_LINK_SIM_H
#define FARBUS_TESTS_SIM_LINK_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/link.h"

enum { SIM_US = 1000, SIM_MS = 1000000, SIM_HELD = 64 };
#define SIM_S UINT64_C(1000000000)

/* One direction of the network. */
struct sim_net {
	double loss, duplicate, corrupt, reorder;
	uint64_t delay, jitter;       /* ns; jitter is uniform, and keeps order unless it is a reorder */
	uint64_t reorder_delay;       /* a reordered datagram is late by up to this */
	uint64_t rate;                /* bits a second; 0: unlimited */
	uint32_t buffer;              /* bytes before a rate-limited link that are not dropped */
	uint32_t mtu;                 /* larger ones vanish; 0: none */
	uint64_t down_from, down_till; /* outage */
	uint64_t mtu_at;              /* from then on ... */
	uint32_t mtu_then;            /* ... this */
};

struct sim_traffic {
	uint64_t total[FB_LINK_CLASSES]; /* TLPs to send */
	uint32_t max_size;               /* bytes of a TLP: 16 .. max */
	uint64_t gap;                    /* ns between bursts, up to; 0: as fast as possible */
	unsigned burst;                  /* TLPs in one, up to */
	unsigned hold;                   /* of 100 TLPs, hold so many ... */
	uint64_t hold_for;               /* ... for up to this, ns */
	bool fixed;                      /* all of max_size, posted and nothing else */
	bool hold_np;                    /* never give non-posted requests back */
};

struct sim_end {
	struct fb_link *link;
	struct fb_link_config config;
	struct fb_link_identity self;
	struct sim_traffic traffic;
	struct sim_net net; /* of what this end sends */
	uint64_t sent[FB_LINK_CLASSES], got[FB_LINK_CLASSES], got_bytes;
	bool blocked[FB_LINK_CLASSES];
	unsigned held;
	struct {
		uint64_t at;
		enum fb_link_class cls;
		uint32_t len;
	} hold[SIM_HELD];
	uint64_t next_send, wire_free, last_arrival;
	unsigned ups, deads, sessions, stuck_np;
	enum fb_link_reason reason;
	uint64_t died_at;
	bool ignore_hellos; /* the box is not there */
	uint64_t tx_datagrams, tx_bytes, dropped;
};

struct sim {
	uint64_t now, seed, rng, order;
	struct sim_end end[2];
	struct sim_event *events;
	unsigned n_events, cap_events;
	uint64_t steps;
	bool quiet_users; /* users send nothing more */
	const char *what; /* for messages */
};

uint64_t sim_random(struct sim *s, uint64_t below);
bool sim_chance(struct sim *s, double p);

/* Defaults: 50 us each way, no faults, no traffic. */
void sim_init(struct sim *s, uint64_t seed, const char *what);
/* End 0 sends its hello. Traffic starts when a side is up. */
void sim_connect(struct sim *s);
/* Runs until `till`, or until done(s) when given. True: done. */
bool sim_run(struct sim *s, uint64_t till, bool (*done)(const struct sim *s));
bool sim_all_delivered(const struct sim *s);
bool sim_both_dead(const struct sim *s);
/* The process of that end is gone, without a word. */
void sim_kill(struct sim *s, unsigned end);
void sim_free(struct sim *s);
void sim_fail(const struct sim *s, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
