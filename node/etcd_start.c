/* SPDX-License-Identifier: Apache-2.0 */
#include "node/etcd_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "node/etcd_spawn.h"
#include "node/roles.h"

bool
etcd_start_able(const struct etcd *e, struct err *err)
{
	if (!e->listen.on) {
		err_set(err, ERR_UNSUPPORTED, "this node keeps no part of the cluster's store");
		err_why(err, "`listen.store` is off in node.yaml");
		return false;
	}
	return etcd_program_path(e->program, err) != NULL;
}

void
etcd_start_place(const struct etcd *e, struct etcd_record_place *out)
{
	memset(out, 0, sizeof(*out));
	out->listen = e->listen.addr;
	out->client = e->order.client;
	out->peer = e->order.peer;
	text_copy(out->name, sizeof(out->name), e->order.name);
}

int
etcd_start_show(struct etcd *e, struct err *err)
{
	uid_t owner = roles_uid(roles_get(ROLE_SCHEDULER), 0, e->inst->uid_base);

	if (text_equal(e->shown, e->order.files))
		return 0;
	if (etcd_folder_show(&e->folder, owner, err) < 0)
		return -1;
	text_copy(e->shown, sizeof(e->shown), e->order.files);
	return 0;
}

static int
spawn(struct etcd *e, const char *path, int data, int shown, const struct etcd_spawn_words *words,
      struct err *err)
{
	struct sysinfo info = {0};
	defer_close int output = etcd_log_writer(e->log);
	pid_t pid;

	if (output < 0)
		return err_sys(err, errno, "cannot open the pipe for what etcd says");
	(void)sysinfo(&info);
	const struct etcd_spawn s = {
		.path = path,
		.words = words,
		.uid = e->uid,
		.folder = e->folder.fd,
		.data = data,
		.shown = shown,
		.output = output,
		.notify = etcd_ready_path(e->ready),
		.cgroup = e->cgroup,
		.memory_bytes = etcd_spawn_memory((uint64_t)info.totalram * info.mem_unit),
	};
	etcd_log_forget(e->log);
	if (etcd_spawn(&s, &pid, &e->pidfd, err) < 0)
		return -1;
	e->record = (struct etcd_record){.life = e->order.life,
					 .turn = e->order.turn,
					 .pid = (uint32_t)pid,
					 .restarts = e->restarts,
					 .begun = etcd_record_begun(pid),
					 .since_wall_ns = world_wall_ns()};
	etcd_start_place(e, &e->record.place);
	return 0;
}

/* The first member of all was killed before it had written anything: nothing was promised. One
 * that joined others gets from them what there is. */
static int
drop_blank(struct etcd *e, struct err *err)
{
	if (e->order.existing || !etcd_folder_is_blank(&e->folder, e->order.life))
		return 0;
	if (etcd_folder_empty(&e->folder, e->order.life, err) < 0)
		return -1;
	etcd_judge_forget(&e->judge);
	log_event(LOG_INFO, "etcd begins with an empty folder: it had written nothing yet",
		  log_u("life", e->order.life), LOG_END);
	return 0;
}

int
etcd_start(struct etcd *e, struct err *err)
{
	char data_path[ETCD_FOLDER_NAME];
	defer_close int data = -1, shown = -1;
	struct etcd_spawn_words words;

	if (!etcd_start_able(e, err))
		return -1;
	if (!e->order.files[0]) {
		err_set(err, ERR_UNREACHABLE, "etcd has no certificates yet");
		return err_why(err, "this node has not got the key of the cluster's authority");
	}
	if (drop_blank(e, err) < 0)
		return -1;
	if (etcd_judge_may_begin(&e->judge, e->order.life, err) < 0) {
		e->data_life = e->order.life;
		return -1;
	}
	if (etcd_start_show(e, err) < 0 ||
	    etcd_folder_data(&e->folder, e->order.life, &data, data_path, err) < 0 ||
	    etcd_folder_shown(&e->folder, &shown, err) < 0 ||
	    etcd_spawn_words(&e->order, &e->listen.addr, data_path, ETCD_FOLDER_SHOWN, &words,
			     err) < 0)
		return -1;
	e->data_life = e->order.life;
	return spawn(e, etcd_program_path(e->program, err), data, shown, &words, err);
}
