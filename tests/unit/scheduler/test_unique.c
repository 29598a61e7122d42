/* SPDX-License-Identifier: Apache-2.0 */
/* Leases of unique replicas: two nodes on one store, of which the one or the other runs a replica;
 * and a node alone. */
#include "scheduler/unique.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/log.h"
#include "scheduler/create.h"
#include "scheduler/cronjob.h"
#include "scheduler/remote.h"
#include "scheduler/tidings.h"
#include "tests/support/shared_world.h"

#define DOCUMENT(scale)                                             \
	"version: v1\n"                                             \
	"deployment: shop\n"                                        \
	"services:\n"                                               \
	"  db:\n"                                                   \
	"    image: {name: postgres}\n"                             \
	"    endpoints: [{name: sql, protocol: tcp, port: 5432}]\n" \
	"    health: {check: {type: tcp}}\n"                        \
	"    scale: {mode: fixed, replicas: 1" scale "}\n"

static const char unique[] = DOCUMENT(", unique: true");
static const char plain[] = DOCUMENT("");
static struct shared_world w;

static struct model *
model(unsigned n)
{
	return &w.worlds[n].m;
}

/* Of that node's own. */
static struct replica *
own(unsigned n)
{
	struct map_iter it = {0};

	while (map_next(&model(n)->replicas, &it)) {
		struct replica *p = it.value;

		if (!p->remote && !p->life.gone)
			return p;
	}
	return NULL;
}

static bool
runs(unsigned n)
{
	struct replica *p = own(n);

	return p && p->has_container && p->container.state == MSG_CONTAINER_RUNNING;
}

static const struct msg_claim *
claim(unsigned n)
{
	return ring_table_get(w.worlds[n].seen, MSG_TABLE_CLAIM, own(n)->row.id);
}

/* As placement does on a node that has the claim. */
static void
place(unsigned n)
{
	struct service *s = model_service(model_deployment(model(n), "shop"), "db");
	struct err err = {0};

	assert_int_equal(create_replica(model(n), s, 1, true, &err), 0);
}

static void
begin(const char *text)
{
	struct shared_asked asked;

	shared_world_begin(&w);
	shared_world_pass(&w, 3);
	shared_apply(&w, 0, "shop", text, &asked);
	shared_world_pass(&w, 30);
	assert_false(asked.failed);
	assert_true(runs(0));
}

/* A second one at a time: nobody runs it twice. */
static void
pass(unsigned seconds)
{
	while (seconds-- > 0) {
		shared_world_pass(&w, 1);
		assert_false(runs(0) && runs(1));
	}
}

static void
test_held_and_kept(void **state)
{
	(void)state;
	begin(unique);
	const struct msg_claim *c = claim(0);
	uint64_t until = c->lease_until_ns, epoch = c->lease_epoch;

	assert_int_equal(c->leased, 1);
	assert_int_equal(epoch, 1);
	assert_true(until > w.worlds[0].now_ns);
	assert_true(until <= w.worlds[0].now_ns + 8 * NODE_S);
	unsigned keeps = w.log.keeps;
	pass(30);
	assert_true(runs(0));
	assert_int_equal(w.log.takes, 1);
	assert_true(w.log.keeps >= keeps + 9 && w.log.keeps <= keeps + 12);
	assert_true(claim(0)->lease_until_ns >= until + 27 * NODE_S);
	assert_int_equal(claim(0)->lease_epoch, epoch);
	assert_int_equal(own(0)->lease_epoch, epoch);
	shared_world_end(&w);
}

static void
test_not_unique(void **state)
{
	(void)state;
	begin(plain);
	assert_int_equal(claim(0)->leased, 0);
	assert_int_equal(w.log.takes, 0);
	shared_world_end(&w);
}

/* Cut off: dead two seconds before another one may have it, and it says why. */
static void
test_cut_off(void **state)
{
	(void)state;
	begin(unique);
	w.nodes[0].cut = true;
	place(1);
	pass(4);
	assert_true(runs(0));
	assert_true(own(1)->held);
	assert_non_null(strstr(own(1)->waits.what, "it waits for its lease: edge-1 has it"));
	assert_int_equal(node_events(&w.worlds[1], "replica.lease_waits"), 1);
	pass(16);
	assert_false(runs(0));
	assert_true(runs(1));
	assert_int_equal(own(1)->lease_epoch, 2);
	assert_int_equal(own(0)->life.restarts, 0);
	assert_non_null(strstr(own(0)->waits.what, "its lease ran out: no quorum"));
	/* It comes back, and waits. */
	w.nodes[0].cut = false;
	pass(20);
	assert_true(runs(1));
	assert_non_null(strstr(own(0)->waits.what, "it waits for its lease"));
	/* The other one goes: at once it is its again. */
	reconcile_order(model(1), own(1), LIFECYCLE_REMOVE);
	pass(3);
	assert_true(runs(0));
	assert_int_equal(own(0)->lease_epoch, 3);
	assert_true(w.log.drops >= 1);
	shared_world_end(&w);
}

static void
test_successor_goes_on(void **state)
{
	unsigned started;

	(void)state;
	begin(unique);
	started = w.worlds[0].started;
	for (unsigned i = 0; i < 5; i++) {
		shared_world_restart(&w, 0);
		pass(4);
		assert_true(runs(0));
	}
	pass(10);
	assert_int_equal(w.worlds[0].started, started);
	assert_int_equal(w.log.takes, 1);
	assert_int_equal(claim(0)->lease_epoch, 1);
	shared_world_end(&w);
}

/* As if the store had just moved here from another engine. */
static void
moved(unsigned n)
{
	struct err err = {0};

	shared_world_begin(&w);
	shared_world_pass(&w, 3);
	struct store *local = store_local(model(n)->store);
	assert_int_equal(store_begin(local, &err), 0);
	assert_int_equal(store_put_note(local, "unique.engine", "former", &err), 0);
	assert_int_equal(store_commit(local, &err), 0);
	shared_world_restart(&w, n);
}

/* Who wants a lease later does not wait for those of the former engine then. */
static void
test_moved_long_ago(void **state)
{
	struct shared_asked asked;

	(void)state;
	moved(0);
	pass(11);
	shared_apply(&w, 0, "shop", unique, &asked);
	pass(3);
	assert_true(runs(0));
	assert_int_equal(w.log.takes, 1);
	shared_world_end(&w);
}

/* A process that ended meanwhile has not waited. */
static void
test_moved_and_restarted(void **state)
{
	struct shared_asked asked;

	(void)state;
	moved(0);
	shared_apply(&w, 0, "shop", unique, &asked);
	pass(6);
	assert_int_equal(w.log.takes, 0);
	shared_world_restart(&w, 0);
	pass(8);
	assert_int_equal(w.log.takes, 0);
	pass(4);
	assert_true(runs(0));
	shared_world_restart(&w, 0);
	pass(2);
	assert_true(runs(0));
	assert_int_equal(w.log.takes, 1);
	shared_world_end(&w);
}

/* A successor that comes too late finds nothing alive. */
static void
test_successor_comes_late(void **state)
{
	(void)state;
	begin(unique);
	place(1);
	node_stop(&w.worlds[0]);
	/* Nobody moves the deadline on: the monitor acts by itself. */
	for (unsigned i = 0; i < 12; i++) {
		w.worlds[0].now_ns += NODE_S;
		w.worlds[1].now_ns += NODE_S;
		w.log.now_ns = w.worlds[1].now_ns;
		for (int turn = 0; turn < 12; turn++) {
			node_turn(&w.worlds[1]);
			shared_world_deliver(&w);
		}
	}
	assert_true(runs(1));
	node_start(&w.worlds[0]);
	shared_world_hook(&w, 0);
	shared_world_pass(&w, 1);
	pass(20);
	assert_true(runs(1));
	shared_world_end(&w);
}

static void
test_ends_and_begins_again(void **state)
{
	struct msg_container row;

	(void)state;
	begin(unique);
	row = own(0)->container;
	row.state = MSG_CONTAINER_EXITED;
	row.exit_status = 1;
	ring_table_set(w.worlds[0].runtime, MSG_TABLE_CONTAINER, row.replica, &row, NULL);
	pass(2);
	assert_true(runs(0));
	assert_int_equal(own(0)->life.restarts, 1);
	assert_int_equal(w.log.takes, 1);
	shared_world_end(&w);
}

static void
test_stopped_gives_it_back(void **state)
{
	(void)state;
	begin(unique);
	reconcile_order(model(0), own(0), LIFECYCLE_STOP);
	pass(2);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_int_equal(w.log.drops, 1);
	place(1);
	pass(2);
	assert_true(runs(1));
	shared_world_end(&w);
}

static void
test_becomes_unique_and_not(void **state)
{
	struct shared_asked asked;
	unsigned started;

	(void)state;
	begin(plain);
	started = w.worlds[0].started;
	shared_apply(&w, 0, "shop", unique, &asked);
	pass(5);
	assert_int_equal(claim(0)->leased, 1);
	assert_true(own(0)->container.lease_until_ns > 0);
	shared_apply(&w, 0, "shop", plain, &asked);
	pass(20);
	assert_int_equal(claim(0)->leased, 0);
	assert_int_equal(own(0)->container.lease_until_ns, 0);
	assert_true(runs(0));
	assert_int_equal(w.worlds[0].started, started);
	shared_world_end(&w);
}

/* What others say of theirs: the highest epoch that was ever heard of is served, and no other. */
static void
test_old_epochs_are_not_served(void **state)
{
	struct tidings_replica t;

	(void)state;
	begin(unique);
	struct replica *p = own(0);
	pass(3);
	assert_true(unique_may_serve(model(0), p));
	remote_tell(model(0), p, &t);
	t.lease_epoch = 9;
	assert_true(remote_take(model(0), 7, "edge-7", UINT64_C(7) << 32 | 1, &t));
	unique_look(model(0));
	assert_false(unique_may_serve(model(0), own(0)));
	struct replica *other = model_replica(model(0), UINT64_C(7) << 32 | 1);
	assert_true(unique_may_serve(model(0), other));
	remote_drop(model(0), 7, other->row.id);
	unique_look(model(0));
	assert_false(unique_may_serve(model(0), own(0)));
	t.lease_epoch = 8;
	assert_true(remote_take(model(0), 8, "edge-8", UINT64_C(8) << 32 | 1, &t));
	unique_look(model(0));
	assert_false(unique_may_serve(model(0), model_replica(model(0), UINT64_C(8) << 32 | 1)));
	shared_world_end(&w);
}

/* No memory for a question: it is asked again. */
static void
test_no_memory(void **state)
{
	(void)state;
	begin(unique);
	for (int64_t i = 0; i < 12; i++) {
		mem_fail_after(i);
		node_turn(&w.worlds[0]);
		mem_fail_after(-1);
		pass(1);
		assert_true(runs(0));
	}
	shared_world_end(&w);
}

/* ---- runs ---- */

#define NIGHTLY(on_loss)                     \
	"version: v1\n"                      \
	"deployment: shop\n"                 \
	"services:\n"                        \
	"  tidy:\n"                          \
	"    rtype: cron\n"                  \
	"    schedule: \"0 * * * * * *\"\n"  \
	"    cron: {on_loss: " on_loss "}\n" \
	"    image: {name: tidy}\n"

#define YEARLY(on_loss)                        \
	"version: v1\n"                        \
	"deployment: shop\n"                   \
	"services:\n"                          \
	"  tidy:\n"                            \
	"    rtype: cron\n"                    \
	"    schedule: \"0 0 0 1 1 * 2199\"\n" \
	"    cron: {on_loss: " on_loss "}\n"   \
	"    image: {name: tidy}\n"

static void
given(void *arg, const struct err *err)
{
	bool *ended = arg;

	assert_null(err);
	*ended = true;
}

static void
until_it_runs(const char *text)
{
	struct shared_asked asked;

	shared_world_begin(&w);
	/* A firing is for one of them. */
	model(0)->node_id = 1;
	model(1)->node_id = 2;
	shared_world_pass(&w, 3);
	shared_apply(&w, 0, "shop", text, &asked);
	for (int i = 0; i < 130 && !runs(0); i++)
		shared_world_pass(&w, 1);
	assert_true(runs(0));
}

static struct cronjob_firing *
newest(void)
{
	struct service *s = model_service(model_deployment(model(0), "shop"), "tidy");

	return container_of(s->cron->firings.prev, struct cronjob_firing, link);
}

/* A run that is made again when it is lost may not live on where nobody can see it. */
static void
test_a_run_that_is_made_again(void **state)
{
	(void)state;
	until_it_runs(NIGHTLY("retry, overlap: allow"));
	assert_int_equal(claim(0)->leased, 1);
	assert_int_equal(strncmp(w.log.leases[0].name, "run.", 4), 0);
	int64_t at_s = newest()->row.at_s;
	w.nodes[0].cut = true;
	shared_world_pass(&w, 12);
	assert_int_equal(w.worlds[0].started, 1);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_int_equal(own(0)->ended.lease_over, 1);
	w.nodes[0].cut = false;
	shared_world_pass(&w, 15);
	assert_int_equal(w.worlds[0].started, 2);
	assert_int_equal(newest()->row.at_s, at_s);
	assert_int_equal(newest()->row.tries, 1);
	assert_int_equal(newest()->row.state, MSG_FIRING_STARTED);
	shared_world_end(&w);
}

/* As the conductor writes it, on the second node. */
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
}

static struct store_firing
due(uint32_t owner)
{
	struct service *s = model_service(model_deployment(model(1), "shop"), "tidy");

	return (struct store_firing){
		.service = s->row.id,
		.at_s = 1000,
		.state = MSG_FIRING_DUE,
		.reason = MSG_FIRING_ON_TIME,
		.owner = owner,
		.recorded_wall_ns = model(1)->wall_ns,
		.exit_status = (uint32_t)-1,
	};
}

static void
two_with_a_cron(const char *text)
{
	struct shared_asked asked;

	shared_world_begin(&w);
	model(0)->node_id = 1;
	model(1)->node_id = 2;
	w.conductor = 1;
	shared_world_pass(&w, 3);
	shared_apply(&w, 1, "shop", text, &asked);
	shared_world_pass(&w, 3);
}

/* It waits to begin when its node is cut off; another node is given its time, and does it. */
static void
test_a_run_whose_time_was_given_away(void **state)
{
	struct store_firing f;
	struct shared_lease *lease;
	char name[32];

	(void)state;
	two_with_a_cron(YEARLY("retry, overlap: allow"));
	f = due(1);
	give(&f);
	snprintf(name, sizeof(name), "run.%llu", (unsigned long long)f.id);
	lease = shared_lease(&w.log, name);
	*lease = (struct shared_lease){.epoch = 4, .until_ns = UINT64_MAX};
	strcpy(lease->name, name);
	shared_world_pass(&w, 3);
	assert_true(own(0)->held);
	assert_int_equal(w.worlds[0].started, 0);
	w.nodes[0].cut = true;
	shared_world_pass(&w, 1);
	f.owner = 2;
	f.tries = 1;
	f.state = MSG_FIRING_DONE;
	give(&f);
	lease->until_ns = 0;
	/* The lease comes before the news. */
	w.nodes[0].cut = false;
	shared_world_alone(&w, 0);
	assert_int_equal(lease->epoch, 5);
	assert_int_equal(w.worlds[0].started, 0);
	shared_world_pass(&w, 8);
	assert_int_equal(w.worlds[0].started, 0);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_non_null(strstr(own(0)->reason.what, "was given to another node"));
	assert_int_equal(newest()->row.state, MSG_FIRING_DONE);
	shared_world_end(&w);
}

/* Its machine began anew while another node had been given its time. */
static void
test_a_time_that_is_another_nodes(void **state)
{
	struct store_firing f;

	(void)state;
	two_with_a_cron(YEARLY("retry, overlap: allow"));
	f = due(1);
	give(&f);
	shared_world_pass(&w, 5);
	assert_true(runs(0));
	f = newest()->row;
	node_power_off(&w.worlds[0], "second");
	f.owner = 3;
	f.tries = 1;
	f.state = MSG_FIRING_DUE;
	f.replica = f.index = 0;
	give(&f);
	shared_world_power_on(&w, 0);
	shared_world_pass(&w, 5);
	assert_int_equal(newest()->row.owner, 3);
	assert_int_equal(newest()->row.tries, 1);
	assert_int_equal(own(0)->life.state, MSG_REPLICA_STOPPED);
	assert_int_equal(w.worlds[0].started, 1);
	/* And to this one again: the run of before is not the one that is asked for. */
	f = newest()->row;
	f.owner = 1;
	f.tries = 2;
	give(&f);
	shared_world_pass(&w, 12);
	assert_int_equal(w.worlds[0].started, 2);
	assert_int_equal(newest()->row.tries, 2);
	assert_int_equal(newest()->row.state, MSG_FIRING_STARTED);
	shared_world_end(&w);
}

/* What is due is not late because the clocks of two nodes differ. */
static void
test_clocks_that_differ(void **state)
{
	struct store_firing f;

	(void)state;
	for (int found = 0; found < 2; found++) {
		two_with_a_cron(YEARLY("skip"));
		w.worlds[0].skew_ns = 90 * (int64_t)NODE_S;
		f = due(1);
		/* Its process ends before it has begun, and the next one finds it in its copy. */
		model(0)->runtime = found ? NULL : model(0)->runtime;
		give(&f);
		shared_world_pass(&w, 1);
		if (found) {
			assert_int_equal(w.worlds[0].started, 0);
			shared_world_restart(&w, 0);
			model(0)->node_id = 1;
		}
		shared_world_pass(&w, 3);
		assert_int_equal(w.worlds[0].started, 1);
		assert_int_equal(newest()->row.state, MSG_FIRING_STARTED);
		shared_world_end(&w);
	}
}

/* It was away for so long that its time was said to be lost: it does not begin it. */
static void
test_a_time_that_was_lost_meanwhile(void **state)
{
	struct store_firing f;

	(void)state;
	two_with_a_cron(YEARLY("skip"));
	f = due(1);
	model(0)->runtime = NULL;
	give(&f);
	shared_world_pass(&w, 1);
	w.nodes[0].cut = true;
	shared_world_restart(&w, 0);
	model(0)->node_id = 1;
	w.nodes[0].cut = true;
	shared_world_pass(&w, 3);
	assert_int_equal(newest()->row.state, MSG_FIRING_DUE);
	f.state = MSG_FIRING_LOST;
	give(&f);
	w.nodes[0].cut = false;
	shared_world_pass(&w, 3);
	assert_int_equal(w.worlds[0].started, 0);
	assert_int_equal(newest()->row.state, MSG_FIRING_LOST);
	shared_world_end(&w);
}

/* One that is not, lives on. */
static void
test_a_run_that_is_made_once(void **state)
{
	(void)state;
	until_it_runs(NIGHTLY("skip, overlap: allow"));
	assert_int_equal(claim(0)->leased, 0);
	w.nodes[0].cut = true;
	shared_world_pass(&w, 12);
	assert_true(runs(0));
	assert_int_equal(w.log.takes, 0);
	shared_world_end(&w);
}

/* ---- alone ---- */

static void
test_alone(void **state)
{
	struct node_world n;

	(void)state;
	node_begin(&n);
	node_pass(&n, 3);
	struct shared_asked a = {.r.done = shared_answered};
	struct msg_apply q = {.who_uid = 1000};
	struct apply_input in = {.request = &q, .text = unique, .bytes = strlen(unique)};
	struct err err = {0};
	strcpy(q.name, "shop");
	assert_true(apply_document(&n.m, &in, &a.r, &err) >= 0);
	node_pass(&n, 5);
	struct service *s = model_service(model_deployment(&n.m, "shop"), "db");
	struct replica *first = container_of(s->replicas.next, struct replica, link);
	assert_true(first->has_container);
	/* As if a roll-out had been too quick. */
	assert_int_equal(create_replica(&n.m, s, 1, true, &err), 0);
	struct replica *second = container_of(s->replicas.prev, struct replica, link);
	assert_ptr_not_equal(first, second);
	node_turn(&n);
	assert_true(second->held);
	const struct msg_claim *c = ring_table_get(n.seen, MSG_TABLE_CLAIM, second->row.id);
	assert_true(c->held);
	assert_int_equal(c->leased, 0);
	reconcile_order(&n.m, first, LIFECYCLE_REMOVE);
	node_pass(&n, 3);
	node_end(&n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_and_kept),
		cmocka_unit_test(test_not_unique),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_successor_goes_on),
		cmocka_unit_test(test_moved_long_ago),
		cmocka_unit_test(test_moved_and_restarted),
		cmocka_unit_test(test_successor_comes_late),
		cmocka_unit_test(test_ends_and_begins_again),
		cmocka_unit_test(test_stopped_gives_it_back),
		cmocka_unit_test(test_becomes_unique_and_not),
		cmocka_unit_test(test_old_epochs_are_not_served),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_a_run_that_is_made_again),
		cmocka_unit_test(test_a_run_whose_time_was_given_away),
		cmocka_unit_test(test_a_time_that_is_another_nodes),
		cmocka_unit_test(test_clocks_that_differ),
		cmocka_unit_test(test_a_time_that_was_lost_meanwhile),
		cmocka_unit_test(test_a_run_that_is_made_once),
		cmocka_unit_test(test_alone),
	};

	if (!node_libraries())
		return 0;
	log_change(LOG_ERROR, LOG_FORMAT_JSON);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
