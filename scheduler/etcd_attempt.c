/* SPDX-License-Identifier: Apache-2.0 */
/* What libcurl is told about one attempt: where, what, whom to trust, how long. */
#include "scheduler/etcd_rpc_inside.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"

#define SET(option, value)                                                               \
	do {                                                                             \
		if (multi_curl.curl_easy_setopt(c->easy, (option), (value)) != CURLE_OK) \
			return false;                                                    \
	} while (0)

static bool
set_trust(struct etcd_call *c)
{
	const struct etcd_rpc *r = c->rpc;
	struct curl_blob blob = {.flags = CURL_BLOB_COPY}; /* they may be renewed meanwhile */

	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CAINFO, NULL);
	if (r->authorities) {
		blob.data = r->authorities;
		blob.len = strlen(r->authorities);
		SET(CURLOPT_CAINFO_BLOB, &blob);
	}
	if (r->certificate && r->key) {
		blob.data = r->certificate;
		blob.len = strlen(r->certificate);
		SET(CURLOPT_SSLCERT_BLOB, &blob);
		blob.data = r->key;
		blob.len = strlen(r->key);
		SET(CURLOPT_SSLKEY_BLOB, &blob);
	}
	return true;
}

static bool
set_time(struct etcd_call *c)
{
	const struct etcd_rpc *r = c->rpc;
	uint64_t now = uv_now(r->loop), most;
	uint64_t left = c->deadline_ms > now ? c->deadline_ms - now : 1;

	most = r->timeout_ms /
	       (r->endpoints_count == 1 ? ETCD_RPC_ATTEMPTS - 1 : ETCD_RPC_ATTEMPTS);
	if (most > left)
		most = left;
	c->attempt_ms = most;
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(most ? most : 1));
	if (!c->line)
		SET(CURLOPT_TIMEOUT_MS, (long)(most ? most : 1));
	return true;
}

static bool
add_field(struct etcd_call *c, const char *field)
{
	struct curl_slist *more = multi_curl.curl_slist_append(c->fields, field);

	if (more)
		c->fields = more;
	return more != NULL;
}

static bool
add_token(struct etcd_call *c)
{
	char field[ETCD_RPC_TOKEN_BYTES + 32];

	if (c->bare || !c->rpc->token[0])
		return true;
	text_format(field, sizeof(field), "Authorization: %s", c->rpc->token);
	bool added = add_field(c, field);
	mem_wipe(field, sizeof(field));
	return added;
}

bool
etcd_attempt_set(struct etcd_call *c)
{
	char url[ETCD_RPC_URL_BYTES + sizeof(c->path)];

	text_copy(c->url, sizeof(c->url), c->rpc->endpoints[c->endpoint].url);
	text_format(url, sizeof(url), "%s%s", c->url, c->path);
	SET(CURLOPT_PRIVATE, c);
	SET(CURLOPT_ERRORBUFFER, c->error);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "zlayer");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, 5L);
	SET(CURLOPT_TCP_KEEPINTVL, 5L);
	SET(CURLOPT_WRITEFUNCTION, etcd_rpc_body);
	SET(CURLOPT_WRITEDATA, c);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.length);
	SET(CURLOPT_POSTFIELDS, (char *)c->body.data);
	/* Without the empty one a large body would wait for "100 Continue". */
	if (!add_field(c, "Expect:") || !add_field(c, "Content-Type: application/json") ||
	    !add_token(c))
		return false;
	SET(CURLOPT_HTTPHEADER, c->fields);
	return set_time(c) && set_trust(c);
}
