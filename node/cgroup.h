/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_CGROUP_H
#define NODE_CGROUP_H

/*
 * The instance's cgroup: PARENT/zlayer/NAME in every hierarchy of the machine (v2, v1 or both).
 * With runtime.cgroup_parent: auto, PARENT is "" on a plain machine; under systemd the group of the
 * unit NAME-containers.service, which must be delegated, and without such a unit the own unit's;
 * else what the configuration says. Containers' groups are made below
 * by runtime, which finds the group from its own: in the v2 hierarchy the roles stand in
 * PARENT/zlayer/NAME/roles. Existing groups are left alone.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum cgroup_mode { CGROUP_NONE, CGROUP_V1, CGROUP_V2, CGROUP_HYBRID };

enum { CGROUP_HIERARCHIES_MAX = 16, CGROUP_PATH = 384 };

struct cgroup {
	enum cgroup_mode mode;
	unsigned count;
	struct {
		char root[128];
		bool v2;
	} hierarchies[CGROUP_HIERARCHIES_MAX];
	char parent[128];        /* "" or "/..." */
	bool within;             /* this process begins in the parent's group */
	char group[CGROUP_PATH]; /* "/zlayer/NAME" below the roots */
	int roles_fd;            /* cgroup.procs of the roles' group; -1: there is none */
};

/* parent: "auto", or a path below the roots. A hierarchy that refuses is logged and left out. */
int cgroup_open(const char *parent, const char *instance, struct cgroup *out,
		struct err *err) MUST_CHECK;
void cgroup_close(struct cgroup *cg);
/* "/system.slice/zlayer-containers.service" of "/system.slice/zlayer.service"; false: own is no
 * service's group. */
bool cgroup_holder(const char *own, char *out, size_t cap);
/* A group of its own within the instance's, for a program that is not ours: memory_bytes 0: without
 * a limit. What a hierarchy refuses is logged and left out. */
void cgroup_part_make(const struct cgroup *cg, const char *name, uint64_t memory_bytes);
/* In the new process: enters it, where it is there. */
void cgroup_part_enter(const struct cgroup *cg, const char *name);
/* True when a process other than the roles (a container) is in the group. */
bool cgroup_busy(const struct cgroup *cg);
/* Removes the groups that are empty. */
void cgroup_remove(struct cgroup *cg);

#endif
