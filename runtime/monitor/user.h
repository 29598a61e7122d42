/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_USER_H
#define RUNTIME_MONITOR_USER_H

/*
 * Who a process of a container is: "name", "uid", "name:group", "uid:gid" against the container's
 * own /etc/passwd and /etc/group, which are hostile text: no NSS, no allocation, no line or number
 * is trusted. A uid without an entry is allowed (group 0, home "/"); a name without one is an
 * error.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

enum { USER_GROUPS_MAX = 64, USER_HOME_BYTES = 256, USER_FILE_MAX = 1 << 20 };

struct user {
	uid_t uid;
	gid_t gid;
	gid_t groups[USER_GROUPS_MAX]; /* supplementary, without gid */
	size_t groups_count;
	char home[USER_HOME_BYTES];
};

/* passwd and group: the files' bytes, may be empty. spec "" is root. */
int user_find(const char *spec, const char *passwd, size_t passwd_bytes, const char *group,
	      size_t group_bytes, struct user *out, struct err *err) MUST_CHECK;

#endif
