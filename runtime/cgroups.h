/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CGROUPS_H
#define RUNTIME_CGROUPS_H

/*
 * The cgroups of containers: one group per replica, <parent>/<replica>, in the v2 tree and in each
 * v1 hierarchy that is needed. The parent is zlayer/<instance>: below the group that node made for
 * its roles when there is one (delegation by systemd), else below the root. Only groups with a
 * decimal name below the parent are ever touched.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum cgroups_mode { CGROUPS_V1 = 1, CGROUPS_V2, CGROUPS_HYBRID };

enum cgroups_controller {
	CGROUPS_CPU = 1 << 0,
	CGROUPS_CPUACCT = 1 << 1,
	CGROUPS_CPUSET = 1 << 2,
	CGROUPS_MEMORY = 1 << 3,
	CGROUPS_PIDS = 1 << 4,
	CGROUPS_DEVICES = 1 << 5,
};

enum { CGROUPS_TREES_MAX = 16, CGROUPS_PATH = 256, CGROUPS_DEVICES_MAX = 64 };

struct cgroups_tree {
	char path[CGROUPS_PATH]; /* mount point */
	char names[64];          /* "cpu,cpuacct" */
	unsigned controllers;    /* v1: of those above */
	bool unified;
};

struct cgroups_layout {
	enum cgroups_mode mode; /* 0: none */
	struct cgroups_tree trees[CGROUPS_TREES_MAX];
	size_t count;
};

/* From the text of /proc/self/mountinfo; pure. */
void cgroups_parse(const char *mountinfo, struct cgroups_layout *out);
/* The parent of containers' groups from the text of /proc/self/cgroup; pure. */
void cgroups_parent(const char *self, const char *instance, char *out, size_t cap);

struct cgroups_device {
	char type; /* 'c', 'b', 'a' */
	bool any_major, any_minor;
	uint32_t major, minor;
	bool read, write, mknod;
};

struct cgroups_limits {
	uint64_t cpu_milli;  /* 0: none */
	uint64_t cpu_shares; /* 0: default */
	const char *cpuset;  /* NULL: all */
	uint64_t memory_bytes;
	uint64_t memory_swap_bytes; /* memory and swap; 0: no swap beyond the memory limit */
	uint64_t memory_reservation_bytes;
	uint64_t pids;
	const struct cgroups_device *devices; /* allowed, all else is not */
	size_t devices_count;
	bool all_devices;
};

struct cgroups_stats {
	uint64_t cpu_ns;
	uint64_t memory_bytes; /* working set: without inactive file cache */
	uint64_t memory_peak;
	uint64_t oom_kills;
	uint64_t pids;
};

struct cgroups;

int cgroups_open(const char *instance, struct cgroups **out, struct err *err) MUST_CHECK;
void cgroups_close(struct cgroups *cg);
enum cgroups_mode cgroups_mode_of(const struct cgroups *cg);
const struct cgroups_layout *cgroups_layout_of(const struct cgroups *cg);

/* Makes the groups with their limits, new: fails while an earlier attempt's are in use. */
int cgroups_create(struct cgroups *cg, uint64_t replica, const struct cgroups_limits *limits,
		   struct err *err) MUST_CHECK;
/* Descriptors for the monitor, all owned by the caller: cgroup.procs of each v1 group; the v2
 * group's folder and cgroup.kill (-1 without); the file with the oom_kill counter (-1 without). */
struct cgroups_fds {
	int procs[CGROUPS_TREES_MAX];
	size_t procs_count;
	int unified;
	int kill;
	int oom;
};
int cgroups_fds_open(struct cgroups *cg, uint64_t replica, struct cgroups_fds *out,
		     struct err *err) MUST_CHECK;
/* For a command that joins: cgroup.procs of all groups. */
int cgroups_procs_open(struct cgroups *cg, uint64_t replica, struct cgroups_fds *out,
		       struct err *err) MUST_CHECK;
void cgroups_fds_close(struct cgroups_fds *fds);
void cgroups_stats(struct cgroups *cg, uint64_t replica, struct cgroups_stats *out);
/* Sends SIGKILL to all that is in the groups; true when something was there. */
bool cgroups_kill(struct cgroups *cg, uint64_t replica);
/* True when nothing is left; false: still busy, try again. */
bool cgroups_remove(struct cgroups *cg, uint64_t replica);
/* Visits the replicas that have groups. */
void cgroups_each(struct cgroups *cg, void (*visit)(void *arg, uint64_t replica), void *arg);
/* Removes the parent when it is empty. */
void cgroups_remove_parent(struct cgroups *cg);

/* v2 device rules (cgroups_device.c): a BPF program on the group's folder. */
int cgroups_device_attach(int group, const struct cgroups_limits *limits,
			  struct err *err) MUST_CHECK;
/* Instructions of that program as 8-byte words; 0 when they do not fit. Pure. */
size_t cgroups_device_program(const struct cgroups_limits *limits, uint64_t *out, size_t cap);
/* What a container may open without being asked: null, zero, full, random, urandom, tty, pts. */
const struct cgroups_device *cgroups_device_defaults(size_t *count_out);
/* cpu.shares 2..262144 as cpu.weight 1..10000. */
uint64_t cgroups_weight(uint64_t shares);

#endif
