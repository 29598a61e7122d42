/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_REGISTRIES_H
#define NODE_REGISTRIES_H

/*
 * The files that the fetch role needs to talk to a registry and may not open itself: logins,
 * certificates to trust, and how names are resolved. Opened anew at each question, so that a
 * `docker login` or a changed resolv.conf counts at once. node never reads them.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REGISTRIES_FILES = 4, REGISTRIES_BYTES_MAX = 4 << 20 };

/* A file of root's that is not empty and not too large; -1. */
int registries_file(const char *path);
/* config.json alone; -1: there is none. */
int registries_logins(const char *folder);
/* HOST[:PORT], and nothing else. */
bool registries_is_host(const char *host);
/* host: checked here. Gives how many descriptors there are (the caller's), in the order of enum
 * leash_registry, and which. */
size_t registries_open(const char *folder, const char *host, int fds[REGISTRIES_FILES],
		       uint64_t *which_out);

#endif
