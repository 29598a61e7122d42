/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The glue. Peers are probed by the way that packets of this node's own take; nothing is sent to
 * one that cannot be reached by any.
 */
#include "overlay/probing.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "overlay/prefix.h"
#include "overlay/prober_udp.h"
#include "ring/metrics.h"
#include "ring/msg_network.h"

_Static_assert((int)PROBER_PEERS_MAX == (int)MSG_PEERS_MAX, "all nodes can be probed");

enum { MS = 1000000 };

static struct {
	struct station *st;
	struct addr own;
	uint32_t mtu;
	void (*changed)(void);
	bool (*knows)(uint64_t id, uint64_t token);
	void (*known)(uint64_t id, uint64_t token);
	bool (*wanted)(uint32_t node);
	const struct peers *peers;
	struct prober_udp *prober;
	uv_poll_t poll;
	uv_timer_t timer;
	bool polls;
} p;

static void
arm(void)
{
	uint64_t next = prober_deadline(prober_udp_prober(p.prober)), now = world_mono_ns();

	if (next == UINT64_MAX)
		uv_timer_stop(&p.timer);
	else
		uv_timer_start(&p.timer, p.timer.timer_cb, next > now ? (next - now) / MS + 1 : 0,
			       0);
}

static const char *
name_of(uint64_t id)
{
	for (uint32_t i = 0; i < p.peers->count; i++) {
		if (peers_id(p.peers->all[i].name) == id)
			return p.peers->all[i].name;
	}
	return NULL;
}

static void
found(void *arg, uint64_t id, uint32_t mtu, uint64_t rtt_ns, bool another)
{
	struct metric_labels labels = {0};
	const char *name = name_of(id);

	(void)arg;
	if (name && rtt_ns) {
		metric_label(&labels, "peer", name);
		metric_set(metrics_get(station_metrics(p.st), METRICS_OVERLAY_RTT, &labels),
			   (int64_t)rtt_ns);
	}
	if (!another)
		return;
	if (name)
		log_event(LOG_INFO, "packets to another node may be of another size",
			  log_s("peer", name), log_u("mtu", mtu), LOG_END);
	p.changed();
}

static bool
knows(void *arg, uint64_t id, uint64_t token)
{
	(void)arg;
	return p.knows && p.knows(id, token);
}

static void
known(void *arg, uint64_t id, uint64_t token)
{
	(void)arg;
	if (p.known)
		p.known(id, token);
}

void
probing_keys(bool (*knows_fn)(uint64_t id, uint64_t token),
	     void (*known_fn)(uint64_t id, uint64_t token))
{
	p.knows = knows_fn;
	p.known = known_fn;
}

void
probing_ask_key(uint64_t id, uint64_t token)
{
	if (p.prober)
		prober_ask_key(prober_udp_prober(p.prober), id, token);
}

static void
due(uv_timer_t *timer)
{
	(void)timer;
	if (!p.prober)
		return;
	prober_udp_tick(p.prober);
	arm();
}

static void
readable(uv_poll_t *poll, int status, int events)
{
	(void)poll;
	(void)status;
	(void)events;
	prober_udp_read(p.prober);
	arm();
}

/* ---- whom ---- */

static void
set_peers(void)
{
	static struct prober_peer list[PEERS_MAX];
	struct err err = {0};
	size_t count = 0;

	for (uint32_t i = 0; p.peers && i < p.peers->count; i++) {
		const struct config_peer *peer = &p.peers->all[i];
		uint32_t of_mesh = i - p.peers->by_hand;

		if (i >= p.peers->by_hand && p.wanted && !p.wanted(p.peers->mesh[of_mesh].node))
			continue;
		list[count].id = peers_id(peer->name);
		list[count++].address = prefix_own(&peer->prefix4);
	}
	if (prober_set_peers(prober_udp_prober(p.prober), list, count, world_mono_ns(), &err) < 0)
		log_err(LOG_WARN, "what other nodes' paths take is not found out", &err);
	arm();
}

void
probing_peers(const struct peers *peers)
{
	p.peers = peers;
	if (p.prober)
		set_peers();
}

void
probing_select(bool (*wanted)(uint32_t node))
{
	p.wanted = wanted;
	if (p.prober)
		set_peers();
}

uint32_t
probing_mtu(uint64_t id)
{
	return p.prober ? prober_mtu(prober_udp_prober(p.prober), id) : 0;
}

/* ---- from node ---- */

static void
take_socket(int *fd)
{
	static const struct prober_calls calls = {.found = found, .knows = knows, .known = known};
	struct err err = {0};

	if (p.prober)
		return;
	p.prober = prober_udp_new(*fd, &p.own, p.mtu, &calls, &err);
	if (!p.prober) {
		log_err(LOG_WARN, "what other nodes' paths take is not found out", &err);
		return;
	}
	(void)fd_take(fd);
	if (uv_poll_init(station_loop(p.st), &p.poll, prober_udp_fd(p.prober)) == 0)
		p.polls = uv_poll_start(&p.poll, UV_READABLE, readable) == 0;
	set_peers();
}

void
probing_message(const struct leash_message *m, int *fds)
{
	if (m->kind == LEASH_LISTENER && text_equal(m->name, "probe"))
		take_socket(&fds[0]);
	if (m->kind != LEASH_TUNNEL || m->a < PROBE_MIN || m->a > PROBE_MAX)
		return;
	p.mtu = (uint32_t)m->a;
	if (!p.prober)
		return;
	prober_set_max(prober_udp_prober(p.prober), p.mtu, world_mono_ns());
	arm();
}

void
probing_start(struct station *st, const struct addr *own, uint32_t mtu, void (*changed)(void))
{
	p.st = st;
	p.own = *own;
	p.own.port = 0;
	p.mtu = mtu < PROBE_MIN ? PROBE_MIN : mtu;
	p.changed = changed;
	uv_timer_init(station_loop(st), &p.timer);
	p.timer.timer_cb = due;
}

void
probing_end(void)
{
	uv_timer_stop(&p.timer);
	if (p.polls)
		uv_poll_stop(&p.poll);
	p.polls = false;
	prober_udp_free(p.prober);
	p.prober = NULL;
}
