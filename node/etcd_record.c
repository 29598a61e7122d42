/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody else has etcd's user. So a process of that user is an etcd of this instance, and when the
 * record does not name it, it was started by a node that died before it could write: two of them
 * would want the same data.
 */
#include "node/etcd_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

enum { MAGIC = 0x4445545a, VERSION = 1, PATIENCE_MS = 3000 };

struct file {
	uint32_t magic, version;
	struct etcd_record record;
};

static const char name[] = "etcd.process";

int
etcd_record_write(int run, const struct etcd_record *r, struct err *err)
{
	const struct file f = {.magic = MAGIC, .version = VERSION, .record = *r};

	return fd_replace(run, name, &f, sizeof(f), 0600, err);
}

void
etcd_record_remove(int run)
{
	(void)unlinkat(run, name, 0);
}

static bool
read_record(int run, struct etcd_record *out)
{
	struct file f;
	defer_close int fd = openat(run, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || read(fd, &f, sizeof(f)) != (ssize_t)sizeof(f) || f.magic != MAGIC ||
	    f.version != VERSION || f.record.pid == 0 || f.record.pid > INT32_MAX ||
	    !MSG_OK(f.record.place.name))
		return false;
	*out = f.record;
	return true;
}

uint64_t
etcd_record_begun(pid_t pid)
{
	char path[64], text[1024];
	unsigned long long begun = 0;

	text_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *at = strrchr(text, ')');
	if (!at || sscanf(at,
			  ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			  "%*d %*d %llu",
			  &begun) != 1)
		return 0;
	return begun;
}

static bool
has_user(pid_t pid, uid_t uid)
{
	char path[64], line[256];
	unsigned real = 0;
	bool found = false;

	text_format(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Uid: %u", &real) == 1;
	if (f)
		fclose(f);
	return found && real == uid;
}

static void
end_stray(pid_t pid, uid_t uid)
{
	defer_close int fd = fd_pidfd_open(pid);
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	if (fd < 0 || !has_user(pid, uid))
		return;
	log_event(LOG_WARN, "a process of etcd that nobody knows is killed",
		  log_u("pid", (uint64_t)pid), LOG_END);
	(void)fd_pidfd_signal(fd, SIGKILL);
	(void)poll(&wait, 1, PATIENCE_MS);
}

static void
end_strays(uid_t uid, pid_t keep)
{
	DIR *dir = opendir("/proc");

	for (struct dirent *e; dir && (e = readdir(dir));) {
		uint64_t pid;

		if (text_u64(e->d_name, INT32_MAX, &pid) && (pid_t)pid != keep &&
		    has_user((pid_t)pid, uid))
			end_stray((pid_t)pid, uid);
	}
	if (dir)
		closedir(dir);
}

bool
etcd_record_find(int run, uid_t uid, struct etcd_record *out, int *pidfd_out)
{
	defer_close int fd = -1;

	memset(out, 0, sizeof(*out));
	if (read_record(run, out))
		fd = fd_pidfd_open((pid_t)out->pid);
	/* Looked at after it is held: the number is its own now, or it is not. */
	if (fd >= 0 &&
	    (!has_user((pid_t)out->pid, uid) || etcd_record_begun((pid_t)out->pid) != out->begun))
		fd_close(&fd);
	end_strays(uid, fd >= 0 ? (pid_t)out->pid : 0);
	*pidfd_out = fd_take(&fd);
	return *pidfd_out >= 0;
}
