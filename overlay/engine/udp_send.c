/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: a place (which send, how far in it) walks over the list; from it a batch of messages is
 * written down, given to sendmmsg, and the place moves on over those that were taken. The first one
 * that was not is judged by its errno:
 *
 *     EIO               the device has no checksums for UDP_SEGMENT: never again on this socket
 *     EINVAL, EMSGSIZE  of a run: its datagrams do not fit the path; this one goes as datagrams
 *     EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV  with a source: it is not ours any
 *                       more, or does not lead there: without it
 *     anything else     the rest of this send is lost, the error is written down
 *
 * Each of these happens once for each send at most, so that it ends.
 */
#include "overlay/engine/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BATCH = 32, /* messages of one call */
	CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
			CMSG_SPACE(sizeof(uint16_t)),
};

struct place {
	size_t send;
	uint32_t at; /* bytes of it that are gone */
	bool split;  /* it goes as datagrams */
};

struct message {
	struct place after;
	struct iovec iov;
	struct sockaddr_storage to;
	bool run; /* more than one datagram */
	union {
		struct cmsghdr align;
		uint8_t bytes[CONTROL_BYTES];
	} control;
};

static void
put_control(struct msghdr *m, int level, int type, const void *data, size_t bytes)
{
	struct cmsghdr *c =
		(struct cmsghdr *)(void *)((uint8_t *)m->msg_control + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(c), data, bytes);
	m->msg_controllen += CMSG_SPACE(bytes);
}

static bool
has_source(const struct udp_send *s)
{
	return !s->source_gone && (!addr_is_zero(&s->from.address) || s->from.interface);
}

static void
put_source(struct msghdr *m, const struct udp *u, const struct udp_source *from)
{
	if (u->v6) {
		struct in6_pktinfo info = {.ipi6_ifindex = from->interface};

		if (!addr_is_zero(&from->address))
			memcpy(&info.ipi6_addr, from->address.ip, sizeof(info.ipi6_addr));
		put_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	} else {
		struct in_pktinfo info = {.ipi_ifindex = (int)from->interface};

		if (!addr_is_zero(&from->address))
			info.ipi_spec_dst.s_addr = addr_v4_be(&from->address);
		put_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
}

static void
write_message(const struct udp *u, const struct udp_send *s, struct message *m, struct msghdr *out)
{
	*out = (struct msghdr){
		.msg_name = &m->to,
		.msg_namelen = addr_to_sockaddr(&s->to, &m->to),
		.msg_iov = &m->iov,
		.msg_iovlen = 1,
		.msg_control = &m->control,
	};
	memset(&m->control, 0, sizeof(m->control));
	if (has_source(s))
		put_source(out, u, &s->from);
	if (s->handshake) {
		int tos = UDP_HANDSHAKE_TOS;

		put_control(out, u->v6 ? IPPROTO_IPV6 : IPPROTO_IP, u->v6 ? IPV6_TCLASS : IP_TOS,
			    &tos, sizeof(tos));
	}
	if (m->run) {
		uint16_t stride = (uint16_t)s->stride;

		put_control(out, IPPROTO_UDP, UDP_SEGMENT, &stride, sizeof(stride));
	}
}

/* The message at a place; `after` is behind it. */
static void
take(const struct udp *u, const struct udp_send *list, const struct place *from, struct message *m)
{
	const struct udp_send *s = &list[from->send];
	uint32_t left = s->bytes - from->at;
	bool whole = __atomic_load_n(&u->gso, __ATOMIC_RELAXED) && !from->split;
	uint32_t bytes = whole || left < s->stride ? left : s->stride;

	m->run = bytes > s->stride;
	m->iov = (struct iovec){(void *)(uintptr_t)(s->data + from->at), bytes};
	m->after = *from;
	m->after.at += bytes;
	if (m->after.at == s->bytes)
		m->after = (struct place){.send = from->send + 1};
}

/* What the errno of the message at a place is worth. */
static void
judge(struct udp *u, struct udp_send *list, struct place *place, bool run, int code)
{
	struct udp_send *s = &list[place->send];

	if (code == EINTR)
		return;
	if (run && code == EIO) {
		__atomic_store_n(&u->gso, false, __ATOMIC_RELAXED);
		place->split = true;
		return;
	}
	if (run && (code == EINVAL || code == EMSGSIZE)) {
		place->split = true;
		return;
	}
	if (has_source(s) && (code == EINVAL || code == EADDRNOTAVAIL || code == ENETUNREACH ||
			      code == EHOSTUNREACH || code == ENODEV)) {
		s->source_gone = true;
		return;
	}
	s->error = code;
	*place = (struct place){.send = place->send + 1};
}

static bool
right_family(const struct udp *u, const struct udp_send *s)
{
	return addr_is_v4(&s->to) != u->v6 &&
	       (addr_is_zero(&s->from.address) || addr_is_v4(&s->from.address) != u->v6);
}

void
udp_send(struct udp *u, struct udp_send *list, size_t count)
{
	struct mmsghdr headers[BATCH];
	struct message messages[BATCH];
	struct place place = {0};

	for (size_t i = 0; i < count; i++) {
		struct udp_send *s = &list[i];

		assert(s->bytes > 0 && s->bytes <= UDP_SEND_MAX && s->stride > 0 &&
		       (s->bytes - 1) / s->stride < UDP_SEGMENTS_MAX && right_family(u, s));
		s->source_gone = false;
		s->error = 0;
	}
	while (place.send < count) {
		struct place at = place;
		unsigned n = 0;

		for (; n < BATCH && at.send < count; n++) {
			take(u, list, &at, &messages[n]);
			write_message(u, &list[at.send], &messages[n], &headers[n].msg_hdr);
			at = messages[n].after;
		}
		int sent = sendmmsg(u->fd, headers, n, 0);
		if (sent > 0)
			place = messages[sent - 1].after;
		else
			judge(u, list, &place, messages[0].run, errno);
	}
}
