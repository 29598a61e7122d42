/* SPDX-License-Identifier: Apache-2.0 */
/* Looks for the socket in /proc/net/tcp and tcp6 (udp and udp6), then for who has its inode open.
 */
#include "node/portuser.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

enum { STATE_LISTEN = 0x0a, STATE_UNCONNECTED = 0x07, INODES_MAX = 64 };

struct inodes {
	unsigned long items[INODES_MAX];
	size_t count;
};

static void
find_inodes(const char *path, unsigned wanted, uint16_t port, struct inodes *out)
{
	char line[512];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		unsigned local = 0, state = 0;
		unsigned long inode = 0;

		if (sscanf(line,
			   " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
			   &local, &state, &inode) == 3 &&
		    local == port && state == wanted && out->count < INODES_MAX)
			out->items[out->count++] = inode;
	}
	if (f)
		fclose(f);
}

static bool
holds(int fds, const struct inodes *inodes)
{
	bool found = false;
	DIR *dir = fdopendir(fds);

	if (!dir) {
		fd_close(&fds);
		return false;
	}
	for (struct dirent *e; !found && (e = readdir(dir));) {
		char target[64];
		unsigned long inode;
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) != 1)
			continue;
		for (size_t i = 0; i < inodes->count; i++)
			found |= inodes->items[i] == inode;
	}
	closedir(dir);
	return found;
}

static bool
process_holds(const char *pid, const struct inodes *inodes, char *out, size_t cap)
{
	char path[300], name[64] = "?", shown[128];
	int fds, file;

	text_format(path, sizeof(path), "/proc/%s/fd", pid);
	fds = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fds < 0 || !holds(fds, inodes))
		return false;
	text_format(path, sizeof(path), "/proc/%s/comm", pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = file >= 0 ? read(file, name, sizeof(name) - 1) : 0;
	fd_close(&file);
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	text_printable(name, strlen(name), shown, sizeof(shown));
	text_format(out, cap, "%s (pid %s)", shown, pid);
	return true;
}

bool
portuser_find(const struct addr *addr, bool udp, char *out, size_t cap)
{
	struct inodes inodes = {0};
	bool found = false;

	unsigned state = udp ? STATE_UNCONNECTED : STATE_LISTEN;

	find_inodes(udp ? "/proc/net/udp" : "/proc/net/tcp", state, addr->port, &inodes);
	find_inodes(udp ? "/proc/net/udp6" : "/proc/net/tcp6", state, addr->port, &inodes);
	DIR *dir = inodes.count ? opendir("/proc") : NULL;
	if (!dir)
		return false;
	for (struct dirent *e; !found && (e = readdir(dir));)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			found = process_holds(e->d_name, &inodes, out, cap);
	closedir(dir);
	return found;
}
