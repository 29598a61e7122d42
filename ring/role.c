/* SPDX-License-Identifier: Apache-2.0 */
/* The names of the roles, as the command line, logs and metrics show them. */
#include "ring/role.h"

#include <stddef.h>
#include <string.h>

static const char *const names[ROLES_] = {
	[ROLE_NODE] = "node",
	[ROLE_DATAPLANE] = "dataplane",
	[ROLE_PROXY] = "proxy",
	[ROLE_SIGNER] = "signer",
	[ROLE_SCHEDULER] = "scheduler",
	[ROLE_OVERLAY] = "overlay",
	[ROLE_RUNTIME] = "runtime",
	[ROLE_UNPACK] = "unpack",
	[ROLE_PROBE] = "probe",
	[ROLE_OBSERVABILITY] = "observability",
	[ROLE_API] = "api",
	[ROLE_FETCH] = "fetch",
};

const char *
role_name(unsigned role)
{
	return role < ROLES_ ? names[role] : NULL;
}

unsigned
role_of_name(const char *name)
{
	for (unsigned role = 1; role < ROLES_; role++) {
		if (strcmp(names[role], name) == 0)
			return role;
	}
	return 0;
}
