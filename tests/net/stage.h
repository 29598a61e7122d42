/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_STAGE_H
#define TESTS_NET_STAGE_H

/*
 * A world for the runtime role: this process is node, scheduler, data path, overlay and api at
 * once; the runtime is a real process with its own uid and node's confinement. Everything is below
 * one scratch folder and in a mount namespace of the test's own.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "ring/msg.h"
#include "ring/plan.h"
#include "ring/ring.h"

struct stage;

/* instance: of this test. NULL after printing why when it cannot be. */
struct stage *stage_new(const char *instance);
void stage_free(struct stage *w);
const char *stage_scratch(const struct stage *w);

void stage_start(struct stage *w); /* the runtime */
void stage_kill(struct stage *w);  /* kill -9 */
pid_t stage_pid(const struct stage *w);

/* A plan that runs `sh -c script` as replica; change it before world_run. Its texts live until
 * stage_free. */
struct plan *stage_plan(struct stage *w, uint64_t replica, const char *script);
/* Claims it: attempt n is to run. */
void stage_claim(struct stage *w, const struct plan *plan, enum msg_desired desired,
		 uint32_t attempt);
void stage_unclaim(struct stage *w, uint64_t replica);
/* What is claimed from now on is leased until then; 0: it is not. */
void stage_lease(struct stage *w, uint64_t until_ns);
/* The data path's word on BPF and on one link. */
void stage_datapath(struct stage *w, bool bpf);
void stage_attach(struct stage *w, uint64_t replica, uint32_t ifindex);

/* What the runtime publishes; NULL when there is none. Pumps first. */
const struct msg_container *stage_container(struct stage *w, uint64_t replica);
const struct msg_veth *stage_veth(struct stage *w, uint64_t replica);
const struct msg_result *stage_result(struct stage *w, uint64_t replica);
/* Waits until the container is in the state in that attempt; fails the test after a minute. */
const struct msg_container *stage_wait(struct stage *w, uint64_t replica,
				       enum msg_container_state state, uint32_t attempt);
void stage_wait_gone(struct stage *w, uint64_t replica);
/* Lets messages through for a moment. */
void stage_pump(struct stage *w);

/* A command as api asks for it; gives its exit status, what it wrote in out. */
int stage_exec(struct stage *w, uint64_t replica, const char *script, bool tty, char *out,
	       size_t cap);
/* The stream of a log request; frames to be read by the caller. -1 when refused. */
int stage_logs(struct stage *w, const struct msg_logs *op);
/* All lines, one text. */
void stage_log_text(struct stage *w, uint64_t replica, char *out, size_t cap);

/* Counts of what containers leave: links in the fabric, namespaces, groups, folders, mounts. */
struct stage_count {
	unsigned links, namespaces, groups, folders, mounts;
};
void stage_count(struct stage *w, struct stage_count *out);
/* Runs a command line in the fabric; its exit status. */
int stage_fabric(struct stage *w, const char *command);

#endif
