/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who seals, what there is for it, and what is told of it. What cannot be had is tried again every
 * few seconds; a port that is about to be given up, sooner.
 *
 * With `auto` it is the engine, unless there can be no TUN device: then the kernel, for as long as
 * its device stands. When neither can be had the engine's reason is told, with the kernel's.
 */
#include "node/wgdev.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/roles.h"
#include "node/wgdev_door.h"
#include "node/wgdev_eye.h"
#include "node/wgsocket.h"
#include "overlay/engine/tun.h"
#include "overlay/prefix.h"

_Static_assert((int)WGDEV_QUEUES_MAX == (int)LEASH_TUNNEL_QUEUES_MAX, "all of them are told");

enum { AGAIN_MS = 5000, SOON_MS = 50, SOON_TRIES = 40, MS = 1000000 };

static const char queue_name[] = "sealed-queue", socket_name[] = "wireguard",
		  kernel_name[] = "sealed-kernel";

struct wgdev {
	struct ring_writer *own;
	struct hub *hub;
	const struct instance *inst;
	int fabric;
	enum msg_backend_kind backend; /* that is wanted; 0: nothing is */
	bool swept;                    /* what an earlier node may have left is gone */
	uint32_t ifindex, mtu;         /* of the device, when it is as it should be */
	uint32_t times;                /* that it was made, or put back */
	int eye;                       /* -1: there is no device, or it is not looked at yet */
	bool altered;                  /* by somebody */
	/* the engine's */
	int queues[WGDEV_QUEUES_MAX];
	unsigned count;
	uint32_t offload;
	bool adopted; /* what the device has is not known: it gets all of it again */
	/* the kernel's */
	uint16_t family, port;
	struct wgdev_door door;
	struct err fell; /* with auto: why it is not the engine */

	struct err err; /* why there is no device */
	struct wgsocket socket;
	uint64_t again_ns; /* not before that */
	unsigned tries;    /* soon ones that are left */
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
	wgsocket_init(&w->socket, inst);
	wgdev_door_init(&w->door);
	w->eye = -1;
	return w;
}

/* The kernel's device itself stays. */
static void
close_device(struct wgdev *w)
{
	for (unsigned i = 0; i < w->count; i++)
		fd_close(&w->queues[i]);
	w->count = 0;
	fd_close(&w->eye);
	wgdev_door_close(&w->door);
	w->ifindex = w->mtu = 0;
	w->adopted = w->altered = false;
}

void
wgdev_free(struct wgdev *w)
{
	if (!w)
		return;
	close_device(w);
	wgsocket_close(&w->socket);
	mem_free(w);
}

uint32_t
wgdev_index(const struct wgdev *w)
{
	return w->ifindex;
}

uint32_t
wgdev_times(const struct wgdev *w)
{
	return w->times;
}

static uint64_t
in_ms(uint64_t ms)
{
	return world_mono_ns() + ms * MS;
}

/* ---- who ---- */

static enum msg_backend_kind
wished(const struct wgdev *w, const struct config *config)
{
	switch (config->overlay.backend) {
	case CONFIG_BACKEND_ENGINE:
		return MSG_BACKEND_ENGINE;
	case CONFIG_BACKEND_KERNEL:
		return MSG_BACKEND_KERNEL;
	case CONFIG_BACKEND_AUTO:
	default:
		return w->fell.kind ? MSG_BACKEND_KERNEL : MSG_BACKEND_ENGINE;
	}
}

static void
remove_kernel(struct wgdev *w)
{
	const struct wgdev_order order = {.fabric = w->fabric, .removes = true};
	struct wgdev_made made;
	struct err err = {0};
	int fds[WGDEV_FDS_MAX];
	size_t count;

	if (wgdev_make(&order, &made, fds, &count, &err) < 0)
		log_err(LOG_WARN, "the device of sealed traffic is not removed", &err);
}

bool
wgdev_takes_sockets(const struct wgdev *w)
{
	return w->backend == MSG_BACKEND_ENGINE;
}

bool
wgdev_choose(struct wgdev *w, bool wanted, const struct config *config)
{
	enum msg_backend_kind was = w->backend, next = 0;

	if (config->overlay.backend != CONFIG_BACKEND_AUTO)
		err_clear(&w->fell);
	if (wanted && config->listen.overlay.on)
		next = wished(w, config);
	if (next == was && (next || w->swept))
		return false;
	bool stood = was == MSG_BACKEND_KERNEL && w->eye >= 0;
	close_device(w);
	if (stood || (!next && !w->swept))
		remove_kernel(w);
	w->swept = true;
	w->backend = next;
	w->again_ns = was && next ? in_ms(SOON_MS) : 0;
	w->tries = was && next ? SOON_TRIES : 0;
	if (!next) {
		err_clear(&w->err);
		wgsocket_close(&w->socket);
	}
	return was != 0;
}

/* ---- what there is ---- */

static unsigned
queues_wanted(void)
{
	cpu_set_t cpus;
	int count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	return count < 1 ? 1 : count > WGDEV_QUEUES_MAX ? WGDEV_QUEUES_MAX : (unsigned)count;
}

/* Whether the other one is to be tried; w->err says why this one was not to be had. */
static void
fall(struct wgdev *w, const struct config *config, const struct err *err)
{
	if (config->overlay.backend != CONFIG_BACKEND_AUTO)
		return;
	if (w->backend == MSG_BACKEND_KERNEL) {
		if (err->kind == ERR_CONFLICT)
			return;
		w->err = w->fell;
		err_why(&w->err, "the kernel's WireGuard instead of it: %s", err->what);
		err_clear(&w->fell);
	} else if (!w->count && config_listens_everywhere(&config->listen.overlay)) {
		w->fell = *err;
	}
}

/* True: for a reason that was not said yet. */
static bool
not_made(struct wgdev *w, const struct config *config, const struct err *err)
{
	bool soon = err->kind == ERR_CONFLICT && w->tries > 0;
	struct err before = w->err;

	w->err = *err;
	fall(w, config, err);
	w->tries -= soon;
	w->again_ns = in_ms(soon ? SOON_MS : AGAIN_MS);
	if (soon || text_equal(w->err.what, before.what))
		return false;
	log_err(LOG_WARN, "there is no sealed traffic", &w->err);
	return true;
}

static void
take_made(struct wgdev *w, const struct wgdev_order *order, const struct wgdev_made *made,
	  const int *fds, size_t count)
{
	w->ifindex = made->ifindex;
	w->mtu = order->mtu;
	w->times++;
	w->adopted = w->altered = false;
	fd_close(&w->eye);
	w->eye = fds[0];
	if (order->backend == MSG_BACKEND_KERNEL) {
		w->family = made->family;
		w->port = order->port;
		if (w->fell.kind)
			log_err(LOG_WARN, "the kernel's WireGuard seals, not the engine", &w->fell);
	} else if (count > 1) {
		memcpy(w->queues, fds + 1, sizeof(w->queues));
		w->count = (unsigned)count - 1;
		w->offload = made->offload;
	}
}

/* True: overlay must hear of it. */
static bool
make_device(struct wgdev *w, const struct config *config, uint32_t mtu)
{
	const struct wgdev_order order = {.fabric = w->fabric,
					  .backend = w->backend,
					  .mtu = mtu,
					  .queues = w->count ? 0 : queues_wanted(),
					  .port = config->listen.overlay.addr.port};
	struct wgdev_made made;
	struct err err = {0};
	int fds[WGDEV_FDS_MAX] = {-1, -1, -1, -1, -1};
	size_t count;

	if (wgdev_make(&order, &made, fds, &count, &err) < 0)
		return not_made(w, config, &err);
	bool as_told = w->mtu == mtu &&
		       (w->count || (w->ifindex == made.ifindex && w->port == order.port));
	err_clear(&w->err);
	w->tries = 0;
	take_made(w, &order, &made, fds, count);
	return !as_told;
}

/* ---- what is told ---- */

static void
put_engine(const struct wgdev *w, const struct listener *udp, struct msg_tunnel *row)
{
	bool up = w->count && udp && udp->up;

	row->state = up ? MSG_TUNNEL_UP : MSG_TUNNEL_FAILED;
	row->queues = w->count;
	if (udp)
		row->listen = udp->addr;
	if (!w->count)
		msg_reason_from(&w->err, &row->reason);
	else if (!up && udp)
		msg_reason_from(&udp->reason, &row->reason);
}

static void
put_kernel(const struct wgdev *w, const struct config *config, struct msg_tunnel *row)
{
	bool up = w->ifindex && !w->door.err.kind;

	row->state = up ? MSG_TUNNEL_UP : MSG_TUNNEL_FAILED;
	row->listen = config->listen.overlay.addr;
	msg_reason_from(!w->ifindex        ? &w->err
			: w->door.err.kind ? &w->door.err
					   : &w->fell,
			&row->reason);
}

static void
publish(struct wgdev *w, const struct config *config, const struct listener *udp)
{
	struct msg_tunnel row = {
		.state = MSG_TUNNEL_OFF, .ifindex = w->ifindex, .backend = w->backend};
	bool changed = false;

	if (w->backend == MSG_BACKEND_ENGINE)
		put_engine(w, udp, &row);
	else if (w->backend == MSG_BACKEND_KERNEL)
		put_kernel(w, config, &row);
	(void)ring_table_set(w->own, MSG_TABLE_TUNNEL, 1, &row, &changed);
	if (changed)
		hub_kick(w->hub);
}

static uint32_t
mtu_of(const struct config *config)
{
	return config->overlay.mtu - PREFIX_ROOM;
}

/* Somebody may delete it in the fabric: queues stay, and lead nowhere. True: that was so. */
static bool
look(struct wgdev *w)
{
	struct ifreq request;
	bool gone = w->count && ioctl(w->queues[0], TUNGETIFF, &request) < 0;
	enum wgdev_sight sight = WGDEV_STANDS;

	if (w->eye >= 0 && w->ifindex)
		sight = wgdev_see(w->eye, w->ifindex, w->mtu);
	if (sight == WGDEV_ALTERED && !w->altered)
		log_event(LOG_WARN,
			  "somebody has altered the device of sealed traffic: it is put back",
			  log_s("device", WGDEV_IN_FABRIC), LOG_END);
	w->altered = sight == WGDEV_ALTERED;
	if (!gone && sight != WGDEV_GONE)
		return false;
	close_device(w);
	return true;
}

static bool
is_as_wanted(const struct wgdev *w, const struct config *config, uint32_t mtu)
{
	return w->mtu == mtu && !w->adopted && !w->altered &&
	       (w->backend == MSG_BACKEND_ENGINE || w->port == config->listen.overlay.addr.port);
}

bool
wgdev_tick(struct wgdev *w, const struct config *config, const struct listeners *listeners)
{
	uint32_t mtu = mtu_of(config);
	uint64_t now_ns = world_mono_ns();
	bool changed = false;

	if (w->backend) {
		changed = look(w);
		if (!is_as_wanted(w, config, mtu) && now_ns >= w->again_ns)
			changed |= make_device(w, config, mtu);
		changed |= wgsocket_tick(&w->socket);
		changed |= wgdev_door_is_due(&w->door);
	}
	publish(w, config, listeners_named(listeners, "overlay"));
	return changed;
}

uint64_t
wgdev_due_ms(const struct wgdev *w)
{
	return w->tries ? SOON_MS : 0;
}

/* ---- overlay ---- */

static void
tell_engine(const struct wgdev *w, struct leash_message *m, struct hub_member *overlay)
{
	m->b = w->offload;
	hub_send(overlay, m, w->queues, w->count);
}

static void
tell_kernel(struct wgdev *w, struct leash_message *m, struct hub_member *overlay)
{
	const struct wgdoor_order order = {.fabric = w->fabric,
					   .family = w->family,
					   .device = WGDEV_IN_FABRIC,
					   .port = w->port,
					   .uid = w->inst->uid_base + ROLES_UID_WGDOOR};
	int sock = -1;

	wgdev_door_close(&w->door);
	if (w->ifindex)
		sock = wgdev_door_open(&w->door, &order);
	m->id = w->family;
	m->b = w->port;
	hub_send(overlay, m, &sock, sock >= 0);
	fd_close(&sock);
}

void
wgdev_tell(struct wgdev *w, struct hub_member *overlay)
{
	struct leash_message message;

	leash_init(&message, LEASH_TUNNEL);
	message.from_role = ROLE_NODE;
	message.code = w->backend;
	message.a = w->mtu;
	text_copy(message.name, sizeof(message.name), WGDEV_IN_FABRIC);
	if (w->backend == MSG_BACKEND_KERNEL)
		tell_kernel(w, &message, overlay);
	else
		tell_engine(w, &message, overlay);
	if (w->socket.fd < 0)
		return;
	leash_init(&message, LEASH_LISTENER);
	message.from_role = ROLE_NODE;
	text_copy(message.name, sizeof(message.name), socket_name);
	hub_send(overlay, &message, &w->socket.fd, 1);
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
	if (w->eye >= 0 && w->backend == MSG_BACKEND_KERNEL)
		put_one(up, kernel_name, w->eye);
	if (w->socket.fd >= 0)
		put_one(up, socket_name, w->socket.fd);
}

/* Its MTU is set again by the next tick; an overlay that begins before is told what it will be. */
static void
adopt_queue(struct wgdev *w, const struct config *config, int fd)
{
	struct err err = {0};
	struct tun t;

	if (w->count == WGDEV_QUEUES_MAX || tun_adopt(&t, fd, TUN_USO, &err) < 0) {
		if (err.kind)
			log_err(LOG_WARN, "a queue of sealed traffic is lost", &err);
		fd_close(&fd);
		return;
	}
	w->queues[w->count++] = fd;
	w->offload = t.offload;
	w->mtu = mtu_of(config);
	w->adopted = true;
	w->backend = MSG_BACKEND_ENGINE;
}

/* What there is of it is looked at by the next tick, which keeps it. */
static void
adopt_kernel(struct wgdev *w, int fd)
{
	fd_close(&w->eye);
	w->eye = fd;
	w->backend = MSG_BACKEND_KERNEL;
	/* With auto it stays so. */
	err_set(&w->fell, ERR_UNSUPPORTED, "the kernel has sealed since before an upgrade");
}

bool
wgdev_adopt(struct wgdev *w, const struct config *config, const char *name, int fd)
{
	if (text_equal(name, queue_name)) {
		adopt_queue(w, config, fd);
		return true;
	}
	if (text_equal(name, kernel_name)) {
		adopt_kernel(w, fd);
		return true;
	}
	if (!text_equal(name, socket_name))
		return false;
	fd_close(&w->socket.fd);
	w->socket.fd = fd;
	return true;
}
