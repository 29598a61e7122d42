/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd's messages as JSON. The answers come from another machine: lengths and numbers are checked,
 * a key with a NUL inside is refused (keys are texts here), and nothing is taken by position.
 */
#include "scheduler/etcd_json.h"

#include <inttypes.h>
#include <string.h>
#include "base/text.h"
#include "wire/json_read.h"

/* ---- requests ---- */

static void
put_bytes(struct json *j, const char *name, const void *data, size_t bytes)
{
	size_t size = text_base64_size(bytes);
	char small[256],
		*text = size + 2 <= sizeof(small) ? small : mem_alloc(MEM_SCHEDULER, size + 2);

	if (!text) {
		j->out->failed = true;
		return;
	}
	text[0] = '"';
	text_base64(data, bytes, text + 1, size);
	text[size] = '"'; /* in place of the NUL */
	json_raw(j, name, text, size + 1);
	if (text != small)
		mem_free(text);
}

static void
put_key(struct json *j, const char *name, const char *key)
{
	put_bytes(j, name, key, strlen(key));
}

/* Numbers of 64 bits are texts. */
static void
put_i64(struct json *j, const char *name, int64_t value)
{
	json_textf(j, name, "%" PRIi64, value);
}

static void
put_range(struct json *j, const struct etcd_json_range *range)
{
	put_key(j, "key", range->key);
	if (range->end)
		put_key(j, "range_end", range->end);
	if (range->limit)
		put_i64(j, "limit", (int64_t)range->limit);
	if (range->revision)
		put_i64(j, "revision", range->revision);
	if (range->newest_first) {
		json_text(j, "sort_order", "DESCEND");
		json_text(j, "sort_target", "KEY");
	}
	if (range->keys_only)
		json_bool(j, "keys_only", true);
}

void
etcd_json_range(struct buf *out, const struct etcd_json_range *range)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	put_range(&j, range);
	json_end(&j);
}

void
etcd_json_txn(struct etcd_json_txn *t, struct buf *out)
{
	json_init(&t->j, out);
	json_object(&t->j, NULL);
	json_array(&t->j, "compare");
}

static void
compare_version(struct etcd_json_txn *t, const char *key, const char *result)
{
	json_object(&t->j, NULL);
	put_key(&t->j, "key", key);
	json_text(&t->j, "target", "VERSION");
	json_text(&t->j, "result", result);
	json_text(&t->j, "version", "0");
	json_end(&t->j);
}

void
etcd_json_if_absent(struct etcd_json_txn *t, const char *key)
{
	compare_version(t, key, "EQUAL");
}

void
etcd_json_if_there(struct etcd_json_txn *t, const char *key)
{
	compare_version(t, key, "GREATER");
}

void
etcd_json_if_value(struct etcd_json_txn *t, const char *key, const char *value)
{
	json_object(&t->j, NULL);
	put_key(&t->j, "key", key);
	json_text(&t->j, "target", "VALUE");
	json_text(&t->j, "result", "EQUAL");
	put_key(&t->j, "value", value);
	json_end(&t->j);
}

void
etcd_json_then(struct etcd_json_txn *t)
{
	json_end(&t->j);
	json_array(&t->j, "success");
}

void
etcd_json_otherwise(struct etcd_json_txn *t)
{
	json_end(&t->j);
	json_array(&t->j, "failure");
}

void
etcd_json_put(struct etcd_json_txn *t, const char *key, const void *data, size_t bytes,
	      int64_t lease)
{
	json_object(&t->j, NULL);
	json_object(&t->j, "requestPut");
	put_key(&t->j, "key", key);
	put_bytes(&t->j, "value", data, bytes);
	if (lease)
		put_i64(&t->j, "lease", lease);
	json_end(&t->j);
	json_end(&t->j);
}

void
etcd_json_delete(struct etcd_json_txn *t, const char *key, const char *end)
{
	json_object(&t->j, NULL);
	json_object(&t->j, "requestDeleteRange");
	put_key(&t->j, "key", key);
	if (end)
		put_key(&t->j, "range_end", end);
	json_end(&t->j);
	json_end(&t->j);
}

void
etcd_json_get(struct etcd_json_txn *t, const struct etcd_json_range *range)
{
	json_object(&t->j, NULL);
	json_object(&t->j, "requestRange");
	put_range(&t->j, range);
	json_end(&t->j);
	json_end(&t->j);
}

void
etcd_json_end(struct etcd_json_txn *t)
{
	json_end(&t->j);
	json_end(&t->j);
}

void
etcd_json_watch(struct buf *out, const char *key, const char *end, int64_t revision)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_object(&j, "create_request");
	put_key(&j, "key", key);
	put_key(&j, "range_end", end);
	put_i64(&j, "start_revision", revision);
	json_end(&j);
	json_end(&j);
}

void
etcd_json_lease_grant(struct buf *out, uint32_t ttl_s)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	put_i64(&j, "TTL", ttl_s);
	json_end(&j);
}

void
etcd_json_lease(struct buf *out, int64_t lease)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	put_i64(&j, "ID", lease);
	json_end(&j);
}

void
etcd_json_login(struct buf *out, const char *user, const char *password)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_text(&j, "name", user);
	json_text(&j, "password", password);
	json_end(&j);
}

/* ---- answers ---- */

static int
wrong(struct err *err, const char *what)
{
	err_set(err, ERR_CORRUPT, "etcd gave an answer that is none");
	return err_why(err, "%s", what);
}

/* A number as a text, or as a number; 0 when absent; -1 when it is something else. */
static int64_t
get_i64(const json_t *object, const char *name)
{
	const json_t *v = json_read_get(object, name);
	uint64_t u64;

	if (!v)
		return 0;
	if (json_read_kind(v) == JSON_READ_INTEGER)
		return json_read_int(object, name);
	return text_u64(json_read_string(v), INT64_MAX, &u64) ? (int64_t)u64 : -1;
}

static bool
get_bytes(const json_t *object, const char *name, struct arena *a, const uint8_t **out,
	  size_t *bytes_out)
{
	const char *text = json_read_text(object, name);
	size_t length = strlen(text);
	char *data = arena_bytes(a, length / 4 * 3 + 4);

	*bytes_out = 0;
	*out = (uint8_t *)data;
	if (!data)
		return false;
	long n = text_unbase64(text, length, data, length / 4 * 3 + 3);
	if (n < 0)
		return false;
	data[n] = '\0';
	*bytes_out = (size_t)n;
	return true;
}

static int
get_kv(const json_t *object, struct arena *a, struct etcd_json_kv *out, struct err *err)
{
	const uint8_t *key;

	if (!get_bytes(object, "key", a, &key, &out->key_bytes) || !out->key_bytes ||
	    memchr(key, 0, out->key_bytes))
		return wrong(err, "a key");
	out->key = (const char *)key;
	if (!get_bytes(object, "value", a, &out->value, &out->value_bytes))
		return wrong(err, "a value");
	out->revision = get_i64(object, "mod_revision");
	out->lease = get_i64(object, "lease");
	if (out->lease < 0)
		return wrong(err, "a key's lease");
	return out->revision > 0 ? 0 : wrong(err, "a key's revision");
}

static struct etcd_json_kv *
make_kvs(const json_t *array, struct arena *a, struct err *err)
{
	size_t count = json_read_count(array);
	struct etcd_json_kv *items = NULL;

	if (count <= ETCD_JSON_KVS_MAX)
		items = arena_array(a, count + 1, sizeof(*items));
	if (!items)
		err_set(err, ERR_LIMIT, "etcd's answer is too long");
	return items;
}

static int
get_kvs(const json_t *range, struct arena *a, struct etcd_json_kvs *out, struct err *err)
{
	json_t *array = json_read_array(range, "kvs");

	out->items = make_kvs(array, a, err);
	if (!out->items)
		return -1;
	out->count = json_read_count(array);
	out->more = json_read_bool(range, "more");
	for (size_t i = 0; i < out->count; i++) {
		if (get_kv(json_read_at(array, i), a, &out->items[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
read_gets(const json_t *object, struct arena *a, struct etcd_json_answer *out, struct err *err)
{
	json_t *responses = json_read_array(object, "responses");

	for (size_t i = 0; i < json_read_count(responses) && out->gets_count < ETCD_JSON_GETS_MAX;
	     i++) {
		json_t *range = json_read_get(json_read_at(responses, i), "response_range");

		if (range && get_kvs(range, a, &out->gets[out->gets_count++], err) < 0)
			return -1;
	}
	return 0;
}

static int
read_answer(json_t *object, struct arena *a, struct etcd_json_answer *out, struct err *err)
{
	/* keepalive answers as a stream does. */
	json_t *inner = json_read_get(object, "result");
	const json_t *body = inner ? inner : object;
	json_t *header = json_read_get(body, "header");

	memset(out, 0, sizeof(*out));
	if (json_read_kind(header) != JSON_READ_OBJECT)
		return wrong(err, "it has no header");
	out->revision = get_i64(header, "revision");
	if (!text_u64(json_read_text(header, "cluster_id"), UINT64_MAX, &out->cluster) ||
	    out->revision < 0)
		return wrong(err, "its header");
	out->succeeded = json_read_bool(body, "succeeded");
	out->lease = get_i64(body, "ID");
	out->ttl_s = get_i64(body, "TTL");
	if (out->lease < 0 || out->ttl_s < 0)
		return wrong(err, "its lease");
	if (get_kvs(body, a, &out->kvs, err) < 0)
		return -1;
	return read_gets(body, a, out, err);
}

int
etcd_json_answer(const void *text, size_t bytes, struct arena *a, struct etcd_json_answer *out,
		 struct err *err)
{
	json_t *object = json_read_parse(text, bytes, err);

	if (!object)
		return wrong(err, "it is not JSON");
	int rc = read_answer(object, a, out, err);
	json_read_free(object);
	return rc;
}

static int
read_events(const json_t *result, struct arena *a, struct etcd_json_events *out, struct err *err)
{
	json_t *array = json_read_array(result, "events");

	out->revision = get_i64(json_read_get(result, "header"), "revision");
	out->created = json_read_bool(result, "created");
	out->canceled = json_read_bool(result, "canceled");
	out->compacted = get_i64(result, "compact_revision");
	text_copy(out->why, sizeof(out->why), json_read_text(result, "cancel_reason"));
	if (out->revision < 0 || out->compacted < 0)
		return wrong(err, "a watch's revision");
	out->kvs.items = make_kvs(array, a, err);
	if (!out->kvs.items)
		return -1;
	out->kvs.count = json_read_count(array);
	for (size_t i = 0; i < out->kvs.count; i++) {
		json_t *event = json_read_at(array, i);
		struct etcd_json_kv *kv = &out->kvs.items[i];

		if (get_kv(json_read_get(event, "kv"), a, kv, err) < 0)
			return -1;
		kv->gone = text_equal(json_read_text(event, "type"), "DELETE");
	}
	return 0;
}

int
etcd_json_events(const void *text, size_t bytes, struct arena *a, struct etcd_json_events *out,
		 struct err *err)
{
	json_t *object = json_read_parse(text, bytes, err);
	int rc;

	memset(out, 0, sizeof(*out));
	if (!object)
		return wrong(err, "it is not JSON");
	json_t *result = json_read_get(object, "result");
	if (result) {
		rc = read_events(result, a, out, err);
	} else {
		out->canceled = true;
		text_copy(out->why, sizeof(out->why),
			  json_read_text(json_read_get(object, "error"), "message"));
		rc = out->why[0] ? 0 : wrong(err, "a watch's line");
	}
	json_read_free(object);
	return rc;
}

enum etcd_json_refusal
etcd_json_refusal(const void *text, size_t bytes, char *why, size_t cap)
{
	static const struct {
		const char *words;
		enum etcd_json_refusal is;
	} known[] = {
		{"database space exceeded", ETCD_JSON_NO_SPACE},
		{"has been compacted", ETCD_JSON_COMPACTED},
		{"request is too large", ETCD_JSON_TOO_LARGE},
		{"too many operations", ETCD_JSON_TOO_LARGE},
		{"larger than max", ETCD_JSON_TOO_LARGE},
		{"lease not found", ETCD_JSON_NOT_FOUND},
		{"no leader", ETCD_JSON_NO_QUORUM},
		{"leader changed", ETCD_JSON_NO_QUORUM},
		{"not leader", ETCD_JSON_NO_QUORUM},
		{"timed out", ETCD_JSON_NO_QUORUM},
		{"too many requests", ETCD_JSON_NO_QUORUM},
		{"server stopped", ETCD_JSON_NO_QUORUM},
		{"context deadline exceeded", ETCD_JSON_NO_QUORUM},
		{"authentication failed", ETCD_JSON_DENIED},
		{"CommonName of client", ETCD_JSON_NAMED},
		{"invalid auth token", ETCD_JSON_STRANGER},
		{"user name is empty", ETCD_JSON_STRANGER},
		{"revision of auth store is old", ETCD_JSON_STRANGER},
		{"authentication is not enabled", ETCD_JSON_NO_USERS},
	};
	struct err ignored = {0};
	json_t *object = json_read_parse(text, bytes, &ignored);
	enum etcd_json_refusal is = ETCD_JSON_OTHER;
	int64_t code = json_read_int(object, "code");
	const char *message = json_read_text(object, "message");

	if (object)
		text_printable(message, strlen(message), why, cap);
	else /* of something before the gateway */
		text_printable(text, bytes < cap ? bytes : cap - 1, why, cap);
	if (code == 7 || code == 16) /* gRPC: permission denied, unauthenticated */
		is = ETCD_JSON_DENIED;
	else if (code == 14) /* unavailable */
		is = ETCD_JSON_NO_QUORUM;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strstr(why, known[i].words))
			is = known[i].is;
	}
	json_read_free(object);
	return is;
}

/* It becomes a header field. */
bool
etcd_json_token(const void *text, size_t bytes, char *out, size_t cap)
{
	struct err ignored = {0};
	json_t *object = json_read_parse(text, bytes, &ignored);
	const char *token = json_read_text(object, "token");
	bool holds = token[0] && text_copy(out, cap, token);

	for (const char *at = token; holds && *at; at++)
		holds = *at > ' ' && *at < 0x7f;
	json_read_free(object);
	return holds;
}
