/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PROBER_UDP_H
#define OVERLAY_PROBER_UDP_H

/*
 * Probes on a socket: reads what came, sends what is due. The socket is bound to PROBER_PORT inside
 * the overlay; when to read and when to tick is the caller's loop.
 * Threading: one owner. Clocks are the machine's.
 */

#include "overlay/prober.h"

struct prober_udp;

/* fd: IPv4, bound; taken when this succeeds. own: what probes are sent from. calls: copied; `send`
 * is passed over. NULL with *err. */
struct prober_udp *prober_udp_new(int fd, const struct addr *own, uint32_t max,
				  const struct prober_calls *calls, struct err *err);
void prober_udp_free(struct prober_udp *u); /* NULL is fine */
int prober_udp_fd(const struct prober_udp *u);
struct prober *prober_udp_prober(struct prober_udp *u); /* borrowed */
/* All that is there now, but not without end. */
void prober_udp_read(struct prober_udp *u);
void prober_udp_tick(struct prober_udp *u);

#endif
