/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file. What is accepted must leave the target in a shape that the tables allow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "util/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct target {
	char *listen;
	uint32_t mtu, verbose;
	uint64_t hold;
	bool go_back_n;
	struct cli_list devices, only;
};
#define M(member) offsetof(struct target, member)

static const struct cli_option table[] = {
	{.value = {"listen", FB_OPTION_STRING, M(listen), 1, 128, .help = ""}, .argument = "A"},
	{.value = {"mtu", FB_OPTION_UINT, M(mtu), 1232, 65504, .help = ""}, .argument = "N"},
	{.value = {"hold", FB_OPTION_DURATION, M(hold), .help = ""}, .argument = "TIME"},
	{.value = {"go-back-n", FB_OPTION_BOOL, M(go_back_n), .help = ""}},
	{.value = {"device", FB_OPTION_STRING, M(devices), .help = ""}, .kind = CLI_LIST, .argument = "SPEC"},
	{.value = {"only", FB_OPTION_STRING, M(only), .help = ""}, .kind = CLI_LIST, .separator = ',', .argument = "ID"},
	{.value = {"config", FB_OPTION_STRING, M(listen), .help = ""}, .argument = "FILE", .only_here = true},
	{.value = {"verbose", FB_OPTION_UINT, M(verbose), 0, 2, .help = ""}, .kind = CLI_COUNT, .letter = 'v'},
	{.value = {.key = NULL}},
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fb_log_set_level((enum fb_log_level)-1); /* a line for each refusal would be most of the work */
	return 0;
}

static void check_list(const struct cli_list *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (!list->items[i])
			abort();
	}
	if (list->items && list->items[list->n])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target t = {.mtu = 1500};
	struct cli cli = {.command = "box", .usage = "", .about = "", .groups = {{"g", table, &t}}};
	int err = cli_read_config_text(&cli, "fuzz", (const char *)data, size, "box");

	check_list(&t.devices);
	check_list(&t.only);
	if (t.mtu < 1232 || t.mtu > 65504 || t.verbose > 2)
		abort();
	if (t.listen && (!*t.listen || strlen(t.listen) > 128))
		abort();
	if (!err && memchr(data, '\0', size))
		abort();
	cli_release(&cli);
	return 0;
}
