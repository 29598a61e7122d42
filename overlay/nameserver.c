/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name server's own part: tables into names, who may ask what and how often.
 *
 * Who is served. Only questions to the node's own address in the overlay are looked at. Names of
 * ours are told to everybody in the fabric; only containers of this node, those of other
 * engines with them, may ask for others, so that a resolver of the machine that sends our questions
 * back is refused: a loop ends at its first turn. A container has a rate; what is above it is
 * dropped and counted, and its neighbours do not notice.
 *
 * Tables. A scheduler or runtime that comes again publishes bit by bit: until its table of backends
 * was committed once, the book made before stays, and the addresses of containers are kept as long
 * as the scheduler has the replica (ids are never used twice). Containers of others stay until a
 * runtime that knows all of them has them no more. That a container ended is taken from
 * the runtime at once, without waiting for the scheduler's judgement.
 */
#include "overlay/nameserver.h"

#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "overlay/allowance.h"
#include "overlay/answer.h"
#include "overlay/nameserver_query.h"
#include "overlay/nameserver_udp.h"
#include "overlay/peers.h"
#include "ring/metrics.h"

enum {
	UNSAID = 1, /* the version of a table that its producer has not committed yet */
	REBUILD_MS = 10,
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

struct container {
	uint64_t replica;
	struct addr addr4, addr6;
	bool running;
	struct allowance allowance;
};

struct guest { /* a container of others */
	struct msg_attachment row;
	struct allowance allowance;
};

struct udp {
	uv_poll_t poll;
	int fd;
};

static struct {
	struct station *st;
	struct msg_prefix prefix;
	const struct config_overlay *overlay;
	char node[MSG_NAME];
	struct names *names;
	struct forward *forward;
	struct map containers;   /* replica -> struct container */
	struct map guests;       /* attachment -> struct guest */
	struct allowance others; /* of all who are none */
	struct udp udp[UDP_MAX];
	size_t udp_count;
	int waiting[2 * UDP_MAX]; /* listeners that are not read yet */
	size_t waiting_count;
	bool open, loop_told, runtime_seen, resolvers_seen;
	uv_timer_t rebuild, settle;
	uint32_t turn;
	struct metric_series *counts[2][RESULTS];
} ns;

static void
count(bool tcp, enum result result)
{
	metric_add(ns.counts[tcp][result], 1);
}

/* ---- rates ---- */

/* NULL: no container of this node. */
static struct allowance *
allowance_of(const struct addr *from)
{
	struct container *c;
	struct guest *g;
	uint64_t id;

	if (!ns.names || !names_find(ns.names, from, &id))
		return NULL;
	if (msg_attachment_id(id))
		return (g = map_get_u64(&ns.guests, id)) != NULL ? &g->allowance : NULL;
	return (c = map_get_u64(&ns.containers, id)) != NULL ? &c->allowance : NULL;
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
	struct allowance *own = allowance_of(&asker->from);
	struct answer_asker who = {.from = asker->from, .tcp = tcp};

	if (!allowance_take(own ? own : &ns.others, world_mono_ns())) {
		count(tcp, LIMITED);
		return NAMESERVER_NOTHING;
	}
	who.turn = ns.turn++;
	enum answer answer =
		answer_query(ns.names, &who, data, bytes, &asker->query, out, cap, length_out);
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

/* ---- the book ---- */

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
	if (ns.names && ns.runtime_seen && ns.resolvers_seen)
		listen_now();
}

static void
settled(uv_timer_t *timer)
{
	(void)timer;
	listen_now();
}

static bool
add_service(void *arg, uint64_t key, const void *row)
{
	(void)key;
	names_add_service(arg, row);
	return true;
}

struct building {
	struct names *names;
	struct ring_reader *scheduler;
};

static bool
add_replica(void *arg, uint64_t key, const void *bytes)
{
	const struct building *b = arg;
	const struct msg_replica *row = bytes;
	const struct msg_backend *backend = ring_table_get(b->scheduler, MSG_TABLE_BACKEND, key);
	const struct msg_identity *identity = ring_table_get(b->scheduler, MSG_TABLE_IDENTITY, key);
	const struct container *c = map_get_u64(&ns.containers, key);
	struct names_replica r = {
		.id = key, .service = row->service, .index = row->index, .running = true};

	if (c) {
		r.addr4 = c->addr4;
		r.addr6 = c->addr6;
		r.running = c->running;
		r.local = true;
	} else if (identity) {
		r.addr4 = identity->addr4;
		r.addr6 = identity->addr6;
	}
	if (identity)
		r.overlays = identity->flags | MSG_IDENTITY_SAID;
	if (backend) {
		r.ready = backend->state != MSG_BACKEND_DRAINING;
		memcpy(r.ports, backend->ports, sizeof(r.ports));
		if (!c && addr_is_zero(&r.addr4) && addr_is_v4(&backend->addr))
			r.addr4 = backend->addr;
	}
	names_add_replica(b->names, &r);
	return true;
}

/* Containers of replicas that the scheduler does not know any more. */
static void
forget_containers(struct ring_reader *scheduler)
{
	struct map_iter it = {0};

	while (map_next(&ns.containers, &it)) {
		struct container *c = it.value;

		if (ring_table_get(scheduler, MSG_TABLE_REPLICA, c->replica))
			continue;
		map_remove_u64(&ns.containers, c->replica);
		mem_free(c);
	}
}

/* A runtime that is started again has all of them in its table once it has said anything. */
static void
add_guests(struct names *names, const struct ring_reader *runtime)
{
	bool whole = runtime && ring_table_version(runtime, MSG_TABLE_ATTACHMENT) > UNSAID;
	struct map_iter it = {0};

	while (map_next(&ns.guests, &it)) {
		struct guest *g = it.value;

		if (!whole || ring_table_get(runtime, MSG_TABLE_ATTACHMENT, g->row.id)) {
			names_add_guest(names, &g->row);
			continue;
		}
		map_remove_u64(&ns.guests, g->row.id);
		mem_free(g);
	}
}

static void
add_nodes(struct names *names)
{
	names_add_prefix(names, &ns.prefix.v4);
	names_add_prefix(names, &ns.prefix.v6);
	names_add_node(names, ns.node, &ns.prefix.service4, &ns.prefix.service6);
	peers_add_names(ns.overlay, names);
}

static void
rebuild(uv_timer_t *timer)
{
	struct building b = {names_new(), station_reader(ns.st, ROLE_SCHEDULER, 0)};
	const struct ring_reader *runtime = station_reader(ns.st, ROLE_RUNTIME, 0);

	if (b.names && b.scheduler && ring_table_version(b.scheduler, MSG_TABLE_BACKEND) > UNSAID) {
		forget_containers(b.scheduler);
		add_nodes(b.names);
		ring_table_each(b.scheduler, MSG_TABLE_SERVICE, add_service, b.names);
		ring_table_each(b.scheduler, MSG_TABLE_REPLICA, add_replica, &b);
		add_guests(b.names, runtime);
		if (names_finish(b.names)) {
			names_free(ns.names);
			ns.names = b.names;
			listen_when_known();
			return;
		}
	}
	if (!b.names || b.scheduler)
		uv_timer_start(timer, rebuild, NAMESERVER_SETTLE_MS, 0);
	names_free(b.names);
}

static void
book_is_old(void)
{
	if (!uv_is_active((uv_handle_t *)&ns.rebuild) ||
	    uv_timer_get_due_in(&ns.rebuild) > REBUILD_MS)
		uv_timer_start(&ns.rebuild, rebuild, REBUILD_MS, 0);
}

/* ---- tables ---- */

static void
on_container(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_container *row = bytes;
	struct container *c = map_get_u64(&ns.containers, key);

	(void)arg;
	if (!row)
		return; /* forgotten when the scheduler has forgotten the replica */
	if (!c && (c = mem_zalloc(MEM_OVERLAY, sizeof(*c))) != NULL &&
	    map_put_u64(&ns.containers, key, c) < 0) {
		mem_free(c);
		c = NULL;
	}
	if (!c)
		return;
	c->replica = key;
	c->addr4 = row->addr4;
	c->addr6 = row->addr6;
	c->running = row->state == MSG_CONTAINER_RUNNING;
	if (ns.names)
		names_set_running(ns.names, key, c->running);
}

static void
on_attachment(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_attachment *row = bytes;
	struct guest *g = map_get_u64(&ns.guests, key);

	(void)arg;
	if (!row || row->id != key)
		return; /* forgotten with the next book */
	if (!g && (g = mem_zalloc(MEM_OVERLAY, sizeof(*g))) != NULL &&
	    map_put_u64(&ns.guests, key, g) < 0) {
		mem_free(g);
		g = NULL;
	}
	if (g)
		g->row = *row;
}

static void
on_node(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_node *row = bytes;

	(void)arg;
	(void)key;
	if (row && MSG_OK(row->name))
		text_copy(ns.node, sizeof(ns.node), row->name);
}

static bool
sync_scheduler(struct ring_reader *r)
{
	bool service = ring_table_sync(r, MSG_TABLE_SERVICE, sizeof(struct msg_service), NULL,
				       NULL) == RING_OK;
	bool replica = ring_table_sync(r, MSG_TABLE_REPLICA, sizeof(struct msg_replica), NULL,
				       NULL) == RING_OK;
	bool backend = ring_table_sync(r, MSG_TABLE_BACKEND, sizeof(struct msg_backend), NULL,
				       NULL) == RING_OK;
	bool identity = ring_table_sync(r, MSG_TABLE_IDENTITY, sizeof(struct msg_identity), NULL,
					NULL) == RING_OK;

	return service || replica || backend || identity;
}

void
nameserver_wake(struct ring_reader *reader)
{
	bool changed = false;

	switch (ring_reader_role(reader)) {
	case ROLE_SCHEDULER:
		changed = sync_scheduler(reader);
		break;
	case ROLE_RUNTIME:
		changed = ring_table_sync(reader, MSG_TABLE_CONTAINER, sizeof(struct msg_container),
					  on_container, NULL) == RING_OK;
		ns.runtime_seen |= changed;
		changed |=
			ring_table_sync(reader, MSG_TABLE_ATTACHMENT, sizeof(struct msg_attachment),
					on_attachment, NULL) == RING_OK;
		break;
	case ROLE_NODE:
		changed = ring_table_sync(reader, MSG_TABLE_NODE, sizeof(struct msg_node), on_node,
					  NULL) == RING_OK;
		break;
	default:
		break;
	}
	if (changed)
		book_is_old();
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
	book_is_old();
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
nameserver_start(struct station *st, const struct msg_prefix *prefix,
		 const struct config_overlay *overlay, struct err *err)
{
	ns.st = st;
	ns.prefix = *prefix;
	ns.overlay = overlay;
	text_copy(ns.node, sizeof(ns.node), station_welcome(st)->node);
	map_init(&ns.containers, MEM_OVERLAY);
	map_init(&ns.guests, MEM_OVERLAY);
	open_counts();
	ns.forward = forward_new(st, answered, NULL);
	if (!ns.forward)
		return err_set(err, ERR_NO_MEMORY, "no memory for the name server");
	uv_timer_init(station_loop(st), &ns.rebuild);
	uv_timer_init(station_loop(st), &ns.settle);
	uv_timer_start(&ns.settle, settled, NAMESERVER_SETTLE_MS, 0);
	return 0;
}
