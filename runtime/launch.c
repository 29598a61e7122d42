/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launch description as bytes. Reader and writer of each part stand side by side, in the same
 * order; the reader is a cursor with a sticky failure and one check of meaning at the end. What the
 * bytes mean is the monitor's business: nothing here opens, resolves or trusts a path.
 */
#include "runtime/launch.h"

#include <assert.h>
#include <string.h>

void
launch_init(struct launch *launch)
{
	*launch = (struct launch){
		.netns_fd = -1,
		.cgroup_fd = -1,
		.oom_fd = -1,
		.kill_fd = -1,
		.control_fd = -1,
		.run_fd = -1,
		.record_fd = -1,
		.log_fd = -1,
		.pidfd = -1,
		.stream_fd = -1,
	};
}

/* ---- parts ---- */

static void
put_list(struct buf *b, const struct launch_list *list)
{
	buf_u32(b, (uint32_t)list->count);
	for (size_t i = 0; i < list->count; i++)
		buf_text(b, list->items[i]);
}

static size_t
get_count(struct cursor *c)
{
	uint32_t count = cursor_u32(c);
	/* Every item has at least four bytes: a count beyond that is a lie. */
	if (count > LAUNCH_LIST_MAX || count > cursor_left(c) / 4) {
		c->failed = true;
		return 0;
	}
	return count;
}

static char *
get_text(struct cursor *c, struct arena *a)
{
	char *text = cursor_text(c, LAUNCH_TEXT_MAX, a);
	if (text == NULL)
		c->failed = true;
	return text;
}

static void
get_list(struct cursor *c, struct arena *a, struct launch_list *out)
{
	size_t count = get_count(c);
	char **items = arena_array(a, count + 1, sizeof(*items));
	if (items == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		items[i] = get_text(c, a);
	*out = (struct launch_list){.items = items, .count = count};
}

static bool
get_bool(struct cursor *c)
{
	uint8_t v = cursor_u8(c);
	if (v > 1)
		c->failed = true;
	return v == 1;
}

static void
put_fd(struct buf *b, int32_t fd)
{
	buf_u32(b, (uint32_t)fd);
}

static int32_t
get_fd(struct cursor *c)
{
	int32_t fd = (int32_t)cursor_u32(c);
	if (fd != -1 && (fd < LAUNCH_FIRST_FD || fd >= LAUNCH_FDS_MAX))
		c->failed = true;
	return c->failed ? -1 : fd;
}

static void
put_fds(struct buf *b, const struct launch_fds *fds)
{
	buf_u32(b, (uint32_t)fds->count);
	for (size_t i = 0; i < fds->count; i++)
		put_fd(b, fds->items[i]);
}

static void
get_fds(struct cursor *c, struct arena *a, struct launch_fds *out)
{
	size_t count = get_count(c);
	int32_t *items = arena_array(a, count + 1, sizeof(*items));
	if (items == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		items[i] = get_fd(c);
	*out = (struct launch_fds){.items = items, .count = count};
}

static void
put_filter(struct buf *b, const struct launch_filter *filter)
{
	buf_u32(b, (uint32_t)filter->count);
	for (size_t i = 0; i < filter->count; i++) {
		buf_u16(b, filter->items[i].code);
		buf_u8(b, filter->items[i].jt);
		buf_u8(b, filter->items[i].jf);
		buf_u32(b, filter->items[i].k);
	}
}

static void
get_filter(struct cursor *c, struct arena *a, struct launch_filter *out)
{
	uint32_t count = cursor_u32(c);
	if (count > LAUNCH_FILTER_MAX || count > cursor_left(c) / 8) {
		c->failed = true;
		return;
	}
	struct sock_filter *items = arena_array(a, count + 1, sizeof(*items));
	if (items == NULL)
		return;
	for (uint32_t i = 0; i < count; i++) {
		items[i].code = cursor_u16(c);
		items[i].jt = cursor_u8(c);
		items[i].jf = cursor_u8(c);
		items[i].k = cursor_u32(c);
	}
	*out = (struct launch_filter){.items = items, .count = count};
}

static void
put_mounts(struct buf *b, const struct launch *l)
{
	buf_u32(b, (uint32_t)l->mounts_count);
	for (size_t i = 0; i < l->mounts_count; i++) {
		const struct launch_mount *m = &l->mounts[i];
		buf_u8(b, (uint8_t)m->kind);
		buf_text(b, m->target);
		put_fd(b, m->fd);
		buf_u8(b, m->directory);
		buf_u8(b, m->readonly);
		buf_u8(b, m->inherit);
		buf_u64(b, m->size_bytes);
		buf_u32(b, m->mode);
	}
}

static void
get_mounts(struct cursor *c, struct arena *a, struct launch *l)
{
	size_t count = get_count(c);
	l->mounts = arena_array(a, count + 1, sizeof(*l->mounts));
	if (l->mounts == NULL)
		return;
	l->mounts_count = count;
	for (size_t i = 0; i < count; i++) {
		struct launch_mount *m = &l->mounts[i];
		m->kind = (enum launch_mount_kind)cursor_u8(c);
		m->target = get_text(c, a);
		m->fd = get_fd(c);
		m->directory = get_bool(c);
		m->readonly = get_bool(c);
		m->inherit = get_bool(c);
		m->size_bytes = cursor_u64(c);
		m->mode = cursor_u32(c);
		bool tree = m->kind == LAUNCH_TREE && m->fd >= 0;
		bool tmpfs = m->kind == LAUNCH_TMPFS && m->fd < 0;
		if ((!tree && !tmpfs) || m->mode > 07777)
			c->failed = true;
	}
}

static void
put_devices(struct buf *b, const struct launch *l)
{
	buf_u32(b, (uint32_t)l->devices_count);
	for (size_t i = 0; i < l->devices_count; i++) {
		buf_text(b, l->devices[i].path);
		buf_u8(b, l->devices[i].block);
		buf_u32(b, l->devices[i].major);
		buf_u32(b, l->devices[i].minor);
		buf_u32(b, l->devices[i].mode);
	}
}

static void
get_devices(struct cursor *c, struct arena *a, struct launch *l)
{
	size_t count = get_count(c);
	l->devices = arena_array(a, count + 1, sizeof(*l->devices));
	if (l->devices == NULL)
		return;
	l->devices_count = count;
	for (size_t i = 0; i < count; i++) {
		l->devices[i].path = get_text(c, a);
		l->devices[i].block = get_bool(c);
		l->devices[i].major = cursor_u32(c);
		l->devices[i].minor = cursor_u32(c);
		l->devices[i].mode = cursor_u32(c);
		if (l->devices[i].mode > 07777)
			c->failed = true;
	}
}

static void
put_rlimits(struct buf *b, const struct launch *l)
{
	buf_u32(b, (uint32_t)l->rlimits_count);
	for (size_t i = 0; i < l->rlimits_count; i++) {
		buf_u32(b, l->rlimits[i].resource);
		buf_u8(b, l->rlimits[i].given);
		buf_u64(b, l->rlimits[i].soft);
		buf_u64(b, l->rlimits[i].hard);
	}
}

static void
get_rlimits(struct cursor *c, struct arena *a, struct launch *l)
{
	size_t count = get_count(c);
	l->rlimits = arena_array(a, count + 1, sizeof(*l->rlimits));
	if (l->rlimits == NULL)
		return;
	l->rlimits_count = count;
	for (size_t i = 0; i < count; i++) {
		l->rlimits[i].resource = cursor_u32(c);
		l->rlimits[i].given = get_bool(c);
		l->rlimits[i].soft = cursor_u64(c);
		l->rlimits[i].hard = cursor_u64(c);
		if (l->rlimits[i].resource >= 32 || l->rlimits[i].soft > l->rlimits[i].hard)
			c->failed = true;
	}
}

static void
put_sysctls(struct buf *b, const struct launch *l)
{
	buf_u32(b, (uint32_t)l->sysctls_count);
	for (size_t i = 0; i < l->sysctls_count; i++) {
		buf_text(b, l->sysctls[i].key);
		buf_text(b, l->sysctls[i].value);
	}
}

static void
get_sysctls(struct cursor *c, struct arena *a, struct launch *l)
{
	size_t count = get_count(c);
	l->sysctls = arena_array(a, count + 1, sizeof(*l->sysctls));
	if (l->sysctls == NULL)
		return;
	l->sysctls_count = count;
	for (size_t i = 0; i < count; i++) {
		l->sysctls[i].key = get_text(c, a);
		l->sysctls[i].value = get_text(c, a);
	}
}

/* ---- the whole ---- */

static void
put_process(struct buf *b, const struct launch *l)
{
	put_list(b, &l->argv);
	put_list(b, &l->env);
	buf_text(b, l->workdir);
	buf_text(b, l->user);
	buf_u64(b, l->caps);
	buf_u8(b, l->no_new_privs);
	buf_u8(b, l->privileged);
	put_filter(b, &l->filter);
	put_rlimits(b, l);
	buf_u8(b, l->oom_score_adj_given);
	buf_u32(b, (uint32_t)l->oom_score_adj);
	put_fds(b, &l->cgroup_procs);
}

static void
get_process(struct cursor *c, struct arena *a, struct launch *l)
{
	get_list(c, a, &l->argv);
	get_list(c, a, &l->env);
	l->workdir = get_text(c, a);
	l->user = get_text(c, a);
	l->caps = cursor_u64(c);
	l->no_new_privs = get_bool(c);
	l->privileged = get_bool(c);
	get_filter(c, a, &l->filter);
	get_rlimits(c, a, l);
	l->oom_score_adj_given = get_bool(c);
	l->oom_score_adj = (int32_t)cursor_u32(c);
	get_fds(c, a, &l->cgroup_procs);
}

static void
put_run(struct buf *b, const struct launch *l)
{
	buf_text(b, l->hostname);
	buf_text(b, l->stage);
	put_list(b, &l->layers);
	buf_text(b, l->upper);
	buf_text(b, l->work);
	buf_u8(b, l->read_only_root);
	put_mounts(b, l);
	put_devices(b, l);
	put_sysctls(b, l);
	put_list(b, &l->masked);
	put_list(b, &l->readonly);
	buf_u8(b, l->cgroup_v2_mount);
	put_list(b, &l->cgroup_v1_mounts);
	put_fd(b, l->netns_fd);
	put_fd(b, l->cgroup_fd);
	put_fd(b, l->oom_fd);
	put_fd(b, l->kill_fd);
	put_fd(b, l->control_fd);
	put_fd(b, l->run_fd);
	put_fd(b, l->record_fd);
	put_fd(b, l->log_fd);
	buf_u64(b, l->log_max_bytes);
	buf_u32(b, l->log_max_files);
}

static void
get_run(struct cursor *c, struct arena *a, struct launch *l)
{
	l->hostname = get_text(c, a);
	l->stage = get_text(c, a);
	get_list(c, a, &l->layers);
	l->upper = get_text(c, a);
	l->work = get_text(c, a);
	l->read_only_root = get_bool(c);
	get_mounts(c, a, l);
	get_devices(c, a, l);
	get_sysctls(c, a, l);
	get_list(c, a, &l->masked);
	get_list(c, a, &l->readonly);
	l->cgroup_v2_mount = get_bool(c);
	get_list(c, a, &l->cgroup_v1_mounts);
	l->netns_fd = get_fd(c);
	l->cgroup_fd = get_fd(c);
	l->oom_fd = get_fd(c);
	l->kill_fd = get_fd(c);
	l->control_fd = get_fd(c);
	l->run_fd = get_fd(c);
	l->record_fd = get_fd(c);
	l->log_fd = get_fd(c);
	l->log_max_bytes = cursor_u64(c);
	l->log_max_files = cursor_u32(c);
	if (l->netns_fd < 0 || l->control_fd < 0 || l->run_fd < 0 || l->record_fd < 0 ||
	    l->log_fd < 0 || l->layers.count == 0)
		c->failed = true;
}

static void
put_steps(struct buf *b, const struct launch *l)
{
	buf_u32(b, (uint32_t)l->steps_count);
	for (size_t i = 0; i < l->steps_count; i++) {
		const struct plan_step *s = &l->steps[i];
		struct launch_list command = {s->command.items, s->command.count};
		buf_text(b, s->id);
		buf_u8(b, (uint8_t)s->kind);
		put_list(b, &command);
		buf_text(b, s->host != NULL ? s->host : "");
		buf_u16(b, s->port);
		buf_text(b, s->path != NULL ? s->path : "");
		buf_u32(b, s->expect_status);
		buf_u32(b, s->retry);
		buf_u64(b, s->timeout_ms);
		buf_u8(b, (uint8_t)s->on_failure);
	}
}

static void
get_step(struct cursor *c, struct arena *a, struct plan_step *s)
{
	struct launch_list command = {0};
	s->id = get_text(c, a);
	s->kind = (enum plan_step_kind)cursor_u8(c);
	get_list(c, a, &command);
	s->command = (struct plan_list){.items = command.items, .count = command.count};
	s->host = get_text(c, a);
	s->port = cursor_u16(c);
	s->path = get_text(c, a);
	s->expect_status = cursor_u32(c);
	s->retry = cursor_u32(c);
	s->timeout_ms = cursor_u64(c);
	s->on_failure = (enum plan_step_failure)cursor_u8(c);
	if (s->kind < PLAN_STEP_TCP || s->kind > PLAN_STEP_RUN || s->on_failure < PLAN_STEP_FAIL ||
	    s->on_failure > PLAN_STEP_GO_ON || (s->kind == PLAN_STEP_RUN && s->command.count == 0))
		c->failed = true;
}

static void
get_steps(struct cursor *c, struct arena *a, struct launch *l)
{
	size_t count = get_count(c);
	l->steps = arena_array(a, count + 1, sizeof(*l->steps));
	if (l->steps == NULL || count == 0 || count > PLAN_STEPS_MAX) {
		c->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		get_step(c, a, &l->steps[i]);
	l->steps_count = count;
}

static void
put_exec(struct buf *b, const struct launch *l)
{
	put_fd(b, l->pidfd);
	put_fd(b, l->stream_fd);
	buf_u8(b, l->tty);
	buf_u32(b, l->rows);
	buf_u32(b, l->columns);
	buf_u8(b, l->kill_on_close);
}

static void
get_exec(struct cursor *c, struct launch *l)
{
	l->pidfd = get_fd(c);
	l->stream_fd = get_fd(c);
	l->tty = get_bool(c);
	l->rows = cursor_u32(c);
	l->columns = cursor_u32(c);
	l->kill_on_close = get_bool(c);
	if (l->pidfd < 0 || l->stream_fd < 0 || l->rows > 65535 || l->columns > 65535)
		c->failed = true;
}

static void
put_logs(struct buf *b, const struct launch *l)
{
	put_fd(b, l->log_fd);
	put_fd(b, l->stream_fd);
	buf_u64(b, (uint64_t)l->since_wall_ns);
	buf_u64(b, (uint64_t)l->until_wall_ns);
	buf_u32(b, l->tail);
	buf_u8(b, l->follow);
}

static void
get_logs(struct cursor *c, struct launch *l)
{
	l->log_fd = get_fd(c);
	l->stream_fd = get_fd(c);
	l->since_wall_ns = (int64_t)cursor_u64(c);
	l->until_wall_ns = (int64_t)cursor_u64(c);
	l->tail = cursor_u32(c);
	l->follow = get_bool(c);
	if (l->log_fd < 0 || l->stream_fd < 0)
		c->failed = true;
}

static void
get_verb(struct cursor *c, struct arena *a, struct launch *l)
{
	switch (l->verb) {
	case LAUNCH_RUN:
		get_process(c, a, l);
		get_run(c, a, l);
		break;
	case LAUNCH_EXEC:
		get_process(c, a, l);
		get_exec(c, l);
		break;
	case LAUNCH_LOGS:
		get_logs(c, l);
		return;
	default:
		c->failed = true;
		return;
	}
	if (l->argv.count == 0 || l->argv.items[0] == NULL || l->argv.items[0][0] == '\0')
		c->failed = true;
}

void
launch_encode(const struct launch *l, struct buf *out)
{
	bool steps = l->verb == LAUNCH_RUN && l->steps_count > 0;
	buf_u32(out, LAUNCH_MAGIC);
	bool hold = l->verb == LAUNCH_RUN && l->hold;
	bool leased = l->verb == LAUNCH_RUN && l->lease_until_ns;
	assert(!hold || !steps);
	buf_u32(out, leased ? LAUNCH_VERSION : hold ? 3 : steps ? 2 : 1);
	buf_u8(out, (uint8_t)l->verb);
	buf_u64(out, l->replica);
	buf_u32(out, l->attempt);
	put_filter(out, &l->monitor_filter);
	if (l->verb == LAUNCH_LOGS) {
		put_logs(out, l);
		return;
	}
	put_process(out, l);
	if (l->verb == LAUNCH_RUN)
		put_run(out, l);
	else
		put_exec(out, l);
	if (leased) {
		buf_u64(out, l->lease_until_ns);
		buf_u64(out, l->lease_epoch);
		buf_u8(out, hold ? 3 : steps ? 2 : 1);
	}
	if (steps)
		put_steps(out, l);
}

int
launch_decode(const void *data, size_t bytes, struct arena *arena, struct launch **out,
	      struct err *err)
{
	struct cursor c;
	struct launch *l = arena_new(arena, struct launch);
	if (l == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a launch description");
	launch_init(l);
	cursor_init(&c, data, bytes);
	uint32_t magic = cursor_u32(&c), version = cursor_u32(&c);
	if (magic != LAUNCH_MAGIC || version < 1 || version > LAUNCH_VERSION)
		return err_set(err, ERR_CORRUPT, "not a launch description of version %d",
			       LAUNCH_VERSION);
	l->verb = (enum launch_verb)cursor_u8(&c);
	l->replica = cursor_u64(&c);
	l->attempt = cursor_u32(&c);
	get_filter(&c, arena, &l->monitor_filter);
	get_verb(&c, arena, l);
	if (version == 4) {
		l->lease_until_ns = cursor_u64(&c);
		l->lease_epoch = cursor_u64(&c);
		version = cursor_u8(&c);
		if (l->verb != LAUNCH_RUN || !l->lease_until_ns || version < 1 || version > 3)
			c.failed = true;
	}
	if (version == 2)
		get_steps(&c, arena, l);
	l->hold = version == 3;
	if (l->hold && l->verb != LAUNCH_RUN)
		c.failed = true;
	if (!arena_ok(arena))
		return err_set(err, ERR_NO_MEMORY, "no memory to read a launch description");
	if (!cursor_done(&c))
		return err_set(err, ERR_CORRUPT, "a launch description is damaged");
	*out = l;
	return 0;
}
