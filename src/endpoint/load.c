/* SPDX-License-Identifier: Apache-2.0 */
/* Models from shared objects: each exports `const struct fb_model farbus_model`. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint/device_impl.h"

static int open_model(const char *path, const struct fb_model **out)
{
	struct fb_model checked;
	const struct fb_model *model;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		fb_error(NULL, "device model: %s", dlerror());
		return -ELIBACC;
	}
	model = dlsym(handle, "farbus_model");
	if (!model)
		fb_error(path, "no device model: it has no symbol farbus_model");
	else if (!fb_model_read(&checked, model, path)) {
		*out = model;
		return 0;
	}
	dlclose(handle);
	return -ELIBBAD;
}

static const char *folder(void)
{
	const char *dir = getenv("FARBUS_MODELS");

	return dir && *dir ? dir : FARBUS_MODEL_DIR;
}

int fb_model_load(const char *name, const struct fb_model **out)
{
	char path[4096];

	if (strchr(name, '/'))
		return open_model(name, out);
	if (!*name || snprintf(path, sizeof(path), "%s/%s.so", folder(), name) >= (int)sizeof(path) ||
	    access(path, F_OK) != 0)
		return -ENOENT;
	return open_model(path, out);
}

static int is_model(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 3 && entry->d_name[0] != '.' && !strcmp(entry->d_name + len - 3, ".so");
}

void fb_model_words(void (*put)(void *arg, const char *word), void *arg)
{
	struct dirent **entries;
	int n = scandir(folder(), &entries, is_model, alphasort);

	if (n < 0) /* no folder: none are installed */
		return;
	for (int i = 0; i < n; i++) {
		entries[i]->d_name[strlen(entries[i]->d_name) - 3] = '\0';
		put(arg, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}
