/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying (RFC 3549). "It exists already" is success for everything but links: a runtime that was
 * killed in the middle does its work again.
 */
#include "runtime/net_link_ask.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "runtime/net_link.h"

DL_DEFINE(net_link_mnl, "libmnl.so.0", NET_LINK_MNL_CALLS)

enum { ANSWER_BYTES = 32768 };

int
net_link_open(struct err *err)
{
	return dl_load_net_link_mnl(err);
}

void *
net_link_ask_begin(struct net_link_request *r, uint16_t type, uint16_t flags, size_t extra)
{
	static uint32_t sequence;
	struct nlmsghdr *h = net_link_mnl.mnl_nlmsg_put_header(r->u.bytes);
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = ++sequence;
	return net_link_mnl.mnl_nlmsg_put_extra_header(h, extra);
}

/* Gives 0, or the errno that the kernel answered; -1 is left for a broken conversation. */
static int
take_answers(int sock, uint32_t sequence, net_link_answer each, void *arg)
{
	static char bytes[ANSWER_BYTES] __attribute__((aligned(8)));
	for (;;) {
		ssize_t n = recv(sock, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		int left = (int)n;
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)bytes;
		for (; net_link_mnl.mnl_nlmsg_ok(h, left);
		     h = net_link_mnl.mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != sequence)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = net_link_mnl.mnl_nlmsg_get_payload(h);
				return -e->error;
			}
			if (each != NULL)
				each(arg, h);
		}
	}
}

int
net_link_ask_talk(int sock, struct net_link_request *r, net_link_answer each, void *arg)
{
	struct nlmsghdr *h = &r->u.head;
	if (send(sock, h, h->nlmsg_len, 0) != (ssize_t)h->nlmsg_len)
		return errno;
	return take_answers(sock, h->nlmsg_seq, each, arg);
}

int
net_link_ask(int sock, struct net_link_request *r, const char *what, struct err *err)
{
	r->u.head.nlmsg_flags |= NLM_F_ACK;
	int code = net_link_ask_talk(sock, r, NULL, NULL);
	if (code == 0 || (code == EEXIST && (r->u.head.nlmsg_flags & NLM_F_EXCL) == 0))
		return 0;
	return err_sys(err, code, "cannot %s", what);
}

unsigned char
net_link_ask_family(const struct addr *a)
{
	return addr_is_v4(a) ? AF_INET : AF_INET6;
}

void
net_link_ask_put_ip(struct nlmsghdr *h, uint16_t type, const struct addr *a)
{
	if (addr_is_v4(a))
		net_link_mnl.mnl_attr_put(h, type, 4, a->ip + 12);
	else
		net_link_mnl.mnl_attr_put(h, type, 16, a->ip);
}

const struct nlattr *
net_link_ask_attr(const struct nlmsghdr *h, size_t extra, uint16_t type)
{
	const char *end = (const char *)h + h->nlmsg_len;
	const char *at = (const char *)net_link_mnl.mnl_nlmsg_get_payload(h) + NLMSG_ALIGN(extra);
	const struct nlattr *a = (const struct nlattr *)(const void *)at;
	for (; net_link_mnl.mnl_attr_ok(a, (int)(end - (const char *)a));
	     a = net_link_mnl.mnl_attr_next(a))
		if (net_link_mnl.mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}
