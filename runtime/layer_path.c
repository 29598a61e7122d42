/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of an archive. An absolute path means the same below the layer's root, as all image tools
 * have it; ".." is refused rather than resolved, because no builder writes it. Whiteouts are those
 * of the OCI image specification; other names that begin with .wh..wh. are what aufs left behind.
 */
#include "runtime/layer_path.h"

#include <string.h>
#include "base/text.h"
#include "runtime/layer.h"

#define WHITEOUT ".wh."
#define BOOKKEEPING ".wh..wh."
#define OPAQUE ".wh..wh..opq"

static enum layer_name
bad(struct layer_path *out, const char *why)
{
	out->why = why;
	return LAYER_BAD;
}

/* Adds a component: what was the base becomes part of the parent. */
static const char *
push(struct layer_path *out, size_t *parent_bytes, const char *name, size_t length)
{
	size_t base = strlen(out->base);

	if (length > LAYER_NAME_MAX)
		return "a name in its path is too long";
	if (base) {
		/* The path fits by construction: parts of a text of TAR_PATH_BYTES. */
		if (*parent_bytes)
			out->parent[(*parent_bytes)++] = '/';
		memcpy(out->parent + *parent_bytes, out->base, base);
		*parent_bytes += base;
		out->parent[*parent_bytes] = '\0';
	}
	memcpy(out->base, name, length);
	out->base[length] = '\0';
	return NULL;
}

static enum layer_name
split(const char *path, struct layer_path *out)
{
	size_t parent_bytes = 0;
	unsigned depth = 0;

	out->parent[0] = '\0';
	out->base[0] = '\0';
	out->why = NULL;
	while (*path) {
		size_t length = strcspn(path, "/");

		if (length == 2 && !memcmp(path, "..", 2))
			return bad(out, "its path has \"..\"");
		if (length && !(length == 1 && *path == '.')) {
			const char *why = push(out, &parent_bytes, path, length);

			if (why)
				return bad(out, why);
			if (++depth > LAYER_DEPTH_MAX)
				return bad(out, "its path is too deep");
		}
		path += length;
		path += strspn(path, "/");
	}
	return out->base[0] ? LAYER_PLAIN : LAYER_ROOT;
}

/* A whiteout as a folder would hide what is in it in other tools only: names must mean one thing.
 */
static bool
has_whiteout(const char *parent)
{
	return text_starts(parent, WHITEOUT) || strstr(parent, "/" WHITEOUT) != NULL;
}

enum layer_name
layer_path_parse(const char *path, struct layer_path *out)
{
	enum layer_name kind = split(path, out);
	size_t prefix = sizeof(WHITEOUT) - 1;

	if (kind != LAYER_PLAIN)
		return kind;
	if (text_starts(out->parent, BOOKKEEPING))
		return LAYER_IGNORED;
	if (has_whiteout(out->parent))
		return bad(out, "its path goes through a whiteout");
	if (!strcmp(out->base, OPAQUE))
		return LAYER_OPAQUE;
	if (text_starts(out->base, BOOKKEEPING))
		return LAYER_IGNORED;
	if (!text_starts(out->base, WHITEOUT))
		return LAYER_PLAIN;
	memmove(out->base, out->base + prefix, strlen(out->base) - prefix + 1);
	if (!out->base[0] || !strcmp(out->base, ".") || !strcmp(out->base, ".."))
		return bad(out, "it is a whiteout of nothing, of \".\" or of \"..\"");
	return LAYER_WHITEOUT;
}

enum layer_name
layer_path_parse_link(const char *path, struct layer_path *out)
{
	enum layer_name kind = split(path, out);

	if (kind == LAYER_ROOT)
		return bad(out, "it links to the root folder");
	if (kind == LAYER_PLAIN && (has_whiteout(out->parent) || text_starts(out->base, WHITEOUT)))
		return bad(out, "it links to a whiteout");
	return kind;
}
