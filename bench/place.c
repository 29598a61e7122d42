/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement of a million slots on 10,000 nodes of capacities 1, 2 and 4. Every third service asks
 * for a label that half of the nodes have, one node in twenty has a taint, and all reserve.
 *
 *   decide    CPU time to find and rank a slot's candidates, filters and spread included, and to
 *             choose by two prices; the peer scores all nodes for each slot, without any filter
 *   max_mean  load of the fullest node over the mean, where what coordinators have heard of load
 *             is refreshed only each 100,000 slots (once a second, at 100,000 slots/s); the peer
 *             takes the first by rendezvous and asks nobody
 *   moved     slots whose first candidate changes when a node dies, over those that it had
 *   simulated slots claimed and answered per second of a simulated clock, by the real cores of all
 *             nodes: 1 ms round trip, 1 ms for a durable write, 20 us of a node's time for each
 *             datagram. The nodes share one picture of the cell, which in truth each has of its
 *             own. The peer figure is what C1M of Nomad published: 3,750 per second of real time,
 *             containers started, so no fair race.
 *   protocol  CPU time of that run for each slot, of all nodes and the made-up world together; the
 *             peer scores all nodes, once, and asks nobody
 *
 * bench-place [--json] [--nodes N] [--slots N] [--decide]
 */
#include <assert.h>
#include <inttypes.h>
#include "base/heap.h"
#include "bench/bench.h"
#include "scheduler/place/placement.h"

enum {
	SERVICE_SLOTS = 100,
	CPU_MILLI = 100,
	REFRESH = 100000,
	FULL_SAMPLE = 2000,
	MOVED_SAMPLE = 100000,
	ASKS = 2,
	POOL = 4,
	COST_NS = 20000,
	HALF_TRIP_NS = 500000,
	DISK_NS = 1000000,
};

static size_t nodes = 10000;
static size_t slots = 1000000;

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-place: %s\n", what);
	exit(1);
}

/* ---- the cell ---- */

static const struct fleet_pair ssd[] = {{"disk", "ssd"}};

static void
add_node(struct fleet *f, size_t i)
{
	static const char *const taint[] = {"gpu"};
	static const struct fleet_pair labels[] = {{"rack", "a"}, {"disk", "ssd"}};
	char name[32];
	uint32_t size = 1u << i % 3;
	/* Twice of what is placed on it on the average. */
	uint64_t units = size * (slots / nodes + 1) * 2;

	snprintf(name, sizeof(name), "edge-%zu", i);
	must(fleet_node_set(f,
			    &(struct fleet_facts){
				    .node = (uint32_t)i + 1,
				    .name = name,
				    .zone = "",
				    .platform = "linux/amd64",
				    .cpu_milli = (uint32_t)(units * CPU_MILLI),
				    .memory_bytes = units << 28,
				    .labels = labels,
				    .labels_count = 1 + (i / 3) % 2,
				    .taints = taint,
				    .taints_count = i % 20 == 0,
			    }) == 0,
	     "out of memory");
}

static void
add_service(struct fleet *f, size_t i)
{
	char name[32];

	snprintf(name, sizeof(name), "shop/web-%zu", i);
	must(fleet_service_set(f,
			       &(struct fleet_spec){
				       .id = rendezvous_text(name),
				       .name = name,
				       .revision = 1,
				       .replicas = SERVICE_SLOTS,
				       .cpu_milli = CPU_MILLI,
				       .memory_bytes = 1 << 28,
				       .platform = "linux/amd64",
				       .labels = ssd,
				       .labels_count = i % 3 == 0,
				       .surge = 1,
			       }) == 0,
	     "out of memory");
}

static void
make_cell(struct fleet *f, bool services)
{
	fleet_init(f);
	for (size_t i = 0; i < nodes; i++)
		add_node(f, i);
	for (size_t i = 0; services && i < slots / SERVICE_SLOTS; i++)
		add_service(f, i);
	f->complete = true;
	must(fleet_refresh(f) == 0, "out of memory");
}

/* ---- decisions ---- */

struct decided {
	double ns;
	double max_mean;
};

/* Used, in slots, over capacity. */
static double
max_mean(const struct fleet *f, const uint32_t *used)
{
	double most = 0, sum = 0, all = 0;

	for (size_t i = 0; i < f->nodes_count; i++) {
		const struct fleet_node *n = f->nodes[i];
		double part = (double)used[i] / n->cpu_milli;

		if (n->taints.count)
			continue;
		most = part > most ? part : most;
		sum += used[i];
		all += n->cpu_milli;
	}
	return most / (sum / all);
}

static void
refresh(struct fleet *f, const uint32_t *used)
{
	for (size_t i = 0; i < f->nodes_count; i++) {
		const struct fleet_node *n = f->nodes[i];

		fleet_node_load(f, n->id, n->cpu_milli - used[i] * CPU_MILLI,
				n->memory_bytes - ((uint64_t)used[i] << 28));
	}
}

/* What the nodes would answer: the part that is used with it. */
static size_t
cheapest(const struct candidates *c, size_t count, const uint32_t *used)
{
	uint64_t least = UINT64_MAX;
	size_t best = 0;

	for (size_t i = 0; i < count && i < c->count; i++) {
		const struct fleet_node *n = c->items[i].node;
		uint64_t price = ((uint64_t)(used[n->index] + 1) << 32) / n->cpu_milli;

		if (price < least) {
			least = price;
			best = i;
		}
	}
	return best;
}

static struct decided
decide(size_t pool, size_t asks)
{
	uint32_t *used = mem_array(MEM_BASE, nodes, sizeof(*used));
	uint64_t began, cpu = 0;
	size_t placed = 0;
	struct fleet f;

	must(used != NULL, "out of memory");
	make_cell(&f, true);
	for (struct list *it = f.services.next; it != &f.services; it = it->next) {
		struct fleet_service *s = container_of(it, struct fleet_service, all);

		if (placed % REFRESH == 0)
			refresh(&f, used);
		began = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
		for (uint32_t i = 0; i < SERVICE_SLOTS; i++) {
			struct candidates c;
			struct fleet_node *n;

			candidates_find(&f, s, i, pool, NULL, 0, &c);
			must(c.count > 0, "a slot has no candidate");
			candidates_rank(&c, asks);
			n = c.items[cheapest(&c, asks, used)].node;
			used[n->index]++;
			fleet_mark_add(&f, n, true);
		}
		cpu += bench_clock(CLOCK_PROCESS_CPUTIME_ID) - began;
		placed += SERVICE_SLOTS;
	}
	struct decided d = {(double)cpu / (double)placed, max_mean(&f, used)};
	fleet_fini(&f);
	mem_free(used);
	return d;
}

/* All nodes, one score each. */
static double
score_all(void)
{
	volatile uint64_t sink = 0;
	struct fleet f;
	uint64_t began;

	make_cell(&f, false);
	began = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
	for (uint32_t i = 0; i < FULL_SAMPLE; i++) {
		uint64_t key = claim_key(1, i), least = UINT64_MAX;

		for (size_t k = 0; k < f.nodes_count; k++) {
			uint64_t score = rendezvous_score(key, f.hot[k].seed, f.hot[k].exponent);

			least = score < least ? score : least;
		}
		sink += least;
	}
	began = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - began;
	fleet_fini(&f);
	return (double)began / FULL_SAMPLE;
}

/* First candidates of slots of one service; of those that had the node, and of all that changed. */
static double
moved(void)
{
	uint32_t *first = mem_array(MEM_BASE, MOVED_SAMPLE, sizeof(*first));
	size_t own = 0, changed = 0;
	struct candidates c;
	struct fleet f;

	must(first != NULL, "out of memory");
	make_cell(&f, false);
	add_service(&f, 1);
	struct fleet_service *s = container_of(f.services.next, struct fleet_service, all);
	for (int after = 0; after < 2; after++) {
		must(fleet_refresh(&f) == 0, "out of memory");
		for (uint32_t i = 0; i < MOVED_SAMPLE; i++) {
			candidates_find(&f, s, i, 1, NULL, 0, &c);
			if (!after)
				first[i] = c.items[0].node->id;
			else
				changed += first[i] != c.items[0].node->id;
		}
		if (!after)
			fleet_node_status(&f, first[0], FLEET_DEAD);
	}
	for (size_t i = 0; i < MOVED_SAMPLE; i++)
		own += first[i] == first[0];
	fleet_fini(&f);
	mem_free(first);
	return (double)changed / (double)own;
}

/* ---- the simulated protocol ---- */

enum sim_kind { SIM_STEP, SIM_ARRIVES, SIM_NEXT, SIM_TIMER, SIM_DISK };

struct sim_event {
	struct heap_item item;
	struct list link; /* of the inbox */
	enum sim_kind kind;
	uint32_t to, from;
	uint64_t token;
	size_t bytes;
	uint8_t data[];
};

/* An action that waits for a write. */
struct sim_held {
	struct list link;
	struct step_action action;
	uint8_t data[CLAIM_BYTES + PLACEMSG_BYTES_MAX];
};

struct sim_node {
	struct placement p;
	struct list held;
	struct list inbox;
	uint64_t free_ns; /* it is busy until then */
	uint64_t timer_ns;
	bool stepping;
};

struct sim {
	struct fleet fleet;
	struct heap events;
	struct sim_node *nodes;
	uint64_t now_ns, last_ns;
	uint64_t datagrams, claimed;
	struct step_actions out;
};

static struct sim_event *
sim_event(struct sim *s, enum sim_kind kind, uint32_t to, uint64_t at, const void *data,
	  size_t bytes)
{
	struct sim_event *e = mem_alloc(MEM_BASE, sizeof(*e) + bytes);

	must(e != NULL, "out of memory");
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->to = to;
	e->bytes = bytes;
	if (bytes)
		memcpy(e->data, data, bytes);
	heap_item_init(&e->item);
	must(heap_set(&s->events, &e->item, at) == 0, "out of memory");
	return e;
}

static void
sim_changed(void *arg, struct fleet_service *service)
{
	struct sim *s = arg;
	struct sim_node *n;

	if (!service || !service->coordinator)
		return;
	n = &s->nodes[service->coordinator - 1];
	placement_changed(&n->p, service);
	if (n->stepping)
		return;
	n->stepping = true;
	sim_event(s, SIM_STEP, service->coordinator - 1, s->now_ns, NULL, 0);
}

static void
sim_do(struct sim *s, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct sim_node *n = &s->nodes[node];

	switch (a->kind) {
	case STEP_SEND:
		s->datagrams++;
		n->free_ns += COST_NS;
		sim_event(s, SIM_ARRIVES, a->node - 1, n->free_ns + HALF_TRIP_NS, data, a->bytes)
			->from = node + 1;
		break;
	case STEP_SET_TIMER:
		n->timer_ns = a->at_ns;
		if (a->at_ns != UINT64_MAX)
			sim_event(s, SIM_TIMER, node, a->at_ns, NULL, 0);
		break;
	case STEP_APPEND:
	case STEP_REPLACE:
		sim_event(s, SIM_DISK, node, s->now_ns + DISK_NS, NULL, 0)->token = a->token;
		break;
	case STEP_TELL:
		if (a->what == PLACEMENT_CLAIM) {
			s->claimed++;
			s->last_ns = s->now_ns;
		}
		break;
	default:
		must(false, "an action of streams");
	}
}

static void
sim_step(struct sim *s, uint32_t node, struct step_input in)
{
	struct sim_node *n = &s->nodes[node];
	struct step_actions *out = &s->out;

	in.now_ns = s->now_ns;
	do {
		step_actions_clear(out);
		placement_step(&n->p, &in, out);
		for (size_t i = 0; i < out->count; i++) {
			const struct step_action *a = &out->items[i];

			if (!a->after) {
				sim_do(s, node, a, step_data(out, a));
				continue;
			}
			struct sim_held *h = mem_alloc(MEM_BASE, sizeof(*h));
			must(h != NULL && a->bytes <= sizeof(h->data), "an action to hold");
			h->action = *a;
			memcpy(h->data, step_data(out, a), a->bytes);
			list_push(&n->held, &h->link);
		}
		in = (struct step_input){.kind = STEP_MORE, .now_ns = s->now_ns};
	} while (out->more);
}

static void
sim_disk(struct sim *s, uint32_t node, uint64_t token)
{
	struct list *it, *next;

	sim_step(s, node, (struct step_input){.kind = STEP_DISK_DONE, .token = token});
	list_each (it, next, &s->nodes[node].held) {
		struct sim_held *h = container_of(it, struct sim_held, link);

		if (h->action.after != token)
			continue;
		list_remove(it);
		sim_do(s, node, &h->action, h->data);
		mem_free(h);
	}
}

/* One datagram after the other. */
static void
sim_next(struct sim *s, uint32_t node)
{
	struct sim_node *n = &s->nodes[node];
	struct sim_event *e = container_of(n->inbox.next, struct sim_event, link);

	n->free_ns += COST_NS;
	sim_step(s, node,
		 (struct step_input){.kind = STEP_DATAGRAM,
				     .node = e->from,
				     .data = e->data,
				     .bytes = e->bytes});
	list_remove(&e->link);
	mem_free(e);
	if (!list_empty(&n->inbox))
		sim_event(s, SIM_NEXT, node, n->free_ns, NULL, 0);
}

static void
sim_handle(struct sim *s, struct sim_event *e)
{
	struct sim_node *n = &s->nodes[e->to];

	if (n->free_ns < s->now_ns)
		n->free_ns = s->now_ns;
	switch (e->kind) {
	case SIM_STEP:
		n->stepping = false;
		sim_step(s, e->to,
			 (struct step_input){.kind = STEP_LOCAL, .what = PLACEMENT_FLEET});
		break;
	case SIM_ARRIVES:
		if (list_empty(&n->inbox))
			sim_event(s, SIM_NEXT, e->to, n->free_ns, NULL, 0);
		list_push(&n->inbox, &e->link);
		return;
	case SIM_NEXT:
		sim_next(s, e->to);
		break;
	case SIM_TIMER:
		if (s->now_ns >= n->timer_ns)
			sim_step(s, e->to, (struct step_input){.kind = STEP_TIMER});
		break;
	case SIM_DISK:
		sim_disk(s, e->to, e->token);
		break;
	}
	mem_free(e);
}

static void
sim_run(struct sim *s, uint64_t until_ns)
{
	struct heap_item *first;

	while ((first = heap_peek(&s->events)) && first->at <= until_ns &&
	       (!s->claimed || s->claimed < slots)) {
		heap_pop(&s->events);
		s->now_ns = first->at;
		sim_handle(s, container_of(first, struct sim_event, item));
	}
	s->now_ns = until_ns;
}

/* Slots per simulated second. */
static double
simulate(double *cpu_us_out, double *datagrams_out)
{
	static struct sim s;
	const uint64_t begin_ns = 3000000000;
	uint64_t cpu;

	memset(&s, 0, sizeof(s));
	heap_init(&s.events, MEM_BASE);
	make_cell(&s.fleet, false);
	s.nodes = mem_array(MEM_BASE, nodes, sizeof(s.nodes[0]));
	must(s.nodes != NULL, "out of memory");
	for (uint32_t i = 0; i < nodes; i++) {
		list_init(&s.nodes[i].held);
		list_init(&s.nodes[i].inbox);
		placement_init(&s.nodes[i].p, &s.fleet, i + 1, 1);
		sim_step(&s, i, (struct step_input){.kind = STEP_START});
	}
	sim_run(&s, begin_ns);
	fleet_on_change(&s.fleet, sim_changed, &s);
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
	for (size_t i = 0; i < slots / SERVICE_SLOTS; i++)
		add_service(&s.fleet, i);
	sim_run(&s, 100 * begin_ns);
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	must(s.claimed >= slots, "not all slots were placed");
	*cpu_us_out = (double)cpu / 1000 / (double)slots;
	*datagrams_out = (double)s.datagrams / (double)slots;
	/* The process ends: a million claims are not taken apart. */
	return (double)slots * 1e9 / (double)(s.last_ns - begin_ns);
}

static void
print_simulated(bool json, double score_all_ns)
{
	double cpu_us, datagrams;
	double rate = simulate(&cpu_us, &datagrams);

	bench_print(json, &(struct bench_row){"place", "simulated", "slots/s", rate,
					      "C1M, published", 3750, true});
	bench_print(json, &(struct bench_row){"place", "protocol", "us CPU/slot", cpu_us,
					      "score all nodes", score_all_ns / 1000, false});
	if (!json)
		printf("simulated with %.1f datagrams for each slot\n", datagrams);
}

int
main(int argc, char **argv)
{
	bool json = false, simulated = true;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--nodes") == 0 && i + 1 < argc) {
			nodes = strtoul(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--slots") == 0 && i + 1 < argc) {
			slots = strtoul(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--decide") == 0) {
			simulated = false;
		} else {
			fprintf(stderr, "usage: bench-place [--json] [--nodes N] [--slots N] "
					"[--decide]\n");
			return 2;
		}
	}
	must(nodes > 0 && nodes <= FLEET_NODES_MAX && slots >= SERVICE_SLOTS, "no such numbers");
	struct decided ours = decide(POOL, ASKS), blind = decide(1, 1);
	double all = score_all();
	bench_print(json, &(struct bench_row){"place", "decide", "ns/slot", ours.ns,
					      "score all nodes", all, false});
	bench_print(json, &(struct bench_row){"place", "max_mean", "", ours.max_mean,
					      "first by rendezvous", blind.max_mean, false});
	bench_print(json,
		    &(struct bench_row){"place", "moved", "", moved(), "least possible", 1, false});
	if (simulated)
		print_simulated(json, all);
	return 0;
}
