/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `farbus box` and `farbus root` share: their common options, the loop,
 * signals, the control socket and the service manager.
 *
 * SIGTERM, SIGINT and SIGHUP ask for an orderly end, the second one ends at once.
 */
#ifndef FARBUS_PROGRAMS_DAEMON_H
#define FARBUS_PROGRAMS_DAEMON_H

#include <stdint.h>

#include "cli.h"
#include "capture/tap.h"
#include "control/control.h"
#include "port/carrier.h"
#include "util/loop.h"

struct daemon_options {
	char *control, *config, *fault, *node;
	uint32_t poll_us, mtu, group, verbose;
	uint64_t hold_ns;
	bool go_back_n, one_tlp_a_datagram;
	struct cli_list captures;
};
extern const struct cli_option daemon_option_table[];
#define DAEMON_DEFAULTS                                                                                                \
	{                                                                                                              \
		.poll_us = 50, .hold_ns = 30000000000ull                                                               \
	}

/* What is different between the roles on the way from argv to the exit status. */
struct daemon_main {
	struct cli *cli;
	struct daemon_options *common;
	const struct cli_list *devices; /* answered and done when one of them asks for help */
	int (*check)(const void *program); /* the role's options: 0 or -errno, logged */
	int (*serve)(void *program, const struct daemon_options *common); /* returns the exit status */
	void *program;
};
int daemon_main(const struct daemon_main *m, int argc, char **argv);

struct daemon {
	const char *role;
	struct fb_loop *loop;
	struct fb_control *control;
	struct fb_tap *tap;
	struct fb_fd signals;
	unsigned n_signals;
	int status; /* of the process */
	/* The first signal: start the orderly end, which calls daemon_quit(). */
	void (*stop)(void *arg);
	void *arg;
};

/* Signals are held back from here on, so models' threads never get them. 0 or -errno, logged. */
int daemon_init(struct daemon *d, const char *role, const struct daemon_options *options, void (*stop)(void *arg),
		void *arg);
int daemon_open_control(struct daemon *d, const struct daemon_options *options, const struct fb_control_verb *verbs);
/* For the daemons' verb "capture". */
json_t *daemon_capture(struct daemon *d, const json_t *request, struct fb_control_call *call);
/* Fills in what the common options say of the link and the network. */
void daemon_carrier(const struct daemon_options *options, struct fb_carrier_config *carrier);
/* Runs until daemon_quit(). Returns the exit status. */
int daemon_run(struct daemon *d);
void daemon_quit(void *daemon);
void daemon_fini(struct daemon *d);

/* Logs "ready: …" and tells the service manager (sd_notify(3)). */
void daemon_ready(struct daemon *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds what is the same for both roles: "pid", "version", "node", "loop". Returns `object`. */
json_t *daemon_describe(const struct daemon *d, json_t *object, const struct fb_link_identity *self, bool with_loop);

#endif
