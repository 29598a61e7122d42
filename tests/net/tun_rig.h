/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_TUN_RIG_H
#define TESTS_NET_TUN_RIG_H

/*
 * Network namespaces and TUN devices for tests of the engine. All of it fails the running cmocka
 * test when it cannot; what is made goes with the process.
 */

#include <stdbool.h>
#include "overlay/engine/tun.h"

enum { TUN_RIG_MTU = 1420, TUN_RIG_WAIT_S = 60 };

/* First in main(): the namespace that it is called in is home. False: no such device here, said as
 * TAP has it; leave with 0. */
bool tun_rig_start(void);
int tun_rig_namespace(void); /* a new one's descriptor */
void tun_rig_enter(int ns);  /* the calling thread */
void tun_rig_home(void);
void tun_rig_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* In the caller's namespace, up. */
void tun_rig_open(struct tun *t, const char *name, enum tun_offload most);
void tun_rig_wait(int fd); /* until there is something to read */

#endif
