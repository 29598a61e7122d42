/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_NET_ETCD_RIG_H
#define TESTS_NET_ETCD_RIG_H

/*
 * Real etcd processes on the loopback of this test's own network namespace, and a relay that can
 * lose answers.
 *
 *   store under test ---> relay :4000 ---> m0 :2379 <--> m1 :2381 <--> m2 :2383
 *
 * Failures abort the test program; the processes die with it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>
#include "base/buf.h"

enum { ETCD_RIG_MEMBERS_MAX = 3, ETCD_RIG_RELAY_PORT = 4000 };

struct etcd_rig {
	uv_loop_t loop;
	char folder[64];
	int folder_fd;
	size_t members;
	pid_t pids[ETCD_RIG_MEMBERS_MAX];
	bool tls;
	uint64_t quota_bytes; /* 0: etcd's own */
	char urls[ETCD_RIG_MEMBERS_MAX][64];
	/* the relay */
	uv_tcp_t relay;
	bool relaying;
	bool lose_puts;  /* answers to what changes something: until one connection gave up */
	bool lose_all;   /* until it is unset */
	bool swallow;    /* requests do not arrive, until it is unset */
	bool mute_watch; /* no news come */
	unsigned lost;   /* connections that gave up */
};

bool etcd_rig_available(void);
/* Before anything else: a namespace of its own, with loopback up. */
void etcd_rig_enter(void);
void etcd_rig_open(struct etcd_rig *r, size_t members, bool tls, uint64_t quota_bytes);
void etcd_rig_close(struct etcd_rig *r);
void etcd_rig_start(struct etcd_rig *r, size_t member); /* again, with its data */
void etcd_rig_kill(struct etcd_rig *r, size_t member);  /* -9 */
void etcd_rig_stall(struct etcd_rig *r, size_t member, bool stalled);
/* Waits until all that run serve a linear read. */
void etcd_rig_wait(struct etcd_rig *r);
size_t etcd_rig_leader(struct etcd_rig *r);
void etcd_rig_relay(struct etcd_rig *r); /* to member 0 */
/* One call to one member; false: it failed. The answer's text in `out` (NULL: not wanted). */
bool etcd_rig_call(struct etcd_rig *r, size_t member, const char *path, const char *json,
		   struct buf *out);
/* A file of the rig's folder: ca.pem, node.pem, node.key, other.pem, other.key. mem_free it. */
char *etcd_rig_file(const struct etcd_rig *r, const char *name);

#endif
