/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A tcp endpoint's connection: the client on one side (downstream.c, with or without TLS), a
 * replica on the other.
 *
 * A replica that cannot be connected to is passed over for another one, up to WORKER_ATTEMPTS; when
 * there is none the client waits a little, since one may be about to be ready, and longer where the
 * service sleeps and this wakes it (demand.h). What it sends meanwhile is kept, and it is read no
 * further. Each side's end is passed on when all that came before it was sent, and the other
 * direction goes on (half-close). A reset becomes a reset: who was cut must not take what it has
 * for the whole.
 *
 * Bytes go through the worker's shared read buffer: an idle connection has no buffer at all, and
 * what the other side does not take is bounded by one read and the mark at which reading stops.
 * splice(2) is not used: it needs a pipe of 64 KiB and two descriptors per connection and saves
 * only the copy, while most streams are short or encrypted.
 *
 * There is no limit of idle time (databases keep connections for days): TCP's keep-alive finds
 * peers that are gone. A connection of which one half is over ends when nothing moves for
 * WORKER_STREAM_IDLE_MS.
 */

#include "proxy/relay_tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/pp2.h"
#include "proxy/worker.h"

enum {
	HIGH_BYTES = 16384, /* that wait for one side: the other is not read */
	EARLY_BYTES_MAX = 2 * TLS_PLAIN_MIN,
	AGAIN_MS = 100, /* between rounds of attempts, WORKER_CONNECT_MS long */
	KEEP_ALIVE_S = 60,
	KEEP_INTERVAL_S = 15,
	KEEP_TRIES = 4,
};

/* The replica's side. It may outlive the client's to get its last bytes off. */
struct peer {
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct sendq out;
	struct wheel_timer timer;
	struct worker *w;
	struct backend *backend;
	struct relay_tcp *r; /* NULL: the client's side is over */
	bool connected, reading, shut_wanted, shut, closed;
};

struct relay_tcp {
	struct downstream *c;
	struct peer *peer;
	struct buf early; /* before there is a connection */
	const struct balance_replica *tried[WORKER_ATTEMPTS];
	unsigned attempts;
	struct demand_service *demand; /* NULL: not counted */
	struct demand_wait wait;
	uint64_t give_up_ms;
	bool client_ended, replica_ended;
};

static void attempt(struct relay_tcp *r);

/* ---- the replica's side ---- */

static void
peer_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;

	sendq_fini(&p->out);
	mem_free(p);
}

static void
peer_close(struct peer *p)
{
	struct backend *b = p->backend;

	if (p->closed)
		return;
	p->closed = true;
	if (p->r)
		p->r->peer = NULL;
	p->r = NULL;
	wheel_clear(&p->w->wheel, &p->timer);
	if (b->load.upgraded > 0)
		b->load.upgraded--;
	balance_end(&b->load);
	account_gauge(b->connections, -1);
	backend_unref(b);
	uv_close((uv_handle_t *)&p->tcp, peer_closed);
}

static void
peer_abort(struct peer *p)
{
	static const struct linger at_once = {.l_onoff = 1};
	uv_os_fd_t fd;

	if (!p->closed && uv_fileno((uv_handle_t *)&p->tcp, &fd) == 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	peer_close(p);
}

/* It broke after it was connected. */
static void
peer_lost(struct peer *p)
{
	struct relay_tcp *r = p->r;

	peer_close(p);
	if (r)
		downstream_abort(r->c);
}

static void
blame(struct relay_tcp *r, struct backend *b)
{
	struct worker *w = r->c->w;
	uint64_t now = worker_now_ms(w);

	if (balance_failed(&b->load, true, backend_spare(b, now), now))
		account_ejection(&w->account, r->c->endpoint->row.service_label);
}

/* It could not be connected to. */
static void
peer_refused(struct peer *p)
{
	struct relay_tcp *r = p->r;

	if (r)
		blame(r, p->backend);
	peer_close(p);
	if (r)
		attempt(r);
}

static void
on_shutdown(uv_shutdown_t *request, int status)
{
	(void)status;
	mem_free(request);
}

static void
peer_shut_now(struct peer *p)
{
	uv_shutdown_t *request = mem_alloc(MEM_PROXY, sizeof(*request));

	p->shut = true;
	if (!request || uv_shutdown(request, (uv_stream_t *)&p->tcp, on_shutdown))
		mem_free(request);
}

static void
peer_shut(struct peer *p)
{
	p->shut_wanted = true;
	if (!p->shut && p->connected && sendq_pending(&p->out) == 0)
		peer_shut_now(p);
}

static void
on_sent(struct sendq *q)
{
	struct peer *p = container_of(q, struct peer, out);

	if (p->closed)
		return;
	if (q->failed) {
		peer_lost(p);
		return;
	}
	if (p->shut_wanted && !p->shut)
		peer_shut_now(p);
	if (!p->r)
		peer_close(p); /* that was all */
	else if (!p->r->client_ended)
		downstream_resume(p->r->c);
}

/* After one half is over nobody waits for ever. */
static void
touch(struct relay_tcp *r)
{
	if ((r->client_ended || r->replica_ended) && r->peer && r->peer->connected)
		downstream_deadline(r->c, WORKER_STREAM_IDLE_MS);
}

/* libuv tells an end where a reset came together with the last bytes. */
static bool
was_reset(const uv_tcp_t *tcp)
{
	socklen_t length = sizeof(int);
	int code = 0;
	uv_os_fd_t fd;

	return uv_fileno((const uv_handle_t *)tcp, &fd) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code != 0;
}

static void
replica_end(struct relay_tcp *r)
{
	struct peer *p = r->peer;

	if (was_reset(&p->tcp)) {
		peer_lost(p);
		return;
	}

	r->replica_ended = true;
	p->reading = false;
	(void)uv_read_stop((uv_stream_t *)&p->tcp);
	if (r->client_ended) {
		downstream_finish(r->c);
		return;
	}
	downstream_shut(r->c);
	if (downstream_open(r->c))
		touch(r);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct peer *p = stream->data;
	struct relay_tcp *r = p->r;

	if (n == 0 || p->closed || !r)
		return;
	if (n == UV_EOF) {
		replica_end(r);
		return;
	}
	if (n < 0) {
		peer_lost(p);
		return;
	}
	downstream_write(r->c, b->base, (size_t)n);
	if (p->closed || !p->r)
		return;
	touch(r);
	if (downstream_pending(r->c) > HIGH_BYTES) {
		p->reading = false;
		(void)uv_read_stop(stream);
	}
}

static void
peer_read(struct peer *p)
{
	if (p->reading || p->closed || !p->connected || p->r->replica_ended)
		return;
	p->reading = uv_read_start((uv_stream_t *)&p->tcp, worker_alloc, on_read) == 0;
}

static bool
put(struct peer *p, const void *data, size_t length)
{
	union {
		const void *in;
		char *out;
	} x = {data};
	uv_buf_t b = uv_buf_init(x.out, (unsigned)length);

	return length == 0 || sendq_write(&p->out, &b, 1);
}

static bool
introduce(struct peer *p)
{
	const struct downstream *c = p->r->c;
	struct sockaddr_storage ss;
	uint8_t header[PP2_BYTES_MAX];
	struct addr asked;
	int length = sizeof(ss);

	if (!(c->endpoint->row.flags & MSG_STREAM_PROXY_PROTOCOL))
		return true;
	return uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&ss, &length) == 0 &&
	       addr_from_sockaddr((struct sockaddr *)&ss, (socklen_t)length, &asked) &&
	       put(p, header, pp2_write(&c->peer, &asked, false, header));
}

static void
keep_alive(uv_tcp_t *tcp)
{
	static const int interval = KEEP_INTERVAL_S, tries = KEEP_TRIES;
	uv_os_fd_t fd;

	(void)uv_tcp_nodelay(tcp, 1);
	(void)uv_tcp_keepalive(tcp, 1, KEEP_ALIVE_S);
	if (uv_fileno((uv_handle_t *)tcp, &fd) < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
}

static void
on_connect(uv_connect_t *connect, int status)
{
	struct peer *p = connect->data;
	struct relay_tcp *r = p->r;

	if (p->closed)
		return;
	if (status < 0) {
		peer_refused(p);
		return;
	}
	wheel_clear(&p->w->wheel, &p->timer);
	p->connected = true;
	p->backend->load.failures = 0;
	keep_alive(&p->tcp);
	if (!introduce(p) || !put(p, r->early.data, r->early.length)) {
		peer_lost(p);
		return;
	}
	buf_fini(&r->early);
	buf_init(&r->early, MEM_PROXY, EARLY_BYTES_MAX);
	touch(r);
	if (r->client_ended)
		peer_shut(p);
	else
		downstream_resume(r->c);
	if (!p->closed && p->r)
		peer_read(p);
}

static void
on_timeout(struct wheel_timer *t)
{
	struct peer *p = container_of(t, struct peer, timer);

	if (p->r && !p->connected)
		peer_refused(p);
	else
		peer_abort(p); /* it took no more bytes */
}

/* A machine that is gone refuses nothing, and who waits for it for long could have been served. */
static uint64_t
connect_ms(const struct relay_tcp *r, const struct backend *b)
{
	const struct service *s = b->service;

	return s && r->attempts < WORKER_ATTEMPTS &&
			       balance_has_other(s->loads, s->count, r->tried, r->attempts,
						 &b->load, worker_now_ms(r->c->w))
		       ? WORKER_CONNECT_OTHER_MS
		       : WORKER_CONNECT_MS;
}

static bool
peer_start(struct relay_tcp *r, struct backend *b)
{
	struct worker *w = r->c->w;
	struct peer *p = mem_zalloc(MEM_PROXY, sizeof(*p));
	struct addr to = b->row.addr;
	struct sockaddr_storage ss;

	if (!p)
		return false;
	p->w = w;
	p->backend = b;
	p->r = r;
	wheel_timer_init(&p->timer, on_timeout);
	(void)uv_tcp_init(w->loop, &p->tcp);
	p->tcp.data = p->connect.data = p;
	sendq_init(&p->out, (uv_stream_t *)&p->tcp, on_sent);
	backend_ref(b);
	balance_begin(&b->load);
	b->load.upgraded++; /* it stays as long as it likes */
	account_gauge(b->connections, 1);
	to.port = relay_port(r->c->endpoint, b);
	(void)addr_to_sockaddr(&to, &ss);
	r->peer = p;
	if (uv_tcp_connect(&p->connect, &p->tcp, (const struct sockaddr *)&ss, on_connect)) {
		peer_close(p);
		return false;
	}
	wheel_set(&w->wheel, &p->timer, worker_now_ms(w) + connect_ms(r, b));
	worker_wake_tick(w);
	return true;
}

/* ---- choosing ---- */

/* The next replica to try, noted as tried; NULL: none is left. */
static struct backend *
choose(struct relay_tcp *r)
{
	struct worker *w = r->c->w;
	const struct relay_endpoint *e = r->c->endpoint;
	struct service *s = backend_table_service(&w->backends, e->row.service);

	while (s && r->attempts < WORKER_ATTEMPTS) {
		int i = balance_choose(
			s->loads, s->count,
			e->row.balance == MSG_BALANCE_ROUND_ROBIN ? MSG_BALANCE_ROUND_ROBIN
								  : MSG_BALANCE_P2C,
			r->tried, r->attempts, &w->random.world, worker_now_ms(w), &s->turn);
		struct backend *b = i < 0 ? NULL : s->backends[i];

		for (unsigned k = 0; b && k < r->attempts; k++) {
			if (r->tried[k] == &b->load)
				return NULL;
		}
		if (!b)
			return NULL;
		r->tried[r->attempts++] = &b->load;
		if (relay_port(e, b))
			return b;
	}
	return NULL;
}

/* False: of those that wait for a service that sleeps there are too many. */
static bool
wait_for_one(struct relay_tcp *r)
{
	return r->attempts > 0 || !r->demand || !(r->c->endpoint->row.flags & MSG_STREAM_SLEEPS) ||
	       demand_wait(&r->c->w->demand, r->demand, &r->wait);
}

static void
woken(struct demand_wait *wait)
{
	struct relay_tcp *r = container_of(wait, struct relay_tcp, wait);

	wheel_clear(&r->c->w->wheel, &r->c->timer); /* until the next look */
	r->attempts = 0;
	attempt(r);
}

static void
attempt(struct relay_tcp *r)
{
	const struct relay_endpoint *e = r->c->endpoint;
	struct backend *b;

	while ((b = choose(r))) {
		if (peer_start(r, b)) {
			demand_stop(&r->c->w->demand, &r->wait);
			return;
		}
		blame(r, b);
	}
	if (worker_now_ms(r->c->w) < r->give_up_ms && wait_for_one(r)) {
		downstream_deadline(r->c, AGAIN_MS);
		return;
	}
	account_relay_rejected(&r->c->w->account, e->row.service_label,
			       r->attempts ? "unreachable" : "no_replica");
	downstream_abort(r->c);
}

/* ---- the client's side ---- */

static void
input(struct downstream *c, const uint8_t *data, size_t length)
{
	struct relay_tcp *r = c->session.relay;
	struct peer *p = r->peer;

	if (r->client_ended)
		return;
	if (!p || !p->connected) {
		buf_put(&r->early, data, length);
		downstream_pause(c);
		if (!buf_ok(&r->early))
			downstream_abort(c);
		return;
	}
	if (!put(p, data, length)) {
		peer_lost(p);
		return;
	}
	touch(r);
	if (sendq_pending(&p->out) > HIGH_BYTES)
		downstream_pause(c);
}

static void
eof(struct downstream *c)
{
	struct relay_tcp *r = c->session.relay;

	if (r->client_ended)
		return;
	if (was_reset(&c->tcp)) {
		downstream_close(c);
		return;
	}
	r->client_ended = true;
	if (r->peer)
		peer_shut(r->peer);
	if (r->replica_ended)
		downstream_finish(c);
	else
		touch(r);
}

static void
writable(struct downstream *c)
{
	struct relay_tcp *r = c->session.relay;

	if (r->peer)
		peer_read(r->peer);
}

static void
timeout(struct downstream *c)
{
	struct relay_tcp *r = c->session.relay;

	if (r->peer || r->replica_ended) {
		downstream_abort(c);
		return;
	}
	r->attempts = 0;
	attempt(r);
}

/* A draining worker keeps its streams until its grace ends. */
static void
drain(struct downstream *c)
{
	(void)c;
}

static void
closed(struct downstream *c)
{
	struct relay_tcp *r = c->session.relay;
	struct peer *p = r->peer;

	c->endpoint->connections--;
	demand_stop(&c->w->demand, &r->wait);
	if (r->demand)
		demand_leave(r->demand);
	r->demand = NULL;
	if (!p)
		return;
	if (!r->client_ended || !p->connected) {
		peer_abort(p);
		return;
	}
	if (sendq_pending(&p->out) == 0) {
		peer_close(p);
		return;
	}
	/* The replica still gets what the client sent before it ended. */
	p->r = NULL;
	r->peer = NULL;
	p->reading = false;
	(void)uv_read_stop((uv_stream_t *)&p->tcp);
	wheel_set(&p->w->wheel, &p->timer, worker_now_ms(p->w) + WORKER_STALL_MS);
	worker_wake_tick(p->w);
}

static void
release(struct downstream *c)
{
	buf_fini(&c->session.relay->early);
	mem_free(c->session.relay);
}

static const struct session_ops ops = {input, eof, writable, timeout, drain, closed, release};

bool
relay_tcp_open(struct downstream *c)
{
	struct relay_tcp *r = mem_zalloc(MEM_PROXY, sizeof(*r));

	if (!r)
		return false;
	r->c = c;
	buf_init(&r->early, MEM_PROXY, EARLY_BYTES_MAX);
	c->session.relay = r;
	c->ops = &ops;
	c->endpoint->connections++;
	demand_wait_init(&r->wait, woken);
	r->demand = demand_find(&c->w->demand, c->endpoint->row.service);
	if (r->demand)
		demand_enter(r->demand);
	r->give_up_ms = worker_now_ms(c->w) + (c->endpoint->row.flags & MSG_STREAM_SLEEPS
						       ? (uint64_t)DEMAND_WAIT_MS
						       : (uint64_t)WORKER_CONNECT_MS);
	wheel_clear(&c->w->wheel, &c->timer); /* the handshake's */
	keep_alive(&c->tcp);
	attempt(r);
	return true;
}
