/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_TELLING_H
#define DATAPLANE_TELLING_H

/*
 * What the programs tell of packets (dataplane/bpf/tc_tell.h) as records MSG_RECORD_FLOW. Drops are
 * always told; flows that are let through while somebody observes: until then the program that
 * tells of them stands in no packet's way. Threading: the loop's thread.
 */

#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/veth.h"
#include "ring/msg.h"

enum { TELLING_OBSERVE_MAX_S = 600 }; /* who wants longer says so again */

struct telling;

typedef void (*telling_fn)(void *arg, const struct msg_flow *flow);

/* Before confinement: the kernel's memory is mapped. veth is borrowed. What a predecessor observed
 * for is over. */
int telling_open(struct veth *veth, struct telling **out, struct err *err) MUST_CHECK;
/* Pins stay. When it was started the memory goes in the loop's next turns. */
void telling_free(struct telling *w);
/* From now on calls back for each flow. */
int telling_start(struct telling *w, uv_loop_t *loop, telling_fn told, void *arg,
		  struct err *err) MUST_CHECK;
/* After telling_start: flows that are let through are told until then (CLOCK_MONOTONIC, capped); an
 * earlier time than now: no longer. */
int telling_observe(struct telling *w, uint64_t until_mono_ns, struct err *err) MUST_CHECK;

/* What waits to be told; tests call it. */
void telling_read(struct telling *w, telling_fn told, void *arg);
/* An event of the kernel's. mono_to_wall_ns: what the wall clock is ahead by. False: it does not
 * hold. */
bool telling_flow_of(const struct tc_event *event, int64_t mono_to_wall_ns, struct msg_flow *out);

#endif
