/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One follower at the writing node. What it is to be sent is not queued for it: it has a place in
 * the log, and whenever there is room it is given the next frames from there, or a snapshot when
 * the log does not go back that far. So a slow one costs nothing but its own connection.
 *
 * What it says is checked as if it came from an enemy: sizes first, then whether it can be a
 * transaction at all, then (store_copy.c) whether it leaves the rows as it says. It may change
 * everything that is shared: nodes are equal.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_lease.h"
#include "scheduler/store_serve_inside.h"

enum {
	WINDOW_BYTES = 512 << 10, /* on the way: more is sent when it has left */
	SLICE_BYTES = 64 << 10,
	SMALL_BYTES = 16 << 10, /* frames without changes */
};

struct store_serve_peer {
	struct list link;
	struct store_serve *serve; /* NULL: the store was freed */
	uint32_t node;
	const struct store_stream *calls;
	void *arg;
	bool ended;                   /* nothing more is sent or read */
	bool to_close;                /* the owner is not told yet */
	unsigned inside;              /* calls of ours that still use it */
	bool known;                   /* it has said what it has */
	uint64_t sequence;            /* that it is at when it has all that was sent */
	struct store_frames *sending; /* is being sent, up to `at` */
	size_t at;
	size_t unsent;
	struct store_wire_in in;
	struct buf staged; /* changes of a transaction to come */
};

/* ---- the end ---- */

static void
end(struct store_serve_peer *p)
{
	if (p->ended)
		return;
	p->ended = p->to_close = true;
	store_log_frames_unref(p->sending);
	p->sending = NULL;
}

/* Around all that may end it: the owner may free it when it is told. */
static void
enter(struct store_serve_peer *p)
{
	p->inside++;
}

static void
leave(struct store_serve_peer *p)
{
	if (--p->inside > 0 || !p->to_close)
		return;
	p->to_close = false;
	p->calls->close(p->arg);
}

static void
send_bytes(struct store_serve_peer *p, const void *data, size_t bytes)
{
	if (p->ended)
		return;
	p->unsent += bytes;
	/* The owner is about to say so too. */
	if (!p->calls->send(p->arg, data, bytes))
		p->ended = true;
}

static void
send_buf(struct store_serve_peer *p, struct buf *b)
{
	if (buf_ok(b))
		send_bytes(p, b->data, b->length);
	else
		end(p);
	buf_fini(b);
}

static void
refuse(struct store_serve_peer *p, const struct err *err)
{
	struct buf b;

	log_err(LOG_WARN, "a follower of the store was refused", err);
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_REFUSED);
	store_wire_put_err(&b, err);
	store_wire_end(&b, begun);
	if (buf_ok(&b))
		send_bytes(p, b.data, b.length);
	buf_fini(&b);
	end(p);
}

static void
refuse_frame(struct store_serve_peer *p, const char *what)
{
	struct err err = {0};

	err_set(&err, ERR_CORRUPT, "a follower sent %s", what);
	err_why(&err, "node %u", p->node);
	refuse(p, &err);
}

/* ---- sending ---- */

/* What comes next for it; false: nothing, or it was ended. */
static bool
choose(struct store_serve_peer *p)
{
	struct store_serve *s = p->serve;
	struct err err = {0};

	if (p->sending)
		return true;
	if (!p->known)
		return false;
	if (p->sequence < s->base.copy.head.sequence) {
		struct store_frames *next = store_log_get(&s->log, p->sequence + 1);

		if (!next)
			next = store_serve_snapshot(s, &err);
		if (!next) {
			refuse(p, &err);
			return false;
		}
		p->sending = store_log_frames_ref(next);
	} else if (s->farewell && !p->sending) {
		p->sending = store_log_frames_ref(s->farewell);
	}
	p->at = 0;
	return p->sending != NULL;
}

static void
pump(struct store_serve_peer *p)
{
	while (!p->ended && p->unsent < WINDOW_BYTES && choose(p)) {
		struct store_frames *f = p->sending;
		size_t bytes = store_wire_frame_bytes(f->bytes.data + p->at);

		send_bytes(p, f->bytes.data + p->at, bytes);
		p->at += bytes;
		if (p->ended || p->at < f->bytes.length)
			continue;
		p->sequence = f->sequence;
		p->sending = NULL;
		bool last = f == p->serve->farewell;
		store_log_frames_unref(f);
		if (last) {
			end(p);
			return;
		}
	}
}

void
store_serve_peer_pump_all(struct store_serve *s)
{
	struct list *it, *next;

	list_each (it, next, &s->peers) {
		struct store_serve_peer *p = container_of(it, struct store_serve_peer, link);

		enter(p);
		pump(p);
		leave(p);
	}
}

/* ---- what it says ---- */

static int
judge(struct store_serve_peer *p, const char *id, const struct store_entry *its, struct err *err)
{
	struct store_copy *c = &p->serve->base.copy;
	struct store_entry mine;
	struct err none = {0};

	if (id[0] && strcmp(id, c->id) != 0) {
		err_set(err, ERR_CORRUPT, "node %u has a copy of another store", p->node);
		return err_fix(err,
			       "on that node: move its store away, so that it is copied again");
	}
	p->sequence = id[0] ? its->sequence : 0;
	if (p->sequence > c->head.sequence) {
		err_set(err, ERR_CORRUPT, "node %u has seen a newer store than this one", p->node);
		err_why(err, "its copy is at %" PRIu64 ", the store is at %" PRIu64, p->sequence,
			c->head.sequence);
		return err_fix(err, "if this one is right (a restored backup): move that node's "
				    "copy away");
	}
	if (!p->sequence || store_copy_entry(c, p->sequence, &mine, &none) < 0) {
		p->sequence = 0;
		return 0;
	}
	if (store_entry_same(&mine, its))
		return 0;
	err_set(err, ERR_CORRUPT, "node %u has a copy with another history", p->node);
	return err_fix(err, "on that node: move its store away, so that it is copied again");
}

static void
hello(struct store_serve_peer *p, struct cursor *in)
{
	struct store_copy *c = &p->serve->base.copy;
	char id[STORE_COPY_ID_BYTES];
	struct store_entry its;
	struct err err = {0};
	struct buf b;

	unsigned format = cursor_u8(in);
	if (cursor_ok(in) && format != STORE_WIRE_FORMAT) {
		err_set(&err, ERR_UNSUPPORTED, "node %u speaks of the store in another way",
			p->node);
		err_fix(&err, "upgrade zlayer on both nodes");
		refuse(p, &err);
		return;
	}
	if (p->known || !store_wire_get_text(in, id, sizeof(id)) ||
	    !store_wire_get_entry(in, &its, &err) || !cursor_done(in)) {
		refuse_frame(p, "no greeting");
		return;
	}
	if (p->serve->fenced.kind) {
		refuse(p, &p->serve->fenced);
		return;
	}
	if (judge(p, id, &its, &err) < 0) {
		refuse(p, &err);
		return;
	}
	p->known = true;
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_WELCOME);
	buf_text(&b, c->id);
	store_wire_put_entry(&b, &c->head);
	store_wire_end(&b, begun);
	send_buf(p, &b);
}

static void
answer(struct store_serve_peer *p, const struct store_wire_result *result)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	store_wire_put_result(&b, result);
	send_buf(p, &b);
}

/* Whether what this would have been is it. */
static enum store_wire_outcome
look_up(struct store_serve_peer *p, const struct store_entry *entry)
{
	struct store_entry there;
	struct err none = {0};

	if (store_copy_entry(&p->serve->base.copy, entry->sequence, &there, &none) < 0)
		return STORE_WIRE_UNKNOWN;
	return store_entry_same(&there, entry) ? STORE_WIRE_KEPT : STORE_WIRE_BEATEN;
}

static void
take(struct store_serve_peer *p, const struct store_entry *entry, struct store_wire_result *result)
{
	struct store_change *changes;
	struct arena arena;
	size_t count;

	arena_init(&arena, MEM_SCHEDULER, STORE_WIRE_CHANGES_MAX);
	result->outcome = STORE_WIRE_REJECTED;
	if (!store_wire_read_changes(&p->staged, &arena, &changes, &count)) {
		err_set(&result->err, ERR_CORRUPT, "this is no change of the store");
	} else if (store_serve_take(p->serve, changes, count, entry, &result->err) == 0) {
		result->outcome = STORE_WIRE_KEPT;
	}
	arena_fini(&arena);
}

static void
submit(struct store_serve_peer *p, struct cursor *in)
{
	struct store_serve *s = p->serve;
	struct store_wire_result result = {.question = cursor_u64(in)};
	struct store_entry entry;
	struct err err = {0};

	if (!store_wire_get_entry(in, &entry, &err) || !cursor_done(in) || !entry.sequence) {
		refuse_frame(p, "a transaction that is none");
		return;
	}
	if (entry.sequence == s->base.copy.head.sequence + 1)
		take(p, &entry, &result);
	else if (entry.sequence <= s->base.copy.head.sequence)
		result.outcome = look_up(p, &entry);
	else
		result.outcome = STORE_WIRE_BEATEN;
	buf_fini(&p->staged);
	buf_init(&p->staged, MEM_SCHEDULER, STORE_WIRE_CHANGES_MAX);
	result.sequence = s->base.copy.head.sequence;
	answer(p, &result);
	store_serve_peer_pump_all(s);
}

static void
give_ids(struct store_serve_peer *p)
{
	uint64_t first, behind;
	struct err err = {0};
	struct buf b;

	if (store_serve_ids(p->serve, &first, &behind, &err) < 0) {
		refuse(p, &err); /* it asks again on its next connection */
		return;
	}
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_BLOCK);
	buf_u64(&b, first);
	buf_u64(&b, behind);
	store_wire_end(&b, begun);
	send_buf(p, &b);
}

struct leasing {
	struct store_serve_peer *p;
	uint64_t question;
};

static void
leased(void *arg, uint64_t epoch, const struct err *err)
{
	struct leasing *l = arg;
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_LEASED);
	buf_u64(&b, l->question);
	buf_u64(&b, err ? 0 : epoch);
	store_wire_put_err(&b, err);
	store_wire_end(&b, begun);
	send_buf(l->p, &b);
}

/* Leases of this kind are answered at once. */
static void
lease(struct store_serve_peer *p, struct cursor *in)
{
	struct store *rows = p->serve->base.copy.rows;
	struct store_wire_lease ask;
	struct err err = {0};

	if (!store_wire_get_lease(in, &ask) ||
	    !store_lease_fits(ask.verb, ask.name, ask.holder, ask.ttl_s)) {
		refuse_frame(p, "a question for a lease that is none");
		return;
	}
	struct leasing l = {p, ask.question};
	bool its = ask.epoch && ask.epoch == store_lease_epoch(rows, ask.name);
	if (p->serve->held && ask.verb != STORE_LEASE_DROP) {
		err_set(&err, ERR_UNREACHABLE, "the store is moving to another engine");
		leased(&l, 0, &err);
		return;
	}
	if (ask.verb == STORE_LEASE_TAKE) {
		store_lease_take(rows, ask.name, ask.holder, ask.ttl_s, leased, &l);
	} else if (ask.verb == STORE_LEASE_KEEP && !its) {
		err_set(&err, ERR_NOT_FOUND, "%s is not held any more", ask.name);
		leased(&l, 0, &err);
	} else if (!its) {
		leased(&l, ask.epoch, NULL);
	} else if (ask.verb == STORE_LEASE_KEEP) {
		store_lease_keep(rows, ask.name, ask.epoch, leased, &l);
	} else {
		store_lease_drop(rows, ask.name, ask.epoch, leased, &l);
	}
}

static void
look(struct store_serve_peer *p, struct cursor *in)
{
	uint64_t question = cursor_u64(in);
	unsigned all = cursor_u8(in);
	struct err err = {0};
	struct buf b;

	if (!cursor_done(in) || all > 1) {
		refuse_frame(p, "a question that is none");
		return;
	}
	/* Who only looks whether the writer is there hears whether it takes changes. */
	int rc = all ? store_serve_check(p->serve, &err)
		     : store_base_can_write(&p->serve->base, &err);
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_HEAD);
	buf_u64(&b, question);
	store_wire_put_entry(&b, &p->serve->base.copy.head);
	store_wire_put_err(&b, rc < 0 ? &err : NULL);
	store_wire_end(&b, begun);
	send_buf(p, &b);
}

static void
stage(struct store_serve_peer *p, const struct cursor *in)
{
	buf_put(&p->staged, in->at, cursor_left(in));
	if (!buf_ok(&p->staged))
		refuse_frame(p, "a transaction that is too large");
}

static void
take_frame(struct store_serve_peer *p, struct store_wire_frame *frame)
{
	if (frame->type == STORE_WIRE_HELLO)
		hello(p, &frame->body);
	else if (!p->known)
		refuse_frame(p, "no greeting");
	else if (frame->type == STORE_WIRE_CHANGES)
		stage(p, &frame->body);
	else if (frame->type == STORE_WIRE_SUBMIT)
		submit(p, &frame->body);
	else if (frame->type == STORE_WIRE_IDS)
		give_ids(p);
	else if (frame->type == STORE_WIRE_LEASE)
		lease(p, &frame->body);
	else if (frame->type == STORE_WIRE_LOOK)
		look(p, &frame->body);
	else
		refuse_frame(p, "something of no kind");
}

/* ---- from outside ---- */

int
store_serve_peer_new(struct store_serve *s, uint32_t node, const struct store_stream *calls,
		     void *arg, struct store_serve_peer **out, struct err *err)
{
	if (s->peers_count >= STORE_SERVE_PEERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d nodes follow the store",
			       STORE_SERVE_PEERS_MAX);
	struct store_serve_peer *p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for a follower of the store");
	p->serve = s;
	p->node = node;
	p->calls = calls;
	p->arg = arg;
	store_wire_in_init(&p->in);
	buf_init(&p->staged, MEM_SCHEDULER, STORE_WIRE_CHANGES_MAX);
	list_push(&s->peers, &p->link);
	s->peers_count++;
	*out = p;
	return 0;
}

void
store_serve_peer_data(struct store_serve_peer *p, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	enter(p);
	while (bytes > 0 && !p->ended) {
		size_t slice = bytes < SLICE_BYTES ? bytes : SLICE_BYTES;
		struct store_wire_frame frame;
		int rc = -1;

		if (store_wire_in_add(&p->in, at, slice)) {
			while (!p->ended && (rc = store_wire_in_next(&p->in, &frame)) > 0)
				take_frame(p, &frame);
		}
		if (!p->ended && rc < 0)
			refuse_frame(p, "something that is no frame");
		at += slice;
		bytes -= slice;
	}
	if (!p->ended)
		pump(p);
	leave(p);
}

void
store_serve_peer_room(struct store_serve_peer *p)
{
	p->unsent = 0;
	enter(p);
	pump(p);
	leave(p);
}

void
store_serve_peer_free(struct store_serve_peer *p)
{
	if (!p)
		return;
	if (p->serve) {
		list_remove(&p->link);
		p->serve->peers_count--;
	}
	store_log_frames_unref(p->sending);
	store_wire_in_fini(&p->in);
	buf_fini(&p->staged);
	mem_free(p);
}

bool
store_serve_peer_is_level(const struct store_serve_peer *p)
{
	return p->serve && p->known && !p->ended && !p->sending &&
	       p->sequence == p->serve->base.copy.head.sequence;
}

void
store_serve_peer_end_all(struct store_serve *s)
{
	struct list *it, *next;

	list_each (it, next, &s->peers) {
		struct store_serve_peer *p = container_of(it, struct store_serve_peer, link);

		list_remove(it);
		s->peers_count--;
		p->serve = NULL;
		enter(p);
		end(p);
		leave(p);
	}
}
