/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_PATH_H
#define RUNTIME_LAYER_PATH_H

/* The names of an archive, judged before anything is done with them. No I/O. */

#include <stddef.h>
#include "runtime/tar.h"

enum layer_name {
	LAYER_PLAIN,
	LAYER_ROOT,     /* the layer's own folder */
	LAYER_WHITEOUT, /* base is what is to be hidden */
	LAYER_OPAQUE,   /* hides all below `parent` of lower layers */
	LAYER_IGNORED,  /* bookkeeping of other tools */
	LAYER_BAD,      /* why says it */
};

/* A path in its parts: folder (without leading or trailing slash, "" for the root) and name. */
struct layer_path {
	char parent[TAR_PATH_BYTES];
	char base[256];
	const char *why;
};

/* Leading slashes and "." are dropped; "..", and what is too long or deep, is LAYER_BAD. */
enum layer_name layer_path_parse(const char *path, struct layer_path *out);
/* The same for the target of a hard link: a plain name or LAYER_BAD. */
enum layer_name layer_path_parse_link(const char *path, struct layer_path *out);

#endif
