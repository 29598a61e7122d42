/* SPDX-License-Identifier: Apache-2.0 */
/* Chain ids, compared with what `printf 'sha256:%s sha256:%s' ... | sha256sum` gives. */
#include "runtime/layer_chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void
test_chain(void **state)
{
	char chain[LAYER_CHAIN_BYTES];
	char next[LAYER_CHAIN_BYTES];

	(void)state;
	assert_true(layer_chain_next("", A, chain));
	assert_string_equal(chain, A);
	assert_true(layer_chain_next(chain, B, next));
	assert_string_equal(next,
			    "ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c");
	assert_true(layer_chain_next(next, C, chain));
	assert_string_equal(chain,
			    "c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_chain)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
