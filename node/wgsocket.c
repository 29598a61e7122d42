/* SPDX-License-Identifier: Apache-2.0 */
/* A name and a descriptor. */
#include "node/wgsocket.h"

#include <net/if.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "node/uplink.h"
#include "overlay/wg/uapi_socket.h"

enum { AGAIN_S = 30, SECOND = 1000000000 };

void
wgsocket_init(struct wgsocket *s, const struct instance *inst)
{
	*s = (struct wgsocket){.inst = inst, .fd = -1};
}

bool
wgsocket_tick(struct wgsocket *s)
{
	char name[IFNAMSIZ];
	struct err err = {0};
	uint64_t now_ns = world_mono_ns();

	if (s->fd >= 0 || now_ns < s->again_ns)
		return false;
	uplink_name(s->inst->name, name);
	s->fd = uapi_socket_bind(name, &err);
	if (s->fd < 0 && !text_equal(err.what, s->err.what))
		log_err(LOG_WARN, "wg does not find the sealed traffic of this node", &err);
	s->err = err;
	s->again_ns = now_ns + (uint64_t)AGAIN_S * SECOND;
	return s->fd >= 0;
}

void
wgsocket_close(struct wgsocket *s)
{
	char path[64], name[IFNAMSIZ];

	if (s->fd < 0)
		return;
	fd_close(&s->fd);
	uplink_name(s->inst->name, name);
	text_format(path, sizeof(path), UAPI_SOCKET_FOLDER "/%s.sock", name);
	(void)unlink(path);
}
