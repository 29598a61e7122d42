/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who ends a container whose lease is over, one behind the other: the monitor, woken by a timer at
 * the deadline; its watchdog, 250 ms later; the runtime, if it is there, 500 ms after the deadline;
 * and after a second the kernel ends the monitor itself, in case that it is stopped and hides what
 * has happened. With it goes the container, as long as the container's first process is what the
 * monitor made (PR_SET_PDEATHSIG is forgotten when it changes its user).
 */
#include "runtime/monitor/lease.h"

#include <errno.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/world.h"

enum { LATE_MS = 1000 };

static struct itimerspec
at(uint64_t ns)
{
	const uint64_t second = 1000000000;

	return (struct itimerspec){.it_value = {(time_t)(ns / second), (long)(ns % second)}};
}

int
lease_open(struct lease *l, struct err *err)
{
	struct sigevent kill = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};

	*l = (struct lease){.fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
	if (l->fd < 0 || timer_create(CLOCK_BOOTTIME, &kill, &l->end) < 0)
		return err_sys(err, errno, "cannot make the timers of a lease");
	return watchdog_open(&l->watchdog, err);
}

bool
lease_set(struct lease *l, uint64_t until_ns)
{
	struct itimerspec deadline = at(until_ns);
	struct itimerspec end = at(until_ns == 0 ? 0 : until_ns + LATE_MS * UINT64_C(1000000));

	l->until_ns = until_ns;
	watchdog_tell(&l->watchdog, until_ns);
	/* What is over already is not given to the timers: the kernel would not wait for us. */
	return !lease_is_over(l) &&
	       timerfd_settime(l->fd, TFD_TIMER_ABSTIME, &deadline, NULL) == 0 &&
	       timer_settime(l->end, TIMER_ABSTIME, &end, NULL) == 0;
}

bool
lease_is_over(const struct lease *l)
{
	return l->until_ns != 0 && world_mono_ns() >= l->until_ns;
}

bool
lease_look(struct lease *l)
{
	uint64_t times;

	return read(l->fd, &times, sizeof(times)) > 0 && lease_is_over(l);
}

void
lease_done(struct lease *l)
{
	const struct itimerspec never = {0};

	timer_settime(l->end, TIMER_ABSTIME, &never, NULL);
}

int
lease_guard(struct lease *l, const struct watchdog_task *task, struct err *err)
{
	if (l->until_ns == 0 || watchdog_lives(&l->watchdog))
		return 0;
	return watchdog_start(&l->watchdog, task, err);
}
