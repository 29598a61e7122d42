/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_IMAGES_H
#define API_IMAGES_H

#include "api/server.h"

/* node gave (or refused) a file for an upload. */
void images_spooled(struct server *s, const struct leash_message *m, int *fds, size_t count);

#endif
