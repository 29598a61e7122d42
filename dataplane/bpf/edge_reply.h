/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_REPLY_H
#define DATAPLANE_BPF_EDGE_REPLY_H

/*
 * What containers say to clients in fragments: the first one is noted in one of the few places that
 * its container has, and the later ones do as it did. One that finds another packet there, since
 * its container says more at a time than it has places, is as one whose first was never seen.
 */

#include <bpf/bpf_endian.h>
#include "dataplane/bpf/edge_parse.h"
#include "dataplane/bpf/edge_tables.h"

/* Packets that follow each other have places of their own: their numbers count up. */
static __always_inline struct edge_place
place_of(__u32 node, __u32 container, const struct edge_fragment *f)
{
	const __u32 *dest = (const __u32 *)f->dest;
	__u32 id = bpf_ntohl(f->id);

	id ^= id >> 16 ^ dest[0] ^ dest[1] ^ dest[2] ^ dest[3];
	return (struct edge_place){.node = node,
				   .container = container,
				   .slot = id * 0x9e3779b1 >> (32 - EDGE_REPLIES_BITS)};
}

static __always_inline void
reply_lead(const struct edge_place *place, const struct edge_reply *first)
{
	bpf_map_update_elem(&replies, place, first, BPF_ANY);
}

/* The first fragment of this packet, when it is remembered. */
static __always_inline const struct edge_reply *
reply_follow(const struct edge_place *place, const struct edge_fragment *f)
{
	const struct edge_reply *first = bpf_map_lookup_elem(&replies, place);

	return first && edge_same16(first->of.source, f->source) &&
			       edge_same16(first->of.dest, f->dest) && first->of.id == f->id &&
			       first->of.protocol == f->protocol
		       ? first
		       : 0;
}

#endif
