/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching certificates. A change is reported once, 200 ms after the last event, so that a pair
 * that is being written is read when both halves are there; a fingerprint of names, sizes, inodes
 * and times decides whether anything really changed. node never reads the files.
 */
#include "node/certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/watch.h"

enum { SETTLE_MS = 200, NAME_MAX_BYTES = 128 };

struct certs {
	uv_loop_t *loop;
	char path[256];
	int inotify;
	bool watched; /* inotify has the folder */
	struct watch *watch;
	uv_timer_t settle;
	void (*changed)(void *arg);
	void *arg;
	uint64_t fingerprint;
};

static bool
certificate_name(const char *file, char *out, size_t cap)
{
	size_t length = strlen(file);

	if (length <= 4 || length - 4 >= cap || file[0] == '.' || !text_ends(file, ".crt"))
		return false;
	return text_ncopy(out, cap, file, length - 4);
}

/* Follows links on purpose: certbot and friends keep the files elsewhere. */
static int
open_file(int dirfd, const char *file)
{
	struct stat sb;
	defer_close int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &sb) < 0)
		return -1;
	if (!S_ISREG(sb.st_mode) || sb.st_size <= 0 || sb.st_size > CERTS_FILE_MAX) {
		errno = EINVAL;
		return -1;
	}
	return fd_take(&fd);
}

void
certs_each(const struct certs *certs, certs_fn visit, void *arg)
{
	DIR *dir = opendir(certs->path);
	size_t pairs = 0;

	if (!dir)
		return;
	for (struct dirent *e; pairs < CERTS_PAIRS_MAX && (e = readdir(dir));) {
		char name[NAME_MAX_BYTES], file[NAME_MAX_BYTES + 8];

		if (!certificate_name(e->d_name, name, sizeof(name)))
			continue;
		defer_close int certificate = open_file(dirfd(dir), e->d_name);
		text_format(file, sizeof(file), "%s.key", name);
		defer_close int key = open_file(dirfd(dir), file);
		if (certificate < 0) {
			log_event(LOG_WARN, "a certificate cannot be read", log_s("name", name),
				  log_i("errno", errno), LOG_END);
			continue;
		}
		visit(arg, name, certificate, key);
		pairs++;
	}
	closedir(dir);
}

static uint64_t
fingerprint(const char *path)
{
	static const uint64_t key[2] = {1, 2};
	uint64_t sum = 0;
	DIR *dir = opendir(path);

	if (!dir)
		return 0;
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat sb;
		struct {
			uint64_t name, inode, size, seconds, nanoseconds;
		} one;

		if (fstatat(dirfd(dir), e->d_name, &sb, 0) < 0 || !S_ISREG(sb.st_mode))
			continue;
		one.name = map_siphash(key, e->d_name, strlen(e->d_name));
		one.inode = sb.st_ino;
		one.size = (uint64_t)sb.st_size;
		one.seconds = (uint64_t)sb.st_mtim.tv_sec;
		one.nanoseconds = (uint64_t)sb.st_mtim.tv_nsec;
		/* A sum: the order of a folder means nothing. */
		sum += map_siphash(key, &one, sizeof(one));
	}
	closedir(dir);
	return sum;
}

static void
watch_folder(struct certs *certs)
{
	static const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
				       IN_CREATE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

	if (certs->inotify >= 0 && !certs->watched)
		certs->watched = inotify_add_watch(certs->inotify, certs->path, events) >= 0;
}

static void
look(struct certs *certs)
{
	watch_folder(certs);
	uint64_t now = fingerprint(certs->path);
	if (now == certs->fingerprint)
		return;
	certs->fingerprint = now;
	certs->changed(certs->arg);
}

static void
settled(uv_timer_t *timer)
{
	look(timer->data);
}

static void
inotify_event(void *arg, bool readable, bool writable)
{
	struct certs *certs = arg;
	char bytes[4096] __attribute__((aligned(8)));
	ssize_t n;

	(void)readable;
	(void)writable;
	while ((n = read(certs->inotify, bytes, sizeof(bytes))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(bytes + at);

			if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))
				certs->watched = false;
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	uv_timer_start(&certs->settle, settled, SETTLE_MS, 0);
}

struct certs *
certs_new(uv_loop_t *loop, const char *path, void (*changed)(void *arg), void *arg)
{
	struct certs *certs = mem_zalloc(MEM_NODE, sizeof(*certs));

	if (!certs)
		return NULL;
	certs->loop = loop;
	certs->changed = changed;
	certs->arg = arg;
	text_copy(certs->path, sizeof(certs->path), path);
	uv_timer_init(loop, &certs->settle);
	certs->settle.data = certs;
	certs->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (certs->inotify >= 0)
		certs->watch = watch_new(loop, certs->inotify, inotify_event, certs);
	if (!certs->watch)
		fd_close(&certs->inotify);
	watch_folder(certs);
	certs->fingerprint = fingerprint(path);
	return certs;
}

static void
closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
certs_free(struct certs *certs)
{
	if (!certs)
		return;
	watch_free(certs->watch);
	fd_close(&certs->inotify);
	uv_timer_stop(&certs->settle);
	uv_close((uv_handle_t *)&certs->settle, closed);
}

void
certs_tick(struct certs *certs)
{
	look(certs);
}
