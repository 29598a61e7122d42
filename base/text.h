/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

/* Small text things: bounded copies, numbers with units, nearest word, base64, hex, UTF-8, time.
 * Nothing allocates. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies with a final NUL, cut at a UTF-8 boundary; false when it was cut. cap > 0. */
bool text_copy(char *out, size_t cap, const char *text);
bool text_ncopy(char *out, size_t cap, const char *text, size_t length);
/* As snprintf, cut at a UTF-8 boundary; false when it was cut. */
bool text_format(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool text_vformat(char *out, size_t cap, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));
bool text_equal(const char *a, const char *b); /* NULL equals NULL only */
bool text_starts(const char *text, const char *prefix);
bool text_ends(const char *text, const char *suffix);

/* Whole-string decimal parse, no sign, no spaces; false when malformed or above max. */
bool text_u64(const char *text, uint64_t max, uint64_t *out);
/* DNS label [a-z0-9]([-a-z0-9]*[a-z0-9])?, at most 63. */
bool text_is_label(const char *text);

enum text_unit { TEXT_OK, TEXT_MALFORMED, TEXT_NO_UNIT, TEXT_BAD_UNIT, TEXT_OVERFLOW };
/* "90s", "1h30m", "1h 30m"; units ms s m h d; at most INT64_MAX nanoseconds. */
enum text_unit text_duration_ms(const char *text, uint64_t *ms_out);
/* "256Mi": Ki Mi Gi Ti, at most INT64_MAX; TEXT_BAD_UNIT for K, M, G, MB ...; 0 is malformed. */
enum text_unit text_size_bytes(const char *text, uint64_t *bytes_out);
/* Shortest exact form: "1m30s", "256Mi", "1000" when no unit divides. */
void text_put_duration(uint64_t ms, char *out, size_t cap);
void text_put_size(uint64_t bytes, char *out, size_t cap);
/* For people: "3.1 MiB", "12d", "4m", "0.8s". */
void text_human_bytes(uint64_t bytes, char *out, size_t cap);
void text_human_duration(uint64_t ms, char *out, size_t cap);

/* Damerau-Levenshtein distance, and the nearest of a NULL-terminated list within 1/3 of the length
 * (at least 1 edit for words of 2..; NULL when none is near). */
size_t text_distance(const char *a, const char *b);
const char *text_nearest(const char *word, const char *const *words);

/* Hex (lower case) and base64 (RFC 4648, with padding). Encoders need the cap named and NUL-end;
 * decoders give the byte count or -1 (malformed, or does not fit). */
void text_hex(const void *data, size_t bytes, char *out, size_t cap); /* cap >= 2*bytes+1 */
long text_unhex(const char *text, size_t length, void *out, size_t cap);
size_t text_base64_size(size_t bytes); /* with NUL */
void text_base64(const void *data, size_t bytes, char *out, size_t cap);
long text_unbase64(const char *text, size_t length, void *out, size_t cap);

bool text_is_utf8(const char *text, size_t length);
/* UTF-8 of which text_printable() replaces nothing. */
bool text_is_printable(const char *text, size_t length);
/* Replaces control characters (and broken UTF-8) by \xNN so that a terminal is safe. */
void text_printable(const char *text, size_t length, char *out, size_t cap);

/* RFC 3339 in UTC from nanoseconds since 1970: seconds, milliseconds or nanoseconds shown. */
void text_time(int64_t wall_ns, int digits, char *out, size_t cap);
bool text_untime(const char *text, int64_t *wall_ns_out);

#endif
