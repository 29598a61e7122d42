/* SPDX-License-Identifier: Apache-2.0 */
/* One line per role: the only place where the programs of all folders meet. */
#include "cli/role_table.h"

#include "api/api.h"
#include "dataplane/dataplane.h"
#include "observability/observability.h"
#include "overlay/overlay.h"
#include "proxy/proxy.h"
#include "proxy/signer.h"
#include "runtime/fetch.h"
#include "runtime/probe.h"
#include "runtime/runtime.h"
#include "runtime/unpack.h"
#include "scheduler/scheduler.h"

static const struct station_role *const table[] = {
	&api_role,    &dataplane_role, &observability_role, &overlay_role,
	&probe_role,  &runtime_role,   &scheduler_role,     &proxy_role,
	&signer_role, &unpack_role,    &fetch_role,
};

const struct station_role *
role_table_find(unsigned role)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i]->role == role)
			return table[i];
	return NULL;
}

size_t
role_table_list(unsigned *roles)
{
	size_t count = sizeof(table) / sizeof(table[0]);

	for (size_t i = 0; i < count; i++)
		roles[i] = table[i]->role;
	return count;
}
