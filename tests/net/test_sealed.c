/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of two nodes, whose programs send what is sealed to a TUN device. What WireGuard does
 * between the two devices is left out: packets are carried over as they are read.
 *
 *   container a -- veth -- [ tc ] fabric a: TUN --- test --- TUN fabric b: [ tc ] -- veth --
 * container b 10.200.1.2, fd00:1::2                                              10.200.2.2,
 * fd00:2::2
 *
 * There are no routes in the fabrics: only programs can have carried what arrives. Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/identities.h"
#include "dataplane/tunnel.h"
#include "tests/net/tun_rig.h"
#include "tests/support/bpf_world.h"

enum {
	BIG = 16 << 20,
	SUPER = 16384, /* no packet of a link that takes 1420 bytes */
	PATIENCE_S = 60,
	FLAGS = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED | MSG_IDENTITY_GLOBAL_ON |
		MSG_IDENTITY_GLOBAL_SEALED,
};

struct end {
	int container, fabric; /* namespaces */
	struct tun tun;
	struct veth *veth;
	struct tunnel *tunnel;
	struct identities *ids;
	size_t largest; /* packet that came out of its TUN */
};

static struct end ends[2];
static unsigned number; /* of the pair: BPF's folders are named by it */

/* ---- making of both ---- */

/* Of node n: host 1 is the node itself, 2 its container. */
static struct addr
address(bool v6, unsigned n, unsigned host)
{
	char text[ADDR_TEXT_BYTES];
	struct addr a;

	if (v6)
		text_format(text, sizeof(text), "fd00:%u::%u", n, host);
	else
		text_format(text, sizeof(text), "10.200.%u.%u", n, host);
	assert_true(addr_parse_ip(text, &a));
	return a;
}

static struct addr_prefix
prefix(bool v6, unsigned n)
{
	char text[ADDR_TEXT_BYTES];
	struct addr_prefix p;

	if (v6)
		text_format(text, sizeof(text), "fd00:%u::/64", n);
	else
		text_format(text, sizeof(text), "10.200.%u.0/24", n);
	assert_true(addr_parse_prefix(text, &p));
	return p;
}

/* Links as runtime makes them. */
static void
make_links(struct end *e, unsigned n)
{
	e->fabric = tun_rig_namespace();
	e->container = tun_rig_namespace();
	tun_rig_enter(e->fabric);
	tun_rig_run(
		"ip link set lo up && ip link add v0 address 02:00:00:00:00:01 mtu 1420 type "
		"veth peer name eth0 address 02:00:00:00:00:02 mtu 1420 netns /proc/%d/fd/%d && "
		"ip link set v0 up",
		getpid(), e->container);
	tun_rig_open(&e->tun, "sealed", TUN_USO);
	tun_rig_enter(e->container);
	tun_rig_run("ip link set lo up && ip link set eth0 up && "
		    "ip address add 10.200.%u.2/32 dev eth0 && "
		    "ip address add fd00:%u::2/128 dev eth0 nodad && "
		    "ip neighbour add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 && "
		    "ip neighbour add fe80::1 lladdr 02:00:00:00:00:01 dev eth0 && "
		    "ip route add 169.254.1.1 dev eth0 && ip route add default via 169.254.1.1 && "
		    "ip -6 route add default via fe80::1 dev eth0",
		    n, n);
	tun_rig_home();
}

static void
load(struct end *e, unsigned n, uint32_t mtu)
{
	struct msg_veth row = {.replica = n, .mac = {2, 0, 0, 0, 0, 2}};
	struct msg_prefix own = {.mtu = 1420};
	struct msg_tunnel t = {.state = MSG_TUNNEL_UP};
	struct msg_peer p = {.id = 100, .name = "peer", .ways = MSG_WAY_SEALED, .mtu = mtu};
	const struct tunnel_row peer = {.peer = &p, .member = true};
	const struct tunnel_devices devices = {.tunnel = &t, .prefix = &own};
	struct err err = {0};
	enum msg_hook hook;

	tun_rig_enter(e->fabric);
	row.ifindex = if_nametoindex("v0");
	t.ifindex = if_nametoindex("sealed");
	row.addr4 = address(false, n, 2);
	row.addr6 = address(true, n, 2);
	own.service4 = address(false, n, 1);
	own.service6 = address(true, n, 1);
	p.address = address(false, 3 - n, 9); /* of its machine: nothing is sent there */
	p.v4 = prefix(false, 3 - n);
	p.v6 = prefix(true, 3 - n);
	if (veth_open(getuid(), &e->veth, &err) < 0)
		err_print(&err, "test", stderr);
	assert_non_null(e->veth);
	e->tunnel = tunnel_new(e->veth);
	e->ids = identities_new(e->veth);
	assert_true(e->tunnel && e->ids);
	assert_int_equal(veth_add(e->veth, &row, NULL, &hook, &err), 0);
	assert_int_equal(tunnel_peers(e->tunnel, &peer, 1, &err), 0);
	assert_int_equal(tunnel_devices(e->tunnel, &devices, &err), 0);
	tun_rig_home();
}

/* Of both replicas; service: of the second one. */
static void
identify(struct end *e, uint64_t service, uint32_t flags)
{
	struct err err = {0};

	identities_begin(e->ids, 1);
	for (unsigned n = 1; n <= 2; n++) {
		struct msg_identity row = {
			.deployment = 1, .service = n == 1 ? 10 : service, .flags = flags};

		row.addr4 = address(false, n, 2);
		row.addr6 = address(true, n, 2);
		assert_int_equal(identities_change(e->ids, n, &row, &err), 0);
	}
	assert_int_equal(identities_settle(e->ids, true, &err), 0);
}

static void
begin(uint32_t mtu)
{
	char name[32];

	number++;
	for (unsigned n = 1; n <= 2; n++) {
		struct end *e = &ends[n - 1];

		*e = (struct end){.largest = 0};
		text_format(name, sizeof(name), "%u-%u", number, n);
		assert_int_equal(mkdir(name, 0700), 0);
		assert_int_equal(chdir(name), 0);
		make_links(e, n);
		load(e, n, mtu);
		identify(e, 10, FLAGS);
		assert_int_equal(chdir(".."), 0);
	}
}

static void
end(void)
{
	for (struct end *e = ends; e < ends + 2; e++) {
		tun_close(&e->tun);
		identities_free(e->ids);
		tunnel_free(e->tunnel);
		veth_close(e->veth);
		close(e->fabric);
		close(e->container);
	}
}

/* ---- carrying ---- */

static void
carry(struct end *from, const struct end *to)
{
	static uint8_t packet[TUN_PACKET_MAX];
	struct virtio_net_hdr header;
	ssize_t n = tun_read(&from->tun, &header, packet);

	assert_true(n > 0);
	if ((size_t)n > from->largest)
		from->largest = (size_t)n;
	const struct iovec iov[2] = {{&header, sizeof(header)}, {packet, (size_t)n}};
	(void)tun_write(&to->tun, iov, 2);
}

/* Until the process ends; its status. */
static int
carry_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, WNOHANG) == 0) {
		struct pollfd p[2] = {{.fd = ends[0].tun.fd, .events = POLLIN},
				      {.fd = ends[1].tun.fd, .events = POLLIN}};

		if (poll(p, 2, 10) < 0)
			continue;
		if (p[0].revents & POLLIN)
			carry(&ends[0], &ends[1]);
		if (p[1].revents & POLLIN)
			carry(&ends[1], &ends[0]);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- in the containers: a process each, which tells by its status ---- */

#define NEED(condition)                            \
	do {                                       \
		if (!(condition))                  \
			_exit(__LINE__ % 200 + 1); \
	} while (0)

static void
in_container(unsigned n)
{
	alarm(PATIENCE_S);
	NEED(setns(ends[n - 1].container, CLONE_NEWNET) == 0);
}

static int
listening(bool v6, socklen_t *bytes, struct sockaddr_storage *at)
{
	struct addr a = address(v6, 2, 2);
	int sock = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	a.port = 7000;
	*bytes = addr_to_sockaddr(&a, at);
	NEED(setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	NEED(bind(sock, (void *)at, *bytes) == 0 && listen(sock, 1) == 0);
	return sock;
}

/* BIG bytes one way, then as many back. */
static void
pour(int sock)
{
	static uint8_t data[1 << 16];

	for (size_t done = 0; done < BIG; done += sizeof(data)) {
		for (size_t at = 0; at < sizeof(data);) {
			ssize_t n = send(sock, data + at, sizeof(data) - at, MSG_NOSIGNAL);

			NEED(n > 0);
			at += (size_t)n;
		}
	}
}

static void
drink(int sock)
{
	static uint8_t data[1 << 16];

	for (size_t done = 0; done < BIG;) {
		ssize_t n = recv(sock, data, sizeof(data), 0);

		NEED(n > 0);
		done += (size_t)n;
	}
}

static void
stream(bool v6)
{
	struct sockaddr_storage at;
	socklen_t bytes;
	int ready[2], sock;
	char byte;

	NEED(pipe(ready) == 0);
	if (fork() == 0) {
		in_container(2);
		sock = listening(v6, &bytes, &at);
		NEED(write(ready[1], "r", 1) == 1);
		int peer = accept(sock, NULL, NULL);
		drink(peer);
		pour(peer);
		_exit(0);
	}
	in_container(1);
	NEED(read(ready[0], &byte, 1) == 1);
	struct addr a = address(v6, 2, 2);
	a.port = 7000;
	bytes = addr_to_sockaddr(&a, &at);
	sock = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	NEED(connect(sock, (void *)&at, bytes) == 0);
	pour(sock);
	drink(sock);
	int status = 0;
	NEED(wait(&status) > 0 && WIFEXITED(status));
	_exit(WEXITSTATUS(status));
}

/* What may not be fragmented is said to be too large, and how large it may be. */
static void
learn(bool v6, int mtu)
{
	static const uint8_t data[1420 - 48];
	struct addr a = address(v6, 2, 2);
	struct sockaddr_storage at;
	int always = IP_PMTUDISC_DO, known = 0;
	socklen_t size = sizeof(known);
	ssize_t n = 0;

	in_container(1);
	a.port = 7001;
	socklen_t bytes = addr_to_sockaddr(&a, &at);
	int sock = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	NEED(connect(sock, (void *)&at, bytes) == 0);
	NEED(setsockopt(sock, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
			v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &always, sizeof(always)) == 0);
	while (n >= 0 || errno != EMSGSIZE) {
		struct pollfd p = {.fd = sock, .events = POLLERR};

		n = send(sock, data, sizeof(data), 0);
		if (n >= 0)
			(void)poll(&p, 1, 100);
	}
	NEED(getsockopt(sock, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &known,
			&size) == 0);
	NEED(known == mtu);
	_exit(0);
}

/* Nothing is answered, nothing comes back. */
static void
be_kept_out(bool v6)
{
	struct addr a = address(v6, 2, 2);
	struct sockaddr_storage at;

	in_container(1);
	a.port = 7000;
	socklen_t bytes = addr_to_sockaddr(&a, &at);
	int sock = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int tries = 1;
	NEED(setsockopt(sock, IPPROTO_TCP, TCP_SYNCNT, &tries, sizeof(tries)) == 0);
	NEED(connect(sock, (void *)&at, bytes) < 0 && errno == ETIMEDOUT);
	_exit(0);
}

/* ---- tests ---- */

static void
test_streams(void **state)
{
	(void)state;
	begin(0);
	for (int v6 = 0; v6 < 2; v6++) {
		pid_t child = fork();

		if (child == 0)
			stream(v6);
		ends[0].largest = ends[1].largest = 0;
		assert_int_equal(carry_for(child), 0);
		/* Super-packets stay whole, out of one container and into the other, both ways. */
		assert_true(ends[0].largest > SUPER);
		assert_true(ends[1].largest > SUPER);
	}
	end();
}

/* The path takes less than containers' links do. */
static void
test_narrow_path(void **state)
{
	(void)state;
	begin(1300);
	for (int v6 = 0; v6 < 2; v6++) {
		pid_t child = fork();

		if (child == 0)
			stream(v6);
		assert_int_equal(carry_for(child), 0);
		child = fork();
		if (child == 0)
			learn(v6, 1300);
		assert_int_equal(carry_for(child), 0);
	}
	end();
}

/* The receiver's node judges alone. */
static void
test_isolated(void **state)
{
	const uint32_t alone = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_ISOLATED;
	uint64_t counts[TC_COUNTS];
	struct err err = {0};

	(void)state;
	begin(0);
	identify(&ends[1], 11, alone);
	for (int v6 = 0; v6 < 2; v6++) {
		pid_t child = fork();

		if (child == 0)
			be_kept_out(v6);
		assert_int_equal(carry_for(child), 0);
	}
	assert_int_equal(veth_counts(ends[1].veth, counts, &err), 0);
	assert_true(counts[TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_ISOLATED)] >= 2);
	assert_int_equal(counts[TC_COUNT_WAY(MSG_FLOW_TUNNEL, MSG_FLOW_LOCAL)], 0);
	end();
}

static int
prepare(void **state)
{
	(void)state;
	return bpf_world_enter("true") < 0 || !tun_rig_start() ? -1 : 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_narrow_path),
		cmocka_unit_test(test_isolated),
	};

	if (!bpf_world_allowed())
		return 0;
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		printf("1..0 # SKIP no /dev/net/tun\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, prepare, bpf_world_leave);
}
