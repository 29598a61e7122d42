/* SPDX-License-Identifier: Apache-2.0 */
/* Values of gossip's entries from anywhere; the first byte says of which type. What is taken in is
 * written again and taken in as the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/ipam.h"
#include "scheduler/place/rendezvous.h"
#include "scheduler/tidings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
facts(const uint8_t *data, size_t bytes)
{
	struct tidings_facts f, again;
	struct tidings_value v;
	struct err err = {0};

	if (!tidings_take_facts(data, bytes, &f))
		return;
	/* A later version may have had more room for what this one knows, and one before needs a
	 * byte less. */
	if (tidings_put_facts(&f, &v, &err) < 0) {
		assert(bytes + !f.passes_said > GOSSIP_VALUE_MAX && err.kind == ERR_LIMIT);
		return;
	}
	assert(tidings_take_facts(v.data, v.bytes, &again));
	assert(again.passes_said && again.passes == f.passes);
	again.passes_said = f.passes_said;
	assert(memcmp(&f, &again, sizeof(f)) == 0);
}

static void
load(const uint8_t *data, size_t bytes)
{
	struct tidings_load l, again;
	struct tidings_value v;

	if (!tidings_take_load(data, bytes, &l))
		return;
	tidings_put_load(&l, &v);
	assert(v.bytes == TIDINGS_LOAD_BYTES && tidings_take_load(v.data, v.bytes, &again));
	assert(memcmp(&l, &again, sizeof(l)) == 0);
}

static void
claim(const uint8_t *data, size_t bytes)
{
	struct tidings_value v;
	struct claim c;

	if (!tidings_take_claim(data, bytes, 1, 7, &c))
		return;
	tidings_put_claim(&c, &v);
	assert(c.node == 1 && c.number == 7 && memcmp(v.data, data, v.bytes) == 0);
}

static void
replica(const uint8_t *data, size_t bytes)
{
	struct tidings_replica r, again, third;
	struct tidings_value v;

	if (!tidings_take_replica(data, bytes, &r))
		return;
	/* Long texts are cut once, and then no more. */
	tidings_put_replica(&r, &v);
	assert(tidings_take_replica(v.data, v.bytes, &again));
	tidings_put_replica(&again, &v);
	assert(tidings_take_replica(v.data, v.bytes, &third));
	assert(memcmp(&again, &third, sizeof(again)) == 0);
	assert(again.service == r.service && again.state == r.state);
}

static void
admitted(const uint8_t *data, size_t bytes)
{
	const void *der = tidings_take_admitted(data, bytes, &bytes);
	struct tidings_value v;

	if (der && tidings_put_admitted(der, bytes, &v))
		assert(v.bytes == bytes + 1 && memcmp(v.data + 1, der, bytes) == 0);
}

static void
thing(const uint8_t *data, size_t bytes)
{
	static const char volume[] = "volume:shop/data";
	char out[TIDINGS_THING_MAX];
	struct tidings_value v;

	if (!tidings_take_thing(data, bytes, rendezvous_text(volume), out))
		return;
	assert(tidings_put_thing(out, &v) && strcmp(out, volume) == 0);
}

static void
addresses(const uint8_t *data, size_t bytes)
{
	struct ipam_prefixes p, q;
	struct ipam_ways w, v;
	uint8_t again[IPAM_VALUE_BYTES];

	if (!ipam_take(data, bytes, &p, &w))
		return;
	ipam_put(&p, &w, again);
	assert(memcmp(again + 1, data + 1, IPAM_VALUE_V1_BYTES - 1) == 0);
	assert(ipam_take(again, sizeof(again), &q, &v) && memcmp(&p, &q, sizeof(p)) == 0);
	assert(!w.said || memcmp(&w, &v, sizeof(w)) == 0);
	(void)ipam_between(&w, &v);
}

static void
figures(const uint8_t *data, size_t bytes)
{
	struct tidings_figures f, again;
	struct tidings_value v;

	if (!tidings_take_figures(data, bytes, &f))
		return;
	tidings_put_figures(&f, &v);
	assert(v.bytes == TIDINGS_FIGURES_BYTES && tidings_take_figures(v.data, v.bytes, &again));
	assert(memcmp(&f, &again, sizeof(f)) == 0);
}

static void
scale(const uint8_t *data, size_t bytes)
{
	struct tidings_scale s, again, third;
	struct tidings_value v;

	if (!tidings_take_scale(data, bytes, &s))
		return;
	tidings_put_scale(&s, &v);
	assert(tidings_take_scale(v.data, v.bytes, &again));
	tidings_put_scale(&again, &v);
	assert(tidings_take_scale(v.data, v.bytes, &third));
	assert(memcmp(&again, &third, sizeof(again)) == 0 && again.to == s.to);
}

static void
waits(const uint8_t *data, size_t bytes)
{
	struct tidings_waits w, again, third;
	struct tidings_value v;

	if (!tidings_take_waits(data, bytes, &w))
		return;
	tidings_put_waits(&w, &v);
	assert(tidings_take_waits(v.data, v.bytes, &again));
	tidings_put_waits(&again, &v);
	assert(tidings_take_waits(v.data, v.bytes, &third));
	assert(memcmp(&again, &third, sizeof(again)) == 0);
	assert(again.missing == w.missing && again.reasons == w.reasons && again.reason.kind);
}

static void
writer(const uint8_t *data, size_t bytes)
{
	uint32_t term, again;
	struct tidings_value v;

	if (!tidings_take_writer(data, bytes, &term))
		return;
	tidings_put_writer(term, &v);
	assert(v.bytes == TIDINGS_WRITER_BYTES && tidings_take_writer(v.data, v.bytes, &again));
	assert(term > 0 && again == term);
}

static void
voter(const uint8_t *data, size_t bytes)
{
	struct tidings_voter r, again;
	struct tidings_value v;

	if (!tidings_take_voter(data, bytes, &r))
		return;
	tidings_put_voter(&r, &v);
	assert(tidings_take_voter(v.data, v.bytes, &again));
	assert(again.flags == r.flags && again.life == r.life && again.term == r.term);
	assert(memcmp(&again.client, &r.client, sizeof(r.client)) == 0);
}

static void
guest(const uint8_t *data, size_t bytes)
{
	struct tidings_guest g, again;
	struct tidings_value v;

	if (!tidings_take_guest(data, bytes, &g))
		return;
	tidings_put_guest(&g, &v);
	assert(tidings_take_guest(v.data, v.bytes, &again));
	assert(memcmp(&again, &g, sizeof(g)) == 0 && g.network[0]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static void (*const types[])(const uint8_t *data, size_t bytes) = {
		[TIDINGS_FACTS] = facts,         [TIDINGS_LOAD] = load,
		[TIDINGS_CLAIM] = claim,         [TIDINGS_REPLICA] = replica,
		[TIDINGS_ADMITTED] = admitted,   [TIDINGS_THING] = thing,
		[TIDINGS_ADDRESSES] = addresses, [TIDINGS_FIGURES] = figures,
		[TIDINGS_SCALE] = scale,         [TIDINGS_WRITER] = writer,
		[TIDINGS_VOTER] = voter,         [TIDINGS_GUEST] = guest,
		[TIDINGS_WAITS] = waits,
	};

	if (!bytes || data[0] < TIDINGS_FACTS || data[0] > TIDINGS_WAITS)
		return 0;
	types[data[0]](data + 1, bytes - 1);
	return 0;
}
