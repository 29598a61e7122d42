/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words, with their reasons:
 *
 *   heartbeat 250 ms, election 2500 ms   members may be 200 ms from each other; a leader that died
 *                                        is replaced within some three seconds
 *   pre-vote                             who was cut off does not end the others' term
 *   compaction by revision               the store reads again what it missed for so long
 *   quota 2 GiB                          docs/store.md, "Full"
 *   snapshots each 10,000 entries        a tenth of the default: entries are kept in memory
 *   client certificates on both ports    of two authorities (scheduler/credentials.h)
 *
 * Paths are relative to its folder: it may pass through that one, and need not through those above
 * it. Nothing of etcd's older interface (v2) is switched on, and no environment reaches it but what
 * is named here: its words could be given there as well.
 */
#include "node/etcd_spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/filter.h"
#include "node/process.h"
#include "node/program.h"

enum { FILES_MAX = 65536, TASKS_MAX = 512, REPORT_FD = 64 };

/* ---- the order ---- */

static bool
has_only(const char *text, const char *more)
{
	static const char usual[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	for (; *text; text++)
		if (!strchr(usual, *text) && !strchr(more, *text))
			return false;
	return true;
}

int
etcd_spawn_order_holds(const struct msg_etcd_order *o, struct err *err)
{
	bool ok = MSG_OK(o->name) && MSG_OK(o->token) && MSG_OK(o->cluster) && MSG_OK(o->files) &&
		  has_only(o->name, "") && has_only(o->token, "") &&
		  has_only(o->cluster, "=:/.,[]") && has_only(o->files, "");

	if (ok && o->life != 0)
		ok = o->name[0] && o->name[0] != '-' && o->token[0] && o->cluster[0] &&
		     !addr_is_zero(&o->client) && o->client.port && !addr_is_zero(&o->peer) &&
		     o->peer.port;
	if (ok)
		return 0;
	return err_set(err, ERR_CORRUPT, "what etcd is ordered to do does not hold");
}

/* ---- words ---- */

static void __attribute__((format(printf, 2, 3)))
word(struct etcd_spawn_words *w, const char *fmt, ...)
{
	char *at = w->text + w->used;
	size_t cap = sizeof(w->text) - w->used;
	va_list args;

	va_start(args, fmt);
	bool fits = cap > 0 && text_vformat(at, cap, fmt, args);
	va_end(args);
	if (!fits || w->count == ETCD_SPAWN_WORDS_MAX) {
		w->used = sizeof(w->text); /* nothing fits any more */
		return;
	}
	w->used += strlen(at) + 1;
	w->argv[w->count++] = at;
}

static void
words_of_tls(struct etcd_spawn_words *w, const char *shown)
{
	word(w, "--cert-file=%s/server.crt", shown);
	word(w, "--key-file=%s/server.key", shown);
	word(w, "--trusted-ca-file=%s/clients.crt", shown);
	word(w, "--client-crl-file=%s/revoked.crl", shown);
	word(w, "--client-cert-auth=true");
	word(w, "--peer-cert-file=%s/peer.crt", shown);
	word(w, "--peer-key-file=%s/server.key", shown);
	word(w, "--peer-trusted-ca-file=%s/peers.crt", shown);
	word(w, "--peer-client-cert-auth=true");
}

static void
words_of_ports(struct etcd_spawn_words *w, const struct msg_etcd_order *o,
	       const struct addr *listen)
{
	struct addr peers = *listen;
	char text[ADDR_TEXT_BYTES];

	peers.port = (uint16_t)(listen->port + 1);
	addr_put(listen, text, sizeof(text));
	word(w, "--listen-client-urls=https://%s", text);
	addr_put(&peers, text, sizeof(text));
	word(w, "--listen-peer-urls=https://%s", text);
	addr_put(&o->client, text, sizeof(text));
	word(w, "--advertise-client-urls=https://%s", text);
	addr_put(&o->peer, text, sizeof(text));
	word(w, "--initial-advertise-peer-urls=https://%s", text);
}

int
etcd_spawn_words(const struct msg_etcd_order *o, const struct addr *listen, const char *data,
		 const char *shown, struct etcd_spawn_words *w, struct err *err)
{
	memset(w, 0, sizeof(*w));
	word(w, "etcd");
	word(w, "--name=%s", o->name);
	word(w, "--data-dir=%s", data);
	words_of_ports(w, o, listen);
	word(w, "--initial-cluster=%s", o->cluster);
	word(w, "--initial-cluster-token=%s", o->token);
	word(w, "--initial-cluster-state=%s", o->existing ? "existing" : "new");
	words_of_tls(w, shown);
	word(w, "--heartbeat-interval=250");
	word(w, "--election-timeout=2500");
	word(w, "--pre-vote=true");
	word(w, "--auto-compaction-mode=revision");
	word(w, "--auto-compaction-retention=%d", ETCD_SPAWN_KEPT_REVISIONS);
	word(w, "--quota-backend-bytes=%llu", (unsigned long long)MSG_ETCD_QUOTA_MIB << 20);
	word(w, "--snapshot-count=10000");
	word(w, "--max-snapshots=2");
	word(w, "--max-wals=2");
	word(w, "--logger=zap");
	word(w, "--log-outputs=stderr");
	w->argv[w->count] = NULL;
	if (w->used < sizeof(w->text))
		return 0;
	return err_set(err, ERR_LIMIT, "the words for etcd are too many");
}

/* ---- limits ---- */

uint64_t
etcd_spawn_memory(uint64_t machine_bytes)
{
	const uint64_t least = UINT64_C(512) << 20, most = UINT64_C(4) << 30;
	uint64_t bytes = machine_bytes / 4;

	if (machine_bytes == 0)
		return 0;
	return bytes < least ? least : bytes > most ? most : bytes;
}

int
etcd_spawn_confine(uid_t uid, const struct sandbox_path *own, size_t count, struct err *err)
{
	static struct sock_filter filter[FILTER_INSTRUCTIONS_MAX];
	struct sandbox s = {.set_ids = true,
			    .uid = uid,
			    .gid = uid,
			    .landlock = true,
			    .rlimits = {{RLIMIT_CORE, 0},
					{RLIMIT_NOFILE, FILES_MAX},
					{RLIMIT_NPROC, TASKS_MAX}},
			    .rlimits_count = 3,
			    .filter = filter};
	struct rlimit files;
	int landlock;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_MAX)
		s.rlimits[1].value = files.rlim_max;
	if (filter_compile(FILTER_PROGRAM, filter, &s.filter_count, err) < 0)
		return -1;
	program_see_libraries(&s);
	assert(s.paths_count + count <= SANDBOX_PATHS_MAX);
	for (size_t i = 0; i < count; i++)
		s.paths[s.paths_count++] = own[i];
	return sandbox_enter(&s, &landlock, err);
}

/* ---- the process ---- */

static int
arrange(const struct etcd_spawn *spawn, int *reports, struct err *err)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* Out of the way of the standard three. */
	*reports = fcntl(*reports, F_DUPFD_CLOEXEC, REPORT_FD);
	if (null < 0 || *reports < 0 || fchdir(spawn->folder) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(spawn->output, STDOUT_FILENO) < 0 || dup2(spawn->output, STDERR_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot arrange the descriptors of etcd");
	return 0;
}

static int
run(const struct etcd_spawn *spawn, struct err *err)
{
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LANG=C.UTF-8";
	char notify[160], memory[64];
	char *envp[6] = {path, locale, notify};
	size_t count = 3;
	unsigned long long limit = spawn->memory_bytes / 10 * 8;

	text_format(notify, sizeof(notify), "NOTIFY_SOCKET=%s", spawn->notify);
	text_format(memory, sizeof(memory), "GOMEMLIMIT=%llu", limit);
	if (limit)
		envp[count++] = memory;
#ifdef __aarch64__
	static char architecture[] = "ETCD_UNSUPPORTED_ARCH=arm64"; /* which 3.4 asks for */
	envp[count] = architecture;
#endif
	execve(spawn->path, spawn->words->argv, envp);
	return err_sys(err, errno, "cannot run %s", spawn->path);
}

static _Noreturn void
child(const struct etcd_spawn *spawn, int reports)
{
	const struct sandbox_path own[] = {{spawn->data, SANDBOX_READ | SANDBOX_WRITE},
					   {spawn->shown, SANDBOX_READ}};
	struct err err = {0};

	setsid();
	program_reset_signals();
	umask(077);
	cgroup_part_enter(spawn->cgroup, "etcd");
	if (arrange(spawn, &reports, &err) == 0 &&
	    etcd_spawn_confine(spawn->uid, own, sizeof(own) / sizeof(own[0]), &err) == 0)
		(void)run(spawn, &err);
	ssize_t n = write(reports, &err, sizeof(err));
	_exit(n > 0 ? 126 : 127);
}

static bool
read_report(int fd, struct err *out)
{
	ssize_t n;

	do {
		n = read(fd, out, sizeof(*out));
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*out);
}

int
etcd_spawn(const struct etcd_spawn *spawn, pid_t *pid_out, int *pidfd_out, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot start etcd");
	defer_close int ours = ends[0], theirs = ends[1];
	cgroup_part_make(spawn->cgroup, "etcd", spawn->memory_bytes);
	pid_t pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "cannot start etcd");
	if (pid == 0)
		child(spawn, theirs);
	fd_close(&theirs);
	*pidfd_out = fd_pidfd_open(pid);
	if (*pidfd_out < 0)
		(void)err_sys(err, errno, "cannot watch etcd");
	if (*pidfd_out < 0 || read_report(ours, err)) {
		process_end(pid, pidfd_out);
		return -1;
	}
	*pid_out = pid;
	return 0;
}
