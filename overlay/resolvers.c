/* SPDX-License-Identifier: Apache-2.0 */
/* Reading resolv.conf(5): lines of a keyword and words; '#' and ';' begin a comment. As the
 * system's resolver does, what is not understood is no error. */
#include "overlay/resolvers.h"

#include <string.h>
#include "base/text.h"

enum { DOMAIN_PORT = 53 };

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line: its length, 0 at the end. */
static size_t
word(const char **at, const char *end)
{
	const char *p = *at;

	while (p < end && is_space(*p))
		p++;
	*at = p;
	while (p < end && !is_space(*p) && *p != '#' && *p != ';')
		p++;
	return (size_t)(p - *at);
}

static bool
known(const struct resolvers *r, const struct addr *a)
{
	for (size_t i = 0; i < r->count; i++)
		if (addr_equal(&r->at[i], a))
			return true;
	return false;
}

static void
take_line(const char *at, const char *end, struct resolvers *out)
{
	static const char keyword[] = "nameserver";
	char text[ADDR_TEXT_BYTES];
	struct addr a;
	size_t n = word(&at, end);

	if (n != sizeof(keyword) - 1 || memcmp(at, keyword, n) != 0)
		return;
	at += n;
	n = word(&at, end);
	if (n == 0 || n >= sizeof(text) || memchr(at, 0, n))
		return;
	text_ncopy(text, sizeof(text), at, n);
	if (!addr_parse_ip(text, &a) || addr_is_zero(&a) || out->count == RESOLVERS_MAX)
		return;
	a.port = DOMAIN_PORT;
	if (!known(out, &a))
		out->at[out->count++] = a;
}

void
resolvers_parse(const char *text, size_t bytes, struct resolvers *out)
{
	const char *end = text + bytes;

	memset(out, 0, sizeof(*out));
	while (text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));

		if (!eol)
			eol = end;
		take_line(text, eol, out);
		text = eol + 1;
	}
}
