/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of traffic abort where they cannot go on: cmocka's asserts are the main thread's. */
#include "tests/net/engine_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/world.h"
#include "overlay/engine/inner.h"
#include "overlay/engine/udp.h"
#include "overlay/wg/noise.h"

enum {
	CHUNK = 1 << 16,
	SENT_AT_ONCE = 7919,
	TAP_BYTES = 64 << 20,
	ECHO_MS = 20000,
	SECOND_MS = 1000,
	TRY_MS = 250
};

static const uint64_t second = 1000000000;

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	abort();
}

static uint64_t
deadline(void)
{
	return world_mono_ns() + ENGINE_RIG_WAIT_S * second;
}

/* ---- the two ends ---- */

void
engine_rig_key(uint8_t private_out[SETUP_KEY], uint8_t public_out[SETUP_KEY])
{
	struct noise_identity id;
	struct world w;

	world_real(&w);
	world_random(&w, private_out, SETUP_KEY);
	assert_true(noise_identity_set(&id, private_out));
	memcpy(private_out, id.private_key, SETUP_KEY);
	memcpy(public_out, id.public_key, SETUP_KEY);
}

static void
open_end(struct engine_rig *r, struct engine_rig_end *end, uint8_t number)
{
	char text[64];

	end->number = number;
	end->ns = tun_rig_namespace();
	engine_rig_key(end->private_key, end->public_key);
	snprintf(text, sizeof(text), r->options.v6 ? "fd08::%u" : "10.8.0.%u", number);
	assert_true(addr_parse_ip(text, &end->endpoint));
	end->endpoint.port = ENGINE_RIG_PORT;
}

static void
cable_end(const struct engine_rig *r, const struct engine_rig_end *end)
{
	tun_rig_enter(end->ns);
	tun_rig_run("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad;"
		    "ip link set lo up && ip link set eth0 mtu %u up &&"
		    "ip addr add 10.8.0.%u/24 dev eth0 && ip addr add fd08::%u/64 dev eth0 nodad",
		    r->options.cable_mtu, end->number, end->number);
	tun_rig_home();
}

void
engine_rig_open_cable(struct engine_rig *r, const struct engine_rig_options *o)
{
	struct world w;

	*r = (struct engine_rig){.options = *o};
	r->options.mtu = o->mtu ? o->mtu : TUN_RIG_MTU;
	r->options.cable_mtu = o->cable_mtu ? o->cable_mtu : 1500;
	r->options.queues = o->queues ? o->queues : 1;
	world_real(&w);
	world_random(&w, r->psk, sizeof(r->psk));
	open_end(r, &r->a, 1);
	open_end(r, &r->b, 2);
	tun_rig_enter(r->a.ns);
	tun_rig_run("ip link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", getpid(),
		    r->b.ns);
	tun_rig_home();
	cable_end(r, &r->a);
	cable_end(r, &r->b);
}

static int
open_udp(const struct engine_rig *r, bool v6)
{
	const struct udp_config c = {.v6 = v6, .port = ENGINE_RIG_PORT};
	struct err err = {0};
	struct udp u;

	if (r->options.v6 != v6)
		return -1;
	if (udp_open(&u, &c, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	return u.fd;
}

void
engine_rig_change(struct engine_rig_end *end, const struct setup *change)
{
	struct err err = {0};

	if (engine_change(end->engine, change, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
}

static void
open_queues(const struct engine_rig *r, struct engine_config *c)
{
	struct err err = {0};

	for (c->queues_count = 0; c->queues_count < r->options.queues; c->queues_count++) {
		int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

		if (tun_open(&c->queues[c->queues_count], fd, "wg0", r->options.offload, &err) <
			    0 ||
		    tun_set_mtu(&c->queues[0], r->options.mtu, &err) < 0) {
			err_print(&err, "test", stderr);
			fail();
		}
	}
}

void
engine_rig_start(struct engine_rig *r, struct engine_rig_end *end)
{
	struct engine_config c = {.mtu = r->options.mtu,
				  .aead = r->options.aead,
				  .no_gso = r->options.no_gso,
				  .no_gro = r->options.no_gro,
				  .ahead_ns = &r->ahead_ns};
	struct setup change = {.has_private_key = true};
	struct err err = {0};

	tun_rig_enter(end->ns);
	open_queues(r, &c);
	tun_rig_run("echo 0 >/proc/sys/net/ipv6/conf/wg0/accept_dad; ip link set wg0 up &&"
		    "ip addr add 10.9.0.%u/24 dev wg0 && ip addr add fd09::%u/64 dev wg0 nodad",
		    end->number, end->number);
	c.udp4 = open_udp(r, false);
	c.udp6 = open_udp(r, true);
	tun_rig_home();
	end->engine = engine_new(&c, &err);
	if (!end->engine) {
		err_print(&err, "test", stderr);
		fail();
	}
	memcpy(change.private_key, end->private_key, SETUP_KEY);
	engine_rig_change(end, &change);
}

void
engine_rig_introduce(struct engine_rig *r, struct engine_rig_end *to,
		     const struct engine_rig_end *whom, bool endpoint)
{
	struct setup change = {0};
	struct setup_peer *peer;
	struct addr_prefix prefix;
	char text[64];

	assert_int_equal(setup_add_peer(&change, whom->public_key, &peer), SETUP_OK);
	memcpy(peer->psk, r->psk, SETUP_KEY);
	peer->has_psk = true;
	peer->has_endpoint = endpoint;
	peer->endpoint = whom->endpoint;
	snprintf(text, sizeof(text), "10.9.0.%u/32", whom->number);
	assert_true(addr_parse_prefix(text, &prefix));
	assert_int_equal(setup_add_prefix(&change, peer, &prefix, false), SETUP_OK);
	snprintf(text, sizeof(text), "fd09::%u/128", whom->number);
	assert_true(addr_parse_prefix(text, &prefix));
	assert_int_equal(setup_add_prefix(&change, peer, &prefix, false), SETUP_OK);
	engine_rig_change(to, &change);
	setup_fini(&change);
}

void
engine_rig_open(struct engine_rig *r, const struct engine_rig_options *o)
{
	engine_rig_open_cable(r, o);
	engine_rig_start(r, &r->a);
	engine_rig_start(r, &r->b);
	engine_rig_introduce(r, &r->a, &r->b, true);
	engine_rig_introduce(r, &r->b, &r->a, true);
}

void
engine_rig_close(struct engine_rig *r)
{
	engine_free(r->a.engine);
	engine_free(r->b.engine);
	close(r->a.ns);
	close(r->b.ns);
}

void
engine_rig_pass(struct engine_rig *r, uint64_t seconds)
{
	const struct setup nothing = {0};

	r->ahead_ns += seconds * second;
	if (r->a.engine)
		engine_rig_change(&r->a, &nothing);
	if (r->b.engine)
		engine_rig_change(&r->b, &nothing);
}

struct setup_peer
engine_rig_peer(struct engine_rig_end *end, const uint8_t key[SETUP_KEY])
{
	struct setup_peer out = {0};
	struct err err = {0};
	struct setup s;

	setup_init(&s);
	assert_int_equal(engine_state(end->engine, &s, &err), 0);
	const struct setup_peer *p = setup_find(&s, key);
	if (p)
		out = *p;
	out.prefixes = NULL;
	setup_fini(&s);
	return out;
}

uint64_t
engine_rig_count(const struct engine_rig_end *end, enum engine_count which)
{
	uint64_t counts[ENGINE_COUNTS];

	engine_counts(end->engine, counts);
	return counts[which];
}

void
engine_rig_await(const struct engine_rig_end *end, enum engine_count which, uint64_t least)
{
	uint64_t until = deadline();

	while (engine_rig_count(end, which) < least) {
		if (world_mono_ns() > until)
			fail_msg("%s: %llu instead of %llu", engine_count_name(which),
				 (unsigned long long)engine_rig_count(end, which),
				 (unsigned long long)least);
		poll(NULL, 0, 1);
	}
}

/* ---- sockets ---- */

socklen_t
engine_rig_inner(const struct engine_rig_end *end, int version, uint16_t port,
		 struct sockaddr_storage *out)
{
	struct addr a;
	char text[64];

	snprintf(text, sizeof(text), version == 6 ? "fd09::%u" : "10.9.0.%u", end->number);
	must(addr_parse_ip(text, &a), text);
	a.port = port;
	return addr_to_sockaddr(&a, out);
}

int
engine_rig_socket(const struct engine_rig_end *end, int type, int version)
{
	const struct timeval wait = {.tv_sec = ENGINE_RIG_WAIT_S};
	struct sockaddr_storage at;
	socklen_t bytes = engine_rig_inner(end, version, 0, &at);

	must(setns(end->ns, CLONE_NEWNET) == 0, "setns");
	int fd = socket(version == 6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
	must(fd >= 0, "socket");
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0, "SO_RCVTIMEO");
	must(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0, "SO_SNDTIMEO");
	must(bind(fd, (struct sockaddr *)&at, bytes) == 0, "bind");
	tun_rig_home();
	return fd;
}

uint16_t
engine_rig_port_of(int fd)
{
	struct sockaddr_storage at = {0};
	socklen_t bytes = sizeof(at);
	struct addr a = {0};

	must(getsockname(fd, (struct sockaddr *)&at, &bytes) == 0, "getsockname");
	must(addr_from_sockaddr((struct sockaddr *)&at, bytes, &a), "address");
	return a.port;
}

/* ---- TCP ---- */

/* What stands at a place of the stream. */
static void
fill(uint8_t *out, uint64_t at, size_t bytes)
{
	static const char mark[] = ENGINE_RIG_MARK;

	for (size_t i = 0; i < bytes; i++, at++)
		out[i] = at % 128 < sizeof(mark) - 1 ? (uint8_t)mark[at % 128]
						     : (uint8_t)(at / 128 + at * 7);
}

struct stream {
	int listener;
	uint64_t bytes;
};

static void *
serve(void *arg)
{
	const struct stream *s = arg;
	static __thread uint8_t got[CHUNK], want[CHUNK];
	int fd = accept(s->listener, NULL, NULL);
	const struct timeval wait = {.tv_sec = ENGINE_RIG_WAIT_S};

	must(fd >= 0, "accept");
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0, "SO_RCVTIMEO");
	for (uint64_t at = 0; at < s->bytes;) {
		ssize_t n = read(fd, got, sizeof(got));

		must(n > 0, "read");
		fill(want, at, (size_t)n);
		must(memcmp(got, want, (size_t)n) == 0, "not what was sent");
		at += (uint64_t)n;
	}
	must(write(fd, "", 1) == 1, "write");
	close(fd);
	return NULL;
}

void
engine_rig_tcp(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
	       uint64_t bytes)
{
	struct stream s = {.listener = engine_rig_socket(to, SOCK_STREAM, version), .bytes = bytes};
	uint8_t data[SENT_AT_ONCE];
	struct sockaddr_storage at;
	pthread_t thread;
	int fd = engine_rig_socket(from, SOCK_STREAM, version);

	must(listen(s.listener, 1) == 0, "listen");
	socklen_t length = engine_rig_inner(to, version, engine_rig_port_of(s.listener), &at);
	must(pthread_create(&thread, NULL, serve, &s) == 0, "pthread_create");
	must(connect(fd, (struct sockaddr *)&at, length) == 0, "connect");
	for (uint64_t sent = 0; sent < bytes;) {
		uint64_t left = bytes - sent;
		size_t n = left < sizeof(data) ? left : sizeof(data);

		fill(data, sent, n);
		ssize_t written = write(fd, data, n);
		must(written > 0, "write");
		sent += (uint64_t)written;
	}
	must(read(fd, data, 1) == 1, "the other end did not get all of it");
	must(pthread_join(thread, NULL) == 0, "pthread_join");
	close(fd);
	close(s.listener);
}

/* ---- UDP ---- */

static bool
await_readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static bool
echo_within(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
	    size_t bytes, int ms)
{
	static uint8_t sent[CHUNK], got[CHUNK];
	defer_close int one = engine_rig_socket(from, SOCK_DGRAM, version);
	defer_close int other = engine_rig_socket(to, SOCK_DGRAM, version);
	struct sockaddr_storage at;
	socklen_t length = engine_rig_inner(to, version, engine_rig_port_of(other), &at);

	fill(sent, 0, bytes);
	if (sendto(one, sent, bytes, 0, (struct sockaddr *)&at, length) != (ssize_t)bytes ||
	    !await_readable(other, ms))
		return false;
	length = sizeof(at);
	must(recvfrom(other, got, sizeof(got), 0, (struct sockaddr *)&at, &length) ==
		     (ssize_t)bytes,
	     "another length");
	must(memcmp(sent, got, bytes) == 0, "another datagram");
	if (sendto(other, sent, bytes, 0, (struct sockaddr *)&at, length) != (ssize_t)bytes ||
	    !await_readable(one, ms))
		return false;
	must(recv(one, got, sizeof(got), 0) == (ssize_t)bytes, "another length came back");
	must(memcmp(sent, got, bytes) == 0, "another datagram came back");
	return true;
}

bool
engine_rig_echo(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
		size_t bytes)
{
	return echo_within(from, to, version, bytes, ECHO_MS);
}

bool
engine_rig_try(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
	       size_t bytes)
{
	return echo_within(from, to, version, bytes, SECOND_MS);
}

void
engine_rig_send(const struct engine_rig_end *from, const struct engine_rig_end *to)
{
	defer_close int fd = engine_rig_socket(from, SOCK_DGRAM, 4);
	struct sockaddr_storage at;
	socklen_t bytes = engine_rig_inner(to, 4, 9, &at);

	must(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, bytes) == 1, "sendto");
}

void
engine_rig_reach(const struct engine_rig_end *from, const struct engine_rig_end *to, int version)
{
	uint64_t until = deadline();

	while (!echo_within(from, to, version, 100, TRY_MS))
		if (world_mono_ns() > until)
			fail_msg("%u cannot reach %u", from->number, to->number);
}

/* ---- load ---- */

enum { LOAD_BYTES = 900, LOAD_WINDOW = 48, LOAD_MS = 2, LOAD_LATE_S = 8 };

struct engine_rig_load {
	int from, to;
	struct sockaddr_storage at;
	socklen_t at_bytes;
	pthread_t sender, receiver;
	_Atomic uint64_t sent, got, disorder, expected;
	_Atomic bool stop, end;
};

/* More are not on their way than wait for a handshake, however slow the machine: only after a while
 * without a sign of them are they taken to be lost. */
static void *
load_send(void *arg)
{
	struct engine_rig_load *l = arg;
	uint8_t data[LOAD_BYTES];
	uint64_t lost = 0;

	fill(data, 0, sizeof(data));
	while (!l->stop) {
		uint64_t number = l->sent, until = world_mono_ns() + LOAD_LATE_S * second;

		while (number - l->got - lost >= LOAD_WINDOW && world_mono_ns() < until)
			poll(NULL, 0, LOAD_MS);
		if (number - l->got - lost >= LOAD_WINDOW)
			lost = number - l->got;
		memcpy(data, &number, sizeof(number));
		l->sent++;
		(void)!sendto(l->from, data, sizeof(data), 0, (struct sockaddr *)&l->at,
			      l->at_bytes);
	}
	return NULL;
}

static void *
load_receive(void *arg)
{
	struct engine_rig_load *l = arg;
	uint8_t data[LOAD_BYTES];
	uint64_t number;

	while (!l->end) {
		if (!await_readable(l->to, LOAD_MS))
			continue;
		must(recv(l->to, data, sizeof(data), 0) == sizeof(data), "recv");
		memcpy(&number, data, sizeof(number));
		l->got++;
		if (number < l->expected)
			l->disorder++;
		else
			l->expected = number + 1;
	}
	return NULL;
}

struct engine_rig_load *
engine_rig_load(const struct engine_rig_end *from, const struct engine_rig_end *to)
{
	struct engine_rig_load *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->from = engine_rig_socket(from, SOCK_DGRAM, 4);
	l->to = engine_rig_socket(to, SOCK_DGRAM, 4);
	l->at_bytes = engine_rig_inner(to, 4, engine_rig_port_of(l->to), &l->at);
	must(pthread_create(&l->sender, NULL, load_send, l) == 0, "pthread_create");
	must(pthread_create(&l->receiver, NULL, load_receive, l) == 0, "pthread_create");
	return l;
}

void
engine_rig_load_more(const struct engine_rig_load *l, uint64_t count)
{
	uint64_t least = l->got + count, until = deadline();

	while (l->got < least) {
		if (world_mono_ns() > until)
			fail_msg("the load does not go on");
		poll(NULL, 0, LOAD_MS);
	}
}

uint64_t
engine_rig_load_stop(struct engine_rig_load *l, uint64_t *disorder_out)
{
	l->stop = true;
	must(pthread_join(l->sender, NULL) == 0, "pthread_join");
	uint64_t seen = l->got, until = world_mono_ns() + LOAD_LATE_S * second;
	while (l->got < l->sent && world_mono_ns() < until) {
		poll(NULL, 0, LOAD_MS);
		if (l->got != seen)
			until = world_mono_ns() + LOAD_LATE_S * second;
		seen = l->got;
	}
	l->end = true;
	must(pthread_join(l->receiver, NULL) == 0, "pthread_join");
	uint64_t lost = l->sent - l->got;
	*disorder_out = l->disorder;
	close(l->from);
	close(l->to);
	free(l);
	return lost;
}

/* ---- the cable ---- */

struct engine_rig_tap {
	int fd;
};

struct engine_rig_tap *
engine_rig_tap(const struct engine_rig_end *end)
{
	struct engine_rig_tap *t = malloc(sizeof(*t));
	static const int room = TAP_BYTES;
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

	assert_non_null(t);
	tun_rig_enter(end->ns);
	t->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	at.sll_ifindex = (int)if_nametoindex("eth0");
	tun_rig_home();
	assert_true(t->fd >= 0);
	assert_int_equal(setsockopt(t->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)), 0);
	assert_int_equal(bind(t->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return t;
}

unsigned
engine_rig_heard(struct engine_rig_tap *t,
		 void (*visit)(void *arg, const uint8_t *data, size_t bytes), void *arg)
{
	static uint8_t packet[CHUNK];
	unsigned count = 0;
	ssize_t n;

	while ((n = recv(t->fd, packet, sizeof(packet), 0)) >= 0) {
		struct inner in;

		if (memmem(packet, (size_t)n, ENGINE_RIG_MARK, 16))
			fail_msg("what is to be secret is seen on the cable");
		if (!inner_parse(packet, (size_t)n, &in) || in.protocol != IPPROTO_UDP ||
		    in.length < in.l4 + INNER_UDP_BYTES)
			continue;
		uint32_t start = in.l4 + INNER_UDP_BYTES;
		count++;
		if (visit)
			visit(arg, packet + start, (size_t)n - start);
	}
	return count;
}

void
engine_rig_tap_close(struct engine_rig_tap *t)
{
	close(t->fd);
	free(t);
}
