/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * Structured log of a process: one event, one line, on standard error (or a descriptor). JSON with
 * ts, level, msg, component, node and typed fields; text on a terminal; with a <N> priority prefix
 * when JOURNAL_STREAM says that standard error is the journal. A line is one write(2); a full pipe
 * drops the line and counts it. A line is at most 4096 bytes: what does not fit is cut, and the
 * line says so. Never put a secret, an Authorization or a Cookie into a field. Threading:
 * thread-safe, except log_setup: before other threads log.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_config {
	enum log_level level;
	enum log_format format;
	int fd; /* usually 2 */
	char component[32];
	char node[64];
};

void log_setup(const struct log_config *config);
/* Another level and format, at any time. */
void log_change(enum log_level level, enum log_format format);
bool log_on(enum log_level level);
bool log_level_parse(const char *text, enum log_level *out);
uint64_t log_dropped(void);

/* Typed fields, passed as a list ended by a NULL key:
 *   log_event(LOG_INFO, "replica started", log_s("service", name), log_u("pid", pid), LOG_END); */
struct log_field {
	const char *key;
	enum { LOG_STRING, LOG_SIGNED, LOG_UNSIGNED, LOG_FLOAT, LOG_BOOL } kind;
	union {
		const char *s;
		int64_t i;
		uint64_t u;
		double f;
		bool b;
	} value;
};
#define LOG_END ((struct log_field){0})
static inline struct log_field
log_s(const char *key, const char *value)
{
	return (struct log_field){.key = key, .kind = LOG_STRING, .value.s = value};
}
static inline struct log_field
log_i(const char *key, int64_t value)
{
	return (struct log_field){.key = key, .kind = LOG_SIGNED, .value.i = value};
}
static inline struct log_field
log_u(const char *key, uint64_t value)
{
	return (struct log_field){.key = key, .kind = LOG_UNSIGNED, .value.u = value};
}
static inline struct log_field
log_f(const char *key, double value)
{
	return (struct log_field){.key = key, .kind = LOG_FLOAT, .value.f = value};
}
static inline struct log_field
log_b(const char *key, bool value)
{
	return (struct log_field){.key = key, .kind = LOG_BOOL, .value.b = value};
}

void log_event_(enum log_level level, const char *message, const struct log_field *fields);
#define log_event(level, message, ...) \
	log_event_((level), (message), (const struct log_field[]){__VA_ARGS__})
/* An error with its four words as fields. */
void log_err(enum log_level level, const char *message, const struct err *err);

/* For lines that others can bring about as often as they like: LOG_FEW in LOG_FEW_S are written,
 * the others are counted. Zeroed before its first use; of one thread. */
enum { LOG_FEW = 10, LOG_FEW_S = 60 };
struct log_few {
	uint64_t until_ns;
	uint32_t written, left_out;
};
/* Whether this one is to be written. now_ns: monotonic. */
bool log_few(struct log_few *f, uint64_t now_ns);
/* How many were not, once, when their time is over; 0: none. */
uint32_t log_few_left_out(struct log_few *f, uint64_t now_ns);

#endif
