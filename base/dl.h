/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DL_H
#define BASE_DL_H

/*
 * A library that only one role needs is not in the address space of the others: it is opened after
 * the choice of role and before confinement. A folder lists the functions that it calls once:
 *
 *   #define SQLITE_CALLS(X) X(sqlite3_open_v2) X(sqlite3_step) ...
 *   DL_DECLARE(sqlite, SQLITE_CALLS);                           header
 *   DL_DEFINE(sqlite, "libsqlite3.so.0", SQLITE_CALLS)          one .c
 *
 * and calls sqlite.sqlite3_step(stmt) after dl_load_sqlite(&err) gave 0. The types are the
 * library's own declarations, so the compiler checks every call. Nothing is ever unloaded.
 */

#include <stddef.h>
#include "base/err.h"

#define DL_MEMBER_(name) __typeof__(name) *name;
#define DL_SYMBOL_(name) #name,

#define DL_DECLARE(library, CALLS)          \
	struct dl_##library {               \
		CALLS(DL_MEMBER_)           \
	};                                  \
	extern struct dl_##library library; \
	int dl_load_##library(struct err *err) MUST_CHECK

#define DL_DEFINE(library, soname, CALLS)                                      \
	struct dl_##library library;                                           \
	int dl_load_##library(struct err *err)                                 \
	{                                                                      \
		static const char *const symbols[] = {CALLS(DL_SYMBOL_) NULL}; \
		return dl_load_(soname, symbols, (void **)&library,            \
				sizeof(library) / sizeof(void *), err);        \
	}

/* Idempotent. ERR_UNSUPPORTED names the library or symbol that is missing. */
int dl_load_(const char *soname, const char *const *symbols, void **table, size_t count,
	     struct err *err) MUST_CHECK;

#endif
