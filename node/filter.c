/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call filters. A set is a list of names; a role's filter is the union of its sets. Anything
 * else ends the whole process, so that a call nobody thought of is found by the first test that
 * makes it and cannot be used by an attacker.
 *
 * Three kinds of exception: calls that are allowed only with certain arguments (mmap and mprotect
 * never with PROT_EXEC, clone for threads only, fstat only of a descriptor), calls that libraries
 * try and can live without (clone3, openat, ioctl: answered with an error), and FILTER_HOST, which
 * allows everything but a list: containers inherit it and have a filter of their own on top.
 * FILTER_PROGRAM is for a program of somebody else's (etcd): what it is loaded with, threads,
 * sockets and files; what is not named is answered as by a kernel that does not have it.
 * libseccomp refuses foreign ABIs (x32, i386) by default.
 *
 * Names that the installed libseccomp does not know are passed over: the kernel call is then just
 * not allowed.
 */
#include "node/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/fd.h"

#define SECCOMP_CALLS(X)                \
	X(seccomp_init)                 \
	X(seccomp_release)              \
	X(seccomp_rule_add_array)       \
	X(seccomp_syscall_resolve_name) \
	X(seccomp_attr_set)             \
	X(seccomp_export_bpf)

DL_DECLARE(seccomp, SECCOMP_CALLS);
DL_DEFINE(seccomp, "libseccomp.so.2", SECCOMP_CALLS)

struct set {
	unsigned bit;
	const char *const *names;
};

static const char *const base_names[] = {
	"read",
	"write",
	"readv",
	"writev",
	"recvfrom",
	"recvmsg",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"recvmmsg",
	"close",
	"close_range",
	"shutdown",
	"getsockname",
	"getpeername",
	"getsockopt",
	"setsockopt",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_ctl",
	"poll",
	"ppoll",
	"fcntl",
	"dup",
	"fstat",
	"lseek",
	"pread64",
	"brk",
	"munmap",
	"mremap",
	"madvise",
	"futex",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"restart_syscall",
	"sigaltstack",
	"clock_gettime",
	"clock_getres",
	"gettimeofday",
	"time",
	"clock_nanosleep",
	"nanosleep",
	"getpid",
	"gettid",
	"getppid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getrandom",
	"getrusage",
	"getcpu",
	"sched_yield",
	"sched_getaffinity",
	"tgkill",
	"exit",
	"exit_group",
	"set_robust_list",
	"rseq",
	"prlimit64",
	"membarrier",
	"sysinfo",
	"uname",
	NULL,
};

static const char *const client_names[] = {
	"connect",
	"bind",
	NULL,
};

static const char *const server_names[] = {
	"accept",
	"accept4",
	"listen",
	NULL,
};

static const char *const share_names[] = {
	"memfd_create",    "eventfd2",  "socketpair", "fsync",    "fdatasync",
	"pipe2",           "ftruncate", "pwrite64",   "sendfile", "splice",
	"copy_file_range", "fallocate", NULL,
};

static const char *const files_names[] = {
	"openat",
	"openat2",
	"open",
	"newfstatat",
	"stat",
	"lstat",
	"statx",
	"fstatfs",
	"statfs",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents64",
	"getcwd",
	"chdir",
	"fchdir",
	"pwrite64",
	"pwritev",
	"preadv",
	"ftruncate",
	"fallocate",
	"fsync",
	"fdatasync",
	"sync_file_range",
	"syncfs",
	"msync",
	"flock",
	"unlink",
	"unlinkat",
	"rename",
	"renameat",
	"renameat2",
	"mkdir",
	"mkdirat",
	"rmdir",
	"fchmod",
	"fchmodat",
	"chmod",
	"umask",
	"utimensat",
	"link",
	"linkat",
	"copy_file_range",
	"sendfile",
	"memfd_create",
	"inotify_add_watch",
	"inotify_rm_watch",
	NULL,
};

static const char *const owners_names[] = {
	"fchown",       "fchownat",     "lchown",    "chown",      "symlink",    "symlinkat",
	"mknodat",      "mknod",        "setxattr",  "lsetxattr",  "fsetxattr",  "getxattr",
	"lgetxattr",    "fgetxattr",    "listxattr", "llistxattr", "flistxattr", "removexattr",
	"lremovexattr", "fremovexattr", "fchmodat2", NULL,
};

static const char *const bpf_names[] = {
	"bpf",           "perf_event_open", "memfd_create", "ftruncate",
	"epoll_create1", "eventfd2",        "prctl",        NULL,
};

static const char *const secrets_names[] = {
	"memfd_secret", "ftruncate", "mlock", "munlock", NULL,
};

/* Beside base, client, server and files: loading it, and what Go's runtime does. */
static const char *const program_names[] = {
	"execve",       "arch_prctl",    "set_tid_address", "epoll_create1", "pipe2",
	"eventfd2",     "mincore",       "getrlimit",       "kill",          "timer_create",
	"timer_delete", "timer_settime", "setitimer",       "mmap",          "mprotect",
	"mlock",        "munlock",       "splice",          "truncate",      "times",
	"fadvise64",    "getpgrp",       "getpgid",         "inotify_init1", "wait4",
	NULL,
};

static const struct set sets[] = {
	{FILTER_SECRETS, secrets_names}, {FILTER_BASE, base_names},   {FILTER_CLIENT, client_names},
	{FILTER_SERVER, server_names},   {FILTER_SHARE, share_names}, {FILTER_FILES, files_names},
	{FILTER_OWNERS, owners_names},   {FILTER_BPF, bpf_names},
};

/* What FILTER_HOST refuses: the machine's kernel, clock, disks and accounting. */
static const char *const machine_names[] = {
	"init_module",
	"finit_module",
	"delete_module",
	"create_module",
	"kexec_load",
	"kexec_file_load",
	"reboot",
	"swapon",
	"swapoff",
	"acct",
	"settimeofday",
	"clock_settime",
	"clock_adjtime",
	"adjtimex",
	"stime",
	"iopl",
	"ioperm",
	"quotactl",
	"quotactl_fd",
	"lookup_dcookie",
	"nfsservctl",
	"open_by_handle_at",
	"syslog",
	"uselib",
	"vm86",
	"vm86old",
	NULL,
};

/* Tried by libraries that can go on without. */
static const struct {
	const char *name;
	int code;
} refused[] = {
	{"clone3", ENOSYS},     {"openat", EACCES},
	{"open", EACCES},       {"openat2", EACCES},
	{"newfstatat", EACCES}, {"stat", EACCES},
	{"statx", EACCES},      {"access", EACCES},
	{"readlink", EACCES},   {"readlinkat", EACCES},
	{"prctl", EINVAL},

	{"fadvise64", EINVAL},  {"io_uring_setup", ENOSYS},
	{"mlock", EPERM},       {"pkey_alloc", ENOSYS},
	{"accept4", EACCES},    {"inotify_init1", EACCES},
	{"getdents64", EACCES}, {"mknod", EPERM},
	{"mknodat", EPERM},     {"sched_setaffinity", EPERM},
};

struct rules {
	scmp_filter_ctx ctx;
	int failed; /* first negative errno */
};

static int
resolve(const char *name)
{
	return seccomp.seccomp_syscall_resolve_name(name);
}

static void
rule(struct rules *r, uint32_t action, const char *name, unsigned count,
     const struct scmp_arg_cmp *compare)
{
	int nr = resolve(name);

	if (nr == __NR_SCMP_ERROR || r->failed)
		return;
	int rc = seccomp.seccomp_rule_add_array(r->ctx, action, nr, count, compare);
	/* -EACCES: the same action as the default's; -EEXIST: said by another set already. */
	if (rc < 0 && rc != -EACCES && rc != -EEXIST && rc != -EDOM)
		r->failed = rc;
}

static bool
named(unsigned bits, const char *name)
{
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (!(bits & sets[i].bit))
			continue;
		for (const char *const *n = sets[i].names; *n; n++)
			if (strcmp(*n, name) == 0)
				return true;
	}
	return false;
}

static void
rules_socket(struct rules *r, unsigned bits)
{
	struct scmp_arg_cmp inet = SCMP_A0(SCMP_CMP_EQ, AF_INET);
	struct scmp_arg_cmp inet6 = SCMP_A0(SCMP_CMP_EQ, AF_INET6);
	struct scmp_arg_cmp netlink = SCMP_A0(SCMP_CMP_EQ, AF_NETLINK);

	if (bits & FILTER_CLIENT) {
		rule(r, SCMP_ACT_ALLOW, "socket", 1, &inet);
		rule(r, SCMP_ACT_ALLOW, "socket", 1, &inet6);
	}
	if (bits & FILTER_BPF)
		rule(r, SCMP_ACT_ALLOW, "socket", 1, &netlink);
	if (!(bits & (FILTER_CLIENT | FILTER_BPF)))
		rule(r, SCMP_ACT_ERRNO(EACCES), "socket", 0, NULL);
}

/* libuv sets descriptors up by ioctl; terminals and devices are nobody's business. */
static void
rules_ioctl(struct rules *r)
{
	static const scmp_datum_t calls[] = {FIONREAD, FIONBIO, FIOCLEX}; /* ascending */
	struct scmp_arg_cmp below = SCMP_A1(SCMP_CMP_LT, FIONREAD);
	struct scmp_arg_cmp above = SCMP_A1(SCMP_CMP_GT, FIOCLEX);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct scmp_arg_cmp call = SCMP_A1(SCMP_CMP_EQ, calls[i]);

		rule(r, SCMP_ACT_ALLOW, "ioctl", 1, &call);
	}
	rule(r, SCMP_ACT_ERRNO(ENOTTY), "ioctl", 1, &below);
	rule(r, SCMP_ACT_ERRNO(ENOTTY), "ioctl", 1, &above);
}

static void
rules_arguments(struct rules *r, unsigned bits)
{
	struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
	struct scmp_arg_cmp descriptor = SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH);

	rule(r, SCMP_ACT_ALLOW, "mmap", 1, &no_exec);
	rule(r, SCMP_ACT_ALLOW, "mprotect", 1, &no_exec);
	rule(r, SCMP_ACT_ALLOW, "clone", 1, &thread);
	rules_ioctl(r);
	rules_socket(r, bits);
	if (named(bits, "newfstatat"))
		return;
	struct scmp_arg_cmp path = SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0);
	rule(r, SCMP_ACT_ALLOW, "newfstatat", 1, &descriptor);
	rule(r, SCMP_ACT_ERRNO(EACCES), "newfstatat", 1, &path);
}

static void
rules_allow(struct rules *r, unsigned bits)
{
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (!(bits & sets[i].bit))
			continue;
		for (const char *const *n = sets[i].names; *n; n++)
			rule(r, SCMP_ACT_ALLOW, *n, 0, NULL);
	}
	rules_arguments(r, bits);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (!named(bits, refused[i].name) && strcmp(refused[i].name, "newfstatat") != 0)
			rule(r, SCMP_ACT_ERRNO((uint32_t)refused[i].code), refused[i].name, 0,
			     NULL);
}

static void
rules_names(struct rules *r, const char *const *names)
{
	for (const char *const *n = names; *n; n++)
		rule(r, SCMP_ACT_ALLOW, *n, 0, NULL);
}

/* Threads and no other processes, the internet and this machine's own sockets, no devices. */
static void
rules_program(struct rules *r)
{
	static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
	struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
	struct scmp_arg_cmp process = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);

	rules_names(r, base_names);
	rules_names(r, client_names);
	rules_names(r, server_names);
	rules_names(r, files_names);
	rules_names(r, program_names);
	rule(r, SCMP_ACT_ALLOW, "clone", 1, &thread);
	rule(r, SCMP_ACT_ERRNO(EPERM), "clone", 1, &process);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		struct scmp_arg_cmp family = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]);

		rule(r, SCMP_ACT_ALLOW, "socket", 1, &family);
	}
	rules_ioctl(r);
}

static uint32_t
default_action(unsigned bits)
{
	if (bits & FILTER_HOST)
		return SCMP_ACT_ALLOW;
	return bits & FILTER_PROGRAM ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS;
}

static void
rules_host(struct rules *r)
{
	for (const char *const *n = machine_names; *n; n++)
		rule(r, SCMP_ACT_ERRNO(EPERM), *n, 0, NULL);
}

static int export(scmp_filter_ctx ctx, struct sock_filter *out, size_t *count_out, struct err *err)
{
	defer_close int fd = memfd_create("filter", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot make a file for a system call filter");
	int rc = seccomp.seccomp_export_bpf(ctx, fd);
	if (rc < 0)
		return err_sys(err, -rc, "cannot export a system call filter");
	off_t bytes = lseek(fd, 0, SEEK_END);
	if (bytes <= 0 || (size_t)bytes > FILTER_INSTRUCTIONS_MAX * sizeof(*out))
		return err_set(err, ERR_LIMIT, "a system call filter has %lld bytes",
			       (long long)bytes);
	if (pread(fd, out, (size_t)bytes, 0) != (ssize_t)bytes)
		return err_sys(err, errno, "cannot read a system call filter back");
	*count_out = (size_t)bytes / sizeof(*out);
	return 0;
}

int
filter_compile(unsigned bits, struct sock_filter *out, size_t *count_out, struct err *err)
{
	if (dl_load_seccomp(err) < 0)
		return -1;
	struct rules r = {.ctx = seccomp.seccomp_init(default_action(bits))};
	if (!r.ctx)
		return err_set(err, ERR_NO_MEMORY, "no memory for a system call filter");
	/* A binary tree: the proxy's common calls must not walk a list of a hundred. */
	(void)seccomp.seccomp_attr_set(r.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (bits & FILTER_HOST)
		rules_host(&r);
	else if (bits & FILTER_PROGRAM)
		rules_program(&r);
	else
		rules_allow(&r, bits);
	int rc = -1;
	if (r.failed)
		(void)err_sys(err, -r.failed, "cannot build a system call filter");
	else
		rc = export(r.ctx, out, count_out, err);
	seccomp.seccomp_release(r.ctx);
	return rc;
}
