/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of the name server with a book of 10,000 names: 2,500 services and 7,500 replicas.
 *
 *   core     one question after the other through overlay/answer.h, no sockets; the peer is what
 *            100,000 answers a second leave for one
 *   server   the server's datagrams (overlay/nameserver_udp.h) with what each costs there: who
 *            asks, his allowance, the answer; beside Debian's knotd (authoritative, from a zone)
 *            and dnsmasq (from a hosts file), one thread each. CPU time of the server's process for
 *            an answer. Clients are 64 sockets with addresses of their own that keep two questions
 *            under way each, on the other CPU; each answer is checked.
 *
 * Each server is asked the same questions, in turns. Needs root: it works in a network namespace of
 * its own.
 *
 * bench-dns [--json] [--rounds N] [--milliseconds N]
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/text.h"
#include "bench/bench.h"
#include "overlay/allowance.h"
#include "overlay/answer.h"
#include "overlay/nameserver_udp.h"

enum {
	DEPLOYMENTS = 250,
	SERVICES = 10, /* of one deployment */
	REPLICAS = 3,  /* of one service */
	ALL = DEPLOYMENTS * SERVICES * REPLICAS,
	QUESTIONS = 4096,
	SOCKETS = 64,
	WINDOW = 2,
	ROUNDS = 5,
	ROUNDS_MAX = 99,
	CORE_TURNS = 400000,
	BUDGET_NS = 10000, /* for one of 100,000 a second */
	ANSWER_IN = 1500,
};

enum form { SERVICE, REPLICA, NOBODY, FORMS };

static const char *const form_names[FORMS] = {
	[SERVICE] = "a service of three",
	[REPLICA] = "one replica",
	[NOBODY] = "no such name",
};

struct question {
	uint8_t bytes[128];
	size_t length;
	unsigned rcode, answers; /* of the right answer */
};

static struct question questions[FORMS][QUESTIONS];
enum { OURS, KNOT, DNSMASQ, SERVERS };

static char folder[] = "/tmp/zlayer-bench-XXXXXX";
static pid_t self, started[SERVERS];
static size_t started_count;

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-dns: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
pin(size_t cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}

/* 127.1.0.1 and on: addresses that clients can have. */
static struct addr
replica_addr(unsigned i)
{
	struct addr a;

	addr_from_v4_be(htonl(0x7f010001 + i), 0, &a);
	return a;
}

static struct names *
make_book(void)
{
	struct names *n = names_new();
	char text[MSG_NAME];

	must(n != NULL, "memory");
	for (unsigned s = 0; s < DEPLOYMENTS * SERVICES; s++) {
		struct msg_service row = {
			.id = s + 1, .endpoints_count = 1, .endpoints = {{"http", IPPROTO_TCP}}};

		text_format(text, sizeof(text), "shop-%u", s / SERVICES);
		text_copy(row.deployment_name, sizeof(row.deployment_name), text);
		text_format(text, sizeof(text), "web-%u", s % SERVICES);
		text_copy(row.name, sizeof(row.name), text);
		names_add_service(n, &row);
	}
	for (unsigned i = 0; i < ALL; i++) {
		struct names_replica r = {.id = i + 1,
					  .service = i / REPLICAS + 1,
					  .index = i % REPLICAS + 1,
					  .local = i % REPLICAS == 0,
					  .ready = true,
					  .running = true,
					  .addr4 = replica_addr(i),
					  .ports = {8080}};
		names_add_replica(n, &r);
	}
	must(names_finish(n), "memory");
	return n;
}

static void
make_questions(void)
{
	struct dns_question q = {.type = DNS_TYPE_A, .class = DNS_CLASS_IN};
	uint64_t random = 88172645463325252u;
	char text[128];

	for (size_t f = 0; f < FORMS; f++) {
		for (size_t i = 0; i < QUESTIONS; i++) {
			struct question *out = &questions[f][i];

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			unsigned r = (unsigned)(random >> 20) % ALL, s = r / REPLICAS;
			text_format(text, sizeof(text), "%sweb-%u.shop-%u.zlayer.internal",
				    f == REPLICA  ? (const char *[]){"1.", "2.", "3."}[r % REPLICAS]
				    : f == NOBODY ? "4."
						  : "",
				    s % SERVICES, s / SERVICES);
			must(dns_name_parse(text, &q.name), text);
			out->length =
				dns_write_query(out->bytes, DNS_UDP_BYTES,
						(uint16_t)(f * QUESTIONS + i), 0, &q, 0, false);
			out->rcode = f == NOBODY ? DNS_NXDOMAIN : DNS_NOERROR;
			out->answers = f == SERVICE ? REPLICAS : f == REPLICA ? 1 : 0;
		}
	}
}

/* ---- servers ---- */

struct server {
	const char *name;
	pid_t pid;
	struct sockaddr_in at;
};

struct ours {
	struct names *names;
	struct allowance *allowances;
	unsigned turn;
};

static size_t
answer_one(void *arg, struct forward_asker *asker, const void *data, size_t bytes, uint8_t *out)
{
	struct ours *o = arg;
	struct answer_asker who = {.from = asker->from, .turn = o->turn++};
	uint64_t replica = 0;
	size_t length = 0;
	struct timespec t;

	(void)names_find(o->names, &asker->from, &replica);
	clock_gettime(CLOCK_MONOTONIC, &t);
	if (!allowance_take(&o->allowances[replica],
			    (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec))
		return 0;
	(void)answer_query(o->names, &who, data, bytes, &asker->query, out, DNS_EDNS_BYTES,
			   &length);
	return length;
}

static _Noreturn void
serve(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct ours o = {.names = make_book(),
			 .allowances = calloc(ALL + 1, sizeof(struct allowance))};

	must(o.allowances && fd >= 0 && bind(fd, (const struct sockaddr *)at, sizeof(*at)) == 0,
	     "our socket");
	nameserver_udp_prepare(fd);
	for (;;) {
		(void)poll(&p, 1, -1);
		while (nameserver_udp_read(fd, NULL, answer_one, &o).count == NAMESERVER_UDP_BATCH)
			;
	}
}

static FILE *
open_file(const char *name)
{
	FILE *f = fopen(name, "w");

	must(f != NULL, name);
	return f;
}

static void
write_files(void)
{
	FILE *zone = open_file("zone"), *hosts = open_file("hosts"),
	     *knot_conf = open_file("knot.conf"), *dnsmasq_conf = open_file("dnsmasq.conf");

	fputs("$ORIGIN zlayer.internal.\n$TTL 3\n@ SOA dns hostmaster 1 3600 600 86400 3\n@ NS "
	      "dns\n"
	      "dns A 127.0.0.1\n",
	      zone);
	for (unsigned i = 0; i < ALL; i++) {
		unsigned s = i / REPLICAS, web = s % SERVICES, shop = s / SERVICES;
		struct addr a = replica_addr(i);
		char ip[ADDR_TEXT_BYTES];

		addr_put_ip(&a, ip, sizeof(ip));
		fprintf(zone, "web-%u.shop-%u A %s\n%u.web-%u.shop-%u A %s\n", web, shop, ip,
			i % REPLICAS + 1, web, shop, ip);
		fprintf(hosts,
			"%s web-%u.shop-%u.zlayer.internal %u.web-%u.shop-%u.zlayer.internal\n", ip,
			web, shop, i % REPLICAS + 1, web, shop);
	}
	fprintf(knot_conf,
		"server:\n  rundir: %s\n  listen: 127.0.0.1@5301\n  user: root:root\n"
		"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
		"database:\n  storage: %s\n"
		"zone:\n  - domain: zlayer.internal\n    file: %s/zone\n"
		"    zonefile-load: whole\n    journal-content: none\n    semantic-checks: off\n",
		folder, folder, folder);
	fprintf(dnsmasq_conf,
		"addn-hosts=%s/hosts\nport=5302\nno-resolv\nno-hosts\nlocal=/zlayer.internal/\n"
		"user=root\nlisten-address=127.0.0.1\nbind-interfaces\nlocal-ttl=3\npid-file=\n",
		folder);
	fclose(zone);
	fclose(hosts);
	fclose(knot_conf);
	fclose(dnsmasq_conf);
}

static struct server
start(const char *name, uint16_t port, const char *const *argv)
{
	struct server s = {.name = name,
			   .at = {.sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};

	s.pid = fork();
	must(s.pid >= 0, "fork");
	if (s.pid > 0) {
		started[started_count++] = s.pid;
		return s;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(0);
	if (!argv)
		serve(&s.at);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static double
cpu_ns(const struct server *s)
{
	struct timespec t = {0};
	clockid_t clock;

	must(clock_getcpuclockid(s->pid, &clock) == 0 && clock_gettime(clock, &t) == 0, s->name);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- clients ---- */

struct client {
	int fd;
	uint64_t asked_ns; /* last */
};

static void
open_clients(struct client *clients, const struct server *s)
{
	for (unsigned i = 0; i < SOCKETS; i++) {
		struct addr own = replica_addr(i * (ALL / SOCKETS));
		struct sockaddr_storage sa;
		socklen_t length = addr_to_sockaddr(&own, &sa);
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		must(fd >= 0 && bind(fd, (struct sockaddr *)&sa, length) == 0 &&
			     connect(fd, (const struct sockaddr *)&s->at, sizeof(s->at)) == 0,
		     "a client's socket");
		clients[i] = (struct client){.fd = fd};
	}
}

static void
ask(struct client *c, enum form form, unsigned *next, int count)
{
	struct mmsghdr heads[WINDOW] = {0};
	struct iovec iov[WINDOW];

	for (int i = 0; i < count; i++) {
		struct question *q = &questions[form][(*next)++ % QUESTIONS];

		iov[i] = (struct iovec){.iov_base = q->bytes, .iov_len = q->length};
		heads[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	c->asked_ns = bench_clock(CLOCK_MONOTONIC);
	(void)sendmmsg(c->fd, heads, (unsigned)count, MSG_DONTWAIT);
}

static void
check_answer(const struct server *s, const uint8_t *m, size_t length)
{
	unsigned id = (unsigned)(m[0] << 8 | m[1]);
	const struct question *q = &questions[id / QUESTIONS % FORMS][id % QUESTIONS];

	errno = EBADMSG;
	must(length >= q->length && (m[3] & 15) == (int)q->rcode &&
		     (unsigned)(m[6] << 8 | m[7]) == q->answers &&
		     memcmp(m + 12, q->bytes + 12, q->length - 12) == 0,
	     s->name);
}

/* Gives how many came. */
static int
collect(const struct server *s, struct client *c)
{
	static uint8_t in[WINDOW][ANSWER_IN];
	struct mmsghdr heads[WINDOW] = {0};
	struct iovec iov[WINDOW];

	for (int i = 0; i < WINDOW; i++) {
		iov[i] = (struct iovec){.iov_base = in[i], .iov_len = sizeof(in[i])};
		heads[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	int n = recvmmsg(c->fd, heads, WINDOW, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		check_answer(s, in[i], heads[i].msg_len);
	return n;
}

/* Until the time is over; gives the number of answers. What is not answered within a moment is
 * lost (or limited), and asked again. */
static uint64_t
load(const struct server *s, struct client *clients, enum form form, uint64_t ms)
{
	enum { MOMENT = 50000000 };
	static unsigned next;
	uint64_t now = bench_clock(CLOCK_MONOTONIC), end = now + ms * 1000000, answers = 0;

	for (size_t i = 0; i < SOCKETS; i++) {
		while (collect(s, &clients[i]) > 0)
			;
		ask(&clients[i], form, &next, WINDOW);
	}
	while (now < end) {
		for (size_t i = 0; i < SOCKETS; i++) {
			int n = collect(s, &clients[i]);

			answers += n > 0 ? (uint64_t)n : 0;
			if (n > 0)
				ask(&clients[i], form, &next, n);
			else if (now > clients[i].asked_ns + MOMENT)
				ask(&clients[i], form, &next, WINDOW);
		}
		now = bench_clock(CLOCK_MONOTONIC);
	}
	return answers;
}

/* What is still under way belongs to this measurement. */
static void
drain(struct client *clients)
{
	uint8_t in[ANSWER_IN];

	for (size_t i = 0; i < SOCKETS; i++) {
		struct pollfd p = {.fd = clients[i].fd, .events = POLLIN};

		while (poll(&p, 1, 20) == 1 &&
		       recv(clients[i].fd, in, sizeof(in), MSG_DONTWAIT) >= 0)
			;
	}
}

static void
wait_until_up(const struct server *s, struct client *clients)
{
	uint64_t end = bench_clock(CLOCK_MONOTONIC) + UINT64_C(20000000000);

	while (load(s, clients, SERVICE, 20) == 0) {
		errno = ETIMEDOUT;
		must(bench_clock(CLOCK_MONOTONIC) < end && waitpid(s->pid, NULL, WNOHANG) == 0,
		     s->name);
	}
	drain(clients);
}

/* ---- rows ---- */

static const char *const knot[] = {"knotd", "-c", "knot.conf", NULL};
static const char *const dnsmasq[] = {"dnsmasq", "--keep-in-foreground", "--conf-file=dnsmasq.conf",
				      NULL};

static void
print_form(bool json, enum form form, const struct server *servers, const double *cpu)
{
	for (size_t i = KNOT; i < SERVERS; i++) {
		struct bench_row row = {.bench = "dns",
					.row = form_names[form],
					.unit = "CPU ns",
					.ours = cpu[OURS],
					.peer_name = servers[i].name,
					.peer = cpu[i]};
		bench_print(json, &row);
	}
	struct bench_row each = {.bench = "dns",
				 .row = form_names[form],
				 .unit = "answers/s",
				 .ours = 1e9 / cpu[OURS],
				 .peer_name = "target",
				 .peer = 1e9 / BUDGET_NS,
				 .higher_is_better = true};
	bench_print(json, &each);
}

/* CPU time of one answer. */
static double
measure(const struct server *s, struct client *clients, enum form form, uint64_t ms)
{
	double before = cpu_ns(s);
	uint64_t n = load(s, clients, form, ms);

	errno = ETIMEDOUT;
	must(n > 0, s->name);
	drain(clients);
	return (cpu_ns(s) - before) / (double)n;
}

static void
measure_servers(bool json, size_t rounds, uint64_t ms)
{
	const struct server servers[SERVERS] = {start("name server", 5300, NULL),
						start("knotd", 5301, knot),
						start("dnsmasq", 5302, dnsmasq)};
	static struct client clients[SERVERS][SOCKETS];
	static double cpu[FORMS][SERVERS][ROUNDS_MAX];

	for (size_t i = 0; i < SERVERS; i++) {
		open_clients(clients[i], &servers[i]);
		wait_until_up(&servers[i], clients[i]);
	}
	for (size_t r = 0; r < rounds; r++)
		for (enum form f = 0; f < FORMS; f++)
			for (size_t i = 0; i < SERVERS; i++)
				cpu[f][i][r] = measure(&servers[i], clients[i], f, ms);
	for (enum form f = 0; f < FORMS; f++) {
		double median[SERVERS];

		for (size_t i = 0; i < SERVERS; i++)
			median[i] = bench_quantile(cpu[f][i], rounds, 0.5);
		print_form(json, f, servers, median);
	}
}

/* Also when something failed: dnsmasq would stay. */
static void
clean_up(void)
{
	char command[64];

	if (getpid() != self)
		return;
	for (size_t i = 0; i < started_count; i++) {
		kill(started[i], SIGKILL);
		(void)waitpid(started[i], NULL, 0);
	}
	text_format(command, sizeof(command), "rm -rf %s", folder);
	if (chdir("/") < 0 || system(command) != 0)
		fprintf(stderr, "bench-dns: cannot remove %s\n", folder);
}

static void
measure_core(bool json, size_t rounds)
{
	struct names *names = make_book();
	struct answer_asker who = {.from = replica_addr(0)};
	static double ns[ROUNDS_MAX];
	uint8_t out[DNS_EDNS_BYTES];
	char text[64];

	for (size_t f = 0; f < FORMS; f++) {
		for (size_t r = 0; r < rounds; r++) {
			uint64_t begin = bench_clock(CLOCK_THREAD_CPUTIME_ID);

			for (unsigned i = 0; i < CORE_TURNS; i++) {
				const struct question *q = &questions[f][i % QUESTIONS];
				struct dns_query query;
				size_t length = 0;

				who.turn = i;
				(void)answer_query(names, &who, q->bytes, q->length, &query, out,
						   sizeof(out), &length);
				must(length > 0, "an answer");
			}
			ns[r] = (double)(bench_clock(CLOCK_THREAD_CPUTIME_ID) - begin) / CORE_TURNS;
		}
		text_format(text, sizeof(text), "core: %s", form_names[f]);
		struct bench_row row = {.bench = "dns",
					.row = text,
					.unit = "CPU ns",
					.ours = bench_quantile(ns, rounds, 0.5),
					.peer_name = "target",
					.peer = BUDGET_NS};
		bench_print(json, &row);
	}
	names_free(names);
}

int
main(int argc, char **argv)
{
	size_t rounds = ROUNDS;
	uint64_t ms = 500;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
			rounds = (size_t)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--milliseconds") == 0 && i + 1 < argc)
			ms = strtoul(argv[++i], NULL, 10);
	}
	if (!rounds || rounds > ROUNDS_MAX)
		rounds = ROUNDS;
	pin(1);
	must(unshare(CLONE_NEWNET) == 0 && system("ip link set lo up") == 0, "needs root");
	must(mkdtemp(folder) != NULL && chdir(folder) == 0, folder);
	self = getpid();
	must(atexit(clean_up) == 0, "atexit");
	make_questions();
	write_files();
	measure_core(json, rounds);
	measure_servers(json, rounds, ms);
	return 0;
}
