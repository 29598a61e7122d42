/* SPDX-License-Identifier: Apache-2.0 */
/* The rule itself stands in ring/identity_rule.h. */
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

bool
identity_reaches(const struct identity *a, const struct identity *b)
{
	return identity_rule_judge(a->deployment == b->deployment, a->service == b->service,
				   a->flags, b->flags) != IDENTITY_RULE_ISOLATED;
}

bool
identity_isolates(uint32_t flags)
{
	return (flags & (MSG_IDENTITY_GLOBAL_ON | MSG_IDENTITY_GLOBAL_ISOLATED)) !=
	       MSG_IDENTITY_GLOBAL_ON;
}

bool
identity_seals(uint32_t flags)
{
	static const uint32_t open = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_GLOBAL_ON;

	return identity_rule_judge(0, 0, flags, open) == IDENTITY_RULE_SEALED ||
	       identity_rule_judge(1, 0, flags, open) == IDENTITY_RULE_SEALED ||
	       identity_rule_judge(1, 1, flags, open) == IDENTITY_RULE_SEALED;
}
