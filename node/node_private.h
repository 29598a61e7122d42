/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_NODE_PRIVATE_H
#define NODE_NODE_PRIVATE_H

/* For the files of node.h among themselves: node.c reacts, node_open.c starts and ends,
 * node_config.c has the configuration, node_row.c reads tables. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "node/certs.h"
#include "node/cgroup.h"
#include "node/edge.h"
#include "node/etcd.h"
#include "node/hub.h"
#include "node/instance.h"
#include "node/listeners.h"
#include "node/node.h"
#include "node/options.h"
#include "node/outside.h"
#include "node/resolver.h"
#include "node/streams.h"
#include "node/supervise.h"
#include "node/usage.h"
#include "node/wgdev.h"
#include "spec/config.h"

enum { NODE_SIGNALS = 4 };

struct node {
	uv_loop_t loop;
	int argc;
	char **argv;
	struct options options;
	struct config config;
	struct underlay_peers peers; /* those that are gone to without encryption */
	struct wgroutes sealed;      /* those that are gone to by wgdev */
	struct wgroutes were_sealed; /* as it was a tick ago */
	size_t peers_left_out;       /* for which there was no room, in that tick */
	int config_fd;
	struct instance inst;
	struct cgroup cgroup;
	int fabric;
	struct ring_writer *own;
	struct hub *hub;
	struct listeners listeners;
	struct streams streams;
	struct resolver resolver;
	struct unit_env env;
	struct supervise *supervise;
	struct certs *certs;
	struct outside *outside;
	struct wgdev *wgdev;
	struct login_program *logins;
	struct edge *edge;
	struct etcd *etcd;
	uv_signal_t signals[NODE_SIGNALS];
	uv_timer_t tick;
	uv_timer_t soon; /* what cannot wait for the next tick */
	struct usage usage;
	uint64_t ticks;
	uint64_t listen_due, listen_wait; /* in ticks */
	bool stopping;
	bool announced;     /* READY=1 was sent */
	bool upgrade_waits; /* asked for while another one was under way */
};

/* node.c: what the parts tell, with struct node as arg. */
extern const struct hub_events node_hub_events;
extern const struct supervise_events node_supervise_events;
void node_certificates_changed(void *arg);
/* Tries those that are not open; tells everybody of what changed. */
void node_open_listeners(struct node *n);
/* The ports of endpoints, as far as the scheduler has told them. */
void node_plan_streams(struct node *n);

/* node_open.c: all that a node has, from the configuration on; and its end, but for the loop. */
int node_open(struct node *n, const unsigned *roles, size_t count, struct err *err) MUST_CHECK;
void node_close(struct node *n);

/* node_row.c. All rows are good until the next look at their table. */
/* Row 1 of a table of a role; NULL while it says nothing. */
const void *node_row(struct node *n, unsigned role, uint16_t table, uint32_t row_bytes);
/* What overlay says of this node's addresses. */
const struct msg_prefix *node_row_prefix(struct node *n);
/* n->peers: with the peers that overlay names; with those of before while it has not said any. */
const struct underlay_peers *node_row_peers(struct node *n);
const struct msg_datapath *node_row_datapath(struct node *n);
const struct msg_etcd_order *node_row_order(struct node *n);

/* node_config.c */
/* Reads it; the caller frees it. */
int node_config_read(struct node *n, struct config **out, struct err *err) MUST_CHECK;
/* The file for the roles. */
int node_config_seal(struct node *n, const struct config *config, struct err *err) MUST_CHECK;
/* The log as n->config has it. */
void node_config_log(const struct node *n);
/* The start reads the configuration too. */
void node_config_begin(struct node *n);
/* Reads it again and takes it over, or says why not. */
void node_config_reload(struct node *n);
/* A new one is wrong: the old one stays, and everybody can see why. */
void node_config_keep(struct node *n, const struct err *err);

#endif
