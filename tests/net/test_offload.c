/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TUN devices as the kernel has them, and the kernel's own way of cutting: a large packet is
 * written to the TUN zla and forwarded to the TUN zlb, that takes only small ones; what is read
 * there is what we cut.
 *
 *        test --large--> zla [ kernel forwards, cuts ] zlb --small--> test
 *
 * Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "overlay/engine/segment.h"
#include "overlay/engine/udp.h"
#include "tests/net/tun_rig.h"
#include "tests/support/offload.h"
#include "tests/support/prop.h"

/* ---- the device ---- */

static int
mtu_of(const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(text_copy(request.ifr_name, sizeof(request.ifr_name), name));
	int rc = ioctl(fd, SIOCGIFMTU, &request);
	close(fd);
	return rc < 0 ? -1 : request.ifr_mtu;
}

static void
test_tun(void **state)
{
	struct tun a, b;
	struct err err = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	(void)state;
	tun_rig_open(&a, "zlt0", TUN_USO);
	assert_int_equal(mtu_of("zlt0"), TUN_RIG_MTU);
	/* A second queue of the same device. */
	assert_int_equal(tun_open(&b, fd, "zlt0", TUN_USO, &err), 0);
	assert_int_equal(a.offload, b.offload);
	assert_int_equal(tun_set_mtu(&b, 1280, &err), 0);
	assert_int_equal(mtu_of("zlt0"), 1280);
	assert_int_equal(tun_set_mtu(&a, TUN_MTU_MIN - 1, &err), -1);
	assert_int_equal(tun_set_mtu(&a, TUN_MTU_MAX + 1, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	tun_close(&a);
	assert_int_equal(a.fd, -1);
	assert_int_equal(mtu_of("zlt0"), 1280);
	tun_close(&b);
	assert_int_equal(mtu_of("zlt0"), -1);

	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(tun_open(&a, fd, "zlt0", TUN_USO, &err), -1);
	assert_int_equal(err.code, ENOTTY);
	assert_int_equal(tun_open(&a, fd, "a name of more than fifteen", TUN_USO, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(close(fd), 0); /* still ours */
}

static void
test_udp_privileges(void **state)
{
	struct udp_config c = {.fwmark = 77};
	struct err err = {0};
	struct udp u;
	int value = 0;
	socklen_t length = sizeof(value);

	(void)state;
	assert_int_equal(udp_open(&u, &c, &err), 0);
	assert_int_equal(getsockopt(u.fd, SOL_SOCKET, SO_MARK, &value, &length), 0);
	assert_int_equal(value, 77);
	/* The kernel doubles it. */
	assert_int_equal(getsockopt(u.fd, SOL_SOCKET, SO_RCVBUF, &value, &length), 0);
	assert_int_equal(value, 2 * UDP_KERNEL_BYTES);
	assert_int_equal(getsockopt(u.fd, SOL_SOCKET, SO_SNDBUF, &value, &length), 0);
	assert_int_equal(value, 2 * UDP_KERNEL_BYTES);
	udp_close(&u);
}

/* ---- the kernel cuts, too ---- */

static struct offload
draw(struct prop *p)
{
	static const uint8_t flags[] = {0x01, 0x08, 0x40, 0x80};
	struct offload o = offload_plain(prop_below(p, 2), prop_below(p, 2));

	for (unsigned i = 0; i < sizeof(flags); i++)
		o.flags |= prop_below(p, 3) ? 0 : flags[i];
	o.options = o.udp ? 0 : (uint8_t)prop_below(p, 8);
	o.extras = prop_below(p, 4) ? 0 : 2;
	o.fragmentable = prop_below(p, 2);
	o.id = (uint16_t)prop_u64(p);
	o.sequence = (uint32_t)prop_u64(p);
	o.salt = (uint8_t)prop_u64(p);
	o.size = (uint16_t)(200 + prop_below(p, 1000));
	/* Fewer than wait in a queue, and at least two. */
	o.payload = o.size + 1u + (uint32_t)prop_below(p, 60000);
	if (o.payload > o.size * 60u)
		o.payload = o.size * 60u;
	return o;
}

/* What is read from b, but for what the kernel has to say there itself. */
static uint32_t
read_piece(const struct tun *b, uint8_t *packet)
{
	for (;;) {
		struct virtio_net_hdr header;
		struct inner in;

		tun_rig_wait(b->fd);
		ssize_t n = tun_read(b, &header, packet);
		assert_true(n > 0);
		if (inner_parse(packet, (size_t)n, &in) && in.payload) {
			assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
			assert_int_equal(header.flags, 0);
			return (uint32_t)n;
		}
	}
}

static void
compare_cut(const struct tun *a, const struct tun *b, struct offload *o)
{
	static uint8_t large[OFFLOAD_BYTES], piece[TUN_PACKET_MAX], out[SEGMENT_RUN_BYTES];
	struct virtio_net_hdr header;
	struct segment_run run;
	struct segment s;

	o->ttl = 65; /* one hop */
	uint32_t bytes = offload_large(o, &header, large);
	struct iovec iov[] = {{&header, sizeof(header)}, {large, bytes}};
	assert_int_equal(tun_write(a, iov, 2), 0);
	o->ttl = 64;
	bytes = offload_large(o, &header, large);
	assert_int_equal(segment_begin(&s, &header, large, bytes, TUN_RIG_MTU), SEGMENT_OK);
	while (segment_next(&s, out, &run))
		for (uint32_t i = 0; i < run.count; i++) {
			uint32_t length = read_piece(b, piece);

			assert_true(length <= segment_bytes(&run, i) - 32);
			assert_memory_equal(out + i * run.stride + SEGMENT_HEAD, piece, length);
		}
}

static void
test_as_the_kernel_cuts(void **state)
{
	struct prop p = {.state = 5};
	struct tun a, b;

	(void)state;
	tun_rig_open(&a, "zla", TUN_USO);
	tun_rig_open(&b, "zlb", TUN_PLAIN);
	tun_rig_run("echo 1 >/proc/sys/net/ipv4/ip_forward;"
		    "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
		    "ip route add 10.0.0.1 dev zla && ip route add 10.0.0.2 dev zlb &&"
		    "ip -6 route add fd00::1 dev zla && ip -6 route add fd00::2 dev zlb");
	for (int i = 0; i < 300; i++) {
		struct offload o = draw(&p);

		if (!o.udp || a.offload == TUN_USO)
			compare_cut(&a, &b, &o);
	}
	tun_close(&a);
	tun_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tun),
		cmocka_unit_test(test_udp_privileges),
		cmocka_unit_test(test_as_the_kernel_cuts),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
