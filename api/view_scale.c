/* SPDX-License-Identifier: Apache-2.0 */
/* How big a service is, why, and by whose figures. */
#include "api/view_scale.h"

#include <string.h>
#include "api/rows.h"
#include "api/view.h"

#define NAME_OF(names, value) \
	((value) < sizeof(names) / sizeof(names[0]) && names[value] ? names[value] : "unknown")

static const char *const scale_reasons[] = {
	[MSG_SCALE_FITS] = "fits",           [MSG_SCALE_BOUNDS] = "bounds",
	[MSG_SCALE_LOAD] = "load",           [MSG_SCALE_AT_MAX] = "at_max",
	[MSG_SCALE_IDLE] = "idle",           [MSG_SCALE_ASLEEP] = "asleep",
	[MSG_SCALE_WAKE] = "wake",           [MSG_SCALE_COOLING] = "cooling",
	[MSG_SCALE_STARTING] = "starting",   [MSG_SCALE_PARTIAL] = "partial",
	[MSG_SCALE_NO_TARGET] = "no_target", [MSG_SCALE_PAUSED] = "paused",
	[MSG_SCALE_HELD] = "held",
};
static const char *const scale_modes[] = {
	[MSG_SCALE_FIXED] = "fixed",
	[MSG_SCALE_ADAPTIVE] = "adaptive",
	[MSG_SCALE_MANUAL] = "manual",
};
/* cpu and memory in percent of a replica's limit, rps in requests a second; what is not known is
 * null. */
static void
put_figures(struct json *j, const struct msg_service *s)
{
	static const struct {
		const char *name;
		uint64_t unit;
	} metrics[MSG_SCALE_METRICS] = {{"cpu", 10}, {"memory", 10}, {"rps", 1000}};

	json_object(j, "targets");
	for (size_t i = 0; i < MSG_SCALE_METRICS; i++) {
		const struct msg_scale_figure *f = &s->scale_figures[i];

		if (!f->target)
			continue;
		json_object(j, metrics[i].name);
		json_u64(j, "target", f->target / metrics[i].unit);
		if (f->known)
			json_u64(j, "mean", (f->mean + metrics[i].unit / 2) / metrics[i].unit);
		else
			json_null(j, "mean");
		json_end(j);
	}
	json_end(j);
}

static bool
figures_of(const void *row, void *arg)
{
	return ((const struct msg_figures *)row)->service == *(const uint64_t *)arg;
}

static int
by_node(const void *a, const void *b)
{
	const struct msg_figures *x = *(const struct msg_figures *const *)a;
	const struct msg_figures *y = *(const struct msg_figures *const *)b;

	return strncmp(x->node, y->node, sizeof(x->node));
}

/* Of a replica there in percent; without one, or when it is not known, null. */
static void
put_percent(struct json *j, const char *key, const struct msg_figures *f, size_t metric)
{
	if (f->ready && f->flags & MSG_FIGURES_WHOLE)
		json_u64(j, key, (f->sum[metric] / f->ready + 5) / 10);
	else
		json_null(j, key);
}

static void
put_node(struct json *j, const struct msg_figures *f)
{
	bool silent = f->flags & MSG_FIGURES_SILENT;

	json_object(j, NULL);
	VIEW_TEXT(j, "node", f->node);
	json_bool(j, "self", f->flags & MSG_FIGURES_SELF);
	json_bool(j, "whole", f->flags & MSG_FIGURES_WHOLE);
	if (silent) {
		json_null(j, "ready");
		json_null(j, "waiting");
		json_null(j, "in_flight");
		json_null(j, "rps");
	} else {
		json_u64(j, "ready", f->ready);
		json_u64(j, "waiting", f->waiting);
		json_u64(j, "in_flight", f->in_flight);
		json_u64(j, "rps", (f->sum[MSG_SCALE_RPS] + 500) / 1000);
	}
	put_percent(j, "cpu", f, MSG_SCALE_CPU);
	put_percent(j, "memory", f, MSG_SCALE_MEMORY);
	json_end(j);
}

static void
put_nodes(struct json *j, struct server *server, const struct msg_service *s)
{
	struct rows rows;
	uint64_t id = s->id;

	rows_collect(server, ROLE_SCHEDULER, MSG_TABLE_FIGURES, figures_of, &id, by_node, &rows);
	json_array(j, "nodes");
	for (size_t i = 0; i < rows.count; i++)
		put_node(j, rows.items[i]);
	json_end(j);
	rows_fini(&rows);
}

void
view_scale(struct json *j, struct server *server, const struct msg_service *s)
{
	json_object(j, "scale");
	json_text(j, "mode", NAME_OF(scale_modes, s->scale_mode));
	json_u64(j, "min", s->scale_min);
	json_u64(j, "max", s->scale_max);
	json_bool(j, "unique", s->unique != 0);
	json_text(j, "decision", s->scale_reason ? NAME_OF(scale_reasons, s->scale_reason) : NULL);
	json_u64(j, "waiting", s->scale_waiting);
	json_u64(j, "cooldown_ms", s->scale_cooldown_ms);
	put_figures(j, s);
	put_nodes(j, server, s);
	if (s->scale_from != s->scale_to) {
		json_object(j, "last");
		json_u64(j, "from", s->scale_from);
		json_u64(j, "to", s->scale_to);
		view_time(j, "at", s->scale_changed_wall_ns);
		VIEW_TEXT(j, "why", s->scale_why);
		json_end(j);
	} else {
		json_null(j, "last");
	}
	json_end(j);
}
