/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions by TCP (RFC 7766): a length of two bytes, then the message. A connection has one
 * question under way: it is read on when that was answered and the answer was written, so that a
 * client that does not read costs one answer's memory. Idle ones are closed, and there are only so
 * many, in all and of one container.
 */
#include <string.h>
#include "base/list.h"
#include "base/mem.h"
#include "overlay/nameserver.h"
#include "overlay/nameserver_query.h"
#include "ring/refusal.h"

enum { SWEEP_MS = 1000, BACKLOG = 64, IN_BYTES = 2 + NAMESERVER_QUERY_MAX };

struct conn {
	uv_tcp_t tcp;
	uv_write_t write;
	struct list link;
	struct addr from, to;
	uint64_t serial;
	uint64_t active_ms;
	uint8_t *out; /* being written */
	bool waiting; /* for an answer from elsewhere */
	bool ended;   /* the client sends no more */
	size_t have;
	uint8_t in[IN_BYTES];
};

struct listener {
	uv_tcp_t tcp;
	struct refusal refusal;
};

static struct {
	struct station *st;
	struct list conns;
	size_t count;
	uint64_t serials;
	uv_timer_t sweep;
	struct listener listeners[4];
	size_t listeners_count;
} tcp;

static void go_on(struct conn *c);

static void
conn_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	mem_free(c->out);
	mem_free(c);
	tcp.count--;
}

static void
conn_close(struct conn *c)
{
	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	list_remove(&c->link);
	uv_close((uv_handle_t *)&c->tcp, conn_closed);
}

static void
written(uv_write_t *write, int status)
{
	struct conn *c = write->data;

	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	mem_free(c->out);
	c->out = NULL;
	if (status < 0)
		conn_close(c);
	else
		go_on(c);
}

/* Most of the time the socket takes all of it; what it does not is kept until it does. */
static void
send_message(struct conn *c, const void *message, size_t bytes)
{
	uint8_t head[2] = {(uint8_t)(bytes >> 8), (uint8_t)bytes};
	uv_buf_t bufs[] = {uv_buf_init((char *)head, sizeof(head)),
			   uv_buf_init((char *)(uintptr_t)message, (unsigned)bytes)};
	int n = uv_try_write((uv_stream_t *)&c->tcp, bufs, 2);
	size_t sent = n > 0 ? (size_t)n : 0, all = sizeof(head) + bytes;

	if (sent == all)
		return;
	c->out = n >= 0 || n == UV_EAGAIN ? mem_alloc(MEM_OVERLAY, all) : NULL;
	if (!c->out) {
		conn_close(c);
		return;
	}
	memcpy(c->out, head, sizeof(head));
	memcpy(c->out + sizeof(head), message, bytes);
	uv_buf_t rest = uv_buf_init((char *)c->out + sent, (unsigned)(all - sent));
	c->write.data = c;
	if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &rest, 1, written) < 0)
		conn_close(c);
}

/* The message at the front of the input; false: not yet whole. */
static bool
take_message(struct conn *c)
{
	static uint8_t out[DNS_MESSAGE_MAX];
	struct forward_asker asker = {.from = c->from, .to = c->to, .way = c, .serial = c->serial};
	size_t length = 0;
	size_t want = c->have >= 2 ? 2u + ((size_t)c->in[0] << 8 | c->in[1]) : 2;

	if (want > sizeof(c->in)) {
		conn_close(c);
		return false;
	}
	if (c->have < 2 || c->have < want)
		return false;
	enum nameserver_query rc =
		nameserver_query(&asker, true, c->in + 2, want - 2, out, sizeof(out), &length);
	memmove(c->in, c->in + want, c->have - want);
	c->have -= want;
	c->waiting = rc == NAMESERVER_WAIT;
	if (rc == NAMESERVER_ANSWER)
		send_message(c, out, length);
	else if (rc == NAMESERVER_NOTHING)
		conn_close(c);
	return true;
}

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct conn *c = handle->data;

	(void)suggested;
	*out = uv_buf_init((char *)c->in + c->have, (unsigned)(sizeof(c->in) - c->have));
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	(void)buf;
	if (n < 0) {
		c->ended = true;
		uv_read_stop(stream);
		if (n != UV_EOF)
			conn_close(c);
		else
			go_on(c);
		return;
	}
	c->have += (size_t)n;
	c->active_ms = uv_now(stream->loop);
	go_on(c);
}

static bool
read_on(struct conn *c)
{
	int rc = uv_read_start((uv_stream_t *)&c->tcp, give_memory, was_read);

	return rc == 0 || rc == UV_EALREADY;
}

/* Reads, or answers what was read, or waits. */
static void
go_on(struct conn *c)
{
	while (!c->waiting && !c->out && !uv_is_closing((uv_handle_t *)&c->tcp))
		if (!take_message(c))
			break;
	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	if (c->waiting || c->out)
		uv_read_stop((uv_stream_t *)&c->tcp);
	else if (c->ended || !read_on(c))
		conn_close(c);
}

void
nameserver_tcp_answered(const struct forward_asker *asker, void *message, size_t bytes)
{
	static uint8_t out[DNS_UDP_BYTES];
	struct list *it, *tmp;

	list_each (it, tmp, &tcp.conns) {
		struct conn *c = container_of(it, struct conn, link);

		if (c != asker->way || c->serial != asker->serial || !c->waiting)
			continue;
		c->waiting = false;
		c->active_ms = uv_now(c->tcp.loop);
		if (message)
			send_message(c, message, bytes);
		else
			send_message(c, out, nameserver_query_failed(asker, out, sizeof(out)));
		go_on(c);
		return;
	}
}

/* ---- connections ---- */

static bool
ends_of(struct conn *c)
{
	struct sockaddr_storage peer, own;
	int peer_bytes = sizeof(peer), own_bytes = sizeof(own);

	return uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &peer_bytes) == 0 &&
	       uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&own, &own_bytes) == 0 &&
	       addr_from_sockaddr((struct sockaddr *)&peer, (socklen_t)peer_bytes, &c->from) &&
	       addr_from_sockaddr((struct sockaddr *)&own, (socklen_t)own_bytes, &c->to);
}

static bool
welcome(const struct conn *c)
{
	struct list *it, *tmp;
	size_t of_source = 0;

	list_each (it, tmp, &tcp.conns)
		of_source += addr_equal_ip(&container_of(it, struct conn, link)->from, &c->from);
	return nameserver_query_is_own(&c->to) && tcp.count <= NAMESERVER_CONNECTIONS_MAX &&
	       of_source <= NAMESERVER_CONNECTIONS_PER_SOURCE;
}

static void
was_connected(uv_stream_t *server, int status)
{
	struct listener *l = server->data;
	struct conn *c;

	if (status < 0)
		return;
	c = mem_zalloc(MEM_OVERLAY, sizeof(*c));
	if (!c) {
		refusal_take(&l->refusal, server, was_connected);
		return;
	}
	uv_tcp_init(server->loop, &c->tcp);
	c->tcp.data = c;
	c->serial = ++tcp.serials;
	c->active_ms = uv_now(server->loop);
	list_push(&tcp.conns, &c->link);
	tcp.count++;
	if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0 || !ends_of(c) || !welcome(c))
		conn_close(c);
	else
		go_on(c);
}

static void
sweep(uv_timer_t *timer)
{
	struct list *it, *tmp;
	uint64_t now = uv_now(timer->loop);

	list_each (it, tmp, &tcp.conns) {
		struct conn *c = container_of(it, struct conn, link);

		if (!c->waiting && now - c->active_ms > NAMESERVER_IDLE_MS)
			conn_close(c);
	}
}

void
nameserver_tcp_listen(struct station *st, int fd)
{
	struct listener *listener = &tcp.listeners[tcp.listeners_count];

	if (!tcp.st) {
		tcp.st = st;
		list_init(&tcp.conns);
		uv_timer_init(station_loop(st), &tcp.sweep);
		uv_timer_start(&tcp.sweep, sweep, SWEEP_MS, SWEEP_MS);
	}
	if (tcp.listeners_count == sizeof(tcp.listeners) / sizeof(tcp.listeners[0])) {
		fd_close(&fd);
		return;
	}
	tcp.listeners_count++;
	uv_tcp_init(station_loop(st), &listener->tcp);
	listener->tcp.data = listener;
	if (uv_tcp_open(&listener->tcp, fd) < 0) {
		fd_close(&fd);
		return;
	}
	(void)uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, was_connected);
}
