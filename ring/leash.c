/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leash: fixed messages over SOCK_SEQPACKET, and two tables that can be read aloud: which kinds
 * of message a role may send where, and who reads whose segment. Both sides check size, magic,
 * kind and the number of descriptors before anything is used.
 */
#include "ring/leash.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct leash_message) == 256, "one size for all messages of the leash");

#define FROM(role) (1u << (ROLE_##role))

/* Who may send a kind to whom through node. Everything else is between node and one role. */
static const struct {
	enum leash_kind kind;
	unsigned from; /* set of roles */
	unsigned to;
} permitted[] = {
	{LEASH_DELIVER, FROM(API), FROM(SCHEDULER) | FROM(RUNTIME)},
	{LEASH_DELIVER, FROM(SCHEDULER), FROM(API) | FROM(RUNTIME)},
	{LEASH_DELIVER, FROM(RUNTIME), FROM(API) | FROM(UNPACK) | FROM(FETCH)},
	{LEASH_DELIVER, FROM(UNPACK) | FROM(FETCH), FROM(RUNTIME)},
	{LEASH_TICKETS, FROM(SIGNER), FROM(PROXY)},
	{LEASH_SEGMENT, ~0u, FROM(NODE)},
	{LEASH_READY, ~0u, FROM(NODE)},
	{LEASH_FAILED, ~0u, FROM(NODE)},
	{LEASH_KEEP, FROM(SIGNER), FROM(NODE)},
	{LEASH_SPOOL, FROM(API), FROM(NODE)},
	{LEASH_REGISTRY, FROM(FETCH), FROM(NODE)},
	{LEASH_LOGIN, FROM(FETCH), FROM(NODE)},
	{LEASH_STORE, FROM(SCHEDULER), FROM(NODE)},
	{LEASH_PAIRS, FROM(SCHEDULER), FROM(OVERLAY)},
};

/* Whose segment a role reads. node reads the metric pages of all. */
static const unsigned reads[ROLES_] = {
	[ROLE_NODE] = ~0u,
	[ROLE_DATAPLANE] = FROM(RUNTIME) | FROM(SCHEDULER) | FROM(OVERLAY) | FROM(NODE) | FROM(API),
	[ROLE_PROXY] = FROM(SCHEDULER) | FROM(SIGNER),
	[ROLE_SIGNER] = FROM(PROXY) | FROM(SCHEDULER) | FROM(NODE),
	[ROLE_SCHEDULER] = FROM(API) | FROM(RUNTIME) | FROM(PROBE) | FROM(PROXY) | FROM(OVERLAY) |
			   FROM(SIGNER) | FROM(DATAPLANE) | FROM(NODE),
	[ROLE_OVERLAY] = FROM(NODE) | FROM(SCHEDULER) | FROM(RUNTIME),
	[ROLE_RUNTIME] = FROM(SCHEDULER) | FROM(API) | FROM(DATAPLANE) | FROM(OVERLAY) |
			 FROM(UNPACK) | FROM(FETCH),
	[ROLE_UNPACK] = FROM(RUNTIME),
	[ROLE_FETCH] = FROM(RUNTIME),
	[ROLE_PROBE] = FROM(SCHEDULER),
	[ROLE_OBSERVABILITY] = ~0u,
	[ROLE_API] = FROM(SCHEDULER) | FROM(RUNTIME) | FROM(PROXY) | FROM(NODE) | FROM(SIGNER) |
		     FROM(DATAPLANE) | FROM(OVERLAY) | FROM(PROBE),
};

static const struct {
	uint8_t min, max;
} descriptors[LEASH_KINDS_] = {
	[LEASH_WELCOME] = {2, 2 + LEASH_FOLDERS_MAX},
	[LEASH_PEER] = {2, 2},
	[LEASH_KICK] = {1, 1},
	[LEASH_LISTENER] = {1, 1},
	[LEASH_CONFIG] = {1, 1},
	[LEASH_FILE] = {1, 2},
	[LEASH_SEGMENT] = {1, 1},
	[LEASH_KEEP] = {1, 1},
	[LEASH_SPOOLED] = {0, 1},
	[LEASH_DELIVER] = {1, 4},
	[LEASH_TICKETS] = {1, 1},
	[LEASH_REGISTRY_FILES] = {0, 4},
	[LEASH_SOCKETS] = {1, FD_PASS_MAX},
	[LEASH_LOGIN_PIPE] = {0, 1},
	[LEASH_STORE_FILES] = {0, 4},
	[LEASH_TUNNEL] = {0, LEASH_TUNNEL_QUEUES_MAX},
	[LEASH_PAIRS] = {1, 1},
	[LEASH_FAILED] = {1, 1},
};

void
leash_init(struct leash_message *m, enum leash_kind kind)
{
	memset(m, 0, sizeof(*m));
	m->magic = LEASH_MAGIC;
	m->kind = (uint16_t)kind;
}

bool
leash_allowed(unsigned from_role, unsigned to_role, enum leash_kind kind)
{
	if (from_role == 0 || to_role == 0 || from_role >= ROLES_ || to_role >= ROLES_)
		return false;
	for (size_t i = 0; i < sizeof(permitted) / sizeof(permitted[0]); i++) {
		if (permitted[i].kind == kind && (permitted[i].from & 1u << from_role) &&
		    (permitted[i].to & 1u << to_role))
			return true;
	}
	return false;
}

bool
leash_reads(unsigned reader_role, unsigned producer_role)
{
	if (reader_role >= ROLES_ || producer_role == 0 || producer_role >= ROLES_ ||
	    reader_role == producer_role)
		return false;
	return reads[reader_role] & 1u << producer_role;
}

void
leash_fds(enum leash_kind kind, size_t *min_out, size_t *max_out)
{
	bool known = kind > 0 && kind < LEASH_KINDS_;

	*min_out = known ? descriptors[kind].min : 0;
	*max_out = known ? descriptors[kind].max : 0;
}

int
leash_send(int sock, const struct leash_message *m, const int *fds, size_t count)
{
	struct leash_message copy = *m;

	copy.fds = (uint16_t)count;
	ssize_t n = fd_send(sock, &copy, sizeof(copy), fds, count);
	if (n == (ssize_t)sizeof(copy))
		return 0;
	if (n >= 0 || errno == EPIPE)
		errno = ECONNRESET;
	return -1;
}

static bool
message_holds(const struct leash_message *m, ssize_t bytes, size_t count)
{
	size_t min, max;

	if (bytes != (ssize_t)sizeof(*m) || m->magic != LEASH_MAGIC || m->kind == 0 ||
	    m->kind >= LEASH_KINDS_ || m->fds != count || !MSG_OK(m->name))
		return false;
	leash_fds((enum leash_kind)m->kind, &min, &max);
	return count >= min && count <= max;
}

int
leash_recv(int sock, struct leash_message *m, int *fds, size_t max, size_t *count_out)
{
	size_t count = 0;
	ssize_t n = fd_recv(sock, m, sizeof(*m), fds, max, &count);

	*count_out = 0;
	if (n == 0) {
		errno = ECONNRESET;
		return -1;
	}
	if (n < 0) {
		if (errno == EMSGSIZE)
			errno = EBADMSG;
		return -1;
	}
	if (!message_holds(m, n, count)) {
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
		errno = EBADMSG;
		return -1;
	}
	*count_out = count;
	return 0;
}
