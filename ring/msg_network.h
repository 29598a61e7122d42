/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_NETWORK_H
#define RING_MSG_NETWORK_H

/*
 * Links and addresses: what node has made on the machine, what dataplane has attached and wants
 * attached, what overlay has chosen. The rules are those of ring/msg.h.
 */

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
	uint32_t pad2_;
	char links[MSG_EDGE_LINKS][16];
	uint8_t modes[MSG_EDGE_LINKS];  /* enum msg_xdp, of each */
	uint8_t shared[MSG_EDGE_LINKS]; /* with programs of others */
	struct msg_reason edge_reason;  /* why the balancer is off, or an interface is without it */
};

struct msg_prefix {            /* key: 1 */
	struct addr_prefix v4; /* /24 of 10.200.0.0/16 */
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
};

enum msg_backend_kind {
	MSG_BACKEND_ENGINE = 1, /* ours: a TUN device, whose queues overlay has */
	MSG_BACKEND_KERNEL,     /* the kernel's WireGuard, set up by node as overlay wants it */
};

enum msg_tunnel_state {
	MSG_TUNNEL_OFF = 1, /* in no cluster, or listen.overlay is off */
	MSG_TUNNEL_UP,
	MSG_TUNNEL_FAILED,
};

/* The device of encrypted traffic in the fabric; its UDP socket is in the machine's network. */
struct msg_tunnel { /* key: 1 */
	uint32_t state;
	uint32_t ifindex; /* in the fabric; 0: there is none */
	uint32_t backend;
	uint32_t queues;    /* of the TUN device */
	struct addr listen; /* the UDP socket's */
	struct msg_reason reason;
};

/* What overlay encrypts with: others learn it through the scheduler. */
struct msg_sealed {                /* key: 1 */
	uint8_t key[MSG_KEY];      /* public */
	uint8_t next_key[MSG_KEY]; /* public, of the key that follows; zeros: none is announced */
	uint32_t serves;           /* 1: peers can be served */
	uint32_t peers;            /* with a handshake within the last three minutes */
	struct msg_reason reason;  /* serves is 0: why */
};

/* The addresses of the cluster's nodes, as its scheduler has heard. */
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
	uint32_t ways;             /* bits of enum msg_way: what both ends allow */
};

struct msg_peer { /* key: id, the same for the same name */
	uint64_t id;
	char name[MSG_NAME];
	struct addr address; /* port 0; what its packets come from and go to */
	struct addr_prefix v4;
	struct addr_prefix v6;
	uint32_t ways; /* bits of enum msg_way that can be gone now */
	uint32_t mtu; /* of packets to its containers by the sealed way; 0: as the table prefix says
		       */
};

/* What an address is, wherever in the cluster its container runs. */
enum msg_identity_flag {
	/* the overlay of the service's own replicas */
	MSG_IDENTITY_SERVICE_ON = 1 << 0,
	MSG_IDENTITY_SERVICE_SEALED = 1 << 1,
	MSG_IDENTITY_SERVICE_ISOLATED = 1 << 2,
	/* the overlay of all services of the deployment */
	MSG_IDENTITY_GLOBAL_ON = 1 << 3,
	MSG_IDENTITY_GLOBAL_SEALED = 1 << 4,
	MSG_IDENTITY_GLOBAL_ISOLATED = 1 << 5,
};

struct msg_identity {      /* key: replica */
	struct addr addr4; /* port 0 */
	struct addr addr6;
	uint64_t deployment;
	uint64_t service;
	uint32_t node;
	uint32_t flags; /* bits of enum msg_identity_flag */
};

#endif
