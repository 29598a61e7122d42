/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to attach, and the process that does. It is a child of a child, so that nobody has to reap
 * it; its answer comes by a pipe. It has node's namespace and nothing of its descriptors but the
 * folder of the BPF file system, and gives up all capabilities but those for networks and BPF, and
 * CAP_SYS_ADMIN where it has to look at programs of others.
 *
 * Nothing is attached until the uplink stands: replies leave by it.
 */
#include "node/edge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "dataplane/attach.h"
#include "node/errand.h"
#include "node/listeners.h"
#include "runtime/net_link.h"

enum { AGAIN_S = 5, STANDING_S = 30, CHILD_S = 30, BPF_FD = 3 };

struct edge_wanted {
	bool on;
	bool native, generic; /* modes that may be tried */
	bool by_route;        /* the interfaces that carry a default route */
	uint32_t generation;
	uint32_t names_count;
	uint32_t uplink;
	char names[MSG_EDGE_LINKS][IFNAMSIZ];
	size_t at_count; /* addresses of the listeners: endpoints are at these */
	struct addr at[LISTENERS_EDGES];
};

struct edge {
	uv_loop_t *loop;
	struct ring_writer *own;
	struct hub *hub;
	int bpf_fd;
	struct edge_wanted wanted;
	bool changed, looked;
	unsigned waited_s;
	struct errand *errand;
	struct msg_edge found; /* its answer */
};

static void take_answer(void *arg, bool whole);

struct edge *
edge_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub, const struct instance *inst)
{
	struct edge *e = mem_zalloc(MEM_NODE, sizeof(*e));

	if (!e)
		return NULL;
	e->loop = loop;
	e->own = own;
	e->hub = hub;
	e->bpf_fd = inst->bpf_fd;
	e->errand = errand_new(loop, &e->found, sizeof(e->found), take_answer, e);
	if (e->errand)
		return e;
	mem_free(e);
	return NULL;
}

void
edge_free(struct edge *e)
{
	if (!e)
		return;
	errand_free(e->errand);
	mem_free(e);
}

/* ---- the process ---- */

static void
add_link(struct msg_edge *found, uint32_t ifindex)
{
	char name[IFNAMSIZ];

	/* Not the uplinks of this node and of others. */
	if (!if_indextoname(ifindex, name) || text_starts(name, "zl-") ||
	    found->links_count == MSG_EDGE_LINKS)
		return;
	for (uint32_t i = 0; i < found->links_count; i++)
		if (found->links[i].ifindex == ifindex)
			return;
	text_copy(found->links[found->links_count].name, IFNAMSIZ, name);
	found->links[found->links_count++].ifindex = ifindex;
}

static void
add_way(void *arg, uint32_t ifindex)
{
	add_link(arg, ifindex);
}

/* Before confinement: a socket of a namespace is had by entering it. */
static void
find_ways(struct msg_edge *found, struct err *err)
{
	defer_close int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (here < 0 || net_link_open(err) < 0)
		return;
	defer_close int sock = net_link_socket(here, err);
	if (sock < 0)
		return;
	net_link_each_default(sock, AF_INET, add_way, found);
	net_link_each_default(sock, AF_INET6, add_way, found);
}

static void
find_named(const struct edge_wanted *w, struct msg_edge *found, struct err *err)
{
	for (uint32_t i = 0; i < w->names_count; i++) {
		uint32_t ifindex = if_nametoindex(w->names[i]);

		if (ifindex) {
			add_link(found, ifindex);
			continue;
		}
		err_clear(err);
		err_set(err, ERR_NOT_FOUND, "there is no interface %s", w->names[i]);
	}
}

/* What cannot be had is left out, and told. */
static void
attach_all(const struct edge_wanted *w, struct msg_edge *found, struct err *err)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < found->links_count; i++) {
		enum msg_xdp mode;
		bool shared;
		struct err failed = {0};

		if (attach_xdp(found->links[i].ifindex, w->native, w->generic, &mode, &shared,
			       &failed) < 0) {
			*err = failed;
			err_where(err, "interface %s", found->links[i].name);
			continue;
		}
		found->links[have] = found->links[i];
		found->links[have].shared = shared;
		found->links[have++].mode = (uint16_t)mode;
	}
	found->links_count = have;
}

static bool
is_for_all(const struct addr *a)
{
	struct in6_addr six;

	memcpy(&six, a->ip, sizeof(six));
	if (addr_is_zero(a) || addr_is_loopback(a))
		return false;
	if (addr_is_v4(a)) /* 169.254/16 */
		return !(a->ip[12] == 169 && a->ip[13] == 254);
	return !IN6_IS_ADDR_LINKLOCAL(&six) && !IN6_IS_ADDR_MULTICAST(&six);
}

static bool
is_link(const struct msg_edge *found, const char *name)
{
	for (uint32_t i = 0; i < found->links_count; i++)
		if (strcmp(found->links[i].name, name) == 0)
			return true;
	return false;
}

/* Where the relay listens the kernel balances, and nowhere else. */
static bool
is_served(const struct edge_wanted *w, const struct addr *a)
{
	for (size_t i = 0; i < w->at_count; i++)
		if (addr_equal_ip(&w->at[i], a) ||
		    (addr_is_zero(&w->at[i]) && addr_is_v4(&w->at[i]) == addr_is_v4(a)))
			return true;
	return false;
}

static void
find_addresses(const struct edge_wanted *w, struct msg_edge *found)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return;
	for (int turn = 0; turn < 2; turn++) {
		for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
			struct addr *out = &found->addresses[found->addresses_count];

			if (!a->ifa_addr || found->addresses_count == MSG_EDGE_ADDRESSES ||
			    text_starts(a->ifa_name, "zl-") ||
			    is_link(found, a->ifa_name) != (turn == 0) ||
			    !addr_from_sockaddr(a->ifa_addr, sizeof(struct sockaddr_storage),
						out) ||
			    !is_for_all(out) || !is_served(w, out))
				continue;
			out->port = 0;
			found->addresses_count++;
		}
	}
	freeifaddrs(all);
}

static void
apply(const struct edge_wanted *w, struct msg_edge *found, struct err *err)
{
	struct err left = {0};

	found->generation = w->generation;
	if (w->on) {
		if (attach_uplink(w->uplink, err) < 0)
			found->links_count = 0;
		else
			attach_all(w, found, err);
		find_addresses(w, found);
	}
	if (attach_forget(found, w->uplink, w->on, &left) < 0)
		*err = left;
	if (err->kind)
		msg_reason_from(err, &found->reason);
}

/* Reading pins of other users takes more than CAP_BPF, and so do programs of others. */
static int
confine(const struct msg_edge *found, struct err *err)
{
	uint64_t caps = UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_NET_ADMIN |
			UINT64_C(1) << CAP_PERFMON | UINT64_C(1) << CAP_DAC_OVERRIDE;
	int landlock_abi;

	if (attach_asks(found))
		caps |= UINT64_C(1) << CAP_SYS_ADMIN;
	const struct sandbox box = {.keep_caps = sandbox_caps() & caps};
	return sandbox_enter(&box, &landlock_abi, err);
}

static bool
work(void *arg, void *answer)
{
	const struct edge_wanted *wanted = arg;
	struct msg_edge *found = answer;
	struct err err = {0}, failed = {0};

	if (fchdir(BPF_FD) < 0)
		return false;
	if (wanted->on && wanted->by_route)
		find_ways(found, &err);
	else if (wanted->on)
		find_named(wanted, found, &err);
	if (confine(found, &failed) < 0)
		return false;
	apply(wanted, found, &err);
	return true;
}

static int
send_out(struct edge *e, struct edge_wanted *wanted, struct err *err)
{
	const struct errand_order order = {.work = work,
					   .arg = wanted,
					   .fds = {e->bpf_fd},
					   .fds_count = 1,
					   .seconds = CHILD_S};

	return errand_send(e->errand, &order, err);
}

/* ---- the answer ---- */

static void
publish(struct edge *e, const struct msg_edge *found)
{
	bool changed = false;

	(void)ring_table_set(e->own, MSG_TABLE_EDGE, 1, found, &changed);
	if (!changed)
		return;
	hub_kick(e->hub);
	if (found->reason.kind) {
		struct err err = {0};

		msg_reason_to(&found->reason, &err);
		log_err(LOG_WARN, "an interface is without XDP", &err);
	}
	for (uint32_t i = 0; i < found->links_count; i++)
		log_event(LOG_INFO, "XDP is attached", log_s("interface", found->links[i].name),
			  log_s("mode",
				found->links[i].mode == MSG_XDP_NATIVE ? "native" : "generic"),
			  log_s("way", found->links[i].shared ? "shared" : "own"), LOG_END);
}

static void
take_answer(void *arg, bool whole)
{
	struct edge *e = arg;

	if (whole)
		publish(e, &e->found);
	else
		log_event(LOG_WARN, "the process that attaches XDP died", LOG_END);
}

static void
look(struct edge *e)
{
	struct err err = {0};

	e->changed = false;
	e->looked = true;
	e->waited_s = 0;
	if (send_out(e, &e->wanted, &err) < 0)
		log_err(LOG_WARN, "XDP is not attached", &err);
}

/* ---- the end ---- */

int
edge_remove(struct edge *e, struct err *err)
{
	struct edge_wanted nothing = {0};

	if (e->bpf_fd < 0)
		return 0;
	(void)errand_wait(e->errand); /* it may be about to attach */
	if (send_out(e, &nothing, err) < 0)
		return -1;
	if (!errand_wait(e->errand))
		return err_set(err, ERR_INTERNAL, "the process that takes XDP off died");
	if (!e->found.reason.kind)
		return 0;
	msg_reason_to(&e->found.reason, err);
	return -1;
}

/* ---- when ---- */

/* What stands goes on while it is not known whether there is an uplink, or while it is mended. */
static bool
is_undecided(const struct msg_uplink *uplink)
{
	return !uplink || uplink->state == MSG_UPLINK_WAITS || uplink->state == MSG_UPLINK_FAILED ||
	       !uplink->ifindex;
}

static void
want(struct edge *e, const struct config *config, const struct msg_datapath *datapath,
     const struct msg_uplink *uplink)
{
	const struct config_dataplane *d = &config->dataplane;
	struct edge_wanted w;

	memset(&w, 0, sizeof(w));
	w.on = datapath->edge && d->mode != CONFIG_XDP_OFF && uplink->state == MSG_UPLINK_UP;
	w.native = d->mode == CONFIG_XDP_AUTO || d->mode == CONFIG_XDP_NATIVE;
	w.generic = d->mode == CONFIG_XDP_AUTO || d->mode == CONFIG_XDP_GENERIC;
	w.by_route = d->interfaces_auto;
	w.generation = datapath->generation;
	w.uplink = uplink->ifindex;
	for (uint32_t i = 0; i < d->interfaces_count && w.names_count < MSG_EDGE_LINKS; i++)
		text_copy(w.names[w.names_count++], IFNAMSIZ, d->interfaces[i].text);
	w.at_count = listeners_edge(config, w.at);
	if (memcmp(&w, &e->wanted, sizeof(w)) == 0)
		return;
	e->wanted = w;
	e->changed = true;
}

void
edge_tick(struct edge *e, const struct config *config, const struct msg_datapath *datapath)
{
	static const struct msg_uplink none = {.state = MSG_UPLINK_OFF};
	const struct msg_edge *row = ring_table_own(e->own, MSG_TABLE_EDGE, 1);
	const struct msg_uplink *uplink = ring_table_own(e->own, MSG_TABLE_UPLINK, 1);

	e->waited_s++;
	if (!datapath || e->bpf_fd < 0)
		return;
	if (datapath->edge && config->dataplane.mode != CONFIG_XDP_OFF &&
	    (!uplink || uplink->state != MSG_UPLINK_OFF) && is_undecided(uplink))
		return;
	want(e, config, datapath, uplink ? uplink : &none);
	if (errand_runs(e->errand))
		return;
	if (e->changed || !e->looked ||
	    (e->wanted.on && e->waited_s >= (row && row->links_count ? STANDING_S : AGAIN_S)))
		look(e);
}
