/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_ROLE_H
#define RING_ROLE_H

/* The roles: one process each (proxy: one per worker). docs/security.md says what each may do. */

enum role {
	ROLE_NODE = 1,
	ROLE_DATAPLANE,
	ROLE_PROXY,
	ROLE_SIGNER,
	ROLE_SCHEDULER,
	ROLE_OVERLAY,
	ROLE_RUNTIME,
	ROLE_UNPACK,
	ROLE_PROBE,
	ROLE_OBSERVABILITY,
	ROLE_API,
	ROLES_,
};

enum { ROLE_PROXIES_MAX = 64 };

/* "proxy", ...; NULL when out of range. */
const char *role_name(unsigned role);
/* 0 when unknown. */
unsigned role_of_name(const char *name);

#endif
