/* SPDX-License-Identifier: Apache-2.0 */
/* Options from a command line and a configuration file; what is logged is caught from stderr. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli.h"
#include "identity.h"

struct target {
	char *name;
	uint32_t number, verbose;
	uint64_t time;
	bool flag;
	unsigned choice;
	struct cli_list devices, ids;
};
#define M(member) offsetof(struct target, member)

static const char *const colours[] = {"red", "green", NULL};
static const struct cli_option table[] = {
	{.value = {"name", FB_OPTION_STRING, M(name), 1, 300, .help = "h"}, .argument = "NAME"},
	{.value = {"number", FB_OPTION_UINT, M(number), 1, 10, .help = "h"}, .argument = "N"},
	{.value = {"time", FB_OPTION_DURATION, M(time), .help = "h"}, .argument = "TIME"},
	{.value = {"flag", FB_OPTION_BOOL, M(flag), .help = "h"}},
	{.value = {"colour", FB_OPTION_CHOICE, M(choice), 0, 0, colours, .help = "h"}, .argument = "C"},
	{.value = {.key = NULL}},
};
static const struct cli_option more[] = {
	{.value = {"device", FB_OPTION_STRING, M(devices), .help = "h"}, .kind = CLI_LIST, .argument = "SPEC"},
	{.value = {"only", FB_OPTION_STRING, M(ids), .help = "h"}, .kind = CLI_LIST, .separator = ',', .argument = "IDS"},
	{.value = {"config", FB_OPTION_STRING, M(name), .help = "h"}, .argument = "FILE", .only_here = true},
	{.value = {"verbose", FB_OPTION_UINT, M(verbose), 0, 2, .help = "h"}, .kind = CLI_COUNT, .letter = 'v'},
	{.value = {.key = NULL}},
};

static struct target t;
static struct cli cli;

static int set_up(void **state)
{
	memset(&t, 0, sizeof(t));
	cli = (struct cli){.command = "box", .object = "box", .usage = "", .about = "", .groups = {{"a", table, &t}, {"b", more, &t}}};
	return 0;
}

static int tear_down(void **state)
{
	cli_release(&cli);
	return 0;
}

/* stderr of what runs between these two. */
static int saved, pipe_fds[2];
static char logged[4096];

static void listen_to_log(void)
{
	fflush(stderr);
	saved = dup(STDERR_FILENO);
	assert_int_equal(pipe2(pipe_fds, O_NONBLOCK), 0);
	dup2(pipe_fds[1], STDERR_FILENO);
}

static void take_log(void)
{
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(pipe_fds[0], logged, sizeof(logged) - 1);
	logged[n > 0 ? n : 0] = '\0';
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* Exactly one line, which ends so. */
static void said(const char *end)
{
	size_t len = strlen(logged), want = strlen(end);
	char *newline = strchr(logged, '\n');

	if (len <= want + 1 || newline != logged + len - 1 || strncmp(newline - want, end, want))
		fail_msg("logged: %s\nexpected at its end: %s", logged, end);
}

static int config(const char *text)
{
	int err;

	listen_to_log();
	err = cli_read_config_text(&cli, "f.conf", text, strlen(text), "box");
	take_log();
	return err;
}

static int line(char *first, ...)
{
	static char *argv[32]; /* cli.args points into it */
	int argc = 2, err;
	va_list ap;

	argv[0] = (char *)"box";
	argv[1] = first;
	va_start(ap, first);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	listen_to_log();
	err = cli_parse(&cli, argc, argv);
	take_log();
	return err;
}

static void takes_a_command_line(void **state)
{
	assert_int_equal(line("--name", "x", "--number=7", "-vv", "--flag", "--colour", "green", "--device", "a,b",
			      "--device=c", "--only", "p,q", "--only", "r", "rest", NULL),
			 0);
	assert_string_equal(t.name, "x");
	assert_int_equal(t.number, 7);
	assert_int_equal(t.verbose, 2);
	assert_true(t.flag);
	assert_int_equal(t.choice, 1);
	assert_int_equal(t.devices.n, 2);
	assert_string_equal(t.devices.items[0], "a,b"); /* no separator: one item */
	assert_null(t.devices.items[2]);
	assert_int_equal(t.ids.n, 3);
	assert_string_equal(t.ids.items[2], "r");
	assert_int_equal(cli.n_args, 1);
	assert_string_equal(cli.args[0], "rest");
	assert_string_equal(logged, "");
}

static void refuses_a_command_line(void **state)
{
	assert_int_equal(line("--nane", "x", NULL), -EINVAL);
	said("box: no option \"--nane\"; did you mean \"--name\"?");
	assert_int_equal(line("--number", "11", NULL), -EINVAL);
	said("box: number=11: must be a number, from 1 to 10");
	assert_int_equal(line("--time", "5", NULL), -EINVAL);
	said("box: time=5: must be a time such as 10ms");
	assert_int_equal(line("--colour", "gren", NULL), -EINVAL);
	said("box: colour=gren: must be one of red, green; did you mean \"green\"?");
	assert_int_equal(line("--name", NULL), -EINVAL);
	said("box: --name: its value (NAME) is missing");
	assert_int_equal(line("--flag=on", NULL), -EINVAL);
	said("box: --flag: takes no value");
	assert_int_equal(line("--n", "1", NULL), -EINVAL);
	said("box: --n: more than one option begins so");
	assert_int_equal(line("--only", "a,", "--only", "", NULL), -EINVAL);
	said("box: only: an empty value");
	assert_int_equal(line("-q", NULL), -EINVAL);
	said("box: no option \"-q\"; \"farbus box --help\" lists them");
	assert_int_equal(line("--number=1", "--number=1", NULL), -EINVAL);
	said("box: --number: given twice");
}

static void takes_a_file(void **state)
{
	assert_int_equal(config("# a comment\n[root]\nname = other\nnonsense-of-root = 1\n[box]\n"
				"name = x ; and why\nnumber=3\n\nverbose = 2\nflag = on\n"
				"device = nvme,id=a,\n    file=/x\ndevice = nvme,id=b\nonly = p,q\n"),
			 0);
	assert_string_equal(t.name, "x");
	assert_int_equal(t.number, 3);
	assert_int_equal(t.verbose, 2);
	assert_true(t.flag);
	assert_int_equal(t.devices.n, 2);
	assert_string_equal(t.devices.items[0], "nvme,id=a,file=/x"); /* the indented line goes on */
	assert_string_equal(t.devices.items[1], "nvme,id=b");
	assert_int_equal(t.ids.n, 2);
}

static void last_line_needs_no_end(void **state)
{
	assert_int_equal(config("[box]\nname = x"), 0);
	assert_string_equal(t.name, "x");
	assert_int_equal(config(""), 0);
}

static void command_line_wins(void **state)
{
	assert_int_equal(line("--number", "7", "--device", "a", NULL), 0);
	assert_int_equal(config("[box]\nnumber = 3\nname = y\ndevice = b\n"), 0);
	assert_int_equal(t.number, 7);
	assert_string_equal(t.name, "y");
	assert_int_equal(t.devices.n, 2); /* lists are joined */
	assert_string_equal(t.devices.items[1], "b");
}

static void refuses_a_file(void **state)
{
	char text[4096];

	assert_int_equal(config("[box]\nname = x\nnunber = 3\nnumber = bad\n"), -EINVAL);
	said("f.conf:3: no option \"nunber\"; did you mean \"number\"?");
	assert_int_equal(config("[box]\nnumber = 3\nnumber = 4\n"), -EINVAL);
	said("f.conf:3: number: given twice");
	assert_int_equal(config("[box]\n\n\nnumber = 11\n[root]\n"), -EINVAL);
	said("f.conf:4: number=11: must be a number, from 1 to 10");
	assert_int_equal(config("[bix]\nnumber = 1\n"), -EINVAL);
	said("f.conf:2: no section \"[bix]\"; did you mean \"[box]\"?");
	assert_int_equal(config("number = 1\n"), -EINVAL);
	said("f.conf:1: stands before any section; \"[box]\" is missing");
	assert_int_equal(config("# one\n[box\nnumber = 1\n"), -EINVAL);
	said("f.conf:2: the name of a section begins here: its ] is missing");
	assert_int_equal(config("[box]\njust words\n"), -EINVAL);
	said("f.conf:2: neither \"[section]\" nor \"name = value\" nor a comment (#)");
	assert_int_equal(config("[box]\nconfig = other\n"), -EINVAL);
	said("f.conf:2: \"config\" has its place on the command line only");
	assert_int_equal(config("[box]\nhelp = 1\n"), -EINVAL);
	said("f.conf:2: no option \"help\"; \"farbus box --help\" lists them");
	assert_int_equal(config("[box]\nverbose = 3\n"), -EINVAL);
	said("f.conf:2: verbose=3: must be a number, from 0 to 2");

	strcpy(text, "[box]\ndevice = ");
	memset(text + strlen(text), 'x', 2000);
	assert_int_equal(config(text), -EMSGSIZE);
	assert_non_null(strstr(logged, "f.conf:2: longer than "));
	assert_non_null(strstr(logged, "go on in the next line, indented"));
	assert_int_equal(t.devices.n, 0);
}

static void value_has_an_end(void **state)
{
	static char text[64 * 1024];
	size_t n = (size_t)sprintf(text, "[box]\ndevice = a\n");

	while (n < sizeof(text) - 200)
		n += (size_t)sprintf(text + n, " %0150d\n", 0);
	assert_int_equal(config(text), -EMSGSIZE);
	assert_non_null(strstr(logged, "device: the value is longer than 8191 bytes"));
}

static void nul_is_no_text(void **state)
{
	listen_to_log();
	assert_int_equal(cli_read_config_text(&cli, "f.conf", "[box]\nna\0me = 1\n", 16, "box"), -EBADMSG);
	take_log();
	said("f.conf:2: a NUL byte: this is not a text file");
}

static void files_that_are_none(void **state)
{
	listen_to_log();
	assert_int_equal(cli_read_config(&cli, "/nonexistent/f.conf", "box"), -ENOENT);
	take_log();
	said("/nonexistent/f.conf: No such file or directory");
	listen_to_log();
	assert_int_equal(cli_read_config(&cli, "/tmp", "box"), -EISDIR);
	take_log();
	said("/tmp: Is a directory");
	listen_to_log();
	assert_int_equal(cli_read_config(&cli, "/dev/zero", "box"), -EINVAL);
	take_log();
}

static void identities(void **state)
{
	char path[] = "/tmp/farbus-machine-id-XXXXXX";
	unsigned char a[16], b[16], c[16];
	int fd = mkstemp(path);
	struct fb_link_identity i;
	char text[UUID_TEXT];

	assert_int_equal(write(fd, "0123456789abcdef0123456789abcdef\n", 33), 33);
	assert_int_equal(identity_derive(a, path, "root", "/"), 0);
	assert_int_equal(identity_derive(b, path, "root", "/"), 0);
	assert_memory_equal(a, b, 16); /* the same over restarts */
	assert_int_equal(identity_derive(b, path, "root", "/../"), 0);
	assert_memory_equal(a, b, 16); /* and by another name of the directory */
	assert_int_equal(identity_derive(c, path, "root", "/tmp"), 0);
	assert_memory_not_equal(a, c, 16);
	assert_int_equal(identity_derive(c, path, "box", "/"), 0);
	assert_memory_not_equal(a, c, 16);
	assert_int_equal(a[6] >> 4, 5); /* version 5 */
	/* Nobody can tell the machine's ID from it at sight. */
	assert_memory_not_equal(a, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "uninitialized\n", 14, 0), 14);
	assert_int_equal(identity_derive(c, path, "box", "/"), -EBADMSG);
	unlink(path);
	close(fd);
	assert_int_equal(identity_derive(c, path, "box", "/"), -ENOENT);

	assert_int_equal(identity_make(&i, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "root", "/"), 0);
	assert_string_equal(identity_text(&i, text), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
	listen_to_log();
	assert_int_equal(identity_make(&i, "6ba7b810", "root", "/"), -EINVAL);
	take_log();
	said("root: --node=6ba7b810: must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(takes_a_command_line), TEST(refuses_a_command_line), TEST(takes_a_file), TEST(last_line_needs_no_end),
		TEST(command_line_wins),    TEST(refuses_a_file),	  TEST(value_has_an_end), TEST(nul_is_no_text),
		TEST(files_that_are_none),  TEST(identities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
