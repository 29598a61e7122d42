/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace of a run: every input and every action goes into one hash, with its time and its bytes.
 * Two runs of a seed that differ anywhere differ there. On request the same in words.
 */
#include "tests/sim/inside.h"

#include <inttypes.h>
#include <string.h>

#define LEFT 0xa0761d6478bd642full
#define RIGHT 0xe7037ed1a0b428dbull

static uint64_t
fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ LEFT) * (b ^ RIGHT);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t
fold_bytes(uint64_t h, const void *data, size_t bytes)
{
	const uint8_t *at = data;
	uint64_t word[2];

	for (; bytes > 0; at += sizeof(word)) {
		size_t take = bytes < sizeof(word) ? bytes : sizeof(word);

		word[0] = word[1] = 0;
		memcpy(word, at, take);
		h = fold(h ^ word[0], word[1] + bytes);
		bytes -= take;
	}
	return h;
}

static const char *
input_name(enum step_input_kind kind)
{
	static const char *const names[] = {
		[STEP_START] = "start",
		[STEP_FILE] = "file",
		[STEP_TIMER] = "timer",
		[STEP_MORE] = "more",
		[STEP_DATAGRAM] = "datagram",
		[STEP_STREAM_UP] = "stream up",
		[STEP_STREAM_DATA] = "stream data",
		[STEP_STREAM_DOWN] = "stream down",
		[STEP_STREAM_ROOM] = "stream room",
		[STEP_DISK_DONE] = "disk done",
		[STEP_LOCAL] = "local",
	};

	return names[kind];
}

static const char *
action_name(enum step_action_kind kind)
{
	static const char *const names[] = {
		[STEP_SEND] = "send",
		[STEP_STREAM_OPEN] = "open stream",
		[STEP_STREAM_WRITE] = "write stream",
		[STEP_STREAM_CLOSE] = "close stream",
		[STEP_SET_TIMER] = "set timer",
		[STEP_APPEND] = "append",
		[STEP_REPLACE] = "replace",
		[STEP_TELL] = "tell",
	};

	return kind <= STEP_TELL ? names[kind] : "?";
}

static void
print_time(const struct sim *s)
{
	fprintf(s->trace, "%5" PRIu64 ".%06" PRIu64 " ", s->now_ns / SIM_S,
		s->now_ns % SIM_S / 1000);
}

static void
print_bytes(const struct sim *s, const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return;
	fprintf(s->trace, " %zu B:", bytes);
	for (size_t i = 0; i < bytes && i < 24; i++)
		fprintf(s->trace, "%s%02x", i % 4 == 0 ? " " : "", data[i]);
}

void
sim_trace_input(struct sim *s, uint32_t node, const struct step_input *in)
{
	uint64_t h = s->hash;

	h = fold(h ^ in->now_ns, (uint64_t)node << 32 | (uint64_t)in->kind << 16 | in->what);
	h = fold(h ^ in->token, (uint64_t)in->node << 32 | in->stream);
	h = fold(h ^ (uint64_t)in->wall_ns, (uint16_t)in->status);
	s->hash = fold_bytes(h, in->data, in->bytes);
	if (!s->trace)
		return;
	print_time(s);
	fprintf(s->trace, "%4u < %s", node, input_name(in->kind));
	if (in->node)
		fprintf(s->trace, " from %u", in->node);
	if (in->stream)
		fprintf(s->trace, " stream %08x", in->stream);
	if (in->kind == STEP_LOCAL || in->kind == STEP_FILE)
		fprintf(s->trace, " %u", in->what);
	if (in->token)
		fprintf(s->trace, " number %" PRIu64, in->token);
	if (in->status)
		fprintf(s->trace, " status %d", in->status);
	print_bytes(s, in->data, in->bytes);
	fputc('\n', s->trace);
}

void
sim_trace_action(struct sim *s, uint32_t node, const struct step_actions *all,
		 const struct step_action *a)
{
	const uint8_t *data = all->data + a->offset;
	uint64_t h = s->hash;

	h = fold(h ^ a->at_ns, (uint64_t)a->kind << 16 | a->what);
	h = fold(h ^ a->token, (uint64_t)a->node << 32 | a->stream);
	h = fold(h ^ a->after, node);
	s->hash = fold_bytes(h, data, a->bytes);
	if (!s->trace)
		return;
	print_time(s);
	fprintf(s->trace, "%4u   > %s", node, action_name(a->kind));
	if (a->node)
		fprintf(s->trace, " to %u", a->node);
	if (a->stream)
		fprintf(s->trace, " stream %08x", a->stream);
	if (a->kind == STEP_TELL || a->kind == STEP_APPEND || a->kind == STEP_REPLACE)
		fprintf(s->trace, " %u", a->what);
	if (a->token)
		fprintf(s->trace, " number %" PRIu64, a->token);
	if (a->after)
		fprintf(s->trace, " after %" PRIu64, a->after);
	if (a->kind == STEP_SET_TIMER)
		fprintf(s->trace, " at %" PRIu64, a->at_ns);
	print_bytes(s, data, a->bytes);
	fputc('\n', s->trace);
}

void
sim_trace_turn(struct sim *s, uint32_t node, const char *what)
{
	s->hash = fold(s->hash ^ s->now_ns, fold_bytes(node, what, strlen(what)));
	if (!s->trace)
		return;
	print_time(s);
	fprintf(s->trace, "%4u ! %s\n", node, what);
}
