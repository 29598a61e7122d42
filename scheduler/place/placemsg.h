/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_PLACEMSG_H
#define SCHEDULER_PLACE_PLACEMSG_H

/*
 * What a coordinator and a node say to each other: unicast, may be lost, doubled and late. Every
 * request is repeated until it is answered or of no more use, and doing it twice does what once
 * does: an offer is known by its id, a claim by its number. Little endian, fixed layouts; a
 * datagram holds one message after the other.
 *
 *   OFFER    48  0 kind u8  1 version u8  2 zero u16  4 slot u32  8 offer u64  16 service u64
 *                24 revision u32  28 cpu_milli u32  32 memory u64  40 epoch u64
 *   PROMISE  32  4 price u32  8 offer u64  16 ttl_ms u32  20 cpu_left_milli u32  24 memory_left u64
 *   REJECT   24  2 cpu_left in hundredths u16  4 reasons u32  8 offer u64  16 retry_after_ms u32
 *                20 memory_left MiB u32
 *   AWARD    32  4 slot u32  8 offer u64  16 service u64  24 epoch u64
 *   RELEASE  16  4 zero u32  8 offer u64
 *   CLAIMED  56  4 zero u32  8 offer u64 (0: answer to RETIRE)  16 claim
 *   RETIRE   24  2 reason u8  3 zero u8  4 winner u32 (node; 0)  8 service u64  16 number u64
 *   GONE     24  4 zero u32  8 service u64  16 number u64: answer to RETIRE or ASK of what is not
 *                there
 *   ASK      24  as GONE: is the claim still there
 *
 * What a later version has to say besides follows each of its messages: u16 bytes, and the bytes,
 * which this one passes over. So nodes of both place replicas together; what changes a layout is
 * another kind.
 *
 * Coordinator to node: OFFER, AWARD, RELEASE, RETIRE, ASK. Node to coordinator: PROMISE, REJECT,
 * CLAIMED, GONE.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "scheduler/place/claim.h"
#include "scheduler/step.h"

enum {
	PLACEMSG_VERSION = 1,
	PLACEMSG_BYTES_MAX = 56, /* of one message */
};

enum placemsg_kind {
	PLACEMSG_OFFER = 1,
	PLACEMSG_PROMISE,
	PLACEMSG_REJECT,
	PLACEMSG_AWARD,
	PLACEMSG_RELEASE,
	PLACEMSG_CLAIMED,
	PLACEMSG_RETIRE,
	PLACEMSG_GONE,
	PLACEMSG_ASK,
};

/* Fields that a kind does not have are 0 after decoding, and not looked at when encoding. */
struct placemsg {
	enum placemsg_kind kind;
	uint64_t offer;
	uint64_t service;
	uint32_t slot;
	uint32_t revision;
	uint64_t epoch;
	uint32_t cpu_milli; /* OFFER: what it reserves; PROMISE, REJECT: what is left */
	uint64_t memory_bytes;
	uint32_t price;           /* PROMISE: lower is better */
	uint32_t ttl_ms;          /* PROMISE: it is kept so long; REJECT: not before */
	uint32_t reasons;         /* REJECT: bits of fit.h */
	uint64_t number;          /* RETIRE, GONE, ASK */
	uint32_t winner;          /* RETIRE: the node that has it instead */
	enum claim_retire retire; /* RETIRE */
	struct claim claim;       /* CLAIMED */
};

/* Gives the bytes written, at most PLACEMSG_BYTES_MAX. */
size_t placemsg_encode(const struct placemsg *m, uint8_t *out);

/* Adds it to the actions, in the same datagram as the one before if that goes to the same node
 * under the same condition (`after`, of step.h). There must be room for one action. */
void placemsg_send(struct step_actions *out, uint32_t node, const struct placemsg *m,
		   uint64_t after);

enum placemsg_result { PLACEMSG_OK, PLACEMSG_END, PLACEMSG_BAD };
/* The next message of a datagram. After BAD the rest is of no use. */
enum placemsg_result placemsg_decode(struct cursor *c, struct placemsg *out);

#endif
