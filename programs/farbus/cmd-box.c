/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "control/describe.h"
#include "daemon.h"
#include "devices/models.h"
#include "endpoint/endpoint.h"
#include "identity.h"
#include "util/log.h"

struct box_options {
	char *listen, *softpcie;
	struct cli_list devices;
	uint64_t stop_ns;
};
#define M(member) offsetof(struct box_options, member)

static const struct cli_option box_table[] = {
	{.value = {"listen", FB_OPTION_STRING, M(listen), 1, 128, .help =
		"where roots find this box: udp:ADDR:PORT,\nudp:[ADDR]:PORT; port 0 takes a free one"},
	 .argument = "ADDRESS"},
	{.value = {"softpcie", FB_OPTION_STRING, M(softpcie), 1, 512, .help =
		"instead of listening: the one --device stands behind\nthe SoftPCIe/NetTLP adapter at this IPv4 address:\n"
		"ADDR[,OPTION=VALUE…]"},
	 .argument = "SPEC"},
	{.value = {"device", FB_OPTION_STRING, M(devices), .help =
		"a function: MODEL,id=NAME[,OPTION=VALUE…]; repeats;\n\"help\" lists the models, \"MODEL,help\" its options"},
	 .kind = CLI_LIST, .argument = "SPEC"},
	{.value = {"stop-time", FB_OPTION_DURATION, M(stop_ns), 0, 3600000000000, .help =
		"on SIGTERM, wait so long for requests in flight"},
	 .argument = "TIME", .shown = "10s"},
	{.value = {.key = NULL}},
};

struct box_program {
	struct daemon daemon;
	struct fb_box *box;
	struct box_options options;
	struct fb_link_identity self;
};

static json_t *verb_ls(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct box_program *p = arg;

	return daemon_describe(&p->daemon, fb_describe_box_ls(p->box, json_object_get(request, "ids")), &p->self, false);
}

static json_t *verb_stats(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct box_program *p = arg;

	return daemon_describe(&p->daemon, fb_describe_box_stats(p->box, json_object_get(request, "ids")), &p->self, true);
}

static json_t *verb_capture(void *arg, const json_t *request, struct fb_control_call *call)
{
	struct box_program *p = arg;

	return daemon_capture(&p->daemon, request, call);
}

static const struct fb_control_verb verbs[] = {
	{"ls", verb_ls}, {"stats", verb_stats}, {"capture", verb_capture}, {NULL, NULL}};

static void stop(void *arg)
{
	struct box_program *p = arg;

	fb_box_stop(p->box, p->options.stop_ns, daemon_quit, &p->daemon);
}

static int serve(void *program, const struct daemon_options *common)
{
	struct box_program *p = program;
	struct fb_box_config config = {
		.models = fb_models, .devices = (const char *const *)p->options.devices.items, .group = common->group,
		.softpcie = p->options.softpcie};
	char local[96];
	int err, status;

	err = identity_make(&p->self, common->node, "box", p->options.listen ? p->options.listen : p->options.softpcie);
	if (!err)
		err = daemon_init(&p->daemon, "box", common, stop, p);
	if (err)
		return exit_status(err);
	daemon_carrier(common, &config.carrier);
	config.carrier.listen = p->options.listen;
	config.carrier.self = p->self;
	config.carrier.tap = config.wire_tap = p->daemon.tap;
	/* The control socket first: one that is in use says that this box runs already, before files are touched. */
	err = daemon_open_control(&p->daemon, common, verbs);
	if (!err)
		err = fb_box_new(&p->box, p->daemon.loop, &config);
	status = exit_status(err);
	if (err)
		goto fini_daemon;
	if (p->options.softpcie)
		daemon_ready(&p->daemon, "for the adapter at %s", fb_box_softpcie(p->box));
	else
		daemon_ready(&p->daemon, "listening on %s; %u function%s",
			     fb_carrier_local(fb_box_carrier(p->box), local, sizeof(local)), fb_box_functions(p->box),
			     fb_box_functions(p->box) == 1 ? "" : "s");
	status = daemon_run(&p->daemon);
	fb_box_free(p->box);

fini_daemon:
	daemon_fini(&p->daemon);
	return status;
}

static int check(const void *program)
{
	const struct box_options *o = &((const struct box_program *)program)->options;

	if (o->listen && o->softpcie)
		fb_error("box", "--listen and --softpcie: a function is behind an adapter or for roots, not both");
	else if (!o->listen && !o->softpcie)
		fb_error("box", "--listen is missing: where do roots find this box? For example --listen udp:0.0.0.0:7000");
	else if (!o->devices.n)
		fb_error("box", "--device is missing: what is to be offered? \"--device help\" lists the models");
	else
		return 0;
	return -EINVAL;
}

int cmd_box(int argc, char **argv)
{
	struct box_program p = {.options = {.stop_ns = 10000000000ull}};
	struct daemon_options common = DAEMON_DEFAULTS;
	struct cli cli = {
		.command = "box",
		.object = "box",
		.usage = "--listen ADDRESS|--softpcie SPEC --device SPEC… [OPTION…]",
		.about = "Offers PCIe functions, made in software, to roots on the network.",
		.groups = {{"The box", box_table, &p.options}, {"Common options", daemon_option_table, &common}},
	};
	const struct daemon_main m = {
		.cli = &cli, .common = &common, .devices = &p.options.devices, .check = check, .serve = serve, .program = &p};

	return daemon_main(&m, argc, argv);
}
