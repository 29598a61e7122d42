/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_LINK_H
#define RUNTIME_NET_LINK_H

/*
 * rtnetlink (7) requests over a socket that stands in some network namespace: each waits for the
 * kernel's acknowledgement. Messages are built with libmnl, opened by net_link_open.
 * Threading: the loop's thread. Errors name the request.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

struct net_link_veth {
	char name[IFNAMSIZ]; /* in the socket's namespace */
	char peer[IFNAMSIZ];
	int peer_ns; /* the other end's namespace */
	uint8_t mac[6];
	uint8_t peer_mac[6];
	uint32_t mtu;
	uint32_t gso_max; /* of the peer; 0: the default */
};

/* A VXLAN device (RFC 7348) whose every packet is told by a program where to go, born in `ns`; its
 * UDP socket stays in the socket's namespace. */
struct net_link_vxlan {
	char name[IFNAMSIZ];
	int ns;
	uint16_t port;
	uint32_t mtu;
};

int net_link_open(struct err *err) MUST_CHECK;
/* A socket in the namespace of `ns`; -1 with err. */
int net_link_socket(int ns, struct err *err);

int net_link_add_veth(int sock, const struct net_link_veth *veth, struct err *err) MUST_CHECK;
int net_link_add_vxlan(int sock, const struct net_link_vxlan *vxlan, struct err *err) MUST_CHECK;
/* ERR_NOT_FOUND when there is none. */
int net_link_find(int sock, const char *name, uint32_t *index_out, struct err *err) MUST_CHECK;
int net_link_remove(int sock, uint32_t index, struct err *err) MUST_CHECK;
int net_link_up(int sock, uint32_t index, struct err *err) MUST_CHECK;
/* Its routes go with it. */
int net_link_down(int sock, uint32_t index, struct err *err) MUST_CHECK;
/* As a host address (/32, /128), without duplicate address detection. */
int net_link_add_address(int sock, uint32_t index, const struct addr *a,
			 struct err *err) MUST_CHECK;
/* ERR_NOT_FOUND when it is not there. */
int net_link_remove_address(int sock, uint32_t index, const struct addr *a,
			    struct err *err) MUST_CHECK;
/* Visits the link's host addresses of global scope. */
void net_link_each_address(int sock, uint32_t index, void (*visit)(void *arg, const struct addr *a),
			   void *arg);
/* To one address over the link; gateway NULL: directly. to NULL: the default route. */
int net_link_add_route(int sock, uint32_t index, const struct addr *to, const struct addr *gateway,
		       struct err *err) MUST_CHECK;
/* To a prefix (host bits zero, bits 96 for all of IPv4) by a gateway that is on the link; gateway
 * NULL: by the link itself, which has no neighbours. */
int net_link_add_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
			      const struct addr *gateway, struct err *err) MUST_CHECK;
/* What no other route takes to that prefix, or a part of it, goes nowhere: its sender is told that
 * it is unreachable. */
int net_link_refuse_prefix(int sock, const struct addr_prefix *to, struct err *err) MUST_CHECK;
/* ERR_NOT_FOUND: there is none by that link. */
int net_link_remove_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
				 struct err *err) MUST_CHECK;
/* Visits the prefixes to which somebody has set a route by that link (family AF_INET or AF_INET6).
 */
void net_link_each_prefix(int sock, int family, uint32_t index,
			  void (*visit)(void *arg, const struct addr_prefix *to), void *arg);
/* A permanent neighbour. */
int net_link_add_neighbour(int sock, uint32_t index, const struct addr *a, const uint8_t mac[6],
			   struct err *err) MUST_CHECK;
void net_link_each(int sock, void (*visit)(void *arg, const char *name, uint32_t index), void *arg);

/* A text of at most 255 bytes that stays with the link. */
int net_link_set_alias(int sock, uint32_t index, const char *alias, struct err *err) MUST_CHECK;
/* Visits the links that have such a text. */
void net_link_each_alias(int sock,
			 void (*visit)(void *arg, const char *name, uint32_t index,
				       const char *alias),
			 void *arg);
/* Visits the links of the main table's default routes; family AF_INET or AF_INET6. A link may come
 * twice. */
void net_link_each_default(int sock, int family, void (*visit)(void *arg, uint32_t index),
			   void *arg);
/* Visits the links of the main table's routes to exactly this prefix. */
void net_link_each_way(int sock, const struct addr_prefix *to,
		       void (*visit)(void *arg, uint32_t index), void *arg);

#endif
