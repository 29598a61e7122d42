/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a container, which outlives its attempts: addresses from the pool, on disk before
 * anybody can see them, a namespace with a veth pair, and the row that tells the data path of it.
 * Whether packets may pass is the data path's word.
 */
#include "runtime/container_link.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/world.h"
#include "ring/identity.h"

static int
save_addresses(struct container_host *host, struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, ADDRESS_POOL_TEXT_MAX);
	address_pool_save(&host->pool, &text);
	int done = buf_ok(&text) ? fd_replace(host->place.data, "addresses", text.data, text.length,
					      0600, err)
				 : err_set(err, ERR_NO_MEMORY, "no memory to keep the addresses");
	buf_fini(&text);
	return done;
}

int
container_link_take_addresses(struct container_host *host, uint64_t id, struct addr *addr4_out,
			      struct addr *addr6_out, struct err *err)
{
	const struct address_pool_entry *entry;
	bool fresh;
	if (address_pool_take(&host->pool, id, world_wall_ns(), &entry, &fresh, err) < 0)
		return -1;
	if (fresh && save_addresses(host, err) < 0) {
		address_pool_release(&host->pool, id, 0);
		return -1;
	}
	*addr4_out = entry->addr4;
	*addr6_out = entry->addr6;
	return 0;
}

void
container_link_free_addresses(struct container_host *host, const uint64_t *ids, size_t count)
{
	struct err err = {0};
	bool any = false;
	for (size_t i = 0; i < count; i++)
		any |= address_pool_release(&host->pool, ids[i], world_wall_ns());
	if (any && save_addresses(host, &err) < 0)
		log_err(LOG_WARN, "freed addresses are not noted", &err);
}

static const struct msg_identity *
identity(const struct container_host *host, uint64_t id)
{
	return host->scheduler != NULL ? ring_table_get(host->scheduler, MSG_TABLE_IDENTITY, id)
				       : NULL;
}

bool
container_link_plain(const struct container_host *host, uint64_t replica)
{
	const struct msg_identity *row = identity(host, replica);
	return row != NULL && !identity_seals(row->flags);
}

static struct net_config
config_of(const struct container *c, const struct addr *addr4, const struct addr *addr6)
{
	return (struct net_config){
		.replica = c->replica,
		.addr4 = *addr4,
		.addr6 = *addr6,
		.gateway4 = c->host->prefix.gateway4,
		.gateway6 = c->host->prefix.gateway6,
		.mtu = c->host->prefix.mtu,
		.plain = container_link_plain(c->host, c->replica),
	};
}

int
container_link_make(struct container *c, struct err *err)
{
	struct addr addr4, addr6;
	struct net_link_info info;
	if (container_link_take_addresses(c->host, c->replica, &addr4, &addr6, err) < 0)
		return -1;
	const struct net_config config = config_of(c, &addr4, &addr6);
	if (net_make(c->host->net, &config, &info, err) < 0)
		return -1;
	c->row.addr4 = addr4;
	c->row.addr6 = addr6;
	c->veth = (struct msg_veth){
		.replica = c->replica, .ifindex = info.ifindex, .addr4 = addr4, .addr6 = addr6};
	memcpy(c->veth.mac, info.mac, 6);
	memcpy(c->veth.host_mac, info.host_mac, 6);
	bool changed = false;
	if (ring_table_set(station_writer(c->host->st), MSG_TABLE_VETH, c->replica, &c->veth,
			   &changed) != RING_OK)
		return err_set(err, ERR_LIMIT, "no room in the table of links");
	if (changed)
		station_kick(c->host->st);
	c->network = true;
	return 0;
}

static const struct msg_datapath *
datapath(const struct container_host *host)
{
	return host->dataplane != NULL ? ring_table_get(host->dataplane, MSG_TABLE_DATAPATH, 1)
				       : NULL;
}

bool
container_link_unjudged(const struct container_host *host)
{
	const struct msg_datapath *path = datapath(host);
	return path != NULL && path->bpf == 0;
}

/* The fabric's routes carry packets to everybody: that is right for those alone who let everybody
 * in. Containers of others do. */
static enum container_link_verdict
unjudged(const struct container_host *host, uint64_t id, struct err *err)
{
	const struct msg_identity *row;
	if (msg_attachment_id(id))
		return CONTAINER_LINK_PASSES;
	row = identity(host, id);
	if (row == NULL)
		return CONTAINER_LINK_WAITS;
	if (!identity_isolates(row->flags))
		return CONTAINER_LINK_PASSES;
	struct err why = {0};
	msg_reason_to(&datapath(host)->reason, &why);
	err_set(err, ERR_UNSUPPORTED,
		"network.overlays of this service keeps others out, which this node cannot do");
	err_why(err, "BPF is not in force: %s", why.what);
	err_fix(err, "set dataplane.mode of node.yaml to auto, on a kernel that lets zlayer load "
		     "BPF programs, or let network.overlays.global be enabled and not isolated");
	return CONTAINER_LINK_REFUSED;
}

/* With BPF the container's link must be attached before it may speak; without, the fabric's routes
 * do. */
enum container_link_verdict
container_link_verdict(const struct container_host *host, uint64_t id, uint32_t ifindex,
		       struct err *err)
{
	const struct ring_reader *r = host->dataplane;
	if (r == NULL)
		return CONTAINER_LINK_WAITS;
	if (container_link_unjudged(host))
		return unjudged(host, id, err);
	const struct msg_attached *row = ring_table_get(r, MSG_TABLE_ATTACHED, id);
	if (row == NULL || row->ifindex != ifindex)
		return CONTAINER_LINK_WAITS;
	if (row->hook != 0)
		return CONTAINER_LINK_PASSES;
	msg_reason_to(&row->reason, err);
	return CONTAINER_LINK_REFUSED;
}

bool
container_link_exposed(const struct container *c)
{
	struct err err = {0};
	return container_link_verdict(c->host, c->replica, c->veth.ifindex, &err) ==
	       CONTAINER_LINK_REFUSED;
}

/* ---- carrying packets ---- */

int
container_link_connect(struct container *c, struct err *err)
{
	const struct net_config config = config_of(c, &c->veth.addr4, &c->veth.addr6);
	if (c->connected)
		return 0;
	if (net_connect(c->host->net, &config, err) < 0)
		return -1;
	c->connected = true;
	return 0;
}

void
container_link_disconnect(struct container *c)
{
	struct err err = {0};
	c->connected = false;
	if (net_disconnect(c->host->net, c->replica, &err) < 0 && err.kind != ERR_NOT_FOUND)
		log_err(LOG_WARN, "a link that nobody judges is not taken down", &err);
}

/* The node has begun with another prefix: what the program has opened keeps the address before. */
static void
tell_moved(const struct container *c, const struct addr *before)
{
	char label[MSG_TARGET], was[ADDR_TEXT_BYTES], is[ADDR_TEXT_BYTES];
	struct err err = {0};
	if (addr_is_zero(before) || addr_equal_ip(before, &c->row.addr4))
		return;
	container_label(c, label);
	addr_put_ip(before, was, sizeof(was));
	addr_put_ip(&c->row.addr4, is, sizeof(is));
	err_set(&err, ERR_CONFLICT,
		"%s runs with the address %s, which is not of this node's any more", label, was);
	err_why(&err, "the prefix of the node's containers was changed; others reach it at %s", is);
	err_fix(&err, "replace it: zlayer restart %s", label);
	log_err(LOG_WARN, "a container has an address of another prefix", &err);
}

/* After a restart: the link of a container that runs is told again. */
void
container_link_show(struct container *c)
{
	const struct addr before = c->row.addr4;
	struct err err = {0};
	if (!c->network && c->host->have_prefix) {
		if (container_link_make(c, &err) < 0)
			log_err(LOG_WARN, "the network of a running container is not whole", &err);
		else
			tell_moved(c, &before);
		container_publish(c);
	}
	if (!c->network || c->connected ||
	    container_link_verdict(c->host, c->replica, c->veth.ifindex, &err) !=
		    CONTAINER_LINK_PASSES)
		return;
	if (container_link_connect(c, &err) < 0)
		log_err(LOG_WARN, "a running container is not connected", &err);
}

void
container_link_remove(struct container *c)
{
	net_remove(c->host->net, c->replica);
	container_link_free_addresses(c->host, &c->replica, 1);
}
