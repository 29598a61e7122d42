/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process gives up what it does not need. The order is forced: rlimits and the bounding set need
 * privilege, so they come before the uid; changing the uid would empty the capabilities, so they
 * are held over it (PR_SET_KEEPCAPS) and then set to exactly what is kept; landlock and seccomp
 * need no_new_privs (or CAP_SYS_ADMIN); seccomp is last, because its filter may forbid all the
 * other calls.
 *
 * Everything is read back, except the filter: seccomp(2) either installed it or failed, and the
 * filter may kill whoever asks. The process ends non-dumpable: no core file, no ptrace and no
 * /proc/PID access by a process of the same uid.
 *
 * Landlock limits the file system only (not signals, sockets or ports: those are the filter's and
 * the namespaces' business), by the rights that the running kernel knows: renaming between folders
 * needs ABI 2, truncation is limited from ABI 3, device ioctls from ABI 5. Device nodes can never
 * be made. What was opened before stays usable.
 *
 * capset and landlock have no libc wrapper and are called raw. See capabilities(7), landlock(7),
 * seccomp(2).
 */
#include "base/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"

/* Newer than the headers of the oldest system we build on. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

/* Rights that make sense on a file; landlock refuses the others there. */
#define FILE_RIGHTS                                                   \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | \
	 LANDLOCK_ACCESS_FS_IOCTL_DEV)

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

#define WRITE_RIGHTS                                                                             \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                         \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                          \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                            \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER | \
	 LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)

static const char *const cap_names[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};
enum { CAP_NAMES = sizeof(cap_names) / sizeof(cap_names[0]) };
_Static_assert(CAP_NAMES == CAP_CHECKPOINT_RESTORE + 1, "one name for each capability");

/* ---- capabilities ---- */

struct cap_sets {
	uint64_t effective;
	uint64_t permitted;
	uint64_t inheritable;
};

static int
caps_get(struct cap_sets *out)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &head, data) < 0)
		return -1;
	*out = (struct cap_sets){
		.effective = data[0].effective | (uint64_t)data[1].effective << 32,
		.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
		.inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
	};
	return 0;
}

static int
caps_set(const struct cap_sets *sets)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(sets->effective >> (32 * i));
		data[i].permitted = (uint32_t)(sets->permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(sets->inheritable >> (32 * i));
	}
	return (int)syscall(SYS_capset, &head, data);
}

int
sandbox_cap_parse(const char *name)
{
	if (strncasecmp(name, "CAP_", 4) == 0)
		name += 4;
	for (int i = 0; i < CAP_NAMES; i++) {
		if (strcasecmp(name, cap_names[i] + 4) == 0)
			return i;
	}
	return -1;
}

const char *
sandbox_cap_name(int cap)
{
	return cap >= 0 && cap < CAP_NAMES ? cap_names[cap] : NULL;
}

uint64_t
sandbox_caps(void)
{
	struct cap_sets sets;

	return caps_get(&sets) == 0 ? sets.effective : 0;
}

static int
cap_failed(struct err *err, const char *what, int cap)
{
	int code = errno;
	const char *name = sandbox_cap_name(cap);

	return err_sys(err, code, "cannot %s %s", what, name != NULL ? name : "a capability");
}

/* Needs CAP_SETPCAP. A process that holds nothing at all may keep a wide bounding set: with
 * no_new_privs no exec can take from it. */
static int
cut_bounding_set(uint64_t keep, struct err *err)
{
	struct cap_sets now;

	if (caps_get(&now) < 0)
		return err_sys(err, errno, "cannot read the capabilities");
	for (int cap = 0; cap < 64; cap++) {
		int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
		if (held < 0)
			break; /* past the last one of this kernel */
		if (held == 0 || (keep >> cap & 1) != 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EPERM && now.permitted == 0)
				return 0;
			return cap_failed(err, "take from the bounding set", cap);
		}
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0)
			return err_set(err, ERR_INTERNAL, "the bounding set still has %s",
				       sandbox_cap_name(cap) != NULL ? sandbox_cap_name(cap)
								     : "a capability");
	}
	return 0;
}

static int
set_ambient(uint64_t keep, bool ambient, struct err *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot clear the ambient capabilities");
	for (int cap = 0; cap < 64; cap++) {
		bool wanted = ambient && (keep >> cap & 1) != 0;
		if (wanted && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return cap_failed(err, "keep over exec", cap);
		int held = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
		if (held >= 0 && (held == 1) != wanted)
			return err_set(err, ERR_INTERNAL,
				       "the ambient capabilities did not change");
	}
	return 0;
}

static int
set_caps(const struct sandbox *s, struct err *err)
{
	struct cap_sets wanted = {
		.effective = s->keep_caps,
		.permitted = s->keep_caps,
		.inheritable = s->ambient ? s->keep_caps : 0,
	};
	struct cap_sets now;

	if (caps_set(&wanted) < 0) {
		err_sys(err, errno, "cannot set the capabilities");
		return err_why(err, "one that shall be kept is not held");
	}
	if (set_ambient(s->keep_caps, s->ambient, err) < 0)
		return -1;
	if (caps_get(&now) < 0)
		return err_sys(err, errno, "cannot read the capabilities");
	if (memcmp(&now, &wanted, sizeof(now)) != 0)
		return err_set(err, ERR_INTERNAL, "the capabilities did not change");
	return 0;
}

/* ---- limits and identity ---- */

static int
set_rlimits(const struct sandbox *s, struct err *err)
{
	for (size_t i = 0; i < s->rlimits_count; i++) {
		__rlimit_resource_t resource = (__rlimit_resource_t)s->rlimits[i].resource;
		struct rlimit limit = {.rlim_cur = s->rlimits[i].value,
				       .rlim_max = s->rlimits[i].value};
		struct rlimit now;

		if (setrlimit(resource, &limit) < 0 || getrlimit(resource, &now) < 0)
			return err_sys(err, errno, "cannot set resource limit %d to %llu",
				       s->rlimits[i].resource,
				       (unsigned long long)s->rlimits[i].value);
		if (now.rlim_cur != limit.rlim_cur || now.rlim_max != limit.rlim_max)
			return err_set(err, ERR_INTERNAL, "resource limit %d did not change",
				       s->rlimits[i].resource);
	}
	return 0;
}

static int
set_ids(const struct sandbox *s, struct err *err)
{
	uid_t uid[3];
	gid_t gid[3];

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot keep capabilities over a change of uid");
	/* Not when there are none: a user namespace may refuse the call. */
	if (getgroups(0, NULL) != 0 && setgroups(0, NULL) < 0)
		return err_sys(err, errno, "cannot drop the supplementary groups");
	if (setresgid(s->gid, s->gid, s->gid) < 0)
		return err_sys(err, errno, "cannot become gid %u", s->gid);
	if (setresuid(s->uid, s->uid, s->uid) < 0)
		return err_sys(err, errno, "cannot become uid %u", s->uid);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot reset PR_SET_KEEPCAPS");

	if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
		return err_sys(err, errno, "cannot read the ids");
	for (int i = 0; i < 3; i++) {
		if (uid[i] != s->uid || gid[i] != s->gid)
			return err_set(err, ERR_INTERNAL, "the ids did not change");
	}
	if (getgroups(0, NULL) != 0)
		return err_set(err, ERR_INTERNAL, "the supplementary groups are still there");
	return 0;
}

static int
set_no_new_privs(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot set no_new_privs");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return err_set(err, ERR_INTERNAL, "no_new_privs is not set");
	return 0;
}

static int
set_undumpable(struct err *err)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot make the process non-dumpable");
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return err_set(err, ERR_INTERNAL, "the process is still dumpable");
	return 0;
}

/* ---- landlock ---- */

static int
landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

static uint64_t
landlock_known_rights(int abi)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* ABI 1: all up to this one */

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

static int
landlock_allow(int ruleset, const struct sandbox_path *path, uint64_t known, struct err *err)
{
	struct landlock_path_beneath_attr rule = {.parent_fd = path->fd};
	struct stat st;

	if (fstat(path->fd, &st) < 0)
		return err_sys(err, errno, "cannot read a path of the sandbox");
	if ((path->access & SANDBOX_READ) != 0)
		rule.allowed_access |= READ_RIGHTS;
	if ((path->access & SANDBOX_WRITE) != 0)
		rule.allowed_access |= WRITE_RIGHTS;
	if ((path->access & SANDBOX_EXEC) != 0)
		rule.allowed_access |= LANDLOCK_ACCESS_FS_EXECUTE;
	if ((path->access & SANDBOX_WHITEOUT) != 0)
		rule.allowed_access |= LANDLOCK_ACCESS_FS_MAKE_CHAR;
	rule.allowed_access &= known;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_sys(err, errno, "cannot add a path to the landlock rules");
	return 0;
}

static int
enter_landlock(const struct sandbox *s, int abi, struct err *err)
{
	uint64_t known = landlock_known_rights(abi);
	struct landlock_ruleset_attr attr = {.handled_access_fs = known};
	defer_close int ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);

	if (ruleset < 0)
		return err_sys(err, errno, "cannot make landlock rules");
	for (size_t i = 0; i < s->paths_count; i++) {
		if (landlock_allow(ruleset, &s->paths[i], known, err) < 0)
			return -1;
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_sys(err, errno, "cannot apply the landlock rules");
	return 0;
}

/* ---- seccomp ---- */

static int
enter_seccomp(const struct sandbox *s, struct err *err)
{
	struct sock_fprog program = {.len = (unsigned short)s->filter_count};
	unsigned flags = s->tsync ? SECCOMP_FILTER_FLAG_TSYNC : 0;

	assert(s->filter_count <= BPF_MAXINSNS);
	memcpy(&program.filter, &s->filter, sizeof(program.filter)); /* it is only read */
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (r < 0)
		return err_sys(err, errno, "cannot install the seccomp filter");
	if (r > 0)
		return err_set(err, ERR_SYSTEM, "thread %ld cannot take the seccomp filter", r);
	return 0;
}

int
sandbox_enter(const struct sandbox *s, int *landlock_abi_out, struct err *err)
{
	int abi = landlock_abi();

	assert(s->paths_count <= SANDBOX_PATHS_MAX && s->rlimits_count <= SANDBOX_RLIMITS_MAX);
	if (landlock_abi_out != NULL)
		*landlock_abi_out = abi;
	if (set_rlimits(s, err) < 0 || cut_bounding_set(s->keep_caps, err) < 0)
		return -1;
	if (s->set_ids && set_ids(s, err) < 0)
		return -1;
	if (set_caps(s, err) < 0)
		return -1;
	if (!s->allow_new_privs && set_no_new_privs(err) < 0)
		return -1;
	if (s->landlock && abi > 0 && enter_landlock(s, abi, err) < 0)
		return -1;
	if (set_undumpable(err) < 0)
		return -1;
	if (s->filter != NULL && enter_seccomp(s, err) < 0)
		return -1;
	return 0;
}
