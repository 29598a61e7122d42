/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this node has that services may need, as the others are told: volumes, which are there from
 * the first replica that has them to the last one that takes them with it (noted beside the store,
 * for the next process), and devices that some service asks for.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { NOTE_BYTES = PLACING_THINGS_MAX * TIDINGS_THING_MAX };

static const char volumes_note[] = "placing.volumes";

struct things {
	char items[PLACING_THINGS_MAX][TIDINGS_THING_MAX];
	size_t count;
	bool changed;
};

static void
add_thing(struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (text_equal(t->items[i], thing))
			return;
	}
	if (t->count == PLACING_THINGS_MAX)
		return;
	text_copy(t->items[t->count++], TIDINGS_THING_MAX, thing);
	t->changed = true;
}

static void
remove_thing(struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!text_equal(t->items[i], thing))
			continue;
		t->count--;
		memmove(t->items[i], t->items[t->count], TIDINGS_THING_MAX);
		t->changed = true;
		return;
	}
}

static void
look_at_volumes(struct placing *p, struct replica *r, struct things *t)
{
	const struct doc_service *spec = model_spec(p->m, r);
	bool goes = r->row.remove_volumes && r->life.gone;
	char thing[TIDINGS_THING_MAX];

	for (size_t i = 0; spec && i < spec->storage_count; i++) {
		if (spec->storage[i].type != DOC_STORAGE_NAMED)
			continue;
		placing_volume(r->service, spec->storage[i].name, thing);
		if (goes)
			remove_thing(t, thing);
		else if (r->has_container)
			add_thing(t, thing);
	}
}

static void
read_note(struct placing *p, struct placing_peer *self)
{
	char *text = mem_alloc(MEM_SCHEDULER, NOTE_BYTES);
	struct err err = {0};

	self->life = 1; /* read */
	if (!text)
		return;
	if (store_get_note(store_local(p->m->store), volumes_note, text, NOTE_BYTES, &err) < 0) {
		log_err(LOG_WARN, "volumes of this node cannot be read", &err);
		text[0] = '\0';
	}
	for (char *at = text; *at && self->things_count < PLACING_THINGS_MAX;) {
		size_t length = strcspn(at, "\n");

		text_ncopy(self->things[self->things_count++], TIDINGS_THING_MAX, at, length);
		at += length + (at[length] == '\n');
	}
	mem_free(text);
}

static void
write_note(struct placing *p, const struct things *t)
{
	struct store *store = store_local(p->m->store);
	struct err err = {0};
	struct buf text;
	int rc;

	buf_init(&text, MEM_SCHEDULER, NOTE_BYTES);
	for (size_t i = 0; i < t->count; i++)
		buf_printf(&text, "%s\n", t->items[i]);
	rc = store_begin(store, &err);
	if (rc == 0 && store_put_note(store, volumes_note, buf_cstr(&text), &err) < 0) {
		store_abort(store);
		rc = -1;
	} else if (rc == 0) {
		rc = store_commit(store, &err);
	}
	if (rc < 0)
		log_err(LOG_WARN, "volumes of this node cannot be noted", &err);
	buf_fini(&text);
}

static void
tell_things(struct placing *p, const struct placing_peer *self, const struct things *now)
{
	struct tidings_value v;

	for (size_t i = 0; i < self->things_count; i++)
		p->link.drop(p->link.arg, TIDINGS_THING, rendezvous_text(self->things[i]));
	for (size_t i = 0; i < now->count; i++) {
		if (tidings_put_thing(now->items[i], &v))
			p->link.put(p->link.arg, TIDINGS_THING, rendezvous_text(now->items[i]), &v);
	}
}

static bool
has_thing(const struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (text_equal(t->items[i], thing))
			return true;
	}
	return false;
}

static void
asked_devices(struct placing *p, struct service *s, struct things *out)
{
	uint32_t revision = placing_asked_revision(s->deployment);
	const struct doc_service *doc = revision ? model_service_doc(p->m, s, revision) : NULL;
	char thing[TIDINGS_THING_MAX];

	for (size_t i = 0; doc && i < doc->devices_count; i++) {
		if (!p->link.has_device(p->link.arg, doc->devices[i].path))
			continue;
		placing_device(doc->devices[i].path, thing);
		add_thing(out, thing);
	}
}

/* Those that some service asks for, and that are there now. */
static void
look_at_devices(struct placing *p, struct things *t)
{
	static struct things now;
	struct list *it, *next, *at, *after;

	now.count = 0;
	list_each (it, next, &p->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services)
			asked_devices(p, container_of(at, struct service, link), &now);
	}
	for (size_t i = t->count; i-- > 0;) {
		if (text_starts(t->items[i], "device:") && !has_thing(&now, t->items[i]))
			remove_thing(t, t->items[i]);
	}
	for (size_t i = 0; i < now.count; i++)
		add_thing(t, now.items[i]);
}

void
placing_own_things(struct placing *p)
{
	static struct things t;
	struct placing_peer *self = placing_peer(p, p->self);
	struct map_iter it = {0};

	if (!self)
		return;
	bool begins = !self->life;
	if (begins)
		read_note(p, self);
	memcpy(t.items, self->things, sizeof(t.items));
	t.count = self->things_count;
	t.changed = false;
	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (!r->remote)
			look_at_volumes(p, r, &t);
	}
	if (p->link.has_device)
		look_at_devices(p, &t);
	if (!t.changed && !begins)
		return;
	if (t.changed)
		write_note(p, &t);
	tell_things(p, self, &t);
	memcpy(self->things, t.items, sizeof(self->things));
	self->things_count = t.count;
	if (placing_peer_facts(p, self) < 0)
		log_event(LOG_WARN, "no memory for the volumes of this node", LOG_END);
}
