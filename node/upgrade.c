/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of node across execve. The memfd's number travels in the environment; descriptors keep
 * their numbers, and only those that are listed lose close-on-exec for the moment of the call.
 */
#include "node/upgrade.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#define VARIABLE "ZLAYER_UPGRADE"
#define V1_BYTES                  \
	(sizeof(struct upgrade) - \
	 (UPGRADE_SOCKETS_MAX - UPGRADE_SOCKETS_V1) * sizeof(struct upgrade_socket))

static char program[PATH_MAX];

void
upgrade_remember(void)
{
	static const char deleted[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	program[n > 0 ? n : 0] = '\0';
	if (text_ends(program, deleted))
		program[strlen(program) - strlen(deleted)] = '\0';
}

static void
fill_unit(struct upgrade *up, const struct unit *u)
{
	if (up->units_count == UPGRADE_UNITS_MAX || u->pid == 0)
		return;
	up->units[up->units_count++] = (struct upgrade_unit){
		.role = (uint16_t)u->role->role,
		.index = u->index,
		.worker = u->worker,
		.state = (uint16_t)u->state,
		.generation = u->generation,
		.restarts = u->restarts,
		.landlock_abi = u->landlock_abi,
		.pid = (uint32_t)u->pid,
		.pidfd = u->pidfd,
		.leash = hub_leash_fd(u->member),
		.segment = hub_segment_fd(u->member),
		.conn = u->conn,
		.started_wall_ns = u->started_wall_ns,
	};
}

static void
fill_sockets(struct upgrade *up, const struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++) {
		for (unsigned w = 0; w < l->items[i].sockets; w++) {
			struct upgrade_socket *s = &up->sockets[up->sockets_count];

			if (l->items[i].fds[w] < 0 || up->sockets_count == UPGRADE_SOCKETS_MAX)
				continue;
			text_copy(s->name, sizeof(s->name), l->items[i].name);
			s->fd = l->items[i].fds[w];
			up->sockets_count++;
		}
	}
}

void
upgrade_fill(struct upgrade *up, const struct instance *inst, const struct unit_env *env,
	     struct list *units)
{
	struct list *it, *tmp;

	memset(up, 0, sizeof(*up));
	up->magic = UPGRADE_MAGIC;
	up->version = UPGRADE_VERSION;
	up->bytes = sizeof(*up);
	up->data_lock = inst->data_lock;
	up->run_lock = inst->run_lock;
	up->slot_lock = inst->slot_lock;
	up->slot = inst->slot;
	up->uid_base = inst->uid_base;
	up->tickets = hub_tickets_fd(env->hub);
	up->generation_next = env->generation_next;
	up->generation_end = env->generation_end;
	list_each (it, tmp, units) {
		fill_unit(up, container_of(it, struct unit, link));
	}
	fill_sockets(up, env->listeners);
}

static void
each_fd(const struct upgrade *up, bool cloexec)
{
	const int32_t own[] = {up->data_lock, up->run_lock, up->slot_lock, up->tickets};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i] >= 0)
			fd_cloexec(own[i], cloexec);
	for (uint32_t i = 0; i < up->sockets_count; i++)
		fd_cloexec(up->sockets[i].fd, cloexec);
	for (uint32_t i = 0; i < up->units_count; i++) {
		const int32_t fds[] = {up->units[i].pidfd, up->units[i].leash, up->units[i].segment,
				       up->units[i].conn};

		for (size_t k = 0; k < sizeof(fds) / sizeof(fds[0]); k++)
			if (fds[k] >= 0)
				fd_cloexec(fds[k], cloexec);
	}
}

static void
run(struct upgrade *up, int state, char **words)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	each_fd(up, false);
	fd_cloexec(state, false);
	execv(program, words);
	int code = errno;
	each_fd(up, true);
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = code;
}

int
upgrade_exec(struct upgrade *up, int argc, char **argv, struct err *err)
{
	static char name[] = "zlayer";
	char number[16];
	defer_close int state = fd_memfd_sealed("upgrade", up, sizeof(*up));
	char **words = mem_array(MEM_NODE, (size_t)argc + 2, sizeof(*words));

	if (state < 0 || !words) {
		mem_free(words);
		return err_sys(err, words ? errno : ENOMEM, "cannot keep the state of node");
	}
	words[0] = name;
	memcpy(words + 1, argv, (size_t)argc * sizeof(*argv));
	text_format(number, sizeof(number), "%d", state);
	int rc = setenv(VARIABLE, number, 1);
	if (rc == 0)
		run(up, state, words);
	int code = errno;
	mem_free(words);
	unsetenv(VARIABLE);
	return err_sys(err, code, "cannot run %s", program);
}

static bool
open_fd(int fd)
{
	struct stat sb;

	return fd > STDERR_FILENO && fstat(fd, &sb) == 0;
}

/* Of this version, or of the one before, which had fewer places at its end. */
static bool
size_holds(const struct upgrade *up)
{
	size_t sockets = up->version == 1 ? UPGRADE_SOCKETS_V1 : UPGRADE_SOCKETS_MAX;

	return up->magic == UPGRADE_MAGIC && (up->version == 1 || up->version == UPGRADE_VERSION) &&
	       up->bytes == V1_BYTES + (sockets - UPGRADE_SOCKETS_V1) * sizeof(up->sockets[0]) &&
	       up->sockets_count <= sockets;
}

static bool
holds(struct upgrade *up)
{
	if (!size_holds(up) || up->units_count > UPGRADE_UNITS_MAX || !open_fd(up->data_lock) ||
	    !open_fd(up->run_lock) || !open_fd(up->slot_lock))
		return false;
	for (uint32_t i = 0; i < up->units_count; i++)
		if (!roles_get(up->units[i].role) || up->units[i].index >= ROLE_PROXIES_MAX ||
		    !open_fd(up->units[i].pidfd))
			return false;
	for (uint32_t i = 0; i < up->sockets_count; i++)
		if (!open_fd(up->sockets[i].fd) ||
		    !msg_text_ok(up->sockets[i].name, sizeof(up->sockets[i].name)))
			return false;
	return true;
}

/* What the other program left open for us: of no use, and while the locks are open nobody gets
 * them, while the leashes are the roles stay. Our own descriptors are closed at exec. */
static void
let_go(void)
{
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return;
	for (struct dirent *e; (e = readdir(dir));) {
		uint64_t fd;

		if (!text_u64(e->d_name, INT32_MAX, &fd) || fd <= STDERR_FILENO)
			continue;
		int flags = fcntl((int)fd, F_GETFD);
		if (flags >= 0 && !(flags & FD_CLOEXEC))
			close((int)fd);
	}
	closedir(dir);
}

static bool
is_state(int fd)
{
	uint32_t magic = 0;

	return fd_is_sealed(fd) && pread(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	       magic == UPGRADE_MAGIC;
}

bool
upgrade_take(struct upgrade *up)
{
	const char *number = getenv(VARIABLE);
	uint64_t fd = 0;

	if (!number || !text_u64(number, INT32_MAX, &fd)) {
		unsetenv(VARIABLE);
		return false;
	}
	defer_close int state = (int)fd;
	unsetenv(VARIABLE);
	if (!is_state(state)) {
		(void)fd_take(&state); /* not ours to close */
		return false;
	}
	ssize_t n = pread(state, up, sizeof(*up), 0);
	if (n < (ssize_t)V1_BYTES || (uint64_t)n != up->bytes || !holds(up)) {
		log_event(LOG_WARN,
			  "the program before this one is of another kind: "
			  "all processes are started again",
			  LOG_END);
		(void)fd_take(&state);
		let_go();
		return false;
	}
	each_fd(up, true);
	return true;
}
