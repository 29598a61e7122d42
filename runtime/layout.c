/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what the OCI image-spec 1.1 calls index, manifest and config. Jansson parses; before it
 * sees a byte, the nesting is counted here (the library recurses). Unknown members are ignored, as
 * the specification demands; a member of the wrong type is an error, never a guess. Only sha256 is
 * accepted as a digest: no registry gives another one.
 */
#include "runtime/layout.h"

#include <jansson.h>
#include <string.h>
#include "base/dl.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/layer_chain.h"

#define JANSSON_CALLS(X)         \
	X(json_set_alloc_funcs)  \
	X(json_object_seed)      \
	X(json_loadb)            \
	X(json_delete)           \
	X(json_object_get)       \
	X(json_object_iter)      \
	X(json_object_iter_next) \
	X(json_object_iter_key)  \
	X(json_array_size)       \
	X(json_array_get)        \
	X(json_string_value)     \
	X(json_string_length)    \
	X(json_integer_value)

DL_DECLARE(layout_jansson, JANSSON_CALLS);
DL_DEFINE(layout_jansson, "libjansson.so.4", JANSSON_CALLS)

enum { HEX_DIGITS = 64, TEXT_MAX = 32768 };

static void *
give_memory(size_t bytes)
{
	return mem_alloc(MEM_LIBRARY, bytes);
}

int
layout_load(struct err *err)
{
	struct world w;

	if (dl_load_layout_jansson(err) < 0)
		return -1;
	world_real(&w);
	layout_jansson.json_set_alloc_funcs(give_memory, mem_free);
	/* Otherwise the library would look for /dev/urandom, which is not to be seen later. */
	layout_jansson.json_object_seed((size_t)world_random_u64(&w) | 1);
	return 0;
}

const char *
layout_machine(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#elif defined(__riscv)
	return "riscv64";
#elif defined(__powerpc64__)
	return "ppc64le";
#elif defined(__s390x__)
	return "s390x";
#else
#error "say how images name this architecture"
#endif
}

/* ---- documents ---- */

static int
bad(const char *document, const char *why, struct err *err)
{
	err_set(err, ERR_CORRUPT, "the image's %s is not valid", document);
	return err_why(err, "%s", why);
}

static bool
is_too_deep(const char *data, size_t bytes)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < bytes; i++) {
		char c = data[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else
				quoted = c != '"';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > LAYOUT_NESTING_MAX)
				return true;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return false;
}

static void
drop(json_t *j)
{
	if (j && j->refcount != (size_t)-1 && --j->refcount == 0)
		layout_jansson.json_delete(j);
}

static void
drop_ref(json_t **j)
{
	drop(*j);
}
#define defer_drop __attribute__((cleanup(drop_ref)))

static json_t *
parse(const void *data, size_t bytes, const char *document, struct err *err)
{
	json_error_t why;
	json_t *j;

	if (bytes > LAYOUT_JSON_BYTES_MAX) {
		bad(document, "it is larger than 4 MiB", err);
		return NULL;
	}
	if (is_too_deep(data, bytes)) {
		bad(document, "it is nested too deeply", err);
		return NULL;
	}
	j = layout_jansson.json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &why);
	if (!j) {
		bad(document, "it is no JSON", err);
		err_why(err, "line %d, column %d: %s", why.line, why.column, why.text);
	}
	return j;
}

/* ---- values: absent gives the default, a wrong type sets *wrong ---- */

struct reader {
	struct arena *arena;
	const char *wrong; /* the first member that does not hold */
};

static void
set_wrong(struct reader *r, const char *key)
{
	if (!r->wrong)
		r->wrong = key;
}

static json_t *
member(const json_t *object, const char *key)
{
	json_t *v = json_is_object(object) ? layout_jansson.json_object_get(object, key) : NULL;

	return json_is_null(v) ? NULL : v;
}

static char *
copy_text(struct reader *r, const json_t *v, const char *key)
{
	const char *text = v && json_is_string(v) ? layout_jansson.json_string_value(v) : NULL;
	size_t length = text ? layout_jansson.json_string_length(v) : 0;
	char *copy;

	if (v && (!text || length > TEXT_MAX || strlen(text) != length)) {
		set_wrong(r, key);
		text = NULL;
		length = 0;
	}
	copy = arena_strndup(r->arena, text ? text : "", length);
	return copy ? copy : (char *)(uintptr_t) "";
}

static char *
get_text(struct reader *r, const json_t *object, const char *key)
{
	return copy_text(r, member(object, key), key);
}

static uint64_t
get_size(struct reader *r, const json_t *object, const char *key)
{
	json_t *v = member(object, key);

	if (!v || !json_is_integer(v) || layout_jansson.json_integer_value(v) < 0) {
		set_wrong(r, key);
		return 0;
	}
	return (uint64_t)layout_jansson.json_integer_value(v);
}

static bool
is_digest(const char *text)
{
	return text_starts(text, "sha256:") && strspn(text + 7, "0123456789abcdef") == HEX_DIGITS &&
	       text[7 + HEX_DIGITS] == '\0';
}

static json_t *
get_array(struct reader *r, const json_t *object, const char *key, size_t max, size_t *count_out)
{
	json_t *v = member(object, key);

	*count_out = 0;
	if (!v)
		return NULL;
	if (!json_is_array(v) || layout_jansson.json_array_size(v) > max) {
		set_wrong(r, key);
		return NULL;
	}
	*count_out = layout_jansson.json_array_size(v);
	return v;
}

static void
get_texts(struct reader *r, const json_t *object, const char *key, size_t max,
	  struct image_list *out)
{
	size_t count;
	json_t *array = get_array(r, object, key, max, &count);

	out->count = 0;
	out->items = arena_array(r->arena, count + 1, sizeof(*out->items));
	for (size_t i = 0; out->items && i < count; i++) {
		json_t *v = layout_jansson.json_array_get(array, i);

		if (json_is_null(v))
			set_wrong(r, key);
		out->items[out->count++] = copy_text(r, v, key);
	}
}

/* {"80/tcp": {}, ...}: a set. */
static void
get_keys(struct reader *r, const json_t *object, const char *key, struct image_list *out)
{
	json_t *set = member(object, key);
	size_t count = 0;

	if (set && !json_is_object(set)) {
		set_wrong(r, key);
		return;
	}
	for (void *at = layout_jansson.json_object_iter(set); at;
	     at = layout_jansson.json_object_iter_next(set, at))
		count++;
	if (count > IMAGE_LIST_MAX) {
		set_wrong(r, key);
		return;
	}
	out->items = arena_array(r->arena, count + 1, sizeof(*out->items));
	if (!out->items)
		return;
	for (void *at = layout_jansson.json_object_iter(set); at;
	     at = layout_jansson.json_object_iter_next(set, at)) {
		char *copy = arena_strdup(r->arena, layout_jansson.json_object_iter_key(at));

		out->items[out->count++] = copy ? copy : (char *)(uintptr_t) "";
	}
}

static int
finish(const struct reader *r, const char *document, struct err *err)
{
	if (!arena_ok(r->arena)) {
		err_set(err, ERR_LIMIT, "the image's %s is too large", document);
		return -1;
	}
	if (!r->wrong)
		return 0;
	bad(document, "a member is missing or is not what it should be", err);
	return err_why(err, "member \"%s\"", r->wrong);
}

/* ---- descriptors ---- */

static bool
is_index_type(const char *type)
{
	return !strcmp(type, "application/vnd.oci.image.index.v1+json") ||
	       !strcmp(type, "application/vnd.docker.distribution.manifest.list.v2+json");
}

static void
get_descriptor(struct reader *r, const json_t *j, struct layout_descriptor *out)
{
	const char *digest = get_text(r, j, "digest");
	json_t *platform = member(j, "platform");
	json_t *annotations = member(j, "annotations");

	if (!is_digest(digest))
		set_wrong(r, "digest");
	text_copy(out->digest, sizeof(out->digest), digest);
	out->bytes = get_size(r, j, "size");
	out->media_type = get_text(r, j, "mediaType");
	out->is_index = is_index_type(out->media_type);
	out->is_platform = platform != NULL;
	out->os = get_text(r, platform, "os");
	out->architecture = get_text(r, platform, "architecture");
	out->variant = get_text(r, platform, "variant");
	out->ref_name = get_text(r, annotations, "org.opencontainers.image.ref.name");
	out->full_name = get_text(r, annotations, "io.containerd.image.name");
}

static void
get_descriptors(struct reader *r, const json_t *object, const char *key, size_t max,
		struct layout_list *out)
{
	json_t *array = get_array(r, object, key, max, &out->count);

	if (!array)
		set_wrong(r, key);
	out->items = arena_array(r->arena, out->count + 1, sizeof(*out->items));
	if (!out->items)
		out->count = 0;
	for (size_t i = 0; i < out->count; i++)
		get_descriptor(r, layout_jansson.json_array_get(array, i), &out->items[i]);
}

int
layout_index(const void *data, size_t bytes, struct arena *arena, struct layout_list *out,
	     struct err *err)
{
	defer_drop json_t *j = parse(data, bytes, "index", err);
	struct reader r = {.arena = arena};

	if (!j)
		return -1;
	get_descriptors(&r, j, "manifests", LAYOUT_DESCRIPTORS_MAX, out);
	return finish(&r, "index", err);
}

int
layout_manifest(const void *data, size_t bytes, struct arena *arena, struct layout_manifest *out,
		struct err *err)
{
	defer_drop json_t *j = parse(data, bytes, "manifest", err);
	struct reader r = {.arena = arena};

	if (!j)
		return -1;
	memset(out, 0, sizeof(*out));
	get_descriptor(&r, member(j, "config"), &out->config);
	get_descriptors(&r, j, "layers", IMAGE_LAYERS_MAX, &out->layers);
	return finish(&r, "manifest", err);
}

/* ---- the configuration ---- */

static void
name_folders(struct reader *r, const struct image_list *diff_ids, struct image_list *out)
{
	const char *below = "";

	out->count = 0;
	out->items = arena_array(r->arena, diff_ids->count + 1, sizeof(*out->items));
	for (size_t i = 0; out->items && i < diff_ids->count; i++) {
		char *chain = arena_array(r->arena, LAYER_CHAIN_BYTES, 1);

		if (!chain || !layer_chain_next(below, diff_ids->items[i], chain))
			return;
		out->items[out->count++] = chain;
		below = chain;
	}
}

static void
get_layers(struct reader *r, const json_t *j, struct image_record *out)
{
	json_t *rootfs = member(j, "rootfs");

	if (strcmp(get_text(r, rootfs, "type"), "layers") != 0)
		set_wrong(r, "rootfs");
	get_texts(r, rootfs, "diff_ids", IMAGE_LAYERS_MAX, &out->diff_ids);
	for (size_t i = 0; i < out->diff_ids.count; i++) {
		if (!is_digest(out->diff_ids.items[i]))
			set_wrong(r, "diff_ids");
		else
			out->diff_ids.items[i] += 7;
	}
	if (!r->wrong)
		name_folders(r, &out->diff_ids, &out->layers);
}

static int64_t
get_created(struct reader *r, const json_t *j)
{
	int64_t ns;

	return text_untime(get_text(r, j, "created"), &ns) ? ns / 1000000000 : 0;
}

int
layout_config(const void *data, size_t bytes, struct arena *arena, struct image_record *out,
	      struct err *err)
{
	defer_drop json_t *j = parse(data, bytes, "configuration", err);
	struct reader r = {.arena = arena};

	if (!j)
		return -1;
	json_t *config = member(j, "config");

	out->architecture = get_text(&r, j, "architecture");
	out->os = get_text(&r, j, "os");
	out->variant = get_text(&r, j, "variant");
	out->created_s = get_created(&r, j);
	get_layers(&r, j, out);
	get_texts(&r, config, "Entrypoint", IMAGE_LIST_MAX, &out->entrypoint);
	get_texts(&r, config, "Cmd", IMAGE_LIST_MAX, &out->cmd);
	get_texts(&r, config, "Env", IMAGE_LIST_MAX, &out->env);
	out->workdir = get_text(&r, config, "WorkingDir");
	out->user = get_text(&r, config, "User");
	out->stop_signal = get_text(&r, config, "StopSignal");
	get_keys(&r, config, "Volumes", &out->volumes);
	get_keys(&r, config, "ExposedPorts", &out->ports);
	if (finish(&r, "configuration", err) < 0)
		return -1;
	if (out->layers.count != out->diff_ids.count)
		return err_set(err, ERR_NO_MEMORY, "no memory to name an image's layers");
	return 0;
}

/* ---- docker save ---- */

static bool
has_tag(const json_t *image, const char *name)
{
	json_t *tags = member(image, "RepoTags");

	for (size_t i = 0; json_is_array(tags) && i < layout_jansson.json_array_size(tags); i++) {
		json_t *v = layout_jansson.json_array_get(tags, i);
		const char *tag = json_is_string(v) ? layout_jansson.json_string_value(v) : "";

		if (!strcmp(tag, name) || (strlen(name) > strlen(tag) && text_ends(name, tag) &&
					   name[strlen(name) - strlen(tag) - 1] == '/'))
			return true;
	}
	return false;
}

static json_t *
pick_saved(json_t *images, const char *name)
{
	size_t count = json_is_array(images) ? layout_jansson.json_array_size(images) : 0;

	if (count == 1)
		return layout_jansson.json_array_get(images, 0);
	for (size_t i = 0; *name && i < count; i++) {
		json_t *image = layout_jansson.json_array_get(images, i);

		if (has_tag(image, name))
			return image;
	}
	return NULL;
}

int
layout_saved(const void *data, size_t bytes, const char *name, struct arena *arena,
	     struct layout_saved *out, struct err *err)
{
	defer_drop json_t *j = parse(data, bytes, "manifest.json", err);
	struct reader r = {.arena = arena};
	struct image_list tags;

	if (!j)
		return -1;
	json_t *image = pick_saved(j, name);
	if (!image) {
		err_set(err, ERR_INVALID, "the archive does not have exactly one image");
		return err_fix(err, "save one image, or give a name that the archive has");
	}
	get_texts(&r, image, "RepoTags", IMAGE_LIST_MAX, &tags);
	out->name = tags.count ? tags.items[0] : (char *)(uintptr_t) "";
	out->config = get_text(&r, image, "Config");
	get_texts(&r, image, "Layers", IMAGE_LAYERS_MAX, &out->layers);
	if (!*out->config)
		set_wrong(&r, "Config");
	return finish(&r, "manifest.json", err);
}

/* ---- choosing ---- */

bool
layout_fits(const struct layout_descriptor *d, const char *architecture)
{
	if (d->is_index || !d->is_platform)
		return true;
	return !strcmp(d->os, "linux") && !strcmp(d->architecture, architecture);
}

/* "shop/web:1" is named by "shop/web:1", and by its tag alone, which is all that most tools keep.
 */
bool
layout_named(const struct layout_descriptor *d, const char *name)
{
	const char *colon = strrchr(name, ':');

	if (!strcmp(d->full_name, name) || !strcmp(d->ref_name, name))
		return true;
	if (*d->ref_name && strlen(name) > strlen(d->ref_name) && text_ends(name, d->ref_name) &&
	    name[strlen(name) - strlen(d->ref_name) - 1] == '/')
		return true;
	return colon && !strchr(colon, '/') && *d->ref_name && !strcmp(d->ref_name, colon + 1);
}
