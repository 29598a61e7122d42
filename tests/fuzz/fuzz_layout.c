/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of images: each parser gets the same text; what is accepted must hold. */
#include "runtime/layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_descriptor(const struct layout_descriptor *d)
{
	assert(strlen(d->digest) == 71 && text_starts(d->digest, "sha256:"));
	assert(!strchr(d->digest, '/') && d->bytes <= INT64_MAX);
	assert(d->os && d->architecture && d->variant && d->ref_name && d->full_name);
	layout_fits(d, "amd64");
	layout_named(d, "shop/web:1");
}

static void
check_list(const struct layout_list *list)
{
	assert(list->count <= LAYOUT_DESCRIPTORS_MAX);
	for (size_t i = 0; i < list->count; i++)
		check_descriptor(&list->items[i]);
}

static void
check_record(const struct image_record *r)
{
	assert(r->layers.count <= IMAGE_LAYERS_MAX && r->env.count <= IMAGE_LIST_MAX);
	for (size_t i = 0; i < r->layers.count; i++)
		assert(strlen(r->layers.items[i]) == 64 && !strchr(r->layers.items[i], '.'));
	for (size_t i = 0; i < r->ports.count; i++)
		assert(r->ports.items[i]);
	assert(r->workdir && r->user && r->stop_signal && r->os && r->architecture);
}

static void
check_saved(const struct layout_saved *saved)
{
	assert(saved->config[0] && saved->name && saved->layers.count <= IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < saved->layers.count; i++)
		assert(saved->layers.items[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool loaded;
	struct arena arena;
	struct err err = {0};
	struct layout_list list = {0};
	struct layout_manifest manifest;
	struct image_record record = {0};
	struct layout_saved saved = {0};

	if (!loaded && layout_load(&err) < 0)
		abort();
	loaded = true;
	arena_init(&arena, MEM_BASE, 16 << 20);
	if (layout_index(data, size, &arena, &list, &err) == 0)
		check_list(&list);
	arena_reset(&arena);
	if (layout_manifest(data, size, &arena, &manifest, &err) == 0) {
		check_descriptor(&manifest.config);
		check_list(&manifest.layers);
	}
	arena_reset(&arena);
	if (layout_config(data, size, &arena, &record, &err) == 0)
		check_record(&record);
	arena_reset(&arena);
	if (layout_saved(data, size, "shop/web:1", &arena, &saved, &err) == 0)
		check_saved(&saved);
	arena_fini(&arena);
	return 0;
}
