/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "control/describe.h"
#include "daemon.h"
#include "devices/models.h"
#include "endpoint/endpoint.h"
#include "identity.h"
#include "root/root.h"
#include "util/log.h"

#define EMBEDDED "loopback:embedded" /* address of the box in our own process */

struct root_options {
	struct cli_list connect, slots, only, replug, devices, softpcie, allow_dma;
	char *socket_dir, *qmp, *dma_listen;
	uint64_t answer_ns, scan_ns, stop_ns;
	unsigned msix;
};
#define M(member) offsetof(struct root_options, member)

/* In the order of enum fb_root_msix. */
static const char *const msix_words[] = {"auto", "on", "off", NULL};
_Static_assert(FB_ROOT_MSIX_AUTO == 0 && FB_ROOT_MSIX_SHOW == 1 && FB_ROOT_MSIX_HIDE == 2, "order of msix_words");

static const struct cli_option root_table[] = {
	{.value = {"connect", FB_OPTION_STRING, M(connect), .help = "a box: udp:ADDR:PORT; repeats"},
	 .kind = CLI_LIST, .argument = "ADDRESS"},
	{.value = {"device", FB_OPTION_STRING, M(devices), .help =
		"a function in this process, without network or box;\nas for \"farbus box\"; repeats"},
	 .kind = CLI_LIST, .argument = "SPEC"},
	{.value = {"softpcie", FB_OPTION_STRING, M(softpcie), .help =
		"a SoftPCIe/NetTLP adapter in this process, at this\nIPv4 address: ADDR,peer=ADDR[,OPTION=VALUE…];\n"
		"short for --device softpcie,listen=ADDR,…; repeats"},
	 .kind = CLI_LIST, .argument = "SPEC"},
	{.value = {"socket-dir", FB_OPTION_STRING, M(socket_dir), 1, 90, .help =
		"each function is offered to QEMU as DIR/ID.sock;\nthe directory must exist"},
	 .argument = "DIR"},
	{.value = {"only", FB_OPTION_STRING, M(only), .help = "take these functions and no others; repeats"},
	 .kind = CLI_LIST, .separator = ',', .argument = "ID[,ID]", .shown = "all"},
	{.value = {"qmp", FB_OPTION_STRING, M(qmp), 1, 107, .help =
		"QEMU's QMP socket: functions are plugged and\nunplugged in the slots by themselves"},
	 .argument = "PATH"},
	{.value = {"slot", FB_OPTION_STRING, M(slots), .help = "names of QEMU's ports to plug into; with --qmp; repeats"},
	 .kind = CLI_LIST, .separator = ',', .argument = "BUS[,BUS]"},
	{.value = {"replug", FB_OPTION_STRING, M(replug), .help =
		"unplug and plug these functions when a read of theirs\ngot all ones and they answer again; with --qmp; repeats"},
	 .kind = CLI_LIST, .separator = ',', .argument = "ID[,ID]", .shown = "none"},
	{.value = {"msix", FB_OPTION_CHOICE, M(msix), 0, 0, msix_words, .help =
		"does the guest see MSI-X? auto: not with --qmp,\nas QEMU aborts when such a function is unplugged"},
	 .argument = "auto|on|off", .shown = "auto"},
	{.value = {"dma-listen", FB_OPTION_STRING, M(dma_listen), 1, 90, .help =
		"serve remote requesters (farbus dma) there:\nudp:ADDR:PORT; with --allow-dma"},
	 .argument = "ADDRESS"},
	{.value = {"allow-dma", FB_OPTION_STRING, M(allow_dma), .help =
		"open memory of VMs to them: all or START+SIZE,\nthen ,peer=ADDR[/BITS] ,function=ID ,ro; repeats"},
	 .kind = CLI_LIST, .argument = "RULE", .shown = "nothing is open"},
	{.value = {"answer-time", FB_OPTION_DURATION, M(answer_ns), 1000000, 3600000000000, .help =
		"a guest's read without answer gives all ones after\nthis; above 4s QEMU needs a longer x-msg-timeout,\n"
		"which it is given with --qmp"},
	 .argument = "TIME", .shown = "2s"},
	{.value = {"scan", FB_OPTION_DURATION, M(scan_ns), 10000000, 3600000000000, .help =
		"how often boxes are asked what they have"},
	 .argument = "TIME", .shown = "1s"},
	{.value = {"stop-time", FB_OPTION_DURATION, M(stop_ns), 1000000, 3600000000000, .help =
		"on SIGTERM, wait so long for guests to let go"},
	 .argument = "TIME", .shown = "15s"},
	{.value = {.key = NULL}},
};

struct root_program {
	struct daemon daemon;
	struct fb_root *root;
	struct fb_box *box; /* embedded, or NULL */
	struct root_options options;
	struct fb_link_identity self;
};

/* ---- Verbs ------------------------------------------------------------------ */

static json_t *verb_ls(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct root_program *p = arg;
	json_t *o = fb_describe_root_ls(p->root, json_object_get(request, "ids"));

	json_object_set_new(o, "socket_dir", json_string(p->options.socket_dir));
	return daemon_describe(&p->daemon, o, &p->self, false);
}

static json_t *verb_stats(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct root_program *p = arg;
	const json_t *ids = json_object_get(request, "ids");
	json_t *o = fb_describe_root_stats(p->root, ids);

	if (p->box)
		json_object_set_new(o, "embedded_box", fb_describe_box_stats(p->box, ids));
	return daemon_describe(&p->daemon, o, &p->self, true);
}

/* A plug or unplug in progress, on behalf of a client that waits. */
struct operation {
	struct root_program *program;
	struct fb_control_call *call;
	struct fb_timer progress;
	char id[FB_LINK_NAME_MAX];
	char said[192]; /* the last progress text */
};
enum { PROGRESS_NS = 200000000 };

static void free_operation(struct operation *op)
{
	fb_timer_cancel(&op->progress);
	free(op);
}

static void operation_done(void *arg, int status, const char *text)
{
	struct operation *op = arg;

	if (status == 0)
		fb_control_done(op->call, json_pack("{s:s, s:s}", "id", op->id, "text", text ? text : ""));
	else
		fb_control_fail(op->call, status, text && *text ? text : strerror(-status));
	free_operation(op);
}

/* The client left. What it asked for goes on. */
static void operation_orphaned(void *arg)
{
	struct operation *op = arg;

	fb_root_forget(op->program->root, op);
	free_operation(op);
}

static bool find_function(const struct fb_root *root, const char *id, struct fb_root_function_info *f)
{
	for (unsigned i = 0; i < fb_root_functions(root); i++) {
		if (fb_root_function_info(root, i, f) == 0 && !strcmp(f->id, id))
			return true;
	}
	return false;
}

static void tell_progress(struct fb_timer *t)
{
	struct operation *op = (struct operation *)((char *)t - offsetof(struct operation, progress));
	struct fb_loop *loop = op->program->daemon.loop;
	struct fb_root_function_info f;
	char text[sizeof(op->said)];

	if (find_function(op->program->root, op->id, &f)) {
		snprintf(text, sizeof(text), "%s%s%s, %s", fb_root_slot_state_name(f.slot_state), *f.slot ? " in " : "",
			 f.slot, fb_root_function_state_name(f.state));
		if (strcmp(text, op->said)) {
			strcpy(op->said, text);
			fb_control_progress(op->call, text);
		}
	}
	fb_timer_set(loop, t, fb_loop_now(loop) + PROGRESS_NS);
}

static json_t *start_operation(struct root_program *p, const json_t *request, struct fb_control_call *call,
			       void (*start)(struct fb_root *, const char *, fb_root_done *, void *))
{
	const char *id = json_string_value(json_object_get(request, "id"));
	struct operation *op;

	if (!id || strlen(id) >= FB_LINK_NAME_MAX) {
		fb_control_fail(call, -EINVAL, "\"id\" must be the ID of a function");
		return NULL;
	}
	op = calloc(1, sizeof(*op));
	if (!op) {
		fb_control_fail(call, -ENOMEM, strerror(ENOMEM));
		return NULL;
	}
	op->program = p;
	op->call = call;
	op->progress.due = tell_progress;
	strcpy(op->id, id);
	fb_control_on_gone(call, operation_orphaned, op);
	fb_timer_set(p->daemon.loop, &op->progress, fb_loop_now(p->daemon.loop) + PROGRESS_NS);
	start(p->root, op->id, operation_done, op); /* may be over, and op freed, when it returns */
	return NULL;
}

static json_t *verb_plug(void *arg, const json_t *request, struct fb_control_call *call)
{
	return start_operation(arg, request, call, fb_root_plug);
}

static json_t *verb_unplug(void *arg, const json_t *request, struct fb_control_call *call)
{
	return start_operation(arg, request, call, fb_root_unplug);
}

static json_t *verb_capture(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct root_program *p = arg;

	return daemon_capture(&p->daemon, request, call);
}

static const struct fb_control_verb verbs[] = {
	{"ls", verb_ls},     {"stats", verb_stats},   {"capture", verb_capture},
	{"plug", verb_plug}, {"unplug", verb_unplug}, {NULL, NULL}};

/* ---- Life --------------------------------------------------------------------- */

static void started(void *arg, int status)
{
	struct root_program *p = arg;
	unsigned boxes = p->options.connect.n;

	if (status < 0) {
		p->daemon.status = EXIT_FAILED;
		daemon_quit(&p->daemon);
		return;
	}
	daemon_ready(&p->daemon, "sockets in %s; %u box%s%s%s", p->options.socket_dir, boxes, boxes == 1 ? "" : "es",
		     p->options.qmp ? "; QEMU at " : "", p->options.qmp ? p->options.qmp : "");
}

static void root_stopped(void *arg)
{
	struct root_program *p = arg;

	if (p->box)
		fb_box_stop(p->box, p->options.stop_ns, daemon_quit, &p->daemon);
	else
		daemon_quit(&p->daemon);
}

static void stop(void *arg)
{
	struct root_program *p = arg;

	fb_root_stop(p->root, p->options.stop_ns, root_stopped, p);
}

/* "ADDR,OPTION=VALUE…" to "softpcie,listen=ADDR,OPTION=VALUE…", with an id unless it has one. 0 or -ENOMEM. */
static int add_softpcie(struct root_options *o)
{
	for (unsigned i = 0; i < o->softpcie.n; i++) {
		const char *text = o->softpcie.items[i];
		char *spec = NULL;
		int n = strstr(text, ",id=") ? asprintf(&spec, "softpcie,listen=%s", text)
					     : asprintf(&spec, "softpcie,id=softpcie%u,listen=%s", i, text);
		int err = n < 0 ? -ENOMEM : cli_list_add(&o->devices, spec);

		if (n >= 0)
			free(spec);
		if (err)
			return err;
	}
	return 0;
}

static int open_embedded(struct root_program *p, const struct daemon_options *common)
{
	struct fb_box_config config = {.models = fb_models, .group = common->group};
	struct fb_link_identity self;

	if (add_softpcie(&p->options) < 0)
		return -ENOMEM;
	if (!p->options.devices.n)
		return 0;
	if (identity_make(&self, NULL, "embedded box", p->options.socket_dir) < 0)
		return -EINVAL;
	daemon_carrier(common, &config.carrier);
	config.devices = (const char *const *)p->options.devices.items;
	config.carrier.listen = EMBEDDED;
	config.carrier.self = self;
	config.wire_tap = p->daemon.tap;
	return fb_box_new(&p->box, p->daemon.loop, &config);
}

static int serve(void *program, const struct daemon_options *common)
{
	struct root_program *p = program;
	struct root_options *o = &p->options;
	struct fb_root_config config = {
		.socket_dir = o->socket_dir, .only = (const char *const *)o->only.items, .qmp = o->qmp,
		.slots = (const char *const *)o->slots.items, .msix = (enum fb_root_msix)o->msix,
		.replug = (const char *const *)o->replug.items,
		.dma_listen = o->dma_listen, .allow_dma = (const char *const *)o->allow_dma.items,
		.answer_ns = o->answer_ns, .poll_ns = o->scan_ns, .started = started, .arg = p};
	int err, status;

	err = identity_make(&p->self, common->node, "root", o->socket_dir);
	if (!err)
		err = daemon_init(&p->daemon, "root", common, stop, p);
	if (err)
		return exit_status(err);
	err = daemon_open_control(&p->daemon, common, verbs);
	if (!err)
		err = open_embedded(p, common);
	if (!err && p->box)
		err = cli_list_add(&o->connect, EMBEDDED);
	status = exit_status(err);
	if (err)
		goto free_box;
	config.peers = (const char *const *)o->connect.items;
	daemon_carrier(common, &config.carrier);
	config.carrier.self = p->self;
	config.carrier.tap = p->daemon.tap; /* and not the embedded box's: each TLP is to be seen once */
	err = fb_root_new(&p->root, p->daemon.loop, &config);
	status = exit_status(err);
	if (err)
		goto free_box;
	status = daemon_run(&p->daemon);

	/* Clients first: what they wait for is told to nobody once the root is gone. */
	fb_control_close(p->daemon.control);
	p->daemon.control = NULL;
	fb_root_free(p->root);
free_box:
	fb_box_free(p->box);
	daemon_fini(&p->daemon);
	return status;
}

/* 0 or -errno, logged. */
static int check_socket_dir(const char *dir)
{
	struct stat st;
	int err = stat(dir, &st) < 0 ? errno : !S_ISDIR(st.st_mode) ? ENOTDIR : access(dir, W_OK | X_OK) < 0 ? errno : 0;

	if (err)
		fb_error("root", "--socket-dir %s: %s", dir, strerror(err));
	return -err;
}

static int check(const void *program)
{
	const struct root_options *o = &((const struct root_program *)program)->options;

	if (!o->connect.n && !o->devices.n && !o->softpcie.n)
		fb_error("root", "--connect is missing: where is the box? For example --connect udp:192.0.2.1:7000");
	else if (!o->socket_dir)
		fb_error("root", "--socket-dir is missing: where are the functions' sockets to be?");
	else if (o->qmp && !o->slots.n)
		fb_error("root", "--qmp needs --slot: the IDs of QEMU's ports to plug into");
	else if (o->dma_listen && !o->allow_dma.n)
		fb_error("root", "--dma-listen needs --allow-dma: whom is what memory open to? For example "
				 "--allow-dma all,peer=192.0.2.7,ro");
	else if (!o->dma_listen && o->allow_dma.n)
		fb_error("root", "--allow-dma needs --dma-listen: the address where requesters come");
	else if (!o->qmp && o->slots.n)
		fb_error("root", "--slot needs --qmp: the socket through which QEMU is told to plug");
	else if (!o->qmp && o->replug.n)
		fb_error("root", "--replug needs --qmp: the socket through which QEMU is told to plug");
	else
		return check_socket_dir(o->socket_dir);
	return -EINVAL;
}

int cmd_root(int argc, char **argv)
{
	struct root_program p = {
		.options = {.answer_ns = 2000000000, .scan_ns = 1000000000, .stop_ns = 15000000000ull}};
	struct daemon_options common = DAEMON_DEFAULTS;
	struct cli cli = {
		.command = "root",
		.object = "root",
		.usage = "--connect ADDRESS… --socket-dir DIR [OPTION…]",
		.about = "Attaches functions of boxes to virtual machines: one vfio-user socket each.",
		.groups = {{"The root", root_table, &p.options}, {"Common options", daemon_option_table, &common}},
	};
	const struct daemon_main m = {
		.cli = &cli, .common = &common, .devices = &p.options.devices, .check = check, .serve = serve, .program = &p};

	return daemon_main(&m, argc, argv);
}
