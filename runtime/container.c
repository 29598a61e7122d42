/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of one replica. Whatever happens (a claim, a plan, an image, an address prefix,
 * the data path's word, a monitor's state, a timer) ends in container_step(), which reads the claim
 * and does the next thing. How each thing is come by stands in a file of its own: container_plan.c,
 * container_image.c, container_link.c, container_start.c, container_watch.c.
 */
#include "runtime/container.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/check.h"
#include "runtime/container_figures.h"
#include "runtime/container_image.h"
#include "runtime/container_link.h"
#include "runtime/container_plan.h"
#include "runtime/container_watch.h"

enum {
	ARENA_BYTES = 16 << 20,
	BUSY_MS = 50,
	OVERDUE_MS = 500, /* after its monitor and its watchdog (monitor/lease.c) */
	AGAIN_MS = 1000,
};

static void on_timer(uv_timer_t *timer);

/* ---- making and finding ---- */

struct container *
container_find(struct container_host *host, uint64_t replica)
{
	return map_get_u64(&host->containers, replica);
}

struct container *
container_get(struct container_host *host, uint64_t replica)
{
	struct container *c = container_find(host, replica);
	if (c != NULL)
		return c;
	c = mem_zalloc(MEM_RUNTIME, sizeof(*c));
	if (c == NULL)
		return NULL;
	if (map_put_u64(&host->containers, replica, c) < 0) {
		mem_free(c);
		return NULL;
	}
	c->host = host;
	c->replica = replica;
	c->pidfd = -1;
	c->unclaimed_ns = world_mono_ns();
	c->row.replica = replica;
	c->row.created_wall_ns = world_wall_ns();
	arena_init(&c->arena, MEM_RUNTIME, ARENA_BYTES);
	uv_timer_init(host->loop, &c->timer);
	c->timer.data = c;
	return c;
}

static void
on_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

/* Lets go of what the object holds; what runs goes on. */
static void
close_container(struct container *c)
{
	c->closing = true;
	container_image_stop(c);
	check_stop(c);
	monitor_link_close(c->monitor);
	c->monitor = NULL;
	fd_close(&c->pidfd);
	arena_fini(&c->arena);
	uv_timer_stop(&c->timer);
	uv_close((uv_handle_t *)&c->timer, on_closed);
}

void
container_close_all(struct container_host *host)
{
	struct map_iter it = {0};
	while (map_next(&host->containers, &it))
		close_container(it.value);
	map_fini(&host->containers);
	map_init(&host->containers, MEM_RUNTIME);
}

/* ---- words ---- */

void
container_service_label(const struct container *c, char out[MSG_TARGET])
{
	if (c->plan != NULL)
		text_format(out, MSG_TARGET, "%s/%s", c->plan->deployment, c->plan->service_name);
	else
		text_format(out, MSG_TARGET, "%s/%s", c->claim.deployment_name,
			    c->claim.service_name);
}

void
container_label(const struct container *c, char out[MSG_TARGET])
{
	char service[MSG_TARGET];
	container_service_label(c, service);
	text_format(out, MSG_TARGET, "%.140s.%u", service,
		    c->plan != NULL ? c->plan->index : c->claim.index);
}

void
container_publish(struct container *c)
{
	bool changed = false;
	struct ring_writer *w = station_writer(c->host->st);
	if (ring_table_set(w, MSG_TABLE_CONTAINER, c->replica, &c->row, &changed) != RING_OK)
		log_event(LOG_ERROR, "no room in the container table", log_u("replica", c->replica),
			  LOG_END);
	if (changed)
		station_kick(c->host->st);
}

void
container_later(struct container *c, uint64_t ms)
{
	if (!c->closing)
		uv_timer_start(&c->timer, on_timer, ms, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	container_step(timer->data);
}

/* ---- an attempt ---- */

static void
begin_attempt(struct container *c)
{
	uint64_t replica = c->replica;
	struct addr addr4 = c->row.addr4, addr6 = c->row.addr6;
	c->attempt = c->claim.attempt;
	c->hold = c->claim.desired == MSG_HOLD;
	c->phase = CONTAINER_PREPARING;
	c->began_ns = world_mono_ns();
	c->stop_sent = 0;
	c->stop_by_ns = 0;
	c->lease_sent = 0;
	c->told = (struct control_state){0};
	c->pulled[0] = '\0';
	container_image_stop(c);
	c->row = (struct msg_container){
		.replica = replica,
		.attempt = c->attempt,
		.state = MSG_CONTAINER_PREPARING,
		.addr4 = addr4,
		.addr6 = addr6,
		.created_wall_ns = world_wall_ns(),
	};
	if (c->hold)
		container_watch_last_end(c);
	container_figures_begin(c);
	container_publish(c);
}

void
container_fail(struct container *c, const struct err *err)
{
	char label[MSG_TARGET];
	struct err told = *err;
	container_label(c, label);
	err_where(&told, "%s, attempt %u", label, c->attempt);
	log_err(LOG_WARN, "a container could not be started", &told);
	c->phase = CONTAINER_ENDED;
	c->row.state = MSG_CONTAINER_FAILED;
	c->row.exited_wall_ns = world_wall_ns();
	msg_reason_from(err, &c->row.reason);
	metric_add(container_figures_series(c, METRICS_CONTAINER_STARTS, "result", "failed"), 1);
	container_publish(c);
}

bool
container_clear_groups(struct container *c)
{
	if (!c->groups_left)
		return true;
	if (cgroups_remove(c->host->groups, c->replica)) {
		c->groups_left = false;
		return true;
	}
	cgroups_kill(c->host->groups, c->replica);
	container_later(c, BUSY_MS);
	return false;
}

static void
prepare(struct container *c)
{
	struct err err = {0};
	if (c->phase != CONTAINER_PREPARING || c->attempt != c->claim.attempt)
		begin_attempt(c);
	if (!container_clear_groups(c) || !container_plan_have(c))
		return;
	int found = container_image_find(c, &err);
	if (found < 0)
		container_fail(c, &err);
	if (found <= 0)
		return;
	if (!c->host->have_prefix) {
		container_publish(c);
		return;
	}
	if (!c->network && container_link_make(c, &err) < 0) {
		container_fail(c, &err);
		return;
	}
	c->row.conditions |= MSG_NETWORK_READY;
	c->row.addr4 = c->veth.addr4;
	c->row.addr6 = c->veth.addr6;
	container_publish(c);
	switch (container_link_verdict(c->host, c->replica, c->veth.ifindex, &err)) {
	case CONTAINER_LINK_WAITS:
		return;
	case CONTAINER_LINK_REFUSED:
		container_fail(c, &err);
		return;
	case CONTAINER_LINK_PASSES:
		break;
	}
	if (container_link_connect(c, &err) < 0) {
		container_fail(c, &err);
		return;
	}
	if (container_start(c, &err) == 0) {
		c->phase = CONTAINER_STARTED;
		c->row.memory_limit = c->plan->memory_bytes;
		container_publish(c);
		if (container_watch_begin(c, &err) == 0)
			return;
	}
	container_fail(c, &err);
	container_later(c, BUSY_MS);
}

/* ---- leases ---- */

/* It may be started now. */
static bool
is_leased(const struct container *c)
{
	return !c->claim.leased || world_mono_ns() < c->claim.lease_until_ns;
}

/* A monitor that is older than leases cannot keep one: what it runs is started again. */
static void stop(struct container *c);

static void
lease(struct container *c)
{
	uint64_t until_ns = c->claim.leased ? c->claim.lease_until_ns : 0;

	if (c->claim.leased ? !until_ns || until_ns == c->lease_sent : !c->row.lease_until_ns)
		return;
	if (c->told.version && c->told.version < 3)
		stop(c);
	else if (monitor_link_lease(c->monitor, until_ns, c->claim.lease_epoch))
		c->lease_sent = until_ns;
}

/* ---- stopping and removing ---- */

static void
stop(struct container *c)
{
	uint32_t signal = c->claim.stop_signal != 0 ? c->claim.stop_signal : SIGTERM;
	uint32_t grace_ms = c->claim.stop_grace_ms;
	uint64_t by_ns = world_mono_ns() + grace_ms * UINT64_C(1000000);
	/* Told again when the wish changed: a shorter grace counts. */
	if (c->stop_sent == grace_ms + 1)
		return;
	if (c->stop_by_ns == 0 || by_ns < c->stop_by_ns)
		c->stop_by_ns = by_ns;
	if (signal > 64)
		signal = SIGTERM;
	/* A monitor that stands still takes no more at some time: then with the next step. */
	if (monitor_link_order(c->monitor, CONTROL_STOP, signal, grace_ms))
		c->stop_sent = grace_ms + 1;
	check_stop(c);
	if (c->row.state == MSG_CONTAINER_RUNNING) {
		c->row.state = MSG_CONTAINER_STOPPING;
		container_publish(c);
	}
}

static void
stopped(struct container *c)
{
	/* Not before nothing of it is there: what nobody has a record of may be. */
	if (!container_clear_groups(c))
		return;
	if (c->phase == CONTAINER_ENDED && c->row.attempt == c->attempt && c->row.state != 0)
		return;
	container_image_stop(c);
	c->phase = CONTAINER_ENDED;
	c->attempt = c->claim.attempt;
	c->row.attempt = c->attempt;
	c->row.state = MSG_CONTAINER_EXITED;
	if (c->row.exited_wall_ns == 0)
		c->row.exited_wall_ns = world_wall_ns();
	container_publish(c);
}

static void
remove_volumes(const struct container *c)
{
	struct place *p = &c->host->place;
	char path[MSG_TARGET];

	if (!c->claimed || !c->claim.remove_volumes || c->plan == NULL)
		return;
	for (size_t i = 0; i < c->plan->mounts_count; i++) {
		const struct plan_mount *m = &c->plan->mounts[i];

		if (m->kind == PLAN_MOUNT_NAMED && text_is_label(m->source) &&
		    text_format(path, sizeof(path), "%s/%s", c->plan->deployment, m->source))
			place_delete(p, p->volumes, path);
	}
	/* The deployment's folder goes with its last volume. */
	unlinkat(p->volumes, c->plan->deployment, AT_REMOVEDIR);
}

static void
remove_all(struct container *c)
{
	struct container_host *h = c->host;
	struct ring_writer *w = station_writer(h->st);
	const char *deployment = c->plan != NULL ? c->plan->deployment : c->claim.deployment_name;
	const char *service = c->plan != NULL ? c->plan->service_name : c->claim.service_name;
	uint32_t index = c->plan != NULL ? c->plan->index : c->claim.index;
	c->groups_left = true;
	if (!container_clear_groups(c))
		return;
	container_link_remove(c);
	remove_volumes(c);
	place_forget(&h->place, deployment, service, index, c->replica);
	container_image_release(c);
	ring_table_remove(w, MSG_TABLE_VETH, c->replica);
	ring_table_remove(w, MSG_TABLE_RESULT, c->replica << 8 | 255);
	ring_table_remove(w, MSG_TABLE_CONTAINER, c->replica);
	station_kick(h->st);
	map_remove_u64(&h->containers, c->replica);
	container_figures_hide(c);
	close_container(c);
}

/* ---- what is overdue ---- */

/* When its monitor is to have ended it; 0: never. */
static uint64_t
end_of(const struct container *c)
{
	bool claimed = c->claim.leased && c->claim.lease_until_ns != 0;
	uint64_t lease = claimed ? c->claim.lease_until_ns : c->row.lease_until_ns;

	return lease == 0 || (c->stop_by_ns != 0 && c->stop_by_ns < lease) ? c->stop_by_ns : lease;
}

/* Its monitor may stand still, or be caught in a write to a dead disk: then it is killed from here.
 * Nobody is told that it has ended before its monitor has. */
static void
look_at_end(struct container *c)
{
	uint64_t now = world_mono_ns(), end = end_of(c);

	if (end == 0)
		return;
	end += OVERDUE_MS * UINT64_C(1000000);
	if (now < end) {
		container_later(c, (end - now) / 1000000 + 1);
		return;
	}
	cgroups_kill(c->host->groups, c->replica);
	container_later(c, AGAIN_MS);
}

/* ---- the step ---- */

static void
step(struct container *c)
{
	if (!c->claimed && !c->forgotten)
		return;
	uint32_t desired = c->forgotten ? MSG_REMOVE : c->claim.desired;
	if (c->monitor != NULL && c->claimed)
		lease(c);
	switch ((enum msg_desired)desired) {
	case MSG_RUN:
	case MSG_HOLD:
		if (c->monitor != NULL) {
			container_link_show(c);
			if (container_link_exposed(c))
				container_link_disconnect(c);
			if (c->attempt != c->claim.attempt || container_link_exposed(c))
				stop(c);
			return;
		}
		if (c->phase == CONTAINER_ENDED && c->attempt == c->claim.attempt) {
			container_clear_groups(c);
			return;
		}
		if (!c->claim.held && is_leased(c))
			prepare(c);
		return;
	case MSG_STOP:
		if (c->monitor != NULL)
			stop(c);
		else
			stopped(c);
		return;
	case MSG_REMOVE:
		if (c->monitor != NULL)
			stop(c);
		else
			remove_all(c);
		return;
	}
}

void
container_step(struct container *c)
{
	if (c->closing)
		return;
	if (c->phase == CONTAINER_LOST) {
		container_watch_lost(c);
		return;
	}
	step(c);
	if (!c->closing && c->monitor != NULL)
		look_at_end(c);
}

void
container_claim(struct container *c, const struct msg_claim *claim)
{
	c->claim = *claim;
	c->claimed = true;
	c->forgotten = false;
	container_step(c);
}
