/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transaction on its way to the writer: its changes, and the entry of the log that they would be.
 * The writer takes it over if that is its next entry, and says so; or says that others were faster:
 * when the copy has followed, it is worked out again.
 *
 * When the connection ends before the answer, it is sent again on the next one: the entry carries a
 * number drawn for this transaction, and the writer looks into its log for it. What the log says
 * counts, whether it comes as an answer or as news. Only when neither comes in time the outcome
 * stays open, and the caller is told so.
 */
#include <assert.h>
#include <string.h>
#include "base/world.h"
#include "scheduler/store_follow_inside.h"

enum {
	WINDOW_BYTES = 512 << 10,
	TURNS_MAX = 32,  /* others were faster that often */
	DOUBT_TIMES = 3, /* of the time-out: so long the answer is waited for */
};

#define MS_NS 1000000ull
#define OUT_BYTES ((size_t)STORE_WIRE_CHANGES_MAX + (STORE_WIRE_CHANGES_MAX >> 3))

static void
empty_out(struct store_follow_commit *c)
{
	buf_fini(&c->out);
	buf_init(&c->out, MEM_SCHEDULER, OUT_BYTES);
	c->at = 0;
}

static void
finish(struct store_follow *f, const struct err *err)
{
	struct store_follow_commit *c = &f->commit;
	store_done_fn done = c->done;

	assert(c->phase != STORE_FOLLOW_NONE);
	uv_timer_stop(&c->timer);
	c->phase = STORE_FOLLOW_NONE;
	c->question = 0;
	empty_out(c);
	store_txn_fini(&f->base.txn);
	done(c->arg, err);
}

static void too_late(uv_timer_t *timer);

/* By the clock: the loop's own time is that of when it looked for bytes last, which may be long
 * ago. */
static void
restart_timer(struct store_follow *f)
{
	struct store_follow_commit *c = &f->commit;

	uint64_t ms = (uint64_t)f->timeout_ms * (c->phase == STORE_FOLLOW_SENT ? DOUBT_TIMES : 1);

	c->until_ns = world_mono_ns() + ms * MS_NS;
	c->last_look = false;
	uv_timer_start(&c->timer, too_late, ms, 0);
}

/* The time is over, and there was a turn of the loop since in which an answer could be read. */
static bool
is_over(struct store_follow_commit *c)
{
	uint64_t now_ns = world_mono_ns();

	if (now_ns < c->until_ns) {
		uv_timer_start(&c->timer, too_late, (c->until_ns - now_ns) / MS_NS + 1, 0);
		return false;
	}
	if (c->last_look)
		return true;
	c->last_look = true;
	uv_timer_start(&c->timer, too_late, 1, 0);
	return false;
}

/* ---- sending ---- */

void
store_follow_commit_pump(struct store_follow *f)
{
	struct store_follow_commit *c = &f->commit;

	while (c->phase == STORE_FOLLOW_SENT && c->at < c->out.length && f->welcome && f->calls &&
	       !f->to_close && f->unsent < WINDOW_BYTES) {
		size_t bytes = store_wire_frame_bytes(c->out.data + c->at);

		f->unsent += bytes;
		if (!f->calls->send(f->calls_arg, c->out.data + c->at, bytes))
			return;
		c->at += bytes;
		c->may_be |= c->at == c->out.length;
		restart_timer(f);
	}
}

static int
write_out(struct store_follow *f, struct err *err)
{
	struct store_follow_commit *c = &f->commit;
	const struct store_txn *t = &f->base.txn;

	empty_out(c);
	if (t->changes_bytes <= STORE_WIRE_CHANGES_MAX)
		store_wire_put_changes(&c->out, t->changes, t->changes_count);
	size_t begun = store_wire_begin(&c->out, STORE_WIRE_SUBMIT);
	buf_u64(&c->out, c->question);
	store_wire_put_entry(&c->out, &c->next);
	store_wire_end(&c->out, begun);
	if (buf_ok(&c->out) && t->changes_bytes <= STORE_WIRE_CHANGES_MAX)
		return 0;
	return err_set(err, ERR_LIMIT, "a change of the store is too large");
}

/* The changes are of the copy as it is now. */
static void
go(struct store_follow *f)
{
	struct store_follow_commit *c = &f->commit;
	struct err err = {0};
	struct world world;

	if (!f->base.txn.changes_count) {
		finish(f, NULL);
		return;
	}
	world_real(&world);
	memset(&c->next, 0, sizeof(c->next));
	world_random(&world, c->next.txid, sizeof(c->next.txid));
	c->question = ++f->question;
	c->may_be = false;
	if (store_copy_next(&f->base.copy, f->base.txn.changes, f->base.txn.changes_count, &c->next,
			    &err) < 0 ||
	    write_out(f, &err) < 0) {
		finish(f, &err);
		return;
	}
	c->phase = STORE_FOLLOW_SENT;
	store_follow_commit_pump(f);
}

/* ---- what became of it ---- */

static void
wake(struct store_follow *f)
{
	struct store_follow_commit *c = &f->commit;
	struct err err = {0};

	if (c->phase != STORE_FOLLOW_WAITS || f->base.copy.head.sequence < c->wait_for)
		return;
	if (store_txn_again(&f->base.txn, &err) < 0 || store_txn_finish(&f->base.txn, &err) < 0)
		finish(f, &err);
	else
		go(f);
}

static void
beaten(struct store_follow *f, uint64_t sequence)
{
	struct store_follow_commit *c = &f->commit;
	struct err err = {0};

	if (++c->turns > TURNS_MAX) {
		err_set(&err, ERR_CONFLICT, "other nodes change the store all the time");
		finish(f, &err);
		return;
	}
	c->phase = STORE_FOLLOW_WAITS;
	c->wait_for = sequence;
	c->question = 0;
	c->may_be = false;
	empty_out(c);
	restart_timer(f);
	wake(f);
}

static void
kept(struct store_follow *f)
{
	struct store_follow_commit *c = &f->commit;
	struct err err = {0};
	int rc = 0;

	if (f->base.copy.head.sequence < c->next.sequence)
		rc = store_copy_apply(&f->base.copy, f->base.txn.changes, f->base.txn.changes_count,
				      &c->next, 0, &err);
	if (rc < 0) {
		/* It will be copied when this node can write again. */
		store_follow_end(f, &err);
		store_base_not_copied(&err);
	}
	finish(f, rc < 0 ? &err : NULL);
}

static void
unknown(struct store_follow *f, const char *why)
{
	struct err err = {0};

	err_set(&err, ERR_TIMEOUT, "whether %s has kept the change is not known yet", f->writer);
	err_why(&err, "%s", why);
	err_fix(&err, "look again when %s answers; what runs goes on meanwhile", f->writer);
	finish(f, &err);
}

void
store_follow_commit_result(struct store_follow *f, const struct store_wire_result *result)
{
	struct store_follow_commit *c = &f->commit;

	if (c->phase != STORE_FOLLOW_SENT || result->question != c->question)
		return;
	switch (result->outcome) {
	case STORE_WIRE_KEPT:
		kept(f);
		break;
	case STORE_WIRE_BEATEN:
		beaten(f, result->sequence);
		break;
	case STORE_WIRE_REJECTED:
		/* This copy may be what is wrong: it is compared when it is greeted. */
		finish(f, &result->err);
		break;
	case STORE_WIRE_UNKNOWN:
	default:
		unknown(f, "its log does not go back that far");
		break;
	}
}

bool
store_follow_commit_is_ours(const struct store_follow *f, const struct store_entry *entry)
{
	return f->commit.phase == STORE_FOLLOW_SENT && store_entry_same(entry, &f->commit.next);
}

void
store_follow_commit_seen(struct store_follow *f, const struct store_entry *entry)
{
	struct store_follow_commit *c = &f->commit;

	if (store_follow_commit_is_ours(f, entry))
		kept(f);
	else if (c->phase == STORE_FOLLOW_SENT && entry->sequence == c->next.sequence)
		beaten(f, entry->sequence);
	else
		wake(f);
}

static void
too_late(uv_timer_t *timer)
{
	struct store_follow *f = timer->data;
	struct store_follow_commit *c = &f->commit;
	bool half = c->phase == STORE_FOLLOW_SENT && c->at > 0 && c->at < c->out.length;
	struct err err = {0};

	if (c->phase == STORE_FOLLOW_NONE || !is_over(c))
		return;
	store_follow_silent(f, f->calls ? "does not answer" : "cannot be reached", &err);
	/* What was sent by halves would stand before the next one. */
	if (half)
		store_follow_end(f, &err);
	else
		store_follow_unwritable(f, &err);
	if (c->phase == STORE_FOLLOW_SENT && c->may_be)
		unknown(f, err.what);
	else
		finish(f, &err);
}

/* ---- from outside ---- */

void
store_follow_commit_init(struct store_follow *f, uv_loop_t *loop)
{
	uv_timer_init(loop, &f->commit.timer);
	f->commit.timer.data = f;
	buf_init(&f->commit.out, MEM_SCHEDULER, OUT_BYTES);
}

void
store_follow_commit_submit(void *engine, store_done_fn done, void *arg)
{
	struct store_follow *f = engine;
	struct store_follow_commit *c = &f->commit;
	struct err err = {0};

	assert(c->phase == STORE_FOLLOW_NONE);
	c->done = done;
	c->arg = arg;
	c->turns = 0;
	c->phase = STORE_FOLLOW_WAITS;
	c->wait_for = UINT64_MAX;
	restart_timer(f);
	if (store_base_finish(&f->base, &err) < 0)
		finish(f, &err);
	else
		go(f);
}

void
store_follow_commit_stop(struct store_follow *f)
{
	struct err err = {0};

	if (f->commit.phase != STORE_FOLLOW_NONE) {
		err_set(&err, ERR_INTERRUPTED, "the store was closed");
		finish(f, &err);
	}
	buf_fini(&f->commit.out);
}

void
store_follow_commit_down(struct store_follow *f)
{
	f->commit.at = 0;
}

void
store_follow_commit_welcome(struct store_follow *f)
{
	store_follow_commit_pump(f);
}
