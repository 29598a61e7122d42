/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams from members, one after the other, with time in between: u8 sender, u8 time, u16 bytes
 * and the datagram, as often as there is input. The core holds its rules, says no more than it may,
 * and still answers a ping. */
#include "tests/support/gossip_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t ping[] = {1, 1, 0, 0, 1, 0, 16, 0, 7, 0, 0, 0,
			       1, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct core_test t;

	core_test_start(&t);
	prop_check(gossip_put(t.g, 1, 1, "mine", 4) == GOSSIP_OK);
	for (size_t at = 0; at + 4 <= size;) {
		size_t bytes = data[at + 2] | (size_t)data[at + 3] << 8;

		if (bytes > size - at - 4)
			bytes = size - at - 4;
		core_test_datagram(&t, data[at] % (CORE_TEST_NODES + 2), data + at + 4, bytes);
		core_test_pass(&t, data[at + 1] % 64u * 40);
		at += 4 + bytes;
	}
	core_test_check(&t);
	core_test_datagram(&t, 2, ping, sizeof(ping));
	prop_check(t.sent > 0);
	core_test_fini(&t);
	return 0;
}
