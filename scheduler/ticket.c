/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets as one word. The check sum is there for people: a word that was copied with an end
 * missing is called that, not "refused". */

#include "scheduler/ticket.h"

#include <assert.h>
#include <openssl/sha.h>
#include <string.h>
#include "base/buf.h"
#include "base/text.h"

static const char prefix[] = "zl1-";

enum {
	PREFIX = sizeof(prefix) - 1,
	SUM = 4,
	RAW_MAX = TICKET_CLUSTER + 8 + TICKET_SECRET + 1 + TICKET_ADDRESSES_MAX * 19 + SUM,
	V4_AT = 12, /* of a v4-mapped address */
};

/* ---- writing ---- */

void
ticket_write(const struct ticket *t, char out[TICKET_TEXT_BYTES])
{
	uint8_t raw[RAW_MAX];
	uint8_t sum[SHA256_DIGEST_LENGTH];
	size_t n = 0;

	assert(t->addresses_count > 0 && t->addresses_count <= TICKET_ADDRESSES_MAX);
	memcpy(raw, t->cluster, TICKET_CLUSTER);
	n += TICKET_CLUSTER;
	for (unsigned i = 0; i < 8; i++)
		raw[n++] = (uint8_t)(t->id >> (8 * i));
	memcpy(raw + n, t->secret, TICKET_SECRET);
	n += TICKET_SECRET;
	raw[n++] = (uint8_t)t->addresses_count;
	for (size_t i = 0; i < t->addresses_count; i++) {
		const struct addr *a = &t->addresses[i];
		size_t bytes = addr_is_v4(a) ? 4 : 16;

		raw[n++] = (uint8_t)(bytes == 4 ? 4 : 6);
		memcpy(raw + n, bytes == 4 ? a->ip + V4_AT : a->ip, bytes);
		n += bytes;
		raw[n++] = (uint8_t)a->port;
		raw[n++] = (uint8_t)(a->port >> 8);
	}
	SHA256(raw, n, sum);
	memcpy(raw + n, sum, SUM);
	n += SUM;
	memcpy(out, prefix, PREFIX);
	text_base64(raw, n, out + PREFIX, TICKET_TEXT_BYTES - PREFIX);
	for (char *c = out + PREFIX; *c; c++) {
		if (*c == '+')
			*c = '-';
		else if (*c == '/')
			*c = '_';
		else if (*c == '=')
			*c = '\0';
	}
}

/* ---- reading ---- */

static int
invalid(struct err *err, const char *why)
{
	err_set(err, ERR_INVALID, "this is not a ticket");
	err_why(err, "%s", why);
	return err_fix(err, "copy the whole word that the invitation printed");
}

/* Bytes of the word, or -1. Base64's own alphabet is no part of it. */
static long
decode(const char *text, size_t length, uint8_t raw[RAW_MAX])
{
	char copy[TICKET_TEXT_BYTES + 4];

	if (length > TICKET_TEXT_BYTES || length % 4 == 1)
		return -1;
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '+' || text[i] == '/' || text[i] == '=')
			return -1;
		copy[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	}
	while (length % 4 != 0)
		copy[length++] = '=';
	return text_unbase64(copy, length, raw, RAW_MAX);
}

static bool
take_address(struct cursor *c, struct addr *out)
{
	uint8_t family = cursor_u8(c);
	size_t bytes = family == 4 ? 4 : 16;
	const void *ip = family == 4 || family == 6 ? cursor_take(c, bytes) : NULL;

	if (!ip)
		return false;
	memset(out, 0, sizeof(*out));
	if (bytes == 4)
		memset(out->ip + V4_AT - 2, 0xff, 2);
	memcpy(bytes == 4 ? out->ip + V4_AT : out->ip, ip, bytes);
	out->port = cursor_u16(c);
	/* A v4 address has one form only. */
	return out->port != 0 && (bytes == 4) == addr_is_v4(out) && !addr_is_zero(out);
}

static bool
take(struct cursor *c, struct ticket *out)
{
	const void *cluster = cursor_take(c, TICKET_CLUSTER);
	uint64_t id = cursor_u64(c);
	const void *secret = cursor_take(c, TICKET_SECRET);
	uint8_t count = cursor_u8(c);

	if (!cluster || !secret || count == 0 || count > TICKET_ADDRESSES_MAX)
		return false;
	memcpy(out->cluster, cluster, TICKET_CLUSTER);
	memcpy(out->secret, secret, TICKET_SECRET);
	out->id = id;
	for (uint8_t i = 0; i < count; i++)
		if (!take_address(c, &out->addresses[i]))
			return false;
	out->addresses_count = count;
	return cursor_done(c);
}

int
ticket_read(const char *text, struct ticket *out, struct err *err)
{
	static const char space[] = " \t\r\n";
	uint8_t raw[RAW_MAX];
	uint8_t sum[SHA256_DIGEST_LENGTH];
	struct cursor c;

	memset(out, 0, sizeof(*out));
	text += strspn(text, space);
	size_t length = strcspn(text, space);
	if (text[length + strspn(text + length, space)] != '\0')
		return invalid(err, "it is more than one word");
	if (length < PREFIX || strncmp(text, "zl", 2) != 0)
		return invalid(err, "a ticket begins with \"zl1-\"");
	if (strncmp(text, prefix, PREFIX) != 0)
		return invalid(err, "it is of another version of zlayer");
	long n = decode(text + PREFIX, length - PREFIX, raw);
	if (n < SUM)
		return invalid(err, "a character is wrong, or a part is missing");
	size_t bytes = (size_t)n - SUM;
	SHA256(raw, bytes, sum);
	if (memcmp(raw + bytes, sum, SUM) != 0)
		return invalid(err, "a character is wrong, or a part is missing");
	cursor_init(&c, raw, bytes);
	if (!take(&c, out))
		return invalid(err, "what it says cannot be");
	return 0;
}
