/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_INBOX_H
#define SCHEDULER_GOSSIP_INBOX_H

/* Datagrams that come in. */

#include "scheduler/gossip/core.h"

void inbox_datagram(struct gossip *g, const struct step_input *in);

#endif
