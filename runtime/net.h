/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_H
#define RUNTIME_NET_H

/*
 * The network of containers. Each replica has a network namespace of its own, kept by a bind mount
 * at <run>/netns/<replica>, and a veth pair from there (eth0) into the fabric (v<replica in hex>).
 * The container knows only its own address and a gateway that is nobody's address: a permanent
 * neighbour with the MAC of the other end. In the fabric one neighbour and one route per address
 * lead back. A namespace lives until the replica is removed, over all its attempts.
 * Threading: the loop's thread: namespaces are entered and left by it.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

struct net;

/* For a moment in another namespace. net_leave ends the process when there is no way back. */
struct net_stay {
	int home;
};
int net_enter(int ns, struct net_stay *stay, struct err *err) MUST_CHECK;
void net_leave(struct net_stay *stay);
/* A netlink socket (NETLINK_ROUTE ...) that stands in a namespace and waits only so long for the
 * kernel's answers; -1 with err. */
int net_socket(int ns, int protocol, struct err *err);

/* A veth of the present namespace joins what it receives, and so takes what XDP redirects to it. */
int net_gro(const char *name, struct err *err) MUST_CHECK;

struct net_guest;

struct net_config {
	uint64_t replica;
	struct addr addr4;
	struct addr addr6; /* zero: none */
	struct addr gateway4;
	struct addr gateway6;
	uint32_t mtu;
	bool plain; /* nothing that it sends need be sealed: super-packets as large as may be */
	const struct net_guest *guest; /* NULL: a namespace of its own, eth0 */
};

struct net_link_info {
	uint32_t ifindex; /* in the fabric */
	uint8_t mac[6];   /* of the container's end */
	uint8_t host_mac[6];
};

/* run_fd: /run/zlayer/NAME (borrowed until net_close); netns/fabric must be there. Sets the
 * fabric's forwarding. */
int net_open(int run_fd, struct net **out, struct err *err) MUST_CHECK;
void net_close(struct net *net);
/* Whether the fabric's stack itself drops what a container sends with a source that is not its own:
 * on where no BPF program does. What the kernel cannot do is logged, and done for IPv4 alone by its
 * filter of reverse paths. */
void net_check_sources(struct net *net, bool on);
/* The fabric's own addresses, on its loopback device: what connections from there to containers
 * come from. zero: none of that family. Harmless when they are there; others, of a prefix that the
 * node had before, are taken away. */
int net_own(struct net *net, const struct addr *addr4, const struct addr *addr6,
	    struct err *err) MUST_CHECK;
/* Makes what is missing of a replica's network; all of it again is harmless. A link that is new
 * carries nothing until net_connect: its end in the fabric is down, because nobody judges yet what
 * comes by it. A guest's must not have such a device or a default route yet: ERR_CONFLICT. */
int net_make(struct net *net, const struct net_config *config, struct net_link_info *out,
	     struct err *err) MUST_CHECK;
/* From now on packets pass, as far as the data path lets them; again is harmless. */
int net_connect(struct net *net, const struct net_config *config, struct err *err) MUST_CHECK;
/* Nothing passes any more. */
int net_disconnect(struct net *net, uint64_t replica, struct err *err) MUST_CHECK;
/* The namespace; -1 with err. */
int net_namespace(struct net *net, uint64_t replica, struct err *err);
/* The link that a replica has in the fabric; ERR_NOT_FOUND when it has none. */
int net_find(const struct net *net, uint64_t replica, struct net_link_info *out,
	     struct err *err) MUST_CHECK;
/* The name of that link. */
void net_link_name(uint64_t replica, char out[IFNAMSIZ]);
/* The fabric's namespace, and a netlink socket in it; borrowed. */
int net_fabric(const struct net *net);
int net_fabric_socket(const struct net *net);
void net_remove(struct net *net, uint64_t replica);
/* Visits the replicas that have a namespace or a link. A replica may come twice. */
void net_each(struct net *net, void (*visit)(void *arg, uint64_t replica), void *arg);

#endif
