/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in a program's place when its replica is isolated: it sleeps, reaps what programs of
 * `zlayer exec` leave behind, and ends when it is told to. It is this process itself and no program
 * of the image, whose files nobody trusts any more; it has no capabilities, a uid of nobody's, and
 * the filter of the container.
 *
 * All signals are blocked and waited for: a process 1 gets those only that it does not leave to
 * their defaults, and which of them the deployment ends its program with is not known here.
 */
#include "runtime/monitor/hold.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn void
hold_run(int report_fd)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* Its memory still has the environment that the program was given. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "zlayer-hold", 0, 0, 0);
	close(report_fd);
	for (;;) {
		int signal = sigwaitinfo(&all, NULL);

		while (waitpid(-1, NULL, WNOHANG) > 0)
			continue;
		if (signal > 0 && signal != SIGCHLD && signal != SIGCONT && signal != SIGURG)
			_exit(EXIT_SUCCESS);
	}
}
