/* SPDX-License-Identifier: Apache-2.0 */
/* One function between a scripted box and a scripted VM: what its test programs share. */
#ifndef FARBUS_TESTS_UNIT_ROOT_FUNCTION_TESTING_H
#define FARBUS_TESTS_UNIT_ROOT_FUNCTION_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake.h"
#include "util/reader.h"

static struct fake k;
static struct client c;

static int setup(void **state)
{
	fb_log_set_level(FB_LOG_ERROR);
	fake_init(&k, false);
	fake_connect(&k);
	return 0;
}

__attribute__((unused)) static int setup_attached(void **state)
{
	setup(state);
	client_attach(&c, &k);
	return 0;
}

static int teardown(void **state)
{
	client_close(&c);
	fake_free(&k);
	return 0;
}

__attribute__((unused)) static bool state_is_ready(void *arg) { return k.f->state == FB_ROOT_READY; }
__attribute__((unused)) static bool state_is_absent(void *arg) { return k.f->state == FB_ROOT_ABSENT; }

__attribute__((unused)) static int memory(size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

__attribute__((unused)) static void enable(struct client *cl, uint16_t command)
{
	client_cfg_write(cl, 0x04, command, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_attached, teardown)
#define R(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
