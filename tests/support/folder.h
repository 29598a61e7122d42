/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_FOLDER_H
#define TESTS_SUPPORT_FOLDER_H

/*
 * A folder of a test's own, in memory where the machine has a place for that: no test here pulls
 * the plug, so what a disk takes to sync only costs time. The test removes what it put there;
 * anything else that lies there in the end fails it.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"

struct folder {
	char path[64];
	int fd; /* O_PATH */
};

static inline void
folder_must(bool good, const char *what, const char *path)
{
	if (good)
		return;
	fprintf(stderr, "cannot %s the folder %s\n", what, path);
	abort();
}

static inline void
folder_begin(struct folder *f, const char *name)
{
	const char *in = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	text_format(f->path, sizeof(f->path), "%s/zlayer-%s-XXXXXX", in, name);
	folder_must(mkdtemp(f->path), "make", f->path);
	f->fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	folder_must(f->fd >= 0, "open", f->path);
}

/* A database and what sqlite keeps beside it, as far as they are there. */
static inline void
folder_remove_store(const struct folder *f, const char *name)
{
	static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
	char path[64];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		text_format(path, sizeof(path), "%s%s", name, ends[i]);
		unlinkat(f->fd, path, 0);
	}
}

static inline void
folder_end(struct folder *f)
{
	folder_must(chdir("/") == 0, "leave", f->path);
	folder_must(rmdir(f->path) == 0, "remove", f->path);
	close(f->fd);
}

#endif
