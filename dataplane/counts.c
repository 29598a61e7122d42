/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interfaces share places of the kernel's counters (EDGE_LINKS): what is counted in the place of
 * none that we stand on is called "other", and a place in which nothing moves makes no series.
 */
#include "dataplane/counts.h"

#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "ring/metrics.h"

static void
link_name(const struct counts_links *links, uint32_t slot, char *out, size_t cap)
{
	snprintf(out, cap, "other");
	for (uint32_t i = 0; i < links->count; i++)
		if (links->ifindexes[i] % EDGE_LINKS == slot)
			snprintf(out, cap, "%s", links->names[i]);
}

static void
add(struct metric_page *page, enum metrics_id id, const char *interface, const char *label,
    const char *value, uint64_t more)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "interface", interface);
	metric_label(&labels, label, value);
	metric_add(metrics_get(page, id, &labels), more);
}

static void
count_link(struct counts *c, const struct counts_links *links, uint32_t slot,
	   const struct edge_count *now, const __u64 *drops, struct metric_page *page)
{
	static const char *const verdicts[EDGE_VERDICTS] = {"pass", "redirect", "answer", "drop"};
	static const char *const reasons[EDGE_REASONS] = {"denied"};
	char name[16];

	link_name(links, slot, name, sizeof(name));
	for (uint32_t i = 0; i < EDGE_VERDICTS; i++) {
		const struct edge_count *old = &c->links[slot * EDGE_VERDICTS + i];

		if (now[i].packets == old->packets)
			continue;
		add(page, METRICS_DATAPLANE_PACKETS, name, "verdict", verdicts[i],
		    now[i].packets - old->packets);
		add(page, METRICS_DATAPLANE_BYTES, name, "verdict", verdicts[i],
		    now[i].bytes - old->bytes);
	}
	for (uint32_t i = 0; i < EDGE_REASONS; i++)
		if (drops[i] != c->drops[slot * EDGE_REASONS + i])
			add(page, METRICS_DATAPLANE_DROPS, name, "reason", reasons[i],
			    drops[i] - c->drops[slot * EDGE_REASONS + i]);
}

static void
count_service(void *arg, const char *service, const char *endpoint, const struct edge_count *more)
{
	struct metric_page *page = arg;
	struct metric_labels labels = {0};

	metric_label(&labels, "service", service);
	metric_label(&labels, "endpoint", endpoint);
	metric_add(metrics_get(page, METRICS_DATAPLANE_SERVICE_PACKETS, &labels), more->packets);
	metric_add(metrics_get(page, METRICS_DATAPLANE_SERVICE_BYTES, &labels), more->bytes);
}

static void
show_size(struct metric_page *page, const char *map, size_t entries, size_t entries_max)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "map", map);
	metric_set(metrics_get(page, METRICS_DATAPLANE_MAP_ENTRIES, &labels), (int64_t)entries);
	metric_set(metrics_get(page, METRICS_DATAPLANE_MAP_MAX_ENTRIES, &labels),
		   (int64_t)entries_max);
}

static void
count_backs(struct counts *c, const struct edge_count *now, struct metric_page *page)
{
	static const char *const verdicts[EDGE_BACKS] = {"pass", "redirect", "drop"};

	for (uint32_t i = 0; c->begun && i < EDGE_BACKS; i++) {
		add(page, METRICS_DATAPLANE_PACKETS, "veth", "verdict", verdicts[i],
		    now[i].packets - c->backs[i].packets);
		add(page, METRICS_DATAPLANE_BYTES, "veth", "verdict", verdicts[i],
		    now[i].bytes - c->backs[i].bytes);
	}
	memcpy(c->backs, now, sizeof(c->backs));
}

void
counts_init(struct counts *c)
{
	*c = (struct counts){.root.name = "xdp_root", .uplink.name = "tc_uplink"};
}

void
counts_forget(struct counts *c)
{
	c->begun = c->root.has_counted = c->uplink.has_counted = false;
}

void
counts_look(struct counts *c, struct lb *lb, struct services *services,
	    const struct counts_links *links, struct metric_page *page)
{
	static struct edge_count now[EDGE_LINKS * EDGE_VERDICTS];
	static __u64 drops[EDGE_LINKS * EDGE_REASONS];
	struct edge_count backs[EDGE_BACKS];
	struct services_sizes sizes;
	struct err err = {0};

	if (lb_counts(lb, now, drops, &err) < 0 || lb_back_counts(lb, backs, &err) < 0) {
		log_err(LOG_WARN, "packets are not counted", &err);
		return;
	}
	for (uint32_t slot = 0; c->begun && slot < EDGE_LINKS; slot++)
		count_link(c, links, slot, &now[slot * EDGE_VERDICTS], &drops[slot * EDGE_REASONS],
			   page);
	memcpy(c->links, now, sizeof(c->links));
	memcpy(c->drops, drops, sizeof(c->drops));
	count_backs(c, backs, page);
	c->begun = true;
	services_counts(services, count_service, page);
	services_sizes(services, &sizes);
	program_count(&c->root, lb_program_root(lb), page);
	program_count(&c->uplink, lb_program_uplink(lb), page);
	show_size(page, "services", sizes.services, EDGE_SERVICES_MAX);
	show_size(page, "vips", sizes.vips, EDGE_VIPS_MAX);
	show_size(page, "backends", sizes.backends, EDGE_BACKENDS_MAX);
}
