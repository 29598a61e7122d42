/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the configuration: node.yaml, then the *.yaml of conf.d beside it in the order of their
 * names, each over what the ones before said. A file that is wrong does not stop the reading of the
 * next, so that all errors are seen at once.
 */
#include "spec/config.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "spec/yaml.h"

enum { FILES_MAX = 64, NAME_BYTES = 256, PATH_BYTES = 1024 };

static int
read_one(int dirfd, const char *name, const char *shown, struct config *out,
	 struct diag_list *diags, struct err *err)
{
	struct buf text;
	int rc = -1;

	buf_init(&text, MEM_SPEC, YAML_BYTES_MAX + 1);
	if (fd_read_file(dirfd, name, &text, err) == 0) {
		bool good = config_parse(buf_cstr(&text), text.length, shown, out, diags) == 0;

		assert(good || diag_count(diags) > 0 || diags->no_memory);
		rc = 0;
	}
	buf_fini(&text);
	return rc;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool
is_wanted(const char *name)
{
	return name[0] != '.' && text_ends(name, ".yaml") && strlen(name) < NAME_BYTES;
}

static int
list_names(int dirfd, char (*names)[NAME_BYTES], size_t *count_out, struct err *err)
{
	int copy = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int rc = 0;

	*count_out = 0;
	if (dir == NULL) {
		int code = errno;

		fd_close(&copy);
		return err_sys(err, code, "cannot list conf.d");
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (!is_wanted(entry->d_name))
			continue;
		if (*count_out == FILES_MAX)
			rc = err_set(err, ERR_LIMIT, "conf.d has more than %d files", FILES_MAX);
		else
			text_copy(names[(*count_out)++], NAME_BYTES, entry->d_name);
	}
	closedir(dir);
	qsort(names, *count_out, NAME_BYTES, compare_names);
	return rc;
}

static int
read_folder(const char *folder, struct config *out, struct diag_list *diags, struct err *err)
{
	defer_free char(*names)[NAME_BYTES] = NULL;
	defer_close int dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char shown[PATH_BYTES];
	size_t count;

	if (dirfd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot open %s", folder);
	names = mem_array(MEM_SPEC, FILES_MAX, NAME_BYTES);
	if (names == NULL)
		return err_set(err, ERR_NO_MEMORY, "out of memory while reading %s", folder);
	if (list_names(dirfd, names, &count, err) != 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		text_format(shown, sizeof(shown), "%s/%s", folder, names[i]);
		if (read_one(dirfd, names[i], shown, out, diags, err) != 0)
			return err_where(err, "%s", shown);
	}
	return 0;
}

int
config_load(const char *path, bool optional, struct config *out, struct diag_list *diags,
	    struct err *err)
{
	const char *slash = strrchr(path, '/');
	size_t before = diag_count(diags);
	char folder[PATH_BYTES];

	config_defaults(out);
	if (!text_format(folder, sizeof(folder), "%.*sconf.d",
			 slash == NULL ? 0 : (int)(slash + 1 - path), path))
		return err_set(err, ERR_INVALID, "the path %.64s... is too long", path);
	if (read_one(AT_FDCWD, path, path, out, diags, err) != 0) {
		if (!optional || err->kind != ERR_NOT_FOUND)
			return -1;
		err_clear(err);
	}
	if (read_folder(folder, out, diags, err) != 0)
		return -1;
	if (diag_count(diags) > before || diags->no_memory)
		return -1;
	diag_list_file(diags, path, NULL, 0);
	return config_finish(out, diags);
}
