/* SPDX-License-Identifier: Apache-2.0 */
/* What it is stands in the row: the cluster tells it only of attachments that were answered with,
 * and its device is to be judged before. */
#include "runtime/attachment_link.h"

#include <string.h>
#include "base/log.h"
#include "ring/identity.h"

void
attachment_link_config(const struct container_host *host, const struct attachment *a,
		       const struct net_guest *guest, struct net_config *out)
{
	*out = (struct net_config){
		.replica = a->row.id,
		.addr4 = a->row.addr4,
		.addr6 = a->row.addr6,
		.gateway4 = host->prefix.gateway4,
		.gateway6 = host->prefix.gateway6,
		.mtu = host->prefix.mtu,
		.guest = guest,
	};
}

int
attachment_link_show(struct container_host *host, struct attachment *a,
		     const struct net_link_info *info, struct err *err)
{
	const struct identity who = identity_of_network(a->row.key.network);
	struct msg_veth row = {.replica = a->row.id,
			       .ifindex = info->ifindex,
			       .overlays = who.flags | MSG_IDENTITY_SAID,
			       .addr4 = a->row.addr4,
			       .addr6 = a->row.addr6,
			       .deployment = who.deployment,
			       .service = who.service};
	memcpy(row.mac, info->mac, sizeof(row.mac));
	memcpy(row.host_mac, info->host_mac, sizeof(row.host_mac));
	a->ifindex = info->ifindex;
	if (ring_table_set(station_writer(host->st), MSG_TABLE_VETH, a->row.id, &row, NULL) !=
	    RING_OK)
		return err_set(err, ERR_LIMIT, "no room in the table of links");
	station_kick(host->st);
	return 0;
}

int
attachment_link_make(struct container_host *host, struct attachment *a, int ns, struct err *err)
{
	const struct net_guest guest = {.ns = ns, .device = a->row.key.interface};
	struct net_config config;
	struct net_link_info info;
	if (container_link_take_addresses(host, a->row.id, &a->row.addr4, &a->row.addr6, err) < 0)
		return -1;
	attachment_link_config(host, a, &guest, &config);
	if (net_make(host->net, &config, &info, err) < 0)
		return -1;
	return attachment_link_show(host, a, &info, err);
}

int
attachment_link_connect(struct container_host *host, struct attachment *a, struct err *err)
{
	struct net_config config;
	attachment_link_config(host, a, NULL, &config);
	if (net_connect(host->net, &config, err) < 0)
		return -1;
	a->link = ATTACHMENT_CONNECTED;
	return 0;
}

static void
cut(struct container_host *host, struct attachment *a, const struct err *why)
{
	struct err err = {0};
	log_err(LOG_WARN, "a container of others is cut off", why);
	if (net_disconnect(host->net, a->row.id, &err) < 0) {
		log_err(LOG_WARN, "a link that nobody judges is not taken down", &err);
		return;
	}
	a->link = ATTACHMENT_CUT;
}

void
attachment_link_follow(struct container_host *host, struct attachment *a)
{
	struct err err = {0};
	switch (container_link_verdict(host, a->row.id, a->ifindex, &err)) {
	case CONTAINER_LINK_WAITS:
		return;
	case CONTAINER_LINK_PASSES:
		if (a->link != ATTACHMENT_CONNECTED && attachment_link_connect(host, a, &err) < 0)
			log_err(LOG_WARN, "a container of others is not connected", &err);
		return;
	case CONTAINER_LINK_REFUSED:
		if (a->link != ATTACHMENT_CUT)
			cut(host, a, &err);
		return;
	}
}
