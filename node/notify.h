/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_NOTIFY_H
#define NODE_NOTIFY_H

/* sd_notify(3) by hand: a datagram to NOTIFY_SOCKET; nothing when it is not set. */

#include <stdint.h>

/* Lines of the protocol, e.g. "READY=1\nSTATUS=...". */
void notify_send(const char *text);
/* RELOADING=1 with the clock that systemd asks for. */
void notify_reloading(void);
/* Half of WATCHDOG_USEC when it is meant for this process; 0: no watchdog. */
uint64_t notify_watchdog_ms(void);

#endif
