/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces are changed by the calling thread alone, and never stay: what is in them holds them.
 */
#include "tests/net/tun_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"

static int home = -1;

bool
tun_rig_start(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		printf("1..0 # SKIP no /dev/net/tun\n");
		return false;
	}
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		abort();
	return true;
}

void
tun_rig_home(void)
{
	tun_rig_enter(home);
}

void
tun_rig_enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

int
tun_rig_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(ns >= 0);
	tun_rig_home();
	return ns;
}

void
tun_rig_run(const char *fmt, ...)
{
	char command[512];
	va_list args;

	va_start(args, fmt);
	assert_true(text_vformat(command, sizeof(command), fmt, args));
	va_end(args);
	if (system(command) != 0)
		fail_msg("%s", command);
}

void
tun_rig_open(struct tun *t, const char *name, enum tun_offload most)
{
	struct err err = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	if (tun_open(t, fd, name, most, &err) < 0 || tun_set_mtu(t, TUN_RIG_MTU, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	assert_string_equal(t->name, name);
	tun_rig_run("ip link set %s up", name);
}

void
tun_rig_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (poll(&p, 1, TUN_RIG_WAIT_S * 1000) != 1)
		fail_msg("nothing came");
}
