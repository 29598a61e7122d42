/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels on libuv: one write at a time, of all that is ready; one read buffer for all (nothing is
 * kept in it between two callbacks). A channel's memory goes when libuv has let go of its handles;
 * until then it is `dead` and says nothing to anybody.
 */

#include "scheduler/channel_inside.h"

#include <assert.h>
#include <errno.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/world.h"

enum {
	READ_BYTES = 65536,
	CHAIN_BYTES_MAX = 16384,
	CLOSE_MS = 10000,
	LINGERING_MAX = 128,
	MS_NS = 1000000,
};

struct channel {
	uv_tcp_t tcp;
	uv_timer_t timer; /* the handshake's, later that of closing */
	uv_connect_t connect;
	uv_write_t write;
	uv_shutdown_t shutdown;
	unsigned handles; /* that libuv has not let go of */
	struct channel_rules *rules;
	const struct channel_calls *calls;
	void *arg;
	struct tls *tls;
	struct addr address;
	struct identity peer;
	uint32_t wanted; /* client: who must answer; 0 any */
	enum channel_standing standing;
	enum channel_kind kind; /* server: 0 until it was read */
	bool client;
	bool up;
	bool lingers;
	bool paused;
	bool closing;       /* by the owner: what is queued goes out first */
	bool dead;          /* the owner has been told, or knows */
	struct buf out;     /* encrypted, not yet given to libuv */
	struct buf sending; /* given */
};

/* ---- ends ---- */

static void
handle_closed(uv_handle_t *handle)
{
	struct channel *c = handle->data;

	if (--c->handles > 0)
		return;
	tls_free(c->tls);
	buf_fini(&c->out);
	buf_fini(&c->sending);
	channel_rules_unref(c->rules);
	mem_free(c);
}

static void
bury(struct channel *c)
{
	c->dead = true;
	c->rules->lingering -= c->lingers;
	c->lingers = false;
	if (!uv_is_closing((uv_handle_t *)&c->tcp)) {
		uv_close((uv_handle_t *)&c->tcp, handle_closed);
		uv_close((uv_handle_t *)&c->timer, handle_closed);
	}
}

static void
end(struct channel *c, const struct err *why)
{
	bool tell = !c->dead && !c->closing;

	if (c->dead)
		return;
	bury(c);
	if (tell)
		c->calls->down(c->arg, c, why);
}

static void
end_because(struct channel *c, enum err_kind kind, const char *why)
{
	char where[ADDR_TEXT_BYTES];
	struct err err = {0};

	addr_put(&c->address, where, sizeof(where));
	err_set(&err, kind, "the connection with the node at %s ended", where);
	err_why(&err, "%s", why);
	end(c, &err);
}

static void
late(uv_timer_t *timer)
{
	struct channel *c = timer->data;

	end_because(c, ERR_TIMEOUT,
		    c->closing ? "it does not read" : "it did not say who it is in time");
}

void
channel_abort(struct channel *c)
{
	if (c && !c->dead)
		bury(c);
}

/* ---- writing ---- */

static void flush(struct channel *c);

static void
shut(uv_shutdown_t *shutdown, int status)
{
	(void)shutdown;
	(void)status; /* the end of reading, or the timer, comes in every case */
}

/* All is sent. The socket goes when the other side has closed, too: one that is closed with unread
 * bytes in it resets the connection, and what was sent may be lost on the way. Only so many are
 * waited for: who was refused could else keep sockets for as long as he likes. */
static void
sent_all(struct channel *c)
{
	if (c->rules->lingering >= LINGERING_MAX) {
		bury(c);
		return;
	}
	c->lingers = true;
	c->rules->lingering++;
	if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, shut) < 0)
		bury(c);
}

static void
written(uv_write_t *write, int status)
{
	struct channel *c = write->data;

	if (c->dead)
		return;
	buf_reset(&c->sending);
	if (status < 0) {
		end_because(c, ERR_UNREACHABLE, uv_strerror(status));
		return;
	}
	if (c->out.length > 0)
		flush(c);
	else if (c->closing)
		sent_all(c);
	else if (c->up)
		c->calls->room(c->arg, c);
}

static void
flush(struct channel *c)
{
	if (c->dead || c->sending.length > 0 || c->out.length == 0)
		return;
	struct buf swap = c->sending;
	c->sending = c->out;
	c->out = swap;
	uv_buf_t data = uv_buf_init((char *)c->sending.data, (unsigned)c->sending.length);
	c->write.data = c;
	int rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, &data, 1, written);
	if (rc < 0)
		end_because(c, ERR_UNREACHABLE, uv_strerror(rc));
}

static bool
sink(void *arg, const void *data, size_t bytes)
{
	struct channel *c = arg;

	buf_put(&c->out, data, bytes);
	return buf_ok(&c->out);
}

bool
channel_write(struct channel *c, const void *data, size_t bytes)
{
	if (c->dead || c->closing)
		return false;
	assert(c->up);
	if (tls_write(c->tls, data, bytes, world_mono_ns() / MS_NS) != TLS_OK) {
		end_because(c, ERR_LIMIT, "too much was waiting to be sent");
		return false;
	}
	flush(c);
	return !c->dead;
}

void
channel_close(struct channel *c)
{
	if (c->dead || c->closing)
		return;
	if (!c->up) {
		bury(c);
		return;
	}
	channel_pause(c, false); /* the other side's end is to be seen */
	if (c->dead)
		return;
	c->closing = true;
	tls_close(c->tls); /* adds to what is to be sent */
	uv_timer_start(&c->timer, late, CLOSE_MS, 0);
	flush(c);
}

/* ---- reading ---- */

static bool
know_peer(struct channel *c)
{
	struct buf chain;

	buf_init(&chain, MEM_SCHEDULER, CHAIN_BYTES_MAX);
	bool known = tls_peer(c->tls, &chain) &&
		     channel_judge(c->rules, !c->client && c->rules->strangers, chain.data,
				   chain.length, &c->peer, &c->standing);
	buf_fini(&chain);
	if (!known) {
		end_because(c, ERR_DENIED, "it is no member of this cluster");
		return false;
	}
	if (c->client && c->wanted && c->wanted != c->peer.node) {
		end_because(c, ERR_DENIED, "another node answers there");
		return false;
	}
	if (c->client && c->standing == CHANNEL_LAPSED && c->kind != CHANNEL_ADMISSION) {
		end_because(c, ERR_DENIED, "its certificate has ended");
		return false;
	}
	return true;
}

static void
come_up(struct channel *c)
{
	c->up = true;
	uv_timer_stop(&c->timer);
	c->calls->up(c->arg, c);
}

static void
greet(struct channel *c)
{
	uint8_t kind = (uint8_t)c->kind;

	if (!know_peer(c))
		return;
	if (tls_write(c->tls, &kind, 1, world_mono_ns() / MS_NS) != TLS_OK) {
		end_because(c, ERR_NO_MEMORY, tls_error(c->tls));
		return;
	}
	flush(c);
	if (!c->dead)
		come_up(c);
}

/* The server's side: the first byte says what for. */
static void
take_kind(struct channel *c, uint8_t kind)
{
	if (!know_peer(c))
		return;
	if (kind < CHANNEL_GOSSIP || kind > CHANNEL_WHO) {
		end_because(c, ERR_UNSUPPORTED, "it asks for what this version does not know");
		return;
	}
	c->kind = (enum channel_kind)kind;
	if (c->kind != CHANNEL_ADMISSION && c->standing != CHANNEL_MEMBER) {
		end_because(c, ERR_DENIED, "it is no member of this cluster");
		return;
	}
	come_up(c);
}

static void
take_plain(struct channel *c, const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return;
	if (!c->up) {
		take_kind(c, data[0]);
		data++;
		bytes--;
	}
	if (bytes > 0 && !c->dead && !c->closing)
		c->calls->data(c->arg, c, data, bytes);
}

static void
take_bytes(struct channel *c, const void *data, size_t bytes)
{
	static uint8_t plain[TLS_PLAIN_MIN];
	size_t n = 0;
	enum tls_result result = tls_feed(c->tls, data, bytes, plain, sizeof(plain), &n);

	flush(c);
	if (!c->dead && c->client && !c->up && tls_established(c->tls))
		greet(c);
	if (!c->dead && result != TLS_FAILED)
		take_plain(c, plain, n);
	mem_wipe(plain, n);
	if (c->dead)
		return;
	if (result == TLS_FAILED)
		end_because(c, ERR_DENIED, tls_error(c->tls));
	else if (result == TLS_CLOSED)
		end(c, &(struct err){0});
}

static void
give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	static char buffer[READ_BYTES];

	(void)handle;
	(void)suggested;
	*out = uv_buf_init(buffer, sizeof(buffer));
}

static void
readable(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct channel *c = stream->data;

	if (c->dead)
		return;
	if (n < 0)
		end_because(c, ERR_UNREACHABLE, n == UV_EOF ? "it closed it" : uv_strerror((int)n));
	else if (n > 0)
		take_bytes(c, data->base, (size_t)n);
}

void
channel_pause(struct channel *c, bool on)
{
	if (c->dead || c->closing || c->paused == on)
		return;
	c->paused = on;
	if (on) {
		uv_read_stop((uv_stream_t *)&c->tcp);
		return;
	}
	int rc = uv_read_start((uv_stream_t *)&c->tcp, give_buffer, readable);
	if (rc < 0)
		end_because(c, ERR_UNREACHABLE, uv_strerror(rc));
}

size_t
channel_pending(const struct channel *c)
{
	return c->out.length + c->sending.length;
}

/* ---- begins ---- */

static struct channel *
channel_new(uv_loop_t *loop, struct channel_rules *rules, const struct channel_calls *calls,
	    void *arg)
{
	struct channel *c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));

	if (!c)
		return NULL;
	c->rules = rules;
	rules->refs++;
	c->calls = calls;
	c->arg = arg;
	buf_init(&c->out, MEM_SCHEDULER, CHANNEL_QUEUE_MAX);
	buf_init(&c->sending, MEM_SCHEDULER, CHANNEL_QUEUE_MAX);
	uv_tcp_init(loop, &c->tcp); /* without a family it opens nothing and cannot fail */
	uv_timer_init(loop, &c->timer);
	c->tcp.data = c;
	c->timer.data = c;
	c->handles = 2;
	uv_timer_start(&c->timer, late, CHANNEL_HANDSHAKE_MS, 0);
	return c;
}

static int
failed_to_start(struct channel *c, int rc, const char *what, struct err *err)
{
	bury(c);
	return err_sys(err, rc < 0 ? -rc : ENOMEM, "%s", what);
}

static void
connected(uv_connect_t *connect, int status)
{
	struct channel *c = connect->data;

	if (c->dead)
		return;
	if (status < 0) {
		end_because(c, ERR_UNREACHABLE, uv_strerror(status));
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
	c->tls = tls_connect(c->rules->client, "", NULL, sink, c);
	int rc = c->tls ? uv_read_start((uv_stream_t *)&c->tcp, give_buffer, readable) : UV_ENOMEM;
	if (rc < 0)
		end_because(c, ERR_NO_MEMORY, uv_strerror(rc));
	else
		flush(c);
}

int
channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to, uint32_t node,
		enum channel_kind kind, const struct channel_calls *calls, void *arg,
		struct channel **out, struct err *err)
{
	struct sockaddr_storage sa;
	struct channel *c = channel_new(loop, rules, calls, arg);

	if (!c)
		return err_set(err, ERR_NO_MEMORY, "cannot connect to another node");
	c->client = true;
	c->kind = kind;
	c->wanted = node;
	c->address = *to;
	addr_to_sockaddr(to, &sa);
	c->connect.data = c;
	int rc = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&sa, connected);
	if (rc < 0)
		return failed_to_start(c, rc, "cannot connect to another node", err);
	*out = c;
	return 0;
}

int
channel_accept(uv_loop_t *loop, struct channel_rules *rules, int fd,
	       const struct channel_calls *calls, void *arg, struct channel **out, struct err *err)
{
	struct sockaddr_storage sa;
	int length = sizeof(sa);
	struct channel *c = channel_new(loop, rules, calls, arg);

	if (!c) {
		fd_close(&fd);
		return err_set(err, ERR_NO_MEMORY, "cannot take another node's connection");
	}
	int rc = uv_tcp_open(&c->tcp, fd);
	if (rc < 0) {
		fd_close(&fd);
		return failed_to_start(c, rc, "cannot take another node's connection", err);
	}
	uv_tcp_nodelay(&c->tcp, 1);
	if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &length) == 0)
		addr_from_sockaddr((const struct sockaddr *)&sa, (socklen_t)length, &c->address);
	c->tls = tls_accept(rules->server, sink, c);
	rc = c->tls ? uv_read_start((uv_stream_t *)&c->tcp, give_buffer, readable) : UV_ENOMEM;
	if (rc < 0)
		return failed_to_start(c, rc, "cannot take another node's connection", err);
	*out = c;
	return 0;
}

/* ---- what is known ---- */

void
channel_give(struct channel *c, const struct channel_calls *calls, void *arg)
{
	c->calls = calls;
	c->arg = arg;
}

enum channel_standing
channel_standing(const struct channel *c)
{
	return c->standing;
}

enum channel_kind
channel_kind(const struct channel *c)
{
	return c->kind;
}

const struct identity *
channel_peer(const struct channel *c)
{
	return &c->peer;
}

const struct addr *
channel_address(const struct channel *c)
{
	return &c->address;
}
