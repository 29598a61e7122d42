/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_LINK_H
#define TESTS_SIM_LINK_H

/*
 * The network between the nodes: which way how long, what is lost, doubled, held up or cut off.
 * Every pair has a base latency of its own (drawn from the seed, the same both ways); to it each
 * datagram adds a jitter. Nodes stand in zones; between zones it is farther.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/sim/draw.h"

struct link_model {
	uint64_t near_ns;     /* the least between two nodes of a zone */
	uint64_t spread_ns;   /* and so much more, by pair */
	uint64_t zone_ns;     /* more between neighbouring zones */
	uint64_t jitter_ns;   /* mean of what each datagram adds */
	uint64_t slow_ns;     /* mean of what a slow one adds: the second hump */
	uint32_t slow_ppm;    /* how many are slow */
	uint32_t zones;       /* at least 1 */
	uint64_t bytes_per_s; /* out of each node; 0: as much as it likes */
};

/* Cuts between those whose bit is set in `side` and the others. */
struct link_cut {
	bool one_way;     /* only from the set side to the others */
	uint64_t half_ns; /* flapping: cut for so long, whole for as long; 0: cut all the time */
	uint64_t from_ns;
	const uint8_t *side; /* a bit per node, borrowed */
};

enum { LINK_CUTS_MAX = 32 };

struct link_node {
	uint32_t zone;
	uint32_t out_loss_ppm;
	uint32_t in_loss_ppm;
	uint64_t bytes_per_s; /* 0: of the model */
	uint64_t free_ns;     /* what was sent will have left by then */
};

struct link {
	struct link_model model;
	uint64_t seed;
	struct draw draw;
	struct link_node *nodes;
	uint32_t node_count;
	uint32_t loss_ppm;
	uint32_t twice_ppm;
	uint32_t late_ppm; /* held up, so that others overtake it */
	uint64_t late_ns;
	uint64_t delay_ns; /* everything */
	struct link_cut cuts[LINK_CUTS_MAX];
	size_t cut_count;
};

void sim_link_init(struct link *l, const struct link_model *model, uint64_t seed, uint32_t nodes);
void sim_link_fini(struct link *l);
/* As if there had been no faults. */
void sim_link_heal(struct link *l);
bool sim_link_is_cut(const struct link *l, uint64_t now_ns, uint32_t from, uint32_t to);
/* Nodes from 0. When its copies arrive: gives their number, 0 to 2. */
unsigned sim_link_send(struct link *l, uint64_t now_ns, uint32_t from, uint32_t to, size_t bytes,
		       uint64_t at_ns[2]);
/* When bytes of a stream arrive, if nothing is lost. */
uint64_t sim_link_carry(struct link *l, uint64_t now_ns, uint32_t from, uint32_t to, size_t bytes);

#endif
