/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a TUN is asked for, by kernels that do not have everything: ioctl goes through __wrap_ioctl,
 * which stands for them. tests/net/test_offload.c has the real device.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "overlay/engine/tun.h"

enum { CSUM = 1, TSO4 = 2, TSO6 = 4, ECN = 8, USO4 = 0x20, USO6 = 0x40, FD = 77 };

int __wrap_ioctl(int fd, unsigned long request, ...);

static struct {
	unsigned long known; /* offloads */
	int offload_error;   /* for those that are not known */
	int attach_error, header_error, order_error;
	short flags;
	int header, native;
	unsigned long offload;
	unsigned asked; /* times for an offload */
} fake;

int
__wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	void *pointer = va_arg(args, void *);
	va_end(args);
	va_start(args, request);
	unsigned long value = va_arg(args, unsigned long);
	va_end(args);
	assert_int_equal(fd, FD);
	errno = 0;
	switch (request) {
	case TUNSETIFF: {
		struct ifreq *r = pointer;

		fake.flags = r->ifr_flags;
		errno = fake.attach_error;
		if (strcmp(r->ifr_name, "zl%d") == 0)
			memcpy(r->ifr_name, "zl5", 4);
		break;
	}
	case TUNSETVNETHDRSZ:
		memcpy(&fake.header, pointer, sizeof(fake.header));
		errno = fake.header_error;
		break;
	case TUNSETVNETLE:
		memcpy(&fake.native, pointer, sizeof(fake.native));
		errno = fake.order_error;
		break;
	case TUNSETOFFLOAD:
		fake.asked++;
		fake.offload = value;
		errno = value & ~fake.known ? fake.offload_error : 0;
		break;
	default:
		fail_msg("%lx", request);
	}
	return errno ? -1 : 0;
}

static void
reset(unsigned long known)
{
	memset(&fake, 0, sizeof(fake));
	fake.known = known;
	fake.offload_error = EINVAL;
	fake.native = 9;
}

static void
test_asked_for(void **state)
{
	struct err err = {0};
	struct tun t;

	(void)state;
	reset(~0ul);
	assert_int_equal(tun_open(&t, FD, "zl%d", TUN_USO, &err), 0);
	assert_int_equal(t.fd, FD);
	assert_string_equal(t.name, "zl5");
	assert_int_equal((unsigned short)fake.flags,
			 IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	assert_int_equal(fake.header, 10);
	assert_int_equal(fake.native, 0);
}

static void
test_steps(void **state)
{
	static const unsigned long tso = CSUM | TSO4 | TSO6 | ECN, uso = USO4 | USO6;
	static const struct {
		enum tun_offload most, got;
		unsigned long known, offload;
		unsigned asked;
	} steps[] = {
		{TUN_USO, TUN_USO, ~0ul, tso | uso, 1}, {TUN_USO, TUN_TSO, tso, tso, 2},
		{TUN_USO, TUN_TSO, tso | USO4, tso, 2}, {TUN_USO, TUN_PLAIN, 0, 0, 3},
		{TUN_USO, TUN_PLAIN, CSUM, 0, 3},       {TUN_TSO, TUN_TSO, ~0ul, tso, 1},
		{TUN_TSO, TUN_PLAIN, uso, 0, 2},        {TUN_PLAIN, TUN_PLAIN, ~0ul, 0, 1},
	};
	struct err err = {0};
	struct tun t;

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		reset(steps[i].known);
		assert_int_equal(tun_open(&t, FD, "zl0", steps[i].most, &err), 0);
		assert_int_equal(t.offload, steps[i].got);
		assert_int_equal(fake.offload, steps[i].offload);
		assert_int_equal(fake.asked, steps[i].asked);
	}
}

static void
test_refused(void **state)
{
	struct err err = {0};
	struct tun t;

	(void)state;
	reset(0);
	fake.offload_error = EBADFD; /* no lack of the kernel's */
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), -1);
	assert_int_equal(err.code, EBADFD);
	assert_int_equal(t.fd, -1);
	assert_int_equal(fake.asked, 1);

	reset(~0ul);
	fake.attach_error = EPERM;
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_non_null(strstr(err.fix, "CAP_NET_ADMIN"));
	assert_int_equal(t.fd, -1);
	fake.attach_error = EBUSY;
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), -1);
	assert_string_equal(err.fix, "");

	reset(~0ul);
	fake.header_error = EINVAL;
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), -1);

	/* Without the choice of an order of bytes it is the machine's. */
	reset(~0ul);
	fake.order_error = EINVAL;
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), 0);
	fake.order_error = EBADFD;
	assert_int_equal(tun_open(&t, FD, "zl0", TUN_USO, &err), -1);
}

/* A socket that keeps messages apart stands for the queue. */
static void
test_read_and_write(void **state)
{
	static uint8_t packet[TUN_PACKET_MAX];
	struct virtio_net_hdr header = {.gso_size = 1368}, got;
	char first[] = "abc", second[] = "defg";
	struct iovec iov[] = {{&header, sizeof(header)}, {first, 3}, {second, 4}};
	struct tun t = {0};
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	t.fd = pair[0];
	assert_int_equal(tun_read(&t, &got, packet), -1);
	assert_int_equal(errno, EAGAIN);
	struct tun other = {.fd = pair[1]};
	assert_int_equal(tun_write(&other, iov, 3), 0);
	assert_int_equal(tun_read(&t, &got, packet), 7);
	assert_memory_equal(packet, "abcdefg", 7);
	assert_int_equal(got.gso_size, 1368);
	assert_int_equal(write(pair[1], "short", 5), 5);
	assert_int_equal(tun_read(&t, &got, packet), -1);
	assert_int_equal(errno, EBADMSG);
	tun_close(&t);
	assert_int_equal(tun_write(&other, iov, 3), -1);
	assert_int_equal(tun_write(&t, iov, 3), -1);
	assert_int_equal(errno, EBADF);
	tun_close(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_for),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_read_and_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
