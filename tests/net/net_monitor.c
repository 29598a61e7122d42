/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlayer-monitor alone, without a runtime: real containers from a busybox image.
 *
 *   test ── launch description, descriptors ──> zlayer-monitor ── clone3 ──> program
 *     └───────── control socket, state, exit, log ──────┘
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/cgroups.h"
#include "runtime/frame.h"
#include "runtime/log_reader.h"
#include "runtime/monitor/control.h"
#include "runtime/seccomp_profile.h"
#include "runtime/spawn.h"
#include "tests/net/rootfs.h"

#define CAP(name) (UINT64_C(1) << (name))
#define DEFAULT_CAPS UINT64_C(0xa80425fb)

static char scratch[64];
static uv_loop_t loop;
static struct spawn spawn;
static struct cgroups *groups;
static struct seccomp_profile profile, own_profile, exec_profile, logs_profile;
static uint64_t next_replica = 0x7e57000000000000 >> 8;

struct box {
	struct launch launch;
	struct spawn_fds fds;
	char *argv[16];
	char *env[4];
	char *layers[1];
	char text[8][1024];
	uint64_t replica;
	int control, run, record, log, netns, procs[CGROUPS_TREES_MAX];
	struct cgroups_fds group;
	struct cgroups_limits limits;
	int32_t procs_numbers[CGROUPS_TREES_MAX];
	struct control_state state;
	int client;
};

static int
folder(const char *name, uint64_t replica)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s-%llu", scratch, name, (unsigned long long)replica);
	rootfs_folder(path);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
new_netns(void)
{
	int go[2];
	char path[64], byte;
	assert_int_equal(pipe(go), 0);
	pid_t pid = fork();
	if (pid == 0) {
		unshare(CLONE_NEWNET);
		if (write(go[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(go[0], &byte, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(go[0]);
	close(go[1]);
	assert_true(fd >= 0);
	return fd;
}

static int
listen_at(int dirfd)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control", dirfd);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	unlinkat(dirfd, "control", 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int
connect_to(int dirfd)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control", dirfd);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* A box that will run `sh -c script`. */
static void
box_init(struct box *b, const char *script)
{
	static char sh[] = "/bin/sh", dash_c[] = "-c", path[] = "PATH=/bin";
	static char slash[] = "/", root[] = "", name[] = "box";
	memset(b, 0, sizeof(*b));
	b->replica = next_replica++;
	b->client = -1;
	launch_init(&b->launch);
	b->argv[0] = sh;
	b->argv[1] = dash_c;
	snprintf(b->text[0], sizeof(b->text[0]), "%s", script);
	b->argv[2] = b->text[0];
	b->env[0] = path;
	struct launch *l = &b->launch;
	l->verb = LAUNCH_RUN;
	l->replica = b->replica;
	l->attempt = 1;
	l->argv = (struct launch_list){b->argv, 3};
	l->env = (struct launch_list){b->env, 1};
	l->workdir = slash;
	l->user = root;
	l->caps = DEFAULT_CAPS;
	l->hostname = name;
	l->filter = (struct launch_filter){profile.items, profile.count};
	l->monitor_filter = (struct launch_filter){own_profile.items, own_profile.count};
	l->log_max_bytes = 1 << 20;
	l->log_max_files = 3;
	b->limits.devices = cgroups_device_defaults(&b->limits.devices_count);
	snprintf(b->text[1], sizeof(b->text[1]), "%s/image", scratch);
	b->layers[0] = b->text[1];
	l->layers = (struct launch_list){b->layers, 1};
	const char *own[] = {"upper", "work", "stage"};
	char **to[] = {&l->upper, &l->work, &l->stage};
	for (int i = 0; i < 3; i++) {
		snprintf(b->text[2 + i], sizeof(b->text[0]), "%s/%s-%llu", scratch, own[i],
			 (unsigned long long)b->replica);
		rootfs_folder(b->text[2 + i]);
		*to[i] = b->text[2 + i];
	}
	spawn_fds_init(&b->fds);
}

static void
box_start(struct box *b)
{
	struct err err = {0};
	struct launch *l = &b->launch;
	b->run = folder("run", b->replica);
	b->record = folder("record", b->replica);
	b->log = folder("log", b->replica);
	b->netns = new_netns();
	b->control = listen_at(b->run);
	if (cgroups_create(groups, b->replica, &b->limits, &err) < 0 ||
	    cgroups_fds_open(groups, b->replica, &b->group, &err) < 0)
		fail_msg("%s", err.what);
	for (size_t i = 0; i < b->group.procs_count; i++)
		b->procs_numbers[i] = spawn_fds_add(&b->fds, b->group.procs[i]);
	l->cgroup_procs = (struct launch_fds){b->procs_numbers, b->group.procs_count};
	l->cgroup_fd = spawn_fds_add(&b->fds, b->group.unified);
	l->kill_fd = spawn_fds_add(&b->fds, b->group.kill);
	l->oom_fd = spawn_fds_add(&b->fds, b->group.oom);
	l->netns_fd = spawn_fds_add(&b->fds, b->netns);
	l->control_fd = spawn_fds_add(&b->fds, b->control);
	l->run_fd = spawn_fds_add(&b->fds, b->run);
	l->record_fd = spawn_fds_add(&b->fds, b->record);
	l->log_fd = spawn_fds_add(&b->fds, b->log);
	if (spawn_start(&spawn, l, &b->fds, NULL, NULL, &err) < 0)
		fail_msg("%s", err.what);
	close(b->control);
	cgroups_fds_close(&b->group);
	b->client = connect_to(b->run);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* Waits for a state of at least `phase`; false when the monitor left before. */
static bool
box_wait(struct box *b, unsigned phase)
{
	char packet[4096];
	while (b->state.phase < phase) {
		ssize_t n = recv(b->client, packet, sizeof(packet), 0);
		if (n <= 0)
			return false;
		assert_true(control_state_check(packet, (size_t)n, &b->state));
	}
	return true;
}

static void
box_end(struct box *b)
{
	char path[256];
	while (!cgroups_remove(groups, b->replica))
		cgroups_kill(groups, b->replica);
	close(b->client);
	close(b->run);
	close(b->record);
	close(b->log);
	close(b->netns);
	(void)path;
}

static void
read_log(struct box *b, char *out, size_t cap)
{
	static struct log_reader reader;
	struct log_reader_record record;
	struct log_reader_filter all = {0};
	size_t used = 0;
	log_reader_open(&reader, b->log, &all, UINT32_MAX);
	out[0] = '\0';
	while (log_reader_next(&reader, &record)) {
		int n = snprintf(out + used, cap - used, "%.*s\n", (int)record.length, record.text);
		used += (size_t)n < cap - used ? (size_t)n : cap - used - 1;
	}
	log_reader_close(&reader);
}

/* Runs a script to its end and gives what it wrote. */
static void
run(struct box *b, char *out, size_t cap)
{
	box_start(b);
	if (!box_wait(b, CONTROL_EXITED))
		fail_msg("the monitor left without a word");
	read_log(b, out, cap);
	if (getenv("ZLAYER_SHOW"))
		fprintf(stderr, "%s", out);
	box_end(b);
}

static void
order(struct box *b, unsigned verb, unsigned sig, unsigned grace_ms)
{
	struct control_order o = {.magic = CONTROL_MAGIC,
				  .version = CONTROL_VERSION,
				  .verb = (uint16_t)verb,
				  .signal = sig,
				  .grace_ms = grace_ms};
	assert_int_equal(send(b->client, &o, sizeof(o), 0), sizeof(o));
}

/* ---- tests ---- */

static void
test_runs_and_ends(void **state)
{
	struct box b;
	char out[4096];
	(void)state;
	box_init(&b, "echo one; echo two >&2; printf three; exit 7");
	run(&b, out, sizeof(out));
	if (b.state.phase == CONTROL_FAILED)
		fail_msg("%s: %s", b.state.what, b.state.why);
	assert_int_equal(b.state.phase, CONTROL_EXITED);
	assert_int_equal(b.state.exit_status, 7);
	assert_non_null(strstr(out, "one\n"));
	assert_non_null(strstr(out, "two\n"));
	assert_non_null(strstr(out, "three\n"));
	assert_int_equal(b.state.lines_out, 2);
	assert_int_equal(b.state.lines_err, 1);
	/* And it is written down, twice. */
	struct control_state record;
	char path[256];
	static const char *const folders[] = {"run", "record"};
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s-%llu/exit", scratch, folders[i],
			 (unsigned long long)b.replica);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		char bytes[4096];
		ssize_t n = read(fd, bytes, sizeof(bytes));
		close(fd);
		assert_true(n > 0 && control_state_check(bytes, (size_t)n, &record));
		assert_int_equal(record.exit_status, 7);
	}
}

static void
test_looks_from_inside(void **state)
{
	struct box b;
	static char out[16384];
	static char masked[] = "/proc/version", firmware[] = "/sys/firmware", sys[] = "/proc/sys";
	char *hidden[] = {masked, firmware}, *frozen[] = {sys};
	(void)state;
	box_init(
		&b,
		"echo pid=$$; hostname; id; cat /proc/self/status; ls /dev; ls -A /sys/firmware;"
		"wc -c </proc/version; echo 1 >/proc/sys/kernel/hostname && echo written;"
		"mount -t tmpfs x /tmp && echo mounted; readlink /proc/self/fd/0; ls -A /proc/1/fd;"
		"cat /proc/self/cgroup; umount /proc && echo unmounted; touch /made && echo "
		"touched");
	b.launch.masked = (struct launch_list){hidden, 2};
	b.launch.readonly = (struct launch_list){frozen, 1};
	run(&b, out, sizeof(out));
	if (b.state.phase == CONTROL_FAILED)
		fail_msg("%s: %s", b.state.what, b.state.why);
	assert_non_null(strstr(out, "pid=1\n"));
	assert_non_null(strstr(out, "\nbox\n"));
	assert_non_null(strstr(out, "uid=0(root) gid=0(root)"));
	assert_non_null(strstr(out, "Seccomp:\t2\n"));
	assert_non_null(strstr(out, "CapEff:\t00000000a80425fb\n"));
	assert_non_null(strstr(out, "CapBnd:\t00000000a80425fb\n"));
	assert_non_null(strstr(out, "CapAmb:\t0000000000000000\n"));
	assert_non_null(strstr(out, "CapInh:\t0000000000000000\n"));
	assert_non_null(strstr(out, "\n0\n"));
	assert_non_null(strstr(out, "\n/dev/null\n"));
	assert_non_null(strstr(out, "touched\n"));
	assert_null(strstr(out, "written"));
	assert_null(strstr(out, "mounted"));
	assert_null(strstr(out, "zlayer"));
}

static void
test_user_and_workdir(void **state)
{
	struct box b;
	char out[4096];
	static char user[] = "app", workdir[] = "/srv/made/here";
	(void)state;
	box_init(&b, "id; pwd; echo $HOME; grep -E 'CapEff|CapPrm' /proc/self/status; ls /root");
	b.launch.user = user;
	b.launch.workdir = workdir;
	run(&b, out, sizeof(out));
	assert_int_equal(b.state.phase, CONTROL_EXITED);
	assert_non_null(strstr(out, "uid=1000(app) gid=1001(app) groups=1001(app),1002(extra)\n"));
	assert_non_null(strstr(out, "/srv/made/here\n"));
	assert_non_null(strstr(out, "/home/app\n"));
	assert_non_null(strstr(out, "CapEff:\t0000000000000000\n"));
}

static void
test_failures_are_named(void **state)
{
	static char missing[] = "/no/such", folder_name[] = "/srv", wrong[] = "/bin/alien";
	static char nobody[] = "nobody";
	struct box b;
	char out[1024], path[256];
	static const unsigned char elf[64] = {0x7f, 'E', 'L',      'F',        2,
					      1,    1,   [16] = 2, [18] = 183, [20] = 1};
	(void)state;
	snprintf(path, sizeof(path), "%s/image/bin/alien", scratch);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(write(fd, elf, sizeof(elf)), sizeof(elf));
	close(fd);

	box_init(&b, "");
	b.argv[0] = missing;
	run(&b, out, sizeof(out));
	assert_int_equal(b.state.phase, CONTROL_FAILED);
	assert_int_equal(b.state.exit_status, 127);
	assert_non_null(strstr(b.state.what, "/no/such"));

	box_init(&b, "");
	b.argv[0] = folder_name;
	run(&b, out, sizeof(out));
	assert_int_equal(b.state.exit_status, 126);
	assert_non_null(strstr(b.state.why, "folder"));

	box_init(&b, "");
	b.argv[0] = wrong;
	run(&b, out, sizeof(out));
	assert_int_equal(b.state.exit_status, 126);
	assert_non_null(strstr(b.state.why, "arm64"));

	box_init(&b, "true");
	b.launch.user = nobody;
	run(&b, out, sizeof(out));
	assert_int_equal(b.state.phase, CONTROL_FAILED);
	assert_non_null(strstr(b.state.what, "nobody"));
}

static void
test_read_only_root_and_mounts(void **state)
{
	struct box b;
	char out[4096];
	static char target[] = "/tmp", deep[] = "/data/deep";
	struct launch_mount mounts[] = {
		{.kind = LAUNCH_TMPFS, .target = target, .fd = -1, .size_bytes = 1 << 20},
		{.kind = LAUNCH_TMPFS, .target = deep, .fd = -1, .readonly = true},
	};
	(void)state;
	box_init(&b, "touch /x || echo refused; touch /tmp/x && echo allowed;"
		     "dd if=/dev/zero of=/tmp/big bs=1024 count=2048 2>/dev/null || echo full;"
		     "touch /data/deep/x || echo frozen; stat -c %a /tmp");
	b.launch.read_only_root = true;
	b.launch.mounts = mounts;
	b.launch.mounts_count = 2;
	run(&b, out, sizeof(out));
	if (b.state.phase == CONTROL_FAILED)
		fail_msg("%s: %s", b.state.what, b.state.why);
	assert_non_null(strstr(out, "refused\n"));
	assert_non_null(strstr(out, "allowed\n"));
	assert_non_null(strstr(out, "full\n"));
	assert_non_null(strstr(out, "frozen\n"));
	assert_non_null(strstr(out, "1777\n"));
}

/* 0.5 CPUs stand where this machine keeps them. */
static void
assert_quota(uint64_t replica)
{
	const struct cgroups_layout *layout = cgroups_layout_of(groups);
	char path[512], text[64] = "";
	for (size_t i = 0; i < layout->count; i++) {
		const struct cgroups_tree *tree = &layout->trees[i];
		bool v2 = tree->unified && layout->mode == CGROUPS_V2;
		if (!v2 && (tree->controllers & CGROUPS_CPU) == 0)
			continue;
		snprintf(path, sizeof(path), "%s/zlayer/test-monitor/%llu/%s", tree->path,
			 (unsigned long long)replica, v2 ? "cpu.max" : "cpu.cfs_quota_us");
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_true(read(fd, text, sizeof(text) - 1) > 0);
		close(fd);
		assert_memory_equal(text, "50000", 5);
		return;
	}
}

static void
test_limits_hold(void **state)
{
	struct box b;
	char out[8192];
	(void)state;
	box_init(&b, "x=$(yes | head -c 60000000 | tr -d '\\n'); echo survived");
	b.limits.memory_bytes = 16 << 20;
	run(&b, out, sizeof(out));
	assert_null(strstr(out, "survived"));
	assert_true(b.state.oom_kills > 0);

	box_init(&b, "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; echo all");
	b.limits.pids = 20;
	run(&b, out, sizeof(out));
	assert_null(strstr(out, "all\n"));

	box_init(&b, "sleep 100");
	b.limits.cpu_milli = 500;
	b.limits.pids = 10;
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	struct cgroups_stats stats;
	cgroups_stats(groups, b.replica, &stats);
	assert_true(stats.pids >= 1);
	assert_quota(b.replica);
	order(&b, CONTROL_KILL, 0, 0);
	assert_true(box_wait(&b, CONTROL_EXITED));
	assert_int_equal(b.state.exit_signal, SIGKILL);
	box_end(&b);
}

/* The v2 rules, which this machine may not need for its containers, on a group of the v2 tree. */
static void
test_device_rules_of_v2(void **state)
{
	uint64_t replica = next_replica++;
	struct cgroups_limits limits = {0};
	struct cgroups_fds fds;
	struct err err = {0};
	int status;
	(void)state;
	assert_int_equal(cgroups_create(groups, replica, &limits, &err), 0);
	assert_int_equal(cgroups_fds_open(groups, replica, &fds, &err), 0);
	if (fds.unified < 0) {
		print_message("# no v2 tree here\n");
	} else {
		limits.devices = cgroups_device_defaults(&limits.devices_count);
		/* Twice: the second takes the place of the first. */
		for (int i = 0; i < 2; i++)
			if (cgroups_device_attach(fds.unified, &limits, &err) < 0)
				fail_msg("%s: %s", err.what, err.why[0]);
		pid_t pid = fork();
		if (pid == 0) {
			int procs = openat(fds.unified, "cgroup.procs", O_WRONLY | O_CLOEXEC);
			if (procs < 0 || write(procs, "0", 1) != 1)
				_exit(1);
			if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0 ||
			    open("/dev/urandom", O_RDONLY | O_CLOEXEC) < 0)
				_exit(2);
			if (open("/dev/kmsg", O_RDONLY | O_CLOEXEC) >= 0 || errno != EPERM)
				_exit(3);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	cgroups_fds_close(&fds);
	while (!cgroups_remove(groups, replica))
		cgroups_kill(groups, replica);
}

static void
test_stop(void **state)
{
	struct box b;
	char out[1024];
	(void)state;
	box_init(&b, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	/* The trap stands when its line is out. */
	do {
		read_log(&b, out, sizeof(out));
	} while (strstr(out, "up\n") == NULL);
	order(&b, CONTROL_STOP, SIGTERM, 60000);
	assert_true(box_wait(&b, CONTROL_EXITED));
	assert_int_equal(b.state.exit_status, 3);
	read_log(&b, out, sizeof(out));
	assert_non_null(strstr(out, "bye\n"));
	box_end(&b);

	box_init(&b, "trap '' TERM; echo up; while :; do sleep 0.1; done");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	order(&b, CONTROL_STOP, SIGTERM, 50);
	assert_true(box_wait(&b, CONTROL_EXITED));
	assert_int_equal(b.state.exit_signal, SIGKILL);
	box_end(&b);
}

/* The kernel refuses to let it wait: it stops the container when its time has come all the same. */
static void
test_stop_by_a_deaf_monitor(void **state)
{
	struct box b;
	struct rlimit few = {.rlim_cur = 1, .rlim_max = 1000}, enough = {1000, 1000};
	(void)state;
	box_init(&b, "trap '' TERM; while :; do sleep 0.1; done");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	int container = fd_pidfd_open((pid_t)b.state.pid);
	assert_true(container >= 0);
	pid_t monitor = (pid_t)b.state.monitor_pid;
	assert_int_equal(prlimit(monitor, RLIMIT_NOFILE, &few, NULL), 0);
	order(&b, CONTROL_STOP, SIGTERM, 100);
	struct pollfd p = {.fd = container, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 60000), 1);
	close(container);
	assert_int_equal(prlimit(monitor, RLIMIT_NOFILE, &enough, NULL), 0);
	assert_true(box_wait(&b, CONTROL_EXITED));
	assert_int_equal(b.state.exit_signal, SIGKILL);
	box_end(&b);
}

/* ---- leases ---- */

#define MS UINT64_C(1000000)

static void
lease(struct box *b, uint64_t until_ns, uint64_t epoch)
{
	struct control_order o = {.magic = CONTROL_MAGIC,
				  .version = CONTROL_VERSION,
				  .verb = CONTROL_LEASE,
				  .lease_until_ns = until_ns,
				  .lease_epoch = epoch};
	assert_int_equal(send(b->client, &o, sizeof(o), 0), sizeof(o));
}

/* Until the monitor has said so. */
static void
leased(struct box *b, uint64_t until_ns)
{
	char packet[4096];
	while (b->state.lease_until_ns != until_ns) {
		ssize_t n = recv(b->client, packet, sizeof(packet), 0);
		assert_true(n > 0 && control_state_check(packet, (size_t)n, &b->state));
	}
}

static void
ends_for_its_lease(struct box *b)
{
	assert_true(box_wait(b, CONTROL_EXITED));
	assert_int_equal(b->state.phase, CONTROL_EXITED);
	assert_int_equal(b->state.exit_signal, SIGKILL);
	assert_int_equal(b->state.lease_over, 1);
	assert_true(world_mono_ns() >= b->state.lease_until_ns);
	box_end(b);
}

static void
test_lease(void **state)
{
	struct box b;
	(void)state;
	/* From the start on; nobody says anything any more. */
	box_init(&b, "trap '' TERM; while :; do sleep 0.1; done");
	b.launch.lease_until_ns = world_mono_ns() + 3000 * MS;
	b.launch.lease_epoch = 5;
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	assert_int_equal(b.state.lease_epoch, 5);
	ends_for_its_lease(&b);

	/* Later; moved on; taken away; over already. */
	box_init(&b, "while :; do sleep 0.1; done");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	assert_int_equal(b.state.lease_until_ns, 0);
	uint64_t first = world_mono_ns() + 1500 * MS, far = first + 3600 * 1000 * MS;
	lease(&b, first, 6);
	lease(&b, far, 6);
	leased(&b, far);
	while (world_mono_ns() < first + 1500 * MS)
		poll(NULL, 0, 50);
	order(&b, CONTROL_QUERY, 0, 0);
	lease(&b, 0, 0);
	leased(&b, 0);
	assert_int_equal(b.state.phase, CONTROL_RUNNING);
	lease(&b, 1, 7);
	ends_for_its_lease(&b);

	/* A stop that is under way does not help it. */
	box_init(&b, "trap '' TERM; while :; do sleep 0.1; done");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	order(&b, CONTROL_STOP, SIGTERM, 3600 * 1000);
	lease(&b, world_mono_ns() + 200 * MS, 8);
	ends_for_its_lease(&b);

	/* Over before it began: there never was a process. */
	box_init(&b, "echo never");
	b.launch.lease_until_ns = world_mono_ns() - 1;
	b.launch.lease_epoch = 9;
	box_start(&b);
	if (box_wait(&b, CONTROL_EXITED)) {
		assert_int_equal(b.state.phase, CONTROL_FAILED);
		assert_int_equal(b.state.lease_over, 1);
	}
	assert_int_equal(b.state.pid, 0);
	box_end(&b);
}

/* A word of /proc/PID/status, as a number of the given base. */
static unsigned long
status_of(pid_t pid, const char *word, int base)
{
	char path[64], line[256];
	unsigned long value = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, word, strlen(word)) == 0)
			value = strtoul(line + strlen(word), NULL, base);
	if (f != NULL)
		fclose(f);
	return value;
}

/* The one process whose parent is the monitor, and which is not the container's. 0: none. */
static pid_t
watchdog_of(const struct box *b)
{
	pid_t found = 0;
	DIR *dir = opendir("/proc");
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		uint64_t pid;
		if (text_u64(e->d_name, INT32_MAX, &pid) && pid != b->state.pid &&
		    status_of((pid_t)pid, "PPid:", 10) == b->state.monitor_pid)
			found = (pid_t)pid;
	}
	closedir(dir);
	return found;
}

/* S: it sleeps; 0: it is gone. */
static char
state_of(pid_t pid)
{
	char path[64], line[256], state = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		(void)sscanf(line, "State: %c", &state);
	if (f != NULL)
		fclose(f);
	return state;
}

/* An earlier deadline has been taken by the watchdog: a signal tells it, and may have to wait for a
 * slow machine. */
static void
told(pid_t watchdog)
{
	char state;
	while ((state = state_of(watchdog)) != 0 && state != 'Z' &&
	       (state != 'S' || status_of(watchdog, "ShdPnd:", 16) != 0))
		poll(NULL, 0, 10);
}

static int
watch_ended(pid_t pid)
{
	int pidfd = fd_pidfd_open(pid);
	assert_true(pidfd >= 0);
	return pidfd;
}

static void
wait_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 60000), 1);
	close(pidfd);
}

/* A monitor that stands still or is killed, and a first process that is another user by then: the
 * kernel has forgotten that it was to die with its parent. */
static void
lose_monitor(int number, bool all)
{
	struct box b;
	box_init(&b, "exec su app -c 'while :; do sleep 0.1; done'");
	b.launch.lease_until_ns = world_mono_ns() + 3600 * 1000 * MS;
	b.launch.lease_epoch = 5;
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	pid_t watchdog = watchdog_of(&b);
	assert_true(watchdog > 0);
	int container = watch_ended((pid_t)b.state.pid), end = watch_ended(watchdog);
	while (status_of((pid_t)b.state.pid, "Uid:", 10) != 1000)
		poll(NULL, 0, 10);
	uint64_t until = world_mono_ns() + 700 * MS;
	lease(&b, until, 6);
	leased(&b, until);
	told(watchdog);
	/* On a machine that is slow now they may have done their work before. */
	assert_true(kill((pid_t)b.state.monitor_pid, number) == 0 || errno == ESRCH);
	if (all)
		assert_true(kill(watchdog, number) == 0 || errno == ESRCH);
	wait_ended(container);
	assert_true(world_mono_ns() >= until);
	wait_ended(end);
	/* The kernel ends a monitor that stands still: it would hide what has happened. */
	char packet[4096];
	while (recv(b.client, packet, sizeof(packet), 0) > 0)
		continue;
	box_end(&b);
}

static void
test_lease_without_its_monitor(void **state)
{
	(void)state;
	lose_monitor(SIGSTOP, false);
	lose_monitor(SIGSTOP, true);
	lose_monitor(SIGKILL, false);
}

static void
test_watchdog_is_small(void **state)
{
	struct box b;
	char path[64], line[256];
	(void)state;
	box_init(&b, "sleep 1000");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	/* What is not leased has none; one that is killed has a successor. */
	assert_int_equal(watchdog_of(&b), 0);
	uint64_t far = world_mono_ns() + 3600 * 1000 * MS;
	lease(&b, far, 6);
	leased(&b, far);
	pid_t first = watchdog_of(&b);
	assert_true(first > 0);
	int end = watch_ended(first);
	assert_int_equal(kill(first, SIGKILL), 0);
	wait_ended(end);
	lease(&b, far + 1, 6);
	leased(&b, far + 1);
	pid_t pid = watchdog_of(&b);
	assert_true(pid > 0 && pid != first);
	while (status_of(pid, "Seccomp_filters:", 10) < 2)
		poll(NULL, 0, 10);
	assert_int_equal(status_of(pid, "CapEff:", 16), 1 << 5);
#if !defined(__SANITIZE_ADDRESS__) /* which leaves mlock out */
	assert_true(status_of(pid, "VmLck:", 10) > 0);
#endif
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "Pss", 3) == 0)
			print_message("# watchdog %s", line);
	if (f != NULL)
		fclose(f);
	end = watch_ended(pid);
	order(&b, CONTROL_KILL, 0, 0);
	assert_true(box_wait(&b, CONTROL_EXITED));
	wait_ended(end);
	box_end(&b);
}

/* ---- exec ---- */

static uint32_t
little(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

/* Runs a command in a box; gives its exit status, output in out. */
static int
exec_in(struct box *b, char **argv, size_t argc, bool tty, const char *input, char *out, size_t cap)
{
	static struct frame_parser parser;
	struct spawn_fds fds;
	struct cgroups_fds group;
	int32_t procs[CGROUPS_TREES_MAX];
	struct err err = {0};
	struct frame f;
	struct launch l = b->launch;
	int pair[2], status = -1;
	size_t used = 0;

	memset(&parser, 0, sizeof(parser));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	int pidfd = fd_pidfd_open((pid_t)b->state.pid);
	assert_true(pidfd >= 0);
	spawn_fds_init(&fds);
	assert_int_equal(cgroups_procs_open(groups, b->replica, &group, &err), 0);
	for (size_t i = 0; i < group.procs_count; i++)
		procs[i] = spawn_fds_add(&fds, group.procs[i]);
	l.verb = LAUNCH_EXEC;
	l.argv = (struct launch_list){argv, argc};
	l.cgroup_procs = (struct launch_fds){procs, group.procs_count};
	l.monitor_filter = (struct launch_filter){exec_profile.items, exec_profile.count};
	l.pidfd = spawn_fds_add(&fds, pidfd);
	l.stream_fd = spawn_fds_add(&fds, pair[1]);
	l.tty = tty;
	l.rows = 33;
	l.columns = 77;
	assert_int_equal(spawn_start(&spawn, &l, &fds, NULL, NULL, &err), 0);
	close(pair[1]);
	close(pidfd);
	cgroups_fds_close(&group);
	if (input != NULL)
		frame_send_text(pair[0], MSG_FRAME_STDIN, input);
	if (!tty)
		frame_send(pair[0], MSG_FRAME_STDIN, NULL, 0, NULL, 0);
	out[0] = '\0';
	while (status < 0) {
		size_t room;
		uint8_t *space = frame_space(&parser, &room);
		ssize_t n = recv(pair[0], space, room, 0);
		if (n <= 0)
			break;
		parser.used += (size_t)n;
		while (frame_take(&parser, &f) == 1) {
			if (f.type == MSG_FRAME_EXIT)
				status = (int)little(f.data);
			else
				used += (size_t)snprintf(out + used, cap - used, "%.*s",
							 (int)f.bytes, (const char *)f.data);
		}
	}
	close(pair[0]);
	uv_run(&loop, UV_RUN_DEFAULT);
	return status;
}

static void
test_exec(void **state)
{
	static char sh[] = "sh", dash_c[] = "-c", seven[] = "echo here $$; exit 7",
		    none[] = "no-such";
	static char srv[] = "/srv", cat[] = "cat",
		    tty_script[] = "tty; stty size; read x; echo got $x";
	static char self[] = "kill -TERM $$";
	char *exits[] = {sh, dash_c, seven}, *missing[] = {none}, *dir[] = {srv}, *echo[] = {cat};
	char *terminal[] = {sh, dash_c, tty_script}, *killed[] = {sh, dash_c, self};
	struct box b;
	char out[4096];
	(void)state;
	box_init(&b, "sleep 1000");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	assert_int_equal(exec_in(&b, exits, 3, false, NULL, out, sizeof(out)), 7);
	assert_non_null(strstr(out, "here"));
	assert_int_equal(exec_in(&b, missing, 1, false, NULL, out, sizeof(out)), 127);
	assert_non_null(strstr(out, "no-such"));
	assert_int_equal(exec_in(&b, dir, 1, false, NULL, out, sizeof(out)), 126);
	assert_int_equal(exec_in(&b, echo, 1, false, "through\n", out, sizeof(out)), 0);
	assert_string_equal(out, "through\n");
	assert_int_equal(exec_in(&b, terminal, 3, true, "word\n", out, sizeof(out)), 0);
	assert_non_null(strstr(out, "/dev/pts/0"));
	assert_non_null(strstr(out, "33 77"));
	assert_non_null(strstr(out, "got word"));
	assert_int_equal(exec_in(&b, killed, 3, false, NULL, out, sizeof(out)), 128 + SIGTERM);
	order(&b, CONTROL_KILL, 0, 0);
	assert_true(box_wait(&b, CONTROL_EXITED));
	box_end(&b);
}

static void
test_monitor_is_small(void **state)
{
	struct box b;
	char path[64], line[256];
	unsigned long pss = 0;
	(void)state;
	box_init(&b, "echo hello; sleep 1000");
	box_start(&b);
	assert_true(box_wait(&b, CONTROL_RUNNING));
	snprintf(path, sizeof(path), "/proc/%u/smaps_rollup", b.state.monitor_pid);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "Pss_Anon:", 9) == 0)
			pss = strtoul(line + 9, NULL, 10);
		else if (strncmp(line, "Pss:", 4) == 0)
			print_message("# monitor %s", line);
	fclose(f);
	print_message("# monitor Pss_Anon %lu kB\n", pss);
	snprintf(path, sizeof(path), "/proc/%u/status", b.state.monitor_pid);
	f = fopen(path, "re");
	assert_non_null(f);
	bool caps = false, seccomp = false;
	while (fgets(line, sizeof(line), f) != NULL) {
		caps = caps || strcmp(line, "CapEff:\t0000000000000020\n") == 0;
		seccomp = seccomp || strcmp(line, "Seccomp:\t2\n") == 0;
	}
	fclose(f);
	assert_true(caps && seccomp);
	order(&b, CONTROL_KILL, 0, 0);
	assert_true(box_wait(&b, CONTROL_EXITED));
	box_end(&b);
}

static int
set_up(void **state)
{
	struct err err = {0};
	char path[256];
	(void)state;
	rootfs_scratch(scratch, sizeof(scratch));
	snprintf(path, sizeof(path), "%s/image", scratch);
	rootfs_make(path);
	uv_loop_init(&loop);
	if (spawn_open_file(&spawn, &loop, getenv("ZLAYER_MONITOR"), &err) < 0 ||
	    cgroups_open("test-monitor", &groups, &err) < 0 ||
	    seccomp_profile_container(DEFAULT_CAPS, &profile, &err) < 0 ||
	    seccomp_profile_own(SECCOMP_PROFILE_MONITOR, &own_profile, &err) < 0 ||
	    seccomp_profile_own(SECCOMP_PROFILE_EXEC, &exec_profile, &err) < 0 ||
	    seccomp_profile_own(SECCOMP_PROFILE_LOGS, &logs_profile, &err) < 0) {
		print_message("# %s\n", err.what);
		return -1;
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	cgroups_remove_parent(groups);
	cgroups_close(groups);
	seccomp_profile_fini(&profile);
	seccomp_profile_fini(&own_profile);
	seccomp_profile_fini(&exec_profile);
	seccomp_profile_fini(&logs_profile);
	spawn_close(&spawn);
	uv_loop_close(&loop);
	rootfs_remove(scratch);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_and_ends),
		cmocka_unit_test(test_looks_from_inside),
		cmocka_unit_test(test_user_and_workdir),
		cmocka_unit_test(test_failures_are_named),
		cmocka_unit_test(test_read_only_root_and_mounts),
		cmocka_unit_test(test_limits_hold),
		cmocka_unit_test(test_device_rules_of_v2),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_stop_by_a_deaf_monitor),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_lease_without_its_monitor),
		cmocka_unit_test(test_watchdog_is_small),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_monitor_is_small),
	};
	if (!rootfs_can_run())
		return 0;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
