/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The api role with this test as node, beside a scheduler and a runtime that only pretend:
 *
 *   test --socket--> api --ring--> fake scheduler, fake runtime; dataplane, overlay and node
 *                                  (rig_datapath.c)
 *     +-- hub (a child): leashes, segments, spool files
 */
#include "tests/unit/api/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/flow.h"

enum { REPLICA = 77, OPERATION = 5, OPERATION_LONG };

struct rig_control *rig_control;

/* ---- the scheduler that pretends ---- */

static uint64_t events;

static void
scheduler_layout(const struct leash_welcome *w, struct ring_layout *l)
{
	(void)w;
	l->log_bytes = 1 << 16;
	l->tables[0] = (struct ring_table_layout){MSG_TABLE_DEPLOYMENT, 1,
						  sizeof(struct msg_deployment), 8};
	l->tables[1] =
		(struct ring_table_layout){MSG_TABLE_SERVICE, 1, sizeof(struct msg_service), 8};
	l->tables[2] =
		(struct ring_table_layout){MSG_TABLE_REPLICA, 1, sizeof(struct msg_replica), 8};
	l->tables[3] =
		(struct ring_table_layout){MSG_TABLE_OPERATION, 1, sizeof(struct msg_operation), 8};
	l->tables[4] =
		(struct ring_table_layout){MSG_TABLE_MEMBER, 1, sizeof(struct msg_member), 8};
	l->tables[5] =
		(struct ring_table_layout){MSG_TABLE_CLUSTER, 1, sizeof(struct msg_cluster), 1};
	l->tables[6] = (struct ring_table_layout){MSG_TABLE_CRON, 1, sizeof(struct msg_cron), 8};
	l->tables[7] =
		(struct ring_table_layout){MSG_TABLE_STREAM, 1, sizeof(struct msg_stream), 8};
	l->tables[8] =
		(struct ring_table_layout){MSG_TABLE_BACKEND, 1, sizeof(struct msg_backend), 8};
	l->tables[9] =
		(struct ring_table_layout){MSG_TABLE_IDENTITY, 1, sizeof(struct msg_identity), 8};
	l->tables_count = 10;
	l->answers[0] = (struct ring_answers_layout){ROLE_API, 1, 256, RING_BODY_MAX};
	l->answers_count = 1;
	l->metric_series = 16;
}

static void
make_event(uint64_t id, struct msg_event *e)
{
	memset(e, 0, sizeof(*e));
	e->id = id;
	e->wall_ns = 1000000000 + (int64_t)id;
	e->severity = LOG_INFO;
	e->operation = OPERATION;
	text_copy(e->type, sizeof(e->type), "replica.ready");
	text_copy(e->deployment, sizeof(e->deployment), "shop");
}

static void
emit(struct station *st)
{
	struct msg_event e;

	make_event(++events, &e);
	ring_log_put(station_writer(st), MSG_RECORD_EVENT, 1, &e, sizeof(e));
	ring_log_publish(station_writer(st));
	station_kick(st);
}

static void
set_operation(struct station *st, uint64_t id, uint32_t state)
{
	struct msg_operation o = {.id = id, .deployment = 1, .kind = MSG_OPERATION_DEPLOY};

	o.state = state;
	o.revision = 2;
	o.previous_revision = 1;
	o.started_wall_ns = 1;
	text_copy(o.deployment_name, sizeof(o.deployment_name), "shop");
	ring_table_set(station_writer(st), MSG_TABLE_OPERATION, id, &o, NULL);
	station_kick(st);
}

/* Two nodes: this one, which takes the changes, and one that is away, and only dialed out. */
static void
make_cluster(struct ring_writer *w)
{
	struct msg_cluster c = {.self = 1, .admission = MSG_ADMISSION_TOKEN, .writable = 1};
	struct msg_member m = {.node = 1, .state = MSG_MEMBER_READY, .self = 1, .writer = 1};

	c.listens = atomic_load(&rig_control->listens);
	c.engine = MSG_STORE_WRITER;
	c.store_sequence = 9;
	c.trouble.kind = ERR_INVALID;
	text_copy(c.trouble.what, sizeof(c.trouble.what), "its clock is wrong");
	memset(c.id, 'a', sizeof(c.id) - 1);
	ring_table_set(w, MSG_TABLE_CLUSTER, 1, &c, NULL);
	text_copy(m.name, sizeof(m.name), "edge-1");
	text_copy(m.labels, sizeof(m.labels), "disk=ssd\ngpu=true\nbare=\n");
	text_copy(m.taints, sizeof(m.taints), "alone");
	m.cpu_milli = 2500;
	m.cpu_free_milli = 500;
	ring_table_set(w, MSG_TABLE_MEMBER, 1, &m, NULL);
	memset(&m, 0, sizeof(m));
	m.node = 20;
	m.state = MSG_MEMBER_DEAD;
	m.accuser = m.via = m.dials_out = 1;
	m.since_wall_ns = 1000000000;
	text_copy(m.name, sizeof(m.name), "edge-2");
	ring_table_set(w, MSG_TABLE_MEMBER, 20, &m, NULL);
}

/* Until it has heard everything; and what it is to forget. */
static void
look_around(uv_timer_t *timer)
{
	static bool heard;
	struct station *st = timer->data;

	if (!heard && !atomic_load(&rig_control->listens)) {
		heard = true;
		make_cluster(station_writer(st));
		station_kick(st);
	}
	if (atomic_load(&rig_control->forgets) &&
	    ring_table_remove(station_writer(st), MSG_TABLE_OPERATION, OPERATION_LONG))
		station_kick(st);
}

/* Endpoints of tcp of the service 2, of which two are the kernel's to carry. */
static void
make_endpoints(struct ring_writer *w)
{
	static const struct {
		const char *name;
		uint32_t flags;
	} all[] = {{"raw", MSG_STREAM_PUBLIC},
		   {"told", MSG_STREAM_PUBLIC | MSG_STREAM_PROXY_PROTOCOL},
		   {"safe", MSG_STREAM_PUBLIC | MSG_STREAM_TLS},
		   {"inside", 0}};
	struct msg_identity there = {.service = 2, .node = 20};

	for (uint64_t i = 0; i < 4; i++) {
		struct msg_stream e = {.id = 1 + i,
				       .service = 2,
				       .protocol = MSG_STREAM_TCP,
				       .flags = all[i].flags,
				       .port = (uint16_t)(7100 + i)};

		text_copy(e.endpoint, sizeof(e.endpoint), all[i].name);
		ring_table_set(w, MSG_TABLE_STREAM, e.id, &e, NULL);
	}
	for (uint64_t i = 0; i < 3; i++) {
		struct msg_backend b = {
			.replica = REPLICA + i, .service = 2, .state = MSG_BACKEND_ACTIVE};

		text_format(b.name, sizeof(b.name), "shop/web.%u", (unsigned)i + 1);
		ring_table_set(w, MSG_TABLE_BACKEND, b.replica, &b, NULL);
	}
	(void)addr_parse_ip("10.200.2.5", &there.addr4);
	ring_table_set(w, MSG_TABLE_IDENTITY, REPLICA + 1, &there, NULL);
	there.node = 90;
	(void)addr_parse_ip("10.200.3.255", &there.addr4);
	ring_table_set(w, MSG_TABLE_IDENTITY, REPLICA + 2, &there, NULL);
}

static int
scheduler_start(struct station *st, struct err *err)
{
	static uv_timer_t listens;
	struct ring_writer *w = station_writer(st);
	struct msg_deployment d = {.id = 1, .name = "shop", .state = MSG_DEPLOYMENT_STABLE};
	struct msg_service s = {.id = 2, .deployment = 1, .name = "web", .deployment_name = "shop"};
	struct msg_replica r = {.id = REPLICA, .service = 2, .index = 1, .attempt = 1};

	(void)err;
	d.revision = d.target_revision = 1;
	s.desired = s.cron = 1;
	text_copy(r.deployment_name, sizeof(r.deployment_name), "shop");
	text_copy(r.service_name, sizeof(r.service_name), "web");
	r.state = MSG_REPLICA_BACKOFF;
	r.conditions = MSG_SCHEDULED;
	r.reason.kind = ERR_NOT_FOUND;
	text_copy(r.reason.what, sizeof(r.reason.what), "cannot find the image");
	ring_table_set(w, MSG_TABLE_DEPLOYMENT, 1, &d, NULL);
	ring_table_set(w, MSG_TABLE_SERVICE, 2, &s, NULL);
	ring_table_set(w, MSG_TABLE_REPLICA, REPLICA, &r, NULL);
	r.id = REPLICA + 1;
	r.index = 2;
	r.state = MSG_REPLICA_READY;
	r.reason.kind = 0;
	text_copy(r.node, sizeof(r.node), "edge-2");
	ring_table_set(w, MSG_TABLE_REPLICA, REPLICA + 1, &r, NULL);
	r.id = REPLICA + 2;
	r.index = 3;
	text_copy(r.node, sizeof(r.node), "edge-9");
	ring_table_set(w, MSG_TABLE_REPLICA, r.id, &r, NULL);
	make_cluster(w);
	make_endpoints(w);
	uv_timer_init(station_loop(st), &listens);
	listens.data = st;
	uv_timer_start(&listens, look_around, 1, 1);
	for (int i = 0; i < 3; i++)
		emit(st);
	set_operation(st, OPERATION, MSG_OPERATION_DONE);
	set_operation(st, OPERATION_LONG, MSG_OPERATION_RUNNING);
	return 0;
}

static void
answer_events(struct station *st, const struct station_request *r, const struct msg_events_op *op)
{
	static struct msg_event list[100];
	size_t n = 0;
	uint64_t first = op->since + 1;

	if (events >= op->limit && first < events - op->limit + 1)
		first = events - op->limit + 1;
	for (uint64_t id = first; id <= events && n < 100; id++)
		make_event(id, &list[n++]);
	int fd = fd_memfd_sealed("events", list, n * sizeof(list[0]));
	station_answer(st, r, NULL, 0, &fd, 1);
	fd_close(&fd);
}

/* edge-2 said something before this node's first event and something with its second. */
static void
answer_far_events(struct station *st, const struct station_request *r,
		  const struct msg_far_events *op)
{
	struct msg_event list[2];
	struct err err = {0};

	if (op->node != 20 || atomic_load(&rig_control->away)) {
		err_set(&err, ERR_UNREACHABLE, "edge-2 is not reachable");
		station_answer_err(st, r, &err);
		return;
	}
	if (op->wait)
		return; /* nothing comes */
	for (uint64_t i = 0; i < 2; i++) {
		make_event(41 + i, &list[i]);
		list[i].wall_ns = 1000000000 + (i ? 2 : 0);
	}
	int fd = fd_memfd_sealed("events", list, sizeof(list));
	station_answer(st, r, NULL, 0, &fd, 1);
	fd_close(&fd);
}

/* Of either node the flows first, and one more that comes later. What was asked for comes back in
 * them: the service as the source, the peer, and `observed` as the destination's node. */
static void
make_flow(const struct msg_flows_op *op, uint64_t id, struct msg_flow_row *out)
{
	*out = (struct msg_flow_row){.id = id};
	out->flow.wall_ns = (int64_t)(1000000000 + id % 40);
	out->flow.verdict = op->verdict ? op->verdict : MSG_FLOW_DROPPED;
	out->flow.reason = out->flow.verdict == MSG_FLOW_DROPPED ? FLOW_ISOLATED : FLOW_PASSED;
	out->flow.way = MSG_FLOW_SEALED;
	out->flow.place = MSG_FLOW_VETH;
	out->flow.protocol = 6;
	out->flow.length = 60;
	(void)addr_parse("10.200.1.5:40000", &out->flow.source.addr);
	(void)addr_parse("[fd00::7]:5432", &out->flow.destination.addr);
	out->flow.source.deployment = out->flow.destination.deployment = 1;
	out->flow.source.service = 2;
	/* Of whoever came from another node it is not said whose it is. */
	out->flow.destination.service = op->peer[0] ? 0 : 3;
	out->source.index = 1;
	text_copy(out->source.deployment, MSG_NAME, op->deployment[0] ? op->deployment : "shop");
	text_copy(out->source.service, MSG_NAME, op->service[0] ? op->service : "web");
	text_copy(out->destination.node, MSG_NAME, op->observe ? "observed" : "");
	text_copy(out->peer, MSG_NAME, op->peer);
}

static void
answer_flows(struct station *st, const struct station_request *r, const struct msg_flows_op *op)
{
	const uint64_t first = op->node ? 41 : 2;
	struct msg_flow_row rows[3];
	struct err err = {0};
	size_t n = 0;

	if ((op->node && op->node != 20) || (op->node && atomic_load(&rig_control->away))) {
		err_set(&err, ERR_UNREACHABLE, "edge-2 is not reachable");
		station_answer_err(st, r, &err);
		return;
	}
	uint64_t newest = op->since == first || op->since == first + 1 ? first + 1 : first;
	for (uint64_t id = op->since ? first + 1 : first; id <= newest; id++)
		if (op->since == UINT64_MAX || id > op->since)
			make_flow(op, id, &rows[n++]);
	if (op->since == UINT64_MAX)
		n = 0;
	rows[n] = (struct msg_flow_row){.id = newest};
	rows[n++].flow.lost = op->since == first ? 9 : 0;
	int fd = fd_memfd_sealed("flows", rows, n * sizeof(rows[0]));
	station_answer(st, r, NULL, 0, &fd, 1);
	fd_close(&fd);
}

/* A node that remembers what it was told before as its zone: "label gpu, ". */
static void
answer_member(struct station *st, const struct station_request *r, const struct msg_node_op *op)
{
	static const char *const verbs[] = {
		[MSG_NODE_LABEL] = "label",   [MSG_NODE_UNLABEL] = "unlabel",
		[MSG_NODE_TAINT] = "taint",   [MSG_NODE_UNTAINT] = "untaint",
		[MSG_NODE_DRAIN] = "drain",   [MSG_NODE_UNDRAIN] = "undrain",
		[MSG_NODE_REMOVE] = "remove", [MSG_NODE_ROTATE] = "rotate",
	};
	static struct msg_member m = {.node = 20, .state = MSG_MEMBER_DEAD, .name = "edge-2"};
	struct err err = {0};
	size_t used = strlen(m.labels);

	if (strcmp(op->key, "bad") == 0) {
		err_set(&err, ERR_INVALID, "that is no label");
		station_answer_err(st, r, &err);
		return;
	}
	text_format(m.labels + used, sizeof(m.labels) - used, "%s.%s.%s=%s.%u.%u\n", op->node,
		    verbs[op->verb], op->key, op->value, op->seconds, op->force);
	station_answer(st, r, &m, sizeof(m), NULL, 0);
	m.labels[0] = strcmp(op->key, "first") == 0 ? m.labels[0] : 0;
}

static void
answer_join(struct station *st, const struct station_request *r, const struct msg_join *q, int fd)
{
	struct msg_joined a = {.node = 3, .nodes = 3, .id = "abc"};
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_BASE, 4096);
	if (fd_is_sealed(fd) && fd_read_all(fd, &b, &err) == 0 && b.length == 4 &&
	    memcmp(b.data, "zl1-", 4) == 0 && strcmp(q->name, "edge-9") == 0) {
		station_answer(st, r, &a, sizeof(a), NULL, 0);
	} else {
		err_set(&err, ERR_DENIED, "this ticket has ended");
		err_fix(&err, "ask for another one");
		station_answer_err(st, r, &err);
	}
	buf_fini(&b);
}

static void
answer_invite(struct station *st, const struct station_request *r, const struct msg_invite *q)
{
	struct msg_invited a = {.expires_s = 1000, .uses = q->uses, .created = 1};
	static const char word[] = "zl1-secret", not_one[] = "zl1 secret";
	const char *text = q->uses == 7 ? not_one : word;
	int fd = fd_memfd_sealed("ticket", text, strlen(text));

	station_answer(st, r, &a, sizeof(a), &fd, 1);
	fd_close(&fd);
}

static void
scheduler_request(struct station *st, const struct station_request *r, const void *body,
		  size_t bytes, int *fds, size_t count)
{
	struct msg_apply_answer a = {.operation = OPERATION, .revision = 2};
	struct msg_target_answer t = {.operation = OPERATION};
	const struct msg_apply *apply = body;
	struct err err = {0};

	(void)bytes, (void)count, (void)fds;
	switch (r->op) {
	case MSG_OP_EVENTS:
		answer_events(st, r, body);
		return;
	case MSG_OP_FAR_EVENTS:
		answer_far_events(st, r, body);
		return;
	case MSG_OP_FLOWS:
		answer_flows(st, r, body);
		return;
	case MSG_OP_APPLY:
		if (apply->has_expect && apply->expect_revision != 1) {
			err_set(&err, ERR_CONFLICT, "another revision is the newest");
			station_answer_err(st, r, &err);
			return;
		}
		text_copy(a.changes, sizeof(a.changes), "~ web image a -> b\n+ web env X\n");
		a.changes_bytes = (uint32_t)strlen(a.changes);
		emit(st);
		station_answer(st, r, &a, sizeof(a), NULL, 0);
		return;
	case MSG_OP_MEMBER:
		answer_member(st, r, body);
		return;
	case MSG_OP_INVITE:
		answer_invite(st, r, body);
		return;
	case MSG_OP_JOIN:
		answer_join(st, r, body, count == 1 ? fds[0] : -1);
		return;
	case MSG_OP_LEAVE:
		err_set(&err, ERR_UNREACHABLE, "the writer does not answer");
		if (((const struct msg_leave *)body)->force)
			station_answer(st, r, NULL, 0, NULL, 0);
		else
			station_answer_err(st, r, &err);
		return;
	case MSG_OP_ADMIT:
		station_answer(st, r, NULL, 0, NULL, 0);
		return;
	case MSG_OP_REMOVE:
		return; /* never answers */
	default:
		station_answer(st, r, &t, sizeof(t), NULL, 0);
	}
}

static const struct station_role scheduler = {
	.role = ROLE_SCHEDULER,
	.layout = scheduler_layout,
	.start = scheduler_start,
	.request = scheduler_request,
};

/* ---- the runtime that pretends ---- */

static void
runtime_layout(const struct leash_welcome *w, struct ring_layout *l)
{
	(void)w;
	l->answers[0] = (struct ring_answers_layout){ROLE_API, 1, 256, RING_BODY_MAX};
	l->answers_count = 1;
	l->metric_series = 16;
}

static int
runtime_start(struct station *st, struct err *err)
{
	(void)st, (void)err;
	return 0;
}

static void
put_frame(int fd, uint8_t type, const void *data, uint32_t bytes)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_BASE, 1 << 17);
	buf_u8(&b, type);
	buf_u8(&b, 0);
	buf_u16(&b, 0);
	buf_u32(&b, bytes);
	buf_put(&b, data, bytes);
	fd_nonblock(fd, false);
	if (fd_write_all(fd, b.data, b.length, &err) < 0)
		_exit(1);
	buf_fini(&b);
}

static void
put_line(int fd, int64_t at, const char *text)
{
	struct buf b;

	buf_init(&b, MEM_BASE, 4096);
	buf_u64(&b, (uint64_t)at);
	buf_u32(&b, 1);
	buf_u8(&b, 1);
	buf_u8(&b, 0);
	buf_u16(&b, 0);
	buf_puts(&b, text);
	put_frame(fd, MSG_FRAME_LINE, b.data, (uint32_t)b.length);
	buf_fini(&b);
}

static void
runtime_request(struct station *st, const struct station_request *r, const void *body, size_t bytes,
		int *fds, size_t count)
{
	struct msg_imported i = {.name = "test:1", .layers = 1};
	struct err err = {0};
	char argv[64] = {0};

	(void)body, (void)bytes;
	switch (r->op) {
	case MSG_OP_LOGS:
		put_line(fds[0], 1000000000, "first \"line\"");
		put_line(fds[0], 2000000000, "second\x1b[31m");
		station_answer(st, r, NULL, 0, NULL, 0);
		return;
	case MSG_OP_EXEC:
		if (count != 2 || pread(fds[1], argv, sizeof(argv), 0) < 1)
			_exit(1);
		if (strcmp(argv, "stay") == 0) {
			fds[0] = -1; /* it is open until this process ends */
			station_answer(st, r, NULL, 0, NULL, 0);
			return;
		}
		put_frame(fds[0], MSG_FRAME_STDOUT, argv, (uint32_t)strlen(argv));
		put_frame(fds[0], MSG_FRAME_EXIT, "\7\0\0", 4);
		station_answer(st, r, NULL, 0, NULL, 0);
		return;
	case MSG_OP_IMAGE_IMPORT:
		i.bytes = (uint64_t)lseek(fds[0], 0, SEEK_END);
		station_answer(st, r, &i, sizeof(i), NULL, 0);
		return;
	default:
		err_set(&err, ERR_NOT_FOUND, "there is no such image");
		station_answer_err(st, r, &err);
	}
}

static const struct station_role runtime = {
	.role = ROLE_RUNTIME,
	.layout = runtime_layout,
	.start = runtime_start,
	.request = runtime_request,
};

/* ---- the hub ---- */

struct side {
	const struct station_role *role;
	int leash;
	int segment;
	uint32_t generation;
	pid_t pid;
	bool leaves;
};

enum { SCHEDULER, RUNTIME, API, DATAPLANE, OVERLAY, NODE, SIDES };
static struct side sides[] = {
	[SCHEDULER] = {&scheduler, -1, -1, 0, 0, false},
	[RUNTIME] = {&runtime, -1, -1, 0, 0, false},
	[API] = {&api_role, -1, -1, 0, 0, false},
	[DATAPLANE] = {&rig_dataplane, -1, -1, 0, 0, false},
	[OVERLAY] = {&rig_overlay, -1, -1, 0, 0, false},
	[NODE] = {&rig_node, -1, -1, 0, 0, false},
};
char rig_path[108];

/* Each time another of its next allocations fails. */
static void
lack_memory(int signal_number)
{
	static int64_t n;

	(void)signal_number;
	mem_fail_after(n++ % 41);
}

static void
start(struct side *s)
{
	static struct leash_welcome w;
	struct leash_message m;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		_exit(1);
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		if (s->role == &api_role) {
			signal(SIGUSR1, lack_memory);
			rig_control->api = getpid();
		}
		_exit(station_main(s->role, pair[1],
				   s->role == &api_role ? &rig_control->times : NULL));
	}
	close(pair[1]);
	s->leash = pair[0];
	s->leaves = false;
	memset(&w, 0, sizeof(w));
	w.abi = RING_ABI;
	w.role = s->role->role;
	w.generation = ++s->generation;
	w.instances = 1;
	w.uid = w.gid = 61000u + w.role;
	w.log_level = LOG_ERROR;
	text_copy(w.node, sizeof(w.node), "edge-1");
	int fds[2] = {fd_memfd_sealed("welcome", &w, sizeof(w)),
		      fd_memfd_sealed("config", "config", 6)};
	leash_init(&m, LEASH_WELCOME);
	leash_send(s->leash, &m, fds, 2);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static void
introduce(struct side *reader, struct side *producer)
{
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int fds[2] = {producer->segment, wake};
	struct leash_message m;

	leash_init(&m, LEASH_PEER);
	m.peer_role = producer->role->role;
	leash_send(reader->leash, &m, fds, 2);
	leash_init(&m, LEASH_KICK);
	m.peer_role = reader->role->role;
	leash_send(producer->leash, &m, &wake, 1);
	close(wake);
}

static void
arrived(struct side *from, int listener)
{
	struct leash_message m;

	for (size_t i = 0; i < SIDES; i++) {
		struct side *other = &sides[i];

		if (other == from || other->segment < 0)
			continue;
		if (leash_reads(from->role->role, other->role->role))
			introduce(from, other);
		if (leash_reads(other->role->role, from->role->role))
			introduce(other, from);
	}
	if (from->role->role != ROLE_API)
		return;
	leash_init(&m, LEASH_LISTENER);
	text_copy(m.name, sizeof(m.name), "admin");
	m.a = 1;
	leash_send(from->leash, &m, &listener, 1);
}

/* As node does when a process has ended. */
static void
forget(struct side *gone)
{
	struct leash_message m;

	fd_close(&gone->leash);
	fd_close(&gone->segment);
	leash_init(&m, LEASH_PEER_GONE);
	m.peer_role = gone->role->role;
	m.a = gone->generation;
	for (size_t i = 0; i < SIDES; i++)
		if (leash_reads(sides[i].role->role, gone->role->role) && sides[i].leash >= 0)
			leash_send(sides[i].leash, &m, NULL, 0);
}

static void
end(struct side *gone)
{
	kill(gone->pid, SIGKILL);
	waitpid(gone->pid, NULL, 0);
	forget(gone);
}

static void
replace(struct side *s)
{
	int status = -1;

	waitpid(s->pid, &status, 0);
	atomic_store(&rig_control->status, status);
	forget(s);
	start(s);
	atomic_fetch_add(&rig_control->left, 1);
}

static void
hub_message(struct side *from, int listener)
{
	struct leash_message m, reply;
	int fds[FD_PASS_MAX], spool;
	size_t count = 0;

	if (leash_recv(from->leash, &m, fds, FD_PASS_MAX, &count) < 0) {
		if (!from->leaves)
			_exit(0);
		replace(from);
		return;
	}
	if (m.kind == LEASH_SEGMENT) {
		from->segment = fd_take(&fds[0]);
		arrived(from, listener);
	} else if (m.kind == LEASH_SPOOL) {
		spool = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		leash_init(&reply, LEASH_SPOOLED);
		reply.id = m.id;
		leash_send(from->leash, &reply, &spool, 1);
		close(spool);
	} else if (m.kind == LEASH_DELIVER) {
		for (size_t i = 0; i < SIDES; i++)
			if (sides[i].role->role == m.to_role)
				leash_send(sides[i].leash, &m, fds, count);
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

static void
tell_to_leave(struct side *s)
{
	struct leash_message m;

	leash_init(&m, LEASH_STOP);
	m.a = UINT32_MAX;
	s->leaves = true;
	leash_send(s->leash, &m, NULL, 0);
}

/* As rig_tell() says. The same byte says that it is done. */
static void
command(int orders)
{
	char order;

	if (read(orders, &order, 1) != 1)
		_exit(0);
	if (order == 'k')
		end(&sides[SCHEDULER]);
	else if (order == 's')
		start(&sides[SCHEDULER]);
	else
		tell_to_leave(&sides[API]);
	if (write(orders, &order, 1) != 1)
		_exit(0);
}

static void
hub(int listener, int orders)
{
	struct pollfd p[SIDES + 1];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < SIDES; i++)
		start(&sides[i]);
	for (;;) {
		for (size_t i = 0; i < SIDES; i++)
			p[i] = (struct pollfd){.fd = sides[i].leash, .events = POLLIN};
		p[SIDES] = (struct pollfd){.fd = orders, .events = POLLIN};
		poll(p, SIDES + 1, -1);
		for (size_t i = 0; i < SIDES; i++)
			if (p[i].revents)
				hub_message(&sides[i], listener);
		if (p[SIDES].revents)
			command(orders);
	}
}

static pid_t hub_pid;
static int hub_orders;

void
rig_tell(char order)
{
	assert_int_equal(write(hub_orders, &order, 1), 1);
	assert_int_equal(read(hub_orders, &order, 1), 1);
}

int
rig_begin(const struct api_times *times)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	snprintf(rig_path, sizeof(rig_path), "/tmp/zlayer-api-%d.sock", getpid());
	unlink(rig_path);
	text_copy(sun.sun_path, sizeof(sun.sun_path), rig_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 64) < 0)
		return -1;
	int orders[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders) < 0)
		return -1;
	rig_control = mmap(NULL, sizeof(*rig_control), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rig_control == MAP_FAILED)
		return -1;
	if (times)
		rig_control->times = *times;
	hub_pid = fork();
	if (hub_pid == 0)
		hub(fd, orders[1]);
	close(fd);
	close(orders[1]);
	hub_orders = orders[0];
	return 0;
}

void
rig_end(void)
{
	kill(hub_pid, SIGKILL);
	waitpid(hub_pid, NULL, 0);
	close(hub_orders);
	munmap(rig_control, sizeof(*rig_control));
	unlink(rig_path);
}
