/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOOKUP_H
#define RUNTIME_LOOKUP_H

/*
 * Finds the addresses of a name: hosts(5) first, then the servers of resolv.conf(5), both given as
 * text by node. Threading: the loop's thread; `done` is called once, never from within
 * lookup_start, and not after lookup_cancel.
 */

#include <stddef.h>
#include <uv.h>
#include "wire/dns_stub.h"

struct lookup;
/* addrs->count 0: not found, why says why. */
typedef void (*lookup_fn)(void *arg, const struct dns_stub_addrs *addrs, const char *why);

/* NULL: no memory. The texts are used within the call only. */
struct lookup *lookup_start(uv_loop_t *loop, const char *name, const char *resolv,
			    size_t resolv_bytes, const char *hosts, size_t hosts_bytes,
			    lookup_fn done, void *arg);
void lookup_cancel(struct lookup *l);

#endif
