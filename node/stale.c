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

enum { PATIENCE_MS = 3000, STALE_MAX = 160 };

enum kin { KIN_NONE, KIN_ROLE, KIN_PROXY };

static enum kin
kin_of_uid(const struct instance *inst, unsigned uid)
{
	for (size_t i = 0; i < ROLES_COUNT; i++) {
		const struct roles_entry *role = roles_at(i);
		uid_t first = roles_uid(role, 0, inst->uid_base);

		if (uid >= first && uid < first + (role->many ? ROLE_PROXIES_MAX : 1))
			return role->outlives ? KIN_PROXY : KIN_ROLE;
	}
	return KIN_NONE;
}

static enum kin
kin_of(const struct instance *inst, const char *pid)
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
	return text_starts(name, "zlayer:") ? kin_of_uid(inst, uid) : KIN_NONE;
}

static bool
kept(pid_t pid, const pid_t *keep, size_t keep_count)
{
	for (size_t i = 0; i < keep_count; i++)
		if (keep[i] == pid)
			return true;
	return false;
}

static size_t
find(const struct instance *inst, const pid_t *keep, size_t keep_count, struct pollfd *out)
{
	size_t count = 0;
	DIR *dir = opendir("/proc");

	if (!dir)
		return 0;
	for (struct dirent *e; count < STALE_MAX && (e = readdir(dir));) {
		uint64_t pid;

		if (!text_u64(e->d_name, INT32_MAX, &pid) || kin_of(inst, e->d_name) == KIN_NONE ||
		    kept((pid_t)pid, keep, keep_count))
			continue;
		int fd = fd_pidfd_open((pid_t)pid);
		enum kin kin = kin_of(inst, e->d_name);
		if (fd < 0 || kin == KIN_NONE) {
			fd_close(&fd);
			continue;
		}
		if (kin == KIN_PROXY)
			fd_pidfd_signal(fd, SIGKILL);
		out[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
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
stale_end(const struct instance *inst, const pid_t *keep, size_t keep_count)
{
	struct pollfd fds[STALE_MAX];
	size_t count = find(inst, keep, keep_count, fds);
	unsigned killed = wait_for(fds, count, world_mono_ns() + (uint64_t)PATIENCE_MS * 1000000);

	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i].fd);
	if (killed)
		log_event(LOG_WARN, "roles of the last run did not leave and were killed",
			  log_u("count", killed), LOG_END);
	return killed;
}
