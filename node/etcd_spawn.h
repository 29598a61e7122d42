/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_SPAWN_H
#define NODE_ETCD_SPAWN_H

/*
 * Starting etcd: its words, its place and its limits. It has a user of its own, no capabilities, no
 * new privileges, a cgroup with a limit of memory, and sees nothing but programs, its data and its
 * certificates. Its filter refuses, and does not kill: a program that is not ours may try what a
 * later version of it can live without.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/sandbox.h"
#include "node/cgroup.h"
#include "ring/msg.h"

enum {
	ETCD_SPAWN_WORDS_MAX = 48,
	ETCD_SPAWN_TEXT_MAX = 8192,
	ETCD_SPAWN_KEPT_REVISIONS = 10000,
};

/* An order that node follows: texts that are ended and have no other letters than names, addresses
 * and URLs have, addresses that are some. ERR_CORRUPT. */
int etcd_spawn_order_holds(const struct msg_etcd_order *order, struct err *err) MUST_CHECK;

struct etcd_spawn_words {
	char *argv[ETCD_SPAWN_WORDS_MAX + 1];
	size_t count;
	char text[ETCD_SPAWN_TEXT_MAX];
	size_t used;
};

/* The words it is run with. listen: listen.store; data, shown: folders, as it finds them from where
 * it is. ERR_LIMIT: too long. */
int etcd_spawn_words(const struct msg_etcd_order *order, const struct addr *listen,
		     const char *data, const char *shown, struct etcd_spawn_words *out,
		     struct err *err) MUST_CHECK;

struct etcd_spawn {
	const char *path;
	const struct etcd_spawn_words *words;
	uid_t uid;
	int folder;         /* where its words' paths begin; borrowed, as all of them */
	int data, shown;    /* its folders */
	int output;         /* standard output and error; borrowed */
	const char *notify; /* where it says that it serves */
	const struct cgroup *cgroup;
	uint64_t memory_bytes; /* it may have; 0: no limit */
};

/* Waits until the program runs, or could not be started. */
int etcd_spawn(const struct etcd_spawn *spawn, pid_t *pid_out, int *pidfd_out,
	       struct err *err) MUST_CHECK;

/* Of the calling process, for good: all that etcd is not to have. */
int etcd_spawn_confine(uid_t uid, const struct sandbox_path *own, size_t count,
		       struct err *err) MUST_CHECK;

/* What etcd may have of this machine's memory: a quarter, within bounds. */
uint64_t etcd_spawn_memory(uint64_t machine_bytes);

#endif
