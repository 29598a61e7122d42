/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device of sealed traffic, made in a fabric and looked at from outside of it: the TUN device,
 * and the kernel's where it has WireGuard (tests/vm). Root, in a network namespace of its own.
 */
#include "node/wgdev_make.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "node/wgdev_eye.h"
#include "overlay/wg/kernel.h"

enum { MTU = 1420, PORT = 9882, QUEUES = 2 };

static int here = -1, fabric = -1;
static struct err err;

/* ---- a host and its fabric ---- */

static int
setup(void **state)
{
	(void)state;
	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fabric = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	assert_true(here >= 0 && fabric >= 0);
	err_clear(&err);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fd_close(&here);
	fd_close(&fabric);
	return 0;
}

/* A device and an eye on it; what else came is closed at the end. */
struct device {
	struct wgdev_made made;
	int fds[WGDEV_FDS_MAX];
	size_t count;
};

static int
try(const struct wgdev_order *order, struct device *d)
{
	int rc = wgdev_make(order, &d->made, d->fds, &d->count, &err);

	assert_int_equal(rc == 0, err.kind == 0);
	return rc;
}

static void
make(const struct wgdev_order *order, struct device *d)
{
	assert_int_equal(try(order, d), 0);
	assert_int_equal(d->count, order->backend == MSG_BACKEND_KERNEL ? 1 : 1 + order->queues);
	assert_true(d->made.ifindex > 0);
}

static void
close_all(struct device *d)
{
	for (size_t i = 0; i < d->count; i++)
		fd_close(&d->fds[i]);
	d->count = 0;
}

static struct wgdev_order
order_of(enum msg_backend_kind backend)
{
	return (struct wgdev_order){
		.fabric = fabric, .backend = backend, .mtu = MTU, .queues = QUEUES, .port = PORT};
}

static void
remove_device(void)
{
	const struct wgdev_order order = {.fabric = fabric, .removes = true};
	struct device d;

	assert_int_equal(try(&order, &d), 0);
	assert_int_equal(d.count, 0);
}

static enum wgdev_sight
see(const struct device *d)
{
	return wgdev_see(d->fds[0], d->made.ifindex, MTU);
}

/* What an administrator does. */
static void
set_down(int eye)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC};

	assert_int_equal(ioctl(eye, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags &= (short)~IFF_UP;
	assert_int_equal(ioctl(eye, SIOCSIFFLAGS, &request), 0);
}

static void
set_mtu(int eye, int mtu)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC, .ifr_mtu = mtu};

	assert_int_equal(ioctl(eye, SIOCSIFMTU, &request), 0);
}

/* It is put back as the one that it is, and goes. */
static void
check_looked_after(const struct wgdev_order *again, struct device *d)
{
	struct device other;

	assert_int_equal(see(d), WGDEV_STANDS);
	assert_int_equal(wgdev_see(d->fds[0], d->made.ifindex + 1, MTU), WGDEV_GONE);
	set_down(d->fds[0]);
	assert_int_equal(see(d), WGDEV_ALTERED);
	make(again, &other);
	assert_int_equal(other.made.ifindex, d->made.ifindex);
	assert_int_equal(see(d), WGDEV_STANDS);
	close_all(&other);
	set_mtu(d->fds[0], MTU - 100);
	assert_int_equal(see(d), WGDEV_ALTERED);
	make(again, &other);
	assert_int_equal(see(&other), WGDEV_STANDS);
	close_all(&other);
	remove_device();
	assert_int_equal(see(d), WGDEV_GONE);
	remove_device(); /* none is fine */
}

/* ---- the engine's ---- */

static void
test_tun(void **state)
{
	struct wgdev_order order = order_of(MSG_BACKEND_ENGINE), again = order;
	struct device d;

	(void)state;
	make(&order, &d);
	again.queues = 0;
	check_looked_after(&again, &d);
	/* Without the device there is nothing to give another MTU. */
	struct device none;
	assert_int_equal(try(&again, &none), -1);
	assert_int_equal(none.count, 0);
	close_all(&d);
}

/* It is there as long as one of its queues is. */
static void
test_tun_ends(void **state)
{
	const struct wgdev_order order = order_of(MSG_BACKEND_ENGINE);
	struct device d;

	(void)state;
	make(&order, &d);
	fd_close(&d.fds[1]);
	assert_int_equal(see(&d), WGDEV_STANDS);
	fd_close(&d.fds[2]);
	assert_int_equal(see(&d), WGDEV_GONE);
	close_all(&d);
}

/* ---- the kernel's ---- */

static void
test_no_kernel(void **state)
{
	const struct wgdev_order order = order_of(MSG_BACKEND_KERNEL);
	struct device d;

	(void)state;
	assert_int_equal(try(&order, &d), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_string_equal(err.what, "this kernel has no WireGuard");
	assert_non_null(strstr(err.fix, "modprobe wireguard"));
	assert_int_equal(d.count, 0);
}

static void
in_fabric(struct kernel *k)
{
	assert_int_equal(setns(fabric, CLONE_NEWNET), 0);
	assert_int_equal(kernel_open(k, &err), 0);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
}

static void
test_kernel(void **state)
{
	const struct wgdev_order order = order_of(MSG_BACKEND_KERNEL);
	struct device d;

	(void)state;
	make(&order, &d);
	assert_true(d.made.family > 0);
	check_looked_after(&order, &d);
	close_all(&d);
}

/* One that is there is taken over with its keys, and gets another port. */
static void
test_kernel_taken_over(void **state)
{
	struct wgdev_order order = order_of(MSG_BACKEND_KERNEL);
	struct setup is, key = {.has_private_key = true};
	struct device d, other;
	struct kernel k;

	(void)state;
	memset(key.private_key, 0x48, SETUP_KEY);
	make(&order, &d);
	in_fabric(&k);
	assert_int_equal(kernel_set(&k, WGDEV_IN_FABRIC, &key, &err), 0);
	close_all(&d);
	order.port = PORT + 1;
	make(&order, &other);
	assert_int_equal(other.made.ifindex, d.made.ifindex);
	setup_init(&is);
	assert_int_equal(kernel_get(&k, WGDEV_IN_FABRIC, &is, &err), 0);
	assert_int_equal(is.port, PORT + 1);
	assert_memory_equal(is.private_key, key.private_key, SETUP_KEY);
	setup_fini(&is);
	kernel_close(&k);
	close_all(&other);
	remove_device();
}

/* Its socket is this namespace's, whoever has the port here. */
static void
test_port_is_taken(void **state)
{
	const struct wgdev_order order = order_of(MSG_BACKEND_KERNEL);
	const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct device d;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(bind(sock, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(try(&order, &d), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	err_clear(&err);
	fd_close(&sock);
	make(&order, &d);
	close_all(&d);
	remove_device();
}

/* Either kind goes for the other one. */
static void
test_instead_of_another(void **state)
{
	const struct wgdev_order kernel = order_of(MSG_BACKEND_KERNEL),
				 engine = order_of(MSG_BACKEND_ENGINE);
	struct device a, b, c;

	(void)state;
	make(&engine, &a);
	make(&kernel, &b);
	assert_int_equal(see(&a), WGDEV_GONE);
	assert_int_equal(see(&b), WGDEV_STANDS);
	make(&engine, &c);
	assert_int_equal(see(&b), WGDEV_GONE);
	assert_int_equal(see(&c), WGDEV_STANDS);
	close_all(&a);
	close_all(&b);
	close_all(&c);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest without[] = {EACH(test_tun), EACH(test_tun_ends),
					     EACH(test_no_kernel)};
	const struct CMUnitTest with[] = {
		EACH(test_tun),
		EACH(test_tun_ends),
		EACH(test_kernel),
		EACH(test_port_is_taken),
		EACH(test_kernel_taken_over),
		EACH(test_instead_of_another),
	};

	return kernel_available() ? cmocka_run_group_tests(with, NULL, NULL)
				  : cmocka_run_group_tests(without, NULL, NULL);
}
