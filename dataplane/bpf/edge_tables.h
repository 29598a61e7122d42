/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_TABLES_H
#define DATAPLANE_BPF_EDGE_TABLES_H

/* The maps of the balancer that say what is what: programs of clients.bpf.c use them, too. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "dataplane/bpf/edge.h"

#define EDGE_MAP(name, kind, entries, key_type, value_type) \
	struct {                                            \
		__uint(type, kind);                         \
		__uint(max_entries, entries);               \
		__type(key, key_type);                      \
		__type(value, value_type);                  \
	} name SEC(".maps")

EDGE_MAP(vips4, BPF_MAP_TYPE_HASH, EDGE_VIPS_MAX, struct edge_vip4, struct edge_vip);
EDGE_MAP(vips6, BPF_MAP_TYPE_HASH, EDGE_VIPS_MAX, struct edge_vip6, struct edge_vip);
EDGE_MAP(backends, BPF_MAP_TYPE_ARRAY, EDGE_BACKENDS_MAX, __u32, struct edge_backend);
EDGE_MAP(notes, BPF_MAP_TYPE_LRU_HASH, EDGE_FLOWS_DEFAULT, struct edge_note, struct edge_voice);
EDGE_MAP(asked, BPF_MAP_TYPE_LRU_HASH, EDGE_ASKED_MAX, struct edge_note, struct edge_asked);
EDGE_MAP(fragments, BPF_MAP_TYPE_LRU_HASH, EDGE_FRAGMENTS_MAX, struct edge_fragment,
	 struct edge_pin);
EDGE_MAP(replies, BPF_MAP_TYPE_LRU_HASH, EDGE_REPLIES_MAX, struct edge_place, struct edge_reply);
EDGE_MAP(speakers4, BPF_MAP_TYPE_HASH, EDGE_BACKENDS_MAX, struct edge_speaker4, struct edge_voice);
EDGE_MAP(speakers6, BPF_MAP_TYPE_HASH, EDGE_BACKENDS_MAX, struct edge_speaker6, struct edge_voice);
/* Where a client's packet that another node has sent on goes: the container's address with the port
 * of the endpoint -> the backend. */
EDGE_MAP(endpoints4, BPF_MAP_TYPE_HASH, EDGE_BACKENDS_MAX, struct edge_speaker4, __u32);
EDGE_MAP(endpoints6, BPF_MAP_TYPE_HASH, EDGE_BACKENDS_MAX, struct edge_speaker6, __u32);
EDGE_MAP(config, BPF_MAP_TYPE_ARRAY, 1, __u32, struct edge_config);
EDGE_MAP(leaving, BPF_MAP_TYPE_PERCPU_ARRAY, EDGE_BACKENDS_MAX, __u32, __u64);
EDGE_MAP(backs, BPF_MAP_TYPE_PERCPU_ARRAY, EDGE_BACKS, __u32, struct edge_count);

/* ---- keys ---- */

static __always_inline int
edge_same_voice(const struct edge_voice *a, const struct edge_voice *b)
{
	const __u32 *x = (const __u32 *)a->addr, *y = (const __u32 *)b->addr;

	return a->port == b->port && x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* bytes: of an address. */
static __always_inline struct edge_fragment
fragment_of(const void *source, const void *dest, __u32 bytes, __u32 id, __u32 protocol)
{
	struct edge_fragment key = {.id = id, .protocol = protocol};

	__builtin_memcpy(key.source, source, bytes);
	__builtin_memcpy(key.dest, dest, bytes);
	return key;
}

/* ---- backends ---- */

static __always_inline struct edge_backend *
backend_at(__u32 index)
{
	return bpf_map_lookup_elem(&backends, &index);
}

/* The backend of a pin, if it is still the one that it was. */
static __always_inline struct edge_backend *
pinned(const struct edge_pin *pin)
{
	struct edge_backend *b = backend_at(pin->backend);

	return b && b->generation == pin->generation && !(b->flags & EDGE_BACKEND_DEAD) ? b : 0;
}

static __always_inline void
count_leaving(const struct edge_backend *b, __u32 index)
{
	__u64 *n;

	if (!(b->flags & EDGE_BACKEND_DRAINING))
		return;
	n = bpf_map_lookup_elem(&leaving, &index);
	if (n)
		(*n)++;
}

/* Where the first fragment of a client's packet went. */
static __always_inline void
lead(struct edge_fragment key, __u32 index, const struct edge_backend *b)
{
	struct edge_pin pin = {.backend = (__u16)index, .generation = b->generation};

	bpf_map_update_elem(&fragments, &key, &pin, BPF_ANY);
}

static __always_inline struct edge_backend *
follow(const struct edge_fragment *key, __u32 *index_out)
{
	const struct edge_pin *first = bpf_map_lookup_elem(&fragments, key);

	*index_out = first ? first->backend : 0;
	return first ? pinned(first) : 0;
}

#endif
