/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_ASKED_H
#define DATAPLANE_BPF_EDGE_ASKED_H

/*
 * Two connections of one client with the same source port, to two addresses or ports of one
 * endpoint, are one to a container that gets both: it sees the client's end and its own. Which of
 * its replies are whose is said by the container itself:
 *
 *   a SYN that comes by something else than the flow is known by   is remembered in `asked`; what
 *                      the flow is known by stays as it is
 *   its answer, which acknowledges the number of that SYN          the flow is known by the new one
 *                      from here on: there is no other connection (any more)
 *   an acknowledgement of something else, without data             the older connection lives: a
 *                      living socket answers a SYN so (RFC 9293, 3.10.7.4; RFC 5961, 4.2)
 *
 * In the last case that acknowledgement, which the older connection can do without, becomes the
 * message that the new one's ports are taken: a reset from the address that the new one was sent
 * to, marked (EDGE_TAKEN_MAC, or ACROSS_TAKEN in the header that goes to another node). A client
 * would not heed it (RFC 9293, 3.10.7.3: it acknowledges nothing), but it ends in tc_uplink of the
 * node that the client came to, which gives the new connection to somebody else (edge_taken.h); the
 * client sends its SYN again. So that who sends SYNs in another one's name does not take all its
 * acknowledgements from an older connection, that is said only of a SYN that has just come, and not
 * again at once.
 *
 * Other packets that come by something else than the flow is known by are late or forged: it stays
 * as it is. When nothing is noted of a flow, it may be one whose note was lost, or one by the usual
 * address, which has none. Then what came is a claim: it holds when the container acknowledges what
 * the client has sent, or has no connection at all, and is forgotten otherwise.
 */

#include "dataplane/bpf/edge_parse.h"
#include "dataplane/bpf/edge_tables.h"

enum {
	EDGE_TCP_FIN = 0x01,
	EDGE_TCP_RST = 0x04,
	EDGE_ASKED_DATA_MAX = 65535,
	EDGE_ASKED_AGE_MAX = 240, /* 2 s; a SYN is sent again after one */
	EDGE_ASKED_AGAIN = 60,    /* 0.5 s, as containers' kernels have it by default */
	EDGE_CLAIM_AROUND = 4,    /* in units of 64 KiB: what may be on the way */
};

/* What a container's packet can say about what was asked. */
enum asked_answer {
	ASKED_NOTHING, /* number: what it acknowledges */
	ASKED_BEGUN,   /* the same */
	ASKED_DENIED,  /* the same */
	ASKED_REFUSED, /* an ICMP error. number: of the packet that it is about */
	ASKED_TAKEN,   /* if anything was asked. number: what it acknowledges */
	ASKED_UNKNOWN, /* there is no connection (any more) */
};

struct asked_reply {
	enum asked_answer answer;
	__u32 number; /* of TCP, host order */
};

static __always_inline int
asked_is_syn(__u32 protocol, __u8 flags)
{
	return protocol == IPPROTO_TCP && (flags & (EDGE_TCP_SYN | EDGE_TCP_ACK)) == EDGE_TCP_SYN;
}

static __always_inline __u32
asked_now(void)
{
	return (__u32)(bpf_ktime_get_ns() >> 23);
}

static __always_inline void
asked_put(const struct edge_note *key, const struct edge_voice *voice, __be32 sequence)
{
	const struct edge_asked *old = bpf_map_lookup_elem(&asked, key);
	struct edge_asked a = {
		.voice = *voice, .sequence = bpf_ntohl(sequence), .when = asked_now()};

	if (old && old->refused && a.when - old->when < EDGE_ASKED_AGAIN)
		return;
	bpf_map_update_elem(&asked, key, &a, BPF_ANY);
}

static __always_inline __u16
claim_of(__u32 number)
{
	__u16 high = (__u16)(number >> 16);

	return high ? high : 1;
}

/*
 * A packet of a client's that leaves for the container. What its flow is known by changes at once
 * only when another node passes it on now; one that nothing is noted of is claimed, unless `usual`
 * says that this is what replies have by default. A reset has no reply.
 */
static __always_inline void
asked_note(const struct edge_note *key, const struct edge_voice *voice, __u8 flags, __be32 sequence,
	   int usual)
{
	const struct edge_voice *old = bpf_map_lookup_elem(&notes, key);
	int known = old && !old->claim, alike = old && edge_same_voice(old, voice);
	int same = known && alike;
	struct edge_voice now = *voice;

	if (same ? old->many == voice->many : !old && usual)
		return;
	if (!same && asked_is_syn(key->protocol, flags)) {
		asked_put(key, voice, sequence);
		return;
	}
	if (!same && key->protocol == IPPROTO_TCP) {
		if (known || usual || flags & EDGE_TCP_RST ||
		    (alike && old->many == voice->many)) /* the first of many is answered first */
			return;
		now.claim = claim_of(bpf_ntohl(sequence));
	}
	bpf_map_update_elem(&notes, key, &now, BPF_ANY);
}

/* bytes: of the whole packet, with the Ethernet header. That a whole header of TCP is there is
 * looked at once more for Linux 6.1's verifier, as in across_in.h. */
static __always_inline struct asked_reply
asked_reply(const struct edge_head *h, const struct edge_l4 *l4, void *end, __u32 bytes)
{
	struct asked_reply r = {ASKED_NOTHING, 0};
	__u8 flags;

	if (h->protocol != IPPROTO_TCP || h->part != EDGE_WHOLE)
		return r;
	asm volatile("" : "+r"(end));
	if ((void *)l4 + EDGE_L4_TCP > end)
		return r;
	flags = l4->flags & (EDGE_TCP_FIN | EDGE_TCP_SYN | EDGE_TCP_RST | EDGE_TCP_ACK);
	r.number = bpf_ntohl(l4->acknowledged);
	if (flags == (EDGE_TCP_SYN | EDGE_TCP_ACK) || flags == (EDGE_TCP_RST | EDGE_TCP_ACK))
		r.answer = flags & EDGE_TCP_SYN ? ASKED_BEGUN : ASKED_DENIED;
	else if (flags == EDGE_TCP_RST)
		r.answer = ASKED_UNKNOWN;
	else if (flags == EDGE_TCP_ACK && bytes == h->l4 + (__u32)(l4->offset >> 4) * 4)
		r.answer = ASKED_TAKEN;
	return r;
}

/* What was asked, if this is about it; NULL. Data in a SYN may be acknowledged with it (RFC 7413).
 */
static __always_inline const struct edge_asked *
asked_find(const struct edge_note *key, const struct asked_reply *r)
{
	const struct edge_asked *a = bpf_map_lookup_elem(&asked, key);

	if (!a || a->refused || r->answer == ASKED_UNKNOWN)
		return 0;
	if (r->answer == ASKED_TAKEN)
		return asked_now() - a->when <= EDGE_ASKED_AGE_MAX ? a : 0;
	if (r->answer == ASKED_REFUSED)
		return r->number == a->sequence ? a : 0;
	return r->number - a->sequence - 1 <= EDGE_ASKED_DATA_MAX ? a : 0;
}

/* Whether this is a reply to who claims the flow. */
static __always_inline int
claim_holds(const struct edge_voice *noted, const struct asked_reply *r)
{
	__u16 from = (__u16)(noted->claim - EDGE_CLAIM_AROUND);

	if (r->answer == ASKED_UNKNOWN)
		return 1;
	return (__u16)((r->number >> 16) - from) <= 2 * EDGE_CLAIM_AROUND;
}

#endif
