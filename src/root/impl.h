/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/root: the root as a whole. Boxes are root.c's, slots hotplug.c's. */
#ifndef FARBUS_ROOT_IMPL_H
#define FARBUS_ROOT_IMPL_H

#include "root/function.h"
#include "root/qmp.h"
#include "root/remote.h"
#include "root/root.h"

enum { FB_ROOT_MAX_FUNCTIONS = 4096, FB_ROOT_MAX_SLOTS = 256, FB_ROOT_COMPLAINTS = 16 };

struct fb_root_box {
	struct fb_root *root;
	char address[96];
	struct fb_carrier *carrier;
	struct fb_timer timer;
	struct fb_directory_query *query;
	uint64_t round; /* directory requests answered */
	bool asked, reachable;
	struct fb_link_identity identity;
	unsigned offered;
	char note[128];
	struct fb_log_limit log_entry;
	char complained[FB_ROOT_COMPLAINTS][FB_LINK_NAME_MAX]; /* of these entries, since the box was last new to us */
	unsigned n_complained;
};

struct fb_root_op {
	struct fb_root_op *next;
	struct fb_root_function *f;
	bool unplug;
	fb_root_done *done;
	void *arg;
	struct fb_timer timer;
	struct fb_root *root;
};

struct fb_root_slot {
	char bus[64];
	bool known, exists;
	char occupant[96]; /* device ID in it, or "" */
	struct fb_root_function *f; /* whom we put there, or are about to */
};

struct fb_hotplug {
	struct fb_qmp *qmp; /* NULL: no hot-plug */
	struct fb_root_slot *slots;
	unsigned n_slots, asked; /* asked: slots whose answer is due */
	bool surveyed;           /* the slots are known, since the last connection */
	bool lost_logged;
	char version[32];
	struct fb_timer timer; /* repeats what the guest did not answer */
	bool full_logged;
};

/* Functions that the operator has named. */
struct fb_root_names {
	char **id;
	bool *seen; /* a box has offered it */
	unsigned n;
};

struct fb_root {
	struct fb_loop *loop;
	char *socket_dir, *qmp_path;
	struct fb_root_names only, replug;
	struct fb_carrier_config carrier;
	char *fault;
	uint64_t poll_ns;
	struct fb_function_env env;

	struct fb_root_box *boxes;
	unsigned n_boxes;
	struct fb_root_function *functions; /* in order of their appearance */
	unsigned n_functions;
	bool names_checked;

	struct fb_remote *remote; /* NULL: no remote requesters */
	struct fb_hotplug plug;
	struct fb_root_op *ops;

	void (*started)(void *arg, int status);
	void *started_arg;
	bool started_told;
	struct fb_flush started_flush;

	bool stopping;
	struct fb_timer stop_timer;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* root.c */
void fb_root_tell_started(struct fb_root *root, int status);
void fb_root_stopped(struct fb_root *root); /* nothing of ours is plugged any more */

/* hotplug.c */
int fb_hotplug_init(struct fb_root *root, const struct fb_root_config *config);
void fb_hotplug_free(struct fb_root *root);
/* The function's state, or the operator's wish, has changed: does what is next. */
void fb_hotplug_check(struct fb_root *root, struct fb_root_function *f);
void fb_hotplug_check_all(struct fb_root *root);
/* A request of the function that was given up has been answered after all. */
void fb_hotplug_late(struct fb_root *root, struct fb_root_function *f);
/* The function is about to be freed. */
void fb_hotplug_forget(struct fb_root *root, struct fb_root_function *f);
bool fb_hotplug_busy(const struct fb_root *root); /* something of ours is in a slot */
/* The x-msg-timeout (ms) that vfio-user-pci needs with this answer time; 0: QEMU's default will do. */
unsigned fb_hotplug_msg_timeout(uint64_t answer_ns);

#endif
