/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PACK_H
#define CLI_PACK_H

/* An image on this machine as the stream that the node takes: a tar archive of an OCI layout. A
 * folder is packed on the way, a gzip archive unpacked, a plain one is sent as it is. */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct pack;

int pack_open(const char *path, struct pack **out, struct err *err) MUST_CHECK;
void pack_close(struct pack *p); /* NULL is fine */
/* More bytes, 0 at the end, -1 with err. arg is the struct pack. */
long pack_read(void *arg, void *out, size_t cap, struct err *err);

#endif
