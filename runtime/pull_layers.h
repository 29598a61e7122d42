/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PULL_LAYERS_H
#define RUNTIME_PULL_LAYERS_H

/*
 * Layers on their way: each from fetch to unpack through a socket of its own, several at a time. A
 * layer that several pulls need on the same layers is fetched once; it is given back when no pull
 * has it any more, and then nothing of it is left unless it was committed.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/list.h"
#include "ring/station.h"

enum pull_layer_state {
	PULL_LAYER_WAITING,
	PULL_LAYER_RUNNING,
	PULL_LAYER_DONE,
	PULL_LAYER_FAILED,
};

struct pull_layers {
	struct station *st;
	struct list all;
	size_t running;
	uint64_t next_key;
	void (*ended)(void *arg);
	void *arg;
};

struct pull_layer {
	enum pull_layer_state state;
	uint64_t bytes, fetched; /* of the blob */
	uint64_t folder;         /* done: its number below tmp/ */
	bool consumed;           /* set by who has committed it: its folder is in its place */
	struct err err;          /* failed: why */
	/* private */
	struct list link;
	struct pull_layers *set;
	char digest[MSG_DIGEST];
	char diff_id[MSG_DIGEST];
	char folder_name[MSG_DIGEST];
	uint64_t key; /* of msg_transfer */
	char name[MSG_IMAGE];
	uint32_t endpoint;
	unsigned users;
	bool fetching, unpacking;
	struct err fetch_err, unpack_err;
	int stream;
};

/* ended: a layer is done or has failed, or several; layers may be given back within it. */
void pull_layers_init(struct pull_layers *ls, struct station *st, void (*ended)(void *arg),
		      void *arg);
/* name: of an image that has it, in the registry's endpoint. NULL: out of memory. */
struct pull_layer *pull_layers_get(struct pull_layers *ls, const char *name, uint32_t endpoint,
				   const struct msg_layer *row);
void pull_layers_unref(struct pull_layer *l); /* NULL is fine */
/* Begins those that wait, as far as there is room. */
void pull_layers_start(struct pull_layers *ls);
/* The fetch role's table of transfers has changed. */
void pull_layers_moved(struct pull_layers *ls, const struct ring_reader *fetch);
/* The one of a role that is asked: its latest. */
uint16_t pull_layers_peer(struct station *st, uint16_t role);

#endif
