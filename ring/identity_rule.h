/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 OR BSD-2-Clause */
#ifndef RING_IDENTITY_RULE_H
#define RING_IDENTITY_RULE_H

/*
 * Who may send to whom, and whether what is sent must be sealed between nodes
 * (docs/decisions/016-sealed-and-plain.md). Pure, and the only place of the rule: names
 * (ring/identity.h) and the programs in the kernel (dataplane/bpf/tc_judge.h) are made of it. The
 * answer is the same both ways, because a packet does not say who began.
 */

#include <linux/types.h>

/* What an address is, wherever in the cluster its container runs. */
enum msg_identity_flag {
	/* the overlay of the service's own replicas */
	MSG_IDENTITY_SERVICE_ON = 1 << 0,
	MSG_IDENTITY_SERVICE_SEALED = 1 << 1,
	MSG_IDENTITY_SERVICE_ISOLATED = 1 << 2,
	/* the overlay of all services of the deployment */
	MSG_IDENTITY_GLOBAL_ON = 1 << 3,
	MSG_IDENTITY_GLOBAL_SEALED = 1 << 4,
	MSG_IDENTITY_GLOBAL_ISOLATED = 1 << 5,
	MSG_IDENTITY_SAID = 1 << 6,                    /* in rows that may also say nothing of it */
	MSG_IDENTITY_OVERLAYS = MSG_IDENTITY_SAID - 1, /* all that says something of overlays */
};

enum identity_rule { IDENTITY_RULE_PLAIN, IDENTITY_RULE_SEALED, IDENTITY_RULE_ISOLATED };

/* Of the overlay that lets a packet pass. */
static inline __attribute__((always_inline)) enum identity_rule
identity_rule_by(__u32 sealed)
{
	return sealed ? IDENTITY_RULE_SEALED : IDENTITY_RULE_PLAIN;
}

/* Its service's overlay lets in who is not of it. */
static inline __attribute__((always_inline)) int
identity_rule_is_open(__u32 flags)
{
	return (flags & (MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_ISOLATED)) ==
	       MSG_IDENTITY_SERVICE_ON;
}

/* a, b: bits of enum msg_identity_flag. Of one deployment or not; of one service or not, which
 * counts in one deployment only. */
static inline __attribute__((always_inline)) enum identity_rule
identity_rule_judge(int one_deployment, int one_service, __u32 a, __u32 b)
{
	__u32 both = a & b, either = a | b;

	if (!one_deployment) {
		if (!(both & MSG_IDENTITY_GLOBAL_ON) || either & MSG_IDENTITY_GLOBAL_ISOLATED)
			return IDENTITY_RULE_ISOLATED;
		return identity_rule_by(either & MSG_IDENTITY_GLOBAL_SEALED);
	}
	if (one_service && both & MSG_IDENTITY_SERVICE_ON)
		return identity_rule_by(either & MSG_IDENTITY_SERVICE_SEALED);
	if (both & MSG_IDENTITY_GLOBAL_ON)
		return identity_rule_by(either & MSG_IDENTITY_GLOBAL_SEALED);
	if (identity_rule_is_open(a) || identity_rule_is_open(b))
		return identity_rule_by(either & MSG_IDENTITY_SERVICE_SEALED);
	return IDENTITY_RULE_ISOLATED;
}

#endif
