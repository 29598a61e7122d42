/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_FOLDER_H
#define NODE_FOLDER_H

/* Walks of folders that are node's own. Never follows a symlink, never leaves the file system. */

#include <stdbool.h>
#include <sys/types.h>

enum { FOLDER_DEPTH_MAX = 32 };

/* Removes a file, or a folder with all that is in it. ENOENT is success. -1 with errno: something
 * could not be removed (the rest is gone). */
int folder_remove(int dirfd, const char *name);
/* Removes a folder of the cgroup or bpf kind: sub-folders and, if `files`, what is pinned there. */
int folder_prune(int dirfd, const char *name, bool files);
/* Gives everything below (and the folder itself) to uid:gid. -1 with errno. */
int folder_chown(int dirfd, const char *name, uid_t uid, gid_t gid);
/* True when the folder is there and holds at least one entry. */
bool folder_holds(int dirfd, const char *name);
/* The same, but folders that are empty themselves do not count. */
bool folder_holds_something(int dirfd, const char *name);

#endif
