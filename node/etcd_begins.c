/* SPDX-License-Identifier: Apache-2.0 */
#include "node/etcd_begins.h"

static uint64_t
rest_s(unsigned rests)
{
	uint64_t s = ETCD_BEGINS_REST_S;

	while (rests-- > 1 && s < ETCD_BEGINS_REST_MAX_S)
		s *= 2;
	return s < ETCD_BEGINS_REST_MAX_S ? s : ETCD_BEGINS_REST_MAX_S;
}

bool
etcd_begins_failed(struct etcd_begins *b, uint64_t life, const struct err *why, uint64_t room,
		   uint64_t now_s)
{
	if (b->life != life) {
		b->life = life;
		b->failed = 0;
		b->served = false;
	}
	if (b->served)
		return false;
	b->failed += b->failed < ETCD_BEGINS_TRIES;
	if (b->failed < ETCD_BEGINS_TRIES)
		return false;
	b->why = *why;
	b->cramped = room < ETCD_BEGINS_ROOM_BYTES;
	if (b->resting)
		return false;
	b->resting = true;
	b->rests++;
	b->until_s = now_s + rest_s(b->rests);
	return true;
}

void
etcd_begins_served(struct etcd_begins *b, uint64_t life)
{
	*b = (struct etcd_begins){.life = life, .served = true};
}

void
etcd_begins_tick(struct etcd_begins *b, uint64_t room, uint64_t now_s)
{
	if (!b->resting)
		return;
	if (b->cramped && room >= ETCD_BEGINS_ROOM_BYTES)
		etcd_begins_anew(b);
	else if (now_s >= b->until_s)
		b->resting = false;
}

void
etcd_begins_anew(struct etcd_begins *b)
{
	*b = (struct etcd_begins){.life = b->life, .served = b->served};
}

void
etcd_begins_say(const struct etcd_begins *b, struct err *err)
{
	err_set(err, b->why.kind, "etcd does not start on this node");
	err_why(err, "%s", b->why.what);
	for (unsigned i = 0; i < b->why.whys; i++)
		err_why(err, "%s", b->why.why[i]);
	if (b->why.fix[0])
		err_fix(err, "%s", b->why.fix);
}
