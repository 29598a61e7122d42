/* SPDX-License-Identifier: Apache-2.0 */
/* A port and a protocol are one public endpoint's, whatever address of the machine was asked. */
#include "dataplane/denied.h"

#include <netinet/in.h>

static bool
is_asked(void *arg, uint64_t key, const void *row)
{
	const struct msg_stream *s = row;
	struct msg_flow *flow = arg;
	uint32_t protocol = flow->protocol == IPPROTO_UDP ? MSG_STREAM_UDP : MSG_STREAM_TCP;

	(void)key;
	if (!(s->flags & MSG_STREAM_PUBLIC) || s->protocol != protocol ||
	    s->port != flow->destination.addr.port)
		return true;
	flow->destination.service = s->service;
	return false;
}

void
denied_name(const struct ring_reader *scheduler, struct msg_flow *flow)
{
	if (scheduler && flow->place == MSG_FLOW_EDGE)
		ring_table_each(scheduler, MSG_TABLE_STREAM, is_asked, flow);
}
