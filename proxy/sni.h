/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SNI_H
#define PROXY_SNI_H

/*
 * Which certificate a client gets: rows of signer's table, each made into a TLS context once. Exact
 * names win over wildcards (one label), files over the local authority, EC over RSA. A client
 * without a server name gets a certificate only when one is marked for any host.
 * Threading: one owner.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/map.h"
#include "ring/msg.h"
#include "wire/tls.h"

struct sni {
	struct tls_server *tls;
	struct map by_name; /* "a.b" or "*.b" -> struct sni_certificate */
	struct map by_id;
	struct tls_context *any;
	/* The name meant by a client that names none, during a call into TLS; "" or NULL: any. */
	const char *unnamed;
};

/* The server is set later: the two need each other. */
void sni_init(struct sni *s);
/* As ring_table_sync gives it; call sni_rebuild after a round of changes. */
void sni_change(struct sni *s, uint64_t id, const struct msg_certificate *row);
void sni_rebuild(struct sni *s);
/* A tls_select_fn. */
struct tls_context *sni_select(void *arg, const char *host);

#endif
