/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_STORE_CONTRACT_H
#define TESTS_SUPPORT_STORE_CONTRACT_H

/*
 * What every engine of the store keeps to, as tests of cmocka's: each is given an empty store by
 * contract_open(), which the including test defines with the other two. Reopening gives the same
 * store as another process would find it.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/store.h"
#include "scheduler/store_lease.h"

static struct store *contract_open(void **state);
static struct store *contract_reopen(void **state, struct store *s);
/* Turns the loop until *over. */
static void contract_wait(void **state, const bool *over);

struct contract_end {
	bool over;
	bool failed;
	struct err err;
};

static void
contract_done(void *arg, const struct err *err)
{
	struct contract_end *end = arg;

	assert_false(end->over);
	end->over = true;
	end->failed = err != NULL;
	if (err)
		end->err = *err;
}

static int
contract_try(void **state, struct store *s, struct err *err)
{
	struct contract_end end = {0};

	store_submit(s, contract_done, &end);
	if (!end.over)
		assert_true(store_busy(s));
	contract_wait(state, &end.over);
	assert_false(store_busy(s));
	*err = end.err;
	return end.failed ? -1 : 0;
}

static void
contract_commit(void **state, struct store *s)
{
	struct err err = {0};

	if (contract_try(state, s, &err) < 0) {
		err_print(&err, "contract", stderr);
		fail();
	}
}

static void
contract_begin(struct store *s)
{
	struct err err = {0};

	if (store_begin(s, &err) < 0) {
		err_print(&err, "contract", stderr);
		fail();
	}
}

static void
contract_put(struct store *s, enum store_kind kind, void *row)
{
	struct err err = {0};

	if (store_put(s, kind, row, &err) < 0) {
		err_print(&err, "contract", stderr);
		fail();
	}
}

static void
contract_blob(struct store *s, enum store_blob blob, uint64_t id, const void *data, size_t bytes)
{
	struct err err = {0};

	if (store_put_blob(s, blob, id, data, bytes, &err) < 0) {
		err_print(&err, "contract", stderr);
		fail();
	}
}

static void
contract_count_row(void *arg, const void *row)
{
	(void)row;
	++*(size_t *)arg;
}

static size_t
contract_count(struct store *s, enum store_kind kind, uint64_t above, uint64_t parent)
{
	struct err err = {0};
	size_t n = 0;

	assert_int_equal(store_each(s, kind, above, parent, contract_count_row, &n, &err), 0);
	return n;
}

static void
contract_same_blob(struct store *s, enum store_blob blob, uint64_t id, const void *data,
		   size_t bytes)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, 16 << 20);
	assert_int_equal(store_get_blob(s, blob, id, &out, &err), 0);
	assert_int_equal(out.length, bytes);
	if (bytes)
		assert_memory_equal(out.data, data, bytes);
	buf_fini(&out);
}

static void
contract_rows_survive(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop", .revision = 3, .created_wall_ns = -5};
	struct store_deployment back;
	struct err err = {0};

	strcpy(d.reason.what, "it's \"odd\"; DROP TABLE deployments\n\x01\xff");
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	assert_true(d.id > 0);
	assert_int_equal(d.version, 1);
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	s = contract_reopen(state, s);
	memset(&back, 0, sizeof(back));
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id + 1, &back, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	store_free(s);
}

static void
contract_expect_conflict(void **state, struct store *s, int rc, struct err *err)
{
	if (rc < 0)
		store_abort(s);
	else
		rc = contract_try(state, s, err);
	assert_int_equal(rc, -1);
	assert_int_equal(err->kind, ERR_CONFLICT);
}

static void
contract_compare_and_swap(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"}, stale, twin = {.name = "shop"};
	struct err err = {0};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	stale = d;
	d.revision = 1;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	d.target = 7; /* the same row twice */
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	assert_int_equal(d.version, 3);
	stale.revision = 9;
	contract_begin(s);
	contract_expect_conflict(state, s, store_put(s, STORE_DEPLOYMENT, &stale, &err), &err);
	contract_begin(s);
	contract_expect_conflict(state, s, store_put(s, STORE_DEPLOYMENT, &twin, &err), &err);
	contract_begin(s);
	contract_expect_conflict(state, s, store_drop(s, STORE_DEPLOYMENT, d.id, 1, &err), &err);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 1);
	store_free(s);
}

/* A replica with a plan is the node's own. */
static void
contract_fill_local(struct store *s, struct store_replica *p)
{
	struct store *local = store_local(s);
	struct err err = {0};

	contract_begin(local);
	contract_put(local, STORE_REPLICA, p);
	contract_blob(local, STORE_PLAN, p->id, "plan", 4);
	assert_int_equal(store_commit(local, &err), 0);
}

static uint64_t
contract_fill(void **state, struct store *s, struct store_deployment *d, struct store_replica *p)
{
	struct store_service v = {.name = "web", .desired = 1};
	struct store_revision r = {.revision = 1, .result = STORE_RESULT_GOOD};
	struct store_route route = {.endpoint = "http"};
	struct store_pin pin = {.service = "web", .image = "a"};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, d);
	v.deployment = r.deployment = d->id;
	contract_put(s, STORE_SERVICE, &v);
	contract_put(s, STORE_REVISION, &r);
	contract_blob(s, STORE_DOCUMENT, r.id, "text", 4);
	pin.revision = r.id;
	contract_put(s, STORE_PIN, &pin);
	route.service = p->service = v.id;
	contract_put(s, STORE_ROUTE, &route);
	contract_commit(state, s);
	contract_fill_local(s, p);
	return r.id;
}

static void
contract_all_goes_with_its_deployment(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"}, again = {.name = "shop"};
	struct store_replica p = {.index = 1, .make = {7}}, q = {.index = 1};
	struct err err = {0};
	struct buf text;

	buf_init(&text, MEM_SCHEDULER, 1024);
	uint64_t revision = contract_fill(state, s, &d, &p);
	contract_same_blob(s, STORE_DOCUMENT, revision, "text", 4);
	contract_same_blob(s, STORE_PLAN, p.id, "plan", 4);
	contract_begin(s);
	assert_int_equal(store_drop(s, STORE_DEPLOYMENT, d.id, d.version, &err), 0);
	contract_commit(state, s);
	for (unsigned k = 0; k < STORE_KINDS_; k++)
		assert_int_equal(contract_count(s, k, 0, 0), 0);
	assert_int_equal(store_get_blob(s, STORE_PLAN, p.id, &text, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	/* Ids are never given twice, also not by another process. */
	s = contract_reopen(state, s);
	contract_fill(state, s, &again, &q);
	assert_true(again.id > d.id);
	assert_true(store_local(s) != s || q.id > p.id);
	buf_fini(&text);
	store_free(s);
}

static void
contract_abort_leaves_nothing(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"};
	struct store_service orphan = {.deployment = 999999999, .name = "web"};
	struct err err = {0};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	store_abort(s);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 0);
	contract_begin(s);
	contract_expect_conflict(state, s, store_put(s, STORE_SERVICE, &orphan, &err), &err);
	contract_begin(s);
	contract_commit(state, s); /* of nothing */
	store_free(s);
}

static void
contract_rows_are_a_window(void **state)
{
	struct store *s = contract_open(state), *local = store_local(s);
	struct err err = {0};

	for (uint64_t i = 1; i <= 30; i++) {
		struct store_event e = {.id = i, .event = {.type = "replica.ready"}};
		struct store_operation o = {.id = i, .deployment = 1};

		contract_begin(s);
		contract_put(s, STORE_OPERATION, &o);
		if (i > 20)
			assert_int_equal(store_drop_through(s, STORE_OPERATION, i - 20, &err), 0);
		contract_commit(state, s);
		contract_begin(local);
		contract_put(local, STORE_EVENT, &e);
		if (i > 20)
			assert_int_equal(store_drop_through(local, STORE_EVENT, i - 20, &err), 0);
		assert_int_equal(store_commit(local, &err), 0);
	}
	assert_int_equal(contract_count(s, STORE_OPERATION, 0, 0), 20);
	assert_int_equal(contract_count(s, STORE_OPERATION, 25, 0), 5);
	assert_int_equal(contract_count(s, STORE_EVENT, 0, 0), 20);
	assert_int_equal(contract_count(s, STORE_EVENT, 25, 0), 5);
	store_free(s);
}

/* Larger than one request of any engine, changed to something smaller, and to nothing at all. */
static void
contract_large_blobs(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	size_t bytes = (3u << 20) + 77;
	uint8_t *big = malloc(bytes);

	assert_non_null(big);
	for (size_t i = 0; i < bytes; i++)
		big[i] = (uint8_t)(i * 2654435761u >> 13);
	uint64_t revision = contract_fill(state, s, &d, &p);
	for (int round = 0; round < 4; round++) {
		const size_t lengths[] = {bytes, 256 << 10, 0, 700000};

		contract_begin(s);
		contract_blob(s, STORE_DOCUMENT, revision, big, lengths[round]);
		contract_commit(state, s);
		contract_same_blob(s, STORE_DOCUMENT, revision, big, lengths[round]);
	}
	s = contract_reopen(state, s);
	contract_same_blob(s, STORE_DOCUMENT, revision, big, 700000);
	free(big);
	store_free(s);
}

static void
contract_many_rows(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"};

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	for (int i = 0; i < 400; i++) {
		struct store_service v = {.deployment = d.id};

		snprintf(v.name, sizeof(v.name), "web-%d", i);
		contract_put(s, STORE_SERVICE, &v);
	}
	contract_commit(state, s);
	assert_int_equal(contract_count(s, STORE_SERVICE, 0, d.id), 400);
	s = contract_reopen(state, s);
	assert_int_equal(contract_count(s, STORE_SERVICE, 0, d.id), 400);
	/* And goes on: the next one, and all of them away. */
	d.revision = 2;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	struct err err = {0};
	contract_begin(s);
	assert_int_equal(store_drop(s, STORE_DEPLOYMENT, d.id, d.version, &err), 0);
	contract_commit(state, s);
	assert_int_equal(contract_count(s, STORE_SERVICE, 0, 0), 0);
	store_free(s);
}

static void
contract_place_keeps_versions(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.id = 42, .version = 7, .name = "shop"}, back;
	struct store_service v = {.id = 3, .version = 9, .deployment = 42, .name = "web"};
	struct err err = {0};

	contract_begin(s);
	assert_int_equal(store_place(s, STORE_DEPLOYMENT, &d, &err), 0);
	assert_int_equal(store_place(s, STORE_SERVICE, &v, &err), 0);
	contract_commit(state, s);
	d.target = 5;
	d.version = 70;
	contract_begin(s);
	assert_int_equal(store_place(s, STORE_DEPLOYMENT, &d, &err), 0);
	contract_commit(state, s);
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, 42, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	assert_int_equal(contract_count(s, STORE_SERVICE, 0, 42), 1);
	store_free(s);
}

struct contract_lease_end {
	bool over;
	uint64_t epoch;
	enum err_kind kind;
	char why[64];
};

static void
contract_lease_done(void *arg, uint64_t epoch, const struct err *err)
{
	struct contract_lease_end *end = arg;

	assert_false(end->over);
	end->over = true;
	end->epoch = epoch;
	end->kind = err ? err->kind : ERR_NONE;
	if (err && err->whys)
		snprintf(end->why, sizeof(end->why), "%.60s", err->why[0]);
}

/* Of what was taken with that epoch. */
static struct contract_lease_end
contract_lease_of(void **state, struct store *s, enum store_lease_verb verb, const char *name,
		  uint64_t epoch)
{
	struct contract_lease_end end = {0};

	if (verb == STORE_LEASE_KEEP)
		store_lease_keep(s, name, epoch, contract_lease_done, &end);
	else
		store_lease_drop(s, name, epoch, contract_lease_done, &end);
	contract_wait(state, &end.over);
	return end;
}

static struct contract_lease_end
contract_lease(void **state, struct store *s, enum store_lease_verb verb, const char *name,
	       uint32_t ttl_s)
{
	struct contract_lease_end end = {0};

	if (verb != STORE_LEASE_TAKE)
		return contract_lease_of(state, s, verb, name, store_lease_mine(s, name));
	store_lease_take(s, name, "edge-1", ttl_s, contract_lease_done, &end);
	contract_wait(state, &end.over);
	return end;
}

static void
contract_leases(void **state)
{
	struct store *s = contract_open(state);
	struct contract_lease_end end;

	end = contract_lease(state, s, STORE_LEASE_TAKE, "job.nightly", 3600);
	assert_int_equal(end.kind, ERR_NONE);
	assert_int_equal(end.epoch, 1);
	end = contract_lease(state, s, STORE_LEASE_TAKE, "job.nightly", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	assert_string_equal(end.why, "edge-1");
	end = contract_lease(state, s, STORE_LEASE_TAKE, "another", 3600);
	assert_int_equal(end.epoch, 1);
	end = contract_lease(state, s, STORE_LEASE_KEEP, "job.nightly", 0);
	assert_int_equal(end.kind, ERR_NONE);
	assert_int_equal(end.epoch, 1);
	for (uint64_t epoch = 2; epoch < 5; epoch++) {
		end = contract_lease(state, s, STORE_LEASE_DROP, "job.nightly", 0);
		assert_int_equal(end.kind, ERR_NONE);
		end = contract_lease(state, s, STORE_LEASE_DROP, "job.nightly", 0);
		assert_int_equal(end.kind, ERR_NONE);
		end = contract_lease(state, s, STORE_LEASE_KEEP, "job.nightly", 0);
		assert_int_equal(end.kind, ERR_NOT_FOUND);
		if (epoch == 3)
			s = contract_reopen(state, s);
		end = contract_lease(state, s, STORE_LEASE_TAKE, "job.nightly", 3600);
		assert_int_equal(end.kind, ERR_NONE);
		assert_int_equal(end.epoch, epoch);
		/* Who had it before does neither keep nor end this one. */
		end = contract_lease_of(state, s, STORE_LEASE_DROP, "job.nightly", epoch - 1);
		assert_int_equal(end.kind, ERR_NONE);
		end = contract_lease_of(state, s, STORE_LEASE_KEEP, "job.nightly", epoch - 1);
		assert_int_equal(end.kind, ERR_NOT_FOUND);
		end = contract_lease_of(state, s, STORE_LEASE_KEEP, "job.nightly", epoch);
		assert_int_equal(end.kind, ERR_NONE);
	}
	store_free(s);
}

/* A question about the one before, answered after the next one was given, does not end that. */
static void
contract_lease_before(void **state)
{
	struct store *s = contract_open(state);
	struct contract_lease_end end, late = {0};

	end = contract_lease(state, s, STORE_LEASE_TAKE, "in.turn", 3600);
	for (uint64_t epoch = 1; epoch < 4; epoch++) {
		assert_int_equal(end.epoch, epoch);
		late = (struct contract_lease_end){0};
		store_lease_keep(s, "in.turn", epoch, contract_lease_done, &late);
		end = contract_lease_of(state, s, STORE_LEASE_DROP, "in.turn", epoch);
		assert_int_equal(end.kind, ERR_NONE);
		end = contract_lease(state, s, STORE_LEASE_TAKE, "in.turn", 3600);
		assert_int_equal(end.kind, ERR_NONE);
		contract_wait(state, &late.over);
		assert_true(late.kind == ERR_NONE || late.kind == ERR_NOT_FOUND);
		assert_int_equal(store_lease_mine(s, "in.turn"), epoch + 1);
		end = contract_lease_of(state, s, STORE_LEASE_KEEP, "in.turn", epoch + 1);
		assert_int_equal(end.kind, ERR_NONE);
	}
	store_free(s);
}

/* Nobody keeps it: then it ends. */
static void
contract_lease_ends(void **state)
{
	struct store *s = contract_open(state);
	struct contract_lease_end end;

	end = contract_lease(state, s, STORE_LEASE_TAKE, "short", STORE_LEASE_TTL_S_MIN);
	assert_int_equal(end.epoch, 1);
	do
		end = contract_lease(state, s, STORE_LEASE_TAKE, "short", STORE_LEASE_TTL_S_MIN);
	while (end.kind == ERR_CONFLICT);
	assert_int_equal(end.kind, ERR_NONE);
	assert_int_equal(end.epoch, 2);
	store_free(s);
}

#define CONTRACT_TESTS(setup, teardown)                                                          \
	cmocka_unit_test_setup_teardown(contract_rows_survive, setup, teardown),                 \
		cmocka_unit_test_setup_teardown(contract_compare_and_swap, setup, teardown),     \
		cmocka_unit_test_setup_teardown(contract_all_goes_with_its_deployment, setup,    \
						teardown),                                       \
		cmocka_unit_test_setup_teardown(contract_abort_leaves_nothing, setup, teardown), \
		cmocka_unit_test_setup_teardown(contract_rows_are_a_window, setup, teardown),    \
		cmocka_unit_test_setup_teardown(contract_large_blobs, setup, teardown),          \
		cmocka_unit_test_setup_teardown(contract_many_rows, setup, teardown),            \
		cmocka_unit_test_setup_teardown(contract_place_keeps_versions, setup, teardown), \
		cmocka_unit_test_setup_teardown(contract_leases, setup, teardown),               \
		cmocka_unit_test_setup_teardown(contract_lease_before, setup, teardown),         \
		cmocka_unit_test_setup_teardown(contract_lease_ends, setup, teardown)

#endif
