/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Request targets, authorities, paths and queries: RFC 9112 3.2, RFC 3986. The policy for paths
 * stands in the header. No allocation, no name resolution, no international names: a host is ASCII
 * (browsers send punycode), everything else is refused.
 */

#include "wire/url.h"

#include <arpa/inet.h>
#include <string.h>

/* Bytes that may stand in a target as sent. Browsers leave { | } ^ and ` as they are in queries;
 * controls, space, DEL, non-ASCII, fragments and quotes never pass. */
static bool
target_char(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '#' && c != '<' && c != '>';
}

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool
is_unreserved(unsigned char c)
{
	return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at text[0..2] == "%XX", or -1. */
static int
percent(const char *text, size_t left)
{
	int high, low;

	if (left < 3)
		return -1;
	high = hex_digit(text[1]);
	low = hex_digit(text[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void
split_path(const char *text, size_t from, size_t length, struct url_target *out)
{
	const char *q = memchr(text + from, '?', length - from);
	size_t end = q ? (size_t)(q - text) : length;

	out->path = (struct http_span){(uint32_t)from, (uint32_t)(end - from)};
	if (q) {
		out->has_query = true;
		out->query = (struct http_span){(uint32_t)end + 1, (uint32_t)(length - end - 1)};
	}
}

static bool
parse_absolute(const char *text, size_t length, struct url_target *out)
{
	struct url_authority ignored;
	size_t from, end;

	if (length > 7 && header_equal(text, 7, "http://")) {
		from = 7;
	} else if (length > 8 && header_equal(text, 8, "https://")) {
		from = 8;
		out->https = true;
	} else {
		return false;
	}
	for (end = from; end < length && text[end] != '/' && text[end] != '?'; end++)
		;
	out->form = URL_ABSOLUTE;
	out->authority = (struct http_span){(uint32_t)from, (uint32_t)(end - from)};
	split_path(text, end, length, out);
	return url_authority_parse(text + from, end - from, &ignored);
}

bool
url_target_parse(const char *text, size_t length, enum http_method method, struct url_target *out)
{
	struct url_authority authority;

	memset(out, 0, sizeof(*out));
	if (length == 0 || length > UINT32_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!target_char((unsigned char)text[i]))
			return false;
	}
	if (method == HTTP_CONNECT) {
		out->form = URL_AUTHORITY;
		out->authority = (struct http_span){0, (uint32_t)length};
		return url_authority_parse(text, length, &authority) && authority.port != 0;
	}
	if (text[0] == '/') {
		out->form = URL_ORIGIN;
		split_path(text, 0, length, out);
		return true;
	}
	if (length == 1 && text[0] == '*') {
		out->form = URL_ASTERISK;
		return method == HTTP_OPTIONS;
	}
	return parse_absolute(text, length, out);
}

static bool
parse_port(const char *text, size_t length, uint16_t *out)
{
	uint32_t port = 0;

	if (length == 0 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (uint32_t)(text[i] - '0');
	}
	*out = (uint16_t)port;
	return port > 0 && port <= 65535;
}

static bool
parse_ipv6(const char *text, size_t length)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

bool
url_authority_parse(const char *text, size_t length, struct url_authority *out)
{
	size_t end;

	memset(out, 0, sizeof(*out));
	if (length > 0 && text[0] == '[') {
		const char *bracket = memchr(text, ']', length);

		if (!bracket || !parse_ipv6(text + 1, (size_t)(bracket - text) - 1))
			return false;
		out->ipv6 = true;
		out->host = text + 1;
		out->host_length = (size_t)(bracket - text) - 1;
		end = out->host_length + 2;
	} else {
		for (end = 0; end < length && text[end] != ':'; end++) {
			unsigned char c = (unsigned char)text[end];

			/* Underscores are not host names, but common in service names. */
			if (!is_alnum(c) && c != '-' && c != '.' && c != '_')
				return false;
		}
		out->host = text;
		out->host_length = end;
	}
	if (out->host_length == 0 || out->host_length > 254)
		return false;
	if (end == length)
		return true;
	return text[end] == ':' && parse_port(text + end + 1, length - end - 1, &out->port);
}

bool
url_host_fold(const char *host, size_t length, char *out, size_t cap)
{
	if (length > 1 && host[length - 1] == '.')
		length--;
	if (length >= cap)
		return false;
	for (size_t i = 0; i < length; i++)
		out[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] | 0x20 : host[i]);
	out[length] = '\0';
	return true;
}

/* One character of a path into out; gives how many input bytes it was, 0 when refused. */
static size_t
path_char(const char *in, size_t left, char *out, size_t *put)
{
	static const char digits[] = "0123456789ABCDEF";
	int byte;

	if (in[0] != '%') {
		if (!target_char((unsigned char)in[0]) || in[0] == '\\' || in[0] == '?')
			return 0;
		out[(*put)++] = in[0];
		return 1;
	}
	byte = percent(in, left);
	if (byte < 0x20 || byte == 0x7f || byte == '/' || byte == '\\')
		return 0;
	if (is_unreserved((unsigned char)byte)) {
		out[(*put)++] = (char)byte;
	} else {
		out[(*put)++] = '%';
		out[(*put)++] = digits[byte >> 4];
		out[(*put)++] = digits[byte & 15];
	}
	return 3;
}

/* A segment just ended at *put (before its slash, if any): removes "." and "..". `from` is where it
 * began, after its leading slash. False: above the root. */
static bool
remove_dots(const char *out, size_t from, size_t *put)
{
	size_t length = *put - from;

	if (length == 1 && out[from] == '.') {
		*put = from;
	} else if (length == 2 && out[from] == '.' && out[from + 1] == '.') {
		if (from == 1)
			return false;
		for (from--; out[from - 1] != '/'; from--)
			;
		*put = from;
	} else {
		return true;
	}
	return true;
}

static bool
path_is_plain(const char *path, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)path[i];

		if (c == '%' || c == '\\' || c == '?' || !target_char(c) ||
		    (c == '.' && i > 0 && path[i - 1] == '/'))
			return false;
	}
	return true;
}

enum url_path_result
url_path_normalise(const char *path, size_t length, char *out, size_t cap, size_t *length_out)
{
	size_t put = 0, segment = 1;

	if (length == 0 || path[0] != '/')
		return URL_PATH_BAD;
	if (length > cap)
		return URL_PATH_TOO_LONG;
	if (path_is_plain(path, length)) {
		memmove(out, path, length);
		*length_out = length;
		return URL_PATH_OK;
	}
	for (size_t i = 0; i < length;) {
		if (path[i] == '/' && i > 0) {
			size_t end = put;

			if (!remove_dots(out, segment, &put))
				return URL_PATH_BAD;
			i++;
			if (put == end)
				out[put++] = '/';
			segment = put;
			continue;
		}
		size_t used = path_char(path + i, length - i, out, &put);

		if (used == 0)
			return URL_PATH_BAD;
		i += used;
	}
	if (!remove_dots(out, segment, &put))
		return URL_PATH_BAD;
	*length_out = put;
	return URL_PATH_OK;
}

long
url_decode(const char *text, size_t length, bool plus_is_space, char *out, size_t cap)
{
	size_t put = 0;

	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)text[i];

		if (put + 1 >= cap)
			return -1;
		if (c == '%') {
			c = percent(text + i, length - i);
			if (c <= 0)
				return -1;
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == 0) {
			return -1;
		}
		out[put++] = (char)c;
	}
	if (cap == 0)
		return -1;
	out[put] = '\0';
	return (long)put;
}

long
url_encode(const char *text, size_t length, char *out, size_t cap)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t put = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (put + 4 > cap)
			return -1;
		if (is_unreserved(c)) {
			out[put++] = (char)c;
		} else {
			out[put++] = '%';
			out[put++] = digits[c >> 4];
			out[put++] = digits[c & 15];
		}
	}
	if (put >= cap)
		return -1;
	out[put] = '\0';
	return (long)put;
}

bool
url_query_next(const char *query, size_t length, size_t *at, struct url_pair *out)
{
	while (*at < length) {
		const char *from = query + *at;
		const char *end = memchr(from, '&', length - *at);
		const char *equals;
		size_t all = end ? (size_t)(end - from) : length - *at;

		*at += all + 1;
		if (all == 0)
			continue;
		equals = memchr(from, '=', all);
		out->name = from;
		out->name_length = equals ? (size_t)(equals - from) : all;
		out->value = equals ? equals + 1 : NULL;
		out->value_length = equals ? all - out->name_length - 1 : 0;
		return true;
	}
	return false;
}

long
url_query_get(const char *query, size_t length, const char *name, char *out, size_t cap)
{
	struct url_pair pair;
	size_t at = 0, name_length = strlen(name);

	while (url_query_next(query, length, &at, &pair)) {
		long put;

		if (pair.name_length != name_length || memcmp(pair.name, name, name_length) != 0)
			continue;
		put = url_decode(pair.value ? pair.value : "", pair.value_length, true, out, cap);
		return put < 0 ? -2 : put;
	}
	return -1;
}
