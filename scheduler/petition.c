/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The asking side of admission (scheduler/admission.h has the messages). Why an address gave no
 * answer is kept for the error, which names all of them. Each step is begun by the timer, never
 * from within a channel's callback, so that a channel is never freed under its own feet.
 */
#include "scheduler/petition.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { LENGTH_BYTES = 4, PAUSE_MS = 1000, QUESTION_CAP = ADMISSION_QUESTION_MAX + LENGTH_BYTES };

struct petition {
	uv_timer_t timer;
	struct petition_config config;
	struct addr addresses[PETITION_ADDRESSES_MAX];
	size_t at; /* the address that is being asked, or comes next */
	unsigned round;
	uint64_t again_until_ms; /* of the loop */
	struct channel *channel;
	struct identity from;
	struct buf in;
	struct err err; /* what becomes of it when nobody answers */
	bool freed;
};

static void
wipe(struct petition *p)
{
	mem_wipe(&p->config.question, sizeof(p->config.question));
	buf_fini(&p->in);
	channel_rules_unref(p->config.rules);
}

static void
closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
petition_free(struct petition *p)
{
	if (!p || p->freed)
		return;
	p->freed = true;
	channel_abort(p->channel);
	wipe(p);
	uv_close((uv_handle_t *)&p->timer, closed);
}

/* ---- one address ---- */

static void step(uv_timer_t *timer);

static void
note(struct petition *p, const char *why)
{
	char where[ADDR_TEXT_BYTES];

	addr_put(&p->addresses[p->at], where, sizeof(where));
	err_why(&p->err, "%s: %s", where, why);
}

static void
next(struct petition *p)
{
	channel_abort(p->channel);
	p->channel = NULL;
	p->at++;
	uv_timer_start(&p->timer, step, 0, 0);
}

static void
give(struct petition *p, const struct admission_answer *answer, const struct err *err)
{
	struct channel *channel = p->channel;
	const struct addr address = p->addresses[p->at < p->config.count ? p->at : 0];

	p->channel = NULL;
	uv_timer_stop(&p->timer);
	if (channel)
		channel_close(channel);
	p->config.done(p->config.arg, answer, &p->from, &address, err);
}

/* Times of a certificate that are not now: most often it is this machine's clock that is wrong. */
static void
wrong_clock(struct petition *p, const struct identity *who)
{
	char from[40], to[40], now[40];
	struct err err = {0};

	text_time(who->not_before_s * 1000000000, 0, from, sizeof(from));
	text_time(who->not_after_s * 1000000000, 0, to, sizeof(to));
	text_time(world_wall_ns(), 0, now, sizeof(now));
	err_set(&err, ERR_DENIED, "the clocks of this node and of %s do not agree", who->name);
	err_why(&err, "its certificate is good from %s to %s; here it is %s", from, to, now);
	err_fix(&err, "set the clock of this machine right (timedatectl), or that of %s",
		who->name);
	give(p, NULL, &err);
}

static void
up(void *arg, struct channel *c)
{
	struct petition *p = arg;
	struct buf question;

	p->from = *channel_peer(c);
	if (channel_standing(c) == CHANNEL_LAPSED) {
		wrong_clock(p, channel_peer(c));
		return;
	}
	buf_init(&question, MEM_SCHEDULER, QUESTION_CAP);
	admission_put_question(&p->config.question, &question);
	if (buf_ok(&question))
		(void)channel_write(c, question.data, question.length); /* `down` says more */
	else
		next(p);
	mem_wipe(question.data, question.capacity);
	buf_fini(&question);
}

static void
take(struct petition *p, const uint8_t *message, size_t bytes)
{
	struct admission_answer answer;
	struct err err = {0};

	if (admission_take_answer(message, bytes, &answer, &err) < 0) {
		give(p, NULL, &err);
		return;
	}
	give(p, &answer, NULL);
	admission_answer_fini(&answer);
}

static void
data(void *arg, struct channel *c, const void *bytes, size_t count)
{
	struct petition *p = arg;
	struct cursor cursor;

	(void)c;
	buf_put(&p->in, bytes, count);
	cursor_init(&cursor, p->in.data, p->in.length);
	uint32_t length = cursor_u32(&cursor);
	if (!buf_ok(&p->in) || (cursor_ok(&cursor) && length > ADMISSION_ANSWER_MAX)) {
		note(p, "its answer is too long");
		next(p);
		return;
	}
	if (!cursor_ok(&cursor) || cursor_left(&cursor) < length)
		return;
	/* `done` may free the petition: the message must live on. */
	struct buf in = p->in;
	buf_init(&p->in, MEM_SCHEDULER, ADMISSION_ANSWER_MAX + LENGTH_BYTES);
	take(p, in.data + LENGTH_BYTES, length);
	buf_fini(&in);
}

static void
room(void *arg, struct channel *c)
{
	(void)arg;
	(void)c;
}

static void
down(void *arg, struct channel *c, const struct err *why)
{
	struct petition *p = arg;

	(void)c;
	p->channel = NULL;
	if (why->kind == ERR_NONE)
		note(p, "it closed the connection without an answer");
	else
		note(p, why->whys > 0 ? why->why[0] : why->what);
	next(p);
}

static const struct channel_calls calls = {up, data, room, down};

/* ---- all of them ---- */

static void
too_late(uv_timer_t *timer)
{
	struct petition *p = timer->data;

	note(p, "it did not answer in time");
	next(p);
}

static void
ask(struct petition *p)
{
	struct err err = {0};

	buf_reset(&p->in);
	uv_timer_start(&p->timer, too_late, PETITION_ANSWER_MS, 0);
	if (channel_connect(p->config.loop, p->config.rules, &p->addresses[p->at], 0,
			    CHANNEL_ADMISSION, &calls, p, &p->channel, &err) == 0)
		return;
	note(p, err.whys > 0 ? err.why[0] : err.what);
	next(p);
}

static void
nobody(struct petition *p)
{
	err_set(&p->err, ERR_UNREACHABLE, "no node of the cluster gave an answer");
	err_fix(&p->err, "let TCP pass to these addresses, and see that the nodes are up there");
}

static void
step(uv_timer_t *timer)
{
	struct petition *p = timer->data;

	if (p->at < p->config.count) {
		ask(p);
	} else if (++p->round < PETITION_ROUNDS && uv_now(p->config.loop) < p->again_until_ms) {
		p->at = 0;
		nobody(p);
		uv_timer_start(&p->timer, step, PAUSE_MS, 0);
	} else {
		give(p, NULL, &p->err);
	}
}

int
petition_new(const struct petition_config *config, struct petition **out, struct err *err)
{
	struct petition *p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));

	assert(config->count > 0);
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "cannot ask other nodes");
	p->config = *config;
	if (p->config.count > PETITION_ADDRESSES_MAX)
		p->config.count = PETITION_ADDRESSES_MAX;
	memcpy(p->addresses, config->addresses, p->config.count * sizeof(*p->addresses));
	p->config.addresses = NULL;
	channel_rules_ref(p->config.rules);
	buf_init(&p->in, MEM_SCHEDULER, ADMISSION_ANSWER_MAX + LENGTH_BYTES);
	nobody(p);
	p->again_until_ms = uv_now(config->loop) + PETITION_AGAIN_MS;
	uv_timer_init(config->loop, &p->timer);
	p->timer.data = p;
	uv_timer_start(&p->timer, step, 0, 0);
	*out = p;
	return 0;
}
