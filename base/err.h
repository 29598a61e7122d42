/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * An error as a value: a fixed-size struct on the caller's stack that says what failed, where, why
 * and what to try. Filling it in allocates nothing and cannot fail; text that does not fit is cut
 * at a character boundary. One function renders it; the command line, the API's problem+json and
 * the log use the same four words.
 *
 * Convention: `int f(..., struct err *err)` gives 0, or -1 with *err set. err may not be NULL.
 * The first err_set() of a failure decides kind and "what"; callers up the stack add at most one
 * "where" each (err_where) and whoever knows adds "why" and "fix".
 * Threading: a plain value, owned by the caller.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum err_kind {
	ERR_NONE = 0,
	ERR_INTERNAL,    /* our own fault: a broken invariant that was survived */
	ERR_USAGE,       /* wrong words on the command line */
	ERR_INVALID,     /* a document or message is wrong */
	ERR_UNSUPPORTED, /* right, but not available in this version or on this node */
	ERR_NOT_FOUND,
	ERR_CONFLICT, /* somebody else changed it, or it exists */
	ERR_DENIED,   /* no permission */
	ERR_LIMIT,    /* a limit of ours or of the machine */
	ERR_NO_MEMORY,
	ERR_NO_SPACE, /* disk full, quota */
	ERR_TIMEOUT,
	ERR_UNREACHABLE, /* the other side is not there */
	ERR_CORRUPT,     /* digest mismatch, damaged file, hostile peer */
	ERR_ROLLED_BACK, /* failed, and the previous state serves */
	ERR_INTERRUPTED,
	ERR_SYSTEM, /* an operating system call failed; code is errno */
	ERR_KINDS_,
};

enum {
	ERR_TEXT_BYTES = 512, /* what, each why, fix: including the final NUL */
	ERR_WHERE_BYTES = 192,
	ERR_WHERES_MAX = 4,
	ERR_WHYS_MAX = 4,
};

struct err {
	enum err_kind kind;
	int code; /* errno, or 0 */
	unsigned wheres;
	unsigned whys;
	char what[ERR_TEXT_BYTES];
	char where[ERR_WHERES_MAX][ERR_WHERE_BYTES];
	char why[ERR_WHYS_MAX][ERR_TEXT_BYTES];
	char fix[ERR_TEXT_BYTES];
};

#define ERR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK __attribute__((warn_unused_result))

/* Empties *err. A struct err must be initialised before use: `struct err err = {0};` serves too. */
void err_clear(struct err *err);

/* Starts an error of `kind`; drops what was there. Always returns -1, for `return err_set(...)`. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Starts an error from an errno value: kind is derived from it (ENOSPC gives ERR_NO_SPACE, ENOMEM
 * ERR_NO_MEMORY, EACCES and EPERM ERR_DENIED, ENOENT ERR_NOT_FOUND ...), the system's text becomes
 * the first "why". Always returns -1. */
int err_sys(struct err *err, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Each adds a line; lines past the limits above are dropped. err_fix replaces. All return -1. */
int err_where(struct err *err, const char *fmt, ...) ERR_PRINTF(2, 3);
int err_why(struct err *err, const char *fmt, ...) ERR_PRINTF(2, 3);
int err_fix(struct err *err, const char *fmt, ...) ERR_PRINTF(2, 3);

/* Names and mappings of a kind: "not_found"; exit code of product.md; HTTP status. */
const char *err_kind_name(enum err_kind kind);
enum err_kind err_kind_of_name(const char *name); /* ERR_INTERNAL when unknown */
int err_kind_exit(enum err_kind kind);
int err_kind_http(enum err_kind kind);
enum err_kind err_kind_of_errno(int code);

/* Writes "zlayer: what" and labelled lines (`  where  `, `  why    `, `  fix    `) to a buffer;
 * gives the length that all of it has (as snprintf does). Control characters are escaped. */
size_t err_render(const struct err *err, const char *program, char *out, size_t cap);
void err_print(const struct err *err, const char *program, FILE *to);

#endif
