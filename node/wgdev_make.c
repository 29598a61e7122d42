/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work of a child. The device has no address, and makes none for itself: packets of the fabric
 * leave with the node's own, as by the other ways.
 *
 * The kernel's device is made by a socket of this namespace, for the other one: so its UDP socket
 * is here. It outlives node, as the VXLAN device does.
 */
#include "node/wgdev_make.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/portuser.h"
#include "overlay/engine/tun.h"
#include "overlay/wg/kernel.h"
#include "runtime/net_link.h"

/* A kernel without IPv6 has no such file. */
static void
no_own_addresses(void)
{
	defer_close int fd = open("/proc/sys/net/ipv6/conf/" WGDEV_IN_FABRIC "/addr_gen_mode",
				  O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : write(fd, "1", 1);

	(void)n;
}

static int
control_socket(struct err *err)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? err_sys(err, errno, "cannot look at devices") : fd;
}

/* err's number is errno when it does not come up. */
static int
set_up(int control, uint32_t *ifindex_out, struct err *err)
{
	struct ifreq request = {.ifr_name = WGDEV_IN_FABRIC};

	if (ioctl(control, SIOCGIFINDEX, &request) < 0)
		return err_sys(err, errno, "cannot find the device %s", WGDEV_IN_FABRIC);
	*ifindex_out = (uint32_t)request.ifr_ifindex;
	no_own_addresses();
	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return err_sys(err, errno, "cannot look at the device %s", WGDEV_IN_FABRIC);
	request.ifr_flags |= IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
		return err_sys(err, errno, "cannot set the device %s up", WGDEV_IN_FABRIC);
	return 0;
}

/* Of whatever kind. */
static int
remove_link(int fabric, struct err *err)
{
	uint32_t index;
	struct err none = {0};

	if (net_link_open(err) < 0)
		return -1;
	defer_close int sock = net_link_socket(fabric, err);
	if (sock < 0)
		return -1;
	if (net_link_find(sock, WGDEV_IN_FABRIC, &index, &none) < 0) {
		if (none.kind == ERR_NOT_FOUND)
			return 0;
		*err = none;
		return -1;
	}
	if (net_link_remove(sock, index, err) < 0 && err->kind != ERR_NOT_FOUND)
		return -1;
	err_clear(err);
	return 0;
}

/* ---- TUN ---- */

static int
open_tun(struct tun *t, struct err *err)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		err_sys(err, errno, "cannot open /dev/net/tun");
		return err_fix(err, "load the module: modprobe tun");
	}
	int rc = tun_open(t, fd, WGDEV_IN_FABRIC, TUN_USO, err);
	if (rc < 0)
		fd_close(&fd);
	return rc;
}

/* What is in the way of the first one is of another kind: an earlier node's. */
static int
open_queue(const struct wgdev_order *order, struct tun *t, bool first, struct err *err)
{
	struct err own = {0}, ignored = {0};

	if (open_tun(t, &own) == 0)
		return 0;
	if (first && own.code == EINVAL && remove_link(order->fabric, &ignored) == 0)
		return open_tun(t, err);
	*err = own;
	return -1;
}

/* fds: those that are open, also when it fails: the process ends. */
static int
make_tun(const struct wgdev_order *order, struct wgdev_made *out, int *fds)
{
	struct tun t = {.fd = -1, .name = WGDEV_IN_FABRIC};

	if (setns(order->fabric, CLONE_NEWNET) < 0)
		return err_sys(&out->err, errno, "cannot enter the fabric");
	for (unsigned i = 0; i < order->queues; i++) {
		if (open_queue(order, &t, i == 0, &out->err) < 0)
			return -1;
		fds[1 + i] = t.fd;
	}
	out->offload = t.offload;
	fds[0] = control_socket(&out->err);
	if (fds[0] < 0 || tun_set_mtu(&t, order->mtu, &out->err) < 0)
		return -1;
	return set_up(fds[0], &out->ifindex, &out->err);
}

/* ---- the kernel's ---- */

/* Whether the device is there, of this kind; *is: as it is. */
static bool
find_kernel(struct kernel *k, struct setup *is)
{
	struct err none = {0};

	return kernel_get(k, WGDEV_IN_FABRIC, is, &none) == 0;
}

static int
add_kernel(struct kernel *outside, const struct wgdev_order *order, struct err *err)
{
	const struct kernel_wire_link link = {
		.name = WGDEV_IN_FABRIC, .mtu = order->mtu, .ns = order->fabric};

	if (remove_link(order->fabric, err) < 0)
		return -1;
	return kernel_add(outside, &link, err);
}

static int
set_port(struct kernel *k, uint16_t port, struct err *err)
{
	struct setup change;

	setup_init(&change);
	change.has_port = true;
	change.port = port;
	int rc = kernel_set(k, WGDEV_IN_FABRIC, &change, err);
	setup_fini(&change);
	return rc;
}

static int
finish_kernel(struct kernel *inside, const struct wgdev_order *order, uint16_t port, int control,
	      struct wgdev_made *out)
{
	const struct tun named = {.fd = -1, .name = WGDEV_IN_FABRIC};

	out->family = inside->family;
	if ((port == order->port || set_port(inside, order->port, &out->err) == 0) &&
	    tun_set_mtu(&named, order->mtu, &out->err) == 0 &&
	    set_up(control, &out->ifindex, &out->err) == 0)
		return 0;
	if (out->err.code == EADDRINUSE) {
		err_clear(&out->err);
		err_set(&out->err, ERR_CONFLICT, "UDP port %u of this machine is taken",
			order->port);
	}
	return -1;
}

static int
open_kernel(struct kernel *k, struct err *err)
{
	if (kernel_open(k, err) == 0)
		return 0;
	if (err->kind == ERR_UNSUPPORTED)
		err_fix(err, "load the module: modprobe wireguard; or say `overlay: { backend: "
			     "engine }` in node.yaml");
	return -1;
}

static int
make_kernel(const struct wgdev_order *order, struct wgdev_made *out, int *fds)
{
	struct kernel outside = {.route = -1, .generic = -1}, inside = outside;
	struct setup is;
	int rc = -1;

	setup_init(&is);
	if (open_kernel(&outside, &out->err) < 0)
		return -1;
	if (setns(order->fabric, CLONE_NEWNET) < 0) {
		err_sys(&out->err, errno, "cannot enter the fabric");
		goto out;
	}
	if (open_kernel(&inside, &out->err) < 0 || (fds[0] = control_socket(&out->err)) < 0)
		goto out;
	bool there = find_kernel(&inside, &is);
	if (there || add_kernel(&outside, order, &out->err) == 0)
		rc = finish_kernel(&inside, order, there ? is.port : 0, fds[0], out);
out:
	setup_fini(&is);
	kernel_close(&outside);
	kernel_close(&inside);
	return rc;
}

/* ---- the child ---- */

/* What comes back. */
static size_t
count_of(const struct wgdev_order *order)
{
	return order->removes ? 0 : order->backend == MSG_BACKEND_KERNEL ? 1 : 1 + order->queues;
}

static int
work(const struct wgdev_order *order, struct wgdev_made *out, int *fds)
{
	if (order->removes)
		return remove_link(order->fabric, &out->err);
	return order->backend == MSG_BACKEND_KERNEL ? make_kernel(order, out, fds)
						    : make_tun(order, out, fds);
}

static _Noreturn void
child(int link, const struct wgdev_order *order)
{
	struct wgdev_made out = {0};
	int fds[WGDEV_FDS_MAX];
	bool good = work(order, &out, fds) == 0;

	(void)fd_send(link, &out, sizeof(out), fds, good ? count_of(order) : 0);
	_exit(0);
}

static int
take(int link, const struct wgdev_order *order, struct wgdev_made *out, int *fds, size_t *count,
     struct err *err)
{
	ssize_t n = fd_recv(link, out, sizeof(*out), fds, WGDEV_FDS_MAX, count);

	if (n == (ssize_t)sizeof(*out) && !out->err.kind && *count == count_of(order))
		return 0;
	for (size_t i = 0; i < *count; i++)
		fd_close(&fds[i]);
	*count = 0;
	if (n == (ssize_t)sizeof(*out) && out->err.kind)
		*err = out->err;
	else
		err_set(err, ERR_INTERNAL, "the process that makes a device died");
	return -1;
}

/* The port is one of this namespace, which the child has left. */
static void
say_who(const struct wgdev_order *order, struct err *err)
{
	const struct addr any = {.port = order->port};
	char who[128];

	if (portuser_find(&any, true, who, sizeof(who)))
		err_why(err, "%s has it", who);
	err_fix(err, "give `listen.overlay` another port in node.yaml, then reload");
}

int
wgdev_make(const struct wgdev_order *order, struct wgdev_made *out, int fds[WGDEV_FDS_MAX],
	   size_t *count_out, struct err *err)
{
	int ends[2], status;

	*count_out = 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return err_sys(err, errno, "cannot send out a process");
	pid_t pid = fork();
	if (pid == 0)
		child(ends[1], order);
	fd_close(&ends[1]);
	int rc = pid < 0 ? err_sys(err, errno, "cannot send out a process")
			 : take(ends[0], order, out, fds, count_out, err);
	fd_close(&ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc < 0 && err->kind == ERR_CONFLICT)
		say_who(order, err);
	if (rc < 0)
		err_where(err, "the sealed way to other nodes, device %s of the fabric",
			  WGDEV_IN_FABRIC);
	return rc;
}
