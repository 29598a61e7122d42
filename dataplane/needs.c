/* SPDX-License-Identifier: Apache-2.0 */
/* The first that is missing is told: where there is no BPF at all, nothing else is news. */
#include "dataplane/needs.h"

#include <stddef.h>
#include "dataplane/libbpf.h"

enum kind { A_PROGRAM, A_MAP, A_HELPER };

static const struct need {
	enum kind kind;
	int id;
	const char *name, *since;
} needs[] = {
	{A_PROGRAM, BPF_PROG_TYPE_SCHED_CLS, "programs of tc", "4.1, CONFIG_NET_CLS_ACT"},
	{A_PROGRAM, BPF_PROG_TYPE_XDP, "programs of XDP", "4.8"},
	{A_MAP, BPF_MAP_TYPE_LPM_TRIE, "maps of prefixes", "4.11"},
	{A_MAP, BPF_MAP_TYPE_RINGBUF, "ring buffers", "5.8"},
	{A_HELPER, BPF_FUNC_fib_lookup, "bpf_fib_lookup", "4.18"},
	{A_HELPER, BPF_FUNC_skb_set_tunnel_key, "tunnel keys", "4.3"},
	{A_HELPER, BPF_FUNC_redirect_peer, "bpf_redirect_peer", "5.10"},
};

/* Only what the kernel denies for certain. */
static bool
is_missing(const struct need *n)
{
	switch (n->kind) {
	case A_PROGRAM:
		return libbpf.libbpf_probe_bpf_prog_type((enum bpf_prog_type)n->id, NULL) == 0;
	case A_MAP:
		return libbpf.libbpf_probe_bpf_map_type((enum bpf_map_type)n->id, NULL) == 0;
	case A_HELPER:
		return libbpf.libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS,
						      (enum bpf_func_id)n->id, NULL) == 0;
	}
	return false;
}

void
needs_tell(struct err *err)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		if (!is_missing(&needs[i]))
			continue;
		err_why(err, "this kernel has no %s (Linux %s)", needs[i].name, needs[i].since);
		return;
	}
}
