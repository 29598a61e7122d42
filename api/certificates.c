/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that are served, and the local authority's own as PEM (RFC 7468), to be trusted. */
#include <string.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"

enum { ANSWER_MAX = 8 << 20, PEM_LINE = 64 };

static int
by_id(const void *a, const void *b)
{
	const struct msg_certificate *x = *(const void *const *)a, *y = *(const void *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

static void
put_certificate(struct json *j, struct server *s, const void *row)
{
	(void)s;
	view_certificate(j, row);
}

void
certificates_list(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_SIGNER, MSG_TABLE_CERTIFICATE, NULL, NULL, by_id,
					      put_certificate});
}

static void
put_pem(struct buf *b, const uint8_t *der, size_t bytes)
{
	size_t size = text_base64_size(bytes);
	char *text = mem_alloc(MEM_API, size);

	if (!text) {
		b->failed = true;
		return;
	}
	text_base64(der, bytes, text, size);
	buf_puts(b, "-----BEGIN CERTIFICATE-----\n");
	for (size_t at = 0, length = strlen(text); at < length; at += PEM_LINE)
		buf_printf(b, "%.*s\n", PEM_LINE, text + at);
	buf_puts(b, "-----END CERTIFICATE-----\n");
	mem_free(text);
}

/* Each certificate of a chain; false when the row lies. */
static bool
put_chain(struct buf *b, const struct msg_certificate *c)
{
	struct cursor at;
	size_t bytes;

	if (c->chain_bytes > sizeof(c->chain))
		return false;
	cursor_init(&at, c->chain, c->chain_bytes);
	while (cursor_left(&at) > 0) {
		const uint8_t *der = cursor_blob(&at, sizeof(c->chain), &bytes);

		if (!der || bytes == 0)
			return false;
		put_pem(b, der, bytes);
	}
	return b->length > 0;
}

static bool
is_authority(const void *row, void *arg)
{
	(void)arg;
	return ((const struct msg_certificate *)row)->source == MSG_CERT_AUTHORITY;
}

void
certificates_authority(struct call *call)
{
	struct err err = {0};
	struct rows rows;
	struct buf b;

	buf_init(&b, MEM_API, ANSWER_MAX);
	rows_collect(call->server, ROLE_SIGNER, MSG_TABLE_CERTIFICATE, is_authority, NULL, by_id,
		     &rows);
	if (rows.count == 0) {
		err_set(&err, ERR_NOT_FOUND, "this node has no local authority");
		err_fix(&err, "tls.self_signed in node.yaml makes one");
		call_problem(call, &err);
	} else if (!put_chain(&b, rows.items[0])) {
		err_set(&err, ERR_CORRUPT, "the authority's certificate does not hold");
		call_problem(call, &err);
	} else {
		call_reply(call, 200, "application/x-pem-file", NULL, b.data, b.length);
	}
	rows_fini(&rows);
	buf_fini(&b);
}
