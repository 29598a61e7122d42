/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a claim: the one in memory, the copy kept below claims/, or the scheduler's, in this
 * order; the claim's digest says which is right. A plan from the scheduler is kept, so that a
 * container is understood after a restart while no scheduler is there.
 */
#include "runtime/container_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/container_image.h"

enum { PLAN_TIMEOUT_MS = 10000, RETRY_MS = 1000 };

static void
drop_plan(struct container *c)
{
	container_image_stop(c);
	container_image_release(c);
	arena_reset(&c->arena);
	c->plan = NULL;
	c->image = NULL;
}

static int
take_plan(struct container *c, const void *data, size_t bytes, struct err *err)
{
	uint8_t sha256[32];
	struct plan *plan;
	plan_sha256(data, bytes, sha256);
	drop_plan(c);
	if (plan_decode(data, bytes, &c->arena, &plan, err) < 0)
		return -1;
	if (plan->replica != c->replica || !text_is_label(plan->deployment) ||
	    !text_is_label(plan->service_name))
		return err_set(err, ERR_CORRUPT, "the plan is of another replica");
	c->plan = plan;
	memcpy(c->plan_sha256, sha256, sizeof(sha256));
	return 0;
}

/* The kept copy; false when there is none. */
bool
container_plan_load(struct container *c)
{
	char path[64];
	struct err err = {0};
	struct buf text;
	buf_init(&text, MEM_RUNTIME, PLAN_BYTES_MAX);
	snprintf(path, sizeof(path), "claims/%" PRIu64, c->replica);
	bool done = fd_read_file(c->host->place.data, path, &text, &err) == 0 &&
		    take_plan(c, text.data, text.length, &err) == 0;
	buf_fini(&text);
	return done;
}

static void
keep_plan(struct container *c, const void *data, size_t bytes)
{
	char name[24];
	struct err err = {0};
	defer_close int folder = place_folder(c->host->place.data, "claims", &err);
	snprintf(name, sizeof(name), "%" PRIu64, c->replica);
	if (folder < 0 || fd_replace(folder, name, data, bytes, 0600, &err) < 0)
		log_err(LOG_WARN, "a plan cannot be kept", &err);
}

static void
on_plan(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	size_t count)
{
	struct container_host *host = ((void **)arg)[0];
	uint64_t replica = (uint64_t)(uintptr_t)((void **)arg)[1];
	struct container *c = container_find(host, replica);
	struct err err = {0};
	struct buf text;
	(void)body;
	(void)bytes;
	mem_free(arg);
	if (c == NULL)
		return;
	c->asking = false;
	if (status != 0 || count != 1 || !fd_is_sealed(fds[0])) {
		if (status == ERR_NOT_FOUND || status == ERR_INVALID)
			container_fail(c, why);
		else
			container_later(c, RETRY_MS);
		return;
	}
	buf_init(&text, MEM_RUNTIME, PLAN_BYTES_MAX);
	if (fd_read_all(fds[0], &text, &err) == 0 &&
	    take_plan(c, text.data, text.length, &err) == 0)
		keep_plan(c, text.data, text.length);
	buf_fini(&text);
	if (err.kind != ERR_NONE)
		container_fail(c, &err);
	else if (memcmp(c->plan_sha256, c->claim.plan_sha256, 32) != 0)
		/* The claim changed meanwhile, or is about to. */
		container_later(c, RETRY_MS);
	else
		container_step(c);
}

static void
ask_plan(struct container *c)
{
	struct msg_plan_op op = {.replica = c->replica};
	struct err err = {0};
	/* The container may be gone when the answer comes: it is looked up again by its number. */
	void **arg = mem_array(MEM_RUNTIME, 2, sizeof(*arg));
	if (arg == NULL) {
		container_later(c, RETRY_MS);
		return;
	}
	arg[0] = c->host;
	arg[1] = (void *)(uintptr_t)c->replica;
	if (station_ask(c->host->st, ROLE_SCHEDULER, 0, MSG_OP_PLAN, &op, sizeof(op), NULL, 0,
			PLAN_TIMEOUT_MS, on_plan, arg, &err) < 0) {
		mem_free(arg);
		container_later(c, RETRY_MS);
		return;
	}
	c->asking = true;
}

bool
container_plan_have(struct container *c)
{
	const uint8_t *wanted = c->claim.plan_sha256;
	if (c->plan != NULL && memcmp(c->plan_sha256, wanted, 32) == 0)
		return true;
	if (c->asking)
		return false;
	if (container_plan_load(c) && memcmp(c->plan_sha256, wanted, 32) == 0)
		return true;
	ask_plan(c);
	return false;
}
