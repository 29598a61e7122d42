/* SPDX-License-Identifier: Apache-2.0 */

/* Bodies of the proxy's own answers. Nothing that a client sent is repeated in them but the host
 * and path of a redirect, which were validated. */

#include "proxy/reply.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "wire/url.h"

const struct reply reply_bad_path = {400, "the path is malformed or ambiguous", "path", 0};
const struct reply reply_too_large = {413, "the request's body is too large", "body_size", 0};
const struct reply reply_header_too_large = {431, "the request's header is too large",
					     "header_size", 0};
const struct reply reply_bad_gateway = {502, "the replica did not answer properly", "bad_gateway",
					0};
const struct reply reply_no_memory = {503, "out of memory", "memory", 1};

static bool
wants_json(const char *accept, size_t length)
{
	size_t at = 0, n;
	const char *item;

	while (accept && header_list_next(accept, length, &at, &item, &n)) {
		const char *end = memchr(item, ';', n);

		if (end)
			n = (size_t)(end - item);
		while (n > 0 && item[n - 1] == ' ')
			n--;
		if (header_equal(item, n, "application/json") ||
		    header_equal(item, n, "application/problem+json"))
			return true;
		if (header_equal(item, n, "text/html") || header_equal(item, n, "text/plain"))
			return false;
	}
	return false;
}

static void
put_text(const struct reply *reply, const char *id, const char *accept, size_t accept_length,
	 struct reply_text *out)
{
	int n;

	if (wants_json(accept, accept_length)) {
		out->type = "application/problem+json";
		n = snprintf(out->body, sizeof(out->body),
			     "{\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\","
			     "\"request_id\":\"%s\"}\n",
			     http_reason(reply->status), reply->status, reply->what, id);
	} else {
		out->type = "text/plain; charset=utf-8";
		n = snprintf(out->body, sizeof(out->body), "%u %s\n%s\nrequest %s\n", reply->status,
			     http_reason(reply->status), reply->what, id);
	}
	out->length = n < 0 ? 0 : (size_t)n;
	if (out->length >= sizeof(out->body))
		out->length = sizeof(out->body) - 1;
}

const char *
reply_accept(const char *head, size_t head_bytes, size_t *length_out)
{
	const char *at = memmem(head, head_bytes, "\naccept: ", 9), *end;

	*length_out = 0;
	if (!at)
		at = memmem(head, head_bytes, "\nAccept: ", 9);
	if (!at)
		return NULL;
	at += 9;
	end = memchr(at, '\r', head_bytes - (size_t)(at - head));
	*length_out = end ? (size_t)(end - at) : 0;
	return at;
}

static void
add_field(struct reply_answer *a, const char *name, const char *value)
{
	a->fields[a->count++] = (struct h2_header){name, strlen(name), value, strlen(value)};
}

void
reply_answer(const struct reply *reply, const char *id, int64_t wall_s, const char *accept,
	     size_t accept_length, const char *location, struct reply_answer *out)
{
	out->count = 0;
	put_text(reply, id, accept, accept_length, &out->text);
	http_date(wall_s, out->date);
	add_field(out, "content-type", out->text.type);
	add_field(out, "date", out->date);
	add_field(out, "x-request-id", id);
	if (location)
		add_field(out, "location", location);
	if (reply->retry_after_s > 0) {
		text_format(out->retry, sizeof(out->retry), "%u", reply->retry_after_s);
		add_field(out, "retry-after", out->retry);
	}
}

bool
reply_put_location(const struct forward_request *r, unsigned https_port, char *out, size_t cap)
{
	struct url_authority a;
	char port[8] = "";

	if (!url_authority_parse(r->text + r->authority.at, r->authority.length, &a))
		return false;
	if (https_port != 443)
		text_format(port, sizeof(port), ":%u", https_port);
	return text_format(out, cap, "https://%s%.*s%s%s%.*s%s%.*s", a.ipv6 ? "[" : "",
			   (int)a.host_length, a.host, a.ipv6 ? "]" : "", port, (int)r->path_length,
			   r->path, r->query ? "?" : "", (int)r->query_length,
			   r->query ? r->query : "");
}
