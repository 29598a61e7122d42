/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it is compressed is seen from its first bytes, whatever its media type says: builders get
 * that wrong, and both digests hold it to what was meant.
 *
 * A digest that does not match explains better than what it led to, but it is known only at the
 * end: damage that is met before is told as it is met.
 */
#include "runtime/layer_stream.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "runtime/inflate.h"

enum { SHA256_BYTES = 32, HEX_BYTES = 2 * SHA256_BYTES + 1 };

struct layer_stream {
	struct layer *layer;
	struct inflate *inflate; /* NULL: not enough bytes to see how it is compressed */
	EVP_MD_CTX *blob, *diff;
	uint64_t plain_max;
	char digest[HEX_BYTES]; /* "" not told */
	char diff_id[HEX_BYTES];
	uint8_t magic[INFLATE_MAGIC_BYTES];
	size_t magic_bytes;
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to unpack a layer");
}

static EVP_MD_CTX *
hash_new(void)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();

	if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1)
		return hash;
	EVP_MD_CTX_free(hash);
	return NULL;
}

static void
hash_end(EVP_MD_CTX *hash, char hex[HEX_BYTES])
{
	uint8_t digest[SHA256_BYTES] = {0};

	EVP_DigestFinal_ex(hash, digest, NULL);
	text_hex(digest, sizeof(digest), hex, HEX_BYTES);
}

int
layer_stream_compare(const char *what, const char *told, const char *found, struct err *err)
{
	if (!strcmp(told, found))
		return 0;
	err_set(err, ERR_CORRUPT, "the image is damaged: the digest of its %s does not match",
		what);
	err_why(err, "the image says sha256:%s", told);
	return err_why(err, "the data has sha256:%s", found);
}

int
layer_stream_new(struct layer *layer, const char *digest, const char *diff_id, uint64_t plain_max,
		 struct layer_stream **out, struct err *err)
{
	struct layer_stream *s = mem_zalloc(MEM_RUNTIME, sizeof(*s));

	if (!s)
		return no_memory(err);
	s->layer = layer;
	s->plain_max = plain_max;
	s->blob = hash_new();
	s->diff = hash_new();
	text_copy(s->digest, sizeof(s->digest), *digest ? digest + strlen("sha256:") : "");
	text_copy(s->diff_id, sizeof(s->diff_id), diff_id);
	if (!s->blob || !s->diff) {
		layer_stream_free(s);
		return no_memory(err);
	}
	*out = s;
	return 0;
}

void
layer_stream_free(struct layer_stream *s)
{
	if (!s)
		return;
	inflate_free(s->inflate);
	EVP_MD_CTX_free(s->blob);
	EVP_MD_CTX_free(s->diff);
	mem_free(s);
}

static int
take_plain(void *arg, const void *data, size_t bytes, struct err *err)
{
	struct layer_stream *s = arg;

	EVP_DigestUpdate(s->diff, data, bytes);
	return layer_feed(s->layer, data, bytes, err);
}

static int
begin(struct layer_stream *s, struct err *err)
{
	if (inflate_new(inflate_detect(s->magic, s->magic_bytes), s->plain_max, take_plain, s,
			&s->inflate, err) < 0)
		return -1;
	return inflate_feed(s->inflate, s->magic, s->magic_bytes, err);
}

int
layer_stream_feed(struct layer_stream *s, const void *data, size_t bytes, struct err *err)
{
	const uint8_t *at = data;

	EVP_DigestUpdate(s->blob, data, bytes);
	if (!s->inflate) {
		size_t n = INFLATE_MAGIC_BYTES - s->magic_bytes;

		n = n < bytes ? n : bytes;
		memcpy(s->magic + s->magic_bytes, at, n);
		s->magic_bytes += n;
		at += n;
		bytes -= n;
		if (s->magic_bytes == INFLATE_MAGIC_BYTES && begin(s, err) < 0)
			return -1;
	}
	return bytes ? inflate_feed(s->inflate, at, bytes, err) : 0;
}

int
layer_stream_end(struct layer_stream *s, struct err *err)
{
	char hex[HEX_BYTES];

	if ((!s->inflate && begin(s, err) < 0) || inflate_end(s->inflate, err) < 0)
		return -1;
	hash_end(s->blob, hex);
	if (s->digest[0] && layer_stream_compare("compressed layer", s->digest, hex, err) < 0)
		return -1;
	hash_end(s->diff, hex);
	if (layer_stream_compare("layer", s->diff_id, hex, err) < 0)
		return -1;
	return layer_end(s->layer, err);
}
