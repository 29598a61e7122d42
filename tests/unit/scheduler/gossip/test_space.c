/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: what is applied, what waits, what is refused, how it is passed on and asked for, and
 * how one message brings a namespace up to date. Node 1 is the core; 2 to 8 are its roster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "scheduler/gossip/core.h"
#include "scheduler/gossip/delta.h"
#include "scheduler/gossip/lane.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/packet.h"
#include "scheduler/gossip/space.h"
#include "tests/support/gossip_core.h"

static struct core_test t;
static struct gossip scratch;
static struct packet packet;

static void
deliver(uint32_t from)
{
	struct step_actions *out = malloc(sizeof(*out));

	step_actions_clear(out);
	scratch.out = out;
	packet_send(&scratch, &packet, 1);
	core_test_datagram(&t, from, out->data, out->bytes);
	free(out);
}

static int
set_up(void **state)
{
	(void)state;
	core_test_start(&t);
	for (uint32_t node = 2; node <= CORE_TEST_NODES; node++) {
		packet_begin(&packet);
		packet_open(&scratch, &packet, GOSSIP_MEMBERS, 0);
		packet_member(&packet, node, node, core_status(1, GOSSIP_ALIVE));
		deliver(node);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	core_test_check(&t);
	core_test_fini(&t);
	return 0;
}

static void
change_of(uint32_t from, uint32_t node, uint64_t version, unsigned span, enum change_op op,
	  uint64_t id, const char *value, uint8_t flags)
{
	struct change c = {
		.node = node,
		.type = 1,
		.bytes = (uint16_t)strlen(value),
		.version = version,
		.id = id,
		.span = (uint16_t)span,
		.op = (uint8_t)op,
		.value = (const uint8_t *)value,
	};

	packet_begin(&packet);
	packet_open(&scratch, &packet, GOSSIP_CHANGES, flags);
	packet_change(&packet, &c);
	deliver(from);
}

/* Node 3 says of itself; birth 1 unless said. */
static void
put(uint64_t sequence, uint64_t id, const char *value)
{
	change_of(2, 3, gossip_version(1, sequence), 1, CHANGE_PUT, id, value, 0);
}

static void
drop(uint64_t sequence, uint64_t id)
{
	change_of(2, 3, gossip_version(1, sequence), 1, CHANGE_DROP, id, "", 0);
}

static void
expect(uint64_t id, const char *value)
{
	struct gossip_entry e;

	if (!value) {
		assert_false(gossip_get(t.g, 3, 1, id, &e));
		return;
	}
	assert_true(gossip_get(t.g, 3, 1, id, &e));
	assert_int_equal(e.bytes, strlen(value));
	assert_memory_equal(e.value, value, e.bytes);
}

static uint64_t
version(void)
{
	struct gossip_member m;

	assert_true(gossip_member(t.g, 3, &m));
	return m.version;
}

static void
test_in_order(void **state)
{
	(void)state;
	put(1, 10, "a");
	assert_int_equal(t.tells, 1);
	put(2, 10, "b");
	put(3, 11, "c");
	expect(10, "b");
	expect(11, "c");
	drop(4, 10);
	expect(10, NULL);
	assert_int_equal(t.tells, 1);
	assert_true(version() == gossip_version(1, 4));
	put(2, 10, "b"); /* late */
	expect(10, NULL);
	assert_int_equal(t.tells, 0);
	assert_int_equal(gossip_counters(t.g)->duplicates, 1);
}

/* What comes early waits; a drop that overtakes its put leaves nothing behind. */
static void
test_out_of_order(void **state)
{
	(void)state;
	put(1, 10, "a");
	drop(3, 11);
	put(5, 12, "e");
	put(4, 12, "d");
	assert_true(version() == gossip_version(1, 1));
	expect(12, NULL);
	put(2, 11, "b");
	assert_true(version() == gossip_version(1, 5));
	expect(11, NULL);
	expect(12, "e");
	assert_int_equal(t.g->pending_count, 0);
	assert_int_equal(gossip_counters(t.g)->gaps, 3);
}

static void
test_birth(void **state)
{
	(void)state;
	put(1, 10, "a");
	put(2, 11, "b");
	/* The next life, not from its beginning: waits. */
	change_of(2, 3, gossip_version(4, 2), 1, CHANGE_PUT, 20, "x", 0);
	expect(10, "a");
	change_of(2, 3, gossip_version(4, 1), 1, CHANGE_VOID, 0, "", 0);
	expect(10, NULL);
	expect(11, NULL);
	expect(20, "x");
	assert_true(version() == gossip_version(4, 2));
	put(3, 12, "c"); /* of the former life */
	expect(12, NULL);
}

/* A span stands for what was overwritten. */
static void
test_span(void **state)
{
	(void)state;
	change_of(2, 3, gossip_version(1, 9), 9, CHANGE_PUT, 10, "a", 0);
	expect(10, "a");
	change_of(2, 3, gossip_version(1, 20), 5, CHANGE_PUT, 11, "b", 0);
	expect(11, NULL);
	change_of(2, 3, gossip_version(1, 12), 5, CHANGE_PUT, 12, "c", 0); /* from 7 */
	expect(12, "c");
	assert_true(version() == gossip_version(1, 12));
}

static void
test_own(void **state)
{
	struct gossip_entry e;
	char value[GOSSIP_VALUE_MAX + 1] = "";

	(void)state;
	assert_int_equal(gossip_put(t.g, 1, 1, "x", 1), GOSSIP_OK);
	assert_int_equal(gossip_put(t.g, 1, 1, "x", 1), GOSSIP_UNCHANGED);
	assert_true(gossip_get(t.g, 1, 1, 1, &e));
	uint64_t before = e.version;
	assert_int_equal(gossip_put(t.g, 1, 1, "", 0), GOSSIP_OK);
	assert_true(gossip_get(t.g, 1, 1, 1, &e) && e.version == before + 1 && e.bytes == 0);
	assert_int_equal(gossip_put(t.g, 1, 2, value, GOSSIP_VALUE_MAX), GOSSIP_OK);
	assert_int_equal(gossip_put(t.g, 1, 3, value, GOSSIP_VALUE_MAX + 1), GOSSIP_FULL);
	assert_int_equal(gossip_drop(t.g, 1, 3), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_drop(t.g, 1, 2), GOSSIP_OK);
	core_test_step(&t, (struct step_input){.kind = STEP_LOCAL});
	assert_int_equal(t.tells, 0); /* it knows */
	assert_true(t.sent > 0);
	/* Nobody else writes here. */
	change_of(2, 1, e.version, 1, CHANGE_PUT, 1, "y", 0);
	assert_true(gossip_get(t.g, 1, 1, 1, &e) && e.bytes == 0);
}

/* Somebody holds what this life has not written (its file was lost): it begins anew above that. */
static void
test_outgrown(void **state)
{
	struct gossip_entry e;
	struct gossip_member m;

	(void)state;
	assert_true(gossip_member(t.g, 1, &m));
	uint32_t known = m.incarnation + 30;
	assert_int_equal(gossip_put(t.g, 1, 1, "x", 1), GOSSIP_OK);
	packet_begin(&packet);
	packet_open(&scratch, &packet, GOSSIP_IHAVE, 0);
	packet_mark(&packet, 1, gossip_version(known, 7));
	deliver(2);
	assert_true(gossip_member(t.g, 1, &m));
	assert_int_equal(m.incarnation, known + 1);
	assert_int_equal(gossip_version_birth(m.version), known + 1);
	assert_true(gossip_get(t.g, 1, 1, 1, &e) && e.bytes == 1);
}

static void
test_entries_limit(void **state)
{
	uint8_t value[GOSSIP_VALUE_MAX] = {0};
	enum gossip_result r = GOSSIP_OK;
	size_t bytes = 0, count = 0;

	(void)state;
	while ((r = gossip_put(t.g, 1, count, value, sizeof(value))) == GOSSIP_OK) {
		bytes += sizeof(value) + SPACE_ENTRY_BYTES;
		count++;
	}
	assert_int_equal(r, GOSSIP_FULL);
	assert_true(bytes <= GOSSIP_SPACE_BYTES_MAX &&
		    bytes + sizeof(value) + SPACE_ENTRY_BYTES > GOSSIP_SPACE_BYTES_MAX);
	while (count-- > 0)
		assert_int_equal(gossip_drop(t.g, 1, count), GOSSIP_OK);
	for (count = 0; gossip_put(t.g, 1, count, value, 1) == GOSSIP_OK;)
		count++;
	assert_int_equal(count, GOSSIP_ENTRIES_MAX);
}

static void
test_each(void **state)
{
	const struct {
		uint16_t type;
		uint64_t id;
	} order[] = {{1, 5}, {1, 9}, {2, 1}, {3, 0}};
	struct gossip_walk w = {.node = 1};
	struct gossip_entry e;

	(void)state;
	put(1, 77, "other");
	for (size_t i = 4; i-- > 0;)
		assert_int_equal(gossip_put(t.g, order[i].type, order[i].id, "v", 1), GOSSIP_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_true(gossip_each(t.g, &w, &e));
		assert_int_equal(e.type, order[i].type);
		assert_int_equal(e.id, order[i].id);
	}
	assert_false(gossip_each(t.g, &w, &e));
	w = (struct gossip_walk){.node = 0};
	for (size_t i = 0; i < 5; i++)
		assert_true(gossip_each(t.g, &w, &e));
	assert_int_equal(e.node, 3);
	assert_false(gossip_each(t.g, &w, &e));
	w = (struct gossip_walk){.node = 99};
	assert_false(gossip_each(t.g, &w, &e));
}

/* ---- passing on ---- */

static void
test_prune(void **state)
{
	struct link *l = &t.g->links[0];
	uint32_t node = l->node;

	(void)state;
	core_test_pass(&t, 50);
	assert_true(l->eager);
	change_of(node, 3, gossip_version(1, 1), 1, CHANGE_PUT, 10, "a", 0);
	assert_true(l->eager);
	change_of(node, 3, gossip_version(1, 1), 1, CHANGE_PUT, 10, "a", PACKET_REPLY);
	assert_true(l->eager); /* it was asked for */
	uint64_t before = gossip_counters(t.g)->sent[GOSSIP_PRUNE];
	change_of(node, 3, gossip_version(1, 1), 1, CHANGE_PUT, 10, "a", 0);
	assert_false(l->eager);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_PRUNE], before + 1);
	/* What is under way already is not answered each time. */
	change_of(node, 3, gossip_version(1, 1), 1, CHANGE_PUT, 10, "a", 0);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_PRUNE], before + 1);
}

static void
mark(uint32_t from, enum gossip_message kind, uint32_t node, uint64_t version_)
{
	packet_begin(&packet);
	packet_open(&scratch, &packet, kind, 0);
	packet_mark(&packet, node, version_);
	deliver(from);
}

/* An announced change that does not come is asked for, a few times, then by anti-entropy. */
static void
test_graft(void **state)
{
	(void)state;
	core_test_pass(&t, 2000);
	while (t.g->lanes_count > 0)
		core_test_step(&t, (struct step_input){
					   .kind = STEP_STREAM_DOWN,
					   .stream = t.g->lanes[0]->stream,
				   });
	t.opened = 0;
	uint64_t before = gossip_counters(t.g)->sent[GOSSIP_GRAFT];
	mark(2, GOSSIP_IHAVE, 3, gossip_version(1, 2));
	core_test_pass(&t, 20);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GRAFT], before);
	core_test_pass(&t, 10);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GRAFT], before + 1);
	core_test_pass(&t, 1500);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GRAFT], before + 3);
	assert_true(t.opened != 0);
}

static void
test_no_graft_needed(void **state)
{
	(void)state;
	core_test_pass(&t, 2000);
	mark(2, GOSSIP_IHAVE, 3, gossip_version(1, 1));
	put(1, 10, "a");
	core_test_pass(&t, 500);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GRAFT], 0);
}

/* Who asks gets each change since, and an eager link. */
static void
test_reply(void **state)
{
	struct cursor c, body;
	struct change got;
	unsigned kind;
	uint8_t flags;

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		put(i, 10 + i % 3, "v");
	core_test_pass(&t, 50);
	if (mesh_link(t.g, 7))
		mesh_link(t.g, 7)->eager = false;
	mark(7, GOSSIP_GRAFT, 3, gossip_version(1, 2));
	assert_int_equal(t.last_sent.node, 7);
	cursor_init(&c, t.last_data, t.last_sent.bytes);
	assert_true(packet_head(&c) && packet_section(&c, &kind, &flags, &body));
	assert_int_equal(kind, GOSSIP_CHANGES + 1);
	assert_int_equal(flags, PACKET_REPLY);
	uint64_t at = gossip_version(1, 2);
	while (cursor_left(&body) > 0) {
		packet_get_change(&body, &got);
		assert_true(cursor_ok(&body));
		assert_true(got.version - got.span <= at && got.version > at);
		at = got.version;
	}
	assert_true(at == gossip_version(1, 5));
	assert_true(mesh_link(t.g, 7) && mesh_link(t.g, 7)->eager);
}

/* A drop that the log has forgotten cannot be told by entries: the asker is sent elsewhere. */
static void
test_gone(void **state)
{
	(void)state;
	put(1, 10, "a");
	put(2, 11, "b");
	drop(3, 10);
	put(4, 12, "c");
	core_test_pass(&t, 50);
	t.g->log_first = t.g->log_next;
	uint64_t before = gossip_counters(t.g)->sent[GOSSIP_GONE];
	mark(7, GOSSIP_GRAFT, 3, gossip_version(1, 1));
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GONE], before + 1);
	/* Nor from the beginning: who asks may have come further since. After the drop it can. */
	mark(7, GOSSIP_GRAFT, 3, 0);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GONE], before + 2);
	mark(7, GOSSIP_GRAFT, 3, gossip_version(1, 3));
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_GONE], before + 2);
}

/* One change leaves at once, the next ones together after the batch interval. */
static void
test_batch(void **state)
{
	(void)state;
	core_test_pass(&t, 100);
	assert_int_equal(gossip_put(t.g, 1, 1, "a", 1), GOSSIP_OK);
	core_test_step(&t, (struct step_input){.kind = STEP_LOCAL});
	assert_int_equal(t.sent, t.g->links_count);
	for (uint64_t i = 2; i < 10; i++) {
		assert_int_equal(gossip_put(t.g, 1, i, "a", 1), GOSSIP_OK);
		core_test_step(&t, (struct step_input){.kind = STEP_LOCAL});
		assert_int_equal(t.sent, 0);
	}
	uint64_t before = gossip_counters(t.g)->sent[GOSSIP_CHANGES];
	core_test_pass(&t, 6);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_CHANGES] - before, t.g->links_count);
}

/* ---- one message for a namespace ---- */

static enum delta_result
read_delta(struct buf *b)
{
	struct cursor c;

	step_actions_clear(t.out);
	t.g->out = t.out;
	cursor_init(&c, b->data, b->length);
	enum delta_result r = delta_read(t.g, 2, &c);
	core_test_step(&t, (struct step_input){.kind = STEP_LOCAL});
	return r;
}

/* Another core holds what node 3 wrote; this one is at `have`. */
static void
test_delta(void **state)
{
	(void)state;
	for (uint64_t have = 0; have <= 8; have++) {
		struct core_test *other = calloc(1, sizeof(*other));
		struct buf b;

		tear_down(state);
		set_up(state);
		for (uint64_t i = 1; i <= 8; i++) {
			if (i == 6)
				drop(6, 12);
			else
				put(i, 10 + i % 4, i % 2 ? "odd" : "even");
		}
		*other = t;
		set_up(state);
		for (uint64_t i = 1; i <= have; i++) {
			if (i == 6)
				drop(6, 12);
			else
				put(i, 10 + i % 4, i % 2 ? "odd" : "even");
		}
		buf_init(&b, MEM_SCHEDULER, GOSSIP_FRAME_MAX);
		assert_true(delta_write(space_find(other->g, 3), version(), &b));
		assert_int_equal(read_delta(&b), have < 8 ? DELTA_APPLIED : DELTA_IGNORED);
		assert_true(gossip_digest(t.g) == gossip_digest(other->g));
		expect(10, "even");
		expect(11, "odd");
		expect(12, NULL);
		expect(13, "odd");
		assert_int_equal(read_delta(&b), DELTA_IGNORED);
		/* Cut anywhere it is refused, and changes nothing. */
		uint64_t digest = gossip_digest(t.g);
		for (size_t length = b.length; length-- > 0;) {
			b.length = length;
			assert_int_equal(read_delta(&b), DELTA_MALFORMED);
		}
		assert_true(gossip_digest(t.g) == digest);
		buf_fini(&b);
		core_test_fini(other);
		free(other);
	}
}

/* A base that is not ours, or is above what we have, is of no use. */
static void
test_delta_base(void **state)
{
	struct core_test *other = calloc(1, sizeof(*other));
	struct buf b;

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		put(i, i, "v");
	buf_init(&b, MEM_SCHEDULER, GOSSIP_FRAME_MAX);
	assert_true(delta_write(space_find(t.g, 3), gossip_version(1, 3), &b));
	*other = t;
	set_up(state);
	put(1, 1, "v");
	assert_int_equal(read_delta(&b), DELTA_IGNORED);
	assert_true(version() == gossip_version(1, 1));
	put(2, 2, "v");
	put(3, 3, "v");
	put(4, 4, "v"); /* between base and version */
	assert_int_equal(read_delta(&b), DELTA_APPLIED);
	assert_true(version() == gossip_version(1, 5));
	buf_fini(&b);
	core_test_fini(other);
	free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_in_order),
		TEST(test_out_of_order),
		TEST(test_birth),
		TEST(test_span),
		TEST(test_own),
		TEST(test_outgrown),
		TEST(test_entries_limit),
		TEST(test_each),
		TEST(test_prune),
		TEST(test_graft),
		TEST(test_no_graft_needed),
		TEST(test_reply),
		TEST(test_gone),
		TEST(test_batch),
		TEST(test_delta),
		TEST(test_delta_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
