/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_LB_H
#define DATAPLANE_LB_H

/*
 * The balancer's programs and maps in the kernel (dataplane/bpf/edge.bpf.c). Everything is pinned
 * below the working folder as FOLDER/edge1-NAME: when this process dies, packets go on as they
 * went, and its successor takes maps, tables and all over. Needs libbpf loaded. Opening anew works
 * confined, adopting does not: libbpf opens "/" to take a descriptor over. Threading: one owner;
 * calls do not wait for anybody.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "dataplane/bpf/edge.h"
#include "dataplane/plan.h"

/* Below FOLDER; node attaches what is pinned by these names. */
#define LB_PIN_ROOT "edge1-program-root"
#define LB_PIN_UPLINK "edge1-program-uplink"

struct lb;

/* Maps whose content is a function of what is published: written and pruned as a whole. */
enum lb_set {
	LB_PORTS,
	LB_SPEAKERS4,
	LB_SPEAKERS6,
	LB_ENDPOINTS4,
	LB_ENDPOINTS6,
	LB_DENIED,
	LB_ALLOWED,
	LB_VIPS4,
	LB_VIPS6,
	LB_SETS,
};

/* Rows of a set: key and value, one behind the other. */
struct lb_rows {
	uint8_t *bytes;
	size_t count, capacity;
	size_t key_bytes, value_bytes;
	bool failed; /* out of memory: rows are missing */
};

void lb_rows_init(struct lb_rows *rows, enum lb_set set);
/* Of any other map. */
void lb_rows_of(struct lb_rows *rows, size_t key_bytes, size_t value_bytes);
/* By key. */
void lb_rows_sort(struct lb_rows *rows);
/* The row with that key, of rows that are sorted; NULL: there is none. */
const uint8_t *lb_rows_find(const struct lb_rows *rows, const void *key);
/* Takes out of the map, a descriptor, what is no row's key; only when no row failed. Sorts. */
void lb_rows_prune(struct lb_rows *rows, int map);
void lb_rows_fini(struct lb_rows *rows);
/* A second row of the same key is passed over. */
void lb_rows_add(struct lb_rows *rows, const void *key, const void *value);

/* Descriptors of what the programs of dataplane/veth.h and these call of each other; borrowed. */
struct lb_calls {
	int back;   /* the map through which tc_veth calls tc_back; -1: it does not */
	int denied; /* the program that tells of who is denied; -1: nobody does */
};

/* Opens or adopts. */
int lb_open(const char *folder, uint32_t max_flows, const struct lb_calls *calls, struct lb **out,
	    struct err *err) MUST_CHECK;
void lb_close(struct lb *lb);  /* pins stay */
void lb_remove(struct lb *lb); /* pins go, and closes */
/* Whether a predecessor left something to adopt. */
bool lb_stands(const char *folder);

/* First what is new, then what no longer holds: see services.c for the order among sets. */
int lb_put(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err) MUST_CHECK;
int lb_prune(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err) MUST_CHECK;

/* Until every run of a program that is under way has ended: what was taken out before has no
 * readers then. Takes some milliseconds. */
void lb_wait_programs(void);

int lb_config(struct lb *lb, const struct edge_config *config, struct err *err) MUST_CHECK;
int lb_backend(struct lb *lb, uint32_t index, const struct edge_backend *b,
	       struct err *err) MUST_CHECK;
/* The table of a service is swapped as a whole. */
int lb_table(struct lb *lb, uint32_t service, uint64_t stream, const struct plan *plan,
	     struct err *err) MUST_CHECK;
void lb_table_remove(struct lb *lb, uint32_t service);
/* Takes over what the programs have written to the table that is in force. */
void lb_table_opened(struct lb *lb, uint32_t service, struct plan *plan, uint64_t now_ms);

/* What a predecessor left. False when the place is free or does not hold. */
bool lb_adopt_backend(struct lb *lb, uint32_t index, struct edge_backend *out);
bool lb_adopt_table(struct lb *lb, uint32_t service, uint64_t *stream_out, struct plan *plan,
		    uint64_t now_ms);

/* Sums over CPUs. */
int lb_counts(struct lb *lb, struct edge_count *out /* EDGE_LINKS * EDGE_VERDICTS */,
	      __u64 *drops_out /* EDGE_LINKS * EDGE_REASONS */, struct err *err) MUST_CHECK;
int lb_back_counts(struct lb *lb, struct edge_count *out /* EDGE_BACKS */,
		   struct err *err) MUST_CHECK;
bool lb_service_count(struct lb *lb, uint32_t service, struct edge_service_count *out);
uint64_t lb_leaving_count(struct lb *lb, uint32_t backend);

/* A walk over the flows that are pinned, of one family: begin with zeroes. */
struct lb_flows {
	uint32_t token; /* of the kernel */
	bool begun, ended;
};

struct lb_flow {
	uint8_t dest[16]; /* IPv4 mapped */
	uint16_t port;    /* host order */
	uint32_t epoch;
};

enum { LB_FLOWS_BATCH = 2048 };

/* The next ones, at most LB_FLOWS_BATCH; how many. Flows that come and go meanwhile may be missed.
 */
size_t lb_flows(struct lb *lb, bool v6, struct lb_flows *walk, struct lb_flow *out);

/* Descriptors of programs: tests and benchmarks run packets through them. */
int lb_program_root(const struct lb *lb);
int lb_program_edge(const struct lb *lb);
int lb_program_back(const struct lb *lb);
int lb_program_uplink(const struct lb *lb);
/* The loaded programs and maps, for dataplane/across.c. */
struct edge;
struct edge *lb_loaded(const struct lb *lb);

#endif
