/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A follower's engine: its calls, its connection, and whether it can be changed now. It can while
 * the writer is connected, answers (it is asked each second when it says nothing by itself), and
 * the copy has all that the writer had when it was greeted.
 */
#include "scheduler/store_follow.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/store_follow_inside.h"
#include "scheduler/store_mine.h"

enum {
	SLICE_BYTES = 64 << 10,
	SMALL_BYTES = 16 << 10,
	IDS_FEW = 32768,
	TIME_BYTES = 40,
	DEAD_TIMES = 5, /* of the time-out: a connection that says nothing is given up */
};

#define MS_NS 1000000ull

/* ---- whether it can be changed ---- */

void
store_follow_unwritable(struct store_follow *f, const struct err *err)
{
	char since[TIME_BYTES];

	if (f->writable || !f->since_wall_ns)
		f->since_wall_ns = world_wall_ns();
	if (f->writable || strcmp(f->why.what, err->what) != 0)
		log_err(LOG_WARN, "the store cannot be changed; what runs goes on", err);
	f->writable = false;
	f->why = *err;
	text_time(f->since_wall_ns, 0, since, sizeof(since));
	err_why(&f->why, "since %s", since);
}

void
store_follow_silent(const struct store_follow *f, const char *what, struct err *err)
{
	err_set(err, ERR_UNREACHABLE, "%s, the node that writes the store, %s", f->writer, what);
	err_fix(err, "bring %s back; what runs goes on meanwhile", f->writer);
}

void
store_follow_settle(struct store_follow *f)
{
	struct err err = {0};

	if (!f->calls || !f->welcome || f->moved)
		return;
	if (store_base_can_write(&f->base, &err) < 0) {
		/* said already */
	} else if (f->full.kind) {
		err = f->full;
	} else if (f->base.copy.head.sequence < f->level || !f->base.copy.id[0]) {
		err_set(&err, ERR_UNREACHABLE, "this node's copy of the store is not up to date");
		err_fix(&err, "try again in a moment");
	} else if (f->base.id_next >= f->base.id_end) {
		store_follow_ids_fill(f);
		err_set(&err, ERR_UNREACHABLE, "this node has no ids for new rows yet");
		err_fix(&err, "try again in a moment");
	}
	if (err.kind) {
		if (f->writable || strcmp(f->why.what, err.what) != 0)
			store_follow_unwritable(f, &err);
		return;
	}
	if (!f->writable)
		log_event(LOG_INFO, "the store can be changed",
			  log_u("sequence", f->base.copy.head.sequence), LOG_END);
	f->writable = true;
	f->since_wall_ns = 0;
	err_clear(&f->why);
}

void
store_follow_ids_fill(struct store_follow *f)
{
	struct buf b;

	if (f->ids_asked || !f->welcome || f->base.id_end - f->base.id_next >= IDS_FEW)
		return;
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	store_wire_end(&b, store_wire_begin(&b, STORE_WIRE_IDS));
	f->ids_asked = store_follow_send(f, &b);
}

/* ---- the connection ---- */

static void
enter(struct store_follow *f)
{
	f->inside++;
}

static void
leave(struct store_follow *f)
{
	if (--f->inside > 0 || !f->to_close)
		return;
	const struct store_stream *calls = f->calls;
	f->to_close = false;
	f->calls = NULL;
	calls->close(f->calls_arg);
}

static void
forget_connection(struct store_follow *f)
{
	f->welcome = f->looked = f->ids_asked = f->in_snapshot = false;
	err_clear(&f->full);
	f->unsent = 0;
	store_wire_in_fini(&f->in);
	store_wire_in_init(&f->in);
	buf_fini(&f->staged);
	buf_init(&f->staged, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	store_follow_commit_down(f);
	store_follow_ask_down(f);
}

void
store_follow_end(struct store_follow *f, const struct err *why)
{
	if (!f->calls || f->to_close)
		return;
	enter(f);
	f->to_close = true;
	store_follow_unwritable(f, why);
	forget_connection(f);
	leave(f);
}

bool
store_follow_send(struct store_follow *f, struct buf *b)
{
	bool fine = f->calls && !f->to_close && buf_ok(b);

	if (fine) {
		f->unsent += b->length;
		fine = f->calls->send(f->calls_arg, b->data, b->length);
	}
	buf_fini(b);
	return fine; /* else the owner is about to say so too */
}

void
store_follow_up(struct store_follow *f, const struct store_stream *calls, void *arg)
{
	struct err err = {0};

	if (f->moved) {
		calls->close(arg);
		return;
	}
	if (f->calls) {
		err_set(&err, ERR_UNREACHABLE, "there is another connection to %s", f->writer);
		store_follow_end(f, &err);
	}
	f->calls = calls;
	f->calls_arg = arg;
	f->heard_ns = world_mono_ns();
	enter(f);
	store_follow_sync_greet(f);
	leave(f);
}

void
store_follow_down(struct store_follow *f, const struct err *why)
{
	struct err err = {0};

	f->calls = NULL;
	f->to_close = false;
	store_follow_silent(f, "cannot be reached", &err);
	if (why && why->kind) {
		err_why(&err, "%s", why->what);
		for (unsigned i = 0; i < why->whys && i < 2; i++)
			err_why(&err, "%s", why->why[i]);
	}
	if (!f->moved)
		store_follow_unwritable(f, &err);
	forget_connection(f);
}

void
store_follow_data(struct store_follow *f, const void *data, size_t bytes)
{
	const uint8_t *at = data;
	struct err err = {0};

	enter(f);
	f->heard_ns = world_mono_ns();
	f->looked = false;
	while (bytes > 0 && f->calls && !f->to_close) {
		size_t slice = bytes < SLICE_BYTES ? bytes : SLICE_BYTES;
		struct store_wire_frame frame;
		int rc = -1;

		if (store_wire_in_add(&f->in, at, slice)) {
			while (f->calls && !f->to_close &&
			       (rc = store_wire_in_next(&f->in, &frame)) > 0)
				store_follow_sync_take(f, &frame);
		}
		if (rc < 0) {
			err_set(&err, ERR_CORRUPT, "%s sent something that is no frame", f->writer);
			store_follow_end(f, &err);
		}
		at += slice;
		bytes -= slice;
	}
	store_follow_settle(f);
	store_follow_commit_pump(f);
	leave(f);
}

void
store_follow_room(struct store_follow *f)
{
	enter(f);
	f->unsent = 0;
	store_follow_commit_pump(f);
	leave(f);
}

bool
store_follow_is_up(const struct store_follow *f)
{
	return f->calls && !f->to_close;
}

bool
store_follow_can_take(const struct store_follow *f)
{
	struct err err = {0};

	return store_base_can_write(&f->base, &err) == 0;
}

void
store_follow_rename(struct store_follow *f, const char *writer)
{
	text_copy(f->writer, sizeof(f->writer), writer);
}

void
store_follow_orphan(struct store_follow *f)
{
	static const char what[] = "this node wrote the store, and its file is gone";
	struct err err = {0};

	if (text_equal(f->why.what, what))
		return;
	err_set(&err, ERR_UNREACHABLE, "%s", what);
	err_why(&err, "state/zlayer.db was not there; the other nodes have copies");
	err_fix(&err, "put the file back; or end zlayer here, and on another node: zlayer recover "
		      "--force-single. What runs goes on meanwhile");
	store_follow_unwritable(f, &err);
}

/* How long the writer has said nothing. While this process stood still itself (a disk that does not
 * come back, a machine without time for it) nobody was silent: what was said has yet to be read. */
static uint64_t
silence(struct store_follow *f)
{
	uint64_t now_ns = world_mono_ns(), period_ns = f->timeout_ms * MS_NS / 2;
	uint64_t since_ns = now_ns - f->tick_ns;

	f->tick_ns = now_ns;
	if (since_ns > period_ns)
		f->heard_ns += since_ns - period_ns;
	if (f->heard_ns > now_ns)
		f->heard_ns = now_ns;
	return now_ns - f->heard_ns;
}

static void
on_tick(uv_timer_t *timer)
{
	struct store_follow *f = timer->data;
	uint64_t silent_ns = silence(f);
	struct err err = {0};
	struct buf b;

	store_follow_ask_tick(f);
	if (!f->calls || f->to_close)
		return;
	enter(f);
	if (f->welcome && !f->looked) {
		buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
		size_t begun = store_wire_begin(&b, STORE_WIRE_LOOK);
		buf_u64(&b, 0);
		buf_u8(&b, 0);
		store_wire_end(&b, begun);
		f->looked = store_follow_send(f, &b);
	}
	if (silent_ns > f->timeout_ms * MS_NS) {
		store_follow_silent(f, "does not answer", &err);
		if (silent_ns > DEAD_TIMES * f->timeout_ms * MS_NS)
			store_follow_end(f, &err);
		else if (f->writable || strcmp(f->why.what, err.what) != 0)
			store_follow_unwritable(f, &err);
	}
	leave(f);
}

/* ---- the engine ---- */

static int
engine_begin(void *engine, struct err *err)
{
	struct store_follow *f = engine;

	if (!f->writable) {
		*err = f->why;
		return -1;
	}
	store_follow_ids_fill(f);
	return store_base_begin(&f->base, err);
}

static void
engine_status(void *engine, struct store_status *out)
{
	struct store_follow *f = engine;

	store_base_status(&f->base, f->writable ? NULL : &f->why, out);
	out->unwritten |= !f->writable && f->full.kind;
}

static void
handle_closed(uv_handle_t *handle)
{
	struct store_follow *f = handle->data;

	if (--f->closing == 0)
		mem_free(f);
}

static void
engine_close(void *engine)
{
	struct store_follow *f = engine;

	if (f->base.txn_open)
		store_base_abort(f);
	store_follow_commit_stop(f);
	store_follow_ask_stop(f);
	if (f->calls) {
		const struct store_stream *stream = f->calls;

		f->calls = NULL;
		stream->close(f->calls_arg);
	}
	store_mine_clear(&f->mine);
	store_wire_in_fini(&f->in);
	buf_fini(&f->staged);
	store_copy_close(&f->base.copy);
	f->closing = 2;
	uv_close((uv_handle_t *)&f->tick, handle_closed);
	uv_close((uv_handle_t *)&f->commit.timer, handle_closed);
}

static const struct store_engine calls = {
	STORE_BASE_CALLS, /* and its own: */
	.begin = engine_begin,
	.close = engine_close,
	.submit = store_follow_commit_submit,
	.status = engine_status,
	.check = store_follow_ask_check,
	.lease = store_follow_ask_lease,
	.adopt = store_follow_ask_adopt,
	.mine = store_follow_ask_mine,
};

int
store_follow_open(const struct store_follow_options *o, struct store *copy, struct store **out,
		  struct store_follow **follow_out, struct err *err)
{
	struct store_follow *f = mem_zalloc(MEM_SCHEDULER, sizeof(*f));
	struct err why = {0};

	if (!f) {
		store_free(copy);
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	}
	f->timeout_ms = o->timeout_ms ? o->timeout_ms : STORE_FOLLOW_TIMEOUT_MS;
	f->moved_fn = o->moved;
	f->moved_arg = o->arg;
	list_init(&f->mine);
	list_init(&f->asks);
	text_copy(f->writer, sizeof(f->writer), o->writer);
	store_wire_in_init(&f->in);
	buf_init(&f->staged, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	if (store_copy_open(&f->base.copy, copy, err) < 0) {
		mem_free(f);
		return -1;
	}
	store_follow_silent(f, "was not reached yet", &why);
	store_follow_unwritable(f, &why);
	uv_timer_init(o->loop, &f->tick);
	f->tick.data = f;
	f->tick_ns = world_mono_ns();
	uv_timer_start(&f->tick, on_tick, f->timeout_ms / 2, f->timeout_ms / 2);
	store_follow_commit_init(f, o->loop);
	*follow_out = f;
	return store_new(&calls, f, out, err);
}
