/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of the shell: read and written in batches (recvmmsg, sendmmsg), so that a step that
 * speaks to many peers costs one system call. What the socket cannot take is lost, as datagrams may
 * be; cores count on that.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "scheduler/shell_inside.h"

enum {
	RECEIVE_BYTES = 2048, /* longer ones are cut, and then not ours */
	ROUNDS_MAX = 16,      /* batches read in one turn of the loop */
};

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

void
shell_datagram_send(struct shell_core_state *c, uint32_t node, const void *data, size_t bytes)
{
	struct shell *s = c->shell;
	struct shell_batch *b = &s->batch;
	struct shell_peer_state *p = map_get_u64(&s->peers, node);
	uint8_t plain[1 + STEP_DATAGRAM_MAX];
	struct err err = {0};
	size_t i = b->count;

	assert(bytes <= STEP_DATAGRAM_MAX);
	plain[0] = c->calls.service;
	memcpy(plain + 1, data, bytes);
	if (!p || p->address.port == 0 ||
	    envelope_seal(s->config.self, &p->envelope, plain, bytes + 1, b->bytes[i], &err) < 0) {
		s->counters.unsent++;
		return;
	}
	b->data[i] = (struct iovec){b->bytes[i], bytes + 1 + ENVELOPE_OVERHEAD};
	memset(&b->messages[i], 0, sizeof(b->messages[i]));
	b->messages[i].msg_hdr.msg_name = &b->to[i];
	b->messages[i].msg_hdr.msg_namelen = to_sockaddr(s, &p->address, &b->to[i]);
	b->messages[i].msg_hdr.msg_iov = &b->data[i];
	b->messages[i].msg_hdr.msg_iovlen = 1;
	if (++b->count == SHELL_BATCH)
		shell_datagram_flush(s);
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

static void
take_datagram(struct shell *s, const uint8_t *packet, size_t bytes, const struct addr *from)
{
	uint8_t plain[RECEIVE_BYTES];
	size_t plain_bytes = 0;
	uint32_t node = envelope_from(s->config.self, packet, bytes);
	struct shell_peer_state *p = node ? map_get_u64(&s->peers, node) : NULL;

	if (!p) {
		*(node ? &s->counters.strangers : &s->counters.malformed) += 1;
		return;
	}
	switch (envelope_open(s->config.self, &p->envelope, packet, bytes, plain, &plain_bytes)) {
	case ENVELOPE_OPENED:
		p->address = *from;
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
	return n == SHELL_BATCH;
}

void
shell_datagram_drain(struct shell *s)
{
	for (int i = 0; i < ROUNDS_MAX && receive(s); i++)
		;
}
