/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against wireguard-go, in both roles: engine a of engine_rig.h, and where b would be a
 * process of theirs. Needs root, /dev/net/tun, wireguard-go and wg; /run is the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/world.h"
#include "tests/net/engine_rig.h"

enum { MB = 1 << 20, REKEY_S = 121 };

static struct engine_rig rig;
static pid_t child = -1;

static void
write_key(const char *path, const uint8_t key[SETUP_KEY])
{
	uint8_t text[2 * SETUP_KEY];
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	EVP_EncodeBlock(text, key, SETUP_KEY);
	fputs((const char *)text, f);
	assert_int_equal(fclose(f), 0);
}

static void
start_theirs(void)
{
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setns(rig.b.ns, CLONE_NEWNET) < 0)
			_exit(126);
		int null = open("/dev/null", O_RDWR);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("wireguard-go", "wireguard-go", "-f", "wg0", (char *)NULL);
		_exit(127);
	}
	tun_rig_enter(rig.b.ns);
	while (system("wg show wg0 >/dev/null 2>&1") != 0) {
		assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
		assert_true(world_mono_ns() < until);
		poll(NULL, 0, 20);
	}
	tun_rig_home();
}

static void
tell_theirs(bool endpoint)
{
	uint8_t text[2 * SETUP_KEY];

	EVP_EncodeBlock(text, rig.a.public_key, SETUP_KEY);
	write_key("/run/private", rig.b.private_key);
	write_key("/run/psk", rig.psk);
	tun_rig_enter(rig.b.ns);
	tun_rig_run("wg set wg0 private-key /run/private listen-port %d peer %s preshared-key "
		    "/run/psk %s allowed-ips 10.9.0.1/32,fd09::1/128",
		    ENGINE_RIG_PORT, (const char *)text, endpoint ? "endpoint 10.8.0.1:51820" : "");
	tun_rig_run("echo 0 >/proc/sys/net/ipv6/conf/wg0/accept_dad; ip link set wg0 mtu 1420 up &&"
		    "ip addr add 10.9.0.2/24 dev wg0 && ip addr add fd09::2/64 dev wg0 nodad");
	tun_rig_home();
}

/* begins: which end knows where the other is. */
static void
open_all(bool we_begin)
{
	const struct engine_rig_options o = {.offload = TUN_USO};

	engine_rig_open_cable(&rig, &o);
	start_theirs();
	tell_theirs(!we_begin);
	engine_rig_start(&rig, &rig.a);
	engine_rig_introduce(&rig, &rig.a, &rig.b, we_begin);
}

static int
teardown(void **state)
{
	(void)state;
	kill(child, SIGTERM);
	waitpid(child, NULL, 0);
	engine_rig_close(&rig);
	return 0;
}

static void
check_traffic(void)
{
	for (int version = 4; version <= 6; version += 2) {
		engine_rig_tcp(&rig.a, &rig.b, version, 8 * MB);
		engine_rig_tcp(&rig.b, &rig.a, version, 8 * MB);
		for (size_t bytes = 1; bytes < 3000; bytes += 97)
			assert_true(engine_rig_echo(&rig.a, &rig.b, version, bytes) ||
				    engine_rig_echo(&rig.a, &rig.b, version, bytes));
	}
}

static void
test_we_begin(void **state)
{
	(void)state;
	open_all(true);
	engine_rig_reach(&rig.a, &rig.b, 4);
	check_traffic();
	/* They refuse another one within 20 ms of the last. */
	for (unsigned i = 0; i < 3; i++) {
		uint64_t before = engine_rig_count(&rig.a, ENGINE_HANDSHAKES);

		engine_rig_pass(&rig, REKEY_S);
		engine_rig_tcp(&rig.a, &rig.b, 4, 2 * MB);
		engine_rig_await(&rig.a, ENGINE_HANDSHAKES, before + 1);
	}
	check_traffic();
}

static void
test_they_begin(void **state)
{
	(void)state;
	open_all(false);
	engine_rig_reach(&rig.b, &rig.a, 4);
	check_traffic();
	const struct setup_peer p = engine_rig_peer(&rig.a, rig.b.public_key);
	assert_true(addr_equal(&p.endpoint, &rig.b.endpoint));
	assert_true(p.rx_bytes > 16 * MB && p.tx_bytes > 16 * MB);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_we_begin, teardown),
		cmocka_unit_test_teardown(test_they_begin, teardown),
	};

	if (system("command -v wireguard-go wg ip >/dev/null") != 0) {
		puts("1..0 # SKIP needs wireguard-go and wg");
		return 0;
	}
	if (!tun_rig_start())
		return 0;
	if (mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") != 0)
		abort();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
