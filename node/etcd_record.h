/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_RECORD_H
#define NODE_ETCD_RECORD_H

/*
 * What a node that comes after this one must know of the etcd that runs: a file in the run folder,
 * so that it is gone when the machine was started again. The process is the one that was meant when
 * its number and the time it began are the same, and its user.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"
#include "base/err.h"
#include "ring/msg.h"

/* Where it is, for others: another one, and it is started again. */
struct etcd_record_place {
	struct addr listen, client, peer;
	char name[MSG_NAME];
};

struct etcd_record {
	uint64_t life, turn;
	uint32_t pid;
	uint32_t ready; /* it has said that it serves */
	uint32_t restarts;
	uint32_t pad_;
	uint64_t begun; /* in the kernel's ticks since boot */
	int64_t since_wall_ns;
	struct etcd_record_place place;
};

int etcd_record_write(int run, const struct etcd_record *r, struct err *err) MUST_CHECK;
void etcd_record_remove(int run);
/* The process that is meant runs: pidfd_out is the caller's. Others of that user, which nobody
 * knows, are killed. False: none runs. */
bool etcd_record_find(int run, uid_t uid, struct etcd_record *out, int *pidfd_out);
/* When a process began; 0: there is none. */
uint64_t etcd_record_begun(pid_t pid);

#endif
