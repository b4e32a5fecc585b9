/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `farbus ls` and `farbus stats` show, as JSON. The keys are documented in
 * docs/operations.md and stay: programs read them. New ones may come.
 * All return a new reference, NULL without memory.
 */
#ifndef FARBUS_CONTROL_DESCRIBE_H
#define FARBUS_CONTROL_DESCRIBE_H

#include <jansson.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_box;
struct fb_root;
struct fb_port_stats;
struct fb_net_stats;
struct fb_carrier_stats;
struct fb_loop_stats;
struct fb_histogram;
struct fb_tap_stats;

json_t *fb_describe_port(const struct fb_port_stats *stats);
json_t *fb_describe_net(const struct fb_net_stats *stats);
json_t *fb_describe_carrier(const struct fb_carrier_stats *stats);
/* "n", "mean_ns", "p50_ns" … and "buckets": [[ns, samples], …]. `times` NULL: null. */
json_t *fb_describe_times(const struct fb_histogram *times);
json_t *fb_describe_loop(const struct fb_loop_stats *stats);
json_t *fb_describe_capture(const struct fb_tap_stats *stats);

json_t *fb_describe_bdf(uint16_t bdf);              /* "01:00.0", null for 0 */
json_t *fb_describe_hex(uint32_t value, int digits); /* "1b36" */

/*
 * One object each; `only` (may be NULL) is an array of IDs: no other functions
 * are in "functions".
 */
json_t *fb_describe_box_ls(struct fb_box *box, const json_t *only);
json_t *fb_describe_box_stats(struct fb_box *box, const json_t *only);
json_t *fb_describe_root_ls(struct fb_root *root, const json_t *only);
json_t *fb_describe_root_stats(struct fb_root *root, const json_t *only);

/* Is `id` in `only`, or is there no `only`? */
int fb_describe_wanted(const json_t *only, const char *id);

#ifdef __cplusplus
}
#endif
#endif
