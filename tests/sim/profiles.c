/* SPDX-License-Identifier: Apache-2.0 */
/* The table of profiles. Whoever makes one adds its line. */
#include "tests/sim/profiles.h"

#include <string.h>
#include "tests/sim/profile_cells.h"
#include "tests/sim/profile_gossip.h"
#include "tests/sim/profile_lease.h"
#include "tests/sim/profile_place.h"
#include "tests/sim/toy.h"

static unsigned no_bugs;

const struct sim_profile *
profiles_find(const char *name)
{
	static struct sim_profile toy;
	const struct sim_profile *all[] = {profile_gossip(), profile_place(), profile_lease(),
					   profile_cells(), &toy};

	toy = toy_profile(&no_bugs);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!name || strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

const char *
profiles_names(void)
{
	return "gossip|place|lease|cells|toy";
}
