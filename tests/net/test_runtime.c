/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime role with real containers: a story per test, the world is stage.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "tests/net/rootfs.h"
#include "tests/net/stage.h"

static struct stage *w;
static struct stage_count before;
static char out[65536];

static uint64_t
fresh_replica(void)
{
	static uint64_t next = 100;
	return next++;
}

static void
stop_and_remove(struct plan *p, uint32_t attempt)
{
	p->stop_grace_ms = 0;
	stage_claim(w, p, MSG_REMOVE, attempt);
	stage_wait_gone(w, p->replica);
	stage_unclaim(w, p->replica);
}

static void
wait_for_log(uint64_t replica, const char *text)
{
	uint64_t end = world_mono_ns() + UINT64_C(60000000000);
	do {
		stage_log_text(w, replica, out, sizeof(out));
		if (strstr(out, text) != NULL)
			return;
	} while (world_mono_ns() < end);
	fail_msg("no \"%s\" in the log: %s", text, out);
}

/* ---- stories ---- */

static void
test_runs_and_ends(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id, "echo hello from $(hostname) $MODE; exit 3");
	const struct msg_container *row;
	(void)state;
	stage_claim(w, p, MSG_RUN, 1);
	row = stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(row->exit_status, 3);
	assert_int_equal(row->exit_signal, 0);
	assert_false(row->oom_killed);
	assert_true(row->started_wall_ns > 0 && row->exited_wall_ns >= row->started_wall_ns);
	struct addr address = row->addr4;
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(out, "hello from web-"));
	assert_non_null(strstr(out, " image\n"));
	/* It stays ended until the next attempt is asked for; same address then. */
	stage_pump(w);
	assert_int_equal(stage_container(w, id)->state, MSG_CONTAINER_EXITED);
	stage_claim(w, p, MSG_RUN, 2);
	row = stage_wait(w, id, MSG_CONTAINER_EXITED, 2);
	assert_true(addr_equal_ip(&row->addr4, &address));
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(strstr(out, "hello") + 1, "hello"));
	stop_and_remove(p, 2);
}

static void
test_containers_reach_each_other(void **state)
{
	uint64_t a = fresh_replica(), b = fresh_replica();
	struct plan *pa = stage_plan(w, a, "exec sleep 1000");
	struct plan *pb = stage_plan(w, b, "exec sleep 1000");
	char script[256], ip4[ADDR_TEXT_BYTES], ip6[ADDR_TEXT_BYTES];
	(void)state;
	stage_claim(w, pa, MSG_RUN, 1);
	stage_claim(w, pb, MSG_RUN, 1);
	const struct msg_container *row = stage_wait(w, a, MSG_CONTAINER_RUNNING, 1);
	assert_int_equal(row->conditions,
			 MSG_IMAGE_READY | MSG_VOLUME_READY | MSG_NETWORK_READY | MSG_STARTED);
	addr_put_ip(&row->addr4, ip4, sizeof(ip4));
	addr_put_ip(&row->addr6, ip6, sizeof(ip6));
	stage_wait(w, b, MSG_CONTAINER_RUNNING, 1);
	assert_non_null(stage_veth(w, a));
	snprintf(script, sizeof(script), "ping -c 1 -W 20 %s && ping -6 -c 1 -W 20 %s", ip4, ip6);
	assert_int_equal(stage_exec(w, b, script, false, out, sizeof(out)), 0);
	/* The node reaches it from the fabric, too. */
	snprintf(script, sizeof(script), "/bin/busybox ping -q -c 1 -W 20 %s >/dev/null", ip4);
	assert_int_equal(stage_fabric(w, script), 0);
	/* Receive offload is on, the gateway is nobody. */
	assert_int_equal(stage_exec(w, b,
				    "ip route; ip addr show eth0; cat /etc/resolv.conf /etc/hosts",
				    false, out, sizeof(out)),
			 0);
	assert_non_null(strstr(out, "default via 169.254.1.1"));
	assert_non_null(strstr(out, "/32 scope global eth0"));
	assert_non_null(strstr(out, "nameserver 10.200.7.1"));
	assert_non_null(strstr(out, "\tweb-"));
	stop_and_remove(pa, 1);
	stop_and_remove(pb, 1);
}

static void
test_exec(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id, "exec sleep 1000");
	(void)state;
	stage_claim(w, p, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_RUNNING, 1);
	assert_int_equal(stage_exec(w, id, "exit 7", false, out, sizeof(out)), 7);
	assert_int_equal(stage_exec(w, id, "/no/such/thing", false, out, sizeof(out)), 127);
	assert_int_equal(stage_exec(w, id, "tty; stty size", true, out, sizeof(out)), 0);
	assert_non_null(strstr(out, "/dev/pts/"));
	assert_non_null(strstr(out, "24 80"));
	assert_int_equal(stage_exec(w, id,
				    "grep -E 'Seccomp:|CapEff|NoNewPrivs' /proc/self/status;"
				    "cat /proc/self/cgroup",
				    false, out, sizeof(out)),
			 0);
	assert_non_null(strstr(out, "Seccomp:\t2"));
	assert_non_null(strstr(out, "CapEff:\t00000000a80425fb"));
	assert_non_null(strstr(out, "NoNewPrivs:\t0"));
	/* Nobody is there any more. */
	stage_claim(w, p, MSG_STOP, 1);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	assert_true(stage_exec(w, id, "true", false, out, sizeof(out)) < 0);
	stop_and_remove(p, 1);
	assert_true(stage_exec(w, id, "true", false, out, sizeof(out)) < 0);
}

static void
test_logs_follow_over_rotation_and_attempts(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id, "seq 1 2000; echo end");
	struct msg_logs op = {.replica = id, .tail = 5};
	uint8_t frames[8192];
	(void)state;
	p->log_max_bytes = 16384;
	p->log_max_files = 2;
	stage_claim(w, p, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(out, "\nend\n"));
	assert_non_null(strstr(out, "\n1999\n2000\n"));
	/* Cut off at the front: two files of 16 KiB. */
	assert_null(strstr(out, "\n100\n"));
	int stream = stage_logs(w, &op);
	assert_true(stream >= 0);
	ssize_t n = recv(stream, frames, sizeof(frames), MSG_WAITALL);
	assert_true(n > 0);
	size_t at = 0, lines = 0;
	while (at + 8 <= (size_t)n) {
		lines += frames[at] == MSG_FRAME_LINE;
		at += 8 + (size_t)(frames[at + 4] | frames[at + 5] << 8);
	}
	assert_int_equal(lines, 5);
	close(stream);
	/* A follower sees the next attempt's lines. */
	op = (struct msg_logs){.replica = id, .tail = 0, .follow = 1};
	stream = stage_logs(w, &op);
	assert_true(stream >= 0);
	/* What is kept is enough for all of it, over several rotations. */
	p->log_max_files = 20;
	stage_claim(w, p, MSG_RUN, 2);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 2);
	for (uint32_t expected = 1; expected <= 2000;) {
		uint8_t head[24], text[64];
		assert_int_equal(recv(stream, head, sizeof(head), MSG_WAITALL), sizeof(head));
		size_t length = (size_t)(head[4] | head[5] << 8) - 16;
		assert_true(head[0] == MSG_FRAME_LINE && length < sizeof(text));
		assert_int_equal(recv(stream, text, length, MSG_WAITALL), length);
		text[length] = '\0';
		/* Every line once and in order, over several rotations. */
		assert_int_equal(strtoul((char *)text, NULL, 10), expected);
		assert_int_equal(head[16], 2);
		expected++;
	}
	close(stream);
	stop_and_remove(p, 2);
}

static void
test_memory_limit(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id,
				    "exec awk 'BEGIN { x = \"0123456789\"; "
				    "while (1) x = x x }'");
	(void)state;
	p->memory_bytes = 16 << 20;
	stage_claim(w, p, MSG_RUN, 1);
	const struct msg_container *row = stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	assert_true(row->oom_killed);
	assert_int_equal(row->exit_signal, SIGKILL);
	assert_int_equal(row->memory_limit, 16 << 20);
	stop_and_remove(p, 1);
}

static void
test_stop_in_time_and_not(void **state)
{
	uint64_t id = fresh_replica(), stubborn = fresh_replica();
	struct plan *p =
		stage_plan(w, id, "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done");
	struct plan *q =
		stage_plan(w, stubborn, "trap '' TERM; echo up; while :; do sleep 0.05; done");
	(void)state;
	p->stop_grace_ms = 60000;
	q->stop_grace_ms = 100;
	stage_claim(w, p, MSG_RUN, 1);
	stage_claim(w, q, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_RUNNING, 1);
	stage_wait(w, stubborn, MSG_CONTAINER_RUNNING, 1);
	wait_for_log(id, "up\n");
	wait_for_log(stubborn, "up\n");
	stage_claim(w, p, MSG_STOP, 1);
	assert_int_equal(stage_wait(w, id, MSG_CONTAINER_EXITED, 1)->exit_status, 0);
	stage_claim(w, q, MSG_STOP, 1);
	assert_int_equal(stage_wait(w, stubborn, MSG_CONTAINER_EXITED, 1)->exit_signal, SIGKILL);
	stop_and_remove(p, 1);
	stop_and_remove(q, 1);
}

static pid_t
parent_of(uint32_t pid)
{
	char path[64], line[256];
	int parent = 0;
	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	assert_int_equal(sscanf(strrchr(line, ')') + 1, " %*c %d", &parent), 1);
	return parent;
}

static unsigned
uid_of(uint32_t pid)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/%u", pid);
	assert_int_equal(stat(path, &st), 0);
	return st.st_uid;
}

/* Its memory goes before anybody can see that it has ended. */
static bool
has_program(uint32_t pid)
{
	char path[64], program[256];
	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	return readlink(path, program, sizeof(program)) >= 0;
}

/* Is over, whether somebody has reaped it or not. */
static void
wait_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 60000), 1);
	close(pidfd);
}

/* It hears nothing: the runtime does what it should have done. */
static void
test_stop_without_its_monitor(void **state)
{
	uint64_t stopped = fresh_replica(), leased = fresh_replica();
	struct plan *p = stage_plan(w, stopped, "exec sleep 1000");
	struct plan *q = stage_plan(w, leased, "exec sleep 1000");
	struct plan *plans[] = {p, q};
	const struct msg_container *row;
	pid_t monitors[2];
	int ends[2];
	(void)state;
	p->stop_grace_ms = 100;
	stage_claim(w, p, MSG_RUN, 1);
	stage_lease(w, world_mono_ns() + UINT64_C(3600000000000));
	stage_claim(w, q, MSG_RUN, 1);
	for (int i = 0; i < 2; i++) {
		uint32_t pid = stage_wait(w, plans[i]->replica, MSG_CONTAINER_RUNNING, 1)->pid;
		ends[i] = fd_pidfd_open((pid_t)pid);
		monitors[i] = parent_of(pid);
		assert_int_equal(kill(monitors[i], SIGSTOP), 0);
	}
	stage_lease(w, 1);
	stage_claim(w, q, MSG_RUN, 1);
	stage_lease(w, 0);
	stage_claim(w, p, MSG_STOP, 1);
	for (int i = 0; i < 2; i++)
		wait_ended(ends[i]);
	assert_int_equal(stage_container(w, stopped)->state, MSG_CONTAINER_STOPPING);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kill(monitors[i], SIGCONT), 0);
		row = stage_wait(w, plans[i]->replica, MSG_CONTAINER_EXITED, 1);
		assert_int_equal(row->exit_signal, SIGKILL);
		assert_int_equal(row->lease_over, i);
		stop_and_remove(plans[i], 1);
	}
}

static void
test_command_check(void **state)
{
	static char sh[] = "sh", c[] = "-c",
		    test[] = "test -f /tmp/ok || { echo missing; exit 4; }";
	char *check[] = {sh, c, test};
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(
		w, id, "touch /tmp/ok; httpd -p 127.0.0.1:8080 -h /srv; exec sleep 1000");
	const struct msg_result *result;
	(void)state;
	p->health_command = (struct plan_list){check, 3, true};
	p->health_interval_ms = 50;
	p->health_timeout_ms = 20000;
	stage_claim(w, p, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_RUNNING, 1);
	do {
		result = stage_result(w, id);
	} while (result == NULL || !result->ok);
	assert_int_equal(stage_exec(w, id, "rm /tmp/ok", false, out, sizeof(out)), 0);
	do {
		result = stage_result(w, id);
	} while (result->ok);
	assert_int_equal(result->failure, MSG_FAILURE_EXIT);
	assert_int_equal(result->http_status, 4);
	assert_non_null(strstr(result->detail, "missing"));
	const struct msg_container *row = stage_container(w, id);
	while (row->listening_count == 0)
		row = stage_container(w, id);
	assert_int_equal(row->listening_ports[0], 8080);
	assert_int_equal(row->listening_loopback[0], 1);
	stop_and_remove(p, 1);
}

static void
test_volumes(void **state)
{
	uint64_t id = fresh_replica();
	char host[256], path[300];
	static char data[] = "/data", cache[] = "cache", bound[] = "/bound/deep", tmp[] = "/tmp";
	snprintf(host, sizeof(host), "%s/bound", stage_scratch(w));
	rootfs_folder(host);
	snprintf(path, sizeof(path), "%s/file", host);
	rootfs_write(path, "from outside\n", 0644);
	struct plan_mount mounts[] = {
		{.kind = PLAN_MOUNT_BIND, .source = host, .target = bound, .readonly = true},
		{.kind = PLAN_MOUNT_NAMED, .source = cache, .target = data},
		{.kind = PLAN_MOUNT_TMPFS, .target = tmp, .size_bytes = 1 << 20},
	};
	struct plan *p = stage_plan(w, id,
				    "cat /bound/deep/file; touch /bound/deep/x || echo frozen;"
				    "cat /data/kept; echo once >/data/kept; touch /declared/y;"
				    "stat -c '%u %a' /data; touch /root-file && ls /");
	(void)state;
	p->mounts = mounts;
	p->mounts_count = 3;
	stage_claim(w, p, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(out, "from outside\n"));
	assert_non_null(strstr(out, "frozen\n"));
	assert_non_null(strstr(out, "0 755\n"));
	assert_null(strstr(out, "\nonce\n"));
	/* The next attempt has a new root, but the volume stays. */
	stage_claim(w, p, MSG_RUN, 2);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 2);
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(out, "\nonce\n"));
	stop_and_remove(p, 2);
	snprintf(path, sizeof(path), "%s/data/volumes/shop/cache/kept", stage_scratch(w));
	assert_int_equal(access(path, F_OK), 0);
	/* What is not there is said with its name. */
	static char nowhere[] = "/no/such/folder";
	mounts[0].source = nowhere;
	struct plan *q = stage_plan(w, id + 50, "true");
	q->mounts = mounts;
	q->mounts_count = 1;
	stage_claim(w, q, MSG_RUN, 1);
	const struct msg_container *row;
	do {
		row = stage_container(w, q->replica);
	} while (row == NULL || row->state != MSG_CONTAINER_FAILED);
	assert_non_null(strstr(row->reason.what, "/no/such/folder"));
	stop_and_remove(q, 1);
}

static void
test_failures_have_reasons(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id, "true");
	static char other[] = "registry.test/nothing:1", bad[] = "NO_SUCH_CAP",
		    wrong[] = "/not/there";
	char *caps[] = {bad}, *entry[] = {wrong};
	const struct msg_container *row;
	char *image = p->image;
	(void)state;
	p->image = other;
	p->pull = PLAN_PULL_NEVER;
	stage_claim(w, p, MSG_RUN, 1);
	do {
		row = stage_container(w, id);
	} while (row == NULL || row->state != MSG_CONTAINER_FAILED);
	assert_int_equal(row->reason.kind, ERR_NOT_FOUND);
	assert_int_equal(row->conditions & MSG_IMAGE_READY, 0);
	p->image = image;
	p->pull = PLAN_PULL_IF_NOT_PRESENT;
	p->cap_add = (struct plan_list){caps, 1, true};
	stage_claim(w, p, MSG_RUN, 2);
	do {
		row = stage_container(w, id);
	} while (row->attempt != 2 || row->state != MSG_CONTAINER_FAILED);
	assert_non_null(strstr(row->reason.what, "NO_SUCH_CAP"));
	p->cap_add.count = 0;
	p->entrypoint = (struct plan_list){entry, 1, true};
	stage_claim(w, p, MSG_RUN, 3);
	do {
		row = stage_container(w, id);
	} while (row->attempt != 3 || row->state != MSG_CONTAINER_FAILED || row->exit_status == 0);
	assert_non_null(strstr(row->reason.what, "/not/there"));
	assert_int_equal(row->exit_status, 127);
	p->entrypoint.given = false;
	stage_claim(w, p, MSG_RUN, 4);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 4);
	stop_and_remove(p, 4);
}

static void
test_privileges(void **state)
{
	uint64_t id = fresh_replica();
	static char add[] = "NET_ADMIN", all[] = "ALL", user[] = "app", tun[] = "/dev/net/tun";
	char *added[] = {add}, *dropped[] = {all};
	struct plan_device device = {.path = tun, .read = true, .write = true};
	static char key[] = "net.ipv4.ip_forward", one[] = "1";
	struct plan_pair sysctl = {key, one};
	struct plan *p = stage_plan(w, id,
				    "grep -E 'CapBnd|NoNew' /proc/self/status; id -u;"
				    "cat /proc/sys/net/ipv4/ip_forward; touch /x || echo frozen;"
				    "ls /dev/net/tun; cat /dev/mem || echo closed");
	(void)state;
	p->cap_add = (struct plan_list){added, 1, true};
	p->cap_drop = (struct plan_list){dropped, 1, true};
	p->no_new_privs = true;
	p->user = user;
	p->read_only_root = true;
	p->sysctls = &sysctl;
	p->sysctls_count = 1;
	if (access(tun, F_OK) == 0) {
		p->devices = &device;
		p->devices_count = 1;
	}
	stage_claim(w, p, MSG_RUN, 1);
	stage_wait(w, id, MSG_CONTAINER_EXITED, 1);
	stage_log_text(w, id, out, sizeof(out));
	assert_non_null(strstr(out, "CapBnd:\t0000000000001000\n"));
	assert_non_null(strstr(out, "NoNewPrivs:\t1\n"));
	assert_non_null(strstr(out, "1000\n1\n"));
	assert_non_null(strstr(out, "frozen\n"));
	if (p->devices_count > 0)
		assert_non_null(strstr(out, "\n/dev/net/tun\n"));
	stop_and_remove(p, 1);
}

static void
test_waits_for_the_data_path(void **state)
{
	uint64_t id = fresh_replica();
	struct plan *p = stage_plan(w, id, "exec sleep 1000");
	const struct msg_veth *veth;
	(void)state;
	stage_datapath(w, true);
	stage_claim(w, p, MSG_RUN, 1);
	do {
		veth = stage_veth(w, id);
	} while (veth == NULL);
	assert_int_equal(stage_container(w, id)->state, MSG_CONTAINER_PREPARING);
	assert_true(stage_container(w, id)->conditions & MSG_NETWORK_READY);
	stage_attach(w, id, veth->ifindex + 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(stage_container(w, id)->state, MSG_CONTAINER_PREPARING);
	stage_attach(w, id, stage_veth(w, id)->ifindex);
	stage_wait(w, id, MSG_CONTAINER_RUNNING, 1);
	stage_datapath(w, false);
	stop_and_remove(p, 1);
}

static void
test_runtime_dies_and_adopts(void **state)
{
	uint64_t runs = fresh_replica(), ends = fresh_replica(), killed = fresh_replica();
	struct plan *p = stage_plan(w, runs, "while :; do echo tick; sleep 0.05; done");
	struct plan *q =
		stage_plan(w, ends, "while ! test -f /tmp/go; do sleep 0.02; done; exit 9");
	/* Another user by then: the kernel does not end it with its monitor any more. */
	struct plan *r = stage_plan(w, killed, "exec su app -c 'exec sleep 1000'");
	(void)state;
	stage_claim(w, p, MSG_RUN, 1);
	stage_claim(w, q, MSG_RUN, 1);
	stage_claim(w, r, MSG_RUN, 1);
	uint32_t pid = stage_wait(w, runs, MSG_CONTAINER_RUNNING, 1)->pid;
	stage_wait(w, ends, MSG_CONTAINER_RUNNING, 1);
	uint32_t third = stage_wait(w, killed, MSG_CONTAINER_RUNNING, 1)->pid;
	struct addr address = stage_container(w, runs)->addr4;
	stage_kill(w);
	assert_int_equal(kill((pid_t)pid, 0), 0);
	/* One ends by itself while nobody watches, one loses its monitor. */
	char path[300];
	snprintf(path, sizeof(path), "%s/data/containers/upper/%llu.1/upper/tmp", stage_scratch(w),
		 (unsigned long long)ends);
	rootfs_folder(path);
	snprintf(path, sizeof(path), "/proc/%u/root/tmp/go", (unsigned)third);
	while (uid_of(third) != 1000)
		usleep(1000);
	assert_int_equal(kill(parent_of(third), SIGKILL), 0);
	stage_start(w);
	const struct msg_container *row = stage_wait(w, runs, MSG_CONTAINER_RUNNING, 1);
	assert_int_equal(row->pid, pid);
	assert_true(addr_equal_ip(&row->addr4, &address));
	row = stage_wait(w, killed, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(row->exit_signal, SIGKILL);
	assert_non_null(strstr(row->reason.what, "monitor"));
	/* And that is not said before it is so. */
	assert_false(has_program(third));
	stage_wait(w, ends, MSG_CONTAINER_RUNNING, 1);
	assert_int_equal(stage_exec(w, runs, "exit 5", false, out, sizeof(out)), 5);
	/* Now one that ends while there is no runtime. */
	assert_int_equal(stage_exec(w, ends, "(sleep 0.3; touch /tmp/go) >/dev/null 2>&1 &", false,
				    out, sizeof(out)),
			 0);
	uint32_t second = stage_container(w, ends)->pid;
	stage_kill(w);
	while (kill((pid_t)second, 0) == 0)
		usleep(1000);
	stage_start(w);
	row = stage_wait(w, ends, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(row->exit_status, 9);
	stage_wait(w, runs, MSG_CONTAINER_RUNNING, 1);
	stop_and_remove(p, 1);
	stop_and_remove(q, 1);
	stop_and_remove(r, 1);
}

static void
test_nothing_is_left(void **state)
{
	struct stage_count after;
	uint64_t end = world_mono_ns() + UINT64_C(60000000000);
	(void)state;
	do {
		stage_pump(w);
		stage_count(w, &after);
	} while (memcmp(&before, &after, sizeof(after)) != 0 && world_mono_ns() < end);
	assert_int_equal(after.links, before.links);
	assert_int_equal(after.namespaces, before.namespaces);
	assert_int_equal(after.groups, before.groups);
	assert_int_equal(after.folders, before.folders);
	assert_int_equal(after.mounts, before.mounts);
}

static int
set_up(void **state)
{
	(void)state;
	w = stage_new("test-runtime");
	stage_start(w);
	stage_count(w, &before);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	stage_free(w);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_and_ends),
		cmocka_unit_test(test_containers_reach_each_other),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_logs_follow_over_rotation_and_attempts),
		cmocka_unit_test(test_memory_limit),
		cmocka_unit_test(test_stop_in_time_and_not),
		cmocka_unit_test(test_stop_without_its_monitor),
		cmocka_unit_test(test_command_check),
		cmocka_unit_test(test_volumes),
		cmocka_unit_test(test_failures_have_reasons),
		cmocka_unit_test(test_privileges),
		cmocka_unit_test(test_waits_for_the_data_path),
		cmocka_unit_test(test_runtime_dies_and_adopts),
		cmocka_unit_test(test_nothing_is_left),
	};
	if (!rootfs_can_run())
		return 0;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
