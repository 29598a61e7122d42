/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question under way is a task; it holds one socket at a time. A UDP socket is connected for each
 * try anew, which gives it a new random port from the kernel, lets only the resolver's own
 * datagrams in, and tells of a port where nobody listens at once; with a random id for each try
 * that is what RFC 5452 asks for. A socket that is given back is disconnected, so that nothing more
 * comes in.
 *
 * A question that is under way already gets a further asker instead of a second task. That is also
 * the end of a loop: when a resolver sends our question back to us, it waits for itself, and all of
 * it ends with the last try.
 *
 * Who came by UDP is asked for by UDP, with the same EDNS size and DO bit, and gets what came, TC
 * bit included: then it comes again by TCP and is asked for by TCP. No answer is kept.
 */
#include "overlay/forward.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "ring/metrics.h"

enum { QUERY_BYTES = 2 + DNS_UDP_BYTES, ROUNDS = 2 };

struct task;

struct lane {
	struct forward *f;
	struct task *task; /* NULL: free */
	int fd;
	bool tcp, v6;
	uv_poll_t poll;
};

/* Allocated while a task is under way: most of the time none is. */
struct asked {
	struct forward_asker askers[FORWARD_ASKERS_MAX];
	uint8_t out[QUERY_BYTES];
};

struct task {
	struct forward *f;
	bool tcp;
	size_t askers_count; /* 0: free */
	struct asked *asked;
	uint16_t id;
	struct lane *lane;
	uv_timer_t timer;
	unsigned tries;
	unsigned used[RESOLVERS_MAX];
	size_t resolver;
	uint64_t sent_ns;
	size_t out_at, out_bytes;
	uint8_t *in; /* tcp: length and message */
	size_t in_bytes;
};

struct upstream {
	struct addr addr;
	uint64_t shun_until_ms;
	struct metric_series *answered, *timeout, *failed, *duration;
};

struct forward {
	struct station *st;
	forward_fn answered;
	void *arg;
	struct upstream upstreams[RESOLVERS_MAX];
	size_t upstreams_count;
	struct lane *lanes[FORWARD_LANES_MAX];
	size_t lanes_count;
	struct task tasks[FORWARD_TASKS_MAX];
	struct metric_series *under_way;
};

static void try_next(struct task *t);

struct forward *
forward_new(struct station *st, forward_fn answered, void *arg)
{
	struct forward *f = mem_zalloc(MEM_OVERLAY, sizeof(*f));

	if (!f)
		return NULL;
	f->st = st;
	f->answered = answered;
	f->arg = arg;
	f->under_way = metrics_get(station_metrics(st), METRICS_DNS_OUTSTANDING, NULL);
	for (size_t i = 0; i < FORWARD_TASKS_MAX; i++) {
		f->tasks[i].f = f;
		uv_timer_init(station_loop(st), &f->tasks[i].timer);
		f->tasks[i].timer.data = &f->tasks[i];
	}
	return f;
}

/* ---- sockets ---- */

static void
lane_closed(uv_handle_t *handle)
{
	struct lane *lane = handle->data;

	fd_close(&lane->fd);
	mem_free(lane);
}

void
forward_add_socket(struct forward *f, int fd)
{
	int type = 0, family = 0;
	socklen_t length = sizeof(int);
	struct lane *lane = NULL;

	if (f->lanes_count < FORWARD_LANES_MAX &&
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 &&
	    (type == SOCK_DGRAM || type == SOCK_STREAM) &&
	    (family == AF_INET || family == AF_INET6))
		lane = mem_zalloc(MEM_OVERLAY, sizeof(*lane));
	if (!lane || uv_poll_init(station_loop(f->st), &lane->poll, fd) < 0) {
		log_event(LOG_WARN, "a socket for resolvers is of no use", LOG_END);
		mem_free(lane);
		fd_close(&fd);
		return;
	}
	lane->f = f;
	lane->fd = fd;
	lane->tcp = type == SOCK_STREAM;
	lane->v6 = family == AF_INET6;
	lane->poll.data = lane;
	f->lanes[f->lanes_count++] = lane;
}

/* Without a peer and a port; what had come in is gone. */
static int
disconnect(struct lane *lane)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	uint8_t byte;

	if (connect(lane->fd, &nobody, sizeof(nobody)) < 0)
		return -1;
	while (!lane->tcp && recv(lane->fd, &byte, sizeof(byte), MSG_DONTWAIT) >= 0)
		;
	return 0;
}

static void
let_go(struct task *t)
{
	struct lane *lane = t->lane;

	uv_timer_stop(&t->timer);
	mem_free(t->in);
	t->in = NULL;
	t->lane = NULL;
	if (!lane)
		return;
	uv_poll_stop(&lane->poll);
	lane->task = NULL;
	if (disconnect(lane) == 0)
		return;
	/* It cannot be used again. */
	struct forward *f = t->f;
	for (size_t i = 0; i < f->lanes_count; i++)
		if (f->lanes[i] == lane)
			f->lanes[i] = f->lanes[--f->lanes_count];
	uv_close((uv_handle_t *)&lane->poll, lane_closed);
}

static struct lane *
free_lane(struct forward *f, bool tcp, bool v6)
{
	for (size_t i = 0; i < f->lanes_count; i++)
		if (!f->lanes[i]->task && f->lanes[i]->tcp == tcp && f->lanes[i]->v6 == v6)
			return f->lanes[i];
	return NULL;
}

/* ---- the end of a task ---- */

static void
finish(struct task *t, void *message, size_t bytes)
{
	struct forward *f = t->f;
	struct asked *asked = t->asked;
	size_t count = t->askers_count;

	/* The next question of one of them may take this very task. */
	t->asked = NULL;
	let_go(t);
	t->askers_count = 0;
	metric_gauge_add(f->under_way, -1);
	for (size_t i = 0; i < count; i++) {
		const struct forward_asker *a = &asked->askers[i];

		if (message)
			dns_write_again(message, bytes, a->query.id, &a->query.question);
		f->answered(f->arg, a, message, bytes);
	}
	mem_free(asked);
}

static struct upstream *
upstream_of(const struct task *t)
{
	return &t->f->upstreams[t->resolver];
}

static void
failed(struct task *t, bool timeout)
{
	struct upstream *u = upstream_of(t);

	metric_add(timeout ? u->timeout : u->failed, 1);
	u->shun_until_ms = uv_now(station_loop(t->f->st)) + FORWARD_SHUN_MS;
	try_next(t);
}

/* What came from the resolver. False: it is not the answer. */
static bool
take_answer(struct task *t, uint8_t *message, size_t bytes)
{
	struct upstream *u = upstream_of(t);
	uint16_t flags;

	if (!dns_read_answer(message, bytes, t->id, &t->asked->askers[0].query.question, &flags))
		return false;
	metric_add(u->answered, 1);
	metrics_observe(u->duration, METRICS_DNS_UPSTREAM_DURATION, world_mono_ns() - t->sent_ns);
	u->shun_until_ms = 0;
	unsigned rcode = flags & DNS_RCODE;
	bool useful = rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN;
	if (!useful && t->tries < t->f->upstreams_count)
		try_next(t);
	else
		finish(t, message, bytes);
	return true;
}

/* ---- one try ---- */

static void
timed_out(uv_timer_t *timer)
{
	failed(timer->data, true);
}

static void
read_datagrams(struct task *t)
{
	static uint8_t message[DNS_MESSAGE_MAX];
	struct lane *lane = t->lane;

	while (lane->task == t) {
		ssize_t n = recv(lane->fd, message, sizeof(message), MSG_DONTWAIT);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				failed(t, false);
			return;
		}
		if (take_answer(t, message, (size_t)n))
			return;
	}
}

static void
read_stream(struct task *t)
{
	size_t want = 2;

	for (;;) {
		if (t->in_bytes >= 2)
			want = 2u + ((size_t)t->in[0] << 8 | t->in[1]);
		if (t->in_bytes == want && want > 2)
			break;
		ssize_t n = want > 2 || t->in_bytes < 2 ? recv(t->lane->fd, t->in + t->in_bytes,
							       want - t->in_bytes, MSG_DONTWAIT)
							: 0;
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			failed(t, false);
			return;
		}
		t->in_bytes += (size_t)n;
	}
	/* The answer must outlive the task's buffer. */
	uint8_t *in = t->in;
	t->in = NULL;
	if (!take_answer(t, in + 2, want - 2))
		failed(t, false);
	mem_free(in);
}

static void
ready(uv_poll_t *poll, int status, int events)
{
	struct lane *lane = poll->data;
	struct task *t = lane->task;

	if (!t)
		return;
	if (status < 0) {
		failed(t, false);
		return;
	}
	if (events & UV_WRITABLE) {
		ssize_t n = send(lane->fd, t->asked->out + t->out_at, t->out_bytes - t->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			failed(t, false);
			return;
		}
		t->out_at += n > 0 ? (size_t)n : 0;
		if (t->out_at == t->out_bytes)
			uv_poll_start(poll, UV_READABLE, ready);
		return;
	}
	if (lane->tcp)
		read_stream(t);
	else
		read_datagrams(t);
}

/* Of those asked least for this task the first that is not shunned. */
static size_t
choose(const struct task *t)
{
	uint64_t now = uv_now(station_loop(t->f->st));
	size_t best = 0;

	for (size_t i = 1; i < t->f->upstreams_count; i++) {
		bool shun = t->f->upstreams[i].shun_until_ms > now;
		bool shun_best = t->f->upstreams[best].shun_until_ms > now;

		if (t->used[i] < t->used[best] ||
		    (t->used[i] == t->used[best] && shun_best && !shun))
			best = i;
	}
	return best;
}

static void
write_query(struct task *t)
{
	const struct dns_query *q = &t->asked->askers[0].query;
	struct world world;
	uint16_t udp = q->udp_bytes < DNS_EDNS_BYTES ? q->udp_bytes : DNS_EDNS_BYTES;

	world_real(&world);
	t->id = (uint16_t)world_random_below(&world, 65536);
	size_t n = dns_write_query(t->asked->out + 2, QUERY_BYTES - 2, t->id,
				   q->flags & (DNS_CD | DNS_AD), &q->question, q->edns ? udp : 0,
				   q->dnssec_ok);
	t->asked->out[0] = (uint8_t)(n >> 8);
	t->asked->out[1] = (uint8_t)n;
	t->out_at = t->tcp ? 0 : 2;
	t->out_bytes = n + 2;
}

static bool
begin_try(struct task *t)
{
	struct sockaddr_storage to;
	socklen_t length = addr_to_sockaddr(&upstream_of(t)->addr, &to);
	struct lane *lane = free_lane(t->f, t->tcp, to.ss_family == AF_INET6);

	if (!lane)
		return false;
	t->lane = lane;
	lane->task = t;
	t->in_bytes = 0;
	if (t->tcp && !(t->in = mem_alloc(MEM_OVERLAY, 2 + DNS_MESSAGE_MAX)))
		return false;
	write_query(t);
	t->sent_ns = world_mono_ns();
	if (connect(lane->fd, (struct sockaddr *)&to, length) < 0 && errno != EINPROGRESS)
		return false;
	return uv_poll_start(&lane->poll, UV_WRITABLE, ready) == 0;
}

static void
try_next(struct task *t)
{
	unsigned most = t->tcp ? FORWARD_TRIES_TCP_MAX : FORWARD_TRIES_MAX;

	if (most > ROUNDS * t->f->upstreams_count)
		most = ROUNDS * (unsigned)t->f->upstreams_count;
	for (;;) {
		let_go(t);
		if (t->tries == most) {
			finish(t, NULL, 0);
			return;
		}
		t->tries++;
		t->resolver = choose(t);
		t->used[t->resolver]++;
		if (begin_try(t))
			break;
		metric_add(upstream_of(t)->failed, 1);
	}
	uv_timer_start(&t->timer, timed_out, t->tcp ? FORWARD_TIMEOUT_TCP_MS : FORWARD_TIMEOUT_MS,
		       0);
}

static void
first_try(uv_timer_t *timer)
{
	try_next(timer->data);
}

/* ---- asking ---- */

static bool
same(const struct task *t, const struct dns_query *q, bool tcp)
{
	const struct dns_query *x = &t->asked->askers[0].query;

	return t->tcp == tcp && x->question.type == q->question.type &&
	       x->question.class == q->question.class && x->edns == q->edns &&
	       x->dnssec_ok == q->dnssec_ok && x->udp_bytes == q->udp_bytes &&
	       (x->flags & (DNS_CD | DNS_AD)) == (q->flags & (DNS_CD | DNS_AD)) &&
	       dns_name_equal(&x->question.name, &q->question.name);
}

/* The task that asks the same already, or a free one; NULL: none, or this source has enough. */
static struct task *
find_task(struct forward *f, const struct forward_asker *asker, bool tcp)
{
	struct task *equal = NULL, *unused = NULL;
	size_t of_source = 0;

	for (size_t i = 0; i < FORWARD_TASKS_MAX; i++) {
		struct task *t = &f->tasks[i];

		for (size_t k = 0; k < t->askers_count; k++)
			of_source += addr_equal_ip(&t->asked->askers[k].from, &asker->from);
		if (t->askers_count == 0)
			unused = t;
		else if (t->askers_count < FORWARD_ASKERS_MAX && same(t, &asker->query, tcp))
			equal = t;
	}
	if (of_source >= FORWARD_PER_SOURCE)
		return NULL;
	return equal ? equal : unused;
}

enum forward_ask
forward_ask(struct forward *f, const struct forward_asker *asker, bool tcp)
{
	if (f->upstreams_count == 0)
		return FORWARD_NOBODY;
	struct task *t = find_task(f, asker, tcp);
	if (!t || (!t->asked && !(t->asked = mem_alloc(MEM_OVERLAY, sizeof(*t->asked)))))
		return FORWARD_BUSY;
	t->asked->askers[t->askers_count++] = *asker;
	if (t->askers_count > 1)
		return FORWARD_TAKEN;
	t->tcp = tcp;
	t->tries = 0;
	memset(t->used, 0, sizeof(t->used));
	metric_gauge_add(f->under_way, 1);
	/* In the next turn: an answer must not come before the question was taken. */
	uv_timer_start(&t->timer, first_try, 0, 0);
	return FORWARD_TAKEN;
}

bool
forward_has(const struct forward *f, const struct dns_question *question)
{
	for (size_t i = 0; i < FORWARD_TASKS_MAX; i++) {
		const struct task *t = &f->tasks[i];

		if (t->askers_count > 0 &&
		    t->asked->askers[0].query.question.type == question->type &&
		    dns_name_equal(&t->asked->askers[0].query.question.name, &question->name))
			return true;
	}
	return false;
}

/* ---- resolvers ---- */

static struct metric_series *
series(struct forward *f, const char *resolver, const char *result)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "resolver", resolver);
	if (!result)
		return metrics_get(station_metrics(f->st), METRICS_DNS_UPSTREAM_DURATION, &labels);
	metric_label(&labels, "result", result);
	return metrics_get(station_metrics(f->st), METRICS_DNS_UPSTREAM_QUERIES, &labels);
}

void
forward_set_resolvers(struct forward *f, const struct resolvers *resolvers)
{
	memset(f->upstreams, 0, sizeof(f->upstreams));
	f->upstreams_count = resolvers->count;
	for (size_t i = 0; i < resolvers->count; i++) {
		struct upstream *u = &f->upstreams[i];
		char text[ADDR_TEXT_BYTES];

		u->addr = resolvers->at[i];
		addr_put_ip(&u->addr, text, sizeof(text));
		u->answered = series(f, text, "answered");
		u->timeout = series(f, text, "timeout");
		u->failed = series(f, text, "failed");
		u->duration = series(f, text, NULL);
	}
	for (size_t i = 0; i < FORWARD_TASKS_MAX; i++) {
		struct task *t = &f->tasks[i];

		if (t->askers_count == 0)
			continue;
		t->tries = 0;
		memset(t->used, 0, sizeof(t->used));
		if (f->upstreams_count == 0)
			finish(t, NULL, 0);
		else
			try_next(t);
	}
}
