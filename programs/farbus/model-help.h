/* SPDX-License-Identifier: Apache-2.0 */
/* `--device help` and `--device nvme,help`. */
#ifndef FARBUS_PROGRAMS_MODEL_HELP_H
#define FARBUS_PROGRAMS_MODEL_HELP_H

#include "cli.h"

/* Did one of the --device words ask for help? Then it has been printed (or refused: -EINVAL, logged): 1. Else 0. */
int model_help(const char *object, const struct cli_list *devices);

#endif
