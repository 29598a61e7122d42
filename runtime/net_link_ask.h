/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_LINK_ASK_H
#define RUNTIME_NET_LINK_ASK_H

/*
 * One question to the kernel by rtnetlink (7), and its answer: for net_link.c and net_link_route.c.
 * Messages are built with libmnl, opened by net_link_open. Threading: the loop's thread.
 */

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/dl.h"
#include "base/err.h"

#define NET_LINK_MNL_CALLS(X)         \
	X(mnl_nlmsg_put_header)       \
	X(mnl_nlmsg_put_extra_header) \
	X(mnl_nlmsg_ok)               \
	X(mnl_nlmsg_next)             \
	X(mnl_nlmsg_get_payload)      \
	X(mnl_attr_put)               \
	X(mnl_attr_put_u32)           \
	X(mnl_attr_put_strz)          \
	X(mnl_attr_nest_start)        \
	X(mnl_attr_nest_end)          \
	X(mnl_attr_ok)                \
	X(mnl_attr_next)              \
	X(mnl_attr_get_type)          \
	X(mnl_attr_get_payload)       \
	X(mnl_attr_get_payload_len)

DL_DECLARE(net_link_mnl, NET_LINK_MNL_CALLS);

enum { NET_LINK_REQUEST_BYTES = 4096 };

struct net_link_request {
	union {
		struct nlmsghdr head;
		char bytes[NET_LINK_REQUEST_BYTES];
	} u;
};

typedef void (*net_link_answer)(void *arg, const struct nlmsghdr *head);

/* r: zero. Gives the request's own header, `extra` bytes of zeros. */
void *net_link_ask_begin(struct net_link_request *r, uint16_t type, uint16_t flags, size_t extra);
/* Gives 0, or the errno that the kernel answered. */
int net_link_ask_talk(int sock, struct net_link_request *r, net_link_answer each, void *arg);
/* "It exists already" is success, unless it must be new. what: "cannot" before it. */
int net_link_ask(int sock, struct net_link_request *r, const char *what,
		 struct err *err) MUST_CHECK;

unsigned char net_link_ask_family(const struct addr *a);
void net_link_ask_put_ip(struct nlmsghdr *h, uint16_t type, const struct addr *a);
/* An attribute behind `extra` bytes; NULL when the message has none of it. */
const struct nlattr *net_link_ask_attr(const struct nlmsghdr *h, size_t extra, uint16_t type);

#endif
