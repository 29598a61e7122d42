/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what. One row per role; a row is all that a reviewer needs to know about a process.
 *
 * Rules: a role that faces something hostile has no capability; a key of a site and a network never
 * meet in one process (signer has no network, proxy no keys); no two processes share a uid, since
 * equal uids could signal and trace each other. scheduler has the keys by which the nodes of a
 * cluster know each other, and speaks with them itself: only who shows one of their keys is heard.
 * runtime is the exception that runs containers: its children inherit capabilities' bounds and
 * filter, so its row is the most that any container can ever have. Loading modules, raw hardware
 * access, rebooting, setting the clock and the security policy are in nobody's row.
 */
#include "node/roles.h"

#include <assert.h>
#include <linux/capability.h>
#include "node/filter.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)
#define R SANDBOX_READ
#define RW (SANDBOX_READ | SANDBOX_WRITE)

/* What a container has by default, what `capabilities` may add to it, and what making one takes. */
#define CAPS_CONTAINERS                                                                         \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | CAP(SETGID) | \
	 CAP(SETUID) | CAP(SETPCAP) | CAP(SETFCAP) | CAP(MKNOD) | CAP(NET_BIND_SERVICE) |       \
	 CAP(NET_RAW) | CAP(SYS_CHROOT) | CAP(AUDIT_WRITE) | CAP(SYS_ADMIN) | CAP(NET_ADMIN) |  \
	 CAP(SYS_PTRACE) | CAP(SYS_RESOURCE) | CAP(SYS_NICE) | CAP(IPC_LOCK) | CAP(IPC_OWNER) | \
	 CAP(DAC_READ_SEARCH) | CAP(NET_BROADCAST) | CAP(LINUX_IMMUTABLE) | CAP(LEASE) |        \
	 CAP(BPF) | CAP(PERFMON))
#define CAPS_UNPACK (CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(SETFCAP))

/* clang-format off */
static const struct roles_entry entries[ROLES_COUNT] = {
	{ROLE_DATAPLANE, ROLES_FABRIC, .uid = 1, .start = 1, .replace = 9, .landlock = true,
	 .caps = CAP(BPF) | CAP(NET_ADMIN) | CAP(PERFMON),
	 .filter = FILTER_BASE | FILTER_FILES | FILTER_CLIENT | FILTER_BPF,
	 .files_max = 4096, .tasks_max = 16,
	 .folders_count = 3,
	 .folders = {{ROLES_BPF, "", RW}, {ROLES_SYS, "kernel/btf", R}, {ROLES_SYS, "devices/system/cpu", R}}},
	{ROLE_OVERLAY, ROLES_FABRIC, .uid = 2, .start = 2, .replace = 8, .landlock = true,
	 .filter = FILTER_BASE | FILTER_SHARE | FILTER_FILES | FILTER_CLIENT | FILTER_SERVER,
	 .files_max = 1024, .tasks_max = 32,
	 .folders_count = 1, .folders = {{ROLES_DATA, "overlay", RW}}},
	{ROLE_SIGNER, ROLES_NONE, .uid = 3, .start = 3, .replace = 7, .landlock = true,
	 .filter = FILTER_BASE | FILTER_SHARE | FILTER_SECRETS,
	 .files_max = 1024, .tasks_max = 16},
	{ROLE_UNPACK, ROLES_NONE, .user_ns = true, .uid = 4, .start = 4, .replace = 6, .landlock = true,
	 .caps = CAPS_UNPACK,
	 .filter = FILTER_BASE | FILTER_SHARE | FILTER_FILES | FILTER_OWNERS,
	 .files_max = 1024, .tasks_max = 32,
	 .folders_count = 1, .folders = {{ROLES_DATA, "images", RW | SANDBOX_WHITEOUT}}},
	{ROLE_RUNTIME, ROLES_FABRIC, .uid = 5, .start = 5, .replace = 5, .new_privs = true,
	 .caps = CAPS_CONTAINERS,
	 .filter = FILTER_HOST,
	 .files_max = 1048576,
	 .folders_count = 4,
	 .folders = {{ROLES_DATA, "images", RW}, {ROLES_DATA, "containers", RW},
		     {ROLES_DATA, "volumes", RW}, {ROLES_RUN, "containers", RW}}},
	{ROLE_FETCH, ROLES_HOST, .uid = 10, .start = 11, .replace = 10, .landlock = true,
	 .filter = FILTER_BASE | FILTER_CLIENT | FILTER_SHARE,
	 .files_max = 1024, .tasks_max = 16},
	{ROLE_PROBE, ROLES_FABRIC, .uid = 6, .start = 6, .replace = 4, .landlock = true,
	 .filter = FILTER_BASE | FILTER_CLIENT,
	 .files_max = 4096, .tasks_max = 16},
	{ROLE_SCHEDULER, ROLES_HOST, .uid = 7, .start = 7, .replace = 3, .landlock = true,
	 .filter = FILTER_BASE | FILTER_SHARE | FILTER_FILES | FILTER_CLIENT | FILTER_SERVER |
		   FILTER_SECRETS,
	 .files_max = 4096, .tasks_max = 16,
	 .folders_count = 1, .folders = {{ROLES_DATA, "state", RW}}},
	{ROLE_PROXY, ROLES_FABRIC, .uid = 16, .start = 8, .replace = 11, .many = true, .outlives = true,
	 .landlock = true,
	 .filter = FILTER_BASE | FILTER_SERVER | FILTER_CLIENT | FILTER_SECRETS,
	 .files_max = 1048576, .tasks_max = 16},
	{ROLE_OBSERVABILITY, ROLES_HOST, .uid = 8, .start = 9, .replace = 1, .landlock = true,
	 .filter = FILTER_BASE | FILTER_SERVER | FILTER_CLIENT,
	 .files_max = 4096, .tasks_max = 16},
	{ROLE_API, ROLES_NONE, .uid = 9, .start = 10, .replace = 2, .landlock = true,
	 .filter = FILTER_BASE | FILTER_SERVER | FILTER_SHARE,
	 .files_max = 4096, .tasks_max = 16},
};
/* clang-format on */

const struct roles_entry *
roles_get(unsigned role)
{
	for (size_t i = 0; i < ROLES_COUNT; i++)
		if ((unsigned)entries[i].role == role)
			return &entries[i];
	return NULL;
}

const struct roles_entry *
roles_at(size_t i)
{
	assert(i < ROLES_COUNT);
	return &entries[i];
}

uid_t
roles_uid(const struct roles_entry *entry, unsigned index, uid_t base)
{
	assert(index < (entry->many ? ROLE_PROXIES_MAX : 1));
	return base + entry->uid + index;
}
