/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

/*
 * The runtime role: makes true what the scheduler claims for this node. It publishes the tables
 * container, veth, image and result, and serves image, exec and logs requests. What it keeps where
 * stands in place.h. Containers do not notice when it dies; its successor finds them by their
 * monitors.
 */

#include "ring/station.h"

extern const struct station_role runtime_role;

#endif
