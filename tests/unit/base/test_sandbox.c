/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each test forks a child that confines itself and then looks from the inside. A child gives 0, or
 * the line of the check that failed. Without root only the tests that need no privilege run.
 */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"

#define EXPECT(condition)                \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

enum { TEST_UID = 64001, TEST_GID = 64002 };

/* Runs `inside` in a child; an exit status has 8 bits, so the line comes through a pipe. */
static void
in_child(int (*inside)(void))
{
	int ends[2], status, line = -1;

	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		line = inside();
		_exit(write(ends[1], &line, sizeof(line)) == sizeof(line) ? 0 : 1);
	}
	fd_close(&ends[1]);
	ssize_t n = read(ends[0], &line, sizeof(line));
	fd_close(&ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (n == sizeof(line) && line != 0)
		print_error("the child failed at line %d\n", line);
	assert_int_equal(n, sizeof(line));
	assert_int_equal(line, 0);
}

static int
enter(const struct sandbox *s)
{
	struct err err;
	int abi;

	if (sandbox_enter(s, &abi, &err) == 0)
		return 0;
	err_print(&err, "test", stderr);
	return -1;
}

/* ---- names ---- */

static void
capability_names(void **state)
{
	(void)state;
	assert_int_equal(sandbox_cap_parse("CAP_NET_ADMIN"), CAP_NET_ADMIN);
	assert_int_equal(sandbox_cap_parse("net_admin"), CAP_NET_ADMIN);
	assert_int_equal(sandbox_cap_parse("cap_bpf"), CAP_BPF);
	assert_int_equal(sandbox_cap_parse("CAP_"), -1);
	assert_int_equal(sandbox_cap_parse("everything"), -1);
	assert_null(sandbox_cap_name(-1));
	assert_null(sandbox_cap_name(CAP_LAST_CAP + 1));
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		assert_int_equal(sandbox_cap_parse(sandbox_cap_name(cap)), cap);
}

/* ---- identity and capabilities (root) ---- */

static int
identity_is_given_up(void)
{
	gid_t groups[2] = {4, 20};
	uid_t r, e, s;
	gid_t rg, eg, sg;
	struct sandbox box = {.set_ids = true, .uid = TEST_UID, .gid = TEST_GID};

	EXPECT(setgroups(2, groups) == 0);
	EXPECT(enter(&box) == 0);
	EXPECT(getresuid(&r, &e, &s) == 0 && r == TEST_UID && e == TEST_UID && s == TEST_UID);
	EXPECT(getresgid(&rg, &eg, &sg) == 0);
	EXPECT(rg == TEST_GID && eg == TEST_GID && sg == TEST_GID);
	EXPECT(getgroups(0, NULL) == 0);
	EXPECT(setuid(0) == -1 && setgid(0) == -1 && setgroups(2, groups) == -1);
	EXPECT(sandbox_caps() == 0);
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		EXPECT(prctl(PR_CAPBSET_READ, cap, 0, 0, 0) <= 0);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	EXPECT(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0) == 0);
	EXPECT(open("/proc/self/mem", O_RDWR | O_CLOEXEC) == -1);
	return 0;
}

static void
cap_line(const char *status, const char *name, unsigned long long *out)
{
	const char *at = strstr(status, name);

	*out = at != NULL ? strtoull(at + strlen(name), NULL, 16) : ~0ull;
}

static int
caps_are_cut(bool ambient)
{
	uint64_t keep = 1ull << CAP_NET_BIND_SERVICE | 1ull << CAP_NET_ADMIN;
	struct sandbox box = {.set_ids = true,
			      .uid = TEST_UID,
			      .gid = TEST_GID,
			      .keep_caps = keep,
			      .ambient = ambient};
	unsigned long long permitted, effective, inheritable, bounding, held;
	char text[4096] = {0};
	/* opened before: a non-dumpable process may not open it */
	defer_close int status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	EXPECT(enter(&box) == 0);
	EXPECT(sandbox_caps() == keep);
	EXPECT(read(status, text, sizeof(text) - 1) > 0);
	cap_line(text, "CapPrm:\t", &permitted);
	cap_line(text, "CapEff:\t", &effective);
	cap_line(text, "CapInh:\t", &inheritable);
	cap_line(text, "CapBnd:\t", &bounding);
	cap_line(text, "CapAmb:\t", &held);
	EXPECT(permitted == keep && effective == keep && bounding == keep);
	EXPECT(inheritable == (ambient ? keep : 0));
	EXPECT(held == (ambient ? keep : 0));
	return 0;
}

static int
caps_are_cut_for_itself(void)
{
	return caps_are_cut(false);
}

static int
caps_are_cut_and_ambient(void)
{
	return caps_are_cut(true);
}

/* The kept set really survives an exec, and only when ambient. */
static int
caps_over_exec(bool ambient)
{
	struct sandbox box = {.set_ids = true,
			      .uid = TEST_UID,
			      .gid = TEST_GID,
			      .keep_caps = 1ull << CAP_NET_RAW,
			      .ambient = ambient};
	int status;

	EXPECT(enter(&box) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/grep", "grep", "-q",
		      ambient ? "CapEff:.0000000000002000" : "CapEff:.0000000000000000",
		      "/proc/self/status", (char *)NULL);
		_exit(99);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}

static int
caps_gone_over_exec(void)
{
	return caps_over_exec(false);
}

static int
caps_kept_over_exec(void)
{
	return caps_over_exec(true);
}

/* As root without a change of uid: an exec may not bring back what was given up. */
static int
root_stays_cut(void)
{
	struct sandbox box = {.keep_caps = 1ull << CAP_NET_RAW};
	int status;

	EXPECT(enter(&box) == 0);
	EXPECT(getuid() == 0);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/grep", "grep", "-q", "CapEff:.000000000000[02]000", "/proc/self/status",
		      (char *)NULL);
		_exit(99);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}

static int
a_cap_that_is_not_held_is_an_error(void)
{
	struct sandbox none = {.set_ids = true, .uid = TEST_UID, .gid = TEST_GID};
	struct sandbox more = {.keep_caps = 1ull << CAP_NET_ADMIN};
	struct err err;

	EXPECT(enter(&none) == 0);
	EXPECT(sandbox_enter(&more, NULL, &err) == -1);
	EXPECT(err.kind == ERR_DENIED);
	/* what is given up already can be given up again, and not come back */
	EXPECT(enter(&none) == 0);
	none.uid = 0;
	EXPECT(sandbox_enter(&none, NULL, &err) == -1);
	EXPECT(err.kind == ERR_DENIED);
	return 0;
}

/* ---- limits ---- */

static int
limits_are_set(void)
{
	struct sandbox box = {.rlimits = {{RLIMIT_NOFILE, 32}, {RLIMIT_CORE, 0}},
			      .rlimits_count = 2};
	struct rlimit now;

	EXPECT(enter(&box) == 0);
	EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 32 && now.rlim_max == 32);
	EXPECT(getrlimit(RLIMIT_CORE, &now) == 0 && now.rlim_max == 0);
	EXPECT(dup2(0, 40) == -1 && errno == EBADF);
	return 0;
}

static int
an_impossible_limit_is_an_error(void)
{
	struct sandbox box = {.rlimits = {{4711, 1}}, .rlimits_count = 1};
	struct err err;

	EXPECT(sandbox_enter(&box, NULL, &err) == -1);
	EXPECT(err.kind == ERR_SYSTEM || err.kind == ERR_INVALID);
	return 0;
}

/* ---- landlock ---- */

static char folder[64];

static int
landlock_limits_files(void)
{
	char text[8];
	struct err err;
	int abi;
	defer_close int rd = openat(AT_FDCWD, folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	defer_close int wr = openat(rd, "rw", O_PATH | O_DIRECTORY | O_CLOEXEC);
	defer_close int one = open("/bin/true", O_PATH | O_CLOEXEC);
	defer_close int before = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	struct sandbox box = {
		.landlock = true,
		.paths = {{rd, SANDBOX_READ},
			  {wr, SANDBOX_READ | SANDBOX_WRITE},
			  {one, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_EXEC}},
		.paths_count = 3,
	};

	EXPECT(rd >= 0 && wr >= 0 && one >= 0 && before >= 0);
	EXPECT(sandbox_enter(&box, &abi, &err) == 0);
	if (abi == 0)
		return 0;
	EXPECT(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
	EXPECT(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) == -1);
	EXPECT(read(before, text, 1) == 1); /* opened before: stays */
	defer_close int f = openat(rd, "file", O_RDONLY | O_CLOEXEC);
	EXPECT(f >= 0);
	EXPECT(openat(rd, "file", O_WRONLY | O_CLOEXEC) == -1 && errno == EACCES);
	EXPECT(openat(rd, "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) == -1);
	EXPECT(unlinkat(rd, "file", 0) == -1 && errno == EACCES);
	EXPECT(abi < 3 || (truncate(folder, 0) == -1));
	defer_close int n = openat(wr, "new", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
	EXPECT(n >= 0);
	EXPECT(mkdirat(wr, "d", 0700) == 0);
	EXPECT(renameat(wr, "new", wr, "d/moved") == (abi >= 2 ? 0 : -1));
	EXPECT(mknodat(wr, "dev", S_IFCHR | 0600, 0) == -1 && errno == EACCES);
	EXPECT(symlinkat("x", wr, "l") == 0);
	return 0;
}

static int
landlock_with_no_paths_forbids_all(void)
{
	struct sandbox box = {.landlock = true};
	struct err err;
	int abi;

	EXPECT(sandbox_enter(&box, &abi, &err) == 0);
	EXPECT(abi == 0 || open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1);
	EXPECT(abi == 0 || execl("/bin/true", "true", (char *)NULL) == -1);
	return 0;
}

static int
a_bad_path_is_an_error(void)
{
	struct sandbox box = {.landlock = true, .paths = {{-1, SANDBOX_READ}}, .paths_count = 1};
	struct err err;
	int abi;

	EXPECT(sandbox_enter(&box, &abi, &err) == (abi > 0 ? -1 : 0));
	return 0;
}

/* ---- seccomp ---- */

/* Everything is allowed but uname: EACCES. */
static const struct sock_filter no_uname[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0 /* offsetof(struct seccomp_data, nr) */),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static int
filter_forbids(void)
{
	struct sandbox box = {.filter = no_uname, .filter_count = 4};
	struct utsname u;

	EXPECT(uname(&u) == 0);
	EXPECT(enter(&box) == 0);
	EXPECT(uname(&u) == -1 && errno == EACCES);
	EXPECT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER);
	return 0;
}

static int
new_privs_may_be_left(void)
{
	struct sandbox box = {.keep_caps = 1ull << CAP_SYS_ADMIN,
			      .allow_new_privs = true,
			      .landlock = true,
			      .filter = no_uname,
			      .filter_count = 4};
	struct utsname u;

	EXPECT(enter(&box) == 0);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	EXPECT(uname(&u) == -1 && errno == EACCES);
	return 0;
}

static int
new_privs_without_admin_are_an_error(void)
{
	struct sandbox box = {.allow_new_privs = true, .filter = no_uname, .filter_count = 4};
	struct err err;

	EXPECT(sandbox_enter(&box, NULL, &err) == -1);
	EXPECT(err.kind == ERR_DENIED);
	return 0;
}

/* prctl and capset kill: the filter must be the very last step. */
static int
filter_is_last(void)
{
	static const struct sock_filter strict[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_capset, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sandbox box = {.landlock = true, .filter = strict, .filter_count = 5};

	EXPECT(enter(&box) == 0);
	return 0;
}

static int
a_broken_filter_is_an_error(void)
{
	static const struct sock_filter broken[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3)};
	struct sandbox box = {.filter = broken, .filter_count = 1};
	struct err err;

	EXPECT(sandbox_enter(&box, NULL, &err) == -1);
	return 0;
}

static pthread_barrier_t barrier;
static int other_result;

static void *
other_thread(void *arg)
{
	struct utsname u;

	(void)arg;
	pthread_barrier_wait(&barrier); /* started */
	pthread_barrier_wait(&barrier); /* confined */
	other_result = uname(&u) == -1 ? errno : 0;
	return NULL;
}

static int
tsync_reaches(bool tsync)
{
	struct sandbox box = {.filter = no_uname, .filter_count = 4, .tsync = tsync};
	pthread_t thread;

	EXPECT(pthread_barrier_init(&barrier, NULL, 2) == 0);
	EXPECT(pthread_create(&thread, NULL, other_thread, NULL) == 0);
	pthread_barrier_wait(&barrier);
	EXPECT(enter(&box) == 0);
	pthread_barrier_wait(&barrier);
	EXPECT(pthread_join(thread, NULL) == 0);
	EXPECT(other_result == (tsync ? EACCES : 0));
	return 0;
}

static int
tsync_reaches_threads(void)
{
	return tsync_reaches(true);
}

static int
without_tsync_only_this_thread(void)
{
	return tsync_reaches(false);
}

/* ---- the list ---- */

static const struct {
	const char *name;
	int (*inside)(void);
	bool root;
} children[] = {
	{"identity is given up", identity_is_given_up, true},
	{"capabilities are cut", caps_are_cut_for_itself, true},
	{"capabilities are cut, ambient", caps_are_cut_and_ambient, true},
	{"capabilities end at exec", caps_gone_over_exec, true},
	{"ambient capabilities survive exec", caps_kept_over_exec, true},
	{"root stays cut", root_stays_cut, true},
	{"a capability that is not held", a_cap_that_is_not_held_is_an_error, true},
	{"new privileges may be left", new_privs_may_be_left, true},
	{"new privileges without CAP_SYS_ADMIN", new_privs_without_admin_are_an_error, false},
	{"limits are set", limits_are_set, false},
	{"an impossible limit", an_impossible_limit_is_an_error, false},
	{"landlock limits files", landlock_limits_files, false},
	{"landlock with no paths", landlock_with_no_paths_forbids_all, false},
	{"landlock with a bad path", a_bad_path_is_an_error, false},
	{"the filter forbids", filter_forbids, false},
	{"the filter is last", filter_is_last, false},
	{"a broken filter", a_broken_filter_is_an_error, false},
	{"tsync reaches threads", tsync_reaches_threads, false},
	{"without tsync it does not", without_tsync_only_this_thread, false},
};

static void
all_children(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
		if (children[i].root && geteuid() != 0)
			continue;
		print_message("%s\n", children[i].name);
		in_child(children[i].inside);
	}
}

static int
make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/zl-test-sandbox-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	defer_close int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	defer_close int file = openat(dir, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	return dir < 0 || file < 0 || mkdirat(dir, "rw", 0755) < 0 ? -1 : 0;
}

static int
remove_folder(void **state)
{
	static const char *const left[] = {"rw/d/moved", "rw/new", "rw/l", "rw/d", "rw", "file"};
	defer_close int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		if (unlinkat(dir, left[i], 0) < 0)
			unlinkat(dir, left[i], AT_REMOVEDIR);
	}
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capability_names),
		cmocka_unit_test_setup_teardown(all_children, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
