/* SPDX-License-Identifier: Apache-2.0 */
/* The status of how packets go: through this node, to the world and to other nodes. */
#include "api/status_ways.h"

#include <string.h>
#include "api/nodes.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"
#include "ring/clients.h"

static const char *
xdp_name(uint32_t mode)
{
	return mode == MSG_XDP_NATIVE ? "native" : mode == MSG_XDP_GENERIC ? "generic" : "off";
}

static void
put_links(struct json *j, const struct msg_datapath *d)
{
	json_array(j, "interfaces");
	for (uint32_t i = 0; i < d->links_count && i < MSG_EDGE_LINKS; i++)
		VIEW_TEXT(j, NULL, d->links[i]);
	json_end(j);
	json_array(j, "attached");
	for (uint32_t i = 0; i < d->links_count && i < MSG_EDGE_LINKS; i++) {
		json_object(j, NULL);
		VIEW_TEXT(j, "interface", d->links[i]);
		json_text(j, "xdp", xdp_name(d->modes[i]));
		json_bool(j, "shared", d->shared[i] != 0);
		json_end(j);
	}
	json_end(j);
}

static void
put_datapath(struct json *j, struct call *call)
{
	const struct msg_datapath *d =
		rows_get(call->server, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, 1);

	if (!d) {
		json_null(j, "datapath");
		return;
	}
	json_object(j, "datapath");
	json_text(j, "mode",
		  !d->bpf                      ? "off"
		  : d->hook == MSG_HOOK_TCX    ? "bpf (tcx)"
		  : d->hook == MSG_HOOK_CLSACT ? "bpf (clsact)"
					       : "bpf");
	view_reason(j, "reason", &d->reason);
	json_text(j, "xdp", xdp_name(d->xdp));
	put_links(j, d);
	view_reason(j, "xdp_reason", &d->edge_reason);
	json_end(j);
}

static void
put_uplink(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_UPLINK_OFF] = "off",
		[MSG_UPLINK_WAITS] = "no default route",
		[MSG_UPLINK_UP] = "up",
		[MSG_UPLINK_FAILED] = "failed",
	};
	const struct msg_uplink *u = rows_get(call->server, ROLE_NODE, MSG_TABLE_UPLINK, 1);

	if (!u || u->state == 0 || u->state > MSG_UPLINK_FAILED) {
		json_null(j, "uplink");
		return;
	}
	json_object(j, "uplink");
	json_text(j, "state", states[u->state]);
	VIEW_TEXT(j, "link", u->name);
	view_reason(j, "reason", &u->reason);
	json_end(j);
}

/* By which way what nothing else decides about goes: proxies' packets, for one. */
static const char *
way_of(uint32_t ways)
{
	if (ways & MSG_WAY_TRUSTED)
		return "plain";
	return ways & MSG_WAY_SEALED ? "sealed" : NULL;
}

/* Whether there is a peer that is gone to so. */
static bool
goes(struct call *call, const char *way)
{
	struct rows rows;
	bool some = false;

	rows_collect(call->server, ROLE_OVERLAY, MSG_TABLE_PEER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count && !some; i++) {
		const char *is = way_of(((const struct msg_peer *)rows.items[i])->ways);

		some = is && strcmp(is, way) == 0;
	}
	rows_fini(&rows);
	return some;
}

/* Of one that only dials out no address is known that is good for anything: its prefix stands for
 * it (scheduler/cluster_mesh.c). */
static void
put_place(struct json *j, struct call *call, const struct rows *nodes, const struct msg_peer *p)
{
	const struct msg_member *m = nodes_among(nodes, p->name);
	char text[ADDR_TEXT_BYTES];

	addr_put_ip(&p->address, text, sizeof(text));
	json_text(j, "address", addr_equal_ip(&p->address, &p->v6.base) ? NULL : text);
	nodes_put_name(j, "via", call->server, m ? m->via : 0);
}

static void
put_peers(struct json *j, struct call *call)
{
	struct rows rows, nodes;
	char text[ADDR_TEXT_BYTES];

	json_array(j, "peers");
	nodes_collect(call->server, &nodes);
	rows_collect(call->server, ROLE_OVERLAY, MSG_TABLE_PEER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_peer *p = rows.items[i];

		json_object(j, NULL);
		VIEW_TEXT(j, "name", p->name);
		put_place(j, call, &nodes, p);
		addr_put_prefix(&p->v4, text, sizeof(text));
		json_text(j, "prefix4", text);
		addr_put_prefix(&p->v6, text, sizeof(text));
		json_text(j, "prefix6", text);
		json_text(j, "way", way_of(p->ways));
		json_text(j, "clients", clients_are_taken(p->ways) ? "kernel" : "relay");
		json_end(j);
	}
	rows_fini(&rows);
	rows_fini(&nodes);
	json_end(j);
}

/* Whether, and how, traffic to other nodes is sealed. */
static void
put_sealed(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_TUNNEL_OFF] = "off",
		[MSG_TUNNEL_UP] = "up",
		[MSG_TUNNEL_FAILED] = "failed",
	};
	static const char *const backends[] = {
		[MSG_BACKEND_ENGINE] = "engine",
		[MSG_BACKEND_KERNEL] = "kernel",
	};
	const struct msg_tunnel *t = rows_get(call->server, ROLE_NODE, MSG_TABLE_TUNNEL, 1);
	const struct msg_sealed *s = rows_get(call->server, ROLE_OVERLAY, MSG_TABLE_SEALED, 1);
	char address[ADDR_TEXT_BYTES], key[64];

	if (!t || t->state == 0 || t->state > MSG_TUNNEL_FAILED) {
		json_null(j, "sealed");
		return;
	}
	bool serves = s && s->serves;
	json_object(j, "sealed");
	json_text(j, "state",
		  t->state == MSG_TUNNEL_UP && !serves ? states[MSG_TUNNEL_FAILED]
						       : states[t->state]);
	json_text(j, "backend", t->backend <= MSG_BACKEND_KERNEL ? backends[t->backend] : NULL);
	addr_put(&t->listen, address, sizeof(address));
	json_text(j, "address", t->listen.port ? address : NULL);
	text_base64(serves ? s->key : (const uint8_t[MSG_KEY]){0}, MSG_KEY, key, sizeof(key));
	json_text(j, "key", serves ? key : NULL);
	json_u64(j, "peers", s ? s->peers : 0);
	view_reason(j, "reason", t->reason.kind || !s ? &t->reason : &s->reason);
	json_end(j);
}

static void
put_overlay(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_UNDERLAY_OFF] = "off",
		[MSG_UNDERLAY_UP] = "vxlan",
		[MSG_UNDERLAY_FAILED] = "failed",
	};
	const struct msg_underlay *u = rows_get(call->server, ROLE_NODE, MSG_TABLE_UNDERLAY, 1);
	const struct msg_prefix *p = rows_get(call->server, ROLE_OVERLAY, MSG_TABLE_PREFIX, 1);
	const struct msg_datapath *d =
		rows_get(call->server, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, 1);
	bool known = u && u->state && u->state <= MSG_UNDERLAY_FAILED;
	bool no_program = known && u->state == MSG_UNDERLAY_UP && d && !d->bpf;
	bool plain = known && (u->state == MSG_UNDERLAY_FAILED || goes(call, "plain"));
	bool sealed = goes(call, "sealed");
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	if (!p) {
		json_null(j, "overlay");
		return;
	}
	addr_put_prefix(&p->v4, v4, sizeof(v4));
	addr_put_prefix(&p->v6, v6, sizeof(v6));
	json_object(j, "overlay");
	json_text(j, "state",
		  no_program ? "failed"
		  : plain    ? states[u->state]
		  : sealed   ? "wireguard"
			     : "off");
	json_text(j, "prefix4", v4);
	json_text(j, "prefix6", v6);
	json_u64(j, "mtu", p->mtu);
	put_peers(j, call);
	put_sealed(j, call);
	if (known)
		view_reason(j, "reason", no_program ? &d->reason : &u->reason);
	else
		json_null(j, "reason");
	json_end(j);
}

void
status_ways_put(struct json *j, struct call *call)
{
	put_datapath(j, call);
	put_uplink(j, call);
	put_overlay(j, call);
}
