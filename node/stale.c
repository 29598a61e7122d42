/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Found by uid (each role has one of its own in the instance's block) and by the name that a role
 * gives itself: monitors run under runtime's uid, with another name. A pid is watched and ended by
 * pidfd, looked at again after it was opened.
 */
#include "node/stale.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"

enum { PATIENCE_MS = 3000, STALE_MAX = 32 };

static bool
role_uid(const struct instance *inst, unsigned uid)
{
	for (size_t i = 0; i < ROLES_COUNT; i++)
		if (!roles_at(i)->outlives && roles_uid(roles_at(i), 0, inst->uid_base) == uid)
			return true;
	return false;
}

static bool
is_stale(const struct instance *inst, const char *pid)
{
	char path[300], line[256], name[64] = "";
	unsigned uid = 0;

	text_format(path, sizeof(path), "/proc/%s/status", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Name: %63s", name);
		if (sscanf(line, "Uid: %u", &uid) == 1)
			break;
	}
	if (f)
		fclose(f);
	return text_starts(name, "zlayer:") && role_uid(inst, uid);
}

static size_t
find(const struct instance *inst, struct pollfd *out)
{
	size_t count = 0;
	DIR *dir = opendir("/proc");

	if (!dir)
		return 0;
	for (struct dirent *e; count < STALE_MAX && (e = readdir(dir));) {
		uint64_t pid;

		if (!text_u64(e->d_name, INT32_MAX, &pid) || !is_stale(inst, e->d_name))
			continue;
		int fd = fd_pidfd_open((pid_t)pid);
		if (fd >= 0 && is_stale(inst, e->d_name))
			out[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
		else
			fd_close(&fd);
	}
	closedir(dir);
	return count;
}

static unsigned
wait_for(struct pollfd *fds, size_t count, uint64_t until_ns)
{
	unsigned left = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t now = world_mono_ns();
		int ms = now < until_ns ? (int)((until_ns - now) / 1000000) + 1 : 0;

		if (poll(&fds[i], 1, ms) == 1)
			continue;
		fd_pidfd_signal(fds[i].fd, SIGKILL);
		left++;
		/* Killed is not gone: its files are closed when the pidfd says so. */
		(void)poll(&fds[i], 1, PATIENCE_MS);
	}
	return left;
}

unsigned
stale_end(const struct instance *inst)
{
	struct pollfd fds[STALE_MAX];
	size_t count = find(inst, fds);
	unsigned killed = wait_for(fds, count, world_mono_ns() + (uint64_t)PATIENCE_MS * 1000000);

	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i].fd);
	if (killed)
		log_event(LOG_WARN, "roles of the last run did not leave and were killed",
			  log_u("count", killed), LOG_END);
	return killed;
}
