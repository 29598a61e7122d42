/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of the runtime. Names come from checked labels and numbers only; every path is resolved
 * below a held descriptor. Deleting a container's files is slow and their names are hostile: it is
 * done in the loop's thread pool, through descriptors, never following a link; a tree deeper than a
 * few dozen folders is cut into pieces that are moved up, so that depth costs neither stack nor
 * descriptors.
 */
#include "runtime/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { DEPTH_MAX = 48, PATH_BYTES = 512 };

int
place_folder(int base, const char *path, struct err *err)
{
	defer_close int made = fd_make_dirs(base, path, 0700);
	int fd = made < 0 ? -1 : openat(made, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err_sys(err, errno, "cannot make the folder %s", path);
	return fd;
}

int
place_open(struct place *p, int data, int volumes, int run, uv_loop_t *loop, struct err *err)
{
	static const char *const folders[] = {"claims",    "exits", "logs",
					      "anonymous", "upper", "trash"};
	*p = (struct place){.data = data, .volumes = volumes, .run = run, .loop = loop};
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		defer_close int fd = place_folder(data, folders[i], err);
		if (fd < 0)
			return -1;
	}
	defer_close int stage = place_folder(run, "stage", err);
	if (stage < 0)
		return -1;
	if (!place_path(stage, p->stage, sizeof(p->stage)))
		return err_set(err, ERR_INTERNAL, "the runtime folder has no usable path");
	/* What a killed predecessor did not get done. */
	place_delete(p, data, "trash");
	return 0;
}

bool
place_path(int fd, char *out, size_t cap)
{
	char link[32];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, cap);
	if (n <= 0 || (size_t)n >= cap || out[0] != '/')
		return false;
	out[n] = '\0';
	return true;
}

static bool
log_path(const char *deployment, const char *service, uint32_t index, uint64_t replica, char *out,
	 size_t cap)
{
	return text_is_label(deployment) && text_is_label(service) &&
	       text_format(out, cap, "logs/%s/%s/%u-%" PRIu64, deployment, service, index, replica);
}

int
place_log(struct place *p, const char *deployment, const char *service, uint32_t index,
	  uint64_t replica, struct err *err)
{
	char path[PATH_BYTES];
	if (!log_path(deployment, service, index, replica, path, sizeof(path))) {
		err_set(err, ERR_INVALID, "a deployment's or service's name is not a label");
		return -1;
	}
	return place_folder(p->data, path, err);
}

int
place_container(struct place *p, uint64_t replica, bool make, struct err *err)
{
	char path[64];
	snprintf(path, sizeof(path), "%" PRIu64, replica);
	if (make)
		return place_folder(p->run, path, err);
	int fd = fd_open_beneath(p->run, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		err_sys(err, errno, "cannot open the container's folder");
	return fd;
}

/* ---- deleting ---- */

struct deletion {
	uv_work_t work;
	int folder; /* everything in it goes */
	unsigned moved;
};

static void delete_below(struct deletion *d, int dir, unsigned depth);

static void
delete_entry(struct deletion *d, int dir, const char *name, unsigned depth)
{
	char aside[32];
	if (unlinkat(dir, name, 0) == 0 || (errno != EISDIR && errno != EPERM))
		return;
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return;
	if (depth >= DEPTH_MAX) {
		snprintf(aside, sizeof(aside), "deep-%u", d->moved++);
		renameat(dir, name, d->folder, aside);
		return;
	}
	defer_close int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return;
	delete_below(d, below, depth + 1);
	unlinkat(dir, name, AT_REMOVEDIR);
}

static void
delete_below(struct deletion *d, int dir, unsigned depth)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (list == NULL) {
		fd_close(&copy);
		return;
	}
	for (struct dirent *e = readdir(list); e != NULL; e = readdir(list))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			delete_entry(d, dir, e->d_name, depth);
	closedir(list);
}

static void
work(uv_work_t *request)
{
	struct deletion *d = request->data;
	unsigned before;
	do {
		before = d->moved;
		delete_below(d, d->folder, 0);
	} while (d->moved != before);
}

static void
work_done(uv_work_t *request, int status)
{
	struct deletion *d = request->data;
	(void)status;
	fd_close(&d->folder);
	mem_free(d);
}

/* Deletes what is in the trash, in the pool. */
static void
empty_trash(struct place *p)
{
	struct deletion *d = mem_zalloc(MEM_RUNTIME, sizeof(*d));
	if (d == NULL)
		return; /* the next one takes it along */
	d->work.data = d;
	d->folder = fd_open_beneath(p->data, "trash", O_RDONLY | O_DIRECTORY, 0);
	if (d->folder < 0 || uv_queue_work(p->loop, &d->work, work, work_done) < 0) {
		fd_close(&d->folder);
		mem_free(d);
	}
}

void
place_delete(struct place *p, int base, const char *path)
{
	static uint64_t counter;
	char to[64];
	if (strcmp(path, "trash") != 0) {
		snprintf(to, sizeof(to), "trash/%" PRIx64 "-%" PRIu64, world_mono_ns(), ++counter);
		if (renameat(base, path, p->data, to) < 0 && errno != ENOENT) {
			struct err err = {0};
			err_sys(&err, errno, "cannot delete %s", path);
			log_err(LOG_WARN, "files of a container stay", &err);
		}
	}
	empty_trash(p);
}

/* A folder of few plain files, on another file system than the trash. */
static void
delete_flat(int base, const char *path)
{
	struct deletion d = {.folder = -1};
	d.folder = fd_open_beneath(base, path, O_RDONLY | O_DIRECTORY, 0);
	if (d.folder < 0)
		return;
	delete_below(&d, d.folder, 0);
	fd_close(&d.folder);
	unlinkat(base, path, AT_REMOVEDIR);
}

void
place_forget(struct place *p, const char *deployment, const char *service, uint32_t index,
	     uint64_t replica)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%" PRIu64, replica);
	delete_flat(p->run, path);
	snprintf(path, sizeof(path), "claims/%" PRIu64, replica);
	unlinkat(p->data, path, 0);
	snprintf(path, sizeof(path), "exits/%" PRIu64, replica);
	delete_flat(p->data, path);
	snprintf(path, sizeof(path), "anonymous/%" PRIu64, replica);
	place_delete(p, p->data, path);
	place_delete_uppers(p, replica, 0);
	if (!log_path(deployment, service, index, replica, path, sizeof(path)))
		return;
	place_delete(p, p->data, path);
	/* The service's and the deployment's folders go with their last replica. */
	for (int i = 0; i < 2; i++) {
		*strrchr(path, '/') = '\0';
		unlinkat(p->data, path, AT_REMOVEDIR);
	}
}

void
place_delete_uppers(struct place *p, uint64_t replica, uint32_t keep)
{
	char prefix[32], kept[48], path[PATH_BYTES];
	int fd = fd_open_beneath(p->data, "upper", O_RDONLY | O_DIRECTORY, 0);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list == NULL) {
		fd_close(&fd);
		return;
	}
	snprintf(prefix, sizeof(prefix), "%" PRIu64 ".", replica);
	snprintf(kept, sizeof(kept), "%" PRIu64 ".%u", replica, keep);
	for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
		if (!text_starts(e->d_name, prefix) || strcmp(e->d_name, kept) == 0)
			continue;
		if (text_format(path, sizeof(path), "upper/%s", e->d_name))
			place_delete(p, p->data, path);
	}
	closedir(list);
}

void
place_inherit_upper(struct place *p, uint64_t replica, uint32_t attempt)
{
	char prefix[32], from[64], to[64];
	uint64_t number, last = 0;
	int fd = fd_open_beneath(p->data, "upper", O_RDONLY | O_DIRECTORY, 0);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list == NULL) {
		fd_close(&fd);
		return;
	}
	snprintf(prefix, sizeof(prefix), "%" PRIu64 ".", replica);
	for (struct dirent *e = readdir(list); e != NULL; e = readdir(list))
		if (text_starts(e->d_name, prefix) &&
		    text_u64(e->d_name + strlen(prefix), UINT32_MAX, &number) && number > last)
			last = number;
	closedir(list);
	snprintf(from, sizeof(from), "upper/%" PRIu64 ".%" PRIu64, replica, last);
	snprintf(to, sizeof(to), "upper/%" PRIu64 ".%u", replica, attempt);
	if (last == 0 || last >= attempt)
		return;
	if (renameat(p->data, from, p->data, to) < 0) {
		struct err err = {0};
		err_sys(&err, errno, "cannot keep %s", from);
		log_err(LOG_WARN, "files of an isolated container are lost", &err);
	}
}

void
place_each(int base, const char *path, void (*visit)(void *arg, uint64_t replica), void *arg)
{
	uint64_t replica;
	int fd = fd_open_beneath(base, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list == NULL) {
		fd_close(&fd);
		return;
	}
	for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
		/* "7" or "7.2" */
		char name[NAME_MAX + 1];
		text_copy(name, sizeof(name), e->d_name);
		name[strcspn(name, ".")] = '\0';
		if (text_u64(name, UINT64_MAX, &replica) && replica != 0)
			visit(arg, replica);
	}
	closedir(list);
}
