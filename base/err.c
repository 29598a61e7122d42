/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as values: filling, naming and rendering them. All text is formatted on the stack before
 * the struct is touched, so that an error may be built from words of the very same struct
 * (`err_set(err, err->kind, "cannot deploy: %s", err->what)`).
 *
 * The tables below are the one place that ties a kind to its name, its exit code (product.md) and
 * its HTTP status. Nothing here allocates, and nothing here can fail.
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/text.h"

enum { PRINT_BYTES = 16 * 1024 };

static const struct {
	const char *name;
	int exit_code;
	int http_status;
} kinds[ERR_KINDS_] = {
	[ERR_NONE] = {"none", 0, 200},
	[ERR_INTERNAL] = {"internal", 1, 500},
	[ERR_USAGE] = {"usage", 2, 400},
	[ERR_INVALID] = {"invalid", 2, 400},
	[ERR_UNSUPPORTED] = {"unsupported", 1, 422},
	[ERR_NOT_FOUND] = {"not_found", 4, 404},
	[ERR_CONFLICT] = {"conflict", 7, 409},
	[ERR_DENIED] = {"denied", 1, 403},
	[ERR_LIMIT] = {"limit", 1, 429},
	[ERR_NO_MEMORY] = {"no_memory", 1, 503},
	[ERR_NO_SPACE] = {"no_space", 1, 507},
	[ERR_TIMEOUT] = {"timeout", 5, 504},
	[ERR_UNREACHABLE] = {"unreachable", 8, 503},
	[ERR_CORRUPT] = {"corrupt", 1, 422},
	[ERR_ROLLED_BACK] = {"rolled_back", 6, 500},
	[ERR_INTERRUPTED] = {"interrupted", 130, 500},
	[ERR_SYSTEM] = {"system", 1, 500},
};

void
err_clear(struct err *err)
{
	memset(err, 0, sizeof(*err));
}

static void start(struct err *err, enum err_kind kind, int code, const char *fmt, va_list args)
	ERR_PRINTF(4, 0);

static void
start(struct err *err, enum err_kind kind, int code, const char *fmt, va_list args)
{
	char what[ERR_TEXT_BYTES];

	assert(kind > ERR_NONE && kind < ERR_KINDS_);
	text_vformat(what, sizeof(what), fmt, args);
	err_clear(err);
	err->kind = kind;
	err->code = code;
	memcpy(err->what, what, sizeof(what));
}

int
err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	start(err, kind, 0, fmt, args);
	va_end(args);
	return -1;
}

int
err_sys(struct err *err, int code, const char *fmt, ...)
{
	const char *description = strerrordesc_np(code);
	va_list args;

	va_start(args, fmt);
	start(err, err_kind_of_errno(code), code, fmt, args);
	va_end(args);
	if (description)
		return err_why(err, "%s", description);
	return err_why(err, "system error %d", code);
}

int
err_where(struct err *err, const char *fmt, ...)
{
	char line[ERR_WHERE_BYTES];
	va_list args;

	va_start(args, fmt);
	text_vformat(line, sizeof(line), fmt, args);
	va_end(args);
	if (err->wheres < ERR_WHERES_MAX)
		memcpy(err->where[err->wheres++], line, sizeof(line));
	return -1;
}

int
err_why(struct err *err, const char *fmt, ...)
{
	char line[ERR_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	text_vformat(line, sizeof(line), fmt, args);
	va_end(args);
	if (err->whys < ERR_WHYS_MAX)
		memcpy(err->why[err->whys++], line, sizeof(line));
	return -1;
}

int
err_fix(struct err *err, const char *fmt, ...)
{
	char line[ERR_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	text_vformat(line, sizeof(line), fmt, args);
	va_end(args);
	memcpy(err->fix, line, sizeof(line));
	return -1;
}

const char *
err_kind_name(enum err_kind kind)
{
	assert(kind < ERR_KINDS_);
	return kinds[kind].name;
}

enum err_kind
err_kind_of_name(const char *name)
{
	for (unsigned kind = 0; kind < ERR_KINDS_; kind++)
		if (strcmp(kinds[kind].name, name) == 0)
			return (enum err_kind)kind;
	return ERR_INTERNAL;
}

int
err_kind_exit(enum err_kind kind)
{
	assert(kind < ERR_KINDS_);
	return kinds[kind].exit_code;
}

int
err_kind_http(enum err_kind kind)
{
	assert(kind < ERR_KINDS_);
	return kinds[kind].http_status;
}

enum err_kind
err_kind_of_errno(int code)
{
	switch (code) {
	case ENOENT:
	case ESRCH:
	case ENODEV:
	case ENXIO:
		return ERR_NOT_FOUND;
	case EEXIST:
	case ENOTEMPTY:
	case EBUSY:
	case ETXTBSY:
	case EADDRINUSE:
		return ERR_CONFLICT;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EMFILE:
	case ENFILE:
	case E2BIG:
	case EFBIG:
	case EMSGSIZE:
	case ENAMETOOLONG:
	case ELOOP:
		return ERR_LIMIT;
	case ENOMEM:
	case ENOBUFS:
		return ERR_NO_MEMORY;
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case ETIMEDOUT:
	case ETIME:
		return ERR_TIMEOUT;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case EPIPE:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
		return ERR_UNREACHABLE;
	case ENOSYS:
	case EOPNOTSUPP:
	case EPROTONOSUPPORT:
	case EAFNOSUPPORT:
		return ERR_UNSUPPORTED;
	case EBADMSG:
	case EUCLEAN:
		return ERR_CORRUPT;
	case EINTR:
	case ECANCELED:
		return ERR_INTERRUPTED;
	default:
		return ERR_SYSTEM;
	}
}

/* Counts all that is put, keeps what fits. */
struct sink {
	char *out;
	size_t cap;
	size_t length;
};

static void
sink_put(struct sink *s, const char *text)
{
	size_t bytes = strlen(text);

	if (s->length < s->cap)
		text_copy(s->out + s->length, s->cap - s->length, text);
	s->length += bytes;
}

/* A text of one or more lines: the first goes on where we are, the others are indented. */
static void
sink_lines(struct sink *s, const char *text)
{
	char line[4 * ERR_TEXT_BYTES];
	size_t length = strlen(text);

	while (length > 0 && text[length - 1] == '\n')
		length--;
	for (;;) {
		const char *newline = memchr(text, '\n', length);
		size_t bytes = newline ? (size_t)(newline - text) : length;

		text_printable(text, bytes, line, sizeof(line));
		sink_put(s, line);
		sink_put(s, "\n");
		if (!newline)
			return;
		sink_put(s, "         ");
		text += bytes + 1;
		length -= bytes + 1;
	}
}

size_t
err_render(const struct err *err, const char *program, char *out, size_t cap)
{
	struct sink s = {.out = out, .cap = cap};

	if (cap > 0)
		out[0] = '\0';
	if (program && program[0]) {
		sink_put(&s, program);
		sink_put(&s, ": ");
	}
	sink_lines(&s, err->what[0] ? err->what : err_kind_name(err->kind));
	for (unsigned i = 0; i < err->wheres; i++) {
		sink_put(&s, "  where  ");
		sink_lines(&s, err->where[i]);
	}
	for (unsigned i = 0; i < err->whys; i++) {
		sink_put(&s, "  why    ");
		sink_lines(&s, err->why[i]);
	}
	if (err->fix[0]) {
		sink_put(&s, "  fix    ");
		sink_lines(&s, err->fix);
	}
	return s.length;
}

void
err_print(const struct err *err, const char *program, FILE *to)
{
	char text[PRINT_BYTES];

	err_render(err, program, text, sizeof(text));
	fputs(text, to);
}
