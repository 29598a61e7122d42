/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: collect a head, answer, go on or close. A request body is not expected: with one
 * the answer closes the connection. The answer is built whole, then written in one go; a reader
 * that takes longer than the idle limit is dropped. A request that comes before all is there that
 * an answer is made of waits for it. When the process is to leave, nobody is
 * accepted: new clients wait in the listener's queue for the successor. Who was accepted and has
 * not sent a request is waited for, since nobody could have told that client.
 */
#include "observability/scrape.h"

#include <string.h>
#include "base/fd.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/text.h"
#include "observability/gzip.h"
#include "ring/refusal.h"
#include "wire/http1.h"
#include "wire/http1_write.h"

enum { ANSWER_BYTES_MAX = 64 << 20, LOOK_MS = 20 };

struct server {
	uv_tcp_t listener;
	struct list conns;
	scrape_ready_fn ready;
	scrape_render_fn render;
	uv_timer_t look; /* runs while somebody waits for that */
	void *arg;
	unsigned connections;
	struct refusal refusal;
	bool listening, stopping;
	uv_timer_t leaving;
	void (*left)(void *arg);
	void *left_arg;
};

struct conn {
	uv_tcp_t tcp;
	uv_timer_t idle;
	uv_write_t write;
	struct server *server;
	struct buf answer;
	char input[SCRAPE_HEAD_BYTES];
	size_t length;
	unsigned handles;
	bool writing, close_after, answered;
	/* The request that waits until all is there. */
	bool waits, gzipped, head_only;
	enum exposition_format format;
	struct list link;
};

static struct server server;

static void
look_left(void)
{
	void (*left)(void *arg) = server.left;

	if (!left || server.connections > 0)
		return;
	server.left = NULL;
	uv_close((uv_handle_t *)&server.leaving, NULL);
	if (server.listening)
		uv_close((uv_handle_t *)&server.look, NULL);
	server.listening = false;
	left(server.left_arg);
}

static void
handle_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	if (--c->handles > 0)
		return;
	c->server->connections--;
	list_remove(&c->link);
	buf_fini(&c->answer);
	mem_free(c);
	look_left();
}

static void
conn_close(struct conn *c)
{
	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	uv_close((uv_handle_t *)&c->tcp, handle_closed);
	uv_close((uv_handle_t *)&c->idle, handle_closed);
}

static void
idle_over(uv_timer_t *timer)
{
	conn_close(timer->data);
}

static void
arm(struct conn *c)
{
	bool between = c->answered && c->length == 0 && !c->writing && !c->waits;

	uv_timer_start(&c->idle, idle_over,
		       between && c->server->stopping ? SCRAPE_LINGER_MS : SCRAPE_IDLE_MS, 0);
}

static void conn_work(struct conn *c);

static void
was_written(uv_write_t *request, int status)
{
	struct conn *c = request->data;

	c->writing = false;
	if (status < 0 || c->close_after) {
		conn_close(c);
		return;
	}
	buf_fini(&c->answer);
	c->answered = true;
	arm(c);
	conn_work(c);
}

static void
put_head(struct conn *c, unsigned status, const char *type, size_t length, bool gzipped)
{
	char head[512];
	struct http1_writer w;

	http1_write_init(&w, head, sizeof(head));
	http1_write_status(&w, status);
	http1_write_header(&w, "content-type", type);
	http1_write_header_u(&w, "content-length", length);
	if (gzipped)
		http1_write_header(&w, "content-encoding", "gzip");
	if (status == 200)
		http1_write_header(&w, "vary", "accept, accept-encoding");
	if (status == 405)
		http1_write_header(&w, "allow", "GET, HEAD");
	if (c->close_after)
		http1_write_header(&w, "connection", "close");
	http1_write_end(&w);
	buf_put(&c->answer, head, http1_write_length(&w));
}

static void
send_answer(struct conn *c)
{
	if (!buf_ok(&c->answer)) {
		conn_close(c);
		return;
	}
	uv_buf_t out = uv_buf_init((char *)c->answer.data, (unsigned)c->answer.length);

	c->write.data = c;
	c->writing = true;
	if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &out, 1, was_written) < 0)
		conn_close(c);
}

static void
answer_text(struct conn *c, unsigned status, const char *text, bool head_only)
{
	buf_init(&c->answer, MEM_OBSERVABILITY, ANSWER_BYTES_MAX);
	put_head(c, status, "text/plain; charset=utf-8", strlen(text), false);
	if (!head_only)
		buf_puts(&c->answer, text);
	send_answer(c);
}

/* Without memory for it the answer stays as it is. */
static bool
compress(struct buf *body)
{
	struct buf small;

	buf_init(&small, MEM_OBSERVABILITY, ANSWER_BYTES_MAX / 2);
	if (!gzip_write(body->data, body->length, &small)) {
		buf_fini(&small);
		return false;
	}
	buf_fini(body);
	*body = small;
	return true;
}

static void
send_metrics(struct conn *c)
{
	struct buf body;

	buf_init(&body, MEM_OBSERVABILITY, ANSWER_BYTES_MAX / 2);
	if (!c->server->render(c->server->arg, c->format, &body) || !buf_ok(&body)) {
		buf_fini(&body);
		answer_text(c, 503, "no metrics now, try again\n", c->head_only);
		return;
	}
	bool gzipped = c->gzipped && compress(&body);
	buf_init(&c->answer, MEM_OBSERVABILITY, ANSWER_BYTES_MAX);
	put_head(c, 200, exposition_content_type(c->format), body.length, gzipped);
	if (!c->head_only)
		buf_put(&c->answer, body.data, body.length);
	buf_fini(&body);
	send_answer(c);
}

static void
look_again(uv_timer_t *timer)
{
	struct list *it, *next;

	if (!server.ready(server.arg)) {
		uv_timer_start(timer, look_again, LOOK_MS, 0);
		return;
	}
	list_each (it, next, &server.conns) {
		struct conn *c = container_of(it, struct conn, link);

		if (!c->waits || uv_is_closing((uv_handle_t *)&c->tcp))
			continue;
		c->waits = false;
		if (c->server->stopping)
			c->close_after = true;
		send_metrics(c);
	}
}

static void
answer_metrics(struct conn *c, const struct http1_head *head)
{
	size_t n = 0;
	const char *accept = http1_head_value(head, c->input, HEADER_ACCEPT, &n);

	c->format = exposition_choose(accept ? accept : "", accept ? n : 0);
	const char *encoding = http1_head_value(head, c->input, HEADER_ACCEPT_ENCODING, &n);
	c->gzipped = encoding && gzip_accepted(encoding, n);
	c->head_only = head->method == HTTP_HEAD;
	c->waits = c->server->ready && !c->server->ready(c->server->arg);
	if (c->waits)
		uv_timer_start(&c->server->look, look_again, LOOK_MS, 0);
	else
		send_metrics(c);
}

static void
answer(struct conn *c, const struct http1_head *head)
{
	const char *path = c->input + head->url.path.at;
	size_t n = head->url.path.length;

	c->close_after = !head->keep_alive || head->framing != HTTP1_NO_BODY || c->server->stopping;
	if (n != strlen("/metrics") || memcmp(path, "/metrics", n) != 0)
		answer_text(c, 404, "metrics are at /metrics\n", head->method == HTTP_HEAD);
	else if (head->method != HTTP_GET && head->method != HTTP_HEAD)
		answer_text(c, 405, "only GET and HEAD\n", false);
	else
		answer_metrics(c, head);
}

static void
conn_work(struct conn *c)
{
	static const struct http1_limits limits = {4096, SCRAPE_HEAD_BYTES, HTTP1_FIELDS_MAX};
	static struct http1_head head;

	if (c->writing || c->waits || c->length == 0)
		return;
	http1_head_init(&head, HTTP1_REQUEST, &limits);
	switch (http1_head_parse(&head, c->input, c->length)) {
	case HTTP1_MORE:
		if (c->length < sizeof(c->input))
			return;
		c->close_after = true;
		answer_text(c, 431, "the request is too long\n", false);
		return;
	case HTTP1_BAD:
		c->close_after = true;
		answer_text(c, http1_error_status(head.error), "bad request\n", false);
		return;
	case HTTP1_DONE:
		break;
	}
	answer(c, &head);
	/* The answer is built: the head's bytes are no longer needed. */
	memmove(c->input, c->input + head.head_bytes, c->length - head.head_bytes);
	c->length -= head.head_bytes;
}

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct conn *c = handle->data;

	(void)suggested;
	*out = uv_buf_init(c->input + c->length, (unsigned)(sizeof(c->input) - c->length));
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	(void)buf;
	if (n == 0)
		return;
	if (n < 0) { /* the end, an error, or more than one head while an answer is under way */
		conn_close(c);
		return;
	}
	if (c->length == 0 && c->server->stopping && !c->writing)
		uv_timer_start(&c->idle, idle_over, SCRAPE_IDLE_MS, 0); /* it does not linger */
	c->length += (size_t)n;
	conn_work(c);
}

static void
was_connected(uv_stream_t *listener, int status)
{
	struct conn *c;

	if (status < 0)
		return;
	c = mem_zalloc(MEM_OBSERVABILITY, sizeof(*c));
	if (!c) {
		refusal_take(&server.refusal, listener, was_connected);
		return;
	}
	c->server = listener->data;
	c->server->connections++;
	c->handles = 2;
	uv_tcp_init(listener->loop, &c->tcp);
	uv_timer_init(listener->loop, &c->idle);
	c->tcp.data = c;
	c->idle.data = c;
	list_push(&server.conns, &c->link);
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 ||
	    c->server->connections > SCRAPE_CONNECTIONS_MAX ||
	    uv_read_start((uv_stream_t *)&c->tcp, give_memory, was_read) < 0) {
		conn_close(c);
		return;
	}
	arm(c);
}

int
scrape_listen(uv_loop_t *loop, int fd, scrape_ready_fn ready, scrape_render_fn render, void *arg,
	      struct err *err)
{
	server.ready = ready;
	server.render = render;
	server.arg = arg;
	list_init(&server.conns);
	server.listening = true;
	server.stopping = false;
	uv_timer_init(loop, &server.look);
	uv_tcp_init(loop, &server.listener);
	server.listener.data = &server;
	int rc = uv_tcp_open(&server.listener, fd);
	if (rc < 0)
		fd_close(&fd);
	else
		rc = uv_listen((uv_stream_t *)&server.listener, 128, was_connected);
	return rc < 0 ? err_sys(err, -rc, "cannot listen for scrapes") : 0;
}

/* ---- leaving ---- */

static void
time_over(uv_timer_t *timer)
{
	struct list *it, *next;

	(void)timer;
	list_each (it, next, &server.conns) {
		conn_close(container_of(it, struct conn, link));
	}
}

void
scrape_stop(uv_loop_t *loop, uint64_t within_ms, void (*left)(void *arg), void *arg)
{
	struct list *it, *next;

	server.left = left;
	server.left_arg = arg;
	server.stopping = true;
	uv_timer_init(loop, &server.leaving);
	if (server.listening) {
		uv_close((uv_handle_t *)&server.listener, NULL);
		list_each (it, next, &server.conns) {
			arm(container_of(it, struct conn, link));
		}
		uv_timer_start(&server.leaving, time_over, within_ms, 0);
	}
	look_left();
}
