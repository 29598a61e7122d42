/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_RECORD_H
#define RUNTIME_IMAGE_RECORD_H

/*
 * What is known of an image, as bytes without JSON: made by the unpack role from the manifest and
 * the configuration (OCI image-spec), kept by runtime, which decodes it with every length checked.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum {
	IMAGE_RECORD_MAGIC = 0x474d495a, /* "ZIMG" */
	IMAGE_RECORD_VERSION = 1,
	IMAGE_RECORD_BYTES_MAX = 1 << 20,
	IMAGE_LAYERS_MAX = 128,
	IMAGE_LIST_MAX = 1024,
};

struct image_list {
	char **items;
	size_t count;
};

struct image_record {
	char *digest; /* of the manifest: "sha256:..." */
	char *config_digest;
	char *name; /* from the layout's annotation, "" when none */
	char *architecture, *os, *variant;
	struct image_list entrypoint, cmd, env; /* env: "KEY=value" */
	char *workdir;
	char *user;
	char *stop_signal;         /* "" when none */
	struct image_list volumes; /* paths */
	struct image_list ports;   /* "80/tcp" */
	/* Folder names below layers/, bottom first: the hex digits of the chain ids
	 * (layer_chain.h); in records of before, of the diff ids. */
	struct image_list layers;
	/* Of the same layers, hex digits. Not in the record's bytes: only known while the image
	 * comes. */
	struct image_list diff_ids;
	uint64_t bytes;    /* unpacked, all layers */
	int64_t created_s; /* 0 unknown */
};

void image_record_encode(const struct image_record *record, struct buf *out);
int image_record_decode(const void *data, size_t bytes, struct arena *arena,
			struct image_record **out, struct err *err) MUST_CHECK;

#endif
