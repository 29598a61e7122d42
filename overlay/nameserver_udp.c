/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A system call for each datagram would cost several times what the answer does: a batch is read by
 * one recvmmsg and answered by one sendmmsg. All of its memory is static and nothing is allocated.
 * An answer that the socket does not take is dropped, those behind it are sent nevertheless.
 */
#include "overlay/nameserver_udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Room for the address that a datagram was sent to, or is to be sent from. */
union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct slot {
	struct sockaddr_storage from;
	union control control;
	struct iovec iov;
	uint8_t data[NAMESERVER_UDP_IN];
};

struct reply {
	struct sockaddr_storage to;
	union control control;
	struct iovec iov;
	uint8_t data[DNS_EDNS_BYTES];
};

static struct {
	struct mmsghdr heads[NAMESERVER_UDP_BATCH], reply_heads[NAMESERVER_UDP_BATCH];
	struct slot slots[NAMESERVER_UDP_BATCH];
	struct reply replies[NAMESERVER_UDP_BATCH];
} batch;

void
nameserver_udp_prepare(int fd)
{
	static const int on = 1;

	/* One of the two is for the other family's sockets. */
	(void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
}

static bool
destination(struct msghdr *m, struct addr *out)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			addr_from_v4_be(info.ipi_addr.s_addr, 0, out);
			return true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memset(out, 0, sizeof(*out));
			memcpy(out->ip, &info.ipi6_addr, sizeof(out->ip));
			return true;
		}
	}
	return false;
}

static size_t
put_control(union control *control, int level, int type, const void *data, size_t bytes)
{
	memset(control, 0, sizeof(*control));
	control->head.cmsg_level = level;
	control->head.cmsg_type = type;
	control->head.cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(&control->head), data, bytes);
	return CMSG_SPACE(bytes);
}

/* From the address that was asked: there may be others in the fabric. */
static void
put_head(struct msghdr *m, const struct forward_asker *asker, struct sockaddr_storage *to,
	 union control *control, struct iovec *iov)
{
	struct in_pktinfo info4 = {0};
	struct in6_pktinfo info6 = {0};

	*m = (struct msghdr){.msg_name = to,
			     .msg_namelen = addr_to_sockaddr(&asker->from, to),
			     .msg_iov = iov,
			     .msg_iovlen = 1,
			     .msg_control = control};
	if (addr_is_v4(&asker->to)) {
		info4.ipi_spec_dst.s_addr = addr_v4_be(&asker->to);
		m->msg_controllen =
			put_control(control, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4));
	} else {
		memcpy(&info6.ipi6_addr, asker->to.ip, sizeof(asker->to.ip));
		m->msg_controllen =
			put_control(control, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
	}
}

void
nameserver_udp_send(int fd, const struct forward_asker *asker, const void *data, size_t bytes)
{
	struct sockaddr_storage to;
	union control control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	struct msghdr m;

	put_head(&m, asker, &to, &control, &iov);
	(void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int
receive(int fd)
{
	for (size_t i = 0; i < NAMESERVER_UDP_BATCH; i++) {
		struct slot *s = &batch.slots[i];

		s->iov = (struct iovec){.iov_base = s->data, .iov_len = sizeof(s->data)};
		batch.heads[i].msg_hdr = (struct msghdr){.msg_name = &s->from,
							 .msg_namelen = sizeof(s->from),
							 .msg_iov = &s->iov,
							 .msg_iovlen = 1,
							 .msg_control = &s->control,
							 .msg_controllen = sizeof(s->control)};
	}
	return recvmmsg(fd, batch.heads, NAMESERVER_UDP_BATCH, MSG_DONTWAIT, NULL);
}

static void
send_replies(int fd, unsigned count)
{
	for (unsigned at = 0; at < count;) {
		int sent = sendmmsg(fd, batch.reply_heads + at, count - at,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		at += sent > 0 ? (unsigned)sent : 1;
	}
}

struct nameserver_udp_read
nameserver_udp_read(int fd, void *way, nameserver_udp_fn fn, void *arg)
{
	struct nameserver_udp_read done = {0};
	unsigned replies = 0;
	int n;

	do
		n = receive(fd);
	while (n < 0 && errno == EINTR);
	for (int i = 0; i < n; i++) {
		struct msghdr *m = &batch.heads[i].msg_hdr;
		struct reply *r = &batch.replies[replies];
		struct forward_asker asker = {.way = way};

		if (m->msg_flags & MSG_TRUNC || !destination(m, &asker.to) ||
		    !addr_from_sockaddr(m->msg_name, m->msg_namelen, &asker.from) ||
		    asker.from.port == 0) {
			done.useless++;
			continue;
		}
		size_t bytes =
			fn(arg, &asker, batch.slots[i].data, batch.heads[i].msg_len, r->data);
		if (bytes == 0)
			continue;
		r->iov = (struct iovec){.iov_base = r->data, .iov_len = bytes};
		put_head(&batch.reply_heads[replies++].msg_hdr, &asker, &r->to, &r->control,
			 &r->iov);
	}
	send_replies(fd, replies);
	done.count = n > 0 ? (size_t)n : 0;
	return done;
}
