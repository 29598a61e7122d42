/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of one replica. Whatever happens (a claim, a plan, an address prefix, the data
 * path's word, a monitor's state, a timer) ends in container_step(), which reads the claim and does
 * the next thing. The truth about a process is its monitor's; a monitor that ends without a record
 * was killed, and then its container is, too, and the attempt is reported as ended by nobody knows
 * what.
 */
#include "runtime/container.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "runtime/check.h"
#include "runtime/listening.h"

enum { ARENA_BYTES = 16 << 20, PLAN_TIMEOUT_MS = 10000, RETRY_MS = 1000, BUSY_MS = 50 };

static void on_timer(uv_timer_t *timer);
static void stop_pull(struct container *c);

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

static void
release_image(struct container *c)
{
	if (c->held[0] == '\0')
		return;
	image_store_release(c->host->images, c->held);
	c->held[0] = '\0';
	image_ops_publish(c->host->ops);
}

/* Lets go of what the object holds; what runs goes on. */
static void
close_container(struct container *c)
{
	c->closing = true;
	stop_pull(c);
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

static struct metric_series *
series(const struct container *c, enum metrics_id id, const char *name, const char *value)
{
	char service[MSG_TARGET];
	struct metric_labels labels = {0};
	container_service_label(c, service);
	metric_label(&labels, "service", service);
	if (name != NULL)
		metric_label(&labels, name, value);
	return metrics_get(station_metrics(c->host->st), id, &labels);
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

/* ---- the plan ---- */

static void
drop_plan(struct container *c)
{
	stop_pull(c);
	release_image(c);
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
static bool
load_plan(struct container *c)
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

static bool
have_plan(struct container *c)
{
	const uint8_t *wanted = c->claim.plan_sha256;
	if (c->plan != NULL && memcmp(c->plan_sha256, wanted, 32) == 0)
		return true;
	if (c->asking)
		return false;
	if (load_plan(c) && memcmp(c->plan_sha256, wanted, 32) == 0)
		return true;
	ask_plan(c);
	return false;
}

/* ---- image, network, data path ---- */

static void
show_progress(struct container *c, const struct pull_progress *progress, bool under_way)
{
	c->row.pulling = under_way;
	c->row.pull_bytes = progress->bytes;
	c->row.pull_total_bytes = progress->total_bytes;
	c->row.pull_layers = progress->layers;
	c->row.pull_layers_here = progress->layers_here;
}

static void
pull_moved(void *arg, uint64_t replica, const struct pull_progress *progress)
{
	struct container *c = container_find(arg, replica);

	if (c == NULL || !c->pulling)
		return;
	show_progress(c, progress, true);
	container_publish(c);
}

static void
pull_done(void *arg, uint64_t replica, const struct err *err, const struct msg_imported *imported,
	  const struct pull_progress *progress)
{
	struct container_host *host = arg;
	struct container *c = container_find(host, replica);

	image_ops_publish(host->ops);
	if (c == NULL || !c->pulling)
		return;
	c->pulling = false;
	show_progress(c, progress, false);
	bool newer = c->plan != NULL && c->plan->pull == PLAN_PULL_NEWER;
	if (err == NULL)
		text_copy(c->pulled, sizeof(c->pulled), imported->digest);
	else if (newer && image_store_digest(host->images, c->plan->image)[0] != '\0')
		/* The registry cannot be asked: what is here will do. */
		text_copy(c->pulled, sizeof(c->pulled),
			  image_store_digest(host->images, c->plan->image));
	else {
		container_fail(c, err);
		return;
	}
	container_step(c);
}

static const struct pull_calls pull_calls = {.done = pull_done, .moved = pull_moved};

static void
stop_pull(struct container *c)
{
	if (!c->pulling)
		return;
	c->pulling = false;
	c->row.pulling = 0;
	image_pull_forget(c->host->pulls, c->host, c->replica);
}

/* Which image is meant: a pinned digest is exactly that one, whatever its name means by now. NULL:
 * the registry has to be asked. */
static const char *
wanted_image(const struct container *c)
{
	const struct plan *p = c->plan;

	if (p->image_digest != NULL)
		return p->image_digest;
	if (c->pulled[0] != '\0')
		return c->pulled;
	return p->pull == PLAN_PULL_ALWAYS || p->pull == PLAN_PULL_NEWER ? NULL : p->image;
}

static int
start_pull(struct container *c, struct err *err)
{
	char name[MSG_IMAGE], digest[MSG_DIGEST];
	const struct pull_progress nothing = {0};

	if (image_ask_name(c->plan->image, name, digest, err) < 0)
		return -1;
	if (c->plan->image_digest != NULL &&
	    !text_copy(digest, sizeof(digest), c->plan->image_digest))
		return err_set(err, ERR_UNSUPPORTED, "only sha256 digests can be checked");
	if (image_pull_want(c->host->pulls, name, digest, &pull_calls, c->host, c->replica, err) <
	    0)
		return -1;
	c->pulling = true;
	show_progress(c, &nothing, true);
	container_publish(c);
	return 0;
}

static void
hold_image(struct container *c)
{
	if (c->held[0] == '\0') {
		text_copy(c->held, sizeof(c->held), c->image->digest);
		image_store_hold(c->host->images, c->held);
		image_ops_publish(c->host->ops);
	}
	text_copy(c->row.image_digest, sizeof(c->row.image_digest), c->image->digest);
	c->row.conditions |= MSG_IMAGE_READY;
}

/* 1: it is there; 0: it is being pulled; -1: it cannot be had. */
static int
find_image(struct container *c, struct err *err)
{
	if (c->pulling)
		return 0;
	const char *reference = c->image == NULL ? wanted_image(c) : NULL;
	int rc = -1;
	if (c->image != NULL)
		rc = 0;
	else if (reference != NULL)
		rc = image_store_find(c->host->images, reference, &c->arena, &c->image, err);
	if (rc < 0 && reference != NULL && err->kind != ERR_NOT_FOUND)
		return err_where(err, "image %s", c->plan->image);
	if (rc < 0 && c->plan->pull == PLAN_PULL_NEVER) {
		/* In one line: what is told further on has few. */
		text_format(err->what, sizeof(err->what),
			    "the image %s is not on this node, and its pull_policy is never",
			    c->plan->image);
		return err_where(err, "image %s", c->plan->image);
	}
	if (rc < 0) {
		err_clear(err);
		return start_pull(c, err);
	}
	hold_image(c);
	return 1;
}

/* After a restart: what a container that was there runs is not asked for again. */
static int
find_image_again(struct container *c, struct err *err)
{
	const char *reference =
		c->plan->image_digest != NULL ? c->plan->image_digest : c->plan->image;
	if (image_store_find(c->host->images, reference, &c->arena, &c->image, err) < 0)
		return -1;
	hold_image(c);
	return 0;
}

static int
save_addresses(struct container_host *host, struct err *err)
{
	struct buf text;
	buf_init(&text, MEM_RUNTIME, ADDRESS_POOL_TEXT_MAX);
	address_pool_save(&host->pool, &text);
	int done = buf_ok(&text) ? fd_replace(host->place.data, "addresses", text.data, text.length,
					      0600, err)
				 : err_set(err, ERR_NO_MEMORY, "no memory to keep the addresses");
	buf_fini(&text);
	return done;
}

static int
make_network(struct container *c, struct err *err)
{
	const struct address_pool_entry *entry;
	struct net_link_info info;
	bool fresh;
	if (address_pool_take(&c->host->pool, c->replica, world_wall_ns(), &entry, &fresh, err) < 0)
		return -1;
	/* On disk before anybody can see it. */
	if (fresh && save_addresses(c->host, err) < 0) {
		address_pool_release(&c->host->pool, c->replica, 0);
		return -1;
	}
	struct net_config config = {
		.replica = c->replica,
		.addr4 = entry->addr4,
		.addr6 = entry->addr6,
		.gateway4 = c->host->prefix.gateway4,
		.gateway6 = c->host->prefix.gateway6,
		.mtu = c->host->prefix.mtu,
	};
	if (net_make(c->host->net, &config, &info, err) < 0)
		return -1;
	c->row.addr4 = entry->addr4;
	c->row.addr6 = entry->addr6;
	c->veth = (struct msg_veth){.replica = c->replica,
				    .ifindex = info.ifindex,
				    .addr4 = entry->addr4,
				    .addr6 = entry->addr6};
	memcpy(c->veth.mac, info.mac, 6);
	memcpy(c->veth.host_mac, info.host_mac, 6);
	bool changed = false;
	if (ring_table_set(station_writer(c->host->st), MSG_TABLE_VETH, c->replica, &c->veth,
			   &changed) != RING_OK)
		return err_set(err, ERR_LIMIT, "no room in the table of links");
	if (changed)
		station_kick(c->host->st);
	c->network = true;
	return 0;
}

/* After a restart: the link of a container that runs is told again. */
static void
show_network(struct container *c)
{
	struct err err = {0};
	if (c->network || !c->host->have_prefix)
		return;
	if (make_network(c, &err) < 0)
		log_err(LOG_WARN, "the network of a running container is not whole", &err);
	container_publish(c);
}

/* With BPF the container's link must be attached before it may speak; without, the fabric's routes
 * do. */
static bool
attached(const struct container *c)
{
	const struct ring_reader *r = c->host->dataplane;
	if (r == NULL)
		return false;
	const struct msg_datapath *path = ring_table_get(r, MSG_TABLE_DATAPATH, 1);
	if (path != NULL && path->bpf == 0)
		return true;
	const struct msg_attached *row = ring_table_get(r, MSG_TABLE_ATTACHED, c->replica);
	return row != NULL && row->ifindex == c->veth.ifindex && row->hook != 0;
}

/* ---- an attempt ---- */

/* How the program ended is in the record that its monitor left: that of a hold goes elsewhere. */
static void
take_last_end(struct container *c)
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
	row->exit_status = state.exit_status;
	row->exit_signal = state.exit_signal;
	row->exited_wall_ns = state.exited_wall_ns;
	row->seccomp_killed = state.exit_signal == SIGSYS;
	row->hold_oom =
		state.oom_kills > 0 && (state.exit_signal == SIGKILL || state.exit_status != 0);
}

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
	c->told = (struct control_state){0};
	memset(c->lines_seen, 0, sizeof(c->lines_seen));
	c->lines_before = false;
	c->cpu_seen = 0;
	c->oom_seen = 0;
	c->pulled[0] = '\0';
	stop_pull(c);
	c->row = (struct msg_container){
		.replica = replica,
		.attempt = c->attempt,
		.state = MSG_CONTAINER_PREPARING,
		.addr4 = addr4,
		.addr6 = addr6,
		.created_wall_ns = world_wall_ns(),
	};
	if (c->hold)
		take_last_end(c);
	metric_add(series(c, METRICS_CONTAINER_STARTS, "result", "started"), 0);
	metric_add(series(c, METRICS_CONTAINER_STARTS, "result", "failed"), 0);
	metric_add(series(c, METRICS_CONTAINER_OOM_KILLS, NULL, NULL), 0);
	metric_add(series(c, METRICS_LOG_LINES, "stream", "stdout"), 0);
	metric_add(series(c, METRICS_LOG_LINES, "stream", "stderr"), 0);
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
	metric_add(series(c, METRICS_CONTAINER_STARTS, "result", "failed"), 1);
	container_publish(c);
}

static void on_told(void *arg, const struct control_state *state);

static int
watch_monitor(struct container *c, struct err *err)
{
	defer_close int folder = place_container(&c->host->place, c->replica, false, err);
	if (folder < 0)
		return -1;
	return monitor_link_open(c->host->loop, folder, on_told, c, &c->monitor, err);
}

/* Groups of an earlier attempt have its counters: they go first. */
static bool
clear_groups(struct container *c)
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
	if (!clear_groups(c) || !have_plan(c))
		return;
	int found = find_image(c, &err);
	if (found < 0)
		container_fail(c, &err);
	if (found <= 0)
		return;
	if (!c->host->have_prefix) {
		container_publish(c);
		return;
	}
	if (!c->network && make_network(c, &err) < 0) {
		container_fail(c, &err);
		return;
	}
	c->row.conditions |= MSG_NETWORK_READY;
	c->row.addr4 = c->veth.addr4;
	c->row.addr6 = c->veth.addr6;
	container_publish(c);
	if (!attached(c))
		return;
	if (container_start(c, &err) < 0 || watch_monitor(c, &err) < 0) {
		container_fail(c, &err);
		container_later(c, BUSY_MS);
		return;
	}
	c->phase = CONTAINER_STARTED;
	c->row.memory_limit = c->plan->memory_bytes;
	container_publish(c);
}

/* ---- the monitor's word ---- */

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
count_lines(struct container *c, const struct control_state *state)
{
	const uint64_t now[3] = {state->lines_out, state->lines_err, state->lines_dropped};
	static const char *const streams[2] = {"stdout", "stderr"};
	for (size_t i = 0; i < 2 && !c->lines_before; i++)
		if (now[i] > c->lines_seen[i])
			metric_add(series(c, METRICS_LOG_LINES, "stream", streams[i]),
				   now[i] - c->lines_seen[i]);
	if (now[2] > c->lines_seen[2] && !c->lines_before) {
		char service[MSG_TARGET];
		struct metric_labels labels = {0};
		container_service_label(c, service);
		metric_label(&labels, "service", service);
		metric_label(&labels, "sink", "file");
		metric_label(&labels, "reason", "write");
		metric_add(metrics_get(station_metrics(c->host->st), METRICS_LOG_LINES_DROPPED,
				       &labels),
			   now[2] - c->lines_seen[2]);
	}
	memcpy(c->lines_seen, now, sizeof(now));
	c->lines_before = false;
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
	c->row.pid = state->pid;
	c->row.started_wall_ns = state->started_wall_ns;
	c->row.conditions |= MSG_STARTED;
	c->row.state = state->phase == CONTROL_STOPPING || c->stop_sent != 0
			       ? MSG_CONTAINER_STOPPING
			       : MSG_CONTAINER_RUNNING;
	if (fresh && c->began_ns != 0) {
		metric_add(series(c, METRICS_CONTAINER_STARTS, "result", "started"), 1);
		metrics_observe(series(c, METRICS_CONTAINER_START_DURATION, "phase", "all"),
				METRICS_CONTAINER_START_DURATION, world_mono_ns() - c->began_ns);
	}
	if (c->row.state == MSG_CONTAINER_RUNNING && !c->hold)
		check_start(c);
	container_publish(c);
}

/* The kernel may end one of many processes: process 1 lives on, and nobody else tells. */
static void
count_oom(struct container *c, uint64_t kills)
{
	if (kills <= c->oom_seen)
		return;
	metric_add(series(c, METRICS_CONTAINER_OOM_KILLS, NULL, NULL), kills - c->oom_seen);
	c->oom_seen = kills > UINT32_MAX ? UINT32_MAX : (uint32_t)kills;
}

static void
ended(struct container *c, const struct control_state *state)
{
	struct msg_container *row = &c->row;
	take_steps(c, state);
	row->pid = 0;
	row->started_wall_ns = state->started_wall_ns;
	row->exited_wall_ns = state->exited_wall_ns;
	row->exit_status = state->exit_status;
	row->exit_signal = state->exit_signal;
	row->seccomp_killed = state->exit_signal == SIGSYS;
	row->oom_killed =
		state->oom_kills > 0 && (state->exit_signal == SIGKILL || state->exit_status != 0);
	row->state = MSG_CONTAINER_EXITED;
	row->memory_bytes = 0;
	row->pids = 0;
	count_oom(c, state->oom_kills);
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
	c->row.pid = 0;
	c->row.state = MSG_CONTAINER_EXITED;
	c->row.exit_status = -1;
	c->row.exit_signal = SIGKILL;
	c->row.exited_wall_ns = world_wall_ns();
	msg_reason_from(&err, &c->row.reason);
	log_err(LOG_ERROR, "a monitor is gone", &err);
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
	c->phase = CONTAINER_ENDED;
	defer_close int folder = place_container(&c->host->place, c->replica, false, &err);
	if (folder >= 0 && monitor_link_record(folder, "exit", &state) &&
	    state.attempt == c->attempt) {
		count_lines(c, &state);
		ended(c, &state);
	} else {
		lost(c);
	}
	container_publish(c);
	clear_groups(c);
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
	count_lines(c, state);
	if (state->phase == CONTROL_INIT)
		initialising(c, state);
	if (state->phase == CONTROL_RUNNING || state->phase == CONTROL_STOPPING)
		started(c, state);
}

/* ---- stopping and removing ---- */

static void
stop(struct container *c)
{
	uint32_t signal = c->claim.stop_signal != 0 ? c->claim.stop_signal : SIGTERM;
	uint32_t grace_ms = c->claim.stop_grace_ms;
	/* Told again when the wish changed: a shorter grace counts. */
	if (c->stop_sent == grace_ms + 1)
		return;
	c->stop_sent = grace_ms + 1;
	if (signal > 64)
		signal = SIGTERM;
	monitor_link_order(c->monitor, CONTROL_STOP, signal, grace_ms);
	check_stop(c);
	if (c->row.state == MSG_CONTAINER_RUNNING) {
		c->row.state = MSG_CONTAINER_STOPPING;
		container_publish(c);
	}
}

static void
stopped(struct container *c)
{
	if (c->phase == CONTAINER_ENDED && c->row.attempt == c->attempt && c->row.state != 0)
		return;
	stop_pull(c);
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

/* What was measured of it is no longer shown; a successor has the same name and the same series. */
static void
hide_figures(const struct container *c)
{
	char label[MSG_TARGET], other[MSG_TARGET];
	struct map_iter it = {0};
	container_label(c, label);
	while (map_next(&c->host->containers, &it)) {
		container_label(it.value, other);
		if (it.value != c && strcmp(label, other) == 0)
			return;
	}
	metric_hide(series(c, METRICS_CONTAINER_MEMORY, "replica", label));
	metric_hide(series(c, METRICS_CONTAINER_MEMORY_LIMIT, "replica", label));
}

static void
remove_all(struct container *c)
{
	struct err err = {0};
	struct container_host *h = c->host;
	struct ring_writer *w = station_writer(h->st);
	const char *deployment = c->plan != NULL ? c->plan->deployment : c->claim.deployment_name;
	const char *service = c->plan != NULL ? c->plan->service_name : c->claim.service_name;
	uint32_t index = c->plan != NULL ? c->plan->index : c->claim.index;
	c->groups_left = true;
	if (!clear_groups(c))
		return;
	net_remove(h->net, c->replica);
	if (address_pool_release(&h->pool, c->replica, world_wall_ns()) &&
	    save_addresses(h, &err) < 0)
		log_err(LOG_WARN, "a freed address is not noted", &err);
	remove_volumes(c);
	place_forget(&h->place, deployment, service, index, c->replica);
	release_image(c);
	ring_table_remove(w, MSG_TABLE_VETH, c->replica);
	ring_table_remove(w, MSG_TABLE_RESULT, c->replica << 8 | 255);
	ring_table_remove(w, MSG_TABLE_CONTAINER, c->replica);
	station_kick(h->st);
	map_remove_u64(&h->containers, c->replica);
	hide_figures(c);
	close_container(c);
}

/* ---- the step ---- */

void
container_step(struct container *c)
{
	if (c->closing)
		return;
	if (!c->claimed && !c->forgotten)
		return;
	uint32_t desired = c->forgotten ? MSG_REMOVE : c->claim.desired;
	switch ((enum msg_desired)desired) {
	case MSG_RUN:
	case MSG_HOLD:
		if (c->monitor != NULL) {
			if (c->attempt != c->claim.attempt)
				stop(c);
			else
				show_network(c);
			return;
		}
		if (c->phase == CONTAINER_ENDED && c->attempt == c->claim.attempt) {
			clear_groups(c);
			return;
		}
		if (!c->claim.held)
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
container_claim(struct container *c, const struct msg_claim *claim)
{
	c->claim = *claim;
	c->claimed = true;
	c->forgotten = false;
	container_step(c);
}

/* ---- after a restart ---- */

static void
adopt_running(struct container *c, const struct control_state *state)
{
	struct err err = {0};
	struct cgroups_stats stats;
	c->attempt = state->attempt;
	c->row.attempt = state->attempt;
	c->groups_left = true;
	c->phase = CONTAINER_STARTED;
	c->row.state = MSG_CONTAINER_PREPARING;
	c->row.conditions = MSG_IMAGE_READY | MSG_VOLUME_READY | MSG_NETWORK_READY;
	if (c->hold)
		take_last_end(c);
	/* What was up to now was counted by the one before, whose counters live on. */
	cgroups_stats(c->host->groups, c->replica, &stats);
	c->cpu_seen = stats.cpu_ns;
	c->oom_seen = stats.oom_kills > UINT32_MAX ? UINT32_MAX : (uint32_t)stats.oom_kills;
	c->lines_before = true;
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
	if (!load_plan(c))
		log_event(LOG_WARN, "a container has no plan any more",
			  log_u("replica", c->replica), LOG_END);
	if (c->plan != NULL && find_image_again(c, &err) < 0)
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

/* ---- figures ---- */

void
container_measure(struct container *c)
{
	char label[MSG_TARGET];
	struct cgroups_stats stats;
	if (!c->groups_left)
		return;
	cgroups_stats(c->host->groups, c->replica, &stats);
	c->row.memory_bytes = stats.memory_bytes;
	c->row.memory_peak =
		stats.memory_peak > c->row.memory_peak ? stats.memory_peak : c->row.memory_peak;
	c->row.cpu_ns = stats.cpu_ns;
	c->row.pids = (uint32_t)stats.pids;
	if (c->row.state == MSG_CONTAINER_RUNNING) {
		count_oom(c, stats.oom_kills);
		c->row.oom_killed = c->oom_seen;
	}
	container_label(c, label);
	if (stats.cpu_ns > c->cpu_seen)
		metric_add(series(c, METRICS_CONTAINER_CPU, "replica", label),
			   stats.cpu_ns - c->cpu_seen);
	c->cpu_seen = stats.cpu_ns;
	metric_set(series(c, METRICS_CONTAINER_MEMORY, "replica", label),
		   (int64_t)stats.memory_bytes);
	metric_set(series(c, METRICS_CONTAINER_MEMORY_LIMIT, "replica", label),
		   (int64_t)c->row.memory_limit);
	if (c->monitor != NULL)
		monitor_link_order(c->monitor, CONTROL_QUERY, 0, 0);
}

void
container_look_for_ports(struct container *c)
{
	struct listening list;
	if (c->row.pid == 0 || c->pidfd < 0)
		return;
	listening_read(c->row.pid, &list);
	c->row.listening_count = (uint32_t)list.count;
	for (size_t i = 0; i < 8; i++) {
		c->row.listening_ports[i] = i < list.count ? list.ports[i] : 0;
		c->row.listening_loopback[i] = i < list.count && list.loopback[i];
	}
}
