/* SPDX-License-Identifier: Apache-2.0 */
/* Published vectors: RFC 7748, RFC 7693, RFC 8439, draft-irtf-cfrg-xchacha-03; the key derivation
 * as WireGuard's reference implementation computes it. */
#include "overlay/wg/primitive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <string.h>

enum { TEXT_MAX = 512 };

static struct primitive p;

struct hex {
	uint8_t data[TEXT_MAX];
	size_t length;
};

static unsigned
digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct hex
hex(const char *text)
{
	struct hex h = {.length = strlen(text) / 2};

	assert_true(h.length <= TEXT_MAX);
	for (size_t i = 0; i < h.length; i++)
		h.data[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return h;
}

static void
equal(const uint8_t *data, const char *text)
{
	struct hex h = hex(text);

	assert_memory_equal(data, h.data, h.length);
}

#define BYTES(at, n) ((struct primitive_bytes){(at), (n)})
#define NOTHING BYTES(NULL, 0)

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	return primitive_init(&p, &err);
}

static int
teardown(void **state)
{
	(void)state;
	primitive_fini(&p);
	primitive_fini(&p);
	return 0;
}

/* RFC 7748, section 5.2: the second vector has a u-coordinate with its top bit set. */
static void
test_curve_vectors(void **state)
{
	struct hex scalar, point;
	uint8_t out[PRIMITIVE_KEY];

	(void)state;
	scalar = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
	point = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
	assert_true(primitive_dh(scalar.data, point.data, out));
	equal(out, "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
	scalar = hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d");
	point = hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493");
	assert_true(primitive_dh(scalar.data, point.data, out));
	equal(out, "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

/* RFC 7748, section 5.2: a thousand times. */
static void
test_curve_again_and_again(void **state)
{
	uint8_t k[PRIMITIVE_KEY] = {9}, u[PRIMITIVE_KEY] = {9}, out[PRIMITIVE_KEY];

	(void)state;
	for (int i = 1; i <= 1000; i++) {
		assert_true(primitive_dh(k, u, out));
		memcpy(u, k, sizeof(u));
		memcpy(k, out, sizeof(k));
		if (i == 1)
			equal(k,
			      "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
	}
	equal(k, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

static void
test_small_order(void **state)
{
	uint8_t k[PRIMITIVE_KEY] = {64}, zero[PRIMITIVE_KEY] = {0}, one[PRIMITIVE_KEY] = {1};
	uint8_t out[PRIMITIVE_KEY] = {5};

	(void)state;
	assert_false(primitive_dh(k, zero, out));
	assert_memory_equal(out, zero, sizeof(zero));
	assert_false(primitive_dh(k, one, out));
	assert_int_equal(primitive_exchange(k, one, out), PRIMITIVE_EXCHANGE_ZERO);
}

/* RFC 7693, appendix B. */
static void
test_hash(void **state)
{
	uint8_t out[PRIMITIVE_HASH];

	(void)state;
	assert_true(primitive_hash(&p, BYTES("abc", 3), NOTHING, out));
	equal(out, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	assert_true(primitive_hash(&p, BYTES("a", 1), BYTES("bc", 2), out));
	equal(out, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	assert_true(primitive_hash(&p, NOTHING, NOTHING, out));
	equal(out, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
}

static void
test_mac(void **state)
{
	uint8_t a[PRIMITIVE_MAC], b[PRIMITIVE_MAC], key[32] = {1, 2, 3};

	(void)state;
	assert_true(primitive_mac(&p, BYTES(key, 32), BYTES("one", 3), a));
	assert_true(primitive_mac(&p, BYTES(key, 32), BYTES("two", 3), b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(primitive_mac(&p, BYTES(key, 16), BYTES("one", 3), b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(primitive_mac(&p, BYTES(key, 32), BYTES("one", 3), b));
	assert_memory_equal(a, b, sizeof(a));
}

static void
test_kdf(void **state)
{
	static const struct {
		const char *key, *input, *out[3];
	} cases[] = {
		{"746573742d6b6579",
		 "746573742d696e707574",
		 {"6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
		  "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
		  "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24"}},
		{"776972656775617264",
		 "776972656775617264",
		 {"491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
		  "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
		  "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160"}},
		{"",
		 "",
		 {"8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
		  "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
		  "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e"}},
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		uint8_t key[PRIMITIVE_HASH] = {0}, out[3][PRIMITIVE_HASH] = {{0}};
		struct hex k = hex(cases[i].key), input = hex(cases[i].input);

		memcpy(key, k.data, k.length); /* HMAC pads it the same way */
		assert_true(primitive_kdf(&p, key, BYTES(input.data, input.length), 3,
					  (uint8_t *[]){out[0], out[1], out[2]}));
		for (size_t n = 0; n < 3; n++)
			equal(out[n], cases[i].out[n]);
		/* Fewer are the first ones, also into the chaining key itself. */
		assert_true(primitive_kdf(&p, key, BYTES(input.data, input.length), 1,
					  (uint8_t *[]){key}));
		equal(key, cases[i].out[0]);
	}
}

/* RFC 8439, appendix A.5. */
static void
test_seal(void **state)
{
	static const char text[] =
		"Internet-Drafts are draft documents valid for a maximum of six months and may be "
		"updated, replaced, or obsoleted by other documents at any time. It is "
		"inappropriate to use Internet-Drafts as reference material or to cite them other "
		"than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";
	struct hex key = hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
	struct hex also = hex("f33388860000000000004e91");
	uint8_t sealed[TEXT_MAX], out[TEXT_MAX];
	size_t n = sizeof(text) - 1;
	const uint64_t counter = UINT64_C(0x0807060504030201);

	(void)state;
	assert_int_equal(n, 265);
	assert_true(primitive_seal(&p, key.data, counter, BYTES(also.data, also.length),
				   BYTES(text, n), sealed));
	equal(sealed, "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2");
	equal(sealed + n, "eead9d67890cbb22392336fea1851f38");
	assert_true(primitive_open(&p, key.data, counter, BYTES(also.data, also.length),
				   BYTES(sealed, n + PRIMITIVE_TAG), out));
	assert_memory_equal(out, text, n);
	for (size_t i = 0; i < n + PRIMITIVE_TAG; i++) {
		sealed[i] ^= 1;
		assert_false(primitive_open(&p, key.data, counter, BYTES(also.data, also.length),
					    BYTES(sealed, n + PRIMITIVE_TAG), out));
		sealed[i] ^= 1;
	}
	assert_false(primitive_open(&p, key.data, counter + 1, BYTES(also.data, also.length),
				    BYTES(sealed, n + PRIMITIVE_TAG), out));
	assert_false(primitive_open(&p, key.data, counter, NOTHING,
				    BYTES(sealed, n + PRIMITIVE_TAG), out));
	assert_false(primitive_open(&p, key.data, counter, NOTHING, BYTES(sealed, 15), out));
	/* In place, and without a text. */
	memcpy(out, text, n);
	assert_true(primitive_seal(&p, key.data, counter, BYTES(also.data, also.length),
				   BYTES(out, n), out));
	assert_memory_equal(out, sealed, n + PRIMITIVE_TAG);
	assert_true(primitive_seal(&p, key.data, 0, NOTHING, NOTHING, out));
	assert_true(primitive_open(&p, key.data, 0, NOTHING, BYTES(out, PRIMITIVE_TAG), sealed));
}

/* draft-irtf-cfrg-xchacha-03, sections 2.2.1 and A.3.1. */
/* A key that is done with is not kept in the library's context. */
static void
test_forgets_keys(void **state)
{
	const uint8_t key[PRIMITIVE_KEY] = {1};
	const struct primitive_bytes none = {0};
	uint8_t sealed[4 + PRIMITIVE_TAG], text[4];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct primitive_bytes box = {sealed, sizeof(sealed)};

		assert_true(primitive_seal(&p, key, 7, none, (struct primitive_bytes){"text", 4},
					   sealed));
		assert_null(EVP_CIPHER_CTX_get0_cipher(p.aead));
		assert_true(primitive_open(&p, key, 7, none, box, text));
		assert_memory_equal(text, "text", 4);
		assert_null(EVP_CIPHER_CTX_get0_cipher(p.aead));
		assert_false(primitive_open(&p, key, 8, none, box, text));
		assert_null(EVP_CIPHER_CTX_get0_cipher(p.aead));
	}
}

static void
test_xchacha(void **state)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	struct hex key = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
	struct hex nonce = hex("000000090000004a0000000031415927");
	struct hex also = hex("50515253c0c1c2c3c4c5c6c7");
	uint8_t out[TEXT_MAX], back[TEXT_MAX];
	size_t n = sizeof(text) - 1;

	(void)state;
	assert_true(primitive_hchacha(&p, key.data, nonce.data, out));
	equal(out, "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
	key = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
	nonce = hex("404142434445464748494a4b4c4d4e4f5051525354555657");
	assert_true(primitive_xseal(&p, key.data, nonce.data, BYTES(also.data, also.length),
				    BYTES(text, n), out));
	equal(out, "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
		   "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
		   "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
		   "21f9664c97637da9768812f615c68b13b52e");
	equal(out + n, "c0875924c1c7987947deafd8780acf49");
	assert_true(primitive_xopen(&p, key.data, nonce.data, BYTES(also.data, also.length),
				    BYTES(out, n + PRIMITIVE_TAG), back));
	assert_memory_equal(back, text, n);
	out[3] ^= 4;
	assert_false(primitive_xopen(&p, key.data, nonce.data, BYTES(also.data, also.length),
				     BYTES(out, n + PRIMITIVE_TAG), back));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_curve_vectors), TEST(test_curve_again_and_again),
		TEST(test_small_order),   TEST(test_hash),
		TEST(test_mac),           TEST(test_kdf),
		TEST(test_seal),          TEST(test_forgets_keys),
		TEST(test_xchacha),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
