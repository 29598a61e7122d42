/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that come while the scheduler is away, or does not know everything yet. */
#include "api/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/unit/api/rig.h"

static const char *const held_targets[] = {
	"/v1/status",       "/v1/deployments", "/v1/services",
	"/v1/crons",        "/v1/replicas",    "/v1/deployments/shop",
	"/v1/nodes/edge-1", "/v1/cluster",     "/v1/crons?deployment=shop&service=web",
};
enum { HELD_TARGETS = sizeof(held_targets) / sizeof(held_targets[0]), SHORT_MS = 50 };

/* What needs no scheduler is answered at once, and so whatever came before it was looked at. */
static void
others_are_answered(void)
{
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
	assert_int_equal(rig_ask("GET", "/readyz", "", NULL), 503);
	assert_int_equal(rig_ask("GET", "/v1/version", "", NULL), 200);
	assert_int_equal(rig_ask("GET", "/v1/openapi.json", "", NULL), 200);
	assert_int_equal(rig_ask("GET", "/v1/images", "", NULL), 200);
}

static void
test_held_over_a_death(void **state)
{
	int fds[HELD_TARGETS], change, left;

	(void)state;
	rig_wait_ready();
	rig_tell('k');
	for (size_t i = 0; i < HELD_TARGETS; i++)
		fds[i] = rig_ask_begin("GET", held_targets[i]);
	change = rig_ask_begin("POST", "/v1/crons/shop/web/enable");
	left = rig_ask_begin("GET", "/v1/services");
	close(left);
	others_are_answered();
	for (size_t i = 0; i < HELD_TARGETS; i++)
		assert_false(rig_is_answered(fds[i]));
	assert_false(rig_is_answered(change));
	/* It is there, and does not know of the other nodes yet. */
	atomic_store(&rig_control->listens, true);
	rig_tell('s');
	left = rig_ask_begin("GET", "/v1/images"); /* needs another process */
	assert_int_equal(rig_ask_end(left), 200);
	others_are_answered();
	for (size_t i = 0; i < HELD_TARGETS; i++)
		assert_false(rig_is_answered(fds[i]));
	atomic_store(&rig_control->listens, false);
	for (size_t i = 0; i < HELD_TARGETS; i++) {
		assert_int_equal(rig_ask_end(fds[i]), 200);
		assert_true(rig_has("shop") || rig_has("edge-1") || rig_has("\"self\":1"));
	}
	assert_int_equal(rig_ask_end(change), 202);
	rig_wait_ready();
}

static void
test_held_too_many(void **state)
{
	int fds[HOLD_CALLS_MAX];

	(void)state;
	rig_wait_ready();
	rig_tell('k');
	for (size_t i = 0; i < HOLD_CALLS_MAX; i++) {
		fds[i] = rig_ask_begin("GET", "/v1/services");
		assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
	}
	assert_int_equal(rig_ask("GET", "/v1/crons", "", NULL), 503);
	assert_true(rig_has("the scheduler process of this node cannot answer yet") &&
		    rig_has("retry-after: 1") && rig_has("\"code\":\"unreachable\"") &&
		    rig_has("it is being started again") && rig_has("try again in a moment"));
	/* The one page that says what there is anyway. */
	assert_int_equal(rig_ask("GET", "/v1/status", "", NULL), 200);
	assert_true(rig_has("\"deployments\":null") && rig_has("\"nodes\":null") &&
		    rig_has("\"cluster\":null") && rig_has("it has not told what is deployed"));
	rig_tell('s');
	for (size_t i = 0; i < HOLD_CALLS_MAX; i++) {
		assert_int_equal(rig_ask_end(fds[i]), 200);
		assert_true(rig_has("\"web\""));
	}
	rig_wait_ready();
}

static void
test_held_too_long(void **state)
{
	static const char upload[] = "POST /v1/restore HTTP/1.1\r\nhost: x\r\nconnection: "
				     "close\r\ncontent-length: 4\r\n\r\nabcd";

	(void)state;
	rig_end();
	assert_int_equal(rig_begin(&(struct api_times){.hold_ms = SHORT_MS}), 0);
	rig_wait_ready();
	rig_tell('k');
	assert_int_equal(rig_ask("GET", "/v1/crons", "", NULL), 503);
	assert_true(rig_has("cannot answer yet") && rig_has("retry-after: 1"));
	assert_int_equal(rig_talk(upload, strlen(upload), NULL), 503);
	assert_int_equal(rig_ask("GET", "/v1/status", "", NULL), 200);
	assert_true(rig_has("\"deployments\":null"));
	/* One that never hears of the others. */
	atomic_store(&rig_control->listens, true);
	rig_tell('s');
	assert_int_equal(rig_ask("GET", "/v1/replicas", "", NULL), 503);
	atomic_store(&rig_control->listens, false);
	rig_wait_ready();
}

static int
begin(void **state)
{
	(void)state;
	return rig_begin(NULL);
}

static int
end(void **state)
{
	(void)state;
	rig_end();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_over_a_death),
		cmocka_unit_test(test_held_too_many),
		cmocka_unit_test(test_held_too_long),
	};

	if (getuid() != 0) {
		printf("1..0 # SKIP needs root to change its user\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, begin, end);
}
