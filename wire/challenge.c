/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A field holds a list of challenges, each a scheme with a list of parameters, both separated by
 * commas: a word is a parameter's name when "=" follows it, and a scheme when it does not (RFC 9110
 * 11.3). A word alone is taken for a scheme, so that the
 * one-token form (token68) does no harm. Parameters of schemes other than Bearer are
 * checked and dropped.
 */
#include "wire/challenge.h"

#include <string.h>
#include <strings.h>
#include "base/text.h"

struct at {
	const char *p;
	const char *end;
};

static bool
is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static void
skip(struct at *a, const char *set)
{
	while (a->p < a->end && *a->p != '\0' && strchr(set, *a->p) != NULL)
		a->p++;
}

static size_t
take_token(struct at *a, const char **out)
{
	*out = a->p;
	while (a->p < a->end && is_token(*a->p))
		a->p++;
	return (size_t)(a->p - *out);
}

/* A token or a quoted text; false when it is malformed or too long. */
static bool
take_value(struct at *a, char *out, size_t cap)
{
	size_t n = 0;
	const char *token;

	if (a->p < a->end && *a->p != '"') {
		n = take_token(a, &token);
		return n > 0 && text_ncopy(out, cap, token, n);
	}
	for (a->p++; a->p < a->end && *a->p != '"'; a->p++) {
		if (*a->p == '\\' && ++a->p == a->end)
			return false;
		if ((unsigned char)*a->p < ' ' || *a->p == 0x7f || n + 1 >= cap)
			return false;
		out[n++] = *a->p;
	}
	out[n] = '\0';
	if (a->p >= a->end)
		return false;
	a->p++;
	return true;
}

static bool
is(const char *token, size_t length, const char *name)
{
	return length == strlen(name) && strncasecmp(token, name, length) == 0;
}

static bool
keep(struct challenge *out, const char *name, size_t length, const char *value)
{
	if (is(name, length, "realm"))
		return text_copy(out->realm, sizeof(out->realm), value);
	if (is(name, length, "service"))
		return text_copy(out->service, sizeof(out->service), value);
	if (is(name, length, "scope"))
		return text_copy(out->scope, sizeof(out->scope), value);
	return true;
}

bool
challenge_parse(const char *text, size_t length, struct challenge *out)
{
	struct at a = {text, text + length};
	bool bearer = false;
	char value[CHALLENGE_TEXT_BYTES];

	for (skip(&a, " \t,"); a.p < a.end; skip(&a, " \t,")) {
		const char *name;
		size_t n = take_token(&a, &name);

		if (n == 0)
			return false;
		skip(&a, " \t");
		if (a.p < a.end && *a.p == '=') {
			a.p++;
			skip(&a, " \t");
			if (!take_value(&a, value, sizeof(value)))
				return false;
			if (bearer && !keep(out, name, n, value))
				return false;
			continue;
		}
		bearer = is(name, n, "Bearer");
		out->bearer |= bearer;
		out->basic |= is(name, n, "Basic");
	}
	return true;
}
