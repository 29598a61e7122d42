/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_RESOLVERS_H
#define OVERLAY_RESOLVERS_H

/* The name servers that a machine uses, from the text of its resolv.conf(5). No I/O. */

#include <stddef.h>
#include "base/addr.h"

enum { RESOLVERS_MAX = 3, RESOLVERS_TEXT_MAX = 65536 };

struct resolvers {
	struct addr at[RESOLVERS_MAX]; /* port 53 */
	size_t count;
};

/* Takes the first of the lines "nameserver ADDRESS", each address once; whatever else stands there
 * is passed over, as are addresses that need an interface (fe80::1%eth0) and unspecified ones. */
void resolvers_parse(const char *text, size_t bytes, struct resolvers *out);

#endif
