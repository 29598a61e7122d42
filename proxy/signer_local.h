/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SIGNER_LOCAL_H
#define PROXY_SIGNER_LOCAL_H

/*
 * The node's own authority in the signer: certificates for the hosts of https routes and tls
 * streams that no file covers, as long as tls.self_signed is on. Threading: the loop's.
 */

#include <stdbool.h>
#include "base/secret.h"
#include "proxy/authority.h"
#include "proxy/cert_table.h"

struct signer_local {
	struct station *st;
	struct cert_table *table;
	struct keys *keys;
	struct secret sealing_key;
	bool has_sealing_key;
	struct authority authority;
	bool has_authority;
	bool refused; /* kept, but cannot be opened: never replaced by a new one */
};

/* What node keeps for the signer; the descriptor is borrowed. Trouble is logged. */
void signer_local_sealing_key(struct signer_local *l, int fd);
void signer_local_sealed(struct signer_local *l, const char *name, int fd);
/* Issues what the scheduler's routes and streams need, renews it, drops the rest. */
void signer_local_reconcile(struct signer_local *l, struct ring_reader *scheduler);
/* The authority's own row; false: there is none. */
bool signer_local_row(struct signer_local *l, struct msg_certificate *out);

#endif
