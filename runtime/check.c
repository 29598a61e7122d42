/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command at a time. It is an ordinary exec whose stream ends here: closing it kills the
 * command at once. Until the first success the checks come faster, so that a replica is ready as
 * soon as it can be.
 */
#include "runtime/check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "runtime/container.h"
#include "runtime/frame.h"
#include "runtime/helper.h"

enum { FIRST_MS = 100, RESULT_KEY = 255, DETAIL_BYTES = 200 };

/* A command that is under way: an object of its own, because a handle is closed a turn later. */
struct run {
	uv_poll_t poll;
	int stream;
	struct frame_parser parser;
};

struct check {
	struct container *c;
	uv_timer_t timer; /* the next run, or the limit of this one */
	struct run *run;  /* NULL: none under way */
	uint64_t began_ns;
	struct msg_result row;
	char output[DETAIL_BYTES];
	size_t output_bytes;
	uint64_t pace_ms;
};

static void on_next(uv_timer_t *timer);

static uint64_t
interval_ms(const struct check *k)
{
	uint64_t ms = k->c->plan->health_interval_ms;
	return ms == 0 ? 10000 : ms;
}

static void
on_run_closed(uv_handle_t *handle)
{
	/* The poll handle is the first member. */
	mem_free(handle);
}

static void
on_check_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
end_run(struct check *k)
{
	struct run *run = k->run;
	if (run == NULL)
		return;
	k->run = NULL;
	uv_poll_stop(&run->poll);
	uv_close((uv_handle_t *)&run->poll, on_run_closed);
	fd_close(&run->stream);
}

static void
count(struct check *k, bool ok)
{
	struct metric_labels labels = {0};
	char service[MSG_TARGET];
	container_service_label(k->c, service);
	metric_label(&labels, "service", service);
	metric_label(&labels, "result", ok ? "success" : "failure");
	metric_add(metrics_get(station_metrics(k->c->host->st), METRICS_HEALTH_CHECKS, &labels), 1);
}

static void
publish(struct check *k, enum msg_result_failure failure, uint32_t status)
{
	struct msg_result *r = &k->row;
	bool ok = failure == MSG_FAILURE_NONE, changed = false;
	r->replica = k->c->replica;
	r->attempt = k->c->attempt;
	r->ok = ok;
	r->successes = ok ? r->successes + 1 : 0;
	r->failures = ok ? 0 : r->failures + 1;
	r->total++;
	r->total_failures += !ok;
	r->last_wall_ns = world_wall_ns();
	r->latency_ns = world_mono_ns() - k->began_ns;
	r->failure = failure;
	r->http_status = status;
	text_printable(k->output, k->output_bytes, r->detail, sizeof(r->detail));
	count(k, ok);
	if (ring_table_set(station_writer(k->c->host->st), MSG_TABLE_RESULT,
			   k->c->replica << 8 | RESULT_KEY, r, &changed) == RING_OK &&
	    changed)
		station_kick(k->c->host->st);
	if (!ok) {
		container_look_for_ports(k->c);
		container_publish(k->c);
	}
}

static void
schedule(struct check *k)
{
	uint64_t ms = interval_ms(k);
	if (!k->row.ok && k->row.successes == 0 && k->pace_ms < ms) {
		ms = k->pace_ms;
		k->pace_ms *= 2;
	}
	uv_timer_start(&k->timer, on_next, ms, 0);
}

static void
finish(struct check *k, enum msg_result_failure failure, uint32_t status)
{
	end_run(k);
	publish(k, failure, status);
	schedule(k);
}

static void
take_output(struct check *k, const struct frame *f)
{
	size_t room = sizeof(k->output) - k->output_bytes;
	size_t take = f->bytes < room ? f->bytes : room;
	memcpy(k->output + k->output_bytes, f->data, take);
	k->output_bytes += take;
}

static uint32_t
status_of(const struct frame *f)
{
	uint32_t status = 255;
	if (f->bytes == 4)
		status = (uint32_t)f->data[0] | (uint32_t)f->data[1] << 8 |
			 (uint32_t)f->data[2] << 16 | (uint32_t)f->data[3] << 24;
	return status;
}

static void
take_frames(struct check *k)
{
	struct frame f;
	int got;
	while ((got = frame_take(&k->run->parser, &f)) == 1) {
		if (f.type == MSG_FRAME_EXIT) {
			uint32_t status = status_of(&f);
			finish(k, status == 0 ? MSG_FAILURE_NONE : MSG_FAILURE_EXIT, status);
			return;
		}
		take_output(k, &f);
	}
	if (got < 0)
		finish(k, MSG_FAILURE_OTHER, 0);
}

static void
on_ready(uv_poll_t *poll, int status, int events)
{
	struct check *k = poll->data;
	size_t cap;
	(void)events;
	uint8_t *space = frame_space(&k->run->parser, &cap);
	ssize_t n = status < 0 ? 0 : recv(k->run->stream, space, cap, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		finish(k, MSG_FAILURE_OTHER, 0);
		return;
	}
	k->run->parser.used += (size_t)n;
	take_frames(k);
}

static void
on_limit(uv_timer_t *timer)
{
	finish(timer->data, MSG_FAILURE_TIMEOUT, 0);
}

/* Takes the stream over. */
static int
watch(struct check *k, int stream, struct err *err)
{
	struct run *run = mem_zalloc(MEM_RUNTIME, sizeof(*run));
	if (run == NULL || fd_nonblock(stream, true) < 0 ||
	    uv_poll_init(k->c->host->loop, &run->poll, stream) < 0) {
		mem_free(run);
		close(stream);
		return err_set(err, ERR_NO_MEMORY, "no memory for a check");
	}
	run->stream = stream;
	run->poll.data = k;
	k->run = run;
	uv_poll_start(&run->poll, UV_READABLE, on_ready);
	return 0;
}

static int
begin_run(struct check *k, struct err *err)
{
	int pair[2];
	const struct plan_list *command = &k->c->plan->health_command;
	struct helper_command run = {
		.argv = command->items, .argc = command->count, .kill_on_close = true};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "cannot make a stream");
	int done = helper_exec(k->c, &run, pair[1], err);
	close(pair[1]);
	if (done < 0) {
		close(pair[0]);
		return -1;
	}
	return watch(k, pair[0], err);
}

static void
on_next(uv_timer_t *timer)
{
	struct check *k = timer->data;
	struct err err = {0};
	uint64_t limit = k->c->plan->health_timeout_ms;
	k->began_ns = world_mono_ns();
	k->output_bytes = 0;
	if (begin_run(k, &err) < 0) {
		text_copy(k->output, sizeof(k->output), err.what);
		k->output_bytes = strlen(k->output);
		finish(k, MSG_FAILURE_OTHER, 0);
		return;
	}
	uv_timer_start(&k->timer, on_limit, limit == 0 ? 5000 : limit, 0);
}

void
check_start(struct container *c)
{
	if (c->check != NULL || c->plan == NULL || !c->plan->health_command.given ||
	    c->plan->health_command.count == 0)
		return;
	struct check *k = mem_zalloc(MEM_RUNTIME, sizeof(*k));
	if (k == NULL)
		return; /* no result: the scheduler's gate says so in time */
	k->c = c;
	k->pace_ms = FIRST_MS;
	k->timer.data = k;
	uv_timer_init(c->host->loop, &k->timer);
	c->check = k;
	uv_timer_start(&k->timer, on_next, FIRST_MS, 0);
}

void
check_stop(struct container *c)
{
	struct check *k = c->check;
	if (k == NULL)
		return;
	c->check = NULL;
	end_run(k);
	uv_timer_stop(&k->timer);
	uv_close((uv_handle_t *)&k->timer, on_check_closed);
}
