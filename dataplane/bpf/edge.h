/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_H
#define DATAPLANE_BPF_EDGE_H

/*
 * What the balancer's programs and their loader share: keys and values of the maps, counters, and
 * the hash that picks a slot of a table. Only fixed-width types of linux/types.h. Addresses and
 * ports are in network order.
 *
 * A backend is one replica at one endpoint: an index into the map of backends. Index 0 is none: the
 * packet goes to the node's stack, where the proxy's relay listens. An index that is used again has
 * another generation, so that a flow pinned to its old owner does not go to the new one.
 */

#include <linux/types.h>

enum {
	EDGE_ABI = 1, /* a change of any struct here is another ABI: other pins */
	EDGE_SERVICES_MAX = 1024,
	EDGE_VIPS_MAX = 65536, /* addresses x endpoints, of each family */
	EDGE_BACKENDS_MAX = 16384,
	EDGE_PREFIXES_MAX = 32768,
	EDGE_FRAGMENTS_MAX = 8192, /* packets of clients that come in fragments */
	EDGE_REPLIES_MAX = 65536,  /* the same of containers, of all together */
	EDGE_REPLIES_BITS = 5,     /* of one, 32: the next takes the place of an older one */
	EDGE_FLOWS_DEFAULT = 262144,
	EDGE_PORTS_MAX = 8192,   /* containers' devices */
	EDGE_ASKED_MAX = 16384,  /* connections that no container has answered yet */
	EDGE_SLOTS_BIG = 65536,  /* of a table */
	EDGE_SLOTS_SMALL = 4096, /* for services with few backends */
	EDGE_LINKS = 64,         /* interfaces are counted by number modulo this */
};

/* A slot of a table: its owner, the former owner, and whether it changes hands: then flows may be
 * pinned. In the steady state both are the same, and one compare tells. A slot with a connection
 * that is not its owner's is as one that changes, to the same owner (edge_asked.h). */
#define EDGE_CUR(slot) ((slot)&0xffff)
#define EDGE_PREV(slot) ((slot) >> 16 & 0x7fff)
#define EDGE_CHANGES 0x80000000u
#define EDGE_STEADY(owner) ((__u32)(owner) | (__u32)(owner) << 16)
#define EDGE_CHANGING(cur, prev) ((__u32)(cur) | (__u32)(prev) << 16 | EDGE_CHANGES)

struct edge_vip4 {
	__u32 addr;
	__u16 port;
	__u8 protocol;
	__u8 pad_;
};

struct edge_vip6 {
	__u8 addr[16];
	__u16 port;
	__u8 protocol;
	__u8 pad_;
};

enum edge_vip_flags {
	EDGE_VIP_BIG = 1 << 0,       /* the table has EDGE_SLOTS_BIG slots */
	EDGE_VIP_DENY = 1 << 1,      /* there are prefixes whose packets are dropped */
	EDGE_VIP_ALLOW = 1 << 2,     /* there are prefixes, and only theirs are taken */
	EDGE_VIP_REMEMBER = 1 << 3,  /* not what a reply has by default: flow to be noted */
	EDGE_VIP_CORRECT = 1 << 4,   /* what a reply has by default, and there are others: a note
				      * of an older flow with these ports may have to be put right */
	EDGE_VIP_SHARED = 1 << 5,    /* an address of other nodes, too: a flow may change over */
	EDGE_VIP_DEDICATED = 1 << 6, /* none of the host's: there is no relay */
};

struct edge_vip {
	__u32 service;
	__u32 flags;
};

enum edge_backend_flags {
	EDGE_BACKEND_LOCAL = 1 << 0, /* its device is here; neither this nor AWAY: the relay's */
	EDGE_BACKEND_V4 = 1 << 1,
	EDGE_BACKEND_V6 = 1 << 2,
	EDGE_BACKEND_DRAINING = 1 << 3, /* its packets are counted */
	EDGE_BACKEND_DEAD = 1 << 4,
	EDGE_BACKEND_AWAY = 1 << 5,   /* on a node that takes clients' packets in a header */
	EDGE_BACKEND_CLOSED = 1 << 6, /* owns no slot: no new connection is given to it */
};

struct edge_backend {
	__u64 stream, replica; /* 0: free */
	__u32 ifindex;         /* host end of the container's veth */
	__u32 addr4;
	__u8 addr6[16];
	__u16 port;
	__u16 flags;
	__u16 generation;
	__u16 mtu;   /* of its device, or of the path to its node: the header is a part of it */
	__u8 mac[6]; /* of the container's end */
	__u8 host_mac[6]; /* of the host's end */
	__u32 next; /* backend of the same endpoint, that packets can be brought to: in a ring */
};

struct edge_flow4 {
	__u32 source, dest;
	__u16 source_port, dest_port;
	__u32 protocol;
};

struct edge_flow6 {
	__u8 source[16], dest[16];
	__u16 source_port, dest_port;
	__u32 protocol;
};

/* A pin holds for the changes during which it was made: `epoch` of the table. A later flow of the
 * same addresses and ports was perhaps never pinned. */
struct edge_pin {
	__u16 backend;
	__u16 generation;
	__u32 epoch; /* its last bits; above them the next two */
};

/* Of a flow that was begun at another node (edge_again.h): how many backends are being, or were,
 * asked whether it is theirs; and when the last one began to be, in units of 2^23 ns. 0: it was
 * begun here. EDGE_TRIES_TAKEN: its owner has another connection of the same ports (edge_asked.h),
 * and so will the next one of these ports be somebody else's. */
enum {
	EDGE_PIN_EPOCH = 0xffff,
	EDGE_PIN_WHEN = 0xfff,
	EDGE_PIN_WHEN_AT = 16,
	EDGE_PIN_TRIES_AT = 28,
	EDGE_TRIES_TAKEN = 15,
};
#define EDGE_PIN_TRIES(epoch) ((epoch) >> EDGE_PIN_TRIES_AT)
#define EDGE_PIN_NOW(ns) ((__u32)((ns) >> 23) & EDGE_PIN_WHEN)

/* Which container speaks for which address: what its replies get as source. */
struct edge_speaker4 {
	__u32 addr;
	__u16 port;
	__u8 protocol;
	__u8 pad_;
};

struct edge_speaker6 {
	__u8 addr[16];
	__u16 port;
	__u8 protocol;
	__u8 pad_;
};

struct edge_voice {
	__u8 addr[16]; /* the first 4 bytes of it for IPv4 */
	__u16 port;    /* 0: only flows that are noted have one */
	/* Of a noted flow: only a packet says so, whose number began with this, and the container
	 * has not yet acknowledged it (edge_asked.h). 0: it is known. */
	__u16 claim;
	/* Of a speaker: clients can have come by another address or port: look for the flow. Of a
	 * noted flow: by which node it came, that node's own IPv4 address; 0: by this one. */
	__u32 many;
};

/* A flow that came by another address than the one replies have by default, or by another node. */
struct edge_note {
	__u8 client[16];
	__u8 container[16];
	__u16 client_port, container_port;
	__u32 protocol;
};

/* What a client wants to know a connection by that it asks for, until the container answers
 * (edge_asked.h). */
struct edge_asked {
	struct edge_voice voice; /* as in a note */
	__u32 sequence;          /* of its SYN */
	__u32 when;              /* that one came, or was refused: in units of 2^23 ns */
	__u32 refused;
};

struct edge_fragment {
	__u8 source[16], dest[16];
	__u32 id;
	__u32 protocol;
};

/* Where the first fragment of what a container says to a client is noted. Each container has places
 * of its own: however much one says, what others say is not lost. */
struct edge_place {
	__u32 node;      /* whose container it is: own IPv4 address; 0: this one's */
	__u32 container; /* its device; of another node's: what the header says (clients.bpf.c) */
	__u32 slot;
};

struct edge_reply {
	struct edge_fragment of;
	__u8 addr[16]; /* the source to put; the first 4 bytes of it for IPv4 */
	__u32 node;    /* that it goes back to: as edge_voice.many */
};

struct edge_prefix { /* of a longest-prefix trie */
	__u32 bits;  /* 32 and those of addr */
	__u32 service;
	__u8 addr[16]; /* IPv4 mapped */
};

struct edge_config {
	__u32 uplink;   /* fabric's end of the way to the world; 0: none */
	__u32 out;      /* the host's interface for replies; 0: by its routes */
	__u32 cluster4; /* what is not the world */
	__u32 cluster4_mask;
	__u8 cluster6[16];
	__u32 cluster6_words; /* leading 16-bit words that count */
	__u32 outer;          /* the host's end of the way to the world; 0: none */
};

enum edge_verdict {
	EDGE_PASSED,
	EDGE_REDIRECTED,
	EDGE_ANSWERED,
	EDGE_DROPPED,
	EDGE_VERDICTS,
};

enum edge_reason {
	EDGE_DROP_DENIED, /* the source is in a denied prefix, or in none of the allowed */
	EDGE_REASONS,
};

enum edge_back {
	EDGE_BACK_PASSED,
	EDGE_BACK_REDIRECTED,
	EDGE_BACK_DROPPED,
	EDGE_BACKS,
};

struct edge_table_big {
	__u32 epoch, pad_;
	__u32 slots[EDGE_SLOTS_BIG];
};

struct edge_table_small {
	__u32 epoch, pad_;
	__u32 slots[EDGE_SLOTS_SMALL];
};

/* Whose table it is; the programs do not read it, a successor of the loader does. */
struct edge_service {
	__u64 stream; /* 0: free */
	__u32 big;
	__u32 pad_;
};

struct edge_count {
	__u64 packets, bytes;
};

struct edge_service_count {
	__u64 packets, bytes;
	__u64 kept;  /* TCP packets that did not go to the owner of their slot, which changes */
	__u64 taken; /* connections that were given to somebody else, as their ports were taken */
};

/* A reply on its way through the uplink is told from all else by this address of nobody. */
#define EDGE_REPLY_MAC                             \
	{                                          \
		0x02, 0x7a, 0x6c, 0x76, 0x69, 0x70 \
	}

/* So is what says that the ports of a connection are taken. */
#define EDGE_TAKEN_MAC                             \
	{                                          \
		0x02, 0x7a, 0x6c, 0x76, 0x69, 0x71 \
	}

/* A client's packet for a replica of another node goes to the fabric with this in place of its
 * MAC addresses. Whoever is not the host sends nothing by that link. */
struct edge_across_mac {
	__be16 mark[2]; /* EDGE_ACROSS_MARK */
	__u16 backend;
	__u16 generation;
	__u16 zero_[2];
	__be16 protocol; /* of Ethernet */
};

enum { EDGE_ACROSS_MARK0 = 0x026c, EDGE_ACROSS_MARK1 = 0x7a63 };

/* Slots of map `steps`. */
enum edge_step { EDGE_STEP_ACROSS, EDGE_STEPS };

/* The hash of a packet: the same on every node, so that any node may get any packet of a flow.
 * Two rounds of multiply and fold over 64-bit words. */
static inline __attribute__((always_inline)) __u32
edge_mix(__u64 h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	h ^= h >> 32;
	return (__u32)h;
}

static inline __attribute__((always_inline)) __u32
edge_hash4(const struct edge_flow4 *f)
{
	__u64 a = (__u64)f->source << 32 | f->dest;
	__u64 b = (__u64)f->source_port << 32 | (__u64)f->dest_port << 16 | f->protocol;

	return edge_mix(a ^ b * 0x9e3779b97f4a7c15ULL);
}

static inline __attribute__((always_inline)) __u32
edge_hash6(const struct edge_flow6 *f)
{
	const __u32 *s = (const __u32 *)(const void *)f->source;
	const __u32 *d = (const __u32 *)(const void *)f->dest;
	__u64 b = (__u64)f->source_port << 32 | (__u64)f->dest_port << 16 | f->protocol;
	__u64 h = ((__u64)s[0] << 32 | s[1]) * 0x9e3779b97f4a7c15ULL;

	h = (h ^ h >> 29 ^ ((__u64)s[2] << 32 | s[3])) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 31 ^ ((__u64)d[0] << 32 | d[1])) * 0x94d049bb133111ebULL;
	h = h ^ h >> 30 ^ ((__u64)d[2] << 32 | d[3]);
	return edge_mix(h ^ b * 0x9e3779b97f4a7c15ULL);
}

#endif
