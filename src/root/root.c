/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Each box is asked for its directory once a second. A function that it offers
 * and that we want gets a struct fb_root_function, which then looks after itself;
 * here it is only told when to try for its session: when it is listed, free (as
 * far as the directory says) and its back-off is over. One carrier a box, so that
 * boxes may be of different address families.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "root/impl.h"
#include "util/listener.h"

#define ANSWER_NS UINT64_C(2000000000)
#define POLL_NS UINT64_C(1000000000)
#define STOP_NS UINT64_C(15000000000)
#define SOON_NS UINT64_C(20000000)

/* ---- Functions ---------------------------------------------------------------------- */

static bool named(struct fb_root_names *names, const char *id)
{
	for (unsigned i = 0; i < names->n; i++) {
		if (strcmp(names->id[i], id) == 0) {
			names->seen[i] = true;
			return true;
		}
	}
	return false;
}

static bool valid_id(const char *id)
{
	size_t n = strnlen(id, FB_LINK_NAME_MAX);

	if (n == 0 || n >= FB_LINK_NAME_MAX || id[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)id[i]) && !strchr("._-", id[i]))
			return false;
	}
	return true;
}

static struct fb_root_function *find(struct fb_root *root, const char *id)
{
	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		if (strcmp(f->id, id) == 0)
			return f;
	}
	return NULL;
}

/* A bus of its own for each, 01 to ff; beyond 255 functions other device numbers on them. 0: none is left. */
static uint16_t free_bdf(const struct fb_root *root)
{
	for (unsigned i = 0; i < 255 * 32; i++) {
		uint16_t bdf = (uint16_t)((1 + i % 255) << 8 | (i / 255) << 3);
		bool taken = false;

		for (const struct fb_root_function *f = root->functions; f && !taken; f = f->next)
			taken = f->bdf == bdf;
		if (!taken)
			return bdf;
	}
	return 0;
}

/* Something is wrong with this entry of the box's directory, which comes again each second: it is said once. */
static bool first_complaint(struct fb_root_box *box, const char *id)
{
	uint64_t left_out;

	for (unsigned i = 0; i < box->n_complained; i++) {
		if (!strcmp(box->complained[i], id))
			return false;
	}
	if (box->n_complained == FB_ROOT_COMPLAINTS || !fb_log_allowed(&box->log_entry, fb_loop_now(box->root->loop), &left_out))
		return false;
	snprintf(box->complained[box->n_complained++], FB_LINK_NAME_MAX, "%s", id);
	return true;
}

static struct fb_root_function *add_function(struct fb_root_box *box, const char *id)
{
	struct fb_root *root = box->root;
	struct fb_root_function *f, **p = &root->functions;
	int err = -ENOSPC;

	if (root->n_functions < FB_ROOT_MAX_FUNCTIONS)
		err = fb_function_new(&f, &root->env, id, free_bdf(root));
	if (err < 0) {
		if (first_complaint(box, id))
			fb_error(id, "%s", err == -ENAMETOOLONG
						   ? "the path of its socket would be longer than 107 bytes: choose a shorter directory"
					   : err == -ENOSPC ? "this root has as many functions as it can: --only says which to take"
							    : strerror(-err));
		return NULL;
	}
	while (*p)
		p = &(*p)->next;
	*p = f;
	root->n_functions++;
	f->box = box;
	return f;
}

static void remove_function(struct fb_root *root, struct fb_root_function *f)
{
	for (struct fb_root_function **p = &root->functions; *p; p = &(*p)->next) {
		if (*p != f)
			continue;
		*p = f->next;
		break;
	}
	root->n_functions--;
	fb_remote_forget(root->remote, f);
	fb_hotplug_forget(root, f);
	fb_function_free(f);
}

static int env_connect(void *arg, struct fb_root_function *f, const struct fb_port_user *user, struct fb_port **out)
{
	struct fb_root_box *box = f->box;

	(void)arg;
	return fb_port_connect(out, box->carrier, box->address, f->id, user, f);
}

static void env_message_room(void *arg, struct fb_root_function *f)
{
	struct fb_root *root = arg;

	fb_remote_kick(root->remote, f);
}

static void env_late(void *arg, struct fb_root_function *f)
{
	fb_hotplug_late(arg, f);
}

/* For remote requesters. "*" is the function that is in use, if there is only one. */
static struct fb_root_function *find_for_remote(void *arg, const char *name, const char **why)
{
	struct fb_root *root = arg;
	struct fb_root_function *found = NULL;

	if (strcmp(name, "*") != 0)
		return find(root, name);
	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		if (!f->negotiated)
			continue;
		if (found) {
			*why = "several functions are in use: name one";
			return NULL;
		}
		found = f;
	}
	*why = "no function is in use";
	return found;
}

static void poll_soon(struct fb_root_box *box)
{
	uint64_t at = fb_loop_now(box->root->loop) + SOON_NS;

	if (!box->query && box->timer.deadline_ns > at)
		fb_timer_set(box->root->loop, &box->timer, at);
}

static void env_changed(void *arg, struct fb_root_function *f, enum fb_root_function_state old)
{
	struct fb_root *root = arg;

	if (f->state == FB_ROOT_ABSENT && !root->stopping)
		poll_soon(f->box);
	fb_hotplug_check(root, f);
}

/* ---- Boxes ------------------------------------------------------------------------------ */

static bool same_node(const struct fb_root *root, const uint8_t node[16])
{
	return memcmp(root->carrier.self.node, node, 16) == 0;
}

/* What is in the way is said once, and shown by ls. */
static void not_now(struct fb_root_function *f, const char *why)
{
	if (strcmp(f->note, why) == 0)
		return;
	snprintf(f->note, sizeof(f->note), "%s", why);
	fb_warn(f->name, "not to be had now: %s", why);
}

static void listed(struct fb_root_box *box, const struct fb_directory_entry *e)
{
	struct fb_root *root = box->root;
	struct fb_root_function *f;

	if (!valid_id(e->id)) {
		if (first_complaint(box, e->id))
			fb_warn(box->address, "offers a function whose ID is not one: ignored");
		return;
	}
	if (root->only.n && !named(&root->only, e->id))
		return;
	f = find(root, e->id);
	if (f && f->box != box) {
		/* It moved, or there are two of that name. */
		if (f->state != FB_ROOT_ABSENT || f->listed) {
			if (first_complaint(box, e->id))
				fb_warn(box->address, "offers %s, which %s has already: ignored", e->id,
					((struct fb_root_box *)f->box)->address);
			return;
		}
		f->box = box;
	}
	if (!f) {
		f = add_function(box, e->id);
		if (!f)
			return;
		f->plug.replug = named(&root->replug, e->id);
	}
	f->seen = box->round;
	f->listed = true;
	for (size_t i = 0; i < sizeof(f->model); i++) /* text from outside */
		f->model[i] = (char)(isprint((unsigned char)e->model[i]) ? e->model[i] : 0);
	f->model[sizeof(f->model) - 1] = '\0';
	f->vendor_id = e->vendor_id;
	f->device_id = e->device_id;
	f->class_code = e->class_code;
	if (f->state != FB_ROOT_ABSENT || root->stopping || f->retry_ns > fb_loop_now(root->loop))
		return;
	if (e->in_use && !same_node(root, e->user)) {
		not_now(f, "another root has it");
		return;
	}
	fb_function_connect(f);
}

static void check_names(struct fb_root *root)
{
	const struct fb_root_names *lists[] = {&root->only, &root->replug};

	if (root->names_checked)
		return;
	for (unsigned i = 0; i < root->n_boxes; i++) {
		if (!root->boxes[i].asked)
			return;
	}
	root->names_checked = true;
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (unsigned k = 0; k < lists[i]->n; k++) {
			if (!lists[i]->seen[k])
				fb_warn(lists[i]->id[k], "no box offers it now");
		}
	}
}

static void directory(void *arg, int status, const struct fb_link_identity *identity,
		      const struct fb_directory_entry *entries, unsigned n)
{
	struct fb_root_box *box = arg;
	struct fb_root *root = box->root;

	box->query = NULL;
	fb_timer_set(root->loop, &box->timer, fb_loop_now(root->loop) + root->poll_ns);
	if (status < 0) {
		const char *why = status == -ETIMEDOUT ? "does not answer"
				  : status == -EPROTO  ? "speaks another version of the protocol"
						       : strerror(-status);

		if (strcmp(box->note, why) != 0)
			fb_warn(box->address, "%s; asked again for ever", why);
		snprintf(box->note, sizeof(box->note), "%s", why);
		box->reachable = false;
		box->asked = true;
		check_names(root);
		return;
	}
	if (!box->reachable || identity->incarnation != box->identity.incarnation)
		box->n_complained = 0;
	if (!box->reachable)
		fb_info(box->address, "offers %u function%s", n, n == 1 ? "" : "s");
	box->note[0] = '\0';
	box->reachable = box->asked = true;
	box->identity = *identity;
	box->offered = n;
	box->round++;
	for (unsigned i = 0; i < n; i++)
		listed(box, &entries[i]);
	for (struct fb_root_function *f = root->functions, *next; f; f = next) {
		next = f->next;
		if (f->box != box || f->seen == box->round)
			continue;
		f->listed = false;
		if (f->state == FB_ROOT_ABSENT && f->plug.state == FB_ROOT_SLOT_NONE) {
			fb_info(f->name, "not offered any more");
			remove_function(root, f);
		}
	}
	check_names(root);
}

static void poll_box(struct fb_timer *t)
{
	struct fb_root_box *box = FB_CONTAINER(t, struct fb_root_box, timer);
	struct fb_root *root = box->root;
	int err = fb_directory_query(&box->query, box->carrier, box->address, root->carrier.link.group, root->poll_ns,
				     directory, box);

	if (err < 0) {
		box->query = NULL;
		directory(box, err, NULL, NULL, 0);
	}
}

/* ---- Begin and end ---------------------------------------------------------------------------- */

void fb_root_tell_started(struct fb_root *root, int status)
{
	if (root->started_told)
		return;
	root->started_told = true;
	if (root->started)
		root->started(root->started_arg, status);
}

static void started_flush(struct fb_flush *fl)
{
	fb_root_tell_started(FB_CONTAINER(fl, struct fb_root, started_flush), 0);
}

/* What a root that was killed left behind. 0 or -errno, logged. */
static int clean_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int err;

	if (!d) {
		err = -errno;
		fb_error(dir, "the directory for sockets: %s", strerror(-err));
		return err;
	}
	if (access(dir, W_OK | X_OK) < 0) {
		err = -errno;
		fb_error(dir, "the directory for sockets cannot be written to: %s", strerror(-err));
		closedir(d);
		return err;
	}
	while ((e = readdir(d))) {
		size_t n = strlen(e->d_name);
		char path[1024], id[FB_LINK_NAME_MAX] = "";
		struct stat st;

		if (n <= 5 || n - 5 >= sizeof(id) || strcmp(e->d_name + n - 5, ".sock") != 0)
			continue;
		memcpy(id, e->d_name, n - 5);
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (!valid_id(id) || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || fb_socket_is_alive(path))
			continue;
		fb_debug(dir, "removed %s, left over from before", e->d_name);
		unlink(path);
	}
	closedir(d);
	return 0;
}

static int copy_names(struct fb_root_names *names, const char *const *ids)
{
	unsigned n = 0;

	while (ids && ids[n])
		n++;
	if (n == 0)
		return 0;
	names->id = calloc(n, sizeof(*names->id));
	names->seen = calloc(n, sizeof(*names->seen));
	if (!names->id || !names->seen)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		if (!valid_id(ids[i])) {
			fb_error(NULL, "\"%s\" is not the ID of a function (1 to 31 of A-Z a-z 0-9 . _ -)", ids[i]);
			return -EINVAL;
		}
		names->id[i] = strdup(ids[i]);
		if (!names->id[i])
			return -ENOMEM;
		names->n = i + 1;
	}
	return 0;
}

static void free_names(struct fb_root_names *names)
{
	for (unsigned i = 0; i < names->n; i++)
		free(names->id[i]);
	free(names->id);
	free(names->seen);
}

static int open_boxes(struct fb_root *root, const char *const *peers)
{
	unsigned n = 0;

	while (peers && peers[n])
		n++;
	if (n == 0) {
		fb_error(NULL, "no box to connect to was given");
		return -EINVAL;
	}
	root->boxes = calloc(n, sizeof(*root->boxes));
	if (!root->boxes)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		struct fb_root_box *box = &root->boxes[i];
		struct fb_carrier_config config = root->carrier;
		int err;

		if (strlen(peers[i]) >= sizeof(box->address)) {
			fb_error(peers[i], "the address is too long");
			return -EINVAL;
		}
		for (unsigned k = 0; k < i; k++) {
			if (strcmp(root->boxes[k].address, peers[i]) == 0) {
				fb_error(peers[i], "the box is given twice");
				return -EINVAL;
			}
		}
		box->root = root;
		memcpy(box->address, peers[i], strlen(peers[i]));
		box->timer.due = poll_box;
		config.listen = NULL;
		config.peer = box->address;
		err = fb_carrier_open(&box->carrier, root->loop, &config, NULL, NULL);
		if (err < 0)
			return err;
		root->n_boxes = i + 1;
		err = fb_timer_set(root->loop, &box->timer, fb_loop_now(root->loop));
		if (err < 0)
			return err;
	}
	return 0;
}

static int open_remote(struct fb_root *root, const struct fb_root_config *config)
{
	const struct fb_remote_config remote = {
		.listen = config->dma_listen,
		.allow = config->allow_dma,
		.carrier = root->carrier,
		.find = find_for_remote,
		.arg = root,
	};

	return config->dma_listen ? fb_remote_new(&root->remote, root->loop, &remote) : 0;
}

int fb_root_new(struct fb_root **out, struct fb_loop *loop, const struct fb_root_config *config)
{
	struct fb_root *root = calloc(1, sizeof(*root));
	int err = -ENOMEM;

	if (!root)
		return err;
	root->loop = loop;
	root->carrier = config->carrier;
	root->poll_ns = config->poll_ns ? config->poll_ns : POLL_NS;
	root->started = config->started;
	root->started_arg = config->arg;
	root->started_flush.flush = started_flush;
	if (!config->socket_dir) {
		fb_error(NULL, "no directory for sockets was given");
		err = -EINVAL;
		goto free_root;
	}
	root->socket_dir = strdup(config->socket_dir);
	root->qmp_path = config->qmp ? strdup(config->qmp) : NULL;
	root->fault = config->carrier.fault ? strdup(config->carrier.fault) : NULL;
	if (!root->socket_dir || (config->qmp && !root->qmp_path) || (config->carrier.fault && !root->fault))
		goto free_root;
	root->carrier.fault = root->fault;
	root->env = (struct fb_function_env){
		.loop = loop,
		.socket_dir = root->socket_dir,
		.answer_ns = config->answer_ns ? config->answer_ns : ANSWER_NS,
		.hold_ns = config->carrier.link.hold_ns,
		.hide_msix = config->msix == FB_ROOT_MSIX_HIDE || (config->msix == FB_ROOT_MSIX_AUTO && config->qmp),
		.arg = root,
		.connect = env_connect,
		.message_room = env_message_room,
		.late = env_late,
		.changed = env_changed,
	};
	err = clean_dir(root->socket_dir);
	if (err < 0)
		goto free_root;
	err = copy_names(&root->only, config->only);
	if (err < 0)
		goto free_root;
	err = copy_names(&root->replug, config->replug);
	if (err < 0)
		goto free_root;
	err = fb_hotplug_init(root, config);
	if (err < 0)
		goto free_root;
	err = open_remote(root, config);
	if (err < 0)
		goto free_root;
	err = open_boxes(root, config->peers);
	if (err < 0)
		goto free_root;
	if (!config->qmp) {
		unsigned timeout = fb_hotplug_msg_timeout(root->env.answer_ns);

		if (timeout)
			fb_warn(NULL, "with this answer time QEMU has to be given \"x-msg-timeout\": %u for each vfio-user-pci: by "
				      "default it gives up after 5 s, and for good", timeout);
		fb_flush_schedule(loop, &root->started_flush);
	}
	*out = root;
	return 0;

free_root:
	fb_root_free(root);
	return err;
}

void fb_root_stopped(struct fb_root *root)
{
	void (*done)(void *arg) = root->stopped;

	fb_timer_cancel(&root->stop_timer);
	root->stopped = NULL;
	if (done)
		done(root->stopped_arg);
}

static void stop_late(struct fb_timer *t)
{
	struct fb_root *root = FB_CONTAINER(t, struct fb_root, stop_timer);

	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		if (f->plug.state != FB_ROOT_SLOT_NONE)
			fb_warn(f->name, "the guest did not let go of it in time: it stays in the slot, dead");
	}
	fb_root_stopped(root);
}

void fb_root_stop(struct fb_root *root, uint64_t timeout_ns, void (*done)(void *arg), void *arg)
{
	root->stopping = true;
	root->stopped = done;
	root->stopped_arg = arg;
	fb_hotplug_check_all(root);
	if (!fb_hotplug_busy(root)) {
		fb_root_stopped(root);
		return;
	}
	root->stop_timer.due = stop_late;
	fb_timer_set(root->loop, &root->stop_timer, fb_loop_now(root->loop) + (timeout_ns ? timeout_ns : STOP_NS));
}

void fb_root_free(struct fb_root *root)
{
	if (!root)
		return;
	root->stopping = true;
	fb_timer_cancel(&root->stop_timer);
	fb_flush_cancel(&root->started_flush);
	fb_hotplug_free(root);
	fb_remote_free(root->remote);
	root->remote = NULL;
	while (root->functions) {
		struct fb_root_function *f = root->functions;

		root->functions = f->next;
		fb_function_free(f);
	}
	for (unsigned i = 0; i < root->n_boxes; i++) {
		fb_directory_cancel(root->boxes[i].query);
		fb_timer_cancel(&root->boxes[i].timer);
		fb_carrier_close(root->boxes[i].carrier);
	}
	free_names(&root->only);
	free_names(&root->replug);
	free(root->boxes);
	free(root->socket_dir);
	free(root->qmp_path);
	free(root->fault);
	free(root);
}
