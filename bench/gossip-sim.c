/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gossip core in cells of many nodes, in the simulator: every figure is simulated. On the LAN
 * of bench/lan.h, all know all at the start, and are left alone for 5 s. In each cell, one after
 * the other:
 *
 *   idle     packets and bytes (payload) per second and node, over 20 s without news; and how fast
 *            that is simulated
 *   event    one entry put by one node: until the others hold it, over all nodes and rounds
 *   burst    as many nodes as there are, at most 1,000, put an entry each at the same instant:
 *            until all hold all
 *   crash    one node stops: until all others hold it as dead
 *   join     all start within half a second, knowing the roster: until all know all
 *   false    5 % of all datagrams lost for 300 s: live nodes that somebody held to be dead
 *
 * bench-gossip-sim [--json] [--nodes 100,1000,10000] [--false-nodes 1000]
 */
#include <inttypes.h>
#include "base/mem.h"
#include "bench/bench.h"
#include "bench/lan.h"
#include "tests/sim/profile_gossip.h"

enum { ROUNDS = 10, CRASHES = 3, BURST = 1000, CALM_S = 5 };

struct meter {
	uint32_t nodes;
	uint64_t began_ns;
	double *ms; /* samples */
	size_t count, room;
	uint32_t victim;  /* of a crash; 0: none */
	uint64_t wanted;  /* entries still to come, over all holders */
	uint64_t last_ns; /* of the last sample */
	uint64_t dead;    /* tells of live nodes as dead */
};

static struct meter meter;
static bool json;

static void
sample(const struct sim *s)
{
	if (meter.count < meter.room)
		meter.ms[meter.count++] = (double)(s->now_ns - meter.began_ns) / 1e6;
	meter.last_ns = s->now_ns;
}

static void
look(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
     const struct step_actions *out)
{
	struct gossip_tell_member m;

	(void)observer;
	(void)node;
	(void)in;
	for (size_t i = 0; i < out->count; i++) {
		const struct step_action *a = &out->items[i];

		if (a->kind != STEP_TELL)
			continue;
		if (a->what == GOSSIP_ENTRY && meter.wanted > 0) {
			meter.wanted--;
			sample(s);
		}
		if (a->what != GOSSIP_MEMBER)
			continue;
		memcpy(&m, out->data + a->offset, sizeof(m));
		if (m.state != GOSSIP_DEAD)
			continue;
		if (m.node == meter.victim)
			sample(s);
		else if (sim_core(s, m.node))
			meter.dead++;
	}
}

static void
row(uint32_t nodes, const char *name, const char *unit, double value, const char *target)
{
	if (json)
		printf("{\"bench\":\"gossip-sim\",\"simulated\":true,\"nodes\":%u,\"row\":\"%s\","
		       "\"unit\":\"%s\",\"ours\":%.4g}\n",
		       nodes, name, unit, value);
	else
		printf("%6u nodes  %-20s %12.4g  %-20s %s\n", nodes, name, value, unit, target);
	fflush(stdout);
}

static void
begin(struct sim *s)
{
	meter.began_ns = s->now_ns;
	meter.last_ns = s->now_ns;
}

/* Until so many samples are there, or the time is over. */
static bool
run_until(struct sim *s, size_t samples, uint64_t limit_ns)
{
	uint64_t end = s->now_ns + limit_ns;

	while (meter.count < samples && s->now_ns < end && !s->failure.failed)
		sim_run(s, s->now_ns + SIM_S / 100);
	return meter.count >= samples;
}

static void
put(struct sim *s, uint32_t node, uint64_t id)
{
	struct {
		struct profile_gossip_put put;
		uint64_t value[8];
	} data = {.put = {.id = id, .type = 1}, .value = {s->now_ns}};

	sim_local(s, node, PROFILE_GOSSIP_PUT, 0, &data, sizeof(data));
}

static void
print_quantiles(uint32_t nodes, const char *name, const char *target)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1.0}};
	char text[64];

	for (size_t i = 0; i < 3 && meter.count > 0; i++) {
		snprintf(text, sizeof(text), "%s %s", name, quantiles[i].name);
		row(nodes, text, "ms", bench_quantile(meter.ms, meter.count, quantiles[i].q),
		    i == 1 ? target : "");
	}
}

static void
measure_idle(struct sim *s)
{
	uint64_t packets = 0, bytes = 0, streams = 0, seconds = 20, cpu_ns = 0;

	for (unsigned round = 0; round < 2; round++) {
		uint64_t before[3] = {packets, bytes, streams};

		packets = bytes = streams = 0;
		for (uint32_t n = 0; n < meter.nodes; n++) {
			packets += s->nodes[n].sent_packets;
			bytes += s->nodes[n].sent_bytes;
			streams += s->nodes[n].stream_bytes;
		}
		if (round == 0) {
			cpu_ns = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
			sim_run(s, s->now_ns + seconds * SIM_S);
			cpu_ns = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
			continue;
		}
		seconds *= meter.nodes;
		row(meter.nodes, "idle packets", "per s and node",
		    (double)(packets - before[0]) / (double)seconds, "");
		row(meter.nodes, "idle bytes", "per s and node",
		    (double)(bytes + streams - before[1] - before[2]) / (double)seconds, "");
		row(meter.nodes, "idle simulation", "node-s per CPU s",
		    (double)seconds * 1e9 / (double)cpu_ns, "target 200000 at 1,000");
	}
}

static void
measure_events(struct sim *s)
{
	struct draw d = draw_of(s->plan->seed, 77);

	meter.count = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		begin(s);
		meter.wanted = meter.nodes - 1;
		put(s, (uint32_t)draw_between(&d, 1, meter.nodes), round);
		run_until(s, (size_t)(round + 1) * (meter.nodes - 1), 60 * SIM_S);
		sim_run(s, s->now_ns + SIM_S);
	}
	print_quantiles(meter.nodes, "event",
			meter.nodes <= 100 ? "target 50 ms" : "target 150 ms");
}

static void
measure_burst(struct sim *s)
{
	uint32_t writers = meter.nodes < BURST ? meter.nodes : BURST;
	uint64_t end = s->now_ns + 60 * SIM_S;

	meter.count = meter.room; /* only the last is wanted */
	begin(s);
	meter.wanted = (uint64_t)writers * (meter.nodes - 1);
	for (uint32_t i = 0; i < writers; i++)
		put(s, 1 + i * (meter.nodes / writers), 100);
	while (meter.wanted > 0 && s->now_ns < end)
		sim_run(s, s->now_ns + SIM_S / 100);
	row(meter.nodes, meter.wanted ? "burst, NOT ALL" : "burst, all have all", "ms",
	    (double)(meter.last_ns - meter.began_ns) / 1e6, "target 2000 ms");
	meter.wanted = 0;
	sim_run(s, s->now_ns + 5 * SIM_S);
}

/* Items of the plan at a time far away would do as well; this one is asked for when it is time. */
static void
stop(struct sim *s, uint32_t node)
{
	s->nodes[node - 1].crash_after = 0;
	s->nodes[node - 1].down_for_ns = PLAN_FOR_EVER;
}

static void
measure_crashes(struct sim *s)
{
	uint32_t left = meter.nodes;

	meter.count = 0;
	for (uint32_t i = 0; i < CRASHES; i++) {
		size_t before = meter.count;

		meter.victim = 2 + i * (meter.nodes / CRASHES);
		stop(s, meter.victim);
		while (sim_core(s, meter.victim))
			sim_run(s, s->now_ns + SIM_MS);
		begin(s);
		left--;
		run_until(s, before + left, 60 * SIM_S);
		sim_run(s, s->now_ns + 5 * SIM_S);
	}
	meter.victim = 0;
	print_quantiles(meter.nodes, "crash known", "");
	row(meter.nodes, "false deaths so far", "tells", (double)meter.dead, "target 0");
}

static struct sim *
cell(const struct plan *plan, const struct sim_profile *like, struct sim_profile *profile,
     const struct sim_check *check)
{
	*profile = *like;
	profile->checks = check;
	profile->check_count = 1;
	mem_free(meter.ms);
	meter = (struct meter){.nodes = plan->nodes, .room = (size_t)plan->nodes * ROUNDS};
	meter.ms = mem_array(MEM_BASE, meter.room, sizeof(double));
	return sim_new(plan, profile);
}

static void
measure(uint32_t nodes, const struct sim_check *check)
{
	struct plan plan = lan_plan(nodes, LAN_AT_ONCE_NS);
	struct sim_profile profile;
	struct sim *s = cell(&plan, profile_gossip_bare(), &profile, check);

	sim_run(s, CALM_S * SIM_S);
	row(nodes, "memory of a core", "KiB", (double)mem_used(MEM_SCHEDULER) / nodes / 1024, "");
	measure_idle(s);
	measure_events(s);
	measure_burst(s);
	measure_crashes(s);
	sim_free(s);
}

static bool
all_know_all(struct sim *s)
{
	uint64_t digest = 0;

	for (uint32_t node = 1; node <= meter.nodes; node++) {
		void *core = sim_core(s, node);
		const struct gossip *g = core ? profile_gossip_core(core) : NULL;

		if (!g || gossip_members_live(g) < meter.nodes ||
		    (node > 1 && gossip_digest(g) != digest))
			return false;
		digest = gossip_digest(g);
	}
	return true;
}

static void
measure_join(uint32_t nodes, const struct sim_check *check)
{
	struct plan plan = lan_plan(nodes, SIM_S / 2);
	struct sim_profile profile;
	struct sim *s = cell(&plan, profile_gossip_cold(), &profile, check);
	bool all = false;

	while (!all && s->now_ns < 60 * SIM_S) {
		sim_run(s, s->now_ns + SIM_S / 10);
		all = all_know_all(s);
	}
	row(nodes, all ? "join, all know all" : "join, NOT ALL", "ms", (double)s->now_ns / 1e6, "");
	sim_free(s);
}

static void
measure_false_deaths(uint32_t nodes, const struct sim_check *check)
{
	struct plan plan = lan_plan(nodes, LAN_AT_ONCE_NS);
	struct sim_profile profile;
	struct sim *s;

	sim_plan_add(&plan, (struct plan_item){.at_ns = 5 * SIM_S,
					       .for_ns = 300 * SIM_S,
					       .kind = PLAN_LOSS,
					       .node = 1,
					       .strength = 50000});
	s = cell(&plan, profile_gossip_bare(), &profile, check);
	sim_run(s, 305 * SIM_S);
	row(nodes, "false, 5 % loss", "tells in 300 s", (double)meter.dead, "target 0");
	sim_free(s);
	sim_plan_fini(&plan);
}

int
main(int argc, char **argv)
{
	static const struct sim_check check = {.name = "meter", .step = look};
	const char *cells = "100,1000,10000";
	uint32_t false_nodes = 1000;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--nodes") == 0 && i + 1 < argc) {
			cells = argv[++i];
		} else if (strcmp(argv[i], "--false-nodes") == 0 && i + 1 < argc) {
			false_nodes = (uint32_t)strtoul(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: bench-gossip-sim [--json] [--nodes 100,1000] "
					"[--false-nodes 1000]\n");
			return 2;
		}
	}
	while (*cells) {
		char *end;
		uint32_t nodes = (uint32_t)strtoul(cells, &end, 10);

		if (nodes < 10 || nodes > 16000) {
			fprintf(stderr, "bench-gossip-sim: cells have 10 to 16000 nodes\n");
			return 2;
		}
		measure(nodes, &check);
		measure_join(nodes, &check);
		cells = *end == ',' ? end + 1 : end;
	}
	if (false_nodes >= 10)
		measure_false_deaths(false_nodes, &check);
	mem_free(meter.ms);
	return 0;
}
