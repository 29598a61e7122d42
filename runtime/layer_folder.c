/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of a commit: owners of folders that the layers below say, syncfs, one rename per layer,
 * fsync of layers/: what can be seen there is complete, also after a power cut.
 */
#include "runtime/layer_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/layer.h"
#include "runtime/tree.h"

enum { ORPHANS_BYTES_MAX = 64 << 20, LOWER_MAX = 128 };

uint64_t
layer_folder_number(void)
{
	static atomic_uint_fast64_t last;
	uint_fast64_t none = 0;
	struct world w;

	world_real(&w);
	/* Not from 1: numbers of a process that died must not mean something to its successor. */
	atomic_compare_exchange_strong(&last, &none, world_random_u64(&w) >> 1 | 1);
	return atomic_fetch_add(&last, 1) + 1;
}

void
layer_folder_name(uint64_t number, char out[24])
{
	text_format(out, 24, "l%llu", (unsigned long long)number);
}

void
layer_folder_remove(int tmp, uint64_t number)
{
	char name[24];

	layer_folder_name(number, name);
	tree_remove(tmp, name);
}

int
layer_folder_make(int tmp, uint64_t number, struct layer_folder *out, struct err *err)
{
	char name[24];

	out->fd = out->fs = -1;
	layer_folder_name(number, name);
	if (tree_remove(tmp, name) < 0 || mkdirat(tmp, name, 0755) < 0 ||
	    (out->fd = fd_open_beneath(tmp, name, O_RDONLY | O_DIRECTORY, 0)) < 0 ||
	    mkdirat(out->fd, "fs", 0755) < 0 ||
	    (out->fs = fd_open_beneath(out->fd, "fs", O_RDONLY | O_DIRECTORY, 0)) < 0) {
		err_sys(err, errno, "cannot make a folder for a layer");
		layer_folder_close(out);
		return -1;
	}
	return 0;
}

void
layer_folder_close(struct layer_folder *f)
{
	fd_close(&f->fd);
	fd_close(&f->fs);
}

static int
write_file(int folder, const char *name, const void *data, size_t bytes, struct err *err)
{
	defer_close int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys(err, errno, "cannot note what a layer is");
	return fd_write_all(fd, data, bytes, err);
}

int
layer_folder_finish(const struct layer_folder *f, uint64_t bytes, const struct buf *orphans,
		    struct err *err)
{
	char text[32];

	text_format(text, sizeof(text), "%llu\n", (unsigned long long)bytes);
	if (write_file(f->fd, "bytes", text, strlen(text), err) < 0)
		return -1;
	if (!orphans || orphans->length == 0)
		return 0;
	return write_file(f->fd, "orphans", orphans->data, orphans->length, err);
}

static uint64_t
read_size(int folder)
{
	char text[32] = {0};
	uint64_t bytes = 0;
	defer_close int fd = fd_open_beneath(folder, "bytes", O_RDONLY, 0);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n > 1 && text[n - 1] == '\n') {
		text[n - 1] = '\0';
		if (!text_u64(text, INT64_MAX, &bytes))
			bytes = 0;
	}
	return bytes;
}

int
layer_folder_open(int layers, const char *chain_id, uint64_t *bytes_out)
{
	defer_close int folder = fd_open_beneath(layers, chain_id, O_RDONLY | O_DIRECTORY, 0);
	int fs = folder < 0 ? -1 : fd_open_beneath(folder, "fs", O_RDONLY | O_DIRECTORY, 0);

	*bytes_out = fs < 0 ? 0 : read_size(folder);
	return fs;
}

/* ---- committing ---- */

/* The folders may be held by O_PATH descriptors, which cannot be synced. */
static int
flush(int folder, int (*sync_call)(int fd))
{
	defer_close int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -1 : sync_call(fd);
}

static int
adopt(int tmp, const struct layer_folder_move *moves, size_t at, struct err *err)
{
	char name[24];
	int lower[LOWER_MAX];
	size_t count = 0;
	struct buf orphans;

	layer_folder_name(moves[at].number, name);
	defer_close int folder = fd_open_beneath(tmp, name, O_RDONLY | O_DIRECTORY, 0);
	if (folder < 0) {
		err_set(err, ERR_CONFLICT, "a layer that was unpacked is gone");
		return err_why(err, "the unpack process was restarted meanwhile");
	}
	for (size_t i = at; i-- > 0 && count < LOWER_MAX;)
		lower[count++] = moves[i].fs;
	buf_init(&orphans, MEM_RUNTIME, ORPHANS_BYTES_MAX);
	int rc = fd_read_file(folder, "orphans", &orphans, err);
	if (rc < 0 && err->kind == ERR_NOT_FOUND) {
		err_clear(err);
		rc = 0;
	} else if (rc == 0) {
		rc = layer_adopt(moves[at].fs, lower, count, orphans.data, orphans.length, err);
		if (rc == 0 && unlinkat(folder, "orphans", 0) < 0)
			rc = err_sys(err, errno, "cannot finish a layer");
	}
	buf_fini(&orphans);
	return rc;
}

static int
move(int layers, int tmp, const struct layer_folder_move *m, struct err *err)
{
	char name[24];

	layer_folder_name(m->number, name);
	if (renameat2(tmp, name, layers, m->chain_id, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST)
		return err_sys(err, errno, "cannot move a layer to its place");
	layer_folder_remove(tmp, m->number);
	return 0;
}

int
layer_folder_commit(int images, int layers, int tmp, struct layer_folder_move *moves, size_t count,
		    struct err *err)
{
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (!moves[i].number)
			continue;
		any = true;
		if (adopt(tmp, moves, i, err) < 0)
			return -1;
	}
	if (!any)
		return 0;
	if (flush(images, syncfs) < 0)
		return err_sys(err, errno, "cannot write the image to the disk");
	for (size_t i = 0; i < count; i++) {
		if (moves[i].number && move(layers, tmp, &moves[i], err) < 0)
			return -1;
	}
	if (flush(layers, fsync) < 0)
		return err_sys(err, errno, "cannot write the image to the disk");
	return 0;
}
