/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as one node of 10,000. A thousand of the others are there, each with a key and a
 * socket of its own: cores (wg/device.h) in the namespace of the other end of the cable.
 *
 *   engine a -- wg0 10.9.0.1                      1,000 cores, 10.10.0.0 .. 10.10.3.231
 *        |                                                        |
 *      eth0 10.8.0.1  ----------------------------------  eth0 10.8.0.2, ports from 20000 on
 *
 * Needs root and /dev/net/tun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "overlay/engine/engine_inside.h"
#include "overlay/prober.h"
#include "overlay/wg/device.h"
#include "tests/net/engine_rig.h"

enum {
	MEMBERS = 10000,
	REMOTES = 1000,
	AT_ONCE = 100, /* so that nobody is under load */
	PORT = 20000,
	INNER_PORT = 4000,
	ASLEEP_BYTES_MAX = 2048,
	FORGET_S = 700,
	DATAGRAM_MAX = 2048,
	HEADS = 28, /* of IPv4 and UDP */
};

struct remote {
	int fd;
	uint32_t number;
	struct device *device;
	struct device_peer *to_a;
	uint8_t key[SETUP_KEY];
	bool waits;   /* it has something to say, and no session yet */
	unsigned got; /* texts of its number that came */
	unsigned handshakes;
};

static struct engine_rig rig;
static struct remote remotes[REMOTES];
static unsigned sent; /* datagrams of all remotes */

static struct world
now(void)
{
	struct world w;

	world_real(&w);
	w.mono_ns += rig.ahead_ns;
	w.wall_ns += (int64_t)rig.ahead_ns;
	return w;
}

/* ---- one of the others ---- */

static void
send_to_a(const struct remote *r, const void *data, size_t bytes)
{
	struct sockaddr_storage at;
	socklen_t length = addr_to_sockaddr(&rig.a.endpoint, &at);

	assert_int_equal(sendto(r->fd, data, bytes, 0, (struct sockaddr *)&at, length), bytes);
	sent++;
}

static uint16_t
checksum(const uint8_t *head)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)head[i] << 8 | head[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t) ~(sum + (sum >> 16)));
}

/* A UDP datagram that says its number; no checksum of UDP. */
static size_t
make_text(const struct remote *r, uint8_t out[HEADS + 4])
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
	struct udphdr udp = {.source = htons(INNER_PORT), .dest = htons(INNER_PORT)};

	ip.tot_len = htons(HEADS + 4);
	ip.saddr = htonl(0x0a0a0000 + r->number);
	ip.daddr = htonl(0x0a090001);
	udp.len = htons(8 + 4);
	memcpy(out, &ip, sizeof(ip));
	ip.check = checksum(out);
	memcpy(out, &ip, sizeof(ip));
	memcpy(out + sizeof(ip), &udp, sizeof(udp));
	memcpy(out + HEADS, &r->number, 4);
	return HEADS + 4;
}

static void
speak(struct remote *r)
{
	uint8_t text[HEADS + 4], out[DATAGRAM_MAX];
	struct world w = now();
	size_t bytes = make_text(r, text);
	enum device_result result =
		device_seal(r->device, r->to_a, &w, text, bytes, out, sizeof(out), &bytes);

	r->waits = result == DEVICE_WAIT;
	assert_true(r->waits || result == DEVICE_OK);
	if (!r->waits)
		send_to_a(r, out, bytes);
}

static void
call_send(void *arg, const struct device_datagram *d)
{
	send_to_a(arg, d->data, d->bytes);
}

static size_t
call_staged(void *arg, struct device_peer *peer)
{
	(void)peer;
	return ((struct remote *)arg)->waits;
}

static void
call_ready(void *arg, struct device_peer *peer)
{
	(void)peer;
	speak(arg);
}

static void
call_give_up(void *arg, struct device_peer *peer)
{
	(void)peer;
	((struct remote *)arg)->waits = false;
}

static void
call_keys(void *arg, struct device_peer *peer, struct session *session, enum device_keys what)
{
	(void)peer;
	(void)session;
	((struct remote *)arg)->handshakes += what == DEVICE_KEYS_CURRENT;
}

static void
call_gone(void *arg, struct device_peer *peer)
{
	(void)arg;
	(void)peer;
}

static void
open_remote(uint32_t number)
{
	struct remote *r = &remotes[number];
	const struct device_calls calls = {
		r, call_send, call_staged, call_ready, call_give_up, call_keys, call_gone};
	struct device_prefix inner = {0};
	struct device_change c = {
		.endpoint = &rig.a.endpoint, .prefixes = &inner, .prefixes_count = 1};
	struct addr at = rig.b.endpoint;
	struct sockaddr_storage place;
	uint8_t private_key[SETUP_KEY];
	struct world w = now();
	struct err err = {0};

	*r = (struct remote){.number = number};
	engine_rig_key(private_key, r->key);
	assert_int_equal(device_new(&calls, &w, &r->device, &err), 0);
	assert_int_equal(device_set_private_key(r->device, private_key, &err), 0);
	assert_true(addr_parse_prefix("10.9.0.1/32", &inner.prefix));
	memcpy(c.public_key, rig.a.public_key, SETUP_KEY);
	assert_int_equal(device_change(r->device, &c, &w, &r->to_a, &err), 0);
	at.port = (uint16_t)(PORT + number);
	socklen_t bytes = addr_to_sockaddr(&at, &place);
	tun_rig_enter(rig.b.ns);
	r->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(r->fd >= 0);
	assert_int_equal(bind(r->fd, (struct sockaddr *)&place, bytes), 0);
	tun_rig_home();
}

static void
take(struct remote *r)
{
	uint8_t data[DATAGRAM_MAX];
	struct sockaddr_storage at;
	socklen_t length = sizeof(at);
	struct device_opened opened;
	struct world w = now();
	struct addr from;
	ssize_t n = recvfrom(r->fd, data, sizeof(data), 0, (struct sockaddr *)&at, &length);

	if (n < 0)
		return;
	assert_true(addr_from_sockaddr((struct sockaddr *)&at, length, &from));
	if (noise_type(data, (size_t)n) != NOISE_TYPE_DATA) {
		(void)device_receive(r->device, &w, &from, data, (size_t)n, 0);
	} else if (device_open(r->device, &w, &from, data, (size_t)n, &opened) == DEVICE_OK) {
		assert_int_equal(opened.bytes, HEADS + 4);
		assert_memory_equal(opened.text + HEADS, &r->number, 4);
		r->got++;
	}
}

/* What came to any of them, and what is due. */
static void
serve(int timeout_ms)
{
	static struct pollfd fds[REMOTES];
	struct world w;

	for (unsigned i = 0; i < REMOTES; i++)
		fds[i] = (struct pollfd){.fd = remotes[i].fd, .events = POLLIN};
	if (poll(fds, REMOTES, timeout_ms) > 0)
		for (unsigned i = 0; i < REMOTES; i++)
			if (fds[i].revents)
				take(&remotes[i]);
	w = now();
	for (unsigned i = 0; i < REMOTES; i++)
		if (device_deadline(remotes[i].device) <= w.mono_ns)
			device_tick(remotes[i].device, &w);
}

/* ---- the engine ---- */

static void
add_member(struct setup *change, uint32_t number, const uint8_t key[SETUP_KEY])
{
	struct addr_prefix prefix = {.bits = 128};
	struct setup_peer *p;

	assert_int_equal(setup_add_peer(change, key, &p), SETUP_OK);
	p->has_endpoint = true;
	p->endpoint = rig.b.endpoint;
	p->endpoint.port = (uint16_t)(PORT + number);
	addr_from_v4_be(htonl(0x0a0a0000 + number), 0, &prefix.base);
	assert_int_equal(setup_add_prefix(change, p, &prefix, false), SETUP_OK);
}

static unsigned
awake(void)
{
	struct engine *e = rig.a.engine;
	unsigned count = 0;

	engine_lock(e);
	for (struct device_peer *it = NULL; (it = device_next(e->device, it));)
		count += device_peer_awake(it);
	engine_unlock(e);
	return count;
}

static int
begin(void **state)
{
	const struct rlimit files = {REMOTES + 200, REMOTES + 200};
	const struct engine_rig_options o = {.offload = TUN_USO};
	struct setup change = {0};

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	engine_rig_open_cable(&rig, &o);
	engine_rig_start(&rig, &rig.a);
	tun_rig_enter(rig.a.ns);
	tun_rig_run("ip route add 10.10.0.0/16 dev wg0");
	tun_rig_home();
	for (uint32_t i = 0; i < REMOTES; i++) {
		open_remote(i);
		add_member(&change, i, remotes[i].key);
	}
	for (uint32_t i = REMOTES; i < MEMBERS; i++) {
		uint8_t key[SETUP_KEY] = {1};

		memcpy(key + 1, &i, sizeof(i));
		add_member(&change, i, key);
	}
	size_t before = mem_used(MEM_OVERLAY);
	engine_rig_change(&rig.a, &change);
	assert_true((mem_used(MEM_OVERLAY) - before) / MEMBERS <= ASLEEP_BYTES_MAX);
	setup_fini(&change);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < REMOTES; i++) {
		device_free(remotes[i].device);
		close(remotes[i].fd);
	}
	engine_rig_close(&rig);
	return 0;
}

/* ---- the tests: in this order, of the same thousand ---- */

static void
send_to_remote(int fd, const struct remote *r)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(INNER_PORT)};

	to.sin_addr.s_addr = htonl(0x0a0a0000 + r->number);
	assert_int_equal(sendto(fd, &r->number, 4, 0, (struct sockaddr *)&to, sizeof(to)), 4);
}

static void
await_texts(unsigned first, unsigned got)
{
	uint64_t until = world_mono_ns() + 2 * ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	for (unsigned i = first; i < first + AT_ONCE;) {
		assert_true(world_mono_ns() < until);
		if (remotes[i].got >= got)
			i++;
		else
			serve(20);
	}
}

/* Nobody is spoken to without need; the first packet to each comes there. */
static void
test_traffic_wakes(void **state)
{
	int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, 4);

	(void)state;
	for (unsigned first = 0; first < REMOTES; first += AT_ONCE) {
		assert_int_equal(awake(), first);
		for (unsigned i = first; i < first + AT_ONCE; i++)
			send_to_remote(fd, &remotes[i]);
		await_texts(first, 1);
	}
	assert_int_equal(awake(), REMOTES);
	for (unsigned i = 0; i < REMOTES; i++)
		assert_true(remotes[i].got == 1 && remotes[i].handshakes >= 1);
	assert_int_equal(engine_rig_count(&rig.a, ENGINE_DROP_STAGED), 0);
	assert_int_equal(engine_rig_count(&rig.a, ENGINE_DROP_UNREACHABLE), 0);
	close(fd);
}

/* Who was sent something says after 10 s that it is there; else a handshake is begun after 15. */
static void
fall_asleep(void)
{
	uint64_t until = world_mono_ns() + 2 * ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	while (awake() > 0) {
		assert_true(world_mono_ns() < until);
		engine_rig_pass(&rig, 11);
		for (unsigned i = 0; i < 20; i++)
			serve(10);
		engine_rig_pass(&rig, FORGET_S);
		for (unsigned i = 0; i < 20; i++)
			serve(10);
	}
}

static void
test_idle_sleeps(void **state)
{
	(void)state;
	assert_int_equal(awake(), REMOTES);
	fall_asleep();
}

/* What the others begin is taken of everybody who is a member, and what they say comes out. */
static void
test_initiations_wake(void **state)
{
	static bool heard[REMOTES];
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(INNER_PORT)};
	unsigned count = 0;
	uint32_t number;

	(void)state;
	tun_rig_enter(rig.a.ns);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	tun_rig_home();
	uint64_t until = world_mono_ns() + 4 * ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	for (unsigned first = 0; first < REMOTES; first += AT_ONCE) {
		for (unsigned i = first; i < first + AT_ONCE; i++)
			speak(&remotes[i]);
		while (count < first + AT_ONCE) {
			assert_true(world_mono_ns() < until);
			serve(5);
			while (recv(fd, &number, sizeof(number), 0) == sizeof(number)) {
				assert_true(number < REMOTES && !heard[number]);
				heard[number] = true;
				count++;
			}
		}
	}
	assert_int_equal(awake(), REMOTES);
	close(fd);
}

/* A probe is no reason to speak to anybody. */
static void
test_probes_wake_nobody(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PROBER_PORT)};
	int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, 4);

	(void)state;
	fall_asleep();
	uint64_t before = engine_rig_count(&rig.a, ENGINE_DROP_UNREACHABLE);
	to.sin_addr.s_addr = htonl(0x0a0a0000);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	engine_rig_await(&rig.a, ENGINE_DROP_UNREACHABLE, before + 1);
	assert_int_equal(awake(), 0);
	close(fd);
}

/* Of whom something else was heard of late, it is said. */
static void
test_idle_is_told(void **state)
{
	int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, 4);

	(void)state;
	assert_true(engine_rig_peer(&rig.a, remotes[7].key).idle_s >= FORGET_S);
	send_to_remote(fd, &remotes[7]);
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	while (engine_rig_peer(&rig.a, remotes[7].key).idle_s >= FORGET_S) {
		assert_true(world_mono_ns() < until);
		serve(5);
	}
	uint8_t nobody[SETUP_KEY] = {1};
	uint32_t number = MEMBERS - 1;
	memcpy(nobody + 1, &number, sizeof(number));
	assert_int_equal(engine_rig_peer(&rig.a, nobody).idle_s, UINT32_MAX);
	close(fd);
}

/* Only who has a session hears of another key; the others are met with it when they wake. */
static void
test_new_key(void **state)
{
	struct setup change = {.has_private_key = true};
	uint8_t public_key[SETUP_KEY];

	(void)state;
	fall_asleep();
	engine_rig_key(change.private_key, public_key);
	engine_rig_change(&rig.a, &change);
	assert_int_equal(awake(), 0);
}

/* Who is to be kept alive is spoken to when there is a key for that. */
static void
test_kept_before_the_key(void **state)
{
	struct setup change = {.has_private_key = true};
	struct setup_peer *p;
	uint8_t public_key[SETUP_KEY];

	(void)state;
	engine_rig_change(&rig.a, &change);
	change.has_private_key = false;
	assert_int_equal(setup_add_peer(&change, remotes[7].key, &p), SETUP_OK);
	p->update_only = p->has_keepalive = true;
	p->keepalive_s = 25;
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
	assert_int_equal(awake(), 0);
	change = (struct setup){.has_private_key = true};
	engine_rig_key(change.private_key, public_key);
	engine_rig_change(&rig.a, &change);
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	while (awake() == 0) {
		assert_true(world_mono_ns() < until);
		serve(5);
	}
	assert_int_equal(awake(), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic_wakes),
		cmocka_unit_test(test_idle_sleeps),
		cmocka_unit_test(test_initiations_wake),
		cmocka_unit_test(test_probes_wake_nobody),
		cmocka_unit_test(test_idle_is_told),
		cmocka_unit_test(test_new_key),
		cmocka_unit_test(test_kept_before_the_key),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, begin, end) : 0;
}
