/* SPDX-License-Identifier: Apache-2.0 */
/* A few nodes with models and placement of their own, in one process. */
#include "scheduler/placing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scheduler/sqlite.h"
#include "tests/support/cell_world.h"

static const char web[] = "version: v1\n"
			  "deployment: shop\n"
			  "services:\n"
			  "  web:\n"
			  "    image: {name: nginx}\n"
			  "    resources: {cpu: 0.5, memory: 128Mi}\n"
			  "    endpoints: [{name: http, protocol: http, port: 80}]\n"
			  "    health: {check: {type: tcp}}\n"
			  "    scale: {mode: fixed, replicas: 3}\n";

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread_over_nodes),
	};
	struct err err = {0};

	if (dl_load_yaml(&err) < 0 || sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
