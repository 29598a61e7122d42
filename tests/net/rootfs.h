/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_ROOTFS_H
#define TESTS_NET_ROOTFS_H

/* A small image made of the machine's static busybox, in a scratch folder of the test's own. */

#include <stdbool.h>
#include <stddef.h>

/* True when this machine can run containers of the tests; else prints why (`1..0 # SKIP ...`). */
bool rootfs_can_run(void);
/* Makes a scratch folder (removed by rootfs_remove); path in out. */
void rootfs_scratch(char *out, size_t cap);
void rootfs_remove(const char *path);
/* Makes the image's only layer at path. */
void rootfs_make(const char *path);
/* Writes text to path, making the file. */
void rootfs_write(const char *path, const char *text, unsigned mode);
/* mkdir -p */
void rootfs_folder(const char *path);

#endif
