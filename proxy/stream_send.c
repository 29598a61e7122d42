/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A request on its way to a replica: which one, over which connection, its head and body, and
 * another replica when that went wrong.
 *
 * Where there is none because the service sleeps, the request waits for it to wake (demand.h): its
 * head and what came of its body are kept, and no more than a session's mark of the body is read.
 *
 * A request is tried again when no byte of an answer was seen and it cannot have been carried out
 * twice: a refused connection always (another replica); a reused connection that died once, when
 * the method is idempotent and what was sent of the body is still kept (64 KiB). Other methods do
 * not use connections that were idle for a while, where that race happens. All that within the
 * service's budget (budget.h).
 */

#include "proxy/stream_private.h"

#include "proxy/worker.h"
#include "wire/http1_write.h"

enum { FRESH_ONLY_MS = 1000 /* for methods that must not be repeated */ };

/* ---- to a replica ---- */

static const struct reply no_replica = {503, "no replica of this service can answer now",
					"no_replica", 1};
static const struct reply no_budget = {503, "too many requests are being sent again",
				       "retry_budget", 1};

static struct backend *
choose(struct stream *s)
{
	struct service *service = backend_table_service(&s->w->backends, s->route->row.service);
	int i;

	if (!service)
		return NULL;
	i = balance_choose(service->loads, service->count, (enum msg_balance)s->route->row.balance,
			   s->tried, s->tried_count, &s->w->random.world, worker_now_ms(s->w),
			   &service->turn);
	return i < 0 ? NULL : service->backends[i];
}

/* A machine that is gone refuses nothing, and who waits for it for long could have been served. */
static uint64_t
connect_ms(const struct stream *s)
{
	const struct service *service = s->backend->service;
	bool other = service && s->attempts < WORKER_REQUEST_ATTEMPTS && s->body_kept &&
		     balance_has_other(service->loads, service->count, s->tried, s->tried_count,
				       &s->backend->load, worker_now_ms(s->w));

	return other ? WORKER_CONNECT_OTHER_MS : WORKER_CONNECT_MS;
}

static void
send_start(struct stream *s)
{
	uv_buf_t bufs[2] = {uv_buf_init(s->head, (unsigned)s->head_bytes),
			    uv_buf_init((char *)s->body.data, (unsigned)s->body.length)};

	s->state = STATE_SENT;
	s->sent_ns = uv_hrtime();
	upstream_expect(s->up, s->websocket ? HTTP_GET : s->method, s->websocket);
	/* A broken connection shows when it is read. */
	(void)upstream_send(s->up, bufs, s->body.length > 0 ? 2 : 1);
	if (s->body.length > WORKER_REPLAY_BYTES) {
		stream_drop_body(s);
	}
	s->progress_mark = s->bytes_in;
	stream_deadline(s, s->request_ended ? WORKER_ANSWER_MS : WORKER_BODY_GRACE_MS);
	if (upstream_pending(s->up) < WORKER_HIGH_BYTES)
		stream_give_back(s);
}

/* ---- waiting for a replica ---- */

static const struct reply too_many_wait = {
	503, "the service sleeps, and too many requests wait for it already", "wake_full", 5};
static const struct reply waited_long = {503, "the service sleeps, and did not wake in time",
					 "wake_late", 5};

void
stream_wait_over(struct stream *s)
{
	stream_reply(s, &waited_long);
}

static void
wait_for_one(struct stream *s)
{
	uint64_t waited_ms = (uv_hrtime() - s->started_ns) / 1000000;

	if (!s->demand || !(s->route->row.flags & MSG_ROUTE_SLEEPS)) {
		stream_reply(s, &no_replica);
		return;
	}
	if (waited_ms >= DEMAND_WAIT_MS) {
		stream_wait_over(s);
		return;
	}
	if (!demand_wait(&s->w->demand, s->demand, &s->wait)) {
		stream_reply(s, &too_many_wait);
		return;
	}
	s->state = STATE_WAITING;
	stream_deadline(s, DEMAND_WAIT_MS - waited_ms);
}

void
stream_woken(struct demand_wait *wait)
{
	stream_try(container_of(wait, struct stream, wait));
}

/* ---- to the one that was chosen ---- */

void
stream_try(struct stream *s)
{
	struct backend *b = choose(s);
	uint32_t index = s->route->row.endpoint_index;
	uint64_t idle_max = http_method_idempotent(s->method) && !s->websocket
				    ? WORKER_UPSTREAM_IDLE_MS
				    : FRESH_ONLY_MS;
	enum upstream_loss loss;

	if (!b) {
		wait_for_one(s);
		return;
	}
	if (index >= b->row.ports_count || b->row.ports[index] == 0) {
		stream_reply(s, &no_replica);
		return;
	}
	if (s->attempts++ == 0)
		budget_request(&b->service->retries, worker_now_ms(s->w));
	s->backend = b;
	backend_ref(b);
	balance_begin(&b->load);
	s->counted = true;
	s->state = STATE_CONNECTING;
	s->up = upstream_take(s->w, b, b->row.ports[index], s->retried ? 0 : idle_max, s, &loss);
	if (!s->up && loss == UPSTREAM_REFUSED) {
		stream_up_lost(s, loss, false);
		return;
	}
	if (!s->up) {
		stream_reply(s, &reply_no_memory);
		return;
	}
	if (upstream_connected(s->up))
		send_start(s);
	else
		stream_deadline(s, connect_ms(s));
}

void
stream_up_connected(struct stream *s)
{
	send_start(s);
}

/* ---- the request's body ---- */

static void
send_piece(struct stream *s, const char *data, size_t length)
{
	char head[HTTP1_CHUNK_HEAD_MAX], crlf[2] = {'\r', '\n'};
	bool chunked = s->framing == FORWARD_CHUNKED && !s->websocket;
	union {
		const char *in;
		char *out;
	} piece = {data};
	uv_buf_t bufs[3] = {
		uv_buf_init(head, chunked ? (unsigned)http1_write_chunk_head(length, head) : 0),
		uv_buf_init(piece.out, (unsigned)length),
		uv_buf_init(crlf, 2),
	};

	if (s->body_kept) {
		buf_put(&s->body, head, bufs[0].len);
		buf_put(&s->body, data, length);
		if (chunked)
			buf_put(&s->body, crlf, 2);
	}
	if (s->state < STATE_SENT)
		return;
	(void)upstream_send(s->up, chunked ? bufs : bufs + 1, chunked ? 3 : 1);
	if (s->body_kept && (!buf_ok(&s->body) || s->body.length > WORKER_REPLAY_BYTES)) {
		stream_drop_body(s);
	}
}

void
stream_body(struct stream *s, const char *data, size_t length)
{
	uint64_t max = s->route ? s->route->row.body_bytes_max : 0;

	if (s->state == STATE_DONE || length == 0)
		return;
	s->bytes_in += length;
	s->unconsumed += length;
	if (!s->up && s->state != STATE_WAITING) {
		stream_give_back(s);
		return;
	}
	if (max > 0 && s->bytes_in > max && !s->tunnel) {
		if (s->state < STATE_ANSWERING)
			stream_reply(s, &reply_too_large);
		else
			stream_cut(s);
		return;
	}
	send_piece(s, data, length);
	if (s->body_kept && !buf_ok(&s->body)) {
		stream_reply(s, &reply_no_memory);
		return;
	}
	if (s->tunnel)
		stream_deadline(s, WORKER_TUNNEL_IDLE_MS);
	else if (s->state == STATE_ANSWERING)
		stream_deadline(s, WORKER_STREAM_IDLE_MS);
	if (s->state >= STATE_SENT && upstream_pending(s->up) < WORKER_HIGH_BYTES)
		stream_give_back(s);
}

void
stream_body_end(struct stream *s, const char *trailers, size_t length)
{
	union {
		const char *in;
		char *out;
	} t = {trailers};
	char start[3] = {'0', '\r', '\n'}, end[2] = {'\r', '\n'};
	uv_buf_t bufs[3] = {uv_buf_init(start, 3), uv_buf_init(t.out, (unsigned)length),
			    uv_buf_init(end, 2)};

	if (s->state == STATE_DONE || s->request_ended)
		return;
	s->request_ended = true;
	if (s->state == STATE_SENT)
		stream_deadline(s, WORKER_ANSWER_MS);
	if (s->state == STATE_WAITING && s->websocket) {
		stream_reply(s, &no_replica); /* nobody would speak to it */
		return;
	}
	if (!s->up && s->state != STATE_WAITING)
		return;
	if (s->websocket) {
		upstream_shut(s->up);
		return;
	}
	if (s->framing != FORWARD_CHUNKED)
		return;
	if (s->body_kept) {
		buf_put(&s->body, start, 3);
		buf_put(&s->body, trailers, length);
		buf_put(&s->body, end, 2);
	}
	if (s->state >= STATE_SENT)
		(void)upstream_send(s->up, bufs, 3);
}

void
stream_up_writable(struct stream *s)
{
	stream_give_back(s);
}

/* ---- another replica ---- */

static bool
may_retry(const struct stream *s, enum upstream_loss loss, bool reused)
{
	if (s->attempts >= WORKER_REQUEST_ATTEMPTS || !s->body_kept)
		return false;
	if (loss == UPSTREAM_REFUSED)
		return true;
	return loss == UPSTREAM_DIED && reused && !s->retried && http_method_idempotent(s->method);
}

bool
stream_may_repeat(const struct stream *s)
{
	return s->state == STATE_SENT && s->request_ended && may_retry(s, UPSTREAM_DIED, true);
}

void
stream_give_up(struct stream *s)
{
	s->given_up = true;
	stream_deadline(s, 0);
}

/* A service that is gone has no replica that could be asked again. */
static bool
may_spend(struct stream *s)
{
	struct service *service = s->backend->service;

	return !service || budget_retry(&service->retries, worker_now_ms(s->w));
}

static void
note_failure(struct stream *s, enum upstream_loss loss, bool reused)
{
	struct backend *b = s->backend;

	if (loss == UPSTREAM_NO_MEMORY || (loss == UPSTREAM_DIED && reused))
		return;
	if (balance_failed(&b->load, loss == UPSTREAM_REFUSED,
			   backend_spare(b, worker_now_ms(s->w)), worker_now_ms(s->w)))
		account_ejection(&s->w->account, s->route->row.service_label);
}

void
stream_up_lost(struct stream *s, enum upstream_loss loss, bool reused)
{
	bool again = s->state < STATE_ANSWERING && may_retry(s, loss, reused);

	s->up = NULL;
	if (s->state == STATE_DONE)
		return;
	note_failure(s, loss, reused);
	if (s->state == STATE_ANSWERING) {
		stream_cut(s);
		return;
	}
	if (!again) {
		stream_reply(s, loss == UPSTREAM_REFUSED ? &no_replica : &reply_bad_gateway);
		return;
	}
	if (!may_spend(s)) {
		stream_reply(s, &no_budget);
		return;
	}
	account_retry(&s->w->account, s->route,
		      loss == UPSTREAM_REFUSED ? "connect" : "reused_connection");
	s->retried = s->retried || loss != UPSTREAM_REFUSED;
	if (loss == UPSTREAM_REFUSED && s->tried_count < BALANCE_TRIED_MAX)
		s->tried[s->tried_count++] = &s->backend->load;
	stream_leave_backend(s);
	stream_try(s);
}
