/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_LOGS_H
#define API_LOGS_H

#include "api/server.h"

/* Replicas or containers changed: streams that follow take in new ones. */
void logs_wake(struct server *s);

#endif
