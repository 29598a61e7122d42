/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_LINK_H
#define RUNTIME_CONTAINER_LINK_H

/* A container's addresses and link: c->veth, and its row. Threading: the loop's. */

#include "runtime/container.h"

/* Makes what is not there yet. The host has a prefix. */
int container_link_make(struct container *c, struct err *err) MUST_CHECK;
/* After a restart: the link of a container that runs is told again. */
void container_link_show(struct container *c);
/* Whether the data path lets the container speak. */
bool container_link_attached(const struct container *c);
/* Removes the link and frees the addresses; the row is the caller's. */
void container_link_remove(struct container *c);

#endif
