/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_JUDGE_H
#define DATAPLANE_BPF_TC_JUDGE_H

/*
 * Who may send to whom, and whether what is sent must be sealed between nodes
 * (docs/decisions/016). Pure: programs for the kernel and tests compile the same lines. The answer
 * is the same both ways, because a packet does not say who began.
 */

#include <linux/types.h>

/* Bits as of enum msg_identity_flag; the last one is our own. */
enum tc_identity_flag {
	TC_SERVICE_ON = 1 << 0,
	TC_SERVICE_SEALED = 1 << 1,
	TC_SERVICE_ISOLATED = 1 << 2,
	TC_GLOBAL_ON = 1 << 3,
	TC_GLOBAL_SEALED = 1 << 4,
	TC_GLOBAL_ISOLATED = 1 << 5,
	TC_IDENTITY_KNOWN = 1 << 15,
};

/* All zero: nobody knows whose the address is. */
struct tc_identity {
	__u64 deployment;
	__u64 service;
	__u64 replica;
	__u32 node;
	__u32 flags;
};

enum tc_judgement { TC_PLAIN, TC_SEALED, TC_ISOLATED };

static inline __attribute__((always_inline)) enum tc_judgement
tc_by(__u32 sealed)
{
	return sealed ? TC_SEALED : TC_PLAIN;
}

/* Its service's overlay lets in who is not of it. */
static inline __attribute__((always_inline)) int
tc_is_open(const struct tc_identity *i)
{
	return (i->flags & (TC_SERVICE_ON | TC_SERVICE_ISOLATED)) == TC_SERVICE_ON;
}

/* Both are known. */
static inline __attribute__((always_inline)) enum tc_judgement
tc_judge(const struct tc_identity *a, const struct tc_identity *b)
{
	__u32 both = a->flags & b->flags, either = a->flags | b->flags;

	if (a->deployment != b->deployment) {
		if (!(both & TC_GLOBAL_ON) || either & TC_GLOBAL_ISOLATED)
			return TC_ISOLATED;
		return tc_by(either & TC_GLOBAL_SEALED);
	}
	if (a->service == b->service && both & TC_SERVICE_ON)
		return tc_by(either & TC_SERVICE_SEALED);
	if (both & TC_GLOBAL_ON)
		return tc_by(either & TC_GLOBAL_SEALED);
	if (tc_is_open(a) || tc_is_open(b))
		return tc_by(either & TC_SERVICE_SEALED);
	return TC_ISOLATED;
}

/* Whether there can be anybody whose packets to this one may come plain. */
static inline __attribute__((always_inline)) int
tc_takes_plain(const struct tc_identity *i)
{
	return !(i->flags & TC_SERVICE_SEALED) ||
	       (i->flags & (TC_GLOBAL_ON | TC_GLOBAL_SEALED)) == TC_GLOBAL_ON;
}

#endif
