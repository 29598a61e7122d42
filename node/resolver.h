/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_RESOLVER_H
#define NODE_RESOLVER_H

/*
 * What the overlay role needs to ask the machine's own resolvers, which it cannot reach from the
 * fabric: sockets of node's network namespace, and a copy of /etc/resolv.conf. node does not read
 * what stands in that file.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <sys/stat.h>
#include "node/hub.h"

enum {
	RESOLVER_UDP = 96, /* sockets, of each family */
	RESOLVER_TCP = 16,
	RESOLVER_TEXT_MAX = 65536,
};

struct resolver { /* zeroed at first */
	bool looked;
	struct stat last;
};

void resolver_send_sockets(struct hub_member *overlay);
/* The file as it is now; nothing when there is none. */
void resolver_send_file(struct hub_member *overlay);
/* Whether it is another file, or another version of it, than at the last call. */
bool resolver_changed(struct resolver *r);

#endif
