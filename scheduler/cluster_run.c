/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of jobs that are asked for on a node that may not have them, or has no room: another one is
 * asked to make the run, once, over a line of its own (far_line.h). It judges anew, and asks no
 * third one. What it says of the run is taken in as if it had come by gossip, which is later: who
 * is answered finds the run at once.
 *
 * When the way breaks after the question it is not known whether there is a run: the error says so
 * in the words of who lost the connection, and `zlayer job ls` shows it. It is not asked twice.
 */
#include "scheduler/cluster_inside.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "base/world.h"
#include "ring/words.h"
#include "scheduler/far_wire.h"
#include "scheduler/placing.h"
#include "scheduler/remote.h"
#include "scheduler/request.h"

/* ---- asking ---- */

void
cluster_run_ask(struct cluster *c, const struct station_request *q, const void *body, size_t bytes,
		const int *fds, size_t count, uint32_t node)
{
	struct far_call call = {.what = FAR_RUN};
	struct err err = {0};
	struct words words;

	assert(bytes == sizeof(call.target)); /* request_run has read it */
	memcpy(&call.target, body, sizeof(call.target));
	words_init(&words, MEM_SCHEDULER);
	if (count > 0 && words_read(&words, fds[0], &err) < 0) {
		cluster_refuse(c, q, &err);
	} else {
		call.words = words.count > 0 ? (const void *)words.text.data : "";
		call.words_bytes = words.count > 0 ? words.text.length : 0;
		call.argc = (uint32_t)words.count;
		cluster_far_ask(c, q, node, &call, -1);
	}
	words_fini(&words);
}

int
cluster_run_take(struct cluster *c, const struct station_request *q, uint32_t node,
		 const void *rest, size_t bytes, struct err *err)
{
	struct msg_run_answer run;
	const void *tidings;
	size_t length;

	if (!far_wire_get_run(rest, bytes, &run, &tidings, &length))
		return err_set(err, ERR_CORRUPT, "what the other node said is damaged");
	if (c->placing && !model_replica(c->m, run.replica))
		placing_entry(c->placing, node, TIDINGS_REPLICA, run.replica, tidings, length);
	/* Who reads the answer finds the run in its table. */
	if (c->m->hooks.pass)
		c->m->hooks.pass(c->m->hooks.arg);
	cluster_answer(c, q, &run, sizeof(run), NULL, 0);
	return 0;
}

/* ---- serving ---- */

static int
make(struct cluster *c, const struct far_call *call, struct msg_run_answer *run, struct err *err)
{
	defer_close int words = -1;
	uint32_t elsewhere;

	if (cluster_may_change(c, err) < 0)
		return -1;
	if (call->argc > 0) {
		words = fd_memfd_sealed("words", call->words, call->words_bytes);
		if (words < 0)
			return err_sys(err, errno, "%s cannot take the arguments", c->keep.name);
	}
	c->m->now_ns = world_mono_ns();
	c->m->wall_ns = world_wall_ns();
	return request_run(c->m, &call->target, sizeof(call->target), &words, words >= 0, run,
			   &elsewhere, err);
}

int
cluster_run_serve(struct cluster *c, const struct far_call *call, struct buf *rest, struct err *err)
{
	struct tidings_replica t;
	struct tidings_value v;
	struct msg_run_answer run;

	if (make(c, call, &run, err) < 0)
		return -1;
	remote_tell(c->m, model_replica(c->m, run.replica), &t);
	tidings_put_replica(&t, &v);
	far_wire_put_run(rest, &run, v.data, v.bytes);
	model_stir(c->m);
	return 0;
}
