/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "util/log.h"
#include "util/text.h"

static const struct {
	const char *name, *summary;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"box", "offer PCIe functions to the network (the device side)", cmd_box},
	{"root", "attach functions of boxes to virtual machines (the host side)", cmd_root},
	{"devices", "list the device models, and the options of one", cmd_devices},
	{"ls", "list the functions that daemons on this machine know", cmd_ls},
	{"stats", "show the daemons' counters", cmd_stats},
	{"capture", "write the TLPs that pass through a daemon to a file", cmd_capture},
	{"decode", "print the TLPs of a capture file, or one given in hexadecimal", cmd_decode},
	{"plug", "hot-plug a function into the virtual machine", cmd_plug},
	{"unplug", "take a function out of the virtual machine", cmd_unplug},
	{"dma", "read and write the memory of another host", cmd_dma},
	{"top", "watch functions: TLPs, bytes, latencies, losses", cmd_top},
	{"wire", "what of an Ethernet is left under each framing", cmd_wire},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *to)
{
	fprintf(to, "Usage: farbus COMMAND [OPTION…]\n\n"
		    "PCI Express over any network, in software.\n\nCommands:\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-9s%s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\nOptions:\n"
		    "  -h, --help      print this; \"farbus COMMAND --help\" prints a command's options\n"
		    "      --version   print the version\n\n"
		    "farbus(1) has it all.\n");
}

static int unknown_command(const char *word)
{
	const char *names[COMMANDS + 1], *near;

	for (unsigned i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	names[COMMANDS] = NULL;
	near = fb_nearest(word, names);
	if (near)
		fb_error(NULL, "no command \"%s\"; did you mean \"%s\"?", word, near);
	else
		fb_error(NULL, "no command \"%s\"; \"farbus --help\" lists them", word);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	fb_log_set_program("farbus");
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("farbus " FARBUS_VERSION "\n");
		return 0;
	}
	for (unsigned i = 0; i < COMMANDS; i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	return unknown_command(argv[1]);
}
