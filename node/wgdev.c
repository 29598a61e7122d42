/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device, the socket, and what is told of them. A child makes the device, because node does not
 * enter the fabric: it sends back the queues. What cannot be had is tried again every few seconds.
 *
 * The device has no address, and makes none for itself: packets of the fabric leave with the node's
 * own, as by the other ways.
 */
#include "node/wgdev.h"

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
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/uplink.h"
#include "overlay/engine/tun.h"
#include "overlay/prefix.h"
#include "overlay/wg/uapi_socket.h"

enum { AGAIN_TICKS = 5, SOCKET_AGAIN_TICKS = 30, QUEUES_MAX = LEASH_TUNNEL_QUEUES_MAX };

static const char queue_name[] = "sealed-queue", socket_name[] = "wireguard";

struct wgdev {
	struct ring_writer *own;
	struct hub *hub;
	const struct instance *inst;
	int fabric;
	int queues[QUEUES_MAX];
	unsigned count;
	uint32_t ifindex, offload, mtu;
	bool adopted;   /* what the device has is not known: it gets all of it again */
	struct err err; /* why there is no device */
	int socket;
	struct err socket_err;
	unsigned wait, socket_wait; /* ticks until it is tried again */
};

struct wgdev *
wgdev_new(struct ring_writer *own, struct hub *hub, const struct instance *inst, int fabric)
{
	struct wgdev *w = mem_zalloc(MEM_NODE, sizeof(*w));

	if (!w)
		return NULL;
	w->own = own;
	w->hub = hub;
	w->inst = inst;
	w->fabric = fabric;
	w->socket = -1;
	return w;
}

static void
close_device(struct wgdev *w)
{
	for (unsigned i = 0; i < w->count; i++)
		fd_close(&w->queues[i]);
	w->count = 0;
	w->ifindex = w->mtu = 0;
	w->adopted = false;
}

static void
close_socket(struct wgdev *w)
{
	char path[64];

	if (w->socket < 0)
		return;
	fd_close(&w->socket);
	char name[IFNAMSIZ];
	uplink_name(w->inst->name, name);
	text_format(path, sizeof(path), UAPI_SOCKET_FOLDER "/%s.sock", name);
	(void)unlink(path);
}

void
wgdev_free(struct wgdev *w)
{
	if (!w)
		return;
	close_device(w);
	close_socket(w);
	mem_free(w);
}

uint32_t
wgdev_index(const struct wgdev *w)
{
	return w->ifindex;
}

/* ---- in the fabric ---- */

struct order {
	uint32_t mtu;
	unsigned queues; /* 0: the device is there, it only gets another MTU */
};

struct made {
	struct err err;
	uint32_t ifindex, offload;
};

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
set_up(const struct tun *t, struct made *out)
{
	struct ifreq request = {0};
	defer_close int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(request.ifr_name, t->name, sizeof(request.ifr_name));
	if (control < 0 || ioctl(control, SIOCGIFINDEX, &request) < 0)
		return err_sys(&out->err, errno, "cannot find the device %s", t->name);
	out->ifindex = (uint32_t)request.ifr_ifindex;
	no_own_addresses();
	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return err_sys(&out->err, errno, "cannot look at the device %s", t->name);
	request.ifr_flags |= IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
		return err_sys(&out->err, errno, "cannot set the device %s up", t->name);
	return 0;
}

static int
open_queue(struct tun *t, struct err *err)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		err_sys(err, errno, "cannot open /dev/net/tun");
		return err_fix(err, "load the module: modprobe tun");
	}
	return tun_open(t, fd, WGDEV_IN_FABRIC, TUN_USO, err);
}

/* fds: as many as there are queues; those that are open, also when it fails: the process ends. */
static int
work(int fabric, const struct order *order, struct made *out, int *fds)
{
	struct tun t = {.fd = -1, .name = WGDEV_IN_FABRIC};

	if (setns(fabric, CLONE_NEWNET) < 0)
		return err_sys(&out->err, errno, "cannot enter the fabric");
	for (unsigned i = 0; i < order->queues; i++) {
		if (open_queue(&t, &out->err) < 0)
			return -1;
		fds[i] = t.fd;
	}
	out->offload = t.offload;
	if (tun_set_mtu(&t, order->mtu, &out->err) < 0)
		return -1;
	return set_up(&t, out);
}

static _Noreturn void
child(int link, int fabric, const struct order *order)
{
	struct made out = {0};
	int fds[QUEUES_MAX];
	bool good = work(fabric, order, &out, fds) == 0;

	(void)fd_send(link, &out, sizeof(out), fds, good ? order->queues : 0);
	_exit(0);
}

static int
send_child(int fabric, const struct order *order, struct made *out, int *fds, struct err *err)
{
	int ends[2], status;
	size_t count = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return err_sys(err, errno, "cannot send out a process");
	pid_t pid = fork();
	if (pid == 0)
		child(ends[1], fabric, order);
	fd_close(&ends[1]);
	ssize_t n = pid < 0 ? -1 : fd_recv(ends[0], out, sizeof(*out), fds, QUEUES_MAX, &count);
	fd_close(&ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof(*out) && !out->err.kind && count == order->queues)
		return 0;
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
	if (n == (ssize_t)sizeof(*out) && out->err.kind)
		*err = out->err;
	else
		err_set(err, ERR_INTERNAL, "the process that makes a device died");
	return err_where(err, "the sealed way to other nodes, device %s of the fabric",
			 WGDEV_IN_FABRIC);
}

/* ---- what there is ---- */

static unsigned
queues_wanted(void)
{
	cpu_set_t cpus;
	int count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	return count < 1 ? 1 : count > QUEUES_MAX ? QUEUES_MAX : (unsigned)count;
}

/* True: overlay must hear of it. */
static bool
make_device(struct wgdev *w, uint32_t mtu)
{
	const struct order order = {.mtu = mtu, .queues = w->count ? 0 : queues_wanted()};
	struct err err = {0};
	struct made made;
	int fds[QUEUES_MAX];

	if (send_child(w->fabric, &order, &made, fds, &err) < 0) {
		if (!text_equal(err.what, w->err.what))
			log_err(LOG_WARN, "there is no sealed traffic", &err);
		w->err = err;
		w->wait = AGAIN_TICKS;
		return false;
	}
	bool as_told = w->count && w->mtu == mtu;
	err_clear(&w->err);
	w->mtu = mtu;
	w->ifindex = made.ifindex;
	w->adopted = false;
	if (!order.queues)
		return !as_told;
	memcpy(w->queues, fds, sizeof(w->queues));
	w->count = order.queues;
	w->offload = made.offload;
	return true;
}

static bool
make_socket(struct wgdev *w)
{
	char name[IFNAMSIZ];
	struct err err = {0};

	uplink_name(w->inst->name, name);
	w->socket = uapi_socket_bind(name, &err);
	if (w->socket >= 0) {
		err_clear(&w->socket_err);
		return true;
	}
	if (!text_equal(err.what, w->socket_err.what))
		log_err(LOG_WARN, "wg does not find the sealed traffic of this node", &err);
	w->socket_err = err;
	w->socket_wait = SOCKET_AGAIN_TICKS;
	return false;
}

static void
publish(struct wgdev *w, bool on, const struct listener *udp)
{
	struct msg_tunnel row = {.state = MSG_TUNNEL_OFF};
	bool changed = false;

	if (on) {
		bool up = w->count && udp && udp->up;

		row.state = up ? MSG_TUNNEL_UP : MSG_TUNNEL_FAILED;
		row.ifindex = w->ifindex;
		row.backend = MSG_BACKEND_ENGINE;
		row.queues = w->count;
		if (udp)
			row.listen = udp->addr;
		if (!w->count)
			msg_reason_from(&w->err, &row.reason);
		else if (!up && udp)
			msg_reason_from(&udp->reason, &row.reason);
	}
	(void)ring_table_set(w->own, MSG_TABLE_TUNNEL, 1, &row, &changed);
	if (changed)
		hub_kick(w->hub);
}

/* Somebody may delete it in the fabric: its queues stay, and lead nowhere. */
static bool
is_gone(const struct wgdev *w)
{
	struct ifreq request = {0};

	return w->count && ioctl(w->queues[0], TUNGETIFF, &request) < 0;
}

static uint32_t
mtu_of(const struct config *config)
{
	return config->overlay.mtu - PREFIX_ROOM;
}

bool
wgdev_tick(struct wgdev *w, bool wanted, const struct config *config,
	   const struct listeners *listeners)
{
	bool on = wanted && config->listen.overlay.on, changed = false;
	uint32_t mtu = mtu_of(config);

	w->wait -= w->wait > 0;
	w->socket_wait -= w->socket_wait > 0;
	if (!on) {
		changed = w->count > 0;
		close_device(w);
		close_socket(w);
		err_clear(&w->err);
	} else {
		changed = is_gone(w);
		if (changed)
			close_device(w);
		if ((w->mtu != mtu || w->adopted) && !w->wait)
			changed |= make_device(w, mtu);
		if (w->socket < 0 && !w->socket_wait)
			changed |= make_socket(w);
	}
	publish(w, on, listeners_named(listeners, "overlay"));
	return changed;
}

void
wgdev_tell(struct wgdev *w, struct hub_member *overlay)
{
	struct leash_message message;

	leash_init(&message, LEASH_TUNNEL);
	message.from_role = ROLE_NODE;
	message.a = w->mtu;
	message.b = w->offload;
	text_copy(message.name, sizeof(message.name), WGDEV_IN_FABRIC);
	hub_send(overlay, &message, w->queues, w->count);
	if (w->socket < 0)
		return;
	leash_init(&message, LEASH_LISTENER);
	message.from_role = ROLE_NODE;
	text_copy(message.name, sizeof(message.name), socket_name);
	hub_send(overlay, &message, &w->socket, 1);
}

/* ---- over an upgrade ---- */

static void
put_one(struct upgrade *up, const char *name, int fd)
{
	struct upgrade_socket *s = &up->sockets[up->sockets_count];

	if (up->sockets_count == UPGRADE_SOCKETS_MAX)
		return;
	text_copy(s->name, sizeof(s->name), name);
	s->fd = fd;
	up->sockets_count++;
}

void
wgdev_put(const struct wgdev *w, struct upgrade *up)
{
	for (unsigned i = 0; i < w->count; i++)
		put_one(up, queue_name, w->queues[i]);
	if (w->socket >= 0)
		put_one(up, socket_name, w->socket);
}

/* Its MTU is set again by the next tick; an overlay that begins before is told what it will be. */
static void
adopt_queue(struct wgdev *w, const struct config *config, int fd)
{
	struct err err = {0};
	struct tun t;

	if (w->count == QUEUES_MAX || tun_adopt(&t, fd, TUN_USO, &err) < 0) {
		if (err.kind)
			log_err(LOG_WARN, "a queue of sealed traffic is lost", &err);
		fd_close(&fd);
		return;
	}
	w->queues[w->count++] = fd;
	w->offload = t.offload;
	w->mtu = mtu_of(config);
	w->adopted = true;
}

bool
wgdev_adopt(struct wgdev *w, const struct config *config, const char *name, int fd)
{
	if (text_equal(name, queue_name)) {
		adopt_queue(w, config, fd);
		return true;
	}
	if (!text_equal(name, socket_name))
		return false;
	fd_close(&w->socket);
	w->socket = fd;
	return true;
}
