/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_LIBXDP_H
#define DATAPLANE_LIBXDP_H

/*
 * libxdp, opened only by the process that attaches, and only for an interface that carries a
 * program of somebody else (base/dl.h).
 */

#include <xdp/libxdp.h>
#include "base/dl.h"

#define LIBXDP_CALLS(X)                        \
	X(libxdp_clean_references)             \
	X(libxdp_get_error)                    \
	X(libxdp_set_print)                    \
	X(xdp_multiprog__attach_mode)          \
	X(xdp_multiprog__close)                \
	X(xdp_multiprog__get_from_ifindex)     \
	X(xdp_multiprog__is_legacy)            \
	X(xdp_multiprog__next_prog)            \
	X(xdp_program__attach)                 \
	X(xdp_program__close)                  \
	X(xdp_program__detach)                 \
	X(xdp_program__fd)                     \
	X(xdp_program__from_bpf_obj)           \
	X(xdp_program__set_chain_call_enabled) \
	X(xdp_program__set_run_prio)

DL_DECLARE(libxdp, LIBXDP_CALLS);

#endif
