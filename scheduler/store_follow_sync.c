/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writer says. Transactions come in their order, each checked against its entry of the log
 * before it is taken over; who was away for too long, or has something that does not fit, gets a
 * snapshot, which replaces the copy as a whole or not at all. A copy is never set back.
 */
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/store_follow_inside.h"
#include "scheduler/store_role.h"

enum { SMALL_BYTES = 16 << 10 };

void
store_follow_sync_greet(struct store_follow *f)
{
	static const struct store_entry none;
	struct store_copy *c = &f->base.copy;
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_HELLO);
	buf_u8(&b, STORE_WIRE_FORMAT);
	buf_text(&b, c->id);
	store_wire_put_entry(&b, f->anew ? &none : &c->head);
	store_wire_end(&b, begun);
	store_follow_send(f, &b);
}

static void
no_sense(struct store_follow *f, const char *what)
{
	struct err err = {0};

	err_set(&err, ERR_CORRUPT, "%s sent %s", f->writer, what);
	store_follow_end(f, &err);
}

static void
welcome(struct store_follow *f, struct cursor *in)
{
	struct store_copy *c = &f->base.copy;
	char id[STORE_COPY_ID_BYTES];
	struct store_entry head;
	struct err err = {0};

	if (f->welcome || !store_wire_get_text(in, id, sizeof(id)) || !id[0] ||
	    !store_wire_get_entry(in, &head, &err) || !cursor_done(in)) {
		no_sense(f, "no greeting");
		return;
	}
	if (c->id[0] && strcmp(c->id, id) != 0) {
		err_set(&err, ERR_CORRUPT, "%s has another store than this node", f->writer);
		err_fix(&err, "if that one is right, move this node's store away: it is copied "
			      "again");
		store_follow_end(f, &err);
		return;
	}
	text_copy(f->id, sizeof(f->id), id);
	f->level = head.sequence;
	f->welcome = true;
	store_follow_ids_fill(f);
	store_follow_commit_welcome(f);
}

static void
stage(struct store_follow *f, const struct cursor *in)
{
	struct err err = {0};

	buf_put(&f->staged, in->at, cursor_left(in));
	if (buf_ok(&f->staged))
		return;
	err_set(&err, ERR_NO_MEMORY, "no memory for a change of the store");
	store_follow_end(f, &err);
}

static void
unstage(struct store_follow *f)
{
	buf_fini(&f->staged);
	buf_init(&f->staged, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
}

/* It was right when it left: this copy is not, or this node cannot write. */
static void
cannot(struct store_follow *f, const struct err *why)
{
	log_err(LOG_WARN, "a change of the store could not be taken over", why);
	f->anew |= why->kind == ERR_CORRUPT || why->kind == ERR_CONFLICT;
	store_follow_end(f, why);
}

static int
apply(struct store_follow *f, const struct store_entry *entry, struct err *err)
{
	struct store_change *changes;
	struct arena arena;
	size_t count;

	arena_init(&arena, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	int rc = store_wire_read_changes(&f->staged, &arena, &changes, &count)
			 ? store_copy_apply(&f->base.copy, changes, count, entry, 0, err)
			 : err_set(err, ERR_CORRUPT, "%s sent changes that are none", f->writer);
	if (rc == 0 && !store_follow_commit_is_ours(f, entry))
		store_base_tell(&f->base, changes, count);
	arena_fini(&arena);
	return rc;
}

static void
take_entry(struct store_follow *f, struct cursor *in)
{
	struct store_entry entry;
	struct err err = {0};

	if (f->in_snapshot || !store_wire_get_entry(in, &entry, &err) || !cursor_done(in)) {
		no_sense(f, "an entry of the log that is none");
		return;
	}
	/* Its answer was faster. */
	if (entry.sequence <= f->base.copy.head.sequence) {
		unstage(f);
		return;
	}
	int rc = apply(f, &entry, &err);
	unstage(f);
	if (rc < 0)
		cannot(f, &err);
	else
		store_follow_commit_seen(f, &entry);
}

static void
begin_snapshot(struct store_follow *f, struct cursor *in)
{
	struct err err = {0};

	if (f->in_snapshot || !store_wire_get_entry(in, &f->snapshot, &err) || !cursor_done(in)) {
		no_sense(f, "a snapshot that is none");
		return;
	}
	unstage(f);
	f->in_snapshot = true;
}

static int
replace(struct store_follow *f, struct err *err)
{
	struct store_change *changes;
	struct arena arena;
	size_t count;

	arena_init(&arena, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	int rc = store_wire_read_changes(&f->staged, &arena, &changes, &count)
			 ? store_copy_replace(&f->base.copy, changes, count, &f->snapshot, 0, f->id,
					      err)
			 : err_set(err, ERR_CORRUPT, "%s sent changes that are none", f->writer);
	if (rc == 0)
		log_event(LOG_INFO, "the store was copied", log_u("sequence", f->snapshot.sequence),
			  log_u("keys", count), LOG_END);
	arena_fini(&arena);
	return rc;
}

static void
end_snapshot(struct store_follow *f, const struct cursor *in)
{
	struct err err = {0};

	if (!f->in_snapshot || cursor_left(in)) {
		no_sense(f, "the end of no snapshot");
		return;
	}
	f->in_snapshot = false;
	if (f->snapshot.sequence < f->base.copy.head.sequence) {
		unstage(f);
		no_sense(f, "a store that is older than this node's copy");
		return;
	}
	int rc = replace(f, &err);
	unstage(f);
	if (rc < 0) {
		cannot(f, &err);
		return;
	}
	f->anew = false;
	store_base_tell_all(&f->base);
	store_follow_commit_seen(f, &f->snapshot);
}

static void
take_block(struct store_follow *f, struct cursor *in)
{
	uint64_t first = cursor_u64(in), behind = cursor_u64(in);

	if (!cursor_done(in) || !first || first >= behind || behind > INT64_MAX) {
		no_sense(f, "ids that are none");
		return;
	}
	f->ids_asked = false;
	f->base.id_next = first;
	f->base.id_end = behind;
}

static void
take_result(struct store_follow *f, struct cursor *in)
{
	struct store_wire_result result;

	if (store_wire_get_result(in, &result))
		store_follow_commit_result(f, &result);
	else
		no_sense(f, "an answer that is none");
}

static void
take_leased(struct store_follow *f, struct cursor *in)
{
	uint64_t question = cursor_u64(in), epoch = cursor_u64(in);
	struct err err = {0};

	if (!store_wire_get_err(in, &err) || !cursor_done(in) || epoch > INT64_MAX)
		no_sense(f, "an answer that is none");
	else
		store_follow_ask_leased(f, question, epoch, err.kind ? &err : NULL);
}

static void
take_head(struct store_follow *f, struct cursor *in)
{
	uint64_t question = cursor_u64(in);
	struct err err = {0}, its = {0};
	struct store_entry head;

	if (!store_wire_get_entry(in, &head, &err) || !store_wire_get_err(in, &its) ||
	    !cursor_done(in))
		no_sense(f, "an answer that is none");
	else if (question)
		store_follow_ask_head(f, question, &head, its.kind ? &its : NULL);
	else
		f->full = its; /* of the look that comes by itself; settled after this frame */
}

static void
take_refused(struct store_follow *f, struct cursor *in)
{
	struct err err = {0};

	if (store_wire_get_err(in, &err) && cursor_done(in) && err.kind)
		store_follow_end(f, &err);
	else
		no_sense(f, "a refusal that is none");
}

/* Who has all that was moved has a copy of what it is now; who has not copies it again. */
static int
note_move(struct store_copy *c, const char *id, const struct store_entry *entry, int64_t revision,
	  struct err *err)
{
	bool same = c->head.count == entry->count &&
		    !memcmp(&c->head.digest, &entry->digest, sizeof(entry->digest));

	enum store_role role;

	if (store_role_moved(c->rows, &role, err) < 0 || store_begin(c->rows, err) < 0)
		return -1;
	if ((same ? store_copy_adopt(c->rows, id, entry, revision, err)
		  : store_copy_expect(c->rows, err)) == 0 &&
	    store_role_put(c->rows, role, err) == 0)
		return store_commit(c->rows, err);
	store_abort(c->rows);
	return -1;
}

static void
take_moved(struct store_follow *f, struct cursor *in)
{
	struct store_copy *c = &f->base.copy;
	char id[STORE_COPY_ID_BYTES];
	struct store_entry entry;
	struct err err = {0};

	bool fine = store_wire_get_text(in, id, sizeof(id)) && id[0] &&
		    store_wire_get_entry(in, &entry, &err);
	uint64_t revision = cursor_u64(in);
	if (!fine || !cursor_done(in) || revision > INT64_MAX) {
		no_sense(f, "a move that is none");
		return;
	}
	if (note_move(c, id, &entry, (int64_t)revision, &err) < 0) {
		cannot(f, &err);
		return;
	}
	err_set(&err, ERR_UNREACHABLE, "the store is moving to another engine");
	err_fix(&err, "try again in a moment");
	store_follow_end(f, &err);
	f->moved = true;
	if (f->moved_fn)
		f->moved_fn(f->moved_arg);
}

void
store_follow_sync_take(struct store_follow *f, struct store_wire_frame *frame)
{
	if (frame->type == STORE_WIRE_REFUSED)
		take_refused(f, &frame->body);
	else if (frame->type == STORE_WIRE_WELCOME)
		welcome(f, &frame->body);
	else if (!f->welcome)
		no_sense(f, "no greeting");
	else if (frame->type == STORE_WIRE_CHANGES)
		stage(f, &frame->body);
	else if (frame->type == STORE_WIRE_ENTRY)
		take_entry(f, &frame->body);
	else if (frame->type == STORE_WIRE_SNAPSHOT)
		begin_snapshot(f, &frame->body);
	else if (frame->type == STORE_WIRE_END)
		end_snapshot(f, &frame->body);
	else if (frame->type == STORE_WIRE_RESULT)
		take_result(f, &frame->body);
	else if (frame->type == STORE_WIRE_BLOCK)
		take_block(f, &frame->body);
	else if (frame->type == STORE_WIRE_LEASED)
		take_leased(f, &frame->body);
	else if (frame->type == STORE_WIRE_HEAD)
		take_head(f, &frame->body);
	else if (frame->type == STORE_WIRE_MOVED)
		take_moved(f, &frame->body);
	else
		no_sense(f, "something of no kind");
}
