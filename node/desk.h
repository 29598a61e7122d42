/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_DESK_H
#define NODE_DESK_H

/*
 * What node hands to roles that may not open files: signer's keys and certificates, api's spool
 * files, what fetch needs for a registry, scheduler for its etcd; and what it keeps for signer.
 * Descriptors only, never their content. Threading: the loop's thread.
 */

#include "node/certs.h"
#include "node/hub.h"
#include "node/login_program.h"
#include "spec/config.h"

/* To a signer that has just started: the sealing key, what was kept sealed, the certificates. */
void desk_signer(int data_fd, struct hub_member *signer, const struct certs *certs);
/* A round of certificates; certs may be NULL (none). */
void desk_certificates(struct hub_member *signer, const struct certs *certs);
/* LEASH_KEEP, LEASH_SPOOL, LEASH_REGISTRY, LEASH_LOGIN and LEASH_STORE. registries: the folder of
 * node.yaml. */
struct desk {
	int data_fd;
	const char *registries;
	const struct config_store_etcd *store;
	struct login_program *logins;
};
void desk_asked(const struct desk *desk, struct hub_member *member,
		const struct leash_message *message, const int *fds);

#endif
