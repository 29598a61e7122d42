/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_OUTSIDE_H
#define SCHEDULER_CLUSTER_OUTSIDE_H

/*
 * An etcd that is none of the cluster's own (node.yaml, store.etcd), as a part of the cluster
 * (cluster.h): each node has its endpoints from its own node.yaml and its secrets from node, which
 * opens the files; none of that is ever told to another node. docs/decisions/015.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "ring/msg.h"
#include "scheduler/etcd_rpc.h"
#include "spec/config.h"

enum { CLUSTER_OUTSIDE_FILES = 4 }; /* in the order of enum leash_store */

struct cluster;
struct cluster_endpoints;

/* A part of struct cluster. */
struct cluster_outside {
	struct buf files[CLUSTER_OUTSIDE_FILES]; /* NUL behind; empty: not named */
	bool here;                               /* they were read */
	uint64_t number;                         /* of what is shown there; never less */
	struct err why;                          /* they are not here */
	struct config_store_etcd named;          /* that number is about */
	uint64_t asked, asked_ns;                /* 0: at once */
	uint64_t empty_until_ns;                 /* etcd was seen to have nothing of this cluster */
	char prefix[CONFIG_PREFIX_BYTES];
	void (*probed)(struct cluster *c, const struct err *err);
};

void cluster_outside_open(struct cluster *c);
void cluster_outside_end(struct cluster *c);
void cluster_outside_tick(struct cluster *c, uint64_t now_ns);
/* node.yaml may say something else. */
void cluster_outside_configured(struct cluster *c);

/* The etcd that this node's store is in, or is to move into, is one that node.yaml names. */
bool cluster_outside_is(const struct cluster *c);
/* node.yaml names one, and what that takes is here. */
bool cluster_outside_had(const struct cluster *c);
/* How others are called; nothing of it when it is not had. */
void cluster_outside_endpoints(const struct cluster *c, struct cluster_endpoints *out);
void cluster_outside_fill(const struct cluster *c, struct etcd_rpc_options *out);

/* How many nodes come before this one when something is to be done to the store. */
int cluster_outside_rank(const struct cluster *c);
/* Looks whether etcd takes changes and has nothing of this cluster yet, and makes the prefix this
 * cluster's; `done` later. */
int cluster_outside_probe(struct cluster *c, void (*done)(struct cluster *c, const struct err *err),
			  struct err *err) MUST_CHECK;
/* It was so a moment ago. */
bool cluster_outside_is_empty(const struct cluster *c);

/* For people. */
void cluster_outside_note(const struct cluster *c, char *out, size_t cap);
void cluster_outside_trouble(const struct cluster *c, struct msg_reason *out);
void cluster_outside_where(const struct cluster *c, char *out, size_t cap);

#endif
