/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CELLS_SUMMARY_H
#define SCHEDULER_CELLS_SUMMARY_H

/*
 * What is known of a cell, or of a region, from outside: at most SUMMARY_BYTES_MAX bytes, however
 * large it is. Sums, how many nodes have how much free, two Bloom filters; of one node nothing can
 * be read from it. A region's summary is made of those of its cells in the same form.
 *
 * Sums end at their greatest value; a summary that was added to itself often enough is still one.
 * Pure. Threading: none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SUMMARY_VERSION = 1, /* of the format; also the oldest one that is read */
	SUMMARY_GATES = 3,
	SUMMARY_STEPS = 8,
	SUMMARY_BLOOM_BYTES = 48,
	SUMMARY_BLOOM_HASHES = 3,
	SUMMARY_BYTES = 236,
	SUMMARY_BYTES_MAX = 256, /* of a later version, too */
	SUMMARY_RECORD_BYTES = 24,
	/* What a node says of itself. */
	FACTS_LABELS_MAX = 16,
	FACTS_SERVICES_MAX = 64,
	FACTS_BYTES_MAX = 28 + 8 * (FACTS_LABELS_MAX + FACTS_SERVICES_MAX),
};

/* The smallest free amount of step i: millicores and MiB. */
#define SUMMARY_CPU_STEP(i) (UINT64_C(250) << (i))
#define SUMMARY_MEMORY_STEP(i) (UINT64_C(256) << (i))

/* What one node adds. Hashes: rendezvous_text of "key=value", and ids of services. */
struct facts {
	uint32_t cpu_milli, cpu_free_milli;
	uint32_t memory_mib, memory_free_mib;
	uint32_t replicas;
	bool open; /* takes what is new */
	size_t labels_count, services_count;
	uint64_t labels[FACTS_LABELS_MAX];
	uint64_t services[FACTS_SERVICES_MAX];
};

/* Who speaks for a unit: the first one does, the others are ready to. A greater round is newer. */
struct record {
	uint32_t unit;
	uint64_t round;
	uint32_t gates[SUMMARY_GATES]; /* 0: none; those come last */
};

struct summary {
	struct record record;
	uint32_t nodes;              /* live ones */
	uint32_t cells;              /* of a region; of a cell 1 */
	uint32_t services, replicas; /* (node, service) pairs, and replicas */
	uint64_t cpu_milli, cpu_free_milli;
	uint64_t memory_mib, memory_free_mib;
	uint32_t cpu_steps[SUMMARY_STEPS]; /* open nodes by what is free, each in one step */
	uint32_t memory_steps[SUMMARY_STEPS];
	uint8_t labels[SUMMARY_BLOOM_BYTES];
	uint8_t running[SUMMARY_BLOOM_BYTES];
};

/* Empty, of that record. */
void summary_begin(struct summary *s, const struct record *record);
void summary_add_node(struct summary *s, const struct facts *f);
void summary_add(struct summary *s, const struct summary *other);
/* Whether it may have that; false is certain. */
bool summary_has_label(const struct summary *s, uint64_t label);
bool summary_runs(const struct summary *s, uint64_t service);
/* How many replicas of that size there is room for, about: what the histograms promise at least,
 * as far as the two do not lie on different nodes. */
uint64_t summary_room(const struct summary *s, uint32_t cpu_milli, uint32_t memory_mib);

size_t summary_encode(const struct summary *s, uint8_t out[SUMMARY_BYTES]);
/* False: malformed, or no summary can be so. */
bool summary_decode(const void *data, size_t bytes, struct summary *out);

void summary_record_encode(const struct record *r, uint8_t out[SUMMARY_RECORD_BYTES]);
bool summary_record_decode(const void *data, size_t bytes, struct record *out);
/* a says something newer than b. Of two that are different one is newer. */
bool summary_record_newer(const struct record *a, const struct record *b);

size_t summary_facts_encode(const struct facts *f, uint8_t out[FACTS_BYTES_MAX]);
bool summary_facts_decode(const void *data, size_t bytes, struct facts *out);

#endif
