/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress of an operation. Replicas of the new revision have a line each, in the order of their
 * names; those of the old one are counted. What was seen is kept when a replica leaves, so that the
 * end of a failed deploy can still say which one it was.
 */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "cli/grid.h"

void
progress_init(struct progress *p, int64_t now_wall_ns)
{
	memset(p, 0, sizeof(*p));
	p->began_wall_ns = now_wall_ns;
}

void
progress_reason(const json_t *reason, struct err *err)
{
	const json_t *why = json_read_array(reason, "why");

	err_clear(err);
	if (!json_read_text(reason, "what")[0])
		return;
	err_set(err, err_kind_of_name(json_read_text(reason, "kind")), "%s",
		json_read_text(reason, "what"));
	for (size_t i = 0; i < json_read_count(why); i++) {
		const json_t *line = json_read_at(why, i);

		if (json_read_string(line)[0])
			err_why(err, "%s", json_read_string(line));
	}
	if (json_read_text(reason, "fix")[0])
		err_fix(err, "%s", json_read_text(reason, "fix"));
}

static void
feed_operation(struct progress *p, const json_t *data, int64_t now_wall_ns)
{
	text_copy(p->deployment, sizeof(p->deployment), json_read_text(data, "deployment"));
	text_copy(p->kind, sizeof(p->kind), json_read_text(data, "kind"));
	text_copy(p->state, sizeof(p->state), json_read_text(data, "state"));
	p->revision = (uint32_t)json_read_int(data, "revision");
	p->previous = (uint32_t)json_read_int(data, "previous_revision");
	p->done = (uint32_t)json_read_int(data, "steps_done");
	p->total = (uint32_t)json_read_int(data, "steps_total");
	text_untime(json_read_text(data, "started"), &p->began_wall_ns);
	if (!text_untime(json_read_text(data, "ended"), &p->ended_wall_ns) && progress_ended(p))
		p->ended_wall_ns = now_wall_ns;
	progress_reason(json_read_get(data, "reason"), &p->reason);
}

static int
by_name(const void *a, const void *b)
{
	const struct progress_replica *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->id > y->id) - (x->id < y->id);
}

static struct progress_replica *
find(struct progress *p, uint64_t id, const char *name, int64_t now_wall_ns)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->replicas[i].id == id)
			return &p->replicas[i];
	}
	if (p->count == PROGRESS_REPLICAS_MAX) {
		p->left_out++;
		return NULL;
	}
	struct progress_replica *r = &p->replicas[p->count++];
	memset(r, 0, sizeof(*r));
	r->id = id;
	r->began_wall_ns = now_wall_ns;
	text_copy(r->name, sizeof(r->name), name);
	qsort(p->replicas, p->count, sizeof(*r), by_name);
	return find(p, id, name, now_wall_ns);
}

/* "my-app/web.1" without the deployment, which the heading says. */
static const char *
short_name(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash ? slash + 1 : name;
}

static bool
is_trouble(const char *state)
{
	return strcmp(state, "unhealthy") == 0 || strcmp(state, "failed") == 0 ||
	       strcmp(state, "backoff") == 0 || strcmp(state, "isolated") == 0;
}

static void
put_plain(const struct progress_replica *r, struct buf *line)
{
	char took[32];
	int64_t ns = r->ready_wall_ns - r->began_wall_ns; /* the clock may have been set */

	buf_printf(line, "%s%s %s", line->length ? "\n" : "", r->name, r->state);
	if (r->revision)
		buf_printf(line, " revision=%u", r->revision);
	if (r->node[0])
		buf_printf(line, " node=%s", r->node);
	if (r->ready_wall_ns && strcmp(r->state, "ready") == 0) {
		text_human_duration(ns > 0 ? (uint64_t)ns / 1000000 : 0, took, sizeof(took));
		buf_printf(line, " after=%s", took);
	}
	if (r->trouble[0] && is_trouble(r->state))
		buf_printf(line, " why=\"%s\"", r->trouble);
}

/* A line when a pull begins and one when all is there; none of what is no news. */
static void
feed_pull(struct progress_replica *r, const json_t *container, bool news, struct buf *line)
{
	const json_t *pull = json_read_get(container, "pull");
	bool active = json_read_bool(pull, "active"), was = r->pulling;
	long long layers = (long long)json_read_int(pull, "layers");
	long long here = (long long)json_read_int(pull, "layers_here");
	char done[32], all[32], before[sizeof(r->pull)];

	if (json_read_kind(pull) != JSON_READ_OBJECT)
		return;
	text_human_bytes((uint64_t)json_read_int(pull, "bytes"), done, sizeof(done));
	text_human_bytes((uint64_t)json_read_int(pull, "total_bytes"), all, sizeof(all));
	r->pulling = active;
	memcpy(before, r->pull, sizeof(before));
	if (active && layers)
		text_format(r->pull, sizeof(r->pull), "pulling %s of %s", done, all);
	else if (active)
		text_copy(r->pull, sizeof(r->pull), "pulling");
	else
		text_format(r->pull, sizeof(r->pull), "pulled %s (%lld of %lld layers were here)",
			    done, here, layers);
	if (news && (was != active || (!active && strcmp(before, r->pull) != 0)))
		buf_printf(line, "%s%s %s", line->length ? "\n" : "", r->name,
			   active ? "pulling" : r->pull);
}

/* Of another revision, or as it is since before the operation began. */
static bool
was_there(const struct progress *p, const json_t *data)
{
	int64_t since_wall_ns;

	if (p->revision && (uint32_t)json_read_int(data, "revision") != p->revision)
		return true;
	return text_untime(json_read_text(data, "since"), &since_wall_ns) &&
	       since_wall_ns < p->began_wall_ns;
}

/* It ended again, or has a reason that it had not: it may be on its way out as soon as that. */
static bool
has_failed(const struct progress_replica *r, const json_t *data)
{
	bool reason = json_read_kind(json_read_get(data, "reason")) == JSON_READ_OBJECT;

	return reason &&
	       ((uint32_t)json_read_int(data, "restarts") > r->restarts || !r->trouble[0]);
}

static void
take_reason(struct progress_replica *r, const json_t *data)
{
	const json_t *reason = json_read_get(data, "reason");
	const char *what = json_read_string(json_read_at(json_read_array(reason, "why"), 0));

	if (!what[0])
		what = json_read_text(reason, "what");
	text_printable(what, strlen(what), r->trouble, sizeof(r->trouble));
	r->restarts = (uint32_t)json_read_int(data, "restarts");
}

static void
feed_replica(struct progress *p, const json_t *data, int64_t now_wall_ns, struct buf *line)
{
	const char *state = json_read_text(data, "state");
	char name[160];

	text_printable(short_name(json_read_text(data, "name")),
		       strlen(short_name(json_read_text(data, "name"))), name, sizeof(name));
	struct progress_replica *r =
		find(p, (uint64_t)json_read_int(data, "id"), name, now_wall_ns);
	if (!r)
		return;
	/* What was there before is no news when it is seen first. */
	bool news = r->state[0] || !was_there(p, data);
	bool changed = news && strcmp(r->state, state) != 0;

	text_printable(state, strlen(state), r->state, sizeof(r->state));
	text_copy(r->node, sizeof(r->node), json_read_text(data, "node"));
	r->revision = (uint32_t)json_read_int(data, "revision");
	feed_pull(r, json_read_get(data, "container"), news, line);
	bool fails = news && has_failed(r, data);
	take_reason(r, data);
	r->gone = json_read_bool(data, "removed");
	if (strcmp(state, "ready") == 0 && !r->ready_wall_ns)
		r->ready_wall_ns = now_wall_ns;
	p->troubles += fails || (changed && is_trouble(state));
	if (is_trouble(state) || fails) {
		p->troubled = r->id;
		progress_reason(json_read_get(data, "reason"), &p->trouble);
	}
	if (changed)
		put_plain(r, line);
}

static bool
is_new(const struct progress *p, const struct progress_replica *r)
{
	return !p->revision || r->revision == p->revision;
}

/* Not every operation has such a time: scaling and deploying do. */
static bool
is_watched(const struct progress *p, size_t *ready_out)
{
	size_t fresh = 0, ready = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct progress_replica *r = &p->replicas[i];

		if (!is_new(p, r) || r->gone)
			continue;
		fresh++;
		ready += strcmp(r->state, "ready") == 0;
	}
	*ready_out = ready;
	return !progress_ended(p) && fresh > 0 && fresh == ready && p->done == p->total &&
	       (strcmp(p->kind, "deploy") == 0 || strcmp(p->kind, "scale") == 0);
}

/* Said once each time it begins. */
static void
tell_watched(struct progress *p, struct buf *line)
{
	bool before = p->watched;
	size_t ready;

	p->watched = is_watched(p, &ready);
	if (p->watched && !before)
		buf_printf(line, "%s%s watched revision=%u ready=%zu", line->length ? "\n" : "",
			   p->deployment, p->revision, ready);
}

void
progress_feed(struct progress *p, const char *event, const json_t *data, int64_t now_wall_ns,
	      struct buf *line)
{
	if (strcmp(event, "operation") == 0)
		feed_operation(p, data, now_wall_ns);
	else if (strcmp(event, "replica") == 0)
		feed_replica(p, data, now_wall_ns, line);
	tell_watched(p, line);
}

bool
progress_ended(const struct progress *p)
{
	return p->state[0] && strcmp(p->state, "running") != 0;
}

static enum grid_colour
colour_of(const struct progress_replica *r)
{
	if (strcmp(r->state, "ready") == 0)
		return GRID_GREEN;
	return is_trouble(r->state) ? GRID_RED : GRID_YELLOW;
}

static void
draw_replica(const struct progress_replica *r, int64_t now_wall_ns, bool colour, struct buf *out)
{
	int64_t until = r->ready_wall_ns ? r->ready_wall_ns : now_wall_ns;
	char took[32];

	text_human_duration((uint64_t)(until > r->began_wall_ns ? until - r->began_wall_ns : 0) /
				    1000000,
			    took, sizeof(took));
	buf_printf(out, "  %-12s %-10s  ", r->name, r->node[0] ? r->node : "-");
	grid_text(out, colour, colour_of(r), r->state);
	buf_printf(out, " %s", took);
	if (r->pull[0] && (r->pulling || !r->trouble[0]))
		buf_printf(out, "  %s", r->pull);
	if (r->trouble[0])
		buf_printf(out, "  %.100s", r->trouble);
	buf_putc(out, '\n');
}

static void
draw_bar(const struct progress *p, struct buf *out)
{
	enum { WIDTH = 28 };
	unsigned filled = p->total ? (unsigned)((uint64_t)WIDTH * p->done / p->total) : 0;

	if (filled > WIDTH)
		filled = WIDTH;
	buf_puts(out, "  [");
	for (unsigned i = 0; i < WIDTH; i++)
		buf_putc(out, i < filled ? '=' : i == filled ? '>' : ' ');
	buf_printf(out, "] %u/%u", p->done, p->total);
}

size_t
progress_draw(struct progress *p, int64_t now_wall_ns, bool colour, struct buf *out)
{
	size_t lines = 0, hidden = p->left_out, old = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct progress_replica *r = &p->replicas[i];

		if (!is_new(p, r)) {
			old += !r->gone && strcmp(r->state, "stopped") != 0;
			continue;
		}
		if (lines == PROGRESS_LINES_MAX) {
			hidden++;
			continue;
		}
		draw_replica(r, now_wall_ns, colour, out);
		lines++;
	}
	if (hidden) {
		buf_printf(out, "  and %zu more\n", hidden);
		lines++;
	}
	draw_bar(p, out);
	if (old)
		buf_printf(out, "   %zu of revision %u still there", old, p->previous);
	if (p->watched)
		buf_puts(out, "   ready, still being watched");
	buf_puts(out, progress_ended(p) ? "\n" : "   Ctrl-C for choices\n");
	return lines + 1;
}

void
progress_result(const struct progress *p, struct buf *out)
{
	char took[32];
	int64_t ns = p->ended_wall_ns - p->began_wall_ns;
	const char *what = p->what ? p->what : p->deployment;
	const char *did = NULL;

	if (strcmp(p->kind, "stop") == 0)
		did = "is stopped";
	else if (strcmp(p->kind, "remove") == 0)
		did = "is removed";
	else if (strcmp(p->kind, "scale") == 0)
		did = "is scaled";
	text_human_duration(ns > 0 ? (uint64_t)ns / 1000000 : 0, took, sizeof(took));
	if (did)
		buf_printf(out, "%s %s.  %s\n", what, did, took);
	else
		/* Crons and jobs alone serve nothing. */
		buf_printf(out, "%s revision %u %s.  %s\n", p->deployment, p->revision,
			   p->count ? "serves" : "is deployed", took);
}
