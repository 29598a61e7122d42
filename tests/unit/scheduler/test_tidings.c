/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/tidings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "ring/msg_deploy.h"
#include "scheduler/place/fit.h"
#include "scheduler/place/rendezvous.h"

static struct tidings_facts
some_facts(void)
{
	struct tidings_facts f = {
		.draining = true,
		.cpu_milli = 7750,
		.memory_bytes = UINT64_C(8) << 30,
		.started_wall_ns = 1763800000000000000,
		.passes_said = true,
		.passes = 1,
		.name = "edge-1",
		.zone = "a",
		.platform = "linux/amd64",
		.version = "0.3.1",
		.labels = {{"gpu", "true"}, {"zlayer.io/disk", ""}},
		.labels_count = 2,
		.taints = {"dirty"},
		.taints_count = 1,
	};

	assert_true(addr_parse("192.0.2.7:9881", &f.address));
	return f;
}

static struct tidings_replica
some_replica(void)
{
	struct tidings_replica r = {
		.service = 12,
		.operation = 99,
		.claim = 5,
		.index = 2,
		.revision = 13,
		.attempt = 3,
		.ready_attempt = 2,
		.restarts = 1,
		.conditions = MSG_SCHEDULED | MSG_READY,
		.state = MSG_REPLICA_READY,
		.flags = TIDINGS_STARTED | TIDINGS_PASSED,
		.created_wall_ns = 1,
		.since_wall_ns = 2,
		.ready_wall_ns = 3,
		.lease_epoch = 77,
		.exit = MSG_EXIT_KNOWN | 9 << MSG_EXIT_SIGNAL_SHIFT,
		.memory_bytes = UINT64_C(5) << 30,
		.make = {1, 2, 3},
		.reason = {.kind = ERR_TIMEOUT, .code = 4, .what = "a", .why = "b", .fix = "c"},
	};

	assert_true(addr_parse_ip("10.20.0.7", &r.addr4));
	assert_true(addr_parse_ip("fd00::7", &r.addr6));
	return r;
}

static struct tidings_scale
some_scale(void)
{
	return (struct tidings_scale){
		.decision = MSG_SCALE_HELD,
		.known = 1 << AUTOSCALE_RPS,
		.from = 1,
		.to = 3,
		.changed_wall_ns = 4,
		.mean = {5, 6, UINT64_MAX},
		.why = "25.0 requests/s of 10 of each replica",
		.held = {.kind = ERR_LIMIT, .what = "cannot place web", .fix = "add a node"},
	};
}

static struct tidings_waits
some_waits(void)
{
	return (struct tidings_waits){
		.missing = 2,
		.reasons = FIT_LABEL | FIT_DEAD,
		.reason = {.kind = ERR_LIMIT,
			   .what = "cannot place web: 2 of 3 replicas have no node",
			   .why = "edge-1: label disk=ssd is asked, this node has no disk",
			   .fix = "give edge-1 the label disk=ssd"},
	};
}

static void
test_waits(void **state)
{
	struct tidings_waits w = some_waits(), w2;
	struct tidings_value v;

	(void)state;
	tidings_put_waits(&w, &v);
	assert_true(tidings_take_waits(v.data, v.bytes, &w2));
	assert_memory_equal(&w, &w2, sizeof(w));
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_waits(v.data, n, &w2));
	v.data[0] = TIDINGS_VERSION + 1;
	v.data[v.bytes++] = 7;
	assert_true(tidings_take_waits(v.data, v.bytes, &w2));
	/* What no node writes: that none waits, that more wait than there can be, no reason. */
	w.missing = 0;
	tidings_put_waits(&w, &v);
	assert_false(tidings_take_waits(v.data, v.bytes, &w2));
	w.missing = FLEET_REPLICAS_MAX + 1;
	tidings_put_waits(&w, &v);
	assert_false(tidings_take_waits(v.data, v.bytes, &w2));
	w = some_waits();
	w.reason.kind = 0;
	tidings_put_waits(&w, &v);
	assert_false(tidings_take_waits(v.data, v.bytes, &w2));
	w = some_waits();
	memset(w.reason.what, 'w', sizeof(w.reason.what) - 1);
	memset(w.reason.why, '\x1b', sizeof(w.reason.why) - 1);
	memset(w.reason.why2, 'y', sizeof(w.reason.why2) - 1);
	memset(w.reason.fix, 'z', sizeof(w.reason.fix) - 1);
	tidings_put_waits(&w, &v);
	assert_true(tidings_take_waits(v.data, v.bytes, &w2));
}

static void
test_writer(void **state)
{
	struct tidings_value v;
	uint32_t term = 0;

	(void)state;
	tidings_put_writer(7, &v);
	assert_int_equal(v.bytes, TIDINGS_WRITER_BYTES);
	assert_true(tidings_take_writer(v.data, v.bytes, &term));
	assert_int_equal(term, 7);
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_writer(v.data, n, &term));
	v.data[v.bytes++] = 1; /* of this version nothing follows, of a later one it may */
	assert_false(tidings_take_writer(v.data, v.bytes, &term));
	v.data[0] = TIDINGS_VERSION + 1;
	assert_true(tidings_take_writer(v.data, v.bytes, &term));
	tidings_put_writer(0, &v); /* nobody says so */
	assert_false(tidings_take_writer(v.data, v.bytes, &term));
}

static void
test_figures_and_decisions(void **state)
{
	struct tidings_figures f = {true, 2, 3, 4, 5, 6, {7, 8, UINT64_MAX}}, f2;
	struct tidings_scale s = some_scale(), s2;
	struct tidings_value v;

	(void)state;
	tidings_put_figures(&f, &v);
	assert_int_equal(v.bytes, TIDINGS_FIGURES_BYTES);
	assert_true(tidings_take_figures(v.data, v.bytes, &f2));
	assert_memory_equal(&f, &f2, sizeof(f));
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_figures(v.data, n, &f2));
	f.ready = UINT32_MAX; /* no node has so many */
	tidings_put_figures(&f, &v);
	assert_false(tidings_take_figures(v.data, v.bytes, &f2));
	tidings_put_scale(&s, &v);
	assert_true(tidings_take_scale(v.data, v.bytes, &s2));
	assert_memory_equal(&s, &s2, sizeof(s));
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_scale(v.data, n, &s2));
	s.decision = MSG_SCALE_HELD + 1;
	tidings_put_scale(&s, &v);
	assert_false(tidings_take_scale(v.data, v.bytes, &s2));
	s.decision = MSG_SCALE_LOAD;
	memset(s.why, 'w', sizeof(s.why) - 1);
	memset(s.held.what, '\x1b', sizeof(s.held.what) - 1);
	memset(s.held.why, 'x', sizeof(s.held.why) - 1);
	memset(s.held.why2, 'y', sizeof(s.held.why2) - 1);
	memset(s.held.fix, 'z', sizeof(s.held.fix) - 1);
	tidings_put_scale(&s, &v);
	assert_true(tidings_take_scale(v.data, v.bytes, &s2));
}

static struct tidings_voter
some_voter(void)
{
	struct tidings_voter v = {
		.flags = TIDINGS_VOTER_ABLE | TIDINGS_VOTER_CAN | TIDINGS_VOTER_LEADS |
			 TIDINGS_VOTER_NAMES | TIDINGS_VOTER_WRITES | TIDINGS_VOTER_STUCK,
		.life = 77,
		.term = 5,
		.version = "3.4.23",
		.reason = "port 9885 is in use",
	};

	assert_true(addr_parse("10.0.0.3:9885", &v.client));
	return v;
}

static void
test_there_and_back(void **state)
{
	struct tidings_facts f = some_facts(), f2;
	struct tidings_load l = {1500, UINT64_C(3) << 30, 77}, l2;
	struct tidings_replica r = some_replica(), r2;
	struct tidings_voter o = some_voter(), o2;
	struct tidings_value v;
	struct err err = {0};

	(void)state;
	assert_int_equal(tidings_put_facts(&f, &v, &err), 0);
	assert_true(tidings_take_facts(v.data, v.bytes, &f2));
	assert_memory_equal(&f, &f2, sizeof(f));
	tidings_put_load(&l, &v);
	assert_true(tidings_take_load(v.data, v.bytes, &l2));
	assert_int_equal(l2.cpu_free_milli, 1500);
	assert_int_equal(l2.sequence, 77);
	tidings_put_replica(&r, &v);
	assert_true(tidings_take_replica(v.data, v.bytes, &r2));
	assert_memory_equal(&r, &r2, sizeof(r));
	tidings_put_voter(&o, &v);
	assert_true(tidings_take_voter(v.data, v.bytes, &o2));
	assert_memory_equal(&o, &o2, sizeof(o));
	/* What cannot be printed, or is too long, does not go out. */
	memset(o.reason, 'x', sizeof(o.reason) - 1);
	o.reason[3] = '\n';
	tidings_put_voter(&o, &v);
	assert_true(tidings_take_voter(v.data, v.bytes, &o2));
}

/* Every prefix of a value is refused, and a value of a later version with more at its end is not.
 */
static void
test_versions(void **state)
{
	struct tidings_facts f = some_facts();
	struct tidings_replica r = some_replica();
	struct tidings_value v;
	struct err err = {0};

	(void)state;
	assert_int_equal(tidings_put_facts(&f, &v, &err), 0);
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_facts(v.data, n, &f));
	struct tidings_voter o = some_voter();
	tidings_put_voter(&o, &v);
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_voter(v.data, n, &o));
	v.data[v.bytes++] = 1;
	assert_false(tidings_take_voter(v.data, v.bytes, &o));
	v.data[0] = TIDINGS_VERSION + 1;
	assert_true(tidings_take_voter(v.data, v.bytes, &o));
	f = some_facts();
	assert_int_equal(tidings_put_facts(&f, &v, &err), 0);
	v.data[v.bytes] = 0;
	assert_false(tidings_take_facts(v.data, v.bytes + 1, &f));
	v.data[0] = TIDINGS_VERSION + 1;
	assert_true(tidings_take_facts(v.data, v.bytes + 1, &f));
	assert_true(f.passes_said && f.passes == some_facts().passes);
	/* Up to the sixth version nobody said whether it passes on. */
	v.data[0] = 6;
	assert_true(tidings_take_facts(v.data, v.bytes - 1, &f));
	assert_false(f.passes_said);
	assert_int_equal(f.passes, 0);
	assert_false(tidings_take_facts(v.data, v.bytes, &f));
	v.data[0] = 0;
	assert_false(tidings_take_facts(v.data, v.bytes, &f));
	tidings_put_replica(&r, &v);
	for (size_t n = 0; n < v.bytes; n++)
		assert_false(tidings_take_replica(v.data, n, &r));
	v.data[0] = TIDINGS_VERSION + 1;
	assert_true(tidings_take_replica(v.data, v.bytes + 1, &r));
	/* The first version knew no leases, the second not how a run ended, the fifth no memory. */
	v.data[0] = 5;
	assert_true(tidings_take_replica(v.data, v.bytes - 8, &r));
	assert_int_equal(r.lease_epoch, 77);
	assert_int_equal(r.memory_bytes, 0);
	assert_true(r.exit & MSG_EXIT_KNOWN);
	v.data[0] = 2;
	assert_true(tidings_take_replica(v.data, v.bytes - 12, &r));
	assert_int_equal(r.lease_epoch, 77);
	assert_int_equal(r.exit, 0);
	v.data[0] = 1;
	assert_true(tidings_take_replica(v.data, v.bytes - 20, &r));
	assert_int_equal(r.lease_epoch, 0);
	assert_false(tidings_take_replica(v.data, v.bytes, &r));
}

/* node.yaml may have anything; it is said so that the others take it. */
static void
test_labels_that_cannot_be_printed(void **state)
{
	struct tidings_facts f = some_facts(), f2;
	struct tidings_value v;
	struct err err = {0};

	(void)state;
	text_copy(f.labels[0].value, sizeof(f.labels[0].value), "a\302\233b");
	assert_int_equal(tidings_put_facts(&f, &v, &err), 0);
	assert_true(tidings_take_facts(v.data, v.bytes, &f2));
	assert_string_equal(f2.labels[0].value, "a\\xc2\\x9bb");
	assert_false(tidings_put_thing("volume:shop/\302\233", &v));
}

static void
test_labels_that_have_no_room(void **state)
{
	struct tidings_facts f = some_facts();
	struct tidings_value v;
	struct err err = {0};

	(void)state;
	for (f.labels_count = 0; f.labels_count < TIDINGS_LABELS_MAX; f.labels_count++) {
		struct tidings_label *l = &f.labels[f.labels_count];

		memset(l, 0, sizeof(*l));
		memset(l->key, 'k', sizeof(l->key) - 1);
		memset(l->value, 'v', sizeof(l->value) - 1);
	}
	assert_int_equal(tidings_put_facts(&f, &v, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

/* The longest reason has room, and what no terminal should see is made harmless. */
static void
test_long_reasons(void **state)
{
	struct tidings_replica r = some_replica(), out;
	struct tidings_value v;

	(void)state;
	memset(r.reason.what, '\x1b', sizeof(r.reason.what) - 1);
	memset(r.reason.why, 'x', sizeof(r.reason.why) - 1);
	memset(r.reason.why2, 'y', sizeof(r.reason.why2) - 1);
	memset(r.reason.fix, 'z', sizeof(r.reason.fix) - 1);
	tidings_put_replica(&r, &v);
	assert_true(v.bytes <= GOSSIP_VALUE_MAX);
	assert_true(tidings_take_replica(v.data, v.bytes, &out));
	assert_true(text_starts(out.reason.what, "\\x1b"));
	assert_true(strlen(out.reason.fix) > 100);
}

static void
test_nobody_speaks_for_others(void **state)
{
	struct claim c = {.service = 1, .slot = 2, .revision = 3, .node = 4, .state = CLAIM_READY};
	char out[TIDINGS_THING_MAX];
	struct tidings_value v;
	struct claim again;

	(void)state;
	c.number = 9;
	tidings_put_claim(&c, &v);
	assert_true(tidings_take_claim(v.data, v.bytes, 4, 9, &again));
	assert_memory_equal(&c, &again, sizeof(c));
	assert_false(tidings_take_claim(v.data, v.bytes, 5, 9, &again));
	assert_false(tidings_take_claim(v.data, v.bytes, 4, 8, &again));
	assert_false(tidings_take_claim(v.data, v.bytes - 1, 4, 9, &again));
	assert_true(tidings_put_thing("volume:shop/data", &v));
	assert_true(tidings_take_thing(v.data, v.bytes, rendezvous_text("volume:shop/data"), out));
	assert_string_equal(out, "volume:shop/data");
	assert_false(tidings_take_thing(v.data, v.bytes, 3, out));
	assert_false(tidings_put_thing("", &v));
}

static void
test_guests(void **state)
{
	struct tidings_guest g = {.network = "mesh.1", .name = "db"}, again;
	struct tidings_value v;

	(void)state;
	assert_true(addr_parse_ip("10.200.7.2", &g.addr4));
	assert_true(addr_parse_ip("fd00::2", &g.addr6));
	tidings_put_guest(&g, &v);
	assert_true(tidings_take_guest(v.data, v.bytes, &again));
	assert_memory_equal(&g, &again, sizeof(g));
	assert_false(tidings_take_guest(v.data, v.bytes - 1, &again));
	v.data[v.bytes++] = 7;
	assert_false(tidings_take_guest(v.data, v.bytes, &again));
	v.data[0] = TIDINGS_VERSION + 1;
	assert_true(tidings_take_guest(v.data, v.bytes, &again));
	/* What a terminal takes for a command is no name, in whichever form. */
	enum { NETWORK = 34 };
	struct tidings_guest two = g;
	text_copy(two.network, sizeof(two.network), "ab");
	tidings_put_guest(&two, &v);
	assert_memory_equal(v.data + NETWORK, "ab", 2);
	assert_true(tidings_take_guest(v.data, v.bytes, &again));
	memcpy(v.data + NETWORK, "\302\233", 2);
	assert_false(tidings_take_guest(v.data, v.bytes, &again));
	/* Of a node that says no names yet. */
	tidings_put_guest(&g, &v);
	v.data[0] = 4;
	v.bytes -= 3;
	assert_true(tidings_take_guest(v.data, v.bytes, &again));
	assert_string_equal(again.network, "mesh.1");
	assert_string_equal(again.name, "");
	g.network[0] = 0;
	tidings_put_guest(&g, &v);
	assert_false(tidings_take_guest(v.data, v.bytes, &again));
}

static void
test_certificates(void **state)
{
	uint8_t der[GOSSIP_VALUE_MAX] = {0x30, 0x82};
	struct tidings_value v;
	size_t bytes = 0;

	(void)state;
	assert_true(tidings_put_admitted(der, 700, &v));
	const void *again = tidings_take_admitted(v.data, v.bytes, &bytes);
	assert_non_null(again);
	assert_int_equal(bytes, 700);
	assert_memory_equal(again, der, 700);
	assert_false(tidings_put_admitted(der, sizeof(der), &v));
	assert_false(tidings_put_admitted(der, 0, &v));
	assert_null(tidings_take_admitted(v.data, 1, &bytes));
}

static void
write_input(const char *folder, const char *name, uint8_t type, const struct tidings_value *v)
{
	char path[512];
	FILE *file;

	text_format(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fputc(type, file), type);
	assert_int_equal(fwrite(v->data, 1, v->bytes, file), v->bytes);
	assert_int_equal(fclose(file), 0);
}

/* ZLAYER_CORPUS=tests/fuzz/corpus/tidings makes the fuzz target's inputs anew. */
static void
test_corpus(void **state)
{
	const char *folder = getenv("ZLAYER_CORPUS");
	struct tidings_facts f = some_facts();
	struct tidings_load l = {1500, UINT64_C(3) << 30, 77};
	struct tidings_replica r = some_replica();
	struct claim c = {1, 2, 3, 0, 1, CLAIM_READY, 0, 0, 7};
	struct tidings_value v;
	struct err err = {0};

	(void)state;
	if (!folder)
		return;
	assert_int_equal(tidings_put_facts(&f, &v, &err), 0);
	write_input(folder, "facts", TIDINGS_FACTS, &v);
	tidings_put_load(&l, &v);
	write_input(folder, "load", TIDINGS_LOAD, &v);
	tidings_put_claim(&c, &v);
	write_input(folder, "claim", TIDINGS_CLAIM, &v);
	tidings_put_replica(&r, &v);
	write_input(folder, "replica", TIDINGS_REPLICA, &v);
	r.reason.kind = 0;
	tidings_put_replica(&r, &v);
	v.data[0] = TIDINGS_VERSION + 1;
	v.data[v.bytes++] = 7;
	write_input(folder, "replica_later", TIDINGS_REPLICA, &v);
	assert_true(tidings_put_admitted("certificate", 11, &v));
	write_input(folder, "admitted", TIDINGS_ADMITTED, &v);
	assert_true(tidings_put_thing("volume:shop/data", &v));
	write_input(folder, "thing", TIDINGS_THING, &v);
	struct tidings_figures figures = {true, 2, 3, 4, 5, 6, {7, 8, 9}};
	struct tidings_scale scale = some_scale();
	tidings_put_figures(&figures, &v);
	write_input(folder, "figures", TIDINGS_FIGURES, &v);
	tidings_put_scale(&scale, &v);
	write_input(folder, "scale", TIDINGS_SCALE, &v);
	struct tidings_waits waits = some_waits();
	tidings_put_waits(&waits, &v);
	write_input(folder, "waits", TIDINGS_WAITS, &v);
	tidings_put_writer(7, &v);
	write_input(folder, "writer", TIDINGS_WRITER, &v);
	tidings_put_guest(&(struct tidings_guest){.network = "mesh", .name = "db"}, &v);
	write_input(folder, "guest", TIDINGS_GUEST, &v);
	struct tidings_voter o = some_voter();
	tidings_put_voter(&o, &v);
	write_input(folder, "voter", TIDINGS_VOTER, &v);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_figures_and_decisions),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_labels_that_cannot_be_printed),
		cmocka_unit_test(test_labels_that_have_no_room),
		cmocka_unit_test(test_long_reasons),
		cmocka_unit_test(test_nobody_speaks_for_others),
		cmocka_unit_test(test_guests),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
