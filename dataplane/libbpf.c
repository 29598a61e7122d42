/* SPDX-License-Identifier: Apache-2.0 */
/* The table of libbpf's functions. */
#include "dataplane/libbpf.h"

#undef bpf_object__attach_skeleton
#undef bpf_object__destroy_skeleton
#undef bpf_object__detach_skeleton
#undef bpf_object__load_skeleton
#undef bpf_object__open_skeleton

DL_DEFINE(libbpf, "libbpf.so.1", LIBBPF_CALLS)
