/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping many leases with few requests. What is to be kept within GATHER_MS goes with one call:
 * etcd's gateway takes several questions in the body of one request, and answers each with a line.
 * So a node with hundreds of leases asks a few times a second, whatever their number. Who waits is
 * told for each by itself. The pause is no loss of time: a holder counts from when it asked
 * (tenure.h), and etcd from when it was asked.
 */
#include <string.h>
#include "base/mem.h"
#include "scheduler/etcd_engine.h"

enum {
	GATHER_MS = 200,
	BATCH_MAX = 32, /* etcd answers one after the other, and within a call's time */
	BODY_BYTES = 32 << 10,
	ANSWER_BYTES = 256 << 10,
};

struct batch {
	struct list link;
	struct etcd_engine *e;
	struct etcd_call *call; /* NULL: they are being told */
	struct list keeps;
};

static void
tell(struct etcd_keep *k, int64_t ttl_s, const struct err *err)
{
	list_remove(&k->link);
	k->done(k, ttl_s, err);
}

static void
tell_all(struct list *keeps, const struct err *err)
{
	while (!list_empty(keeps))
		tell(container_of(keeps->next, struct etcd_keep, link), 0, err);
}

/* Who is told may end the engine, and those that wait with it. */
static void
end(struct batch *b, const struct err *err)
{
	tell_all(&b->keeps, err);
	if (b->e)
		list_remove(&b->link);
	mem_free(b);
}

/* Each lease once: the first that waits for it is the one that asked first. */
static void
take_line(struct batch *b, const char *text, size_t bytes, struct arena *arena)
{
	struct list *it, *next;
	struct etcd_json_answer a;
	struct err ignored = {0};

	if (etcd_json_answer(text, bytes, arena, &a, &ignored) < 0)
		return;
	list_each (it, next, &b->keeps) {
		struct etcd_keep *k = container_of(it, struct etcd_keep, link);

		if (k->lease == a.lease) {
			tell(k, a.ttl_s, NULL);
			return;
		}
	}
}

static void
answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct batch *b = arg;
	struct err err = {0};
	struct arena arena;

	b->call = NULL;
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	/* A line that came is true, whatever came after it. */
	for (size_t at = 0; at < answer->bytes;) {
		const char *line = answer->text + at;
		const char *stop = memchr(line, '\n', answer->bytes - at);
		size_t bytes = stop ? (size_t)(stop - line) : answer->bytes - at;

		if (bytes)
			take_line(b, line, bytes, &arena);
		at += bytes + 1;
	}
	arena_fini(&arena);
	err_set(&err, ERR_UNREACHABLE, "etcd did not say whether a lease was kept");
	end(b, answer->err ? answer->err : &err);
}

static void
send_batch(struct etcd_engine *e)
{
	struct batch *b = mem_zalloc(MEM_SCHEDULER, sizeof(*b));
	struct err err = {0};
	struct buf body;

	if (!b) {
		err_set(&err, ERR_NO_MEMORY, "no memory to keep leases");
		tell_all(&e->keeps, &err);
		return;
	}
	b->e = e;
	list_init(&b->keeps);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	for (size_t i = 0; i < BATCH_MAX && !list_empty(&e->keeps); i++) {
		struct etcd_keep *k = container_of(e->keeps.next, struct etcd_keep, link);

		list_remove(&k->link);
		list_push(&b->keeps, &k->link);
		etcd_json_lease(&body, k->lease);
	}
	list_push(&e->batches, &b->link);
	b->call = etcd_rpc_call(e->rpc, "/v3/lease/keepalive", &body, answered, b, &err);
	buf_fini(&body);
	if (!b->call)
		end(b, &err);
}

static void
gathered(uv_timer_t *timer)
{
	struct etcd_engine *e = timer->data;

	/* What is asked for while somebody is told waits for the next time. */
	send_batch(e);
	if (!list_empty(&e->keeps))
		uv_timer_start(timer, gathered, 0, 0);
}

void
etcd_keep_init(struct etcd_engine *e)
{
	list_init(&e->keeps);
	list_init(&e->batches);
	uv_timer_init(e->loop, &e->keep_timer);
	e->keep_timer.data = e;
}

void
etcd_keep_ask(struct etcd_engine *e, struct etcd_keep *k)
{
	if (list_empty(&e->keeps))
		uv_timer_start(&e->keep_timer, gathered, GATHER_MS, 0);
	list_push(&e->keeps, &k->link);
}

void
etcd_keep_stop(struct etcd_engine *e)
{
	struct list *it, *next;

	list_each (it, next, &e->batches) {
		struct batch *b = container_of(it, struct batch, link);

		list_remove(&b->link);
		if (b->call) {
			etcd_rpc_cancel(b->call);
			mem_free(b);
		} else { /* freed when who is told now returns */
			list_init(&b->keeps);
			b->e = NULL;
		}
	}
	list_init(&e->keeps); /* whoever waits is freed by its owner */
}
