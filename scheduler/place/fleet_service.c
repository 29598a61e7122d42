/* SPDX-License-Identifier: Apache-2.0 */
/* Services and claims. A claim may be heard of before its service or its node: it is kept, and its
 * service waits without a spec. */
#include "scheduler/place/fleet.h"

#include <assert.h>
#include <string.h>

enum { SPEC_BYTES_MAX = 1 << 20 };

struct claim_id {
	uint64_t number;
	uint64_t node;
};

/* ---- services ---- */

struct fleet_service *
fleet_service(const struct fleet *f, uint64_t service)
{
	return map_get_u64(&f->services_by_id, service);
}

static struct fleet_service *
service_new(struct fleet *f, uint64_t id)
{
	struct fleet_service *s;

	if (f->services_count >= FLEET_SERVICES_MAX)
		return NULL;
	s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));
	if (!s || map_put_u64(&f->services_by_id, id, s) < 0) {
		mem_free(s);
		return NULL;
	}
	s->id = id;
	s->name = "";
	list_init(&s->link);
	list_init(&s->claims);
	list_push(&f->services, &s->all);
	f->services_count++;
	if (!f->stale)
		s->coordinator = fleet_coordinator(f, id);
	return s;
}

static bool
wants_all(const struct fleet_service *s)
{
	return s->known && s->spec.mode == FLEET_EXCLUSIVE;
}

void
fleet_service_free(struct fleet *f, struct fleet_service *s)
{
	struct list *it, *next;

	list_each (it, next, &s->claims)
		fleet_claim_free(f, container_of(it, struct fleet_claim, of_service));
	if (f->marked == s)
		f->marked = NULL;
	map_remove_u64(&f->services_by_id, s->id);
	list_remove(&s->all);
	list_remove(&s->link);
	f->services_count--;
	f->exclusives -= wants_all(s);
	arena_fini(&s->memory);
	mem_free(s);
}

bool
fleet_service_forget(struct fleet *f, struct fleet_service *s)
{
	if ((s->known && !s->removed) || s->claims_count || s->work || !list_empty(&s->link))
		return false;
	fleet_service_free(f, s);
	return true;
}

static int
copy_spec(struct fleet_service *s, const struct fleet_spec *spec)
{
	struct arena *a = &s->memory;

	arena_init(a, MEM_SCHEDULER, SPEC_BYTES_MAX);
	s->spec = *spec;
	s->name = s->spec.name = arena_strdup(a, spec->name);
	s->spec.platform = arena_strdup(a, spec->platform);
	s->platform = spec->platform[0] ? rendezvous_text(spec->platform) : 0;
	s->labels = fleet_pairs_copy(a, spec->labels, spec->labels_count);
	s->prefer = fleet_pairs_copy(a, spec->prefer, spec->prefer_count);
	s->tolerate = fleet_words_copy(a, spec->tolerate, spec->tolerate_count);
	s->needs = fleet_words_copy(a, spec->needs, spec->needs_count);
	s->keeps = fleet_words_copy(a, spec->keeps, spec->keeps_count);
	s->takes = fleet_words_copy(a, spec->takes, spec->takes_count);
	/* The lists as given were the caller's. */
	s->spec.labels = s->spec.prefer = NULL;
	s->spec.tolerate = s->spec.needs = s->spec.keeps = s->spec.takes = NULL;
	if (!arena_ok(a)) {
		arena_fini(a);
		return -1;
	}
	s->label_bits = fleet_words_bits(&s->labels);
	return 0;
}

static void
take_spec(struct fleet *f, struct fleet_service *s, const struct fleet_service *new)
{
	f->exclusives -= wants_all(s);
	arena_fini(&s->memory);
	s->memory = new->memory;
	s->spec = new->spec;
	s->name = new->name;
	s->platform = new->platform;
	s->labels = new->labels;
	s->prefer = new->prefer;
	s->tolerate = new->tolerate;
	s->needs = new->needs;
	s->keeps = new->keeps;
	s->takes = new->takes;
	s->label_bits = new->label_bits;
	s->known = true;
	s->removed = false;
	f->exclusives += wants_all(s);
}

static bool
too_much(const struct fleet_spec *spec)
{
	return spec->replicas > FLEET_REPLICAS_MAX || spec->labels_count > FLEET_WORDS_MAX ||
	       spec->prefer_count > FLEET_WORDS_MAX || spec->tolerate_count > FLEET_WORDS_MAX ||
	       spec->needs_count > FLEET_WORDS_MAX || spec->keeps_count > FLEET_WORDS_MAX ||
	       spec->takes_count > FLEET_WORDS_MAX;
}

int
fleet_service_set(struct fleet *f, const struct fleet_spec *spec)
{
	struct fleet_service *s = fleet_service(f, spec->id);
	struct fleet_service new = {0};

	if (too_much(spec) || copy_spec(&new, spec) < 0)
		return -1;
	if (!s && !(s = service_new(f, spec->id))) {
		arena_fini(&new.memory);
		return -1;
	}
	take_spec(f, s, &new);
	fleet_touch(f, s);
	return 0;
}

void
fleet_service_remove(struct fleet *f, uint64_t service)
{
	struct fleet_service *s = fleet_service(f, service);

	if (!s || s->removed)
		return;
	s->removed = true;
	s->spec.replicas = 0;
	if (!fleet_service_forget(f, s))
		fleet_touch(f, s);
}

/* ---- claims ---- */

static struct claim_id
id_of(uint32_t node, uint64_t number)
{
	return (struct claim_id){number, node};
}

struct fleet_claim *
fleet_claim(const struct fleet *f, uint32_t node, uint64_t number)
{
	struct claim_id id = id_of(node, number);

	return map_get(&f->claims_by_id, &id, sizeof(id));
}

bool
fleet_claim_lives(const struct fleet_claim *c)
{
	return c->node && c->node->status != FLEET_DEAD;
}

static bool
stays(const struct fleet_claim *c)
{
	return c->claim.state != CLAIM_LEAVING;
}

/* It begins or ceases to count on its node. */
static void
count(struct fleet *f, const struct fleet_claim *c, bool more)
{
	if (c->claim.state == CLAIM_FAILED)
		c->service->failed += more ? 1 : SIZE_MAX;
	if (!c->node || !stays(c))
		return;
	c->node->claims_count += more ? 1 : UINT32_MAX;
	if (f->marked == c->service && !f->stale)
		fleet_mark_add(f, c->node, more);
}

static struct fleet_claim *
claim_new(struct fleet *f, const struct claim *claim)
{
	struct claim_id id = id_of(claim->node, claim->number);
	struct fleet_service *s = fleet_service(f, claim->service);
	struct fleet_claim *c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));

	if (!c)
		return NULL;
	if ((!s && !(s = service_new(f, claim->service))) ||
	    map_put(&f->claims_by_id, &id, sizeof(id), c, NULL) < 0) {
		if (s)
			fleet_service_forget(f, s);
		mem_free(c);
		return NULL;
	}
	c->service = s;
	c->node = fleet_node(f, claim->node);
	list_push(&s->claims, &c->of_service);
	s->claims_count++;
	list_init(&c->of_node);
	if (c->node)
		list_push(&c->node->claims, &c->of_node);
	return c;
}

static struct fleet_claim *
set(struct fleet *f, const struct claim *claim)
{
	struct fleet_claim *c = fleet_claim(f, claim->node, claim->number);

	/* A number stands for one claim for ever; only its state and reason change. */
	if (c && (c->claim.service != claim->service || c->claim.slot != claim->slot ||
		  c->claim.revision != claim->revision)) {
		fleet_claim_remove(f, claim->node, claim->number);
		c = NULL;
	}
	if (c)
		count(f, c, false);
	else if (!(c = claim_new(f, claim)))
		return NULL;
	if (claim->state != CLAIM_READY)
		c->ready_ns = 0;
	c->claim = *claim;
	count(f, c, true);
	fleet_touch(f, c->service);
	return c;
}

int
fleet_claim_set(struct fleet *f, const struct claim *claim)
{
	struct fleet_claim *c = set(f, claim);

	if (!c)
		return -1;
	c->direct = false;
	return 0;
}

int
fleet_claim_answered(struct fleet *f, const struct claim *claim, uint64_t now_ns)
{
	const struct fleet_claim *before = fleet_claim(f, claim->node, claim->number);
	bool direct = !before || before->direct;
	struct fleet_claim *c = set(f, claim);

	if (!c)
		return -1;
	c->direct = direct;
	c->heard_ns = now_ns;
	return 0;
}

void
fleet_claim_free(struct fleet *f, struct fleet_claim *c)
{
	struct claim_id id = id_of(c->claim.node, c->claim.number);

	count(f, c, false);
	map_remove(&f->claims_by_id, &id, sizeof(id));
	list_remove(&c->of_service);
	list_remove(&c->of_node);
	c->service->claims_count--;
	mem_free(c);
}

void
fleet_claim_remove(struct fleet *f, uint32_t node, uint64_t number)
{
	struct fleet_claim *c = fleet_claim(f, node, number);
	struct fleet_service *s;

	if (!c)
		return;
	s = c->service;
	fleet_claim_free(f, c);
	if (!fleet_service_forget(f, s))
		fleet_touch(f, s);
}
