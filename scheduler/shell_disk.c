/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of cores: written in libuv's pool, one job after the other, so that a slow disk stands in
 * nobody's way. An action that must not happen before a write is durable is kept until then, and
 * thrown away if the write failed.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/shell_inside.h"

enum { FILE_MODE = 0600 };

struct job {
	struct list link;
	struct shell_core_state *core;
	const char *name;
	bool append;
	uint64_t token;
	struct err err;
	bool failed;
	size_t bytes;
	uint8_t data[];
};

struct held {
	struct list link;
	struct step_action action;
	uint8_t data[];
};

static void start_next(struct shell *s);

/* ---- in the pool ---- */

static int
append(int folder, const struct job *j, struct err *err)
{
	defer_close int fd = fd_open_beneath(folder, j->name, O_WRONLY | O_APPEND, 0);
	bool fresh = false;

	if (fd < 0 && errno == ENOENT) {
		fresh = true;
		fd = fd_open_beneath(folder, j->name, O_WRONLY | O_APPEND | O_CREAT, FILE_MODE);
	}
	if (fd < 0)
		return err_sys(err, errno, "cannot open %s", j->name);
	if (fd_write_all(fd, j->data, j->bytes, err) < 0)
		return -1;
	if (fdatasync(fd) < 0 || (fresh && fsync(folder) < 0))
		return err_sys(err, errno, "cannot keep %s", j->name);
	return 0;
}

static struct job *
first_job(struct shell *s)
{
	for (size_t i = 0; i < s->cores_count; i++)
		if (!list_empty(&s->cores[i]->jobs))
			return container_of(s->cores[i]->jobs.next, struct job, link);
	return NULL;
}

static void
work(uv_work_t *work)
{
	struct job *j = work->data;
	int folder = j->core->shell->config.folder;

	j->failed = (j->append ? append(folder, j, &j->err)
			       : fd_replace(folder, j->name, j->data, j->bytes, FILE_MODE,
					    &j->err)) < 0;
}

/* ---- on the loop ---- */

static void
let_held_go(struct shell_core_state *c, uint64_t token, bool good)
{
	struct list *l = c->held.next;

	while (l != &c->held) {
		struct held *h = container_of(l, struct held, link);

		l = l->next;
		if (h->action.after != token)
			continue;
		list_remove(&h->link);
		if (good)
			shell_carry_out(c, &h->action, h->data);
		mem_free(h);
	}
}

static void
done(uv_work_t *work, int status)
{
	struct job *j = work->data;
	struct shell_core_state *c = j->core;
	struct shell *s = c->shell;
	struct step_input in = {.kind = STEP_DISK_DONE, .token = j->token};

	(void)status;
	s->working = false;
	if (s->freed) {
		shell_let_go(s);
		return;
	}
	if (j->failed) {
		in.status = (int16_t)j->err.kind;
		log_err(LOG_ERROR, "what this node must remember could not be kept", &j->err);
	}
	list_remove(&j->link);
	let_held_go(c, j->token, !j->failed);
	mem_free(j);
	shell_step(c, &in);
	start_next(s);
}

static void
start_next(struct shell *s)
{
	struct job *j = s->working ? NULL : first_job(s);

	if (!j)
		return;
	s->work.data = j;
	int rc = uv_queue_work(s->config.loop, &s->work, work, done);
	assert(rc == 0); /* it has no way to fail with a callback given */
	s->working = true;
}

/* There is no memory for the write: it has failed, which is told in the loop's next turn. */
static void
lose(struct shell_core_state *c, uint64_t token)
{
	c->lost[c->lost_count % SHELL_LOST_MAX] = token;
	c->lost_count++;
	uv_timer_start(&c->shell->soon, c->shell->soon.timer_cb, 0, 0);
}

static bool
is_lost(const struct shell_core_state *c, uint64_t token)
{
	for (size_t i = 0; i < c->lost_count && i < SHELL_LOST_MAX; i++)
		if (c->lost[i] == token)
			return true;
	return false;
}

void
shell_disk_soon(struct shell *s)
{
	for (size_t i = 0; i < s->cores_count; i++) {
		struct shell_core_state *c = s->cores[i];
		size_t count = c->lost_count < SHELL_LOST_MAX ? c->lost_count : SHELL_LOST_MAX;
		uint64_t tokens[SHELL_LOST_MAX];

		memcpy(tokens, c->lost, sizeof(tokens));
		c->lost_count = 0;
		for (size_t t = 0; t < count; t++)
			shell_step(c, &(struct step_input){.kind = STEP_DISK_DONE,
							   .token = tokens[t],
							   .status = ERR_NO_MEMORY});
	}
}

void
shell_disk_write(struct shell_core_state *c, const struct step_action *a, const void *data)
{
	assert(a->what < SHELL_FILES_MAX && c->calls.files[a->what] && a->token != 0);
	struct job *j = mem_alloc(MEM_SCHEDULER, sizeof(*j) + a->bytes);
	if (!j) {
		lose(c, a->token);
		return;
	}
	memset(j, 0, sizeof(*j));
	j->core = c;
	j->name = c->calls.files[a->what];
	j->append = a->kind == STEP_APPEND;
	j->token = a->token;
	j->bytes = a->bytes;
	memcpy(j->data, data, a->bytes);
	list_init(&j->link);
	list_push(&c->jobs, &j->link);
	start_next(c->shell);
}

static bool
is_under_way(struct shell_core_state *c, uint64_t token)
{
	for (struct list *l = c->jobs.next; l != &c->jobs; l = l->next)
		if (container_of(l, struct job, link)->token == token)
			return true;
	return false;
}

bool
shell_disk_holds(struct shell_core_state *c, const struct step_action *a, const void *data)
{
	if (is_lost(c, a->after))
		return true; /* never */
	if (!is_under_way(c, a->after))
		return false;
	struct held *h = mem_alloc(MEM_SCHEDULER, sizeof(*h) + a->bytes);
	if (!h) {
		log_event(LOG_WARN, "no memory for what waits for the disk", LOG_END);
		return true; /* lost, rather than too early */
	}
	h->action = *a;
	memcpy(h->data, data, a->bytes);
	list_init(&h->link);
	list_push(&c->held, &h->link);
	return true;
}

int
shell_disk_read(struct shell_core_state *c, struct err *err)
{
	for (uint16_t i = 0; i < SHELL_FILES_MAX; i++) {
		struct buf content;
		struct err missing = {0};

		if (!c->calls.files[i])
			continue;
		buf_init(&content, MEM_SCHEDULER, SHELL_FILE_MAX);
		if (fd_read_file(c->shell->config.folder, c->calls.files[i], &content, &missing) ==
		    0) {
			shell_step(c, &(struct step_input){.kind = STEP_FILE,
							   .what = i,
							   .data = content.data,
							   .bytes = content.length});
		} else if (missing.kind != ERR_NOT_FOUND) {
			buf_fini(&content);
			*err = missing;
			return -1;
		}
		buf_fini(&content);
	}
	return 0;
}

void
shell_disk_forget(struct shell_core_state *c)
{
	while (!list_empty(&c->jobs)) {
		struct job *j = container_of(c->jobs.next, struct job, link);

		list_remove(&j->link);
		mem_free(j);
	}
	while (!list_empty(&c->held)) {
		struct held *h = container_of(c->held.next, struct held, link);

		list_remove(&h->link);
		mem_free(h);
	}
}
