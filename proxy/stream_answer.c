/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The answer of a replica, from its head to its end: counted for the balancer, its fields made fit
 * for the client, its bytes passed on as they come, no faster than the session takes them. An
 * upgrade that was accepted makes a tunnel of the stream.
 */

#include "proxy/stream_private.h"

#include <string.h>
#include "proxy/worker.h"
#include "wire/ws.h"

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
	stream_drop_body(s);
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
	stream_deadline(s, WORKER_TUNNEL_IDLE_MS);
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
		stream_reply(s, &reply_bad_gateway);
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
		stream_deadline(s, WORKER_STREAM_IDLE_MS);
	s->ops->answer(s->session, &out);
}

void
stream_up_data(struct stream *s, const char *data, size_t length)
{
	if (!s->session)
		return;
	s->bytes_out += length;
	stream_deadline(s, s->tunnel ? WORKER_TUNNEL_IDLE_MS : WORKER_STREAM_IDLE_MS);
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
	stream_give_back(s);
	if (s->session)
		s->ops->end(session, headers, count);
	stream_finish(s, s->request_ended && !s->tunnel);
}
