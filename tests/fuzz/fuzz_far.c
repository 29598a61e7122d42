/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What another node says on a channel of calls. Frames, calls, answers and rows that are taken are
 * what they are when they are written again; what may pass is whole frames.
 */
#include <assert.h>
#include <string.h>
#include "scheduler/far_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
a_call(const struct far_frame *f)
{
	struct far_call call, again;
	struct far_frame frame;
	struct buf b;

	if (!far_wire_get_call(f->data, f->bytes, &call))
		return;
	if (call.what < FAR_LOGS || call.what > FAR_FLOWS || call.what == FAR_RUN)
		return;
	buf_init(&b, MEM_CLI, FAR_HEAD + FAR_CALL_MAX);
	far_wire_put_call(&b, &call);
	assert(buf_ok(&b));
	assert(far_wire_next(b.data, b.length, &frame) == 1 && frame.kind == FAR_CALL);
	assert(far_wire_get_call(frame.data, frame.bytes, &again));
	assert(memcmp(&again.logs, &call.logs, sizeof(call.logs)) == 0);
	assert(memcmp(&again.exec, &call.exec, sizeof(call.exec)) == 0);
	assert(memcmp(&again.events, &call.events, sizeof(call.events)) == 0);
	assert(memcmp(&again.flows, &call.flows, sizeof(call.flows)) == 0);
	assert(again.wait == call.wait);
	assert(again.service == call.service && again.words_bytes == call.words_bytes);
	buf_fini(&b);
}

static void
rows(const void *data, size_t bytes)
{
	struct msg_why row, again;
	struct cursor in, back;
	struct buf b;
	bool bad;

	cursor_init(&in, data, bytes);
	while (far_wire_next_why(&in, &row, &bad)) {
		buf_init(&b, MEM_CLI, 4096);
		far_wire_put_why(&b, &row);
		cursor_init(&back, b.data, b.length);
		assert(far_wire_next_why(&back, &again, &bad));
		assert(memcmp(&row, &again, sizeof(row)) == 0);
		buf_fini(&b);
	}
}

static void
events(const void *data, size_t bytes)
{
	struct msg_event row, again;
	struct cursor in, back;
	struct buf b;
	bool bad;

	cursor_init(&in, data, bytes);
	while (far_wire_next_event(&in, &row, &bad)) {
		buf_init(&b, MEM_CLI, 4096);
		far_wire_put_event(&b, &row);
		cursor_init(&back, b.data, b.length);
		assert(far_wire_next_event(&back, &again, &bad));
		assert(memcmp(&row, &again, sizeof(row)) == 0);
		buf_fini(&b);
	}
}

static void
flows(const void *data, size_t bytes)
{
	struct msg_flow_row row, again;
	struct cursor in, back;
	struct buf b;
	bool bad;

	cursor_init(&in, data, bytes);
	while (far_wire_next_flow(&in, &row, &bad)) {
		buf_init(&b, MEM_CLI, 4096);
		far_wire_put_flow(&b, &row);
		cursor_init(&back, b.data, b.length);
		assert(far_wire_next_flow(&back, &again, &bad));
		assert(memcmp(&row, &again, sizeof(row)) == 0);
		buf_fini(&b);
	}
}

static void
an_answer(const struct far_frame *f)
{
	struct err err;
	const void *rest;
	size_t count;

	if (!far_wire_get_answer(f->data, f->bytes, &err, &rest, &count))
		return;
	assert(err.kind < ERR_KINDS_ && count <= f->bytes);
	rows(rest, count);
	events(rest, count);
	flows(rest, count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct far_frame f;
	size_t at = 0;

	while (far_wire_next(data + at, bytes - at, &f) == 1) {
		assert(f.bytes <= bytes - at - FAR_HEAD);
		if (f.kind == FAR_CALL)
			a_call(&f);
		if (f.kind == FAR_ANSWER)
			an_answer(&f);
		if (f.kind == FAR_DATA &&
		    (far_wire_may_go(f.data, f.bytes) || far_wire_may_come(f.data, f.bytes)))
			assert(far_wire_whole(f.data, f.bytes) == (long)f.bytes);
		at += FAR_HEAD + f.bytes;
	}
	return 0;
}
