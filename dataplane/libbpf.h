/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_LIBBPF_H
#define DATAPLANE_LIBBPF_H

/*
 * libbpf, opened by the dataplane process alone (base/dl.h): every function of it that this folder
 * or a generated skeleton calls. Skeletons call by plain names: include them after this header.
 */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "base/dl.h"

#define LIBBPF_CALLS(X)                          \
	X(bpf_link__destroy)                     \
	X(bpf_link_create)                       \
	X(bpf_link_detach)                       \
	X(bpf_link_update)                       \
	X(bpf_map__fd)                           \
	X(bpf_map__reuse_fd)                     \
	X(bpf_map__set_max_entries)              \
	X(bpf_map_create)                        \
	X(bpf_map_delete_elem)                   \
	X(bpf_map_get_next_key)                  \
	X(bpf_map_lookup_batch)                  \
	X(bpf_map_lookup_elem)                   \
	X(bpf_map_update_elem)                   \
	X(bpf_obj_get)                           \
	X(bpf_obj_get_info_by_fd)                \
	X(bpf_obj_pin)                           \
	X(bpf_object__attach_skeleton)           \
	X(bpf_object__destroy_skeleton)          \
	X(bpf_object__detach_skeleton)           \
	X(bpf_object__load_skeleton)             \
	X(bpf_object__open_skeleton)             \
	X(bpf_prog_load)                         \
	X(bpf_prog_test_run_opts)                \
	X(bpf_program__fd)                       \
	X(bpf_program__insn_cnt)                 \
	X(bpf_program__insns)                    \
	X(bpf_program__set_expected_attach_type) \
	X(bpf_tc_attach)                         \
	X(bpf_tc_detach)                         \
	X(bpf_tc_hook_create)                    \
	X(bpf_tc_query)                          \
	X(bpf_xdp_query_id)                      \
	X(libbpf_num_possible_cpus)              \
	X(libbpf_probe_bpf_helper)               \
	X(libbpf_probe_bpf_map_type)             \
	X(libbpf_probe_bpf_prog_type)            \
	X(libbpf_set_print)                      \
	X(ring_buffer__consume)                  \
	X(ring_buffer__epoll_fd)                 \
	X(ring_buffer__free)                     \
	X(ring_buffer__new)

DL_DECLARE(libbpf, LIBBPF_CALLS);

#define bpf_object__attach_skeleton libbpf.bpf_object__attach_skeleton
#define bpf_object__destroy_skeleton libbpf.bpf_object__destroy_skeleton
#define bpf_object__detach_skeleton libbpf.bpf_object__detach_skeleton
#define bpf_object__load_skeleton libbpf.bpf_object__load_skeleton
#define bpf_object__open_skeleton libbpf.bpf_object__open_skeleton

#endif
