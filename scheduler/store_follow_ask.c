/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the writer that are no transactions: leases, which it keeps, and whether its store
 * is what its log says. They are asked once: when the connection ends first, the answer is lost.
 */
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/store_follow_inside.h"
#include "scheduler/store_mine.h"

enum { SMALL_BYTES = 16 << 10, CHECK_TIMES = 30 /* of the time-out: it reads everything */ };

#define MS_NS 1000000ull

struct ask {
	struct list link;
	uint64_t question;
	uint64_t until_ns;
	enum store_lease_verb verb;
	char name[STORE_WIRE_NAME_BYTES];
	store_lease_fn lease_done;
	store_done_fn check_done; /* either of them */
	void *arg;
};

static void
end(struct ask *a, uint64_t epoch, const struct err *err)
{
	struct ask mine = *a;

	list_remove(&a->link);
	mem_free(a);
	if (mine.check_done)
		mine.check_done(mine.arg, err);
	else
		mine.lease_done(mine.arg, err ? 0 : epoch, err);
}

static struct ask *
add(struct store_follow *f, uint64_t timeout_ms, void *arg)
{
	struct ask *a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));

	if (!a)
		return NULL;
	a->question = ++f->question;
	a->until_ns = world_mono_ns() + timeout_ms * MS_NS;
	a->arg = arg;
	list_push(&f->asks, &a->link);
	return a;
}

static struct ask *
find(struct store_follow *f, uint64_t question)
{
	struct list *it, *next;

	list_each (it, next, &f->asks) {
		struct ask *a = container_of(it, struct ask, link);

		if (a->question == question)
			return a;
	}
	return NULL;
}

/* ---- leases ---- */

static void
ask_lease(struct store_follow *f, const struct store_wire_lease *lease, store_lease_fn done,
	  void *arg)
{
	struct ask *a = add(f, f->timeout_ms, arg);
	struct store_wire_lease numbered = *lease;
	struct err err = {0};
	struct buf b;

	if (!a) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a lease");
		done(arg, 0, &err);
		return;
	}
	numbered.question = a->question;
	a->verb = lease->verb;
	a->lease_done = done;
	text_copy(a->name, sizeof(a->name), lease->name);
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	store_wire_put_lease(&b, &numbered);
	if (store_follow_send(f, &b))
		return;
	store_follow_silent(f, "cannot be reached", &err);
	end(a, 0, &err);
}

void
store_follow_ask_lease(void *engine, enum store_lease_verb verb, const char *name,
		       const char *holder, uint32_t ttl_s, store_lease_fn done, void *arg)
{
	struct store_follow *f = engine;
	struct store_wire_lease lease = {.verb = verb, .ttl_s = ttl_s};
	struct err err = {0};

	text_copy(lease.name, sizeof(lease.name), name);
	text_copy(lease.holder, sizeof(lease.holder), holder);
	lease.epoch = store_mine_find(&f->mine, name);
	if (verb == STORE_LEASE_DROP)
		store_mine_remove(&f->mine, name);
	if (verb == STORE_LEASE_DROP && !lease.epoch) {
		done(arg, 0, NULL);
	} else if (verb == STORE_LEASE_KEEP && !lease.epoch) {
		err_set(&err, ERR_NOT_FOUND, "%s is not held any more", name);
		done(arg, 0, &err);
	} else if (!f->welcome || !f->calls) {
		err = f->why;
		if (!err.kind)
			store_follow_silent(f, "cannot be reached", &err);
		done(arg, 0, &err);
	} else {
		ask_lease(f, &lease, done, arg);
	}
}

bool
store_follow_ask_adopt(void *engine, const char *name, uint64_t epoch)
{
	struct store_follow *f = engine;

	return store_mine_add(&f->mine, name, epoch);
}

uint64_t
store_follow_ask_mine(void *engine, const char *name)
{
	const struct store_follow *f = engine;

	return store_mine_find(&f->mine, name);
}

void
store_follow_ask_leased(struct store_follow *f, uint64_t question, uint64_t epoch,
			const struct err *err)
{
	struct ask *a = find(f, question);
	struct err none = {0};

	if (!a || a->check_done)
		return;
	if (!err && a->verb == STORE_LEASE_TAKE && !store_mine_add(&f->mine, a->name, epoch)) {
		err_set(&none, ERR_NO_MEMORY, "no memory for a lease");
		err = &none;
	}
	if (err && a->verb == STORE_LEASE_KEEP && err->kind == ERR_NOT_FOUND)
		store_mine_remove(&f->mine, a->name);
	end(a, epoch, err);
}

/* ---- checks ---- */

static int
compare(struct store_follow *f, const struct store_entry *head, struct err *err)
{
	struct store_copy *c = &f->base.copy;
	struct store_digest digest;
	uint64_t count;

	if (store_copy_sum(c->rows, &digest, &count, err) < 0)
		return -1;
	bool whole = count == c->head.count && !memcmp(&digest, &c->head.digest, sizeof(digest));
	/* What came in between is compared when it is taken over. */
	if (whole && (head->sequence != c->head.sequence || store_entry_same(head, &c->head)))
		return 0;
	err_set(err, ERR_CORRUPT, "this node's copy of the store is not what %s has", f->writer);
	return err_fix(err, "move this node's store away: it is copied again");
}

void
store_follow_ask_check(void *engine, store_done_fn done, void *arg)
{
	struct store_follow *f = engine;
	struct ask *a = add(f, (uint64_t)f->timeout_ms * CHECK_TIMES, arg);
	struct err err = {0};
	struct buf b;

	if (!a) {
		err_set(&err, ERR_NO_MEMORY, "no memory to check the store");
		done(arg, &err);
		return;
	}
	a->check_done = done;
	buf_init(&b, MEM_SCHEDULER, SMALL_BYTES);
	size_t begun = store_wire_begin(&b, STORE_WIRE_LOOK);
	buf_u64(&b, a->question);
	buf_u8(&b, 1);
	store_wire_end(&b, begun);
	if (!f->welcome)
		buf_fini(&b);
	else if (store_follow_send(f, &b))
		return;
	store_follow_silent(f, "cannot be reached", &err);
	end(a, 0, &err);
}

void
store_follow_ask_head(struct store_follow *f, uint64_t question, const struct store_entry *head,
		      const struct err *err)
{
	struct ask *a = find(f, question);
	struct err mine = {0};

	if (!a || !a->check_done)
		return;
	if (!err && compare(f, head, &mine) < 0)
		err = &mine;
	end(a, 0, err);
}

/* ---- without an answer ---- */

static void
lose(struct store_follow *f, bool late_only, const char *what)
{
	uint64_t now_ns = world_mono_ns(), last = f->question;
	struct err err = {0};
	struct list *it, *next;

	store_follow_silent(f, what, &err);
	err.kind = ERR_TIMEOUT;
	list_each (it, next, &f->asks) {
		struct ask *a = container_of(it, struct ask, link);

		/* Not those that an answer of this has asked. */
		if (a->question <= last && (!late_only || a->until_ns <= now_ns))
			end(a, 0, &err);
	}
}

void
store_follow_ask_down(struct store_follow *f)
{
	lose(f, false, "did not answer before the connection ended");
}

void
store_follow_ask_tick(struct store_follow *f)
{
	lose(f, true, "did not answer in time");
}

void
store_follow_ask_stop(struct store_follow *f)
{
	struct list *it, *next;

	list_each (it, next, &f->asks) {
		struct ask *a = container_of(it, struct ask, link);
		struct err err = {0};

		err_set(&err, ERR_INTERRUPTED, "the store was closed");
		if (a->check_done) {
			end(a, 0, &err);
			continue;
		}
		/* No word of leases after the store is freed: store_lease.h. */
		list_remove(it);
		mem_free(a);
	}
}
