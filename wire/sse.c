/* SPDX-License-Identifier: Apache-2.0 */

/* Event streams as browsers read them: lines end with CR LF, LF or CR, an empty line dispatches, a
 * field without a colon is a name with an empty value, one space after the colon is dropped. An
 * event without data is not dispatched, but its id counts. */

#include "wire/sse.h"

#include <string.h>
#include "base/text.h"

static bool
one_line(const char *text)
{
	return text && strpbrk(text, "\r\n") == NULL;
}

void
sse_put(struct buf *out, const char *id, const char *event, const char *data, size_t length)
{
	size_t at = 0;

	if (one_line(id))
		buf_printf(out, "id: %s\n", id);
	if (one_line(event))
		buf_printf(out, "event: %s\n", event);
	do {
		size_t end = at;

		while (end < length && data[end] != '\n' && data[end] != '\r')
			end++;
		buf_puts(out, "data: ");
		buf_put(out, data + at, end - at);
		buf_putc(out, '\n');
		if (end + 1 < length && data[end] == '\r' && data[end + 1] == '\n')
			end++;
		at = end + 1;
	} while (at < length);
	buf_putc(out, '\n');
}

void
sse_put_retry(struct buf *out, uint64_t ms)
{
	buf_printf(out, "retry: %llu\n\n", (unsigned long long)ms);
}

void
sse_put_comment(struct buf *out, const char *text)
{
	buf_printf(out, ": %s\n\n", one_line(text) ? text : "");
}

void
sse_init(struct sse *sse, enum mem_tag tag, size_t bytes_max)
{
	memset(sse, 0, sizeof(*sse));
	buf_init(&sse->data, tag, bytes_max);
	buf_init(&sse->line, tag, bytes_max);
	sse->fresh = true;
}

void
sse_fini(struct sse *sse)
{
	buf_fini(&sse->data);
	buf_fini(&sse->line);
}

static bool
is_name(const char *name, size_t length, const char *want)
{
	return length == strlen(want) && memcmp(name, want, length) == 0;
}

static void
take_retry(struct sse *sse, const char *value, size_t length)
{
	uint64_t ms = 0;

	if (length == 0 || length > 9)
		return;
	for (size_t i = 0; i < length; i++) {
		if (value[i] < '0' || value[i] > '9')
			return;
		ms = ms * 10 + (uint64_t)(value[i] - '0');
	}
	sse->retry_ms = ms;
}

static void
take_field(struct sse *sse, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length);
	size_t name_length = colon ? (size_t)(colon - line) : length;
	const char *value = colon ? colon + 1 : line + length;
	size_t value_length = length - (size_t)(value - line);

	if (value_length > 0 && value[0] == ' ') {
		value++;
		value_length--;
	}
	if (is_name(line, name_length, "data")) {
		if (sse->has_data)
			buf_putc(&sse->data, '\n');
		buf_put(&sse->data, value, value_length);
		sse->has_data = true;
	} else if (is_name(line, name_length, "event")) {
		text_ncopy(sse->event, sizeof(sse->event), value, value_length);
	} else if (is_name(line, name_length, "id") && !memchr(value, 0, value_length)) {
		text_ncopy(sse->id, sizeof(sse->id), value, value_length);
	} else if (is_name(line, name_length, "retry")) {
		take_retry(sse, value, value_length);
	}
}

/* The event that was given last time is over. */
static void
forget(struct sse *sse)
{
	buf_reset(&sse->data);
	sse->event[0] = '\0';
	sse->has_data = sse->given = false;
}

/* True when the line completes an event. */
static bool
end_line(struct sse *sse)
{
	const char *line = (const char *)sse->line.data;
	size_t length = sse->line.length;

	if (sse->fresh && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
		line += 3;
		length -= 3;
	}
	sse->fresh = false;
	if (length > 0) {
		if (line[0] != ':')
			take_field(sse, line, length);
		buf_reset(&sse->line);
		return false;
	}
	buf_reset(&sse->line);
	if (!sse->has_data) {
		sse->event[0] = '\0';
		return false;
	}
	if (sse->event[0] == '\0')
		text_copy(sse->event, sizeof(sse->event), "message");
	sse->given = true;
	return true;
}

enum sse_result
sse_feed(struct sse *sse, const char *data, size_t length, size_t *used_out)
{
	size_t at = 0;

	*used_out = 0;
	if (sse->given)
		forget(sse);
	while (at < length) {
		char c = data[at++];
		bool skip = c == '\n' && sse->after_cr;

		sse->after_cr = c == '\r';
		if (skip)
			continue;
		if (c != '\r' && c != '\n')
			buf_putc(&sse->line, c);
		else if (end_line(sse)) {
			*used_out = at;
			return buf_ok(&sse->data) ? SSE_EVENT : SSE_TOO_LONG;
		}
		if (!buf_ok(&sse->line) || !buf_ok(&sse->data))
			return SSE_TOO_LONG;
	}
	*used_out = at;
	return SSE_MORE;
}
