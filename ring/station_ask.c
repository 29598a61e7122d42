/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and answers with their descriptors. The words go over the ring, the descriptors over the
 * leash, and either may come first: the half that is there waits for the other, in a list with a
 * limit and a deadline. An ask ends exactly once: answered, timed out, or refused before it began.
 * Its descriptors are kept until then, because an answerer that restarts is given them again.
 */
#include "ring/station_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"

struct station_ask_ {
	struct heap_item deadline;
	uint64_t id;
	uint16_t role, index;
	station_answer_fn done;
	void *arg;
	int fds[STATION_FDS_MAX];
	size_t count;
	/* An answer that waits for its descriptors. */
	struct ring_answer *answer;
};

/* Half of a request, or descriptors whose words have not come. */
struct waiting {
	struct list link;
	uint16_t role, index;
	bool is_answer;
	uint64_t id;
	uint64_t deadline_ns;
	struct ring_request *request; /* NULL: this is a delivery */
	int fds[STATION_FDS_MAX];
	size_t count;
};

static void
close_fds(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

static void
waiting_free(struct station *st, struct waiting *w)
{
	list_remove(&w->link);
	st->waiting_count--;
	close_fds(w->fds, w->count);
	mem_free(w->request);
	mem_free(w);
}

/* The oldest of the same process makes room: a peer that sends halves can neither fill our memory
 * nor push out what came from others. */
static void
waiting_make_room(struct station *st, uint16_t role, uint16_t index)
{
	struct waiting *oldest = NULL;
	struct list *it, *next;
	size_t count = 0;

	list_each (it, next, &st->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		if (w->role != role || w->index != index)
			continue;
		if (!oldest)
			oldest = w;
		count++;
	}
	if (count >= STATION_PENDING_PEER_MAX)
		waiting_free(st, oldest);
	else if (st->waiting_count >= STATION_PENDING_MAX)
		waiting_free(st, container_of(st->waiting.next, struct waiting, link));
}

static struct waiting *
waiting_new(struct station *st, uint16_t role, uint16_t index, uint64_t id)
{
	waiting_make_room(st, role, index);
	struct waiting *w = mem_zalloc(MEM_RING, sizeof(*w));
	if (!w)
		return NULL;
	w->role = role;
	w->index = index;
	w->id = id;
	w->deadline_ns = world_mono_ns() + STATION_PENDING_MS * UINT64_C(1000000);
	list_push(&st->waiting, &w->link);
	st->waiting_count++;
	return w;
}

static struct waiting *
waiting_find(struct station *st, uint16_t role, uint16_t index, uint64_t id, bool is_answer,
	     bool is_request)
{
	struct list *it, *next;

	list_each (it, next, &st->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		if (w->role == role && w->index == index && w->id == id &&
		    w->is_answer == is_answer && (w->request != NULL) == is_request)
			return w;
	}
	return NULL;
}

void
station_ask_init(struct station *st)
{
	map_init(&st->asks, MEM_RING);
	heap_init(&st->deadlines, MEM_RING);
	list_init(&st->waiting);
}

void
station_ask_count(struct station *st, uint32_t slots)
{
	struct metric_labels labels = {0};
	char ring[40];

	if (slots == 0)
		return;
	text_format(ring, sizeof(ring), "%s.%u", role_name(st->role->role), st->welcome.index);
	metric_label(&labels, "ring", ring);
	st->slots = slots;
	st->full = metrics_get(station_metrics(st), METRICS_RING_FULL, &labels);
	st->used = metrics_get(station_metrics(st), METRICS_RING_USED, &labels);
}

static void
show_used(struct station *st)
{
	if (st->used)
		metric_set(st->used, (int64_t)(map_count(&st->asks) * 1000 / st->slots));
}

static void
ask_free(struct station *st, struct station_ask_ *ask)
{
	heap_remove(&st->deadlines, &ask->deadline);
	map_remove_u64(&st->asks, ask->id);
	show_used(st);
	ring_ask_release(st->writer, ask->id);
	close_fds(ask->fds, ask->count);
	mem_free(ask->answer);
	mem_free(ask);
}

void
station_ask_fini(struct station *st)
{
	struct map_iter it = {0};
	struct list *at, *next;

	while (map_next(&st->asks, &it)) {
		struct station_ask_ *ask = it.value;

		close_fds(ask->fds, ask->count);
		mem_free(ask->answer);
		mem_free(ask);
	}
	map_fini(&st->asks);
	heap_fini(&st->deadlines);
	list_each (at, next, &st->waiting) {
		waiting_free(st, container_of(at, struct waiting, link));
	}
}

/* ---- asking ---- */

static void deadline_event(uv_timer_t *timer);

static void
arm_deadline(struct station *st)
{
	struct heap_item *first = heap_peek(&st->deadlines);

	if (!first) {
		uv_timer_stop(&st->deadline);
		return;
	}
	uint64_t now = world_mono_ns();
	uint64_t wait_ms = first->at > now ? (first->at - now) / 1000000 + 1 : 0;

	uv_timer_start(&st->deadline, deadline_event, wait_ms, 0);
}

static void
deadline_event(uv_timer_t *timer)
{
	station_ask_tick(timer->data, world_mono_ns());
}

static int
send_fds(struct station *st, uint16_t role, uint16_t index, uint64_t id, bool is_answer,
	 const int *fds, size_t count, struct err *err)
{
	struct leash_message m;

	leash_init(&m, LEASH_DELIVER);
	m.to_role = role;
	m.to_index = index;
	m.id = id;
	m.b = is_answer;
	return station_send(st, &m, fds, count, err);
}

static struct station_ask_ *
ask_new(const int *fds, size_t count, struct err *err)
{
	struct station_ask_ *ask = mem_zalloc(MEM_RING, sizeof(*ask));

	if (!ask) {
		err_set(err, ERR_NO_MEMORY, "no memory to ask another process");
		return NULL;
	}
	heap_item_init(&ask->deadline);
	for (; ask->count < count; ask->count++) {
		ask->fds[ask->count] = fcntl(fds[ask->count], F_DUPFD_CLOEXEC, 0);
		if (ask->fds[ask->count] < 0) {
			err_sys(err, errno, "cannot duplicate a descriptor");
			close_fds(ask->fds, ask->count);
			mem_free(ask);
			return NULL;
		}
	}
	return ask;
}

static int
refuse_full(struct station *st, uint16_t role, struct err *err)
{
	if (st->full)
		metric_add(st->full, 1);
	return err_set(err, ERR_LIMIT, "too many requests wait for the %s process",
		       role_name(role));
}

int
station_ask(struct station *st, uint16_t role, uint16_t index, uint16_t op, const void *body,
	    size_t bytes, const int *fds, size_t count, uint64_t timeout_ms, station_answer_fn done,
	    void *arg, struct err *err)
{
	assert(bytes <= RING_BODY_MAX && count <= STATION_FDS_MAX && role < ROLES_);
	if (!leash_reads(role, st->role->role) || !leash_reads(st->role->role, role))
		return err_set(err, ERR_INTERNAL, "the %s process may not ask the %s process",
			       role_name(st->role->role), role_name(role));
	uint64_t deadline = world_mono_ns() + timeout_ms * 1000000;
	struct station_ask_ *ask = ask_new(fds, count, err);

	if (!ask)
		return -1;
	ask->role = role;
	ask->index = index;
	ask->done = done;
	ask->arg = arg;
	if (count)
		op |= MSG_OP_FD;
	if (ring_ask(st->writer, role, index, op, deadline, body, bytes, &ask->id) != RING_OK) {
		close_fds(ask->fds, ask->count);
		mem_free(ask);
		return refuse_full(st, role, err);
	}
	if (map_put_u64(&st->asks, ask->id, ask) < 0 ||
	    heap_set(&st->deadlines, &ask->deadline, deadline) < 0) {
		ask_free(st, ask);
		return err_set(err, ERR_NO_MEMORY, "no memory to ask another process");
	}
	show_used(st);
	if (count && station_peer_there(st, role, index) &&
	    send_fds(st, role, index, ask->id, false, ask->fds, count, err) < 0) {
		ask_free(st, ask);
		return -1;
	}
	arm_deadline(st);
	station_kick(st);
	return 0;
}

/* Half an answer of the predecessor must not be paired with the successor's other half. */
void
station_ask_peer(struct station *st, uint16_t role, uint16_t index)
{
	struct map_iter it = {0};
	struct err err = {0};

	station_ask_gone(st, role, index);
	while (map_next(&st->asks, &it)) {
		struct station_ask_ *ask = it.value;

		if (ask->role != role || ask->index != index)
			continue;
		mem_free(ask->answer);
		ask->answer = NULL;
		if (ask->count &&
		    send_fds(st, role, index, ask->id, false, ask->fds, ask->count, &err) < 0)
			log_err(LOG_WARN, "a request's descriptors could not be sent again", &err);
	}
}

void
station_ask_gone(struct station *st, uint16_t role, uint16_t index)
{
	struct list *it, *next;

	list_each (it, next, &st->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		if (w->role == role && w->index == index)
			waiting_free(st, w);
	}
}

/* Calls back; nothing of the ask is touched after. */
static void
ask_end(struct station *st, struct station_ask_ *ask, const struct ring_answer *answer, int *fds,
	size_t count)
{
	struct station_ask_ copy = *ask;
	struct ring_answer *kept = ask->answer;
	struct err err = {0};
	uint16_t status = answer->status & (uint16_t)~MSG_ANSWER_FD;

	ask->answer = NULL;
	ask_free(st, ask);
	if (status)
		msg_err_from_body(status, answer->body, answer->bytes, &err);
	copy.done(copy.arg, status ? (int)err.kind : 0, &err, answer->body, answer->bytes, fds,
		  count);
	mem_free(kept);
}

static void
ask_fail(struct station *st, struct station_ask_ *ask, enum err_kind kind)
{
	struct station_ask_ copy = *ask;
	struct err err = {0};

	if (kind == ERR_UNREACHABLE)
		err_set(&err, kind, "the %s process of this node is not there",
			role_name(copy.role));
	else
		err_set(&err, kind, "the %s process of this node did not answer in time",
			role_name(copy.role));
	ask_free(st, ask);
	copy.done(copy.arg, (int)kind, &err, NULL, 0, NULL, 0);
}

static void
ask_answered(struct station *st, struct station_ask_ *ask, const struct ring_answer *answer)
{
	if (!(answer->status & MSG_ANSWER_FD)) {
		ask_end(st, ask, answer, NULL, 0);
		return;
	}
	struct waiting *w = waiting_find(st, ask->role, ask->index, ask->id, true, false);
	if (w) {
		int fds[STATION_FDS_MAX];
		size_t count = w->count;

		memcpy(fds, w->fds, sizeof(fds));
		w->count = 0;
		waiting_free(st, w);
		ask_end(st, ask, answer, fds, count);
		close_fds(fds, count);
		return;
	}
	if (!ask->answer)
		ask->answer = mem_dup(MEM_RING, answer, sizeof(*answer));
}

/* Answering may ask again, so the ids are collected first. */
static void
look_for_answers(struct station *st, struct ring_reader *reader)
{
	uint64_t ids[256];
	size_t count = 0;
	struct map_iter it = {0};

	while (map_next(&st->asks, &it) && count < sizeof(ids) / sizeof(ids[0])) {
		struct station_ask_ *ask = it.value;

		if (ask->role == ring_reader_role(reader) &&
		    ask->index == ring_reader_index(reader) && !ask->answer)
			ids[count++] = ask->id;
	}
	for (size_t i = 0; i < count && !st->leaving; i++) {
		static struct ring_answer answer;
		struct station_ask_ *ask = map_get_u64(&st->asks, ids[i]);

		if (ask && ring_answer_get(reader, st->role->role, st->welcome.index, ids[i],
					   &answer) == RING_OK) {
			struct ring_answer copy = answer;
			ask_answered(st, ask, &copy);
		}
	}
}

/* ---- being asked ---- */

static void
give_request(struct station *st, const struct ring_request *r, int *fds, size_t count)
{
	struct station_request request = {
		.role = r->role,
		.index = r->index,
		.op = r->op & (uint16_t)~MSG_OP_FD,
		.id = r->id,
		.deadline_mono_ns = r->deadline_mono_ns,
	};

	if (st->role->request) {
		st->role->request(st, &request, r->body, r->bytes, fds, count);
		return;
	}
	struct err err = {0};

	err_set(&err, ERR_UNSUPPORTED, "the %s process answers no requests",
		role_name(st->role->role));
	station_answer_err(st, &request, &err);
}

/* Descriptors will never come from a role that may not send any. */
static void
refuse_half(struct station *st, const struct ring_request *r)
{
	struct station_request request = {.role = r->role, .index = r->index, .id = r->id};
	struct err err = {0};

	err_set(&err, ERR_DENIED, "the %s process may not send descriptors", role_name(r->role));
	station_answer_err(st, &request, &err);
}

static void
take_request(struct station *st, const struct ring_request *r)
{
	if (!(r->op & MSG_OP_FD)) {
		give_request(st, r, NULL, 0);
		return;
	}
	if (!leash_allowed(r->role, st->role->role, LEASH_DELIVER)) {
		refuse_half(st, r);
		return;
	}
	struct waiting *w = waiting_find(st, r->role, r->index, r->id, false, false);
	if (w) {
		int fds[STATION_FDS_MAX];
		size_t count = w->count;

		memcpy(fds, w->fds, sizeof(fds));
		w->count = 0;
		waiting_free(st, w);
		give_request(st, r, fds, count);
		close_fds(fds, count);
		return;
	}
	w = waiting_new(st, r->role, r->index, r->id);
	if (w) {
		w->request = mem_dup(MEM_RING, r, sizeof(*r));
		if (!w->request)
			waiting_free(st, w);
	}
}

/* A peer that asks without end has its turn, no more. */
bool
station_ask_wake(struct station *st, struct ring_reader *reader)
{
	static struct ring_request request;

	look_for_answers(st, reader);
	for (unsigned n = 0; n < STATION_REQUESTS_TURN; n++) {
		if (st->leaving || ring_request_next(reader, st->role->role, st->welcome.index,
						     world_mono_ns(), &request) != RING_OK)
			return false;
		struct ring_request copy = request;

		copy.role = ring_reader_role(reader);
		copy.index = ring_reader_index(reader);
		take_request(st, &copy);
	}
	return true;
}

void
station_ask_deliver(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	bool is_answer = m->b != 0;

	if (is_answer) {
		struct station_ask_ *ask = map_get_u64(&st->asks, m->id);

		if (!ask || ask->role != m->from_role || ask->index != m->from_index)
			return;
		if (ask->answer) {
			ask_end(st, ask, ask->answer, fds, count);
			return;
		}
	} else {
		struct waiting *half =
			waiting_find(st, m->from_role, m->from_index, m->id, false, true);

		if (half) {
			struct ring_request *request = half->request;

			half->request = NULL;
			waiting_free(st, half);
			give_request(st, request, fds, count);
			mem_free(request);
			return;
		}
	}
	struct waiting *w = waiting_new(st, m->from_role, m->from_index, m->id);
	if (!w)
		return;
	w->is_answer = is_answer;
	for (size_t i = 0; i < count; i++)
		w->fds[i] = fd_take(&fds[i]);
	w->count = count;
}

void
station_ask_tick(struct station *st, uint64_t now_ns)
{
	struct list *it, *next;

	for (struct heap_item *item; (item = heap_peek(&st->deadlines)) && item->at <= now_ns;) {
		struct station_ask_ *ask = container_of(item, struct station_ask_, deadline);
		bool there = station_peer_there(st, ask->role, ask->index);

		ask_fail(st, ask, there ? ERR_TIMEOUT : ERR_UNREACHABLE);
	}
	list_each (it, next, &st->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		if (w->deadline_ns <= now_ns)
			waiting_free(st, w);
	}
	arm_deadline(st);
}

static void
put_answer(struct station *st, const struct station_request *request, uint16_t status,
	   const void *body, size_t bytes)
{
	enum ring_status rc = ring_answer(st->writer, request->role, request->index, request->id,
					  status, body, bytes);

	if (rc != RING_OK)
		log_event(LOG_WARN, "an answer found no place", log_u("role", request->role),
			  log_u("index", request->index), LOG_END);
	station_kick(st);
}

void
station_answer(struct station *st, const struct station_request *request, const void *body,
	       size_t bytes, const int *fds, size_t count)
{
	struct err err = {0};

	assert(bytes <= RING_BODY_MAX && count <= STATION_FDS_MAX);
	if (count &&
	    send_fds(st, request->role, request->index, request->id, true, fds, count, &err) < 0) {
		station_answer_err(st, request, &err);
		return;
	}
	put_answer(st, request, count ? MSG_ANSWER_FD : 0, body, bytes);
}

void
station_answer_err(struct station *st, const struct station_request *request, const struct err *err)
{
	uint8_t body[RING_BODY_MAX];
	size_t bytes = msg_err_body(err, body, sizeof(body));

	put_answer(st, request, (uint16_t)err->kind, body, bytes);
}
