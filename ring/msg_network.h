/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_NETWORK_H
#define RING_MSG_NETWORK_H

/*
 * Links and addresses: what node has made on the machine, what dataplane has attached and wants
 * attached, what overlay has chosen. The rules are those of ring/msg.h.
 */

#include "ring/flow_reason.h"
#include "ring/identity_rule.h"
#include "ring/msg_base.h"

enum msg_uplink_state {
	MSG_UPLINK_OFF = 1,
	MSG_UPLINK_WAITS, /* the machine has no default route yet */
	MSG_UPLINK_UP,
	MSG_UPLINK_FAILED,
};

/* The veth pair between the fabric and the machine's network namespace. */
struct msg_uplink { /* key: 1 */
	uint32_t state;
	uint32_t ifindex;        /* of the outer end, in node's namespace; 0: there is none */
	uint32_t fabric_ifindex; /* of the inner end */
	uint32_t pad_;
	char name[16]; /* of the outer end; the inner one is "uplink" */
	struct msg_reason reason;
};

enum msg_underlay_state {
	MSG_UNDERLAY_OFF = 1, /* no peers, or listen.vxlan is off */
	MSG_UNDERLAY_UP,
	MSG_UNDERLAY_FAILED,
};

/* The VXLAN device, whose socket is in the machine's network namespace. */
struct msg_underlay { /* key: 1 */
	uint32_t state;
	uint32_t ifindex; /* in the fabric; 0: there is none */
	uint32_t vni;
	uint32_t pad_;
	struct addr listen; /* an address that is not zero: nothing else is sent from */
	struct msg_reason reason;
};

enum msg_xdp { MSG_XDP_NATIVE = 1, MSG_XDP_GENERIC };
enum { MSG_EDGE_LINKS = 16, MSG_EDGE_ADDRESSES = 16 };

/* Where dataplane's programs stand on the machine's interfaces. */
struct msg_edge {            /* key: 1 */
	uint32_t generation; /* of msg_datapath: whose wishes these are */
	uint32_t links_count;
	struct {
		char name[16];
		uint32_t ifindex;
		uint16_t mode;   /* enum msg_xdp */
		uint16_t shared; /* with programs of others, through libxdp's dispatcher */
	} links[MSG_EDGE_LINKS];
	uint32_t addresses_count; /* of the machine, without loopback and link-local ones; those
				     of the interfaces above come first */
	uint32_t pad_;
	struct addr addresses[MSG_EDGE_ADDRESSES];
	struct msg_reason reason; /* the last interface that could not be had */
};

enum msg_hook { MSG_HOOK_TCX = 1, MSG_HOOK_CLSACT };

struct msg_attached { /* key: replica */
	uint64_t replica;
	uint32_t ifindex;
	uint32_t hook; /* 0: not attached, reason says why */
	struct msg_reason reason;
};

struct msg_datapath {  /* key: 1 */
	uint32_t bpf;  /* programs are in force */
	uint32_t hook; /* enum msg_hook for veths */
	uint32_t generation;
	uint32_t pad_;
	char pin[MSG_PATH];
	struct msg_reason reason; /* when bpf is 0 */
	uint32_t edge;            /* the balancer's programs are loaded: node is to attach them */
	uint32_t xdp;             /* enum msg_xdp, the lesser one of all interfaces; 0: off */
	uint32_t links_count;
	uint32_t across; /* clients' packets of other nodes are taken (docs/decisions/017) */
	char links[MSG_EDGE_LINKS][16];
	uint8_t modes[MSG_EDGE_LINKS];  /* enum msg_xdp, of each */
	uint8_t shared[MSG_EDGE_LINKS]; /* with programs of others */
	struct msg_reason edge_reason;  /* why the balancer is off, or an interface is without it */
};

struct msg_prefix {            /* key: 1 */
	struct addr_prefix v4; /* /24 */
	struct addr_prefix v6; /* /64 */
	struct addr gateway4;  /* 169.254.1.1, what containers route through */
	struct addr gateway6;  /* fe80::1 */
	struct addr service4;  /* the node's own address in the prefix: DNS */
	struct addr service6;
	uint32_t mtu;
	uint32_t pad_;
};

enum { MSG_KEY = 32 }; /* bytes of an X25519 key; zeros: none */

/* How packets for the containers of another node may go. */
enum msg_way {
	MSG_WAY_PLAIN = 1 << 0,  /* VXLAN: table underlay */
	MSG_WAY_SEALED = 1 << 1, /* WireGuard: table tunnel */
	/* Both ends have `cluster.encrypt: false`: what need not be sealed goes plain. */
	MSG_WAY_TRUSTED = 1 << 2,
	/* It takes clients' packets in a header (docs/decisions/017), by what ways there are. */
	MSG_WAY_CLIENTS = 1 << 3,
};

/* Nodes of a cluster, this one counted; rows of table peer, which has those by hand, too. */
enum { MSG_PEERS_MAX = 10000 };
/* Of more peers only those that packets came from or went to have figures of their own, and of more
 * of these the rest is summed up as "other" (base/metric.h). */
enum { MSG_PEERS_MEASURED = 1024 };

enum msg_backend_kind {
	MSG_BACKEND_ENGINE = 1, /* ours: a TUN device, whose queues overlay has */
	MSG_BACKEND_KERNEL,     /* the kernel's WireGuard, set up by overlay through a door */
};

enum msg_tunnel_state {
	MSG_TUNNEL_OFF = 1, /* in no cluster, or listen.overlay is off */
	MSG_TUNNEL_UP,
	MSG_TUNNEL_FAILED,
};

/* The device of encrypted traffic in the fabric; its UDP socket is in the machine's network. */
struct msg_tunnel { /* key: 1 */
	uint32_t state;
	uint32_t ifindex;         /* in the fabric; 0: there is none */
	uint32_t backend;         /* enum msg_backend_kind; 0: off */
	uint32_t queues;          /* of the TUN device */
	struct addr listen;       /* the UDP socket's */
	struct msg_reason reason; /* MSG_TUNNEL_UP: why it is not the other backend */
};

/* What overlay encrypts with: others learn it through the scheduler. */
struct msg_sealed {                /* key: 1 */
	uint8_t key[MSG_KEY];      /* public */
	uint8_t next_key[MSG_KEY]; /* public, of the key that follows; zeros: none is announced */
	uint32_t serves;           /* 1: peers can be served */
	uint32_t peers;            /* with a handshake within the last three minutes */
	struct msg_reason reason;  /* serves is 0: why */
};

/* Another node, seen from this one's sealed traffic. No row: there is nothing to be said of it. */
struct msg_heard { /* key: node id */
	uint32_t node;
	uint32_t via;           /* id of the node that passes on to it; 0: none does */
	int64_t silent_wall_ns; /* since when no sealed packet has come that counts, though it is
				   spoken to; 0: it is heard, or */
	uint32_t unsure;        /* overlay looks at it anew, and nothing has come yet */
	uint32_t pad_;
};

/* The addresses of the cluster's nodes, as its scheduler has heard. */
/* Nothing is said of the mesh while the version of the table is 1 or less: all is as before. A row
 * that is not of this node and has v4 of bits 0: that one is as before. */
struct msg_mesh { /* key: node id */
	uint32_t node;
	uint32_t self; /* this node: v4 is what it is to have from now on; bits 0: as it is */
	char name[MSG_NAME];
	struct addr address; /* port 0; what its packets come from and go to */
	struct addr_prefix v4;
	struct addr_prefix v6;
	uint8_t key[MSG_KEY];      /* zeros: it has said none */
	uint8_t next_key[MSG_KEY]; /* zeros: it changes none */
	uint32_t port;             /* of its WireGuard; 0: it is not to be sent to first */
	uint32_t ways;    /* bits of enum msg_way: what both ends allow; 0: it is not reached,
			     and what is for it stays inside */
	uint32_t backend; /* enum msg_backend_kind; the kernel's passes nothing on. 0: not said */
	uint32_t pad_;
	int64_t rotate_wall_s; /* self: when another key was asked for last; 0: not since a start */
};

struct msg_peer { /* key: id, the same for the same name */
	uint64_t id;
	char name[MSG_NAME];
	struct addr address; /* port 0; what its packets come from and go to */
	struct addr_prefix v4;
	struct addr_prefix v6;
	uint32_t ways; /* bits of enum msg_way that can be gone now; 0: none */
	uint32_t mtu; /* of packets to its containers by the sealed way; 0: as the table prefix says
		       */
};

/* Present when all that the cluster runs has been heard: an address that is in no row is nobody's
 * then. Without it (a scheduler that has just begun) rows are only added and changed, and what has
 * gone from the table may yet come back: it is not to be forgotten. */
#define MSG_IDENTITY_WHOLE UINT64_MAX

struct msg_identity {      /* key: replica; MSG_IDENTITY_WHOLE, of which only node is given */
	struct addr addr4; /* port 0; both zero: a replica of this node whose addresses are those of
			      its row in table veth, and is here before its claim */
	struct addr addr6;
	uint64_t deployment;
	uint64_t service;
	uint32_t node;
	uint32_t flags; /* bits of enum msg_identity_flag */
};

/* ---- what the data path has seen ---- */

/* One end of a packet. Numbers are 0 for what is no replica's, or of one not known yet. */
struct msg_flow_end {
	struct addr addr; /* with the port; 0: neither TCP nor UDP, or not the first fragment */
	uint64_t replica;
	uint64_t service;
	uint64_t deployment;
	uint32_t node;
	uint32_t pad_;
};

/*
 * Record MSG_RECORD_FLOW of dataplane: a packet that was dropped, or the first packet of a flow
 * that was let through. Drops are always told, but only so many in a second; flows that are let
 * through only while somebody observes (table observe), and only those that the programs remember
 * to have begun: both are samples. `lost` says how many more there were before this one.
 */
struct msg_flow {
	int64_t wall_ns;
	uint32_t verdict; /* enum msg_flow_verdict */
	uint32_t reason;  /* enum flow_reason: FLOW_PASSED when forwarded */
	uint32_t way;     /* enum msg_flow_way */
	uint32_t place;   /* enum msg_flow_place */
	uint32_t ifindex; /* in the fabric; of MSG_FLOW_EDGE in the machine's network */
	uint32_t length;  /* bytes of the packet from its IP header on, of all its segments */
	uint8_t protocol; /* IPPROTO_; 0: not IP */
	uint8_t tcp_flags;
	uint16_t pad_;
	uint32_t lost;
	uint64_t peer; /* id of the other node in table peer; 0: none, or not known */
	struct msg_flow_end source, destination;
};

/* Published by whoever wants to see flows that are let through (scheduler, api): until then. It is
 * renewed while the wish stands, and ends by itself with whoever had it. */
struct msg_observe { /* key: 1 */
	uint64_t until_mono_ns;
};

#endif
