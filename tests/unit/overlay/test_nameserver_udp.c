/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets on the loopback: batches, who gets which answer and from where, what is passed over. */
#include "overlay/nameserver_udp.h"

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"

static struct addr
ip(const char *text)
{
	struct addr a = {0};

	assert_true(addr_parse_ip(text, &a));
	return a;
}

/* Bound to an address, and maybe a port; its own address is put into at. */
static int
open_socket(const struct addr *own, struct addr *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(own, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, at));
	return fd;
}

static void
send_to(int fd, const struct addr *to, const void *data, size_t bytes)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(to, &sa);

	assert_int_equal(sendto(fd, data, bytes, 0, (struct sockaddr *)&sa, length), bytes);
}

static bool
readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

/* What the server's function sees, and what it says: the question twice; nothing for "no". */
struct server {
	struct addr to, from;
	void *way;
	size_t calls;
};

static size_t
twice(void *arg, struct forward_asker *asker, const void *data, size_t bytes, uint8_t *out)
{
	struct server *s = arg;

	s->calls++;
	s->to = asker->to;
	s->from = asker->from;
	s->way = asker->way;
	if (bytes == 2 && memcmp(data, "no", 2) == 0)
		return 0;
	assert_true(2 * bytes <= DNS_EDNS_BYTES);
	memcpy(out, data, bytes);
	memcpy(out + bytes, data, bytes);
	return 2 * bytes;
}

/* Until so many datagrams were seen. */
static size_t
serve(int fd, struct server *s, size_t count)
{
	size_t useless = 0;

	for (size_t seen = 0; seen < count;) {
		assert_true(readable(fd, 20000));
		struct nameserver_udp_read r = nameserver_udp_read(fd, s, twice, s);

		assert_true(r.count <= NAMESERVER_UDP_BATCH);
		seen += r.count;
		useless += r.useless;
	}
	return useless;
}

/* A server on all addresses: each answer comes from the address that was asked. */
static void
answers_from(const char *any, const char *asked, const char *client)
{
	struct addr all = ip(any), own = ip(client), server_at, client_at, from;
	int server = open_socket(&all, &server_at), c = open_socket(&own, &client_at);
	struct server s = {0};
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	char got[16];

	nameserver_udp_prepare(server);
	struct addr to = ip(asked);
	to.port = server_at.port;
	send_to(c, &to, "abc", 3);
	assert_int_equal(serve(server, &s, 1), 0);
	assert_true(addr_equal_ip(&s.to, &to) && addr_equal(&s.from, &client_at) && s.way == &s);
	assert_true(readable(c, 20000));
	assert_int_equal(recvfrom(c, got, sizeof(got), 0, (struct sockaddr *)&sa, &length), 6);
	assert_memory_equal(got, "abcabc", 6);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, &from));
	assert_true(addr_equal(&from, &to));
	/* And one that comes later. */
	struct forward_asker asker = {.from = client_at, .to = to};
	nameserver_udp_send(server, &asker, "later", 5);
	assert_true(readable(c, 20000));
	length = sizeof(sa);
	assert_int_equal(recvfrom(c, got, sizeof(got), 0, (struct sockaddr *)&sa, &length), 5);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, &from));
	assert_true(addr_equal(&from, &to));
	close(server);
	close(c);
}

static void
test_addresses(void **state)
{
	struct addr six = ip("::1");
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&six, &sa);
	int probe = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	answers_from("0.0.0.0", "127.0.0.77", "127.0.0.5");
	if (probe >= 0 && bind(probe, (struct sockaddr *)&sa, length) == 0)
		answers_from("::", "::1", "::1");
	if (probe >= 0)
		close(probe);
}

/* More than a batch, of several clients: each gets its own, and nothing is allocated. */
static void
test_batches(void **state)
{
	enum { CLIENTS = 7, EACH = 15 };
	struct addr own = ip("127.0.0.1"), server_at, at;
	int server = open_socket(&own, &server_at), clients[CLIENTS];
	bool seen[CLIENTS][EACH] = {0};
	struct server s = {0};

	(void)state;
	nameserver_udp_prepare(server);
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = open_socket(&own, &at);
	for (unsigned k = 0; k < EACH; k++)
		for (unsigned i = 0; i < CLIENTS; i++)
			send_to(clients[i], &server_at, (uint8_t[]){(uint8_t)i, (uint8_t)k}, 2);
	mem_fail_after(0);
	assert_int_equal(serve(server, &s, CLIENTS * EACH), 0);
	assert_int_equal(mem_failures(), 0);
	mem_fail_after(-1);
	assert_int_equal(s.calls, CLIENTS * EACH);
	for (unsigned i = 0; i < CLIENTS; i++) {
		for (unsigned k = 0; k < EACH; k++) {
			uint8_t got[16];

			assert_true(readable(clients[i], 20000));
			assert_int_equal(recv(clients[i], got, sizeof(got), 0), 4);
			assert_int_equal(got[0], i);
			assert_true(got[1] < EACH && !seen[i][got[1]]);
			seen[i][got[1]] = true;
		}
		assert_false(readable(clients[i], 0));
		close(clients[i]);
	}
	assert_int_equal(nameserver_udp_read(server, &s, twice, &s).count, 0);
	close(server);
}

/* Too long, empty, unanswered, and to a client that has gone: the others get theirs. */
static void
test_what_is_passed_over(void **state)
{
	static uint8_t big[NAMESERVER_UDP_IN + 1];
	struct addr own = ip("127.0.0.1"), server_at, at;
	int server = open_socket(&own, &server_at), c = open_socket(&own, &at),
	    gone = open_socket(&own, &at);
	struct server s = {0};
	char got[64];

	(void)state;
	nameserver_udp_prepare(server);
	send_to(gone, &server_at, "gone", 4);
	send_to(c, &server_at, big, sizeof(big));
	send_to(c, &server_at, "no", 2);
	send_to(c, &server_at, "", 0);
	send_to(c, &server_at, "ok", 2);
	close(gone);
	assert_int_equal(serve(server, &s, 5), 1);
	assert_int_equal(s.calls, 4);
	assert_true(readable(c, 20000));
	assert_int_equal(recv(c, got, sizeof(got), 0), 4);
	assert_memory_equal(got, "okok", 4);
	assert_false(readable(c, 0));
	close(server);
	close(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_what_is_passed_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
