/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

/*
 * Confinement of a process, applied by the process itself once it has opened what it needs. Order:
 * rlimits, groups, gid, uid, capabilities, no_new_privs, landlock (where the kernel has it),
 * PR_SET_DUMPABLE 0 (so /proc/self then belongs to root: open what is needed of it before),
 * seccomp. Each step but the last is verified by reading it back; any failure is an error, never a
 * warning, except landlock on a kernel without it (reported through landlock_abi). After an error
 * the process is partly confined and must exit.
 * The seccomp program is compiled elsewhere (libseccomp, in node) and comes as instructions, so
 * that no other process needs that library.
 * Threading: call before any thread is started that must be confined, or use
 * SECCOMP_FILTER_FLAG_TSYNC (set tsync); capabilities and ids are per thread: uv's pool threads are
 * started after sandbox_enter, or before with tsync and no privilege to lose.
 */

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include "base/err.h"

enum { SANDBOX_PATHS_MAX = 8, SANDBOX_RLIMITS_MAX = 8 };

enum sandbox_access {
	SANDBOX_READ = 1,
	SANDBOX_WRITE = 2,
	SANDBOX_EXEC = 4,
	/* Character devices may be made: without CAP_MKNOD only 0:0, what overlayfs calls a
	 * whiteout. */
	SANDBOX_WHITEOUT = 8,
};

struct sandbox_path {
	int fd; /* O_PATH descriptor of a file or folder; borrowed */
	unsigned access;
};

struct sandbox_rlimit {
	int resource;
	rlim_t value;
};

struct sandbox {
	bool set_ids;
	uid_t uid;
	gid_t gid;
	uint64_t keep_caps; /* bit CAP_x: permitted and effective, bounding set cut to it */
	bool ambient;       /* keep_caps also inheritable and ambient: survives exec */
	/* Leave no_new_privs off: only for the role that starts containers, whose programs may be
	 * set-uid. A filter and landlock then need CAP_SYS_ADMIN in keep_caps. */
	bool allow_new_privs;
	bool landlock; /* restrict the file system to `paths` (none: nothing at all) */
	struct sandbox_path paths[SANDBOX_PATHS_MAX];
	size_t paths_count;
	struct sandbox_rlimit rlimits[SANDBOX_RLIMITS_MAX];
	size_t rlimits_count;
	const struct sock_filter *filter; /* NULL: none */
	size_t filter_count;
	bool tsync;
};

/* landlock_abi_out: 0 when the kernel has none; told also when none is asked for. */
int sandbox_enter(const struct sandbox *s, int *landlock_abi_out, struct err *err) MUST_CHECK;

/* Capabilities by name ("CAP_NET_ADMIN" or "net_admin"); -1 when unknown. NULL when out of range.
 */
int sandbox_cap_parse(const char *name);
const char *sandbox_cap_name(int cap);
/* Effective set of this process; whether one is held. */
uint64_t sandbox_caps(void);

#endif
