/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all connections of a process share: the library's options and callbacks, its memory as ours,
 * and a few header blocks that are kept for the next request.
 */

#include "wire/h2_private.h"

#include "base/mem.h"

enum {
	BLOCKS_KEPT = 8,
	ACKS_MAX = 10000, /* more than one read can ask for: the guard is to say so first */
};

/* ---- memory ---- */

static void *
hook_malloc(size_t size, void *arg)
{
	(void)arg;
	return mem_alloc(MEM_LIBRARY, size);
}

static void
hook_free(void *p, void *arg)
{
	(void)arg;
	mem_free(p);
}

static void *
hook_calloc(size_t count, size_t size, void *arg)
{
	(void)arg;
	return mem_array(MEM_LIBRARY, count, size);
}

static void *
hook_realloc(void *p, size_t size, void *arg)
{
	(void)arg;
	return mem_resize(MEM_LIBRARY, p, 1, size);
}

struct h2_block *
h2_engine_take_block(struct h2_engine *e)
{
	struct h2_block *b = e->blocks;

	if (!b)
		return h2_block_new();
	e->blocks = b->next;
	e->blocks_count--;
	return b;
}

void
h2_engine_give_block(struct h2_engine *e, struct h2_block *b)
{
	if (!b)
		return;
	if (e->blocks_count == BLOCKS_KEPT) {
		h2_block_free(b);
		return;
	}
	h2_block_reset(b);
	b->next = e->blocks;
	e->blocks = b;
	e->blocks_count++;
}

/* ---- the engine ---- */

int
h2_engine_new(struct h2_engine **out, struct err *err)
{
	struct h2_engine *e;

	if (dl_load_nghttp2(err))
		return -1;
	e = mem_zalloc(MEM_WIRE, sizeof(*e));
	if (!e)
		return err_set(err, ERR_NO_MEMORY, "cannot set HTTP/2 up");
	e->memory = (nghttp2_mem){NULL, hook_malloc, hook_free, hook_calloc, hook_realloc};
	if (nghttp2.nghttp2_option_new(&e->option) ||
	    nghttp2.nghttp2_session_callbacks_new(&e->callbacks)) {
		h2_engine_free(e);
		return err_set(err, ERR_NO_MEMORY, "cannot set HTTP/2 up");
	}
	nghttp2.nghttp2_option_set_no_auto_window_update(e->option, 1);
	nghttp2.nghttp2_option_set_max_deflate_dynamic_table_size(e->option, 4096);
	nghttp2.nghttp2_option_set_max_outbound_ack(e->option, ACKS_MAX);
	nghttp2.nghttp2_option_set_max_settings(e->option, 32);
	h2_set_callbacks(e->callbacks);
	*out = e;
	return 0;
}

void
h2_engine_free(struct h2_engine *e)
{
	if (!e)
		return;
	while (e->blocks) {
		struct h2_block *b = e->blocks;

		e->blocks = b->next;
		h2_block_free(b);
	}
	if (e->option)
		nghttp2.nghttp2_option_del(e->option);
	if (e->callbacks)
		nghttp2.nghttp2_session_callbacks_del(e->callbacks);
	mem_free(e);
}
