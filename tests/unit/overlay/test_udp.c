/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets on the loopback, with what the kernel offers and without; and a kernel that refuses:
 * sendmmsg goes through __wrap_sendmmsg, which fails with what a test says.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "overlay/engine/udp.h"
#include "tests/support/sweep.h"

enum { STRIDE = 1452, MARK = 9 };

int __real_sendmmsg(int fd, struct mmsghdr *list, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *list, unsigned count, int flags);

/* What is refused, and what went through. */
static struct {
	int run;    /* errno for a message of more than one datagram */
	int source; /* for a message with a source */
	int any;    /* for the message at index any_at, counted since reset */
	int any_at;
	int once;         /* for the next call, once */
	unsigned at_once; /* no more messages of one call than that; 0: all */
	unsigned calls, messages, runs, with_source;
} fake;

static bool
has(const struct msghdr *m, int level, int type)
{
	struct msghdr copy = *m;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c; c = CMSG_NXTHDR(&copy, c))
		if (c->cmsg_level == level && c->cmsg_type == type)
			return true;
	return false;
}

static int
refusal(const struct msghdr *m, unsigned index)
{
	if (fake.run && has(m, IPPROTO_UDP, UDP_SEGMENT))
		return fake.run;
	if (fake.source && (has(m, IPPROTO_IP, IP_PKTINFO) || has(m, IPPROTO_IPV6, IPV6_PKTINFO)))
		return fake.source;
	return fake.any && index == (unsigned)fake.any_at ? fake.any : 0;
}

int
__wrap_sendmmsg(int fd, struct mmsghdr *list, unsigned count, int flags)
{
	unsigned n = 0;

	fake.calls++;
	if (fake.once) {
		errno = fake.once;
		fake.once = 0;
		return -1;
	}
	for (; n < count && (!fake.at_once || n < fake.at_once); n++) {
		int code = refusal(&list[n].msg_hdr, fake.messages + n);

		if (code && n == 0) {
			fake.messages += code == fake.any;
			errno = code;
			return -1;
		}
		if (code)
			break;
	}
	int sent = __real_sendmmsg(fd, list, n, flags);
	for (int i = 0; i < sent; i++) {
		const struct msghdr *m = &list[i].msg_hdr;

		fake.messages++;
		fake.runs += has(m, IPPROTO_UDP, UDP_SEGMENT);
		fake.with_source +=
			has(m, IPPROTO_IP, IP_PKTINFO) || has(m, IPPROTO_IPV6, IPV6_PKTINFO);
	}
	return sent;
}

/* ---- the world ---- */

static struct udp sender, receiver;
static struct udp_inbox *inbox;
static uint8_t data[UDP_SEND_MAX];

static void
open_both(bool v6, bool gso, bool gro)
{
	struct udp_config out = {.v6 = v6, .no_gso = !gso}, in = {.v6 = v6, .no_gro = !gro};
	struct err err = {0};

	memset(&fake, 0, sizeof(fake));
	assert_int_equal(udp_open(&sender, &out, &err), 0);
	assert_int_equal(udp_open(&receiver, &in, &err), 0);
	assert_non_null(inbox = udp_inbox_new());
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
}

static void
close_both(void)
{
	udp_close(&sender);
	udp_close(&receiver);
	udp_inbox_free(inbox);
	assert_int_equal(sender.fd, -1);
}

static struct udp_send
to_receiver(uint32_t bytes, uint32_t stride)
{
	struct udp_send s = {.data = data, .bytes = bytes, .stride = stride};

	assert_true(addr_parse_ip(receiver.v6 ? "::1" : "127.0.0.1", &s.to));
	s.to.port = udp_port(&receiver);
	return s;
}

/* Takes datagrams until `bytes` of data came, each as long as it was sent; gives how many messages
 * of the kernel that were. */
static unsigned
take(uint32_t from, uint32_t bytes, uint32_t stride, struct udp_received *last)
{
	uint32_t at = from;
	unsigned messages = 0;

	while (at < from + bytes) {
		const struct udp_received *list;
		int n = udp_recv(&receiver, inbox, true, &list);

		assert_true(n > 0);
		for (int i = 0; i < n; i++, messages++) {
			for (uint32_t k = 0; k < list[i].count; k++) {
				uint32_t length, left = from + bytes - at;
				const uint8_t *d = udp_datagram(&list[i], k, &length);

				assert_int_equal(length, left < stride ? left : stride);
				assert_memory_equal(d, data + at, length);
				at += length;
			}
			if (last)
				*last = list[i];
		}
	}
	return messages;
}

/* ---- tests ---- */

static void
test_all_kinds(void **state)
{
	(void)state;
	for (int kind = 0; kind < 8; kind++) {
		open_both(kind & 1, kind & 2, kind & 4);
		for (uint32_t bytes = 1; bytes < 12 * STRIDE; bytes += 1000) {
			struct udp_send s = to_receiver(bytes, STRIDE);

			udp_send(&sender, &s, 1);
			assert_int_equal(s.error, 0);
			take(0, bytes, STRIDE, NULL);
		}
		assert_int_equal(fake.runs > 0, (kind & 2) && sender.gso);
		close_both();
	}
}

/* Machines of the test have had both since Linux 5.0: one message there, one message here. */
static void
test_offloads_are_used(void **state)
{
	struct udp_received r;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		open_both(v6, true, true);
		assert_true(sender.gso && receiver.gro && sender.v6 == (v6 == 1));
		struct udp_send s = to_receiver(44 * STRIDE + 100, STRIDE);
		udp_send(&sender, &s, 1);
		assert_int_equal(fake.messages, 1);
		assert_int_equal(take(0, s.bytes, STRIDE, &r), 1);
		assert_int_equal(r.count, 45);
		assert_int_equal(r.stride, STRIDE);
		assert_int_equal(r.from.port, udp_port(&sender));
		close_both();
	}
}

static void
test_switched_off(void **state)
{
	struct udp_received r;

	(void)state;
	open_both(false, false, false);
	assert_true(!sender.gso && !receiver.gro);
	struct udp_send s = to_receiver(10 * STRIDE, STRIDE);
	udp_send(&sender, &s, 1);
	assert_int_equal(fake.messages, 10);
	assert_int_equal(fake.calls, 1);
	assert_int_equal(take(0, s.bytes, STRIDE, &r), 10);
	assert_int_equal(r.count, 1);
	close_both();
}

/* More than one batch, with sends of several datagrams across its end. */
static void
test_many(void **state)
{
	struct udp_send list[50];

	(void)state;
	open_both(false, false, true);
	for (unsigned at_once = 0; at_once < 3; at_once++) {
		fake.at_once = at_once;
		for (unsigned i = 0; i < 50; i++) {
			list[i] = to_receiver(3 * 100 + 50, 100);
			list[i].data = data + i * 350;
		}
		udp_send(&sender, list, 50);
		for (uint32_t i = 0; i < 50; i++) {
			assert_int_equal(list[i].error, 0);
		}
		/* Each send's last datagram is short: they are taken one send at a time. */
		uint32_t at = 0;
		while (at < 50 * 350) {
			const struct udp_received *got;
			int n = udp_recv(&receiver, inbox, true, &got);

			assert_true(n > 0);
			for (int i = 0; i < n; i++)
				for (uint32_t k = 0; k < got[i].count; k++) {
					uint32_t length;
					const uint8_t *d = udp_datagram(&got[i], k, &length);

					assert_int_equal(length, at % 350 == 300 ? 50 : 100);
					assert_memory_equal(d, data + at, length);
					at += length;
				}
		}
	}
	close_both();
}

static void
test_never_again_after_eio(void **state)
{
	(void)state;
	open_both(false, true, true);
	fake.run = EIO;
	struct udp_send s = to_receiver(5 * STRIDE, STRIDE);
	udp_send(&sender, &s, 1);
	assert_int_equal(s.error, 0);
	assert_false(sender.gso);
	assert_int_equal(fake.messages, 5);
	take(0, s.bytes, STRIDE, NULL);
	fake.run = 0;
	udp_send(&sender, &s, 1);
	assert_int_equal(fake.messages, 10);
	assert_int_equal(fake.runs, 0);
	take(0, s.bytes, STRIDE, NULL);
	close_both();
}

/* A path that is too narrow for this run says nothing about others. */
static void
test_split_once(void **state)
{
	static const int codes[] = {EINVAL, EMSGSIZE};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		open_both(true, true, true);
		fake.run = codes[i];
		struct udp_send s[2] = {to_receiver(5 * STRIDE, STRIDE), to_receiver(100, STRIDE)};
		s[1].data = data + s[0].bytes;
		udp_send(&sender, s, 2);
		assert_int_equal(s[0].error, 0);
		assert_int_equal(s[1].error, 0);
		assert_true(sender.gso);
		assert_int_equal(fake.messages, 6);
		take(0, s[0].bytes + 100, STRIDE, NULL);
		fake.run = 0;
		udp_send(&sender, s, 1);
		assert_int_equal(fake.runs, 1);
		take(0, s[0].bytes, STRIDE, NULL);
		close_both();
	}
}

static void
test_lost_is_said(void **state)
{
	(void)state;
	open_both(false, false, true);
	fake.any = EPERM; /* as a firewall has it */
	fake.any_at = 1;
	struct udp_send s[2] = {to_receiver(3 * STRIDE, STRIDE), to_receiver(2 * STRIDE, STRIDE)};
	s[1].data = data + STRIDE;
	udp_send(&sender, s, 2);
	assert_int_equal(s[0].error, EPERM);
	assert_int_equal(s[1].error, 0);
	take(0, 3 * STRIDE, STRIDE, NULL); /* the first one of the first, all of the second */
	close_both();
}

static void
test_interrupted(void **state)
{
	(void)state;
	open_both(false, true, true);
	fake.once = EINTR;
	struct udp_send s = to_receiver(2 * STRIDE, STRIDE);
	udp_send(&sender, &s, 1);
	assert_int_equal(s.error, 0);
	assert_int_equal(fake.calls, 2);
	take(0, s.bytes, STRIDE, NULL);
	close_both();
}

/* Answered from the address that was asked. */
static void
test_source(void **state)
{
	struct udp_received r;

	(void)state;
	open_both(false, true, true);
	struct udp_send s = to_receiver(3 * STRIDE, STRIDE);
	assert_true(addr_parse_ip("127.0.0.9", &s.from.address));
	assert_true(addr_parse_ip("127.0.0.5", &s.to));
	s.to.port = udp_port(&receiver);
	udp_send(&sender, &s, 1);
	assert_int_equal(s.error, 0);
	assert_false(s.source_gone);
	take(0, s.bytes, STRIDE, &r);
	assert_true(addr_equal_ip(&r.from, &s.from.address));
	assert_true(addr_equal_ip(&r.to.address, &s.to));
	assert_true(r.to.interface > 0);
	close_both();

	open_both(true, true, true);
	s = to_receiver(STRIDE, STRIDE);
	s.from = r.to;
	s.from.address = s.to;
	udp_send(&sender, &s, 1);
	assert_int_equal(s.error, 0);
	assert_int_equal(fake.with_source, 1);
	take(0, s.bytes, STRIDE, &r);
	assert_true(addr_equal_ip(&r.from, &s.to) && addr_equal_ip(&r.to.address, &s.to));
	assert_true(r.to.interface > 0);
	close_both();
}

/* One that is not ours (any more): the kernel chooses, and it is said. */
static void
test_source_gone(void **state)
{
	static const int codes[] = {0, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		for (int v6 = 0; v6 < 2; v6++) {
			open_both(v6, true, true);
			fake.source = codes[i]; /* 0: what the real kernel says */
			struct udp_send s = to_receiver(3 * STRIDE, STRIDE);
			assert_true(
				addr_parse_ip(v6 ? "2001:db8::1" : "192.0.2.1", &s.from.address));
			udp_send(&sender, &s, 1);
			assert_int_equal(s.error, 0);
			assert_true(s.source_gone);
			assert_int_equal(fake.with_source, 0);
			take(0, s.bytes, STRIDE, NULL);
			assert_true(sender.gso);
			close_both();
		}
}

/* The mark of the next datagram. */
static int
mark_of_next(int fd)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[256];
	} control;
	uint8_t byte;
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};

	assert_true(recvmsg(fd, &m, 0) >= 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			return *CMSG_DATA(c);
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
			int value;

			memcpy(&value, CMSG_DATA(c), sizeof(value));
			return value;
		}
	}
	return -1;
}

static void
test_handshakes_are_marked(void **state)
{
	static const int on = 1;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		open_both(v6, true, true);
		assert_int_equal(
			v6 ? setsockopt(receiver.fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on))
			   : setsockopt(receiver.fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)),
			0);
		struct udp_send s = to_receiver(148, 148);
		s.handshake = true;
		udp_send(&sender, &s, 1);
		s.handshake = false;
		udp_send(&sender, &s, 1);
		assert_int_equal(mark_of_next(receiver.fd), UDP_HANDSHAKE_TOS);
		assert_int_equal(mark_of_next(receiver.fd), 0);
		close_both();
	}
}

static void
test_nothing_there(void **state)
{
	const struct udp_received *list;

	(void)state;
	open_both(false, true, true);
	assert_int_equal(udp_recv(&receiver, inbox, false, &list), -1);
	assert_int_equal(errno, EAGAIN);
	/* An empty datagram is nobody's. */
	struct sockaddr_storage to;
	struct udp_send s = to_receiver(1, 1);
	socklen_t length = addr_to_sockaddr(&s.to, &to);
	assert_int_equal(sendto(sender.fd, "", 0, 0, (struct sockaddr *)&to, length), 0);
	assert_int_equal(udp_recv(&receiver, inbox, true, &list), 1);
	assert_int_equal(list[0].count, 0);
	close_both();
}

/* More than the default, if the administrator lets us. */
static void
test_room(void **state)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int usual[2], ours[2];
	static const int options[] = {SO_RCVBUF, SO_SNDBUF};

	(void)state;
	open_both(false, true, true);
	for (int i = 0; i < 2; i++) {
		socklen_t length = sizeof(int);
		static const int room = UDP_KERNEL_BYTES;

		/* What this process can have at most, by the same means. */
		(void)setsockopt(fd, SOL_SOCKET, options[i], &room, sizeof(room));
		assert_int_equal(getsockopt(fd, SOL_SOCKET, options[i], &usual[i], &length), 0);
		assert_int_equal(getsockopt(receiver.fd, SOL_SOCKET, options[i], &ours[i], &length),
				 0);
		assert_true(ours[i] >= usual[i]);
	}
	close(fd);
	close_both();
}

static int
option_of(const struct udp *u, int level, int name)
{
	socklen_t length = sizeof(int);
	int value = -1;

	assert_int_equal(getsockopt(u->fd, level, name, &value, &length), 0);
	return value;
}

/* That it holds on a path is seen where there is one: tests/net. */
static void
test_whole(void **state)
{
	(void)state;
	open_both(false, true, true);
	assert_int_equal(option_of(&sender, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
	close_both();
	open_both(true, true, true);
	assert_int_equal(option_of(&sender, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
	assert_int_equal(option_of(&sender, IPPROTO_IPV6, IPV6_DONTFRAG), 1);
	close_both();
}

static void
test_adopted(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct udp_config c = {0};
	struct err err = {0};
	struct udp u;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(udp_adopt(&u, fd, &c, &err), 0);
	assert_true(u.fd == fd && u.gso && u.gro && udp_port(&u) != 0);
	/* Its port is taken now; IPv6's is another one. */
	struct udp other;
	c.port = udp_port(&u);
	assert_int_equal(udp_open(&other, &c, &err), -1);
	assert_int_equal(err.code, EADDRINUSE);
	assert_int_equal(other.fd, -1);
	c.v6 = true;
	assert_int_equal(udp_open(&other, &c, &err), 0);
	assert_int_equal(udp_port(&other), c.port);
	udp_close(&other);
	udp_close(&u);

	/* A thing that is no socket of the Internet stays the caller's. */
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(udp_adopt(&u, pair[0], &c, &err), -1);
	assert_int_equal(u.fd, -1);
	assert_int_equal(close(pair[0]), 0);
	close(pair[1]);
}

/* Marks need a privilege; without it that is an error and not forgotten. */
static void
test_fwmark(void **state)
{
	struct udp_config c = {.fwmark = MARK};
	struct err err = {0};
	struct udp u;
	uint32_t mark = 0;
	socklen_t length = sizeof(mark);

	(void)state;
	if (udp_open(&u, &c, &err) < 0) {
		assert_int_equal(err.kind, ERR_DENIED);
		assert_int_equal(u.fd, -1);
		return;
	}
	assert_int_equal(getsockopt(u.fd, SOL_SOCKET, SO_MARK, &mark, &length), 0);
	assert_int_equal(mark, MARK);
	assert_int_equal(udp_set_fwmark(&u, 0), 0);
	assert_int_equal(getsockopt(u.fd, SOL_SOCKET, SO_MARK, &mark, &length), 0);
	assert_int_equal(mark, 0);
	udp_close(&u);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct udp_inbox *in = udp_inbox_new();

		assert_int_equal(in == NULL, sweep_failed());
		udp_inbox_free(in);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_offloads_are_used),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_never_again_after_eio),
		cmocka_unit_test(test_split_once),
		cmocka_unit_test(test_lost_is_said),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_source_gone),
		cmocka_unit_test(test_handshakes_are_marked),
		cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_adopted),
		cmocka_unit_test(test_fwmark),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
