/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_DATAPLANE_H
#define DATAPLANE_DATAPLANE_H

/* The dataplane role: BPF programs, hooks and maps. Folder 0 of the welcome is the instance's
 * folder in the BPF file system; the process lives in the fabric's network namespace. Reads table
 * veth of runtime, publishes attached and datapath. */

#include "ring/station.h"

extern const struct station_role dataplane_role;

#endif
