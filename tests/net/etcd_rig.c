/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts, kills and asks members. What is asked here goes by the same calls as the product's, to
 * one member at a time, and is repeated until it is answered.
 */
#include "tests/net/etcd_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/etcd_rpc.h"

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

enum { WAIT_MS = 60000 };

bool
etcd_rig_available(void)
{
	return geteuid() == 0 && system("command -v etcd ip openssl >/dev/null") == 0;
}

void
etcd_rig_enter(void)
{
	CHECK(unshare(CLONE_NEWNET) == 0);
	CHECK(system("ip link set lo up") == 0);
}

static void
make_certificates(const struct etcd_rig *r)
{
	char command[2048];

	text_format(command, sizeof(command),
		    "cd %s && exec 2>openssl.log && "
		    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		    "-subj /CN=ca -keyout ca.key -out ca.pem && "
		    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		    "-subj /CN=other -keyout other.key -out other.pem && "
		    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		    "-subj /CN=node -keyout node.key -out node.csr && "
		    "printf 'subjectAltName=IP:127.0.0.1\\n' >ext && "
		    "openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		    "-days 2 -extfile ext -out node.pem",
		    r->folder);
	CHECK(system(command) == 0);
}

static unsigned
client_port(size_t member)
{
	return 2379 + 2 * (unsigned)member;
}

static void
exec_member(const struct etcd_rig *r, size_t member)
{
	char name[16], data[128], client[64], peer[64], all[256] = "", quota[32], log[128];
	char ca[128], cert[128], key[128];
	const char *argv[40];
	size_t n = 0;

	text_format(name, sizeof(name), "m%zu", member);
	text_format(data, sizeof(data), "%s/m%zu", r->folder, member);
	text_format(log, sizeof(log), "%s/m%zu.log", r->folder, member);
	text_format(client, sizeof(client), "%s", r->urls[member]);
	text_format(peer, sizeof(peer), "http://127.0.0.1:%u", client_port(member) + 1);
	for (size_t i = 0; i < r->members; i++) {
		size_t at = strlen(all);

		text_format(all + at, sizeof(all) - at, "%sm%zu=http://127.0.0.1:%u", i ? "," : "",
			    i, client_port(i) + 1);
	}
	text_format(quota, sizeof(quota), "%llu", (unsigned long long)r->quota_bytes);
	text_format(ca, sizeof(ca), "%s/ca.pem", r->folder);
	text_format(cert, sizeof(cert), "%s/node.pem", r->folder);
	text_format(key, sizeof(key), "%s/node.key", r->folder);
	const char *const words[] = {"etcd", "--name",
				     name,   "--data-dir",
				     data,   "--listen-client-urls",
				     client, "--advertise-client-urls",
				     client, "--listen-peer-urls",
				     peer,   "--initial-advertise-peer-urls",
				     peer,   "--initial-cluster",
				     all,    "--logger",
				     "zap",  "--log-level",
				     "warn", "--quota-backend-bytes",
				     quota};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		argv[n++] = words[i];
	if (r->tls) {
		const char *const more[] = {"--client-cert-auth",
					    "--trusted-ca-file",
					    ca,
					    "--cert-file",
					    cert,
					    "--key-file",
					    key};

		for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
			argv[n++] = more[i];
	}
	argv[n] = NULL;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		_exit(1);
	execvp("etcd", (char *const *)(uintptr_t)argv);
	_exit(127);
}

void
etcd_rig_start(struct etcd_rig *r, size_t member)
{
	pid_t me = getpid(), pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != me)
			_exit(1);
		exec_member(r, member);
	}
	r->pids[member] = pid;
}

void
etcd_rig_kill(struct etcd_rig *r, size_t member)
{
	if (r->pids[member] <= 0)
		return;
	kill(r->pids[member], SIGKILL);
	waitpid(r->pids[member], NULL, 0);
	r->pids[member] = 0;
}

void
etcd_rig_stall(struct etcd_rig *r, size_t member, bool stalled)
{
	CHECK(kill(r->pids[member], stalled ? SIGSTOP : SIGCONT) == 0);
}

/* ---- asking ---- */

char *
etcd_rig_file(const struct etcd_rig *r, const char *name)
{
	struct err err = {0};
	struct buf text;
	char *copy;

	buf_init(&text, MEM_SCHEDULER, 1 << 20);
	CHECK(fd_read_file(r->folder_fd, name, &text, &err) == 0);
	copy = mem_strdup(MEM_SCHEDULER, buf_cstr(&text));
	CHECK(copy);
	buf_fini(&text);
	return copy;
}

struct asked {
	bool over;
	bool fine;
	struct buf *out;
};

static void
answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct asked *a = arg;

	a->over = true;
	a->fine = !answer->err;
	if (a->out) {
		buf_reset(a->out);
		buf_put(a->out, answer->text, answer->bytes);
	}
}

bool
etcd_rig_call(struct etcd_rig *r, size_t member, const char *path, const char *json,
	      struct buf *out)
{
	const char *url = r->urls[member];
	char *ca = r->tls ? etcd_rig_file(r, "ca.pem") : NULL;
	char *certificate = r->tls ? etcd_rig_file(r, "node.pem") : NULL;
	char *key = r->tls ? etcd_rig_file(r, "node.key") : NULL;
	struct etcd_rpc_options options = {
		.loop = &r->loop,
		.endpoints = &url,
		.endpoints_count = 1,
		.authorities = ca,
		.certificate = certificate,
		.key = key,
		.timeout_ms = 4000,
	};
	struct asked asked = {.out = out};
	struct etcd_rpc *rpc;
	struct err err = {0};
	struct buf body;

	CHECK(etcd_rpc_open(&options, &rpc, &err) == 0);
	buf_init(&body, MEM_SCHEDULER, 1 << 20);
	buf_puts(&body, json);
	CHECK(etcd_rpc_call(rpc, path, &body, answered, &asked, &err));
	buf_fini(&body);
	while (!asked.over)
		uv_run(&r->loop, UV_RUN_ONCE);
	etcd_rpc_close(rpc);
	mem_free(ca);
	mem_free(certificate);
	mem_free(key);
	return asked.fine;
}

static bool
ask_until(struct etcd_rig *r, size_t member, const char *path, const char *json)
{
	uint64_t until;

	uv_update_time(&r->loop);
	until = uv_now(&r->loop) + WAIT_MS;
	while (!etcd_rig_call(r, member, path, json, NULL)) {
		if (uv_now(&r->loop) > until)
			return false;
	}
	return true;
}

void
etcd_rig_wait(struct etcd_rig *r)
{
	for (size_t i = 0; i < r->members; i++) {
		if (r->pids[i] > 0)
			CHECK(ask_until(r, i, "/v3/kv/range", "{\"key\":\"YQ==\"}"));
	}
}

/* The number behind a name, as text. */
static void
find_number(struct buf *text, const char *name, char *out, size_t cap)
{
	const char *at = strstr(buf_cstr(text), name);

	out[0] = '\0';
	if (at)
		text_ncopy(out, cap, at + strlen(name), strcspn(at + strlen(name), "\""));
}

size_t
etcd_rig_leader(struct etcd_rig *r)
{
	struct buf text;
	char me[32], leader[32];

	buf_init(&text, MEM_SCHEDULER, 1 << 16);
	for (size_t i = 0;; i = (i + 1) % r->members) {
		if (r->pids[i] <= 0 || !etcd_rig_call(r, i, "/v3/maintenance/status", "{}", &text))
			continue;
		find_number(&text, "\"member_id\":\"", me, sizeof(me));
		find_number(&text, "\"leader\":\"", leader, sizeof(leader));
		if (me[0] && text_equal(me, leader)) {
			buf_fini(&text);
			return i;
		}
	}
}

/* ---- life ---- */

void
etcd_rig_open(struct etcd_rig *r, size_t members, bool tls, uint64_t quota_bytes)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->folder, "/tmp/zlayer-etcd-XXXXXX");
	CHECK(mkdtemp(r->folder));
	r->folder_fd = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(r->folder_fd >= 0 && uv_loop_init(&r->loop) == 0);
	r->members = members;
	r->tls = tls;
	r->quota_bytes = quota_bytes;
	if (tls)
		make_certificates(r);
	for (size_t i = 0; i < members; i++)
		text_format(r->urls[i], sizeof(r->urls[i]), "%s://127.0.0.1:%u",
			    tls ? "https" : "http", client_port(i));
	for (size_t i = 0; i < members; i++)
		etcd_rig_start(r, i);
	etcd_rig_wait(r);
}

void
etcd_rig_close(struct etcd_rig *r)
{
	char command[128];

	for (size_t i = 0; i < r->members; i++)
		etcd_rig_kill(r, i);
	if (r->relaying)
		uv_close((uv_handle_t *)&r->relay, NULL);
	/* What the store closed ends by itself; connections of the relay see the members' end. A
	 * test that failed left its store open. */
	for (int i = 0; i < 20000 && uv_loop_alive(&r->loop); i++) {
		uv_run(&r->loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
	if (uv_loop_alive(&r->loop) || uv_loop_close(&r->loop) < 0)
		fprintf(stderr, "something is still open\n");
	close(r->folder_fd);
	CHECK(chdir("/") == 0);
	text_format(command, sizeof(command), "rm -rf %s", r->folder);
	CHECK(system(command) == 0);
}

/* ---- the relay ---- */

struct pair {
	uv_tcp_t client, member;
	struct etcd_rig *rig;
	uv_connect_t connect;
	struct buf early; /* before the member is connected */
	bool connected;
	bool loses, swallows, watches;
	unsigned closed;
};

static void
pair_closed(uv_handle_t *handle)
{
	struct pair *p = handle->data;

	if (++p->closed < 2)
		return;
	buf_fini(&p->early);
	mem_free(p);
}

static void
drop_pair(struct pair *p)
{
	if (uv_is_closing((uv_handle_t *)&p->client))
		return;
	if (p->loses) {
		p->rig->lost++;
		p->rig->lose_puts = false;
	}
	uv_close((uv_handle_t *)&p->client, pair_closed);
	uv_close((uv_handle_t *)&p->member, pair_closed);
}

static void
make_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	(void)handle;
	out->base = mem_alloc(MEM_SCHEDULER, suggested);
	out->len = out->base ? suggested : 0;
}

static void
written(uv_write_t *w, int status)
{
	(void)status;
	mem_free(w);
}

/* The copy stands behind the request. */
static void
pass_on(uv_tcp_t *to, const void *data, size_t bytes)
{
	uv_write_t *w = mem_alloc(MEM_SCHEDULER, sizeof(*w) + bytes);
	CHECK(w);
	uv_buf_t b = uv_buf_init((char *)(w + 1), (unsigned)bytes);

	memcpy(w + 1, data, bytes);
	if (uv_write(w, (uv_stream_t *)to, &b, 1, written) < 0)
		mem_free(w);
}

static void
from_client(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct pair *p = stream->data;

	if (n > 0) {
		if (p->rig->lose_all ||
		    (p->rig->lose_puts && memmem(b->base, (size_t)n, "requestPut", 10)))
			p->loses = true;
		p->swallows |= p->rig->swallow;
		p->watches |= memmem(b->base, (size_t)n, "/v3/watch", 9) != NULL;
		if (p->swallows)
			; /* for good: it would be half a request */
		else if (p->connected)
			pass_on(&p->member, b->base, (size_t)n);
		else
			buf_put(&p->early, b->base, (size_t)n);
	}
	mem_free(b->base);
	if (n < 0)
		drop_pair(p);
}

static void
from_member(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct pair *p = stream->data;

	if (n > 0 && !p->loses && !p->rig->lose_all && !(p->watches && p->rig->mute_watch))
		pass_on(&p->client, b->base, (size_t)n);
	mem_free(b->base);
	if (n < 0)
		drop_pair(p);
}

static void
connected(uv_connect_t *c, int status)
{
	struct pair *p = c->data;

	if (status < 0) {
		drop_pair(p);
		return;
	}
	p->connected = true;
	if (p->early.length)
		pass_on(&p->member, p->early.data, p->early.length);
	uv_read_start((uv_stream_t *)&p->member, make_room, from_member);
}

static void
on_client(uv_stream_t *server, int status)
{
	struct etcd_rig *r = server->data;
	struct pair *p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));
	struct sockaddr_in to;

	CHECK(p && status == 0);
	p->rig = r;
	buf_init(&p->early, MEM_SCHEDULER, 16 << 20);
	uv_tcp_init(&r->loop, &p->client);
	uv_tcp_init(&r->loop, &p->member);
	p->client.data = p->member.data = p->connect.data = p;
	CHECK(uv_accept(server, (uv_stream_t *)&p->client) == 0);
	uv_ip4_addr("127.0.0.1", (int)client_port(0), &to);
	CHECK(uv_tcp_connect(&p->connect, &p->member, (struct sockaddr *)&to, connected) == 0);
	uv_read_start((uv_stream_t *)&p->client, make_room, from_client);
}

void
etcd_rig_relay(struct etcd_rig *r)
{
	struct sockaddr_in at;

	uv_tcp_init(&r->loop, &r->relay);
	r->relay.data = r;
	uv_ip4_addr("127.0.0.1", ETCD_RIG_RELAY_PORT, &at);
	CHECK(uv_tcp_bind(&r->relay, (struct sockaddr *)&at, 0) == 0);
	CHECK(uv_listen((uv_stream_t *)&r->relay, 16, on_client) == 0);
	uv_unref((uv_handle_t *)&r->relay);
	r->relaying = true;
}
