/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a request.
 *
 *   begin:   checked, routed, its new head written once and kept until an answer begins
 *   sending: a replica is chosen (balance.h), a connection taken or made, head and body sent
 *   answer:  the answer's head goes to the session, then its body, as it comes
 *   end:     the connection goes back to its pool, the request is counted and logged
 *
 * A request is tried again when no byte of an answer was seen and it cannot have been carried out
 * twice: a refused connection always (another replica); a reused connection that died once, when
 * the method is idempotent and what was sent of the body is still kept (64 KiB). Other methods do
 * not use connections that were idle for a while, where that race happens. All that within the
 * service's budget (budget.h).
 *
 * Whatever ends a request early ends it here, once: finish().
 */

#include "proxy/stream.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "proxy/worker.h"
#include "wire/http1_write.h"
#include "wire/ws.h"

enum state { STATE_NEW, STATE_CONNECTING, STATE_SENT, STATE_ANSWERING, STATE_DONE };

enum {
	FRESH_ONLY_MS = 1000, /* for methods that must not be repeated */
	BODY_KEEP_MAX = 1 << 20,
};

struct stream {
	struct list link; /* of the dead */
	struct worker *w;
	const struct stream_ops *ops;
	void *session; /* NULL: the two do not know each other any more */
	struct router *router;
	const struct route *route;
	struct account_route *series;
	struct backend *backend;
	struct upstream *up;
	struct wheel_timer timer;
	uint64_t started_ns, sent_ns, answered_ns;
	int64_t wall_ns;
	uint64_t bytes_in, bytes_out, progress_mark;
	char *head;
	size_t head_bytes;
	struct forward_spans spans;
	struct buf body;   /* encoded: waits for a connection, or is kept for another try */
	size_t unconsumed; /* of the session's bytes */
	const struct balance_replica *tried[BALANCE_TRIED_MAX];
	size_t tried_count;
	uint16_t status;
	uint8_t state;
	uint8_t protocol;
	uint8_t attempts;
	enum http_method method;
	enum forward_body framing;
	struct addr client;
	bool tls, h2, websocket, tunnel;
	bool body_kept; /* all that was sent is in body */
	bool request_ended;
	bool retried;
	bool up_paused;
	bool counted; /* in the backend's load */
	bool cut;
	char id[FORWARD_ID_BYTES];
	char ws_key[WS_KEY_BYTES];
};

static void try_backend(struct stream *s);
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

static void
deadline(struct stream *s, uint64_t ms)
{
	wheel_set(&s->w->wheel, &s->timer, worker_now_ms(s->w) + ms);
	worker_wake_tick(s->w);
}

static void
leave_backend(struct stream *s)
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

static void
finish(struct stream *s, bool keep_upstream)
{
	uint64_t replica = s->backend ? s->backend->row.replica : 0;

	if (s->state == STATE_DONE)
		return;
	s->state = STATE_DONE;
	s->session = NULL;
	wheel_clear(&s->w->wheel, &s->timer);
	leave_upstream(s, keep_upstream);
	leave_backend(s);
	account_in_flight(s->series, -1);
	account(s, replica);
	router_unref(s->router);
	s->router = NULL;
	list_push(&s->w->dead_streams, &s->link);
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
	finish(s, false);
}

bool
stream_answering(const struct stream *s)
{
	return s->state >= STATE_ANSWERING;
}

/* ---- answers of our own ---- */

static void
give_back(struct stream *s)
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
	struct reply_text text;
	struct h2_header fields[5];
	char retry[12], date[HTTP_DATE_BYTES];
	struct stream_answer a = {.status = why->status, .fields = fields, .has_length = true};
	void *session = s->session;

	reply_put(why, s->id, accept, accept_length, &text);
	http_date(s->w->random.world.wall_ns / 1000000000, date);
	fields[a.count++] = (struct h2_header){"content-type", 12, text.type, strlen(text.type)};
	fields[a.count++] = (struct h2_header){"date", 4, date, HTTP_DATE_BYTES - 1};
	fields[a.count++] = (struct h2_header){"x-request-id", 12, s->id, FORWARD_ID_BYTES - 1};
	if (location)
		fields[a.count++] = (struct h2_header){"location", 8, location, strlen(location)};
	if (why->retry_after_s > 0) {
		text_format(retry, sizeof(retry), "%u", why->retry_after_s);
		fields[a.count++] = (struct h2_header){"retry-after", 11, retry, strlen(retry)};
	}
	s->status = (uint16_t)why->status;
	s->state = STATE_ANSWERING;
	if (why->reason)
		account_rejected(&s->w->account, s->route, why->reason);
	leave_upstream(s, false);
	give_back(s);
	a.length = text.length;
	a.has_body = s->method != HTTP_HEAD;
	s->ops->answer(session, &a);
	if (s->session && a.has_body) {
		s->bytes_out = text.length;
		s->ops->data(session, text.body, text.length);
	}
	if (s->session) {
		s->ops->end(session, NULL, 0);
		finish(s, false);
	}
}

static void
reply(struct stream *s, const struct reply *why)
{
	size_t at = 0, n = 0;
	const char *accept = NULL;

	/* The request's own fields are gone; its Accept is in the head that was written. */
	if (s->head) {
		accept = memmem(s->head, s->head_bytes, "\naccept: ", 9);
		if (!accept)
			accept = memmem(s->head, s->head_bytes, "\nAccept: ", 9);
		if (accept) {
			const char *end;

			at = (size_t)(accept + 9 - s->head);
			end = memchr(s->head + at, '\r', s->head_bytes - at);
			n = end ? (size_t)(end - s->head) - at : 0;
		}
	}
	reply_with(s, why, accept ? s->head + at : NULL, n, NULL);
}

static const struct reply no_replica = {503, "no replica of this service can answer now",
					"no_replica", 1};
static const struct reply no_budget = {503, "too many requests are being sent again",
				       "retry_budget", 1};
static const struct reply bad_gateway = {502, "the replica did not answer properly", "bad_gateway",
					 0};
static const struct reply gateway_timeout = {504, "the replica did not answer in time",
					     "gateway_timeout", 0};
static const struct reply slow_body = {408, "the request's body came too slowly", "slow_body", 0};
static const struct reply too_large = {413, "the request's body is too large", "body_size", 0};
static const struct reply no_memory = {503, "out of memory", "memory", 1};
static const struct reply header_too_large = {431, "the request's header is too large",
					      "header_size", 0};
static const struct reply not_admitted = {403, "this address may not use this endpoint", "address",
					  0};
static const struct reply no_route = {404, "no endpoint has this host and path", NULL, 0};
static const struct reply bad_method = {405, "this method is not served", "method", 0};
static const struct reply redirect = {308, "use https", NULL, 0};

/* ---- beginning ---- */

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

/* NULL: none; *to_https: a more specific route is served over https only. */
static const struct route *
find_route(struct stream *s, const struct forward_request *r, const char *host, bool *to_https)
{
	struct router_query q = {.host = host,
				 .path = r->asterisk ? "/" : r->path,
				 .path_length = r->asterisk ? 1 : r->path_length,
				 .tls = r->tls,
				 .websocket = r->websocket};
	const struct route *elsewhere = NULL, *found = NULL;

	if (s->w->router)
		found = router_find(s->w->router, &q, r->tls ? NULL : &elsewhere);
	*to_https = elsewhere != NULL && r->authority.length > 0;
	return *to_https ? NULL : found;
}

static void
fold_host(const struct forward_request *r, char *out, size_t cap)
{
	struct url_authority a;

	out[0] = '\0';
	if (r->authority.length > 0 &&
	    url_authority_parse(r->text + r->authority.at, r->authority.length, &a))
		(void)url_host_fold(a.host, a.host_length, out, cap);
}

static void
unrouted(struct stream *s, const struct forward_request *r, bool to_https)
{
	if (to_https &&
	    reply_put_location(r, s->w->https_port, s->w->scratch, sizeof(s->w->scratch))) {
		/* The session writes its head into the scratch: the location must not be there. */
		char *location = mem_strdup(MEM_PROXY, s->w->scratch);

		account_unrouted(&s->w->account, "redirect");
		reply_now(s, r, location ? &redirect : &no_memory, location);
		mem_free(location);
		return;
	}
	account_unrouted(&s->w->account, s->w->router ? "no_route" : "no_routes");
	reply_now(s, r, &no_route, NULL);
}

static size_t
header_bytes(const struct forward_request *r)
{
	size_t n = r->path_length + r->query_length;

	for (size_t i = 0; i < r->count; i++)
		n += r->fields[i].name_length + r->fields[i].value_length + 4u;
	return n;
}

static const struct reply *
why_not(const struct stream *s, const struct forward_request *r)
{
	const struct msg_route *row = &s->route->row;

	if (!router_admits(s->route, &r->client))
		return &not_admitted;
	if (row->header_bytes_max > 0 && header_bytes(r) > row->header_bytes_max)
		return &header_too_large;
	if (row->body_bytes_max > 0 && r->body == FORWARD_LENGTH &&
	    r->content_length > row->body_bytes_max)
		return &too_large;
	return NULL;
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
	char host[MSG_HOST];
	const struct reply *why;
	bool to_https;

	note_request(s, r);
	if ((r->method == HTTP_CONNECT && !r->websocket) || r->method == HTTP_TRACE) {
		reply_now(s, r, &bad_method, NULL);
		return;
	}
	fold_host(r, host, sizeof(host));
	s->route = find_route(s, r, host, &to_https);
	if (!s->route) {
		unrouted(s, r, to_https);
		return;
	}
	s->router = router_ref(s->w->router);
	s->series = account_route(&s->w->account, &s->route->row);
	account_in_flight(s->series, 1);
	why = why_not(s, r);
	if (!why && !write_head(s, r))
		why = &header_too_large;
	if (why) {
		reply_now(s, r, why, NULL);
		return;
	}
	if (expect_continue && !s->request_ended)
		s->ops->interim(s->session, 100, NULL, 0);
	try_backend(s);
}

/* ---- sending ---- */

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
		s->body_kept = false;
		buf_fini(&s->body);
		buf_init(&s->body, MEM_PROXY, BODY_KEEP_MAX);
	}
	s->progress_mark = s->bytes_in;
	deadline(s, s->request_ended ? WORKER_ANSWER_MS : WORKER_BODY_GRACE_MS);
	if (upstream_pending(s->up) < WORKER_HIGH_BYTES)
		give_back(s);
}

static void
try_backend(struct stream *s)
{
	struct backend *b = choose(s);
	uint32_t index = s->route->row.endpoint_index;
	uint64_t idle_max = http_method_idempotent(s->method) && !s->websocket
				    ? WORKER_UPSTREAM_IDLE_MS
				    : FRESH_ONLY_MS;
	enum upstream_loss loss;

	if (!b || index >= b->row.ports_count || b->row.ports[index] == 0) {
		reply(s, &no_replica);
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
		reply(s, &no_memory);
		return;
	}
	if (upstream_connected(s->up))
		send_start(s);
	else
		deadline(s, WORKER_CONNECT_MS);
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
		s->body_kept = false;
		buf_fini(&s->body);
		buf_init(&s->body, MEM_PROXY, BODY_KEEP_MAX);
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
	if (!s->up) {
		give_back(s);
		return;
	}
	if (max > 0 && s->bytes_in > max && !s->tunnel) {
		if (s->state < STATE_ANSWERING) {
			reply(s, &too_large);
		} else {
			void *session = s->session;

			s->cut = true;
			s->ops->abort(session);
			finish(s, false);
		}
		return;
	}
	send_piece(s, data, length);
	if (s->body_kept && !buf_ok(&s->body)) {
		reply(s, &no_memory);
		return;
	}
	if (s->tunnel)
		deadline(s, WORKER_TUNNEL_IDLE_MS);
	else if (s->state == STATE_ANSWERING)
		deadline(s, WORKER_STREAM_IDLE_MS);
	if (s->state >= STATE_SENT && upstream_pending(s->up) < WORKER_HIGH_BYTES)
		give_back(s);
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
		deadline(s, WORKER_ANSWER_MS);
	if (!s->up)
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
	give_back(s);
}

/* ---- the answer ---- */

void
stream_up_interim(struct stream *s, const struct http1_head *head, const char *data)
{
	struct forward_answer *a = &s->w->answer;

	/* We have answered Expect ourselves; 102 is of no use to anybody. */
	if (head->status == 100 || head->status == 102 || s->protocol == 10)
		return;
	if (forward_answer_fields(head, data, s->id, false, 0, a) == 0)
		s->ops->interim(s->session, head->status, a->fields, a->count);
}

static void
note_answer(struct stream *s, const struct http1_head *head)
{
	s->answered_ns = uv_hrtime();
	s->status = head->status;
	s->state = STATE_ANSWERING;
	s->body_kept = false;
	buf_fini(&s->body);
	buf_init(&s->body, MEM_PROXY, BODY_KEEP_MAX);
	if (head->status >= 502 && head->status <= 504) {
		if (balance_failed(&s->backend->load, false,
				   backend_spare(s->backend, worker_now_ms(s->w)),
				   worker_now_ms(s->w)))
			account_ejection(&s->w->account, s->route->row.service_label);
	} else {
		balance_answered(&s->backend->load, s->answered_ns - s->sent_ns);
	}
}

static void
begin_tunnel(struct stream *s)
{
	s->tunnel = true;
	s->backend->load.upgraded++;
	deadline(s, WORKER_TUNNEL_IDLE_MS);
}

/* RFC 8441: the client has no key of its own to check, so the answer to ours is checked here. */
static bool
accepted_our_key(const struct stream *s, const struct http1_head *head, const char *data)
{
	char want[WS_ACCEPT_BYTES];
	size_t n;
	const char *got = http1_head_value(head, data, HEADER_SEC_WEBSOCKET_ACCEPT, &n);

	return ws_accept(s->ws_key, WS_KEY_BYTES - 1, want) && got && n == WS_ACCEPT_BYTES - 1 &&
	       memcmp(got, want, n) == 0;
}

void
stream_up_answer(struct stream *s, const struct http1_head *head, const char *data,
		 enum http1_framing framing)
{
	struct forward_answer *a = &s->w->answer;
	bool hsts = s->tls && !(s->route->row.flags & MSG_ROUTE_PLAIN);
	struct stream_answer out = {.status = head->status, .tunnel = framing == HTTP1_TUNNEL};

	if ((out.tunnel && (head->status != 101 || !head->upgrade_websocket ||
			    (s->h2 && !accepted_our_key(s, head, data)))) ||
	    forward_answer_fields(head, data, s->id, hsts, s->w->random.world.wall_ns / 1000000000,
				  a)) {
		reply(s, &bad_gateway);
		return;
	}
	note_answer(s, head);
	out.fields = a->fields;
	out.count = a->count;
	out.has_body = framing != HTTP1_NO_BODY;
	out.has_length = head->has_length && framing != HTTP1_TUNNEL && head->status >= 200 &&
			 head->status != 204;
	out.length = head->content_length;
	/* No length and no body: for a client that is a body of length 0. */
	if (!out.has_body && !out.has_length && s->method != HTTP_HEAD && head->status != 204 &&
	    head->status != 304)
		out.has_length = true;
	if (out.tunnel)
		begin_tunnel(s);
	else
		deadline(s, WORKER_STREAM_IDLE_MS);
	s->ops->answer(s->session, &out);
}

void
stream_up_data(struct stream *s, const char *data, size_t length)
{
	if (!s->session)
		return;
	s->bytes_out += length;
	deadline(s, s->tunnel ? WORKER_TUNNEL_IDLE_MS : WORKER_STREAM_IDLE_MS);
	s->ops->data(s->session, data, length);
	if (s->session && s->up && !s->up_paused &&
	    s->ops->pending(s->session) > WORKER_HIGH_BYTES) {
		s->up_paused = true;
		upstream_pause(s->up);
	}
}

void
stream_writable(struct stream *s)
{
	if (!s->up_paused || !s->session || !s->up ||
	    s->ops->pending(s->session) > WORKER_LOW_BYTES)
		return;
	s->up_paused = false;
	upstream_resume(s->up);
}

void
stream_up_end(struct stream *s, const char *trailers, const struct http_field *fields, size_t count)
{
	struct h2_header headers[HTTP1_TRAILERS_MAX];
	void *session = s->session;

	for (size_t i = 0; i < count; i++)
		headers[i] = (struct h2_header){trailers + fields[i].name, fields[i].name_length,
						trailers + fields[i].value, fields[i].value_length};
	give_back(s);
	if (s->session)
		s->ops->end(session, headers, count);
	finish(s, s->request_ended && !s->tunnel);
}

/* ---- what goes wrong ---- */

static bool
may_retry(const struct stream *s, enum upstream_loss loss, bool reused)
{
	if (s->attempts >= WORKER_ATTEMPTS || !s->body_kept)
		return false;
	if (loss == UPSTREAM_REFUSED)
		return true;
	return loss == UPSTREAM_DIED && reused && !s->retried && http_method_idempotent(s->method);
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
		void *session = s->session;

		s->cut = true;
		if (s->tunnel)
			s->ops->end(session, NULL, 0);
		else
			s->ops->abort(session);
		finish(s, false);
		return;
	}
	if (!again) {
		reply(s, loss == UPSTREAM_REFUSED ? &no_replica : &bad_gateway);
		return;
	}
	if (!may_spend(s)) {
		reply(s, &no_budget);
		return;
	}
	account_retry(&s->w->account, s->route,
		      loss == UPSTREAM_REFUSED ? "connect" : "reused_connection");
	s->retried = s->retried || loss != UPSTREAM_REFUSED;
	if (loss == UPSTREAM_REFUSED && s->tried_count < BALANCE_TRIED_MAX)
		s->tried[s->tried_count++] = &s->backend->load;
	leave_backend(s);
	try_backend(s);
}

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

	switch ((enum state)s->state) {
	case STATE_CONNECTING:
		s->up = NULL;
		if (u)
			upstream_close(u);
		stream_up_lost(s, UPSTREAM_REFUSED, false);
		break;
	case STATE_SENT:
		if (s->request_ended || s->websocket) {
			reply(s, &gateway_timeout);
		} else if (body_too_slow(s)) {
			reply(s, &slow_body);
		} else {
			deadline(s, WORKER_BODY_GRACE_MS);
		}
		break;
	case STATE_ANSWERING:
		s->cut = true;
		if (s->session)
			s->ops->abort(s->session);
		finish(s, false);
		break;
	case STATE_NEW:
	case STATE_DONE:
		break;
	}
}
