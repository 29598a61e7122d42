/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages, claims and a journal from anywhere. What is decoded encodes to the same bytes (of this
 * version; a later one's begin with them); a ledger that is given it all, with one service that
 * fits, never promises more than it has.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/place/claimlog.h"
#include "scheduler/place/placement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
messages(const uint8_t *data, size_t bytes)
{
	uint8_t again[PLACEMSG_BYTES_MAX];
	struct placemsg m;
	struct cursor c;

	cursor_init(&c, data, bytes);
	for (;;) {
		const uint8_t *from = c.at;

		if (placemsg_decode(&c, &m) != PLACEMSG_OK)
			return;
		size_t length = placemsg_encode(&m, again);
		assert(length <= (size_t)(c.at - from) &&
		       memcmp(again + 2, from + 2, length - 2) == 0);
		assert(again[0] == from[0]);
		assert(from[1] != PLACEMSG_VERSION || length == (size_t)(c.at - from));
	}
}

static void
journal(const uint8_t *data, size_t bytes)
{
	uint8_t again[CLAIMLOG_BYTES_MAX];
	struct claimlog_reader r;
	struct claimlog_record record;

	claimlog_open(&r, data, bytes);
	while (claimlog_next(&r, &record)) {
		size_t length = claimlog_encode(&record, again);
		assert(memcmp(again, r.at - length, length) == 0);
	}
}

static void
a_cell(struct fleet *f)
{
	struct fleet_facts node = {
		.node = 1,
		.name = "edge-1",
		.zone = "",
		.platform = "linux/amd64",
		.cpu_milli = 1000,
		.memory_bytes = 1 << 30,
	};
	struct fleet_spec web = {
		.id = 7,
		.name = "shop/web",
		.revision = 1,
		.replicas = 3,
		.cpu_milli = 400,
		.memory_bytes = 1 << 28,
		.platform = "",
		.surge = 1,
	};

	fleet_init(f);
	if (fleet_node_set(f, &node) < 0 || fleet_service_set(f, &web) < 0)
		abort();
	f->complete = true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct step_actions out;
	struct placement p;
	struct fleet f;

	messages(data, bytes);
	journal(data, bytes);
	a_cell(&f);
	placement_init(&p, &f, 1, 1);
	fleet_on_change(&f, placement_changed, &p);
	/* A journal begins with its magic, messages do not. */
	bool file = bytes > 0 && data[0] == 'Z';
	for (int i = file ? 0 : 1; i < 5; i++) {
		struct step_input in = {
			.now_ns = 1 + (uint64_t)i * 3000000000,
			.kind = i == 0   ? STEP_FILE
				: i == 1 ? STEP_START
					 : STEP_DATAGRAM,
			.what = i == 0 ? PLACEMENT_FILE : 0,
			.node = 1,
			.data = data,
			.bytes = bytes,
		};

		step_actions_clear(&out);
		placement_step(&p, &in, &out);
		assert(file || p.ledger.cpu_used_milli <= 1000);
	}
	placement_fini(&p);
	fleet_fini(&f);
	return 0;
}
