/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines are JSON of etcd's own ("level", "msg", "error" among them), Go's words when it panics, or
 * anything. They are searched, not parsed: what a search finds wrongly is a wrong word in a log.
 */
#include "node/etcd_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/watch.h"

enum { PIPE_BYTES = 1 << 20, READS_MAX = 64, FIELD = 160 };

static const char pipe_name[] = "etcd.log";

struct etcd_log {
	int run;
	int fd;
	struct watch *watch;
	char line[ETCD_LOG_LINE];
	size_t have;
	unsigned credit;
	uint64_t dropped;
	char complaint[ETCD_LOG_SAID];
};

/* ---- a line ---- */

/* The text after "NAME":" up to its closing mark. */
static bool
find_field(const char *line, const char *name, char out[FIELD])
{
	const char *at = strstr(line, name);
	size_t n = 0;

	if (!at)
		return false;
	for (at += strlen(name); *at && *at != '"' && n < FIELD - 1; at++) {
		if (*at == '\\' && at[1])
			at++;
		out[n++] = *at;
	}
	out[n] = '\0';
	return n > 0;
}

/* Warnings of what is meant to be so: no user of etcd's own is known to it, its files under /proc
 * are not shown to it. The first one comes with each request. */
static const char *const usual[] = {
	"ignoring common name in gRPC-gateway proxy request",
	"simple token is not cryptographically signed",
	"failed to get file descriptor usage",
};

static bool
is_usual(const char *line)
{
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (strstr(line, usual[i]))
			return true;
	return false;
}

/* As Go's runtime says it. */
static bool
is_panic(const char *line)
{
	return text_starts(line, "panic:") || text_starts(line, "fatal error:");
}

static enum log_level
level_of(const char *line)
{
	char word[FIELD];

	if (!find_field(line, "\"level\":\"", word))
		return is_panic(line) || strstr(line, ETCD_LOG_NO_FLAG) ? LOG_ERROR : LOG_INFO;
	if (text_equal(word, "debug") || text_equal(word, "info"))
		return LOG_DEBUG;
	if (text_equal(word, "warn"))
		return is_usual(line) ? LOG_DEBUG : LOG_WARN;
	return LOG_ERROR;
}

void
etcd_log_read(const char *line, size_t bytes, enum log_level *level_out,
	      char said_out[ETCD_LOG_SAID])
{
	char copy[ETCD_LOG_LINE + 1], message[FIELD], error[FIELD], said[2 * FIELD + 4];

	bytes = bytes > ETCD_LOG_LINE ? ETCD_LOG_LINE : bytes;
	memcpy(copy, line, bytes);
	copy[bytes] = '\0';
	*level_out = level_of(copy);
	if (!find_field(copy, "\"msg\":\"", message))
		text_printable(copy, strlen(copy), said_out, ETCD_LOG_SAID);
	else if (!find_field(copy, "\"error\":\"", error))
		text_printable(message, strlen(message), said_out, ETCD_LOG_SAID);
	else if (text_format(said, sizeof(said), "%s: %s", message, error))
		text_printable(said, strlen(said), said_out, ETCD_LOG_SAID);
}

/* Of Go: a panic, or a fault in a file that is mapped. But so ends also who does not know a flag.
 */
static const char panicked[] = "exited with status 2";

static const char *const by_data[] = {"walpb: ", "wal: ", "snap: ", "checksum error",
				      "invalid database"};

/* What is the machine's, or node.yaml's. */
static const char *const by_place[] = {
	"no space left",   "out of memory",     "cannot allocate memory", "too many open files",
	"address already", "permission denied", "resource temporarily",   "read-only file system",
	"newosproc",       "pthread_create",
};

static bool
says_any(const char *said, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(said, words[i]))
			return true;
	return false;
}

bool
etcd_log_is_ruin(const char *complaint, const char *how)
{
	if (says_any(complaint, by_place, sizeof(by_place) / sizeof(by_place[0])))
		return false;
	return says_any(complaint, by_data, sizeof(by_data) / sizeof(by_data[0])) ||
	       (is_panic(complaint) && text_equal(how, panicked));
}

/* What it panics with it has just said as an error, with the reason: "failed to create WAL: no
 * space left on device", "panic: failed to create WAL". */
static bool
is_said(const char *complaint, const char *said)
{
	static const char panic[] = "panic: ";

	return text_starts(said, panic) && said[sizeof(panic) - 1] &&
	       text_starts(complaint, said + sizeof(panic) - 1);
}

static void
take_line(struct etcd_log *l)
{
	char said[ETCD_LOG_SAID];
	enum log_level level;

	etcd_log_read(l->line, l->have, &level, said);
	l->have = 0;
	if (!said[0])
		return;
	if (level >= LOG_ERROR && !is_said(l->complaint, said))
		text_copy(l->complaint, sizeof(l->complaint), said);
	if (!log_on(level))
		return;
	if (l->credit == 0) {
		l->dropped++;
		return;
	}
	l->credit--;
	log_event(level, "etcd", log_s("says", said), LOG_END);
}

static void
take(struct etcd_log *l, const char *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (data[i] == '\n')
			take_line(l);
		else if (l->have < sizeof(l->line))
			l->line[l->have++] = data[i];
	}
}

/* ---- the pipe ---- */

void
etcd_log_drain(struct etcd_log *l)
{
	char piece[4096];
	ssize_t n;

	for (int i = 0; i < READS_MAX; i++) {
		n = read(l->fd, piece, sizeof(piece));
		if (n <= 0)
			return;
		take(l, piece, (size_t)n);
	}
}

static void
readable(void *arg, bool can_read, bool can_write)
{
	(void)can_read;
	(void)can_write;
	etcd_log_drain(arg);
}

static int
open_pipe(int run)
{
	struct stat sb;

	if (mkfifoat(run, pipe_name, 0600) < 0 && errno != EEXIST)
		return -1;
	int fd = openat(run, pipe_name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && (fstat(fd, &sb) < 0 || !S_ISFIFO(sb.st_mode))) {
		fd_close(&fd);
		errno = EEXIST;
	}
	if (fd >= 0)
		(void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* less is less to keep */
	return fd;
}

int
etcd_log_new(uv_loop_t *loop, int run, struct etcd_log **out, struct err *err)
{
	struct etcd_log *l = mem_zalloc(MEM_NODE, sizeof(*l));

	if (!l)
		return err_set(err, ERR_NO_MEMORY, "no memory to read what etcd says");
	l->run = run;
	l->credit = ETCD_LOG_BURST;
	l->fd = open_pipe(run);
	if (l->fd < 0) {
		err_sys(err, errno, "cannot make the pipe for what etcd says");
		mem_free(l);
		return -1;
	}
	l->watch = watch_new(loop, l->fd, readable, l);
	if (!l->watch) {
		fd_close(&l->fd);
		mem_free(l);
		return err_set(err, ERR_NO_MEMORY, "no memory to read what etcd says");
	}
	*out = l;
	return 0;
}

void
etcd_log_free(struct etcd_log *l)
{
	if (!l)
		return;
	watch_free(l->watch);
	fd_close(&l->fd);
	mem_free(l);
}

int
etcd_log_writer(const struct etcd_log *l)
{
	return openat(l->run, pipe_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

void
etcd_log_tick(struct etcd_log *l)
{
	l->credit += ETCD_LOG_A_SECOND;
	if (l->credit > ETCD_LOG_BURST)
		l->credit = ETCD_LOG_BURST;
	if (l->dropped && l->credit > ETCD_LOG_BURST / 2) {
		log_event(LOG_INFO, "etcd said more than is kept", log_u("lines", l->dropped),
			  LOG_END);
		l->dropped = 0;
	}
}

const char *
etcd_log_complaint(const struct etcd_log *l)
{
	return l->complaint;
}

void
etcd_log_forget(struct etcd_log *l)
{
	l->complaint[0] = '\0';
}

void
etcd_log_remove(int run)
{
	(void)unlinkat(run, pipe_name, 0);
}
