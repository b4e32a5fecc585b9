/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command is one file, cmd-<verb>.c, and one line in the table of main.c.
 * argv[0] is the command's own name. Exit status: 0; 1: it failed, here and
 * now; 2: the command line or the configuration is wrong, wherever and whenever
 * it is tried. One line on stderr has said why.
 */
#ifndef FARBUS_PROGRAMS_COMMAND_H
#define FARBUS_PROGRAMS_COMMAND_H

#include <errno.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Of an error that has been logged: whoever reads people's words returns -EINVAL if they are wrong in themselves. */
static inline int exit_status(int err)
{
	return !err ? 0 : err == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

int cmd_box(int argc, char **argv);
int cmd_root(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_plug(int argc, char **argv);
int cmd_unplug(int argc, char **argv);
int cmd_devices(int argc, char **argv);
int cmd_capture(int argc, char **argv);
int cmd_decode(int argc, char **argv);
int cmd_dma(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_wire(int argc, char **argv);

#endif
