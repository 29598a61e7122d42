/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a request.
 *
 *   begin:   checked, routed (admit.h), its new head written once and kept until an answer begins
 *   waiting: for a replica of a service that sleeps (demand.h)
 *   sending: a replica is chosen (balance.h), a connection taken or made, head and body sent;
 *            perhaps another replica after it (stream_send.c)
 *   answer:  the answer's head goes to the session, then its body, as it comes (stream_answer.c)
 *   end:     the connection goes back to its pool, the request is counted and logged
 *
 * Whatever ends a request early ends it here, once: stream_finish().
 */

#include "proxy/stream_private.h"

#include "base/mem.h"
#include "proxy/admit.h"
#include "proxy/worker.h"
#include "wire/ws.h"

enum { BODY_KEEP_MAX = 1 << 20 };

static void on_timeout(struct wheel_timer *t);

/* ---- the beginning and the end ---- */

struct stream *
stream_new(struct worker *w, const struct stream_ops *ops, void *session)
{
	struct stream *s = mem_zalloc(MEM_PROXY, sizeof(*s));

	if (!s)
		return NULL;
	s->w = w;
	s->ops = ops;
	s->session = session;
	s->started_ns = uv_hrtime();
	s->wall_ns = w->random.world.wall_ns;
	s->body_kept = true;
	list_init(&s->link);
	buf_init(&s->body, MEM_PROXY, BODY_KEEP_MAX);
	wheel_timer_init(&s->timer, on_timeout);
	demand_wait_init(&s->wait, stream_woken);
	forward_id(&w->random.world, s->id);
	w->requests++;
	return s;
}

void
stream_sweep(struct worker *w)
{
	while (!list_empty(&w->dead_streams)) {
		struct stream *s = container_of(w->dead_streams.next, struct stream, link);

		list_remove(&s->link);
		buf_fini(&s->body);
		mem_free(s->head);
		mem_free(s);
	}
}

void
stream_deadline(struct stream *s, uint64_t ms)
{
	wheel_set(&s->w->wheel, &s->timer, worker_now_ms(s->w) + ms);
	worker_wake_tick(s->w);
}

void
stream_leave_backend(struct stream *s)
{
	if (s->counted) {
		balance_end(&s->backend->load);
		if (s->tunnel && s->backend->load.upgraded > 0)
			s->backend->load.upgraded--;
	}
	s->counted = false;
	if (s->backend)
		backend_unref(s->backend);
	s->backend = NULL;
}

static void
leave_upstream(struct stream *s, bool keep)
{
	struct upstream *u = s->up;

	s->up = NULL;
	if (u && keep)
		upstream_release(u, true);
	else if (u)
		upstream_close(u);
}

static void
account(struct stream *s, uint64_t replica)
{
	uint64_t now = uv_hrtime();
	struct account_request r = {
		.route = s->route,
		.series = s->series,
		.method = s->method,
		.status = s->status,
		.protocol = s->protocol,
		.tls = s->tls,
		.cut = s->cut,
		.wall_ns = s->wall_ns,
		.duration_ns = now - s->started_ns,
		.upstream_ns = s->answered_ns > s->sent_ns ? s->answered_ns - s->sent_ns : 0,
		.request_bytes = s->bytes_in,
		.response_bytes = s->bytes_out,
		.replica = replica,
		.client = s->client,
	};

	if (s->head) {
		r.host = s->head + s->spans.host.at;
		r.host_length = s->spans.host.length;
		r.path = s->head + s->spans.path.at;
		r.path_length = s->spans.path.length;
		r.agent = s->head + s->spans.agent.at;
		r.agent_length = s->spans.agent.length;
	}
	r.id = s->id;
	r.id_length = FORWARD_ID_BYTES - 1;
	account_done(&s->w->account, &r);
	s->w->log_pending = true;
	worker_wake_tick(s->w);
}

void
stream_drop_body(struct stream *s)
{
	s->body_kept = false;
	buf_fini(&s->body);
	buf_init(&s->body, MEM_PROXY, BODY_KEEP_MAX);
}

void
stream_finish(struct stream *s, bool keep_upstream)
{
	uint64_t replica = s->backend ? s->backend->row.replica : 0;

	if (s->state == STATE_DONE)
		return;
	s->state = STATE_DONE;
	s->session = NULL;
	wheel_clear(&s->w->wheel, &s->timer);
	leave_upstream(s, keep_upstream);
	stream_leave_backend(s);
	demand_stop(&s->w->demand, &s->wait);
	if (s->demand)
		demand_leave(s->demand);
	account_in_flight(s->series, -1);
	account(s, replica);
	router_unref(s->router);
	s->router = NULL;
	list_push(&s->w->dead_streams, &s->link);
}

/* A tunnel has no length that could be missed: for the client it ends. */
void
stream_cut(struct stream *s)
{
	s->cut = true;
	if (s->tunnel)
		s->ops->end(s->session, NULL, 0);
	else
		s->ops->abort(s->session);
	stream_finish(s, false);
}

void
stream_cancel(struct stream *s)
{
	if (s->state == STATE_DONE)
		return;
	s->session = NULL;
	s->cut = true;
	if (s->status == 0)
		s->status = 499;
	stream_finish(s, false);
}

/* ---- answers of our own ---- */

void
stream_give_back(struct stream *s)
{
	size_t n = s->unconsumed;

	s->unconsumed = 0;
	if (n > 0 && s->session)
		s->ops->consumed(s->session, n);
}

static void
reply_with(struct stream *s, const struct reply *why, const char *accept, size_t accept_length,
	   const char *location)
{
	struct reply_answer own;
	struct stream_answer a = {
		.status = why->status, .has_length = true, .has_body = s->method != HTTP_HEAD};
	void *session = s->session;

	reply_answer(why, s->id, s->w->random.world.wall_ns / 1000000000, accept, accept_length,
		     location, &own);
	s->status = (uint16_t)why->status;
	s->state = STATE_ANSWERING;
	if (why->reason)
		account_rejected(&s->w->account, s->route, why->reason);
	leave_upstream(s, false);
	stream_give_back(s);
	a.fields = own.fields;
	a.count = own.count;
	a.length = own.text.length;
	s->ops->answer(session, &a);
	if (s->session && a.has_body) {
		s->bytes_out = own.text.length;
		s->ops->data(session, own.text.body, own.text.length);
	}
	if (s->session) {
		s->ops->end(session, NULL, 0);
		stream_finish(s, false);
	}
}

void
stream_reply(struct stream *s, const struct reply *why)
{
	const char *accept = NULL;
	size_t length = 0;

	/* The request's own fields are gone; its Accept is in the head that was written. */
	if (s->head)
		accept = reply_accept(s->head, s->head_bytes, &length);
	reply_with(s, why, accept, length, NULL);
}

/* ---- beginning ---- */

static const struct reply redirect = {308, "use https", NULL, 0};

static void
note_request(struct stream *s, const struct forward_request *r)
{
	s->method = r->method;
	s->protocol = r->protocol;
	s->tls = r->tls;
	s->h2 = r->h2;
	s->client = r->client;
	s->framing = r->body;
	s->websocket = r->websocket;
	s->request_ended = !r->websocket && (r->body == FORWARD_NO_BODY ||
					     (r->body == FORWARD_LENGTH && r->content_length == 0));
}

static void
reply_now(struct stream *s, const struct forward_request *r, const struct reply *why,
	  const char *location)
{
	const struct http_field *f = http_field_find(r->fields, r->count, HEADER_ACCEPT);

	/* Only for the access log: no memory for it is no reason to fail. */
	s->head_bytes = forward_put_words(r, s->w->scratch, sizeof(s->w->scratch), &s->spans);
	s->head = s->head_bytes ? mem_dup(MEM_PROXY, s->w->scratch, s->head_bytes) : NULL;
	reply_with(s, why, f ? r->text + f->value : NULL, f ? f->value_length : 0, location);
}

void
stream_refuse(struct stream *s, const struct forward_request *r, const struct reply *why)
{
	note_request(s, r);
	reply_now(s, r, why, NULL);
}

static void
unrouted(struct stream *s, const struct forward_request *r, const struct admit *a)
{
	if (a->to_https &&
	    reply_put_location(r, s->w->https_port, s->w->scratch, sizeof(s->w->scratch))) {
		/* The session writes its head into the scratch: the location must not be there. */
		char *location = mem_strdup(MEM_PROXY, s->w->scratch);

		account_unrouted(&s->w->account, "redirect");
		reply_now(s, r, location ? &redirect : &reply_no_memory, location);
		mem_free(location);
		return;
	}
	account_unrouted(&s->w->account, s->w->router ? "no_route" : "no_routes");
	reply_now(s, r, a->why, NULL);
}

static bool
write_head(struct stream *s, const struct forward_request *r)
{
	uint8_t raw[16];

	if (r->websocket && r->h2) {
		world_random(&s->w->random.world, raw, sizeof(raw));
		ws_key(raw, s->ws_key);
	}
	s->head_bytes = forward_put_request(r, s->route, s->id, s->ws_key, s->w->scratch,
					    sizeof(s->w->scratch), &s->spans);
	if (s->head_bytes == 0)
		return false;
	s->head = mem_dup(MEM_PROXY, s->w->scratch, s->head_bytes);
	return s->head != NULL;
}

void
stream_begin(struct stream *s, const struct forward_request *r, bool expect_continue)
{
	struct admit a;

	note_request(s, r);
	admit_request(s->w->router, r, &a);
	if (a.unrouted) {
		unrouted(s, r, &a);
		return;
	}
	if (a.route) {
		s->route = a.route;
		s->router = router_ref(s->w->router);
		s->series = account_route(&s->w->account, &s->route->row);
		account_in_flight(s->series, 1);
	}
	if (!a.why && !write_head(s, r))
		a.why = &reply_header_too_large;
	if (a.why) {
		reply_now(s, r, a.why, NULL);
		return;
	}
	if (expect_continue && !s->request_ended)
		s->ops->interim(s->session, 100, NULL, 0);
	s->demand = demand_find(&s->w->demand, s->route->row.service);
	if (s->demand)
		demand_enter(s->demand);
	stream_try(s);
}

/* ---- time ---- */

static const struct reply gateway_timeout = {504, "the replica did not answer in time",
					     "gateway_timeout", 0};
static const struct reply slow_body = {408, "the request's body came too slowly", "slow_body", 0};

/* While the body comes and no answer has begun: at least so many bytes in this while, unless it is
 * the replica that holds them up. */
static bool
body_too_slow(struct stream *s)
{
	uint64_t got = s->bytes_in - s->progress_mark;

	s->progress_mark = s->bytes_in;
	return s->unconsumed == 0 &&
	       got < (uint64_t)WORKER_BODY_BYTES_PER_S * WORKER_BODY_GRACE_MS / 1000;
}

static void
on_timeout(struct wheel_timer *t)
{
	struct stream *s = container_of(t, struct stream, timer);
	struct upstream *u = s->up;

	switch ((enum stream_state)s->state) {
	case STATE_WAITING:
		stream_wait_over(s);
		break;
	case STATE_CONNECTING:
		s->up = NULL;
		if (u)
			upstream_close(u);
		stream_up_lost(s, UPSTREAM_REFUSED, false);
		break;
	case STATE_SENT:
		if (s->given_up && u) {
			s->given_up = false;
			s->up = NULL;
			upstream_close(u);
			stream_up_lost(s, UPSTREAM_DIED, true);
		} else if (s->request_ended || s->websocket) {
			stream_reply(s, &gateway_timeout);
		} else if (body_too_slow(s)) {
			stream_reply(s, &slow_body);
		} else {
			stream_deadline(s, WORKER_BODY_GRACE_MS);
		}
		break;
	case STATE_ANSWERING:
		s->cut = true;
		if (s->session)
			s->ops->abort(s->session);
		stream_finish(s, false);
		break;
	case STATE_NEW:
	case STATE_DONE:
		break;
	}
}
