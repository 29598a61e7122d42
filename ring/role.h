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
	ROLE_FETCH,
	ROLES_,
};

enum { ROLE_PROXIES_MAX = 64 };

/* Which folder of the welcome is what: the index for station_folder(). */
enum role_folder {
	ROLE_FOLDER_DATAPLANE_PINS = 0,  /* /sys/fs/bpf/zlayer/NAME */
	ROLE_FOLDER_OVERLAY_STATE = 0,   /* overlay/ of the data folder */
	ROLE_FOLDER_SCHEDULER_STATE = 0, /* state/ */
	ROLE_FOLDER_UNPACK_IMAGES = 0,   /* images/ */
	ROLE_FOLDER_RUNTIME_IMAGES = 0,
	ROLE_FOLDER_RUNTIME_CONTAINERS = 1, /* containers/ */
	ROLE_FOLDER_RUNTIME_VOLUMES = 2,    /* volumes/ */
	ROLE_FOLDER_RUNTIME_RUN = 3,        /* /run/zlayer/NAME/containers */
};

/* "proxy", ...; NULL when out of range. */
const char *role_name(unsigned role);
/* 0 when unknown. */
unsigned role_of_name(const char *name);

#endif
