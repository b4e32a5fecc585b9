/* SPDX-License-Identifier: Apache-2.0 */
/* Device models as text: `farbus devices MODEL`, `--device help` and `--device nvme,help`. */
#ifndef FARBUS_PROGRAMS_MODEL_HELP_H
#define FARBUS_PROGRAMS_MODEL_HELP_H

#include "cli.h"
#include "farbus/device.h"

/* A built-in model, or that of "./x.so" or of a word in the folder for models, whole: fb_model_read().
 * 0; -EINVAL: there is none of that name; another -errno: it cannot be had. Logged. */
int model_find(struct fb_model *out, const char *object, const char *name);

/* Everything that the struct says. */
void model_print(const struct fb_model *model);
/* Each model that is built in, then each in the folder for models that has no name of those; `name` is for --device. */
void model_each(void (*model)(void *arg, const char *name, const struct fb_model *m), void *arg);

/* Numbers of this option are times ("20us"). */
bool model_option_is_time(const struct fb_option *option);

/* Did one of the --device words ask for help? Then it has been printed (1), or refused (-errno, logged). Else 0. */
int model_help(const char *object, const struct cli_list *devices);

#endif
