/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "capturing.h"
#include "command.h"
#include "control/describe.h"
#include "daemon.h"
#include "identity.h"
#include "model-help.h"
#include "util/log.h"

#define M(member) offsetof(struct daemon_options, member)

const struct cli_option daemon_option_table[] = {
	{.value = {"hold", FB_OPTION_DURATION, M(hold_ns), 100000000, 86400000000000, .help =
		"silence of a peer after which its session is over"},
	 .argument = "TIME", .shown = "30s"},
	{.value = {"group", FB_OPTION_UINT, M(group), 0, UINT32_MAX, .help =
		"box and root work together only within one group"},
	 .argument = "N", .shown = "0: no group"},
	{.value = {"poll-us", FB_OPTION_UINT, M(poll_us), 0, 1000000, .help =
		"spin for so long at most before sleeping, where\ntraffic comes that fast; 0 never spins"},
	 .argument = "N", .shown = "50"},
	{.value = {"mtu", FB_OPTION_UINT, M(mtu), FB_LINK_MTU_MIN, FB_LINK_MTU_MAX, .help =
		"largest datagram, bytes of UDP payload, 1232 to 65504"},
	 .argument = "N", .shown = "what the interface allows"},
	{.value = {"fault", FB_OPTION_STRING, M(fault), 1, 512, .help =
		"spoil what is sent, for tests:\ndrop=1%,reorder=2%,delay=1ms+-0.5,dup=0.1%,\ncorrupt=0.1%,rate=1G,seed=7"},
	 .argument = "SPEC"},
	{.value = {"go-back-n", FB_OPTION_BOOL, M(go_back_n), .help =
		"retransmit by Go-Back-N instead of selective repeat"}},
	{.value = {"one-tlp-a-datagram", FB_OPTION_BOOL, M(one_tlp_a_datagram), .help =
		"send each TLP in a datagram of its own,\nas the published systems do, for comparison"}},
	{.value = {"capture", FB_OPTION_STRING, M(captures), .help =
		"write the TLPs that pass to a pcapng file;\noptions: filter, snap, size, files, buffer, count,\nduration, "
		"as of \"farbus capture\"; repeats"},
	 .kind = CLI_LIST, .argument = "FILE[,OPTION=VALUE…]"},
	{.value = {"node", FB_OPTION_STRING, M(node), 1, 64, .help = "identity of this process on the network"},
	 .argument = "UUID", .shown = "made from /etc/machine-id"},
	{.value = {"control", FB_OPTION_STRING, M(control), 1, 107, .help = "control socket of ls, stats and plug"},
	 .argument = "PATH", .shown = "/run/farbus/ROLE-PID.sock"},
	{.value = {"config", FB_OPTION_STRING, M(config), 1, 4096, .help =
		"read options from a file; what stands here wins"},
	 .argument = "FILE", .only_here = true},
	{.value = {"verbose", FB_OPTION_UINT, M(verbose), 0, 2, .help = "log more; twice: log each TLP"},
	 .kind = CLI_COUNT, .letter = 'v'},
	{.value = {.key = NULL}},
};

/* Command line, then configuration file, then log level. 0, 1 (help printed) or -errno, logged. */
static int parse(struct cli *cli, struct daemon_options *options, int argc, char **argv)
{
	int err = cli_parse(cli, argc, argv);

	if (err)
		return err;
	if (cli->n_args) {
		fb_error(cli->object, "\"%s\" is one word too many: every word here belongs to an option", cli->args[0]);
		return -EINVAL;
	}
	if (options->config) {
		err = cli_read_config(cli, options->config, cli->command);
		if (err)
			return err;
	}
	fb_log_set_level((enum fb_log_level)(FB_LOG_INFO + (options->verbose > 2 ? 2 : options->verbose)));
	return 0;
}

int daemon_main(const struct daemon_main *m, int argc, char **argv)
{
	int err, status;

	fb_log_set_program(NULL);
	err = parse(m->cli, m->common, argc, argv);
	if (err == 0)
		err = model_help(m->cli->object, m->devices);
	if (err == 0)
		err = m->check(m->program);
	if (err == 0)
		status = m->serve(m->program, m->common);
	else
		status = err > 0 ? 0 : exit_status(err);
	cli_release(m->cli);
	return status;
}

void daemon_carrier(const struct daemon_options *options, struct fb_carrier_config *carrier)
{
	fb_link_config_default(&carrier->link);
	carrier->link.hold_ns = options->hold_ns;
	carrier->link.go_back_n = options->go_back_n;
	carrier->link.one_tlp_a_datagram = options->one_tlp_a_datagram;
	carrier->link.group = options->group;
	carrier->mtu = options->mtu;
	carrier->fault = options->fault;
}

/* sd_notify(3): one datagram to the socket that the service manager names; a leading @ is an abstract one. */
static void notify_service_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	memcpy(addr.sun_path, path, len);
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = '\0';
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		fb_debug(NULL, "%s: %s", path, strerror(errno));
	close(fd);
}

static void signal_came(struct fb_fd *w, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)w - offsetof(struct daemon, signals));
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (d->n_signals++) {
		fb_warn(d->role, "a second signal: stopping at once");
		d->status = 1;
		fb_loop_stop(d->loop);
		return;
	}
	fb_info(d->role, "SIG%s: stopping", sigabbrev_np((int)info.ssi_signo));
	notify_service_manager("STOPPING=1");
	d->stop(d->arg);
}

/*
 * A function takes a socket, a listener and an eventfd for each vector: some ten
 * of them reach the customary soft limit of 1,024. That is for users of select().
 */
static void all_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static const char *writer_name(const struct daemon *d)
{
	return !strcmp(d->role, "box") ? "farbus box " FARBUS_VERSION : "farbus root " FARBUS_VERSION;
}

json_t *daemon_capture(struct daemon *d, const json_t *request, struct fb_control_call *call)
{
	return capturing_verb(d->tap, writer_name(d), request, call);
}

static int start_captures(struct daemon *d, const struct cli_list *specs)
{
	int err = 0;

	for (unsigned i = 0; i < specs->n && !err; i++)
		err = capturing_start(d->tap, specs->items[i], writer_name(d));
	return err;
}

int daemon_init(struct daemon *d, const char *role, const struct daemon_options *options, void (*stop)(void *arg),
		void *arg)
{
	sigset_t set;
	int fd, err;

	memset(d, 0, sizeof(*d));
	d->role = role;
	d->stop = stop;
	d->arg = arg;
	d->signals.ready = signal_came;
	all_descriptors();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of the write, not the end of the box */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP); /* the terminal went: a root must still unplug */
	sigprocmask(SIG_BLOCK, &set, NULL);
	err = fb_loop_new(&d->loop, options->poll_us);
	if (err) {
		fb_error(role, "event loop: %s", strerror(-err));
		return err;
	}
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	err = fd < 0 ? -errno : fb_fd_add(d->loop, &d->signals, fd, EPOLLIN);
	if (err) {
		fb_error(role, "signalfd: %s", strerror(-err));
		if (fd >= 0)
			close(fd);
		fb_loop_free(d->loop);
		return err;
	}
	err = fb_tap_new(&d->tap, d->loop);
	if (!err)
		err = start_captures(d, &options->captures);
	if (err)
		daemon_fini(d);
	return err;
}

int daemon_open_control(struct daemon *d, const struct daemon_options *options, const struct fb_control_verb *verbs)
{
	const struct fb_control_config config = {
		.path = options->control, .role = d->role, .verbs = verbs, .arg = d->arg};

	return fb_control_open(&d->control, d->loop, &config);
}

void daemon_ready(struct daemon *d, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fb_info(d->role, "ready: %s; control socket %s", text, fb_control_path(d->control));
	notify_service_manager("READY=1");
}

int daemon_run(struct daemon *d)
{
	int err = fb_loop_run(d->loop);

	if (err) {
		fb_error(d->role, "event loop: %s", strerror(-err));
		d->status = 1;
	}
	return d->status;
}

void daemon_quit(void *daemon)
{
	struct daemon *d = daemon;

	fb_loop_stop(d->loop);
}

void daemon_fini(struct daemon *d)
{
	fb_control_close(d->control);
	fb_tap_free(d->tap);
	fb_fd_del(&d->signals);
	close(d->signals.fd);
	fb_loop_free(d->loop);
}

json_t *daemon_describe(const struct daemon *d, json_t *object, const struct fb_link_identity *self, bool with_loop)
{
	char node[UUID_TEXT];

	json_object_set_new(object, "pid", json_integer(getpid()));
	json_object_set_new(object, "version", json_string(FARBUS_VERSION));
	json_object_set_new(object, "node", json_string(identity_text(self, node)));
	if (with_loop) {
		json_object_set_new(object, "capture", fb_describe_capture(fb_tap_stats(d->tap)));
		json_object_set_new(object, "loop", fb_describe_loop(fb_loop_stats(d->loop)));
	}
	return object;
}
