/* SPDX-License-Identifier: Apache-2.0 */
/* The rules, in the order in which they count. */
#include "ring/identity.h"

#include <string.h>
#include "base/map.h"

struct identity
identity_of_network(const char *network)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 2};
	uint64_t id = map_siphash(key, network, strlen(network)) | UINT64_C(1) << 63;

	return (struct identity){id, id, IDENTITY_USUAL};
}

/* Its service's overlay lets in who is not of it. */
static bool
is_open(const struct identity *i)
{
	return (i->flags & (MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_ISOLATED)) ==
	       MSG_IDENTITY_SERVICE_ON;
}

bool
identity_reaches(const struct identity *a, const struct identity *b)
{
	uint32_t both = a->flags & b->flags, either = a->flags | b->flags;

	if (a->deployment != b->deployment)
		return both & MSG_IDENTITY_GLOBAL_ON && !(either & MSG_IDENTITY_GLOBAL_ISOLATED);
	if (a->service == b->service && both & MSG_IDENTITY_SERVICE_ON)
		return true;
	return both & MSG_IDENTITY_GLOBAL_ON || is_open(a) || is_open(b);
}

bool
identity_isolates(uint32_t flags)
{
	return (flags & (MSG_IDENTITY_GLOBAL_ON | MSG_IDENTITY_GLOBAL_ISOLATED)) !=
	       MSG_IDENTITY_GLOBAL_ON;
}
