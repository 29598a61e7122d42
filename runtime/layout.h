/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYOUT_H
#define RUNTIME_LAYOUT_H

/*
 * The JSON of images: index, manifest and configuration of the OCI image-spec 1.1, and of Docker,
 * which names the media types otherwise; the manifest.json of `docker save`. Text in, structs out:
 * no I/O. All input is hostile: size, nesting, counts and every field are limited and checked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "ring/msg.h"
#include "runtime/image_record.h"

enum {
	LAYOUT_JSON_BYTES_MAX = 4 << 20,
	LAYOUT_NESTING_MAX = 32,
	LAYOUT_DESCRIPTORS_MAX = 256,
};

struct layout_descriptor {
	bool is_index;    /* names further manifests */
	bool is_platform; /* os and architecture are told */
	char digest[MSG_DIGEST];
	uint64_t bytes;
	char *media_type;
	char *os, *architecture, *variant; /* "" when not told */
	char *ref_name;                    /* annotation org.opencontainers.image.ref.name, or "" */
	char *full_name;                   /* annotation io.containerd.image.name, or "" */
};

struct layout_list {
	struct layout_descriptor *items;
	size_t count;
};

struct layout_manifest {
	struct layout_descriptor config;
	struct layout_list layers; /* bottom first */
};

struct layout_saved { /* of docker save: names of files in the archive */
	char *config;
	char *name; /* the first tag, "" when none */
	struct image_list layers;
};

/* Opens the JSON library; before confinement. */
int layout_load(struct err *err) MUST_CHECK;

int layout_index(const void *data, size_t bytes, struct arena *arena, struct layout_list *out,
		 struct err *err) MUST_CHECK;
int layout_manifest(const void *data, size_t bytes, struct arena *arena,
		    struct layout_manifest *out, struct err *err) MUST_CHECK;
/* Fills what the configuration knows of the record, the layers' chain ids included. */
int layout_config(const void *data, size_t bytes, struct arena *arena, struct image_record *out,
		  struct err *err) MUST_CHECK;
/* name: the tag that is wanted, "" for the only image. */
int layout_saved(const void *data, size_t bytes, const char *name, struct arena *arena,
		 struct layout_saved *out, struct err *err) MUST_CHECK;

/* This machine as images name it: "amd64", "arm64" ... */
const char *layout_machine(void);
/* Which of the index is meant by a name and a machine. Indexes count as fitting: look into them. */
bool layout_fits(const struct layout_descriptor *d, const char *architecture);
bool layout_named(const struct layout_descriptor *d, const char *name);

#endif
