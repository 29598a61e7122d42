/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_READY_H
#define NODE_ETCD_READY_H

/*
 * How etcd says that it serves: by systemd's protocol (sd_notify(3)), at a socket in the run folder
 * that is etcd's own. Only what etcd's user sends counts. Threading: the loop's thread.
 */

#include <sys/types.h>
#include <uv.h>
#include "base/err.h"

enum { ETCD_READY_PATH = 108 };

struct etcd_ready;

/* run_path: of the run folder `run`. ready: READY=1 came. */
int etcd_ready_new(uv_loop_t *loop, int run, const char *run_path, uid_t uid,
		   void (*ready)(void *arg), void *arg, struct etcd_ready **out,
		   struct err *err) MUST_CHECK;
void etcd_ready_free(struct etcd_ready *r);
/* For NOTIFY_SOCKET. */
const char *etcd_ready_path(const struct etcd_ready *r);
void etcd_ready_remove(int run);

#endif
