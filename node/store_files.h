/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_STORE_FILES_H
#define NODE_STORE_FILES_H

/*
 * The files of `store.etcd`, which scheduler needs and may not open itself. Opened anew at each
 * question, so that a renewed certificate counts soon. node never reads them.
 * Threading: the loop's thread.
 */

#include <stddef.h>
#include <stdint.h>
#include "spec/config.h"

enum { STORE_FILES = 4 };

/* Gives how many descriptors there are (the caller's), in the order of enum leash_store, and which.
 */
size_t store_files_open(const struct config_store_etcd *etcd, int fds[STORE_FILES],
			uint64_t *which_out);

#endif
