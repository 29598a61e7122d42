/* SPDX-License-Identifier: Apache-2.0 */
/* One table says which counters there are: a place and a way, or a place and a reason, that no
 * program can come to has no series. Reasons have their names from ring/flow.h. */
#include "dataplane/packets.h"

#include <string.h>
#include "dataplane/skel.h"
#include "ring/flow.h"
#include "ring/metrics.h"

#define BIT(reason) (1u << FLOW_##reason)

/* NULL: cannot be. */
static const char *const verdicts[TC_PLACES][TC_WAYS] = {
	[MSG_FLOW_VETH] = {[MSG_FLOW_LOCAL] = "redirect",
			   [MSG_FLOW_PLAIN] = "tunnel",
			   [MSG_FLOW_SEALED] = "sealed",
			   [MSG_FLOW_STACK] = "pass"},
	[MSG_FLOW_VXLAN] = {[MSG_FLOW_LOCAL] = "redirect", [MSG_FLOW_STACK] = "pass"},
	[MSG_FLOW_TUNNEL] = {[MSG_FLOW_LOCAL] = "redirect", [MSG_FLOW_STACK] = "pass"},
	[MSG_FLOW_FABRIC] = {[MSG_FLOW_PLAIN] = "tunnel"},
	[MSG_FLOW_UPLINK] = {[MSG_FLOW_PLAIN] = "tunnel", [MSG_FLOW_SEALED] = "sealed"},
};

/* Of what comes in a header. */
#define ACROSS (BIT(CLIENT) | BIT(ENDPOINT) | BIT(HOPS) | BIT(NO_WAY) | BIT(TOO_LARGE))

static const uint32_t reasons[TC_PLACES] = {
	[MSG_FLOW_VETH] = BIT(SOURCE) | BIT(SHORT) | BIT(UNKNOWN_LINK) | BIT(TUNNEL) |
			  BIT(DESTINATION) | BIT(ISOLATED) | BIT(UNKNOWN) | BIT(NO_WAY) |
			  BIT(TOO_LARGE) | BIT(ENDPOINT),
	[MSG_FLOW_VXLAN] = BIT(SOURCE) | BIT(SHORT) | BIT(TUNNEL) | BIT(PEER) | BIT(DESTINATION) |
			   BIT(ISOLATED) | BIT(UNSEALED) | BIT(UNKNOWN) | ACROSS,
	[MSG_FLOW_TUNNEL] = BIT(SOURCE) | BIT(SHORT) | BIT(TUNNEL) | BIT(DESTINATION) |
			    BIT(ISOLATED) | BIT(UNKNOWN) | ACROSS,
	[MSG_FLOW_FABRIC] = BIT(DESTINATION) | BIT(NO_WAY),
	[MSG_FLOW_UPLINK] = BIT(SOURCE) | BIT(SHORT) | BIT(TUNNEL) | BIT(DESTINATION) |
			    BIT(NO_WAY) | BIT(TOO_LARGE) | BIT(HOPS),
};

/* The time of the others counts as that of those that go on with them. */
static const char *const names[PACKETS_PROGRAMS] = {"tc_veth_in", "tc_vxlan_in", "tc_vxlan_out",
						    "tc_tunnel_in"};

static void
add_way(struct metric_page *page, unsigned place, unsigned way, uint64_t more)
{
	struct metric_labels labels = {0};

	if (!verdicts[place][way])
		return;
	metric_label(&labels, "interface", flow_place_name(place));
	metric_label(&labels, "verdict", verdicts[place][way]);
	metric_add(metrics_get(page, METRICS_DATAPLANE_PACKETS, &labels), more);
}

static void
add_drop(struct metric_page *page, unsigned place, unsigned reason, uint64_t more)
{
	struct metric_labels labels = {0};

	if (!(reasons[place] & 1u << reason))
		return;
	metric_label(&labels, "interface", flow_place_name(place));
	metric_label(&labels, "reason", flow_reason_name(reason));
	metric_add(metrics_get(page, METRICS_DATAPLANE_DROPS, &labels), more);
}

static uint64_t
added(const struct packets *p, const uint64_t *now, unsigned which)
{
	return p->has_counted && now[which] > p->counted[which] ? now[which] - p->counted[which]
								: 0;
}

static void
add_all(const struct packets *p, const uint64_t *now, struct metric_page *page)
{
	for (unsigned place = 1; place < TC_PLACES; place++) {
		for (unsigned way = 1; way < TC_WAYS; way++)
			add_way(page, place, way, added(p, now, TC_COUNT_WAY(place, way)));
		for (unsigned reason = 1; reason < FLOW_REASONS_; reason++)
			add_drop(page, place, reason, added(p, now, TC_COUNT_DROP(place, reason)));
	}
}

void
packets_begin(struct packets *p, struct metric_page *page)
{
	add_all(p, p->counted, page);
	for (size_t i = 0; i < PACKETS_PROGRAMS; i++) {
		p->times[i].name = names[i];
		program_begin(page, names[i]);
	}
}

static void
look_at_times(struct packets *p, const struct tc_veth *loaded, struct metric_page *page)
{
	const struct bpf_program *const programs[PACKETS_PROGRAMS] = {
		loaded->progs.tc_veth_in, loaded->progs.tc_vxlan_in, loaded->progs.tc_vxlan_out,
		loaded->progs.tc_tunnel_in};

	for (size_t i = 0; i < PACKETS_PROGRAMS; i++)
		program_count(&p->times[i], libbpf.bpf_program__fd(programs[i]), page);
}

int
packets_look(struct packets *p, struct veth *veth, struct metric_page *page, struct err *err)
{
	uint64_t now[TC_COUNTS];

	look_at_times(p, veth_loaded(veth), page);
	if (veth_counts(veth, now, err) < 0)
		return -1;
	add_all(p, now, page);
	memcpy(p->counted, now, sizeof(p->counted));
	p->has_counted = true;
	return 0;
}
