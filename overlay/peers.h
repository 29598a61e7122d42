/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PEERS_H
#define OVERLAY_PEERS_H

/* The other nodes, as the configuration has them: table peer, which the data path reads, and their
 * names. */

#include "overlay/names.h"
#include "ring/ring.h"
#include "spec/config.h"

enum { PEERS_MAX = CONFIG_PEERS_MAX };

struct ring_table_layout peers_layout(void);
/* Makes the table say what the configuration says, in one change. True when it said something else.
 */
bool peers_publish(struct ring_writer *w, const struct config *config);
/* Their names, for their own addresses in their prefixes. */
void peers_add_names(const struct config *config, struct names *names);

#endif
