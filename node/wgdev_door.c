/* SPDX-License-Identifier: Apache-2.0 */
/* Each process of overlay has a door of its own: what is under way at another one's is not its. */
#include "node/wgdev_door.h"

#include <poll.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/world.h"

enum { AGAIN_S = 5 };

void
wgdev_door_init(struct wgdev_door *d)
{
	*d = (struct wgdev_door){.alive = -1};
}

void
wgdev_door_close(struct wgdev_door *d)
{
	fd_close(&d->alive);
	err_clear(&d->err);
}

int
wgdev_door_open(struct wgdev_door *d, const struct wgdoor_order *order)
{
	int sock = -1;

	wgdev_door_close(d);
	if (wgdoor_open(order, &sock, &d->alive, &d->err) == 0)
		return sock;
	log_err(LOG_WARN, "there is no sealed traffic", &d->err);
	d->again_ns = world_mono_ns() + (uint64_t)AGAIN_S * 1000000000;
	return -1;
}

bool
wgdev_door_is_due(struct wgdev_door *d)
{
	struct pollfd p = {.fd = d->alive, .events = POLLIN};

	if (d->err.kind && world_mono_ns() >= d->again_ns)
		return true;
	if (d->alive < 0 || poll(&p, 1, 0) <= 0)
		return false;
	fd_close(&d->alive);
	return true;
}
