/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each second, and after each event, one look: what is ordered, what runs, what is the next step
 * towards it. Nothing is remembered of a step that was begun, so that it is the same after a crash
 * of node, of scheduler, or of etcd.
 *
 *   runs, and should not, or otherwise   SIGTERM, after STOP_S SIGKILL
 *   runs as it should                    new certificates are brought to it
 *   does not run, data of other lives    is removed
 *   does not run, and should             certificates are brought, it is started; when that fails,
 *                                        or it ends, again: at once, then after 1, 2, 4 ... 30 s
 *   ends at once, by its data            is said after some times; the scheduler has the member
 *                                        removed, and another life begun
 *   has had a log, which is gone         is not started; likewise
 *   never comes up in this life          is said after some times; the scheduler chooses another
 *                                        node where there is one (etcd_begins.h)
 *
 * It is up when it says so itself (a member that waits for the others' votes does not).
 */
#include "node/etcd_inside.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/etcd_spawn.h"
#include "node/process.h"
#include "node/roles.h"

enum {
	STOP_S = 10,
	BACKOFF_MAX_S = 30,
	STEADY_S = 60, /* that long up, and its past is forgotten */
	SHOW_AGAIN_S = 10,
	FIGURES_S = 30,
	ROOM_S = 5,
};

static void step(struct etcd *e);

/* ---- what is told ---- */

static enum msg_etcd_state
state_of(const struct etcd *e)
{
	if (e->pidfd >= 0)
		return e->record.ready ? MSG_ETCD_UP : MSG_ETCD_STARTING;
	if (!e->has_order || e->order.life == 0)
		return e->data_life ? MSG_ETCD_STOPPED : MSG_ETCD_ABSENT;
	if (!e->order.run || e->over)
		return MSG_ETCD_STOPPED;
	if (!e->trouble.kind)
		return MSG_ETCD_STARTING;
	return etcd_judge_is_ruined(&e->judge, e->order.life) ? MSG_ETCD_RUINED : MSG_ETCD_FAILED;
}

static void
publish(struct etcd *e)
{
	enum msg_etcd_state state = state_of(e);
	struct err unable = {0};
	bool able = etcd_start_able(e, &unable), changed = false;

	if (able && e->begins.resting)
		etcd_begins_say(&e->begins, &unable);

	if (state != e->state) {
		e->state = state;
		e->since_wall_ns = world_wall_ns();
	}
	struct msg_etcd row = {
		.life = e->data_life,
		.turn = e->pidfd >= 0 ? e->record.turn : 0,
		.state = (uint32_t)e->state,
		.able = !able               ? MSG_ETCD_UNABLE
			: e->begins.resting ? MSG_ETCD_FAILS
					    : MSG_ETCD_ABLE,
		.pid = e->pidfd >= 0 ? e->record.pid : 0,
		.restarts = e->restarts,
		.since_wall_ns = e->since_wall_ns,
		.memory_bytes = e->memory_bytes,
		.data_bytes = e->data_bytes,
	};
	if (e->listen.on)
		row.listen = e->listen.addr;
	text_copy(row.version, sizeof(row.version), etcd_program_version(e->program));
	if (e->trouble.kind && !e->begins.resting)
		msg_reason_from(&e->trouble, &row.reason);
	else if (unable.kind)
		msg_reason_from(&unable, &row.reason);
	(void)ring_table_set(e->own, MSG_TABLE_ETCD, 1, &row, &changed);
	if (changed)
		hub_kick(e->hub);
}

static void
look_at_figures(struct etcd *e)
{
	if (e->now % FIGURES_S != 1)
		return;
	e->data_bytes = e->data_life ? etcd_folder_bytes(&e->folder, e->data_life) : 0;
}

void
etcd_usage(struct etcd *e)
{
	struct metric_page *page = ring_writer_metrics(e->own);

	if (e->pidfd < 0)
		return;
	e->usage.pid = (pid_t)e->record.pid;
	usage_update(page, ETCD_COMPONENT, &e->usage);
	if (e->now % FIGURES_S < 5)
		e->memory_bytes = usage_memory(page, ETCD_COMPONENT);
}

/* ---- its end ---- */

static void
failed(struct etcd *e, const struct err *err)
{
	bool news = e->trouble.kind != err->kind || !text_equal(e->trouble.what, err->what) ||
		    (err->whys > 0 && !text_equal(e->trouble.why[0], err->why[0]));

	e->trouble = *err;
	if (news)
		log_err(LOG_WARN, "etcd does not run", err);
	unsigned wait = e->failures > 5 ? BACKOFF_MAX_S : (1u << e->failures) / 2;
	e->due = e->now + (wait > BACKOFF_MAX_S ? BACKOFF_MAX_S : wait);
	e->failures++;
}

/* Of the life that is ordered, which ended or could not be begun. */
static void
did_not_begin(struct etcd *e, const struct err *err)
{
	uint64_t life = e->order.life;
	struct err say = {0};

	if (!e->has_order || !life || !e->order.run || etcd_judge_is_ruined(&e->judge, life))
		return;
	if (!etcd_begins_failed(&e->begins, life, err, etcd_folder_room(&e->folder, life), e->now))
		return;
	etcd_begins_say(&e->begins, &say);
	log_err(LOG_WARN, "another node is to keep the store, where there is one", &say);
}

static void
let_go(struct etcd *e)
{
	watch_free(e->watch);
	e->watch = NULL;
	fd_close(&e->pidfd);
	etcd_record_remove(e->inst->run_fd);
	memset(&e->record, 0, sizeof(e->record));
	e->again = false;
	e->up_at = 0;
	e->memory_bytes = 0;
	e->usage = (struct usage){0};
	usage_end(ring_writer_metrics(e->own), ETCD_COMPONENT);
}

static void
has_ended(struct etcd *e, const char *how)
{
	struct err err = {0};
	bool ordered = e->ending;

	etcd_log_drain(e->log);
	log_event(ordered ? LOG_INFO : LOG_WARN, "etcd has ended", log_s("how", how), LOG_END);
	const struct etcd_judge_end end = {
		.life = e->record.life,
		.served = e->record.ready,
		.complaint = etcd_log_complaint(e->log),
		.how = how,
	};
	bool begun = !ordered && end.life == e->order.life;

	if (!ordered)
		etcd_judge_ended(&e->judge, &end, e->now, &err);
	let_go(e);
	e->ending = false;
	if (ordered)
		return;
	e->restarts++;
	usage_restart(ring_writer_metrics(e->own), ETCD_COMPONENT, "exit");
	failed(e, &err);
	if (begun)
		did_not_begin(e, &err);
}

static void
pid_event(void *arg, bool can_read, bool can_write)
{
	struct etcd *e = arg;
	char how[MSG_TEXT];

	(void)can_read;
	(void)can_write;
	if (!process_reap(e->pidfd, how, sizeof(how)))
		return;
	has_ended(e, how);
	step(e);
	publish(e);
}

static void
end(struct etcd *e, const char *why)
{
	if (!e->ending) {
		log_event(LOG_INFO, "etcd is told to end", log_s("why", why), LOG_END);
		e->ending = true;
		e->kill_at = e->now + STOP_S;
		(void)fd_pidfd_signal(e->pidfd, SIGTERM);
	} else if (e->now >= e->kill_at) {
		(void)fd_pidfd_signal(e->pidfd, SIGKILL);
	}
}

/* ---- its beginning ---- */

static int
watch(struct etcd *e, struct err *err)
{
	e->watch = watch_new(e->loop, e->pidfd, pid_event, e);
	return e->watch ? 0 : err_set(err, ERR_NO_MEMORY, "no memory to watch etcd");
}

static void
begin(struct etcd *e)
{
	struct err err = {0}, none = {0};

	if (etcd_start(e, &err) < 0) {
		failed(e, &err);
		if (err.kind != ERR_UNREACHABLE && etcd_start_able(e, &none))
			did_not_begin(e, &err);
		return;
	}
	log_event(LOG_INFO, "etcd is started", log_u("pid", e->record.pid),
		  log_u("life", e->order.life), LOG_END);
	usage_up(ring_writer_metrics(e->own), ETCD_COMPONENT, true);
	if (watch(e, &err) < 0 || etcd_record_write(e->inst->run_fd, &e->record, &err) < 0) {
		/* Nobody would find it again. */
		process_end((pid_t)e->record.pid, &e->pidfd);
		let_go(e);
		failed(e, &err);
	}
}

/* ---- what is to be done ---- */

/* NULL: it may go on. */
static const char *
why_not(const struct etcd *e)
{
	struct etcd_record_place place;

	if (e->over)
		return "the node stops";
	if (e->again)
		return "whether it serves is not known";
	if (!e->has_order)
		return NULL;
	if (e->order.life != e->record.life)
		return e->order.life ? "it begins anew" : "this node keeps no part of the store";
	if (!e->order.run)
		return "it is ordered to stop";
	if (!e->listen.on)
		return "`listen.store` is off";
	etcd_start_place(e, &place);
	if (memcmp(&place, &e->record.place, sizeof(place)) != 0)
		return "it has another address";
	return e->order.turn != e->record.turn ? "its connections are to end" : NULL;
}

static void
look_at_running(struct etcd *e)
{
	const char *why = why_not(e);
	struct err err = {0};

	etcd_judge_note(&e->judge, e->record.life);
	if (why || e->ending) {
		end(e, why ? why : "");
		return;
	}
	if (e->has_order && e->now >= e->show_at && etcd_start_show(e, &err) < 0) {
		log_err(LOG_WARN, "etcd has no new certificates", &err);
		e->show_at = e->now + SHOW_AGAIN_S;
	}
	if (e->up_at && e->now - e->up_at >= STEADY_S)
		e->failures = 0;
}

/* False: some is left, and nothing is begun beside it. */
static bool
forget_others(struct etcd *e)
{
	struct err err = {0};

	if (e->pruned && e->pruned_life == e->order.life)
		return true;
	if (etcd_folder_prune(&e->folder, e->order.life, &err) < 0) {
		failed(e, &err);
		return false;
	}
	e->pruned = true;
	e->pruned_life = e->order.life;
	if (e->data_life == e->order.life)
		return true;
	if (e->data_life)
		log_event(LOG_INFO, "data of etcd is removed", log_u("life", e->data_life),
			  LOG_END);
	e->data_life = 0;
	e->data_bytes = 0;
	if (e->order.life == 0)
		etcd_judge_forget(&e->judge);
	e->shown[0] = '\0';
	err_clear(&e->trouble);
	e->failures = 0;
	e->due = 0;
	return true;
}

static void
look_at_idle(struct etcd *e)
{
	if (!e->has_order || e->over || e->now < e->due || !etcd_program_known(e->program))
		return;
	if (!forget_others(e))
		return;
	if (e->order.life != 0 && e->order.run)
		begin(e);
	else
		err_clear(&e->trouble);
}

static void
step(struct etcd *e)
{
	if (e->pidfd >= 0)
		look_at_running(e);
	if (e->pidfd < 0)
		look_at_idle(e);
	if (e->pidfd < 0 && e->over && e->stopped) {
		void (*stopped)(void *) = e->stopped;

		e->stopped = NULL;
		stopped(e->stopped_arg);
	}
}

static void
take_order(struct etcd *e, const struct msg_etcd_order *order)
{
	struct err err = {0};

	if (!order || (e->has_order && memcmp(order, &e->order, sizeof(*order)) == 0))
		return;
	if (etcd_spawn_order_holds(order, &err) < 0) {
		if (e->trouble.kind != err.kind)
			log_err(LOG_ERROR, "an order for etcd is not followed", &err);
		e->trouble = err;
		return;
	}
	if (e->restarts_life != order->life) {
		e->restarts_life = order->life;
		e->restarts = e->record.life == order->life ? e->record.restarts : 0;
	}
	/* Something is different: what failed before may work. */
	if (e->has_order) {
		e->failures = 0;
		e->due = 0;
	}
	e->order = *order;
	e->has_order = true;
}

void
etcd_tick(struct etcd *e, const struct config *config, const struct msg_etcd_order *order)
{
	e->now++;
	if (memcmp(&e->listen, &config->listen.store, sizeof(e->listen)) != 0)
		etcd_begins_anew(&e->begins);
	e->listen = config->listen.store;
	etcd_log_tick(e->log);
	etcd_program_tick(e->program);
	take_order(e, order);
	step(e);
	if (e->begins.resting && e->now % ROOM_S == 0)
		etcd_begins_tick(&e->begins, etcd_folder_room(&e->folder, e->order.life), e->now);
	look_at_figures(e);
	publish(e);
}

void
etcd_stop(struct etcd *e, void (*stopped)(void *arg), void *arg)
{
	if (e->over && e->pidfd >= 0)
		e->kill_at = 0; /* asked for again: at once */
	e->over = true;
	e->stopped = stopped;
	e->stopped_arg = arg;
	step(e);
}

/* ---- made, and let go ---- */

static void
is_ready(void *arg)
{
	struct etcd *e = arg;
	struct err err = {0};

	if (e->pidfd < 0 || e->record.ready)
		return;
	log_event(LOG_INFO, "etcd serves", log_u("pid", e->record.pid), LOG_END);
	e->record.ready = 1;
	e->up_at = e->now;
	etcd_judge_served(&e->judge);
	etcd_begins_served(&e->begins, e->record.life);
	err_clear(&e->trouble);
	if (etcd_record_write(e->inst->run_fd, &e->record, &err) < 0)
		log_err(LOG_WARN, "the next node will not know that etcd serves", &err);
	publish(e);
}

static void
program_changed(void *arg)
{
	struct etcd *e = arg;

	if (e->pidfd < 0)
		e->due = 0;
	etcd_begins_anew(&e->begins);
	publish(e);
}

static int
adopt(struct etcd *e, struct err *err)
{
	if (!etcd_record_find(e->inst->run_fd, e->uid, &e->record, &e->pidfd)) {
		memset(&e->record, 0, sizeof(e->record));
		etcd_record_remove(e->inst->run_fd);
		return 0;
	}
	/* One that was about to serve may have said so while nobody listened. */
	e->again = !e->record.ready;
	if (e->record.ready)
		etcd_begins_served(&e->begins, e->record.life);
	log_event(LOG_INFO,
		  e->again ? "etcd of the last run is started again"
			   : "etcd of the last run goes on",
		  log_u("pid", e->record.pid), LOG_END);
	e->restarts = e->record.restarts;
	e->restarts_life = e->record.life;
	usage_up(ring_writer_metrics(e->own), ETCD_COMPONENT, true);
	return watch(e, err);
}

static int
open_parts(struct etcd *e, struct err *err)
{
	const struct instance *inst = e->inst;

	if (etcd_folder_open(inst->data_fd, inst->data_path, e->uid, &e->folder, err) < 0 ||
	    etcd_log_new(e->loop, inst->run_fd, &e->log, err) < 0 ||
	    etcd_ready_new(e->loop, inst->run_fd, inst->run_path, e->uid, is_ready, e, &e->ready,
			   err) < 0)
		return -1;
	e->program = etcd_program_new(e->loop, e->uid, program_changed, e);
	if (!e->program)
		return err_set(err, ERR_NO_MEMORY, "no memory to look after etcd");
	e->data_life = etcd_folder_life(&e->folder);
	e->judge =
		(struct etcd_judge){.folder = &e->folder, .noted = etcd_folder_noted(&e->folder)};
	return adopt(e, err);
}

int
etcd_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub, const struct instance *inst,
	 const struct cgroup *cgroup, struct etcd **out, struct err *err)
{
	struct etcd *e = mem_zalloc(MEM_NODE, sizeof(*e));

	if (!e)
		return err_set(err, ERR_NO_MEMORY, "no memory to look after etcd");
	e->loop = loop;
	e->own = own;
	e->hub = hub;
	e->inst = inst;
	e->cgroup = cgroup;
	e->uid = inst->uid_base + ROLES_UID_ETCD;
	e->pidfd = -1;
	e->folder.fd = -1;
	if (open_parts(e, err) < 0) {
		etcd_free(e);
		return -1;
	}
	*out = e;
	return 0;
}

void
etcd_free(struct etcd *e)
{
	if (!e)
		return;
	watch_free(e->watch);
	fd_close(&e->pidfd);
	etcd_program_free(e->program);
	etcd_log_free(e->log);
	etcd_ready_free(e->ready);
	etcd_folder_close(&e->folder);
	mem_free(e);
}

void
etcd_remove(const struct instance *inst)
{
	etcd_log_remove(inst->run_fd);
	etcd_ready_remove(inst->run_fd);
	etcd_record_remove(inst->run_fd);
}
