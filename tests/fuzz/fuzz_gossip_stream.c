/* SPDX-License-Identifier: Apache-2.0 */
/* What a member may say on a stream that it opened (first byte even) or that we opened to it for
 * anti-entropy (odd): u16 bytes and the piece, as often as there is input. */
#include "tests/support/gossip_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Node 2 is alive in its first life: it is asked for anti-entropy at once. */
static const uint8_t hello[] = {1, 1, 0, 0, 5, 0, 12, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 1};

static void
input(struct core_test *t, enum step_input_kind kind, uint32_t stream, const void *data,
      size_t bytes)
{
	core_test_step(t, (struct step_input){
				  .kind = kind,
				  .node = 2,
				  .stream = stream,
				  .data = data,
				  .bytes = bytes,
			  });
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct core_test t;
	uint32_t stream = 3;

	if (size == 0)
		return 0;
	core_test_start(&t);
	prop_check(gossip_put(t.g, 1, 1, "mine", 4) == GOSSIP_OK);
	core_test_datagram(&t, 2, hello, sizeof(hello));
	core_test_pass(&t, 1);
	if (data[0] & 1)
		stream = t.opened;
	prop_check(stream != 0);
	input(&t, STEP_STREAM_UP, stream, NULL, 0);
	for (size_t at = 1; at + 2 <= size;) {
		size_t bytes = data[at] | (size_t)data[at + 1] << 8;

		if (bytes > size - at - 2)
			bytes = size - at - 2;
		input(&t, STEP_STREAM_DATA, stream, data + at + 2, bytes);
		while (t.written)
			input(&t, STEP_STREAM_ROOM, t.written, NULL, 0);
		at += 2 + bytes;
	}
	core_test_check(&t);
	input(&t, STEP_STREAM_DOWN, stream, NULL, 0);
	core_test_pass(&t, 20);
	core_test_check(&t);
	core_test_fini(&t);
	return 0;
}
