/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From root with all that the runtime has to the container's own process. Without no_new_privs a
 * filter needs CAP_SYS_ADMIN and so is installed before the capabilities go; with it, it is the
 * last thing. The inheritable and ambient sets are empty: a program gains nothing by being
 * executed. A capability that this machine does not have itself (a container in a container) is
 * left out.
 */
#include "runtime/monitor/privilege.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

int
privilege_join_cgroups(const struct launch *launch, struct err *err)
{
	for (size_t i = 0; i < launch->cgroup_procs.count; i++)
		if (write(launch->cgroup_procs.items[i], "0", 1) != 1)
			return err_sys(err, errno, "cannot enter the container's cgroup");
	return 0;
}

int
privilege_become_root(struct err *err)
{
	if (syscall(SYS_setgroups, (size_t)0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
	    syscall(SYS_setresuid, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot become root to prepare the container");
	return 0;
}

static int
set_oom_score(const struct launch *launch, int proc_fd, struct err *err)
{
	char text[16];
	if (!launch->oom_score_adj_given)
		return 0;
	defer_close int fd = openat(proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	int length = snprintf(text, sizeof(text), "%d", launch->oom_score_adj);
	if (fd >= 0 && write(fd, text, (size_t)length) == length)
		return 0;
	err_sys(err, errno, "cannot set oom_score_adj to %d", launch->oom_score_adj);
	return err_fix(err, "a value below that of the node needs CAP_SYS_RESOURCE");
}

static int
set_rlimit(const struct launch_rlimit *want, struct err *err)
{
	struct rlimit now, value = {.rlim_cur = want->soft, .rlim_max = want->hard};
	__rlimit_resource_t resource = (__rlimit_resource_t)want->resource;
	if (setrlimit(resource, &value) == 0)
		return 0;
	int code = errno;
	if (getrlimit(resource, &now) == 0 && !want->given) {
		if (value.rlim_max > now.rlim_max)
			value.rlim_max = now.rlim_max;
		if (value.rlim_cur > value.rlim_max)
			value.rlim_cur = value.rlim_max;
		if (setrlimit(resource, &value) == 0)
			return 0;
	}
	err_sys(err, code, "cannot set resource limit %u to %llu:%llu", want->resource,
		(unsigned long long)want->soft, (unsigned long long)want->hard);
	return err_why(err, "the node itself is limited to %llu", (unsigned long long)now.rlim_max);
}

int
privilege_set_limits(const struct launch *launch, int proc_fd, struct err *err)
{
	if (set_oom_score(launch, proc_fd, err) < 0)
		return -1;
	for (size_t i = 0; i < launch->rlimits_count; i++)
		if (set_rlimit(&launch->rlimits[i], err) < 0)
			return -1;
	return 0;
}

static uint64_t
bounding_set(void)
{
	uint64_t have = 0;
	for (unsigned cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			have |= UINT64_C(1) << cap;
	return have;
}

static int
set_caps(uint64_t caps, struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)caps, .permitted = (uint32_t)caps},
		{.effective = (uint32_t)(caps >> 32), .permitted = (uint32_t)(caps >> 32)},
	};
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(err, errno, "cannot set the capabilities");
	return 0;
}

static int
install_filter(const struct launch *launch, struct err *err)
{
	struct sock_fprog program = {
		.len = (unsigned short)launch->filter.count,
		/* The kernel only reads it. */
		.filter = (struct sock_filter *)(uintptr_t)launch->filter.items,
	};
	if (launch->filter.count == 0)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_sys(err, errno, "cannot install the seccomp filter");
	return 0;
}

static int
set_ids(const struct user *user, struct err *err)
{
	gid_t groups[USER_GROUPS_MAX + 1] = {user->gid};
	memcpy(groups + 1, user->groups, user->groups_count * sizeof(gid_t));
	if (syscall(SYS_setgroups, user->groups_count + 1, groups) < 0)
		return err_sys(err, errno, "cannot set the supplementary groups");
	if (syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0)
		return err_sys(err, errno, "cannot become group %u", user->gid);
	if (syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
		return err_sys(err, errno, "cannot become user %u", user->uid);
	return 0;
}

int
privilege_drop(const struct launch *launch, const struct user *user, struct err *err)
{
	uint64_t have = bounding_set();
	uint64_t caps = launch->caps & have;
	if (!launch->no_new_privs && install_filter(launch, err) < 0)
		return -1;
	for (unsigned cap = 0; cap < 64; cap++)
		if ((have & ~caps & (UINT64_C(1) << cap)) != 0 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_sys(err, errno, "cannot drop capability %u", cap);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot clear the ambient capabilities");
	if (set_ids(user, err) < 0)
		return -1;
	/* An execution by root gives what the bounding set has; any other user starts with none. */
	if (set_caps(user->uid == 0 ? caps : 0, err) < 0)
		return -1;
	if (launch->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "cannot set no_new_privs");
	if (launch->no_new_privs && install_filter(launch, err) < 0)
		return -1;
	return 0;
}

/* A file of the container's, bounded; missing is empty. Looked at before it is opened: a device in
 * its place (CAP_MKNOD is a default) would be opened with the node's rights, and for some that
 * alone does harm. */
static size_t
read_hostile(int rootfd, int proc_fd, const char *path, char *out, size_t cap)
{
	struct stat st;
	char again[32];
	size_t used = 0;
	defer_close int found = fd_open_in_root(rootfd, path, O_PATH, 0);
	if (found < 0 || fstat(found, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	snprintf(again, sizeof(again), "self/fd/%d", found);
	defer_close int fd = openat(proc_fd, again, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (used < cap) {
		ssize_t n = read(fd, out + used, cap - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

int
privilege_find_user(const struct launch *launch, int rootfd, int proc_fd, struct user *out,
		    struct err *err)
{
	defer_free char *passwd = mem_alloc(MEM_RUNTIME, USER_FILE_MAX);
	defer_free char *group = mem_alloc(MEM_RUNTIME, USER_FILE_MAX);
	if (passwd == NULL || group == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory to look the user up");
	size_t passwd_bytes = read_hostile(rootfd, proc_fd, "etc/passwd", passwd, USER_FILE_MAX);
	size_t group_bytes = read_hostile(rootfd, proc_fd, "etc/group", group, USER_FILE_MAX);
	return user_find(launch->user, passwd, passwd_bytes, group, group_bytes, out, err);
}

void
privilege_reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- execution ---- */

static const char *
env_get(const struct launch_list *env, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = env->count; i > 0; i--) {
		const char *item = env->items[i - 1];
		if (strncmp(item, name, length) == 0 && item[length] == '=')
			return item + length + 1;
	}
	return NULL;
}

static const char *
machine_name(unsigned machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86_64";
	case EM_AARCH64:
		return "arm64";
	case EM_386:
		return "x86 (32 bits)";
	case EM_ARM:
		return "arm (32 bits)";
	case EM_RISCV:
		return "riscv";
	case EM_PPC64:
		return "ppc64";
	case EM_S390:
		return "s390x";
	default:
		return NULL;
	}
}

static void
explain_format(const char *path, struct err *err)
{
	Elf64_Ehdr head = {0};
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : read(fd, &head, sizeof(head));
	if (got < 20 || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) {
		err_why(err, "it is neither a program nor a script that begins with #!");
		return;
	}
	/* Of the other byte order is other hardware. */
	bool swapped = head.e_ident[EI_DATA] !=
		       (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB);
	unsigned machine = swapped ? __builtin_bswap16(head.e_machine) : head.e_machine;
	const char *name = machine_name(machine);
	if (name == NULL)
		err_why(err, "it is a program for another CPU (ELF machine %u)", machine);
	else
		err_why(err, "it is a program for another CPU: %s", name);
	err_fix(err, "use an image built for this node's CPU");
}

static int
explain_exec(const char *path, int code, int *exit_out, struct err *err)
{
	struct stat st;
	bool exists = stat(path, &st) == 0;
	*exit_out = code == ENOENT && !exists ? 127 : 126;
	err_sys(err, code, "cannot run \"%s\"", path);
	if (code == ENOENT && exists)
		err_why(err, "it is there, but its interpreter or dynamic loader is not");
	else if (code == ENOEXEC)
		explain_format(path, err);
	else if (code == EACCES && exists && S_ISDIR(st.st_mode))
		err_why(err, "it is a folder");
	else if (code == EACCES)
		err_why(err, "it has no permission to be executed by this user");
	if (code == EACCES)
		err_fix(err, "make the file executable in the image (chmod +x), or check the "
			     "command (of a service: command.entrypoint)");
	if (code == ENOENT)
		err_fix(err, "check the command (of a service: command.entrypoint, else the "
			     "image's entrypoint)");
	return -1;
}

static int
exec_by_path(char **argv, char **env, const char *search, int *exit_out, struct err *err)
{
	char path[4096];
	int worst = ENOENT;
	while (*search != '\0') {
		size_t length = strcspn(search, ":");
		const char *dir = length == 0 ? "." : search;
		if (length == 0)
			length = 1;
		int n = snprintf(path, sizeof(path), "%.*s/%s", (int)length, dir, argv[0]);
		if (n > 0 && (size_t)n < sizeof(path)) {
			execve(path, argv, env);
			int code = errno;
			bool there = access(path, F_OK) == 0;
			if (there && code != EACCES)
				return explain_exec(path, code, exit_out, err);
			if (there)
				worst = EACCES;
		}
		search += strcspn(search, ":");
		search += *search == ':';
	}
	*exit_out = worst == ENOENT ? 127 : 126;
	err_sys(err, worst, "cannot run \"%s\"", argv[0]);
	if (worst == ENOENT)
		err_why(err, "no folder of the container's PATH has it");
	return err_fix(err, "check the command (of a service: command.entrypoint, else the "
			    "image's entrypoint)");
}

int
privilege_exec(const struct launch *launch, const struct user *user, int *exit_out, struct err *err)
{
	char home[USER_HOME_BYTES + 8];
	const struct launch_list *env = &launch->env;
	char **full = mem_array(MEM_RUNTIME, env->count + 2, sizeof(*full));
	*exit_out = 126;
	if (full == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for the environment");
	for (size_t i = 0; i < env->count; i++)
		full[i] = env->items[i];
	snprintf(home, sizeof(home), "HOME=%s", user->home);
	if (env_get(env, "HOME") == NULL)
		full[env->count] = home;
	char **argv = launch->argv.items;
	if (strchr(argv[0], '/') != NULL) {
		execve(argv[0], argv, full);
		return explain_exec(argv[0], errno, exit_out, err);
	}
	const char *search = env_get(env, "PATH");
	return exec_by_path(argv, full, search == NULL ? "/bin:/usr/bin" : search, exit_out, err);
}
