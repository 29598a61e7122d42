/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Field names as integers, and the small grammar of field values (RFC 9110 5).
 *
 * The look-up is a hash of length and three characters into a table without collisions (found by
 * search over the names of header.h; a unit test fails when a new name collides), then one
 * comparison that folds case. A name that is not in the table is HEADER_OTHER: no allocation, no
 * growth, whatever a peer sends.
 */

#include "wire/header.h"

#include <string.h>

static const char *const names[HEADER_IDS_] = {"",
#define NAME_(identifier, name, hop) name,
					       HEADER_NAMES(NAME_)
#undef NAME_
};

static const uint8_t lengths[HEADER_IDS_] = {0,
#define LENGTH_(identifier, name, hop) sizeof(name) - 1,
					     HEADER_NAMES(LENGTH_)
#undef LENGTH_
};

static const uint8_t hops[HEADER_IDS_] = {0,
#define HOP_(identifier, name, hop) hop,
					  HEADER_NAMES(HOP_)
#undef HOP_
};

enum {
	HASH_SLOTS = 256,
	HASH_LENGTH = 176,
	HASH_FIRST = 45,
	HASH_LAST_BUT_ONE = 222,
	HASH_MIDDLE = 167
};

static const uint8_t slots[HASH_SLOTS] = {
	[0] = HEADER_AUTHORIZATION,
	[4] = HEADER_HOST,
	[8] = HEADER_SEC_WEBSOCKET_EXTENSIONS,
	[15] = HEADER_AGE,
	[19] = HEADER_CONTENT_ENCODING,
	[20] = HEADER_EXPIRES,
	[21] = HEADER_ALT_SVC,
	[24] = HEADER_ACCEPT_ENCODING,
	[27] = HEADER_RETRY_AFTER,
	[30] = HEADER_PROXY_AUTHORIZATION,
	[33] = HEADER_WARNING,
	[40] = HEADER_X_REAL_IP,
	[43] = HEADER_TRACESTATE,
	[44] = HEADER_SEC_WEBSOCKET_ACCEPT,
	[48] = HEADER_SET_COOKIE,
	[51] = HEADER_EXPECT,
	[54] = HEADER_RANGE,
	[55] = HEADER_LAST_EVENT_ID,
	[62] = HEADER_IF_RANGE,
	[65] = HEADER_ETAG,
	[72] = HEADER_PROXY_AUTHENTICATE,
	[79] = HEADER_TRANSFER_ENCODING,
	[80] = HEADER_LAST_MODIFIED,
	[85] = HEADER_FORWARDED,
	[87] = HEADER_ORIGIN,
	[89] = HEADER_SEC_WEBSOCKET_KEY,
	[90] = HEADER_X_FORWARDED_PROTO,
	[91] = HEADER_SERVER,
	[92] = HEADER_DATE,
	[94] = HEADER_IF_UNMODIFIED_SINCE,
	[96] = HEADER_ACCEPT_RANGES,
	[102] = HEADER_CONTENT_LENGTH,
	[114] = HEADER_PROXY_CONNECTION,
	[124] = HEADER_VARY,
	[126] = HEADER_SEC_WEBSOCKET_VERSION,
	[131] = HEADER_TE,
	[136] = HEADER_ACCEPT,
	[145] = HEADER_IF_NONE_MATCH,
	[149] = HEADER_CACHE_CONTROL,
	[152] = HEADER_ACCEPT_LANGUAGE,
	[160] = HEADER_WWW_AUTHENTICATE,
	[166] = HEADER_USER_AGENT,
	[167] = HEADER_CONNECTION,
	[170] = HEADER_HTTP2_SETTINGS,
	[172] = HEADER_TRACEPARENT,
	[174] = HEADER_LOCATION,
	[181] = HEADER_CONTENT_TYPE,
	[183] = HEADER_ZLAYER_EXIT_CODE,
	[185] = HEADER_SEC_WEBSOCKET_PROTOCOL,
	[187] = HEADER_IF_MATCH,
	[194] = HEADER_X_FORWARDED_FOR,
	[195] = HEADER_MAX_FORWARDS,
	[198] = HEADER_IF_MODIFIED_SINCE,
	[203] = HEADER_X_FORWARDED_HOST,
	[205] = HEADER_UPGRADE,
	[212] = HEADER_COOKIE,
	[220] = HEADER_STRICT_TRANSPORT_SECURITY,
	[225] = HEADER_REFERER,
	[234] = HEADER_CONTENT_RANGE,
	[236] = HEADER_GRPC_STATUS,
	[237] = HEADER_VIA,
	[238] = HEADER_PRIORITY,
	[243] = HEADER_X_REQUEST_ID,
	[244] = HEADER_X_FORWARDED_PORT,
	[245] = HEADER_KEEP_ALIVE,
	[252] = HEADER_TRAILER,
};

/* RFC 9110 5.6.2: tchar. */
static const uint8_t token_chars[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static unsigned char
fold(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool
header_equal(const char *text, size_t length, const char *lower)
{
	for (size_t i = 0; i < length; i++) {
		if (fold(text[i]) != (unsigned char)lower[i] || lower[i] == '\0')
			return false;
	}
	return lower[length] == '\0';
}

enum header_id
header_lookup(const char *name, size_t length)
{
	unsigned h, id;

	if (length < 2 || length > 64)
		return HEADER_OTHER;
	h = (unsigned)length * HASH_LENGTH + fold(name[0]) * (unsigned)HASH_FIRST +
	    fold(name[length - 2]) * (unsigned)HASH_LAST_BUT_ONE +
	    fold(name[length / 2]) * (unsigned)HASH_MIDDLE;
	id = slots[(h ^ (h >> 8)) % HASH_SLOTS];
	if (id == 0 || lengths[id] != length || !header_equal(name, length, names[id]))
		return HEADER_OTHER;
	return (enum header_id)id;
}

const char *
header_name(enum header_id id)
{
	return names[id];
}

size_t
header_name_length(enum header_id id)
{
	return lengths[id];
}

bool
header_is_hop(enum header_id id)
{
	return hops[id] != 0;
}

bool
header_is_token_char(unsigned char c)
{
	return token_chars[c] != 0;
}

bool
header_is_token(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!token_chars[(unsigned char)text[i]])
			return false;
	}
	return length > 0;
}

/* Eight bytes at a time: any byte below 0x20, or 0x7f? (Exact as a yes or no.) */
static bool
word_has_control(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
	uint64_t low = (w - ones * 0x20) & ~w & high;
	uint64_t del = w ^ (ones * 0x7f);

	return (low | ((del - ones) & ~del & high)) != 0;
}

bool
header_is_value(const char *text, size_t length)
{
	size_t i = 0;

	if (length == 0)
		return true;
	if (text[0] == ' ' || text[0] == '\t' || text[length - 1] == ' ' ||
	    text[length - 1] == '\t')
		return false;
	for (; i + 8 <= length; i += 8) {
		uint64_t w;

		memcpy(&w, text + i, 8);
		if (word_has_control(w))
			break; /* perhaps a tab: the loop below decides */
	}
	for (; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

bool
header_list_next(const char *list, size_t length, size_t *at, const char **item_out,
		 size_t *item_length_out)
{
	while (*at < length) {
		size_t from = *at, to;
		const char *comma = memchr(list + from, ',', length - from);

		to = comma ? (size_t)(comma - list) : length;
		*at = comma ? to + 1 : length;
		while (from < to && (list[from] == ' ' || list[from] == '\t'))
			from++;
		while (to > from && (list[to - 1] == ' ' || list[to - 1] == '\t'))
			to--;
		if (to > from) {
			*item_out = list + from;
			*item_length_out = to - from;
			return true;
		}
	}
	return false;
}

bool
header_list_has(const char *list, size_t length, const char *lower)
{
	size_t at = 0, item_length;
	const char *item;

	while (header_list_next(list, length, &at, &item, &item_length)) {
		if (header_equal(item, item_length, lower))
			return true;
	}
	return false;
}
