/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fleet follows what is known: nodes by their facts and rows, services by the documents.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/remote.h"

enum { WORDS_MAX = FLEET_WORDS_MAX };

#define DRAIN_MOVED_NS INT64_C(1000000000)

/* ---- nodes ---- */

struct placing_peer *
placing_peer(const struct placing *p, uint32_t node)
{
	return map_get_u64(&p->peers, node);
}

/* The lines of a text that is written over; the last one may have no end. */
static size_t
split(char *text, char *lines[WORDS_MAX])
{
	size_t count = 0;

	for (char *at = text; at && *at && count < WORDS_MAX;) {
		char *end = strchr(at, '\n');

		if (end)
			*end++ = '\0';
		if (*at)
			lines[count++] = at;
		at = end;
	}
	return count;
}

static size_t
pairs(char *text, struct fleet_pair out[WORDS_MAX])
{
	char *lines[WORDS_MAX];
	size_t count = split(text, lines);

	for (size_t i = 0; i < count; i++) {
		char *value = strchr(lines[i], '=');

		if (value)
			*value++ = '\0';
		out[i] = (struct fleet_pair){lines[i], value ? value : ""};
	}
	return count;
}

/* "dirty=" is "dirty". */
static size_t
words(char *text, const char *out[WORDS_MAX])
{
	char *lines[WORDS_MAX];
	size_t count = split(text, lines);

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(lines[i]);

		if (lines[i][length - 1] == '=')
			lines[i][length - 1] = '\0';
		out[i] = lines[i];
	}
	return count;
}

int
placing_peer_facts(struct placing *p, struct placing_peer *n)
{
	struct fleet_pair labels[WORDS_MAX];
	const char *taints[WORDS_MAX];
	const char *things[PLACING_THINGS_MAX];
	char label_text[sizeof(n->labels)], taint_text[sizeof(n->taints)];
	struct fleet_facts facts = {
		.node = n->id,
		.name = n->name,
		.zone = n->zone,
		.platform = n->platform,
		.cpu_milli = n->cpu_milli,
		.memory_bytes = n->memory_bytes,
		.labels = labels,
		.taints = taints,
		.things = things,
		.things_count = n->things_count,
		.cordoned = n->cordoned,
		.draining = n->draining,
	};

	memcpy(label_text, n->labels, sizeof(label_text));
	memcpy(taint_text, n->taints, sizeof(taint_text));
	facts.labels_count = pairs(label_text, labels);
	facts.taints_count = words(taint_text, taints);
	for (size_t i = 0; i < n->things_count; i++)
		things[i] = n->things[i];
	return fleet_node_set(&p->fleet, &facts);
}

static enum fleet_status
status_of(enum placing_state state)
{
	switch (state) {
	case PLACING_ALIVE:
		return FLEET_ALIVE;
	case PLACING_SUSPECT:
		return FLEET_SUSPECT;
	case PLACING_NEW:
	case PLACING_DEAD:
		break;
	}
	return FLEET_DEAD;
}

bool
placing_peer_lives(const struct placing_peer *n)
{
	return status_of(n->state) != FLEET_DEAD;
}

void
placing_live_each(const struct placing *p, void (*visit)(void *arg, uint32_t node), void *arg)
{
	struct map_iter it = {0};

	while (map_next(&p->peers, &it)) {
		const struct placing_peer *n = it.value;

		if (n->id != p->self && placing_peer_lives(n))
			visit(arg, n->id);
	}
}

/* When it ends another node wrote: it is read by the middle of the nodes' clocks. */
static void
tell_drain(struct placing *p, bool draining, int64_t until_wall_ns)
{
	int64_t base_ns = p->m->base_wall_ns, moved_ns = base_ns - p->drain_base_ns;
	int64_t now_ns = p->m->wall_ns + base_ns;
	uint64_t until_ns = 0;

	if (p->draining == draining && p->drain_until_wall_ns == until_wall_ns &&
	    (!until_wall_ns || (moved_ns < DRAIN_MOVED_NS && moved_ns > -DRAIN_MOVED_NS)))
		return;
	p->draining = draining;
	p->drain_until_wall_ns = until_wall_ns;
	p->drain_base_ns = base_ns;
	if (draining)
		until_ns = UINT64_MAX;
	if (draining && until_wall_ns)
		until_ns = until_wall_ns > now_ns
				   ? p->m->now_ns + (uint64_t)(until_wall_ns - now_ns)
				   : 1;
	p->link.local(p->link.arg, PLACEMENT_DRAIN, until_ns, NULL, 0);
}

static bool
same(const struct placing_peer *a, const struct placing_node *n)
{
	return text_equal(a->name, n->name) && text_equal(a->zone, n->zone) &&
	       text_equal(a->platform, n->platform) && a->cpu_milli == n->cpu_milli &&
	       a->memory_bytes == n->memory_bytes && text_equal(a->labels, n->labels) &&
	       text_equal(a->taints, n->taints) && a->cordoned == n->cordoned &&
	       a->draining == n->draining;
}

int
placing_node_set(struct placing *p, const struct placing_node *n)
{
	struct placing_peer *peer = placing_peer(p, n->id);
	bool fresh = !peer;

	if (n->id == p->self)
		tell_drain(p, n->draining, n->drain_until_wall_ns);
	if (peer && same(peer, n))
		return 0;
	if (fresh) {
		peer = mem_zalloc(MEM_SCHEDULER, sizeof(*peer));
		if (!peer || map_put_u64(&p->peers, n->id, peer) < 0) {
			mem_free(peer);
			return -1;
		}
		peer->id = n->id;
		peer->state = n->id == p->self ? PLACING_ALIVE : PLACING_NEW;
	}
	text_copy(peer->name, sizeof(peer->name), n->name);
	text_copy(peer->zone, sizeof(peer->zone), n->zone);
	text_copy(peer->platform, sizeof(peer->platform), n->platform);
	peer->cpu_milli = n->cpu_milli;
	peer->memory_bytes = n->memory_bytes;
	text_copy(peer->labels, sizeof(peer->labels), n->labels);
	text_copy(peer->taints, sizeof(peer->taints), n->taints);
	peer->cordoned = n->cordoned;
	peer->draining = n->draining;
	if (n->id == p->self)
		placing_own_things(p);
	if (placing_peer_facts(p, peer) < 0) {
		peer->name[0] = '\0'; /* not the same any more: it is set again */
		return -1;
	}
	if (fresh) {
		fleet_node_status(&p->fleet, n->id, status_of(peer->state));
		placing_entries_sooner(p);
	}
	return 0;
}

void
placing_node_state(struct placing *p, uint32_t node, enum placing_state state)
{
	struct placing_peer *peer = placing_peer(p, node);
	bool lived, lives;

	if (!peer || node == p->self || peer->state == state)
		return;
	lived = status_of(peer->state) != FLEET_DEAD;
	lives = status_of(state) != FLEET_DEAD;
	peer->state = state;
	fleet_node_status(&p->fleet, node, status_of(state));
	if (lived != lives)
		p->changed = p->bars = true;
	p->bar_ns = 0;
	if (lived && !lives) {
		placing_lost(p, node);
		remote_drop_node(p->m, node);
	}
	if (!lived && lives)
		placing_again(p);
	p->link.stir(p->link.arg);
}

void
placing_node_stuck(struct placing *p, uint32_t node, bool stuck)
{
	const struct fleet_node *n = fleet_node(&p->fleet, node);

	if (!n || n->stuck == stuck)
		return;
	fleet_node_stuck(&p->fleet, node, stuck);
	p->bars = true;
	p->bar_ns = 0;
	/* Whoever conducts now waits a round: until then the one before has heard it, too. */
	if (n->status != FLEET_DEAD)
		p->changed = true;
	p->link.stir(p->link.arg);
}

void
placing_node_remove(struct placing *p, uint32_t node)
{
	struct placing_peer *peer = placing_peer(p, node);

	if (!peer || node == p->self)
		return;
	p->changed = true;
	remote_drop_node(p->m, node);
	placing_figures_reap(p, peer, true);
	placing_waits_reap(p, peer, true);
	fleet_node_remove(&p->fleet, node);
	map_remove_u64(&p->peers, node);
	mem_free(peer);
	p->link.stir(p->link.arg);
}

void
placing_node_load(struct placing *p, uint32_t node, uint32_t cpu_free_milli,
		  uint64_t memory_free_bytes)
{
	fleet_node_load(&p->fleet, node, cpu_free_milli, memory_free_bytes);
}

void
placing_fleet_fini(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->peers, &it))
		mem_free(it.value);
	map_fini(&p->peers);
}

/* ---- services ---- */

uint32_t
placing_asked_revision(const struct deployment *d)
{
	return d->rollout.phase == ROLLOUT_BACK ? d->row.revision : d->row.target;
}

uint64_t
placing_asked_epoch(const struct deployment *d)
{
	bool restart = d->operation && d->operation->row.kind == MSG_OPERATION_RESTART;

	return d->operation && (restart || d->rollout.phase == ROLLOUT_FORWARD)
		       ? d->operation->row.id
		       : 0;
}

void
placing_volume(const struct service *s, const char *name, char out[TIDINGS_THING_MAX])
{
	text_format(out, TIDINGS_THING_MAX, "volume:%s/%s", s->deployment->row.name, name);
}

void
placing_device(const char *path, char out[TIDINGS_THING_MAX])
{
	text_format(out, TIDINGS_THING_MAX, "device:%s", path);
}

struct spec_texts {
	char devices[WORDS_MAX][TIDINGS_THING_MAX];
	const char *needs[WORDS_MAX];
	char volumes[WORDS_MAX][TIDINGS_THING_MAX];
	const char *keeps[WORDS_MAX];
	struct fleet_pair labels[WORDS_MAX];
	struct fleet_pair prefer[WORDS_MAX];
};

static size_t
copy_pairs(const struct doc_pairs *from, struct fleet_pair out[WORDS_MAX])
{
	size_t count = from->count < WORDS_MAX ? from->count : WORDS_MAX;

	for (size_t i = 0; i < count; i++)
		out[i] = (struct fleet_pair){from->items[i].key, from->items[i].value};
	return count;
}

static size_t
volumes(const struct service *s, const struct doc_service *doc, struct spec_texts *t)
{
	size_t count = 0;

	for (size_t i = 0; i < doc->storage_count && count < WORDS_MAX; i++) {
		if (doc->storage[i].type != DOC_STORAGE_NAMED)
			continue;
		placing_volume(s, doc->storage[i].name, t->volumes[count]);
		t->keeps[count] = t->volumes[count];
		count++;
	}
	return count;
}

static size_t
devices(const struct doc_service *doc, struct spec_texts *t)
{
	size_t count = doc->devices_count < WORDS_MAX ? doc->devices_count : WORDS_MAX;

	for (size_t i = 0; i < count; i++) {
		placing_device(doc->devices[i].path, t->devices[i]);
		t->needs[i] = t->devices[i];
	}
	return count;
}

static int
set_service(struct placing *p, struct service *s, const struct doc_service *doc)
{
	static struct spec_texts texts;
	const struct doc_placement *place = &doc->placement;
	char name[MSG_TARGET];
	struct fleet_spec spec = {
		.id = s->row.id,
		.name = name,
		.revision = placing_asked_revision(s->deployment),
		/* Runs are placed one by one (placing_runs.c). */
		.replicas = doc->rtype != DOC_RTYPE_SERVICE      ? 0
			    : s->row.wanted < FLEET_REPLICAS_MAX ? s->row.wanted
								 : FLEET_REPLICAS_MAX,
		.cpu_milli = doc->resources.cpu_milli,
		.memory_bytes = doc->resources.memory_bytes,
		.mode = (enum fleet_mode)place->mode,
		.spread = (enum fleet_spread)place->spread,
		.platform = doc->platform ? doc->platform : "",
		.needs = texts.needs,
		.labels = texts.labels,
		.prefer = texts.prefer,
		.tolerate = place->tolerate.items,
		.tolerate_count =
			place->tolerate.count < WORDS_MAX ? place->tolerate.count : WORDS_MAX,
		.keeps = texts.keeps,
		.epoch = placing_asked_epoch(s->deployment),
		.leased = doc->rtype == DOC_RTYPE_SERVICE && doc->scale.unique,
	};

	model_label(s, name);
	spec.labels_count = copy_pairs(&place->selector.labels, texts.labels);
	spec.prefer_count = copy_pairs(&place->selector.prefer_labels, texts.prefer);
	spec.needs_count = devices(doc, &texts);
	spec.keeps_count = volumes(s, doc, &texts);
	return fleet_service_set(&p->fleet, &spec);
}

static void
sync_service(struct placing *p, struct service *s)
{
	struct deployment *d = s->deployment;
	uint32_t revision = d->gone ? 0 : placing_asked_revision(d);
	const struct doc_service *doc = revision ? model_service_doc(p->m, s, revision) : NULL;
	uint64_t epoch = placing_asked_epoch(d);

	if (!doc) {
		if (s->placed_revision)
			fleet_service_remove(&p->fleet, s->row.id);
		s->placed_revision = 0;
		return;
	}
	if (s->placed_revision == revision && s->placed_epoch == epoch)
		return;
	if (set_service(p, s, doc) < 0) {
		log_event(LOG_WARN, "a service cannot be placed now: no memory, or too many labels",
			  log_s("deployment", d->row.name), log_s("service", s->row.name), LOG_END);
		model_wake_at(p->m, p->m->now_ns + 1000 * PLACING_MS_NS);
		return;
	}
	if (!s->placed_revision)
		placing_entries_sooner(p);
	s->placed_revision = revision;
	s->placed_epoch = epoch;
}

/* Those whose rows are gone. */
static void
forget_services(struct placing *p, const struct map *known)
{
	struct list *it, *next;

	list_each (it, next, &p->fleet.services) {
		struct fleet_service *s = container_of(it, struct fleet_service, all);

		if (s->known && !s->removed && !map_get_u64(known, s->id))
			fleet_service_remove(&p->fleet, s->id);
	}
}

void
placing_fleet_services(struct placing *p)
{
	struct list *it, *next, *at, *after;
	struct map known;
	bool whole = true;

	map_init(&known, MEM_SCHEDULER);
	list_each (it, next, &p->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			struct service *s = container_of(at, struct service, link);

			sync_service(p, s);
			if (s->placed_revision)
				whole &= map_put_u64(&known, s->row.id, s) == 0;
		}
	}
	if (whole)
		forget_services(p, &known);
	map_fini(&known);
	p->fleet.complete = true;
}
