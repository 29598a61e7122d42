/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name server's own part: who may ask what and how often (the names: nameserver_book.c).
 *
 * Who is served. Only questions to the node's own address in the overlay are looked at. Names of
 * ours are told to everybody in the fabric; only containers of this node, those of other
 * engines with them, may ask for others, so that a resolver of the machine that sends our questions
 * back is refused: a loop ends at its first turn. A container has a rate; what is above it is
 * dropped and counted, and its neighbours do not notice.
 */
#include "overlay/nameserver.h"

#include <sys/socket.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/world.h"
#include "overlay/answer.h"
#include "overlay/nameserver_book.h"
#include "overlay/nameserver_query.h"
#include "overlay/nameserver_udp.h"
#include "ring/metrics.h"

enum {
	UDP_MAX = 4,
	BATCHES = 2, /* a turn */
};

enum result {
	ANSWERED,
	NODATA,
	NXDOMAIN,
	FORWARDED,
	SERVFAIL,
	REFUSED,
	LOOP,
	MALFORMED,
	LIMITED,
	DROPPED,
	RESULTS,
};

static const char *const result_names[RESULTS] = {
	[ANSWERED] = "answered",   [NODATA] = "nodata",       [NXDOMAIN] = "nxdomain",
	[FORWARDED] = "forwarded", [SERVFAIL] = "servfail",   [REFUSED] = "refused",
	[LOOP] = "loop",           [MALFORMED] = "malformed", [LIMITED] = "limited",
	[DROPPED] = "dropped",
};

struct udp {
	uv_poll_t poll;
	int fd;
};

static struct {
	struct station *st;
	struct msg_prefix prefix;
	struct forward *forward;
	struct allowance others; /* of all who are none */
	struct udp udp[UDP_MAX];
	size_t udp_count;
	int waiting[2 * UDP_MAX]; /* listeners that are not read yet */
	size_t waiting_count;
	bool open, loop_told, resolvers_seen;
	uv_timer_t settle;
	uint32_t turn;
	struct metric_series *counts[2][RESULTS];
} ns;

static void
count(bool tcp, enum result result)
{
	metric_add(ns.counts[tcp][result], 1);
}

/* ---- one query ---- */

bool
nameserver_query_is_own(const struct addr *to)
{
	return addr_equal_ip(to, &ns.prefix.service4) || addr_equal_ip(to, &ns.prefix.service6);
}

size_t
nameserver_query_failed(const struct forward_asker *asker, uint8_t *out, size_t cap)
{
	return answer_empty(&asker->query, DNS_SERVFAIL, out, cap);
}

/* Another name than ours. */
static enum nameserver_query
send_on(struct forward_asker *asker, bool tcp, bool ours, uint8_t *out, size_t cap, size_t *length)
{
	const struct dns_query *q = &asker->query;
	enum dns_rcode rcode = DNS_SERVFAIL;

	if (!ours) {
		bool loop = forward_has(ns.forward, &q->question);
		count(tcp, loop ? LOOP : REFUSED);
		if (loop && !ns.loop_told)
			log_event(LOG_WARN, "a resolver of the machine sends our questions back",
				  LOG_END);
		ns.loop_told |= loop;
		rcode = DNS_REFUSED;
	} else if (forward_ask(ns.forward, asker, tcp) == FORWARD_TAKEN) {
		count(tcp, FORWARDED);
		return NAMESERVER_WAIT;
	} else {
		count(tcp, SERVFAIL);
	}
	*length = answer_empty(q, rcode, out, cap);
	return NAMESERVER_ANSWER;
}

enum nameserver_query
nameserver_query(struct forward_asker *asker, bool tcp, const void *data, size_t bytes,
		 uint8_t *out, size_t cap, size_t *length_out)
{
	static const enum result results[] = {
		[ANSWER_RECORDS] = ANSWERED,    [ANSWER_NODATA] = NODATA,
		[ANSWER_NXDOMAIN] = NXDOMAIN,   [ANSWER_REFUSED] = REFUSED,
		[ANSWER_MALFORMED] = MALFORMED, [ANSWER_DROP] = DROPPED,
	};
	struct allowance *own = nameserver_book_allowance(&asker->from);
	struct answer_asker who = {.from = asker->from, .tcp = tcp};

	if (!allowance_take(own ? own : &ns.others, world_mono_ns())) {
		count(tcp, LIMITED);
		return NAMESERVER_NOTHING;
	}
	who.turn = ns.turn++;
	enum answer answer = answer_query(nameserver_book_names(), &who, data, bytes, &asker->query,
					  out, cap, length_out);
	if (answer == ANSWER_FOREIGN)
		return send_on(asker, tcp, own != NULL, out, cap, length_out);
	count(tcp, results[answer]);
	return answer == ANSWER_DROP ? NAMESERVER_NOTHING : NAMESERVER_ANSWER;
}

/* ---- datagrams ---- */

static size_t
on_datagram(void *arg, struct forward_asker *asker, const void *data, size_t bytes, uint8_t *out)
{
	size_t length = 0;

	(void)arg;
	if (!nameserver_query_is_own(&asker->to))
		count(false, DROPPED);
	else if (nameserver_query(asker, false, data, bytes, out, DNS_EDNS_BYTES, &length) !=
		 NAMESERVER_ANSWER)
		length = 0;
	return length;
}

static void
udp_ready(uv_poll_t *poll, int status, int events)
{
	struct udp *u = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < BATCHES; i++) {
		struct nameserver_udp_read done = nameserver_udp_read(u->fd, u, on_datagram, NULL);

		metric_add(ns.counts[false][DROPPED], done.useless);
		if (done.count < NAMESERVER_UDP_BATCH)
			break;
	}
}

static void
udp_listen(int fd)
{
	struct udp *u = &ns.udp[ns.udp_count];

	if (ns.udp_count == UDP_MAX || uv_poll_init(station_loop(ns.st), &u->poll, fd) < 0) {
		fd_close(&fd);
		return;
	}
	ns.udp_count++;
	u->fd = fd;
	u->poll.data = u;
	nameserver_udp_prepare(fd);
	uv_poll_start(&u->poll, UV_READABLE, udp_ready);
}

static void
answered(void *arg, const struct forward_asker *asker, void *message, size_t bytes)
{
	static uint8_t out[DNS_EDNS_BYTES];
	struct udp *u = asker->way;

	(void)arg;
	if (!message)
		count(asker->serial != 0, SERVFAIL);
	if (asker->serial != 0)
		nameserver_tcp_answered(asker, message, bytes);
	else if (message)
		nameserver_udp_send(u->fd, asker, message, bytes);
	else
		nameserver_udp_send(u->fd, asker, out,
				    nameserver_query_failed(asker, out, sizeof(out)));
}

/* ---- when it begins ---- */

static void
listen_now(void)
{
	if (ns.open)
		return;
	ns.open = true;
	uv_timer_stop(&ns.settle);
	for (size_t i = 0; i < ns.waiting_count; i++) {
		int type = 0;
		socklen_t length = sizeof(type);

		if (getsockopt(ns.waiting[i], SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
		    type == SOCK_DGRAM)
			udp_listen(ns.waiting[i]);
		else
			nameserver_tcp_listen(ns.st, ns.waiting[i]);
	}
	ns.waiting_count = 0;
}

/* A predecessor told the truth until a moment ago. */
static void
listen_when_known(void)
{
	if (nameserver_book_is_known() && ns.resolvers_seen)
		listen_now();
}

static void
settled(uv_timer_t *timer)
{
	(void)timer;
	listen_now();
}

/* ---- from node ---- */

static void
take_resolvers(int fd)
{
	struct resolvers resolvers;
	struct buf text;
	struct err err = {0};

	buf_init(&text, MEM_OVERLAY, RESOLVERS_TEXT_MAX);
	if (fd_read_all(fd, &text, &err) < 0)
		log_err(LOG_WARN, "the machine's resolvers are not known", &err);
	resolvers_parse((const char *)text.data, text.length, &resolvers);
	buf_fini(&text);
	if (resolvers.count == 0)
		log_event(LOG_WARN, "the machine has no resolver: containers find only our names",
			  LOG_END);
	ns.loop_told = false;
	forward_set_resolvers(ns.forward, &resolvers);
	ns.resolvers_seen = true;
	listen_when_known();
}

static void
take_listener(int *fd)
{
	if (ns.waiting_count == sizeof(ns.waiting) / sizeof(ns.waiting[0]))
		return;
	ns.waiting[ns.waiting_count++] = fd_take(fd);
	if (ns.open) {
		ns.open = false;
		listen_now();
	}
}

void
nameserver_message(const struct leash_message *message, int *fds, size_t count_fds)
{
	switch (message->kind) {
	case LEASH_LISTENER:
		take_listener(&fds[0]);
		break;
	case LEASH_SOCKETS:
		for (size_t i = 0; i < count_fds; i++)
			forward_add_socket(ns.forward, fd_take(&fds[i]));
		break;
	case LEASH_FILE:
		if (message->a == LEASH_FILE_RESOLVERS)
			take_resolvers(fds[0]);
		break;
	default:
		break;
	}
}

void
nameserver_peers(void)
{
	nameserver_book_is_old();
}

void
nameserver_wake(struct ring_reader *reader)
{
	nameserver_book_wake(reader);
}

static void
open_counts(void)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		for (size_t i = 0; i < RESULTS; i++) {
			struct metric_labels labels = {0};

			metric_label(&labels, "protocol", tcp ? "tcp" : "udp");
			metric_label(&labels, "result", result_names[i]);
			ns.counts[tcp][i] =
				metrics_get(station_metrics(ns.st), METRICS_DNS_QUERIES, &labels);
		}
	}
}

int
nameserver_start(struct station *st, const struct msg_prefix *prefix, const struct peers *peers,
		 struct err *err)
{
	ns.st = st;
	ns.prefix = *prefix;
	open_counts();
	ns.forward = forward_new(st, answered, NULL);
	if (!ns.forward)
		return err_set(err, ERR_NO_MEMORY, "no memory for the name server");
	nameserver_book_start(st, prefix, peers, listen_when_known);
	uv_timer_init(station_loop(st), &ns.settle);
	uv_timer_start(&ns.settle, settled, NAMESERVER_SETTLE_MS, 0);
	return 0;
}
