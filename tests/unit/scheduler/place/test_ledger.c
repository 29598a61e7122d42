/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/place/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "scheduler/place/placement.h"
#include "tests/support/sweep.h"

#define GIB ((uint64_t)1 << 30)
#define S_NS UINT64_C(1000000000)

enum { SELF = 1, PEER = 9, WEB = 7, DNS = 8 };

static const char *const port[] = {"port:tcp/53"};

/* A node with 4 cores and 8 GiB; web reserves one core and 1 GiB. */
struct rig {
	struct fleet fleet;
	struct placement p;
	struct step_actions out;
	uint64_t now_ns;
	uint8_t journal[8192];
	size_t journal_bytes;
};

static int
fill(struct rig *r)
{
	struct fleet_facts facts = {.node = SELF,
				    .name = "edge-1",
				    .zone = "",
				    .platform = "",
				    .cpu_milli = 4000,
				    .memory_bytes = 8 * GIB};
	struct fleet_spec web = {.id = WEB,
				 .name = "shop/web",
				 .revision = 3,
				 .replicas = 10,
				 .cpu_milli = 1000,
				 .memory_bytes = GIB,
				 .platform = ""};
	struct fleet_spec dns = {.id = DNS,
				 .name = "shop/dns",
				 .revision = 1,
				 .replicas = 2,
				 .platform = "",
				 .takes = port,
				 .takes_count = 1};

	if (fleet_node_set(&r->fleet, &facts) < 0 || fleet_service_set(&r->fleet, &web) < 0 ||
	    fleet_service_set(&r->fleet, &dns) < 0)
		return -1;
	/* Somebody else coordinates: this node's own is another test. */
	facts.node = PEER;
	facts.name = "edge-9";
	facts.cpu_milli = 0;
	if (fleet_node_set(&r->fleet, &facts) < 0)
		return -1;
	fleet_node_status(&r->fleet, PEER, FLEET_SUSPECT);
	return fleet_refresh(&r->fleet);
}

static void
step(struct rig *r, struct step_input in)
{
	in.now_ns = r->now_ns;
	step_actions_clear(&r->out);
	placement_step(&r->p, &in, &r->out);
}

static void
begin(struct rig *r)
{
	fleet_init(&r->fleet);
	assert_int_equal(fill(r), 0);
	placement_init(&r->p, &r->fleet, SELF, 1);
	r->now_ns = 100 * S_NS;
	if (r->journal_bytes)
		step(r, (struct step_input){.kind = STEP_FILE,
					    .what = PLACEMENT_FILE,
					    .data = r->journal,
					    .bytes = r->journal_bytes});
	step(r, (struct step_input){.kind = STEP_START});
}

static void
end(struct rig *r)
{
	placement_fini(&r->p);
	fleet_fini(&r->fleet);
}

static void
say(struct rig *r, const struct placemsg *m)
{
	uint8_t bytes[PLACEMSG_BYTES_MAX];
	size_t length = placemsg_encode(m, bytes);

	step(r, (struct step_input){
			.kind = STEP_DATAGRAM, .node = PEER, .data = bytes, .bytes = length});
}

static const struct step_action *
action(const struct rig *r, enum step_action_kind kind, uint16_t what)
{
	for (size_t i = 0; i < r->out.count; i++) {
		const struct step_action *a = &r->out.items[i];

		if (a->kind == kind &&
		    (kind == STEP_SEND || kind == STEP_SET_TIMER || a->what == what))
			return a;
	}
	return NULL;
}

/* The only message that was sent. */
static struct placemsg
heard(struct rig *r)
{
	const struct step_action *a = action(r, STEP_SEND, 0);
	struct placemsg m = {0};
	struct cursor c;

	assert_non_null(a);
	assert_int_equal(a->node, PEER);
	cursor_init(&c, step_data(&r->out, a), a->bytes);
	assert_int_equal(placemsg_decode(&c, &m), PLACEMSG_OK);
	assert_true(cursor_done(&c));
	return m;
}

static struct placemsg
offer_of(uint64_t offer, uint64_t service, uint32_t slot)
{
	return (struct placemsg){.kind = PLACEMSG_OFFER,
				 .offer = offer,
				 .service = service,
				 .slot = slot,
				 .revision = service == WEB ? 3 : 1,
				 .cpu_milli = service == WEB ? 1000 : 0,
				 .memory_bytes = service == WEB ? GIB : 0};
}

static struct placemsg
offer(struct rig *r, uint64_t offer, uint64_t service, uint32_t slot)
{
	struct placemsg m = offer_of(offer, service, slot);

	say(r, &m);
	return heard(r);
}

static void
award(struct rig *r, uint64_t offer, uint64_t service, uint32_t slot)
{
	say(r, &(struct placemsg){
		       .kind = PLACEMSG_AWARD, .offer = offer, .service = service, .slot = slot});
}

/* Adds what was written to the journal and says how it went. */
static void
written(struct rig *r, bool good)
{
	struct step_actions *out = mem_dup(MEM_BASE, &r->out, sizeof(r->out));

	assert_non_null(out);
	for (size_t i = 0; i < out->count; i++) {
		const struct step_action *a = &out->items[i];

		if (a->kind != STEP_APPEND && a->kind != STEP_REPLACE)
			continue;
		if (good && a->kind == STEP_REPLACE)
			r->journal_bytes = 0;
		if (good) {
			assert_true(r->journal_bytes + a->bytes <= sizeof(r->journal));
			memcpy(r->journal + r->journal_bytes, step_data(out, a), a->bytes);
			r->journal_bytes += a->bytes;
		}
		step(r, (struct step_input){.kind = STEP_DISK_DONE,
					    .token = a->token,
					    .status = good ? 0 : ERR_SYSTEM});
	}
	mem_free(out);
}

static uint64_t
claimed(struct rig *r, uint64_t id, uint64_t service, uint32_t slot)
{
	const struct step_action *tell;
	uint64_t number;

	assert_int_equal(offer(r, id, service, slot).kind, PLACEMSG_PROMISE);
	award(r, id, service, slot);
	tell = action(r, STEP_TELL, PLACEMENT_CLAIM);
	assert_non_null(tell);
	number = tell->token;
	written(r, true);
	return number;
}

/* ---- promises ---- */

static void
test_never_more_than_there_is(void **state)
{
	struct rig *r = *state;
	struct placemsg m;

	for (uint32_t i = 0; i < 4; i++) {
		m = offer(r, 100 + i, WEB, i);
		assert_int_equal(m.kind, PLACEMSG_PROMISE);
		assert_int_equal(m.ttl_ms, LEDGER_PROMISE_MS);
		assert_int_equal(m.cpu_milli, 3000 - 1000 * i);
		assert_true(m.memory_bytes == (7 - i) * GIB);
	}
	m = offer(r, 104, WEB, 4);
	assert_int_equal(m.kind, PLACEMSG_REJECT);
	assert_int_equal(m.reasons, FIT_CPU);
	assert_int_equal(m.cpu_milli, 0);
	assert_true(m.memory_bytes == 4 * GIB);
	assert_true(m.ttl_ms > 0);
}

static void
test_price_grows(void **state)
{
	struct rig *r = *state;
	uint32_t before = offer(r, 1, WEB, 0).price;

	assert_true(offer(r, 2, WEB, 1).price > before);
}

static void
test_an_offer_twice_is_one(void **state)
{
	struct rig *r = *state;

	offer(r, 1, WEB, 0);
	assert_int_equal(offer(r, 1, WEB, 0).kind, PLACEMSG_PROMISE);
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
}

static void
test_a_promise_ends(void **state)
{
	struct rig *r = *state;

	offer(r, 1, WEB, 0);
	assert_int_equal(action(r, STEP_SET_TIMER, 0) != NULL, 1);
	r->now_ns += LEDGER_PROMISE_MS * UINT64_C(1000000);
	step(r, (struct step_input){.kind = STEP_TIMER});
	assert_int_equal(r->p.ledger.cpu_used_milli, 0);
	award(r, 1, WEB, 0);
	assert_int_equal(heard(r).reasons, FIT_EXPIRED);
}

static void
test_release(void **state)
{
	struct rig *r = *state;

	offer(r, 1, WEB, 0);
	say(r, &(struct placemsg){.kind = PLACEMSG_RELEASE, .offer = 1});
	assert_int_equal(r->p.ledger.cpu_used_milli, 0);
	say(r, &(struct placemsg){.kind = PLACEMSG_RELEASE, .offer = 1});
}

static void
test_refusals(void **state)
{
	struct rig *r = *state;
	struct placemsg m = offer_of(1, WEB, 0);

	m.revision = 2;
	say(r, &m);
	assert_int_equal(heard(r).reasons, FIT_UNKNOWN);
	m = offer_of(2, WEB, 0);
	m.cpu_milli = 1;
	say(r, &m);
	assert_int_equal(heard(r).reasons, FIT_UNKNOWN);
	assert_int_equal(offer(r, 3, 12345, 0).reasons, FIT_UNKNOWN);
	assert_int_equal(offer(r, 4, DNS, 0).kind, PLACEMSG_PROMISE);
	assert_int_equal(offer(r, 5, DNS, 1).reasons, FIT_TAKEN);
	step(r, (struct step_input){.kind = STEP_LOCAL, .what = PLACEMENT_CORDON, .token = 1});
	assert_int_equal(offer(r, 6, WEB, 0).reasons, FIT_CORDONED);
	step(r, (struct step_input){.kind = STEP_LOCAL, .what = PLACEMENT_CORDON});
	assert_int_equal(offer(r, 7, WEB, 0).kind, PLACEMSG_PROMISE);
}

/* ---- claims ---- */

static void
test_a_claim_counts_when_it_is_durable(void **state)
{
	struct rig *r = *state;
	const struct step_action *write, *tell, *sent;

	offer(r, 1, WEB, 2);
	award(r, 1, WEB, 2);
	write = action(r, STEP_APPEND, PLACEMENT_FILE);
	tell = action(r, STEP_TELL, PLACEMENT_CLAIM);
	sent = action(r, STEP_SEND, 0);
	assert_true(write && tell && sent);
	assert_true(write->token && tell->after == write->token && sent->after == write->token);
	written(r, true);
	const struct ledger_item *i = ledger_claim(&r->p.ledger, tell->token);
	assert_int_equal(i->phase, LEDGER_HELD);
	assert_int_equal(i->claim.slot, 2);
	assert_int_equal(i->claim.revision, 3);
	/* Again, offered or awarded: the same claim. */
	award(r, 1, WEB, 2);
	assert_int_equal(heard(r).kind, PLACEMSG_CLAIMED);
	assert_true(offer(r, 55, WEB, 2).claim.number == i->claim.number);
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
}

static void
test_a_write_in_doubt(void **state)
{
	struct rig *r = *state;

	offer(r, 1, WEB, 0);
	award(r, 1, WEB, 0);
	written(r, false);
	assert_non_null(action(r, STEP_REPLACE, PLACEMENT_FILE));
	/* Neither told nor given back until the file is known to be without it. */
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
	written(r, false);
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
	assert_null(action(r, STEP_REPLACE, PLACEMENT_FILE));
	r->now_ns += LEDGER_RETRY_MS * UINT64_C(1000000);
	step(r, (struct step_input){.kind = STEP_TIMER});
	assert_non_null(action(r, STEP_REPLACE, PLACEMENT_FILE));
	award(r, 1, WEB, 0);
	assert_int_equal(heard(r).reasons, FIT_JOURNAL);
	r->now_ns += S_NS;
	step(r, (struct step_input){.kind = STEP_DISK_DONE, .token = r->p.ledger.rewrite_token});
	assert_int_equal(r->p.ledger.cpu_used_milli, 0);
}

static void
test_between_promise_and_award(void **state)
{
	struct rig *r = *state;

	offer(r, 1, WEB, 0);
	step(r, (struct step_input){.kind = STEP_LOCAL,
				    .what = PLACEMENT_DRAIN,
				    .token = r->now_ns + 60 * S_NS});
	award(r, 1, WEB, 0);
	assert_int_equal(heard(r).reasons, FIT_DRAINING);
	assert_int_equal(r->p.ledger.cpu_used_milli, 0);
}

static void
test_ends(void **state)
{
	struct rig *r = *state;
	uint64_t number = claimed(r, 1, WEB, 0);

	step(r, (struct step_input){.kind = STEP_LOCAL, .what = PLACEMENT_ENDED, .token = number});
	assert_true(action(r, STEP_TELL, PLACEMENT_UNCLAIM)->token == number);
	/* Given to another only when a restart would not bring it back. */
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
	written(r, true);
	assert_int_equal(r->p.ledger.cpu_used_milli, 0);
	assert_null(ledger_claim(&r->p.ledger, number));
}

static void
test_state_is_told(void **state)
{
	struct rig *r = *state;
	uint64_t number = claimed(r, 1, WEB, 0);
	struct claim c;

	step(r, (struct step_input){.kind = STEP_LOCAL,
				    .what = PLACEMENT_STATE,
				    .token = number,
				    .status = CLAIM_READY});
	assert_true(claim_decode(step_data(&r->out, action(r, STEP_TELL, PLACEMENT_CLAIM)), &c));
	assert_int_equal(c.state, CLAIM_READY);
	step(r, (struct step_input){.kind = STEP_LOCAL,
				    .what = PLACEMENT_STATE,
				    .token = number,
				    .status = CLAIM_READY});
	assert_null(action(r, STEP_TELL, PLACEMENT_CLAIM));
}

/* ---- leaving ---- */

static void
retire(struct rig *r, uint64_t number, enum claim_retire why, uint32_t winner)
{
	say(r, &(struct placemsg){.kind = PLACEMSG_RETIRE,
				  .service = WEB,
				  .number = number,
				  .retire = why,
				  .winner = winner});
}

static void
test_retire(void **state)
{
	struct rig *r = *state;
	uint64_t number = claimed(r, 1, WEB, 0);

	retire(r, number + 1, CLAIM_RETIRE_SCALE, 0);
	assert_int_equal(heard(r).kind, PLACEMSG_GONE);
	assert_int_equal(heard(r).number, number + 1);
	retire(r, number, CLAIM_RETIRE_SCALE, 0);
	assert_int_equal(heard(r).claim.state, CLAIM_LEAVING);
	assert_true(action(r, STEP_TELL, PLACEMENT_STOP)->token == number);
	retire(r, number, CLAIM_RETIRE_SCALE, 0);
	assert_null(action(r, STEP_TELL, PLACEMENT_STOP));
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
}

static void
test_asked_whether_it_is_there(void **state)
{
	struct rig *r = *state;
	uint64_t number = claimed(r, 1, WEB, 0);
	struct placemsg ask = {.kind = PLACEMSG_ASK, .service = WEB, .number = number};

	say(r, &ask);
	assert_int_equal(heard(r).kind, PLACEMSG_CLAIMED);
	assert_int_equal(heard(r).claim.number, number);
	assert_int_equal(heard(r).offer, 0);
	ask.number++;
	say(r, &ask);
	assert_int_equal(heard(r).kind, PLACEMSG_GONE);
	assert_int_equal(heard(r).number, number + 1);
	/* Of another service it is nobody's business. */
	ask = (struct placemsg){.kind = PLACEMSG_ASK, .service = WEB + 1, .number = number};
	say(r, &ask);
	assert_null(action(r, STEP_SEND, 0));
	assert_null(action(r, STEP_TELL, PLACEMENT_STOP));
}

/* A node does not leave its slot to a winner that it has not heard to be ready. */
static void
test_the_loser_looks_itself(void **state)
{
	struct rig *r = *state;
	uint64_t number = claimed(r, 1, WEB, 0);
	struct claim winner = {.service = WEB,
			       .slot = 0,
			       .revision = 3,
			       .node = PEER,
			       .state = CLAIM_STARTING,
			       .number = number};

	retire(r, number, CLAIM_RETIRE_DUPLICATE, PEER);
	assert_null(action(r, STEP_SEND, 0));
	assert_int_equal(fleet_claim_set(&r->fleet, &winner), 0);
	retire(r, number, CLAIM_RETIRE_DUPLICATE, PEER);
	assert_null(action(r, STEP_SEND, 0));
	winner.state = CLAIM_READY;
	assert_int_equal(fleet_claim_set(&r->fleet, &winner), 0);
	retire(r, number, CLAIM_RETIRE_DUPLICATE, PEER);
	assert_int_equal(heard(r).claim.state, CLAIM_LEAVING);
}

static void
test_drain_ends(void **state)
{
	struct rig *r = *state;
	uint64_t a = claimed(r, 1, WEB, 0), b = claimed(r, 2, WEB, 1);
	unsigned stops = 0;

	step(r, (struct step_input){.kind = STEP_LOCAL,
				    .what = PLACEMENT_DRAIN,
				    .token = r->now_ns + 60 * S_NS});
	assert_int_equal(offer(r, 3, WEB, 2).reasons, FIT_DRAINING);
	r->now_ns += 60 * S_NS;
	step(r, (struct step_input){.kind = STEP_TIMER});
	for (size_t i = 0; i < r->out.count; i++)
		stops +=
			r->out.items[i].kind == STEP_TELL && r->out.items[i].what == PLACEMENT_STOP;
	assert_int_equal(stops, 2);
	assert_int_equal(ledger_claim(&r->p.ledger, a)->claim.reason, CLAIM_RETIRE_DEADLINE);
	assert_int_equal(ledger_claim(&r->p.ledger, b)->claim.state, CLAIM_LEAVING);
}

/* ---- restart ---- */

static void
test_adoption(void **state)
{
	struct rig *r = *state;
	uint64_t a = claimed(r, 1, WEB, 0), b = claimed(r, 2, DNS, 1), c = claimed(r, 3, WEB, 2);
	const uint64_t running[] = {a, 4711};

	step(r, (struct step_input){.kind = STEP_LOCAL, .what = PLACEMENT_ENDED, .token = c});
	written(r, true);
	/* Torn at the end. */
	memcpy(r->journal + r->journal_bytes, r->journal, 30);
	r->journal_bytes += 30;
	end(r);
	begin(r);
	assert_int_equal(ledger_claim(&r->p.ledger, a)->claim.state, CLAIM_STARTING);
	assert_non_null(ledger_claim(&r->p.ledger, b));
	assert_null(ledger_claim(&r->p.ledger, c));
	assert_int_equal(r->p.ledger.cpu_used_milli, 1000);
	/* Told anew, and the torn end is cut off. */
	assert_non_null(action(r, STEP_TELL, PLACEMENT_CLAIM));
	assert_non_null(action(r, STEP_REPLACE, PLACEMENT_FILE));
	written(r, true);
	step(r, (struct step_input){.kind = STEP_LOCAL,
				    .what = PLACEMENT_RUNNING,
				    .data = running,
				    .bytes = sizeof(running)});
	assert_int_equal(action(r, STEP_TELL, PLACEMENT_ORPHAN)->token, 4711);
	/* What it took is still taken, its numbers are not used again. */
	assert_int_equal(offer(r, 9, DNS, 0).reasons, FIT_TAKEN);
	assert_true(claimed(r, 10, WEB, 5) > c);
}

static void
test_the_journal_stays_small(void **state)
{
	struct rig *r = *state;

	for (uint32_t i = 0; i < 600; i++) {
		uint64_t number = claimed(r, 1000 + i, WEB, 0);

		step(r, (struct step_input){
				.kind = STEP_LOCAL, .what = PLACEMENT_ENDED, .token = number});
		written(r, true);
		if (r->journal_bytes > sizeof(r->journal) / 2) {
			/* The file as the disk has it: what was written anew took its place. */
			r->journal_bytes = 0;
		}
	}
	assert_true(r->p.ledger.rewrites > 2);
	assert_true(r->p.ledger.journal_records < 600);
}

/* Whatever allocation fails: nothing is lost, and nothing is promised that is not held. */
static void
test_allocation_failures(void **state)
{
	struct rig *r = *state;

	end(r);
	sweep_each(s)
	{
		fleet_init(&r->fleet);
		placement_init(&r->p, &r->fleet, SELF, 1);
		if (fill(r) == 0) {
			struct placemsg m = offer_of(1, WEB, 0);

			step(r, (struct step_input){.kind = STEP_START});
			say(r, &m);
			award(r, 1, WEB, 0);
			const struct step_action *a = action(r, STEP_APPEND, PLACEMENT_FILE);
			uint64_t token = a ? a->token : 0;
			if (a && !r->journal_bytes) {
				memcpy(r->journal, step_data(&r->out, a), a->bytes);
				r->journal_bytes = a->bytes;
			}
			step(r, (struct step_input){.kind = STEP_DISK_DONE, .token = token});
			assert_true(r->p.ledger.items_count <= 1);
			assert_int_equal(r->p.ledger.cpu_used_milli,
					 1000 * r->p.ledger.items_count);
			assert_int_equal(ledger_claim(&r->p.ledger, token) != NULL, token != 0);
			retire(r, token, CLAIM_RETIRE_SCALE, 0);
			step(r, (struct step_input){.kind = STEP_LOCAL,
						    .what = PLACEMENT_ENDED,
						    .token = token});
		}
		placement_fini(&r->p);
		fleet_fini(&r->fleet);
	}
	sweep_each(s)
	{
		fleet_init(&r->fleet);
		placement_init(&r->p, &r->fleet, SELF, 1);
		step(r, (struct step_input){.kind = STEP_FILE,
					    .what = PLACEMENT_FILE,
					    .data = r->journal,
					    .bytes = r->journal_bytes});
		assert_int_equal(r->p.lost, sweep_failed());
		placement_fini(&r->p);
		fleet_fini(&r->fleet);
	}
	begin(r);
}

static int
setup(void **state)
{
	struct rig *r = mem_zalloc(MEM_BASE, sizeof(*r));

	assert_non_null(r);
	begin(r);
	*state = r;
	return 0;
}

static int
teardown(void **state)
{
	end(*state);
	mem_free(*state);
	return 0;
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_never_more_than_there_is),
		TEST(test_price_grows),
		TEST(test_an_offer_twice_is_one),
		TEST(test_a_promise_ends),
		TEST(test_release),
		TEST(test_refusals),
		TEST(test_a_claim_counts_when_it_is_durable),
		TEST(test_a_write_in_doubt),
		TEST(test_between_promise_and_award),
		TEST(test_ends),
		TEST(test_state_is_told),
		TEST(test_retire),
		TEST(test_asked_whether_it_is_there),
		TEST(test_the_loser_looks_itself),
		TEST(test_drain_ends),
		TEST(test_adoption),
		TEST(test_the_journal_stays_small),
		TEST(test_allocation_failures),
	};

	return cmocka_run_group_tests_name("scheduler_place_ledger", tests, NULL, NULL);
}
