/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is awake. A node of a large cluster speaks to few of the others at a time; the rest costs it
 * a row each. What a peer said last of its clock stays with it while it sleeps, so nothing that was
 * recorded of it can be played to this end then; its sessions and its share of the keys do not.
 *
 * Those awake stand in the order in which they were used; in a device that is full the first of
 * them makes room. It loses its sessions: the next packet, of either end, makes new ones.
 */
#include <assert.h>
#include "overlay/wg/device_core.h"

void
device_use(struct device *d, struct device_peer *p)
{
	struct device_awake *a = p->awake;

	if (!a)
		return;
	d->used_count -= !list_empty(&a->used);
	list_remove(&a->used);
	if (device_peer_kept(p))
		return;
	list_push(&d->used, &a->used);
	d->used_count++;
}

static void
make_room(struct device *d)
{
	while (d->used_count >= d->awake_max)
		device_sleep(d, container_of(d->used.next, struct device_awake, used)->peer);
}

bool
device_wake(struct device *d, struct device_peer *p, const struct world *w)
{
	struct device_awake *a;

	if (p->awake)
		return true;
	a = mem_zalloc(MEM_OVERLAY, sizeof(*a));
	if (!a)
		return false;
	a->peer = p;
	list_init(&a->used);
	heap_item_init(&a->deadline);
	timers_init(&a->timers);
	if (!cookie_maker_set(&d->primitive, &a->cookie, p->key.public_key) ||
	    heap_set(&d->deadlines, &a->deadline, TIMERS_NEVER) < 0) {
		mem_free_zero(a);
		return false;
	}
	if (!device_peer_kept(p))
		make_room(d);
	p->awake = a;
	timers_persist(&a->timers, p->keepalive_s, w->mono_ns);
	device_use(d, p);
	return true;
}

void
device_sleep(struct device *d, struct device_peer *p)
{
	struct device_awake *a = p->awake;

	if (!a)
		return;
	device_drop_handshake(d, p);
	device_drop_sessions(d, p);
	heap_remove(&d->deadlines, &a->deadline);
	d->used_count -= !list_empty(&a->used);
	list_remove(&a->used);
	noise_peer_forget(&p->key);
	p->awake = NULL;
	mem_free_zero(a);
	if (d->calls.staged(d->calls.arg, p) > 0)
		d->calls.give_up(d->calls.arg, p);
}

void
device_doze(struct device *d, struct device_peer *p)
{
	const struct device_awake *a = p->awake;

	if (a && !device_peer_kept(p) && a->handshake.state == NOISE_IDLE && !a->slots.current &&
	    !a->slots.previous && !a->slots.next && timers_next(&a->timers) == TIMERS_NEVER)
		device_sleep(d, p);
}
