/* SPDX-License-Identifier: Apache-2.0 */
/* How the engine is, in the words in which it is changed. */
#include "overlay/engine/engine_inside.h"

#include <string.h>
#include "base/mem.h"

struct reader {
	struct setup *out;
	struct setup_peer *peer;
	enum setup_rc rc;
};

static void
add_prefix(void *arg, const struct addr_prefix *prefix)
{
	struct reader *r = arg;

	if (r->rc == SETUP_OK)
		r->rc = setup_add_prefix(r->out, r->peer, prefix, false);
}

static uint32_t
idle_s(const struct engine *e, const struct engine_peer *p)
{
	static const uint64_t second = 1000000000;
	uint64_t used_ns = atomic_load_explicit(&p->used_ns, memory_order_relaxed);
	uint64_t now_ns = engine_now(e), idle = now_ns > used_ns ? (now_ns - used_ns) / second : 0;

	return used_ns && idle < UINT32_MAX ? (uint32_t)idle : UINT32_MAX;
}

static void
fill_peer(const struct device_peer_state *state, struct setup_peer *out)
{
	static const int64_t second = 1000000000;

	memcpy(out->psk, state->psk, SETUP_KEY);
	out->has_psk = !setup_key_is_zero(state->psk);
	out->has_endpoint = state->has_endpoint;
	out->endpoint = state->endpoint;
	out->has_keepalive = true;
	out->keepalive_s = state->keepalive_s;
	out->handshake_s = state->handshake_wall_ns / second;
	out->handshake_ns = (uint32_t)(state->handshake_wall_ns % second);
	out->rx_bytes = state->rx_bytes;
	out->tx_bytes = state->tx_bytes;
}

static enum setup_rc
add_peer(const struct engine *e, const struct device_peer *peer, struct setup *out)
{
	struct device_peer_state state;
	struct reader r = {.out = out};

	if (engine_peer_of(peer)->heir)
		return SETUP_OK;
	device_peer_state(peer, &state);
	r.rc = setup_add_peer(out, state.public_key, &r.peer);
	if (r.rc == SETUP_OK) {
		fill_peer(&state, r.peer);
		r.peer->idle_s = idle_s(e, engine_peer_of(peer));
		device_each_prefix(peer, add_prefix, &r);
	}
	mem_wipe(&state, sizeof(state));
	return r.rc;
}

static enum setup_rc
read_all(struct engine *e, struct setup *out)
{
	enum setup_rc rc = SETUP_OK;
	struct noise_identity identity;

	out->has_private_key = device_identity(e->device, &identity);
	memcpy(out->private_key, identity.private_key, SETUP_KEY);
	mem_wipe(&identity, sizeof(identity));
	out->has_port = out->has_fwmark = true;
	out->port = udp_port(e->udp4.fd >= 0 ? &e->udp4 : &e->udp6);
	out->fwmark = e->fwmark;
	for (struct device_peer *it = NULL; rc == SETUP_OK && (it = device_next(e->device, it));)
		rc = add_peer(e, it, out);
	return rc;
}

int
engine_state(struct engine *e, struct setup *out, struct err *err)
{
	engine_lock(e);
	enum setup_rc rc = read_all(e, out);
	engine_unlock(e);
	if (rc == SETUP_OK)
		return 0;
	setup_fini(out);
	return rc == SETUP_TOO_MUCH
		       ? err_set(err, ERR_LIMIT, "more peers or prefixes than can be told of")
		       : err_set(err, ERR_NO_MEMORY, "no memory for the state of the engine");
}
