/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of the shell: read and written in batches (recvmmsg, sendmmsg), so that a step that
 * speaks to many peers costs one system call. What the socket cannot take is lost, as datagrams may
 * be; cores count on that.
 *
 * Between two nodes of which neither can be sent to first a third one passes on (docs/decisions/018
 * says it of the sealed traffic): it is where each of them sends what is for the other, and the
 * envelope says whose it is. It can drop, but not read or change. What it takes on is no more than
 * members may send, it sends to nobody who has not proven to be there, and who only makes up a
 * member's address takes nothing of what that one may send.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/world.h"
#include "scheduler/shell_inside.h"

enum {
	RECEIVE_BYTES = 2048, /* longer ones are cut, and then not ours */
	ROUNDS_MAX = 16,      /* batches read in one turn of the loop */
	SECOND_NS = 1000000000,
};

#define OLDER_NS (SHELL_OLDER_MS * UINT64_C(1000000))

/* ---- out ---- */

void
shell_datagram_flush(struct shell *s)
{
	struct shell_batch *b = &s->batch;
	size_t at = 0;

	while (at < b->count) {
		int n = sendmmsg(s->config.udp_fd, b->messages + at, (unsigned)(b->count - at),
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) { /* this one cannot go: the others may */
			s->counters.unsent++;
			at++;
			continue;
		}
		for (int i = 0; i < n; i++)
			s->counters.sent_bytes += b->data[at + (size_t)i].iov_len;
		s->counters.sent += (uint64_t)n;
		at += (size_t)n;
	}
	b->count = 0;
}

static socklen_t
to_sockaddr(const struct shell *s, const struct addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

	if (!s->v6)
		return addr_to_sockaddr(a, out);
	*six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
	memcpy(&six->sin6_addr, a->ip, sizeof(a->ip));
	return sizeof(*six);
}

/* What stands in the next place of the batch. */
static void
push(struct shell *s, const struct addr *to, size_t bytes)
{
	struct shell_batch *b = &s->batch;
	size_t i = b->count;

	b->data[i] = (struct iovec){b->bytes[i], bytes};
	memset(&b->messages[i], 0, sizeof(b->messages[i]));
	b->messages[i].msg_hdr.msg_name = &b->to[i];
	b->messages[i].msg_hdr.msg_namelen = to_sockaddr(s, to, &b->to[i]);
	b->messages[i].msg_hdr.msg_iov = &b->data[i];
	b->messages[i].msg_hdr.msg_iovlen = 1;
	if (++b->count == SHELL_BATCH)
		shell_datagram_flush(s);
}

void
shell_datagram_send(struct shell_core_state *c, uint32_t node, const void *data, size_t bytes)
{
	struct shell *s = c->shell;
	struct shell_peer_state *p = map_get_u64(&s->peers, node);
	uint8_t plain[1 + STEP_DATAGRAM_MAX];
	struct err err = {0};

	assert(bytes <= STEP_DATAGRAM_MAX);
	plain[0] = c->calls.service;
	memcpy(plain + 1, data, bytes);
	if (!p || p->address.port == 0 ||
	    envelope_seal(s->config.self, &p->envelope, plain, bytes + 1,
			  s->batch.bytes[s->batch.count], &err) < 0) {
		s->counters.unsent++;
		return;
	}
	push(s, &p->address, bytes + 1 + ENVELOPE_OVERHEAD);
}

/* ---- in ---- */

static void
take_plain(struct shell *s, uint32_t node, const uint8_t *plain, size_t bytes)
{
	struct shell_core_state *c = bytes > 0 ? shell_find(s, plain[0]) : NULL;

	if (!c || bytes - 1 > STEP_DATAGRAM_MAX) {
		s->counters.malformed++;
		return;
	}
	shell_step(c, &(struct step_input){.kind = STEP_DATAGRAM,
					   .node = node,
					   .data = plain + 1,
					   .bytes = bytes - 1});
}

static bool
take_one(struct shell_allowance *a, uint32_t per_s)
{
	uint64_t now = world_mono_ns();

	if (now >= a->until_ns) {
		a->left = per_s;
		a->until_ns = now + SECOND_NS;
	}
	if (a->left == 0)
		return false;
	a->left--;
	return true;
}

/* An address can be made up. A datagram that says the session that this node has opened one of is
 * by somebody who has seen it; what others send in that node's name is little, and costs it
 * nothing. One that has just begun anew has proven nothing yet. */
static bool
may_pass(struct shell_peer_state *p, const uint8_t *packet)
{
	return envelope_says_session(&p->envelope, packet)
		       ? take_one(&p->proven, SHELL_PASS_PER_S)
		       : take_one(&p->unproven, SHELL_PASS_UNPROVEN_PER_S);
}

/* Of one node that only dials out to another one, unopened: only from where the first one has
 * proven to be, and to where the other one has. */
static void
pass_on(struct shell *s, uint32_t node, uint32_t to, const uint8_t *packet, size_t bytes,
	const struct addr *from)
{
	struct shell_peer_state *p = map_get_u64(&s->peers, node);
	const struct shell_peer_state *other = map_get_u64(&s->peers, to);

	if (!p || !other || p == other || !p->dials || !other->dials) {
		s->counters.malformed++; /* not for us */
		return;
	}
	if (!addr_equal(&p->address, from) || other->address.port == 0 || bytes > SHELL_DATAGRAM ||
	    !may_pass(p, packet)) {
		s->counters.unpassed++;
		return;
	}
	memcpy(s->batch.bytes[s->batch.count], packet, bytes);
	push(s, &other->address, bytes);
	s->counters.passed++;
}

/* It may have been recorded by anybody; but it may also be that this node has two bodies, or has
 * lost count of its sessions. */
static void
look_at_older(struct shell *s, struct shell_peer_state *p, const uint8_t *packet, size_t bytes,
	      const struct addr *from)
{
	uint64_t now = world_mono_ns();

	if (!s->config.older || (p->older_ns && now - p->older_ns < OLDER_NS) ||
	    envelope_says_session(&p->envelope, packet))
		return;
	p->older_ns = now;
	if (envelope_is_older(s->config.self, &p->envelope, packet, bytes))
		s->config.older(s->config.arg, p->envelope.node, from, p->envelope.session,
				&p->address);
}

static void
take_datagram(struct shell *s, const uint8_t *packet, size_t bytes, const struct addr *from)
{
	uint8_t plain[RECEIVE_BYTES];
	size_t plain_bytes = 0;
	uint32_t node, to;

	if (!envelope_ends(packet, bytes, &node, &to)) {
		s->counters.malformed++;
		return;
	}
	if (to != s->config.self->node) {
		pass_on(s, node, to, packet, bytes, from);
		return;
	}
	struct shell_peer_state *p = map_get_u64(&s->peers, node);
	if (!p) {
		s->counters.strangers++;
		return;
	}
	switch (envelope_open(s->config.self, &p->envelope, packet, bytes, plain, &plain_bytes)) {
	case ENVELOPE_OPENED:
		p->address = *from;
		p->heard_ns = world_mono_ns();
		take_plain(s, node, plain, plain_bytes);
		break;
	case ENVELOPE_MALFORMED:
		s->counters.malformed++;
		break;
	case ENVELOPE_FORGED:
		s->counters.forged++;
		break;
	case ENVELOPE_REPLAYED:
		s->counters.replayed++;
		look_at_older(s, p, packet, bytes, from);
		break;
	}
}

/* One batch; false when there was no full one. */
static bool
receive(struct shell *s)
{
	static uint8_t bytes[SHELL_BATCH][RECEIVE_BYTES];
	struct sockaddr_storage from[SHELL_BATCH];
	struct mmsghdr messages[SHELL_BATCH] = {0};
	struct iovec data[SHELL_BATCH];

	for (size_t i = 0; i < SHELL_BATCH; i++) {
		data[i] = (struct iovec){bytes[i], RECEIVE_BYTES};
		messages[i].msg_hdr.msg_name = &from[i];
		messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
		messages[i].msg_hdr.msg_iov = &data[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int n = recvmmsg(s->config.udp_fd, messages, SHELL_BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		struct addr source;

		s->counters.received++;
		s->counters.received_bytes += messages[i].msg_len;
		if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) ||
		    !addr_from_sockaddr((const struct sockaddr *)&from[i],
					messages[i].msg_hdr.msg_namelen, &source))
			s->counters.malformed++;
		else
			take_datagram(s, bytes[i], messages[i].msg_len, &source);
	}
	shell_datagram_flush(s); /* what is passed on */
	return n == SHELL_BATCH;
}

void
shell_datagram_drain(struct shell *s)
{
	for (int i = 0; i < ROUNDS_MAX && receive(s); i++)
		;
}
