/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that come and go. */
#include "overlay/sealed_handed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/text.h"

void
sealed_handed_init(struct sealed_handed *h)
{
	*h = (struct sealed_handed){.door = -1};
}

void
sealed_handed_close_sockets(struct sealed_handed *h)
{
	for (size_t i = 0; i < h->sockets_count; i++)
		fd_close(&h->sockets[i]);
	h->sockets_count = 0;
}

static void
take_queues(struct sealed_handed *h, const struct leash_message *m, int *fds, size_t count)
{
	for (size_t i = 0; i < count && i < LEASH_TUNNEL_QUEUES_MAX; i++) {
		struct tun *t = &h->queues[h->queues_count++];

		*t = (struct tun){.fd = fd_take(&fds[i]), .offload = (enum tun_offload)m->b};
		text_copy(t->name, sizeof(t->name), m->name);
	}
}

void
sealed_handed_tunnel(struct sealed_handed *h, const struct leash_message *m, int *fds, size_t count)
{
	for (size_t i = 0; i < h->queues_count; i++)
		tun_close(&h->queues[i]);
	h->queues_count = 0;
	fd_close(&h->door);
	h->mtu = (uint32_t)m->a;
	h->backend = m->code <= MSG_BACKEND_KERNEL ? (enum msg_backend_kind)m->code : 0;
	if (m->code != MSG_BACKEND_KERNEL) {
		take_queues(h, m, fds, count);
	} else if (count) {
		h->door = fd_take(&fds[0]);
		h->family = (uint16_t)m->id;
		h->port = (uint16_t)m->b;
	}
	if (h->backend != MSG_BACKEND_ENGINE)
		sealed_handed_close_sockets(h);
}

/* Another descriptor of one that is here already. */
static bool
is_here(const struct sealed_handed *h, int fd)
{
	struct stat one, other;

	for (size_t i = 0; i < h->sockets_count; i++)
		if (fstat(h->sockets[i], &one) == 0 && fstat(fd, &other) == 0 &&
		    one.st_dev == other.st_dev && one.st_ino == other.st_ino)
			return true;
	return false;
}

/* Those that are no longer configured went with node's; a new address is another socket. */
bool
sealed_handed_socket(struct sealed_handed *h, int *fd)
{
	if (is_here(h, *fd)) {
		fd_close(fd);
		return false;
	}
	if (h->sockets_count == SEALED_HANDED_SOCKETS_MAX) {
		fd_close(&h->sockets[0]);
		memmove(h->sockets, h->sockets + 1,
			(SEALED_HANDED_SOCKETS_MAX - 1) * sizeof(h->sockets[0]));
		h->sockets_count--;
	}
	h->sockets[h->sockets_count++] = fd_take(fd);
	return true;
}

static bool
is_wanted(int fd, const struct config_listen *listen)
{
	struct sockaddr_storage at = {0};
	socklen_t length = sizeof(at);
	struct addr bound;

	if (!listen->on || getsockname(fd, (struct sockaddr *)&at, &length) < 0 ||
	    !addr_from_sockaddr((struct sockaddr *)&at, length, &bound))
		return false;
	return addr_equal(&bound, &listen->addr) ||
	       (addr_is_zero(&bound) && addr_is_zero(&listen->addr) &&
		bound.port == listen->addr.port);
}

bool
sealed_handed_drop(struct sealed_handed *h, const struct config *config)
{
	size_t kept = 0, before = h->sockets_count;

	for (size_t i = 0; i < before; i++) {
		if (is_wanted(h->sockets[i], &config->listen.overlay))
			h->sockets[kept++] = h->sockets[i];
		else
			fd_close(&h->sockets[i]);
	}
	h->sockets_count = kept;
	return kept != before;
}

bool
sealed_handed_suffices(const struct sealed_handed *h)
{
	return h->queues_count && h->sockets_count;
}

/* ---- duplicates ---- */

int
sealed_handed_door(const struct sealed_handed *h, struct err *err)
{
	int fd = fcntl(h->door, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? err_sys(err, errno, "no descriptors for sealed traffic") : fd;
}

static bool
family_of(int fd, int *out)
{
	socklen_t length = sizeof(*out);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, out, &length) == 0;
}

static int
duplicate(const struct sealed_handed *h, struct engine_config *c, struct err *err)
{
	bool good = true;
	int family;

	for (size_t i = 0; i < h->queues_count; i++) {
		c->queues[i] = h->queues[i];
		c->queues[i].fd = fcntl(h->queues[i].fd, F_DUPFD_CLOEXEC, 0);
		good &= c->queues[i].fd >= 0;
		c->queues_count++;
	}
	for (size_t i = 0; i < h->sockets_count; i++) {
		if (!family_of(h->sockets[i], &family))
			continue;
		int *place = family == AF_INET6 ? &c->udp6 : &c->udp4;
		if (*place < 0)
			good &= (*place = fcntl(h->sockets[i], F_DUPFD_CLOEXEC, 0)) >= 0;
	}
	return good ? 0 : err_sys(err, errno, "no descriptors for sealed traffic");
}

struct engine *
sealed_handed_engine(const struct sealed_handed *h, struct err *err)
{
	struct engine_config c = {.udp4 = -1, .udp6 = -1, .mtu = h->mtu};
	struct engine *engine = NULL;

	if (duplicate(h, &c, err) == 0)
		engine = engine_new(&c, err);
	if (engine)
		return engine;
	for (size_t i = 0; i < c.queues_count; i++)
		fd_close(&c.queues[i].fd);
	fd_close(&c.udp4);
	fd_close(&c.udp6);
	return NULL;
}
