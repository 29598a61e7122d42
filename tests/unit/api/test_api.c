/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The api role with this test as node, beside a scheduler and a runtime that only pretend:
 *
 *   test --socket--> api --ring--> fake scheduler, fake runtime
 *     +-- hub (a child): leashes, segments, spool files
 */
#include "api/api.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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
#include "api/route.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "wire/json_read.h"

enum { REPLICA = 77, OPERATION = 5, BIG = 4 << 20 };

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
	l->tables_count = 6;
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
set_operation(struct station *st, uint32_t state)
{
	struct msg_operation o = {.id = OPERATION, .deployment = 1, .kind = MSG_OPERATION_DEPLOY};

	o.state = state;
	o.revision = 2;
	o.previous_revision = 1;
	o.started_wall_ns = 1;
	text_copy(o.deployment_name, sizeof(o.deployment_name), "shop");
	ring_table_set(station_writer(st), MSG_TABLE_OPERATION, OPERATION, &o, NULL);
	station_kick(st);
}

/* Two nodes: this one, which takes the changes, and one that is away. */
static void
make_cluster(struct ring_writer *w)
{
	struct msg_cluster c = {.self = 1, .admission = MSG_ADMISSION_TOKEN, .writable = 1};
	struct msg_member m = {.node = 1, .state = MSG_MEMBER_READY, .self = 1, .writer = 1};

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
	m.accuser = 1;
	m.since_wall_ns = 1000000000;
	text_copy(m.name, sizeof(m.name), "edge-2");
	ring_table_set(w, MSG_TABLE_MEMBER, 20, &m, NULL);
}

static int
scheduler_start(struct station *st, struct err *err)
{
	struct ring_writer *w = station_writer(st);
	struct msg_deployment d = {.id = 1, .name = "shop", .state = MSG_DEPLOYMENT_STABLE};
	struct msg_service s = {.id = 2, .deployment = 1, .name = "web", .deployment_name = "shop"};
	struct msg_replica r = {.id = REPLICA, .service = 2, .index = 1, .attempt = 1};

	(void)err;
	d.revision = d.target_revision = 1;
	s.desired = 1;
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
	make_cluster(w);
	for (int i = 0; i < 3; i++)
		emit(st);
	set_operation(st, MSG_OPERATION_DONE);
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

/* A node that remembers what it was told before as its zone: "label gpu, ". */
static void
answer_member(struct station *st, const struct station_request *r, const struct msg_node_op *op)
{
	static const char *const verbs[] = {
		[MSG_NODE_LABEL] = "label",   [MSG_NODE_UNLABEL] = "unlabel",
		[MSG_NODE_TAINT] = "taint",   [MSG_NODE_UNTAINT] = "untaint",
		[MSG_NODE_DRAIN] = "drain",   [MSG_NODE_UNDRAIN] = "undrain",
		[MSG_NODE_REMOVE] = "remove",
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
};

static struct side sides[] = {{&scheduler, -1, -1}, {&runtime, -1, -1}, {&api_role, -1, -1}};
enum { SIDES = 3 };
static char path[108];

/* Of the api's process, which the test is not the parent of. */
static pid_t *api_pid;

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
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		if (s->role == &api_role) {
			signal(SIGUSR1, lack_memory);
			*api_pid = getpid();
		}
		_exit(station_main(s->role, pair[1], NULL));
	}
	close(pair[1]);
	s->leash = pair[0];
	memset(&w, 0, sizeof(w));
	w.abi = RING_ABI;
	w.role = s->role->role;
	w.generation = 1;
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

static void
hub_message(struct side *from, int listener)
{
	struct leash_message m, answer;
	int fds[FD_PASS_MAX], spool;
	size_t count = 0;

	if (leash_recv(from->leash, &m, fds, FD_PASS_MAX, &count) < 0)
		_exit(0);
	if (m.kind == LEASH_SEGMENT) {
		from->segment = fd_take(&fds[0]);
		arrived(from, listener);
	} else if (m.kind == LEASH_SPOOL) {
		spool = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		leash_init(&answer, LEASH_SPOOLED);
		answer.id = m.id;
		leash_send(from->leash, &answer, &spool, 1);
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
hub(int listener)
{
	struct pollfd p[SIDES];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < SIDES; i++)
		start(&sides[i]);
	for (;;) {
		for (size_t i = 0; i < SIDES; i++)
			p[i] = (struct pollfd){.fd = sides[i].leash, .events = POLLIN};
		poll(p, SIDES, -1);
		for (size_t i = 0; i < SIDES; i++)
			if (p[i].revents)
				hub_message(&sides[i], listener);
	}
}

static pid_t hub_pid;

static int
setup(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct err err = {0};

	(void)state;
	snprintf(path, sizeof(path), "/tmp/zlayer-api-%d.sock", getpid());
	unlink(path);
	text_copy(sun.sun_path, sizeof(sun.sun_path), path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 64) < 0)
		return -1;
	api_pid = mmap(NULL, sizeof(*api_pid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (api_pid == MAP_FAILED)
		return -1;
	hub_pid = fork();
	if (hub_pid == 0)
		hub(fd);
	close(fd);
	return json_read_open(&err);
}

static int
teardown(void **state)
{
	(void)state;
	kill(hub_pid, SIGKILL);
	waitpid(hub_pid, NULL, 0);
	unlink(path);
	return 0;
}

/* ---- the client ---- */

static int
dial(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	text_copy(sun.sun_path, sizeof(sun.sun_path), path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static char answer[1 << 20];

/* Sends, reads until the end or until `until` is there. Gives the status, 0 when none came. */
static unsigned
talk(const char *request, size_t bytes, const char *until)
{
	int fd = dial();
	size_t length = 0;
	ssize_t n;

	(void)!send(fd, request, bytes, MSG_NOSIGNAL);
	answer[0] = 0;
	while (length + 1 < sizeof(answer) &&
	       (n = recv(fd, answer + length, sizeof(answer) - 1 - length, 0)) > 0) {
		length += (size_t)n;
		answer[length] = 0;
		if (until && memmem(answer, length, until, strlen(until)))
			break;
	}
	close(fd);
	return length > 12 ? (unsigned)atoi(answer + 9) : 0;
}

static unsigned
ask(const char *method, const char *target, const char *extra, const char *body)
{
	char request[8192];

	snprintf(request, sizeof(request),
		 "%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s%s%zu\r\n\r\n%s", method,
		 target, extra, body ? "content-length: " : "x-none: ", body ? strlen(body) : 0,
		 body ? body : "");
	return talk(request, strlen(request), NULL);
}

/* The tables arrive a moment after the socket. */
static void
wait_ready(void)
{
	for (int i = 0; i < 2000; i++) {
		if (ask("GET", "/v1/deployments/shop", "", NULL) == 200 &&
		    ask("GET", "/v1/events", "", NULL) == 200)
			return;
		poll(NULL, 0, 10);
	}
	fail_msg("the api never saw the tables");
}

static bool
has(const char *text)
{
	return strstr(answer, text) != NULL;
}

static void
test_views(void **state)
{
	(void)state;
	wait_ready();
	assert_int_equal(ask("GET", "/healthz", "", NULL), 200);
	assert_int_equal(ask("GET", "/readyz", "", NULL), 503); /* nobody published processes */
	assert_int_equal(ask("GET", "/v1/status", "", NULL), 200);
	assert_true(has("\"shop/web.1: cannot find the image\""));
	assert_int_equal(ask("GET", "/v1/replicas/77", "", NULL), 200);
	assert_true(has("\"type\":\"ImageReady\",\"status\":false,\"reason\":\"not_found\""));
	assert_int_equal(ask("GET", "/v1/replicas?target=shop/web.1", "", NULL), 200);
	assert_true(has("\"id\":77"));
	assert_int_equal(ask("GET", "/v1/replicas?target=other", "", NULL), 200);
	assert_false(has("\"id\":77"));
	assert_int_equal(ask("GET", "/v1/deployments/shop", "", NULL), 200);
	assert_true(has("etag: \"1\""));
	assert_int_equal(ask("HEAD", "/v1/version", "", NULL), 200);
	assert_false(has("{"));
	assert_int_equal(ask("GET", "/v1/openapi.json", "", NULL), 200);
}

static const char document[] =
	"version: v1\ndeployment: shop\nservices:\n  web:\n    image: {name: "
	"a:1}\n";

static void
test_changes(void **state)
{
	(void)state;
	wait_ready();
	assert_int_equal(ask("PUT", "/v1/deployments/shop", "", document), 202);
	assert_true(has("\"changes\":[\"~ web image a -> b\",\"+ web env X\"]"));
	assert_int_equal(ask("PUT", "/v1/deployments/shop", "if-match: \"1\"\r\n", document), 202);
	assert_int_equal(ask("PUT", "/v1/deployments/shop", "if-match: \"9\"\r\n", document), 412);
	assert_int_equal(ask("PUT", "/v1/deployments/shop", "if-match: x\r\n", document), 412);
	assert_int_equal(ask("PUT", "/v1/deployments/other", "", document), 400);
	assert_int_equal(ask("PUT", "/v1/deployments/shop", "", "version: v2\nfoo: 1\n"), 400);
	assert_true(has("\"diagnostics\":[{\"code\":"));
	assert_int_equal(ask("PATCH", "/v1/services/shop/web", "", "{\"replicas\": 3}"), 202);
	assert_int_equal(ask("PATCH", "/v1/services/shop/web", "", "{\"replicas\": -3}"), 400);
	assert_int_equal(ask("PATCH", "/v1/services/shop/web", "", "{\"replica\": 3}"), 400);
	assert_int_equal(ask("PATCH", "/v1/services/shop/none", "", "{\"replicas\": 3}"), 404);
	assert_int_equal(ask("POST", "/v1/deployments/shop/stop", "", "{\"index\": 1"), 400);
	assert_int_equal(ask("POST", "/v1/deployments/shop/stop", "", "{\"grace_ms\": 1}"), 202);
	assert_int_equal(ask("DELETE", "/v1/images/none%2Fimage:1", "", NULL), 404);
	assert_int_equal(ask("POST", "/v1/images?name=a:1", "", "0123456789"), 201);
	assert_true(has("\"bytes\":10,"));
	assert_int_equal(ask("POST", "/v1/images", "", NULL), 400);
}

static void
test_nodes(void **state)
{
	(void)state;
	wait_ready();
	assert_int_equal(ask("GET", "/v1/nodes", "", NULL), 200);
	assert_true(
		has("{\"items\":[{\"id\":1,\"name\":\"edge-1\",\"self\":true,\"state\":\"alive\""));
	assert_true(has("\"labels\":{\"disk\":\"ssd\",\"gpu\":\"true\",\"bare\":\"\"},\"taints\":{"
			"\"alone\":\"\"}"));
	assert_true(has("\"cpu_milli\":2500,\"cpu_free_milli\":500,\"memory_bytes\":null"));
	assert_int_equal(ask("GET", "/v1/nodes/20", "", NULL), 200);
	assert_true(has("\"name\":\"edge-2\"") && has("\"accuser\":\"edge-1\""));
	assert_int_equal(ask("GET", "/v1/nodes/edge-2", "", NULL), 200);
	assert_true(has("\"since\":\"1970-01-01T00:00:01"));
	assert_int_equal(ask("GET", "/v1/nodes/2", "", NULL), 404);
	assert_true(has("zlayer node ls"));
	assert_int_equal(ask("GET", "/v1/replicas/77", "", NULL), 200);
	assert_true(has("\"node\":null,\"here\":true"));
	assert_int_equal(ask("GET", "/v1/replicas/78", "", NULL), 200);
	assert_true(has("\"node\":\"edge-2\",\"here\":false"));
	assert_int_equal(ask("POST", "/v1/nodes/none/drain", "", NULL), 404);
	assert_int_equal(ask("POST", "/v1/nodes/edge-2/drain", "", "{\"seconds\": 30}"), 200);
	assert_true(has("\"20.drain.\":\".30.0\""));
	assert_int_equal(ask("POST", "/v1/nodes/edge-2/drain", "", "{\"second\": 30}"), 400);
	assert_int_equal(ask("POST", "/v1/nodes/edge-2/undrain", "", NULL), 200);
	assert_true(has("\"20.undrain.\":"));
	assert_int_equal(ask("DELETE", "/v1/nodes/edge-2?force=true", "", NULL), 200);
	assert_true(has("\"20.remove.\":\".0.1\""));
	assert_int_equal(ask("DELETE", "/v1/nodes/edge-2?force=maybe", "", NULL), 400);
	assert_int_equal(
		ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"first\": \"1\", \"b\": null}}"),
		200);
	assert_true(has("\"20.label.first\":\"1.0.0\"") && has("\"20.unlabel.b\":\".0.0\""));
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "",
			     "{\"taints\": {\"first\": \"\", \"c\": null}, \"labels\": {}}"),
			 200);
	assert_true(has("\"20.taint.first\":") && has("\"20.untaint.c\":"));
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{}"), 200);
	assert_true(has("\"name\":\"edge-2\",\"self\":false"));
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"bad\": \"x\"}}"), 400);
	assert_true(has("that is no label"));
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{\"labels\": [\"x\"]}"), 400);
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"x\": 1}}"), 400);
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"\": \"x\"}}"), 400);
	assert_int_equal(ask("PATCH", "/v1/nodes/20", "", "{\"label\": {}}"), 400);
}

static void
test_cluster(void **state)
{
	(void)state;
	wait_ready();
	assert_int_equal(ask("GET", "/v1/cluster", "", NULL), 200);
	assert_true(has(
		"\"self\":1,\"admission\":\"token\",\"store\":{\"engine\":\"writer\",\"writer\":"
		"\"edge-1\",\"writable\":true,\"why\":null,\"sequence\":9,\"members\":[],"
		"\"voters\":0,\"voters_up\":0,\"note\":null},\"nodes\":{\"total\":2,"
		"\"new\":0,\"alive\":1,\"suspect\":0,\"unreachable\":1,\"left\":0}"));
	assert_int_equal(ask("GET", "/v1/status", "", NULL), 200);
	assert_true(has("\"cluster: its clock is wrong\"") &&
		    has("\"node edge-2: does not answer since 1970-01-01T00:00:01Z\"") &&
		    has("\"edge-1 said so\"") && has("zlayer node rm edge-2"));
	assert_true(has("\"cluster\":{\"id\":\"aaaa") && has("\"nodes\":[{\"id\":1"));
	assert_int_equal(ask("POST", "/v1/cluster/invite", "", "{\"uses\": 2, \"ttl_s\": 60}"),
			 200);
	assert_true(has("{\"ticket\":\"zl1-secret\",\"expires\":\"1970-01-01T00:16:40.000000000Z\","
			"\"uses\":2,\"created\":true}"));
	assert_int_equal(ask("POST", "/v1/cluster/invite", "", NULL), 200);
	assert_int_equal(ask("POST", "/v1/cluster/invite", "", "{\"uses\": 7}"), 422);
	assert_false(has("secret"));
	assert_int_equal(ask("POST", "/v1/cluster/invite", "", "{\"uses\": -1}"), 400);
	assert_int_equal(
		ask("POST", "/v1/cluster/join", "", "{\"ticket\": \"zl1-\", \"name\": \"edge-9\"}"),
		200);
	assert_true(has("{\"node\":3,\"nodes\":3,\"id\":\"abc\"}"));
	assert_int_equal(ask("POST", "/v1/cluster/join", "", "{\"ticket\": \"zl1-x\"}"), 403);
	assert_true(has("this ticket has ended") && has("ask for another one") && !has("zl1-x"));
	assert_int_equal(ask("POST", "/v1/cluster/join", "", "{\"ticket\": \"zl1 x\"}"), 400);
	assert_false(has("zl1 x"));
	assert_int_equal(ask("POST", "/v1/cluster/join", "", "{}"), 400);
	assert_int_equal(ask("POST", "/v1/cluster/join", "", "{\"ticket\": 5}"), 400);
	assert_int_equal(ask("POST", "/v1/cluster/leave", "", NULL), 503);
	assert_true(has("the writer does not answer") && !has("retry-after"));
	assert_int_equal(ask("POST", "/v1/cluster/leave", "", "{\"force\": true}"), 200);
	assert_int_equal(ask("PUT", "/v1/cluster/admission", "", "{\"mode\": \"closed\"}"), 200);
	assert_int_equal(ask("PUT", "/v1/cluster/admission", "", "{\"mode\": \"ajar\"}"), 400);
	assert_int_equal(ask("PUT", "/v1/cluster/admission", "", "{}"), 400);
}

static void
test_streams(void **state)
{
	static const char events_all[] =
		"GET /v1/events/stream?since=0 HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char events_late[] =
		"GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nlast-event-id: 2\r\n\r\n";
	static const char exec[] =
		"GET /v1/replicas/77/exec?command=hello HTTP/1.1\r\nhost: x\r\nconnection: "
		"upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: "
		"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

	(void)state;
	wait_ready();
	assert_int_equal(talk(events_all, strlen(events_all), "id: 3\n"), 200);
	assert_true(has("id: 1\n") && has("id: 2\n"));
	assert_int_equal(talk(events_late, strlen(events_late), "id: 3\n"), 200);
	assert_false(has("id: 2\n"));
	assert_int_equal(ask("GET", "/v1/operations/5/stream", "", NULL), 200);
	assert_true(has("event: operation\n") && has("event: replica\n") && has("event: result\n"));
	assert_int_equal(ask("GET", "/v1/replicas/77/logs", "", NULL), 200);
	assert_true(has("\"text\":\"first \\\"line\\\"\"}"));
	assert_int_equal(ask("GET", "/v1/logs?target=shop&tail=5", "", NULL), 200);
	assert_true(has("\"replica\":\"shop/web.1\""));
	assert_int_equal(talk(exec, strlen(exec), "\x88\x02\x03\xe8"), 101);
	assert_true(has("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

/* Without memory an answer is whole, an error, or cut; never a list that lacks something. */
static void
test_memory_runs_out(void **state)
{
	static const struct {
		const char *target, *last;
	} lists[] = {{"/v1/status", "\"warnings\":["},
		     {"/v1/deployments", "shop"},
		     {"/v1/services", "web"},
		     {"/v1/replicas", "web.1"},
		     {"/v1/services/shop/web", "web"}};
	unsigned refused = 0;

	(void)state;
	wait_ready();
	for (unsigned i = 0; i < 5 * 41 * 2; i++) {
		const char *target = lists[i % 5].target;

		assert_int_equal(kill(*api_pid, SIGUSR1), 0);
		unsigned status = ask("GET", target, "", NULL);
		const char *body = strstr(answer, "\r\n\r\n");
		const char *length = strstr(answer, "content-length: ");
		bool whole = body && length && strlen(body + 4) == strtoul(length + 16, NULL, 10);
		if (whole && status < 500) {
			if (status != 200 || !has(lists[i % 5].last) || !has("shop"))
				print_error("%s\n", answer);
			assert_int_equal(status, 200);
			assert_true(has(lists[i % 5].last) && has("shop"));
		}
		refused += status >= 500;
	}
	assert_true(refused > 0);
	wait_ready();
}

static void
test_hostile(void **state)
{
	static char big[BIG];
	static const struct {
		const char *request;
		unsigned status;
	} cases[] = {
		{"\x16\x03\x01\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET /healthz HTTP/9.1\r\nhost: x\r\n\r\n", 505},
		{"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n"
		 "transfer-encoding: chunked\r\n\r\n",
		 400},
		{"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na", 400},
		{"GET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/replicas/abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/replicas/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/events?since=-1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400},
		{"GET /v1/logs?target=../x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400},
		{"GET /v1/replicas/77/exec?command=a HTTP/1.1\r\nhost: x\r\nconnection: "
		 "close\r\n\r\n",
		 426},
		{"PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n",
		 413},
		{"PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
		 "chunked\r\n\r\nzz\r\n",
		 400},
	};

	(void)state;
	wait_ready();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(talk(cases[i].request, strlen(cases[i].request), NULL),
				 cases[i].status);
	assert_int_equal(ask("POST", "/v1/status", "", ""), 405);
	assert_true(has("allow: GET\r\n"));
	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /", 5);
	assert_int_equal(talk(big, 64 << 10, NULL), 414);
	memcpy(big,
	       "PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
	       "chunked\r\n\r\n300000\r\n",
	       strlen("PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
		      "chunked\r\n\r\n300000\r\n"));
	assert_int_equal(talk(big, sizeof(big), NULL), 413);
	/* Clients that leave in the middle, and ones that never read. */
	for (int i = 0; i < 50; i++) {
		int fd = dial();

		(void)!send(fd, "DELETE /v1/deployments/shop HTTP/1.1\r\nhost: x\r\n\r\n", 50, 0);
		close(fd);
	}
	int idle[20];
	for (size_t i = 0; i < 20; i++) {
		idle[i] = dial();
		for (int k = 0; k < 200; k++)
			if (send(idle[i], "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", 37,
				 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
				break;
	}
	assert_int_equal(ask("GET", "/healthz", "", NULL), 200);
	for (size_t i = 0; i < 20; i++)
		close(idle[i]);
	assert_int_equal(ask("GET", "/healthz", "", NULL), 200);
}

static void
test_keep_alive(void **state)
{
	static const char two[] =
		"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
		"GET /none HTTP/1.1\r\nhost: x\r\n\r\n"
		"GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

	(void)state;
	assert_int_equal(talk(two, strlen(two), NULL), 200);
	assert_true(has("HTTP/1.1 404") && has("\"api\":\"v1\""));
}

/* The document and the table say the same. */
static void
test_openapi(void **state)
{
	struct err err = {0};
	struct buf text;
	size_t operations = 0;

	(void)state;
	buf_init(&text, MEM_BASE, 1 << 20);
	assert_int_equal(fd_read_file(AT_FDCWD, OPENAPI, &text, &err), 0);
	json_t *root = json_read_parse(buf_cstr(&text), text.length, &err);
	assert_non_null(root);
	json_t *paths = json_read_get(root, "paths");
	for (size_t i = 0; i < route_table_count; i++) {
		const struct route *r = &route_table[i];
		char method[16];

		text_copy(method, sizeof(method), http_method_name(r->method));
		for (char *at = method; *at; at++)
			*at = (char)(*at | 0x20);
		const json_t *o = json_read_get(json_read_get(paths, r->pattern), method);
		assert_string_equal(json_read_text(o, "operationId"), r->name);
	}
	for (void *it = json_read_first(paths); it; it = json_read_next(paths, it))
		operations += json_read_count(json_read_value(it));
	assert_int_equal(operations, route_table_count);
	json_read_free(root);
	buf_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openapi),         cmocka_unit_test(test_views),
		cmocka_unit_test(test_changes),         cmocka_unit_test(test_streams),
		cmocka_unit_test(test_nodes),           cmocka_unit_test(test_cluster),
		cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_keep_alive),
	};

	if (getuid() != 0) {
		printf("1..0 # SKIP needs root to change its user\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
