/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth about a process is its monitor's; a monitor that ends without a record was killed, and
 * then its container is, too, and the attempt is reported as ended by nobody knows what. What a
 * former runtime left is read from the same records.
 */
#include "runtime/container_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/check.h"
#include "runtime/container_figures.h"
#include "runtime/container_image.h"
#include "runtime/container_plan.h"

/* True when it ended for want of memory. */
static bool
take_end(struct msg_container *row, const struct control_state *state)
{
	row->exit_status = state->exit_status;
	row->exit_signal = state->exit_signal;
	row->exited_wall_ns = state->exited_wall_ns;
	row->seccomp_killed = state->exit_signal == SIGSYS;
	return state->oom_kills > 0 && (state->exit_signal == SIGKILL || state->exit_status != 0);
}

/* How the program ended is in the record that its monitor left: that of a hold goes elsewhere. */
void
container_watch_last_end(struct container *c)
{
	char path[64];
	struct err err = {0};
	struct control_state state;
	struct msg_container *row = &c->row;
	text_format(path, sizeof(path), "exits/%" PRIu64, c->replica);
	defer_close int exits = place_folder(c->host->place.data, path, &err);
	/* Without one its monitor was killed, and it with it. */
	if (exits < 0 || !monitor_link_record(exits, "exit", &state))
		state = (struct control_state){.exit_status = -1, .exit_signal = SIGKILL};
	row->hold = 1;
	row->hold_oom = take_end(row, &state);
}

/* ---- the monitor's word ---- */

static void
take_lease(struct container *c, const struct control_state *state)
{
	c->row.lease_until_ns = state->lease_until_ns;
	c->row.lease_epoch = state->lease_epoch;
	c->row.lease_over = state->lease_over;
	/* Its end is looked after from here, too, whether anybody claims it or not. */
	if (state->lease_until_ns != 0 && c->monitor != NULL)
		container_later(c, 0);
}

static void
take_pid(struct container *c, const struct control_state *state)
{
	if (c->pidfd >= 0 || state->pid == 0)
		return;
	int pidfd = fd_pidfd_open((pid_t)state->pid);
	/* The number may be another process's by now: with its start time it is this one. */
	if (pidfd >= 0 && control_start_of(state->pid) == state->pid_start)
		c->pidfd = pidfd;
	else
		fd_close(&pidfd);
}

static void
take_steps(struct container *c, const struct control_state *state)
{
	size_t count = c->plan != NULL && !c->hold ? c->plan->steps_count : 0;
	struct msg_container *row = &c->row;
	row->init_count = (uint32_t)count;
	row->init_done = state->init_done < count ? state->init_done : (uint32_t)count;
	row->init_failed = state->init_failed != 0;
	row->init_warned = state->init_warned;
	text_copy(row->init_step, sizeof(row->init_step),
		  row->init_done < count ? c->plan->steps[row->init_done].id : "");
}

/* Its init steps run: it has a process, and is not started yet. */
static void
initialising(struct container *c, const struct control_state *state)
{
	take_pid(c, state);
	take_steps(c, state);
	take_lease(c, state);
	c->row.pid = state->pid;
	c->row.state = c->stop_sent != 0 ? MSG_CONTAINER_STOPPING : MSG_CONTAINER_PREPARING;
	container_publish(c);
}

static void
started(struct container *c, const struct control_state *state)
{
	bool fresh =
		c->row.state != MSG_CONTAINER_RUNNING && c->row.state != MSG_CONTAINER_STOPPING;
	take_pid(c, state);
	take_steps(c, state);
	take_lease(c, state);
	c->row.pid = state->pid;
	c->row.started_wall_ns = state->started_wall_ns;
	c->row.conditions |= MSG_STARTED;
	c->row.state = state->phase == CONTROL_STOPPING || c->stop_sent != 0
			       ? MSG_CONTAINER_STOPPING
			       : MSG_CONTAINER_RUNNING;
	if (fresh && c->began_ns != 0) {
		metric_add(
			container_figures_series(c, METRICS_CONTAINER_STARTS, "result", "started"),
			1);
		metrics_observe(container_figures_series(c, METRICS_CONTAINER_START_DURATION,
							 "phase", "all"),
				METRICS_CONTAINER_START_DURATION, world_mono_ns() - c->began_ns);
	}
	if (c->row.state == MSG_CONTAINER_RUNNING && !c->hold)
		check_start(c);
	container_publish(c);
}

static void
ended(struct container *c, const struct control_state *state)
{
	struct msg_container *row = &c->row;
	take_steps(c, state);
	take_lease(c, state);
	row->pid = 0;
	row->started_wall_ns = state->started_wall_ns;
	row->oom_killed = take_end(row, state);
	row->state = MSG_CONTAINER_EXITED;
	row->memory_bytes = 0;
	row->pids = 0;
	container_figures_oom(c, state->oom_kills);
	if (state->phase != CONTROL_FAILED)
		return;
	struct err err = {0};
	err_set(&err, state->err_kind < ERR_KINDS_ ? (enum err_kind)state->err_kind : ERR_INTERNAL,
		"%s", state->what);
	if (state->why[0] != '\0')
		err_why(&err, "%s", state->why);
	if (state->fix[0] != '\0')
		err_fix(&err, "%s", state->fix);
	container_fail(c, &err);
	row->exit_status = state->exit_status;
}

static void
lost(struct container *c)
{
	struct err err = {0};
	err_set(&err, ERR_INTERNAL, "the container's monitor ended before it");
	err_why(&err, "nobody knows how the container ended; what was left of it was killed");
	/* It could not run when the time came. */
	if (c->row.lease_until_ns != 0 && world_mono_ns() >= c->row.lease_until_ns)
		c->row.lease_over = 1;
	c->row.pid = 0;
	c->row.state = MSG_CONTAINER_EXITED;
	c->row.exit_status = -1;
	c->row.exit_signal = SIGKILL;
	c->row.exited_wall_ns = world_wall_ns();
	msg_reason_from(&err, &c->row.reason);
	log_err(LOG_ERROR, "a monitor is gone", &err);
}

/* Who hears that it has ended may start the next one elsewhere. */
void
container_watch_lost(struct container *c)
{
	c->phase = CONTAINER_LOST;
	if (!container_clear_groups(c))
		return;
	c->phase = CONTAINER_ENDED;
	lost(c);
	container_publish(c);
	container_step(c);
}

/* The attempt is over: what the monitor wrote down counts. */
static void
finish(struct container *c)
{
	struct err err = {0};
	struct control_state state;
	check_stop(c);
	container_measure(c);
	fd_close(&c->pidfd);
	defer_close int folder = place_container(&c->host->place, c->replica, false, &err);
	if (folder < 0 || !monitor_link_record(folder, "exit", &state) ||
	    state.attempt != c->attempt) {
		container_watch_lost(c);
		return;
	}
	c->phase = CONTAINER_ENDED;
	container_figures_lines(c, &state);
	ended(c, &state);
	container_publish(c);
	container_clear_groups(c);
	container_step(c);
}

static void
on_told(void *arg, const struct control_state *state)
{
	struct container *c = arg;
	if (state == NULL) {
		c->monitor = NULL;
		finish(c);
		return;
	}
	if (state->attempt != c->attempt || state->replica != c->replica)
		return;
	c->told = *state;
	container_figures_lines(c, state);
	if (state->phase == CONTROL_INIT)
		initialising(c, state);
	if (state->phase == CONTROL_RUNNING || state->phase == CONTROL_STOPPING)
		started(c, state);
}

static int
watch_monitor(struct container *c, struct err *err)
{
	defer_close int folder = place_container(&c->host->place, c->replica, false, err);
	if (folder < 0)
		return -1;
	return monitor_link_open(c->host->loop, folder, on_told, c, &c->monitor, err);
}

int
container_watch_begin(struct container *c, struct err *err)
{
	if (watch_monitor(c, err) == 0)
		return 0;
	if (err->code != ECONNREFUSED)
		return -1;
	/* A program that ends at once may be faster than we are: its monitor has left the record.
	 */
	finish(c);
	return 0;
}

/* ---- after a restart ---- */

static void
adopt_running(struct container *c, const struct control_state *state)
{
	struct err err = {0};
	c->attempt = state->attempt;
	c->told = *state;
	c->row.attempt = state->attempt;
	c->groups_left = true;
	c->phase = CONTAINER_STARTED;
	c->row.state = MSG_CONTAINER_PREPARING;
	c->row.conditions = MSG_IMAGE_READY | MSG_VOLUME_READY | MSG_NETWORK_READY;
	if (c->hold)
		container_watch_last_end(c);
	container_figures_adopt(c);
	if (watch_monitor(c, &err) < 0)
		finish(c);
	else if (state->phase == CONTROL_RUNNING || state->phase == CONTROL_STOPPING)
		/* From the file, before the monitor answers: nobody may see less than before. */
		started(c, state);
}

void
container_adopt(struct container *c)
{
	char path[64];
	struct err err = {0};
	struct control_state state;
	/* Whatever is written down: there may be processes. */
	c->groups_left = true;
	if (!container_plan_load(c))
		log_event(LOG_WARN, "a container has no plan any more",
			  log_u("replica", c->replica), LOG_END);
	if (c->plan != NULL && container_image_again(c, &err) < 0)
		log_err(LOG_WARN, "the image of a container is gone", &err);
	c->row.conditions = 0;
	const struct address_pool_entry *entry = address_pool_find(&c->host->pool, c->replica);
	if (entry != NULL) {
		c->row.addr4 = entry->addr4;
		c->row.addr6 = entry->addr6;
	}
	defer_close int folder = place_container(&c->host->place, c->replica, false, &err);
	snprintf(path, sizeof(path), "exits/%" PRIu64, c->replica);
	defer_close int exits = place_folder(c->host->place.data, path, &err);
	c->hold = folder >= 0 && faccessat(folder, "hold", F_OK, 0) == 0;
	if (folder >= 0 && monitor_link_record(folder, "state", &state)) {
		bool over = monitor_link_record(folder, "exit", &c->told) &&
			    c->told.attempt == state.attempt;
		c->row.memory_limit = c->plan != NULL ? c->plan->memory_bytes : 0;
		if (!over) {
			adopt_running(c, &state);
			return;
		}
		state = c->told;
	} else if (exits < 0 || !monitor_link_record(exits, "exit", &state)) {
		return;
	}
	c->attempt = state.attempt;
	c->row.attempt = state.attempt;
	c->phase = CONTAINER_ENDED;
	c->groups_left = true;
	ended(c, &state);
	container_publish(c);
}
