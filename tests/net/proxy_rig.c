/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One proxy worker with this program as node, scheduler and signer, for tests and measurements:
 *
 *   proxy_rig HTTP_PORT HTTPS_PORT REPLICA_PORT...
 *
 * All on 127.0.0.1. Replicas are numbered from 1. It prints "ready", then obeys lines on standard
 * input: "add PORT", "drain N", "doubt N", "active N", "remove N", "rows" (prints in-flight
 * requests of draining replicas, and the applied versions), "swap" (publishes the routes anew),
 * "metrics", "certificate" (a new one), "records" (the access log so far), "stop MS" and "quit".
 *
 *   rig --leash-- worker (forked)
 *    |  segments of scheduler and signer --> worker
 *    +-- segment of the worker --> rig
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "node/filter.h"
#include "proxy/keys.h"
#include "proxy/proxy.h"
#include "ring/metrics.h"
#include "ring/ring.h"

enum { SERVICE = 7, REPLICAS_MAX = 64 };

struct producer {
	struct ring_writer *writer;
	int wake; /* the worker waits on it */
};

static struct producer scheduler, signer;
static struct ring_reader *worker;
static struct keys keys;
static int leash, worker_wake, replicas;
static pid_t child;
static unsigned serial = 1;

static void
check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "proxy_rig: %s: %s\n", what, strerror(errno));
	if (child > 0)
		kill(child, SIGKILL);
	exit(1);
}

static void
kick(const struct producer *p)
{
	uint64_t one = 1;

	check(write(p->wake, &one, sizeof(one)) == sizeof(one), "eventfd");
}

/* ---- scheduler ---- */

static void
set_route(uint64_t id, const char *host, const char *path, uint32_t flags, uint32_t endpoint)
{
	struct msg_route row = {.id = id,
				.service = SERVICE,
				.endpoint_index = endpoint,
				.flags = flags | MSG_ROUTE_PUBLIC,
				.balance = MSG_BALANCE_P2C};

	text_copy(row.service_label, sizeof(row.service_label), "rig/web");
	text_copy(row.endpoint, sizeof(row.endpoint), "http");
	text_copy(row.host, sizeof(row.host), host);
	text_copy(row.path, sizeof(row.path), path);
	if (text_equal(host, "limited.test"))
		row.body_bytes_max = 1000;
	if (text_equal(host, "closed.test")) {
		row.prefixes_deny = 1;
		check(addr_parse_prefix("127.0.0.0/8", &row.deny[0]), "prefix");
	}
	ring_table_set(scheduler.writer, MSG_TABLE_ROUTE, id, &row, NULL);
}

static void
publish_routes(void)
{
	uint32_t both = MSG_ROUTE_TLS | MSG_ROUTE_PLAIN;

	ring_table_begin(scheduler.writer, MSG_TABLE_ROUTE);
	set_route(100 + serial, "unused.test", "/", both, 0); /* always a change */
	ring_table_remove(scheduler.writer, MSG_TABLE_ROUTE, 100 + serial - 1);
	set_route(1, "", "/", both, 0);
	set_route(2, "secure.test", "/", MSG_ROUTE_TLS, 0);
	set_route(3, "", "/ws", both | MSG_ROUTE_WEBSOCKET, 0);
	set_route(4, "limited.test", "/", both, 0);
	set_route(5, "strip.test", "/api", both | MSG_ROUTE_STRIP_PATH, 0);
	set_route(6, "closed.test", "/", both, 0);
	ring_table_commit(scheduler.writer, MSG_TABLE_ROUTE);
	serial++;
	kick(&scheduler);
}

static void
set_replica(uint64_t id, unsigned port, uint32_t state)
{
	struct msg_backend row = {.replica = id, .service = SERVICE, .state = state};
	const struct msg_backend *old = ring_table_own(scheduler.writer, MSG_TABLE_BACKEND, id);

	text_format(row.name, sizeof(row.name), "rig/web.%u", (unsigned)id);
	check(addr_parse_ip("127.0.0.1", &row.addr), "address");
	row.ports_count = 1;
	row.ports[0] = (uint16_t)(port ? port : old ? old->ports[0] : 0);
	ring_table_set(scheduler.writer, MSG_TABLE_BACKEND, id, &row, NULL);
	kick(&scheduler);
}

/* ---- signer ---- */

static void
put_names(struct msg_certificate *row)
{
	static const char names[] = "shop.test\0secure.test\0limited.test\0strip.test\0*.wild.test";

	memcpy(row->names, names, sizeof(names));
	row->names_count = 5;
}

static X509 *
new_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_EXTENSION *san = X509V3_EXT_conf_nid(
		NULL, NULL, NID_subject_alt_name,
		"DNS:shop.test,DNS:secure.test,DNS:limited.test,DNS:strip.test,DNS:*.wild.test");

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), (long)serial + 4096);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"shop.test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_add_ext(x, san, -1);
	X509_EXTENSION_free(san);
	X509_set_pubkey(x, key);
	check(X509_sign(x, key, EVP_sha256()) > 0, "certificate");
	return x;
}

static void
publish_certificate(void)
{
	static struct msg_certificate row;
	EVP_PKEY *key = getenv("RIG_RSA") ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *x = new_certificate(key);
	uint8_t *der = row.chain + 4;
	int n = i2d_X509(x, &der);
	uint32_t length = (uint32_t)n;

	check(n > 0, "DER");
	memcpy(row.chain, &length, 4);
	row.chain_bytes = length + 4;
	row.id = 1;
	row.key_handle = keys_add(&keys, key);
	row.source = MSG_CERT_FILE;
	row.key_type = getenv("RIG_RSA") ? MSG_KEY_RSA : MSG_KEY_EC;
	row.any_host = getenv("RIG_ANY_HOST") != NULL;
	put_names(&row);
	ring_table_set(signer.writer, MSG_TABLE_CERTIFICATE, 1, &row, NULL);
	kick(&signer);
	serial++;
	X509_free(x);
	EVP_PKEY_free(key);
}

static void
answer_signatures(void)
{
	struct ring_request r;

	while (worker &&
	       ring_request_next(worker, ROLE_SIGNER, 0, world_mono_ns(), &r) == RING_OK) {
		uint8_t out[KEYS_SIGNATURE_MAX];
		struct msg_sign question;
		size_t n = 0;
		struct err err = {0};

		memcpy(&question, r.body, sizeof(question));
		if (keys_sign(&keys, &question, out, sizeof(out), &n, &err)) {
			err_print(&err, "proxy_rig", stderr);
			n = msg_err_body(&err, out, sizeof(out));
			ring_answer(signer.writer, ROLE_PROXY, 0, r.id, (uint16_t)err.kind, out, n);
		} else {
			ring_answer(signer.writer, ROLE_PROXY, 0, r.id, 0, out, n);
		}
		kick(&signer);
	}
}

/* ---- node ---- */

static void
make_producers(void)
{
	struct ring_layout s = {.role = ROLE_SCHEDULER, .generation = 1};
	struct ring_layout k = {.role = ROLE_SIGNER, .generation = 1};
	struct err err = {0};

	s.tables[0] = (struct ring_table_layout){MSG_TABLE_ROUTE, 1, sizeof(struct msg_route), 64};
	s.tables[1] = (struct ring_table_layout){MSG_TABLE_BACKEND, 1, sizeof(struct msg_backend),
						 REPLICAS_MAX};
	s.tables_count = 2;
	k.tables[0] = (struct ring_table_layout){MSG_TABLE_CERTIFICATE, 1,
						 sizeof(struct msg_certificate), 4};
	k.tables_count = 1;
	k.answers[0] = (struct ring_answers_layout){ROLE_PROXY, 1, MSG_SLOTS, RING_BODY_MAX};
	k.answers_count = 1;
	check(ring_writer_new(&s, &scheduler.writer, &err) == 0, "segment");
	check(ring_writer_new(&k, &signer.writer, &err) == 0, "segment");
	scheduler.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signer.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	worker_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* The filter and the limits that node gives to a proxy. */
static void
confine(struct leash_welcome *w)
{
	struct err err = {0};
	size_t count;

	w->landlock = true;
#ifndef __SANITIZE_ADDRESS__
	if (filter_compile(FILTER_BASE | FILTER_SERVER | FILTER_CLIENT | FILTER_SECRETS, w->filter,
			   &count, &err)) {
		err_print(&err, "proxy_rig", stderr);
		exit(1);
	}
	w->filter_count = (uint32_t)count;
#else
	(void)count;
	(void)err;
#endif
	w->rlimits[w->rlimits_count].resource = RLIMIT_NPROC;
	w->rlimits[w->rlimits_count++].value = 16;
}

static void
start_worker(void)
{
	static struct leash_welcome w;
	struct leash_message m;
	int pair[2];

	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	child = fork();
	check(child >= 0, "fork");
	if (child == 0) {
		/* A worker outlives its node on purpose; this one must not. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		exit(station_main(&proxy_role, pair[1], NULL));
	}
	close(pair[1]);
	leash = pair[0];
	w.abi = RING_ABI;
	w.role = ROLE_PROXY;
	w.generation = w.instances = 1;
	w.uid = w.gid = getuid() == 0 ? 61003 : getuid();
	w.log_level = LOG_INFO;
	text_copy(w.instance, sizeof(w.instance), "rig");
	text_copy(w.node, sizeof(w.node), "rig");
	confine(&w);
	int fds[2] = {fd_memfd_sealed("welcome", &w, sizeof(w)),
		      fd_memfd_sealed("config", "config", 6)};
	leash_init(&m, LEASH_WELCOME);
	check(leash_send(leash, &m, fds, 2) == 0, "welcome");
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static void
introduce(const struct producer *p, uint16_t role)
{
	struct leash_message m;
	int fds[2] = {ring_writer_fd(p->writer), p->wake};

	leash_init(&m, LEASH_PEER);
	m.peer_role = role;
	check(leash_send(leash, &m, fds, 2) == 0, "peer");
	leash_init(&m, LEASH_KICK);
	m.peer_role = role;
	check(leash_send(leash, &m, &worker_wake, 1) == 0, "kick");
}

static void
give_listener(const char *name, unsigned port, bool last)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct leash_message m;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	check(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 4096) == 0, "listen");
	leash_init(&m, LEASH_LISTENER);
	text_copy(m.name, sizeof(m.name), name);
	m.a = last;
	check(leash_send(leash, &m, &fd, 1) == 0, "listener");
	close(fd);
}

static void
take_segment(int fd)
{
	struct err err = {0};

	check(ring_reader_new(fd, &worker, &err) == 0, "worker's segment");
	introduce(&scheduler, ROLE_SCHEDULER);
	introduce(&signer, ROLE_SIGNER);
}

static void
read_leash(void)
{
	struct leash_message m;
	int fds[FD_PASS_MAX];
	size_t count = 0;

	if (leash_recv(leash, &m, fds, FD_PASS_MAX, &count) < 0)
		return;
	if (m.kind == LEASH_SEGMENT)
		take_segment(fd_take(&fds[0]));
	if (m.kind == LEASH_READY) {
		puts("ready");
		fflush(stdout);
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

/* ---- orders ---- */

static bool
print_drain(void *arg, uint64_t key, const void *row)
{
	const struct msg_drain *d = row;

	(void)arg;
	printf("drain %u %u %u\n", (unsigned)key, d->in_flight, d->upgraded);
	return true;
}

static void
print_rows(void)
{
	const struct msg_applied *a;

	ring_table_sync(worker, MSG_TABLE_DRAIN, sizeof(struct msg_drain), NULL, NULL);
	ring_table_sync(worker, MSG_TABLE_APPLIED, sizeof(struct msg_applied), NULL, NULL);
	ring_table_each(worker, MSG_TABLE_DRAIN, print_drain, NULL);
	a = ring_table_get(worker, MSG_TABLE_APPLIED, 1);
	if (a)
		printf("applied %llu %llu connections %llu draining %u\n",
		       (unsigned long long)a->routes_version,
		       (unsigned long long)a->backends_version, (unsigned long long)a->connections,
		       a->draining);
	puts("end");
}

static void
print_metrics(void)
{
	const struct metric_page *page = ring_reader_metrics(worker);
	struct metric_series s;

	for (uint32_t i = 0; page && i < ring_reader_metric_series(worker); i++) {
		const struct metrics_family *f;

		if (!metric_read(page, i, &s) || !(f = metrics_family(s.metric)))
			continue;
		printf("%s{%.*s} %lld\n", f->name, (int)s.label_bytes, s.labels,
		       (long long)s.values[0]);
	}
	puts("end");
}

static void
print_records(void)
{
	struct ring_record r;
	unsigned count = 0;

	while (ring_log_next(worker, &r) == RING_OK) {
		struct {
			struct msg_access head;
			char text[2048];
		} a;
		const char *path;

		if (r.type != MSG_RECORD_ACCESS || r.bytes > sizeof(a) - 4)
			continue;
		memset(&a, 0, sizeof(a));
		memcpy(&a, r.data, r.bytes);
		path = a.text + strlen(a.text) + 1;
		if (++count <= 50)
			printf("%u %u %s %s id %s cut %u\n", a.head.protocol, a.head.status, a.text,
			       path, path + strlen(path) + 1, a.head.cut);
	}
	printf("records %u\nend\n", count);
}

static void
obey(char *line)
{
	unsigned n = 0;
	struct leash_message m;
	char *space = strchr(line, ' ');

	if (space) {
		*space = '\0';
		n = (unsigned)strtoul(space + 1, NULL, 10);
	}
	if (text_equal(line, "add"))
		set_replica((uint64_t)++replicas, n, MSG_BACKEND_ACTIVE);
	else if (text_equal(line, "drain"))
		set_replica(n, 0, MSG_BACKEND_DRAINING);
	else if (text_equal(line, "doubt"))
		set_replica(n, 0, MSG_BACKEND_DOUBTED);
	else if (text_equal(line, "active"))
		set_replica(n, 0, MSG_BACKEND_ACTIVE);
	else if (text_equal(line, "remove"))
		ring_table_remove(scheduler.writer, MSG_TABLE_BACKEND, n), kick(&scheduler);
	else if (text_equal(line, "rows"))
		print_rows();
	else if (text_equal(line, "swap"))
		publish_routes();
	else if (text_equal(line, "certificate"))
		publish_certificate();
	else if (text_equal(line, "metrics"))
		print_metrics();
	else if (text_equal(line, "records"))
		print_records();
	else if (text_equal(line, "stop")) {
		leash_init(&m, LEASH_STOP);
		m.a = n;
		check(leash_send(leash, &m, NULL, 0) == 0, "stop");
	} else if (text_equal(line, "quit")) {
		kill(child, SIGKILL);
	}
	fflush(stdout);
}

static void
read_orders(void)
{
	static char line[4096];
	static size_t length;
	ssize_t n = read(STDIN_FILENO, line + length, sizeof(line) - 1 - length);
	char *end;

	if (n <= 0) {
		kill(child, SIGKILL);
		return;
	}
	length += (size_t)n;
	line[length] = '\0';
	while ((end = memchr(line, '\n', length))) {
		size_t used = (size_t)(end + 1 - line);

		*end = '\0';
		obey(line);
		length -= used;
		memmove(line, line + used, length + 1);
	}
}

static int
serve(void)
{
	for (;;) {
		struct pollfd p[3] = {{.fd = leash, .events = POLLIN},
				      {.fd = worker_wake, .events = POLLIN},
				      {.fd = STDIN_FILENO, .events = POLLIN}};
		uint64_t count;
		int status;

		poll(p, 3, 1000);
		if (p[1].revents & POLLIN && read(worker_wake, &count, sizeof(count)) > 0)
			answer_signatures();
		if (p[2].revents)
			read_orders();
		if (p[0].revents & POLLIN)
			read_leash();
		if (waitpid(child, &status, WNOHANG) == child) {
			if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
				printf("worker ended by signal %d\n", WTERMSIG(status));
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		}
	}
}

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	keys_init(&keys);
	make_producers();
	publish_routes();
	for (int i = 3; i < argc; i++)
		set_replica((uint64_t)++replicas, (unsigned)atoi(argv[i]), MSG_BACKEND_ACTIVE);
	publish_certificate();
	start_worker();
	give_listener("http", (unsigned)atoi(argv[1]), false);
	give_listener("https", (unsigned)atoi(argv[2]), true);
	return serve();
}
