/* SPDX-License-Identifier: Apache-2.0 */
/* Every way of the AEAD table that this CPU can run against RFC 8439: the vectors whose nonce
 * begins with four zero bytes and whose counter of blocks begins where the construction has it. */
#include "overlay/wg/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"

static struct aead aead;
static uint8_t key[AEAD_KEY];

static void
unhex(const char *hex, void *out, size_t cap)
{
	assert_int_equal(text_unhex(hex, strlen(hex), out, cap), (long)cap);
}

/* RFC 8439, appendix A.1 (2 to 4): keystream is what zeros become. Blocks are counted from 1. */
static void
keystream(const char *key_hex, unsigned block, const char *hex)
{
	uint8_t data[3 * 64 + AEAD_TAG] = {0}, want[64];
	struct aead_job job = {.data = data, .length = sizeof(data) - AEAD_TAG};

	unhex(key_hex, key, sizeof(key));
	unhex(hex, want, sizeof(want));
	aead_seal_batch(&aead, key, &job, 1);
	assert_true(job.ok);
	assert_memory_equal(data + 64 * (size_t)(block - 1), want, sizeof(want));
}

/* Appendix A.2, the second. */
static const char published[] =
	"Any submission to the IETF intended by the Contributor for publication as all or part of "
	"an IETF Internet-Draft or RFC and any statement made within the context of an IETF "
	"activity is considered an \"IETF Contribution\". Such statements include oral statements "
	"in IETF sessions, as well as written and electronic communications made at any time or "
	"place, which are addressed to";
static const char published_sealed[] =
	"a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915c8f3d337f7"
	"d370050e9e96d647b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e20b6e8db09d881a7c613"
	"2f420e52795042bdfa7773d8a9051447b3291ce1411c680465552aa6c405b7764d5e87bea85ad00f8449ed8f72"
	"d0d662ab052691ca66424bc86d2df80ea41f43abf937d3259dc4b2d0dfb48a6c9139ddd7f76966e928e635553b"
	"a76c5c879d7b35d49eb2e62b0871cdac638939e25e8a1e0ef9d5280fa8ca328b351c3c765989cbcf3daa8b6ccc"
	"3aaf9f3979c92b3720fc88dc95ed84a1be059c6499b9fda236e7e818b04b0bc39c1e876b193bfe5569753f8812"
	"8cc08aaa9b63d1a16f80ef2554d7189c411f5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fd"
	"a79a86f6e698ced759c3ff9b6477338f3da4f9cd8514ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba"
	"5b862f3730e37cfdc4fd806c22f221";

static void
vectors(void)
{
	uint8_t data[375 + AEAD_TAG], want[375];
	struct aead_job job = {.data = data, .length = sizeof(want), .counter = UINT64_C(2) << 56};

	keystream("0000000000000000000000000000000000000000000000000000000000000000", 1,
		  "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
		  "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
	keystream("0000000000000000000000000000000000000000000000000000000000000001", 1,
		  "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
		  "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0");
	keystream("00ff000000000000000000000000000000000000000000000000000000000000", 2,
		  "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
		  "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096");
	assert_int_equal(sizeof(published) - 1, sizeof(want));
	unhex("0000000000000000000000000000000000000000000000000000000000000001", key, 32);
	unhex(published_sealed, want, sizeof(want));
	memcpy(data, published, sizeof(want));
	aead_seal_batch(&aead, key, &job, 1);
	assert_memory_equal(data, want, sizeof(want));
	aead_open_batch(&aead, key, &job, 1);
	assert_true(job.ok);
	assert_memory_equal(data, published, sizeof(want));
}

static void
test_vectors(void **state)
{
	struct err err = {0};

	(void)state;
	for (size_t i = 0; aead_way(i); i++) {
		if (!aead_way(i)->runs_here())
			continue;
		assert_int_equal(aead_init(&aead, aead_way(i), &err), 0);
		vectors();
		aead_fini(&aead);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
