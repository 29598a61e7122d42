/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both directions of each entry stand side by side. Who reads takes nothing on trust: a cursor that
 * ran over its end, a text that is too long or not printable, a number that no node writes make the
 * whole value nothing.
 */
#include "scheduler/tidings.h"

#include <assert.h>
#include <string.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/text.h"
#include "ring/msg_deploy.h"
#include "scheduler/place/fleet.h"
#include "scheduler/place/rendezvous.h"

enum {
	CORDONED = 1,
	DRAINING = 2,
	WHOLE = 1,
	LENGTH_MAX = 255,
	LEASED = 2,    /* from this version on a replica's value has its lease, */
	ENDED = 3,     /* and how a run ended; */
	FLAGGED = 4,   /* a voter's has more flags; */
	NAMED = 5,     /* that of a container of others has its name; */
	USED = 6,      /* a replica's has the memory that it uses */
	WHY_MAX = 180, /* of the texts of a reason but the first: together they leave room */
	SCALE_WHY_MAX = 150,
};

/* ---- writing ---- */

static bool
room(const struct tidings_value *v, size_t bytes)
{
	return bytes <= sizeof(v->data) - v->bytes;
}

static void
put(struct tidings_value *v, uint64_t n, unsigned bytes)
{
	assert(room(v, bytes));
	le_put(v->data + v->bytes, n, bytes);
	v->bytes += bytes;
}

static void
put_bytes(struct tidings_value *v, const void *data, size_t bytes)
{
	assert(room(v, bytes));
	memcpy(v->data + v->bytes, data, bytes);
	v->bytes += bytes;
}

static bool
put_text(struct tidings_value *v, const char *text)
{
	size_t length = strlen(text);

	if (length > LENGTH_MAX || !room(v, 1 + length))
		return false;
	put(v, length, 1);
	put_bytes(v, text, length);
	return true;
}

/* At a character's end, and without what a reader would refuse. */
static void
put_cut(struct tidings_value *v, const char *text, size_t most)
{
	char cut[LENGTH_MAX + 1], clean[LENGTH_MAX + 1];
	bool whole;

	text_copy(cut, most + 1, text);
	text_printable(cut, strlen(cut), clean, sizeof(clean));
	text_copy(cut, most + 1, clean);
	whole = put_text(v, cut);
	assert(whole);
}

static void
begin(struct tidings_value *v)
{
	v->bytes = 0;
	put(v, TIDINGS_VERSION, 1);
}

/* ---- reading ---- */

/* False: no version that can be read. */
static bool
open_value(struct cursor *c, const void *value, size_t bytes, uint8_t *version)
{
	cursor_init(c, value, bytes);
	*version = cursor_u8(c);
	return cursor_ok(c) && *version >= 1;
}

/* Of this version it ends here; what a later one adds is its own affair. */
static bool
close_value(const struct cursor *c, uint8_t version)
{
	return version <= TIDINGS_VERSION ? cursor_done(c) : cursor_ok(c);
}

static bool
take_text(struct cursor *c, char *out, size_t cap)
{
	size_t length = cursor_u8(c);
	const char *text = cursor_take(c, length);

	if (!text || length >= cap || !text_is_printable(text, length))
		return false;
	memcpy(out, text, length);
	out[length] = '\0';
	return true;
}

#define TAKE_TEXT(c, field) take_text((c), (field), sizeof(field))

static bool
take_bytes(struct cursor *c, void *out, size_t bytes)
{
	const void *at = cursor_take(c, bytes);

	if (at)
		memcpy(out, at, bytes);
	return at != NULL;
}

/* ---- facts ---- */

/* Node.yaml may have what no reader takes. */
static bool
put_word(struct tidings_value *v, const char *text)
{
	char clean[TIDINGS_WORD];

	text_printable(text, strlen(text), clean, sizeof(clean));
	return put_text(v, clean);
}

static bool
put_words(struct tidings_value *v, const struct tidings_facts *f)
{
	bool good = true;

	for (size_t i = 0; i < f->labels_count; i++)
		good = good && put_word(v, f->labels[i].key) && put_word(v, f->labels[i].value);
	for (size_t i = 0; i < f->taints_count; i++)
		good = good && put_word(v, f->taints[i]);
	return good;
}

int
tidings_put_facts(const struct tidings_facts *f, struct tidings_value *out, struct err *err)
{
	assert(f->labels_count <= TIDINGS_LABELS_MAX && f->taints_count <= TIDINGS_TAINTS_MAX);
	begin(out);
	put(out, (f->cordoned ? CORDONED : 0) | (f->draining ? DRAINING : 0), 1);
	put(out, f->labels_count, 1);
	put(out, f->taints_count, 1);
	put(out, f->cpu_milli, 4);
	put(out, f->memory_bytes, 8);
	put(out, (uint64_t)f->started_wall_ns, 8);
	put_bytes(out, f->address.ip, sizeof(f->address.ip));
	put(out, f->address.port, 2);
	if (put_text(out, f->name) && put_text(out, f->zone) && put_text(out, f->platform) &&
	    put_text(out, f->version) && put_words(out, f) && out->bytes < sizeof(out->data)) {
		put(out, f->passes, 1);
		return 0;
	}
	err_set(err, ERR_LIMIT, "the labels of this node are too long to be told to the others");
	err_why(err, "all of them together may have about %d characters", GOSSIP_VALUE_MAX - 256);
	return err_fix(err, "give it fewer or shorter labels (node.labels in node.yaml)");
}

static bool
take_words(struct cursor *c, struct tidings_facts *out)
{
	for (size_t i = 0; i < out->labels_count; i++) {
		if (!TAKE_TEXT(c, out->labels[i].key) || !TAKE_TEXT(c, out->labels[i].value))
			return false;
	}
	for (size_t i = 0; i < out->taints_count; i++) {
		if (!TAKE_TEXT(c, out->taints[i]))
			return false;
	}
	return true;
}

bool
tidings_take_facts(const void *value, size_t bytes, struct tidings_facts *out)
{
	struct cursor c;
	uint8_t version, flags;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	flags = cursor_u8(&c);
	out->cordoned = flags & CORDONED;
	out->draining = flags & DRAINING;
	out->labels_count = cursor_u8(&c);
	out->taints_count = cursor_u8(&c);
	out->cpu_milli = cursor_u32(&c);
	out->memory_bytes = cursor_u64(&c);
	out->started_wall_ns = (int64_t)cursor_u64(&c);
	if (!take_bytes(&c, out->address.ip, sizeof(out->address.ip)))
		return false;
	out->address.port = cursor_u16(&c);
	if (out->labels_count > TIDINGS_LABELS_MAX || out->taints_count > TIDINGS_TAINTS_MAX)
		return false;
	if (!TAKE_TEXT(&c, out->name) || !out->name[0] || !TAKE_TEXT(&c, out->zone) ||
	    !TAKE_TEXT(&c, out->platform) || !TAKE_TEXT(&c, out->version) || !take_words(&c, out))
		return false;
	out->passes_said = version >= 7;
	if (out->passes_said)
		out->passes = cursor_u8(&c);
	return close_value(&c, version);
}

/* ---- load ---- */

void
tidings_put_load(const struct tidings_load *l, struct tidings_value *out)
{
	begin(out);
	put(out, l->cpu_free_milli, 4);
	put(out, l->memory_free_bytes, 8);
	put(out, l->sequence, 8);
}

bool
tidings_take_load(const void *value, size_t bytes, struct tidings_load *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->cpu_free_milli = cursor_u32(&c);
	out->memory_free_bytes = cursor_u64(&c);
	out->sequence = cursor_u64(&c);
	return close_value(&c, version);
}

/* ---- claims ---- */

void
tidings_put_claim(const struct claim *c, struct tidings_value *out)
{
	claim_encode(c, out->data);
	out->bytes = CLAIM_BYTES;
}

bool
tidings_take_claim(const void *value, size_t bytes, uint32_t node, uint64_t number,
		   struct claim *out)
{
	memset(out, 0, sizeof(*out));
	return bytes >= CLAIM_BYTES && claim_decode(value, out) && out->node == node &&
	       out->number == number;
}

/* ---- replicas ---- */

static void
put_reason(struct tidings_value *v, const struct msg_reason *r)
{
	put(v, r->kind, 1);
	if (!r->kind)
		return;
	put(v, r->code, 4);
	put_cut(v, r->what, LENGTH_MAX);
	put_cut(v, r->why, WHY_MAX);
	put_cut(v, r->why2, WHY_MAX);
	put_cut(v, r->fix, WHY_MAX);
}

void
tidings_put_replica(const struct tidings_replica *r, struct tidings_value *out)
{
	begin(out);
	put(out, r->state, 1);
	put(out, r->flags, 2);
	put(out, r->index, 4);
	put(out, r->revision, 4);
	put(out, r->attempt, 4);
	put(out, r->ready_attempt, 4);
	put(out, r->restarts, 4);
	put(out, r->conditions, 4);
	put(out, r->service, 8);
	put(out, r->operation, 8);
	put(out, r->claim, 8);
	put(out, (uint64_t)r->created_wall_ns, 8);
	put(out, (uint64_t)r->since_wall_ns, 8);
	put(out, (uint64_t)r->ready_wall_ns, 8);
	put_bytes(out, r->make, sizeof(r->make));
	put_bytes(out, r->addr4.ip, sizeof(r->addr4.ip));
	put_bytes(out, r->addr6.ip, sizeof(r->addr6.ip));
	put_reason(out, &r->reason);
	put(out, r->lease_epoch, 8);
	put(out, r->exit, 4);
	put(out, r->memory_bytes, 8);
}

static bool
take_reason(struct cursor *c, struct msg_reason *out)
{
	out->kind = cursor_u8(c);
	if (!out->kind)
		return true;
	out->code = cursor_u32(c);
	return out->kind < ERR_KINDS_ && TAKE_TEXT(c, out->what) && TAKE_TEXT(c, out->why) &&
	       TAKE_TEXT(c, out->why2) && TAKE_TEXT(c, out->fix);
}

static bool
take_later(struct cursor *c, uint8_t version, struct tidings_replica *out)
{
	if (version >= LEASED)
		out->lease_epoch = cursor_u64(c);
	if (version >= ENDED)
		out->exit = cursor_u32(c);
	if (version >= USED)
		out->memory_bytes = cursor_u64(c);
	return close_value(c, version);
}

bool
tidings_take_replica(const void *value, size_t bytes, struct tidings_replica *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->state = cursor_u8(&c);
	out->flags = cursor_u16(&c);
	out->index = cursor_u32(&c);
	out->revision = cursor_u32(&c);
	out->attempt = cursor_u32(&c);
	out->ready_attempt = cursor_u32(&c);
	out->restarts = cursor_u32(&c);
	out->conditions = cursor_u32(&c);
	out->service = cursor_u64(&c);
	out->operation = cursor_u64(&c);
	out->claim = cursor_u64(&c);
	out->created_wall_ns = (int64_t)cursor_u64(&c);
	out->since_wall_ns = (int64_t)cursor_u64(&c);
	out->ready_wall_ns = (int64_t)cursor_u64(&c);
	return take_bytes(&c, out->make, sizeof(out->make)) &&
	       take_bytes(&c, out->addr4.ip, sizeof(out->addr4.ip)) &&
	       take_bytes(&c, out->addr6.ip, sizeof(out->addr6.ip)) &&
	       take_reason(&c, &out->reason) && take_later(&c, version, out) && out->service &&
	       out->index && out->state >= MSG_REPLICA_PENDING &&
	       out->state <= MSG_REPLICA_ISOLATED;
}

/* ---- certificates ---- */

bool
tidings_put_admitted(const void *der, size_t bytes, struct tidings_value *out)
{
	begin(out);
	if (!bytes || !room(out, bytes))
		return false;
	put_bytes(out, der, bytes);
	return true;
}

const void *
tidings_take_admitted(const void *value, size_t bytes, size_t *bytes_out)
{
	struct cursor c;
	uint8_t version;

	if (!open_value(&c, value, bytes, &version) || !cursor_left(&c))
		return NULL;
	*bytes_out = cursor_left(&c);
	return cursor_take(&c, *bytes_out);
}

/* ---- things ---- */

bool
tidings_put_thing(const char *thing, struct tidings_value *out)
{
	begin(out);
	return thing[0] && text_is_printable(thing, strlen(thing)) && put_text(out, thing);
}

bool
tidings_take_thing(const void *value, size_t bytes, uint64_t id, char out[TIDINGS_THING_MAX])
{
	struct cursor c;
	uint8_t version;

	return open_value(&c, value, bytes, &version) && take_text(&c, out, TIDINGS_THING_MAX) &&
	       out[0] && close_value(&c, version) && rendezvous_text(out) == id;
}

/* ---- guests ---- */

void
tidings_put_guest(const struct tidings_guest *g, struct tidings_value *out)
{
	begin(out);
	put_bytes(out, g->addr4.ip, sizeof(g->addr4.ip));
	put_bytes(out, g->addr6.ip, sizeof(g->addr6.ip));
	put_cut(out, g->network, sizeof(g->network) - 1);
	put_cut(out, g->name, sizeof(g->name) - 1);
}

bool
tidings_take_guest(const void *value, size_t bytes, struct tidings_guest *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	return take_bytes(&c, out->addr4.ip, sizeof(out->addr4.ip)) &&
	       take_bytes(&c, out->addr6.ip, sizeof(out->addr6.ip)) &&
	       TAKE_TEXT(&c, out->network) && out->network[0] &&
	       (version < NAMED || TAKE_TEXT(&c, out->name)) && close_value(&c, version);
}

/* ---- figures ---- */

void
tidings_put_writer(uint32_t term, struct tidings_value *out)
{
	begin(out);
	put(out, term, 4);
}

bool
tidings_take_writer(const void *value, size_t bytes, uint32_t *term_out)
{
	uint8_t version;
	struct cursor c;

	if (!open_value(&c, value, bytes, &version))
		return false;
	*term_out = cursor_u32(&c);
	return *term_out > 0 && close_value(&c, version);
}

void
tidings_put_twin(const struct addr *at, struct tidings_value *out)
{
	begin(out);
	put_bytes(out, at->ip, sizeof(at->ip));
}

bool
tidings_take_twin(const void *value, size_t bytes, struct addr *at)
{
	uint8_t version;
	struct cursor c;

	*at = (struct addr){0};
	if (!open_value(&c, value, bytes, &version))
		return false;
	const void *ip = cursor_take(&c, sizeof(at->ip));
	if (ip)
		memcpy(at->ip, ip, sizeof(at->ip));
	return close_value(&c, version) && !addr_is_zero(at);
}

void
tidings_put_figures(const struct tidings_figures *f, struct tidings_value *out)
{
	begin(out);
	put(out, f->whole ? WHOLE : 0, 1);
	put(out, f->ready, 4);
	put(out, f->waiting, 4);
	put(out, f->in_flight, 4);
	put(out, f->asks, 4);
	put(out, f->beat, 4);
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		put(out, f->sum[i], 8);
}

bool
tidings_take_figures(const void *value, size_t bytes, struct tidings_figures *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->whole = cursor_u8(&c) & WHOLE;
	out->ready = cursor_u32(&c);
	out->waiting = cursor_u32(&c);
	out->in_flight = cursor_u32(&c);
	out->asks = cursor_u32(&c);
	out->beat = cursor_u32(&c);
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		out->sum[i] = cursor_u64(&c);
	return close_value(&c, version) && out->ready <= FLEET_REPLICAS_MAX;
}

/* ---- decisions ---- */

void
tidings_put_scale(const struct tidings_scale *s, struct tidings_value *out)
{
	begin(out);
	put(out, s->decision, 1);
	put(out, s->known, 1);
	put(out, s->from, 4);
	put(out, s->to, 4);
	put(out, (uint64_t)s->changed_wall_ns, 8);
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		put(out, s->mean[i], 8);
	put_cut(out, s->why, SCALE_WHY_MAX);
	put_reason(out, &s->held);
}

bool
tidings_take_scale(const void *value, size_t bytes, struct tidings_scale *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->decision = cursor_u8(&c);
	out->known = cursor_u8(&c);
	out->from = cursor_u32(&c);
	out->to = cursor_u32(&c);
	out->changed_wall_ns = (int64_t)cursor_u64(&c);
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		out->mean[i] = cursor_u64(&c);
	return TAKE_TEXT(&c, out->why) && take_reason(&c, &out->held) && close_value(&c, version) &&
	       out->decision <= MSG_SCALE_HELD;
}

void
tidings_put_waits(const struct tidings_waits *w, struct tidings_value *out)
{
	begin(out);
	put(out, w->missing, 4);
	put(out, w->reasons, 4);
	put_reason(out, &w->reason);
}

bool
tidings_take_waits(const void *value, size_t bytes, struct tidings_waits *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->missing = cursor_u32(&c);
	out->reasons = cursor_u32(&c);
	return take_reason(&c, &out->reason) && close_value(&c, version) && out->missing &&
	       out->missing <= FLEET_REPLICAS_MAX && out->reason.kind;
}

/* ---- voters ---- */

void
tidings_put_voter(const struct tidings_voter *v, struct tidings_value *out)
{
	begin(out);
	put(out, v->flags & 0xff, 1);
	put(out, v->life, 8);
	put_bytes(out, v->client.ip, sizeof(v->client.ip));
	put(out, v->client.port, 2);
	put_cut(out, v->version, sizeof(v->version) - 1);
	put_cut(out, v->reason, sizeof(v->reason) - 1);
	put(out, v->term, 4);
	put(out, v->flags >> 8 & 0xff, 1);
}

bool
tidings_take_voter(const void *value, size_t bytes, struct tidings_voter *out)
{
	struct cursor c;
	uint8_t version;

	memset(out, 0, sizeof(*out));
	if (!open_value(&c, value, bytes, &version))
		return false;
	out->flags = cursor_u8(&c);
	out->life = cursor_u64(&c);
	if (!take_bytes(&c, out->client.ip, sizeof(out->client.ip)))
		return false;
	out->client.port = cursor_u16(&c);
	if (!TAKE_TEXT(&c, out->version) || !TAKE_TEXT(&c, out->reason))
		return false;
	out->term = cursor_u32(&c);
	if (version >= FLAGGED)
		out->flags |= (uint32_t)cursor_u8(&c) << 8;
	return close_value(&c, version);
}
