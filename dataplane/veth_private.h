/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_VETH_PRIVATE_H
#define DATAPLANE_VETH_PRIVATE_H

/* Inside of dataplane/veth*.c. */

#include "base/map.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/hook.h"
#include "dataplane/skel.h"
#include "dataplane/veth.h"

struct port {
	uint64_t replica;
	struct hook hook;
	bool attached; /* by this process; else a predecessor's program is, or none */
	uint32_t addr4;
	struct tc_veth_key6 addr6;
	bool has4, has6;
	struct tc_identity identity;
};

struct veth {
	struct tc_veth *skel;
	struct map ports; /* replica -> struct port */
	char folder[16];
	uint64_t *per_cpu;
	int cpus;
};

/* rc: of libbpf; gives -1. */
int veth_fail(struct err *err, int rc, const char *what);
/* Pins of maps of other numbers than ours: their programs are no longer there. */
void veth_forget_older(const struct veth *v);

#endif
