/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan's bytes. Encoder and decoder stand side by side, field by field in the same order; a
 * field is added at the end together with a higher version. The decoder reads through a cursor and
 * checks once at the end; enums and counts are checked where they are used as such.
 */
#include "ring/plan.h"

#include <openssl/evp.h>
#include <string.h>

/* ---- small parts ---- */

static void
put_list(struct buf *b, const struct plan_list *l)
{
	buf_u8(b, l->given);
	buf_u32(b, (uint32_t)l->count);
	for (size_t i = 0; i < l->count; i++)
		buf_text(b, l->items[i]);
}

/* A count that cannot lie: each item takes at least item_bytes of what is left. */
static size_t
take_count(struct cursor *c, size_t item_bytes)
{
	uint32_t count = cursor_u32(c);

	if (count > PLAN_LIST_MAX || count > cursor_left(c) / item_bytes) {
		c->failed = true;
		return 0;
	}
	return count;
}

static void *
take_array(struct cursor *c, struct arena *a, size_t count, size_t bytes)
{
	void *p = count ? arena_array(a, count, bytes) : NULL;

	if (count && !p)
		c->failed = true;
	return p;
}

static char *
take_text(struct cursor *c, struct arena *a)
{
	return cursor_text(c, PLAN_TEXT_MAX, a);
}

/* A text that must be there. */
static char *
take_needed(struct cursor *c, struct arena *a)
{
	char *text = take_text(c, a);

	if (!text)
		c->failed = true;
	return text;
}

static bool
take_bool(struct cursor *c)
{
	uint8_t v = cursor_u8(c);

	if (v > 1)
		c->failed = true;
	return v == 1;
}

static unsigned
take_enum(struct cursor *c, unsigned last)
{
	uint8_t v = cursor_u8(c);

	if (v == 0 || v > last) {
		c->failed = true;
		return 1;
	}
	return v;
}

static void
take_list(struct cursor *c, struct arena *a, struct plan_list *l)
{
	l->given = take_bool(c);
	size_t count = take_count(c, 4);
	l->items = take_array(c, a, count, sizeof(char *));
	for (size_t i = 0; i < count && !c->failed; i++)
		l->items[i] = take_needed(c, a);
	l->count = c->failed ? 0 : count;
}

static void
put_pairs(struct buf *b, const struct plan_pair *pairs, size_t count)
{
	buf_u32(b, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		buf_text(b, pairs[i].key);
		buf_text(b, pairs[i].value);
	}
}

static void
take_pairs(struct cursor *c, struct arena *a, struct plan_pair **out, size_t *count_out)
{
	size_t count = take_count(c, 8);

	*out = take_array(c, a, count, sizeof(**out));
	for (size_t i = 0; i < count && !c->failed; i++) {
		(*out)[i].key = take_needed(c, a);
		(*out)[i].value = take_needed(c, a);
	}
	*count_out = c->failed ? 0 : count;
}

/* ---- the three records that are lists of their own ---- */

static void
put_ulimits(struct buf *b, const struct plan *p)
{
	buf_u32(b, (uint32_t)p->ulimits_count);
	for (size_t i = 0; i < p->ulimits_count; i++) {
		buf_text(b, p->ulimits[i].name);
		buf_u64(b, p->ulimits[i].soft);
		buf_u64(b, p->ulimits[i].hard);
	}
}

static void
take_ulimits(struct cursor *c, struct arena *a, struct plan *p)
{
	size_t count = take_count(c, 20);

	p->ulimits = take_array(c, a, count, sizeof(*p->ulimits));
	for (size_t i = 0; i < count && !c->failed; i++) {
		p->ulimits[i].name = take_needed(c, a);
		p->ulimits[i].soft = cursor_u64(c);
		p->ulimits[i].hard = cursor_u64(c);
	}
	p->ulimits_count = c->failed ? 0 : count;
}

static void
put_mounts(struct buf *b, const struct plan *p)
{
	buf_u32(b, (uint32_t)p->mounts_count);
	for (size_t i = 0; i < p->mounts_count; i++) {
		const struct plan_mount *m = &p->mounts[i];

		buf_u8(b, (uint8_t)m->kind);
		buf_text(b, m->source);
		buf_text(b, m->target);
		buf_u8(b, m->readonly);
		buf_u64(b, m->size_bytes);
		buf_u32(b, m->mode);
	}
}

static void
take_mounts(struct cursor *c, struct arena *a, struct plan *p)
{
	size_t count = take_count(c, 22);

	p->mounts = take_array(c, a, count, sizeof(*p->mounts));
	for (size_t i = 0; i < count && !c->failed; i++) {
		struct plan_mount *m = &p->mounts[i];

		m->kind = (enum plan_mount_kind)take_enum(c, PLAN_MOUNT_TMPFS);
		m->source = take_text(c, a);
		m->target = take_needed(c, a);
		m->readonly = take_bool(c);
		m->size_bytes = cursor_u64(c);
		m->mode = cursor_u32(c);
		if (!m->source && (m->kind == PLAN_MOUNT_BIND || m->kind == PLAN_MOUNT_NAMED))
			c->failed = true;
	}
	p->mounts_count = c->failed ? 0 : count;
}

static void
put_devices(struct buf *b, const struct plan *p)
{
	buf_u32(b, (uint32_t)p->devices_count);
	for (size_t i = 0; i < p->devices_count; i++) {
		buf_text(b, p->devices[i].path);
		buf_u8(b, p->devices[i].read);
		buf_u8(b, p->devices[i].write);
		buf_u8(b, p->devices[i].mknod);
	}
}

static void
take_devices(struct cursor *c, struct arena *a, struct plan *p)
{
	size_t count = take_count(c, 7);

	p->devices = take_array(c, a, count, sizeof(*p->devices));
	for (size_t i = 0; i < count && !c->failed; i++) {
		p->devices[i].path = take_needed(c, a);
		p->devices[i].read = take_bool(c);
		p->devices[i].write = take_bool(c);
		p->devices[i].mknod = take_bool(c);
	}
	p->devices_count = c->failed ? 0 : count;
}

/* ---- who, what, with how much, how confined, how kept ---- */

static void
put_identity(struct buf *b, const struct plan *p)
{
	buf_u64(b, p->replica);
	buf_u64(b, p->service);
	buf_text(b, p->deployment);
	buf_text(b, p->service_name);
	buf_u32(b, p->index);
	buf_u32(b, p->revision);
	buf_text(b, p->image);
	buf_text(b, p->image_digest);
	buf_u8(b, (uint8_t)p->pull);
}

static void
take_identity(struct cursor *c, struct arena *a, struct plan *p)
{
	p->replica = cursor_u64(c);
	p->service = cursor_u64(c);
	p->deployment = take_needed(c, a);
	p->service_name = take_needed(c, a);
	p->index = cursor_u32(c);
	p->revision = cursor_u32(c);
	p->image = take_needed(c, a);
	p->image_digest = take_text(c, a);
	p->pull = (enum plan_pull)take_enum(c, PLAN_PULL_NEWER);
}

static void
put_process(struct buf *b, const struct plan *p)
{
	put_list(b, &p->entrypoint);
	put_list(b, &p->args);
	buf_text(b, p->workdir);
	buf_text(b, p->user);
	buf_text(b, p->hostname);
	put_pairs(b, p->env, p->env_count);
	put_pairs(b, p->labels, p->labels_count);
}

static void
take_process(struct cursor *c, struct arena *a, struct plan *p)
{
	take_list(c, a, &p->entrypoint);
	take_list(c, a, &p->args);
	p->workdir = take_text(c, a);
	p->user = take_text(c, a);
	p->hostname = take_needed(c, a);
	take_pairs(c, a, &p->env, &p->env_count);
	take_pairs(c, a, &p->labels, &p->labels_count);
}

static void
put_resources(struct buf *b, const struct plan *p)
{
	buf_u64(b, p->cpu_milli);
	buf_u64(b, p->cpu_shares);
	buf_text(b, p->cpuset);
	buf_u64(b, p->memory_bytes);
	buf_u64(b, p->memory_swap_bytes);
	buf_u64(b, p->memory_reservation_bytes);
	buf_u64(b, p->pids);
	buf_u8(b, p->oom_score_adj_given);
	buf_u32(b, (uint32_t)p->oom_score_adj);
	put_ulimits(b, p);
}

static void
take_resources(struct cursor *c, struct arena *a, struct plan *p)
{
	p->cpu_milli = cursor_u64(c);
	p->cpu_shares = cursor_u64(c);
	p->cpuset = take_text(c, a);
	p->memory_bytes = cursor_u64(c);
	p->memory_swap_bytes = cursor_u64(c);
	p->memory_reservation_bytes = cursor_u64(c);
	p->pids = cursor_u64(c);
	p->oom_score_adj_given = take_bool(c);
	p->oom_score_adj = (int32_t)cursor_u32(c);
	take_ulimits(c, a, p);
	if (p->oom_score_adj < -1000 || p->oom_score_adj > 1000)
		c->failed = true;
}

static void
put_confinement(struct buf *b, const struct plan *p)
{
	put_list(b, &p->cap_add);
	put_list(b, &p->cap_drop);
	buf_u8(b, p->privileged);
	buf_u8(b, p->no_new_privs);
	buf_u8(b, p->read_only_root);
	buf_u8(b, (uint8_t)p->seccomp);
	put_pairs(b, p->sysctls, p->sysctls_count);
	put_pairs(b, p->extra_hosts, p->extra_hosts_count);
	put_mounts(b, p);
	put_devices(b, p);
}

static void
take_confinement(struct cursor *c, struct arena *a, struct plan *p)
{
	take_list(c, a, &p->cap_add);
	take_list(c, a, &p->cap_drop);
	p->privileged = take_bool(c);
	p->no_new_privs = take_bool(c);
	p->read_only_root = take_bool(c);
	p->seccomp = (enum plan_seccomp)take_enum(c, PLAN_SECCOMP_UNCONFINED);
	take_pairs(c, a, &p->sysctls, &p->sysctls_count);
	take_pairs(c, a, &p->extra_hosts, &p->extra_hosts_count);
	take_mounts(c, a, p);
	take_devices(c, a, p);
}

static void
put_keeping(struct buf *b, const struct plan *p)
{
	buf_u32(b, p->stop_signal);
	buf_u32(b, p->stop_grace_ms);
	buf_u64(b, p->log_max_bytes);
	buf_u32(b, p->log_max_files);
	put_list(b, &p->health_command);
	buf_u32(b, p->health_grace_ms);
	buf_u32(b, p->health_interval_ms);
	buf_u32(b, p->health_timeout_ms);
}

static void
take_keeping(struct cursor *c, struct arena *a, struct plan *p)
{
	p->stop_signal = cursor_u32(c);
	p->stop_grace_ms = cursor_u32(c);
	p->log_max_bytes = cursor_u64(c);
	p->log_max_files = cursor_u32(c);
	take_list(c, a, &p->health_command);
	p->health_grace_ms = cursor_u32(c);
	p->health_interval_ms = cursor_u32(c);
	p->health_timeout_ms = cursor_u32(c);
	if (p->stop_signal == 0 || p->stop_signal > 64)
		c->failed = true;
}

static void
put_steps(struct buf *b, const struct plan *p)
{
	buf_u32(b, (uint32_t)p->steps_count);
	for (size_t i = 0; i < p->steps_count; i++) {
		const struct plan_step *s = &p->steps[i];

		buf_text(b, s->id);
		buf_u8(b, (uint8_t)s->kind);
		put_list(b, &s->command);
		buf_text(b, s->host);
		buf_u16(b, s->port);
		buf_text(b, s->path);
		buf_u32(b, s->expect_status);
		buf_u32(b, s->retry);
		buf_u64(b, s->timeout_ms);
		buf_u8(b, (uint8_t)s->on_failure);
	}
}

static void
take_steps(struct cursor *c, struct arena *a, struct plan *p)
{
	size_t count = take_count(c, 32);

	if (count > PLAN_STEPS_MAX)
		c->failed = true;
	p->steps = take_array(c, a, count, sizeof(*p->steps));
	for (size_t i = 0; i < count && !c->failed; i++) {
		struct plan_step *s = &p->steps[i];

		s->id = take_needed(c, a);
		s->kind = (enum plan_step_kind)take_enum(c, PLAN_STEP_RUN);
		take_list(c, a, &s->command);
		s->host = take_text(c, a);
		s->port = cursor_u16(c);
		s->path = take_text(c, a);
		s->expect_status = cursor_u32(c);
		s->retry = cursor_u32(c);
		s->timeout_ms = cursor_u64(c);
		s->on_failure = (enum plan_step_failure)take_enum(c, PLAN_STEP_GO_ON);
		if (s->kind == PLAN_STEP_RUN
			    ? s->command.count == 0
			    : !s->host || !s->port || (s->kind == PLAN_STEP_HTTP && !s->path))
			c->failed = true;
	}
	p->steps_count = c->failed ? 0 : count;
}

void
plan_encode(const struct plan *plan, struct buf *out)
{
	uint32_t version = plan->args_more.count ? 3 : plan->steps_count ? 2 : 1;

	buf_u32(out, PLAN_MAGIC);
	/* As before where nothing is new: the digest of what has not changed must stay. */
	buf_u32(out, version);
	put_identity(out, plan);
	put_process(out, plan);
	put_resources(out, plan);
	put_confinement(out, plan);
	put_keeping(out, plan);
	if (version > 1)
		put_steps(out, plan);
	if (version > 2)
		put_list(out, &plan->args_more);
}

int
plan_decode(const void *data, size_t bytes, struct arena *arena, struct plan **out, struct err *err)
{
	struct cursor c;
	struct plan *p = arena_new(arena, struct plan);

	cursor_init(&c, data, bytes);
	uint32_t magic = cursor_u32(&c), version = cursor_u32(&c);
	if (magic != PLAN_MAGIC || version < 1 || version > PLAN_VERSION)
		return err_set(err, ERR_CORRUPT, "a replica's plan has another format");
	if (p) {
		take_identity(&c, arena, p);
		take_process(&c, arena, p);
		take_resources(&c, arena, p);
		take_confinement(&c, arena, p);
		take_keeping(&c, arena, p);
		if (version > 1)
			take_steps(&c, arena, p);
		if (version > 2)
			take_list(&c, arena, &p->args_more);
		/* What it is for must be there: same plan, same bytes. */
		if ((version == 2 && p->steps_count == 0) ||
		    (version > 2 && p->args_more.count == 0))
			c.failed = true;
	}
	if (!arena_ok(arena))
		return err_set(err, ERR_NO_MEMORY, "no memory for a replica's plan of %zu bytes",
			       bytes);
	if (!cursor_done(&c))
		return err_set(err, ERR_CORRUPT, "a replica's plan does not hold");
	*out = p;
	return 0;
}

void
plan_sha256(const void *data, size_t bytes, uint8_t out[32])
{
	int ok = EVP_Digest(data, bytes, out, NULL, EVP_sha256(), NULL);

	/* Fails only without memory; zeros match no plan. */
	if (ok != 1)
		memset(out, 0, 32);
}
