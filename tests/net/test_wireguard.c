/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WireGuard core against wireguard-go, in both roles.
 *
 *   core, 10.7.0.2 -- UDP socket, 127.0.0.1 -- wireguard-go -- wg0, 10.7.0.1 -- kernel
 *
 * In a network namespace of its own, with a /run of its own for wg's socket. Needs root,
 * wireguard-go, wg and /dev/net/tun.
 */
#include "overlay/wg/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/ip_icmp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

enum { PORT = 51820, PATIENCE_MS = 60000, ECHO = 20 + 8 + 32, DATAGRAM_MAX = 2048 };

static pid_t child = -1;
static uint8_t their_key[PRIMITIVE_KEY];

static struct device *device;
static struct device_peer *peer;
static int udp = -1;
static uint64_t ahead_ns; /* of the real clock */
static size_t queued;
static uint8_t waiting[ECHO];
static bool staged;
static unsigned initiations, responses, cookies; /* that came */
static unsigned requests;                        /* echo requests that came, and were answered */
static uint16_t answered;                        /* the last answer's number */

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "# %s\n", what);
	abort();
}

static void
command(const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	must(vsnprintf(text, sizeof(text), format, args) < (int)sizeof(text), "too long");
	va_end(args);
	must(system(text) == 0, text);
}

static void
output(const char *text, char *out, size_t cap)
{
	FILE *f = popen(text, "r");

	must(f != NULL, text);
	size_t n = fread(out, 1, cap - 1, f);
	out[n] = '\0';
	must(pclose(f) == 0, text);
}

static struct world
now(void)
{
	struct world w;

	world_real(&w);
	w.mono_ns += ahead_ns;
	w.wall_ns += (int64_t)ahead_ns;
	return w;
}

static void
put_key(const char *path, const uint8_t key[PRIMITIVE_KEY])
{
	uint8_t text[PRIMITIVE_KEY * 2];
	FILE *f = fopen(path, "w");

	must(f != NULL, path);
	EVP_EncodeBlock(text, key, PRIMITIVE_KEY);
	fputs((const char *)text, f);
	must(fclose(f) == 0, path);
}

/* ---- wireguard-go ---- */

static void
start_theirs(void)
{
	child = fork();
	must(child >= 0, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDWR);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("wireguard-go", "wireguard-go", "-f", "wg0", (char *)NULL);
		_exit(127);
	}
	for (uint64_t end = world_mono_ns() + PATIENCE_MS * UINT64_C(1000000);;) {
		if (system("wg show wg0 >/dev/null 2>&1") == 0)
			break;
		must(waitpid(child, NULL, WNOHANG) == 0, "wireguard-go ended");
		must(world_mono_ns() < end, "wireguard-go does not begin");
		poll(NULL, 0, 20);
	}
}

static int
open_all(void **state)
{
	struct noise_identity id;
	struct world w = now();

	(void)state;
	must(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") == 0, "mount /run");
	start_theirs();
	world_random(&w, their_key, sizeof(their_key));
	put_key("/run/private", their_key);
	must(noise_identity_set(&id, their_key), "no memory");
	memcpy(their_key, id.public_key, PRIMITIVE_KEY);
	command("wg set wg0 private-key /run/private listen-port %d", PORT);
	command("ip address add 10.7.0.1/24 dev wg0 && ip link set wg0 mtu 1420 up");
	return 0;
}

static int
close_all(void **state)
{
	(void)state;
	kill(child, SIGTERM);
	waitpid(child, NULL, 0);
	return 0;
}

/* ---- the core's end ---- */

static void
call_send(void *arg, const struct device_datagram *d)
{
	struct sockaddr_storage to;
	socklen_t bytes = addr_to_sockaddr(d->to, &to);

	(void)arg;
	must(sendto(udp, d->data, d->bytes, 0, (struct sockaddr *)&to, bytes) == (ssize_t)d->bytes,
	     "sendto");
}

static size_t
call_staged(void *arg, struct device_peer *p)
{
	(void)arg;
	(void)p;
	return staged;
}

static void
send_inner(const uint8_t packet[ECHO])
{
	uint8_t out[DATAGRAM_MAX];
	struct device_datagram datagram = {.peer = peer, .data = out};
	struct device_peer_state s;
	struct world w = now();

	enum device_result r =
		device_seal(device, peer, &w, packet, ECHO, out, sizeof(out), &datagram.bytes);
	if (r == DEVICE_WAIT) {
		memcpy(waiting, packet, ECHO);
		staged = true;
		return;
	}
	assert_int_equal(r, DEVICE_OK);
	device_peer_state(peer, &s);
	datagram.to = &s.endpoint;
	call_send(NULL, &datagram);
}

static void
call_ready(void *arg, struct device_peer *p)
{
	(void)arg;
	(void)p;
	staged = false;
	send_inner(waiting);
}

static void
call_give_up(void *arg, struct device_peer *p)
{
	(void)arg;
	(void)p;
	staged = false;
}

static void
call_keys(void *arg, struct device_peer *p, struct session *s, enum device_keys what)
{
	(void)arg;
	(void)p;
	(void)s;
	(void)what;
}

static void
call_gone(void *arg, struct device_peer *p)
{
	call_give_up(arg, p);
}

static void
open_socket(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

	fd_close(&udp);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(udp >= 0 && bind(udp, (struct sockaddr *)&at, sizeof(at)) == 0, "bind");
}

static void
add_peer(const uint8_t psk[PRIMITIVE_KEY])
{
	struct device_prefix theirs = {.prefix = {.bits = 128}};
	struct addr endpoint;
	struct world w = now();
	struct err err = {0};

	must(addr_parse("127.0.0.1:51820", &endpoint), "address");
	must(addr_parse_ip("10.7.0.1", &theirs.prefix.base), "address");
	struct device_change change = {
		.psk = psk, .endpoint = &endpoint, .prefixes = &theirs, .prefixes_count = 1};
	memcpy(change.public_key, their_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(device, &change, &w, &peer, &err), 0);
}

static void
tell_them(const uint8_t psk[PRIMITIVE_KEY], const struct noise_identity *id)
{
	struct sockaddr_in at;
	socklen_t bytes = sizeof(at);
	uint8_t text[PRIMITIVE_KEY * 2];

	must(getsockname(udp, (struct sockaddr *)&at, &bytes) == 0, "getsockname");
	EVP_EncodeBlock(text, id->public_key, PRIMITIVE_KEY);
	put_key("/run/psk", psk);
	command("wg set wg0 peer %s preshared-key /run/psk endpoint 127.0.0.1:%d "
		"allowed-ips 10.7.0.2/32",
		(const char *)text, ntohs(at.sin_port));
}

/* A new device for each test, of which they know. */
static int
setup(void **state)
{
	const struct device_calls calls = {.send = call_send,
					   .staged = call_staged,
					   .ready = call_ready,
					   .give_up = call_give_up,
					   .keys = call_keys,
					   .gone = call_gone};
	uint8_t key[PRIMITIVE_KEY], psk[PRIMITIVE_KEY];
	struct noise_identity id;
	struct world w = now();
	struct err err = {0};

	(void)state;
	ahead_ns = 0;
	queued = 0;
	initiations = responses = cookies = requests = answered = 0;
	world_random(&w, key, sizeof(key));
	world_random(&w, psk, sizeof(psk));
	open_socket();
	assert_int_equal(device_new(&calls, &w, &device, &err), 0);
	assert_int_equal(device_set_private_key(device, key, &err), 0);
	must(device_identity(device, &id), "identity");
	add_peer(psk);
	tell_them(psk, &id);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	device_free(device);
	fd_close(&udp);
	command("wg show wg0 peers | xargs -r -I{} wg set wg0 peer {} remove");
	return 0;
}

/* ---- what is inside ---- */

static uint16_t
checksum(const uint8_t *data, size_t bytes)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += (uint32_t)(data[i] << 8 | data[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void
put_checksum(uint8_t *at, uint16_t sum)
{
	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

/* ICMP (RFC 792) from 28 bytes on; number: of the request. */
static void
put_icmp(uint8_t icmp[ECHO - 20], uint8_t type, uint16_t number)
{
	memset(icmp, 0, ECHO - 20);
	icmp[0] = type;
	icmp[4] = 0x7a;
	put_checksum(icmp + 6, number);
	memset(icmp + 8, 0x42, ECHO - 28);
	put_checksum(icmp + 2, checksum(icmp, ECHO - 20));
}

static void
put_echo(uint8_t out[ECHO], uint8_t type, uint16_t number)
{
	const uint8_t head[20] = {0x45, 0, 0,  ECHO, 0, 0, 0,  0, 64, IPPROTO_ICMP,
				  0,    0, 10, 7,    0, 2, 10, 7, 0,  1};

	memcpy(out, head, sizeof(head));
	put_checksum(out + 10, checksum(out, sizeof(head)));
	put_icmp(out + 20, type, number);
}

/* Answers a request, notes an answer. */
static void
take_inner(const uint8_t *packet, size_t bytes)
{
	uint8_t out[ECHO];

	if (bytes != ECHO || packet[9] != IPPROTO_ICMP || checksum(packet + 20, bytes - 20) != 0)
		return;
	uint16_t number = (uint16_t)(packet[26] << 8 | packet[27]);
	if (packet[20] == ICMP_ECHO) {
		requests++;
		put_echo(out, ICMP_ECHOREPLY, number);
		send_inner(out);
	} else if (packet[20] == ICMP_ECHOREPLY) {
		answered = number;
	}
}

static void
take_datagram(uint8_t *data, size_t bytes, const struct addr *from)
{
	struct device_opened opened;
	struct world w = now();

	switch (noise_type(data, bytes)) {
	case NOISE_TYPE_DATA:
		if (device_open(device, &w, from, data, bytes, &opened) == DEVICE_OK)
			take_inner(opened.text, opened.bytes);
		return;
	case NOISE_TYPE_INITIATION:
		initiations++;
		break;
	case NOISE_TYPE_RESPONSE:
		responses++;
		break;
	}
	cookies += device_receive(device, &w, from, data, bytes, queued) == DEVICE_COOKIE;
}

static void
receive(void)
{
	uint8_t data[DATAGRAM_MAX];
	struct sockaddr_storage from;
	socklen_t from_bytes = sizeof(from);
	struct addr at;
	ssize_t n;

	while ((n = recvfrom(udp, data, sizeof(data), 0, (struct sockaddr *)&from, &from_bytes)) >
	       0) {
		must(addr_from_sockaddr((struct sockaddr *)&from, from_bytes, &at), "address");
		take_datagram(data, (size_t)n, &at);
		from_bytes = sizeof(from);
	}
}

/* Serves until number was answered (or raw has such an answer). */
static void
await(uint16_t number, int raw)
{
	uint64_t end = world_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	struct pollfd fds[2] = {{.fd = udp, .events = POLLIN}, {.fd = raw, .events = POLLIN}};
	uint8_t packet[256];

	while (raw >= 0 || answered != number) {
		must(world_mono_ns() < end, "no answer");
		must(poll(fds, 2, 50) >= 0, "poll");
		receive();
		struct world w = now();
		if (device_deadline(device) <= w.mono_ns)
			device_tick(device, &w);
		if (raw >= 0 && (fds[1].revents & POLLIN) &&
		    read(raw, packet, sizeof(packet)) == ECHO && packet[20] == ICMP_ECHOREPLY &&
		    (packet[26] << 8 | packet[27]) == number)
			return;
	}
}

static void
check_echo(uint16_t number)
{
	uint8_t packet[ECHO];

	answered = 0;
	put_echo(packet, ICMP_ECHO, number);
	send_inner(packet);
	await(number, -1);
}

/* The kernel asks. */
static void
check_echo_of_theirs(uint16_t number)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(0x0a070002)}};
	uint8_t icmp[ECHO - 20];
	defer_close int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	must(raw >= 0, "raw socket");
	put_icmp(icmp, ICMP_ECHO, number);
	must(sendto(raw, icmp, sizeof(icmp), 0, (struct sockaddr *)&to, sizeof(to)) ==
		     (ssize_t)sizeof(icmp),
	     "sendto");
	await(number, raw);
}

static struct device_peer_state
state_of_peer(void)
{
	struct device_peer_state s;

	device_peer_state(peer, &s);
	return s;
}

/* ---- tests ---- */

/* They count what they send after it is on its way. */
static void
await_same_counts(void)
{
	uint64_t end = world_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	unsigned long long rx = 0, tx = 0;
	char said[256];

	for (;;) {
		output("wg show wg0 transfer | cut -f2,3", said, sizeof(said));
		assert_int_equal(sscanf(said, "%llu %llu", &rx, &tx), 2);
		if (rx == state_of_peer().tx_bytes && tx == state_of_peer().rx_bytes)
			return;
		must(world_mono_ns() < end, "they count something else");
		poll(NULL, 0, 20);
	}
}

static void
test_we_begin(void **state)
{
	char said[256];

	(void)state;
	check_echo(1);
	check_echo(2);
	assert_true(responses >= 1);
	assert_int_equal(initiations, 0);
	/* wg sees the same. */
	output("wg show wg0 latest-handshakes | cut -f2", said, sizeof(said));
	long long theirs = atoll(said), ours = state_of_peer().handshake_wall_ns / 1000000000;
	assert_true(theirs >= ours - 1 && theirs <= ours + PATIENCE_MS / 1000);
	await_same_counts();
}

static void
test_they_begin(void **state)
{
	(void)state;
	check_echo_of_theirs(3);
	assert_int_equal(requests, 1);
	assert_true(initiations >= 1);
	assert_int_equal(responses, 0);
	/* And the other way through the same keys. */
	check_echo(4);
	assert_int_equal(responses, 0);
}

static void
test_new_keys(void **state)
{
	(void)state;
	check_echo(5);
	for (unsigned i = 0; i < 3; i++) {
		int64_t before = state_of_peer().handshake_wall_ns;

		/* They refuse an initiation within 20 ms of the last one. */
		while (now().wall_ns - before < 25000000)
			check_echo(50);
		ahead_ns += 121 * UINT64_C(1000000000);
		check_echo((uint16_t)(6 + 2 * i));
		/* With the new keys, or the old ones while those are made. */
		while (state_of_peer().handshake_wall_ns == before)
			check_echo((uint16_t)(7 + 2 * i));
		check_echo_of_theirs((uint16_t)(100 + i));
	}
	assert_true(responses >= 4);
}

static void
test_roaming(void **state)
{
	(void)state;
	check_echo(20);
	unsigned before = initiations + responses;
	open_socket();
	check_echo(21);
	check_echo_of_theirs(22);
	assert_int_equal(initiations + responses, before);
}

/* They take our cookie, and come back with it after their five seconds. */
static void
test_under_load(void **state)
{
	(void)state;
	queued = DEVICE_QUEUE_LOADED;
	check_echo_of_theirs(30);
	assert_true(cookies >= 1);
	assert_true(initiations >= 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_we_begin), TEST(test_they_begin), TEST(test_new_keys),
		TEST(test_roaming),  TEST(test_under_load),
	};

	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0 ||
	    system("command -v wireguard-go wg ip >/dev/null") != 0) {
		puts("1..0 # SKIP needs root, /dev/net/tun, wireguard-go and wg");
		return 0;
	}
	return cmocka_run_group_tests(tests, open_all, close_all);
}
