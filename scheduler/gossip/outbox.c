/* SPDX-License-Identifier: Apache-2.0 */
/* Full packets leave as the next is begun; the last is the caller's to add to and to send. */
#include "scheduler/gossip/outbox.h"

void
outbox_begin(struct outbox *o, uint32_t to, unsigned packets, uint8_t flags)
{
	packet_begin(&o->packet);
	o->to = to;
	o->packets = packets;
	o->flags = flags;
	o->open = false;
}

bool
outbox_put(struct gossip *g, struct outbox *o, const struct change *c)
{
	if (!packet_fits(&o->packet, PACKET_CHANGE_BYTES + c->bytes)) {
		if (o->packets == 1)
			return false;
		o->packets--;
		packet_send(g, &o->packet, o->to);
		o->open = false;
	}
	if (!o->open)
		packet_open(g, &o->packet, GOSSIP_CHANGES, o->flags);
	o->open = true;
	packet_change(&o->packet, c);
	return true;
}
