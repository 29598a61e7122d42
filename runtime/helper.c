/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of api are answered as soon as the helper runs: what happens then, and how it ended,
 * goes over the stream. Words of a command come in a sealed memfd, so that they cannot change while
 * they are read.
 */
#include "runtime/helper.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "ring/words.h"
#include "runtime/container_process.h"
#include "runtime/launch.h"

enum { ARENA_BYTES = 8 << 20 };

static int
fill_exec(struct container *c, const struct helper_command *command, struct launch *l,
	  struct arena *a, struct err *err)
{
	if (container_process(c, l, a, err) < 0)
		return -1;
	l->verb = LAUNCH_EXEC;
	l->argv = (struct launch_list){.items = (char **)(uintptr_t)command->argv,
				       .count = command->argc};
	if (command->user != NULL && command->user[0] != '\0')
		l->user = arena_strdup(a, command->user);
	if (command->workdir != NULL && command->workdir[0] != '\0')
		l->workdir = arena_strdup(a, command->workdir);
	l->tty = command->tty;
	l->rows = command->rows > 65535 ? 0 : command->rows;
	l->columns = command->columns > 65535 ? 0 : command->columns;
	l->kill_on_close = command->kill_on_close;
	if (command->tty) {
		char **env = arena_array(a, l->env.count + 2, sizeof(*env));
		if (env != NULL) {
			memcpy(env, l->env.items, l->env.count * sizeof(*env));
			env[l->env.count] = arena_strdup(a, "TERM=xterm-256color");
			l->env = (struct launch_list){.items = env, .count = l->env.count + 1};
		}
	}
	const struct seccomp_profile *own = &c->host->own[SECCOMP_PROFILE_EXEC];
	l->monitor_filter = (struct launch_filter){.items = own->items, .count = own->count};
	return arena_ok(a) ? 0 : err_set(err, ERR_NO_MEMORY, "no memory to run a command");
}

static int
start_exec(struct container *c, struct launch *l, int stream, struct arena *a, struct err *err)
{
	struct cgroups_fds groups;
	struct spawn_fds *fds = arena_new(a, struct spawn_fds);
	int32_t *numbers = arena_array(a, CGROUPS_TREES_MAX, sizeof(*numbers));
	if (fds == NULL || numbers == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to run a command");
	if (cgroups_procs_open(c->host->groups, c->replica, &groups, err) < 0)
		return -1;
	spawn_fds_init(fds);
	for (size_t i = 0; i < groups.procs_count; i++)
		numbers[i] = spawn_fds_add(fds, groups.procs[i]);
	l->cgroup_procs = (struct launch_fds){.items = numbers, .count = groups.procs_count};
	l->pidfd = spawn_fds_add(fds, c->pidfd);
	l->stream_fd = spawn_fds_add(fds, stream);
	int done = spawn_start(&c->host->spawn, l, fds, NULL, NULL, err);
	cgroups_fds_close(&groups);
	return done;
}

int
helper_exec(struct container *c, const struct helper_command *command, int stream, struct err *err)
{
	struct arena arena;
	struct launch launch;
	int done = -1;
	if (c->pidfd < 0 || c->plan == NULL || c->image == NULL) {
		err_set(err, ERR_CONFLICT, "the container does not run");
		return err_why(err, "a command needs the namespaces of a process that runs");
	}
	arena_init(&arena, MEM_RUNTIME, ARENA_BYTES);
	launch_init(&launch);
	if (fill_exec(c, command, &launch, &arena, err) == 0)
		done = start_exec(c, &launch, stream, &arena, err);
	arena_fini(&arena);
	return done;
}

/* ---- requests ---- */

static int
find_container(struct container_host *host, uint64_t replica, struct container **out,
	       struct err *err)
{
	*out = container_find(host, replica);
	if (*out == NULL)
		return err_set(err, ERR_NOT_FOUND, "the replica is not on this node");
	return 0;
}

static int
serve_exec(struct container_host *host, const struct msg_exec *op, int *fds, size_t count,
	   struct err *err)
{
	struct container *c;
	struct words words;
	int done;

	if (count != 2 || !MSG_OK(op->user) || !MSG_OK(op->workdir))
		return err_set(err, ERR_INVALID, "a request to run a command is malformed");
	if (find_container(host, op->replica, &c, err) < 0)
		return -1;
	words_init(&words, MEM_RUNTIME);
	if (words_read(&words, fds[1], err) < 0) {
		done = -1;
	} else if (words.count != op->argc || words.count == 0 || !words.items[0][0]) {
		done = err_set(err, ERR_INVALID, "the words of a command are damaged");
	} else {
		struct helper_command command = {
			.argv = words.items,
			.argc = words.count,
			.user = op->user,
			.workdir = op->workdir,
			.tty = op->tty != 0,
			.rows = op->rows,
			.columns = op->columns,
		};
		done = helper_exec(c, &command, fds[0], err);
	}
	words_fini(&words);
	return done;
}

static int
open_log(struct container_host *host, const struct container *c, struct err *err)
{
	const struct plan *p = c->plan;
	if (p != NULL)
		return place_log(&host->place, p->deployment, p->service_name, p->index, c->replica,
				 err);
	return place_log(&host->place, c->claim.deployment_name, c->claim.service_name,
			 c->claim.index, c->replica, err);
}

static int
serve_logs(struct container_host *host, const struct msg_logs *op, int *fds, size_t count,
	   struct err *err)
{
	struct container *c;
	struct launch l;
	const struct seccomp_profile *own = &host->own[SECCOMP_PROFILE_LOGS];
	if (count != 1)
		return err_set(err, ERR_INVALID, "a request to read a log is malformed");
	if (find_container(host, op->replica, &c, err) < 0)
		return -1;
	defer_close int log = open_log(host, c, err);
	if (log < 0)
		return -1;
	struct spawn_fds *passed = mem_zalloc(MEM_RUNTIME, sizeof(*passed));
	if (passed == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a log");
	launch_init(&l);
	spawn_fds_init(passed);
	l.verb = LAUNCH_LOGS;
	l.replica = op->replica;
	l.attempt = op->attempt;
	l.since_wall_ns = op->since_wall_ns;
	l.until_wall_ns = op->until_wall_ns;
	l.tail = op->tail;
	l.follow = op->follow != 0;
	l.log_fd = spawn_fds_add(passed, log);
	l.stream_fd = spawn_fds_add(passed, fds[0]);
	l.monitor_filter = (struct launch_filter){.items = own->items, .count = own->count};
	int done = spawn_start(&host->spawn, &l, passed, NULL, NULL, err);
	mem_free(passed);
	return done;
}

bool
helper_request(struct container_host *host, const struct station_request *request, const void *body,
	       size_t bytes, int *fds, size_t count)
{
	struct err err = {0};
	struct msg_exec exec;
	struct msg_logs logs;
	int done;
	switch (request->op) {
	case MSG_OP_EXEC:
		if (bytes != sizeof(exec)) {
			done = err_set(&err, ERR_INVALID,
				       "a request to run a command is malformed");
			break;
		}
		memcpy(&exec, body, sizeof(exec));
		done = serve_exec(host, &exec, fds, count, &err);
		break;
	case MSG_OP_LOGS:
		if (bytes != sizeof(logs)) {
			done = err_set(&err, ERR_INVALID, "a request to read a log is malformed");
			break;
		}
		memcpy(&logs, body, sizeof(logs));
		done = serve_logs(host, &logs, fds, count, &err);
		break;
	default:
		return false;
	}
	if (done < 0)
		station_answer_err(host->st, request, &err);
	else
		station_answer(host->st, request, NULL, 0, NULL, 0);
	return true;
}
