/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command in a running container. The helper joins all namespaces of the container's first
 * process through its pidfd (a pid namespace counts for children only, so that the helper itself is
 * not seen inside), makes the command, gives up what it has but CAP_KILL, and then carries frames.
 * It was executed from a sealed file and is not dumpable: nothing in the container can get at its
 * program (CVE-2019-5736). A terminal comes from the container's own devpts, by descriptor, with no
 * path.
 *
 * The command is made in two steps. A container with CAP_SYS_PTRACE may trace what it sees, so a
 * process that it sees must never have more than the container: the first child stays outside of
 * its pid namespace, takes its place in the cgroups, and gives up all privileges; only then it
 * enters, by making the command as a sibling of itself.
 *
 * One frame is under way in each direction; whoever is slow holds up the other side.
 */
#include "runtime/monitor/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/world.h"
#include "runtime/frame.h"
#include "runtime/monitor/child.h"
#include "runtime/monitor/privilege.h"

enum {
	READ_BYTES = 16384,
	CAP_KILL_BIT = 5,
	CLOSE_GRACE_MS = 5000,
	DEVPTS_MAGIC = 0x1cd1,
	STAGED = 1,            /* in a report's exit: its code is the command's pid */
	DRAIN_BYTES = 1 << 20, /* more than a pipe ever holds */
};

struct exec {
	const struct launch *launch;
	struct user user;
	pid_t pid;
	int pidfd;
	int report;
	int input;        /* where stdin goes: pipe or terminal; -1: closed */
	int out, err;     /* outputs, -1 at their end; the terminal is `out` and `input` */
	int stream;       /* -1 when the other side is gone */
	int child[3];     /* the command's ends */
	struct frame now; /* stdin not yet taken by the command */
	size_t now_done;
	bool pending;
	uint64_t kill_at_ns;
	bool failed;
	uint32_t exit_status;
	struct child_report failure;
};

static struct frame_parser parser;
static char read_buffer[READ_BYTES];

/* ---- setting up ---- */

static int
join(const struct launch *launch, struct err *err)
{
	const int all = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
	if (setns(launch->pidfd, all) < 0)
		return err_sys(err, errno, "cannot join the container's namespaces");
	return 0;
}

static int
open_terminal(struct exec *x, int root, struct err *err)
{
	struct statfs fs;
	struct winsize size = {.ws_row = (unsigned short)x->launch->rows,
			       .ws_col = (unsigned short)x->launch->columns};
	int unlock = 0;
	defer_close int master = fd_open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0);
	if (master < 0 || fstatfs(master, &fs) < 0 || fs.f_type != DEVPTS_MAGIC)
		return err_set(err, ERR_SYSTEM, "the container has no /dev/pts of ours");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(err, errno, "cannot unlock a terminal");
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(err, errno, "cannot open a terminal");
	if (size.ws_row > 0 && size.ws_col > 0)
		ioctl(master, TIOCSWINSZ, &size);
	if (fchown(slave, x->user.uid, (gid_t)-1) < 0) {
		err_sys(err, errno, "cannot hand over a terminal");
		close(slave);
		return -1;
	}
	for (int i = 0; i < 3; i++)
		x->child[i] = slave;
	x->out = fd_take(&master);
	x->input = x->out;
	return 0;
}

static int
open_pipes(struct exec *x, struct err *err)
{
	int p[3][2];
	for (int i = 0; i < 3; i++)
		if (pipe2(p[i], O_CLOEXEC) < 0)
			return err_sys(err, errno, "cannot make pipes");
	x->child[0] = p[0][0];
	x->child[1] = p[1][1];
	x->child[2] = p[2][1];
	x->input = p[0][1];
	x->out = p[1][0];
	x->err = p[2][0];
	for (int i = 0; i < 3; i++)
		if (fchown(x->child[i], x->user.uid, x->user.gid) < 0)
			return err_sys(err, errno, "cannot hand over the pipes");
	return 0;
}

static void
note_report(struct exec *x, const struct child_report *report)
{
	if (report->kind == ERR_NONE)
		return;
	x->failed = true;
	x->failure = *report;
}

/* Seen from inside, with no right that is not the container's. */
static void
command(const struct exec *x, int report_fd)
{
	struct child_report ready = {.kind = ERR_NONE};
	struct err err = {0};
	int exit_status = 126;

	setsid();
	if (x->launch->tty && ioctl(0, TIOCSCTTY, 0) < 0) {
		err_sys(&err, errno, "cannot take the terminal");
		child_fail(report_fd, &err, 126);
	}
	if (write(report_fd, &ready, sizeof(ready)) != sizeof(ready))
		_exit(126);
	if (privilege_exec(x->launch, &x->user, &exit_status, &err) < 0)
		child_fail(report_fd, &err, (unsigned)exit_status);
	_exit(126);
}

static int
prepare(struct exec *x, int proc, int report_fd, struct err *err)
{
	char cwd[4096];
	privilege_reset_signals();
	umask(022);
	if (privilege_join_cgroups(x->launch, err) < 0 ||
	    privilege_set_limits(x->launch, proc, err) < 0)
		return -1;
	if (setns(x->launch->pidfd, CLONE_NEWPID) < 0)
		return err_sys(err, errno, "cannot join the container's processes");
	if (dup2(x->child[0], 0) < 0 || dup2(x->child[1], 1) < 0 || dup2(x->child[2], 2) < 0)
		return err_sys(err, errno, "cannot set up standard input and output");
	if (child_close_others(report_fd, err) < 0)
		return -1;
	if (chdir(x->launch->workdir) < 0 || getcwd(cwd, sizeof(cwd)) == NULL || cwd[0] != '/')
		return err_sys(err, errno, "cannot enter the folder %s", x->launch->workdir);
	return privilege_drop(x->launch, &x->user, err);
}

/* Outside of the pid namespace: sends the command's pid, as seen from here, and ends. */
static void
stage(struct exec *x, int proc, int report_fd)
{
	struct err err = {0};
	if (prepare(x, proc, report_fd, &err) < 0)
		child_fail(report_fd, &err, 126);
	struct child_report made = {.kind = ERR_NONE};
	long pid =
		syscall(SYS_clone, (unsigned long)(CLONE_PARENT | SIGCHLD), NULL, NULL, NULL, NULL);
	if (pid == 0)
		command(x, report_fd);
	if (pid < 0) {
		err_sys(&err, errno, "cannot make a process in the container");
		child_fail(report_fd, &err, 126);
	}
	made.code = (uint32_t)pid;
	made.exit = STAGED;
	_exit(write(report_fd, &made, sizeof(made)) == sizeof(made) ? 0 : 126);
}

/* Whoever traces the command could write reports in its name: no pid is believed that is not that
 * of a child, and there is no other. */
static bool
is_child(pid_t pid)
{
	siginfo_t info;
	return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Waits for the first child to end and takes over what it made. */
static int
await_stage(struct exec *x, pid_t first, struct err *err)
{
	struct child_report report;
	int status = 0;
	while (waitpid(first, &status, 0) < 0 && errno == EINTR)
		continue;
	/* The command may have told already that it is ready, or why not. */
	for (int i = 0; i < 2 && x->pid == 0; i++) {
		if (read(x->report, &report, sizeof(report)) != (ssize_t)sizeof(report))
			break;
		if (report.kind != ERR_NONE || report.exit != STAGED)
			note_report(x, &report);
		else if (is_child((pid_t)report.code))
			x->pid = (pid_t)report.code;
	}
	if (x->pid > 0)
		return 0;
	return err_set(err, ERR_SYSTEM, "the command was ended while it was being prepared");
}

static void
close_child_ends(struct exec *x)
{
	close(x->child[0]);
	if (!x->launch->tty) {
		close(x->child[1]);
		close(x->child[2]);
	}
}

static int
start(struct exec *x, struct err *err)
{
	int report[2];
	defer_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return err_sys(err, errno, "cannot open /proc");
	if (join(x->launch, err) < 0)
		return -1;
	defer_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(err, errno, "cannot open the container's root");
	if (privilege_find_user(x->launch, root, proc, &x->user, err) < 0)
		return -1;
	if ((x->launch->tty ? open_terminal(x, root, err) : open_pipes(x, err)) < 0)
		return -1;
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	pid_t first = fork();
	if (first == 0)
		stage(x, proc, report[1]);
	if (first < 0)
		return err_sys(err, errno, "cannot make a process in the container");
	close(report[1]);
	close_child_ends(x);
	x->report = report[0];
	if (await_stage(x, first, err) < 0)
		return -1;
	x->pidfd = fd_pidfd_open(x->pid);
	if (x->pidfd < 0)
		return err_sys(err, errno, "cannot watch the command");
	fd_nonblock(x->input, true);
	fd_nonblock(x->out, true);
	if (x->err >= 0)
		fd_nonblock(x->err, true);
	return 0;
}

static int
confine(const struct launch *launch, struct err *err)
{
	struct sandbox box = {
		.keep_caps = UINT64_C(1) << CAP_KILL_BIT,
		.landlock = true,
		.filter = launch->monitor_filter.items,
		.filter_count = launch->monitor_filter.count,
	};
	int abi;
	return sandbox_enter(&box, &abi, err);
}

/* ---- carrying ---- */

static void
signal_all(struct exec *x, int sig)
{
	/* It leads a process group of its own. */
	if (kill(-x->pid, sig) < 0)
		kill(x->pid, sig);
}

static void
lose_stream(struct exec *x)
{
	if (x->stream < 0)
		return;
	fd_close(&x->stream);
	signal_all(x, x->launch->kill_on_close ? SIGKILL : SIGHUP);
	x->kill_at_ns = world_mono_ns() + (uint64_t)CLOSE_GRACE_MS * 1000000;
}

static void
close_input(struct exec *x)
{
	x->pending = false;
	if (x->input < 0)
		return;
	if (x->launch->tty) {
		/* The end of input on a terminal is a character. */
		const char eot = 4;
		if (write(x->input, &eot, 1) != 1)
			return;
	} else {
		fd_close(&x->input);
	}
}

static void
write_input(struct exec *x)
{
	while (x->pending && x->now_done < x->now.bytes) {
		if (x->input < 0)
			break;
		ssize_t n = write(x->input, x->now.data + x->now_done, x->now.bytes - x->now_done);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			if (!x->launch->tty)
				fd_close(&x->input);
			break;
		}
		x->now_done += (size_t)n;
	}
	x->pending = false;
}

static uint32_t
little_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static void
resize(struct exec *x, const struct frame *f)
{
	struct winsize size = {.ws_row = (unsigned short)(f->data[0] | f->data[1] << 8),
			       .ws_col = (unsigned short)(f->data[2] | f->data[3] << 8)};
	if (x->launch->tty && x->out >= 0)
		ioctl(x->out, TIOCSWINSZ, &size);
}

static bool
take_frame(struct exec *x, const struct frame *f)
{
	switch (f->type) {
	case MSG_FRAME_STDIN:
		if (f->bytes == 0) {
			close_input(x);
			return true;
		}
		x->now = *f;
		x->now_done = 0;
		x->pending = true;
		write_input(x);
		return true;
	case MSG_FRAME_RESIZE:
		if (f->bytes == 4)
			resize(x, f);
		return f->bytes == 4;
	case MSG_FRAME_SIGNAL:
		if (f->bytes != 4 || little_u32(f->data) == 0 || little_u32(f->data) > 64)
			return false;
		kill(x->pid, (int)little_u32(f->data));
		return true;
	default:
		return false;
	}
}

static void
take_frames(struct exec *x)
{
	struct frame f;
	int got = 0;
	while (!x->pending && x->stream >= 0) {
		got = frame_take(&parser, &f);
		if (got <= 0)
			break;
		if (!take_frame(x, &f))
			got = -1;
		if (got < 0)
			break;
	}
	if (got < 0)
		lose_stream(x);
}

static void
read_stream(struct exec *x)
{
	size_t cap;
	uint8_t *space = frame_space(&parser, &cap);
	ssize_t n = recv(x->stream, space, cap, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose_stream(x);
		return;
	}
	parser.used += (size_t)n;
	take_frames(x);
}

/* Gives whether more may be there. */
static bool
read_output(struct exec *x, int *fd, uint8_t type)
{
	ssize_t n = read(*fd, read_buffer, sizeof(read_buffer));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		/* A terminal without any open end inside reads EIO. */
		if (x->input == *fd)
			x->input = -1;
		fd_close(fd);
		return false;
	}
	if (x->stream >= 0 && frame_send(x->stream, type, NULL, 0, read_buffer, (size_t)n) < 0)
		lose_stream(x);
	return true;
}

static void
read_report(struct exec *x)
{
	struct child_report report;
	ssize_t n = read(x->report, &report, sizeof(report));
	if (n == (ssize_t)sizeof(report))
		note_report(x, &report);
	else
		fd_close(&x->report);
}

enum { AT_PID, AT_STREAM, AT_REPORT, AT_OUT, AT_ERR, AT_INPUT, AT_END };

static int
timeout_ms(const struct exec *x)
{
	uint64_t now = world_mono_ns();
	if (x->kill_at_ns == 0)
		return -1;
	return now >= x->kill_at_ns ? 0 : (int)((x->kill_at_ns - now) / 1000000 + 1);
}

static void
carry(struct exec *x)
{
	for (;;) {
		struct pollfd p[AT_END] = {
			[AT_PID] = {.fd = x->pidfd, .events = POLLIN},
			[AT_STREAM] = {.fd = x->stream, .events = x->pending ? 0 : POLLIN},
			[AT_REPORT] = {.fd = x->report, .events = POLLIN},
			[AT_OUT] = {.fd = x->out, .events = POLLIN},
			[AT_ERR] = {.fd = x->err, .events = POLLIN},
			[AT_INPUT] = {.fd = x->pending ? x->input : -1, .events = POLLOUT},
		};
		if (poll(p, AT_END, timeout_ms(x)) < 0 && errno != EINTR)
			return;
		if (x->kill_at_ns != 0 && world_mono_ns() >= x->kill_at_ns) {
			signal_all(x, SIGKILL);
			x->kill_at_ns = 0;
		}
		if (p[AT_REPORT].revents != 0)
			read_report(x);
		if (p[AT_OUT].revents != 0)
			read_output(x, &x->out, MSG_FRAME_STDOUT);
		if (p[AT_ERR].revents != 0)
			read_output(x, &x->err, MSG_FRAME_STDERR);
		if (p[AT_INPUT].revents != 0) {
			write_input(x);
			take_frames(x);
		}
		if (p[AT_STREAM].revents != 0 && x->stream >= 0) {
			if (x->pending)
				lose_stream(x); /* only an end is told while nothing is read */
			else
				read_stream(x);
		}
		if (p[AT_PID].revents != 0)
			return;
	}
}

/* ---- the end ---- */

static void
take_end(struct exec *x)
{
	int status = 0;
	while (waitpid(x->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	/* What it wrote is there already; what others keep open, or go on filling, is not waited
	 * for. */
	for (int n = 0; n < DRAIN_BYTES && x->out >= 0; n += READ_BYTES)
		if (!read_output(x, &x->out, MSG_FRAME_STDOUT))
			break;
	for (int n = 0; n < DRAIN_BYTES && x->err >= 0; n += READ_BYTES)
		if (!read_output(x, &x->err, MSG_FRAME_STDERR))
			break;
	while (x->report >= 0)
		read_report(x);
	x->exit_status = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status)
					   : 128U + (uint32_t)WTERMSIG(status);
}

static void
tell_failure(int stream, const struct child_report *report)
{
	enum { LABEL = 7 };
	static const char labels[3][LABEL + 1] = {"", "why    ", "fix    "};
	char text[3 * (CONTROL_TEXT + LABEL)];
	size_t used = 0;
	const char *parts[] = {report->what, report->why, report->fix};
	for (size_t i = 0; i < 3; i++) {
		size_t length = strnlen(parts[i], CONTROL_TEXT - 1);
		if (length == 0)
			continue;
		if (used > 0)
			text[used++] = '\n';
		memcpy(text + used, labels[i], strlen(labels[i]));
		used += strlen(labels[i]);
		memcpy(text + used, parts[i], length);
		used += length;
	}
	frame_send(stream, MSG_FRAME_ERROR, NULL, 0, text, used);
	frame_send_u32(stream, MSG_FRAME_EXIT, report->exit);
}

int
exec_main(struct launch *launch)
{
	static struct exec x;
	struct err err = {0};
	x = (struct exec){.launch = launch,
			  .pidfd = -1,
			  .report = -1,
			  .input = -1,
			  .out = -1,
			  .err = -1,
			  .stream = launch->stream_fd};
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "zlayer-exec", 0, 0, 0);
	setsid();
	if (start(&x, &err) < 0 || confine(launch, &err) < 0) {
		if (x.pid > 0)
			signal_all(&x, SIGKILL);
		if (!x.failed)
			child_report_from(&err, 125, &x.failure);
		tell_failure(x.stream, &x.failure);
		return 125;
	}
	carry(&x);
	take_end(&x);
	if (x.stream < 0)
		return 0;
	if (x.failed)
		tell_failure(x.stream, &x.failure);
	else
		frame_send_u32(x.stream, MSG_FRAME_EXIT, x.exit_status);
	return 0;
}
