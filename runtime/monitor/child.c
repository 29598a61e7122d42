/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens between clone3(2) and execve(2), read from top to bottom. Everything up to the last
 * three steps runs with the runtime's capabilities and touches nothing of the image but names; the
 * image's own text (passwd, group) is read as data. Each failure ends the process with a report
 * that says which step it was.
 */
#include "runtime/monitor/child.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <fcntl.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/monitor/hold.h"
#include "runtime/monitor/privilege.h"
#include "runtime/monitor/root.h"
#include "runtime/monitor/steps.h"

enum { NOBODY = 65534 };

void
child_report_from(const struct err *err, unsigned exit_status, struct child_report *out)
{
	*out = (struct child_report){
		.kind = (uint32_t)err->kind,
		.code = (uint32_t)err->code,
		.exit = exit_status,
	};
	text_copy(out->what, sizeof(out->what), err->what);
	/* The last reason is the most precise one: ours stands behind the system's. */
	if (err->whys > 0)
		text_copy(out->why, sizeof(out->why), err->why[err->whys - 1]);
	text_copy(out->fix, sizeof(out->fix), err->fix);
}

void
child_fail(int report_fd, const struct err *err, unsigned exit_status)
{
	struct child_report report;
	child_report_from(err, exit_status, &report);
	/* A pipe that is gone means that the monitor is: there is nobody left to tell. */
	if (write(report_fd, &report, sizeof(report)) < 0)
		_exit(125);
	_exit((int)exit_status);
}

int
child_close_others(int report_fd, struct err *err)
{
	unsigned keep = (unsigned)report_fd;
	if ((keep > 3 && syscall(SYS_close_range, 3U, keep - 1, 0U) < 0) ||
	    syscall(SYS_close_range, keep + 1, ~0U, 0U) < 0)
		return err_sys(err, errno, "cannot close the descriptors");
	return 0;
}

static int
enter_namespaces(const struct launch *launch, struct err *err)
{
	if (setns(launch->netns_fd, CLONE_NEWNET) < 0)
		return err_sys(err, errno, "cannot join the container's network namespace");
	if (privilege_join_cgroups(launch, err) < 0)
		return -1;
	if (privilege_become_root(err) < 0)
		return -1;
	/* Only now, so that its own groups are the roots that it sees. */
	if (unshare(CLONE_NEWCGROUP) < 0)
		return err_sys(err, errno, "cannot make a cgroup namespace");
	if (sethostname(launch->hostname, strlen(launch->hostname)) < 0)
		return err_sys(err, errno, "cannot set the host name to \"%s\"", launch->hostname);
	return 0;
}

static int
open_null(void)
{
	struct stat st;
	int fd = open("/dev/null", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
		return fd;
	fd_close(&fd);
	return -1;
}

static int
set_stdio(const struct child_stdio *stdio, const struct user *user, struct err *err)
{
	defer_close int null = open_null();
	/* So that a program may open /dev/stdout again as its own user. */
	if (fchown(stdio->out, user->uid, user->gid) < 0 ||
	    fchown(stdio->err, user->uid, user->gid) < 0)
		return err_sys(err, errno, "cannot hand over the output pipes");
	if (null < 0 || dup2(null, 0) < 0 || dup2(stdio->out, 1) < 0 || dup2(stdio->err, 2) < 0)
		return err_sys(err, errno, "cannot set up standard input and output");
	return 0;
}

static int
enter_workdir(const struct launch *launch, struct err *err)
{
	char cwd[4096];
	if (chdir(launch->workdir) < 0)
		return err_sys(err, errno, "cannot enter the working folder %s", launch->workdir);
	/* A folder outside of the root has no path here, or an "(unreachable)" one. */
	if (getcwd(cwd, sizeof(cwd)) == NULL || cwd[0] != '/')
		return err_set(err, ERR_CORRUPT, "the working folder %s is not in the container",
			       launch->workdir);
	return 0;
}

/* What holds a place is nobody: the files that it could be looked up in may be broken. */
static int
find_user(const struct launch *launch, int root, int proc, struct user *out, struct err *err)
{
	if (!launch->hold)
		return privilege_find_user(launch, root, proc, out, err);
	*out = (struct user){.uid = NOBODY, .gid = NOBODY, .home = "/"};
	return 0;
}

/* Until its watchdog is ready. */
static int
await_go(const struct child_stdio *stdio, struct err *err)
{
	char byte;
	ssize_t n;
	if (stdio->go[0] < 0)
		return 0;
	close(stdio->go[1]);
	while ((n = read(stdio->go[0], &byte, 1)) < 0 && errno == EINTR)
		continue;
	if (n != 1)
		return err_set(err, ERR_SYSTEM, "the container's watchdog ended at once");
	return 0;
}

static int
prepare(const struct launch *launch, const struct child_stdio *stdio, struct user *user,
	struct err *err)
{
	int root = -1, proc = -1, done = -1;
	privilege_reset_signals();
	if (await_go(stdio, err) < 0)
		return -1;
	umask(022);
	if (setsid() < 0)
		return err_sys(err, errno, "cannot make a session");
	if (enter_namespaces(launch, err) < 0)
		return -1;
	if (root_open(launch, &root, err) < 0)
		return -1;
	if (root_fill(launch, root, &proc, err) < 0 ||
	    find_user(launch, root, proc, user, err) < 0 ||
	    privilege_set_limits(launch, proc, err) < 0 || root_enter(launch, root, err) < 0)
		goto out;
	done = set_stdio(stdio, user, err);
out:
	fd_close(&root);
	fd_close(&proc);
	return done;
}

void
child_main(const struct launch *launch, const struct child_stdio *stdio)
{
	struct child_report ready = {.kind = ERR_NONE};
	struct err err = {0};
	struct user user;
	int exit_status = 125;

	if (prepare(launch, stdio, &user, &err) < 0 || child_close_others(stdio->report, &err) < 0)
		child_fail(stdio->report, &err, 125);
	if (!launch->hold && enter_workdir(launch, &err) < 0)
		child_fail(stdio->report, &err, 125);
	if (privilege_drop(launch, &user, &err) < 0)
		child_fail(stdio->report, &err, 125);
	/* Without a monitor nobody would ever learn how it ended. The kernel forgets it when the
	 * program changes its user: what is leased has a watchdog for that. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (steps_run(launch, &user, stdio->report, &err) < 0)
		child_fail(stdio->report, &err, 125);
	if (write(stdio->report, &ready, sizeof(ready)) != sizeof(ready))
		_exit(125);
	if (launch->hold)
		hold_run(stdio->report);
	if (privilege_exec(launch, &user, &exit_status, &err) < 0)
		child_fail(stdio->report, &err, (unsigned)exit_status);
	_exit(125);
}
