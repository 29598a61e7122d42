/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams to a relay: u8 from whom, u8 time, u8 bytes and the bytes, as often as there is input.
 * From node 1, from node 2 or from a stranger; as they are, with a first MAC for the other one, or
 * with a number that passed. Nothing goes to anybody but the two, nothing of the stranger's goes
 * anywhere, and afterwards the two still speak through it.
 */
#include "tests/support/relay_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WHO = 3, STAMPED = 4, NUMBERED = 8, HEARD = 16 };

static struct rw rw;

static void
record(uint8_t what, uint8_t time, const uint8_t *data, size_t size)
{
	unsigned from = 1 + (what & WHO) % 2;
	bool stranger = (what & WHO) == WHO;
	struct relay_to to = {0};
	struct addr places[3];
	uint8_t *exact;

	wg_jump(&rw.wire, time * 1000 * wg_ms);
	for (unsigned n = 1; n <= RW_HIDDEN; n++) {
		rw_outside(&rw, n, &rw.node[3]->addr, &places[n]);
		if (what & HEARD)
			prop_check(relay_heard(rw.relay[3], rw.node[n]->public_key, &places[n],
					       NULL, rw_now(&rw)));
	}
	places[0] = places[from];
	places[0].port = (uint16_t)(places[0].port + 7);
	exact = mem_dup(MEM_BASE, data, size);
	prop_check(exact != NULL);
	if (what & STAMPED && size > NOISE_MACS)
		wg_stamp(rw.node[from], rw.peer[from][3 - from], exact, size);
	const struct session *s = wg_current(rw.peer[from][3 - from]);
	if (what & NUMBERED && size >= 12 && s)
		noise_put_u32(exact + (exact[0] == NOISE_TYPE_RESPONSE ? 8 : 4), s->keys.remote);
	enum relay_verdict v = relay_take(rw.relay[3], rw_now(&rw), &places[stranger ? 0 : from],
					  exact, size, &to);
	prop_check(v < RELAY_VERDICTS);
	prop_check(v == RELAY_OWN || !stranger);
	prop_check((v == RELAY_FORWARD) == !addr_is_zero(&to.at));
	prop_check(v != RELAY_FORWARD || addr_equal(&to.at, &places[3 - from]) ||
		   addr_equal(&to.at, &places[from]));
	mem_free(exact);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	rw_init(&rw, 1);
	rw_use(&rw, 1, 2, 3);
	rw_use(&rw, 2, 1, 3);
	rw_pass(&rw, 6 * wg_second);
	prop_check(rw_says(&rw, 1, 2));
	for (size_t at = 0; at + 3 <= size;) {
		size_t bytes = data[at + 2];

		if (bytes > size - at - 3)
			bytes = size - at - 3;
		record(data[at], data[at + 1], data + at + 3, bytes);
		at += 3 + bytes;
	}
	wg_clear(&rw.wire);
	bool there = false;
	for (unsigned i = 0; i < 60 && !there; i++) {
		rw_pass(&rw, 5 * wg_second);
		there = rw_says(&rw, 1, 2) && rw_says(&rw, 2, 1);
	}
	prop_check(there);
	rw_fini(&rw);
	return 0;
}
