/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_GUEST_H
#define RUNTIME_NET_GUEST_H

/*
 * Network namespaces that are not ours, into which a container engine wants one of our links. Of
 * what is in them nothing is changed but that link, its addresses and the routes over it.
 * Threading: the loop's thread.
 */

#include "base/err.h"
#include "runtime/net.h"

struct net_guest {
	int ns;             /* borrowed */
	const char *device; /* what our link is called there */
};

/* The namespace that an absolute path names, whatever else may lie there: nothing but a network
 * namespace is ever opened. -1 with err: ERR_NOT_FOUND, ERR_INVALID (it is no such thing, or it is
 * the machine's own or the fabric). */
int net_guest_open(const struct net *net, const char *path, struct err *err);
/* Another descriptor of the namespace, if our link can come there: ERR_CONFLICT when it has such a
 * device, or a default route. -1 with err. */
int net_guest_enter(const struct net_guest *guest, struct err *err);
/* Whether all that net_make made is there: both ends up, with their MAC and IP addresses, and the
 * routes. ERR_CONFLICT says the first that is not. */
int net_guest_check(const struct net *net, const struct net_config *config,
		    struct err *err) MUST_CHECK;

#endif
