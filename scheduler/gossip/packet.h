/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_PACKET_H
#define SCHEDULER_GOSSIP_PACKET_H

/*
 * A datagram: u8 version, u8 oldest (version that can read it), u16 0; then sections: u8 kind,
 * u8 flags, u16 bytes, and so many bytes. All little endian. A section of an unknown kind is
 * skipped. Reader and writer of every record stand here.
 */

#include "scheduler/gossip/core.h"

enum {
	PACKET_HEAD = 4,
	PACKET_SECTION = 4,
	PACKET_PING_BYTES = 16,   /* u32 number, u32 node, u64 digest; ACK too */
	PACKET_ASK_BYTES = 8,     /* u32 number, u32 node; PING_REQ and NACK */
	PACKET_MEMBER_BYTES = 12, /* u32 node, u32 accuser, u24 incarnation, u8 state */
	PACKET_MARK_BYTES = 12,   /* u32 node, u64 version; IHAVE, GRAFT, GONE */
	PACKET_CHANGE_BYTES = 32, /* and the value */
};

/* On the wire: enum gossip_message + 1. */
enum packet_flag {
	PACKET_REPLY = 1, /* CHANGES that were asked for by a GRAFT */
};

struct packet {
	size_t bytes;
	size_t section; /* where the open one begins; 0: none */
	int kind;       /* of the open one; -1: none */
	uint8_t data[STEP_DATAGRAM_MAX];
};

void packet_begin(struct packet *p);
/* Whether a section, opened or to be opened, can take so many bytes more. */
bool packet_fits(const struct packet *p, size_t bytes);
/* Opens a section; the former is closed. The first record must fit. */
void packet_open(struct gossip *g, struct packet *p, enum gossip_message kind, uint8_t flags);
void packet_ping(struct gossip *g, struct packet *p, enum gossip_message kind, uint32_t number,
		 uint32_t node);
void packet_ask(struct gossip *g, struct packet *p, enum gossip_message kind, uint32_t number,
		uint32_t node);
/* Records, into the open section. There must be room. */
void packet_member(struct packet *p, uint32_t node, uint32_t accuser, uint32_t status);
void packet_mark(struct packet *p, uint32_t node, uint64_t version);
void packet_change(struct packet *p, const struct change *c);
/* Sends what was put in, if anything; the packet is empty afterwards. */
void packet_send(struct gossip *g, struct packet *p, uint32_t node);

/* Reads. Each gives false at the end or when malformed (then c->failed). */
bool packet_head(struct cursor *c);
bool packet_section(struct cursor *c, unsigned *kind_out, uint8_t *flags_out,
		    struct cursor *body_out);
void packet_get_member(struct cursor *c, uint32_t *node, uint32_t *accuser, uint32_t *status);
void packet_get_mark(struct cursor *c, uint32_t *node, uint64_t *version);
/* The value is borrowed. Fails on what no owner can have written. */
void packet_get_change(struct cursor *c, struct change *out);

/* Little-endian stores, for the frames too. */
void packet_u16(uint8_t *at, uint16_t v);
void packet_u32(uint8_t *at, uint32_t v);
void packet_u64(uint8_t *at, uint64_t v);

#endif
