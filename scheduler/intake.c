/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue that is empty on a node alone. The store says when its turn has come; there is no timer
 * here but the deadlines. What follows from the end of a transaction may write the next one, and so
 * it never happens from within the store: at once after the request was begun, or at the end of the
 * loop's turn.
 */
#include "scheduler/intake.h"

#include <fcntl.h>
#include <string.h>
#include "base/fd.h"
#include "base/mem.h"
#include "scheduler/news.h"

enum { FDS_MAX = 2, TRIES_MAX = 5 };

#define MS UINT64_C(1000000)

/* Not begun yet. */
struct waiting {
	struct list link;
	struct station_request q;
	unsigned tries;
	uint64_t at_ns;    /* not before */
	uint64_t until_ns; /* so long for what is being done to be over; 0: that was not so yet */
	int fds[FDS_MAX];
	size_t fds_count;
	size_t bytes;
	uint8_t body[];
};

/* Under way: whom to answer. */
struct asked {
	struct list link; /* when it has ended */
	struct request r;
	struct intake *i;
	struct station_request q;
	struct waiting *again; /* the request itself, if it may have to be begun again; NULL */
	bool failed;
	struct err err;
};

static bool
holds(const struct intake *i)
{
	return i->out.holds && i->out.holds(i->out.arg);
}

static void
waiting_free(struct waiting *w)
{
	for (size_t n = 0; w && n < w->fds_count; n++)
		fd_close(&w->fds[n]);
	mem_free(w);
}

/* What is being done may be over: whoever asked has heard of that elsewhere, and this node not yet.
 */
static bool
may_be_over(struct asked *a, uint64_t now_ns)
{
	struct waiting *w = a->again;

	if (!a->r.busy)
		return false;
	if (!w->until_ns)
		w->until_ns = now_ns + INTAKE_BUSY_MS * MS;
	w->at_ns = now_ns + INTAKE_AGAIN_MS * MS;
	return w->at_ns <= w->until_ns;
}

/* It was refused because of what is over in a moment, or another change came first: it is worked
 * out again from what is there then. Nothing was changed. */
static bool
begin_again(struct intake *i, struct asked *a, uint64_t now_ns)
{
	if (!a->failed || !a->again || i->closing)
		return false;
	if (!(a->err.kind == ERR_UNREACHABLE && holds(i)) &&
	    !(a->r.overtaken && a->again->tries < TRIES_MAX) && !may_be_over(a, now_ns))
		return false;
	list_init(&a->again->link);
	list_push_front(&i->waiting, &a->again->link);
	i->count++;
	mem_free(a);
	return true;
}

static void
answer(struct intake *i, struct asked *a)
{
	bool applied = a->q.op == MSG_OP_APPLY || a->q.op == MSG_OP_ROLLBACK;
	size_t bytes = applied ? sizeof(a->r.answer.applied) : sizeof(a->r.answer.target);

	if (a->failed)
		i->out.answer(i->out.arg, &a->q, &a->err, NULL, 0);
	else
		i->out.answer(i->out.arg, &a->q, NULL, &a->r.answer, bytes);
	waiting_free(a->again);
	mem_free(a);
}

static void
answer_ended(struct intake *i, uint64_t now_ns)
{
	struct list *it, *next;
	bool passed = i->closing;

	list_each (it, next, &i->ended) {
		struct asked *a = container_of(it, struct asked, link);

		list_remove(&a->link);
		if (begin_again(i, a, now_ns))
			continue;
		if (!a->failed && !passed)
			i->out.pass(i->out.arg);
		passed |= !a->failed;
		answer(i, a);
	}
}

static void
ended(struct request *r, const struct err *err)
{
	struct asked *a = container_of(r, struct asked, r);

	if (a->i->closing) {
		waiting_free(a->again);
		mem_free(a);
		return;
	}
	a->failed = err != NULL;
	if (err)
		a->err = *err;
	list_push(&a->i->ended, &a->link);
}

/* NULL with err. */
static struct waiting *
copy(const struct station_request *q, const void *body, size_t bytes, const int *fds, size_t count,
     struct err *err)
{
	struct waiting *w = mem_zalloc(MEM_SCHEDULER, sizeof(*w) + bytes);

	if (!w) {
		err_set(err, ERR_NO_MEMORY, "no memory for a request");
		return NULL;
	}
	w->q = *q;
	w->bytes = bytes;
	if (bytes)
		memcpy(w->body, body, bytes);
	for (size_t n = 0; n < count && n < FDS_MAX; n++) {
		w->fds[n] = fcntl(fds[n], F_DUPFD_CLOEXEC, 0);
		if (w->fds[n] < 0) {
			err_sys(err, errno, "cannot keep a request");
			waiting_free(w);
			return NULL;
		}
		w->fds_count++;
	}
	return w;
}

static void
begin(struct intake *i, const struct station_request *q, const void *body, size_t bytes,
      const int *fds, size_t count, const struct waiting *before, uint64_t now_ns)
{
	struct asked *a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));
	struct err err = {0};

	if (!a) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a request");
		i->out.answer(i->out.arg, q, &err, NULL, 0);
		return;
	}
	a->i = i;
	a->q = *q;
	a->r.done = ended;
	/* What others have changed is on this machine, and perhaps not in memory yet. */
	if (model_is_shared(i->m)) {
		news_read(i->m);
		a->again = copy(q, body, bytes, fds, count, &err);
	}
	if (a->again) {
		a->again->tries = before ? before->tries + 1 : 1;
		a->again->until_ns = before ? before->until_ns : 0;
	}
	request_change(i->m, q->op, body, bytes, fds, count, &a->r);
	answer_ended(i, now_ns);
}

/* ---- waiting ---- */

static void
drop(struct intake *i, struct waiting *w)
{
	list_remove(&w->link);
	i->count--;
	waiting_free(w);
}

static int
keep(struct intake *i, const struct station_request *q, const void *body, size_t bytes,
     const int *fds, size_t count, struct err *err)
{
	if (i->count >= INTAKE_WAITING_MAX) {
		err_set(err, ERR_LIMIT, "%d changes wait for the store already",
			INTAKE_WAITING_MAX);
		return err_fix(err, "try again in a moment");
	}
	struct waiting *w = copy(q, body, bytes, fds, count, err);
	if (!w)
		return -1;
	list_push(&i->waiting, &w->link);
	i->count++;
	return 0;
}

/* It would be refused if it began: then it is refused now. */
static bool
must_wait(const struct intake *i)
{
	struct store_status status;

	if (holds(i))
		return true;
	if (!store_busy(i->m->store))
		return i->count > 0;
	store_status(i->m->store, &status);
	return status.writable;
}

void
intake_take(struct intake *i, const struct station_request *q, const void *body, size_t bytes,
	    const int *fds, size_t count)
{
	struct err err = {0};

	if (!must_wait(i))
		begin(i, q, body, bytes, fds, count, NULL, i->m->now_ns);
	else if (keep(i, q, body, bytes, fds, count, &err) < 0)
		i->out.answer(i->out.arg, q, &err, NULL, 0);
}

static void
expire(struct intake *i, uint64_t now_ns)
{
	struct list *it, *next;

	list_each (it, next, &i->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);
		struct err err = {0};

		if (w->q.deadline_mono_ns > now_ns)
			continue;
		err_set(&err, ERR_TIMEOUT, "the store had no time for this change");
		err_why(&err, "others were under way; nothing was changed");
		i->out.answer(i->out.arg, &w->q, &err, NULL, 0);
		drop(i, w);
	}
}

static struct waiting *
next(const struct intake *i, uint64_t now_ns)
{
	struct list *it, *after;

	list_each (it, after, &i->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		if (w->at_ns <= now_ns)
			return w;
	}
	return NULL;
}

void
intake_run(struct intake *i, uint64_t now_ns)
{
	struct waiting *w;

	answer_ended(i, now_ns);
	expire(i, now_ns);
	while (!store_busy(i->m->store) && !holds(i) && (w = next(i, now_ns))) {
		list_remove(&w->link);
		i->count--;
		begin(i, &w->q, w->body, w->bytes, w->fds, w->fds_count, w, now_ns);
		waiting_free(w);
	}
}

uint64_t
intake_due_ns(const struct intake *i)
{
	struct list *it, *next;
	uint64_t due_ns = 0;

	if (!i->m)
		return 0;
	list_each (it, next, &i->waiting) {
		const struct waiting *w = container_of(it, struct waiting, link);
		uint64_t at_ns = w->at_ns ? w->at_ns : w->q.deadline_mono_ns;

		if (!due_ns || at_ns < due_ns)
			due_ns = at_ns;
	}
	return due_ns;
}

void
intake_init(struct intake *i, struct model *m, const struct intake_out *out)
{
	memset(i, 0, sizeof(*i));
	i->m = m;
	i->out = *out;
	list_init(&i->waiting);
	list_init(&i->ended);
}

void
intake_close(struct intake *i)
{
	struct list *it, *next;

	i->closing = true;
	answer_ended(i, 0);
	list_each (it, next, &i->waiting)
		drop(i, container_of(it, struct waiting, link));
}
