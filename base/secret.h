/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

/*
 * Bytes that must not leave: kept in memfd_secret(2) where the kernel has it, else in locked
 * memory, else in plain memory with MADV_DONTDUMP and MADV_WIPEONFORK. Zeroed when freed. There is
 * no print helper. secret_kind_name() is for `doctor`.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

enum secret_kind { SECRET_MEMFD, SECRET_LOCKED, SECRET_PLAIN };

struct secret {
	unsigned char *data;
	size_t length;
	size_t mapped_bytes;
	enum secret_kind kind;
};

int secret_init(struct secret *s, size_t bytes, struct err *err) MUST_CHECK; /* zeroed */
int secret_from(struct secret *s, const void *data, size_t bytes, struct err *err) MUST_CHECK;
void secret_fini(struct secret *s);
/* In time that depends on the lengths only. */
bool secret_equal(const struct secret *s, const void *data, size_t bytes);
const char *secret_kind_name(enum secret_kind kind);

#endif
