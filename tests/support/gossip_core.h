/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_GOSSIP_CORE_H
#define TESTS_SUPPORT_GOSSIP_CORE_H

/* One gossip core, node 1 of a roster 1..8, with a disk that obeys at once, for tests that make
 * their inputs by hand. What a step gave out stays in `out` (the last piece, when there were more).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/gossip/gossip.h"
#include "tests/support/prop.h"

#define CORE_TEST_MS UINT64_C(1000000)

enum { CORE_TEST_NODES = 8 };

struct core_test {
	struct gossip *g;
	uint64_t now;
	uint64_t timer;
	struct step_actions *out;
	size_t sent; /* datagrams, in the last input */
	size_t tells;
	uint32_t opened;  /* the last stream of ours */
	uint32_t written; /* a stream that was written to in the last input; 0: none */
	uint32_t closed;
	struct step_action last_sent;
	uint8_t last_data[STEP_DATAGRAM_MAX];
	uint8_t stream[1 << 20]; /* all that was written in the last input */
	size_t stream_bytes;
};

static inline void core_test_step(struct core_test *t, struct step_input in);

static inline void
core_test_note(struct core_test *t, const struct step_action *a)
{
	const uint8_t *data = t->out->data + a->offset;

	prop_check(a->offset + (size_t)a->bytes <= t->out->bytes);
	switch (a->kind) {
	case STEP_SEND:
		prop_check(a->bytes <= STEP_DATAGRAM_MAX && a->node != 1);
		t->sent++;
		t->last_sent = *a;
		memcpy(t->last_data, data, a->bytes);
		break;
	case STEP_STREAM_OPEN:
		t->opened = a->stream;
		break;
	case STEP_STREAM_WRITE:
		prop_check(a->bytes <= STEP_WRITE_MAX);
		t->written = a->stream;
		if (t->stream_bytes + a->bytes <= sizeof(t->stream)) {
			memcpy(t->stream + t->stream_bytes, data, a->bytes);
			t->stream_bytes += a->bytes;
		}
		break;
	case STEP_STREAM_CLOSE:
		t->closed = a->stream;
		break;
	case STEP_SET_TIMER:
		prop_check(a->at_ns >= t->now);
		t->timer = a->at_ns;
		break;
	case STEP_TELL:
		t->tells++;
		break;
	case STEP_REPLACE:
	case STEP_APPEND:
		break;
	}
}

static inline void
core_test_step(struct core_test *t, struct step_input in)
{
	uint64_t token = 0;

	t->sent = 0;
	t->tells = 0;
	t->written = 0;
	t->closed = 0;
	t->stream_bytes = 0;
	in.now_ns = t->now;
	do {
		step_actions_clear(t->out);
		gossip_step(t->g, &in, t->out);
		for (size_t i = 0; i < t->out->count; i++) {
			core_test_note(t, &t->out->items[i]);
			if (t->out->items[i].kind == STEP_REPLACE)
				token = t->out->items[i].token;
		}
		in = (struct step_input){.kind = STEP_MORE, .now_ns = t->now};
		if (!t->out->more && token) {
			in.kind = STEP_DISK_DONE;
			in.token = token;
			t->out->more = true;
			token = 0;
		}
	} while (t->out->more);
}

static inline void
core_test_init(struct core_test *t)
{
	struct gossip_config c = {.self = 1, .seed = 42};

	memset(t, 0, sizeof(*t));
	t->now = 1000 * 1000 * CORE_TEST_MS;
	t->timer = UINT64_MAX;
	t->out = malloc(sizeof(*t->out));
	prop_check(t->out && gossip_new(&c, &t->g) == 0);
	for (uint32_t node = 2; node <= CORE_TEST_NODES; node++)
		prop_check(gossip_roster_add(t->g, node) == GOSSIP_OK);
}

static inline void
core_test_start(struct core_test *t)
{
	core_test_init(t);
	core_test_step(t, (struct step_input){.kind = STEP_START});
}

static inline void
core_test_fini(struct core_test *t)
{
	gossip_free(t->g);
	free(t->out);
}

static inline void
core_test_datagram(struct core_test *t, uint32_t from, const void *data, size_t bytes)
{
	core_test_step(t, (struct step_input){
				  .kind = STEP_DATAGRAM,
				  .node = from,
				  .data = data,
				  .bytes = bytes,
			  });
}

/* Lets time pass, with each timer on its way. */
static inline void
core_test_pass(struct core_test *t, uint64_t ms)
{
	uint64_t end = t->now + ms * CORE_TEST_MS;
	unsigned rounds = 0;

	while (t->timer <= end && ++rounds < 10000) {
		t->now = t->timer > t->now ? t->timer : t->now;
		t->timer = UINT64_MAX;
		core_test_step(t, (struct step_input){.kind = STEP_TIMER});
	}
	t->now = end;
}

/* What must be so after any input. */
static inline void
core_test_check(struct core_test *t)
{
	struct gossip_walk w = {.node = 0};
	struct gossip_entry e, before = {.node = 0};
	struct gossip_member m, last = {.node = 0};
	size_t live = 0;

	for (size_t i = 0; i < gossip_members(t->g); i++) {
		gossip_member_at(t->g, i, &m);
		prop_check(m.node > last.node && m.state <= GOSSIP_LEFT);
		prop_check((m.state == GOSSIP_UNKNOWN) == (m.incarnation == 0));
		live += m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT;
		last = m;
	}
	prop_check(live == gossip_members_live(t->g));
	while (gossip_each(t->g, &w, &e)) {
		prop_check(gossip_member(t->g, e.node, &m) && e.bytes <= GOSSIP_VALUE_MAX);
		prop_check(e.node > before.node ||
			   (e.node == before.node &&
			    (e.type > before.type || (e.type == before.type && e.id > before.id))));
		before = e;
	}
	prop_check(gossip_member(t->g, 1, &m) && m.incarnation > 0 && m.state == GOSSIP_ALIVE);
}

#endif
