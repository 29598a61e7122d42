/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of relayed endpoints, and the choice of a replica for a datagram's sender. The
 * choice is a function of the client and the replicas' ids alone, so that a client keeps its
 * replica when its session was forgotten, when its worker was replaced, and when other replicas
 * come or go.
 */
#include "proxy/relay.h"

#include <string.h>
#include "base/mem.h"
#include "proxy/router.h"

void
relay_init(struct relay *r)
{
	map_init(&r->by_id, MEM_PROXY);
	map_init(&r->by_port, MEM_PROXY);
}

void
relay_fini(struct relay *r)
{
	struct map_iter it = {0};

	while (map_next(&r->by_id, &it))
		relay_unref(it.value);
	map_fini(&r->by_id);
	map_fini(&r->by_port);
}

struct relay_endpoint *
relay_ref(struct relay_endpoint *e)
{
	e->refs++;
	return e;
}

void
relay_unref(struct relay_endpoint *e)
{
	if (e && --e->refs == 0)
		mem_free(e);
}

/* ---- the table ---- */

static bool
row_holds(uint64_t id, const struct msg_stream *row)
{
	return row->id == id && row->service != 0 && row->port != 0 && MSG_OK(row->service_label) &&
	       MSG_OK(row->endpoint) && MSG_OK(row->host) &&
	       row->endpoint_index < MSG_ENDPOINTS_MAX && row->prefixes_allow <= 8 &&
	       row->prefixes_deny <= 8 && row->session_timeout_ms > 0 &&
	       (row->protocol == MSG_STREAM_TCP || row->protocol == MSG_STREAM_UDP);
}

void
relay_begin(struct relay *r)
{
	struct map_iter it = {0};

	while (map_next(&r->by_id, &it))
		((struct relay_endpoint *)it.value)->named = false;
}

int
relay_change(struct relay *r, uint64_t id, const struct msg_stream *row)
{
	struct relay_endpoint *e = map_get_u64(&r->by_id, id);

	if (!row_holds(id, row))
		return 0;
	if (!e) {
		e = mem_zalloc(MEM_PROXY, sizeof(*e));
		if (!e || map_put_u64(&r->by_id, id, e)) {
			mem_free(e);
			return -1;
		}
		e->refs = 1;
	}
	e->row = *row;
	e->named = true;
	return 0;
}

static uint64_t
port_key(bool udp, uint16_t port)
{
	return (uint64_t)(udp ? MSG_STREAM_UDP : MSG_STREAM_TCP) << 16 | port;
}

void
relay_commit(struct relay *r)
{
	struct map_iter it = {0};

	map_fini(&r->by_port);
	map_init(&r->by_port, MEM_PROXY);
	while (map_next(&r->by_id, &it)) {
		struct relay_endpoint *e = it.value;
		uint64_t id = e->row.id;

		if (!e->named) {
			e->gone = true;
			map_remove_u64(&r->by_id, id);
			relay_unref(e);
		} else if (e->row.flags & MSG_STREAM_PUBLIC) {
			/* Without memory the port is not served until the next round. */
			int rc = map_put_u64(
				&r->by_port,
				port_key(e->row.protocol == MSG_STREAM_UDP, e->row.port), e);
			(void)rc;
		}
	}
}

struct relay_endpoint *
relay_find(const struct relay *r, bool udp, uint16_t port)
{
	return map_get_u64(&r->by_port, port_key(udp, port));
}

/* ---- clients and replicas ---- */

bool
relay_admits(const struct relay_endpoint *e, const struct addr *client)
{
	const struct msg_stream *row = &e->row;

	return router_prefixes(client, row->deny, row->prefixes_deny, row->allow,
			       row->prefixes_allow);
}

uint16_t
relay_port(const struct relay_endpoint *e, const struct backend *b)
{
	return e->row.endpoint_index < b->row.ports_count ? b->row.ports[e->row.endpoint_index] : 0;
}

static uint64_t
weight(const struct backend *b, const struct addr *client)
{
	/* No secret: every worker of the node must agree. */
	static const uint64_t key[2] = {0x7a6c617965722072, 0x656c617920756470};
	struct {
		uint64_t replica;
		uint8_t ip[16];
		uint64_t port;
	} in = {.replica = b->row.replica, .port = client->port};

	memcpy(in.ip, client->ip, sizeof(in.ip));
	return map_siphash(key, &in, sizeof(in));
}

struct backend *
relay_pick(const struct relay_endpoint *e, const struct service *s, const struct addr *client,
	   uint64_t now_ms)
{
	struct backend *best = NULL;
	uint64_t most = 0;
	bool sound = false;

	for (size_t i = 0; s && i < s->count; i++) {
		struct backend *b = s->backends[i];
		bool fit = b->load.avoid_until_ms <= now_ms && !b->load.doubted;
		uint64_t n;

		if (b->load.draining || !relay_port(e, b) || (sound && !fit))
			continue;
		n = weight(b, client);
		if (best && fit == sound && n <= most)
			continue;
		best = b;
		most = n;
		sound = fit;
	}
	return best;
}
