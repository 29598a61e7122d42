/* SPDX-License-Identifier: Apache-2.0 */
/* A few nodes with models and placement of their own, in one process. */
#include "scheduler/placing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scheduler/create.h"
#include "scheduler/cronjob_write.h"
#include "scheduler/reconcile.h"
#include "scheduler/remote.h"
#include "scheduler/request.h"
#include "tests/support/cell_world.h"
#include "tests/support/sweep.h"

static const char web[] = "version: v1\n"
			  "deployment: shop\n"
			  "services:\n"
			  "  web:\n"
			  "    image: {name: nginx}\n"
			  "    resources: {cpu: 0.5, memory: 128Mi}\n"
			  "    endpoints: [{name: http, protocol: http, port: 80}]\n"
			  "    health: {check: {type: tcp}}\n"
			  "    scale: {mode: fixed, replicas: 3}\n";

static const char more[] = "version: v1\n"
			   "deployment: more\n"
			   "services:\n"
			   "  web:\n"
			   "    image: {name: nginx}\n"
			   "    scale: {mode: fixed, replicas: 1}\n";

static uint32_t
conductor(void)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		struct deployment *d =
			cell_node(id)->up ? model_deployment(&cell_node(id)->w.m, "shop") : NULL;

		if (d && placing_conducts(cell_node(id)->p, d))
			return id;
	}
	return 0;
}

static void
test_spread_over_nodes(void **state)
{
	(void)state;
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", web);
	cell_pass(60);
	assert_int_not_equal(conductor(), 0);
	assert_int_equal(cell_all(true), 3);
	for (uint32_t id = 1; id <= 3; id++) {
		assert_int_equal(cell_own(id, false), 1);
		/* Everybody sees all. */
		assert_int_equal(map_count(&cell_node(id)->w.m.replicas), 3);
		assert_int_equal(node_deployment(&cell_node(id)->w, "shop")->state,
				 MSG_DEPLOYMENT_STABLE);
	}
	cell_end();
}

/* It settles down again: that many are ready, and nobody has more. */
static void
settled(unsigned replicas)
{
	cell_pass(60);
	assert_int_equal(cell_all(true), replicas);
	assert_int_equal(cell_all(false), replicas);
}

static void
three_nodes(void)
{
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", web);
	settled(3);
}

/* Nothing else may happen on this node: what waits for time alone wakes it. */
static uint64_t
wakes_within_ms(uint32_t id)
{
	struct cell_node *n = cell_node(id);

	reconcile_run(&n->w.m, n->w.now_ns, node_wall(&n->w));
	return n->w.m.due_ns ? (n->w.m.due_ns - n->w.now_ns) / 1000000 : UINT64_MAX;
}

/* Both have the same ids: only when they hear of it is not the same. */
static uint64_t
apply_at(uint32_t id)
{
	struct node_world *w = &cell_node(id)->w;
	struct msg_apply_answer answer;
	struct err err = {0};

	assert_int_equal(node_apply(w, "more", more, &answer, &err), 0);
	return model_service(model_deployment(&w->m, "more"), "web")->row.id;
}

/* What its container uses after so long, in MiB, and what the others are told then. */
static uint64_t
told_mib(struct replica *r, uint64_t after_s, uint64_t mib)
{
	struct cell_node *n = cell_node(1);
	struct tidings_replica told;
	struct msg_container row;

	row = *(const struct msg_container *)ring_table_own(n->w.runtime, MSG_TABLE_CONTAINER,
							    r->row.id);
	row.memory_bytes = mib << 20;
	assert_int_equal(ring_table_set(n->w.runtime, MSG_TABLE_CONTAINER, r->row.id, &row, NULL),
			 RING_OK);
	node_sync(n->w.runtime_r, MSG_TABLE_CONTAINER, sizeof(row));
	n->w.now_ns += after_s * UINT64_C(1000000000);
	reconcile_run(&n->w.m, n->w.now_ns, node_wall(&n->w));
	struct cell_entry *e = cell_entry(n, TIDINGS_REPLICA, r->row.id, false);
	assert_non_null(e);
	assert_true(tidings_take_replica(e->value.data, e->value.bytes, &told));
	return told.memory_bytes >> 20;
}

/* Each word of it goes to all nodes: the first, then another one by a quarter, and not so often. */
static void
test_memory_is_told_seldom(void **state)
{
	struct replica *own = NULL;
	struct map_iter it = {0};

	(void)state;
	three_nodes();
	while (!own && map_next(&cell_node(1)->w.m.replicas, &it))
		own = ((struct replica *)it.value)->remote ? NULL : it.value;
	assert_non_null(own);
	assert_int_equal(told_mib(own, 1, 100), 100);
	assert_int_equal(told_mib(own, 1, 200), 100);  /* so soon */
	assert_int_equal(told_mib(own, 30, 124), 100); /* so little */
	assert_int_equal(told_mib(own, 1, 125), 125);
	assert_int_equal(told_mib(own, 29, 50), 125);
	assert_int_equal(told_mib(own, 1, 50), 50);
	assert_int_equal(told_mib(own, 1, 0), 0); /* it is not known any more */
	assert_int_equal(told_mib(own, 1, 2), 2);
	assert_int_equal(told_mib(own, 60, 1), 1);
	cell_end();
}

static void
test_what_waits_for_time_alone(void **state)
{
	const uint64_t replica = UINT64_C(2) << 32 | 99;
	struct tidings_replica early = {.index = 1, .state = MSG_REPLICA_READY};
	struct cell_node *n;
	struct tidings_value v;

	(void)state;
	three_nodes();
	n = cell_node(1);
	/* Nothing is under way. */
	assert_true(wakes_within_ms(1) > PLACING_REBIRTH_MS);
	/* What a node that begins anew does not name again. */
	placing_reset(n->p, 2);
	assert_int_equal(wakes_within_ms(1), PLACING_REBIRTH_MS);
	assert_int_equal(map_count(&n->w.m.replicas), 3);
	n->w.now_ns = n->w.m.due_ns;
	assert_true(wakes_within_ms(1) > PLACING_REBIRTH_MS);
	assert_int_equal(map_count(&n->w.m.replicas), 2);
	/* Its service is not known: it is read again and again, but less and less often. */
	early.service = apply_at(2);
	tidings_put_replica(&early, &v);
	cell_put(cell_node(2), TIDINGS_REPLICA, replica, &v);
	placing_entry(n->p, 2, TIDINGS_REPLICA, replica, v.data, v.bytes);
	assert_int_equal(wakes_within_ms(1), 500);
	for (unsigned i = 0; i < 8; i++) {
		n->w.now_ns = n->w.m.due_ns;
		assert_int_equal(wakes_within_ms(1), i < 5 ? 1000u << i : 16000u);
	}
	assert_null(model_replica(&n->w.m, replica));
	assert_false(placing_entries_taken(n->p));
	/* It is known: at once. What else of that node was forgotten is there again, too. */
	assert_true(apply_at(1) == early.service);
	(void)wakes_within_ms(1);
	assert_non_null(model_replica(&n->w.m, replica));
	assert_true(placing_entries_taken(n->p));
	assert_int_equal(map_count(&n->w.m.replicas), 4);
	cell_end();
}

static void
test_a_node_dies(void **state)
{
	uint32_t gone;

	(void)state;
	three_nodes();
	gone = conductor(); /* the worst of all */
	cell_kill(gone);
	settled(3);
	assert_int_not_equal(conductor(), gone);
	/* It comes back with what it had: one of two leaves, nothing else moves. */
	cell_start(gone);
	settled(3);
	assert_int_equal(cell_own(gone, true) > 0 || cell_all(true) == 3, 1);
	cell_end();
}

static struct deployment *
shop(uint32_t id)
{
	return model_deployment(&cell_node(id)->w.m, "shop");
}

static unsigned
conductors(void)
{
	unsigned count = 0;

	for (uint32_t id = 1; id <= cell.count; id++)
		count += cell_node(id)->up && placing_conducts(cell_node(id)->p, shop(id));
	return count;
}

/* It says so, and the others hear it a second later. Nobody ever conducts beside another one. */
static void
says_stuck(uint32_t id, bool stuck)
{
	cell_node(id)->stuck = stuck;
	cell_facts_to(id, id);
	cell_pass(1);
	assert_true(conductors() <= 1);
	cell_facts(id);
}

/* As long as it takes: all the time there are as many as are wanted, and few more. */
static void
goes_on(unsigned seconds)
{
	for (unsigned s = 0; s < seconds; s++) {
		cell_pass(1);
		assert_true(conductors() <= 1);
		assert_true(cell_all(true) >= 3);
		assert_true(cell_all(false) <= 5);
	}
}

static void
update(void)
{
	char text[sizeof(web) + 16];

	snprintf(text, sizeof(text), "%s", web);
	memcpy(strstr(text, "nginx"), "httpd", 5);
	cell_apply("shop", text);
}

/* A node that lives and cannot write the store hands over what it conducts, in the middle of an
 * update, and takes it again when it can. */
static void
test_who_cannot_write_conducts_nothing(void **state)
{
	uint32_t first, second;

	(void)state;
	three_nodes();
	first = conductor();
	assert_int_equal(placing_passed_over(cell_node(1)->p, shop(1)), 0);
	update();
	goes_on(2);
	says_stuck(first, true);
	assert_int_equal(conductor(), 0); /* not before a round */
	goes_on(5);
	second = conductor();
	assert_int_not_equal(second, 0);
	assert_int_not_equal(second, first);
	for (uint32_t id = 1; id <= 3; id++) {
		assert_int_equal(placing_conductor(cell_node(id)->p, shop(id)), second);
		assert_int_equal(placing_passed_over(cell_node(id)->p, shop(id)), first);
	}
	goes_on(120);
	settled(3);
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(node_deployment(&cell_node(id)->w, "shop")->revision, 2);
	/* Nobody moved a replica for that. */
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(cell_own(id, true), 1);
	says_stuck(first, false);
	goes_on(5);
	assert_int_equal(conductor(), first);
	assert_int_equal(placing_passed_over(cell_node(1)->p, shop(1)), 0);
	cell_end();
}

static void
is_stuck(uint32_t id, bool stuck)
{
	cell_node(id)->stuck = stuck;
	cell_facts(id);
}

static uint32_t
runs_on(void)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		if (cell_own(id, true))
			return id;
	}
	return 0;
}

/* What lives with a lease dies on a node that cannot ask the store, which lives itself: it goes
 * where one can, if there is such a node. */
static void
test_what_is_unique_goes_where_one_can_write(void **state)
{
	static const char one[] = "version: v1\n"
				  "deployment: shop\n"
				  "services:\n"
				  "  web:\n"
				  "    image: {name: nginx}\n"
				  "    endpoints: [{name: http, protocol: http, port: 80}]\n"
				  "    health: {check: {type: tcp}}\n"
				  "    scale: {mode: fixed, replicas: 1, unique: true}\n";
	uint32_t first, second, third;

	(void)state;
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", one);
	settled(1);
	first = runs_on();
	is_stuck(first, true);
	settled(1);
	second = runs_on();
	assert_int_not_equal(second, first);
	/* It does not come back for that it could. */
	is_stuck(first, false);
	settled(1);
	assert_int_equal(runs_on(), second);
	/* The last one that can. */
	is_stuck(first, true);
	is_stuck(second, true);
	settled(1);
	assert_int_equal(runs_on(), 6 - first - second);
	/* There is no better place. */
	third = 6 - first - second;
	is_stuck(third, true);
	settled(1);
	assert_int_equal(runs_on(), third);
	/* None of them can for a while, and they do not say so at once: it is no reason to leave.
	 */
	for (uint32_t id = 1; id <= 3; id++)
		is_stuck(id, false);
	settled(1);
	is_stuck(third, true);
	cell_pass(8);
	is_stuck(first, true);
	is_stuck(second, true);
	settled(1);
	is_stuck(first, false);
	is_stuck(second, false);
	cell_pass(8);
	is_stuck(third, false);
	settled(1);
	assert_int_equal(runs_on(), third);
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(cell_node(id)->w.started, 1);
	cell_end();
}

/* When none can write, all is as if all could: what dies is placed anew all the same. */
static void
test_nobody_can_write(void **state)
{
	uint32_t first;

	(void)state;
	three_nodes();
	first = conductor();
	for (uint32_t id = 1; id <= 3; id++)
		says_stuck(id, true);
	goes_on(5);
	assert_int_equal(conductor(), first);
	assert_int_equal(placing_passed_over(cell_node(1)->p, shop(1)), 0);
	/* A dead one is no node that can. */
	cell_kill(first);
	cell_node(first)->stuck = false;
	for (uint32_t id = 1; id <= 3; id++)
		cell_facts_to(first, id);
	settled(3);
	assert_int_not_equal(conductor(), 0);
	assert_int_not_equal(conductor(), first);
	cell_end();
}

static void
test_the_process_begins_anew(void **state)
{
	unsigned started;

	(void)state;
	three_nodes();
	for (uint32_t id = 1; id <= 3; id++) {
		started = cell_node(id)->w.started;
		cell_kill(id);
		for (uint32_t other = 1; other <= 3; other++) {
			if (other != id)
				placing_node_state(cell_node(other)->p, id, PLACING_SUSPECT);
		}
		cell_start(id);
		settled(3);
		assert_int_equal(cell_node(id)->w.started, started);
		assert_int_equal(cell_own(id, true), 1);
	}
	cell_end();
}

static void
test_a_node_is_drained(void **state)
{
	(void)state;
	three_nodes();
	for (uint32_t id = 1; id <= 3; id++)
		node_watch(&cell_node(id)->w);
	cell_node(2)->draining = true;
	cell_facts(2);
	for (unsigned s = 0; s < 60; s++) {
		cell_pass(1);
		assert_true(cell_all(true) >= 3);
	}
	assert_int_equal(cell_own(2, false), 0);
	assert_int_equal(cell_all(false), 3);
	/* It takes what is new again, and nothing moves for that. */
	cell_node(2)->draining = false;
	cell_facts(2);
	settled(3);
	assert_int_equal(cell_own(2, false), 0);
	cell_end();
}

/* Nobody else may have them: they stay until the drain's end, and then the node ends them. */
static void
test_a_drain_has_an_end(void **state)
{
	(void)state;
	cell_begin(2);
	cell_pass(3);
	cell_apply("shop", web);
	settled(3);
	strcpy(cell_node(1)->taints, "dirty");
	cell_facts(1);
	cell_node(2)->draining = true;
	cell_node(2)->drain_until_wall_ns = node_wall(&cell_node(2)->w) + 100 * (int64_t)NODE_S;
	cell_facts(2);
	cell_pass(80);
	assert_int_equal(cell_all(true), 3);
	assert_true(cell_own(2, true) > 0);
	cell_pass(60);
	assert_int_equal(cell_own(2, false), 0);
	assert_true(cell_own(1, true) > 0);
	cell_end();
}

static const char picky[] = "version: v1\n"
			    "deployment: shop\n"
			    "services:\n"
			    "  web:\n"
			    "    image: {name: nginx}\n"
			    "    resources: {cpu: 0.5, memory: 128Mi}\n"
			    "    node: {selector: {labels: {disk: ssd}}}\n"
			    "    health: {check: {type: tcp}}\n"
			    "    endpoints: [{name: http, protocol: http, port: 80}]\n"
			    "    scale: {mode: fixed, replicas: 2}\n";

static void
label(uint32_t id, const char *text)
{
	strcpy(cell_node(id)->labels, text);
	cell_facts(id);
}

static void
test_labels(void **state)
{
	(void)state;
	cell_begin(3);
	label(1, "disk=ssd\ngpu=true");
	cell_pass(3);
	cell_apply("shop", picky);
	settled(2);
	assert_int_equal(cell_own(1, true), 2);
	/* The label goes to another node: both follow it, one after the other. */
	label(3, "disk=ssd");
	settled(2);
	assert_int_equal(cell_own(1, true), 2);
	label(1, "gpu=true");
	for (unsigned s = 0; s < 60; s++) {
		cell_pass(1);
		assert_true(cell_all(true) >= 2);
	}
	assert_int_equal(cell_own(3, true), 2);
	assert_int_equal(cell_own(1, false), 0);
	/* Nowhere to go: they stay where they are. */
	label(3, "");
	settled(2);
	assert_int_equal(cell_own(3, true), 2);
	cell_end();
}

static void
test_no_node_takes_it(void **state)
{
	const struct msg_service *row;
	uint32_t id;

	(void)state;
	cell_begin(3);
	label(1, "disk=hdd");
	cell_pass(3);
	cell_apply("shop", picky);
	cell_pass(10);
	id = conductor();
	assert_int_equal(cell_all(false), 0);
	struct deployment *d = model_deployment(&cell_node(id)->w.m, "shop");
	row = ring_table_own(cell_node(id)->w.m.writer, MSG_TABLE_SERVICE,
			     model_service(d, "web")->row.id);
	assert_string_equal(row->reason.what, "cannot place web: 2 of 2 replicas have no node");
	assert_non_null(strstr(row->reason.why, "edge-1: label disk=ssd is asked, this node has "
						"disk=hdd"));
	assert_non_null(strstr(row->reason.why, "edge-2: label disk=ssd is asked, this node has no "
						"disk"));
	assert_non_null(strstr(row->reason.fix, "give edge-1 the label disk=ssd"));
	/* As soon as there is one, it is used. */
	label(2, "disk=ssd");
	settled(2);
	assert_int_equal(cell_own(2, true), 2);
	cell_end();
}

static const struct msg_service *
web_row(uint32_t id)
{
	struct model *m = &cell_node(id)->w.m;

	return ring_table_own(m->writer, MSG_TABLE_SERVICE,
			      model_service(model_deployment(m, "shop"), "web")->row.id);
}

/* Each of them says the same; NULL: that nothing waits. */
static void
all_say(const char *what)
{
	uint32_t by = conductor();

	assert_int_not_equal(by, 0);
	for (uint32_t id = 1; id <= cell.count; id++) {
		const struct msg_service *row;

		if (!cell_node(id)->up)
			continue;
		row = web_row(id);
		assert_int_equal(row->waits, what ? MSG_WAITS_NODE : 0);
		if (!what)
			continue;
		assert_string_equal(row->reason.what, what);
		assert_memory_equal(&row->reason, &web_row(by)->reason, sizeof(row->reason));
	}
}

/* An update has no place, and as many replicas as are wanted are there: only who conducts it can
 * know that something waits. */
static void
test_all_say_what_waits(void **state)
{
	char text[sizeof(picky)];
	uint32_t before, has;

	(void)state;
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", picky);
	cell_pass(10);
	all_say("cannot place web: 2 of 2 replicas have no node");
	before = conductor();
	has = before == 1 ? 2 : 1;
	label(has, "disk=ssd");
	settled(2);
	all_say(NULL);
	snprintf(text, sizeof(text), "%s", picky);
	memcpy(strstr(text, "ssd"), "ram", 3);
	cell_apply("shop", text);
	cell_pass(10);
	all_say("cannot place web: 1 of 2 replicas has no node");
	assert_non_null(strstr(web_row(has)->reason.why, "edge-2: label disk=ram is asked"));
	/* Its successor says it, too. */
	cell_kill(before);
	cell_pass(10);
	assert_int_not_equal(conductor(), before);
	all_say("cannot place web: 1 of 2 replicas has no node");
	cell_start(before);
	cell_pass(10);
	all_say("cannot place web: 1 of 2 replicas has no node");
	label(before, "disk=ram");
	settled(2);
	all_say(NULL);
	cell_end();
}

/* What a node says that conducts nothing is nobody's business; without memory it is read again. */
static void
test_who_says_what_waits(void **state)
{
	static struct tidings_value v;
	const struct tidings_waits waits = {
		.missing = 1,
		.reasons = FIT_CPU,
		.reason = {.kind = ERR_LIMIT, .what = "no room"},
	};
	uint32_t by, other;
	uint64_t id;

	(void)state;
	three_nodes();
	by = conductor();
	other = by == 1 ? 2 : 1;
	id = web_row(other)->id;
	tidings_put_waits(&waits, &v);
	placing_entry(cell_node(by)->p, other, TIDINGS_WAITS, id, v.data, v.bytes);
	cell_pass(1);
	all_say(NULL);
	placing_entry(cell_node(other)->p, by, TIDINGS_WAITS, id, v.data, v.bytes);
	placing_entry(cell_node(other)->p, by, TIDINGS_WAITS, id, NULL, 0);
	sweep_each(s)
	{
		placing_entry(cell_node(other)->p, by, TIDINGS_WAITS, id, v.data, v.bytes);
		placing_entry(cell_node(other)->p, by, TIDINGS_WAITS, id, NULL, 0);
	}
	placing_entry(cell_node(other)->p, by, TIDINGS_WAITS, id, v.data, v.bytes);
	cell_turn();
	assert_string_equal(web_row(other)->reason.what, "no room");
	/* It does not say it in its new life. */
	cell_node(by)->side = 1;
	placing_reset(cell_node(other)->p, by);
	cell_pass(PLACING_REBIRTH_MS / 1000 + 1);
	cell_node(by)->side = 0;
	all_say(NULL);
	cell_end();
}

/* It does not wait for ever: the first deploy fails, and says why. */
static void
test_a_deploy_without_a_place_ends(void **state)
{
	const struct msg_deployment *row;

	(void)state;
	cell_begin(2);
	cell_pass(3);
	cell_apply("shop", picky);
	cell_pass(120);
	row = node_deployment(&cell_node(conductor())->w, "shop");
	assert_int_equal(row->state, MSG_DEPLOYMENT_FAILED);
	assert_non_null(strstr(row->reason.what, "cannot place web"));
	cell_end();
}

/* What was asked for to move replicas is not what the next revision waits for. */
static void
test_a_deploy_while_replicas_want_to_move(void **state)
{
	char text[sizeof(picky)];

	(void)state;
	cell_begin(3);
	label(1, "disk=ssd");
	cell_pass(3);
	cell_apply("shop", picky);
	settled(2);
	/* No other node may have them. */
	label(1, "disk=hdd");
	cell_pass(5);
	snprintf(text, sizeof(text), "%s", picky);
	memcpy(strstr(text, "replicas: 2"), "replicas: 1", 11);
	cell_apply("shop", text);
	settled(1);
	assert_int_equal(node_deployment(&cell_node(conductor())->w, "shop")->revision, 2);
	cell_end();
}

static void
test_a_partition_heals(void **state)
{
	(void)state;
	three_nodes();
	cell_node(1)->side = 1;
	cell_states();
	cell_pass(60);
	/* Both sides serve all. */
	assert_int_equal(cell_own(1, true), 3);
	assert_int_equal(cell_own(2, true) + cell_own(3, true), 3);
	cell_node(1)->side = 0;
	cell_states();
	for (unsigned s = 0; s < 60; s++) {
		cell_pass(1);
		assert_true(cell_all(true) >= 3);
	}
	settled(3);
	cell_end();
}

static void
test_an_update_over_nodes(void **state)
{
	(void)state;
	three_nodes();
	update();
	for (unsigned s = 0; s < 120; s++) {
		cell_pass(1);
		assert_true(cell_all(true) >= 3);
		assert_true(cell_all(false) <= 5);
	}
	settled(3);
	for (uint32_t id = 1; id <= 3; id++) {
		assert_int_equal(node_deployment(&cell_node(id)->w, "shop")->revision, 2);
		assert_int_equal(cell_own(id, true), 1);
	}
	cell_end();
}

static void
test_a_full_node(void **state)
{
	(void)state;
	cell_begin(2);
	cell_node(1)->cpu_milli = 600;
	cell_facts(1);
	cell_pass(3);
	cell_apply("shop", web);
	settled(3);
	assert_int_equal(cell_own(1, true), 1);
	assert_int_equal(cell_own(2, true), 2);
	cell_end();
}

/* A node names replicas as another's that are not made yet: they are the other's to make. */
static void
test_a_node_that_lies(void **state)
{
	struct model *m = NULL;
	struct tidings_replica t;
	struct tidings_value value;
	struct map_iter it = {0};

	(void)state;
	three_nodes();
	m = &cell_node(2)->w.m;
	assert_true(map_next(&m->replicas, &it));
	remote_tell(m, it.value, &t);
	tidings_put_replica(&t, &value);
	for (uint64_t number = 50; number < 60; number++)
		placing_entry(cell_node(2)->p, 3, TIDINGS_REPLICA, UINT64_C(2) << 32 | number,
			      value.data, value.bytes);
	for (uint64_t number = 50; number < 60; number++)
		assert_null(model_replica(m, UINT64_C(2) << 32 | number));
	placing_entry(cell_node(2)->p, 3, TIDINGS_REPLICA, UINT64_C(3) << 32 | 50, value.data,
		      value.bytes);
	assert_non_null(model_replica(m, UINT64_C(3) << 32 | 50));
	cell_end();
}

static const char report[] = "version: v1\n"
			     "deployment: shop\n"
			     "services:\n"
			     "  report:\n"
			     "    rtype: job\n"
			     "    image: {name: report}\n"
			     "    resources: {cpu: 0.5, memory: 5Gi}\n"
			     "    node: {selector: {labels: {disk: ssd}}}\n";

/* Runs go to nodes that may have them, and what they reserve there is no other's. */
static void
test_runs_find_a_node(void **state)
{
	struct err err = {0};
	struct service *s[4];

	(void)state;
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", report);
	cell_pass(20);
	for (uint32_t id = 1; id <= 3; id++) {
		struct deployment *d = model_deployment(&cell_node(id)->w.m, "shop");

		s[id] = model_service(d, "report");
		assert_int_equal(placing_pick(cell_node(id)->p, s[id], 1, &err), 0);
		assert_non_null(strstr(err.what, "no node takes a run of report"));
		assert_true(err.whys > 0);
		assert_int_equal(placing_check_here(cell_node(id)->p, s[id], &err), -1);
	}
	label(2, "disk=ssd");
	cell_pass(3);
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(placing_pick(cell_node(id)->p, s[id], 1, &err), 2);
	assert_int_equal(placing_check_here(cell_node(2)->p, s[2], &err), 0);
	assert_int_equal(placing_check_here(cell_node(1)->p, s[1], &err), -1);
	assert_non_null(strstr(err.why[0], "label disk=ssd is asked"));
	/* One is under way: there is no room for a second one. */
	struct replica *run = create_run(&cell_node(2)->w.m, s[2], NULL, NULL, &err);
	assert_non_null(run);
	cell_pass(3);
	assert_int_equal(placing_check_here(cell_node(2)->p, s[2], &err), -1);
	assert_non_null(strstr(err.why[0], "needs memory 5 GiB"));
	assert_int_equal(placing_pick(cell_node(2)->p, s[2], 2, &err), 0);
	reconcile_order(&cell_node(2)->w.m, run, LIFECYCLE_STOP);
	cell_pass(3);
	assert_int_equal(placing_pick(cell_node(2)->p, s[2], 2, &err), 2);
	/* Who is gone, and who is not. */
	assert_false(placing_is_gone(cell_node(1)->p, 2));
	assert_false(placing_is_gone(cell_node(1)->p, 0));
	cell_kill(2);
	cell_pass(10);
	assert_true(placing_is_gone(cell_node(1)->p, 2));
	assert_true(placing_is_gone(cell_node(1)->p, 77));
	assert_string_equal(placing_node_name(cell_node(1)->p, 2), cell_node(2)->w.m.node);
	assert_null(placing_node_name(cell_node(1)->p, 77));
	assert_int_equal(placing_pick(cell_node(1)->p, s[1], 3, &err), 0);
	cell_end();
}

static const char once[] = "version: v1\n"
			   "deployment: shop\n"
			   "services:\n"
			   "  once:\n"
			   "    rtype: job\n"
			   "    image: {name: once}\n";

static struct service *
once_of(uint32_t id)
{
	return model_service(model_deployment(&cell_node(id)->w.m, "shop"), "once");
}

/* Of all nodes' runs the newest are kept, whoever had the oldest. */
static void
test_runs_of_all_nodes_are_forgotten(void **state)
{
	enum { RUNS = 30, KEPT = 10 };
	struct err err = {0};

	(void)state;
	cell_begin(2);
	cell_pass(3);
	cell_apply("shop", once);
	cell_pass(20);
	for (uint32_t n = 0; n < RUNS; n++) {
		/* The first ones are all another's than those that follow. */
		uint32_t id = n < KEPT || n % 3 == 0 ? 1 : 2;
		struct model *m = &cell_node(id)->w.m;

		request_forget_runs(m, once_of(id));
		struct replica *run = create_run(m, once_of(id), NULL, NULL, &err);
		assert_non_null(run);
		cell_pass(3);
		reconcile_order(m, run, LIFECYCLE_STOP);
		cell_pass(3);
	}
	for (uint32_t id = 1; id <= 2; id++) {
		size_t count = 0, newest = 0;

		for (struct list *it = once_of(id)->replicas.next; it != &once_of(id)->replicas;
		     it = it->next) {
			const struct replica *p = container_of(it, struct replica, link);

			count++;
			newest += p->row.index > RUNS - KEPT + 1;
		}
		assert_int_equal(newest, KEPT - 1);
		assert_in_range(count, KEPT - 1, KEPT + 2);
	}
	cell_end();
}

/* Who cannot ask the store makes no run of what stands there, and is given none while others can.
 */
static void
test_runs_pass_over_who_cannot_write(void **state)
{
	struct err err = {0};
	unsigned given[4] = {0};

	(void)state;
	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", once);
	cell_pass(20);
	is_stuck(2, true);
	for (uint32_t run = 0; run < 60; run++)
		given[placing_pick(cell_node(1)->p, once_of(1), run, &err)]++;
	assert_int_equal(given[0], 0);
	assert_int_equal(given[2], 0);
	assert_true(given[1] && given[3]);
	is_stuck(1, true);
	is_stuck(3, true);
	for (uint32_t run = 0; run < 60; run++)
		given[placing_pick(cell_node(1)->p, once_of(1), run, &err)]++;
	assert_int_equal(given[0], 0);
	assert_true(given[2]);
	cell_end();
}

#define CRON(on_loss)                          \
	"version: v1\n"                        \
	"deployment: shop\n"                   \
	"services:\n"                          \
	"  tidy:\n"                            \
	"    rtype: cron\n"                    \
	"    schedule: \"0 0 0 1 1 * 2199\"\n" \
	"    cron: {on_loss: " on_loss "}\n"   \
	"    image: {name: tidy}\n"

/* A time that was given to a node of which nothing is heard. */
static struct cronjob_firing *
given_to_the_gone(const char *text, uint32_t owner, uint32_t tries)
{
	uint32_t id;

	cell_begin(3);
	cell_pass(3);
	cell_apply("shop", text);
	cell_pass(20);
	id = conductor();
	assert_int_not_equal(id, 0);
	struct model *m = &cell_node(id)->w.m;
	struct service *s = model_service(model_deployment(m, "shop"), "tidy");
	struct store_firing firing = {
		.service = s->row.id,
		.at_s = 1000,
		.state = MSG_FIRING_DUE,
		.reason = MSG_FIRING_ON_TIME,
		.owner = owner,
		.tries = tries,
		.recorded_wall_ns = m->wall_ns,
		.exit_status = (uint32_t)-1,
	};
	assert_non_null(s->cron);
	assert_true(cronjob_write(m, s, &(struct cronjob_change){.fresh = &firing}));
	cell_pass(5);
	return container_of(s->cron->firings.prev, struct cronjob_firing, link);
}

static void
test_times_of_a_node_that_is_gone(void **state)
{
	struct cronjob_firing *f;

	(void)state;
	f = given_to_the_gone(CRON("skip"), 77, 0);
	assert_int_equal(f->row.state, MSG_FIRING_LOST);
	assert_non_null(strstr(f->row.why.what, "its node (77) went away"));
	assert_int_equal(f->row.tries, 0);
	cell_end();
	f = given_to_the_gone(CRON("retry"), 77, 0);
	assert_true(f->row.state == MSG_FIRING_DUE || f->row.state == MSG_FIRING_STARTED);
	assert_true(f->row.owner >= 1 && f->row.owner <= 3);
	assert_int_equal(f->row.tries, 1);
	cell_end();
	f = given_to_the_gone(CRON("retry"), 77, CRONJOB_TRIES_MAX);
	assert_int_equal(f->row.state, MSG_FIRING_LOST);
	cell_end();
	/* What was written before there was a cluster is the founder's. */
	f = given_to_the_gone(CRON("skip"), 0, 0);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	cell_end();
}

static struct service *
tidy_of(uint32_t id)
{
	return model_service(model_deployment(&cell_node(id)->w.m, "shop"), "tidy");
}

/* The time is another node's, which lives and cannot ask the store. */
static struct cronjob_firing *
given_to_the_stuck(const char *text, bool all)
{
	struct cronjob_firing *f = given_to_the_gone(text, 0, 0);
	uint32_t id = conductor();

	f->row.owner = id % 3 + 1;
	for (uint32_t n = 1; n <= 3; n++)
		if (all || n == f->row.owner)
			is_stuck(n, true);
	cell_pass(8);
	assert_int_equal(conductor(), id);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	assert_int_equal(f->row.owner, id % 3 + 1);
	cell_pass(8);
	return f;
}

/* With a lease its run has not begun, or ends: the next one is not kept waiting. */
static void
test_times_of_a_node_that_cannot_write(void **state)
{
	struct cronjob_firing *f;

	(void)state;
	f = given_to_the_stuck(CRON("skip"), false);
	assert_int_equal(f->row.state, MSG_FIRING_LOST);
	assert_non_null(strstr(f->row.why.what, "could not ask the store"));
	cell_end();
	f = given_to_the_stuck(CRON("retry"), false);
	assert_true(f->row.state == MSG_FIRING_DUE || f->row.state == MSG_FIRING_STARTED);
	assert_false(cell_node(f->row.owner)->stuck);
	assert_int_equal(f->row.tries, 1);
	cell_end();
	/* Then it is the store that is away, or was until now. */
	f = given_to_the_stuck(CRON("skip"), true);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	is_stuck(conductor(), false);
	cell_pass(2);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	cell_end();
	f = given_to_the_stuck(CRON("skip, overlap: allow"), false);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	cell_end();
}

static int
may_run(uint32_t id)
{
	struct model *m = &cell_node(id)->w.m;
	struct err err = {0};

	return cronjob_check_run(m, tidy_of(id), cronjob_in_force(m, tidy_of(id)), &err);
}

/* Nor is one that such a node has not begun. */
static void
test_runs_of_a_node_that_cannot_write(void **state)
{
	struct tidings_replica run = {.index = 7, .revision = 1, .state = MSG_REPLICA_PENDING};
	struct tidings_value value;
	uint32_t id, other;

	(void)state;
	(void)given_to_the_gone(CRON("skip"), 77, 0);
	id = conductor();
	other = id % 3 + 1;
	assert_int_equal(may_run(id), 0);
	run.service = tidy_of(id)->row.id;
	run.flags = TIDINGS_JOB;
	tidings_put_replica(&run, &value);
	placing_entry(cell_node(id)->p, other, TIDINGS_REPLICA, (uint64_t)other << 32 | 50,
		      value.data, value.bytes);
	assert_int_equal(may_run(id), -1);
	is_stuck(other, true);
	cell_pass(16);
	assert_int_equal(may_run(id), 0);
	/* It lives: until its lease is over. */
	run.flags |= TIDINGS_STARTED;
	tidings_put_replica(&run, &value);
	placing_entry(cell_node(id)->p, other, TIDINGS_REPLICA, (uint64_t)other << 32 | 50,
		      value.data, value.bytes);
	assert_int_equal(may_run(id), -1);
	cell_end();
}

/* A time of the first node's, which may not run it; the second one may. passed_on: it comes from
 * another one that had no room. */
static struct cronjob_firing *
without_room(const char *text, bool passed_on)
{
	cell_begin(2);
	label(2, "disk=ssd");
	cell_pass(3);
	cell_apply("shop", text);
	cell_pass(20);
	struct model *m = &cell_node(1)->w.m;
	struct service *s = model_service(model_deployment(m, "shop"), "tidy");
	struct store_firing firing = {
		.service = s->row.id,
		.at_s = 1000,
		.state = MSG_FIRING_DUE,
		.reason = MSG_FIRING_ON_TIME,
		.owner = 1,
		.recorded_wall_ns = m->wall_ns,
		.exit_status = (uint32_t)-1,
	};
	if (passed_on)
		firing.why = (struct msg_reason){.kind = ERR_LIMIT, .what = "has no room"};
	assert_non_null(cronjob_get(s));
	assert_true(cronjob_write(m, s, &(struct cronjob_change){.fresh = &firing}));
	cell_pass(2);
	return container_of(s->cron->firings.prev, struct cronjob_firing, link);
}

static void
test_times_without_room(void **state)
{
	static const char selector[] = "    node: {selector: {labels: {disk: ssd}}}\n";
	char skip[512], retry[512];
	struct cronjob_firing *f;

	(void)state;
	snprintf(skip, sizeof(skip), "%s%s", CRON("skip"), selector);
	snprintf(retry, sizeof(retry), "%s%s", CRON("retry"), selector);
	f = without_room(skip, false);
	assert_int_equal(f->row.owner, 2);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	assert_non_null(strstr(f->row.why.what, "has no place on edge-1"));
	cell_end();
	/* Not on and on, from one to the next. */
	f = without_room(skip, true);
	assert_int_equal(f->row.owner, 1);
	assert_int_equal(f->row.state, MSG_FIRING_LOST);
	cell_end();
	f = without_room(retry, true);
	assert_int_equal(f->row.owner, 1);
	assert_int_equal(f->row.state, MSG_FIRING_DUE);
	uint64_t writes =
		model_service(model_deployment(&cell_node(1)->w.m, "shop"), "tidy")->cron->writes;
	cell_pass(2);
	assert_int_equal(
		model_service(model_deployment(&cell_node(1)->w.m, "shop"), "tidy")->cron->writes,
		writes);
	cell_pass(4);
	assert_int_equal(f->row.owner, 2);
	cell_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread_over_nodes),
		cmocka_unit_test(test_memory_is_told_seldom),
		cmocka_unit_test(test_what_waits_for_time_alone),
		cmocka_unit_test(test_a_node_dies),
		cmocka_unit_test(test_who_cannot_write_conducts_nothing),
		cmocka_unit_test(test_nobody_can_write),
		cmocka_unit_test(test_what_is_unique_goes_where_one_can_write),
		cmocka_unit_test(test_the_process_begins_anew),
		cmocka_unit_test(test_a_node_is_drained),
		cmocka_unit_test(test_a_drain_has_an_end),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_no_node_takes_it),
		cmocka_unit_test(test_all_say_what_waits),
		cmocka_unit_test(test_who_says_what_waits),
		cmocka_unit_test(test_a_deploy_without_a_place_ends),
		cmocka_unit_test(test_a_deploy_while_replicas_want_to_move),
		cmocka_unit_test(test_a_partition_heals),
		cmocka_unit_test(test_an_update_over_nodes),
		cmocka_unit_test(test_a_full_node),
		cmocka_unit_test(test_a_node_that_lies),
		cmocka_unit_test(test_runs_find_a_node),
		cmocka_unit_test(test_runs_of_all_nodes_are_forgotten),
		cmocka_unit_test(test_times_of_a_node_that_is_gone),
		cmocka_unit_test(test_runs_pass_over_who_cannot_write),
		cmocka_unit_test(test_times_of_a_node_that_cannot_write),
		cmocka_unit_test(test_runs_of_a_node_that_cannot_write),
		cmocka_unit_test(test_times_without_room),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
