/* SPDX-License-Identifier: Apache-2.0 */
/* The list of an etcd cluster's members, and its changes, against real etcd. */
#include "scheduler/etcd_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "tests/net/etcd_rig.h"

static struct etcd_rig rig;
static struct etcd_rpc *rpc;
static struct etcd_members members;
static struct err last;
static bool over;

static void
answered(void *arg, const struct etcd_members *m, const struct err *err)
{
	(void)arg;
	over = true;
	last = err ? *err : (struct err){0};
	if (m)
		members = *m;
}

/* Waits for the answer; the kind of its error. */
static enum err_kind
end(int rc)
{
	assert_int_equal(rc, 0);
	while (!over)
		uv_run(&rig.loop, UV_RUN_ONCE);
	over = false;
	return last.kind;
}

static enum err_kind
list(void)
{
	struct err err = {0};

	return end(etcd_members_list(rpc, answered, NULL, &err));
}

static int
open_all(void **state)
{
	const char *urls[ETCD_RIG_MEMBERS_MAX];
	struct err err = {0};

	(void)state;
	etcd_rig_open(&rig, 3, false, 0);
	for (size_t i = 0; i < 3; i++)
		urls[i] = rig.urls[i];
	const struct etcd_rpc_options options = {
		.loop = &rig.loop, .endpoints = urls, .endpoints_count = 3, .timeout_ms = 20000};
	assert_int_equal(etcd_rpc_open(&options, &rpc, &err), 0);
	return 0;
}

static int
close_all(void **state)
{
	(void)state;
	etcd_rpc_close(rpc);
	etcd_rig_close(&rig);
	return 0;
}

static void
test_list(void **state)
{
	(void)state;
	assert_int_equal(list(), ERR_NONE);
	assert_int_equal(members.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(members.items[i].id != 0);
		assert_true(members.items[i].name[0] && members.items[i].client[0]);
		assert_false(members.items[i].learner);
	}
	assert_true(members.added == 0);
}

static void
test_changes(void **state)
{
	struct err err = {0};
	uint64_t gone, learner;
	char peer[ETCD_RPC_URL_BYTES];

	(void)state;
	etcd_rig_wait(&rig);
	assert_int_equal(list(), ERR_NONE);
	size_t follower = etcd_rig_leader(&rig) == 0 ? 1 : 0;
	size_t at = 0;
	while (!text_equal(members.items[at].client, rig.urls[follower]))
		at++;
	gone = members.items[at].id;
	text_copy(peer, sizeof(peer), members.items[at].peer);
	/* Its address is taken as long as it is there. */
	assert_int_equal(end(etcd_members_add_learner(rpc, peer, answered, NULL, &err)),
			 ERR_CONFLICT);
	assert_int_equal(end(etcd_members_remove(rpc, gone, answered, NULL, &err)), ERR_NONE);
	assert_int_equal(members.count, 2);
	/* What is asked twice, as when the answer was lost, has been done. */
	assert_int_equal(end(etcd_members_remove(rpc, gone, answered, NULL, &err)), ERR_NONE);
	assert_int_equal(members.count, 2);
	/* A learner that nobody starts is never a voter. */
	assert_int_equal(end(etcd_members_add_learner(rpc, peer, answered, NULL, &err)), ERR_NONE);
	learner = members.added;
	assert_true(learner != 0);
	assert_int_equal(list(), ERR_NONE);
	assert_int_equal(members.count, 3);
	size_t learners = 0;
	for (size_t i = 0; i < members.count; i++) {
		learners += members.items[i].learner;
		if (members.items[i].id == learner)
			assert_string_equal(members.items[i].name, "");
	}
	assert_int_equal(learners, 1);
	assert_int_equal(end(etcd_members_promote(rpc, learner, answered, NULL, &err)),
			 ERR_CONFLICT);
	assert_int_equal(end(etcd_members_remove(rpc, learner, answered, NULL, &err)), ERR_NONE);
	assert_int_equal(members.count, 2);
	assert_int_equal(end(etcd_members_promote(rpc, 42, answered, NULL, &err)), ERR_NOT_FOUND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_changes),
	};
	struct err err = {0};

	if (!etcd_rig_available() || etcd_rpc_load(&err) < 0) {
		printf("1..0 # SKIP needs root, etcd, ip, openssl and libcurl\n");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	etcd_rig_enter();
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("etcd_members", tests, open_all, close_all);
}
