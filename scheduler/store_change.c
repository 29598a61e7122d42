/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys, changes, digests and entries of the log. Everything that is read back here came from
 * another machine: it is checked whole before it counts.
 */
#include "scheduler/store_change.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include "base/text.h"

enum { ENTRY_FORMAT = 1 };

/* ---- keys ---- */

static const char *
table_of(const struct store_key *key)
{
	return key->blob ? store_blob_table(key->kind) : store_shape(key->kind)->table;
}

void
store_key_put(const struct store_key *key, char *out)
{
	if (key->blob)
		text_format(out, STORE_KEY_BYTES, "blob/%s/%016" PRIx64 "/%04x", table_of(key),
			    key->id, key->chunk);
	else
		text_format(out, STORE_KEY_BYTES, "row/%s/%016" PRIx64, table_of(key), key->id);
}

/* Exactly `digits` lower-case hex digits. */
static bool
read_hex(const char *text, size_t digits, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < digits; i++) {
		const char *all = "0123456789abcdef";
		const char *at = text[i] ? strchr(all, text[i]) : NULL;

		if (!at)
			return false;
		*out = *out << 4 | (uint64_t)(at - all);
	}
	return true;
}

static bool
read_table(const char *text, size_t bytes, struct store_key *out)
{
	unsigned kinds = out->blob ? STORE_BLOBS_ : STORE_KINDS_;

	for (out->kind = 0; out->kind < kinds; out->kind++) {
		const char *table = table_of(out);

		if (strlen(table) == bytes && !memcmp(table, text, bytes))
			return out->blob ? !store_blob_is_local(out->kind)
					 : !store_kind_is_local(out->kind);
	}
	return false;
}

bool
store_key_get(const char *text, size_t bytes, struct store_key *out)
{
	char key[STORE_KEY_BYTES];
	uint64_t chunk = 0;

	memset(out, 0, sizeof(*out));
	if (bytes >= sizeof(key) || memchr(text, 0, bytes))
		return false;
	memcpy(key, text, bytes);
	key[bytes] = '\0';
	out->blob = text_starts(key, "blob/");
	if (!out->blob && !text_starts(key, "row/"))
		return false;
	const char *table = strchr(key, '/') + 1, *id = strchr(table, '/');
	size_t tail = out->blob ? 5 : 0;
	if (!id || strlen(id) != 17 + tail || !read_table(table, (size_t)(id - table), out) ||
	    !read_hex(id + 1, 16, &out->id) || !out->id || out->id > INT64_MAX)
		return false;
	if (out->blob && (id[17] != '/' || !read_hex(id + 18, 4, &chunk)))
		return false;
	out->chunk = (uint32_t)chunk;
	return out->chunk < STORE_CHUNKS_MAX;
}

int
store_key_compare(const struct store_key *a, const struct store_key *b)
{
	if (a->blob != b->blob)
		return a->blob ? 1 : -1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->chunk < b->chunk ? -1 : a->chunk > b->chunk;
}

/* ---- changes ---- */

void
store_change_put(struct buf *out, const struct store_change *change)
{
	char key[STORE_KEY_BYTES];

	store_key_put(&change->key, key);
	buf_text(out, key);
	buf_u8(out, change->gone);
	if (!change->gone)
		buf_blob(out, change->data, change->bytes);
}

bool
store_change_get(struct cursor *in, struct store_change *out)
{
	size_t bytes;

	memset(out, 0, sizeof(*out));
	const char *key = cursor_blob(in, STORE_KEY_BYTES, &bytes);
	if (!key || !store_key_get(key, bytes, &out->key))
		return false;
	unsigned gone = cursor_u8(in);
	out->gone = gone != 0;
	if (!out->gone)
		out->data = cursor_blob(in, STORE_CHUNK_BYTES, &out->bytes);
	return cursor_ok(in) && gone <= 1;
}

/* ---- digests ---- */

static void
hash_of(const struct store_key *key, const void *data, size_t bytes, struct store_digest *out)
{
	char text[STORE_KEY_BYTES];
	uint8_t sha[STORE_SHA256_BYTES];
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	store_key_put(key, text);
	bool fine = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestUpdate(md, text, strlen(text) + 1) == 1 &&
		    EVP_DigestUpdate(md, data, bytes) == 1 &&
		    EVP_DigestFinal_ex(md, sha, NULL) == 1;
	EVP_MD_CTX_free(md);
	/* Without memory the sums will not agree, and nothing is written. */
	if (!fine)
		memset(sha, 0xee, sizeof(sha));
	memcpy(out->word, sha, sizeof(sha));
}

void
store_digest_add(struct store_digest *d, const struct store_key *key, const void *data,
		 size_t bytes)
{
	struct store_digest one;
	unsigned carry = 0;

	hash_of(key, data, bytes, &one);
	for (size_t i = 0; i < 4; i++) {
		unsigned __int128 sum = (unsigned __int128)d->word[i] + one.word[i] + carry;

		d->word[i] = (uint64_t)sum;
		carry = (unsigned)(sum >> 64);
	}
}

void
store_digest_remove(struct store_digest *d, const struct store_key *key, const void *data,
		    size_t bytes)
{
	struct store_digest one;
	unsigned borrow = 0;

	hash_of(key, data, bytes, &one);
	for (size_t i = 0; i < 4; i++) {
		unsigned __int128 left =
			((unsigned __int128)1 << 64) + d->word[i] - one.word[i] - borrow;

		d->word[i] = (uint64_t)left;
		borrow = !(left >> 64);
	}
}

/* ---- entries ---- */

void
store_entry_chain(struct store_entry *e, const uint8_t *before, const struct store_change *changes,
		  size_t count)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint64_t head[2] = {e->sequence, e->count};
	bool fine = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestUpdate(md, before, STORE_SHA256_BYTES) == 1 &&
		    EVP_DigestUpdate(md, head, sizeof(head)) == 1 &&
		    EVP_DigestUpdate(md, e->digest.word, sizeof(e->digest.word)) == 1;

	for (size_t i = 0; i < count && fine; i++) {
		char key[STORE_KEY_BYTES];
		uint64_t bytes = changes[i].gone ? UINT64_MAX : changes[i].bytes;

		store_key_put(&changes[i].key, key);
		fine = EVP_DigestUpdate(md, key, strlen(key) + 1) == 1 &&
		       EVP_DigestUpdate(md, &bytes, sizeof(bytes)) == 1 &&
		       (changes[i].gone ||
			EVP_DigestUpdate(md, changes[i].data, changes[i].bytes) == 1);
	}
	fine = fine && EVP_DigestFinal_ex(md, e->hash, NULL) == 1;
	EVP_MD_CTX_free(md);
	if (!fine)
		memset(e->hash, 0xee, sizeof(e->hash));
}

void
store_entry_put(const struct store_entry *e, char *out)
{
	char txid[2 * STORE_TXID_BYTES + 1], hash[2 * STORE_SHA256_BYTES + 1];
	char digest[2 * STORE_SHA256_BYTES + 1];

	text_hex(e->txid, sizeof(e->txid), txid, sizeof(txid));
	text_hex(e->hash, sizeof(e->hash), hash, sizeof(hash));
	text_hex(e->digest.word, sizeof(e->digest.word), digest, sizeof(digest));
	text_format(out, STORE_ENTRY_BYTES,
		    "%d %" PRIu64 " txid=%s hash=%s digest=%s count=%" PRIu64 " parts=%u",
		    ENTRY_FORMAT, e->sequence, txid, hash, digest, e->count, e->parts);
}

/* The value of the next field, NUL-ended; NULL when it is another one. */
static const char *
next_field(char **at, const char *name)
{
	char *word = strsep(at, " ");

	return word && text_starts(word, name) ? word + strlen(name) : NULL;
}

static bool
read_bytes(char **at, const char *name, void *out, size_t bytes)
{
	const char *word = next_field(at, name);

	return word && text_unhex(word, strlen(word), out, bytes) == (long)bytes;
}

static bool
read_number(char **at, const char *name, uint64_t max, uint64_t *out)
{
	const char *word = next_field(at, name);

	return word && text_u64(word, max, out);
}

int
store_entry_get(const char *text, size_t bytes, struct store_entry *out, struct err *err)
{
	char line[STORE_ENTRY_BYTES], again[STORE_ENTRY_BYTES], *at = line;
	uint64_t format = 0, parts = 0;

	memset(out, 0, sizeof(*out));
	text_ncopy(line, sizeof(line), text, bytes);
	if (!read_number(&at, "", UINT32_MAX, &format))
		return err_set(err, ERR_CORRUPT, "the store's log holds something else");
	if (format > ENTRY_FORMAT) {
		err_set(err, ERR_UNSUPPORTED, "a newer zlayer writes this store");
		return err_fix(err, "upgrade zlayer on this node");
	}
	bool fine = read_number(&at, "", INT64_MAX, &out->sequence) &&
		    read_bytes(&at, "txid=", out->txid, sizeof(out->txid)) &&
		    read_bytes(&at, "hash=", out->hash, sizeof(out->hash)) &&
		    read_bytes(&at, "digest=", out->digest.word, sizeof(out->digest.word)) &&
		    read_number(&at, "count=", INT64_MAX, &out->count) &&
		    read_number(&at, "parts=", 1u << 16, &parts) && !at;
	out->parts = (uint32_t)parts;
	if (fine) {
		store_entry_put(out, again);
		fine = strlen(again) == bytes && !memcmp(again, text, bytes);
	}
	if (!fine)
		return err_set(err, ERR_CORRUPT, "the store's log holds something else");
	return 0;
}

bool
store_entry_same(const struct store_entry *a, const struct store_entry *b)
{
	return a->sequence == b->sequence && !memcmp(a->txid, b->txid, sizeof(a->txid)) &&
	       !memcmp(a->hash, b->hash, sizeof(a->hash)) &&
	       !memcmp(a->digest.word, b->digest.word, sizeof(a->digest.word)) &&
	       a->count == b->count;
}
