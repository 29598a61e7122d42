/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a YAML text, looked at before the parser sees them: UTF-8 only, and none of the
 * control characters that YAML forbids (YAML 1.1, 5.1). The place is counted here, because the
 * parser's own message would give a byte offset.
 */
#include "spec/yaml.h"

#include <string.h>
#include "base/text.h"

static const char *
find_foreign(const char *text, size_t bytes)
{
	for (size_t i = 0, length; i < bytes; i += length) {
		unsigned char c = (unsigned char)text[i];

		length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		if (length > bytes - i || !text_is_utf8(text + i, length))
			return text + i;
		if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
			return text + i;
		if (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0 &&
		    (unsigned char)text[i + 1] != 0x85)
			return text + i;
		if (c == 0xef && memcmp(text + i, "\xef\xbf\xbe", 3) >= 0 &&
		    memcmp(text + i, "\xef\xbf\xbf", 3) <= 0)
			return text + i;
	}
	return NULL;
}

static struct diag_pos
count_place(const char *text, const char *at)
{
	struct diag_pos pos = {1, 1, 1};

	for (; text < at; text++) {
		if (*text == '\n') {
			pos.line++;
			pos.col = 1;
		} else if (((unsigned char)*text & 0xc0) != 0x80) {
			pos.col++;
		}
	}
	return pos;
}

bool
yaml_text_check(const char *text, size_t bytes, struct diag_list *diags)
{
	const char *bad = find_foreign(text, bytes);
	size_t left = bad == NULL ? 0 : (size_t)(text + bytes - bad);
	const char *fix = "save the file as UTF-8", *what = "this is not UTF-8";

	if (bad == NULL)
		return true;
	if (bytes >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
		what = "the file is UTF-16";
	} else if ((unsigned char)*bad < 0x80 || (left >= 2 && text_is_utf8(bad, 2)) ||
		   (left >= 3 && text_is_utf8(bad, 3))) {
		what = "a control character";
		fix = "write it inside of double quotes, as \"\\x07\"";
	}
	diag_add(diags, "yaml-encoding", count_place(text, bad), "", fix, "%s", what);
	return false;
}
