/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_ACROSS_H
#define DATAPLANE_ACROSS_H

/*
 * The programs that bring clients' packets to replicas of other nodes and back
 * (dataplane/bpf/clients.bpf.c, docs/decisions/017). They have no maps of their own: they use those
 * of the balancer and those of the programs between nodes, and are called by both. They stay in
 * force when this process dies, as those do; a successor puts its own in their places. Threading:
 * one owner; calls do not block.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "dataplane/lb.h"
#include "dataplane/veth.h"

struct across;

/* Before confinement; veth is borrowed. */
int across_new(struct veth *veth, struct across **out, struct err *err) MUST_CHECK;
void across_free(struct across *a); /* what is in force stays */

/* The balancer is there (borrowed): what other nodes send in a header is taken from here on. */
int across_begin(struct across *a, struct lb *lb, struct err *err) MUST_CHECK;
/* It goes: nothing is taken, or sent, any more. */
void across_end(struct across *a);
bool across_runs(const struct across *a);
/* The fabric's end of the uplink: what XDP sends there goes on to other nodes. 0: there is none. */
int across_uplink(struct across *a, uint32_t ifindex, struct err *err) MUST_CHECK;

enum across_program { ACROSS_OUT, ACROSS_IN, ACROSS_BACK, ACROSS_WRAP, ACROSS_PROGRAMS };

/* Descriptors of the programs in force: tests run packets through them. */
int across_program(const struct across *a, enum across_program which);

#endif
