/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases in the cluster. lease/NAME is there while somebody has it: it hangs on a lease of etcd's,
 * which takes it away when it is not kept. epoch/NAME stays: both are put by one request that holds
 * only if nobody has it and the epoch is what was read, so each epoch is given once.
 *
 * What is put carries a number drawn for this try, so that a try whose answer was lost knows itself
 * again. A lease of etcd's whose try failed is left to end by itself.
 *
 * Many are kept with one request (etcd_keep.c).
 *
 * Of one that an earlier process took only the epoch is known: on which lease of etcd's it hangs is
 * looked up before it is kept or dropped.
 *
 * A name may be taken anew by this process while a question about the one before is under way: its
 * answer is of that epoch, and of no other.
 */
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/etcd_engine.h"

enum {
	BODY_BYTES = 8 << 10,
	ANSWER_BYTES = 64 << 10,
	NAME_BYTES = 256,
	VALUE_BYTES = 256,
	TURNS_MAX = 4,
};

struct held {
	struct list link;
	char name[NAME_BYTES];
	int64_t lease; /* 0: not known yet */
	uint64_t epoch;
};

struct op {
	struct list link;
	struct etcd_engine *e;
	struct etcd_call *call;
	struct etcd_keep keep;
	char name[NAME_BYTES];
	char holder[VALUE_BYTES / 2];
	uint32_t ttl_s;
	uint64_t epoch; /* taken: that is there; then: that is ours. Else: with which it was */
	int64_t lease;
	char value[VALUE_BYTES];
	unsigned turns;
	enum store_lease_verb verb;
	store_lease_fn done;
	void *arg;
};

static void look(struct op *o);

static struct held *
find(struct etcd_engine *e, const char *name)
{
	struct list *it, *next;

	list_each (it, next, &e->leases) {
		struct held *h = container_of(it, struct held, link);

		if (text_equal(h->name, name))
			return h;
	}
	return NULL;
}

static void
forget(struct held *h)
{
	if (!h)
		return;
	list_remove(&h->link);
	mem_free(h);
}

static void
end(struct op *o, const struct err *err)
{
	store_lease_fn done = o->done;
	uint64_t epoch = o->epoch;
	void *arg = o->arg;
	struct err kept = {0};

	if (err)
		kept = *err;
	list_remove(&o->link);
	mem_free(o);
	done(arg, err ? 0 : epoch, err ? &kept : NULL);
}

static void
call(struct op *o, const char *path, struct buf *body, etcd_rpc_done_fn done)
{
	struct err err = {0};

	o->call = etcd_rpc_call(o->e->rpc, path, body, done, o, &err);
	buf_fini(body);
	if (!o->call)
		end(o, &err);
}

/* Of the answer; false: it was the end. The arena is to be freed in any case. */
static bool
take_answer(struct op *o, const struct etcd_rpc_answer *answer, struct arena *arena,
	    struct etcd_json_answer *a)
{
	struct err err = {0};

	o->call = NULL;
	arena_init(arena, MEM_SCHEDULER, ANSWER_BYTES);
	if (!answer->err && etcd_json_answer(answer->text, answer->bytes, arena, a, &err) == 0)
		return true;
	end(o, answer->err ? answer->err : &err);
	return false;
}

static void
keys(const struct op *o, char *lease, char *epoch)
{
	char name[NAME_BYTES + 16];

	text_format(name, sizeof(name), "lease/%s", o->name);
	etcd_engine_key(o->e, name, lease);
	text_format(name, sizeof(name), "epoch/%s", o->name);
	etcd_engine_key(o->e, name, epoch);
}

/* ---- taking ---- */

static void
is_held(struct op *o, const struct etcd_json_kv *kv)
{
	char value[VALUE_BYTES] = "";
	struct err err = {0};

	text_ncopy(value, sizeof(value), (const char *)kv->value, kv->value_bytes);
	const char *holder = strrchr(value, ' ');
	err_set(&err, ERR_CONFLICT, "%s is held", o->name);
	err_why(&err, "%s", holder ? holder + 1 : value);
	end(o, &err);
}

static void
taken(struct op *o)
{
	struct held *h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));
	struct err err = {0};

	if (!h) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a lease");
		end(o, &err);
		return;
	}
	forget(find(o->e, o->name)); /* it was lost before */
	text_copy(h->name, sizeof(h->name), o->name);
	h->lease = o->lease;
	h->epoch = o->epoch;
	list_push(&o->e->leases, &h->link);
	end(o, NULL);
}

static void
put_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;
	struct op *o = arg;

	if (!take_answer(o, answer, &arena, &a)) {
		arena_fini(&arena);
		return;
	}
	const struct etcd_json_kv *there =
		a.gets_count == 1 && a.gets[0].count == 1 ? &a.gets[0].items[0] : NULL;
	bool ours = there && there->value_bytes == strlen(o->value) &&
		    !memcmp(there->value, o->value, there->value_bytes);
	if (a.succeeded || ours) {
		taken(o);
	} else if (there) {
		is_held(o, there);
	} else if (++o->turns < TURNS_MAX) {
		look(o);
	} else {
		err_set(&err, ERR_CONFLICT, "%s goes from hand to hand", o->name);
		end(o, &err);
	}
	arena_fini(&arena);
}

static void
put(struct op *o)
{
	char lease[ETCD_ENGINE_KEY_BYTES], epoch[ETCD_ENGINE_KEY_BYTES];
	char before[24], after[24], token[2 * 8 + 1];
	struct etcd_json_txn t;
	struct world world;
	struct buf body;
	uint64_t random;

	world_real(&world);
	random = world_random_u64(&world);
	text_hex(&random, sizeof(random), token, sizeof(token));
	keys(o, lease, epoch);
	text_format(before, sizeof(before), "%" PRIu64, o->epoch++);
	text_format(after, sizeof(after), "%" PRIu64, o->epoch);
	text_format(o->value, sizeof(o->value), "%s %s %s", after, token, o->holder);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_if_absent(&t, lease);
	if (o->epoch == 1)
		etcd_json_if_absent(&t, epoch);
	else
		etcd_json_if_value(&t, epoch, before);
	etcd_json_then(&t);
	etcd_json_put(&t, lease, o->value, strlen(o->value), o->lease);
	etcd_json_put(&t, epoch, after, strlen(after), 0);
	etcd_json_otherwise(&t);
	etcd_json_get(&t, &(struct etcd_json_range){.key = lease});
	etcd_json_end(&t);
	call(o, "/v3/kv/txn", &body, put_done);
}

static void
granted(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;
	struct op *o = arg;

	bool fine = take_answer(o, answer, &arena, &a);
	arena_fini(&arena);
	if (!fine)
		return;
	o->lease = a.lease;
	if (o->lease) {
		put(o);
		return;
	}
	err_set(&err, ERR_CORRUPT, "etcd gave no lease");
	end(o, &err);
}

static void
looked(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;
	struct op *o = arg;
	char number[24] = "";

	if (!take_answer(o, answer, &arena, &a)) {
		arena_fini(&arena);
		return;
	}
	bool held = a.gets_count == 2 && a.gets[0].count == 1;
	if (a.gets_count == 2 && a.gets[1].count == 1)
		text_ncopy(number, sizeof(number), (const char *)a.gets[1].items[0].value,
			   a.gets[1].items[0].value_bytes);
	o->epoch = 0;
	if (held) {
		is_held(o, &a.gets[0].items[0]);
	} else if (a.gets_count != 2 ||
		   (number[0] && !text_u64(number, INT64_MAX - 1, &o->epoch))) {
		err_set(&err, ERR_CORRUPT, "the store's epoch of %s is none", o->name);
		end(o, &err);
	} else if (o->lease) {
		put(o);
	} else {
		struct buf body;

		buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
		etcd_json_lease_grant(&body, o->ttl_s);
		call(o, "/v3/lease/grant", &body, granted);
	}
	arena_fini(&arena);
}

static void
read_both(struct op *o, etcd_rpc_done_fn done)
{
	char lease[ETCD_ENGINE_KEY_BYTES], epoch[ETCD_ENGINE_KEY_BYTES];
	struct etcd_json_txn t;
	struct buf body;

	keys(o, lease, epoch);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_then(&t);
	etcd_json_get(&t, &(struct etcd_json_range){.key = lease});
	etcd_json_get(&t, &(struct etcd_json_range){.key = epoch});
	etcd_json_end(&t);
	call(o, "/v3/kv/txn", &body, done);
}

static void
look(struct op *o)
{
	read_both(o, looked);
}

/* ---- keeping, dropping ---- */

/* That which the question is about; NULL: it is not ours any more. */
static struct held *
asked_about(const struct op *o)
{
	struct held *h = find(o->e, o->name);

	return h && h->epoch == o->epoch ? h : NULL;
}

static void
not_ours(struct op *o)
{
	struct err err = {0};

	forget(asked_about(o));
	err_set(&err, ERR_NOT_FOUND, "%s is not held any more", o->name);
	end(o, o->verb == STORE_LEASE_KEEP ? &err : NULL);
}

static void
kept(struct etcd_keep *k, int64_t ttl_s, const struct err *err)
{
	struct op *o = container_of(k, struct op, keep);

	if (err || ttl_s > 0)
		end(o, err);
	else
		not_ours(o);
}

static void
dropped(void *arg, const struct etcd_rpc_answer *answer)
{
	struct op *o = arg;

	o->call = NULL;
	/* It ended before: that is fine. */
	end(o, answer->err && answer->err->kind != ERR_NOT_FOUND ? answer->err : NULL);
}

static void with_lease(struct op *o);

/* "EPOCH TOKEN HOLDER", with the epoch that was adopted. */
static bool
is_of(const struct etcd_json_kv *kv, uint64_t epoch)
{
	char value[VALUE_BYTES] = "", *at = value;
	uint64_t number;

	text_ncopy(value, sizeof(value), (const char *)kv->value, kv->value_bytes);
	return text_u64(strsep(&at, " "), INT64_MAX, &number) && number == epoch && kv->lease;
}

static void
looked_for_its_lease(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_json_answer a;
	struct arena arena;
	struct op *o = arg;

	if (!take_answer(o, answer, &arena, &a)) {
		arena_fini(&arena);
		return;
	}
	struct held *h = asked_about(o);
	bool there = h && a.gets_count == 2 && a.gets[0].count == 1 &&
		     is_of(&a.gets[0].items[0], h->epoch);
	if (there)
		h->lease = a.gets[0].items[0].lease;
	arena_fini(&arena);
	if (there)
		with_lease(o);
	else
		not_ours(o);
}

static void
with_lease(struct op *o)
{
	struct held *h = asked_about(o);
	struct buf body;

	if (!h) {
		not_ours(o);
		return;
	}
	if (!h->lease) {
		read_both(o, looked_for_its_lease);
		return;
	}
	if (o->verb == STORE_LEASE_KEEP) {
		o->keep = (struct etcd_keep){.lease = h->lease, .done = kept};
		etcd_keep_ask(o->e, &o->keep);
		return;
	}
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_lease(&body, h->lease);
	forget(h);
	call(o, "/v3/lease/revoke", &body, dropped);
}

void
etcd_lease_do(void *engine, enum store_lease_verb verb, const char *name, const char *holder,
	      uint32_t ttl_s, store_lease_fn done, void *arg)
{
	struct etcd_engine *e = engine;
	struct op *o = mem_zalloc(MEM_SCHEDULER, sizeof(*o));
	struct err err = {0};

	if (!o) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a lease");
		done(arg, 0, &err);
		return;
	}
	o->e = e;
	o->ttl_s = ttl_s;
	o->verb = verb;
	o->done = done;
	o->arg = arg;
	text_copy(o->name, sizeof(o->name), name);
	text_copy(o->holder, sizeof(o->holder), holder);
	list_push(&e->lease_ops, &o->link);
	if (verb == STORE_LEASE_TAKE) {
		look(o);
		return;
	}
	o->epoch = etcd_lease_mine(e, name);
	with_lease(o);
}

bool
etcd_lease_adopt(void *engine, const char *name, uint64_t epoch)
{
	struct etcd_engine *e = engine;
	struct held *h = find(e, name);

	if (h)
		return true;
	h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));
	if (!h)
		return false;
	text_copy(h->name, sizeof(h->name), name);
	h->epoch = epoch;
	list_push(&e->leases, &h->link);
	return true;
}

uint64_t
etcd_lease_mine(void *engine, const char *name)
{
	const struct held *h = find(engine, name);

	return h ? h->epoch : 0;
}

void
etcd_lease_stop(struct etcd_engine *e)
{
	struct list *it, *next;

	list_each (it, next, &e->lease_ops) {
		struct op *o = container_of(it, struct op, link);

		etcd_rpc_cancel(o->call);
		list_remove(&o->link);
		mem_free(o);
	}
	list_each (it, next, &e->leases)
		forget(container_of(it, struct held, link));
}
