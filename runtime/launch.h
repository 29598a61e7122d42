/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAUNCH_H
#define RUNTIME_LAUNCH_H

/*
 * All that zlayer-monitor needs to start a container, to run a command in one, or to read the log
 * of one: made by the runtime, handed over in a sealed memfd at descriptor LAUNCH_FD. Numbers of
 * descriptors are those that the monitor inherits. Encoded as little-endian bytes behind a magic
 * and a version; the decoder checks every count, length, enum and descriptor number, because the
 * monitor of a newer package may be started by an older runtime that is still at work. Never holds
 * a secret value that the plan did not put into the environment. Threading: plain values; the text
 * is in the decoder's arena.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/filter.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "ring/plan.h"

enum {
	LAUNCH_MAGIC = 0x434e4c5a, /* "ZLNC" */
	LAUNCH_VERSION = 4,   /* leased; 3: a hold; 2: with init steps; else it is encoded as 1 */
	LAUNCH_FD = 3,        /* where the description is */
	LAUNCH_FIRST_FD = 4,  /* descriptors named in it start here */
	LAUNCH_FDS_MAX = 600, /* and end below this */
	LAUNCH_BYTES_MAX = 4 << 20,
	LAUNCH_TEXT_MAX = 131072,
	LAUNCH_LIST_MAX = 4096,
	LAUNCH_FILTER_MAX = 4096,
};

enum launch_verb { LAUNCH_RUN = 1, LAUNCH_EXEC, LAUNCH_LOGS };

struct launch_list {
	char **items;
	size_t count;
};

struct launch_pair {
	char *key;
	char *value;
};

enum launch_mount_kind {
	LAUNCH_TREE = 1, /* a detached mount, moved to its place */
	LAUNCH_TMPFS,
};

struct launch_mount {
	enum launch_mount_kind kind;
	char *target;
	int32_t fd;          /* tree; -1 for tmpfs */
	bool directory;      /* tree: a folder, else a file */
	bool readonly;       /* tree: already set on it; tmpfs: made so */
	bool inherit;        /* tree: an empty volume takes owner and mode of what it covers */
	uint64_t size_bytes; /* tmpfs; 0: the kernel's default */
	uint32_t mode;       /* tmpfs */
};

struct launch_device {
	char *path;
	bool block;
	uint32_t major, minor;
	uint32_t mode; /* permission bits */
};

struct launch_rlimit {
	uint32_t resource;
	bool given; /* by the user: fails when it cannot be set; else cut to what can */
	uint64_t soft, hard;
};

struct launch_fds {
	int32_t *items;
	size_t count;
};

struct launch_filter {
	const struct sock_filter *items;
	size_t count;
};

struct launch {
	enum launch_verb verb;
	uint64_t replica;
	uint32_t attempt;
	struct launch_filter monitor_filter; /* of the monitor itself */

	/* run and exec: the process */
	struct launch_list argv;
	struct launch_list env; /* KEY=value */
	char *workdir;
	char *user; /* name or uid, and perhaps :group; "" is root */
	uint64_t caps;
	bool no_new_privs;
	bool privileged;
	struct launch_filter filter; /* of the process; none: unconfined */
	struct launch_rlimit *rlimits;
	size_t rlimits_count;
	bool oom_score_adj_given;
	int32_t oom_score_adj;
	struct launch_fds cgroup_procs; /* cgroup.procs files to write "0" to */

	/* run: the container */
	char *hostname;
	char *stage;               /* an empty folder: where the new root is put together */
	struct launch_list layers; /* absolute paths, top first */
	char *upper, *work;
	bool read_only_root;
	struct launch_mount *mounts; /* in this order */
	size_t mounts_count;
	struct launch_device *devices;
	size_t devices_count;
	struct launch_pair *sysctls; /* "net.ipv4.x" */
	size_t sysctls_count;
	struct launch_list masked, readonly; /* absolute paths in the container */
	bool cgroup_v2_mount;                /* /sys/fs/cgroup is the one tree */
	struct launch_list cgroup_v1_mounts; /* else one folder per hierarchy: "cpu,cpuacct" */
	int32_t netns_fd;
	int32_t cgroup_fd;  /* v2 folder for CLONE_INTO_CGROUP; -1 when there is none */
	int32_t oom_fd;     /* file with a line "oom_kill N"; -1 */
	int32_t kill_fd;    /* v2 cgroup.kill; -1 */
	int32_t control_fd; /* listening SOCK_SEQPACKET socket */
	int32_t run_fd;     /* folder for the state */
	int32_t record_fd;  /* folder for the exit record that is kept */
	int32_t log_fd;     /* folder for the log files */
	uint64_t log_max_bytes;
	uint32_t log_max_files;
	struct plan_step *steps; /* before the program */
	size_t steps_count;
	bool hold;               /* no program and no steps: process 1 sleeps, and reaps */
	uint64_t lease_until_ns; /* CLOCK_BOOTTIME, when it is killed unless told otherwise; 0 never
				  */
	uint64_t lease_epoch;

	/* exec: the command */
	int32_t pidfd;     /* of the container's first process */
	int32_t stream_fd; /* exec and logs: frames of ring/msg.h */
	bool tty;
	uint32_t rows, columns;
	bool kill_on_close; /* SIGKILL as soon as the stream ends */

	/* logs: what to read in log_fd; attempt 0 is all */
	int64_t since_wall_ns, until_wall_ns; /* 0: none */
	uint32_t tail;                        /* UINT32_MAX: all */
	bool follow;
};

/* All descriptors -1, everything else empty. */
void launch_init(struct launch *launch);
/* Sticky failure in out: check buf_ok. */
void launch_encode(const struct launch *launch, struct buf *out);
/* Borrows the filters' instructions from data. */
int launch_decode(const void *data, size_t bytes, struct arena *arena, struct launch **out,
		  struct err *err) MUST_CHECK;

#endif
