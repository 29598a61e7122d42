/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compressed layer into a folder. Whatever it holds, the sibling of the folder stays as it is,
 * no device node but whiteouts appears, and no attribute that steers overlayfs but "opaque".
 */
#include "runtime/layer.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/inflate.h"
#include "runtime/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[] = "fuzz-layer-XXXXXX";
static int topfd = -1;
static int root = -1;

static void
remove_all(void)
{
	tree_empty(topfd);
	close(root);
	close(topfd);
	rmdir(top);
}

static void
prepare(void)
{
	struct err err = {0};

	if (inflate_load(&err) < 0 || !mkdtemp(top))
		abort();
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(topfd, "root", 0755) < 0 || mkdirat(topfd, "outside", 0755) < 0)
		abort();
	root = openat(topfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert(root >= 0);
	atexit(remove_all);
}

static int
take(void *arg, const void *data, size_t bytes, struct err *err)
{
	return layer_feed(arg, data, bytes, err);
}

static void
check_file(int fd, const char *name)
{
	struct stat st;
	char names[4096];

	assert(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
	assert(!S_ISBLK(st.st_mode) && (!S_ISCHR(st.st_mode) || st.st_rdev == 0));
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return;
	defer_close int file = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = file < 0 ? 0 : flistxattr(file, names, sizeof(names));
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		assert(!text_starts(names + at, "trusted."));
		assert(!text_starts(names + at, "user.overlay.") ||
		       (S_ISDIR(st.st_mode) && !strcmp(names + at, "user.overlay.opaque")));
	}
}

static void
check_tree(int dirfd)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		check_file(dirfd, e->d_name);
		if (e->d_type == DT_DIR) {
			defer_close int below =
				openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
			if (below >= 0)
				check_tree(below);
		}
	}
	if (dir)
		closedir(dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct layer_limits limits = {.bytes_max = 1 << 20, .entries_max = 200};
	struct layer *l;
	struct inflate *z;
	struct err err = {0};

	if (topfd < 0)
		prepare();
	if (layer_new(root, NULL, 0, &limits, &l, &err) < 0 ||
	    inflate_new(inflate_detect(data, size), 4 << 20, take, l, &z, &err) < 0)
		abort();
	if (inflate_feed(z, data, size, &err) == 0 && inflate_end(z, &err) == 0 &&
	    layer_end(l, &err) == 0)
		assert(layer_bytes(l) <= limits.bytes_max && layer_entries(l) <= 200);
	else
		assert(err.kind && err.what[0]);
	inflate_free(z);
	layer_free(l);
	check_tree(root);
	assert(tree_empty(root) == 0);
	assert(unlinkat(topfd, "outside", AT_REMOVEDIR) == 0);
	assert(mkdirat(topfd, "outside", 0755) == 0);
	return 0;
}
