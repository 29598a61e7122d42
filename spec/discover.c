/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks through one folder, not through those above it: which document is meant must be plain from
 * where one stands. Two candidates are never a choice of ours.
 */
#include "spec/discover.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { SHOWN_MAX = 8 };

static bool
is_document(const char *name)
{
	if (name[0] == '.')
		return false;
	return strcmp(name, "zlayer.yaml") == 0 || strcmp(name, "deployment.yaml") == 0 ||
	       text_ends(name, ".zlayer.yaml") || text_ends(name, ".zlayer.yml");
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int
report_several(const char *folder, char (*names)[DISCOVER_NAME_BYTES], size_t kept, size_t count,
	       struct err *err)
{
	char list[ERR_TEXT_BYTES - 16] = "";

	qsort(names, kept, DISCOVER_NAME_BYTES, compare_names);
	for (size_t i = 0; i < kept; i++) {
		size_t used = strlen(list);

		text_format(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ", names[i]);
	}
	err_set(err, ERR_CONFLICT, "there are %zu documents in %s", count, folder);
	err_why(err, "saw %s%s", list, count > kept ? " ..." : "");
	return err_fix(err, "name the one that is meant");
}

int
discover_find(const char *folder, char *name_out, size_t cap, struct err *err)
{
	char names[SHOWN_MAX][DISCOVER_NAME_BYTES];
	size_t count = 0, kept = 0;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (dir == NULL)
		return err_sys(err, errno, "cannot open %s", folder);
	while ((entry = readdir(dir)) != NULL) {
		if (!is_document(entry->d_name))
			continue;
		count++;
		if (kept < SHOWN_MAX)
			text_copy(names[kept++], DISCOVER_NAME_BYTES, entry->d_name);
	}
	closedir(dir);
	if (count > 1)
		return report_several(folder, names, kept, count, err);
	if (count == 1) {
		text_copy(name_out, cap, names[0]);
		return 0;
	}
	err_set(err, ERR_NOT_FOUND, "there is no document in %s", folder);
	err_why(err, "looked for zlayer.yaml, *.zlayer.yaml, *.zlayer.yml, deployment.yaml");
	return err_fix(err, "name the file");
}
