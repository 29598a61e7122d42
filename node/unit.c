/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A role's process from node's side. The welcome is made from the table of roles (node/roles.c):
 * nothing that a process may do is decided anywhere else. At its end the order matters: what it
 * still said on its leash is heard, its counters are added to node's page and saved, then the
 * others learn that it is gone.
 */
#include "node/unit.h"

#include <assert.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/collect.h"
#include "node/filter.h"
#include "node/process.h"
#include "node/publish.h"
#include "node/retired.h"
#include "node/watch.h"

enum { SILENT_MAX_S = 10 };

_Static_assert(FILTER_INSTRUCTIONS_MAX ==
		       sizeof(((struct leash_welcome *)0)->filter) / sizeof(struct sock_filter),
	       "a filter fits a welcome");

void
unit_env_fini(struct unit_env *env)
{
	for (size_t i = 0; i < ROLES_; i++)
		mem_free(env->filters[i]);
}

struct unit *
unit_new(struct unit_env *env, const struct roles_entry *role, unsigned index, unsigned worker)
{
	struct unit *u = mem_zalloc(MEM_NODE, sizeof(*u));

	if (!u)
		return NULL;
	u->env = env;
	u->role = role;
	u->index = (uint16_t)index;
	u->worker = (uint16_t)worker;
	u->pidfd = -1;
	u->conn = -1;
	u->state = MSG_PROCESS_STARTING;
	list_init(&u->link);
	usage_component(role->role, index, u->component, sizeof(u->component));
	return u;
}

void
unit_free(struct unit *u)
{
	assert(!u->member && !u->watch);
	list_remove(&u->link);
	fd_close(&u->pidfd);
	fd_close(&u->conn);
	mem_free(u);
}

/* ---- the welcome ---- */

static int
put_filter(struct unit_env *env, const struct roles_entry *role, struct leash_welcome *w,
	   struct err *err)
{
	size_t count = env->filter_counts[role->role];

	if (!env->filters[role->role]) {
		if (filter_compile(role->filter, w->filter, &count, err) < 0)
			return -1;
		env->filters[role->role] =
			mem_dup(MEM_NODE, w->filter, count * sizeof(w->filter[0]));
		env->filter_counts[role->role] = count;
	}
	if (!env->filters[role->role])
		return err_set(err, ERR_NO_MEMORY, "no memory for a system call filter");
	memcpy(w->filter, env->filters[role->role], count * sizeof(w->filter[0]));
	w->filter_count = (uint32_t)count;
	return 0;
}

static void
put_rlimit(struct leash_welcome *w, int resource, uint64_t value)
{
	struct rlimit now;

	/* Never more than there is: raising needs CAP_SYS_RESOURCE. */
	if (getrlimit((__rlimit_resource_t)resource, &now) == 0 && now.rlim_max != RLIM_INFINITY &&
	    value > now.rlim_max)
		value = now.rlim_max;
	w->rlimits[w->rlimits_count].resource = resource;
	w->rlimits[w->rlimits_count].value = value;
	w->rlimits_count++;
}

static void
put_limits(const struct roles_entry *role, struct leash_welcome *w)
{
	put_rlimit(w, RLIMIT_NOFILE, role->files_max);
	put_rlimit(w, RLIMIT_CORE, 0);
	if (role->tasks_max)
		put_rlimit(w, RLIMIT_NPROC, role->tasks_max);
}

static int
put_folders(const struct unit *u, struct leash_welcome *w, int *fds)
{
	for (size_t i = 0; i < u->role->folders_count; i++) {
		int fd = instance_folder(u->env->inst, &u->role->folders[i]);

		/* Only what the machine may lack can be missing: role says what it cannot do. */
		if (fd < 0)
			continue;
		w->folder_access[w->folders] = u->role->folders[i].access;
		fds[w->folders++] = fd;
	}
	return (int)w->folders;
}

static int
make_welcome(struct unit *u, struct leash_welcome *w, struct err *err)
{
	const struct roles_entry *role = u->role;
	const struct config *config = u->env->config;

	w->abi = RING_ABI;
	w->role = (uint16_t)role->role;
	w->index = u->index;
	w->generation = u->generation;
	w->instances = role->many ? u->env->workers : 1;
	text_copy(w->instance, sizeof(w->instance), u->env->inst->name);
	publish_name(config, w->node, sizeof(w->node));
	w->uid = w->gid = roles_uid(role, u->index, u->env->inst->uid_base);
	w->keep_caps = role->user_ns ? role->caps : role->caps & sandbox_caps();
	w->landlock = role->landlock;
	w->allow_new_privs = role->new_privs;
	w->log_level = config->logs.level;
	w->log_format = config->logs.format;
	put_limits(role, w);
	return put_filter(u->env, role, w, err);
}

static int
send_welcome(struct unit *u, int leash, struct err *err)
{
	struct leash_message message;
	int fds[2 + LEASH_FOLDERS_MAX];
	int rc = -1;
	struct leash_welcome *w = mem_zalloc(MEM_NODE, sizeof(*w));

	if (!w)
		return err_set(err, ERR_NO_MEMORY, "no memory for a welcome");
	if (make_welcome(u, w, err) < 0) {
		mem_free(w);
		return -1;
	}
	int folders = put_folders(u, w, fds + 2);
	fds[0] = fd_memfd_sealed("welcome", w, sizeof(*w));
	fds[1] = u->env->config_fd;
	mem_free(w);
	leash_init(&message, LEASH_WELCOME);
	if (fds[0] < 0)
		(void)err_sys(err, errno, "cannot make a welcome");
	else if (leash_send(leash, &message, fds, 2 + (size_t)folders) < 0)
		(void)err_sys(err, errno, "cannot send a welcome");
	else
		rc = 0;
	fd_close(&fds[0]);
	for (int i = 0; i < folders; i++)
		fd_close(&fds[2 + i]);
	return rc;
}

/* ---- the end ---- */

static void
keep_counters(struct unit *u)
{
	struct err err = {0};
	struct metric_page *own = ring_writer_metrics(u->env->own);
	const struct ring_reader *reader = u->member ? hub_reader(u->member) : NULL;
	const struct metric_page *page = reader ? ring_reader_metrics(reader) : NULL;

	if (!page)
		return;
	retired_add(own, page);
	if (retired_save(u->env->inst->run_fd, own, &err) < 0)
		log_err(LOG_WARN, "the counters of an ended process were not saved", &err);
}

static void
let_go(struct unit *u)
{
	watch_free(u->watch);
	u->watch = NULL;
	keep_counters(u);
	if (u->member)
		hub_remove(u->member);
	u->member = NULL;
	fd_close(&u->pidfd);
	fd_close(&u->conn);
	if (u->role->outlives)
		collect_unlisten(u->env->inst, u->index);
}

static void
ended(void *arg, bool readable, bool writable)
{
	struct unit *u = arg;

	(void)readable;
	(void)writable;
	if (!process_reap(u->pidfd, u->exit_text, sizeof(u->exit_text)))
		return;
	let_go(u);
	u->pid = 0;
	u->up_ms = 0;
	usage_end(ring_writer_metrics(u->env->own), u->component);
	log_event(u->state == MSG_PROCESS_LEAVING ? LOG_INFO : LOG_WARN, "a process has ended",
		  log_s("process", u->component), log_s("how", u->exit_text),
		  log_s("reason", u->reason ? u->reason : ""), LOG_END);
	u->env->ended(u->env->arg, u);
}

/* ---- life ---- */

static int
next_generation(struct unit_env *env, uint32_t *out, struct err *err)
{
	enum { BLOCK = 256 };

	if (env->generation_next == env->generation_end) {
		if (instance_reserve(env->inst, BLOCK, &env->generation_next, err) < 0)
			return -1;
		env->generation_end = env->generation_next + BLOCK;
	}
	*out = env->generation_next++;
	return 0;
}

static int
attend(struct unit *u, int leash, struct err *err)
{
	u->member = hub_add(u->env->hub, u->role->role, u->index, u->generation, leash, u);
	if (u->member)
		u->watch = watch_new(u->env->loop, u->pidfd, ended, u);
	if (u->watch)
		return 0;
	if (u->member)
		hub_remove(u->member);
	u->member = NULL;
	return err_set(err, ERR_NO_MEMORY, "no memory to watch a process");
}

static int
spawn(struct unit *u, int leash, int theirs, struct err *err)
{
	struct process_spec spec = {
		.role = u->role,
		.index = u->index,
		.leash = theirs,
		.fabric = u->env->fabric,
		.cgroup_procs = u->env->cgroup_procs,
	};

	/* The welcome waits in the socket. */
	if (send_welcome(u, leash, err) < 0)
		return -1;
	return process_spawn(&spec, &u->pid, &u->pidfd, err);
}

int
unit_spawn(struct unit *u, struct err *err)
{
	int pair[2];

	u->state = MSG_PROCESS_STARTING;
	u->reason = NULL;
	u->failed = (struct msg_reason){0};
	u->silent = 0;
	u->beat = 0;
	if (next_generation(u->env, &u->generation, err) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "cannot make a leash");
	defer_close int ours = pair[0], theirs = pair[1];
	if (spawn(u, ours, theirs, err) < 0)
		return -1;
	if (attend(u, fd_take(&ours), err) < 0) {
		process_end(u->pid, &u->pidfd);
		u->pid = 0;
		return -1;
	}
	u->usage = (struct usage){.pid = u->pid};
	u->started_wall_ns = world_wall_ns();
	unit_publish(u);
	u->env->spawned(u->env->arg, u);
	return 0;
}

int
unit_adopt(struct unit *u, int pidfd, int leash, int segment, struct err *err)
{
	u->pidfd = pidfd;
	u->usage = (struct usage){.pid = u->pid};
	if (attend(u, leash, err) < 0) {
		fd_close(&segment);
		fd_close(&u->pidfd);
		return -1;
	}
	int rc = segment < 0 ? 0
		 : leash < 0 ? hub_segment(u->member, segment, err)
			     : hub_resume(u->member, segment, err);
	if (rc < 0) {
		watch_free(u->watch);
		u->watch = NULL;
		hub_remove(u->member);
		u->member = NULL;
		fd_close(&u->pidfd);
		return -1;
	}
	unit_publish(u);
	return 0;
}

void
unit_stop(struct unit *u, uint64_t grace_ms)
{
	struct leash_message message;

	u->state = MSG_PROCESS_LEAVING;
	leash_init(&message, LEASH_STOP);
	message.from_role = ROLE_NODE;
	message.a = grace_ms;
	if (u->conn >= 0)
		collect_drain(u->conn, grace_ms);
	else if (u->member)
		hub_send(u->member, &message, NULL, 0);
	unit_publish(u);
}

void
unit_kill(struct unit *u, const char *reason)
{
	if (!u->reason)
		u->reason = reason;
	if (u->pidfd >= 0)
		fd_pidfd_signal(u->pidfd, SIGKILL);
}

void
unit_ready(struct unit *u, uint64_t landlock_abi)
{
	if (u->state != MSG_PROCESS_STARTING)
		return;
	u->state = MSG_PROCESS_UP;
	u->landlock_abi = (uint32_t)landlock_abi;
	u->up_ms = uv_now(u->env->loop);
	usage_up(ring_writer_metrics(u->env->own), u->component, true);
	unit_publish(u);
	u->env->ready(u->env->arg, u);
}

void
unit_failed(struct unit *u, int fd)
{
	struct msg_reason said;
	struct err err = {0};
	struct stat st;

	if (!fd_is_sealed(fd) || fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(said) ||
	    pread(fd, &said, sizeof(said), 0) != (ssize_t)sizeof(said))
		return;
	/* Words of a process that may be anybody's: whatever they are, they are texts that end. */
	msg_reason_to(&said, &err);
	msg_reason_from(&err, &u->failed);
}

bool
unit_beats(struct unit *u)
{
	const struct ring_reader *reader = u->member ? hub_reader(u->member) : NULL;

	if (!reader)
		return true;
	uint64_t beat = ring_reader_heartbeat(reader);
	/* Counted in our own seconds: a machine that slept is no reason to kill anybody. */
	u->silent = beat == u->beat ? u->silent + 1 : 0;
	u->beat = beat;
	return u->silent < SILENT_MAX_S;
}

static void
send_listener(void *arg, const char *name, int fd, bool last)
{
	struct unit *u = arg;
	struct leash_message message;

	leash_init(&message, LEASH_LISTENER);
	message.from_role = ROLE_NODE;
	message.a = last;
	text_copy(message.name, sizeof(message.name), name);
	hub_send(u->member, &message, &fd, 1);
}

void
unit_send_listeners(struct unit *u, bool fresh)
{
	struct err err = {0};

	if (!u->member)
		return;
	if (u->role->outlives && !fresh) {
		defer_close int fd = collect_listen(u->env->inst, u->index, &err);
		if (fd >= 0)
			send_listener(u, "handover", fd, false);
		else
			log_err(LOG_WARN, "a proxy cannot be found after a crash of node", &err);
	}
	listeners_each(u->env->listeners, u->role->role, u->worker, fresh, send_listener, u);
}

void
unit_publish(const struct unit *u)
{
	struct msg_process row = {
		.role = (uint16_t)u->role->role,
		.index = u->index,
		.generation = u->generation,
		.state = u->state,
		.pid = (uint32_t)u->pid,
		.uid = roles_uid(u->role, u->index, u->env->inst->uid_base),
		.restarts = u->restarts,
		.landlock_abi = u->landlock_abi,
		.started_wall_ns = u->started_wall_ns,
	};

	text_copy(row.exit_text, sizeof(row.exit_text), u->exit_text);
	row.reason = u->failed;
	publish_process(u->env->own, &row);
	hub_kick(u->env->hub);
}

void
unit_unpublish(const struct unit *u)
{
	publish_process_gone(u->env->own, u->role->role, u->index);
	usage_up(ring_writer_metrics(u->env->own), u->component, false);
	hub_kick(u->env->hub);
}
