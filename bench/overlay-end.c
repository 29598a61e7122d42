/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a way of bench/overlay.py:
 *
 *   engine SIDE MTU AEAD FABRIC    an engine on the TUN device wg0 of the network namespace
 *                                  FABRIC, until its input ends
 *   serve PORT                     takes streams and throws them away, echoes datagrams
 *   send ADDRESS PORT SECONDS STREAMS CONGESTION
 *                                  prints bytes and seconds
 *   rtt ADDRESS PORT COUNT         prints the median of so many datagrams there and back, in us
 *
 * SIDE is 1 or 2: 10.8.0.SIDE is its address on the cable. AEAD is one of the table, or "best".
 * CONGESTION is the streams' congestion control: a machine's own choice is not measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/world.h"
#include "overlay/engine/engine.h"
#include "overlay/engine/udp.h"
#include "overlay/wg/noise.h"

enum { PORT = 51820, CHUNK = 1 << 20, STREAMS_MAX = 64, ECHO = 64, RTTS_MAX = 10000 };

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "overlay-end: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
no_error(int rc, const struct err *err)
{
	if (rc == 0)
		return;
	err_print(err, "overlay-end", stderr);
	exit(1);
}

/* ---- an engine ---- */

static void
key_of(int side, uint8_t private_out[SETUP_KEY], uint8_t public_out[SETUP_KEY])
{
	struct noise_identity id;

	memset(private_out, side, SETUP_KEY);
	must(noise_identity_set(&id, private_out), "key");
	memcpy(private_out, id.private_key, SETUP_KEY);
	memcpy(public_out, id.public_key, SETUP_KEY);
}

static void
introduce(struct engine *e, int side)
{
	uint8_t ours[SETUP_KEY], theirs[SETUP_KEY], unused[SETUP_KEY];
	struct setup change = {.has_private_key = true};
	struct addr_prefix all;
	struct setup_peer *peer;
	struct err err = {0};
	char text[64];

	key_of(side, ours, unused);
	key_of(3 - side, unused, theirs);
	memcpy(change.private_key, ours, SETUP_KEY);
	must(setup_add_peer(&change, theirs, &peer) == SETUP_OK, "peer");
	snprintf(text, sizeof(text), "10.8.0.%d:%d", 3 - side, PORT);
	must(addr_parse(text, &peer->endpoint), text);
	peer->has_endpoint = true;
	must(addr_parse_prefix("0.0.0.0/0", &all), "prefix");
	must(setup_add_prefix(&change, peer, &all, false) == SETUP_OK, "prefix");
	no_error(engine_change(e, &change, &err), &err);
	setup_fini(&change);
}

/* The device where containers are, the socket here: as node makes them for the product. */
static void
open_device(struct tun *tun, const char *fabric, uint32_t mtu)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(fabric, O_RDONLY | O_CLOEXEC);
	struct err err = {0};

	must(here >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0, fabric);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	must(fd >= 0, "/dev/net/tun");
	no_error(tun_open(tun, fd, "wg0", TUN_USO, &err), &err);
	no_error(tun_set_mtu(tun, mtu, &err), &err);
	must(setns(here, CLONE_NEWNET) == 0, "setns");
	close(here);
	close(there);
}

static int
run_engine(int side, uint32_t mtu, const char *aead, const char *fabric)
{
	struct engine_config c = {.mtu = mtu, .queues_count = 1, .udp6 = -1};
	const struct udp_config port = {.port = PORT};
	struct err err = {0};
	struct udp u;
	char end;

	c.aead = strcmp(aead, "best") == 0 ? NULL : aead;
	open_device(&c.queues[0], fabric, mtu);
	no_error(udp_open(&u, &port, &err), &err);
	c.udp4 = u.fd;
	struct engine *e = engine_new(&c, &err);
	no_error(e ? 0 : -1, &err);
	introduce(e, side);
	printf("ready %s\n", engine_aead(e));
	fflush(stdout);
	while (read(STDIN_FILENO, &end, 1) > 0)
		;
	engine_free(e);
	return 0;
}

/* ---- streams and datagrams ---- */

static void *
throw_away(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char *data = malloc(CHUNK);

	must(data, "memory");
	while (read(fd, data, CHUNK) > 0)
		;
	(void)!write(fd, "", 1);
	close(fd);
	free(data);
	return NULL;
}

static void *
echo(void *arg)
{
	int fd = (int)(intptr_t)arg;

	for (;;) {
		struct sockaddr_storage at;
		socklen_t bytes = sizeof(at);
		char data[ECHO];
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&at, &bytes);

		if (n > 0)
			(void)!sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&at, bytes);
	}
	return NULL;
}

static _Noreturn void
serve(uint16_t port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	pthread_t thread;
	int on = 1;

	/* Streams of the way before this one may not have ended yet. */
	must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "reuse");
	must(bind(listener, (struct sockaddr *)&any, sizeof(any)) == 0, "bind");
	must(bind(udp, (struct sockaddr *)&any, sizeof(any)) == 0, "bind");
	must(listen(listener, STREAMS_MAX) == 0, "listen");
	must(pthread_create(&thread, NULL, echo, (void *)(intptr_t)udp) == 0, "thread");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			must(pthread_create(&thread, NULL, throw_away, (void *)(intptr_t)fd) == 0,
			     "thread");
	}
}

struct stream {
	struct sockaddr_storage at;
	socklen_t at_bytes;
	uint64_t until_ns, bytes;
	const char *congestion;
	pthread_t thread;
};

/* Counted is what the other end has. */
static void *
send_stream(void *arg)
{
	struct stream *s = arg;
	char *data = calloc(1, CHUNK), end;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, s->congestion,
			(socklen_t)strlen(s->congestion)) == 0,
	     s->congestion);
	must(data && connect(fd, (struct sockaddr *)&s->at, s->at_bytes) == 0, "connect");
	while (world_mono_ns() < s->until_ns) {
		ssize_t n = write(fd, data, CHUNK);

		must(n > 0, "write");
		s->bytes += (uint64_t)n;
	}
	shutdown(fd, SHUT_WR);
	must(read(fd, &end, 1) == 1, "read");
	close(fd);
	free(data);
	return NULL;
}

static int
send_all(const struct addr *to, unsigned seconds, unsigned count, const char *congestion)
{
	static struct stream streams[STREAMS_MAX];
	uint64_t begin = world_mono_ns(), bytes = 0;

	must(count >= 1 && count <= STREAMS_MAX, "streams");
	for (unsigned i = 0; i < count; i++) {
		streams[i].at_bytes = addr_to_sockaddr(to, &streams[i].at);
		streams[i].congestion = congestion;
		streams[i].until_ns = begin + seconds * UINT64_C(1000000000);
		must(pthread_create(&streams[i].thread, NULL, send_stream, &streams[i]) == 0,
		     "thread");
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(streams[i].thread, NULL);
		bytes += streams[i].bytes;
	}
	printf("%llu %.6f\n", (unsigned long long)bytes, (double)(world_mono_ns() - begin) / 1e9);
	return 0;
}

static int
compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int
rtt(const struct addr *to, unsigned count)
{
	static uint64_t took[RTTS_MAX];
	struct sockaddr_storage at;
	socklen_t bytes = addr_to_sockaddr(to, &at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char data[ECHO] = {0};

	must(count >= 1 && count <= RTTS_MAX, "count");
	must(connect(fd, (struct sockaddr *)&at, bytes) == 0, "connect");
	for (unsigned i = 0; i < count;) {
		uint64_t begin = world_mono_ns();

		(void)!send(fd, data, sizeof(data), 0);
		if (poll(&p, 1, 1000) == 1 && recv(fd, data, sizeof(data), 0) > 0)
			took[i++] = world_mono_ns() - begin;
		poll(NULL, 0, 1);
	}
	qsort(took, count, sizeof(took[0]), compare);
	printf("%.1f\n", (double)took[count / 2] / 1e3);
	return 0;
}

int
main(int argc, char **argv)
{
	struct addr to;

	if (argc == 6 && strcmp(argv[1], "engine") == 0)
		return run_engine(atoi(argv[2]), (uint32_t)atoi(argv[3]), argv[4], argv[5]);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve((uint16_t)atoi(argv[2]));
	must(argc >= 5 && addr_parse_ip(argv[2], &to), "arguments");
	to.port = (uint16_t)atoi(argv[3]);
	if (argc == 7 && strcmp(argv[1], "send") == 0)
		return send_all(&to, (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5]), argv[6]);
	if (argc == 5 && strcmp(argv[1], "rtt") == 0)
		return rtt(&to, (unsigned)atoi(argv[4]));
	must(false, "arguments");
	return 1;
}
