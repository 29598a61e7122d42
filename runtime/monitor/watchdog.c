/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last one to see to it that nothing outlives its lease. The monitor can be stopped, starved,
 * killed, or stand in a write to a disk that is dead; PR_SET_PDEATHSIG, by which the kernel would
 * end the container with it, is gone as soon as the container's first process changes its user. So
 * this process has next to nothing to fail by:
 *
 * - it opens, allocates, logs and writes nothing after its start; its program and its stack are
 *   locked in memory, so that it needs no disk for itself either;
 * - nobody has to wake it: a timer of the kernel does (CLOCK_BOOTTIME, docs/decisions/012), with
 *   SIGCONT, which wakes also what somebody has stopped;
 * - the new deadline is a word in shared memory, which it looks at when its timer wakes it at the
 *   former one. Only an earlier one has to be told, by a signal of its own: SIGCONT is lost on a
 *   process that has one of its timer pending;
 * - it is outside of the container's groups and pid namespace, and no signal but SIGKILL ends it.
 *
 * It signals the first process first, which takes no lock, and with it ends the pid namespace; then
 * the group. It goes on until the process is gone.
 */
#include "runtime/monitor/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/world.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Its descriptors; all others are closed. */
enum { AT_PID, AT_KILL, AT_GO, AT_END };

enum { TOLD = SIGUSR1 };

#define SECOND_NS UINT64_C(1000000000)
#define LATE_NS (WATCHDOG_LATE_MS * UINT64_C(1000000))

/* From the linker: where the program's text begins and ends. */
extern const char __executable_start[], etext[];

bool
watchdog_due(uint64_t until_ns, uint64_t now_ns, uint64_t *wake_ns_out)
{
	uint64_t end_ns = until_ns > UINT64_MAX - LATE_NS ? UINT64_MAX : until_ns + LATE_NS;
	bool due = until_ns != 0 && now_ns >= end_ns;

	/* Killed once is enough, unless it was not done: then once more each second. */
	*wake_ns_out = until_ns == 0 ? 0 : due ? now_ns + SECOND_NS : end_ns;
	return due;
}

/* ---- the process ---- */

static void
on_wake(int number)
{
	(void)number;
}

/* And each second from then on: it may be stopped again before it has looked. */
static void
set_timer(timer_t timer, uint64_t at_ns)
{
	struct itimerspec at = {
		.it_value = {(time_t)(at_ns / SECOND_NS), (long)(at_ns % SECOND_NS)},
		.it_interval = {.tv_sec = 1},
	};

	timer_settime(timer, TIMER_ABSTIME, &at, NULL);
}

/* Without the right to lock so much it is a watchdog all the same. What it writes to is there by
 * then: it has slept and was woken once. */
static void
stay_in_memory(void)
{
	mlockall(MCL_CURRENT | MCL_ONFAULT);
	mlock(__executable_start, (size_t)(etext - __executable_start));
}

#define ALLOW(call)                                            \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* On top of the monitor's, which knows the other ABIs of this CPU. */
static bool
confine(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(ppoll),
		ALLOW(rt_sigreturn),
		ALLOW(restart_syscall),
		ALLOW(clock_gettime),
		ALLOW(timer_settime),
		ALLOW(pidfd_send_signal),
		ALLOW(write),
		ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

static bool
take_descriptors(const struct watchdog_task *task)
{
	if (dup3(task->pidfd, AT_PID, O_CLOEXEC) < 0)
		return false;
	if (task->kill_fd < 0)
		close(AT_KILL);
	else if (dup3(task->kill_fd, AT_KILL, O_CLOEXEC) < 0)
		return false;
	if (task->go_fd < 0)
		close(AT_GO);
	else if (dup3(task->go_fd, AT_GO, O_CLOEXEC) < 0)
		return false;
	return syscall(SYS_close_range, (unsigned)AT_END, ~0U, 0U) == 0;
}

/* False when it is gone. */
static bool
sleep_on(const sigset_t *awake)
{
	struct pollfd p = {.fd = AT_PID, .events = POLLIN};

	return ppoll(&p, 1, NULL, awake) <= 0;
}

static void
watch(const _Atomic uint64_t *until_ns, timer_t timer, const sigset_t *awake)
{
	uint64_t wake_ns;

	do {
		if (watchdog_due(atomic_load(until_ns), world_mono_ns(), &wake_ns)) {
			fd_pidfd_signal(AT_PID, SIGKILL);
			/* None, or none left: it is for what the signal does not end. */
			if (write(AT_KILL, "1", 1) < 0)
				errno = 0;
		}
		set_timer(timer, wake_ns);
	} while (sleep_on(awake));
}

/* Sleeps once, until a time that is over: from then on all is where it will be needed. */
static bool
stand(const struct watchdog *w, const struct watchdog_task *task)
{
	struct sigevent wake = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
	struct sigaction action = {.sa_handler = on_wake};
	timer_t timer;
	sigset_t all, awake;

	sigfillset(&all);
	awake = all;
	sigdelset(&awake, SIGCONT);
	sigdelset(&awake, TOLD);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0 || sigaction(SIGCONT, &action, NULL) < 0 ||
	    sigaction(TOLD, &action, NULL) < 0 || !take_descriptors(task) ||
	    timer_create(CLOCK_BOOTTIME, &wake, &timer) < 0)
		return false;
	prctl(PR_SET_NAME, "zlayer-watchdog", 0, 0, 0);
	set_timer(timer, 1);
	if (!sleep_on(&awake))
		return true;
	stay_in_memory();
	if (!confine())
		return false;
	if (task->go_fd >= 0 && write(AT_GO, "g", 1) != 1)
		return false;
	watch(w->until_ns, timer, &awake);
	return true;
}

/* ---- in the monitor ---- */

int
watchdog_open(struct watchdog *w, struct err *err)
{
	*w = (struct watchdog){.pidfd = -1};
	void *shared = mmap(NULL, sizeof(*w->until_ns), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return err_sys(err, errno, "cannot share memory with a watchdog");
	w->until_ns = shared;
	return 0;
}

int
watchdog_start(struct watchdog *w, const struct watchdog_task *task, struct err *err)
{
	const unsigned long flags = (unsigned)CLONE_PIDFD | (unsigned)SIGCHLD;
	int pidfd = -1;

	long pid = syscall(SYS_clone, flags, NULL, &pidfd, NULL, NULL);
	if (pid < 0)
		return err_sys(err, errno, "cannot make a watchdog");
	if (pid == 0) {
		bool done = stand(w, task);
		/* Not _exit(): a sanitizer would ask for calls that the filter has not. */
		for (;;)
			syscall(SYS_exit_group, done ? 0 : 1);
	}
	w->pidfd = pidfd;
	return 0;
}

void
watchdog_tell(struct watchdog *w, uint64_t until_ns)
{
	uint64_t before_ns = atomic_exchange(w->until_ns, until_ns);

	if (w->pidfd < 0 || until_ns == 0 || (before_ns != 0 && until_ns >= before_ns))
		return;
	fd_pidfd_signal(w->pidfd, TOLD);
	fd_pidfd_signal(w->pidfd, SIGCONT);
}

bool
watchdog_lives(struct watchdog *w)
{
	siginfo_t info = {0};

	if (w->pidfd < 0)
		return false;
	if (waitid((idtype_t)P_PIDFD, (id_t)w->pidfd, &info, WEXITED | WNOHANG) == 0 &&
	    info.si_pid == 0)
		return true;
	fd_close(&w->pidfd);
	return false;
}

void
watchdog_end(struct watchdog *w)
{
	if (w->pidfd >= 0)
		fd_pidfd_signal(w->pidfd, SIGKILL);
	fd_close(&w->pidfd);
}
