/* SPDX-License-Identifier: Apache-2.0 */

/* The table of libnghttp2's functions, filled by dl_load_nghttp2(). */

#include "wire/nghttp2.h"

DL_DEFINE(nghttp2, "libnghttp2.so.14", NGHTTP2_CALLS)
