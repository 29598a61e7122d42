/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_IMAGE_REF_H
#define SPEC_IMAGE_REF_H

/*
 * An image reference: [registry/]name[:tag][@digest], as the OCI distribution specification and
 * Docker's habit have it: the first component is a registry when it has a '.' or ':' or is
 * "localhost"; no registry is docker.io, one component there is library/NAME; no tag and no digest
 * is "latest". A plain value.
 */

#include <stddef.h>

enum {
	IMAGE_REF_REGISTRY_BYTES = 264,
	IMAGE_REF_NAME_BYTES = 256,
	IMAGE_REF_TAG_BYTES = 129,
	IMAGE_REF_DIGEST_BYTES = 144,
	IMAGE_REF_TEXT_BYTES = 800,
};

struct image_ref {
	char registry[IMAGE_REF_REGISTRY_BYTES]; /* "docker.io", "registry.test:5000" */
	char name[IMAGE_REF_NAME_BYTES];         /* "library/nginx" */
	char tag[IMAGE_REF_TAG_BYTES];           /* "" when only a digest was given */
	char digest[IMAGE_REF_DIGEST_BYTES];     /* "sha256:..." or "" */
};

enum image_ref_status {
	IMAGE_REF_OK = 0,
	IMAGE_REF_EMPTY,
	IMAGE_REF_TRANSPORT, /* "oci:", "docker://" ...: a place, not a name */
	IMAGE_REF_UPPER_CASE,
	IMAGE_REF_BAD_REGISTRY,
	IMAGE_REF_BAD_NAME,
	IMAGE_REF_BAD_TAG,
	IMAGE_REF_BAD_DIGEST,
	IMAGE_REF_TOO_LONG,
};

enum image_ref_status image_ref_parse(const char *text, struct image_ref *out);
/* What is wrong, as a half sentence for a message. */
const char *image_ref_why(enum image_ref_status status);
/* The full form, with everything that was left out: "docker.io/library/nginx:latest". */
void image_ref_put(const struct image_ref *ref, char *out, size_t cap);

#endif
