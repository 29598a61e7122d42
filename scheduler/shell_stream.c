/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of cores over channels. A stream that a peer opened has no core until its first byte has
 * said which; one that this node opens says that byte itself, then what the core had already
 * written. Names of peers' streams are counted up, so a core never sees one twice.
 */

#include <assert.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/shell_inside.h"

struct stream {
	struct list link;
	struct shell *shell;
	struct shell_core_state *core; /* NULL: not known yet */
	uint32_t name;
	uint32_t node;
	struct channel *channel; /* NULL: could not be opened, is told soon */
	bool ours;
	bool up;
	bool closing; /* the core closed it before it was up: what it wrote goes first */
	int16_t status;
	struct buf early; /* written before it was up */
};

static struct stream *
find(const struct shell_core_state *c, uint32_t name)
{
	for (struct list *l = c->streams.next; l != &c->streams; l = l->next) {
		struct stream *t = container_of(l, struct stream, link);

		if (t->name == name)
			return t;
	}
	return NULL;
}

static struct stream *
stream_new(struct shell *s, struct list *home, bool ours)
{
	struct stream *t = mem_zalloc(MEM_SCHEDULER, sizeof(*t));

	if (!t)
		return NULL;
	t->shell = s;
	t->ours = ours;
	s->channels += !ours;
	buf_init(&t->early, MEM_SCHEDULER, SHELL_EARLY_MAX);
	list_init(&t->link);
	list_push(home, &t->link);
	return t;
}

static void
stream_free(struct stream *t)
{
	t->shell->channels -= !t->ours;
	list_remove(&t->link);
	buf_fini(&t->early);
	mem_free(t);
}

static void
input(struct shell_core_state *c, enum step_input_kind kind, const struct stream *t,
      const void *data, size_t bytes)
{
	shell_step(c, &(struct step_input){.kind = kind,
					   .stream = t->name,
					   .node = t->node,
					   .status = t->status,
					   .data = data,
					   .bytes = bytes});
}

/* Told in the loop's next turn: a step is under way. */
static void
fail_soon(struct stream *t, enum err_kind kind)
{
	channel_abort(t->channel);
	t->channel = NULL;
	t->status = (int16_t)kind;
	uv_timer_start(&t->shell->soon, t->shell->soon.timer_cb, 0, 0);
}

static void
tell_down(struct stream *t)
{
	struct shell_core_state *c = t->core;
	struct stream last = *t;

	stream_free(t);
	if (c && !last.closing)
		input(c, STEP_STREAM_DOWN, &last, NULL, 0);
}

void
shell_stream_soon(struct shell *s)
{
	for (size_t i = 0; i < s->cores_count; i++) {
		struct list *all = &s->cores[i]->streams;
		struct list *l = all->next;

		while (l != all) {
			struct stream *t = container_of(l, struct stream, link);

			l = l->next;
			if (t->channel)
				continue;
			tell_down(t);
			l = all->next; /* the step may have changed the list */
		}
	}
}

/* ---- what the channel says ---- */

static void
our_stream_up(struct stream *t, struct channel *channel)
{
	uint8_t service = t->core->calls.service;

	if (!channel_write(channel, &service, 1) ||
	    (t->early.length > 0 && !channel_write(channel, t->early.data, t->early.length)))
		return; /* `down` has come */
	if (t->closing) {
		channel_close(channel);
		stream_free(t);
		return;
	}
	buf_reset(&t->early);
	t->up = true;
	input(t->core, STEP_STREAM_UP, t, NULL, 0);
}

static void
hand_over(struct shell *s, struct channel *channel, void (*take)(void *arg, struct channel *c))
{
	if (take)
		take(s->config.arg, channel);
	else
		channel_abort(channel);
}

/* Another node that shows this one's certificate may only be asked who it is. */
static bool
is_known(const struct shell *s, const struct channel *channel, uint32_t node)
{
	return map_get_u64(&s->peers, node) ||
	       (channel_kind(channel) == CHANNEL_WHO && node == s->config.self->node);
}

static void
on_up(void *arg, struct channel *channel)
{
	struct stream *t = arg;
	struct shell *s = t->shell;
	void (*take)(void *arg, struct channel *c) = NULL;

	if (t->ours) {
		our_stream_up(t, channel);
		return;
	}
	t->node = channel_peer(channel)->node;
	if (channel_kind(channel) != CHANNEL_ADMISSION && !is_known(s, channel, t->node)) {
		s->counters.strangers++; /* was removed, or is not known here yet */
		stream_free(t);
		channel_abort(channel);
		return;
	}
	switch (channel_kind(channel)) {
	case CHANNEL_GOSSIP: /* its first byte says whose it is */
		return;
	case CHANNEL_ADMISSION:
		take = s->config.admission;
		break;
	case CHANNEL_STORE:
		take = s->config.store;
		break;
	case CHANNEL_CALL:
		take = s->config.call;
		break;
	case CHANNEL_CALLBACK:
	case CHANNEL_THROUGH:
		take = s->config.callback;
		break;
	case CHANNEL_WHO:
		take = s->config.who;
		break;
	}
	stream_free(t);
	hand_over(s, channel, take);
}

/* A peer's first byte. */
static bool
find_core(struct stream *t, uint8_t service)
{
	struct shell_core_state *c = shell_find(t->shell, service);

	if (!c)
		return false;
	t->core = c;
	t->name = ++c->names & ~STEP_STREAM_OURS;
	t->up = true;
	list_remove(&t->link);
	list_push(&c->streams, &t->link);
	return true;
}

static void
on_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct stream *t = arg;
	struct shell_core_state *c = t->core;
	const uint8_t *at = data;
	uint32_t name = t->name;

	if (!c) {
		if (!find_core(t, at[0])) {
			t->shell->counters.malformed++;
			channel_abort(channel);
			stream_free(t);
			return;
		}
		c = t->core;
		name = t->name;
		input(c, STEP_STREAM_UP, t, NULL, 0);
		at++;
		bytes--;
	}
	/* Any step may have closed it. */
	while (bytes > 0 && (t = find(c, name)) != NULL && t->channel) {
		size_t piece = bytes < STEP_WRITE_MAX ? bytes : STEP_WRITE_MAX;

		input(c, STEP_STREAM_DATA, t, at, piece);
		at += piece;
		bytes -= piece;
	}
}

static void
on_room(void *arg, struct channel *channel)
{
	struct stream *t = arg;

	(void)channel;
	if (t->core && t->up)
		input(t->core, STEP_STREAM_ROOM, t, NULL, 0);
}

static void
on_down(void *arg, struct channel *channel, const struct err *why)
{
	struct stream *t = arg;

	(void)channel;
	t->channel = NULL;
	t->status = (int16_t)why->kind;
	if (!t->core)
		stream_free(t);
	else if (t->core->stepping)
		fail_soon(t, why->kind);
	else
		tell_down(t);
}

static const struct channel_calls calls = {on_up, on_data, on_room, on_down};

/* ---- what the core wants ---- */

void
shell_stream_open(struct shell_core_state *c, const struct step_action *a)
{
	struct shell *s = c->shell;
	const struct shell_peer_state *p = map_get_u64(&s->peers, a->node);
	struct stream *t = stream_new(s, &c->streams, true);
	struct err err = {0};

	if (!t) {
		/* The core's own time-out ends it. */
		log_event(LOG_WARN, "no memory for a stream to another node",
			  log_u("peer", a->node), LOG_END);
		return;
	}
	t->core = c;
	t->name = a->stream;
	t->node = a->node;
	if (!p || p->address.port == 0 || p->dials)
		fail_soon(t, ERR_UNREACHABLE);
	else if (channel_connect(s->config.loop, s->config.rules, &p->address, a->node,
				 CHANNEL_GOSSIP, &calls, t, &t->channel, &err) < 0)
		fail_soon(t, err.kind);
}

void
shell_stream_write(struct shell_core_state *c, uint32_t name, const void *data, size_t bytes)
{
	struct stream *t = find(c, name);

	if (!t || !t->channel || t->closing)
		return;
	if (t->up) {
		channel_write(t->channel, data, bytes);
		return;
	}
	buf_put(&t->early, data, bytes);
	if (!buf_ok(&t->early))
		fail_soon(t, ERR_LIMIT);
}

void
shell_stream_close(struct shell_core_state *c, uint32_t name)
{
	struct stream *t = find(c, name);

	if (!t)
		return;
	if (t->channel && !t->up && t->early.length > 0) {
		t->closing = true;
		return;
	}
	if (t->channel)
		channel_close(t->channel);
	stream_free(t);
}

/* Who has not said what it wants for the longest time gives way: else anybody could keep all others
 * out by saying nothing. */
static bool
make_room(struct shell *s)
{
	if (s->channels < SHELL_CHANNELS_MAX)
		return true;
	if (list_empty(&s->nameless))
		return false;
	struct stream *oldest = container_of(s->nameless.next, struct stream, link);
	s->counters.channels_refused++;
	channel_abort(oldest->channel);
	stream_free(oldest);
	return true;
}

void
shell_stream_accept(struct shell *s, int fd)
{
	struct stream *t = make_room(s) ? stream_new(s, &s->nameless, false) : NULL;
	struct err err = {0};

	if (!t) {
		s->counters.channels_refused++;
		fd_close(&fd);
		return;
	}
	if (channel_accept(s->config.loop, s->config.rules, fd, &calls, t, &t->channel, &err) < 0) {
		s->counters.channels_refused++;
		stream_free(t);
	}
}

void
shell_stream_abort_node(struct shell *s, uint32_t node)
{
	struct list *at, *after;

	list_each (at, after, &s->nameless) {
		struct stream *t = container_of(at, struct stream, link);

		if (t->node == node) {
			channel_abort(t->channel);
			stream_free(t);
		}
	}
	for (size_t i = 0; i < s->cores_count; i++) {
		struct list *it, *next;

		list_each (it, next, &s->cores[i]->streams) {
			struct stream *t = container_of(it, struct stream, link);

			if (t->node == node && t->channel)
				fail_soon(t, ERR_DENIED);
		}
	}
}

static void
abort_list(struct list *all)
{
	while (!list_empty(all)) {
		struct stream *t = container_of(all->next, struct stream, link);

		channel_abort(t->channel);
		stream_free(t);
	}
}

void
shell_stream_abort_all(struct shell *s)
{
	abort_list(&s->nameless);
	for (size_t i = 0; i < s->cores_count; i++)
		abort_list(&s->cores[i]->streams);
}
