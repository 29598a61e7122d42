/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_INSTANCE_H
#define NODE_INSTANCE_H

/*
 * An instance: one node on this machine. Everything that it has outside its data folder derives
 * from its name: /run/zlayer/NAME, /sys/fs/bpf/zlayer/NAME, the cgroup zlayer/NAME. Locks keep a
 * second one away from the same data folder, name and uids.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "node/roles.h"
#include "ring/msg.h"

enum {
	INSTANCE_PATH = 256,
	INSTANCE_SLOTS = 128, /* blocks of uids on one machine */
};

struct instance {
	char name[MSG_NAME];
	char data_path[INSTANCE_PATH];
	char run_path[INSTANCE_PATH];
	int data_fd; /* the folders, O_DIRECTORY */
	int run_fd;  /* /run/zlayer/NAME */
	int runs_fd; /* /run/zlayer */
	int bpf_fd;  /* -1: this kernel or machine has no bpffs */
	int data_lock, run_lock, slot_lock;
	unsigned slot;
	uid_t uid_base; /* of this instance's block */
};

/* Names the capabilities without which nothing works. ERR_DENIED. */
int instance_privileged(struct err *err) MUST_CHECK;

/* Locks that an upgrade carries over exec: descriptors (given) and the block of uids. */
struct instance_locks {
	int data, run, slot_fd;
	unsigned slot;
	uid_t uid_base;
};

/* held: NULL, or the locks that this process has already. uid_base: node.uid_base of the
 * configuration. ERR_CONFLICT names the process that has the data folder or the name. On success
 * all folders are there, with their owners. */
int instance_open(const char *name, const char *data_path, uid_t uid_base,
		  const struct instance_locks *held, struct instance *out,
		  struct err *err) MUST_CHECK;
/* Lets go of locks and descriptors; leaves everything where it is. */
void instance_close(struct instance *inst);
/* Removes what is outside the data folder and closes: when nothing of the instance runs any more.
 * What cannot be removed is logged. */
void instance_remove(struct instance *inst);

/* O_PATH descriptor of one of a role's folders; -1 with errno. */
int instance_folder(const struct instance *inst, const struct roles_folder *folder);
/* A number that no earlier start of this instance since boot had: room for `count`. */
int instance_reserve(const struct instance *inst, uint32_t count, uint32_t *first_out,
		     struct err *err) MUST_CHECK;

#endif
