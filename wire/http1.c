/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Heads of HTTP/1.1 messages, RFC 9112 2 to 6, strictly.
 *
 * The parser works on whole lines: it looks for the line feed (memchr), and only then at the line.
 * So feeding a byte at a time gives exactly what feeding all at once gives, and a resumed call
 * costs only the new bytes. What could be read in two ways is an error: bare CR or LF, folded
 * fields, space before a colon, two lengths, a length beside a coding, any coding but "chunked",
 * two hosts. One empty line before a request is skipped (RFC 9112 2.2), no more.
 *
 * It does not normalise the path (url.h), route, or decode bodies (http1_body.h).
 */

#include "wire/http1.h"

#include <assert.h>
#include <string.h>
#include "wire/http1_body.h"

const struct http1_limits http1_limits_default = {
	.line_bytes = 8192,
	.block_bytes = 32768,
	.fields = HTTP1_FIELDS_MAX,
};

enum state { STATE_FIRST, STATE_FIRST_AFTER_EMPTY, STATE_FIELDS, STATE_DONE, STATE_BAD };

static const struct {
	uint16_t status;
	const char *text;
} errors[HTTP1_ERRORS_] = {
	[HTTP1_OK] = {200, "ok"},
	[HTTP1_LINE_TOO_LONG] = {414, "request line too long"},
	[HTTP1_BLOCK_TOO_LONG] = {431, "header block too long"},
	[HTTP1_TOO_MANY_FIELDS] = {431, "too many header fields"},
	[HTTP1_BAD_LINE_END] = {400, "bare carriage return or line feed"},
	[HTTP1_BAD_REQUEST_LINE] = {400, "malformed request line"},
	[HTTP1_BAD_METHOD] = {400, "malformed method"},
	[HTTP1_BAD_TARGET] = {400, "malformed request target"},
	[HTTP1_BAD_VERSION] = {505, "not HTTP/1.0 or HTTP/1.1"},
	[HTTP1_BAD_STATUS_LINE] = {400, "malformed status line"},
	[HTTP1_BAD_FIELD_NAME] = {400, "malformed field name"},
	[HTTP1_BAD_FIELD_VALUE] = {400, "forbidden character in a field value"},
	[HTTP1_OBS_FOLD] = {400, "folded header field"},
	[HTTP1_BAD_HOST] = {400, "missing, repeated or malformed Host"},
	[HTTP1_BAD_CONTENT_LENGTH] = {400, "repeated or malformed Content-Length"},
	[HTTP1_LENGTH_AND_CODING] = {400, "Content-Length with Transfer-Encoding"},
	[HTTP1_BAD_CODING] = {400, "Transfer-Encoding is not exactly chunked"},
	[HTTP1_BAD_EXPECT] = {417, "unknown expectation"},
	[HTTP1_BAD_CHUNK] = {400, "malformed chunk"},
	[HTTP1_BAD_TRAILER] = {400, "malformed or forbidden trailer"},
};

unsigned
http1_error_status(enum http1_error error)
{
	return errors[error].status;
}

const char *
http1_error_text(enum http1_error error)
{
	return errors[error].text;
}

void
http1_head_init(struct http1_head *head, enum http1_role role, const struct http1_limits *limits)
{
	memset(head, 0, offsetof(struct http1_head, fields));
	head->role = role;
	head->limits = limits ? *limits : http1_limits_default;
	head->line_ = 0;
	head->scan_ = 0;
	head->state_ = STATE_FIRST;
	head->coding_ = head->host_seen_ = false;
	head->connection_close_ = head->connection_keep_ = head->connection_upgrade_ = false;
	assert(head->limits.fields <= HTTP1_FIELDS_MAX);
}

static struct http_span
span_of(const char *data, const char *from, const char *to)
{
	return (struct http_span){(uint32_t)(from - data), (uint32_t)(to - from)};
}

static void
shift_span(struct http_span *s, uint32_t by)
{
	s->at += by;
}

static enum http1_error
parse_version(struct http1_head *head, const char *text, size_t length)
{
	if (length != 8 || memcmp(text, "HTTP/", 5) != 0 || text[6] != '.' || text[5] < '0' ||
	    text[5] > '9' || text[7] < '0' || text[7] > '9')
		return HTTP1_BAD_REQUEST_LINE;
	if (text[5] != '1' || text[7] > '1')
		return HTTP1_BAD_VERSION;
	head->minor = (uint8_t)(text[7] - '0');
	return HTTP1_OK;
}

static enum http1_error
parse_request_line(struct http1_head *head, const char *data, const char *line, const char *end)
{
	const char *sp = memchr(line, ' ', (size_t)(end - line));
	const char *target, *sp2;
	enum http1_error error;

	if (!sp)
		return HTTP1_BAD_REQUEST_LINE;
	if (sp - line > 32 || !header_is_token(line, (size_t)(sp - line)))
		return HTTP1_BAD_METHOD;
	target = sp + 1;
	sp2 = memchr(target, ' ', (size_t)(end - target));
	if (!sp2)
		return HTTP1_BAD_REQUEST_LINE;
	error = parse_version(head, sp2 + 1, (size_t)(end - sp2 - 1));
	if (error != HTTP1_OK)
		return error;
	head->method = http_method_of(line, (size_t)(sp - line));
	head->method_name = span_of(data, line, sp);
	head->target = span_of(data, target, sp2);
	if (!url_target_parse(target, (size_t)(sp2 - target), head->method, &head->url))
		return HTTP1_BAD_TARGET;
	shift_span(&head->url.authority, head->target.at);
	shift_span(&head->url.path, head->target.at);
	shift_span(&head->url.query, head->target.at);
	return HTTP1_OK;
}

static enum http1_error
parse_status_line(struct http1_head *head, const char *data, const char *line, const char *end)
{
	enum http1_error error;

	if (end - line < 12 || line[8] != ' ')
		return HTTP1_BAD_STATUS_LINE;
	error = parse_version(head, line, 8);
	if (error != HTTP1_OK)
		return error == HTTP1_BAD_VERSION ? error : HTTP1_BAD_STATUS_LINE;
	for (int i = 9; i < 12; i++) {
		if (line[i] < '0' || line[i] > '9')
			return HTTP1_BAD_STATUS_LINE;
		head->status = (uint16_t)(head->status * 10 + (line[i] - '0'));
	}
	if (head->status < 100 || head->status > 599)
		return HTTP1_BAD_STATUS_LINE;
	if (end - line == 12) {
		head->reason = span_of(data, end, end);
		return HTTP1_OK;
	}
	if (line[12] != ' ')
		return HTTP1_BAD_STATUS_LINE;
	head->reason = span_of(data, line + 13, end);
	for (const char *p = line + 13; p < end; p++) {
		if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
			return HTTP1_BAD_STATUS_LINE;
	}
	return HTTP1_OK;
}

static enum http1_error
parse_field(const char *data, const char *line, const char *end, struct http_field *out)
{
	const char *p = line, *value;

	if (*line == ' ' || *line == '\t')
		return HTTP1_OBS_FOLD;
	while (p < end && header_is_token_char((unsigned char)*p))
		p++;
	if (p == line || p == end || *p != ':' || p - line > UINT16_MAX)
		return HTTP1_BAD_FIELD_NAME;
	value = p + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (!header_is_value(value, (size_t)(end - value)))
		return HTTP1_BAD_FIELD_VALUE;
	out->name = (uint32_t)(line - data);
	out->name_length = (uint16_t)(p - line);
	out->value = (uint32_t)(value - data);
	out->value_length = (uint32_t)(end - value);
	out->id = (uint16_t)header_lookup(line, out->name_length);
	return HTTP1_OK;
}

static enum http1_error
note_length(struct http1_head *head, const char *value, size_t length)
{
	if (head->has_length || length == 0 || length > 18)
		return HTTP1_BAD_CONTENT_LENGTH;
	for (size_t i = 0; i < length; i++) {
		if (value[i] < '0' || value[i] > '9')
			return HTTP1_BAD_CONTENT_LENGTH;
		head->content_length = head->content_length * 10 + (uint64_t)(value[i] - '0');
	}
	head->has_length = true;
	return HTTP1_OK;
}

static void
note_connection(struct http1_head *head, const char *value, size_t length)
{
	const char *item;
	size_t at = 0, n;

	while (header_list_next(value, length, &at, &item, &n)) {
		if (header_equal(item, n, "close"))
			head->connection_close_ = true;
		else if (header_equal(item, n, "keep-alive"))
			head->connection_keep_ = true;
		else if (header_equal(item, n, "upgrade"))
			head->connection_upgrade_ = true;
		else
			head->connection_names = true;
	}
}

static enum http1_error
note_host(struct http1_head *head, const struct http_field *f, const char *value)
{
	struct url_authority ignored;

	if (head->role != HTTP1_REQUEST)
		return HTTP1_OK;
	if (head->host_seen_ || !url_authority_parse(value, f->value_length, &ignored))
		return HTTP1_BAD_HOST;
	head->host_seen_ = true;
	head->authority = (struct http_span){f->value, f->value_length};
	return HTTP1_OK;
}

/* What one field says about the message as a whole. */
static enum http1_error
note_field(struct http1_head *head, const struct http_field *f, const char *data)
{
	const char *value = data + f->value;
	size_t length = f->value_length;

	switch (f->id) {
	case HEADER_CONTENT_LENGTH:
		return note_length(head, value, length);
	case HEADER_TRANSFER_ENCODING:
		if (head->coding_ || !header_equal(value, length, "chunked"))
			return HTTP1_BAD_CODING;
		head->coding_ = true;
		return HTTP1_OK;
	case HEADER_HOST:
		return note_host(head, f, value);
	case HEADER_CONNECTION:
		note_connection(head, value, length);
		return HTTP1_OK;
	case HEADER_UPGRADE:
		head->upgrade = true;
		if (header_list_has(value, length, "websocket"))
			head->upgrade_websocket = true;
		return HTTP1_OK;
	case HEADER_EXPECT:
		if (head->role == HTTP1_REQUEST && !header_equal(value, length, "100-continue"))
			return HTTP1_BAD_EXPECT;
		head->expect_continue = true;
		return HTTP1_OK;
	default:
		return HTTP1_OK;
	}
}

static enum http1_error
add_field(struct http1_head *head, const char *data, const char *line, const char *end)
{
	struct http_field *f;
	enum http1_error error;

	if (head->count == head->limits.fields)
		return HTTP1_TOO_MANY_FIELDS;
	f = &head->fields[head->count];
	error = parse_field(data, line, end, f);
	if (error != HTTP1_OK)
		return error;
	head->count++;
	return note_field(head, f, data);
}

/* All fields are known: what they mean together (RFC 9112 3.2, 6.1, 6.3, 9.3). */
static enum http1_error
conclude(struct http1_head *head)
{
	if (head->coding_ && head->has_length)
		return HTTP1_LENGTH_AND_CODING;
	if (head->coding_ && head->minor == 0)
		return HTTP1_BAD_CODING;
	head->keep_alive = head->minor == 1 ? !head->connection_close_
					    : head->connection_keep_ && !head->connection_close_;
	head->upgrade = head->upgrade && head->connection_upgrade_ && head->minor == 1;
	head->upgrade_websocket = head->upgrade_websocket && head->upgrade;
	if (head->minor == 0)
		head->expect_continue = false;
	head->framing = head->coding_                                  ? HTTP1_CHUNKED
			: head->has_length && head->content_length > 0 ? HTTP1_LENGTH
								       : HTTP1_NO_BODY;
	if (head->role == HTTP1_RESPONSE)
		return HTTP1_OK;
	if (!head->host_seen_ && head->minor == 1)
		return HTTP1_BAD_HOST;
	if (head->url.authority.length > 0)
		head->authority = head->url.authority;
	return HTTP1_OK;
}

static enum http1_result
bad(struct http1_head *head, enum http1_error error)
{
	head->error = error;
	head->state_ = STATE_BAD;
	return HTTP1_BAD;
}

static enum http1_error
first_line(struct http1_head *head, const char *data, const char *line, const char *end)
{
	if (line == end) {
		if (head->role != HTTP1_REQUEST || head->state_ != STATE_FIRST)
			return HTTP1_BAD_REQUEST_LINE;
		head->state_ = STATE_FIRST_AFTER_EMPTY;
		return HTTP1_OK;
	}
	head->state_ = STATE_FIELDS;
	return head->role == HTTP1_REQUEST ? parse_request_line(head, data, line, end)
					   : parse_status_line(head, data, line, end);
}

/* A whole line [line, lf): its CR checked, given to the state. */
static enum http1_error
take_line(struct http1_head *head, const char *data, const char *line, const char *lf)
{
	const char *end = lf - 1;

	if (lf == line || *end != '\r' || memchr(line, '\r', (size_t)(end - line)))
		return HTTP1_BAD_LINE_END;
	if (head->state_ != STATE_FIELDS)
		return first_line(head, data, line, end);
	if (line != end)
		return add_field(head, data, line, end);
	head->state_ = STATE_DONE;
	head->head_bytes = (uint32_t)(lf + 1 - data);
	return conclude(head);
}

/* The first line, up to but without its line feed, has a limit of its own. */
static bool
line_too_long(const struct http1_head *head, size_t end)
{
	return head->state_ != STATE_FIELDS && end - head->line_ > head->limits.line_bytes + 1;
}

/* No line feed yet: may the line still become a good one? */
static enum http1_result
wait_for_more(struct http1_head *head, size_t length)
{
	head->scan_ = (uint32_t)length;
	if (line_too_long(head, length))
		return bad(head, HTTP1_LINE_TOO_LONG);
	if (length >= head->limits.block_bytes)
		return bad(head, HTTP1_BLOCK_TOO_LONG);
	return HTTP1_MORE;
}

enum http1_result
http1_head_parse(struct http1_head *head, const char *data, size_t length)
{
	if (head->state_ >= STATE_DONE)
		return head->state_ == STATE_DONE ? HTTP1_DONE : HTTP1_BAD;
	while (head->scan_ < length) {
		const char *lf = memchr(data + head->scan_, '\n', length - head->scan_);
		enum http1_error error;

		if (!lf)
			return wait_for_more(head, length);
		if (line_too_long(head, (size_t)(lf - data)))
			return bad(head, HTTP1_LINE_TOO_LONG);
		if ((size_t)(lf - data) >= head->limits.block_bytes)
			return bad(head, HTTP1_BLOCK_TOO_LONG);
		error = take_line(head, data, data + head->line_, lf);
		if (error != HTTP1_OK)
			return bad(head, error);
		head->line_ = head->scan_ = (uint32_t)(lf + 1 - data);
		if (head->state_ == STATE_DONE)
			return HTTP1_DONE;
	}
	return HTTP1_MORE;
}

enum http1_framing
http1_head_framing(struct http1_head *head, enum http_method request_method)
{
	unsigned status = head->status;

	if (status == 101 || (request_method == HTTP_CONNECT && status >= 200 && status < 300)) {
		head->keep_alive = false;
		return HTTP1_TUNNEL;
	}
	if (status < 200 || status == 204 || status == 304 || request_method == HTTP_HEAD) {
		/* A body announced where none may be: the next bytes could be one all the same. */
		if ((status < 200 || status == 204) && head->framing != HTTP1_NO_BODY)
			head->keep_alive = false;
		return HTTP1_NO_BODY;
	}
	if (head->coding_ || head->has_length)
		return head->framing;
	head->keep_alive = false;
	return HTTP1_UNTIL_CLOSE;
}

int
http1_head_trailers(const char *data, size_t length, struct http_field *out, size_t max)
{
	size_t count = 0;

	for (size_t at = 0; at < length;) {
		const char *line = data + at;
		const char *lf = memchr(line, '\n', length - at);

		if (!lf || lf == line || lf[-1] != '\r' || count == max ||
		    parse_field(data, line, lf - 1, &out[count]) != HTTP1_OK ||
		    http1_body_trailer_forbidden((enum header_id)out[count].id))
			return -1;
		count++;
		at = (size_t)(lf + 1 - data);
	}
	return (int)count;
}

const struct http_field *
http1_head_find(const struct http1_head *head, enum header_id id)
{
	return http_field_find(head->fields, head->count, id);
}

const char *
http1_head_value(const struct http1_head *head, const char *data, enum header_id id,
		 size_t *length_out)
{
	const struct http_field *f = http1_head_find(head, id);

	if (!f)
		return NULL;
	*length_out = f->value_length;
	return data + f->value;
}
