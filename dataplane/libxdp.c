/* SPDX-License-Identifier: Apache-2.0 */
/* The table of libxdp's functions. */
#include "dataplane/libxdp.h"

DL_DEFINE(libxdp, "libxdp.so.1", LIBXDP_CALLS)
