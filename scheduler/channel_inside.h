/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CHANNEL_INSIDE_H
#define SCHEDULER_CHANNEL_INSIDE_H

/* Between channel.c (connections) and channel_rules.c (who may be at their ends). */

#include "scheduler/channel.h"
#include "wire/tls.h"

struct channel_rules {
	unsigned refs;
	unsigned lingering; /* channels that wait for the other side to close */
	const struct identity_authority *authority;
	int64_t ahead_s; /* channel_rules_clock */
	uint8_t cluster[IDENTITY_CLUSTER];
	bool strangers;
	struct tls_server *server;
	struct tls_context *context;
	struct tls_client *client;
};

/* Who that is; false: nobody that may be there. strangers: nodes of no cluster may. */
bool channel_judge(const struct channel_rules *rules, bool strangers, const void *chain,
		   size_t chain_bytes, struct identity *who, enum channel_standing *standing);

#endif
