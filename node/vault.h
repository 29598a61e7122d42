/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_VAULT_H
#define NODE_VAULT_H

/*
 * Files that node keeps for roles which have no file system: the sealing key and what signer sealed
 * with it (secrets/ of the data folder, root only), and unlinked files for api to spool archives
 * into. The bytes are moved, never looked at.
 */

#include "base/err.h"

enum { VAULT_SEALED_MAX = 65536, VAULT_KEY_BYTES = 32, VAULT_NAME_MAX = 100 };

/* Opens secrets/seal.key for reading; makes it from the kernel's random numbers at the first start.
 * A key of another length is ERR_CORRUPT: a new one would make all that was sealed unreadable. */
int vault_key(int data_fd, int *fd_out, struct err *err) MUST_CHECK;

/* Keeps the bytes of a sealed memfd as secrets/sealed/<name>, atomically. Names: [a-z0-9._-], not
 * beginning with a dot. */
int vault_keep(int data_fd, const char *name, int fd, struct err *err) MUST_CHECK;

/* Visits what is kept; fd is borrowed. */
typedef void (*vault_fn)(void *arg, const char *name, int fd);
void vault_each(int data_fd, vault_fn visit, void *arg);

/* An unlinked file in spool/, opened for reading and writing; -1 with errno. */
int vault_spool(int data_fd);

#endif
