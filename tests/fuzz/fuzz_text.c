/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every text parser of base/ is given the same input. None may crash; what one accepts must be
 * written and read back as the same value; what is made printable must be so.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 4096 };

static void
check_units(const char *text)
{
	char out[96];
	uint64_t v;
	uint64_t again;

	if (text_duration_ms(text, &v) == TEXT_OK) {
		text_put_duration(v, out, sizeof(out));
		assert(text_duration_ms(out, &again) == TEXT_OK && again == v);
		text_human_duration(v, out, sizeof(out));
	}
	if (text_size_bytes(text, &v) == TEXT_OK) {
		text_put_size(v, out, sizeof(out));
		assert(text_size_bytes(out, &again) == TEXT_OK && again == v);
		text_human_bytes(v, out, sizeof(out));
	}
	if (text_u64(text, UINT64_MAX, &v))
		assert(text_u64(text, v, &again) && (v == 0 || !text_u64(text, v - 1, &again)));
	if (text_is_label(text))
		assert(strlen(text) <= 63 && text[0] != '-');
}

static void
check_time(const char *text)
{
	char out[64];
	int64_t ns;
	int64_t again;

	if (!text_untime(text, &ns))
		return;
	text_time(ns, 9, out, sizeof(out));
	assert(text_untime(out, &again) && again == ns);
}

static void
check_addr(const char *text)
{
	char out[ADDR_TEXT_BYTES];
	struct addr a;
	struct addr b;
	struct addr_prefix p;
	struct addr_prefix q;

	if (addr_parse_ip(text, &a)) {
		addr_put_ip(&a, out, sizeof(out));
		assert(addr_parse_ip(out, &b) && addr_equal(&a, &b));
	}
	if (addr_parse(text, &a)) {
		addr_put(&a, out, sizeof(out));
		assert(addr_parse(out, &b) && addr_equal(&a, &b));
	}
	if (addr_parse_prefix(text, &p)) {
		addr_put_prefix(&p, out, sizeof(out));
		assert(addr_parse_prefix(out, &q) && q.bits == p.bits);
		assert(addr_equal_ip(&p.base, &q.base) && addr_in_prefix(&p.base, &p));
		assert(addr_prefix_overlap(&p, &q));
	}
}

static void
check_codes(const char *text, size_t length)
{
	char out[2 * TEXT_MAX + 1];
	uint8_t raw[TEXT_MAX];
	long n = text_unbase64(text, length, raw, sizeof(raw));

	if (n >= 0) {
		text_base64(raw, (size_t)n, out, sizeof(out));
		assert(strlen(out) == length && memcmp(out, text, length) == 0);
	}
	n = text_unhex(text, length, raw, sizeof(raw));
	if (n >= 0) {
		text_hex(raw, (size_t)n, out, sizeof(out));
		assert(strlen(out) == length && strncasecmp(out, text, length) == 0);
	}
	assert(text_unbase64(text, length, raw, length / 8) <= (long)(length / 8));
}

static void
check_printable(const char *text, size_t length)
{
	char out[4 * TEXT_MAX + 1];
	char cut[17];

	text_printable(text, length, out, sizeof(out));
	assert(text_is_utf8(out, strlen(out)));
	for (const char *at = out; *at; at++)
		assert((unsigned char)*at >= 0x20 && *at != 0x7f);
	text_printable(text, length, cut, sizeof(cut));
	assert(strncmp(cut, out, strlen(cut)) == 0);
	if (!text_is_utf8(text, length))
		return;
	for (size_t cap = 1; cap <= sizeof(cut); cap++) {
		text_ncopy(cut, cap, text, length);
		assert(text_is_utf8(cut, strlen(cut)));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const words[] = {"deploy", "rollback", "status", "logs", NULL};
	char *text;

	if (size > TEXT_MAX)
		return 0;
	check_codes((const char *)data, size);
	check_printable((const char *)data, size);
	text = mem_strndup(MEM_BASE, (const char *)data, size);
	assert(text);
	check_units(text);
	check_time(text);
	check_addr(text);
	text_nearest(text, words);
	mem_free(text);
	return 0;
}
