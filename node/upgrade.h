/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UPGRADE_H
#define NODE_UPGRADE_H

/*
 * An upgrade of node is execve(2) in the same process: what it knows and its descriptors travel in
 * one sealed memfd, so that its children stay its children and no socket is closed. The struct is
 * the contract between two versions of the program: it grows at its end, with a new version number;
 * a program that does not know a version starts from nothing, as after kill -9.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "node/instance.h"
#include "node/listeners.h"
#include "node/unit.h"

enum {
	UPGRADE_MAGIC = 0x5250555a,
	UPGRADE_VERSION = 2, /* 1: 1024 sockets */
	UPGRADE_UNITS_MAX = 2 * ROLE_PROXIES_MAX + ROLES_,
	UPGRADE_SOCKETS_V1 = 1024,
	UPGRADE_SOCKETS_MAX = 8192,
};

struct upgrade_unit {
	uint16_t role, index, worker, state;
	uint32_t generation, restarts, landlock_abi, pid;
	int32_t pidfd, leash, segment, conn;
	int64_t started_wall_ns;
};

struct upgrade_socket {
	char name[LISTENERS_NAME];
	int32_t fd;
};

struct upgrade {
	uint32_t magic, version;
	uint64_t bytes;
	int32_t data_lock, run_lock, slot_lock;
	uint32_t slot, uid_base;
	int32_t tickets;
	uint32_t generation_next, generation_end;
	uint32_t units_count, sockets_count;
	struct upgrade_unit units[UPGRADE_UNITS_MAX];
	struct upgrade_socket sockets[UPGRADE_SOCKETS_MAX];
};

/* Remembers which file this program is, for upgrade_exec(): to be called before it can have been
 * replaced. */
void upgrade_remember(void);

void upgrade_fill(struct upgrade *up, const struct instance *inst, const struct unit_env *env,
		  struct list *units);
/* Runs the program's file again with the same words (argv[0] is "serve"). Does not return when it
 * works; signals are then blocked until the new program unblocks them. */
int upgrade_exec(struct upgrade *up, int argc, char **argv, struct err *err) MUST_CHECK;

/* True when this process was an older program a moment ago: *up is what it left. */
bool upgrade_take(struct upgrade *up);

#endif
