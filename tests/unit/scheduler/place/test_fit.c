/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/place/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scheduler/place/candidates.h"
#include "scheduler/place/whynot.h"
#include "tests/support/sweep.h"

#define MIB ((uint64_t)1 << 20)

enum { API = 1, OTHER = 2 };

struct cell {
	struct fleet fleet;
	struct fleet_facts facts;
	struct fleet_spec spec;
	struct fleet_spec other;
	struct claim claim; /* number 0: none */
	enum fleet_status status;
	uint32_t cpu_free;
	uint64_t memory_free;
};

static const struct fleet_pair gpu[] = {{"gpu", "true"}};
static const struct fleet_pair no_gpu[] = {{"gpu", "false"}};
static const char *const taint[] = {"dirty"};
static const char *const kvm[] = {"device:/dev/kvm"};
static const char *const data[] = {"volume:shop/data"};
static const char *const dns[] = {"port:tcp/53"};

static void
usual(struct cell *c)
{
	*c = (struct cell){
		.facts = {.node = 1,
			  .name = "edge-1",
			  .zone = "",
			  .platform = "linux/amd64",
			  .cpu_milli = 4000,
			  .memory_bytes = 8192 * MIB},
		.spec = {.id = API,
			 .name = "api",
			 .revision = 1,
			 .replicas = 3,
			 .cpu_milli = 500,
			 .memory_bytes = 512 * MIB,
			 .platform = "linux/amd64"},
		.other = {.id = OTHER,
			  .name = "other",
			  .revision = 1,
			  .replicas = 1,
			  .platform = ""},
		.status = FLEET_ALIVE,
		.cpu_free = 4000,
		.memory_free = 8192 * MIB,
	};
}

static void
dead(struct cell *c)
{
	c->status = FLEET_DEAD;
}

static void
suspect(struct cell *c)
{
	c->status = FLEET_SUSPECT;
}

static void
cordoned(struct cell *c)
{
	c->facts.cordoned = true;
}

static void
draining(struct cell *c)
{
	c->facts.draining = true;
}

static void
platform(struct cell *c)
{
	c->facts.platform = "linux/arm64";
}

static void
label(struct cell *c)
{
	c->spec.labels = gpu;
	c->spec.labels_count = 1;
	c->facts.labels = no_gpu;
	c->facts.labels_count = 1;
}

static void
label_absent(struct cell *c)
{
	c->spec.labels = gpu;
	c->spec.labels_count = 1;
}

static void
label_there(struct cell *c)
{
	label(c);
	c->facts.labels = gpu;
}

static void
tainted(struct cell *c)
{
	c->facts.taints = taint;
	c->facts.taints_count = 1;
}

static void
tolerated(struct cell *c)
{
	tainted(c);
	c->spec.tolerate = taint;
	c->spec.tolerate_count = 1;
}

static void
device(struct cell *c)
{
	c->spec.needs = kvm;
	c->spec.needs_count = 1;
}

static void
volume(struct cell *c)
{
	c->spec.keeps = data;
	c->spec.keeps_count = 1;
}

static void
neighbour(struct cell *c)
{
	c->claim = (struct claim){
		.service = OTHER, .slot = 0, .revision = 1, .node = 1, .state = 2, .number = 1};
}

static void
port(struct cell *c)
{
	neighbour(c);
	c->spec.takes = c->other.takes = dns;
	c->spec.takes_count = c->other.takes_count = 1;
}

static void
cpu(struct cell *c)
{
	c->cpu_free = 200;
}

static void
memory(struct cell *c)
{
	c->memory_free = 310 * MIB;
}

static void
unmeasured(struct cell *c)
{
	c->facts.cpu_milli = 0;
	c->facts.memory_bytes = 0;
	c->cpu_free = 0;
	c->memory_free = 0;
}

static void
dedicated(struct cell *c)
{
	c->spec.mode = FLEET_DEDICATED;
	neighbour(c);
	c->claim.service = API;
	c->claim.slot = 1;
}

static void
dedicated_update(struct cell *c)
{
	dedicated(c);
	c->claim.slot = 0;
}

static void
exclusive(struct cell *c)
{
	neighbour(c);
	c->other.mode = FLEET_EXCLUSIVE;
}

static void
occupied(struct cell *c)
{
	neighbour(c);
	c->spec.mode = FLEET_EXCLUSIVE;
}

static void
gave_up(struct cell *c)
{
	dedicated_update(c);
	c->spec.mode = FLEET_SHARED;
	c->claim.state = CLAIM_FAILED;
}

static const struct {
	void (*make)(struct cell *c);
	uint32_t reasons;
	const char *sentence;
} cases[] = {
	{NULL, 0, ""},
	{dead, FIT_DEAD, "not reachable"},
	{suspect, FIT_SUSPECT, "does not answer the others (suspect)"},
	{cordoned, FIT_CORDONED, "is cordoned: takes nothing new"},
	{draining, FIT_DRAINING, "is being drained"},
	{platform, FIT_PLATFORM, "is linux/arm64, linux/amd64 is asked"},
	{label, FIT_LABEL, "label gpu=true is asked, this node has gpu=false"},
	{label_absent, FIT_LABEL, "label gpu=true is asked, this node has no gpu"},
	{label_there, 0, ""},
	{tainted, FIT_TAINT, "taint dirty is not tolerated"},
	{tolerated, 0, ""},
	{device, FIT_NEED, "device /dev/kvm is not there"},
	{volume, FIT_KEEP, "volume shop/data is on edge-2"},
	{port, FIT_TAKEN, "port tcp/53 is in use"},
	{neighbour, 0, ""},
	{cpu, FIT_CPU, "needs 0.50 cores (0.30 short)"},
	{memory, FIT_MEMORY, "needs memory 512 MiB (202 MiB short)"},
	{unmeasured, 0, ""},
	{dedicated, FIT_DEDICATED, "has a replica of api already (node.mode dedicated)"},
	{dedicated_update, 0, ""},
	{exclusive, FIT_EXCLUSIVE, "runs a service that has the node for itself"},
	{occupied, FIT_OCCUPIED, "runs others, and api wants a node for itself"},
	{gave_up, FIT_GAVE_UP, "could not run it"},
};

static void
build(struct cell *c)
{
	struct fleet *f = &c->fleet;

	fleet_init(f);
	assert_int_equal(fleet_node_set(f, &c->facts), 0);
	/* Another one, which has the volume and is away. */
	assert_int_equal(fleet_node_set(f, &(struct fleet_facts){.node = 2,
								 .name = "edge-2",
								 .zone = "",
								 .platform = "linux/amd64",
								 .things = data,
								 .things_count = 1}),
			 0);
	fleet_node_status(f, 2, FLEET_DEAD);
	fleet_node_status(f, 1, c->status);
	fleet_node_load(f, 1, c->cpu_free, c->memory_free);
	assert_int_equal(fleet_service_set(f, &c->spec), 0);
	assert_int_equal(fleet_service_set(f, &c->other), 0);
	if (c->claim.number)
		assert_int_equal(fleet_claim_set(f, &c->claim), 0);
	assert_int_equal(fleet_refresh(f), 0);
}

static void
test_reasons(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[WHYNOT_TEXT_BYTES];
		struct candidates found;
		struct whynot_row row = {0};
		struct cell c;

		usual(&c);
		if (cases[i].make)
			cases[i].make(&c);
		build(&c);
		struct fleet_service *s = fleet_service(&c.fleet, API);
		row.node = fleet_node(&c.fleet, 1);
		fit_node(&c.fleet, s, 0, row.node, &row.fit);
		assert_int_equal(row.fit.reasons, cases[i].reasons);
		whynot_sentence(&c.fleet, s, &row, text, sizeof(text));
		assert_string_equal(text, cases[i].sentence);
		/* The search agrees. */
		candidates_find(&c.fleet, s, 0, 4, NULL, 0, &found);
		assert_int_equal(found.count, cases[i].reasons ? 0 : 1);
		fleet_fini(&c.fleet);
	}
}

/* What moves a claim that is there, and what only keeps new ones away. */
static void
test_moves(void **state)
{
	static const struct {
		void (*make)(struct cell *c);
		uint32_t reasons;
	} moves[] = {{draining, FIT_DRAINING},
		     {platform, FIT_PLATFORM},
		     {label, FIT_LABEL},
		     {tainted, FIT_TAINT},
		     {device, FIT_NEED},
		     {cordoned, 0},
		     {cpu, 0},
		     {memory, 0},
		     {suspect, 0},
		     {volume, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		struct cell c;

		usual(&c);
		moves[i].make(&c);
		build(&c);
		assert_int_equal(fit_moves(fleet_service(&c.fleet, API), fleet_node(&c.fleet, 1)),
				 moves[i].reasons);
		fleet_fini(&c.fleet);
	}
}

static void
add(struct fleet *f, uint32_t id, const char *name, const struct fleet_pair *labels)
{
	assert_int_equal(fleet_node_set(f, &(struct fleet_facts){.node = id,
								 .name = name,
								 .zone = "",
								 .platform = "linux/amd64",
								 .cpu_milli = 4000,
								 .memory_bytes = 8192 * MIB,
								 .labels = labels,
								 .labels_count = 1}),
			 0);
}

static void
test_table(void **state)
{
	struct whynot_row rows[3] = {{0}};
	char text[WHYNOT_TEXT_BYTES];
	struct fleet f;
	struct buf b;

	(void)state;
	fleet_init(&f);
	add(&f, 1, "edge-1", gpu);
	add(&f, 2, "edge-2", no_gpu);
	add(&f, 3, "edge-3", gpu);
	fleet_node_load(&f, 1, 1200, 310 * MIB);
	fleet_node_load(&f, 2, 3000, 6250 * MIB);
	fleet_node_status(&f, 3, FLEET_DEAD);
	assert_int_equal(fleet_service_set(&f, &(struct fleet_spec){.id = API,
								    .name = "api",
								    .revision = 1,
								    .replicas = 3,
								    .memory_bytes = 512 * MIB,
								    .platform = "",
								    .labels = gpu,
								    .labels_count = 1}),
			 0);
	const struct fleet_service *s = fleet_service(&f, API);
	for (uint32_t i = 0; i < 3; i++) {
		rows[i].node = fleet_node(&f, i + 1);
		fit_node(&f, s, 0, rows[i].node, &rows[i].fit);
	}
	rows[2].note = "since 02:01:12 (suspected by edge-1, edge-2)";
	buf_init(&b, MEM_SCHEDULER, 4096);
	whynot_table(&f, s, rows, 3, 2, &b);
	assert_string_equal(
		buf_cstr(&b),
		"  node    cpu free  memory free  why not\n"
		"  edge-1  1.2       310 MiB      needs memory 512 MiB (202 MiB short)\n"
		"  edge-2  3.0       6.1 GiB      label gpu=true is asked, this node has "
		"gpu=false\n"
		"  edge-3  -         -            not reachable since 02:01:12 (suspected by "
		"edge-1, "
		"edge-2)\n");
	buf_fini(&b);
	assert_true(whynot_fix(s, rows, 3, text, sizeof(text)));
	assert_string_equal(text,
			    "lower resources.memory of api to 310Mi, or give edge-2 the label "
			    "gpu=true, or start edge-3");
	fleet_fini(&f);
}

/* Reasons of another node's answer come without indexes, and from any version. */
static void
test_foreign_reasons(void **state)
{
	char text[WHYNOT_TEXT_BYTES];
	struct cell c;

	(void)state;
	usual(&c);
	build(&c);
	for (unsigned bit = 0; bit < 32; bit++) {
		struct whynot_row row = {.node = fleet_node(&c.fleet, 1),
					 .fit = {.reasons = 1u << bit, .label = 999, .taint = 999}};

		whynot_sentence(&c.fleet, fleet_service(&c.fleet, API), &row, text, sizeof(text));
		assert_int_equal(text[0] != '\0', (FIT_ALL_ >> bit) & 1);
		whynot_fix(fleet_service(&c.fleet, API), &row, 1, text, sizeof(text));
	}
	fleet_fini(&c.fleet);
}

/* Replicas go to other nodes and zones first; a preferred label counts. */
static void
test_spread(void **state)
{
	static const char *const zones[] = {"east", "east", "east", "west"};
	struct fleet_spec spec = {.id = API,
				  .name = "api",
				  .revision = 1,
				  .replicas = 8,
				  .platform = "",
				  .spread = FLEET_SPREAD_ZONE};
	struct candidates found;
	struct fleet f;
	unsigned west = 0;

	(void)state;
	fleet_init(&f);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(fleet_node_set(&f, &(struct fleet_facts){.node = i + 1,
									  .name = "edge",
									  .zone = zones[i],
									  .platform = ""}),
				 0);
	assert_int_equal(fleet_service_set(&f, &spec), 0);
	for (uint32_t slot = 0; slot < 40; slot++) {
		struct claim claim = {.service = API,
				      .slot = slot,
				      .revision = 1,
				      .state = 2,
				      .number = slot + 1};

		assert_int_equal(fleet_refresh(&f), 0);
		candidates_find(&f, fleet_service(&f, API), slot, 1, NULL, 0, &found);
		assert_int_equal(found.count, 1);
		claim.node = found.items[0].node->id;
		west += claim.node == 4;
		assert_int_equal(fleet_claim_set(&f, &claim), 0);
	}
	/* Not far from half of them, though it is one node of four. */
	assert_in_range(west, 14, 22);
	fleet_fini(&f);
}

/* A preferred label draws, and refuses nobody. */
static void
test_prefer(void **state)
{
	struct fleet_spec spec = {.id = API,
				  .name = "api",
				  .revision = 1,
				  .replicas = 1,
				  .platform = "",
				  .spread = FLEET_SPREAD_NONE,
				  .prefer = gpu,
				  .prefer_count = 1};
	struct candidates found;
	unsigned with = 0;
	struct fleet f;

	(void)state;
	fleet_init(&f);
	for (uint32_t i = 1; i <= 4; i++)
		add(&f, i, "edge", i == 1 ? gpu : no_gpu);
	assert_int_equal(fleet_service_set(&f, &spec), 0);
	assert_int_equal(fleet_refresh(&f), 0);
	for (uint32_t slot = 0; slot < 1000; slot++) {
		candidates_find(&f, fleet_service(&f, API), slot, 4, NULL, 0, &found);
		assert_int_equal(found.count, 4);
		with += found.items[0].node->id == 1;
	}
	/* 4 of 4 + 3, where a quarter would be its share. */
	assert_in_range(with, 500, 640);
	fleet_fini(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasons), cmocka_unit_test(test_moves),
		cmocka_unit_test(test_table),   cmocka_unit_test(test_foreign_reasons),
		cmocka_unit_test(test_spread),  cmocka_unit_test(test_prefer),
	};

	return cmocka_run_group_tests_name("scheduler_place_fit", tests, NULL, NULL);
}
