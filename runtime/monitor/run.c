/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: the parent of one container, and the only process that must live as long as it does.
 * It leaves its starter (fork, new session), creates the container, then gives up everything but
 * CAP_KILL, which its filter lets it use on one pidfd only. From then on it moves bytes from two
 * pipes to the log, waits for the end, and answers on its socket. It keeps the truth about the end
 * in two files before anybody hears of it, so that nothing is lost if nobody listens.
 *
 * It has no clock but poll's timeout, allocates nothing once the container runs, and its buffers
 * are static: pages that were never touched cost nothing.
 *
 * What is leased has a deadline, which the runtime moves on as long as the lease is kept. When it
 * has come the container is killed, whoever else is alive: who does it when this process cannot
 * stands in lease.c. A container that is leased from the start begins when its watchdog says so.
 */
#include "runtime/monitor/run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/log_file.h"
#include "runtime/monitor/child.h"
#include "runtime/monitor/control.h"
#include "runtime/monitor/lease.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum {
	CLIENTS_MAX = 4,
	READ_BYTES = 16384,
	CAP_KILL_BIT = 5,
	DRAIN_BYTES = 1 << 20, /* more than a pipe ever holds */
	REST_MAX = 64,         /* orders that one client may have left */
	DEAF_MS = 20,
};

struct run {
	const struct launch *launch;
	struct control_state state;
	int pidfd;
	int out, err;  /* reading ends, -1 at their end */
	int report;    /* reading end, -1 at its end */
	bool prepared; /* the child said that the execution comes next */
	bool failed;   /* the child reported */
	bool init;     /* its init steps have begun */
	int clients[CLIENTS_MAX];
	uint64_t kill_at_ns; /* 0: no stop under way */
	bool killed;
	int64_t told_wall_ns; /* last time the counters went into the state file */
	struct lease lease;
	int go; /* writing end: the child begins with a byte from it; -1: it does not wait */
};

static struct log_file log_file;
static struct log_file_pipe pipe_out = {.stream = LOG_FILE_OUT};
static struct log_file_pipe pipe_err = {.stream = LOG_FILE_ERR};
static char read_buffer[READ_BYTES];

/* ---- telling ---- */

static void
count_lines(struct run *r)
{
	r->state.lines_out = log_file.lines[LOG_FILE_OUT];
	r->state.lines_err = log_file.lines[LOG_FILE_ERR];
	r->state.lines_dropped = log_file.dropped;
}

static void
save(const struct run *r, int dirfd, const char *name)
{
	struct err err = {0};
	/* A full disk keeps the old one; the socket and the other folder still tell. */
	if (fd_replace(dirfd, name, &r->state, sizeof(r->state), 0600, &err) < 0)
		return;
}

static void
send_state(struct run *r, int client)
{
	count_lines(r);
	if (send(client, &r->state, sizeof(r->state), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* it asks again, or reads the file */
}

static void
tell(struct run *r)
{
	count_lines(r);
	save(r, r->launch->run_fd, "state");
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (r->clients[i] >= 0)
			send_state(r, r->clients[i]);
}

static void
take_error(struct run *r, const struct child_report *report)
{
	r->state.phase = CONTROL_FAILED;
	r->state.err_kind = report->kind;
	r->state.err_code = report->code;
	r->state.exit_status = (int32_t)report->exit;
	memcpy(r->state.what, report->what, CONTROL_TEXT);
	memcpy(r->state.why, report->why, CONTROL_TEXT);
	memcpy(r->state.fix, report->fix, CONTROL_TEXT);
	r->state.what[CONTROL_TEXT - 1] = '\0';
	r->state.why[CONTROL_TEXT - 1] = '\0';
	r->state.fix[CONTROL_TEXT - 1] = '\0';
}

/* ---- the child's report ---- */

static void
take_step(struct run *r, const struct child_report *report)
{
	r->init = true;
	r->state.init_done = report->code;
	if (report->exit == CHILD_STEP_WARNED && report->code > 0 && report->code <= 64)
		r->state.init_warned |= UINT64_C(1) << (report->code - 1);
	if (r->state.phase == CONTROL_STARTING)
		r->state.phase = CONTROL_INIT;
	tell(r);
}

static void
read_report(struct run *r)
{
	struct child_report report;
	ssize_t n = read(r->report, &report, sizeof(report));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(report) && report.kind == ERR_NONE && report.exit != 0) {
		take_step(r, &report);
		return;
	}
	if (n == (ssize_t)sizeof(report) && report.kind == ERR_NONE) {
		r->prepared = true;
		return;
	}
	if (n == (ssize_t)sizeof(report)) {
		r->failed = true;
		r->state.init_failed = r->init && !r->prepared;
		take_error(r, &report);
		return;
	}
	fd_close(&r->report);
	if (r->prepared && !r->failed &&
	    (r->state.phase == CONTROL_STARTING || r->state.phase == CONTROL_INIT)) {
		r->state.phase = CONTROL_RUNNING;
		r->state.started_wall_ns = world_wall_ns();
		tell(r);
	}
}

/* ---- output ---- */

static bool
read_pipe(struct run *r, int *fd, struct log_file_pipe *pipe)
{
	(void)r;
	ssize_t n = read(*fd, read_buffer, sizeof(read_buffer));
	if (n > 0) {
		log_file_feed(&log_file, pipe, world_wall_ns(), read_buffer, (size_t)n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	log_file_end(&log_file, pipe);
	fd_close(fd);
	return false;
}

static void
drain_pipe(struct run *r, int *fd, struct log_file_pipe *pipe)
{
	/* Another container may have got the pipe's end through a socket, and go on filling it. */
	for (int n = 0; n < DRAIN_BYTES && *fd >= 0; n += READ_BYTES)
		if (!read_pipe(r, fd, pipe))
			break;
	if (*fd >= 0)
		log_file_end(&log_file, pipe);
	fd_close(fd);
}

/* ---- orders ---- */

static void
kill_all(struct run *r)
{
	/* The end of the first process of a pid namespace is the end of all. */
	if (r->launch->kill_fd >= 0 && write(r->launch->kill_fd, "1", 1) == 1)
		r->killed = true;
	fd_pidfd_signal(r->pidfd, SIGKILL);
	r->killed = true;
	r->kill_at_ns = 0;
}

/* ---- leases ---- */

static int
make_lease(struct run *r, const struct launch *l, struct err *err)
{
	if (lease_open(&r->lease, err) < 0)
		return -1;
	r->state.lease_until_ns = l->lease_until_ns;
	r->state.lease_epoch = l->lease_epoch;
	if (l->lease_until_ns == 0 || lease_set(&r->lease, l->lease_until_ns))
		return 0;
	if (!lease_is_over(&r->lease))
		return err_sys(err, errno, "cannot set the timers of a lease");
	r->state.lease_over = 1;
	return err_set(err, ERR_TIMEOUT, "the lease ran out before it was started");
}

static void
end_lease(struct run *r)
{
	/* What was told to stop before has had less time than it was given: this was its end. */
	if (!r->killed)
		r->state.lease_over = 1;
	kill_all(r);
	/* It has run: what is left is to write down how it ended. */
	lease_done(&r->lease);
}

static int
guard(struct run *r, struct err *err)
{
	struct watchdog_task task = {
		.pidfd = r->pidfd, .kill_fd = r->launch->kill_fd, .go_fd = r->go};
	int done = lease_guard(&r->lease, &task, err);

	fd_close(&r->go);
	return done;
}

/* The file as well: a successor of who told it goes on from there. */
static void
take_lease(struct run *r, const struct control_order *order)
{
	struct err err = {0};

	if (r->state.lease_over)
		return;
	r->state.lease_until_ns = order->lease_until_ns;
	r->state.lease_epoch = order->lease_epoch;
	if (!lease_set(&r->lease, order->lease_until_ns))
		end_lease(r);
	else if (guard(r, &err) < 0)
		err_clear(&err); /* it goes on as it was; the next deadline comes in seconds */
	tell(r);
}

static void
obey(struct run *r, int client, const struct control_order *order)
{
	switch ((enum control_verb)order->verb) {
	case CONTROL_QUERY:
		send_state(r, client);
		return;
	case CONTROL_STOP:
		/* Asked again: the shorter grace counts. */
		if (r->kill_at_ns == 0 && !r->killed)
			fd_pidfd_signal(r->pidfd, (int)order->signal);
		uint64_t at = world_mono_ns() + (uint64_t)order->grace_ms * 1000000;
		if (r->kill_at_ns == 0 || at < r->kill_at_ns)
			r->kill_at_ns = at;
		break;
	case CONTROL_KILL:
		kill_all(r);
		break;
	case CONTROL_LEASE:
		take_lease(r, order);
		return;
	}
	if (r->state.phase == CONTROL_RUNNING) {
		r->state.phase = CONTROL_STOPPING;
		tell(r);
	}
}

/* False: nothing more is there. */
static bool
read_client(struct run *r, size_t i)
{
	struct control_order order;
	char packet[256];
	ssize_t n = recv(r->clients[i], packet, sizeof(packet), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || !control_order_check(packet, (size_t)n, &order)) {
		fd_close(&r->clients[i]);
		return false;
	}
	obey(r, r->clients[i], &order);
	return true;
}

/* What was told before the end says why it ended. */
static void
read_rest(struct run *r)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		for (int n = 0; n < REST_MAX && r->clients[i] >= 0 && read_client(r, i); n++)
			continue;
}

static void
take_client(struct run *r)
{
	int client = accept4(r->launch->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (client < 0)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (r->clients[i] < 0) {
			r->clients[i] = client;
			send_state(r, client);
			return;
		}
	}
	close(client);
}

/* ---- the end ---- */

static uint32_t
count_oom(const struct run *r)
{
	char text[512];
	if (r->launch->oom_fd < 0)
		return 0;
	ssize_t n = pread(r->launch->oom_fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* memory.events has "oom_kill N" and "oom_group_kill N"; memory.oom_control the former. */
	for (char *at = text; at != NULL; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, "oom_kill ", 9) == 0)
			return (uint32_t)strtoul(at + 9, NULL, 10);
	}
	return 0;
}

static void
take_end(struct run *r)
{
	siginfo_t info = {0};
	while (waitid((idtype_t)P_PIDFD, (id_t)r->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		continue;
	watchdog_end(&r->lease.watchdog);
	/* Others may have been faster. */
	if (!r->killed && lease_is_over(&r->lease) && info.si_status == SIGKILL)
		r->state.lease_over = 1;
	while (r->report >= 0)
		read_report(r);
	drain_pipe(r, &r->out, &pipe_out);
	drain_pipe(r, &r->err, &pipe_err);
	log_file_close(&log_file);
	count_lines(r);
	r->state.exited_wall_ns = world_wall_ns();
	r->state.oom_kills = count_oom(r);
	if (r->failed)
		return;
	if (info.si_code == CLD_EXITED) {
		r->state.exit_status = info.si_status & 0xff;
	} else {
		r->state.exit_status = -1;
		r->state.exit_signal = (uint32_t)info.si_status;
	}
	r->state.phase = CONTROL_EXITED;
	if (!r->prepared && !r->init) {
		struct child_report report;
		struct err err = {0};
		err_set(&err, ERR_LIMIT, "the container was killed while it was being prepared");
		err_why(&err, "its first process ended with %s %d",
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
		if (r->state.oom_kills > 0) {
			err_why(&err, "its memory limit is too small even for that");
			err_fix(&err, "raise resources.memory");
		}
		child_report_from(&err, 125, &report);
		take_error(r, &report);
	}
}

/* ---- the loop ---- */

static int
timeout_ms(const struct run *r)
{
	if (r->kill_at_ns == 0)
		return -1;
	uint64_t now = world_mono_ns();
	if (now >= r->kill_at_ns)
		return 0;
	uint64_t ms = (r->kill_at_ns - now) / 1000000 + 1;
	return ms > 60000 ? 60000 : (int)ms;
}

enum {
	AT_PID,
	AT_LISTEN,
	AT_REPORT,
	AT_OUT,
	AT_ERR,
	AT_LEASE,
	AT_CLIENTS,
	AT_END = AT_CLIENTS + CLIENTS_MAX
};

static void
loop(struct run *r)
{
	for (;;) {
		struct pollfd p[AT_END] = {
			[AT_PID] = {.fd = r->pidfd, .events = POLLIN},
			[AT_LISTEN] = {.fd = r->launch->control_fd, .events = POLLIN},
			[AT_REPORT] = {.fd = r->report, .events = POLLIN},
			[AT_OUT] = {.fd = r->out, .events = POLLIN},
			[AT_ERR] = {.fd = r->err, .events = POLLIN},
			[AT_LEASE] = {.fd = r->lease.fd, .events = POLLIN},
		};
		for (size_t i = 0; i < CLIENTS_MAX; i++)
			p[AT_CLIENTS + i] = (struct pollfd){.fd = r->clients[i], .events = POLLIN};
		bool deaf = poll(p, AT_END, timeout_ms(r)) < 0 && errno != EINTR;
		/* After a sleep before all else: what is heard now may be old. */
		if ((deaf || p[AT_LEASE].revents != 0) && lease_look(&r->lease))
			end_lease(r);
		if (p[AT_REPORT].revents != 0)
			read_report(r);
		if (p[AT_OUT].revents != 0)
			read_pipe(r, &r->out, &pipe_out);
		if (p[AT_ERR].revents != 0)
			read_pipe(r, &r->err, &pipe_err);
		log_file_flush(&log_file);
		for (size_t i = 0; i < CLIENTS_MAX; i++)
			if (r->clients[i] >= 0 && (deaf || p[AT_CLIENTS + i].revents != 0))
				(void)read_client(r, i);
		if (p[AT_LISTEN].revents != 0)
			take_client(r);
		if (r->kill_at_ns != 0 && world_mono_ns() >= r->kill_at_ns)
			kill_all(r);
		if (p[AT_PID].revents != 0) {
			read_rest(r);
			return;
		}
		/* The kernel has no memory for it, or no room for so many descriptors any more. */
		if (deaf)
			poll(NULL, 0, DEAF_MS);
	}
}

/* ---- the beginning ---- */

static const uint64_t CREATE_FLAGS = (uint64_t)(uint32_t)(CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS |
							  CLONE_NEWUTS | CLONE_NEWIPC);

static pid_t
create(const struct launch *launch, int *pidfd_out)
{
	struct clone_args args = {
		.flags = CREATE_FLAGS,
		.pidfd = (uintptr_t)pidfd_out,
		.exit_signal = SIGCHLD,
	};
	size_t bytes = 64; /* CLONE_ARGS_SIZE_VER0 */
	if (launch->cgroup_fd >= 0) {
		args.flags |= (uint64_t)CLONE_INTO_CGROUP;
		args.cgroup = (uint32_t)launch->cgroup_fd;
		bytes = sizeof(args);
	}
	return (pid_t)syscall(SYS_clone3, &args, bytes);
}

static int
start(struct run *r, struct err *err)
{
	int out[2] = {-1, -1}, errs[2] = {-1, -1}, report[2] = {-1, -1}, go[2] = {-1, -1};
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0 ||
	    pipe2(report, O_CLOEXEC) < 0 || (r->lease.until_ns != 0 && pipe2(go, O_CLOEXEC) < 0))
		return err_sys(err, errno, "cannot make the container's pipes");
	struct child_stdio stdio = {
		.out = out[1], .err = errs[1], .report = report[1], .go = {go[0], go[1]}};
	pid_t pid = create(r->launch, &r->pidfd);
	if (pid == 0)
		child_main(r->launch, &stdio);
	if (pid < 0)
		return err_sys(err, errno, "cannot create the container's first process");
	close(out[1]);
	close(errs[1]);
	close(report[1]);
	fd_close(&go[0]);
	r->go = go[1];
	r->out = out[0];
	r->err = errs[0];
	r->report = report[0];
	fd_nonblock(r->out, true);
	fd_nonblock(r->err, true);
	r->state.pid = (uint32_t)pid;
	r->state.pid_start = control_start_of((uint32_t)pid);
	return 0;
}

/* What only the child needed: held open they would keep mounts and namespaces alive. */
static void
close_passed(const struct launch *l)
{
	for (size_t i = 0; i < l->mounts_count; i++)
		if (l->mounts[i].fd >= 0)
			close(l->mounts[i].fd);
	for (size_t i = 0; i < l->cgroup_procs.count; i++)
		close(l->cgroup_procs.items[i]);
	close(l->netns_fd);
	if (l->cgroup_fd >= 0)
		close(l->cgroup_fd);
	close(LAUNCH_FD);
}

static int
confine(const struct launch *l, struct err *err)
{
	const unsigned access = SANDBOX_READ | SANDBOX_WRITE;
	struct sandbox box = {
		.keep_caps = UINT64_C(1) << CAP_KILL_BIT,
		.landlock = true,
		.paths = {{.fd = l->log_fd, .access = access},
			  {.fd = l->run_fd, .access = access},
			  {.fd = l->record_fd, .access = access}},
		.paths_count = 3,
		.filter = l->monitor_filter.items,
		.filter_count = l->monitor_filter.count,
	};
	int abi;
	return sandbox_enter(&box, &abi, err);
}

static void
detach_stdio(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

static void
finish(struct run *r)
{
	save(r, r->launch->record_fd, "exit");
	save(r, r->launch->run_fd, "exit");
	tell(r);
}

static void
give_up(struct run *r, const struct err *err)
{
	struct child_report report;
	child_report_from(err, 125, &report);
	take_error(r, &report);
	r->state.exited_wall_ns = world_wall_ns();
	finish(r);
}

static void
monitor(struct launch *launch)
{
	static struct run r;
	struct err err = {0};
	r = (struct run){
		.launch = launch, .pidfd = -1, .out = -1, .err = -1, .report = -1, .go = -1};
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		r.clients[i] = -1;
	r.state = (struct control_state){
		.magic = CONTROL_MAGIC,
		.version = CONTROL_VERSION,
		.phase = CONTROL_STARTING,
		.replica = launch->replica,
		.attempt = launch->attempt,
		.monitor_pid = (uint32_t)getpid(),
		.monitor_start = control_start_of((uint32_t)getpid()),
	};
	log_file_open(&log_file, launch->log_fd, launch->attempt, launch->log_max_bytes,
		      launch->log_max_files);
	if (make_lease(&r, launch, &err) < 0 || start(&r, &err) < 0) {
		give_up(&r, &err);
		return;
	}
	detach_stdio();
	close_passed(launch);
	tell(&r);
	if (confine(launch, &err) < 0 || guard(&r, &err) < 0) {
		/* Without its confinement no monitor: the container must not run either, and what
		 * is leased not without its watchdog. */
		kill_all(&r);
		take_end(&r);
		give_up(&r, &err);
		return;
	}
	loop(&r);
	take_end(&r);
	finish(&r);
}

int
run_main(struct launch *launch)
{
	/* The starter waits for this process only; the monitor belongs to nobody. */
	pid_t pid = fork();
	if (pid < 0)
		return 125;
	if (pid > 0)
		return 0;
	setsid();
	prctl(PR_SET_NAME, "zlayer-monitor", 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	monitor(launch);
	return 0;
}
