/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_PUBLISH_H
#define NODE_PUBLISH_H

/*
 * node's own segment: what it tells about processes, listeners and itself, and its metric page
 * (which also holds the counters of the dead: node/retired.h).
 * Threading: the loop's thread.
 */

#include <stdint.h>
#include "base/err.h"
#include "node/listeners.h"
#include "ring/msg.h"
#include "ring/ring.h"

enum { PUBLISH_SERIES = 4096 };

int publish_new(uint32_t generation, struct ring_writer **out, struct err *err) MUST_CHECK;
/* cgroup_mode as in msg_node. The configuration is in force from now on. */
void publish_node(struct ring_writer *w, const struct instance *inst, const struct config *config,
		  uint32_t cgroup_mode);
/* A reload was refused: the configuration stays, and why is told. */
void publish_config_error(struct ring_writer *w, const struct err *err);
void publish_process(struct ring_writer *w, const struct msg_process *process);
void publish_process_gone(struct ring_writer *w, unsigned role, unsigned index);
void publish_listeners(struct ring_writer *w, const struct listeners *l);
/* The node's name as configured, else the host's. */
void publish_name(const struct config *config, char *out, size_t cap);

#endif
