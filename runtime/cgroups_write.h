/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CGROUPS_WRITE_H
#define RUNTIME_CGROUPS_WRITE_H

/* Between the cgroups_*.c files: the object, and how limits are written. */

#include "runtime/cgroups.h"

struct cgroups {
	struct cgroups_layout layout;
	int parent[CGROUPS_TREES_MAX]; /* folder of the parent; -1: cannot be used */
};

/* The replica's folder in a tree; -1 with errno. */
int cgroups_group(const struct cgroups *cg, size_t tree, uint64_t replica);
/* 0, or -1 with errno. */
int cgroups_write(int group, const char *file, const char *text);
/* Hands the controllers down to the groups below (v2). */
void cgroups_delegate(int group);
/* A v1 cpuset group without cpus and memory nodes takes no process. */
void cgroups_inherit_cpuset(int group);
int cgroups_limit_v1(int group, unsigned controllers, const struct cgroups_limits *limits,
		     struct err *err) MUST_CHECK;
int cgroups_limit_v2(int group, const struct cgroups_limits *limits, struct err *err) MUST_CHECK;

#endif
