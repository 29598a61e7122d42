/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_LB_PRIVATE_H
#define DATAPLANE_LB_PRIVATE_H

/* Inside of dataplane/lb*.c. */

#include "dataplane/lb.h"
#include "dataplane/skel.h"

#define LB_PREFIX "edge1-"

_Static_assert(EDGE_ABI == 1, "the pins are named by it");

enum { LB_PIN_BYTES = 64 };

struct lb {
	struct edge *skel;
	char folder[16];
	struct lb_calls calls;
	bool adopted; /* the map that it calls */
	int root;     /* xdp_root: the one that is attached, if a predecessor left it */
	int cpus;
	void *per_cpu; /* room for the largest per-CPU value */
	struct edge_table_big scratch;
};

/* rc: of libbpf; gives -1. */
int lb_fail(struct err *err, int rc, const char *what);
int lb_write(const struct bpf_map *map, const void *key, const void *value, struct err *err);

size_t lb_rows_each_bytes(const struct lb_rows *rows);
#endif
