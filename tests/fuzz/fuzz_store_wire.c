/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing node's end of a follower's connection ('w' is the first byte), and the follower's of
 * the writer's ('f'). What follows are frames, and things that only somebody who can count says:
 *
 *   0xf0 u16 length, changes    a transaction of these changes, with the entry that they would make
 *   0xf1 u16 length, changes    ('f') a snapshot of them
 *   any other: u8 type, u16 length, body
 *
 * Whatever is said, what is stored is what its log says, and can be read.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_follow_inside.h"
#include "scheduler/store_serve_inside.h"
#include "scheduler/store_sqlite.h"
#include "tests/support/folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SAY_TRANSACTION = 0xf0, SAY_SNAPSHOT = 0xf1, FRAMES_BYTES = 4 << 20, ARENA_BYTES = 8 << 20 };

static struct {
	uv_loop_t loop;
	struct store *writer, *follower;
	struct store_serve *serve;
	struct store_follow *follow;
	bool closed;
	struct folder folder;
} world;

static bool
sends(void *arg, const void *data, size_t bytes)
{
	(void)arg;
	(void)data;
	(void)bytes;
	return true;
}

static void
closes(void *arg)
{
	(void)arg;
	world.closed = true;
}

static const struct store_stream calls = {sends, closes};

static void
clean_up(void)
{
	store_free(world.writer);
	store_free(world.follower);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	uv_loop_close(&world.loop);
	folder_remove_store(&world.folder, "w.db");
	folder_remove_store(&world.folder, "f.db");
	folder_end(&world.folder);
}

static struct store *
open_rows(const char *name)
{
	struct store_sqlite_options options = {.dirfd = world.folder.fd, .name = name};
	struct store *rows;
	struct err err = {0};

	folder_remove_store(&world.folder, name);
	int rc = store_sqlite_open(&options, &rows, &err);
	if (rc < 0) {
		err_print(&err, "fuzz", stderr);
		abort();
	}
	return rows;
}

/* A deployment with a service, a revision and its document. */
static void
fill(struct store *s)
{
	struct store_deployment d = {.id = 1, .name = "shop"};
	struct store_service v = {.id = 2, .deployment = 1, .name = "web"};
	struct store_revision r = {.id = 3, .deployment = 1, .revision = 1};
	struct err err = {0};

	int rc = store_begin(s, &err);
	if (rc == 0)
		rc = store_put(s, STORE_DEPLOYMENT, &d, &err);
	if (rc == 0)
		rc = store_put(s, STORE_SERVICE, &v, &err);
	if (rc == 0)
		rc = store_put(s, STORE_REVISION, &r, &err);
	if (rc == 0)
		rc = store_put_blob(s, STORE_DOCUMENT, 3, "text", 4, &err);
	if (rc == 0)
		rc = store_commit(s, &err);
	assert(rc == 0);
}

static void
open_writer(void)
{
	struct store *rows = open_rows("w.db");
	struct err err = {0};

	fill(rows);
	if (store_serve_open(rows, &world.writer, &world.serve, &err) < 0)
		abort();
}

static void
open_follower(void)
{
	struct store_follow_options options = {.loop = &world.loop, .writer = "edge-1"};
	struct err err = {0};

	if (store_follow_open(&options, open_rows("f.db"), &world.follower, &world.follow, &err) <
	    0)
		abort();
}

static void
begin(void)
{
	struct err err = {0};

	if (world.writer)
		return;
	if (sqlite_load(&err) < 0)
		exit(0);
	log_change(LOG_ERROR, LOG_FORMAT_JSON);
	uv_loop_init(&world.loop);
	folder_begin(&world.folder, "fuzz");
	atexit(clean_up);
	open_writer();
	open_follower();
}

/* ---- what is said ---- */

struct mouth {
	void (*say)(void *peer, const void *data, size_t bytes);
	void *peer;
	struct store_copy *copy;
};

static void
say_frame(struct mouth *m, unsigned type, const void *data, size_t bytes)
{
	struct buf b;

	buf_init(&b, MEM_BASE, FRAMES_BYTES);
	size_t begun = store_wire_begin(&b, type);
	buf_put(&b, data, bytes);
	store_wire_end(&b, begun);
	if (!world.closed)
		m->say(m->peer, b.data, b.length);
	buf_fini(&b);
}

static void
say_entry(struct mouth *m, unsigned type, const struct store_entry *entry)
{
	struct buf b;

	buf_init(&b, MEM_BASE, FRAMES_BYTES);
	if (type == STORE_WIRE_SUBMIT)
		buf_u64(&b, 1);
	store_wire_put_entry(&b, entry);
	say_frame(m, type, b.data, b.length);
	buf_fini(&b);
}

static void
say_transaction(struct mouth *m, const uint8_t *data, size_t bytes, bool writer)
{
	struct store_entry next = {.txid = {1}};
	struct buf b;
	struct store_change *changes;
	struct arena arena;
	struct err err = {0};
	size_t count;

	arena_init(&arena, MEM_BASE, ARENA_BYTES);
	buf_init(&b, MEM_BASE, FRAMES_BYTES);
	buf_put(&b, data, bytes);
	if (store_wire_read_changes(&b, &arena, &changes, &count) &&
	    store_copy_next(m->copy, changes, count, &next, &err) == 0) {
		say_frame(m, STORE_WIRE_CHANGES, data, bytes);
		say_entry(m, writer ? STORE_WIRE_ENTRY : STORE_WIRE_SUBMIT, &next);
	}
	arena_fini(&arena);
	buf_fini(&b);
}

static void
say_snapshot(struct mouth *m, const uint8_t *data, size_t bytes)
{
	struct store_entry next = {.sequence = m->copy->head.sequence + 1};
	struct buf b;
	struct store_change *changes;
	struct arena arena;
	size_t count;

	arena_init(&arena, MEM_BASE, ARENA_BYTES);
	buf_init(&b, MEM_BASE, FRAMES_BYTES);
	buf_put(&b, data, bytes);
	if (store_wire_read_changes(&b, &arena, &changes, &count)) {
		for (size_t i = 0; i < count; i++)
			store_digest_add(&next.digest, &changes[i].key, changes[i].data,
					 changes[i].bytes);
		next.count = count;
		store_entry_chain(&next, next.hash, NULL, 0);
		say_entry(m, STORE_WIRE_SNAPSHOT, &next);
		say_frame(m, STORE_WIRE_CHANGES, data, bytes);
		say_frame(m, STORE_WIRE_END, NULL, 0);
	}
	arena_fini(&arena);
	buf_fini(&b);
}

static void
say_all(struct mouth *m, const uint8_t *data, size_t size, bool writer)
{
	struct cursor in;

	cursor_init(&in, data, size);
	while (cursor_left(&in) && !world.closed) {
		unsigned type = cursor_u8(&in);
		size_t bytes = cursor_u16(&in);
		const uint8_t *body = cursor_take(&in, bytes);

		if (!body)
			return;
		if (type == SAY_TRANSACTION)
			say_transaction(m, body, bytes, writer);
		else if (type == SAY_SNAPSHOT)
			say_snapshot(m, body, bytes);
		else
			say_frame(m, type, body, bytes);
	}
}

static void
same_as_its_log(struct store_copy *c)
{
	struct store_digest digest;
	struct err err = {0};
	uint64_t count;

	if (store_copy_sum(c->rows, &digest, &count, &err) < 0)
		abort();
	assert(count == c->head.count && !memcmp(&digest, &c->head.digest, sizeof(digest)));
}

/* ---- both ends ---- */

static void
peer_hears(void *peer, const void *data, size_t bytes)
{
	store_serve_peer_data(peer, data, bytes);
}

static void
to_writer(const uint8_t *data, size_t size)
{
	struct mouth m = {peer_hears, NULL, &world.serve->base.copy};
	uint64_t before = m.copy->head.sequence;
	struct store_serve_peer *peer;
	struct err err = {0};
	struct buf hello;

	if (store_serve_peer_new(world.serve, 2, &calls, NULL, &peer, &err) < 0)
		abort();
	m.peer = peer;
	if (size && data[0] != STORE_WIRE_HELLO) {
		buf_init(&hello, MEM_BASE, FRAMES_BYTES);
		buf_u8(&hello, STORE_WIRE_FORMAT);
		buf_text(&hello, m.copy->id);
		store_wire_put_entry(&hello, &m.copy->head);
		say_frame(&m, STORE_WIRE_HELLO, hello.data, hello.length);
		buf_fini(&hello);
	}
	say_all(&m, data, size, false);
	store_serve_peer_free(peer);
	same_as_its_log(m.copy);
	if (m.copy->head.sequence == before)
		return;
	store_free(world.writer);
	open_writer();
}

static void
follow_hears(void *peer, const void *data, size_t bytes)
{
	store_follow_data(peer, data, bytes);
}

static void
to_follower(const uint8_t *data, size_t size)
{
	struct mouth m = {follow_hears, world.follow, &world.follow->base.copy};
	struct store_entry none = {0};
	struct buf hello;

	store_follow_up(world.follow, &calls, NULL);
	if (size && data[0] != STORE_WIRE_WELCOME) {
		buf_init(&hello, MEM_BASE, FRAMES_BYTES);
		buf_text(&hello, "store");
		store_wire_put_entry(&hello, &none);
		say_frame(&m, STORE_WIRE_WELCOME, hello.data, hello.length);
		buf_fini(&hello);
	}
	say_all(&m, data, size, true);
	if (!world.follow->moved)
		same_as_its_log(m.copy);
	if (!world.closed)
		store_follow_down(world.follow, NULL);
	if (!m.copy->head.sequence && !m.copy->id[0] && !world.follow->moved)
		return;
	store_free(world.follower);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	open_follower();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	world.closed = false;
	if (size && data[0] == 'w')
		to_writer(data + 1, size - 1);
	else if (size && data[0] == 'f')
		to_follower(data + 1, size - 1);
	return 0;
}
