/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Such a program is root's own, named in root's own file: it needs root's files (keys, caches) and
 * the machine's network, and so has them. What is taken from it: every capability, new privileges,
 * node's descriptors and its time (10 s, 64 KiB). It is found in node's PATH and must belong to
 * root, as must its folder, and nobody else may write to them: with it a login of root would be
 * another user's.
 *
 * The fetch role asks for a host. Which program that means is decided here and not there: a fetch
 * that was taken over gets what config.json gives it for some registry, and starts nothing else.
 */
#include "node/login_program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "base/world.h"
#include "node/errand.h"
#include "node/registries.h"
#include "ring/leash.h"
#include "runtime/logins.h"
#include "wire/json_read.h"

enum { AT_ONCE_MAX = 8, RUN_S = 10, ERRAND_S = RUN_S + 5, SAID_BYTES = 4096 };
/* Of the process: see struct errand_order. */
enum { LOGINS_FD = 3, PIPE_FD = 4 };

static const char usual_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct task {
	char host[128];
	char program[64]; /* docker-credential-NAME */
	struct buf printed, complained;
};

/* ---- which program ---- */

static int
read_helper(int logins, struct task *t, struct err *err)
{
	struct registry_login login;
	struct buf text;

	buf_init(&text, MEM_NODE, LOGINS_BYTES_MAX);
	int rc = fd_read_all(logins, &text, err);
	if (rc == 0 && json_read_open(err) < 0)
		rc = -1;
	if (rc == 0 &&
	    logins_find((const char *)text.data, text.length, t->host, "", &login, err) < 0)
		rc = -1;
	if (rc == 0 && !login.helper[0])
		rc = err_set(err, ERR_NOT_FOUND, "config.json names no program for %s", t->host);
	if (rc == 0)
		text_format(t->program, sizeof(t->program), "docker-credential-%s", login.helper);
	mem_wipe(&login, sizeof(login));
	buf_fini(&text);
	return rc;
}

static bool
is_roots(const struct stat *st)
{
	return st->st_uid == 0 && (st->st_mode & 022) == 0;
}

/* 1: there, 0: not there, -1: there, and not to be run. */
static int
is_program(const char *folder, const char *path)
{
	struct stat in, st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return 0;
	return stat(folder, &in) == 0 && is_roots(&in) && is_roots(&st) ? 1 : -1;
}

static int
find_program(const struct task *t, char *out, size_t cap, struct err *err)
{
	char folder[PATH_MAX];
	const char *path = getenv("PATH");

	for (const char *at = path && *path ? path : usual_path; *at;) {
		size_t n = strcspn(at, ":");

		if (*at == '/' && text_ncopy(folder, sizeof(folder), at, n) &&
		    text_format(out, cap, "%s/%s", folder, t->program)) {
			int is = is_program(folder, out);

			if (is > 0)
				return 0;
			if (is < 0) {
				err_set(err, ERR_DENIED, "%s is not run", t->program);
				err_why(err, "%s can be changed by others than root", out);
				return err_fix(err, "chown root and chmod go-w, the program and "
						    "its folder");
			}
		}
		at += n + (at[n] == ':');
	}
	err_set(err, ERR_SYSTEM, "the program %s is not there", t->program);
	err_why(err,
		"config.json leaves the login for %s to it, and no folder of node's PATH "
		"has it",
		t->host);
	return err_fix(err, "install it in /usr/local/bin, or write the login into config.json "
			    "itself (docker login without credsStore and credHelpers)");
}

/* ---- running it ---- */

static _Noreturn void
become(const struct task *t, const char *path, const int std[3])
{
	static char get[] = "get";
	char name[sizeof(t->program)];
	char *argv[] = {name, get, NULL};

	text_copy(name, sizeof(name), t->program);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	for (int i = 0; i < 3; i++)
		if (dup2(std[i], i) < 0)
			_exit(127);
	setenv("PATH", usual_path, 0);
	setenv("HOME", "/root", 0);
	unsetenv("NOTIFY_SOCKET");
	execv(path, argv);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

/* What is there now; false when it is too much. Its end is not waited for: a program may leave
 * others behind that keep it open. */
static bool
hear(int fd, struct buf *out)
{
	char piece[4096];
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) > 0)
		buf_put(out, piece, (size_t)n);
	mem_wipe(piece, sizeof(piece));
	return buf_ok(out);
}

static int
attend(struct task *t, pid_t pid, int pidfd, int printed, int complained, struct err *err)
{
	struct pollfd wait[] = {{.fd = pidfd, .events = POLLIN},
				{.fd = printed, .events = POLLIN},
				{.fd = complained, .events = POLLIN}};
	uint64_t until = world_mono_ns() + RUN_S * UINT64_C(1000000000);

	for (;;) {
		uint64_t now = world_mono_ns();

		if (now >= until) {
			err_set(err, ERR_TIMEOUT, "%s did not answer within %d s", t->program,
				RUN_S);
			break;
		}
		if (poll(wait, 3, (int)((until - now) / 1000000) + 1) < 0 && errno != EINTR) {
			err_sys(err, errno, "cannot wait for %s", t->program);
			break;
		}
		/* What it complains of too much about is cut. */
		(void)hear(complained, &t->complained);
		if (!hear(printed, &t->printed)) {
			err_set(err, ERR_LIMIT, "%s prints more than 64 KiB", t->program);
			break;
		}
		for (int i = 1; i < 3; i++)
			if (wait[i].revents & (POLLHUP | POLLERR))
				wait[i].fd = -1;
		if (wait[0].revents)
			return 0;
	}
	kill(-pid, SIGKILL);
	(void)fd_pidfd_signal(pidfd, SIGKILL);
	return err_fix(err, "as root on this node: echo %s | %s get", logins_server(t->host),
		       t->program);
}

struct pipes {
	int in[2], out[2], complaints[2];
};

static int
open_pipes(struct pipes *p)
{
	*p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
	if (pipe2(p->in, O_CLOEXEC) < 0 || pipe2(p->out, O_CLOEXEC) < 0 ||
	    pipe2(p->complaints, O_CLOEXEC) < 0)
		return -1;
	return fd_nonblock(p->out[0], true) < 0 || fd_nonblock(p->complaints[0], true) < 0 ? -1 : 0;
}

/* The process ends after this: nothing is closed but what the program waits for. */
static int
run(struct task *t, const char *path, int *status_out, struct err *err)
{
	struct pipes p;
	char line[300];

	if (open_pipes(&p) < 0)
		return err_sys(err, errno, "cannot run %s", t->program);
	/* Not fork(3): libuv would close what it takes for its own descriptors. */
	pid_t pid = _Fork();
	if (pid == 0)
		become(t, path, (int[]){p.in[0], p.out[1], p.complaints[1]});
	int pidfd = pid < 0 ? -1 : fd_pidfd_open(pid);
	if (pidfd < 0)
		return err_sys(err, errno, "cannot run %s", t->program);
	fd_close(&p.in[0]);
	fd_close(&p.out[1]);
	fd_close(&p.complaints[1]);
	/* It fits into the pipe; a program that does not read it is a program's error. */
	text_format(line, sizeof(line), "%s\n", logins_server(t->host));
	(void)!write(p.in[1], line, strlen(line));
	fd_close(&p.in[1]);
	if (attend(t, pid, pidfd, p.out[0], p.complaints[0], err) < 0)
		return -1;
	while (waitpid(pid, status_out, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

/* ---- the answer ---- */

/* The first line that says something: the protocol has errors on standard output. */
static void
first_line(const struct buf *text, char *out, size_t cap)
{
	char line[200];
	size_t n = 0;

	while (n < text->length && n < sizeof(line) - 1 && text->data[n] != '\n')
		n++;
	memcpy(line, text->data ? (const char *)text->data : "", n);
	line[n] = '\0';
	text_printable(line, n, out, cap);
}

static int
judge(const struct task *t, int status, struct err *err)
{
	char said[400], more[400];

	if (status == 0)
		return 0;
	first_line(&t->printed, said, sizeof(said));
	first_line(&t->complained, more, sizeof(more));
	if (!strcmp(said, "credentials not found in native keychain"))
		return err_set(err, ERR_NOT_FOUND, "%s has no login for %s", t->program, t->host);
	err_set(err, ERR_SYSTEM, "%s failed for %s", t->program, t->host);
	if (WIFEXITED(status))
		err_why(err, "it ended with status %d", WEXITSTATUS(status));
	else
		err_why(err, "it was ended by signal %d", WTERMSIG(status));
	if (said[0] || more[0])
		err_why(err, "it says: %s", said[0] ? said : more);
	return err_fix(err, "as root on this node: echo %s | %s get", logins_server(t->host),
		       t->program);
}

static int
ask(int logins, struct task *t, struct err *err)
{
	const struct sandbox bare = {.keep_caps = 0};
	char path[PATH_MAX];
	int landlock, status = 0;

	if (sandbox_enter(&bare, &landlock, err) < 0 || read_helper(logins, t, err) < 0 ||
	    find_program(t, path, sizeof(path), err) < 0 || run(t, path, &status, err) < 0)
		return -1;
	return judge(t, status, err);
}

static bool
work(void *arg, void *done)
{
	struct task *t = arg;
	struct leash_login head = {0};
	struct err err = {0}, ignored = {0};

	(void)done;
	buf_init(&t->printed, MEM_NODE, LEASH_LOGIN_BYTES_MAX);
	buf_init(&t->complained, MEM_NODE, SAID_BYTES);
	if (ask(LOGINS_FD, t, &err) == 0) {
		head.bytes = (uint32_t)t->printed.length;
	} else {
		head.kind = err.kind;
		text_copy(head.what, sizeof(head.what), err.what);
		text_copy(head.why[0], sizeof(head.why[0]), err.whys > 0 ? err.why[0] : "");
		text_copy(head.why[1], sizeof(head.why[1]), err.whys > 1 ? err.why[1] : "");
		text_copy(head.fix, sizeof(head.fix), err.fix);
	}
	return fd_write_all(PIPE_FD, &head, sizeof(head), &ignored) == 0 &&
	       (!head.bytes || fd_write_all(PIPE_FD, t->printed.data, head.bytes, &ignored) == 0);
}

/* ---- in node ---- */

struct login_program {
	struct errand *errands[AT_ONCE_MAX];
	char done; /* all that node hears of it: that it is over */
};

static void
over(void *arg, bool whole)
{
	(void)arg, (void)whole;
}

struct login_program *
login_program_new(uv_loop_t *loop)
{
	struct login_program *p = mem_zalloc(MEM_NODE, sizeof(*p));

	for (size_t i = 0; p && i < AT_ONCE_MAX; i++) {
		p->errands[i] = errand_new(loop, &p->done, sizeof(p->done), over, p);
		if (!p->errands[i]) {
			login_program_free(p);
			p = NULL;
		}
	}
	return p;
}

void
login_program_free(struct login_program *p)
{
	for (size_t i = 0; p && i < AT_ONCE_MAX; i++)
		errand_free(p->errands[i]);
	mem_free(p);
}

static struct errand *
free_place(struct login_program *p)
{
	for (size_t i = 0; i < AT_ONCE_MAX; i++)
		if (!errand_runs(p->errands[i]))
			return p->errands[i];
	return NULL;
}

int
login_program_start(struct login_program *p, int logins, const char *host, struct err *err)
{
	struct task t = {0};
	struct errand *e = free_place(p);
	int ends[2];

	if (!e)
		return err_set(err, ERR_LIMIT, "too many programs that keep logins are at work");
	if (!text_copy(t.host, sizeof(t.host), host) || !registries_is_host(host))
		return err_set(err, ERR_INVALID, "a registry's name does not hold");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot run a program that keeps logins");
	defer_close int ours = ends[0], theirs = ends[1];
	const struct errand_order order = {.work = work,
					   .arg = &t,
					   .fds = {logins, theirs},
					   .fds_count = 2,
					   .seconds = ERRAND_S};
	if (errand_send(e, &order, err) < 0)
		return -1;
	return fd_take(&ours);
}
