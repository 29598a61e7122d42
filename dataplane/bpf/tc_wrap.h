/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_WRAP_H
#define DATAPLANE_BPF_TC_WRAP_H

/* A packet gets the key that tells the VXLAN device to which node it goes. */

#include "dataplane/bpf/tc_maps.h"

enum {
	OVERLAY_MARK = 0x5a4c0001, /* from who gives it a key to tc_vxlan_out only */
	OVERLAY_TTL = 64,
};

static __always_inline int
overlay_is_v4(const struct tc_overlay_addr *a)
{
	const __u32 *w = (const __u32 *)a->addr;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

static __always_inline int
overlay_wrap(struct __sk_buff *skb, const struct tc_overlay_self *me,
	     const struct tc_overlay_peer *to)
{
	const __u32 *remote = (const __u32 *)to->remote.addr;
	const __u32 *local = (const __u32 *)me->local.addr;
	struct tc_overlay_bytes *bytes;
	struct bpf_tunnel_key key;
	__u64 id = to->id, flags = 0;

	__builtin_memset(&key, 0, sizeof(key));
	key.tunnel_id = me->vni;
	key.tunnel_ttl = OVERLAY_TTL;
	if (overlay_is_v4(&to->remote)) {
		key.remote_ipv4 = bpf_ntohl(remote[3]);
		key.local_ipv4 = overlay_is_v4(&me->local) ? bpf_ntohl(local[3]) : 0;
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote_ipv6, remote, sizeof(key.remote_ipv6));
		if (!overlay_is_v4(&me->local))
			__builtin_memcpy(key.local_ipv6, local, sizeof(key.local_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) < 0)
		return -1;
	bytes = bpf_map_lookup_elem(&peer_bytes, &id);
	if (bytes)
		bytes->sent += skb->len;
	return 0;
}

#endif
