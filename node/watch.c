/* SPDX-License-Identifier: Apache-2.0 */
/* libuv frees a handle one turn after it was closed; this hides the delay from the owners. */
#include "node/watch.h"

#include "base/mem.h"

struct watch {
	uv_poll_t poll;
	watch_fn fn;
	void *arg;
};

static void
closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
event(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;

	/* An error shows when the descriptor is read. */
	w->fn(w->arg, status < 0 || (events & (UV_READABLE | UV_DISCONNECT)), events & UV_WRITABLE);
}

struct watch *
watch_new(uv_loop_t *loop, int fd, watch_fn fn, void *arg)
{
	struct watch *w = mem_zalloc(MEM_NODE, sizeof(*w));

	if (!w)
		return NULL;
	if (uv_poll_init(loop, &w->poll, fd) < 0) {
		mem_free(w);
		return NULL;
	}
	w->fn = fn;
	w->arg = arg;
	w->poll.data = w;
	uv_poll_start(&w->poll, UV_READABLE, event);
	return w;
}

void
watch_write(struct watch *w, bool on)
{
	uv_poll_start(&w->poll, on ? UV_READABLE | UV_WRITABLE : UV_READABLE, event);
}

void
watch_free(struct watch *w)
{
	if (!w)
		return;
	uv_poll_stop(&w->poll);
	uv_close((uv_handle_t *)&w->poll, closed);
}
