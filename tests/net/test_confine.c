/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every role of node's table, tried from inside: this program starts itself as each role, through
 * node's own code, with one thing to try (told by the "configuration"); the process exits with the
 * errno of the try, or is ended by its filter. Needs root.
 *
 *   test --unit_spawn--> test role NAME   confined as NAME is, tries one thing, exits
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "node/fabric.h"
#include "node/filter.h"
#include "node/publish.h"
#include "node/folder.h"
#include "node/unit.h"
#include "ring/station.h"

enum attempt {
	TRY_STAY = 1, /* nothing: stay to be looked at */
	TRY_EXEC,
	TRY_FORK,
	TRY_PASSWD,
	TRY_KEYS, /* the data folder's secrets */
	TRY_OWN_FOLDER,
	TRY_KILL,
	TRY_SIGNAL_NODE, /* by tgkill, which every process needs for itself */
	TRY_PTRACE,
	TRY_SOCKET,
	TRY_PACKET_SOCKET,
	TRY_HOST_PORT,
	TRY_MOUNT,
	TRY_USER_NS,
	TRY_SETUID,
	TRY_CODE, /* executable memory */
	TRY_REBOOT,
	TRY_MODULE,
	TRY_FILES,
};

/* What the "configuration" holds. */
struct order {
	int32_t attempt;
	int32_t node_pid;
	uint16_t port; /* something of the host's listens there, on 127.0.0.1 */
	uint16_t pad_;
	char keys[INSTANCE_PATH + 32];
};

/* ---- inside ---- */

static int
code_of(long rc)
{
	return rc < 0 ? errno : 0;
}

static int
try_open(int dirfd, const char *path, int flags)
{
	int fd = openat(dirfd, path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return code_of(fd);
}

static int
try_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return code_of(fd);
}

static int
try_host_port(uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : code_of(connect(fd, (struct sockaddr *)&at, sizeof(at)));
}

static int
try_files(void)
{
	for (int i = 0; i < 2000000; i++)
		if (fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) < 0)
			return errno;
	return 0;
}

static int
try(struct station *st, const struct order *o)
{
	static char *const nothing[] = {NULL};

	switch ((enum attempt)o->attempt) {
	case TRY_STAY:
		return 0;
	case TRY_EXEC:
		return code_of(execve("/bin/true", nothing, nothing));
	case TRY_FORK:
		return code_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	case TRY_PASSWD:
		return try_open(AT_FDCWD, "/etc/passwd", O_RDONLY);
	case TRY_KEYS:
		return try_open(AT_FDCWD, o->keys, O_RDONLY);
	case TRY_OWN_FOLDER:
		return try_open(station_folder(st, 0), "try", O_WRONLY | O_CREAT);
	case TRY_KILL:
		return code_of(kill(o->node_pid, 0));
	case TRY_SIGNAL_NODE:
		return code_of(syscall(SYS_tgkill, o->node_pid, o->node_pid, 0));
	case TRY_PTRACE:
		return code_of(ptrace(PTRACE_ATTACH, o->node_pid, 0, 0));
	case TRY_SOCKET:
		return try_socket(AF_INET, SOCK_STREAM);
	case TRY_PACKET_SOCKET:
		return try_socket(AF_PACKET, SOCK_RAW);
	case TRY_HOST_PORT:
		return try_host_port(o->port);
	case TRY_MOUNT:
		return code_of(mount("none", "/", "tmpfs", 0, NULL));
	case TRY_USER_NS:
		return code_of(unshare(CLONE_NEWUSER));
	case TRY_SETUID:
		return code_of(syscall(SYS_setuid, 0));
	case TRY_CODE:
		return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0) == MAP_FAILED
			       ? errno
			       : 0;
	case TRY_REBOOT:
		return code_of(syscall(SYS_reboot, 0, 0, 0, NULL));
	case TRY_MODULE:
		return code_of(syscall(SYS_init_module, NULL, 0UL, ""));
	case TRY_FILES:
		return try_files();
	}
	return 255;
}

static void
inside_layout(const struct leash_welcome *welcome, struct ring_layout *layout)
{
	(void)welcome;
	layout->metric_series = 4;
}

static int
inside_start(struct station *st, struct err *err)
{
	size_t bytes;
	const struct order *o = station_config(st, &bytes);

	(void)err;
	if (bytes != sizeof(*o))
		_exit(254);
	if (o->attempt != TRY_STAY)
		_exit(try(st, o));
	return 0;
}

static struct station_role inside = {.layout = inside_layout, .start = inside_start};

/* ---- outside ---- */

static uv_loop_t loop;
static struct instance inst;
static struct config config;
static struct listeners listeners;
static struct unit_env env;
static struct order order;
static int host_listener = -1;
static bool is_ready, has_ended;

static void
on_spawned(void *arg, struct unit *u)
{
	(void)arg;
	(void)u;
}

static void
on_ready(void *arg, struct unit *u)
{
	(void)arg;
	(void)u;
	is_ready = true;
}

static void
on_ended(void *arg, struct unit *u)
{
	(void)arg;
	(void)u;
	has_ended = true;
}

static void
hub_ready(void *arg, struct hub_member *m, uint64_t abi)
{
	(void)arg;
	unit_ready(hub_owner(m), abi);
}

static void
hub_broken(void *arg, struct hub_member *m, const char *why)
{
	(void)arg;
	(void)m;
	(void)why;
}

static void
hub_asked(void *arg, struct hub_member *m, const struct leash_message *message, int *fds,
	  size_t count)
{
	(void)arg;
	(void)m;
	(void)message;
	(void)fds;
	(void)count;
}

static void
hub_stirred(void *arg, struct ring_reader *scheduler)
{
	(void)arg;
	(void)scheduler;
}

static const struct hub_events hub_events = {hub_ready, hub_broken, hub_asked, hub_stirred};

static void
listen_on_host(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);

	host_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(host_listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(host_listener, 128), 0);
	assert_int_equal(getsockname(host_listener, (struct sockaddr *)&at, &length), 0);
	order.port = ntohs(at.sin_port);
}

static int
set_up(void **state)
{
	static char folder[] = "/tmp/zlayer-confine-XXXXXX";
	struct err err = {0};
	char name[32];

	(void)state;
	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = STDERR_FILENO});
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chmod(folder, 0755), 0);
	text_format(name, sizeof(name), "confine-%d", (int)getpid());
	uv_loop_init(&loop);
	if (instance_open(name, folder, 790000, NULL, &inst, &err) < 0)
		fail_msg("%s: %s", err.what, err.whys ? err.why[0] : "");
	config.logs.level = LOG_ERROR;
	listeners_init(&listeners, &inst, 1);
	env = (struct unit_env){
		.loop = &loop,
		.inst = &inst,
		.config = &config,
		.listeners = &listeners,
		.cgroup_procs = -1,
		.workers = 1,
		.spawned = on_spawned,
		.ready = on_ready,
		.ended = on_ended,
	};
	assert_int_equal(fabric_open(inst.run_fd, &env.fabric, &err), 0);
	assert_int_equal(publish_new(1, &env.own, &err), 0);
	env.hub = hub_new(&loop, env.own, 1, &hub_events, NULL);
	order.node_pid = getpid();
	text_format(order.keys, sizeof(order.keys), "%s/secrets/seal.key", folder);
	close(open(order.keys, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	listen_on_host();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hub_free(env.hub);
	ring_writer_free(env.own);
	unit_env_fini(&env);
	close(env.fabric);
	close(host_listener);
	assert_int_equal(fabric_remove(inst.run_fd), 0);
	char data[INSTANCE_PATH];
	text_copy(data, sizeof(data), inst.data_path);
	instance_remove(&inst);
	return folder_remove(AT_FDCWD, data);
}

static struct unit *
start(const struct roles_entry *role, enum attempt attempt)
{
	struct err err = {0};
	struct unit *u = unit_new(&env, role, role->many ? 5 : 0, 0);

	order.attempt = attempt;
	env.config_fd = fd_memfd_sealed("order", &order, sizeof(order));
	is_ready = has_ended = false;
	if (unit_spawn(u, &err) < 0)
		fail_msg("%s: %s: %s", role_name(role->role), err.what, err.whys ? err.why[0] : "");
	fd_close(&env.config_fd);
	return u;
}

enum { KILLED = 1000 };

/* What a try comes to: 0, an errno, or KILLED. */
static int
outcome(const struct roles_entry *role, enum attempt attempt)
{
	struct unit *u = start(role, attempt);
	int status = -1;

	while (!has_ended)
		uv_run(&loop, UV_RUN_ONCE);
	if (text_starts(u->exit_text, "ended by its system call filter"))
		status = KILLED;
	else if (sscanf(u->exit_text, "exited with status %d", &status) != 1)
		fail_msg("%s: %s", role_name(role->role), u->exit_text);
	unit_free(u);
	return status;
}

static void
expect(const struct roles_entry *role, enum attempt attempt, int wanted, const char *what)
{
	int got = outcome(role, attempt);

	if (got != wanted)
		fail_msg("%s: %s came to %d (%s), not %d", role_name(role->role), what, got,
			 strerror(got), wanted);
}

#define EACH(role)                                  \
	for (size_t i_ = 0; i_ < ROLES_COUNT; i_++) \
		for (const struct roles_entry *role = roles_at(i_); role; role = NULL)

static bool
host(const struct roles_entry *role)
{
	return role->filter & FILTER_HOST;
}

static void
test_processes(void **state)
{
	(void)state;
	EACH(role)
	{
		if (host(role))
			continue;
		expect(role, TRY_EXEC, KILLED, "exec");
		expect(role, TRY_FORK, KILLED, "fork");
		expect(role, TRY_KILL, KILLED, "kill");
		expect(role, TRY_SIGNAL_NODE, EPERM, "a signal to node");
		expect(role, TRY_PTRACE, KILLED, "ptrace");
		expect(role, TRY_SETUID, KILLED, "setuid");
		expect(role, TRY_CODE, KILLED, "executable memory");
	}
}

static void
test_files(void **state)
{
	(void)state;
	EACH(role)
	{
		bool writes = role->folders_count && role->folders[0].access & SANDBOX_WRITE;

		if (host(role))
			continue;
		expect(role, TRY_PASSWD, EACCES, "/etc/passwd");
		expect(role, TRY_KEYS, EACCES, "the sealing key");
		/* Plain files cannot be made in bpffs. */
		if (writes && role->folders[0].place == ROLES_DATA)
			expect(role, TRY_OWN_FOLDER, 0, "its own folder");
		else if (!role->folders_count)
			expect(role, TRY_OWN_FOLDER, EACCES, "a file");
	}
}

static void
test_network(void **state)
{
	(void)state;
	EACH(role)
	{
		bool client = role->filter & FILTER_CLIENT;

		if (host(role))
			continue;
		expect(role, TRY_SOCKET, client ? 0 : EACCES, "a socket");
		expect(role, TRY_PACKET_SOCKET, client ? KILLED : EACCES, "a raw socket");
		if (client)
			expect(role, TRY_HOST_PORT, role->netns == ROLES_HOST ? 0 : ECONNREFUSED,
			       "a port of the host");
	}
}

static void
test_machine(void **state)
{
	(void)state;
	EACH(role)
	{
		int wanted = host(role) ? EPERM : KILLED;

		expect(role, TRY_REBOOT, wanted, "reboot");
		expect(role, TRY_MODULE, wanted, "a module");
		if (host(role))
			continue;
		expect(role, TRY_MOUNT, KILLED, "mount");
		expect(role, TRY_USER_NS, KILLED, "a user namespace");
		expect(role, TRY_FILES, EMFILE, "too many descriptors");
	}
}

/* ---- what the kernel says of a process that stays ---- */

static uint64_t
status_of(pid_t pid, const char *field, int base)
{
	char path[64], line[256], name[32];
	uint64_t value = UINT64_MAX;

	text_format(path, sizeof(path), "/proc/%d/status", (int)pid);
	text_format(name, sizeof(name), "%s:", field);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (text_starts(line, name))
			value = strtoull(line + strlen(name), NULL, base);
	fclose(f);
	return value;
}

static ino_t
netns_of(const char *who)
{
	char path[64];
	struct stat sb;

	text_format(path, sizeof(path), "/proc/%s/ns/net", who);
	assert_int_equal(stat(path, &sb), 0);
	return sb.st_ino;
}

static void
look_at(const struct roles_entry *role, const struct unit *u)
{
	struct stat fabric, folder;
	char pid[16], path[64];
	uint64_t caps = role->user_ns ? role->caps : role->caps & sandbox_caps();
	uid_t uid = roles_uid(role, u->index, inst.uid_base);

	text_format(pid, sizeof(pid), "%d", (int)u->pid);
	assert_int_equal(status_of(u->pid, "Uid", 10), uid);
	assert_int_equal(status_of(u->pid, "Gid", 10), uid);
	assert_int_equal(status_of(u->pid, "CapEff", 16), caps);
	assert_int_equal(status_of(u->pid, "CapPrm", 16), caps);
	assert_int_equal(status_of(u->pid, "CapBnd", 16), caps);
	assert_int_equal(status_of(u->pid, "CapInh", 16), 0);
	assert_int_equal(status_of(u->pid, "NoNewPrivs", 10), role->new_privs ? 0 : 1);
	assert_int_equal(status_of(u->pid, "Seccomp", 10), 2);
	assert_int_equal(status_of(u->pid, "Groups", 10), 0);
	/* Not dumpable: its files in /proc belong to root. */
	text_format(path, sizeof(path), "/proc/%s/fd", pid);
	assert_int_equal(stat(path, &folder), 0);
	assert_int_equal(folder.st_uid, 0);
	assert_int_equal(fstat(env.fabric, &fabric), 0);
	if (role->netns == ROLES_FABRIC)
		assert_int_equal(netns_of(pid), fabric.st_ino);
	else if (role->netns == ROLES_HOST)
		assert_int_equal(netns_of(pid), netns_of("self"));
	else
		assert_true(netns_of(pid) != fabric.st_ino && netns_of(pid) != netns_of("self"));
}

static void
test_what_the_kernel_says(void **state)
{
	(void)state;
	EACH(role)
	{
		struct unit *u = start(role, TRY_STAY);

		while (!is_ready && !has_ended)
			uv_run(&loop, UV_RUN_ONCE);
		if (has_ended)
			fail_msg("%s: %s", role_name(role->role), u->exit_text);
		look_at(role, u);
		unit_stop(u, 1000);
		while (!has_ended)
			uv_run(&loop, UV_RUN_ONCE);
		if (!text_equal(u->exit_text, "exited with status 0"))
			fail_msg("%s: %s", role_name(role->role), u->exit_text);
		unit_free(u);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_the_kernel_says),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_machine),
	};
	struct err err = {0};

	if (argc == 4 && strcmp(argv[1], "role") == 0) {
		inside.role = (uint16_t)role_of_name(argv[2]);
		_exit(station_main(&inside, LEASH_FD, NULL));
	}
	if (instance_privileged(&err) < 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN); /* as node: a process that ends may leave words unread */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
