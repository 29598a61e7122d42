/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process: readers come and go, requests are answered, and one pass of reconcile.c follows
 * every turn in which anything may have changed, and whenever time alone changes something. The
 * first pass runs before any other process reads this segment, so that claims and objects are whole
 * from the start.
 */
#include "scheduler/scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/cluster.h"
#include "scheduler/cluster_keep.h"
#include "scheduler/intake.h"
#include "scheduler/publish.h"
#include "scheduler/reconcile.h"
#include "scheduler/request.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_etcd.h"
#include "scheduler/store_sqlite.h"
#include "spec/yaml.h"

enum {
	LOG_BYTES = 4 << 20,
	METRIC_SERIES = 4096,
	BUSY_MS = 2000,
	SETTLE_MS = 5000,
	ANSWER_BYTES_MAX = 8 << 20,
	ASK_SLOTS = 64,
};

struct scheduler {
	struct station *st;
	struct model model;
	struct intake intake;
	bool open;
	char boot[40];
	struct config config; /* taken over whole */
	struct cluster *cluster;
	uv_prepare_t turn; /* at the end of a loop turn, before it sleeps */
	uv_timer_t timer;
	bool stir; /* a pass is needed */
};

static struct scheduler scheduler;

/* ---- the configuration ---- */

static int
take_config(struct scheduler *s, struct err *err)
{
	size_t bytes;
	const void *data = station_config(s->st, &bytes);
	const struct config *config = config_check(data, bytes);

	if (!config)
		return err_set(err, ERR_CORRUPT, "the configuration from node does not hold");
	s->config = *config;
	return 0;
}

/* ---- passes ---- */

static void
time_has_come(uv_timer_t *timer)
{
	struct scheduler *s = timer->data;

	s->stir = true;
}

static void
no_difference(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

static void
look(struct scheduler *s, struct ring_reader *r, uint16_t table, size_t row_bytes)
{
	enum ring_status status =
		ring_table_sync(r, table, (uint32_t)row_bytes, no_difference, NULL);

	if (status == RING_OK)
		s->stir = true;
	else if (status == RING_BAD || status == RING_NO_MEM)
		log_event(LOG_WARN, "a table cannot be read", log_u("table", table),
			  log_u("role", ring_reader_role(r)), LOG_END);
}

/* A worker of a run that was killed serves out what it has, and wakes nobody. */
static void
look_at_workers(struct scheduler *s)
{
	for (size_t i = 0; i < ROLE_PROXIES_MAX; i++) {
		struct ring_reader *r = s->model.proxies[i];

		if (!r)
			continue;
		look(s, r, MSG_TABLE_APPLIED, sizeof(struct msg_applied));
		look(s, r, MSG_TABLE_DRAIN, sizeof(struct msg_drain));
		look(s, r, MSG_TABLE_DEMAND, sizeof(struct msg_demand));
	}
}

static void
pass(struct scheduler *s)
{
	uint64_t now = world_mono_ns();
	bool works;

	s->stir = false;
	if (cluster_held(s->cluster, &works)) {
		publish_held(&s->model, works);
		station_kick(s->st);
		return;
	}
	look_at_workers(s);
	reconcile_run(&s->model, now, world_wall_ns());
	station_kick(s->st);
	if (intake_due_ns(&s->intake))
		model_wake_at(&s->model, intake_due_ns(&s->intake));
	if (!s->model.due_ns) {
		uv_timer_stop(&s->timer);
		return;
	}
	uint64_t wait_ns = s->model.due_ns > now ? s->model.due_ns - now : 0;
	uv_update_time(station_loop(s->st));
	uv_timer_start(&s->timer, time_has_come, wait_ns / 1000000 + 1, 0);
}

static void leave(struct station *st);

static void
turn_ends(uv_prepare_t *handle)
{
	struct scheduler *s = handle->data;

	if (!s->open)
		return;
	if (cluster_stale(s->cluster)) {
		leave(s->st);
		return;
	}
	intake_run(&s->intake, world_mono_ns());
	if (s->stir)
		pass(s);
	cluster_turn(s->cluster);
	if (cluster_over(s->cluster))
		leave(s->st);
}

/* ---- readers ---- */

static void
look_at_node(struct scheduler *s, struct ring_reader *r)
{
	look(s, r, MSG_TABLE_NODE, sizeof(struct msg_node));
	look(s, r, MSG_TABLE_LISTENER, sizeof(struct msg_listener));
	look(s, r, MSG_TABLE_ETCD, sizeof(struct msg_etcd));
	look(s, r, MSG_TABLE_TUNNEL, sizeof(struct msg_tunnel));
	const struct msg_node *node = ring_table_get(r, MSG_TABLE_NODE, 1);
	if (!node || !node->cpus || node->cpus > 65536 || !node->memory_bytes)
		return;
	s->model.node_cpu_milli = node->cpus * 1000;
	s->model.node_memory_bytes = node->memory_bytes;
}

static void
wake(struct station *st, struct ring_reader *r)
{
	struct scheduler *s = &scheduler;

	(void)st;
	switch (ring_reader_role(r)) {
	case ROLE_RUNTIME:
		look(s, r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
		look(s, r, MSG_TABLE_RESULT, sizeof(struct msg_result));
		look(s, r, MSG_TABLE_IMAGE, sizeof(struct msg_image));
		look(s, r, MSG_TABLE_ATTACHMENT, sizeof(struct msg_attachment));
		break;
	case ROLE_PROBE:
		look(s, r, MSG_TABLE_RESULT, sizeof(struct msg_result));
		break;
	case ROLE_DATAPLANE:
		cluster_flows_take(s->cluster, r);
		look(s, r, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath));
		/* fallthrough */
	case ROLE_PROXY:
		look(s, r, MSG_TABLE_APPLIED, sizeof(struct msg_applied));
		look(s, r, MSG_TABLE_DRAIN, sizeof(struct msg_drain));
		look(s, r, MSG_TABLE_DEMAND, sizeof(struct msg_demand));
		break;
	case ROLE_OVERLAY:
		look(s, r, MSG_TABLE_PREFIX, sizeof(struct msg_prefix));
		look(s, r, MSG_TABLE_SEALED, sizeof(struct msg_sealed));
		look(s, r, MSG_TABLE_HEARD, sizeof(struct msg_heard));
		break;
	case ROLE_NODE:
		look_at_node(s, r);
		break;
	default:
		break;
	}
}

static struct ring_reader **
place_of(struct scheduler *s, uint16_t role, uint16_t index)
{
	switch (role) {
	case ROLE_RUNTIME:
		return &s->model.runtime;
	case ROLE_PROBE:
		return &s->model.probe;
	case ROLE_NODE:
		return &s->model.supervisor;
	case ROLE_DATAPLANE:
		return &s->model.dataplane;
	case ROLE_PROXY:
		return index < ROLE_PROXIES_MAX ? &s->model.proxies[index] : NULL;
	default:
		return NULL;
	}
}

static void
peer(struct station *st, struct ring_reader *r)
{
	struct ring_reader **place =
		place_of(&scheduler, ring_reader_role(r), ring_reader_index(r));

	if (place)
		*place = r;
	if (ring_reader_role(r) == ROLE_OVERLAY && scheduler.cluster)
		cluster_seal_pairs(scheduler.cluster); /* it carries on with them */
	scheduler.stir = true;
	wake(st, r);
}

static void
peer_gone(struct station *st, uint16_t role, uint16_t index, uint32_t generation)
{
	struct ring_reader **place = place_of(&scheduler, role, index);

	(void)st;
	if (place && *place && ring_reader_generation(*place) == generation)
		*place = NULL;
	scheduler.stir = true;
}

/* ---- requests ---- */

static void
answer_bytes(struct station *st, const struct station_request *q, const struct buf *out,
	     struct err *err)
{
	int fd = fd_memfd_sealed("answer", out->data, out->length);

	if (fd < 0) {
		err_sys(err, errno, "cannot hand over an answer");
		station_answer_err(st, q, err);
		return;
	}
	station_answer(st, q, NULL, 0, &fd, 1);
	fd_close(&fd);
}

static void
read_request(struct scheduler *s, const struct station_request *q, const void *body, size_t bytes)
{
	struct err err = {0};
	struct buf out;
	int rc;

	buf_init(&out, MEM_SCHEDULER, ANSWER_BYTES_MAX);
	switch (q->op) {
	case MSG_OP_DOCUMENT:
		rc = request_document(&s->model, body, bytes, &out, &err);
		break;
	case MSG_OP_REVISIONS:
		rc = request_revisions(&s->model, body, bytes, &out, &err);
		break;
	case MSG_OP_EVENTS:
		rc = request_events(&s->model, body, bytes, &out, &err);
		break;
	case MSG_OP_PLAN:
		rc = request_plan(&s->model, body, bytes, &out, &err);
		break;
	default:
		rc = err_set(&err, ERR_UNSUPPORTED, "the scheduler has no operation %u", q->op);
		break;
	}
	if (rc == 0)
		answer_bytes(s->st, q, &out, &err);
	else
		station_answer_err(s->st, q, &err);
	buf_fini(&out);
}

static void
run_request(struct scheduler *s, const struct station_request *q, const void *body, size_t bytes,
	    const int *fds, size_t count)
{
	struct msg_run_answer run;
	struct err err = {0};
	uint32_t elsewhere = 0;

	s->model.now_ns = world_mono_ns();
	s->model.wall_ns = world_wall_ns();
	if (cluster_may_change(s->cluster, &err) == 0 &&
	    request_run(&s->model, body, bytes, fds, count, &run, &elsewhere, &err) == 0) {
		pass(s);
		station_answer(s->st, q, &run, sizeof(run), NULL, 0);
	} else if (elsewhere) {
		cluster_run_ask(s->cluster, q, body, bytes, fds, count, elsewhere);
	} else {
		station_answer_err(s->st, q, &err);
	}
}

static void
answer_change(void *arg, const struct station_request *q, const struct err *err, const void *body,
	      size_t bytes)
{
	struct scheduler *s = arg;

	if (err)
		station_answer_err(s->st, q, err);
	else
		station_answer(s->st, q, body, bytes, NULL, 0);
}

/* Before the answer: who reads it finds the operation in its table. */
static void
pass_before_answer(void *arg)
{
	pass(arg);
}

static bool
holds(void *arg)
{
	const struct scheduler *s = arg;

	return cluster_holds(s->cluster);
}

static void
cluster_rows(void *arg)
{
	const struct scheduler *s = arg;

	cluster_rows_changed(s->cluster);
}

static void
stir(void *arg)
{
	struct scheduler *s = arg;

	s->model.now_ns = world_mono_ns();
	s->model.wall_ns = world_wall_ns();
	s->stir = true;
}

/* What each role may ask; the ring says who asks, and that is sure. */
static bool
may_ask(uint16_t role, uint16_t op)
{
	if (role == ROLE_RUNTIME)
		return op == MSG_OP_PLAN;
	return role == ROLE_API &&
	       ((op >= MSG_OP_APPLY && op <= MSG_OP_EVENTS) ||
		(op >= MSG_OP_ROLLBACK && op <= MSG_OP_RUN) || cluster_asked(op) ||
		op == MSG_OP_ENABLE || op == MSG_OP_DISABLE);
}

static void
request(struct station *st, const struct station_request *q, const void *body, size_t bytes,
	int *fds, size_t count)
{
	struct err err = {0};

	if (!may_ask(q->role, q->op)) {
		err_set(&err, ERR_DENIED, "this is not for %s to ask", role_name(q->role));
		station_answer_err(st, q, &err);
		return;
	}
	if (cluster_asked(q->op)) {
		cluster_request(scheduler.cluster, q, body, bytes, fds, count);
		return;
	}
	switch (q->op) {
	case MSG_OP_APPLY:
	case MSG_OP_SCALE:
	case MSG_OP_STOP:
	case MSG_OP_START:
	case MSG_OP_REMOVE:
	case MSG_OP_ROLLBACK:
	case MSG_OP_RESTART:
	case MSG_OP_PAUSE:
	case MSG_OP_RESUME:
	case MSG_OP_ABORT:
	case MSG_OP_ENABLE:
	case MSG_OP_DISABLE:
		stir(&scheduler);
		if (cluster_may_change(scheduler.cluster, &err) < 0)
			station_answer_err(st, q, &err);
		else
			intake_take(&scheduler.intake, q, body, bytes, fds, count);
		break;
	case MSG_OP_RUN:
		run_request(&scheduler, q, body, bytes, fds, count);
		break;
	default:
		read_request(&scheduler, q, body, bytes);
		break;
	}
}

/* ---- life ---- */

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->log_bytes = LOG_BYTES;
	out->metric_series = METRIC_SERIES;
	out->request_slots = ASK_SLOTS;
	out->request_body_bytes = RING_BODY_MAX;
	publish_layout(out);
	out->answers[out->answers_count++] = (struct ring_answers_layout){
		.role = ROLE_API,
		.instances = 2,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
	out->answers[out->answers_count++] = (struct ring_answers_layout){
		.role = ROLE_RUNTIME,
		.instances = 2,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
}

/* While the way from the root is still open. */
static void
name_place(struct station *st)
{
	char link[32], folder[256];

	text_format(link, sizeof(link), "/proc/self/fd/%d", station_folder(st, 0));
	ssize_t n = readlink(link, folder, sizeof(folder) - 1);
	if (n <= 0)
		return;
	folder[n] = '\0';
	sqlite_place(folder, station_welcome(st)->node);
}

static int
open_libraries(struct station *st, struct err *err)
{
	struct buf text;

	name_place(st);
	if (dl_load_yaml(err) < 0 || sqlite_load(err) < 0)
		return -1;
	buf_init(&text, MEM_SCHEDULER, 256);
	int rc = fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text, err);
	if (rc == 0)
		text_ncopy(scheduler.boot, sizeof(scheduler.boot), buf_cstr(&text), 36);
	buf_fini(&text);
	/* Of no use to a node that is in no cluster, and not small. */
	if (rc == 0 && cluster_keep_is_member(station_folder(st, 0)))
		rc = store_etcd_load(err);
	return rc;
}

static void
start_handles(struct scheduler *s)
{
	uv_loop_t *loop = station_loop(s->st);

	uv_prepare_init(loop, &s->turn);
	uv_timer_init(loop, &s->timer);
	s->turn.data = s;
	s->timer.data = s;
	uv_prepare_start(&s->turn, turn_ends);
	uv_unref((uv_handle_t *)&s->turn);
}

static bool
reaches(void *arg, uint32_t node)
{
	const struct scheduler *s = arg;

	return cluster_reaches(s->cluster, node);
}

static bool
doubts(void *arg, uint32_t node)
{
	const struct scheduler *s = arg;

	return cluster_doubts(s->cluster, node);
}

static bool
owns(void *arg, uint32_t node, const struct addr *a)
{
	const struct scheduler *s = arg;

	return cluster_owns(s->cluster, node, a);
}

static void
guests(void *arg, model_guest_fn visit, void *visit_arg)
{
	const struct scheduler *s = arg;

	cluster_guests(s->cluster, visit, visit_arg);
}

static bool
heard(void *arg)
{
	const struct scheduler *s = arg;

	return cluster_heard(s->cluster);
}

static int
start(struct station *st, struct err *err)
{
	struct scheduler *s = &scheduler;
	struct store_sqlite_options options = {
		.dirfd = station_folder(st, 0),
		.name = "zlayer.db",
		.busy_ms = BUSY_MS,
	};
	struct store *rows, *store;
	uint64_t now = world_mono_ns();

	s->st = st;
	if (take_config(s, err) < 0)
		return -1;
	if (options.dirfd < 0)
		return err_set(err, ERR_INTERNAL, "node gave no folder for the store");
	if (cluster_open(st, &s->config, s->boot, &s->cluster, err) < 0 ||
	    store_sqlite_open(&options, &rows, err) < 0 ||
	    cluster_prepare(s->cluster, rows, &store, err) < 0) {
		if (s->cluster)
			cluster_damaged(s->cluster, err);
		return -1;
	}
	const char *name = cluster_name(s->cluster);
	if (model_open(&s->model, store, &s->config, name ? name : station_welcome(st)->node,
		       s->boot, now, world_wall_ns(), err) < 0)
		return -1;
	s->open = true;
	s->model.hooks = (struct model_hooks){.arg = s,
					      .stir = stir,
					      .pass = pass_before_answer,
					      .cluster_rows = cluster_rows,
					      .reaches = reaches,
					      .doubts = doubts,
					      .owns = owns,
					      .guests = guests,
					      .heard = heard};
	intake_init(&s->intake, &s->model,
		    &(struct intake_out){s, pass_before_answer, answer_change, holds});
	s->model.node_id = cluster_self(s->cluster);
	s->model.writer = station_writer(st);
	s->model.metrics = station_metrics(st);
	s->model.generation = station_welcome(st)->generation;
	s->model.settle_by_ns = now + SETTLE_MS * UINT64_C(1000000);
	if (cluster_start(s->cluster, &s->model, err) < 0)
		return -1;
	start_handles(s);
	pass(s);
	cluster_turn(s->cluster);
	return 0;
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	struct err err = {0};

	(void)st;
	if (m->kind == LEASH_STORE_FILES && scheduler.cluster)
		cluster_outside_files(scheduler.cluster, m, fds, count);
	if (m->kind != LEASH_CONFIG)
		return;
	if (take_config(&scheduler, &err) < 0)
		log_err(LOG_WARN, "the configuration stays as it was", &err);
	else
		cluster_configured(scheduler.cluster);
	scheduler.stir = true;
}

static void
leave(struct station *st)
{
	struct scheduler *s = &scheduler;

	if (s->open) {
		if (!cluster_stale(s->cluster))
			pass(s);
		intake_close(&s->intake);
		cluster_free(s->cluster);
		s->cluster = NULL;
		model_close(&s->model);
		s->open = false;
	}
	s->stir = false;
	uv_prepare_stop(&s->turn);
	uv_timer_stop(&s->timer);
	station_leave(st, 0);
}

static void
stop(struct station *st, uint64_t grace_ms)
{
	(void)grace_ms;
	leave(st);
}

const struct station_role scheduler_role = {
	.role = ROLE_SCHEDULER,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = peer,
	.peer_gone = peer_gone,
	.wake = wake,
	.request = request,
	.message = message,
	.stop = stop,
	.orphaned = leave,
};
