/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_LINK_H
#define RUNTIME_CONTAINER_LINK_H

/* A container's addresses and link: c->veth, and its row. Threading: the loop's. */

#include "runtime/container.h"

/* The addresses of what has this number, from the pool: on disk before anybody can see them. */
int container_link_take_addresses(struct container_host *host, uint64_t id, struct addr *addr4_out,
				  struct addr *addr6_out, struct err *err) MUST_CHECK;
/* Of so many, with one write. */
void container_link_free_addresses(struct container_host *host, const uint64_t *ids, size_t count);

enum container_link_verdict {
	CONTAINER_LINK_WAITS, /* the data path has not looked at it yet */
	CONTAINER_LINK_PASSES,
	CONTAINER_LINK_REFUSED, /* err says why */
};
/* Whether the data path lets packets through this link. Refused are also services whose overlays
 * keep others out, where nobody judges packets by them. */
enum container_link_verdict container_link_verdict(const struct container_host *host, uint64_t id,
						   uint32_t ifindex, struct err *err);

/* Nothing seals what this replica sends, as far as its own overlays say it. Not known: false. */
bool container_link_plain(const struct container_host *host, uint64_t replica);

/* Makes what is not there yet. The host has a prefix. */
int container_link_make(struct container *c, struct err *err) MUST_CHECK;
/* The data path lets it pass: packets do from now on. */
int container_link_connect(struct container *c, struct err *err) MUST_CHECK;
/* They do not any more, whatever becomes of the container. */
void container_link_disconnect(struct container *c);
/* After a restart: the link of a container that runs is told again. */
void container_link_show(struct container *c);
/* Nobody judges packets: the data path has no BPF. */
bool container_link_unjudged(const struct container_host *host);
/* It runs, and nobody judges its packets any more, as its overlays or its device would have it. */
bool container_link_exposed(const struct container *c);
/* Removes the link and frees the addresses; the row is the caller's. */
void container_link_remove(struct container *c);

#endif
