/* SPDX-License-Identifier: Apache-2.0 */
/* The models that are built in. The list is made from the words in src/devices/meson.build. */
#ifndef FARBUS_DEVICES_MODELS_H
#define FARBUS_DEVICES_MODELS_H

#include "farbus/device.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct fb_model *const fb_models[]; /* NULL-terminated */

#ifdef __cplusplus
}
#endif
#endif
