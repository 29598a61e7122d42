/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_STORE_PIPE_H
#define TESTS_SUPPORT_STORE_PIPE_H

/*
 * A writing node and its followers in one process: files in a folder of their own, and instead of
 * connections two queues of bytes each, which the test moves on, cuts, or stops. Included once,
 * after cmocka.h.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_follow.h"
#include "scheduler/store_serve.h"
#include "scheduler/store_sqlite.h"
#include "tests/support/folder.h"

enum { PIPE_FOLLOWERS_MAX = 4, PIPE_QUEUE_BYTES = 64 << 20, PIPE_TIMEOUT_MS = 5000 };

struct pipe_net;

struct pipe_link {
	struct pipe_net *net;
	struct buf to_writer, to_follower;
	struct store_serve_peer *peer; /* NULL: closed on that side */
	bool up;                       /* of the follower's */
	bool stuck;                    /* nothing moves */
	bool deaf;                     /* the follower hears nothing */
	bool no_connect;
	size_t sent; /* bytes to the follower, ever */
	struct store *store;
	struct store_follow *follow;
	char file[16];
	uint64_t alls, ends, rows, gone; /* news */
	bool moved;
};

struct pipe_net {
	uv_loop_t loop;
	struct folder folder;
	struct store *writer;
	struct store_serve *serve;
	struct pipe_link links[PIPE_FOLLOWERS_MAX];
	size_t links_count;
	size_t slice; /* bytes at a time; 0: all */
	uint32_t timeout_ms;
};

/* ---- both ends ---- */

static inline bool
pipe_follower_sends(void *arg, const void *data, size_t bytes)
{
	struct pipe_link *l = arg;

	buf_put(&l->to_writer, data, bytes);
	assert_true(buf_ok(&l->to_writer));
	return true;
}

static inline void
pipe_cut(struct pipe_link *l)
{
	buf_reset(&l->to_writer);
	buf_reset(&l->to_follower);
	store_serve_peer_free(l->peer);
	l->peer = NULL;
	if (!l->up)
		return;
	l->up = false;
	store_follow_down(l->follow, NULL);
}

static inline void
pipe_follower_closes(void *arg)
{
	struct pipe_link *l = arg;

	l->up = false;
}

static inline bool
pipe_writer_sends(void *arg, const void *data, size_t bytes)
{
	struct pipe_link *l = arg;

	buf_put(&l->to_follower, data, bytes);
	assert_true(buf_ok(&l->to_follower));
	l->sent += bytes;
	return true;
}

static inline void
pipe_writer_closes(void *arg)
{
	struct pipe_link *l = arg;

	store_serve_peer_free(l->peer);
	l->peer = NULL;
}

static const struct store_stream pipe_follower_calls = {pipe_follower_sends, pipe_follower_closes};
static const struct store_stream pipe_writer_calls = {pipe_writer_sends, pipe_writer_closes};

static inline void
pipe_connect(struct pipe_link *l)
{
	struct err err = {0};

	if (l->up || l->peer || l->no_connect || !l->net->serve || !l->follow ||
	    !store_follow_can_take(l->follow))
		return;
	if (store_serve_peer_new(l->net->serve, 2, &pipe_writer_calls, l, &l->peer, &err) < 0)
		return;
	l->up = true;
	store_follow_up(l->follow, &pipe_follower_calls, l);
}

/* ---- moving bytes ---- */

static inline size_t
pipe_slice(const struct pipe_link *l, const struct buf *b)
{
	size_t slice = l->net->slice;

	return slice && slice < b->length ? slice : b->length;
}

static inline bool
pipe_move(struct pipe_link *l)
{
	size_t n;

	if (l->stuck)
		return false;
	bool any = false;
	if (l->to_writer.length && l->peer) {
		uint8_t *copy = malloc(n = pipe_slice(l, &l->to_writer));

		assert_non_null(copy);
		memcpy(copy, l->to_writer.data, n);
		buf_consume(&l->to_writer, n);
		store_serve_peer_data(l->peer, copy, n);
		free(copy);
		if (l->up && !l->to_writer.length)
			store_follow_room(l->follow);
		any = true;
	}
	if (l->to_follower.length && l->up && !l->deaf) {
		uint8_t *copy = malloc(n = pipe_slice(l, &l->to_follower));

		assert_non_null(copy);
		memcpy(copy, l->to_follower.data, n);
		buf_consume(&l->to_follower, n);
		store_follow_data(l->follow, copy, n);
		free(copy);
		if (l->peer && !l->to_follower.length)
			store_serve_peer_room(l->peer);
		any = true;
	}
	/* One end has closed, and the other has heard all that was said. */
	if ((!l->up && l->peer) || (l->up && !l->peer && !l->to_follower.length))
		pipe_cut(l);
	return any;
}

/* Once through all; false: nothing moved. */
static inline bool
pipe_turn(struct pipe_net *net)
{
	bool any = false;

	for (size_t i = 0; i < net->links_count; i++) {
		pipe_connect(&net->links[i]);
		any |= pipe_move(&net->links[i]);
	}
	uv_run(&net->loop, UV_RUN_NOWAIT);
	return any;
}

static inline void
pipe_settle(struct pipe_net *net)
{
	while (pipe_turn(net))
		;
}

static inline void
pipe_wait(struct pipe_net *net, const bool *over)
{
	while (!*over) {
		if (!pipe_turn(net) && !*over)
			usleep(1000);
	}
}

static inline bool
pipe_writable(struct store *s)
{
	struct store_status status;

	store_status(s, &status);
	return status.writable;
}

static inline void
pipe_until_writable(struct pipe_net *net, struct store *s)
{
	while (!pipe_writable(s)) {
		if (!pipe_turn(net))
			usleep(1000);
	}
}

/* ---- files ---- */

/* NULL: it failed. */
static inline struct store *
pipe_rows_try(struct pipe_net *net, const char *name, struct err *err)
{
	struct store_sqlite_options options = {
		.dirfd = net->folder.fd, .name = name, .busy_ms = 10000};
	struct store *rows;

	return store_sqlite_open(&options, &rows, err) < 0 ? NULL : rows;
}

static inline struct store *
pipe_rows(struct pipe_net *net, const char *name)
{
	struct err err = {0};
	struct store *rows = pipe_rows_try(net, name, &err);

	if (!rows) {
		err_print(&err, "rows", stderr);
		fail();
	}
	return rows;
}

static inline void
pipe_open_writer(struct pipe_net *net)
{
	struct err err = {0};

	if (store_serve_open(pipe_rows(net, "w.db"), &net->writer, &net->serve, &err) < 0) {
		err_print(&err, "writer", stderr);
		fail();
	}
}

static inline void
pipe_close_writer(struct pipe_net *net)
{
	store_free(net->writer);
	net->writer = NULL;
	net->serve = NULL;
}

static inline void
pipe_on_moved(void *arg)
{
	struct pipe_link *l = arg;

	l->moved = true;
}

static inline void
pipe_on_news(void *arg, const struct store_news *news)
{
	struct pipe_link *l = arg;

	l->alls += news->what == STORE_NEWS_ALL;
	l->ends += news->what == STORE_NEWS_END;
	l->rows += news->what == STORE_NEWS_ROW;
	l->gone += news->what == STORE_NEWS_GONE;
}

static inline void
pipe_open_follower(struct pipe_link *l)
{
	struct store_follow_options options = {
		.loop = &l->net->loop,
		.writer = "edge-1",
		.timeout_ms = l->net->timeout_ms,
		.moved = pipe_on_moved,
		.arg = l,
	};
	struct err err = {0};

	if (store_follow_open(&options, pipe_rows(l->net, l->file), &l->store, &l->follow, &err) <
	    0) {
		err_print(&err, "follower", stderr);
		fail();
	}
	store_watch(l->store, pipe_on_news, l);
}

static inline void
pipe_close_follower(struct pipe_link *l)
{
	store_free(l->store);
	l->store = NULL;
	l->follow = NULL;
	l->up = false;
	pipe_cut(l);
}

static inline struct pipe_link *
pipe_add(struct pipe_net *net)
{
	struct pipe_link *l = &net->links[net->links_count];

	assert_true(net->links_count < PIPE_FOLLOWERS_MAX);
	*l = (struct pipe_link){.net = net};
	buf_init(&l->to_writer, MEM_BASE, PIPE_QUEUE_BYTES);
	buf_init(&l->to_follower, MEM_BASE, PIPE_QUEUE_BYTES);
	snprintf(l->file, sizeof(l->file), "f%zu.db", net->links_count++);
	pipe_open_follower(l);
	return l;
}

static inline void
pipe_setup(struct pipe_net *net)
{
	memset(net, 0, sizeof(*net));
	net->timeout_ms = PIPE_TIMEOUT_MS;
	folder_begin(&net->folder, "pipe");
	assert_int_equal(uv_loop_init(&net->loop), 0);
}

static inline void
pipe_teardown(struct pipe_net *net)
{
	for (size_t i = 0; i < net->links_count; i++) {
		struct pipe_link *l = &net->links[i];

		if (l->store)
			pipe_close_follower(l);
		pipe_cut(l);
		buf_fini(&l->to_writer);
		buf_fini(&l->to_follower);
		folder_remove_store(&net->folder, l->file);
	}
	if (net->writer)
		pipe_close_writer(net);
	folder_remove_store(&net->folder, "w.db");
	uv_run(&net->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&net->loop), 0);
	folder_end(&net->folder);
}

#endif
