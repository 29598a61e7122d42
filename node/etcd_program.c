/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looked for in the folders of the system alone, whatever node's own PATH says, and only run when
 * nobody but root can change it: it will hold what the whole cluster is to be.
 *
 * Versions: 3.4 has learners; what Go before 1.13 compiled does not know Ed25519 (RFC 8410), with
 * which all certificates of a cluster are signed.
 */
#include "node/etcd_program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/errand.h"
#include "node/etcd_spawn.h"
#include "ring/msg.h"

enum { LOOK_TICKS = 10, RUN_S = 10, ANSWER_FD = 3 };

static const char *const paths[] = {"/usr/local/sbin/etcd", "/usr/local/bin/etcd", "/usr/sbin/etcd",
				    "/usr/bin/etcd",        "/sbin/etcd",          "/bin/etcd"};

/* Which file it was: another one is asked again. */
struct file {
	char path[ETCD_PROGRAM_PATH];
	uint64_t device, inode, bytes;
	int64_t changed_ns;
};

struct answer {
	char version[ETCD_PROGRAM_VERSION];
	struct msg_reason reason; /* kind 0: it can be run */
};

struct etcd_program {
	uid_t uid;
	void (*changed)(void *arg);
	void *arg;
	struct errand *errand;
	unsigned ticks;
	bool known;
	struct file file; /* that was looked at last; path "": none */
	struct answer found, asked;
};

/* ---- what it says of itself ---- */

static bool
find_numbers(const char *text, const char *word, unsigned *major, unsigned *minor)
{
	const char *at = strstr(text, word);

	return at && sscanf(at + strlen(word), "%4u.%4u", major, minor) == 2;
}

int
etcd_program_read(const char *text, size_t bytes, char version_out[ETCD_PROGRAM_VERSION],
		  struct err *err)
{
	static const char label[] = "etcd Version: ";
	char copy[ETCD_PROGRAM_SAID + 1];
	unsigned major, minor, go_major, go_minor;

	version_out[0] = '\0';
	bytes = bytes > ETCD_PROGRAM_SAID ? ETCD_PROGRAM_SAID : bytes;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	const char *at = strstr(copy, label);
	if (!at || !find_numbers(copy, label, &major, &minor)) {
		err_set(err, ERR_INVALID, "the program called etcd is not etcd");
		return err_why(err, "it does not say which version it is");
	}
	at += sizeof(label) - 1;
	size_t length = strspn(at, "0123456789abcdefghijklmnopqrstuvwxyz.+-");
	text_ncopy(version_out, ETCD_PROGRAM_VERSION, at, length);
	if (major != 3 || minor < 4) {
		err_set(err, ERR_UNSUPPORTED, "etcd %s cannot be used", version_out);
		err_why(err, "etcd 3.4 or a later one of version 3 is needed");
		return err_fix(err, "install another one (apt-get install etcd-server)");
	}
	if (find_numbers(copy, "Go Version: go", &go_major, &go_minor) &&
	    (go_major < 1 || (go_major == 1 && go_minor < 13))) {
		err_set(err, ERR_UNSUPPORTED, "etcd %s cannot be used", version_out);
		err_why(err, "it was compiled with Go %u.%u, which knows no Ed25519", go_major,
			go_minor);
		return err_fix(err, "install one that was compiled with Go 1.13 or later");
	}
	return 0;
}

/* ---- the process that asks ---- */

static _Noreturn void
run(uid_t uid, const char *path, int out)
{
	static char name[] = "etcd", flag[] = "--version";
	char *argv[] = {name, flag, NULL};
	char *envp[] = {NULL};
	struct err err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0 ||
	    etcd_spawn_confine(uid, NULL, 0, &err) < 0)
		_exit(127);
	execve(path, argv, envp);
	_exit(127);
}

static int
hear(int fd, char *out, size_t cap, size_t *bytes_out)
{
	size_t have = 0;
	ssize_t n;

	while (have < cap && (n = read(fd, out + have, cap - have)) != 0) {
		if (n < 0 && errno != EINTR)
			return -1;
		have += n > 0 ? (size_t)n : 0;
	}
	*bytes_out = have;
	return 0;
}

static int
ask(uid_t uid, const char *path, char version[ETCD_PROGRAM_VERSION], struct err *err)
{
	char said[ETCD_PROGRAM_SAID];
	size_t bytes = 0;
	int ends[2], status = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot ask etcd for its version");
	defer_close int ours = ends[0], theirs = ends[1];
	pid_t pid = _Fork();
	if (pid == 0)
		run(uid, path, theirs);
	if (pid < 0)
		return err_sys(err, errno, "cannot ask etcd for its version");
	fd_close(&theirs);
	if (hear(ours, said, sizeof(said), &bytes) < 0)
		return err_sys(err, errno, "cannot ask etcd for its version");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (etcd_program_read(said, bytes, version, err) < 0) {
		err_where(err, "%s", path);
		return -1;
	}
	return 0;
}

struct order {
	uid_t uid;
	char path[ETCD_PROGRAM_PATH];
};

static bool
work(void *arg, void *out)
{
	const struct order *o = arg;
	struct answer *answer = out;
	struct err err = {0};

	if (ask(o->uid, o->path, answer->version, &err) < 0)
		msg_reason_from(&err, &answer->reason);
	return true;
}

/* ---- in node ---- */

static void
answered(void *arg, bool whole)
{
	struct etcd_program *p = arg;
	struct err err = {0};

	p->known = true;
	if (whole) {
		p->found = p->asked;
		p->found.version[sizeof(p->found.version) - 1] = '\0';
	} else {
		p->found = (struct answer){0};
		err_set(&err, ERR_TIMEOUT,
			"the program called etcd does not say which version it "
			"is");
		msg_reason_from(&err, &p->found.reason);
	}
	p->changed(p->arg);
}

struct etcd_program *
etcd_program_new(uv_loop_t *loop, uid_t uid, void (*changed)(void *arg), void *arg)
{
	struct etcd_program *p = mem_zalloc(MEM_NODE, sizeof(*p));

	if (!p)
		return NULL;
	p->uid = uid;
	p->changed = changed;
	p->arg = arg;
	p->errand = errand_new(loop, &p->asked, sizeof(p->asked), answered, p);
	if (p->errand)
		return p;
	mem_free(p);
	return NULL;
}

void
etcd_program_free(struct etcd_program *p)
{
	if (!p)
		return;
	errand_free(p->errand);
	mem_free(p);
}

static bool
is_roots(const char *path)
{
	char folder[ETCD_PROGRAM_PATH];
	struct stat in, st;

	text_ncopy(folder, sizeof(folder), path, (size_t)(strrchr(path, '/') - path));
	return stat(path, &st) == 0 && stat(folder, &in) == 0 && st.st_uid == 0 && in.st_uid == 0 &&
	       !(st.st_mode & 022) && !(in.st_mode & 022);
}

static void
find(struct file *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct stat st;

		if (stat(paths[i], &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
			continue;
		text_copy(out->path, sizeof(out->path), paths[i]);
		out->device = st.st_dev;
		out->inode = st.st_ino;
		out->bytes = (uint64_t)st.st_size;
		out->changed_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
		return;
	}
}

static void
say(struct etcd_program *p, const struct err *err)
{
	p->known = true;
	p->found = (struct answer){0};
	msg_reason_from(err, &p->found.reason);
	p->changed(p->arg);
}

static void
look(struct etcd_program *p, const struct file *now)
{
	struct order o = {.uid = p->uid};
	const struct errand_order order = {.work = work, .arg = &o, .seconds = RUN_S};
	struct err err = {0};

	p->file = *now;
	text_copy(o.path, sizeof(o.path), now->path);
	if (!now->path[0]) {
		err_set(&err, ERR_NOT_FOUND, "etcd is not installed");
		err_fix(&err, "apt-get install etcd-server (its own service is not needed)");
		say(p, &err);
	} else if (!is_roots(now->path)) {
		err_set(&err, ERR_DENIED, "etcd is not run");
		err_why(&err, "%s, or its folder, can be changed by others than root", now->path);
		err_fix(&err, "chown root and chmod go-w, the program and its folder");
		say(p, &err);
	} else if (errand_send(p->errand, &order, &err) < 0) {
		p->file = (struct file){0};
		say(p, &err);
	}
}

void
etcd_program_tick(struct etcd_program *p)
{
	struct file now;

	if (p->ticks++ % LOOK_TICKS != 0 || errand_runs(p->errand))
		return;
	find(&now);
	if (!p->known || memcmp(&now, &p->file, sizeof(now)) != 0)
		look(p, &now);
}

bool
etcd_program_known(const struct etcd_program *p)
{
	return p->known;
}

const char *
etcd_program_path(const struct etcd_program *p, struct err *err)
{
	if (!p->known) {
		err_set(err, ERR_UNREACHABLE, "it is not known yet whether etcd can be run");
		return NULL;
	}
	if (!p->found.reason.kind)
		return p->file.path;
	msg_reason_to(&p->found.reason, err);
	return NULL;
}

const char *
etcd_program_version(const struct etcd_program *p)
{
	return p->found.version;
}
