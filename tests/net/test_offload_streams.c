/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's ways between a TUN and UDP, without its keys: streams of TCP and UDP between two
 * namespaces come byte for byte, with each kind of offload switched off in turn.
 *
 *   netns a                          netns of the test                         netns b
 *   socket - TUN zl0 <--> cut ... UDP on the loopback ... join <--> TUN zl0 - socket
 *
 * Needs root.
 */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "overlay/engine/merge.h"
#include "overlay/engine/segment.h"
#include "overlay/engine/udp.h"
#include "tests/net/tun_rig.h"

enum {
	STREAM_BYTES = 6 << 20,
	PORT = 7000,
	BLOCKS = 40,
	BLOCK_SIZE = 1200,
	BLOCK_BYTES = 20 * BLOCK_SIZE + 300,
	HEAD_MARK = 0x5a,
	TAG_MARK = 0xc3,
};

struct level {
	const char *name;
	enum tun_offload offload;
	bool gso, gro, merge, v6; /* v6: of the datagrams between the two */
};

struct side {
	int ns;
	struct tun tun;
	struct udp udp;
	struct addr peer;
	const struct level *level;
	int stop;
	pthread_t out, in;
	/* of one thread each */
	uint64_t large_tcp, large_udp, runs, refused;
	uint64_t received_runs, joined_tcp, joined_udp, wrong;
};

/* False: to stop. */
static bool
ready(const struct side *s, int fd)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop, .events = POLLIN}};

	while (poll(p, 2, -1) < 0)
		continue;
	return p[1].revents == 0;
}

static void
seal(uint8_t *out, const struct segment_run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		uint8_t *at = out + i * run->stride;

		memset(at, HEAD_MARK, SEGMENT_HEAD);
		memset(at + segment_bytes(run, i) - SEGMENT_TAIL, TAG_MARK, SEGMENT_TAIL);
	}
}

static bool
is_sealed(const uint8_t *at, uint32_t bytes)
{
	for (uint32_t i = 0; i < 16; i++)
		if (at[i] != HEAD_MARK || at[bytes - 1 - i] != TAG_MARK)
			return false;
	return true;
}

static void *
pump_out(void *arg)
{
	static __thread uint8_t packet[TUN_PACKET_MAX], out[SEGMENT_RUN_BYTES];
	struct side *s = arg;

	while (ready(s, s->tun.fd)) {
		struct virtio_net_hdr header;
		struct segment_run run;
		struct segment cut;
		ssize_t n = tun_read(&s->tun, &header, packet);

		if (n < 0 ||
		    segment_begin(&cut, &header, packet, (size_t)n, TUN_RIG_MTU) != SEGMENT_OK) {
			s->refused++;
			continue;
		}
		s->large_tcp += cut.cut && cut.inner.protocol == IPPROTO_TCP;
		s->large_udp += cut.cut && cut.inner.protocol == IPPROTO_UDP;
		while (segment_next(&cut, out, &run)) {
			struct udp_send send = {.to = s->peer,
						.data = out,
						.bytes = segment_run_bytes(&run),
						.stride = run.stride};

			seal(out, &run);
			udp_send(&s->udp, &send, 1);
			s->runs += run.count > 1;
			s->refused += send.error != 0;
		}
	}
	return NULL;
}

static void
write_runs(struct side *s, struct merge *m)
{
	unsigned runs = merge_finish(m);

	for (unsigned i = 0; i < runs; i++) {
		const struct merge_run *r = &m->runs[i];
		struct virtio_net_hdr header;

		memcpy(&header, r->iov[0].iov_base, sizeof(header));
		s->joined_udp += header.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
		s->joined_tcp += header.gso_type != VIRTIO_NET_HDR_GSO_UDP_L4 && r->packets > 1;
		s->wrong += tun_write(&s->tun, r->iov, r->iov_count) < 0;
	}
	merge_reset(m);
}

static void
take_datagram(struct side *s, struct merge *m, uint8_t *at, uint32_t bytes)
{
	struct inner in;

	if (bytes < 32 || !is_sealed(at, bytes) ||
	    !inner_parse(at + SEGMENT_HEAD, bytes - 32, &in) || in.length > TUN_RIG_MTU) {
		s->wrong++;
		return;
	}
	if (merge_add(m, at + SEGMENT_HEAD, &in))
		return;
	write_runs(s, m);
	s->wrong += !merge_add(m, at + SEGMENT_HEAD, &in);
}

static void *
pump_in(void *arg)
{
	struct side *s = arg;
	struct udp_inbox *inbox = udp_inbox_new();
	struct merge *m = calloc(1, sizeof(*m));
	bool merge = s->level->merge;

	if (!inbox || !m)
		abort();
	merge_init(m, merge && s->tun.offload >= TUN_TSO, merge && s->tun.offload >= TUN_USO);
	while (ready(s, s->udp.fd)) {
		const struct udp_received *list;
		int n = udp_recv(&s->udp, inbox, false, &list);

		for (int i = 0; i < n; i++) {
			s->received_runs += list[i].count > 1;
			for (uint32_t k = 0; k < list[i].count; k++) {
				uint32_t bytes;
				uint8_t *at = udp_datagram(&list[i], k, &bytes);

				take_datagram(s, m, at, bytes);
			}
		}
		write_runs(s, m);
	}
	free(m);
	udp_inbox_free(inbox);
	return NULL;
}

static void
open_side(struct side *s, const struct level *level, int number)
{
	struct udp_config c = {.v6 = level->v6, .no_gso = !level->gso, .no_gro = !level->gro};
	struct err err = {0};

	*s = (struct side){.ns = tun_rig_namespace(), .level = level};
	assert_int_equal(udp_open(&s->udp, &c, &err), 0);
	assert_true((s->stop = eventfd(0, EFD_CLOEXEC)) >= 0);
	tun_rig_enter(s->ns);
	tun_rig_open(&s->tun, "zl0", level->offload);
	tun_rig_run("ip addr add 10.9.0.%d/24 dev zl0; ip addr add fd09::%d/64 dev zl0 nodad",
		    number, number);
	tun_rig_home();
	assert_true(addr_parse_ip(level->v6 ? "::1" : "127.0.0.1", &s->peer));
}

static void
start_side(struct side *s, const struct side *other)
{
	s->peer.port = udp_port(&other->udp);
	assert_int_equal(pthread_create(&s->out, NULL, pump_out, s), 0);
	assert_int_equal(pthread_create(&s->in, NULL, pump_in, s), 0);
}

static void
stop_side(struct side *s)
{
	assert_int_equal(eventfd_write(s->stop, 1), 0);
	pthread_join(s->out, NULL);
	pthread_join(s->in, NULL);
	tun_close(&s->tun);
	udp_close(&s->udp);
	close(s->stop);
	close(s->ns);
}

static struct addr
address_of(bool v6, int number)
{
	struct addr a;
	char text[32];

	assert_true(text_format(text, sizeof(text), v6 ? "fd09::%d" : "10.9.0.%d", number));
	assert_true(addr_parse_ip(text, &a));
	a.port = PORT;
	return a;
}

static int
socket_in(const struct side *s, bool v6, int type)
{
	struct timeval wait = {.tv_sec = TUN_RIG_WAIT_S};
	int room = 4 << 20;

	tun_rig_enter(s->ns);
	int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
	tun_rig_home();
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)), 0);
	if (type == SOCK_DGRAM)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)),
				 0);
	return fd;
}

/* Gives two sockets: one in `from` that sends to the other one in `to`. */
static void
connect_both(const struct side *from, const struct side *to, int to_number, bool v6, int type,
	     int *out, int *in)
{
	struct addr a = address_of(v6, to_number);
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&a, &sa);
	int listening = socket_in(to, v6, type);

	assert_int_equal(bind(listening, (struct sockaddr *)&sa, length), 0);
	*out = socket_in(from, v6, type);
	*in = listening;
	if (type == SOCK_STREAM)
		assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(connect(*out, (struct sockaddr *)&sa, length), 0);
	if (type == SOCK_STREAM) {
		*in = accept(listening, NULL, NULL);
		assert_true(*in >= 0);
		close(listening);
	}
}

static uint8_t stream[STREAM_BYTES];

static void *
send_stream(void *arg)
{
	int fd = *(int *)arg;
	size_t at = 0;

	while (at < sizeof(stream)) {
		ssize_t n = send(fd, stream + at, sizeof(stream) - at, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	return NULL;
}

static void
run_tcp(const struct side *from, const struct side *to, int to_number, bool v6)
{
	static uint8_t got[1 << 16];
	struct timeval wait = {.tv_sec = TUN_RIG_WAIT_S};
	pthread_t sender;
	size_t at = 0;
	ssize_t n;
	int out, in;

	connect_both(from, to, to_number, v6, SOCK_STREAM, &out, &in);
	assert_int_equal(setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	assert_int_equal(pthread_create(&sender, NULL, send_stream, &out), 0);
	while ((n = recv(in, got, sizeof(got), 0)) > 0) {
		assert_true(at + (size_t)n <= sizeof(stream));
		assert_memory_equal(got, stream + at, (size_t)n);
		at += (size_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(at, sizeof(stream));
	pthread_join(sender, NULL);
	close(out);
	close(in);
}

/* Blocks of datagrams, each given to the kernel as one; the next when all of it has come. */
static void
run_udp(const struct side *from, const struct side *to, int to_number, bool v6)
{
	static uint8_t got[2048];
	int size = BLOCK_SIZE, out, in;

	connect_both(from, to, to_number, v6, SOCK_DGRAM, &out, &in);
	assert_int_equal(setsockopt(out, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (int block = 0; block < BLOCKS; block++) {
		const uint8_t *data = stream + block * 1000;

		assert_int_equal(send(out, data, BLOCK_BYTES, 0), BLOCK_BYTES);
		for (int at = 0; at < BLOCK_BYTES; at += BLOCK_SIZE) {
			int want = BLOCK_BYTES - at < BLOCK_SIZE ? BLOCK_BYTES - at : BLOCK_SIZE;

			assert_int_equal(recv(in, got, sizeof(got), 0), want);
			assert_memory_equal(got, data + at, (size_t)want);
		}
	}
	close(out);
	close(in);
}

static void
run_level(const struct level *level)
{
	struct side a, b;
	bool large = level->offload != TUN_PLAIN;

	open_side(&a, level, 1);
	open_side(&b, level, 2);
	/* An older kernel has no USO; what it has is used all the same. */
	bool uso = level->offload == TUN_USO && a.tun.offload == TUN_USO;
	assert_true(a.tun.offload == level->offload || level->offload == TUN_USO);
	start_side(&a, &b);
	start_side(&b, &a);
	for (int v6 = 0; v6 < 2; v6++) {
		run_tcp(&a, &b, 2, v6);
		run_tcp(&b, &a, 1, v6);
		run_udp(&a, &b, 2, v6);
	}
	stop_side(&a);
	stop_side(&b);
	assert_int_equal(a.refused + b.refused + a.wrong + b.wrong, 0);
	/* Each kind did its part, or none at all. */
	assert_int_equal(a.large_tcp > 0 && b.large_tcp > 0, large);
	assert_int_equal(a.large_udp > 0, uso);
	assert_int_equal(a.runs > 0, large);
	assert_int_equal(a.udp.gso, level->gso);
	assert_int_equal(b.received_runs > 0, large && level->gso && level->gro);
	assert_int_equal(b.joined_tcp > 0, large && level->merge);
	assert_int_equal(b.joined_udp > 0, uso && level->merge);
}

static void
test_streams(void **state)
{
	static const struct level levels[] = {
		{"all", TUN_USO, true, true, true, false},
		{"all, by IPv6", TUN_USO, true, true, true, true},
		{"no USO", TUN_TSO, true, true, true, false},
		{"no TUN offload", TUN_PLAIN, true, true, true, false},
		{"no UDP_SEGMENT", TUN_USO, false, true, true, false},
		{"no UDP_GRO", TUN_USO, true, false, true, false},
		{"nothing joined", TUN_USO, true, true, false, false},
		{"nothing at all", TUN_PLAIN, false, false, false, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (uint8_t)(i * 2654435761u >> 13);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		print_message("# %s\n", levels[i].name);
		run_level(&levels[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
