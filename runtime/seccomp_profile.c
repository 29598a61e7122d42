/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program in a container may ask of the kernel. Three groups by name: calls that every
 * program may make; calls that a capability opens; calls that are known and refused with EPERM. All
 * others, also those that this table never heard of, are answered ENOSYS, so that a C library falls
 * back to the older call that is allowed. clone3(2) is one of these: its flags are behind a pointer
 * where no filter can see them, and every C library knows clone(2). A few calls are allowed for
 * some arguments only.
 *
 * The 32-bit ABI of the same CPU is filtered by the same table; x32 is refused. Its socketcall(2)
 * has the family behind a pointer and may therefore not make sockets: socket(2), which that ABI has
 * since Linux 4.3, is checked. A C library that only knows socketcall needs `seccomp: unconfined`.
 */
#include "runtime/seccomp_profile.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/fd.h"
#include "base/mem.h"

#define SECCOMP_PROFILE_CALLS(X)        \
	X(seccomp_init)                 \
	X(seccomp_release)              \
	X(seccomp_arch_add)             \
	X(seccomp_rule_add_array)       \
	X(seccomp_syscall_resolve_name) \
	X(seccomp_attr_set)             \
	X(seccomp_export_bpf)

DL_DECLARE(seccomp_profile_lib, SECCOMP_PROFILE_CALLS);
DL_DEFINE(seccomp_profile_lib, "libseccomp.so.2", SECCOMP_PROFILE_CALLS)

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

/* clang-format off */
static const char *const allowed[] = {
	/* files */
	"access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range",
	"creat", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64",
	"fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
	"fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr",
	"fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate",
	"ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "getxattrat",
	"inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl",
	"lchown", "lchown32", "lgetxattr", "link", "linkat", "listxattr", "listxattrat",
	"llistxattr", "_llseek", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "mkdir",
	"mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open", "openat",
	"openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
	"pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr",
	"removexattrat", "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64",
	"setxattr", "setxattrat", "splice", "stat", "stat64", "statfs", "statfs64", "statx",
	"symlink", "symlinkat", "sync", "sync_file_range", "sync_file_range2",
	"arm_sync_file_range", "syncfs", "tee", "truncate", "truncate64", "umask", "unlink",
	"unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vmsplice", "write",
	"writev", "cachestat",
	/* asynchronous input and output, without io_uring: it goes past every filter */
	"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64",
	"io_setup", "io_submit", "ioprio_get", "ioprio_set",
	/* waiting */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
	"epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "_newselect",
	"poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select", "signalfd",
	"signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
	"timerfd_settime64",
	/* memory */
	"brk", "get_mempolicy", "madvise", "map_shadow_stack", "mbind", "membarrier",
	"memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2",
	"mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc",
	"pkey_free", "pkey_mprotect", "process_mrelease", "remap_file_pages", "set_mempolicy",
	/* processes and threads */
	"arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork",
	"futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake",
	"getcpu", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32",
	"getgroups", "getgroups32", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
	"getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "get_robust_list",
	"getrusage", "getsid", "get_thread_area", "gettid", "getuid", "getuid32", "kill",
	"modify_ldt", "nanosleep", "pause", "pidfd_getfd", "pidfd_open", "pidfd_send_signal",
	"prctl", "prlimit64", "process_vm_readv", "process_vm_writev", "ptrace",
	"restart_syscall", "rseq", "sched_getaffinity", "sched_getattr", "sched_getparam",
	"sched_get_priority_max", "sched_get_priority_min", "sched_getscheduler",
	"sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity",
	"sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp",
	"setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setpgid", "setpriority", "setregid", "setregid32", "setresgid",
	"setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setrlimit",
	"set_robust_list", "setsid", "set_thread_area", "set_tid_address", "set_tls", "setuid",
	"setuid32", "sysinfo", "tgkill", "times", "tkill", "ugetrlimit", "uname", "vfork",
	"wait4", "waitid", "waitpid", "breakpoint", "cacheflush", "riscv_flush_icache",
	"riscv_hwprobe", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
	/* signals */
	"alarm", "getitimer", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
	"rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "setitimer", "sigaction", "sigaltstack",
	"signal", "sigpending", "sigprocmask", "sigreturn", "sigsuspend",
	/* time */
	"adjtimex", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
	"clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64",
	"gettimeofday", "time", "timer_create", "timer_delete", "timer_getoverrun",
	"timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
	/* sockets; socket(2) itself stands below */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
	"listen", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg",
	"sendmsg", "sendto", "setsockopt", "shutdown", "socketcall", "socketpair",
	/* System V and POSIX queues */
	"ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
	"mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl",
	"msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop",
	"semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
	"getrandom",
	NULL,
};

static const char *const refused[] = {
	"_sysctl", "add_key", "bdflush", "create_module", "get_kernel_syms", "idle",
	"io_uring_enter", "io_uring_register", "io_uring_setup", "kexec_file_load", "kexec_load",
	"keyctl", "migrate_pages", "move_pages", "nfsservctl", "nice", "query_module",
	"request_key", "sysfs", "sgetmask", "ssetmask", "swapoff", "swapon", "umount",
	"uselib", "userfaultfd", "ustat", "vm86", "vm86old", "lookup_dcookie", "quotactl_fd",
	NULL,
};

static const struct {
	unsigned cap;
	const char *names[24];
} guarded[] = {
	{CAP_DAC_READ_SEARCH, {"open_by_handle_at"}},
	{CAP_SYS_ADMIN,
	 {"bpf", "fanotify_init", "fanotify_mark", "fsconfig", "fsmount", "fsopen", "fspick",
	  "mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "pivot_root",
	  "quotactl", "setdomainname", "sethostname", "setns", "umount2", "unshare",
	  "set_mempolicy_home_node"}},
	{CAP_SYS_BOOT, {"reboot"}},
	{CAP_SYS_CHROOT, {"chroot"}},
	{CAP_SYS_MODULE, {"delete_module", "finit_module", "init_module"}},
	{CAP_SYS_PACCT, {"acct"}},
	{CAP_SYS_PTRACE, {"kcmp", "process_madvise"}},
	{CAP_SYS_RAWIO, {"ioperm", "iopl"}},
	{CAP_SYS_TIME, {"clock_settime", "clock_settime64", "settimeofday", "stime"}},
	{CAP_SYS_TTY_CONFIG, {"vhangup"}},
	{CAP_SYSLOG, {"syslog"}},
};

static const char *const monitor_names[] = {
	"read", "write", "writev", "pread64", "close", "lseek", "fstat", "newfstatat", "statx",
	"openat", "openat2", "fchmod", "ftruncate", "fsync", "fdatasync", "renameat", "renameat2", "unlinkat",
	"poll", "ppoll", "accept4", "recvfrom", "sendto", "waitid", "pidfd_send_signal",
	"timerfd_settime", "timer_settime", "clock_gettime", "getrandom", "fcntl", "rt_sigreturn", "restart_syscall", "brk", "munmap",
	"madvise", "getpid", "exit", "exit_group",
	/* what the watchdog of a lease does before it has its own filter (monitor/watchdog.c) */
	"dup3", "close_range", "rt_sigprocmask", "rt_sigaction", "timer_create", "mlock", "mlockall",
	NULL,
};

static const char *const exec_names[] = {
	"read", "write", "close", "poll", "ppoll", "recvfrom", "sendmsg", "ioctl", "kill", "wait4",
	"clock_gettime", "rt_sigreturn", "restart_syscall", "brk", "munmap", "exit", "exit_group",
	NULL,
};

static const char *const logs_names[] = {
	"read", "close", "lseek", "fstat", "newfstatat", "openat", "poll", "ppoll", "recvfrom",
	"sendmsg", "clock_gettime", "rt_sigreturn", "restart_syscall", "brk", "munmap", "exit",
	"exit_group", NULL,
};
/* clang-format on */

/* What the address sanitizer asks for at each call that does not return, and to tell a finding. */
static const char *const sanitizer_names[] = {
#if defined(__SANITIZE_ADDRESS__)
	"sigaltstack",
	"mmap",
#endif
	NULL,
};

/* ---- building ---- */

struct rules {
	scmp_filter_ctx context;
	bool failed;
};

static void
add(struct rules *r, uint32_t action, const char *name, unsigned count,
    const struct scmp_arg_cmp *args)
{
	int number = seccomp_profile_lib.seccomp_syscall_resolve_name(name);
	/* Unknown to this library or CPU: then nobody can call it by that number either. */
	if (number == __NR_SCMP_ERROR || r->failed)
		return;
	int code =
		seccomp_profile_lib.seccomp_rule_add_array(r->context, action, number, count, args);
	/* An argument check that another ABI cannot have (socketcall) is not an error. */
	if (code < 0 && code != -EACCES && code != -EEXIST && code != -EDOM)
		r->failed = true;
}

static void
add_names(struct rules *r, uint32_t action, const char *const *names)
{
	for (; *names != NULL; names++)
		add(r, action, *names, 0, NULL);
}

static void
add_guarded(struct rules *r, uint64_t caps)
{
	for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++) {
		bool open = (caps & CAP_BIT(guarded[i].cap)) != 0;
		add_names(r, open ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM), guarded[i].names);
	}
}

static void
add_clone(struct rules *r, uint64_t caps)
{
	/* Every CLONE_NEW* but CLONE_NEWTIME, which clone(2) does not have. */
	const uint64_t namespaces = 0x7e020000;
	const struct scmp_arg_cmp none = {
		.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = namespaces, .datum_b = 0};
	if ((caps & CAP_BIT(CAP_SYS_ADMIN)) != 0) {
		add(r, SCMP_ACT_ALLOW, "clone", 0, NULL);
		add(r, SCMP_ACT_ALLOW, "clone3", 0, NULL);
		return;
	}
	add(r, SCMP_ACT_ALLOW, "clone", 1, &none);
	for (uint64_t bit = 1; bit < namespaces; bit <<= 1) {
		struct scmp_arg_cmp one = {
			.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = bit, .datum_b = bit};
		if ((namespaces & bit) != 0)
			add(r, SCMP_ACT_ERRNO(EPERM), "clone", 1, &one);
	}
}

static void
add_personality(struct rules *r)
{
	static const uint64_t values[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct scmp_arg_cmp same = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = values[i]};
		add(r, SCMP_ACT_ALLOW, "personality", 1, &same);
	}
}

/* All families but AF_ALG (38: the kernel's crypto, rich in faults) and AF_VSOCK (40: the
 * hypervisor). */
static void
add_socket(struct rules *r)
{
	const struct scmp_arg_cmp ranges[] = {
		{.arg = 0, .op = SCMP_CMP_LT, .datum_a = 38},
		{.arg = 0, .op = SCMP_CMP_EQ, .datum_a = 39},
		{.arg = 0, .op = SCMP_CMP_GT, .datum_a = 40},
	};
	const struct scmp_arg_cmp alg = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = 38};
	const struct scmp_arg_cmp vsock = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = 40};
	for (size_t i = 0; i < 3; i++)
		add(r, SCMP_ACT_ALLOW, "socket", 1, &ranges[i]);
	add(r, SCMP_ACT_ERRNO(EPERM), "socket", 1, &alg);
	add(r, SCMP_ACT_ERRNO(EPERM), "socket", 1, &vsock);
}

/* A watchdog is a process of exactly these flags, and gives itself a name and a filter. */
static void
add_watchdog(struct rules *r)
{
	static const struct {
		const char *name;
		uint64_t value;
	} exact[] = {
		{"clone", (uint64_t)CLONE_PIDFD | (uint64_t)SIGCHLD},
		{"prctl", PR_SET_NAME},
		{"prctl", PR_SET_SECCOMP},
	};
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++) {
		struct scmp_arg_cmp same = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = exact[i].value};
		add(r, SCMP_ACT_ALLOW, exact[i].name, 1, &same);
	}
}

/* ---- compiling ---- */

static int
begin(struct rules *r, uint32_t otherwise, struct err *err)
{
	if (seccomp_profile_open(err) < 0)
		return -1;
	*r = (struct rules){.context = seccomp_profile_lib.seccomp_init(otherwise)};
	if (r->context == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for a seccomp filter");
	return 0;
}

static int
read_program(int fd, struct seccomp_profile *out, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size <= 0 ||
	    (size_t)st.st_size % sizeof(struct sock_filter) != 0 ||
	    (size_t)st.st_size / sizeof(struct sock_filter) > 4096)
		return err_set(err, ERR_INTERNAL, "a seccomp filter came out with a wrong size");
	size_t bytes = (size_t)st.st_size;
	out->items = mem_alloc(MEM_RUNTIME, bytes);
	if (out->items == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for a seccomp filter");
	if (pread(fd, out->items, bytes, 0) != (ssize_t)bytes) {
		seccomp_profile_fini(out);
		return err_sys(err, errno, "cannot read a seccomp filter");
	}
	out->count = bytes / sizeof(struct sock_filter);
	return 0;
}

static int
finish(struct rules *r, struct seccomp_profile *out, struct err *err)
{
	int done = -1;
	*out = (struct seccomp_profile){0};
	/* A tree instead of a chain: the cost of a call does not grow with the table. */
	seccomp_profile_lib.seccomp_attr_set(r->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	int fd = memfd_create("filter", MFD_CLOEXEC);
	if (r->failed)
		err_set(err, ERR_INTERNAL, "libseccomp refused a rule");
	else if (fd < 0 || seccomp_profile_lib.seccomp_export_bpf(r->context, fd) < 0)
		err_set(err, ERR_INTERNAL, "libseccomp cannot compile a filter");
	else
		done = read_program(fd, out, err);
	fd_close(&fd);
	seccomp_profile_lib.seccomp_release(r->context);
	return done;
}

#if defined(__x86_64__)
/* Stands before what libseccomp made, which has no rule for a part of a call of one ABI only. */
static int
refuse_socketcall(struct seccomp_profile *p, struct err *err)
{
	enum { SOCKETCALL = 102, MAKE_SOCKET = 1 };
	static const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCKETCALL, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAKE_SOCKET, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	const size_t more = sizeof(head) / sizeof(head[0]);
	struct sock_filter *all =
		mem_resize(MEM_RUNTIME, p->items, p->count + more, sizeof(*p->items));
	if (all == NULL) {
		seccomp_profile_fini(p);
		return err_set(err, ERR_NO_MEMORY, "no memory for a seccomp filter");
	}
	memmove(all + more, all, p->count * sizeof(*all));
	memcpy(all, head, sizeof(head));
	p->items = all;
	p->count += more;
	return 0;
}
#endif

int
seccomp_profile_open(struct err *err)
{
	return dl_load_seccomp_profile_lib(err);
}

uint64_t
seccomp_profile_caps(void)
{
	uint64_t caps = 0;
	for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++)
		caps |= CAP_BIT(guarded[i].cap);
	return caps;
}

int
seccomp_profile_container(uint64_t caps, struct seccomp_profile *out, struct err *err)
{
	struct rules r;
	if (begin(&r, SCMP_ACT_ERRNO(ENOSYS), err) < 0)
		return -1;
#if defined(__x86_64__)
	if (seccomp_profile_lib.seccomp_arch_add(r.context, SCMP_ARCH_X86) < 0)
		r.failed = true;
#endif
	add_names(&r, SCMP_ACT_ALLOW, allowed);
	add_names(&r, SCMP_ACT_ERRNO(EPERM), refused);
	add_guarded(&r, caps);
	add_clone(&r, caps);
	add_personality(&r);
	add_socket(&r);
	if (finish(&r, out, err) < 0)
		return -1;
#if defined(__x86_64__)
	return refuse_socketcall(out, err);
#else
	return 0;
#endif
}

int
seccomp_profile_own(enum seccomp_profile_kind kind, struct seccomp_profile *out, struct err *err)
{
	static const char *const *const sets[] = {
		[SECCOMP_PROFILE_MONITOR] = monitor_names,
		[SECCOMP_PROFILE_EXEC] = exec_names,
		[SECCOMP_PROFILE_LOGS] = logs_names,
	};
	struct rules r;
	if (begin(&r, SCMP_ACT_ERRNO(EPERM), err) < 0)
		return -1;
	add_names(&r, SCMP_ACT_ALLOW, sets[kind]);
	if (kind == SECCOMP_PROFILE_MONITOR)
		add_watchdog(&r);
	add_names(&r, SCMP_ACT_ALLOW, sanitizer_names);
	return finish(&r, out, err);
}

void
seccomp_profile_fini(struct seccomp_profile *p)
{
	mem_free(p->items);
	*p = (struct seccomp_profile){0};
}
