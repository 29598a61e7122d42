/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_INSIDE_H
#define NODE_ETCD_INSIDE_H

/* What etcd.c (what is to run, and that it does) and etcd_start.c (how it is started) have in
 * common; nobody else includes this. */

#include "node/etcd.h"
#include "node/etcd_begins.h"
#include "node/etcd_folder.h"
#include "node/etcd_judge.h"
#include "node/etcd_log.h"
#include "node/etcd_program.h"
#include "node/etcd_ready.h"
#include "node/etcd_record.h"
#include "node/usage.h"
#include "node/watch.h"

#define ETCD_COMPONENT "etcd"

struct etcd {
	uv_loop_t *loop;
	struct ring_writer *own;
	struct hub *hub;
	const struct instance *inst;
	const struct cgroup *cgroup;
	uid_t uid;
	struct etcd_program *program;
	struct etcd_log *log;
	struct etcd_ready *ready;
	struct etcd_folder folder;

	bool has_order;
	struct msg_etcd_order order;
	struct config_listen listen;
	uint64_t now; /* in ticks */

	int pidfd; /* -1: none runs */
	struct watch *watch;
	struct etcd_record record; /* of the one that runs */
	bool ending;
	bool again; /* it is to be another process */
	uint64_t kill_at;
	uint64_t up_at; /* since when it is; 0: is not */

	uint64_t due; /* not started before */
	unsigned failures;
	struct etcd_judge judge;
	struct etcd_begins begins;
	uint32_t restarts;
	uint64_t restarts_life;
	char shown[MSG_ETCD_FILES];
	uint64_t show_at;
	struct err trouble; /* why it does not run as it should; kind 0: nothing */
	uint64_t data_life, data_bytes, memory_bytes;
	bool pruned; /* no data of lives but this one is left */
	uint64_t pruned_life;
	enum msg_etcd_state state;
	int64_t since_wall_ns;
	struct usage usage;

	bool over; /* nothing is started any more */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ---- etcd_start.c ---- */

/* It may run here, and there is a program. */
bool etcd_start_able(const struct etcd *e, struct err *err);
/* Where it would be, by the order and node.yaml. */
void etcd_start_place(const struct etcd *e, struct etcd_record_place *out);
/* Brings it the certificates that are ordered. */
int etcd_start_show(struct etcd *e, struct err *err) MUST_CHECK;
/* It runs, and the record says so; nobody watches it yet. */
int etcd_start(struct etcd *e, struct err *err) MUST_CHECK;

#endif
