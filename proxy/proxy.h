/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

/* The proxy role: one worker process. Takes listeners from node, routes and backends from
 * scheduler, certificates from signer; publishes applied and drain, access records and metrics. */

#include "ring/station.h"

extern const struct station_role proxy_role;

#endif
