/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series are those of the service, with the replica where a figure is one process's. What a
 * container counts by itself (processor time, lines, ended processes) only grows: what was seen of
 * it last stands in the container, and the difference is added.
 */
#include "runtime/container_figures.h"

#include <string.h>
#include "base/world.h"
#include "runtime/listening.h"

struct metric_series *
container_figures_series(const struct container *c, enum metrics_id id, const char *name,
			 const char *value)
{
	char service[MSG_TARGET];
	struct metric_labels labels = {0};
	container_service_label(c, service);
	metric_label(&labels, "service", service);
	if (name != NULL)
		metric_label(&labels, name, value);
	return metrics_get(station_metrics(c->host->st), id, &labels);
}

void
container_figures_begin(struct container *c)
{
	c->cpu_seen = 0;
	c->oom_seen = 0;
	memset(c->lines_seen, 0, sizeof(c->lines_seen));
	c->lines_before = false;
	metric_add(container_figures_series(c, METRICS_CONTAINER_STARTS, "result", "started"), 0);
	metric_add(container_figures_series(c, METRICS_CONTAINER_STARTS, "result", "failed"), 0);
	metric_add(container_figures_series(c, METRICS_CONTAINER_OOM_KILLS, NULL, NULL), 0);
	metric_add(container_figures_series(c, METRICS_LOG_LINES, "stream", "stdout"), 0);
	metric_add(container_figures_series(c, METRICS_LOG_LINES, "stream", "stderr"), 0);
}

/* What was up to now was counted by the one before, whose counters live on. */
void
container_figures_adopt(struct container *c)
{
	struct cgroups_stats stats;

	cgroups_stats(c->host->groups, c->replica, &stats);
	c->cpu_seen = stats.cpu_ns;
	c->oom_seen = stats.oom_kills > UINT32_MAX ? UINT32_MAX : (uint32_t)stats.oom_kills;
	c->lines_before = true;
}

void
container_figures_lines(struct container *c, const struct control_state *state)
{
	const uint64_t now[3] = {state->lines_out, state->lines_err, state->lines_dropped};
	static const char *const streams[2] = {"stdout", "stderr"};
	for (size_t i = 0; i < 2 && !c->lines_before; i++)
		if (now[i] > c->lines_seen[i])
			metric_add(container_figures_series(c, METRICS_LOG_LINES, "stream",
							    streams[i]),
				   now[i] - c->lines_seen[i]);
	if (now[2] > c->lines_seen[2] && !c->lines_before) {
		char service[MSG_TARGET];
		struct metric_labels labels = {0};
		container_service_label(c, service);
		metric_label(&labels, "service", service);
		metric_label(&labels, "sink", "file");
		metric_label(&labels, "reason", "write");
		metric_add(metrics_get(station_metrics(c->host->st), METRICS_LOG_LINES_DROPPED,
				       &labels),
			   now[2] - c->lines_seen[2]);
	}
	memcpy(c->lines_seen, now, sizeof(now));
	c->lines_before = false;
}

/* The kernel may end one of many processes: process 1 lives on, and nobody else tells. */
void
container_figures_oom(struct container *c, uint64_t kills)
{
	if (kills <= c->oom_seen)
		return;
	metric_add(container_figures_series(c, METRICS_CONTAINER_OOM_KILLS, NULL, NULL),
		   kills - c->oom_seen);
	c->oom_seen = kills > UINT32_MAX ? UINT32_MAX : (uint32_t)kills;
}

/* What was measured of it is no longer shown; a successor has the same name and the same series. */
void
container_figures_hide(const struct container *c)
{
	char label[MSG_TARGET], other[MSG_TARGET];
	struct map_iter it = {0};
	container_label(c, label);
	while (map_next(&c->host->containers, &it)) {
		container_label(it.value, other);
		if (it.value != c && strcmp(label, other) == 0)
			return;
	}
	metric_hide(container_figures_series(c, METRICS_CONTAINER_MEMORY, "replica", label));
	metric_hide(container_figures_series(c, METRICS_CONTAINER_MEMORY_LIMIT, "replica", label));
}

void
container_measure(struct container *c)
{
	char label[MSG_TARGET];
	struct cgroups_stats stats;
	if (!c->groups_left)
		return;
	cgroups_stats(c->host->groups, c->replica, &stats);
	c->row.memory_bytes = stats.memory_bytes;
	c->row.memory_peak =
		stats.memory_peak > c->row.memory_peak ? stats.memory_peak : c->row.memory_peak;
	c->row.cpu_ns = stats.cpu_ns;
	c->row.pids = (uint32_t)stats.pids;
	c->row.measured_ns = world_mono_ns();
	if (c->row.state == MSG_CONTAINER_RUNNING) {
		container_figures_oom(c, stats.oom_kills);
		c->row.oom_killed = c->oom_seen;
	}
	container_label(c, label);
	if (stats.cpu_ns > c->cpu_seen)
		metric_add(container_figures_series(c, METRICS_CONTAINER_CPU, "replica", label),
			   stats.cpu_ns - c->cpu_seen);
	c->cpu_seen = stats.cpu_ns;
	metric_set(container_figures_series(c, METRICS_CONTAINER_MEMORY, "replica", label),
		   (int64_t)stats.memory_bytes);
	metric_set(container_figures_series(c, METRICS_CONTAINER_MEMORY_LIMIT, "replica", label),
		   (int64_t)c->row.memory_limit);
	if (c->monitor != NULL)
		monitor_link_order(c->monitor, CONTROL_QUERY, 0, 0);
}

void
container_look_for_ports(struct container *c)
{
	struct listening list;
	if (c->row.pid == 0 || c->pidfd < 0)
		return;
	listening_read(c->row.pid, &list);
	c->row.listening_count = (uint32_t)list.count;
	for (size_t i = 0; i < 8; i++) {
		c->row.listening_ports[i] = i < list.count ? list.ports[i] : 0;
		c->row.listening_loopback[i] = i < list.count && list.loopback[i];
	}
}
