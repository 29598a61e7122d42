/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `events`: what changed, on all nodes of the cluster. A node that cannot be asked is named on
 * standard error, and left out until it is back. A stream that breaks is gone on with: this node's
 * from the last id, the others' from when it began, without what was seen before.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/render.h"
#include "cli/stream.h"
#include "cli/when.h"
#include "ring/events.h"
#include "wire/json_read.h"
#include "wire/sse.h"

enum { TIME_BYTES = 40, NODE_BYTES = 64, PLACES_MAX = 1024 };

/* How far the events of a node have been seen. */
struct place {
	char node[NODE_BYTES];
	int64_t id, wall_ns;
};

struct events {
	const struct cli *cli;
	int64_t since_wall_ns;
	char node[80];             /* of the query: "&node=NAME"; "" all */
	char last[SSE_NAME_BYTES]; /* id of this node's newest event; "" not known */
	int64_t began_wall_ns;
	int64_t after_wall_ns; /* what came later is asked for again when a stream breaks */
	struct place *places;
	size_t places_count, places_room;
};

static bool
is_filtered(const struct events *e)
{
	return e->since_wall_ns || e->cli->args.given[FLAG_TYPE];
}

static struct place *
place_of(struct events *e, const char *node)
{
	for (size_t i = 0; i < e->places_count; i++) {
		if (text_equal(e->places[i].node, node))
			return &e->places[i];
	}
	if (e->places_count == e->places_room) {
		size_t room = e->places_room ? 2 * e->places_room : 16;
		struct place *more = room <= PLACES_MAX
					     ? mem_resize(MEM_CLI, e->places, room, sizeof(*more))
					     : NULL;

		if (!more)
			return NULL;
		e->places = more;
		e->places_room = room;
	}
	struct place *p = &e->places[e->places_count++];
	*p = (struct place){.id = 0};
	text_copy(p->node, sizeof(p->node), node);
	return p;
}

/* It was seen before the stream broke. Ids of a node whose store was lost begin again, later. */
static bool
is_known(struct events *e, const json_t *event, int64_t wall_ns)
{
	struct place *p = place_of(e, json_read_text(event, "node"));
	int64_t id = json_read_int(event, "id");

	if (!p)
		return false;
	if (id <= p->id && wall_ns <= p->wall_ns)
		return true;
	p->id = id;
	p->wall_ns = wall_ns;
	return false;
}

static bool
is_wanted(struct events *e, const json_t *event)
{
	const char *type = e->cli->args.value[FLAG_TYPE];
	const char *is = json_read_text(event, "type");
	int64_t at = 0;

	text_untime(json_read_text(event, "ts"), &at);
	/* The nodes' clocks count, and not the one here. */
	if (e->after_wall_ns && at < e->after_wall_ns)
		e->after_wall_ns = at;
	return !is_known(e, event, at) && !(type && !events_filter(type, is)) &&
	       at >= e->since_wall_ns;
}

static void
show(const struct events *e, const json_t *event, const char *text, size_t bytes)
{
	struct render r = {.now_wall_ns = world_wall_ns(), .colour = e->cli->colour_out};
	struct buf out;

	if (cli_machine(e->cli)) {
		cli_out_json(e->cli, text, bytes);
		if (e->cli->output == CLI_YAML)
			printf("---\n");
		return;
	}
	buf_init(&out, MEM_CLI, 64 << 10);
	render_event(event, &r, &out);
	cli_out_buf(&out);
	buf_fini(&out);
}

static void
show_lost(struct events *e, const json_t *lost)
{
	const struct place *p = place_of(e, json_read_text(lost, "node"));
	int64_t from = json_read_int(lost, "from"), to = json_read_int(lost, "to");
	struct buf out;

	/* They are lost for who has not seen them. */
	if (p && p->id >= to)
		return;
	if (p && p->id >= from)
		from = p->id > 0 ? p->id + 1 : 0;
	buf_init(&out, MEM_CLI, 4096);
	if (from > 0)
		buf_printf(&out, "with ids from %lld to %lld", (long long)from, (long long)to);
	else
		buf_printf(&out, "up to the one with id %lld", (long long)to);
	if (json_read_text(lost, "node")[0]) {
		buf_puts(&out, ", of ");
		render_put_safe(&out, json_read_text(lost, "node"));
	}
	fprintf(stderr, "zlayer: events are lost, %s\n", buf_cstr(&out));
	buf_fini(&out);
}

/* ---- a stream ---- */

static void
take_message(void *arg, const char *name, const json_t *message, const char *text, size_t bytes)
{
	struct events *e = arg;

	if (strcmp(name, "away") == 0)
		stream_show_away(message);
	else if (strcmp(name, "lost") == 0)
		show_lost(e, message);
	else if (is_wanted(e, message))
		show(e, message, text, bytes);
}

/* The first time it begins now. */
static void
put_target(void *arg, char out[STREAM_TARGET_BYTES])
{
	struct events *e = arg;
	char time[TIME_BYTES] = "";

	if (e->after_wall_ns)
		text_time(e->after_wall_ns, 9, time, sizeof(time));
	else
		e->after_wall_ns = e->began_wall_ns;
	text_format(out, STREAM_TARGET_BYTES, "/v1/events/stream?%s%s%s", time[0] ? "after=" : "",
		    time, e->node);
}

static int
follow(struct events *e)
{
	struct stream stream = {
		.cli = e->cli, .arg = e, .target = put_target, .message = take_message};

	text_copy(stream.last, sizeof(stream.last), e->last);
	e->began_wall_ns = world_wall_ns();
	return stream_follow(&stream);
}

/* ---- what was ---- */

static void
show_one(const struct events *e, const json_t *event)
{
	char *text = cli_machine(e->cli) ? json_read_dump(event) : NULL;

	if (text || !cli_machine(e->cli))
		show(e, event, text, text ? strlen(text) : 0);
	mem_free(text);
}

/* Each by itself, unless a program wants all as they are. */
static int
show_past(struct events *e)
{
	bool whole = cli_machine(e->cli) && !is_filtered(e);
	char target[STREAM_TARGET_BYTES];
	struct err err = {0};
	struct buf answer;
	int status = 0;

	/* With a filter: all that there is to tell, and not the last ones of all kinds. */
	text_format(target, sizeof(target), "/v1/events?limit=%d%s", is_filtered(e) ? 1000 : 200,
		    e->node);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	if (client_get(e->cli, target, &answer, &err) < 0 ||
	    !(root = json_read_parse(buf_cstr(&answer), answer.length, &err)))
		status = cli_fail(e->cli, &err);
	else if (whole)
		status = cli_out_json(e->cli, buf_cstr(&answer), answer.length);
	const json_t *items = json_read_array(root, "items"), *away = json_read_array(root, "away");
	for (size_t i = 0; !whole && i < json_read_count(items); i++) {
		if (is_wanted(e, json_read_at(items, i)))
			show_one(e, json_read_at(items, i));
	}
	for (size_t i = 0; !whole && i < json_read_count(away); i++)
		stream_show_away(json_read_at(away, i));
	text_format(e->last, sizeof(e->last), "%lld", (long long)json_read_int(root, "newest"));
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

int
cmd_events(struct cli *cli)
{
	struct events e = {.cli = cli};
	const char *node = cli->args.value[FLAG_NODE];
	struct err err = {0};

	if (cli->args.given[FLAG_TYPE] && events_filter_check(cli->args.value[FLAG_TYPE], &err) < 0)
		return cli_fail(cli, &err);
	if (cli->args.given[FLAG_SINCE] &&
	    when_parse(cli->args.value[FLAG_SINCE], world_wall_ns(), &e.since_wall_ns, &err) < 0)
		return cli_fail(cli, &err);
	if (node && !text_is_label(node)) {
		err_set(&err, ERR_INVALID, "\"%.64s\" is not the name of a node", node);
		err_fix(&err, "zlayer node ls shows those that there are");
		return cli_fail(cli, &err);
	}
	if (node)
		text_format(e.node, sizeof(e.node), "&node=%s", node);
	e.after_wall_ns = e.since_wall_ns;
	int status = e.since_wall_ns || !cli->args.given[FLAG_FOLLOW] ? show_past(&e) : 0;

	if (cli->args.given[FLAG_FOLLOW]) {
		if (status == 0 && cli_flush(&err) < 0)
			status = cli_fail(cli, &err);
		if (status == 0)
			status = follow(&e);
	}
	mem_free(e.places);
	return status;
}
