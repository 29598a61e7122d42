/* SPDX-License-Identifier: Apache-2.0 */

/*
 * udp endpoints.
 *
 * Datagrams are read and written in batches (recvmmsg, sendmmsg) over buffers that exist once per
 * worker. The address that a client asked comes with each datagram (IP_PKTINFO, RFC 3542), and the
 * answer leaves from it, so a socket on all addresses answers as the one that was asked.
 *
 * The table is bounded. When it is full, the oldest session that no replica has ever answered makes
 * room: senders that forge their address cannot push out those that get answers. If there is none,
 * what is new is dropped and counted.
 *
 * What a replica does not take at once is dropped, as any router would; so is what comes for a
 * service that sleeps, which wakes it.
 *
 * Two endpoints do not speak to each other through us: one forged datagram with the other's address
 * as its sender would go round for ever when both answer everything.
 */

#include "proxy/relay_udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/pp2.h"
#include "proxy/relay.h"
#include "proxy/worker.h"

enum {
	BATCH = 16,
	DATAGRAM_BYTES = 65536,
	CONTROL_BYTES = 64,
	TURNS_MAX = 8,        /* batches of one socket before others are looked at */
	DRAIN_IDLE_MS = 1000, /* of a session without its socket */
	RECEIVE_BYTES = 1 << 20,
};

struct udp_socket {
	struct worker *w;
	uv_poll_t poll;
	int fd;
	bool v6;
	bool closing; /* reads no more */
	size_t sessions;
	struct addr at;
};

/* What tells sessions apart: who asks, and which address. */
struct key {
	struct addr client;
	uint8_t asked[16];
	uint64_t port;
};

struct session {
	struct list link; /* unanswered ones of the worker, oldest first */
	struct key key;
	struct udp_socket *front;
	struct relay_endpoint *endpoint;
	struct demand_service *demand; /* NULL: not counted */
	struct demand_wait wait;       /* while the service sleeps and what is sent to it is lost */
	struct backend *backend;       /* NULL: none now */
	uv_poll_t *poll;               /* of the socket to the replica */
	int fd;                        /* -1: none */
	struct sockaddr_storage client;
	socklen_t client_bytes;
	uint32_t interface; /* of a link-local client */
	struct wheel_timer timer;
	uint64_t seen_ms;
	bool answered;
};

/* Shared by all sockets of the worker, within one callback. */
struct batch {
	struct mmsghdr messages[BATCH];
	struct iovec io[BATCH][2];
	struct sockaddr_storage from[BATCH];
	union {
		struct cmsghdr align;
		uint8_t bytes[CONTROL_BYTES];
	} control[BATCH];
	uint8_t header[BATCH][PP2_BYTES_MAX];
	uint8_t data[BATCH][DATAGRAM_BYTES];
};

static struct batch *batch; /* one worker per process */

/* ---- ends ---- */

static void
poll_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

static void
socket_closed(uv_handle_t *handle)
{
	struct udp_socket *s = handle->data;

	fd_close(&s->fd);
	mem_free(s);
}

static void
close_when_empty(struct udp_socket *s)
{
	if (s->closing && s->sessions == 0 && !uv_is_closing((uv_handle_t *)&s->poll))
		uv_close((uv_handle_t *)&s->poll, socket_closed);
}

/* Leaves its replica, if it has one. */
static void
detach(struct session *s)
{
	struct backend *b = s->backend;

	if (!b)
		return;
	s->backend = NULL;
	(void)uv_poll_stop(s->poll);
	uv_close((uv_handle_t *)s->poll, poll_closed);
	s->poll = NULL;
	fd_close(&s->fd);
	if (b->load.upgraded > 0)
		b->load.upgraded--;
	balance_end(&b->load);
	account_gauge(b->connections, -1);
	backend_unref(b);
}

static void
session_end(struct session *s)
{
	struct udp_socket *front = s->front;
	struct worker *w = front->w;

	detach(s);
	demand_stop(&w->demand, &s->wait);
	if (s->demand)
		demand_leave(s->demand);
	list_remove(&s->link);
	wheel_clear(&w->wheel, &s->timer);
	(void)map_remove(&w->sessions, &s->key, sizeof(s->key));
	account_relay_active(&w->account, true, false, -1);
	s->endpoint->connections--;
	relay_unref(s->endpoint);
	mem_free(s);
	front->sessions--;
	close_when_empty(front);
}

static uint64_t
patience_ms(const struct session *s)
{
	uint64_t ms = s->endpoint->row.session_timeout_ms;

	return s->front->closing && ms > DRAIN_IDLE_MS ? DRAIN_IDLE_MS : ms;
}

static void
on_idle(struct wheel_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	session_end(s);
}

static void
touch(struct session *s)
{
	struct worker *w = s->front->w;

	s->seen_ms = worker_now_ms(w);
	wheel_set(&w->wheel, &s->timer, s->seen_ms + patience_ms(s));
	worker_wake_tick(w);
}

bool
relay_udp_busy(const struct worker *w)
{
	return map_count(&w->sessions) > 0;
}

/* ---- answers ---- */

static void
prepare_receive(bool control)
{
	for (size_t i = 0; i < BATCH; i++) {
		batch->io[i][0] = (struct iovec){batch->data[i], DATAGRAM_BYTES};
		batch->messages[i].msg_hdr = (struct msghdr){
			.msg_name = control ? &batch->from[i] : NULL,
			.msg_namelen = control ? sizeof(batch->from[i]) : 0,
			.msg_iov = batch->io[i],
			.msg_iovlen = 1,
			.msg_control = control ? batch->control[i].bytes : NULL,
			.msg_controllen = control ? CONTROL_BYTES : 0,
		};
	}
}

/* Says which of our addresses a datagram is to leave from. */
static void
put_source(const struct session *s, size_t i, struct msghdr *m)
{
	struct cmsghdr *c = (struct cmsghdr *)batch->control[i].bytes;

	memset(batch->control[i].bytes, 0, CONTROL_BYTES);
	m->msg_control = batch->control[i].bytes;
	if (s->front->v6) {
		struct in6_pktinfo info = {.ipi6_ifindex = s->interface};

		memcpy(&info.ipi6_addr, s->key.asked, sizeof(info.ipi6_addr));
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in_pktinfo info = {.ipi_ifindex = 0};

		memcpy(&info.ipi_spec_dst, s->key.asked + 12, sizeof(info.ipi_spec_dst));
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

static void
send_back(struct session *s, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct msghdr *m = &batch->messages[i].msg_hdr;

		batch->io[i][0].iov_len = batch->messages[i].msg_len;
		*m = (struct msghdr){
			.msg_name = &s->client,
			.msg_namelen = s->client_bytes,
			.msg_iov = batch->io[i],
			.msg_iovlen = 1,
		};
		put_source(s, i, m);
	}
	for (size_t at = 0; at < count;) {
		int n = sendmmsg(s->front->fd, batch->messages + at, (unsigned)(count - at), 0);

		/* One that cannot be sent (too long, no route) is lost; the others are not. */
		at += n > 0 ? (size_t)n : 1;
	}
}

/* The replica's port is closed, or it is gone: the next datagram goes to another one. */
static void
refused(struct session *s)
{
	struct worker *w = s->front->w;
	struct backend *b = s->backend;

	uint64_t now = worker_now_ms(w);

	if (balance_failed(&b->load, true, backend_spare(b, now), now))
		account_ejection(&w->account, s->endpoint->row.service_label);
	detach(s);
}

static void
on_answer(uv_poll_t *poll, int status, int events)
{
	struct session *s = poll->data;

	(void)events;
	for (unsigned turn = 0; turn < TURNS_MAX && s->backend; turn++) {
		prepare_receive(false);
		int n = status < 0 ? -1 : recvmmsg(s->fd, batch->messages, BATCH, 0, NULL);

		if (n < 0 && status == 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			refused(s);
			return;
		}
		if (!s->answered) {
			s->answered = true;
			list_remove(&s->link);
			s->backend->load.failures = 0;
		}
		send_back(s, (size_t)n);
		touch(s);
		if (n < BATCH)
			return;
	}
}

/* ---- to a replica ---- */

static bool
attach(struct session *s, struct backend *b)
{
	struct addr to = b->row.addr;
	struct sockaddr_storage ss;
	struct worker *w = s->front->w;
	socklen_t bytes;

	to.port = relay_port(s->endpoint, b);
	bytes = addr_to_sockaddr(&to, &ss);
	defer_close int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	uv_poll_t *poll = mem_zalloc(MEM_PROXY, sizeof(*poll));

	if (fd < 0 || !poll || connect(fd, (struct sockaddr *)&ss, bytes) < 0 ||
	    uv_poll_init(w->loop, poll, fd) < 0) {
		mem_free(poll);
		return false;
	}
	poll->data = s;
	(void)uv_poll_start(poll, UV_READABLE, on_answer);
	s->fd = fd_take(&fd);
	s->poll = poll;
	s->backend = b;
	backend_ref(b);
	balance_begin(&b->load);
	b->load.upgraded++;
	account_gauge(b->connections, 1);
	return true;
}

/* Makes sure of a replica that is there. */
static bool
settle(struct session *s)
{
	struct worker *w = s->front->w;
	const struct service *service;
	struct backend *b;

	if (s->backend && (s->backend->gone || !relay_port(s->endpoint, s->backend)))
		detach(s);
	if (s->backend)
		return true;
	service = backend_table_service(&w->backends, s->endpoint->row.service);
	b = relay_pick(s->endpoint, service, &s->key.client, worker_now_ms(w));
	if (b && attach(s, b)) {
		demand_stop(&w->demand, &s->wait);
		return true;
	}
	if (!b && s->demand && s->endpoint->row.flags & MSG_STREAM_SLEEPS)
		(void)demand_wait(&w->demand, s->demand, &s->wait);
	account_relay_rejected(&w->account, s->endpoint->row.service_label,
			       b ? "no_memory" : "no_replica");
	return false;
}

/* Datagrams first .. first + count of the batch, all of one session. */
static void
send_on(struct session *s, size_t first, size_t count)
{
	bool tell = s->endpoint->row.flags & MSG_STREAM_PROXY_PROTOCOL;
	bool again = false;
	struct addr asked = {.port = s->front->at.port};

	memcpy(asked.ip, s->key.asked, sizeof(asked.ip));
	touch(s); /* also without a replica: a session that nobody serves ends by its time */
	if (!settle(s))
		return;
	for (size_t i = first; i < first + count; i++) {
		struct iovec body = {batch->data[i], batch->messages[i].msg_len};

		batch->io[i][tell] = body;
		if (tell)
			batch->io[i][0] =
				(struct iovec){batch->header[i], pp2_write(&s->key.client, &asked,
									   true, batch->header[i])};
		batch->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = batch->io[i], .msg_iovlen = tell ? 2 : 1};
	}
	for (size_t at = first; at < first + count;) {
		int n = sendmmsg(s->fd, batch->messages + at, (unsigned)(first + count - at), 0);

		if (n < 0 && errno == ECONNREFUSED && !again) {
			/* What the last one met. */
			again = true;
			refused(s);
			if (!settle(s))
				break;
			continue;
		}
		at += n > 0 ? (size_t)n : 1;
	}
}

/* ---- sessions ---- */

static bool
make_room(struct worker *w, const struct relay_endpoint *e)
{
	if (mem_used_all() > w->memory_max) {
		account_relay_rejected(&w->account, e->row.service_label, "memory");
		return false;
	}
	if (map_count(&w->sessions) < w->sessions_max)
		return true;
	if (list_empty(&w->unanswered)) {
		account_relay_rejected(&w->account, e->row.service_label, "sessions");
		return false;
	}
	session_end(container_of(w->unanswered.next, struct session, link));
	return true;
}

/* From the address that was asked, and the port of an endpoint. */
static bool
is_ourselves(const struct worker *w, const struct key *key)
{
	return memcmp(key->client.ip, key->asked, sizeof(key->asked)) == 0 &&
	       relay_find(&w->relay, true, key->client.port) != NULL;
}

/* The next datagram finds the replica. */
static void
woken(struct demand_wait *wait)
{
	(void)wait;
}

static struct session *
session_new(struct udp_socket *front, struct relay_endpoint *e, const struct key *key,
	    const struct msghdr *m)
{
	struct worker *w = front->w;
	struct session *s;

	if (!relay_admits(e, &key->client) || is_ourselves(w, key)) {
		account_relay_rejected(&w->account, e->row.service_label, "denied");
		return NULL;
	}
	s = make_room(w, e) ? mem_zalloc(MEM_PROXY, sizeof(*s)) : NULL;
	if (!s || map_put(&w->sessions, key, sizeof(*key), s, NULL)) {
		mem_free(s);
		return NULL;
	}
	s->key = *key;
	s->front = front;
	s->fd = -1;
	s->endpoint = relay_ref(e);
	memcpy(&s->client, m->msg_name, m->msg_namelen);
	s->client_bytes = m->msg_namelen;
	demand_wait_init(&s->wait, woken);
	s->demand = demand_find(&w->demand, e->row.service);
	if (s->demand)
		demand_enter(s->demand);
	list_push(&w->unanswered, &s->link);
	wheel_timer_init(&s->timer, on_idle);
	e->connections++;
	front->sessions++;
	account_relay_accepted(&w->account, true);
	account_relay_active(&w->account, true, false, 1);
	return s;
}

/* Who sent it, and to which of our addresses. */
static bool
read_key(const struct udp_socket *front, struct msghdr *m, struct key *out, uint32_t *interface_out)
{
	memset(out, 0, sizeof(*out));
	*interface_out = 0;
	if (!addr_from_sockaddr(m->msg_name, m->msg_namelen, &out->client) || !out->client.port)
		return false;
	out->port = front->at.port;
	memcpy(out->asked, front->at.ip, sizeof(out->asked));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(out->asked + 12, &info.ipi_addr, sizeof(info.ipi_addr));
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(out->asked, &info.ipi6_addr, sizeof(info.ipi6_addr));
			if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				*interface_out = info.ipi6_ifindex;
		}
	}
	return true;
}

static struct session *
session_of(struct udp_socket *front, struct relay_endpoint *e, size_t i)
{
	struct msghdr *m = &batch->messages[i].msg_hdr;
	struct session *s;
	uint32_t interface;
	struct key key;

	if (!read_key(front, m, &key, &interface))
		return NULL;
	s = map_get(&front->w->sessions, &key, sizeof(key));
	/* The port is another endpoint's now. */
	if (s && s->endpoint != e) {
		session_end(s);
		s = NULL;
	}
	if (!s)
		s = session_new(front, e, &key, m);
	if (s)
		s->interface = interface;
	return s;
}

static bool
is_of(const struct udp_socket *front, const struct session *s, size_t i)
{
	uint32_t interface;
	struct key key;

	return read_key(front, &batch->messages[i].msg_hdr, &key, &interface) &&
	       memcmp(&key, &s->key, sizeof(key)) == 0;
}

static void
take(struct udp_socket *front, size_t count)
{
	struct relay_endpoint *e = relay_find(&front->w->relay, true, front->at.port);
	for (size_t i = 0; e && i < count;) {
		struct session *s = session_of(front, e, i);
		size_t run = 1;

		while (s && i + run < count && is_of(front, s, i + run))
			run++;
		if (s)
			send_on(s, i, run);
		i += run;
	}
}

static void
on_datagrams(uv_poll_t *poll, int status, int events)
{
	struct udp_socket *front = poll->data;

	(void)events;
	for (unsigned turn = 0; turn < TURNS_MAX && status == 0 && !front->closing; turn++) {
		prepare_receive(true);
		int n = recvmmsg(front->fd, batch->messages, BATCH, 0, NULL);

		if (n <= 0)
			return;
		take(front, (size_t)n);
		if (n < BATCH)
			return;
	}
}

/* ---- sockets ---- */

struct udp_socket *
relay_udp_open(struct worker *w, int fd, const struct addr *at)
{
	static const int one = 1, receive = RECEIVE_BYTES;
	struct udp_socket *s = mem_zalloc(MEM_PROXY, sizeof(*s));

	if (!batch)
		batch = mem_zalloc(MEM_PROXY, sizeof(*batch));
	if (!s || !batch || uv_poll_init(w->loop, &s->poll, fd) < 0) {
		mem_free(s);
		(void)close(fd);
		return NULL;
	}
	s->w = w;
	s->fd = fd;
	s->at = *at;
	s->v6 = !addr_is_v4(at);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
	if (s->v6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	else
		(void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	s->poll.data = s;
	(void)uv_poll_start(&s->poll, UV_READABLE, on_datagrams);
	return s;
}

void
relay_udp_close(struct udp_socket *s)
{
	struct map_iter it = {0};

	if (s->closing)
		return;
	s->closing = true;
	(void)uv_poll_stop(&s->poll);
	while (map_next(&s->w->sessions, &it)) {
		struct session *of = it.value;

		if (of->front == s)
			touch(of);
	}
	close_when_empty(s);
}
