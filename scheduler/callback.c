/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of asking to be called back. Datagrams may be lost or come twice: who asks says it
 * again until its owner ends it, who is asked remembers the numbers for longer than they are said.
 */
#include "scheduler/callback.h"

#include "base/buf.h"
#include "base/le.h"
#include "scheduler/shell.h"

#define MS_NS UINT64_C(1000000)

/* ---- the wire ---- */

void
callback_encode(const struct callback_message *m, uint8_t out[CALLBACK_BYTES])
{
	out[0] = CALLBACK_VERSION;
	out[1] = (uint8_t)m->kind;
	le_put(out + 2, 0, 2);
	le_put(out + 4, m->number, 8);
}

static bool
is_read(unsigned version, unsigned oldest, bool zero)
{
	if (version > CALLBACK_VERSION)
		return oldest > 0 && oldest <= CALLBACK_VERSION;
	return version > 0 && oldest == 0 && zero;
}

bool
callback_decode(const void *data, size_t bytes, struct callback_message *out)
{
	struct cursor c;

	cursor_init(&c, data, bytes < CALLBACK_BYTES ? bytes : CALLBACK_BYTES);
	unsigned version = cursor_u8(&c), kind = cursor_u8(&c), oldest = cursor_u8(&c);
	bool zero = cursor_u8(&c) == 0;
	out->number = cursor_u64(&c);
	if (!cursor_done(&c) || !is_read(version, oldest, zero) || kind < CALLBACK_ASK ||
	    kind > CALLBACK_THROUGH || (kind == CALLBACK_KEEP) != (out->number == 0) ||
	    (kind == CALLBACK_THROUGH && out->number > UINT32_MAX))
		return false;
	out->kind = (enum callback_kind)kind;
	return true;
}

/* False: the list is full, and it is tried again. */
static bool
say(struct step_actions *out, uint32_t node, enum callback_kind kind, uint64_t number)
{
	const struct callback_message m = {kind, number};
	uint8_t bytes[CALLBACK_BYTES];

	/* Two more are for what is told, and for the timer. */
	if (!step_actions_room(out, 3, CALLBACK_BYTES)) {
		out->more = true;
		return false;
	}
	callback_encode(&m, bytes);
	step_add(out, STEP_SEND, bytes, sizeof(bytes))->node = node;
	return true;
}

/* ---- who asks ---- */

bool
callback_ask(struct callback *cb, uint32_t node, uint64_t number)
{
	if (cb->asks_count == CALLBACK_ASKS_MAX)
		return false;
	cb->asks[cb->asks_count++] = (struct callback_asked){
		.node = node, .number = number, .wait_ms = CALLBACK_AGAIN_MS};
	cb->put = true;
	return true;
}

void
callback_end(struct callback *cb, uint64_t number)
{
	for (size_t i = 0; i < cb->asks_count; i++) {
		if (cb->asks[i].number != number)
			continue;
		cb->asks[i] = cb->asks[--cb->asks_count];
		return;
	}
}

/* Those whose time has come. False: there was no room for all. */
static bool
ask(struct callback *cb, uint64_t now_ns, uint64_t *due_ns, struct step_actions *out)
{
	for (size_t i = 0; i < cb->asks_count; i++) {
		struct callback_asked *a = &cb->asks[i];

		if (a->next_ns <= now_ns) {
			if (!say(out, a->node, CALLBACK_ASK, a->number))
				return false;
			a->next_ns = now_ns + a->wait_ms * MS_NS;
			a->wait_ms = a->wait_ms * 2 < CALLBACK_AGAIN_MAX_MS ? a->wait_ms * 2
									    : CALLBACK_AGAIN_MAX_MS;
		}
		*due_ns = a->next_ns < *due_ns ? a->next_ns : *due_ns;
	}
	return true;
}

/* ---- who is asked ---- */

static struct callback_heard *
heard(struct callback *cb, uint32_t node, uint64_t number, size_t *of_node_out)
{
	*of_node_out = 0;
	for (size_t i = 0; i < cb->heard_count; i++) {
		if (cb->heard[i].node != node)
			continue;
		if (cb->heard[i].number == number)
			return &cb->heard[i];
		++*of_node_out;
	}
	return NULL;
}

static void
forget_old(struct callback *cb, uint64_t now_ns)
{
	for (size_t i = 0; i < cb->heard_count;) {
		if (now_ns - cb->heard[i].since_ns < CALLBACK_HEARD_MS * MS_NS)
			i++;
		else
			cb->heard[i] = cb->heard[--cb->heard_count];
	}
}

static void
hear(struct callback *cb, uint32_t node, uint64_t number, uint64_t now_ns, struct step_actions *out)
{
	size_t of_node;

	forget_old(cb, now_ns);
	if (heard(cb, node, number, &of_node))
		return;
	if (cb->heard_count == CALLBACK_HEARD_MAX || of_node >= CALLBACK_HEARD_OF_NODE_MAX) {
		cb->refused++; /* it is asked again */
		return;
	}
	cb->heard[cb->heard_count++] = (struct callback_heard){node, number, now_ns};
	struct step_action *a = step_add(out, STEP_TELL, NULL, 0);
	a->what = CALLBACK_WANTED;
	a->node = node;
	a->token = number;
}

void
callback_again(struct callback *cb, uint32_t node, uint64_t number)
{
	size_t of_node;
	struct callback_heard *h = heard(cb, node, number, &of_node);

	if (h)
		*h = cb->heard[--cb->heard_count];
}

void
callback_keep(struct callback *cb, uint32_t node)
{
	if (cb->keeps_count == CALLBACK_KEEPS_MAX)
		return; /* its turn comes again */
	cb->keeps[cb->keeps_count++] = node;
	cb->put = true;
}

/* ---- the step ---- */

static void
take(struct callback *cb, const struct step_input *in, struct step_actions *out)
{
	struct callback_message m;

	/* On a datagram nothing follows, and only these are said. */
	if (in->bytes != CALLBACK_BYTES || !callback_decode(in->data, in->bytes, &m) ||
	    m.kind > CALLBACK_KEEP)
		cb->malformed++;
	else if (m.kind == CALLBACK_ASK)
		hear(cb, in->node, m.number, in->now_ns, out);
}

void
callback_step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct callback *cb = core;
	uint64_t due_ns = UINT64_MAX;

	cb->put = false;
	if (in->kind == STEP_DATAGRAM)
		take(cb, in, out);
	while (cb->keeps_count > 0 && say(out, cb->keeps[cb->keeps_count - 1], CALLBACK_KEEP, 0))
		cb->keeps_count--;
	if (cb->keeps_count == 0)
		(void)ask(cb, in->now_ns, &due_ns, out);
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = due_ns;
}

void
callback_core(struct callback *cb,
	      void (*tell)(void *arg, uint16_t what, uint32_t node, uint64_t token,
			   const void *data, size_t bytes),
	      void *arg, struct shell_core *out)
{
	*out = (struct shell_core){.service = CALLBACK_SERVICE,
				   .core = cb,
				   .step = callback_step,
				   .tell = tell,
				   .arg = arg};
}
