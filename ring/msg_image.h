/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_IMAGE_H
#define RING_MSG_IMAGE_H

/* Images: which there are, which must stay, and how they come: api and runtime, fetch, unpack. The
 * rules are those of ring/msg.h. */

#include "ring/msg_base.h"

struct msg_image {            /* key: first 8 bytes of the digest of (digest, name), never 0 */
	char name[MSG_IMAGE]; /* normalised reference */
	char digest[MSG_DIGEST];
	char architecture[32];
	uint64_t bytes; /* unpacked */
	uint32_t layers;
	uint32_t in_use; /* by containers */
	int64_t imported_wall_ns;
	uint32_t kept; /* a revision that can be rolled back to has it */
	uint32_t pad_;
};

struct msg_transfer {   /* key: of struct msg_fetch_blob */
	uint64_t bytes; /* passed on so far */
};

/* What no revision that is kept can do without. Key: first 8 bytes of the digest's hex as a number,
 * never 0. Key 1 stands for "there are more than fit": then nothing may be removed. */
struct msg_pin {
	char digest[MSG_DIGEST];
	/* One that needs it: a revision that serves, if any does. */
	char deployment[MSG_NAME];
	uint32_t revision;
	uint32_t serves; /* else it can be rolled back to */
};
enum { MSG_PINS_MAX = 4096, MSG_PIN_MORE = 1 };

struct msg_import {
	char name[MSG_IMAGE]; /* reference to give it; "": the layout's own annotation */
};

struct msg_imported {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t bytes;
	uint32_t layers;
	uint32_t layers_new;
};

enum msg_pull_policy {
	MSG_PULL_IF_NOT_PRESENT = 1,
	MSG_PULL_NEVER,
	MSG_PULL_ALWAYS,
	MSG_PULL_NEWER,
};

struct msg_pull {
	char name[MSG_IMAGE]; /* reference */
	uint32_t policy;      /* enum msg_pull_policy */
	uint32_t pad_;
};

struct msg_resolved {
	char digest[MSG_DIGEST];
	uint32_t present; /* it is on this node */
	uint32_t pad_;
};

struct msg_prune {
	uint32_t dry_run;
	uint32_t pad_;
};

struct msg_pruned {
	uint32_t images;
	uint32_t layers;
	uint64_t bytes;
};

struct msg_fetch {
	char name[MSG_IMAGE];    /* full reference, without digest */
	char digest[MSG_DIGEST]; /* wanted; "" what the tag says */
	uint32_t head;           /* only what the tag's digest is */
	uint32_t quick;          /* somebody waits: no second tries */
};

struct msg_fetched {
	char digest[MSG_DIGEST]; /* of the outermost document */
	uint32_t endpoint;       /* that gave it: for msg_fetch_blob */
	uint32_t pad_;
};

struct msg_fetch_blob {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t bytes;
	uint64_t key; /* for msg_transfer */
	uint32_t endpoint;
	uint32_t pad_;
};

struct msg_layer {
	char digest[MSG_DIGEST];  /* of the blob */
	char diff_id[MSG_DIGEST]; /* hex of the tar's */
	char folder[MSG_DIGEST];  /* hex of its chain id: the name of its folder */
	uint64_t bytes;           /* of the blob */
	uint32_t here;            /* need not be fetched */
	uint32_t pad_;
};

struct msg_unpacked {
	uint64_t folder; /* number of its folder below tmp/; 0 none */
	uint64_t bytes;
};

enum { MSG_COMMIT_LAYERS_MAX = 128 };

struct msg_commit {
	char name[MSG_IMAGE];
	char digest[MSG_DIGEST];
	uint64_t folders[MSG_COMMIT_LAYERS_MAX]; /* of each layer, bottom first; 0: it was here */
};

#endif
