/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crons of which one run at a time may live (overlap: forbid, replace), on two nodes with one
 * store. The nodes do not hear each other: what one knows of the other's runs is in the store. The
 * second node conducts. In every story no two containers live at once, which is looked at in each
 * turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/cronjob.h"
#include "scheduler/unique.h"
#include "tests/support/shared_world.h"

#define CRON(schedule, rules)              \
	"version: v1\n"                    \
	"deployment: shop\n"               \
	"services:\n"                      \
	"  tidy:\n"                        \
	"    rtype: cron\n"                \
	"    schedule: \"" schedule "\"\n" \
	"    cron: {" rules "}\n"          \
	"    image: {name: tidy}\n"
#define NEVER "0 0 0 1 1 * 2199"
#define EACH_2S "*/2 * * * * * *"

static struct shared_world w;

static struct model *
model(unsigned n)
{
	return &w.worlds[n].m;
}

static struct service *
service(unsigned n)
{
	return model_service(model_deployment(model(n), "shop"), "tidy");
}

struct alive {
	unsigned count;
	uint64_t newest;
};

static bool
count_one(void *arg, uint64_t key, const void *row)
{
	const struct msg_container *c = row;
	struct alive *a = arg;

	(void)key;
	if (c->state != MSG_CONTAINER_RUNNING && c->state != MSG_CONTAINER_STOPPING)
		return true;
	a->count++;
	a->newest = c->replica;
	return true;
}

static unsigned
lives(unsigned n)
{
	struct alive a = {0};

	ring_table_each(w.worlds[n].runtime_r, MSG_TABLE_CONTAINER, count_one, &a);
	return a.count;
}

static struct replica *
own(unsigned n)
{
	struct list *it, *next;
	struct replica *newest = NULL;

	list_each (it, next, &service(n)->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (!p->remote && (!newest || p->row.index > newest->row.index))
			newest = p;
	}
	return newest;
}

/* A quarter of a second at a time. */
static void
pass(unsigned quarters)
{
	for (unsigned i = 0; i < quarters; i++) {
		for (int turn = 0; turn < 8; turn++) {
			for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
				node_turn(&w.worlds[n]);
			assert_true(lives(0) + lives(1) <= 1);
			shared_world_deliver(&w);
		}
		for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
			w.worlds[n].now_ns += NODE_S / 4;
		w.log.now_ns = w.worlds[0].now_ns;
	}
}

static void
begin(const char *text)
{
	struct shared_asked asked;

	shared_world_begin(&w);
	model(0)->node_id = 1;
	model(1)->node_id = 2;
	w.conductor = 1;
	shared_world_pass(&w, 3);
	shared_apply(&w, 1, "shop", text, &asked);
	shared_world_pass(&w, 3);
	assert_false(asked.failed);
}

static void
given(void *arg, const struct err *err)
{
	bool *ended = arg;

	assert_null(err);
	*ended = true;
}

/* As the conductor writes it. */
static void
give(struct store_firing *row)
{
	struct store *s = model(1)->store;
	struct err err = {0};
	bool ended = false;

	assert_int_equal(store_begin(s, &err), 0);
	assert_int_equal(store_put(s, STORE_FIRING, row, &err), 0);
	store_submit(s, given, &ended);
	shared_world_deliver(&w);
	assert_true(ended);
	cronjob_hear(model(1), row->service); /* what a node writes is no news for it */
}

static struct store_firing
due(uint32_t owner, int64_t at_s)
{
	struct store_firing f = {
		.service = service(1)->row.id,
		.at_s = at_s,
		.state = MSG_FIRING_DUE,
		.reason = MSG_FIRING_ON_TIME,
		.owner = owner,
		.recorded_wall_ns = model(1)->wall_ns,
		.exit_status = (uint32_t)-1,
	};

	give(&f);
	return f;
}

/* It was not heard of: another one is given the next time. */
static void
say_lost(struct store_firing *f)
{
	struct list *it, *next;

	list_each (it, next, &service(1)->cron->firings) {
		const struct cronjob_firing *now = container_of(it, struct cronjob_firing, link);

		if (now->row.id == f->id)
			*f = now->row;
	}
	f->state = MSG_FIRING_LOST;
	give(f);
}

static bool
exit_one(void *arg, uint64_t key, const void *row)
{
	struct msg_container now = *(const struct msg_container *)row;
	struct node_world *n = arg;

	if (now.state != MSG_CONTAINER_RUNNING)
		return true;
	now.state = MSG_CONTAINER_EXITED;
	now.exited_wall_ns = node_wall(n);
	ring_table_set(n->runtime, MSG_TABLE_CONTAINER, key, &now, NULL);
	return true;
}

static void
finish(unsigned n)
{
	ring_table_each(w.worlds[n].runtime_r, MSG_TABLE_CONTAINER, exit_one, &w.worlds[n]);
	node_sync(w.worlds[n].runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
}

/* ---- the node of a run is cut off ---- */

static void
cut_off(const char *rules)
{
	struct store_firing first;
	struct err why;

	begin(rules);
	first = due(1, 1000);
	pass(8);
	assert_int_equal(lives(0), 1);
	assert_string_equal(w.log.leases[0].name, "cron.shop.tidy");
	w.nodes[0].cut = true;
	pass(4);
	say_lost(&first);
	(void)due(2, 1001);
	pass(4);
	/* The first one lives, so the second one waits and says for what. */
	assert_int_equal(lives(0), 1);
	assert_int_equal(w.worlds[1].started, 0);
	assert_true(own(1)->held);
	assert_non_null(strstr(own(1)->waits.what, "it waits for its lease"));
	msg_reason_to(&own(1)->waits, &why);
	assert_non_null(strstr(why.why[0], "cron.overlap"));
	pass(60);
	assert_int_equal(lives(0), 0);
	assert_int_equal(own(0)->ended.lease_over, 1);
	assert_int_equal(w.worlds[1].started, 1);
	assert_int_equal(lives(1), 1);
	/* It hears of it, and does not begin anew. */
	w.nodes[0].cut = false;
	pass(60);
	assert_int_equal(w.worlds[0].started, 1);
	assert_int_equal(lives(1), 1);
	shared_world_end(&w);
}

static void
test_cut_off(void **state)
{
	(void)state;
	cut_off(CRON(NEVER, "overlap: forbid"));
	cut_off(CRON(NEVER, "overlap: replace"));
	cut_off(CRON(NEVER, "overlap: forbid, on_loss: retry"));
}

/* What waits to begin when its node is cut off, and whose time is said to be lost, does not begin.
 */
static void
test_lost_before_it_began(void **state)
{
	struct shared_lease *lease;
	struct store_firing f;

	(void)state;
	begin(CRON(NEVER, "overlap: forbid"));
	lease = shared_lease(&w.log, "cron.shop.tidy");
	*lease = (struct shared_lease){.epoch = 4, .until_ns = UINT64_MAX};
	strcpy(lease->name, "cron.shop.tidy");
	f = due(1, 1000);
	pass(8);
	assert_true(own(0)->held);
	w.nodes[0].cut = true;
	pass(2);
	say_lost(&f);
	lease->until_ns = 0;
	/* The lease comes before the news. */
	w.nodes[0].cut = false;
	shared_world_alone(&w, 0);
	assert_int_equal(lease->epoch, 5);
	assert_int_equal(w.worlds[0].started, 0);
	pass(30);
	assert_int_equal(w.worlds[0].started, 0);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_non_null(strstr(own(0)->reason.what, "was said to be lost"));
	shared_world_end(&w);
}

/* So is what nobody remembers any more: newer times have taken its place in the list. */
static void
test_forgotten_before_it_began(void **state)
{
	struct shared_lease *lease;
	struct store_firing f;

	(void)state;
	begin(CRON(EACH_2S, "overlap: forbid"));
	lease = shared_lease(&w.log, "cron.shop.tidy");
	*lease = (struct shared_lease){.epoch = 4, .until_ns = UINT64_MAX};
	strcpy(lease->name, "cron.shop.tidy");
	f = due(1, 1000);
	pass(8);
	assert_int_equal(own(0)->row.firing, f.id);
	assert_true(own(0)->held);
	w.nodes[0].cut = true;
	pass(2);
	say_lost(&f);
	pass(8 * (CRONJOB_FIRINGS_KEPT + 4));
	assert_int_equal(service(1)->cron->count, CRONJOB_FIRINGS_KEPT);
	lease->until_ns = 0;
	w.nodes[0].cut = false;
	pass(80);
	assert_int_equal(w.worlds[0].started, 0);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_non_null(strstr(own(0)->reason.what, "is not known any more"));
	shared_world_end(&w);
}

/* Who was thought to be gone and was not goes on: the next one waits for it. */
static void
test_said_to_be_lost(void **state)
{
	struct store_firing f;

	(void)state;
	begin(CRON(NEVER, "overlap: forbid"));
	f = due(1, 1000);
	pass(8);
	say_lost(&f);
	(void)due(2, 1001);
	pass(120);
	assert_int_equal(lives(0), 1);
	assert_int_equal(w.worlds[1].started, 0);
	finish(0);
	pass(8);
	assert_int_equal(lives(1), 1);
	shared_world_end(&w);
}

/* ---- power ---- */

/* The machine of a run loses its power: the next run does not wait longer than for its lease. */
static void
test_power_cut(void **state)
{
	struct store_firing f;

	(void)state;
	begin(CRON(NEVER, "overlap: forbid"));
	f = due(1, 1000);
	pass(8);
	assert_int_equal(lives(0), 1);
	node_power_off(&w.worlds[0], "second");
	shared_world_power_on(&w, 0);
	pass(8);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_int_equal(w.worlds[0].started, 1);
	(void)f;
	(void)due(2, 1001);
	pass(48);
	assert_int_equal(lives(1), 1);
	shared_world_end(&w);
}

/* The process of the conductor, and that of who runs it, begin anew at any moment. */
static void
test_processes_begin_anew(void **state)
{
	unsigned started;

	(void)state;
	begin(CRON(EACH_2S, "overlap: forbid"));
	pass(12);
	started = w.worlds[1].started;
	assert_int_equal(lives(1), 1);
	for (unsigned i = 0; i < 6; i++) {
		unsigned n = i % 2;

		shared_world_restart(&w, n);
		model(n)->node_id = n + 1;
		w.conductor = i / 2 % 2;
		pass(9);
		assert_int_equal(lives(1), 1);
	}
	assert_int_equal(w.worlds[1].started, started);
	assert_int_equal(w.worlds[0].started, 0);
	assert_int_equal(w.log.takes, 1);
	shared_world_end(&w);
}

/* A process that has no memory at first, or cannot read the document, keeps the lease of what
 * lives.
 */
static void
test_no_memory(void **state)
{
	struct store_firing f;

	(void)state;
	begin(CRON(NEVER, "overlap: forbid"));
	f = due(1, 1000);
	pass(8);
	for (int64_t i = 0; i < 60; i++) {
		shared_world_restart(&w, 0);
		model(0)->node_id = 1;
		mem_fail_after(i);
		node_turn(&w.worlds[0]);
		mem_fail_after(-1);
		pass(44);
		assert_int_equal(lives(0), 1);
		assert_int_equal(own(0)->row.firing, f.id);
	}
	shared_world_restart(&w, 0);
	model(0)->node_id = 1;
	struct service *s = service(0);
	s->row.name[0] = 'T'; /* that is not in the document */
	node_turn(&w.worlds[0]);
	s->row.name[0] = 't';
	assert_true(own(0)->has_container);
	assert_null(own(0)->unique);
	pass(44);
	assert_int_equal(lives(0), 1);
	assert_int_equal(w.worlds[0].started, 1);
	shared_world_end(&w);
}

/* ---- who conducts ---- */

static bool
conducts_all(void *arg, const struct deployment *d)
{
	(void)arg, (void)d;
	return true;
}

struct times {
	int64_t at_s[256];
	size_t count;
};

static void
note_time(void *arg, const void *row)
{
	const struct store_firing *f = row;
	struct times *t = arg;

	for (size_t i = 0; i < t->count; i++)
		assert_int_not_equal(t->at_s[i], f->at_s);
	assert_true(t->count < 256);
	t->at_s[t->count++] = f->at_s;
}

/* Each time is on record once, and in both copies when they agree. */
static void
check_times(void)
{
	struct err err = {0};

	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		struct times t = {0};

		assert_int_equal(
			store_each(model(n)->store, STORE_FIRING, 0, 0, note_time, &t, &err), 0);
		assert_true(t.count > 0);
	}
}

/* Two that take themselves for the conductor, and one that is cut off while it is: what either
 * writes down the other one does not. */
static void
test_two_conductors(void **state)
{
	uint64_t before;

	(void)state;
	begin(CRON(EACH_2S, "overlap: forbid, catch_up: all"));
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		model(n)->hooks.conducts = conducts_all;
		w.worlds[n].behaviour[1] = NODE_EXITS;
	}
	finish(1);
	for (unsigned i = 0; i < 40; i++) {
		pass(2);
		check_times();
	}
	before = w.worlds[0].started + w.worlds[1].started;
	assert_true(before >= 8 && w.worlds[0].started > 0 && w.worlds[1].started > 0);
	for (unsigned cut = 0; cut < 4; cut++) {
		w.nodes[cut % 2].cut = true;
		pass(24);
		w.nodes[cut % 2].cut = false;
		pass(8);
		check_times();
	}
	pass(40);
	check_times();
	/* All are made up for, one after the other, and none twice. */
	assert_true(w.worlds[0].started + w.worlds[1].started >= before + 16);
	assert_true(service(0)->cron->row.mark_s == service(1)->cron->row.mark_s);
	shared_world_end(&w);
}

/* ---- one node ---- */

/* Each gives the lease back with its end: no time waits for another one's. */
static void
test_one_after_the_other(void **state)
{
	(void)state;
	begin(CRON(EACH_2S, "overlap: forbid"));
	w.worlds[1].behaviour[1] = NODE_EXITS;
	pass(8);
	finish(1);
	unsigned before = w.worlds[1].started;
	pass(80);
	assert_true(w.worlds[1].started >= before + 9);
	assert_true(w.log.takes >= w.worlds[1].started && w.log.drops + 1 >= w.log.takes);
	shared_world_end(&w);
}

/* Of the same name on one node, in turn: who comes next does not take it away. */
static void
test_replaced_on_its_node(void **state)
{
	struct store_firing f;
	uint64_t first;

	(void)state;
	begin(CRON(NEVER, "overlap: replace"));
	(void)due(1, 1000);
	pass(8);
	first = own(0)->row.id;
	assert_int_equal(lives(0), 1);
	f = due(1, 1001);
	pass(8);
	assert_int_equal(lives(0), 1);
	assert_int_not_equal(own(0)->row.id, first);
	assert_int_equal(w.worlds[0].started, 2);
	assert_int_equal(w.log.takes, 2);
	assert_int_equal(own(0)->lease_epoch, 2);
	assert_int_equal(own(0)->row.firing, f.id);
	/* It is kept. */
	pass(80);
	assert_int_equal(lives(0), 1);
	assert_int_equal(w.worlds[0].started, 2);
	shared_world_end(&w);
}

/* ---- by hand ---- */

static int
run_by_hand(unsigned n)
{
	struct msg_target_op q = {.deployment = "shop", .service = "tidy"};
	struct msg_run_answer answer;
	uint32_t elsewhere;
	struct err err = {0};

	return request_run(model(n), &q, sizeof(q), NULL, 0, &answer, &elsewhere, &err);
}

static void
test_by_hand(void **state)
{
	(void)state;
	begin(CRON(NEVER, "overlap: forbid"));
	(void)due(1, 1000);
	pass(8);
	assert_int_equal(lives(0), 1);
	/* This node has not heard of that run. */
	assert_int_equal(run_by_hand(1), 0);
	pass(8);
	assert_int_equal(w.worlds[1].started, 0);
	assert_true(own(1)->held);
	finish(0);
	pass(8);
	assert_int_equal(lives(1), 1);
	shared_world_end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_lost_before_it_began),
		cmocka_unit_test(test_forgotten_before_it_began),
		cmocka_unit_test(test_said_to_be_lost),
		cmocka_unit_test(test_power_cut),
		cmocka_unit_test(test_processes_begin_anew),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_two_conductors),
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_replaced_on_its_node),
		cmocka_unit_test(test_by_hand),
	};

	if (!node_libraries())
		return 0;
	log_change(LOG_ERROR, LOG_FORMAT_JSON);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
