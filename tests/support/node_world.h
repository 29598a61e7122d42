/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_NODE_WORLD_H
#define TESTS_SUPPORT_NODE_WORLD_H

/*
 * A node without processes, for the scheduler: the real model, store and segment of the scheduler,
 * and small stand-ins for runtime, probe and one proxy that read its tables and publish theirs.
 * Time is the test's. A revision can be told to misbehave.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/mem.h"
#include "scheduler/apply.h"
#include "scheduler/publish.h"
#include "scheduler/reconcile.h"
#include "scheduler/request.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_sqlite.h"
#include "spec/yaml.h"
#include "tests/support/folder.h"

#define NODE_S 1000000000ull

#define NODE_MUST(condition)                                                            \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

enum node_behaviour { NODE_GOOD, NODE_EXITS, NODE_UNHEALTHY, NODE_MISSING, NODE_OOM, NODE_SLOW };

struct node_world {
	struct folder folder;
	struct config config;
	struct model m;
	const char *boot;
	uint32_t generation;
	uint64_t now_ns;
	int64_t skew_ns; /* the wall clock was set */
	struct ring_writer *runtime, *probe, *proxy;
	struct ring_reader *runtime_r, *probe_r, *proxy_r; /* the scheduler's */
	struct ring_reader *seen;                          /* the others' view of the scheduler */
	enum node_behaviour behaviour[64];                 /* by revision */
	const char *behaves; /* the service that the above is about; NULL: all */
	uint32_t in_flight;  /* of every draining replica */
	bool proxy_asleep;
	unsigned started;      /* processes, ever */
	unsigned least_active; /* backends, since node_watch */
	bool watching;
	bool stirred; /* something happened that the scheduler looks at */
	/* Instead of a file of its own. */
	struct store *(*opens)(struct node_world *w);
};

static inline int64_t
node_wall(const struct node_world *w)
{
	return (int64_t)w->now_ns + w->skew_ns + 1700000000000000000;
}

static inline struct ring_writer *
node_writer(uint16_t role, const struct ring_table_layout *tables, size_t count)
{
	struct ring_layout layout = {.role = role, .generation = 1};
	struct ring_writer *out = NULL;
	struct err err = {0};

	for (size_t i = 0; i < count; i++)
		layout.tables[layout.tables_count++] = tables[i];
	NODE_MUST(ring_writer_new(&layout, &out, &err) == 0);
	return out;
}

static inline struct ring_reader *
node_reader(const struct ring_writer *w)
{
	struct ring_reader *out = NULL;
	struct err err = {0};

	NODE_MUST(ring_reader_new(fcntl(ring_writer_fd(w), F_DUPFD_CLOEXEC, 0), &out, &err) == 0);
	return out;
}

/* The scheduler's process begins (again). */
static inline void
node_start(struct node_world *w)
{
	struct store_sqlite_options options = {.dirfd = w->folder.fd, .name = "zlayer.db"};
	struct ring_layout layout = {
		.role = ROLE_SCHEDULER,
		.generation = ++w->generation,
		.log_bytes = 1 << 20,
		.metric_series = 512,
	};
	struct store *store = NULL;
	struct err err = {0};

	publish_layout(&layout);
	if (w->opens)
		store = w->opens(w);
	if ((!store && store_sqlite_open(&options, &store, &err) < 0) ||
	    model_open(&w->m, store, &w->config, "edge-1", w->boot, w->now_ns, node_wall(w), &err) <
		    0) {
		err_print(&err, "test", stderr);
		abort();
	}
	NODE_MUST(ring_writer_new(&layout, &w->m.writer, &err) == 0);
	w->m.metrics = ring_writer_metrics(w->m.writer);
	w->m.generation = w->generation;
	w->m.node_cpu_milli = 4000;
	w->m.node_memory_bytes = UINT64_C(8) << 30;
	w->m.settle_by_ns = w->now_ns + 5 * NODE_S;
	w->m.runtime = w->runtime_r;
	w->m.probe = w->probe_r;
	w->m.proxies[0] = w->proxy_r;
	w->seen = node_reader(w->m.writer);
}

/* ... and ends, by all means. */
static inline void
node_stop(struct node_world *w)
{
	ring_reader_free(w->seen);
	ring_writer_free(w->m.writer);
	model_close(&w->m);
}

static inline void
node_begin_with(struct node_world *w, struct store *(*opens)(struct node_world *w))
{
	static const struct ring_table_layout runtime[] = {
		{MSG_TABLE_CONTAINER, 1, sizeof(struct msg_container), 256},
		{MSG_TABLE_RESULT, 1, sizeof(struct msg_result), 256},
		{MSG_TABLE_IMAGE, 1, sizeof(struct msg_image), 16},
		{MSG_TABLE_ATTACHMENT, 1, sizeof(struct msg_attachment), 16},
	};
	static const struct ring_table_layout probe[] = {
		{MSG_TABLE_RESULT, 1, sizeof(struct msg_result), 256},
	};
	static const struct ring_table_layout proxy[] = {
		{MSG_TABLE_APPLIED, 1, sizeof(struct msg_applied), 1},
		{MSG_TABLE_DRAIN, 1, sizeof(struct msg_drain), 256},
		{MSG_TABLE_DEMAND, 1, sizeof(struct msg_demand), 16},
	};

	memset(w, 0, sizeof(*w));
	w->opens = opens;
	folder_begin(&w->folder, "node");
	config_defaults(&w->config);
	w->now_ns = 1000 * NODE_S;
	w->boot = "first";
	w->runtime = node_writer(ROLE_RUNTIME, runtime, 4);
	w->probe = node_writer(ROLE_PROBE, probe, 1);
	w->proxy = node_writer(ROLE_PROXY, proxy, 3);
	w->runtime_r = node_reader(w->runtime);
	w->probe_r = node_reader(w->probe);
	w->proxy_r = node_reader(w->proxy);
	node_start(w);
}

static inline void
node_begin(struct node_world *w)
{
	node_begin_with(w, NULL);
}

static inline void
node_end(struct node_world *w)
{
	node_stop(w);
	ring_reader_free(w->runtime_r);
	ring_reader_free(w->probe_r);
	ring_reader_free(w->proxy_r);
	ring_writer_free(w->runtime);
	ring_writer_free(w->probe);
	ring_writer_free(w->proxy);
	folder_remove_store(&w->folder, "zlayer.db");
	folder_end(&w->folder);
}

/* How many events of that type there are (docs/events.md). */
static inline size_t
node_events(struct node_world *w, const char *type)
{
	struct msg_events_op op = {.limit = 1000};
	struct err err = {0};
	struct buf out;
	size_t count = 0;

	buf_init(&out, MEM_SCHEDULER, 4 << 20);
	NODE_MUST(request_events(&w->m, &op, sizeof(op), &out, &err) == 0);
	for (size_t at = 0; at < out.length; at += sizeof(struct msg_event)) {
		struct msg_event e;

		memcpy(&e, out.data + at, sizeof(e));
		count += strcmp(e.type, type) == 0;
	}
	buf_fini(&out);
	return count;
}

/* Of main(): false after telling the harness what is missing. */
static inline bool
node_libraries(void)
{
	struct err err = {0};

	if (dl_load_yaml(&err) == 0 && sqlite_load(&err) == 0)
		return true;
	printf("1..0 # SKIP a library is missing: %s\n", err.what);
	return false;
}

/* ---- the stand-ins ---- */

static inline void
node_same(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

/* True: it has changed. */
static inline bool
node_sync(struct ring_reader *r, uint16_t table, size_t bytes)
{
	return ring_table_sync(r, table, (uint32_t)bytes, node_same, NULL) == RING_OK;
}

static inline bool
node_forget_container(void *arg, uint64_t key, const void *container)
{
	(void)container;
	ring_table_remove(arg, MSG_TABLE_CONTAINER, key);
	return true;
}

/* The whole machine: no container is left. node_start() is its next boot, under that name. */
static inline void
node_power_off(struct node_world *w, const char *boot)
{
	node_stop(w);
	w->boot = boot;
	ring_table_each(w->runtime_r, MSG_TABLE_CONTAINER, node_forget_container, w->runtime);
	node_sync(w->runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
}

static inline enum node_behaviour
node_how(const struct node_world *w, const struct msg_claim *c)
{
	bool other = w->behaves && strcmp(c->service_name, w->behaves) != 0;

	return other || c->revision >= 64 ? NODE_GOOD : w->behaviour[c->revision];
}

/* What the monitors do. True: it may not be started. */
static inline bool
node_lease(struct node_world *w, const struct msg_claim *c, const struct msg_container *old)
{
	struct msg_container now;

	if (!old || old->state != MSG_CONTAINER_RUNNING)
		return c->leased && w->now_ns >= c->lease_until_ns;
	now = *old;
	if (c->lease_until_ns || !c->leased) {
		now.lease_until_ns = c->lease_until_ns;
		now.lease_epoch = c->lease_epoch;
	}
	if (now.lease_until_ns && w->now_ns >= now.lease_until_ns) {
		now.state = MSG_CONTAINER_EXITED;
		now.exit_status = -1;
		now.exit_signal = 9;
		now.lease_over = 1;
	}
	ring_table_set(w->runtime, MSG_TABLE_CONTAINER, c->replica, &now, NULL);
	return now.lease_over;
}

static inline bool
node_run_claim(void *arg, uint64_t key, const void *row)
{
	struct node_world *w = arg;
	const struct msg_claim *c = row;
	const struct msg_container *old = ring_table_own(w->runtime, MSG_TABLE_CONTAINER, key);
	struct msg_container now = {.replica = key, .attempt = c->attempt};

	if (c->desired == MSG_REMOVE) {
		ring_table_remove(w->runtime, MSG_TABLE_CONTAINER, key);
		return true;
	}
	if (c->desired == MSG_STOP) {
		if (old && old->state == MSG_CONTAINER_RUNNING) {
			now = *old;
			now.state = MSG_CONTAINER_EXITED;
			ring_table_set(w->runtime, MSG_TABLE_CONTAINER, key, &now, NULL);
		} else if (!old) {
			now.state = MSG_CONTAINER_EXITED;
			now.exited_wall_ns = node_wall(w);
			ring_table_set(w->runtime, MSG_TABLE_CONTAINER, key, &now, NULL);
		}
		return true;
	}
	if (node_lease(w, c, old) || (old && old->attempt >= c->attempt) || c->held)
		return true;
	now.lease_until_ns = c->lease_until_ns;
	now.lease_epoch = c->lease_epoch;
	w->started++;
	now.state = MSG_CONTAINER_RUNNING;
	now.conditions = MSG_IMAGE_READY | MSG_STARTED;
	now.started_wall_ns = node_wall(w) + (int64_t)w->started;
	addr_from_v4_be(__builtin_bswap32(0x0ac80000 + (uint32_t)key), 0, &now.addr4);
	switch (node_how(w, c)) {
	case NODE_EXITS:
		now.state = MSG_CONTAINER_EXITED;
		now.exit_status = 1;
		break;
	case NODE_OOM:
		now.state = MSG_CONTAINER_EXITED;
		now.exit_status = -1;
		now.exit_signal = 9;
		now.oom_killed = 1;
		now.memory_limit = now.memory_peak = 32 << 20;
		break;
	case NODE_MISSING:
		now.state = MSG_CONTAINER_FAILED;
		now.reason.kind = ERR_NOT_FOUND;
		strcpy(now.reason.what, "the image is not here");
		break;
	case NODE_SLOW:
		now.state = MSG_CONTAINER_PREPARING;
		break;
	case NODE_UNHEALTHY:
	case NODE_GOOD:
		break;
	}
	ring_table_set(w->runtime, MSG_TABLE_CONTAINER, key, &now, NULL);
	return true;
}

static inline bool
node_orphan(void *arg, uint64_t key, const void *row)
{
	struct node_world *w = arg;

	(void)row;
	if (!ring_table_get(w->seen, MSG_TABLE_CLAIM, key))
		ring_table_remove(w->runtime, MSG_TABLE_CONTAINER, key);
	return true;
}

static inline bool
node_run_probe(void *arg, uint64_t key, const void *row)
{
	struct node_world *w = arg;
	const struct msg_probe *p = row;
	const struct msg_claim *c = ring_table_get(w->seen, MSG_TABLE_CLAIM, p->replica);
	bool ok = c && node_how(w, c) != NODE_UNHEALTHY;
	struct msg_result r = {
		.replica = p->replica,
		.attempt = p->attempt,
		.ok = ok,
		.successes = ok,
		.failures = ok ? 0 : 100,
		.total = 100,
		.failure = ok ? MSG_FAILURE_NONE : MSG_FAILURE_STATUS,
		.http_status = ok ? 200 : 500,
	};

	ring_table_set(w->probe, MSG_TABLE_RESULT, key, &r, NULL);
	return true;
}

static inline bool
node_run_drain(void *arg, uint64_t key, const void *row)
{
	struct node_world *w = arg;
	const struct msg_backend *b = row;
	struct msg_drain d = {.replica = key, .in_flight = w->in_flight};

	if (b->state == MSG_BACKEND_DRAINING)
		ring_table_set(w->proxy, MSG_TABLE_DRAIN, key, &d, NULL);
	return true;
}

static inline bool
node_count_active(void *arg, uint64_t key, const void *row)
{
	const struct msg_backend *b = row;

	(void)key;
	*(unsigned *)arg += b->state == MSG_BACKEND_ACTIVE;
	return true;
}

static inline unsigned
node_active(struct node_world *w)
{
	unsigned n = 0;

	node_sync(w->seen, MSG_TABLE_BACKEND, sizeof(struct msg_backend));
	ring_table_each(w->seen, MSG_TABLE_BACKEND, node_count_active, &n);
	return n;
}

/* Everybody looks once; the scheduler only when something has happened, or when it wanted to be
 * woken, as its process does. */
static inline void
node_turn_woken(struct node_world *w)
{
	struct msg_applied applied = {.scheduler_generation = w->generation};

	if (w->stirred || (w->m.due_ns && w->m.due_ns <= w->now_ns))
		reconcile_run(&w->m, w->now_ns, node_wall(w));
	w->stirred = false;
	if (w->watching && node_active(w) < w->least_active)
		w->least_active = node_active(w);
	node_sync(w->seen, MSG_TABLE_CLAIM, sizeof(struct msg_claim));
	node_sync(w->seen, MSG_TABLE_PROBE, sizeof(struct msg_probe));
	node_sync(w->seen, MSG_TABLE_BACKEND, sizeof(struct msg_backend));
	ring_table_each(w->seen, MSG_TABLE_CLAIM, node_run_claim, w);
	ring_table_each(w->runtime_r, MSG_TABLE_CONTAINER, node_orphan, w);
	ring_table_each(w->seen, MSG_TABLE_PROBE, node_run_probe, w);
	ring_table_each(w->seen, MSG_TABLE_BACKEND, node_run_drain, w);
	applied.backends_version = ring_table_version(w->seen, MSG_TABLE_BACKEND);
	if (!w->proxy_asleep)
		ring_table_set(w->proxy, MSG_TABLE_APPLIED, 1, &applied, NULL);
	w->stirred |= node_sync(w->runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
	w->stirred |= node_sync(w->runtime_r, MSG_TABLE_IMAGE, sizeof(struct msg_image));
	w->stirred |= node_sync(w->probe_r, MSG_TABLE_RESULT, sizeof(struct msg_result));
	w->stirred |= node_sync(w->proxy_r, MSG_TABLE_APPLIED, sizeof(struct msg_applied));
	w->stirred |= node_sync(w->proxy_r, MSG_TABLE_DRAIN, sizeof(struct msg_drain));
	w->stirred |= node_sync(w->proxy_r, MSG_TABLE_DEMAND, sizeof(struct msg_demand));
}

/* Everybody looks once. */
static inline void
node_turn(struct node_world *w)
{
	w->stirred = true;
	node_turn_woken(w);
}

/* Lets that much time pass, a second at a time. */
static inline void
node_pass(struct node_world *w, unsigned seconds)
{
	for (int i = 0; i < 12; i++)
		node_turn(w);
	while (seconds-- > 0) {
		w->now_ns += NODE_S;
		for (int i = 0; i < 12; i++)
			node_turn_woken(w);
	}
}

static inline void
node_watch(struct node_world *w)
{
	w->watching = true;
	w->least_active = 1000000;
}

/* A request that is answered at once: with a store of this machine all are. */
struct node_request {
	struct request r;
	bool over;
	int rc;
	struct err *err;
};

static inline void
node_answered(struct request *r, const struct err *err)
{
	struct node_request *q = container_of(r, struct node_request, r);

	NODE_MUST(!q->over);
	q->over = true;
	q->rc = err ? -1 : 0;
	if (err)
		*q->err = *err;
}

static inline int
node_change(struct node_world *w, uint16_t op, const void *body, size_t bytes, const int *fds,
	    size_t count, struct node_request *q, struct err *err)
{
	*q = (struct node_request){.r.done = node_answered, .err = err};
	request_change(&w->m, op, body, bytes, fds, count, &q->r);
	NODE_MUST(q->over);
	return q->rc;
}

static inline int
node_target(struct node_world *w, uint16_t op, const struct msg_target_op *body,
	    struct msg_target_answer *answer, struct err *err)
{
	struct node_request q;
	int rc = node_change(w, op, body, sizeof(*body), NULL, 0, &q, err);

	*answer = q.r.answer.target;
	return rc;
}

static inline int
node_document(struct node_world *w, const struct msg_apply *body, const char *text,
	      struct msg_apply_answer *answer, struct err *err)
{
	struct apply_input in = {.request = body, .text = text, .bytes = strlen(text)};
	struct node_request q = {.r.done = node_answered, .err = err};
	int rc = apply_document(&w->m, &in, &q.r, err);

	NODE_MUST((rc == REQUEST_UNDER_WAY) == q.over);
	*answer = q.r.answer.applied;
	return rc == REQUEST_UNDER_WAY ? q.rc : rc;
}

static inline int
node_apply(struct node_world *w, const char *name, const char *text,
	   struct msg_apply_answer *answer, struct err *err)
{
	struct msg_apply q = {.who_uid = 1000};

	strcpy(q.name, name);
	return node_document(w, &q, text, answer, err);
}

static inline const struct msg_deployment *
node_deployment(struct node_world *w, const char *name)
{
	struct deployment *d = model_deployment(&w->m, name);

	return d ? ring_table_own(w->m.writer, MSG_TABLE_DEPLOYMENT, d->row.id) : NULL;
}

static inline const struct msg_operation *
node_operation(struct node_world *w, uint64_t id)
{
	return ring_table_own(w->m.writer, MSG_TABLE_OPERATION, id);
}

#endif
