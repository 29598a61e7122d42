/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections to replicas. Answers are parsed in the shared read buffer; only a head that comes in
 * several pieces is copied. Bodies go on as spans of that buffer.
 *
 * What a replica sends is not trusted either: an answer that is malformed, framed twice or longer
 * than it said ends the connection; the client gets 502, or a cut answer.
 */

#include "proxy/upstream.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "proxy/stream.h"
#include "proxy/worker.h"

enum { INTERIM_MAX = 32 }; /* each costs the client a head, and us a level of the stack */

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_DONE };

struct partial {
	struct http1_head head;
	struct buf bytes;
};

struct upstream {
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct sendq out;
	struct list all;  /* in the backend's list of all */
	struct list link; /* in its idle list */
	struct wheel_timer timer;
	struct worker *w;
	struct backend *backend;
	struct stream *stream; /* NULL: idle or closing */
	struct partial *partial;
	struct http1_body body;
	struct buf trailers;
	uint64_t idle_since_ms;
	uint16_t port;
	uint8_t phase;
	uint8_t interims; /* of this answer */
	enum http_method method;
	bool upgrade;
	bool connected, reused, doubted, asks_kernel, reading, closed, keep, shut_wanted, shut;
};

/* ---- the end ---- */

static void
free_partial(struct upstream *u)
{
	if (!u->partial)
		return;
	buf_fini(&u->partial->bytes);
	mem_free(u->partial);
	u->partial = NULL;
}

static void
on_closed(uv_handle_t *handle)
{
	struct upstream *u = handle->data;

	free_partial(u);
	buf_fini(&u->trailers);
	sendq_fini(&u->out);
	mem_free(u);
}

void
upstream_close(struct upstream *u)
{
	if (u->closed)
		return;
	u->closed = true;
	u->stream = NULL;
	wheel_clear(&u->w->wheel, &u->timer);
	list_remove(&u->all);
	if (!list_empty(&u->link)) {
		list_remove(&u->link);
		u->backend->idle_count--;
	}
	account_gauge(u->backend->connections, -1);
	backend_unref(u->backend);
	u->backend = NULL;
	uv_close((uv_handle_t *)&u->tcp, on_closed);
}

void
upstream_drop(struct list *idle)
{
	upstream_close(container_of(idle, struct upstream, link));
}

/* What was sent and is not acknowledged, and what is waited for: the kernel asks for both. Or not
 * any more: the next request has no doubt. */
static void
ask_kernel(struct upstream *u, bool asks)
{
	unsigned unanswered_ms = asks ? UPSTREAM_DOUBT_S * 1000 : 0;
	int on = asks, second = 1, tries = UPSTREAM_DOUBT_S;
	uv_os_fd_t fd;

	if (u->asks_kernel == asks || uv_fileno((uv_handle_t *)&u->tcp, &fd) < 0)
		return;
	u->asks_kernel = asks;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof(second));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof(second));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof(unanswered_ms));
}

static void
lose(struct upstream *u, enum upstream_loss loss)
{
	struct stream *s = u->stream;
	/* What may be asked again of a silent node is, however new the connection. */
	bool reused = u->reused || u->doubted;

	upstream_close(u);
	if (s)
		stream_up_lost(s, loss, reused);
}

/* What can be asked of another replica is: of one whose node is silent when the machine answers
 * nothing, of a dead one at once, also when the machine does (it may stand still). All else stays
 * as long as the machine is there: a node may be silent for reasons of its own. */
void
upstream_doubt(struct list *connection, enum backend_doubt why)
{
	struct upstream *u = container_of(connection, struct upstream, all);
	bool again = u->stream && stream_may_repeat(u->stream);

	if (why == BACKEND_SILENT && !again)
		return;
	u->doubted |= again;
	if (why == BACKEND_DEAD && again)
		stream_give_up(u->stream);
	else
		ask_kernel(u, true);
}

/* ---- reading ---- */

static void feed(struct upstream *u, const char *data, size_t length);

static void
finish(struct upstream *u)
{
	struct stream *s = u->stream;
	struct http_field fields[HTTP1_TRAILERS_MAX];
	int count = http1_head_trailers((const char *)u->trailers.data, u->trailers.length, fields,
					HTTP1_TRAILERS_MAX);

	u->phase = PHASE_DONE;
	stream_up_end(s, (const char *)u->trailers.data, fields, count > 0 ? (size_t)count : 0);
}

static void
feed_body(struct upstream *u, const char *data, size_t length)
{
	while (u->stream && u->phase == PHASE_BODY) {
		const char *span = NULL;
		size_t used, span_length;
		enum http1_body_result r =
			http1_body_feed(&u->body, data, length, &used, &span, &span_length);

		data += used;
		length -= used;
		if (r == HTTP1_BODY_BAD) {
			lose(u, UPSTREAM_BAD);
			return;
		}
		if (r == HTTP1_BODY_DATA)
			stream_up_data(u->stream, span, span_length);
		if (!u->stream || u->closed)
			return;
		if (u->body.ended) {
			/* Bytes behind the answer that nobody asked for. */
			if (length > 0)
				u->keep = false;
			finish(u);
			return;
		}
		if (length == 0)
			return;
	}
}

/* A whole head in data; what follows it is body. */
static void
take_head(struct upstream *u, struct http1_head *head, const char *data, size_t length)
{
	enum http1_framing framing = http1_head_framing(head, u->method);
	size_t at = head->head_bytes;
	bool interim = head->status < 200 && head->status != 101;

	if ((head->status == 101 && !u->upgrade) ||
	    (interim && (head->framing != HTTP1_NO_BODY || ++u->interims > INTERIM_MAX))) {
		lose(u, UPSTREAM_BAD);
		return;
	}
	if (interim) {
		stream_up_interim(u->stream, head, data);
		if (u->stream && !u->closed && length > at)
			feed(u, data + at, length - at);
		return;
	}
	u->keep = head->keep_alive;
	http1_body_init(&u->body, framing, head->content_length, &u->trailers);
	u->phase = PHASE_BODY;
	stream_up_answer(u->stream, head, data, framing);
	if (!u->stream || u->closed)
		return;
	if (u->body.ended && length > at)
		u->keep = false;
	if (u->body.ended)
		finish(u);
	else if (length > at)
		feed_body(u, data + at, length - at);
}

static bool
keep_partial(struct upstream *u, const char *data, size_t length)
{
	if (!u->partial) {
		u->partial = mem_alloc(MEM_PROXY, sizeof(*u->partial));
		if (!u->partial)
			return false;
		buf_init(&u->partial->bytes, MEM_PROXY,
			 http1_limits_default.block_bytes + WORKER_READ_BYTES);
		http1_head_init(&u->partial->head, HTTP1_RESPONSE, NULL);
	}
	buf_put(&u->partial->bytes, data, length);
	return buf_ok(&u->partial->bytes);
}

static void
feed_partial(struct upstream *u)
{
	struct partial *p = u->partial;
	enum http1_result r =
		http1_head_parse(&p->head, (const char *)p->bytes.data, p->bytes.length);

	if (r == HTTP1_BAD) {
		lose(u, UPSTREAM_BAD);
	} else if (r == HTTP1_DONE) {
		/* Its memory must outlive the calls: another head may begin in it. */
		u->partial = NULL;
		take_head(u, &p->head, (const char *)p->bytes.data, p->bytes.length);
		buf_fini(&p->bytes);
		mem_free(p);
	}
}

static void
feed_head(struct upstream *u, const char *data, size_t length)
{
	struct http1_head *head = &u->w->answer_head;
	enum http1_result r = HTTP1_MORE;

	if (!u->partial) {
		http1_head_init(head, HTTP1_RESPONSE, NULL);
		r = http1_head_parse(head, data, length);
		if (r == HTTP1_DONE) {
			take_head(u, head, data, length);
			return;
		}
	}
	if (r == HTTP1_BAD)
		lose(u, UPSTREAM_BAD);
	else if (!keep_partial(u, data, length))
		lose(u, UPSTREAM_NO_MEMORY);
	else
		feed_partial(u);
}

static void
feed(struct upstream *u, const char *data, size_t length)
{
	if (u->phase == PHASE_HEAD)
		feed_head(u, data, length);
	else
		feed_body(u, data, length);
}

static void
read_end(struct upstream *u)
{
	if (u->stream && u->phase == PHASE_BODY && http1_body_finish(&u->body)) {
		u->keep = false;
		finish(u);
		return;
	}
	lose(u, UPSTREAM_DIED);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct upstream *u = stream->data;

	if (n == 0 || u->closed)
		return;
	/* Only a close in order ends an answer that has no length. */
	if (n == UV_EOF)
		read_end(u);
	else if (n < 0)
		lose(u, UPSTREAM_DIED);
	else if (!u->stream || u->phase == PHASE_DONE)
		lose(u, UPSTREAM_BAD); /* nobody asked */
	else
		feed(u, b->base, (size_t)n);
}

void
upstream_pause(struct upstream *u)
{
	if (!u->reading)
		return;
	u->reading = false;
	(void)uv_read_stop((uv_stream_t *)&u->tcp);
}

void
upstream_resume(struct upstream *u)
{
	if (u->reading || u->closed || !u->connected)
		return;
	u->reading = uv_read_start((uv_stream_t *)&u->tcp, worker_alloc, on_read) == 0;
}

/* ---- writing ---- */

static void
on_shutdown(uv_shutdown_t *request, int status)
{
	(void)status;
	mem_free(request);
}

static void
shut_now(struct upstream *u)
{
	uv_shutdown_t *request = mem_alloc(MEM_PROXY, sizeof(*request));

	u->shut = true;
	if (!request || uv_shutdown(request, (uv_stream_t *)&u->tcp, on_shutdown))
		mem_free(request);
}

void
upstream_shut(struct upstream *u)
{
	u->shut_wanted = true;
	if (!u->shut && u->connected && sendq_pending(&u->out) == 0)
		shut_now(u);
}

static void
on_drained(struct sendq *q)
{
	struct upstream *u = container_of(q, struct upstream, out);

	if (u->closed)
		return;
	/* The read side tells the same, after an answer that may have come before the refusal. */
	if (q->failed)
		return;
	if (u->shut_wanted && !u->shut)
		shut_now(u);
	if (u->stream)
		stream_up_writable(u->stream);
}

bool
upstream_send(struct upstream *u, const uv_buf_t *bufs, unsigned count)
{
	return sendq_write(&u->out, bufs, count);
}

size_t
upstream_pending(const struct upstream *u)
{
	return sendq_pending(&u->out);
}

void
upstream_expect(struct upstream *u, enum http_method method, bool upgrade)
{
	u->method = method;
	u->upgrade = upgrade;
	u->phase = PHASE_HEAD;
	u->interims = 0;
	u->keep = false;
	buf_reset(&u->trailers);
}

/* ---- the pool ---- */

bool
upstream_connected(const struct upstream *u)
{
	return u->connected;
}

static void
on_idle_timeout(struct wheel_timer *t)
{
	struct upstream *u = container_of(t, struct upstream, timer);

	if (!u->stream)
		upstream_close(u);
}

static void
on_connect(uv_connect_t *connect, int status)
{
	struct upstream *u = connect->data;

	if (u->closed)
		return;
	if (status < 0) {
		lose(u, UPSTREAM_REFUSED);
		return;
	}
	u->connected = true;
	(void)uv_tcp_nodelay(&u->tcp, 1);
	upstream_resume(u);
	if (u->stream)
		stream_up_connected(u->stream);
}

/* Of connecting, as far as the kernel says it at once. */
static enum upstream_loss
loss_of(int rc)
{
	return rc == UV_ENOMEM || rc == UV_ENOBUFS || rc == UV_EMFILE || rc == UV_ENFILE
		       ? UPSTREAM_NO_MEMORY
		       : UPSTREAM_REFUSED;
}

static struct upstream *
start(struct worker *w, struct backend *b, uint16_t port, struct stream *s,
      enum upstream_loss *loss)
{
	struct upstream *u = mem_zalloc(MEM_PROXY, sizeof(*u));
	struct sockaddr_storage sa;
	struct addr to = b->row.addr;
	int rc;

	*loss = UPSTREAM_NO_MEMORY;
	if (!u)
		return NULL;
	u->w = w;
	u->port = port;
	u->backend = b;
	u->stream = s;
	list_push_front(&b->all, &u->all);
	list_init(&u->link);
	wheel_timer_init(&u->timer, on_idle_timeout);
	buf_init(&u->trailers, MEM_PROXY, HTTP1_TRAILER_BYTES_MAX);
	(void)uv_tcp_init(w->loop, &u->tcp);
	u->tcp.data = u->connect.data = u;
	sendq_init(&u->out, (uv_stream_t *)&u->tcp, on_drained);
	backend_ref(b);
	account_gauge(b->connections, 1);
	to.port = port;
	(void)addr_to_sockaddr(&to, &sa);
	rc = uv_tcp_connect(&u->connect, &u->tcp, (const struct sockaddr *)&sa, on_connect);
	if (rc < 0) {
		*loss = loss_of(rc);
		upstream_close(u);
		return NULL;
	}
	return u;
}

struct upstream *
upstream_take(struct worker *w, struct backend *b, uint16_t port, uint64_t idle_max_ms,
	      struct stream *s, enum upstream_loss *loss)
{
	struct list *it, *tmp;
	uint64_t now = worker_now_ms(w);

	list_each (it, tmp, &b->idle) {
		struct upstream *u = container_of(it, struct upstream, link);

		if (u->port != port)
			continue;
		/* Most recently used first: all others are older. */
		if (now - u->idle_since_ms >= idle_max_ms)
			break;
		list_remove(&u->link);
		b->idle_count--;
		u->reused = true;
		u->doubted = false;
		u->stream = s;
		return u;
	}
	return start(w, b, port, s, loss);
}

void
upstream_release(struct upstream *u, bool keep)
{
	struct backend *b = u->backend;

	if (u->closed)
		return;
	u->stream = NULL;
	if (!keep || !u->keep || u->out.failed || u->shut_wanted || sendq_pending(&u->out) > 0 ||
	    b->gone || b->load.draining || b->idle_count >= BACKEND_IDLE_MAX) {
		upstream_close(u);
		return;
	}
	upstream_resume(u);
	ask_kernel(u, false);
	u->idle_since_ms = worker_now_ms(u->w);
	list_push_front(&b->idle, &u->link);
	b->idle_count++;
	wheel_set(&u->w->wheel, &u->timer, u->idle_since_ms + WORKER_UPSTREAM_IDLE_MS);
	worker_wake_tick(u->w);
}
