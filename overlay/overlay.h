/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_OVERLAY_H
#define OVERLAY_OVERLAY_H

/* The overlay role: decides and keeps this node's address prefixes and publishes them (table
 * prefix); answers its containers' questions for names. Folder 0 of the welcome is its state. */

#include "ring/station.h"

extern const struct station_role overlay_role;

#endif
