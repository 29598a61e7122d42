/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UPLINK_NFT_H
#define NODE_UPLINK_NFT_H

/*
 * The nft table of an instance: text of its rules, and the nft program that puts it in place, as a
 * confined child (libnftables is GPL-2 only: the program is run, never linked).
 * Threading: blocks until the program has ended.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "node/uplink.h"

/* The table's name: "zlayer-NAME", family inet. */
enum { UPLINK_NFT_NAME_BYTES = MSG_NAME + 8 };
void uplink_nft_name(const char *instance, char out[UPLINK_NFT_NAME_BYTES]);

/* Replaces the table as a whole, in one transaction. alias_each: the aliases of all uplinks of this
 * machine, which say for which links forwarding was switched on for containers alone. */
void uplink_nft_rules(const struct uplink_wanted *wanted, const char *const *aliases, size_t count,
		      struct buf *out);
/* ERR_NOT_FOUND: the program is not installed. */
int uplink_nft_run(const char *rules, size_t bytes, uid_t uid, struct err *err) MUST_CHECK;
/* Asked of the kernel directly. */
bool uplink_nft_there(const char *instance);

#endif
