/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Client connections.
 *
 * Reading: one shared buffer for all; what came is decrypted into another shared one and given to
 * the session before the callback returns. Reading is never switched off and on per request. A
 * handshake costs as much as a hundred requests, so only a few get on in one turn of the loop: the
 * bytes of the others stay with the kernel until a later turn.
 *
 * Writing: small pieces of one connection are gathered in the worker's stage, so that head and body
 * of an answer become one record and one system call; large pieces go out directly behind what was
 * gathered. TLS appends its records to a shared buffer that is written before anything else
 * happens. Only what the kernel refuses is copied into the connection's own queue.
 */

#include "proxy/downstream.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "proxy/relay_tcp.h"
#include "proxy/session_h1.h"
#include "proxy/session_h2.h"
#include "proxy/sign_provider.h"
#include "proxy/worker.h"

enum { DIRECT_BYTES = 8192 };

static void on_drained(struct sendq *q);
static void on_timeout(struct wheel_timer *t);

bool
downstream_open(const struct downstream *c)
{
	return c->state == DOWNSTREAM_HANDSHAKE || c->state == DOWNSTREAM_OPEN;
}

/* ---- the end ---- */

static void
free_downstream(struct downstream *c)
{
	struct worker *w = c->w;

	if (w->stage_conn == c)
		w->stage_conn = NULL;
	if (c->ops)
		c->ops->free(c);
	sendq_fini(&c->out);
	tls_free(c->tls);
	relay_unref(c->endpoint);
	list_remove(&c->link);
	list_remove(&c->dirty);
	list_remove(&c->shaking);
	w->conns_count--;
	mem_free(c);
}

static void
on_closed(uv_handle_t *handle)
{
	struct downstream *c = handle->data;

	c->handle_closed = true;
	/* The handshake's second stack must end first: see sign_provider.h. */
	if (!c->signing)
		free_downstream(c);
}

static void
count_open(struct downstream *c, int delta)
{
	if (c->endpoint)
		account_relay_active(&c->w->account, false, c->secure, delta);
	else
		account_connection(&c->w->account, c->secure, c->is_h2, delta);
}

void
downstream_abort(struct downstream *c)
{
	static const struct linger at_once = {.l_onoff = 1};
	uv_os_fd_t fd;

	if (c->state != DOWNSTREAM_CLOSED && uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	downstream_close(c);
}

void
downstream_close(struct downstream *c)
{
	struct worker *w = c->w;

	if (c->state == DOWNSTREAM_CLOSED)
		return;
	if (w->stage_conn == c)
		w->stage_length = 0;
	if (c->ops)
		count_open(c, -1);
	c->state = DOWNSTREAM_CLOSED;
	wheel_clear(&w->wheel, &c->timer);
	list_remove(&c->dirty);
	list_remove(&c->shaking);
	if (c->ops)
		c->ops->closed(c);
	uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void
on_shutdown(uv_shutdown_t *request, int status)
{
	(void)status;
	mem_free(request);
}

/* All output is with the kernel: say that no more comes, and wait for the client's end, or data
 * that is still on its way would turn our goodbye into a reset. */
static void
linger(struct downstream *c)
{
	uv_shutdown_t *request = mem_alloc(MEM_PROXY, sizeof(*request));

	c->state = DOWNSTREAM_LINGER;
	if (!c->shut && (!request || uv_shutdown(request, (uv_stream_t *)&c->tcp, on_shutdown))) {
		mem_free(request);
		downstream_close(c);
		return;
	}
	if (c->shut)
		mem_free(request);
	downstream_deadline(c, WORKER_LINGER_MS);
	downstream_resume(c);
}

/* TLS has an end of its own. */
static void
say_goodbye(struct downstream *c)
{
	uv_buf_t b;

	if (!c->tls)
		return;
	tls_close(c->tls);
	b = uv_buf_init((char *)c->w->cipher, (unsigned)c->w->cipher_length);
	c->w->cipher_length = 0;
	if (b.len > 0)
		(void)sendq_write(&c->out, &b, 1);
}

static void
shut_now(struct downstream *c)
{
	uv_shutdown_t *request = mem_alloc(MEM_PROXY, sizeof(*request));

	c->shut = true;
	if (!request || uv_shutdown(request, (uv_stream_t *)&c->tcp, on_shutdown)) {
		mem_free(request);
		downstream_close(c);
	}
}

void
downstream_shut(struct downstream *c)
{
	if (c->state == DOWNSTREAM_OPEN && c->w->stage_conn == c)
		downstream_flush_stage(c->w);
	if (c->state != DOWNSTREAM_OPEN || c->shut_wanted)
		return;
	c->shut_wanted = true;
	say_goodbye(c);
	if (sendq_pending(&c->out) == 0)
		shut_now(c);
}

void
downstream_finish(struct downstream *c)
{
	if (!downstream_open(c))
		return;
	if (c->w->stage_conn == c)
		downstream_flush_stage(c->w);
	if (!downstream_open(c))
		return;
	c->state = DOWNSTREAM_FINISHING;
	say_goodbye(c);
	downstream_deadline(c, WORKER_STALL_MS);
	if (sendq_pending(&c->out) == 0)
		linger(c);
}

/* ---- writing ---- */

static bool
send_cipher(struct downstream *c)
{
	struct worker *w = c->w;
	uv_buf_t b = uv_buf_init((char *)w->cipher, (unsigned)w->cipher_length);

	if (w->cipher_length == 0)
		return true;
	w->cipher_length = 0;
	return sendq_write(&c->out, &b, 1);
}

/* A tls_sink_fn. */
static bool
take_cipher(void *arg, const void *data, size_t bytes)
{
	struct downstream *c = arg;
	struct worker *w = c->w;

	if (c->state == DOWNSTREAM_CLOSED)
		return true; /* a handshake that ends after its client */
	if (w->cipher_length + bytes > sizeof(w->cipher) && !send_cipher(c))
		return false;
	if (bytes > sizeof(w->cipher))
		return false;
	memcpy(w->cipher + w->cipher_length, data, bytes);
	w->cipher_length += bytes;
	return true;
}

/* Both pieces, in order, to the wire. */
static void
push(struct downstream *c, const void *a, size_t a_length, const void *b, size_t b_length)
{
	uint64_t now = worker_now_ms(c->w);
	bool ok;

	if (!downstream_open(c))
		return;
	if (c->tls) {
		ok = (a_length == 0 || tls_write(c->tls, a, a_length, now) == TLS_OK) &&
		     (b_length == 0 || tls_write(c->tls, b, b_length, now) == TLS_OK);
		ok = send_cipher(c) && ok;
	} else {
		union {
			const void *in;
			char *out;
		} x = {a}, y = {b};
		uv_buf_t bufs[2] = {uv_buf_init(x.out, (unsigned)a_length),
				    uv_buf_init(y.out, (unsigned)b_length)};

		ok = a_length == 0 ? sendq_write(&c->out, bufs + 1, 1)
				   : sendq_write(&c->out, bufs, b_length > 0 ? 2 : 1);
	}
	if (!ok)
		downstream_close(c);
}

void
downstream_flush_stage(struct worker *w)
{
	struct downstream *c = w->stage_conn;
	size_t length = w->stage_length;

	w->stage_conn = NULL;
	w->stage_length = 0;
	if (c && length > 0)
		push(c, w->stage, length, NULL, 0);
}

void
downstream_write(struct downstream *c, const void *data, size_t length)
{
	struct worker *w = c->w;

	if (!downstream_open(c) || length == 0)
		return;
	if (w->stage_conn != c) {
		downstream_flush_stage(w);
		w->stage_conn = c;
	}
	if (length >= DIRECT_BYTES || w->stage_length + length > sizeof(w->stage)) {
		size_t staged = w->stage_length;

		w->stage_length = 0;
		push(c, w->stage, staged, data, length);
		return;
	}
	memcpy(w->stage + w->stage_length, data, length);
	w->stage_length += length;
}

size_t
downstream_pending(const struct downstream *c)
{
	return sendq_pending(&c->out);
}

static void
on_drained(struct sendq *q)
{
	struct downstream *c = container_of(q, struct downstream, out);

	if (c->state == DOWNSTREAM_CLOSED || c->state == DOWNSTREAM_LINGER)
		return;
	if (q->failed) {
		downstream_close(c);
		return;
	}
	if (c->state == DOWNSTREAM_FINISHING)
		linger(c);
	else if (c->shut_wanted && !c->shut)
		shut_now(c);
	else if (c->ops)
		c->ops->writable(c);
}

void
downstream_mark_dirty(struct downstream *c)
{
	if (list_empty(&c->dirty))
		list_push(&c->w->dirty, &c->dirty);
}

/* ---- reading ---- */

static const char *
handshake_result(const struct downstream *c)
{
	return tls_unknown_name(c->tls) ? "unknown_name" : "failed";
}

static void
begin_session(struct downstream *c)
{
	struct tls_info info = {.version = ""};
	bool ok;

	if (c->tls) {
		tls_info(c->tls, &info);
		account_handshake(&c->w->account, info.version, info.resumed, "ok",
				  uv_hrtime() - c->started_ns);
	}
	c->is_h2 = info.h2;
	c->state = DOWNSTREAM_OPEN;
	ok = c->endpoint ? relay_tcp_open(c) : c->is_h2 ? session_h2_open(c) : session_h1_open(c);
	if (!ok) {
		downstream_close(c);
		return;
	}
	count_open(c, 1);
}

/* What TLS made of its input. */
static void
took_cipher(struct downstream *c, enum tls_result r, size_t plain_length)
{
	struct worker *w = c->w;

	c->signing = r == TLS_ASYNC;
	if (c->state == DOWNSTREAM_CLOSED) {
		w->cipher_length = 0;
		return;
	}
	if (!send_cipher(c)) {
		downstream_close(c);
		return;
	}
	if (r == TLS_FAILED) {
		if (!tls_established(c->tls))
			account_handshake(&w->account, "", false, handshake_result(c), 0);
		/* The alert must arrive. */
		downstream_finish(c);
		return;
	}
	if (r == TLS_ASYNC) {
		downstream_pause(c);
		return;
	}
	if (c->state == DOWNSTREAM_HANDSHAKE && tls_established(c->tls))
		begin_session(c);
	if (plain_length > 0 && c->state == DOWNSTREAM_OPEN)
		c->ops->input(c, w->plain, plain_length);
	if (r == TLS_CLOSED && c->state == DOWNSTREAM_OPEN)
		c->ops->eof(c);
	else if (r == TLS_CLOSED && c->state == DOWNSTREAM_HANDSHAKE)
		downstream_close(c);
}

static void
read_tls(struct downstream *c, const uint8_t *data, size_t length)
{
	size_t plain_length;
	enum tls_result r;

	sign_provider_owner = c;
	/* A client that names nobody means the endpoint's own host. */
	c->w->sni.unnamed = c->endpoint ? c->endpoint->row.host : "";
	r = tls_feed(c->tls, data, length, c->w->plain, sizeof(c->w->plain), &plain_length);
	sign_provider_owner = NULL;
	took_cipher(c, r, plain_length);
}

void
downstream_signed(struct downstream *c)
{
	size_t plain_length;
	enum tls_result r;

	sign_provider_owner = c;
	r = tls_resume(c->tls, c->w->plain, sizeof(c->w->plain), &plain_length);
	sign_provider_owner = NULL;
	took_cipher(c, r, plain_length);
	if (c->signing)
		return;
	if (c->handle_closed)
		free_downstream(c);
	else
		downstream_resume(c);
}

void
downstream_pause(struct downstream *c)
{
	if (!c->reading)
		return;
	c->reading = false;
	(void)uv_read_stop((uv_stream_t *)&c->tcp);
}

static void
read_end(struct downstream *c, ssize_t n)
{
	if (n != UV_EOF || (c->state != DOWNSTREAM_OPEN && c->state != DOWNSTREAM_FINISHING)) {
		downstream_close(c);
		return;
	}
	downstream_pause(c);
	if (c->state == DOWNSTREAM_OPEN)
		c->ops->eof(c);
}

/* No buffer for a handshake whose turn it is not: nothing is read then. */
static void
on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
	struct downstream *c = handle->data;

	if (c->state == DOWNSTREAM_HANDSHAKE && !c->has_turn &&
	    c->w->handshakes++ >= WORKER_HANDSHAKES_MAX)
		*out = uv_buf_init(NULL, 0);
	else
		worker_alloc(handle, hint, out);
	c->has_turn = false;
}

void
downstream_next_handshakes(struct worker *w)
{
	/* Each finds its bytes at once, so the loop does not sleep while others wait. Their turns
	 * are theirs: who comes new takes what is left. */
	for (w->handshakes = 0; w->handshakes < WORKER_HANDSHAKES_MAX && !list_empty(&w->shaking);
	     w->handshakes++) {
		struct downstream *c = container_of(w->shaking.next, struct downstream, shaking);

		list_remove(&c->shaking);
		c->has_turn = true;
		downstream_resume(c);
	}
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct downstream *c = stream->data;
	union {
		char *in;
		const uint8_t *out;
	} data = {b->base};

	if (n == UV_ENOBUFS && c->state == DOWNSTREAM_HANDSHAKE) {
		downstream_pause(c);
		list_push(&c->w->shaking, &c->shaking);
		return;
	}
	if (n < 0) {
		read_end(c, n);
		return;
	}
	if (n == 0 || (c->state != DOWNSTREAM_HANDSHAKE && c->state != DOWNSTREAM_OPEN))
		return;
	if (c->tls)
		read_tls(c, data.out, (size_t)n);
	else
		c->ops->input(c, data.out, (size_t)n);
}

void
downstream_resume(struct downstream *c)
{
	if (c->reading || c->signing || c->state == DOWNSTREAM_CLOSED)
		return;
	c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
	if (!c->reading)
		downstream_close(c);
}

/* ---- time ---- */

void
downstream_deadline(struct downstream *c, uint64_t ms_from_now)
{
	wheel_set(&c->w->wheel, &c->timer, worker_now_ms(c->w) + ms_from_now);
	worker_wake_tick(c->w);
}

static void
on_timeout(struct wheel_timer *t)
{
	struct downstream *c = container_of(t, struct downstream, timer);

	if (c->state != DOWNSTREAM_OPEN) {
		downstream_close(c);
		return;
	}
	if (downstream_pending(c) > 0) {
		size_t waiting = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);

		/* Nothing moved since the last look: the client does not read. */
		if (waiting > 0 && waiting == c->stalled_bytes) {
			downstream_close(c);
			return;
		}
		c->stalled_bytes = waiting;
		downstream_deadline(c, WORKER_STALL_MS);
		return;
	}
	c->stalled_bytes = 0;
	c->ops->timeout(c);
}

void
downstream_drain(struct downstream *c)
{
	if (c->state == DOWNSTREAM_OPEN)
		c->ops->drain(c);
}

/* ---- the beginning ---- */

static struct downstream *
new_downstream(struct worker *w, bool secure)
{
	struct downstream *c = mem_zalloc(MEM_PROXY, sizeof(*c));

	if (!c)
		return NULL;
	c->w = w;
	c->secure = secure;
	c->started_ns = uv_hrtime();
	wheel_timer_init(&c->timer, on_timeout);
	list_init(&c->dirty);
	list_init(&c->shaking);
	list_push(&w->conns, &c->link);
	w->conns_count++;
	(void)uv_tcp_init(w->loop, &c->tcp);
	c->tcp.data = c;
	sendq_init(&c->out, (uv_stream_t *)&c->tcp, on_drained);
	return c;
}

static bool
read_peer(struct downstream *c)
{
	struct sockaddr_storage sa;
	int length = sizeof(sa);

	if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &length) ||
	    !addr_from_sockaddr((const struct sockaddr *)&sa, (socklen_t)length, &c->peer))
		return false;
	addr_put_ip(&c->peer, c->peer_text, sizeof(c->peer_text));
	return true;
}

/* Whether a connection to a tcp endpoint is served; counts what is refused. */
static bool
admit(struct downstream *c)
{
	struct worker *w = c->w;
	const struct relay_endpoint *e = c->endpoint;
	const char *reason = !relay_admits(e, &c->peer) ? "denied"
			     /* One endpoint leaves room for the others. */
			     : e->connections >= w->conns_max / 4 * 3 ? "connections"
								      : NULL;

	if (reason)
		account_relay_rejected(&w->account, e->row.service_label, reason);
	return !reason;
}

bool
downstream_accept(struct worker *w, uv_stream_t *server, bool secure,
		  struct relay_endpoint *endpoint)
{
	struct downstream *c = new_downstream(w, secure);

	if (!c)
		return false;
	c->endpoint = endpoint ? relay_ref(endpoint) : NULL;
	if (endpoint)
		account_relay_accepted(&w->account, false);
	else
		account_accepted(&w->account, secure);
	if (uv_accept(server, (uv_stream_t *)&c->tcp) || !read_peer(c)) {
		downstream_close(c);
		return true;
	}
	if (mem_used_all() > w->memory_max) {
		account_rejected(&w->account, NULL, "memory");
		downstream_close(c);
		return true;
	}
	if (w->conns_count > w->conns_max) {
		account_rejected(&w->account, NULL, "connections");
		downstream_close(c);
		return true;
	}
	if (endpoint && !admit(c)) {
		downstream_abort(c);
		return true;
	}
	if (secure) {
		c->tls = tls_accept(w->tls, take_cipher, c);
		if (!c->tls) {
			downstream_close(c);
			return true;
		}
		if (endpoint)
			tls_ignore_alpn(c->tls);
		downstream_deadline(c, WORKER_HANDSHAKE_MS);
	} else {
		begin_session(c);
	}
	downstream_resume(c);
	return true;
}
