/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_INSIDE_H
#define TESTS_SIM_INSIDE_H

/* Between the files of the simulator: shell.c (one node's shell), stream.c, fault.c and sim.c. */

#include "tests/sim/sim.h"

enum sim_event {
	SIM_DATAGRAM = 1, /* to node from peer */
	SIM_TIMER,        /* node, number: serial */
	SIM_DISK,         /* node, number: boot */
	SIM_LOCAL,        /* node, what, number */
	SIM_BEGIN,        /* number: item of the plan */
	SIM_END,
	SIM_CRASH,   /* node, number: boot; what was to end between two actions and has not yet */
	SIM_RESUME,  /* node */
	SIM_RESTART, /* node, number: boot that ended */
	SIM_STREAM_OPEN,  /* number: serial, peer: index */
	SIM_STREAM_PUMP,  /* likewise, what: side */
	SIM_STREAM_INPUT, /* likewise, and which input: see stream.c */
	SIM_LATER,        /* what, number: of the profile's observer */
	SIM_TO_CORE,      /* node, what: input kind, peer: stream, number: status; in an inbox */
};

/* shell.c */
void sim_shell_start(struct sim *s, uint32_t node);
void sim_shell_crash(struct sim *s, uint32_t node, bool power, uint64_t down_for_ns);
void sim_shell_pause(struct sim *s, uint32_t node, uint64_t until_ns, bool clock_stands);
void sim_shell_resume(struct sim *s, uint32_t node);
/* What has come for a node: stepped with it, kept while it is paused, dropped while it is down. */
void sim_shell_deliver(struct sim *s, uint32_t node, struct event *e);
/* The time of its timer may have changed with its clock. */
void sim_shell_arm(struct sim *s, uint32_t node);
void sim_shell_free(struct sim *s, uint32_t node);
struct sim_node *sim_shell_node(struct sim *s, uint32_t node);

/* stream.c */
void sim_stream_open(struct sim *s, uint32_t node, uint32_t peer, uint32_t name);
void sim_stream_write(struct sim *s, uint32_t node, uint32_t name, struct parcel *p);
void sim_stream_close(struct sim *s, uint32_t node, uint32_t name);
void sim_stream_event(struct sim *s, struct event *e);
/* The core of that node has been told DOWN. */
void sim_stream_forget(struct sim *s, uint32_t node, uint32_t name);
void sim_stream_crash(struct sim *s, uint32_t node, bool power);
void sim_stream_free_all(struct sim *s);

/* fault.c */
void sim_fault_begin(struct sim *s, size_t item);
void sim_fault_end(struct sim *s, size_t item);
/* A crash of the plan; of a node that is down: as soon as it has started again. */
void sim_fault_crash(struct sim *s, const struct plan_item *item);
void sim_fault_heal(struct sim *s);

/* trace.c */
void sim_trace_input(struct sim *s, uint32_t node, const struct step_input *in);
void sim_trace_action(struct sim *s, uint32_t node, const struct step_actions *all,
		      const struct step_action *a);
void sim_trace_turn(struct sim *s, uint32_t node, const char *what);

#endif
