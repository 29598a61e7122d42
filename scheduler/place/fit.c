/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter: one small function per kind of reason, each of which also says which label, taint or
 * thing it was when asked. What a claim of the same slot holds does not stand in its own way: a new
 * revision may come to where the old one is.
 */
#include "scheduler/place/fit.h"

#include <string.h>

/* ---- facts ---- */

static uint32_t
label_fails(const struct fleet_service *s, const struct fleet_node *n, struct fit *out)
{
	for (size_t i = 0; i < s->labels.count; i++) {
		if (fleet_words_have(&n->labels, s->labels.items[i].hash))
			continue;
		if (out)
			out->label = (uint16_t)i;
		return FIT_LABEL;
	}
	return 0;
}

static uint32_t
taint_fails(const struct fleet_service *s, const struct fleet_node *n, struct fit *out)
{
	for (size_t i = 0; i < n->taints.count; i++) {
		if (fleet_words_have(&s->tolerate, n->taints.items[i].hash))
			continue;
		if (out)
			out->taint = (uint16_t)i;
		return FIT_TAINT;
	}
	return 0;
}

static uint32_t
need_fails(const struct fleet_service *s, const struct fleet_node *n, struct fit *out)
{
	for (size_t i = 0; i < s->needs.count; i++) {
		if (fleet_words_have(&n->things, s->needs.items[i].hash))
			continue;
		if (out)
			out->need = (uint16_t)i;
		return FIT_NEED;
	}
	return 0;
}

static uint32_t
state_fails(const struct fleet_node *n)
{
	uint32_t reasons = 0;

	if (n->status == FLEET_DEAD)
		reasons |= FIT_DEAD;
	if (n->status == FLEET_SUSPECT)
		reasons |= FIT_SUSPECT;
	if (n->cordoned)
		reasons |= FIT_CORDONED;
	if (n->draining)
		reasons |= FIT_DRAINING;
	return reasons;
}

static uint32_t
facts(const struct fleet_service *s, const struct fleet_node *n, struct fit *out)
{
	uint32_t reasons = state_fails(n);

	if (s->platform && s->platform != n->platform)
		reasons |= FIT_PLATFORM;
	if (s->spec.leased && n->barred)
		reasons |= FIT_STORE;
	return reasons | label_fails(s, n, out) | taint_fails(s, n, out) | need_fails(s, n, out);
}

uint32_t
fit_facts(const struct fleet_service *s, const struct fleet_node *n)
{
	return facts(s, n, NULL);
}

uint32_t
fit_moves(const struct fleet_service *s, const struct fleet_node *n)
{
	return s->known ? facts(s, n, NULL) & FIT_MOVES : 0;
}

/* ---- what is on the node ---- */

static bool
same_slot(const struct fit_ask *ask, const struct fleet_claim *c)
{
	return c->service == ask->service && c->claim.slot == ask->slot;
}

static uint32_t
neighbours_fail(const struct fit_ask *ask, const struct fleet_node *n)
{
	const struct fleet_service *s = ask->service;
	uint32_t reasons = 0;

	if (s->spec.mode == FLEET_SHARED && !ask->fleet->exclusives && !s->failed)
		return 0;
	for (struct list *it = n->claims.next; it != &n->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_node);

		if (same_slot(ask, c)) {
			if (c->claim.state == CLAIM_FAILED && c->claim.revision == s->spec.revision)
				reasons |= FIT_GAVE_UP;
			continue;
		}
		if (s->spec.mode == FLEET_EXCLUSIVE)
			reasons |= FIT_OCCUPIED;
		else if (c->service->spec.mode == FLEET_EXCLUSIVE)
			reasons |= FIT_EXCLUSIVE;
		if (s->spec.mode == FLEET_DEDICATED && c->service == s)
			reasons |= FIT_DEDICATED;
	}
	return reasons;
}

static bool
taken(const struct fleet_node *n, uint64_t thing)
{
	for (struct list *it = n->claims.next; it != &n->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_node);

		if (fleet_words_have(&c->service->takes, thing))
			return true;
	}
	return false;
}

static uint32_t
take_fails(const struct fit_ask *ask, const struct fleet_node *n, struct fit *out)
{
	const struct fleet_words *takes = &ask->service->takes;

	for (size_t i = 0; i < takes->count; i++) {
		if (!taken(n, takes->items[i].hash))
			continue;
		if (out)
			out->taken = (uint16_t)i;
		return FIT_TAKEN;
	}
	return 0;
}

static const struct fleet_node *
keeper(const struct fleet *f, uint64_t thing)
{
	for (size_t i = 0; i < f->nodes_count; i++) {
		if (fleet_words_have(&f->nodes[i]->things, thing))
			return f->nodes[i];
	}
	return NULL;
}

static uint32_t
keep_fails(const struct fit_ask *ask, const struct fleet_node *n, struct fit *out)
{
	const struct fleet_words *keeps = &ask->service->keeps;

	for (size_t i = 0; i < keeps->count; i++) {
		uint64_t thing = keeps->items[i].hash;

		if (!(ask->kept >> i & 1) || fleet_words_have(&n->things, thing))
			continue;
		if (out) {
			out->keep = (uint16_t)i;
			out->keeper = keeper(ask->fleet, thing)->id;
		}
		return FIT_KEEP;
	}
	return 0;
}

/* ---- room ---- */

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint32_t
room_fails(const struct fleet_service *s, const struct fleet_node *n, struct fit *out)
{
	uint64_t cpu = less(n->cpu_free_milli, n->cpu_asked_milli);
	uint64_t memory = less(n->memory_free_bytes, n->memory_asked_bytes);
	uint32_t reasons = 0;

	if (n->cpu_milli && s->spec.cpu_milli > cpu)
		reasons |= FIT_CPU;
	if (n->memory_bytes && s->spec.memory_bytes > memory)
		reasons |= FIT_MEMORY;
	if (out) {
		out->cpu_free_milli = (uint32_t)cpu;
		out->memory_free_bytes = memory;
	}
	return reasons;
}

/* ---- all ---- */

void
fit_ask(struct fit_ask *ask, const struct fleet *f, const struct fleet_service *s, uint32_t slot)
{
	*ask = (struct fit_ask){.fleet = f, .service = s, .slot = slot};
	for (size_t i = 0; i < s->keeps.count; i++) {
		if (keeper(f, s->keeps.items[i].hash))
			ask->kept |= (uint64_t)1 << i;
	}
}

static uint32_t
all(const struct fit_ask *ask, const struct fleet_node *n, struct fit *out)
{
	return facts(ask->service, n, out) | neighbours_fail(ask, n) | take_fails(ask, n, out) |
	       keep_fails(ask, n, out) | room_fails(ask->service, n, out);
}

uint32_t
fit_reasons(const struct fit_ask *ask, const struct fleet_node *n)
{
	return all(ask, n, NULL);
}

void
fit_node(const struct fleet *f, const struct fleet_service *s, uint32_t slot,
	 const struct fleet_node *n, struct fit *out)
{
	struct fit_ask ask;

	memset(out, 0, sizeof(*out));
	fit_ask(&ask, f, s, slot);
	out->reasons = all(&ask, n, out);
}
