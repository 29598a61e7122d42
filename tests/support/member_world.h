/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_MEMBER_WORLD_H
#define TESTS_SUPPORT_MEMBER_WORLD_H

/*
 * A node of a cluster in the test's own process: struct cluster upon the store of a writer
 * (store_pipe.h), without gossip, sockets and ring. What it answers is caught: the test is linked
 * with these functions in place of the station's (tests/unit/scheduler/meson.build). One at a time;
 * included once, after cmocka.h.
 */

#include <dirent.h>
#include "base/fd.h"
#include "base/world.h"
#include "scheduler/cluster_inside.h"
#include "scheduler/store_role.h"
#include "tests/support/store_pipe.h"

static struct member_world {
	struct pipe_net net;
	int folder;
	struct config config;
	struct model model;
	struct cluster c;
	/* what was said last */
	unsigned answers, refusals;
	uint8_t answer[RING_BODY_MAX];
	int answer_fd; /* -1: none */
	struct err refused;
	struct leash_message sent;
	unsigned sends;
} member;

uv_loop_t *__wrap_station_loop(struct station *st);
int __wrap_station_folder(const struct station *st, size_t i);
int __wrap_station_send(struct station *st, struct leash_message *m, const int *fds, size_t count,
			struct err *err);
void __wrap_station_answer(struct station *st, const struct station_request *q, const void *body,
			   size_t bytes, const int *fds, size_t count);
void __wrap_station_answer_err(struct station *st, const struct station_request *q,
			       const struct err *err);

uv_loop_t *
__wrap_station_loop(struct station *st)
{
	(void)st;
	return &member.net.loop;
}

int
__wrap_station_folder(const struct station *st, size_t i)
{
	(void)st;
	(void)i;
	return member.folder;
}

int
__wrap_station_send(struct station *st, struct leash_message *m, const int *fds, size_t count,
		    struct err *err)
{
	(void)st;
	(void)fds;
	(void)count;
	(void)err;
	member.sends++;
	member.sent = *m;
	return 0;
}

void
__wrap_station_answer(struct station *st, const struct station_request *q, const void *body,
		      size_t bytes, const int *fds, size_t count)
{
	(void)st;
	(void)q;
	member.answers++;
	memcpy(member.answer, body, bytes);
	fd_close(&member.answer_fd);
	if (count)
		member.answer_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
}

void
__wrap_station_answer_err(struct station *st, const struct station_request *q,
			  const struct err *err)
{
	(void)st;
	(void)q;
	member.refusals++;
	member.refused = *err;
}

/* ---- rows ---- */

static inline void
member_kept(void *arg, const struct err *err)
{
	assert_null(err);
	*(bool *)arg = true;
}

/* As another node, or this one, would: the cluster's own changes are not asked. */
static inline void
member_put(enum store_kind kind, void *row)
{
	struct err err = {0};
	bool over = false;

	assert_int_equal(store_begin(member.model.store, &err), 0);
	assert_int_equal(store_put(member.model.store, kind, row, &err), 0);
	store_submit(member.model.store, member_kept, &over);
	assert_true(over);
	cluster_roster_read(&member.c);
}

/* Node 1 is this one. */
static inline void
member_add(uint32_t node)
{
	struct store_node row = {.node = node};

	snprintf(row.name, sizeof(row.name), "edge-%u", node);
	row.sign_public[0] = row.gossip_public[0] = (uint8_t)node;
	member_put(STORE_NODE, &row);
	struct cluster_node *n = cluster_roster_find(&member.c, node);
	assert_non_null(n);
	n->state = node == 1 ? GOSSIP_UNKNOWN : GOSSIP_ALIVE;
	n->since_wall_ns = world_wall_ns() - 60 * (int64_t)CLUSTER_SECOND_NS;
}

/* What it says of the store's etcd. */
static inline struct cluster_node *
member_says(uint32_t node, uint32_t flags, uint64_t life, uint32_t term)
{
	struct cluster_node *n = cluster_roster_find(&member.c, node);
	char address[32];

	snprintf(address, sizeof(address), "10.0.0.%u:9885", node);
	n->has_voter = true;
	n->voter = (struct tidings_voter){.flags = flags, .life = life, .term = term};
	assert_true(addr_parse(address, &n->voter.client));
	return n;
}

static inline struct store_voter
member_voter(uint32_t node, enum store_voter_phase phase)
{
	struct store_voter row = {.node = node, .phase = phase, .life = 100 + node, .token = 7};

	snprintf(row.client, sizeof(row.client), "10.0.0.%u:9885", node);
	snprintf(row.peer, sizeof(row.peer), "10.0.0.%u:9886", node);
	snprintf(row.initial, sizeof(row.initial), "node-%u=https://10.0.0.%u:9886", node, node);
	row.since_wall_ns = world_wall_ns();
	return row;
}

/* ---- life ---- */

/* Until the cluster's changes are done. */
static inline void
member_settle(void)
{
	do
		pipe_turn(&member.net);
	while (!list_empty(&member.c.changes));
}

/* What this process was asked to become: the file is opened by the next one. */
static inline void
member_restart(void)
{
	struct cluster *c = &member.c;
	enum store_role role;
	struct err err = {0};

	pipe_close_writer(&member.net);
	struct store *rows = pipe_rows(&member.net, "w.db");
	assert_int_equal(store_role_get(rows, &role, &err), 0);
	assert_int_equal(role, STORE_ROLE_SERVE);
	c->over = c->fenced = c->recovering = false;
	c->voters.hold_until_ns = 0;
	assert_int_equal(cluster_recover_read(c, rows, &err), 0);
	store_free(rows);
	pipe_open_writer(&member.net);
	member.model.store = member.net.writer;
	c->serve = member.net.serve;
	cluster_roster_read(c);
}

static inline unsigned
member_events(const char *type)
{
	struct list *it, *next;
	unsigned count = 0;

	list_each (it, next, &member.model.events)
		count += text_equal(container_of(it, struct event, link)->row.event.type, type);
	return count;
}

static inline void
member_open(struct store_cluster *row)
{
	struct cluster *c = &member.c;

	pipe_open_writer(&member.net);
	member.model.store = member.net.writer;
	c->serve = member.net.serve;
	member_put(STORE_CLUSTER, row);
	for (uint32_t node = 1; node <= 4; node++)
		member_add(node);
}

static inline int
member_set_up(void **state)
{
	struct store_cluster row = {.admission = MSG_ADMISSION_TOKEN, .writer = 1};
	struct cluster *c = &member.c;

	(void)state;
	memset(&member, 0, sizeof(member));
	member.answer_fd = -1;
	pipe_setup(&member.net);
	member.folder = open(member.net.folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(member.folder >= 0);
	list_init(&member.model.events);
	c->m = &member.model;
	c->config = &member.config;
	c->member = true;
	c->folder = -1;
	map_init(&c->nodes, MEM_SCHEDULER);
	list_init(&c->changes);
	list_init(&c->admits);
	list_init(&c->feds);
	uv_timer_init(&member.net.loop, &c->again);
	c->again.data = c;
	cluster_keep_init(&c->keep);
	c->keep.node = 1;
	text_copy(c->keep.name, sizeof(c->keep.name), "edge-1");
	member_open(&row);
	return 0;
}

/* Files of the test's own in the state folder. */
static inline void
member_unlink(const char *prefix)
{
	DIR *dir = fdopendir(fcntl(member.folder, F_DUPFD_CLOEXEC, 3));

	assert_non_null(dir);
	rewinddir(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		if (text_starts(e->d_name, prefix))
			unlinkat(member.folder, e->d_name, 0);
	}
	closedir(dir);
}

static inline int
member_tear_down(void **state)
{
	struct cluster *c = &member.c;
	struct map_iter it = {0};
	struct list *at, *next;

	(void)state;
	c->freed = true;
	cluster_store_end(c);
	cluster_move_end(c);
	cluster_pass_end(c);
	uv_close((uv_handle_t *)&c->again, NULL);
	while (map_next(&c->nodes, &it))
		mem_free(it.value);
	map_fini(&c->nodes);
	cluster_keep_fini(&c->keep);
	list_each (at, next, &member.model.events)
		mem_free(container_of(at, struct event, link));
	fd_close(&member.answer_fd);
	member_unlink("set-aside");
	fd_close(&member.folder);
	pipe_teardown(&member.net);
	return 0;
}

#endif
