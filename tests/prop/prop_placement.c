/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells of nodes under random faults: lost, doubled and late datagrams, disks that fail, processes
 * that die with and without their containers, partitions, labels and taints that change, drains,
 * updates. The world checks each node at every step (tests/support/place_world.h). When the faults
 * are over: every slot is filled once, or its service waits for a true reason.
 *
 * And larger cells without faults, in which services are updated and nodes drained: at no time are
 * more of a service missing than it allows, and only what has to moves.
 */
#include "tests/support/place_world.h"

enum { RUNS = 40, FAULTS = 60, CALM_RUNS = 4, CALM_CHANGES = 6 };

static const char *const names[] = {"shop/a", "shop/b", "shop/c", "shop/d", "shop/e", "shop/f"};
static const char *const taint[] = {"gpu"};
static const struct fleet_pair ssd[] = {{"disk", "ssd"}};
static const char *const port[] = {"port:tcp/53"};

static void
make_node(struct world *w, uint32_t i)
{
	static const char *const zones[] = {"east", "west", "north"};
	struct world_node *n = &w->nodes[i];

	n->facts.cpu_milli = 1000u << prop_below(&w->prop, 4);
	n->facts.memory_bytes = (uint64_t)1 << (30 + prop_below(&w->prop, 4));
	n->facts.zone = zones[prop_below(&w->prop, 3)];
	n->taints[0] = "gpu";
	n->facts.taints_count = prop_below(&w->prop, 8) == 0;
	n->labels[0] = (struct fleet_pair){"disk", prop_below(&w->prop, 2) ? "ssd" : "hdd"};
	n->facts.labels_count = 1;
}

static struct fleet_spec *
make_service(struct world *w, const char *name)
{
	struct prop *p = &w->prop;
	struct fleet_spec *s = world_service(w, name, 1 + (uint32_t)prop_below(p, w->nodes_count));

	s->cpu_milli = (uint32_t)prop_below(p, 4) * 250;
	s->memory_bytes = prop_below(p, 4) << 28;
	s->mode = prop_below(p, 5)   ? FLEET_SHARED
		  : prop_below(p, 3) ? FLEET_DEDICATED
				     : FLEET_EXCLUSIVE;
	if (s->mode == FLEET_EXCLUSIVE)
		s->replicas = 1;
	s->spread = (enum fleet_spread)prop_below(p, 3);
	s->labels = ssd;
	s->labels_count = prop_below(p, 3) == 0;
	s->tolerate = taint;
	s->tolerate_count = prop_below(p, 3) == 0;
	s->takes = port;
	s->takes_count = prop_below(p, 6) == 0;
	s->stop_first = s->takes_count || prop_below(p, 5) == 0;
	s->unavailable = (uint32_t)prop_below(p, 2);
	s->surge = (uint32_t)prop_below(p, 3);
	return s;
}

static void
fault_node(struct world *w, uint32_t i)
{
	struct world_node *n = &w->nodes[i];

	switch (prop_below(&w->prop, 8)) {
	case 0:
	case 1:
		if (n->up)
			world_node_kill(w, i, prop_below(&w->prop, 2));
		else
			world_node_boot(w, i);
		break;
	case 2:
		world_side(w, i, (uint32_t)prop_below(&w->prop, 2));
		break;
	case 3:
		n->labels[0].value = prop_below(&w->prop, 2) ? "ssd" : "hdd";
		world_facts(w, i);
		break;
	case 4:
		n->facts.taints_count = prop_below(&w->prop, 4) == 0;
		world_facts(w, i);
		break;
	case 5:
		n->facts.draining = prop_below(&w->prop, 3) == 0;
		world_facts(w, i);
		if (n->up)
			world_local(w, i, PLACEMENT_DRAIN,
				    n->facts.draining ? w->now_ns + 20 * WORLD_S : 0, 0, NULL, 0);
		break;
	case 6:
		n->facts.cordoned = prop_below(&w->prop, 3) == 0;
		world_facts(w, i);
		break;
	default:
		w->disk_fail_ppm = prop_below(&w->prop, 3) ? 0 : 200000;
		w->loss_ppm = (uint32_t)prop_below(&w->prop, 4) * 100000;
		w->double_ppm = (uint32_t)prop_below(&w->prop, 2) * 100000;
		break;
	}
}

static void
heal(struct world *w)
{
	w->disk_fail_ppm = w->loss_ppm = w->double_ppm = 0;
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		struct world_node *n = &w->nodes[i];

		n->facts.draining = n->facts.cordoned = false;
		if (!n->up)
			world_node_boot(w, i);
		world_local(w, i, PLACEMENT_DRAIN, 0, 0, NULL, 0);
		world_side(w, i, 0);
	}
	for (size_t i = 0; i < w->specs_count; i++) {
		for (uint32_t k = 0; k < w->nodes_count; k++) {
			prop_check(fleet_service_set(&w->nodes[k].fleet, &w->specs[i]) == 0);
			world_local(w, k, PLACEMENT_FLEET, 0, 0, NULL, 0);
		}
	}
}

static void
run_once(struct world *w, uint64_t seed)
{
	struct prop *p = &w->prop;

	world_init(w, seed, 5 + (uint32_t)prop_below(&(struct prop){seed}, 20));
	for (uint32_t i = 0; i < w->nodes_count; i++)
		make_node(w, i);
	world_boot(w);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		world_deploy(w, make_service(w, names[i]));
	world_run(w, 5 * WORLD_S);
	for (int i = 0; i < FAULTS; i++) {
		fault_node(w, (uint32_t)prop_below(p, w->nodes_count));
		if (prop_below(p, 10) == 0)
			world_deploy(w, &w->specs[prop_below(p, w->specs_count)]);
		world_run(w, prop_below(p, 3 * WORLD_S));
	}
	heal(w);
	world_run(w, 200 * WORLD_S);
	for (size_t i = 0; i < w->specs_count; i++)
		world_check_quiet(w, &w->specs[i]);
	world_fini(w);
}

/* ---- calm ---- */

static uint32_t
budget(const struct fleet_spec *s)
{
	return s->stop_first && !s->unavailable ? 1 : s->unavailable;
}

static void
run_watching(struct world *w, uint64_t for_ns)
{
	for (uint64_t t = 0; t < for_ns; t += 100 * WORLD_MS) {
		world_run(w, 100 * WORLD_MS);
		for (size_t i = 0; i < w->specs_count; i++) {
			const struct fleet_spec *s = &w->specs[i];

			prop_check(world_ready(w, s) + budget(s) >= s->replicas);
		}
	}
}

/* What is on a node that is to be drained, or of a service that is to be updated. */
static uint64_t
affected(const struct world *w, uint32_t node, const struct fleet_spec *s)
{
	uint64_t found = 0;

	for (size_t i = 0; !s && i < w->nodes[node].containers_count; i++)
		found += !w->nodes[node].containers[i].stopping;
	return s ? s->replicas : found;
}

static void
change_calmly(struct world *w)
{
	uint32_t node = (uint32_t)prop_below(&w->prop, w->nodes_count);
	struct fleet_spec *s = NULL;
	struct world_node *n = &w->nodes[node];
	uint64_t before = w->claims_made, moves;

	if (prop_below(&w->prop, 2))
		s = &w->specs[prop_below(&w->prop, w->specs_count)];
	moves = affected(w, node, s);
	if (s) {
		world_deploy(w, s);
	} else {
		n->facts.draining = true;
		world_facts(w, node);
		world_local(w, node, PLACEMENT_DRAIN, w->now_ns + 600 * WORLD_S, 0, NULL, 0);
	}
	run_watching(w, 60 * WORLD_S);
	prop_check(w->claims_made - before == moves);
	prop_check(s || n->containers_count == 0);
	n->facts.draining = false;
	world_facts(w, node);
	world_local(w, node, PLACEMENT_DRAIN, 0, 0, NULL, 0);
	for (size_t i = 0; i < w->specs_count; i++)
		world_check_quiet(w, &w->specs[i]);
}

static void
run_calmly(struct world *w, uint64_t seed)
{
	struct prop *p = &w->prop;

	world_init(w, seed, 20 + (uint32_t)prop_below(&(struct prop){seed}, 181));
	world_boot(w);
	for (size_t i = 0; i < 4; i++) {
		struct fleet_spec *s =
			world_service(w, names[i], 1 + (uint32_t)prop_below(p, w->nodes_count));

		s->cpu_milli = (uint32_t)prop_below(p, 3) * 100;
		s->spread = (enum fleet_spread)prop_below(p, 3);
		s->stop_first = prop_below(p, 4) == 0;
		s->unavailable = (uint32_t)prop_below(p, 3);
		s->surge = 4 + s->replicas / 4;
		if (s->stop_first)
			s->unavailable = 4 + s->replicas / 4;
		world_deploy(w, s);
	}
	world_run(w, 20 * WORLD_S);
	run_watching(w, WORLD_S);
	for (int i = 0; i < CALM_CHANGES; i++)
		change_calmly(w);
	world_fini(w);
}

int
main(int argc, char **argv)
{
	static struct world w;
	struct prop p;
	uint64_t made = 0;

	prop_init(&p, argc, argv);
	for (int run = 0; run < RUNS; run++) {
		run_once(&w, prop_u64(&p));
		made += w.claims_made;
	}
	for (int run = 0; run < CALM_RUNS; run++) {
		run_calmly(&w, prop_u64(&p));
		made += w.claims_made;
	}
	printf("%d cells, %llu claims\n", RUNS + CALM_RUNS, (unsigned long long)made);
	return 0;
}
