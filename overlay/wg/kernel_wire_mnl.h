/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_KERNEL_WIRE_MNL_H
#define OVERLAY_WG_KERNEL_WIRE_MNL_H

/* What kernel_wire*.c calls of libmnl; after kernel_wire_open(). Private to them. */

#include <libmnl/libmnl.h>
#include "base/dl.h"

#define KERNEL_WIRE_MNL_CALLS(X)      \
	X(mnl_nlmsg_put_header)       \
	X(mnl_nlmsg_put_extra_header) \
	X(mnl_attr_put_check)         \
	X(mnl_attr_nest_start_check)  \
	X(mnl_attr_nest_end)          \
	X(mnl_attr_nest_cancel)       \
	X(mnl_attr_ok)                \
	X(mnl_attr_next)              \
	X(mnl_attr_get_type)          \
	X(mnl_attr_get_payload)       \
	X(mnl_attr_get_payload_len)

DL_DECLARE(kernel_wire_mnl, KERNEL_WIRE_MNL_CALLS);

#endif
