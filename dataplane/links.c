/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits is in no list: it has a row in runtime's table and no program. */
#include "dataplane/links.h"

#include "base/world.h"

static void
publish(struct links *l, const struct msg_veth *veth, enum msg_hook hook, const struct err *err)
{
	struct msg_attached row = {
		.replica = veth->replica,
		.ifindex = veth->ifindex,
		.hook = err->kind ? 0 : (uint32_t)hook,
	};

	if (err->kind)
		msg_reason_from(err, &row.reason);
	if (ring_table_set(station_writer(l->st), MSG_TABLE_ATTACHED, veth->replica, &row, NULL) !=
	    RING_OK)
		log_event(LOG_ERROR, "no place to say that a device is attached", LOG_END);
	station_kick(l->st);
}

static void
detach(struct links *l, uint64_t replica)
{
	if (l->veth)
		veth_remove(l->veth, replica);
	if (l->balancer)
		balancer_veth(l->balancer, replica, NULL);
	ring_table_remove(station_writer(l->st), MSG_TABLE_ATTACHED, replica);
	station_kick(l->st);
}

/* ---- who is behind it ---- */

/* Of a container of others runtime says it, of the others the cluster. */
static bool
find_identity(const struct links *l, const struct msg_veth *row, struct tc_identity *out)
{
	const struct tc_identity *said = identities_get(l->ids, row->replica);

	*out = said ? *said
		    : (struct tc_identity){
			      .deployment = row->deployment,
			      .service = row->service,
			      .replica = row->replica,
			      .flags = (row->overlays & MSG_IDENTITY_OVERLAYS) | TC_IDENTITY_KNOWN,
		      };
	return said || row->overlays & MSG_IDENTITY_SAID;
}

/* A replica that is judged as before goes on; of one of which that is not known nothing is said
 * until it is. */
static enum hook_left
look_what_stands(struct links *l, const struct msg_veth *row, enum msg_hook *hook_out,
		 struct err *err)
{
	enum hook_left left = veth_left(l->veth, row, hook_out);

	l->failed = true;
	l->former |= left != HOOK_NOTHING;
	if (log_few(&l->few, world_mono_ns()))
		log_err(LOG_ERROR, "a container's device is not attached", err);
	if (left == HOOK_STANDS)
		err_clear(err);
	return left;
}

static void
add(struct links *l, const struct msg_veth *row)
{
	struct tc_identity identity;
	bool said = find_identity(l, row, &identity);
	enum msg_hook hook = 0;
	struct err err = {0};

	if (!l->has_prefix || (!said && !veth_knows(l->veth, row))) {
		l->waits = true;
		return;
	}
	if (veth_add(l->veth, row, said ? &identity : NULL, &hook, &err) < 0 &&
	    look_what_stands(l, row, &hook, &err) == HOOK_UNKNOWN)
		return;
	if (l->balancer && !err.kind)
		balancer_veth(l->balancer, row->replica, row);
	publish(l, row, hook, &err);
}

void
links_changed(void *arg, uint64_t replica, const void *bytes)
{
	const struct msg_veth *row = bytes;
	struct links *l = arg;
	struct err err = {0};

	if (!row) {
		detach(l, replica);
		return;
	}
	if (l->veth && row->replica == replica && row->ifindex != 0) {
		add(l, row);
		return;
	}
	if (!l->veth)
		err = *l->why_not;
	else
		err_set(&err, ERR_CORRUPT, "a row of runtime's veths does not hold");
	publish(l, row, 0, &err);
}

static bool
look_at(void *arg, uint64_t replica, const void *row)
{
	struct links *l = arg;

	if (!veth_has(l->veth, replica))
		links_changed(l, replica, row);
	return true;
}

void
links_look(struct links *l)
{
	struct ring_reader *runtime = station_reader(l->st, ROLE_RUNTIME, 0);

	if (!(l->waits || l->failed) || !l->veth || !runtime)
		return;
	l->waits = l->failed = l->former = false;
	ring_table_each(runtime, MSG_TABLE_VETH, look_at, l);
}

/* ---- what a runtime that came back no longer has ---- */

struct stale {
	struct ring_reader *runtime;
	uint64_t replicas[LINKS_MAX];
	size_t count;
};

static void
note_stale(void *arg, uint64_t replica)
{
	struct stale *s = arg;

	if (!ring_table_get(s->runtime, MSG_TABLE_VETH, replica) && s->count < LINKS_MAX)
		s->replicas[s->count++] = replica;
}

/* One that waits has the program of a predecessor until it has ours. */
void
links_sweep(struct links *l)
{
	static struct stale stale;

	stale.runtime = station_reader(l->st, ROLE_RUNTIME, 0);
	stale.count = 0;
	if (!stale.runtime || !l->veth)
		return;
	veth_each(l->veth, note_stale, &stale);
	for (size_t i = 0; i < stale.count; i++)
		detach(l, stale.replicas[i]);
	links_look(l);
	if (ring_table_version(stale.runtime, MSG_TABLE_VETH) > 0 && !l->waits && !l->former)
		veth_forget_others(l->veth);
}
