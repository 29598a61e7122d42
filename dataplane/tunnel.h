/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_TUNNEL_H
#define DATAPLANE_TUNNEL_H

/*
 * The data path between nodes: maps of peers and the two programs on the VXLAN device that node
 * made. Everything is pinned with what dataplane/veth.h pins and is taken over in the same way.
 * Threading: one owner; calls do not block.
 */

#include <stdint.h>
#include "base/err.h"
#include "base/metric.h"
#include "dataplane/bpf/tc_overlay.h"
#include "dataplane/veth.h"
#include "ring/msg.h"

enum { TUNNEL_PEERS_MAX = TC_OVERLAY_PEERS_MAX };

struct tunnel;

/* veth is borrowed. NULL: out of memory. */
struct tunnel *tunnel_new(struct veth *veth);
void tunnel_free(struct tunnel *t); /* pins stay */

/* Makes the maps hold these peers and no others: new ones first, so that packets of a peer that
 * stays are never without it. Rows are another process's and are checked; one that does not hold is
 * left out, and said. */
int tunnel_peers(struct tunnel *t, const struct msg_peer *const *rows, size_t count,
		 struct err *err) MUST_CHECK;
/* The device (NULL, or of index 0: none) and this node's addresses (NULL: not known yet). */
int tunnel_device(struct tunnel *t, const struct msg_underlay *underlay,
		  const struct msg_prefix *prefix, struct err *err) MUST_CHECK;
/* Adds what was counted since the last time to the metrics. */
void tunnel_count(struct tunnel *t, struct metric_page *page);
/* Shows all of its metrics, at 0. */
void tunnel_begin_metrics(struct metric_page *page);

/* Sum over CPUs of each counter of enum tc_overlay_count; of a peer's bytes. -1: not to be read. */
int tunnel_counts(struct tunnel *t, uint64_t out[TC_OVERLAY_COUNTS]);
int tunnel_bytes(struct tunnel *t, uint64_t id, struct tc_overlay_bytes *out);
/* Descriptors of the programs: tests run packets through them. */
int tunnel_program_in(const struct tunnel *t);
int tunnel_program_out(const struct tunnel *t);

#endif
