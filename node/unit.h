/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UNIT_H
#define NODE_UNIT_H

/*
 * One process of a role and what node knows of it: from spawn (welcome, listeners) over its leash
 * to its end (counters kept, rows published). When and why is decided by node/supervise.h.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>
#include "base/err.h"
#include "base/list.h"
#include "node/hub.h"
#include "node/instance.h"
#include "node/listeners.h"
#include "node/roles.h"
#include "node/usage.h"
#include "ring/msg.h"
#include "spec/config.h"

struct unit;
struct watch;

/* What all units share; owned by node. */
struct unit_env {
	uv_loop_t *loop;
	const struct instance *inst;
	const struct config *config;
	int config_fd; /* the same, sealed */
	struct ring_writer *own;
	struct hub *hub;
	struct listeners *listeners;
	int fabric;
	int cgroup_procs;
	unsigned workers;
	uint32_t generation_next, generation_end;
	struct sock_filter *filters[ROLES_]; /* compiled once */
	size_t filter_counts[ROLES_];
	/* The process runs and has its welcome: node sends what else it needs. */
	void (*spawned)(void *arg, struct unit *unit);
	void (*ready)(void *arg, struct unit *unit);
	/* It has ended, and is no longer in the hub. May free the unit. */
	void (*ended)(void *arg, struct unit *unit);
	void *arg;
};

struct unit {
	struct list link; /* for the owner */
	struct unit_env *env;
	const struct roles_entry *role;
	uint16_t index;
	uint16_t worker; /* which listeners a proxy has */
	uint32_t generation;
	uint32_t restarts;
	uint32_t landlock_abi;
	enum msg_process_state state;
	char component[32];
	pid_t pid; /* 0: none */
	int pidfd;
	struct watch *watch;
	struct hub_member *member;
	int conn; /* to a proxy of a killed node; -1 */
	struct usage usage;
	int64_t started_wall_ns;
	uint64_t up_ms; /* loop time of READY; 0 before */
	uint64_t beat;
	unsigned silent;    /* seconds without a heartbeat */
	const char *reason; /* why node killed it; NULL: it did not */
	char exit_text[MSG_TEXT];
	struct msg_reason failed; /* why it cannot start, in its own words; kind 0: none */
	/* for node/supervise.c */
	uint64_t due_ms;   /* loop time of the next step; 0: none */
	unsigned failures; /* in a row */
	bool old;          /* to be replaced by a new process of the new program */
	bool again;        /* starts again as soon as it has ended */
	bool renewed;      /* was started again, is not ready yet: the next replacement waits */
	struct unit *replaces;
};

/* The binary's end of the shared part. */
void unit_env_fini(struct unit_env *env);

struct unit *unit_new(struct unit_env *env, const struct roles_entry *role, unsigned index,
		      unsigned worker);
/* The process must have ended. */
void unit_free(struct unit *unit);

/* Starts a process: the next generation. -1: none runs. */
int unit_spawn(struct unit *unit, struct err *err) MUST_CHECK;
/* Takes a process that runs already (pid, generation, state are set; descriptors are given): leash
 * -1 for one of a killed node, segment -1 when there is none yet. On failure nothing is watched. */
int unit_adopt(struct unit *unit, int pidfd, int leash, int segment, struct err *err) MUST_CHECK;
/* Asks it to finish within grace_ms. */
void unit_stop(struct unit *unit, uint64_t grace_ms);
/* SIGKILL. reason: a word for the metric. */
void unit_kill(struct unit *unit, const char *reason);
/* LEASH_READY came. */
void unit_ready(struct unit *unit, uint64_t landlock_abi);
/* LEASH_FAILED came; fd is borrowed. */
void unit_failed(struct unit *unit, int fd);
/* Once a second. False: it has not shown a heartbeat for too long. */
bool unit_beats(struct unit *unit);
/* Sends the listeners of its role (fresh: those that came up just now). */
void unit_send_listeners(struct unit *unit, bool fresh);
void unit_publish(const struct unit *unit);
/* Removes its row and marks the component as not up. */
void unit_unpublish(const struct unit *unit);

#endif
