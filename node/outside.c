/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to look, and what the process does that looks (node/errand.h).
 *
 * A look is due when what is wanted has changed, while something is missing, and else rarely:
 * somebody may have flushed the machine's rules.
 */
#include "node/outside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/errand.h"
#include "node/roles.h"
#include "node/uplink.h"

enum {
	MISSING_S = 5,
	MISSING_QUICK_S = 1,
	MISSING_QUICK = 5,
	STANDING_S = 30,
	CHILD_S = 60,
	FABRIC_FD = 3,
	RUNS_FD = 4
};

struct answer {
	struct uplink_found uplink;
	struct underlay_found underlay;
	struct err sealed; /* routes by that device: why there are none */
};

struct outside {
	uv_loop_t *loop;
	struct ring_writer *own;
	struct hub *hub;
	struct uplink_wanted wanted;
	struct underlay_wanted underlay; /* its peers are those below */
	struct underlay_peers peers;
	struct wgroutes sealed;
	bool sealed_missing;         /* some of its routes are */
	enum msg_uplink_state state; /* 0: not looked yet */
	unsigned underlay_missing;   /* looks that ended so, one after the other */
	bool underlay_up;            /* as it was applied last */
	bool changed;
	bool refused; /* the prefix: that was said */
	unsigned waited_s;
	struct errand *errand;
	struct answer found; /* its answer */
};

static void take_answer(void *arg, bool whole);

struct outside *
outside_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub, const struct instance *inst,
	    int fabric)
{
	struct outside *o = mem_zalloc(MEM_NODE, sizeof(*o));

	if (!o)
		return NULL;
	o->loop = loop;
	o->own = own;
	o->hub = hub;
	o->underlay.peers = &o->peers;
	o->errand = errand_new(loop, &o->found, sizeof(o->found), take_answer, o);
	if (!o->errand) {
		mem_free(o);
		return NULL;
	}
	text_copy(o->wanted.instance, sizeof(o->wanted.instance), inst->name);
	o->wanted.fabric = o->underlay.fabric = fabric;
	o->wanted.runs_fd = inst->runs_fd;
	o->wanted.nft_uid = inst->uid_base + ROLES_UID_NFT;
	return o;
}

void
outside_free(struct outside *o)
{
	if (!o)
		return;
	errand_free(o->errand);
	mem_free(o);
}

/* ---- the process ---- */

static bool
apply(struct outside *o, struct answer *found, bool removes)
{
	o->wanted.fabric = o->underlay.fabric = FABRIC_FD;
	o->wanted.runs_fd = RUNS_FD;
	if (!removes) {
		/* Without it the uplink would take what is for other nodes. */
		found->uplink = (struct uplink_found){.state = MSG_UPLINK_FAILED};
		if (wgroutes_refuse(FABRIC_FD, &o->sealed, &found->uplink.err) == 0)
			uplink_apply(&o->wanted, &found->uplink);
	} else {
		o->underlay.listen.on = false;
		found->uplink.state = uplink_remove(&o->wanted, &found->uplink.err) < 0
					      ? MSG_UPLINK_FAILED
					      : MSG_UPLINK_OFF;
	}
	underlay_apply(&o->underlay, &found->underlay);
	/* After the other way: a peer may have gone from that one to this one. */
	if (!removes && wgroutes_apply(FABRIC_FD, &o->sealed, &found->sealed) == 0)
		err_clear(&found->sealed);
	return true;
}

static bool
make(void *arg, void *answer)
{
	return apply(arg, answer, false);
}

static bool
unmake(void *arg, void *answer)
{
	return apply(arg, answer, true);
}

static int
send_out(struct outside *o, errand_work work, struct err *err)
{
	const struct errand_order order = {.work = work,
					   .arg = o,
					   .fds = {o->wanted.fabric, o->wanted.runs_fd},
					   .fds_count = 2,
					   .seconds = CHILD_S};

	return errand_send(o->errand, &order, err);
}

/* ---- the answer ---- */

static void
publish(struct outside *o, const struct uplink_found *found)
{
	struct msg_uplink row = {
		.state = found->state,
		.ifindex = found->ifindex,
		.fabric_ifindex = found->fabric_ifindex,
	};
	bool changed = false;

	text_copy(row.name, sizeof(row.name), found->name);
	if (found->state == MSG_UPLINK_FAILED)
		msg_reason_from(&found->err, &row.reason);
	(void)ring_table_set(o->own, MSG_TABLE_UPLINK, 1, &row, &changed);
	if (!changed)
		return;
	hub_kick(o->hub);
	if (found->state == MSG_UPLINK_FAILED)
		log_err(LOG_WARN, "containers do not reach the world", &found->err);
	else if (found->state == MSG_UPLINK_UP)
		log_event(LOG_INFO, "containers reach the world", log_s("link", found->name),
			  LOG_END);
}

static void
publish_underlay(struct outside *o, const struct underlay_found *found)
{
	struct msg_underlay row = {
		.state = found->state,
		.ifindex = found->ifindex,
		.vni = o->peers.vni,
		.listen = o->underlay.listen.addr,
	};
	bool changed = false;

	if (found->state == MSG_UNDERLAY_FAILED)
		msg_reason_from(&found->err, &row.reason);
	(void)ring_table_set(o->own, MSG_TABLE_UNDERLAY, 1, &row, &changed);
	if (changed && found->state == MSG_UNDERLAY_FAILED)
		log_err(LOG_WARN, "containers do not reach those of other nodes", &found->err);
	if (changed)
		hub_kick(o->hub);
}

static void
take_found(struct outside *o, const struct answer *found)
{
	o->state = found->uplink.state;
	o->wanted.digest = found->uplink.digest;
	o->underlay_missing =
		found->underlay.state == MSG_UNDERLAY_FAILED ? o->underlay_missing + 1 : 0;
	o->underlay_up = found->underlay.state == MSG_UNDERLAY_UP;
	o->underlay.more &= o->underlay_up;
	if (found->sealed.kind && !o->sealed_missing)
		log_err(LOG_WARN, "proxies do not reach all containers of other nodes",
			&found->sealed);
	o->sealed_missing = found->sealed.kind != 0;
	publish(o, &found->uplink);
	publish_underlay(o, &found->underlay);
}

static void
take_failure(struct outside *o, const struct err *err)
{
	o->found = (struct answer){.uplink = {.state = MSG_UPLINK_FAILED, .err = *err},
				   .underlay = {.state = MSG_UNDERLAY_FAILED, .err = *err},
				   .sealed = *err};
	take_found(o, &o->found);
}

static void
take_answer(void *arg, bool whole)
{
	struct outside *o = arg;
	struct err err = {0};

	if (whole) {
		take_found(o, &o->found);
		return;
	}
	err_set(&err, ERR_INTERNAL, "the process that makes the ways out of the fabric died");
	take_failure(o, &err);
}

static void
look(struct outside *o)
{
	struct err err = {0};

	o->changed = false;
	o->waited_s = 0;
	if (send_out(o, make, &err) < 0)
		take_failure(o, &err);
}

/* ---- when ---- */

static void
want(struct outside *o, const struct config *config, const struct msg_prefix *prefix,
     const struct underlay_peers *peers, const struct wgroutes *sealed)
{
	struct uplink_wanted w = o->wanted;
	struct underlay_wanted u = {
		.fabric = o->underlay.fabric, .listen = config->listen.vxlan, .peers = peers};

	w.on = config->dataplane.uplink == CONFIG_UPLINK_AUTO;
	w.always = !config->dataplane.interfaces_auto && config->dataplane.interfaces_count > 0;
	w.v4 = prefix->v4;
	w.v6 = prefix->v6;
	bool other = !wgroutes_equal(sealed, &o->sealed);
	if (memcmp(&w, &o->wanted, sizeof(w)) == 0 && !underlay_differs(&u, &o->underlay) && !other)
		return;
	wgroutes_copy(&o->sealed, sealed);
	/* What waits to be applied counts as not applied. */
	u.more = o->underlay_up && !o->changed && !errand_runs(o->errand) &&
		 underlay_grows(&o->underlay, &u);
	o->wanted = w;
	o->underlay = u;
	underlay_peers_copy(&o->peers, peers);
	o->underlay.peers = &o->peers;
	o->changed = true;
}

static bool
is_due(const struct outside *o)
{
	/* The kernel takes a fabric that is gone apart later: its device is in the way until then.
	 */
	if (o->underlay_missing &&
	    o->waited_s >= (o->underlay_missing <= MISSING_QUICK ? MISSING_QUICK_S : MISSING_S))
		return true;
	if (o->sealed_missing && o->waited_s >= MISSING_S)
		return true;
	switch (o->state) {
	case MSG_UPLINK_OFF:
		return o->changed ||
		       ((o->peers.count || o->sealed.count) && o->waited_s >= STANDING_S);
	case MSG_UPLINK_UP:
		return o->changed || o->waited_s >= STANDING_S;
	default:
		return o->changed || !o->state || o->waited_s >= MISSING_S;
	}
}

static bool
is_configured(const struct addr_prefix *p, const struct addr_prefix *configured)
{
	return configured->bits && memcmp(p, configured, sizeof(*p)) == 0;
}

static bool
is_unique_local(const struct addr_prefix *p)
{
	return (p->base.ip[0] & 0xfe) == 0xfc;
}

/* The configuration's, or nobody's outside of this site. */
static bool
prefixes_hold(const struct addr_prefix *v4, const struct addr_prefix *v6,
	      const struct addr_prefix *configured4, const struct addr_prefix *configured6)
{
	return addr_is_v4(&v4->base) && v4->bits == 96 + 24 && !addr_is_v4(&v6->base) &&
	       v6->bits == 64 && (is_configured(v4, configured4) || addr_prefix_is_private4(v4)) &&
	       (is_configured(v6, configured6) || is_unique_local(v6));
}

bool
outside_prefix_holds(const struct config *config, const struct msg_prefix *prefix)
{
	return prefixes_hold(&prefix->v4, &prefix->v6, &config->overlay.prefix4,
			     &config->overlay.prefix6);
}

bool
outside_peer(const struct config *config, const struct msg_peer *row, struct config_peer *out)
{
	if (!MSG_OK(row->name) || addr_is_zero(&row->address))
		return false;
	for (uint32_t i = 0; i < config->overlay.peers_count; i++) {
		if (text_equal(config->overlay.peers[i].name, row->name)) {
			*out = config->overlay.peers[i];
			return true;
		}
	}
	*out = (struct config_peer){
		.address = row->address, .prefix4 = row->v4, .prefix6 = row->v6};
	text_copy(out->name, sizeof(out->name), row->name);
	return prefixes_hold(&row->v4, &row->v6, &(struct addr_prefix){0},
			     &(struct addr_prefix){0});
}

void
outside_tick(struct outside *o, const struct config *config, const struct msg_prefix *prefix,
	     const struct underlay_peers *peers, const struct wgroutes *sealed)
{
	o->waited_s++;
	if (!prefix)
		return;
	if (!outside_prefix_holds(config, prefix)) {
		if (!o->refused)
			log_event(LOG_ERROR,
				  "the prefix of this node's containers is not one that a node may "
				  "have: there is no uplink (name it: overlay.prefix4, prefix6)",
				  LOG_END);
		o->refused = true;
		return;
	}
	o->refused = false;
	want(o, config, prefix, peers, sealed);
	if (!errand_runs(o->errand) && is_due(o))
		look(o);
}

int
outside_remove(struct outside *o, struct err *err)
{
	(void)errand_wait(o->errand);
	if (send_out(o, unmake, err) < 0)
		return -1;
	if (!errand_wait(o->errand))
		return err_set(err, ERR_INTERNAL, "the process that removes the uplink died");
	if (o->found.uplink.state == MSG_UPLINK_OFF)
		return 0;
	*err = o->found.uplink.err;
	return -1;
}
