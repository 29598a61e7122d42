/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_PLAN_H
#define RING_PLAN_H

/*
 * The plan of one replica: all that the runtime needs to run it, made by the scheduler from the
 * document. Encoded as little-endian bytes behind a magic and a version; the decoder takes nothing
 * for granted (every count, length and enum is checked; limits below). Never holds a secret value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum {
	PLAN_MAGIC = 0x4e4c505a, /* "ZPLN" */
	PLAN_VERSION = 3,        /* encoded as 2 without more args, as 1 without init steps, too */
	PLAN_BYTES_MAX = 1 << 20,
	PLAN_TEXT_MAX = 131072, /* one argument or variable */
	PLAN_LIST_MAX = 1024,
};

struct plan_list {
	char **items;
	size_t count;
	bool given; /* false: the image's own stands */
};

struct plan_pair {
	char *key;
	char *value;
};

enum plan_mount_kind {
	PLAN_MOUNT_BIND = 1,
	PLAN_MOUNT_NAMED,
	PLAN_MOUNT_ANONYMOUS,
	PLAN_MOUNT_TMPFS,
};

struct plan_mount {
	enum plan_mount_kind kind;
	char *source; /* bind: host path; named: volume name; else NULL */
	char *target;
	bool readonly;
	uint64_t size_bytes; /* 0: none */
	uint32_t mode;       /* tmpfs; 0: 01777 */
};

struct plan_device {
	char *path;
	bool read, write, mknod;
};

struct plan_ulimit {
	char *name; /* "nofile" */
	uint64_t soft, hard;
};

enum plan_pull { PLAN_PULL_IF_NOT_PRESENT = 1, PLAN_PULL_NEVER, PLAN_PULL_ALWAYS, PLAN_PULL_NEWER };
enum plan_seccomp { PLAN_SECCOMP_DEFAULT = 1, PLAN_SECCOMP_UNCONFINED };

enum plan_step_kind { PLAN_STEP_TCP = 1, PLAN_STEP_HTTP, PLAN_STEP_RUN };
enum plan_step_failure { PLAN_STEP_FAIL = 1, PLAN_STEP_WARN, PLAN_STEP_GO_ON };
enum { PLAN_STEPS_MAX = 64 };

struct plan_step {
	char *id;
	enum plan_step_kind kind;
	struct plan_list command; /* run */
	char *host;               /* tcp, http */
	uint16_t port;
	char *path; /* http: with its query */
	uint32_t expect_status;
	uint32_t retry;
	uint64_t timeout_ms; /* of each try */
	enum plan_step_failure on_failure;
};

struct plan {
	uint64_t replica;
	uint64_t service;
	char *deployment;
	char *service_name;
	uint32_t index;
	uint32_t revision;

	char *image;        /* normalised reference */
	char *image_digest; /* pinned; NULL: resolve the reference now */
	enum plan_pull pull;

	struct plan_list entrypoint;
	struct plan_list args;
	struct plan_list args_more; /* behind args, or the image's: of one run of a job */
	char *workdir;              /* NULL: the image's */
	char *user;                 /* NULL: the image's */
	char *hostname;
	struct plan_pair *env;
	size_t env_count;
	struct plan_pair *labels;
	size_t labels_count;

	uint64_t cpu_milli; /* 0: none */
	uint64_t cpu_shares;
	char *cpuset; /* NULL */
	uint64_t memory_bytes;
	uint64_t memory_swap_bytes;
	uint64_t memory_reservation_bytes;
	uint64_t pids;
	bool oom_score_adj_given;
	int32_t oom_score_adj;
	struct plan_ulimit *ulimits;
	size_t ulimits_count;

	struct plan_list cap_add;
	struct plan_list cap_drop;
	bool privileged;
	bool no_new_privs;
	bool read_only_root;
	enum plan_seccomp seccomp;
	struct plan_pair *sysctls;
	size_t sysctls_count;
	struct plan_pair *extra_hosts; /* key: name, value: address */
	size_t extra_hosts_count;
	struct plan_mount *mounts;
	size_t mounts_count;
	struct plan_device *devices;
	size_t devices_count;

	uint32_t stop_signal;
	uint32_t stop_grace_ms;
	uint64_t log_max_bytes;
	uint32_t log_max_files;

	struct plan_list health_command; /* given: run in the container */
	uint32_t health_grace_ms, health_interval_ms, health_timeout_ms;

	struct plan_step *steps; /* before the program is run, in this order */
	size_t steps_count;
};

/* The encoding goes to out (sticky failure: check buf_ok). Same plan, same bytes. */
void plan_encode(const struct plan *plan, struct buf *out);
/* All text in the arena. */
int plan_decode(const void *data, size_t bytes, struct arena *arena, struct plan **out,
		struct err *err) MUST_CHECK;
void plan_sha256(const void *data, size_t bytes, uint8_t out[32]);

#endif
