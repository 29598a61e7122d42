/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_SKEL_H
#define DATAPLANE_SKEL_H

/* The generated skeletons, whose own style is not ours. */

#include "dataplane/libbpf.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "dataplane/bpf/clients.skel.h"
#include "dataplane/bpf/edge.skel.h"
#include "dataplane/bpf/share.skel.h"
#include "dataplane/bpf/tc_veth.skel.h"
#pragma GCC diagnostic pop

#endif
