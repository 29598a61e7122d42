/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans from documents, section by section. The arena belongs to the caller and fails stickily:
 * it is asked once, at the end. Texts of the document are borrowed; ring/plan.h has no const, but
 * nobody writes through it.
 */
#include "scheduler/plan_make.h"

#include <string.h>
#include "base/sandbox.h"
#include "base/text.h"
#include "ring/msg.h"
#include "wire/url.h"

enum { ARENA_BYTES = 4 << 20 };

static char *
borrow(const char *text)
{
	return (char *)(uintptr_t)text;
}

static void
set_list(struct plan_list *out, bool given, const struct doc_texts *texts)
{
	out->given = given;
	out->items = (char **)(uintptr_t)texts->items;
	out->count = given ? texts->count : 0;
}

static struct plan_pair *
pairs(struct arena *a, const struct doc_pairs *from, size_t *count_out)
{
	struct plan_pair *out = from->count ? arena_array(a, from->count, sizeof(*out)) : NULL;

	*count_out = out ? from->count : 0;
	for (size_t i = 0; i < *count_out; i++) {
		out[i].key = borrow(from->items[i].key);
		out[i].value = borrow(from->items[i].value);
	}
	return out;
}

/* ---- env ---- */

static const char *
node_variable(const struct config *config, const char *name, bool *allowed_out)
{
	*allowed_out = false;
	for (uint32_t i = 0; i < config->node.env_count && i < CONFIG_ENV_MAX; i++) {
		const struct config_value *v = &config->node.env_values[i];

		if (!text_equal(config->node.env[i].text, name))
			continue;
		*allowed_out = true;
		return v->given && MSG_OK(v->text) ? v->text : NULL;
	}
	return NULL;
}

static int
missing(const struct plan_make_input *in, const struct doc_env *env, const char *name, bool allowed,
	struct err *err)
{
	err_set(err, ERR_NOT_FOUND, "services.%s.env.%s: $E:%s has no value", in->service->name,
		env->name, name);
	if (allowed) {
		err_why(err, "%s is not set in the environment of the node", name);
		return err_fix(err, "set %s where zlayer serve is started, then start it again",
			       name);
	}
	err_why(err, "%s is not among the variables that node.yaml allows", name);
	return err_fix(err, "add %s to node.env in node.yaml", name);
}

static int
put_piece(const struct plan_make_input *in, const struct doc_env *env,
	  const struct doc_env_piece *piece, struct buf *text, struct err *err)
{
	bool allowed;
	const char *value;

	switch (piece->kind) {
	case DOC_ENV_TEXT:
		buf_puts(text, piece->text);
		return 0;
	case DOC_ENV_NODE:
		value = node_variable(in->config, piece->text, &allowed);
		if (!value)
			return missing(in, env, piece->text, allowed, err);
		buf_puts(text, value);
		return 0;
	case DOC_ENV_SECRET:
		break;
	}
	return err_set(err, ERR_UNSUPPORTED,
		       "services.%s.env.%s: secrets are not available in this version",
		       in->service->name, env->name);
}

static int
put_env(const struct plan_make_input *in, struct arena *a, struct plan *p, struct err *err)
{
	const struct doc_service *s = in->service;
	struct buf text;
	int rc = 0;

	p->env = s->env_count ? arena_array(a, s->env_count, sizeof(*p->env)) : NULL;
	if (s->env_count && !p->env)
		return err_set(err, ERR_NO_MEMORY, "no memory for a plan");
	buf_init(&text, MEM_SCHEDULER, PLAN_TEXT_MAX);
	for (size_t i = 0; i < s->env_count && rc == 0; i++) {
		const struct doc_env *env = &s->env[i];

		buf_reset(&text);
		for (size_t k = 0; k < env->pieces_count && rc == 0; k++)
			rc = put_piece(in, env, &env->pieces[k], &text, err);
		const char *value = buf_cstr(&text);
		if (rc == 0 && !buf_ok(&text))
			rc = err_set(err, ERR_LIMIT, "services.%s.env.%s: the value is too long",
				     s->name, env->name);
		p->env[i].key = borrow(env->name);
		p->env[i].value = arena_strdup(a, value);
	}
	p->env_count = s->env_count;
	buf_fini(&text);
	return rc;
}

/* ---- the rest ---- */

static enum plan_pull
pull(enum doc_pull policy)
{
	switch (policy) {
	case DOC_PULL_ALWAYS:
		return PLAN_PULL_ALWAYS;
	case DOC_PULL_NEWER:
		return PLAN_PULL_NEWER;
	case DOC_PULL_NEVER:
		return PLAN_PULL_NEVER;
	case DOC_PULL_IF_NOT_PRESENT:
		break;
	}
	return PLAN_PULL_IF_NOT_PRESENT;
}

static void
put_process(const struct plan_make_input *in, struct arena *a, struct plan *p)
{
	const struct doc_service *s = in->service;
	char image[IMAGE_REF_TEXT_BYTES];

	image_ref_put(&s->image.ref, image, sizeof(image));
	p->image = arena_strdup(a, image);
	p->image_digest = in->image_digest[0] ? borrow(in->image_digest) : NULL;
	p->pull = pull(s->image.pull_policy);
	set_list(&p->entrypoint, s->command.has_entrypoint, &s->command.entrypoint);
	set_list(&p->args, s->command.has_args, &s->command.args);
	if (in->args)
		p->args_more = (struct plan_list){
			.items = (char **)(uintptr_t)in->args->items,
			.count = in->args->count,
			.given = in->args->count > 0,
		};
	p->workdir = borrow(s->command.workdir);
	p->user = borrow(s->user);
	p->hostname =
		s->hostname ? borrow(s->hostname) : arena_printf(a, "%s-%u", s->name, in->index);
	p->labels = pairs(a, &s->labels, &p->labels_count);
}

static void
put_resources(const struct doc_resources *r, struct arena *a, struct plan *p)
{
	p->cpu_milli = r->cpu_milli;
	p->cpu_shares = r->cpu_shares;
	p->cpuset = borrow(r->cpuset);
	p->memory_bytes = r->memory_bytes;
	p->memory_swap_bytes = r->memory_swap_bytes;
	p->memory_reservation_bytes = r->memory_reservation_bytes;
	p->pids = r->pids;
	p->oom_score_adj = r->oom_score_adj;
	p->oom_score_adj_given = r->oom_score_adj != 0;
	p->ulimits =
		r->ulimits_count ? arena_array(a, r->ulimits_count, sizeof(*p->ulimits)) : NULL;
	p->ulimits_count = p->ulimits ? r->ulimits_count : 0;
	for (size_t i = 0; i < p->ulimits_count; i++) {
		p->ulimits[i].name = borrow(r->ulimits[i].name);
		p->ulimits[i].soft = r->ulimits[i].soft;
		p->ulimits[i].hard = r->ulimits[i].hard;
	}
}

static void
put_caps(struct arena *a, uint64_t caps, struct plan_list *out)
{
	out->items = arena_array(a, 64, sizeof(char *));
	out->given = caps != 0;
	if (!out->items)
		return;
	if (caps == DOC_CAPS_ALL) {
		out->items[out->count++] = borrow("ALL");
		return;
	}
	for (int cap = 0; cap < 64; cap++) {
		if (caps & UINT64_C(1) << cap && sandbox_cap_name(cap))
			out->items[out->count++] = borrow(sandbox_cap_name(cap));
	}
}

static void
put_confinement(const struct plan_make_input *in, struct arena *a, struct plan *p)
{
	const struct doc_service *s = in->service;
	bool unconfined = s->seccomp == DOC_SECCOMP_UNCONFINED ||
			  (s->seccomp == DOC_SECCOMP_DEFAULT &&
			   text_equal(in->config->runtime.seccomp, "unconfined"));

	put_caps(a, s->cap_add, &p->cap_add);
	put_caps(a, s->cap_drop, &p->cap_drop);
	p->privileged = s->privileged;
	p->no_new_privs = in->config->runtime.no_new_privileges && !s->privileged;
	p->read_only_root = s->read_only_root_fs;
	p->seccomp = unconfined || s->privileged ? PLAN_SECCOMP_UNCONFINED : PLAN_SECCOMP_DEFAULT;
	p->sysctls = pairs(a, &s->sysctls, &p->sysctls_count);
	p->extra_hosts = pairs(a, &s->extra_hosts, &p->extra_hosts_count);
	p->devices =
		s->devices_count ? arena_array(a, s->devices_count, sizeof(*p->devices)) : NULL;
	p->devices_count = p->devices ? s->devices_count : 0;
	for (size_t i = 0; i < p->devices_count; i++) {
		const struct doc_device *d = &s->devices[i];

		p->devices[i] = (struct plan_device){borrow(d->path), d->read, d->write, d->mknod};
	}
}

static enum plan_mount_kind
mount_kind(enum doc_storage_type type)
{
	switch (type) {
	case DOC_STORAGE_BIND:
		return PLAN_MOUNT_BIND;
	case DOC_STORAGE_NAMED:
		return PLAN_MOUNT_NAMED;
	case DOC_STORAGE_TMPFS:
		return PLAN_MOUNT_TMPFS;
	case DOC_STORAGE_ANONYMOUS:
	case DOC_STORAGE_TEMPLATE:
		break;
	}
	return PLAN_MOUNT_ANONYMOUS;
}

static int
put_mounts(const struct plan_make_input *in, struct arena *a, struct plan *p, struct err *err)
{
	const struct doc_service *s = in->service;

	p->mounts = s->storage_count ? arena_array(a, s->storage_count, sizeof(*p->mounts)) : NULL;
	p->mounts_count = p->mounts ? s->storage_count : 0;
	for (size_t i = 0; i < p->mounts_count; i++) {
		const struct doc_storage *from = &s->storage[i];

		if (from->type == DOC_STORAGE_TEMPLATE)
			return err_set(err, ERR_UNSUPPORTED,
				       "services.%s.storage: templates are "
				       "not available in this version",
				       s->name);
		p->mounts[i] = (struct plan_mount){
			.kind = mount_kind(from->type),
			.source =
				borrow(from->type == DOC_STORAGE_NAMED ? from->name : from->source),
			.target = borrow(from->target),
			.readonly = from->readonly,
			.size_bytes = from->size_bytes,
			.mode = from->type == DOC_STORAGE_TMPFS ? from->mode : 0,
		};
	}
	return 0;
}

static void
put_command(const struct doc_run *run, struct arena *a, struct plan_list *out)
{
	if (!run->shell) {
		set_list(out, true, &run->argv);
		return;
	}
	out->items = arena_array(a, 3, sizeof(char *));
	if (!out->items || run->argv.count < 1)
		return;
	out->given = true;
	out->count = 3;
	out->items[0] = borrow("/bin/sh");
	out->items[1] = borrow("-c");
	out->items[2] = borrow(run->argv.items[0]);
}

static void
put_keeping(const struct plan_make_input *in, struct arena *a, struct plan *p)
{
	const struct doc_service *s = in->service;

	p->stop_signal = (uint32_t)s->stop_signal;
	p->stop_grace_ms = (uint32_t)s->stop_grace_period_ms;
	p->log_max_bytes = s->logs.max_size_bytes;
	p->log_max_files = s->logs.max_files;
	if (!s->health.node || s->health.check.type != DOC_CHECK_COMMAND)
		return;
	const struct doc_run *run = &s->health.check.command;
	p->health_grace_ms = (uint32_t)s->health.start_grace_ms;
	p->health_interval_ms = (uint32_t)s->health.interval_ms;
	p->health_timeout_ms = (uint32_t)s->health.timeout_ms;
	put_command(run, a, &p->health_command);
}

/* ---- init ---- */

static int
put_url(const struct doc_init_step *from, struct arena *a, struct plan_step *to, struct err *err)
{
	struct url_authority authority;
	struct url_target target;
	const char *url = from->with.url;

	if (!url_target_parse(url, strlen(url), HTTP_GET, &target) || target.https ||
	    target.form != URL_ABSOLUTE ||
	    !url_authority_parse(url + target.authority.at, target.authority.length, &authority))
		return err_set(err, ERR_INVALID, "init step %s: %s is not a url of http", from->id,
			       url);
	to->host = arena_printf(a, "%.*s", (int)authority.host_length, authority.host);
	to->port = authority.port ? authority.port : 80;
	const char *rest = url + target.authority.at + target.authority.length;
	size_t length = strcspn(rest, "#");
	to->path = arena_printf(a, "%s%.*s", *rest == '/' ? "" : "/", (int)length, rest);
	return 0;
}

static int
put_step(const struct doc_init_step *from, struct arena *a, struct plan_step *to, struct err *err)
{
	*to = (struct plan_step){
		.id = borrow(from->id),
		.retry = from->retry,
		.timeout_ms = from->timeout_ms,
		.on_failure = from->on_failure == DOC_ON_FAILURE_FAIL   ? PLAN_STEP_FAIL
			      : from->on_failure == DOC_ON_FAILURE_WARN ? PLAN_STEP_WARN
									: PLAN_STEP_GO_ON,
	};
	switch (from->uses) {
	case DOC_INIT_RUN:
		to->kind = PLAN_STEP_RUN;
		put_command(&from->with.command, a, &to->command);
		return 0;
	case DOC_INIT_WAIT_TCP:
		to->kind = PLAN_STEP_TCP;
		to->host = borrow(from->with.host);
		to->port = from->with.port;
		return 0;
	case DOC_INIT_WAIT_HTTP:
		break;
	}
	to->kind = PLAN_STEP_HTTP;
	to->expect_status = from->with.expect_status;
	return put_url(from, a, to, err);
}

static int
put_steps(const struct doc_init *init, struct arena *a, struct plan *p, struct err *err)
{
	p->steps = init->steps_count ? arena_array(a, init->steps_count, sizeof(*p->steps)) : NULL;
	p->steps_count = p->steps ? init->steps_count : 0;
	for (size_t i = 0; i < p->steps_count; i++) {
		if (put_step(&init->steps[i], a, &p->steps[i], err) < 0)
			return -1;
	}
	return 0;
}

int
plan_make(const struct plan_make_input *in, struct arena *arena, struct plan *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	out->replica = in->replica;
	out->service = in->service_id;
	out->deployment = borrow(in->deployment);
	out->service_name = borrow(in->service->name);
	out->index = in->index;
	out->revision = in->revision;
	if (put_env(in, arena, out, err) < 0)
		return -1;
	put_process(in, arena, out);
	put_resources(&in->service->resources, arena, out);
	put_confinement(in, arena, out);
	if (put_mounts(in, arena, out, err) < 0)
		return -1;
	put_keeping(in, arena, out);
	if (put_steps(&in->service->init, arena, out, err) < 0)
		return -1;
	if (!arena_ok(arena))
		return err_set(err, ERR_NO_MEMORY, "no memory for a plan");
	return 0;
}

int
plan_make_bytes(const struct plan_make_input *in, struct buf *out, uint8_t sha256[32],
		struct err *err)
{
	struct arena arena;
	struct plan plan;

	arena_init(&arena, MEM_SCHEDULER, ARENA_BYTES);
	int rc = plan_make(in, &arena, &plan, err);
	if (rc == 0) {
		plan_encode(&plan, out);
		if (!buf_ok(out))
			rc = err_set(err, ERR_NO_MEMORY, "no memory for a plan");
		else
			plan_sha256(out->data, out->length, sha256);
	}
	arena_fini(&arena);
	return rc;
}

static void
put_gate(const struct doc_service *s, struct buf *out)
{
	const struct doc_health *h = &s->health;

	for (size_t i = 0; i < s->endpoints_count; i++) {
		buf_text(out, s->endpoints[i].name);
		buf_u8(out, (uint8_t)s->endpoints[i].protocol);
		buf_u16(out, s->endpoints[i].target_port);
	}
	buf_u8(out, h->node != NULL);
	if (!h->node)
		return;
	buf_u64(out, h->start_grace_ms);
	buf_u64(out, h->interval_ms);
	buf_u64(out, h->timeout_ms);
	buf_u32(out, h->retries);
	buf_u8(out, (uint8_t)h->check.type);
	buf_u16(out, h->check.port);
	buf_text(out, h->check.url);
	buf_u16(out, h->check.expect_status);
}

int
plan_make_digest(const struct plan_make_input *in, uint8_t make[32], struct err *err)
{
	struct plan_make_input common = *in;
	uint8_t ignored[32];
	struct buf bytes;

	common.replica = 0;
	common.index = 0;
	common.revision = 0;
	buf_init(&bytes, MEM_SCHEDULER, PLAN_BYTES_MAX);
	int rc = plan_make_bytes(&common, &bytes, ignored, err);
	if (rc == 0) {
		put_gate(in->service, &bytes);
		if (!buf_ok(&bytes))
			rc = err_set(err, ERR_NO_MEMORY, "no memory for a plan");
		else
			plan_sha256(bytes.data, bytes.length, make);
	}
	buf_fini(&bytes);
	return rc;
}
