/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and reads deployment documents. */
#include "cli/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

enum { SEEN_MAX = 8 };

/* Which document is meant must be plain from where one stands: of two none is chosen. */
static bool
is_document(const char *name)
{
	if (name[0] == '.')
		return false;
	return strcmp(name, "zlayer.yaml") == 0 || strcmp(name, "deployment.yaml") == 0 ||
	       text_ends(name, ".zlayer.yaml") || text_ends(name, ".zlayer.yml");
}

static bool
is_file(int dirfd, const char *name)
{
	struct stat sb;

	return fstatat(dirfd, name, &sb, 0) == 0 && S_ISREG(sb.st_mode);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int
say_count(char (*names)[FILE_NAME_BYTES], size_t count, struct err *err)
{
	char seen[ERR_TEXT_BYTES] = "";
	size_t kept = count < SEEN_MAX ? count : SEEN_MAX;

	if (count == 0) {
		err_set(err, ERR_NOT_FOUND, "there is no document in this folder");
		err_why(err, "looked for zlayer.yaml, *.zlayer.yaml, *.zlayer.yml and "
			     "deployment.yaml");
		return err_fix(err, "name it on the command line");
	}
	qsort(names, kept, FILE_NAME_BYTES, by_name);
	for (size_t i = 0; i < kept; i++) {
		size_t length = strlen(seen);

		text_format(seen + length, sizeof(seen) - length, "%s%s", length ? ", " : "",
			    names[i]);
	}
	err_set(err, ERR_USAGE, "there are %zu documents in this folder", count);
	err_why(err, "%s%s", seen, count > kept ? " ..." : "");
	return err_fix(err, "name one on the command line");
}

int
file_find(int dirfd, char out[FILE_NAME_BYTES], struct err *err)
{
	char names[SEEN_MAX][FILE_NAME_BYTES];
	size_t count = 0;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		err_sys(err, errno, "cannot read this folder");
		fd_close(&fd);
		return -1;
	}
	for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		if (!is_document(d->d_name) || !is_file(dirfd, d->d_name))
			continue;
		if (count < SEEN_MAX)
			text_copy(names[count], FILE_NAME_BYTES, d->d_name);
		count++;
	}
	closedir(dir);
	if (count != 1)
		return say_count(names, count, err);
	text_copy(out, FILE_NAME_BYTES, names[0]);
	return 0;
}

int
file_read(const char *named, char name_out[FILE_NAME_BYTES], struct buf *out, struct err *err)
{
	if (named && strcmp(named, "-") == 0) {
		text_copy(name_out, FILE_NAME_BYTES, "standard input");
		return fd_read_all(STDIN_FILENO, out, err);
	}
	if (named)
		text_copy(name_out, FILE_NAME_BYTES, named);
	else if (file_find(AT_FDCWD, name_out, err) < 0)
		return -1;
	return fd_read_file(AT_FDCWD, named ? named : name_out, out, err);
}
