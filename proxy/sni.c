/* SPDX-License-Identifier: Apache-2.0 */

/* Certificates by name. A row that changed gets a new context; connections keep the old one as long
 * as they live. */

#include "proxy/sni.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "proxy/sign_provider.h"

struct sni_certificate {
	struct tls_context *context;
	struct msg_certificate row;
};

void
sni_init(struct sni *s)
{
	memset(s, 0, sizeof(*s));
	map_init(&s->by_name, MEM_PROXY);
	map_init(&s->by_id, MEM_PROXY);
}

static void
free_certificate(struct sni_certificate *c)
{
	if (!c)
		return;
	tls_context_unref(c->context);
	mem_free(c);
}

static int
make_context(struct sni *s, const struct msg_certificate *row, struct tls_context **out,
	     struct err *err)
{
	struct evp_pkey_st *key;
	struct cursor c;
	uint32_t length;
	const void *leaf;
	int result;

	cursor_init(&c, row->chain, row->chain_bytes);
	length = cursor_u32(&c);
	leaf = cursor_take(&c, length);
	if (!leaf)
		return err_set(err, ERR_CORRUPT, "a certificate's row does not hold");
	if (sign_provider_key(leaf, length, row->key_handle, &key, err))
		return -1;
	result = tls_context_new(s->tls, row->chain, row->chain_bytes, key, out, err);
	EVP_PKEY_free(key);
	return result;
}

void
sni_change(struct sni *s, uint64_t id, const struct msg_certificate *row)
{
	struct sni_certificate *old = map_remove_u64(&s->by_id, id), *c;
	struct err err = {0};

	free_certificate(old);
	if (!row || row->source == MSG_CERT_AUTHORITY || row->chain_bytes > sizeof(row->chain))
		return;
	c = mem_zalloc(MEM_PROXY, sizeof(*c));
	if (!c)
		return;
	c->row = *row;
	if (make_context(s, row, &c->context, &err) || map_put_u64(&s->by_id, id, c)) {
		log_err(LOG_ERROR, "a certificate is not served", &err);
		free_certificate(c);
	}
}

static int
rank(const struct sni_certificate *c)
{
	return (c->row.source == MSG_CERT_FILE ? 2 : 0) + (c->row.key_type == MSG_KEY_EC ? 1 : 0);
}

static void
add_name(struct sni *s, const char *name, struct sni_certificate *c)
{
	const struct sni_certificate *there = map_get_str(&s->by_name, name);

	if (there && (rank(there) > rank(c) ||
		      (rank(there) == rank(c) && there->row.not_after_s >= c->row.not_after_s)))
		return;
	if (map_put_str(&s->by_name, name, c))
		log_event(LOG_ERROR, "out of memory: a name is not served", log_s("name", name),
			  LOG_END);
}

void
sni_rebuild(struct sni *s)
{
	struct map_iter it = {0};
	const struct sni_certificate *any = NULL;

	map_fini(&s->by_name);
	map_init(&s->by_name, MEM_PROXY);
	while (map_next(&s->by_id, &it)) {
		struct sni_certificate *c = it.value;
		const char *name;
		size_t at = 0;

		while ((name = msg_certificate_name(&c->row, &at)))
			add_name(s, name, c);
		if (c->row.any_host && (!any || rank(c) > rank(any)))
			any = c;
	}
	s->any = any ? any->context : NULL;
}

struct tls_context *
sni_select(void *arg, const char *host)
{
	struct sni *s = arg;
	const struct sni_certificate *c;
	const char *dot;
	char wildcard[MSG_HOST + 2];

	if (host[0] == '\0' && s->unnamed)
		host = s->unnamed;
	if (host[0] == '\0')
		return s->any;
	if (host[0] == '*' && host == s->unnamed) {
		c = map_get_str(&s->by_name, host);
		return c ? c->context : NULL;
	}
	if (host[0] == '*')
		return NULL;
	c = map_get_str(&s->by_name, host);
	dot = strchr(host, '.');
	if (!c && dot && text_format(wildcard, sizeof(wildcard), "*%s", dot))
		c = map_get_str(&s->by_name, wildcard);
	return c ? c->context : NULL;
}
