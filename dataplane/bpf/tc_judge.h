/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_JUDGE_H
#define DATAPLANE_BPF_TC_JUDGE_H

/* Who is at the end of a packet, judged by the rule of ring/identity_rule.h. Pure: programs for the
 * kernel and tests compile the same lines. */

#include <linux/types.h>
#include "ring/identity_rule.h"

enum { TC_IDENTITY_KNOWN = 1 << 15 }; /* beside the bits of enum msg_identity_flag */

/* All zero: nobody knows whose the address is. */
struct tc_identity {
	__u64 deployment;
	__u64 service;
	__u64 replica;
	__u32 node;
	__u32 flags;
};

/* Both are known. */
static inline __attribute__((always_inline)) enum identity_rule
tc_judge(const struct tc_identity *a, const struct tc_identity *b)
{
	return identity_rule_judge(a->deployment == b->deployment, a->service == b->service,
				   a->flags, b->flags);
}

#endif
