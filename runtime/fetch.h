/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FETCH_H
#define RUNTIME_FETCH_H

/* The fetch role: the only process that talks to registries. It finds what an image's name means
 * (MSG_OP_FETCH_IMAGE) and passes blobs on without keeping them (MSG_OP_FETCH_BLOB). */

#include "ring/station.h"

extern const struct station_role fetch_role;

#endif
