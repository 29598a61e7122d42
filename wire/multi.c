/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl says which sockets to watch and when to wake it; this does so with libuv's handles.
 * libcurl's callbacks may not end a transfer: what is over is told from the loop (`reap`).
 */
#include "wire/multi.h"

#include <stdbool.h>
#include "base/mem.h"

DL_DEFINE(multi_curl, "libcurl.so.4", MULTI_CALLS)

enum { CONNECTIONS_KEPT = 8 };

struct watch {
	uv_poll_t poll;
	struct multi *multi;
	curl_socket_t socket;
};

struct multi {
	CURLM *handle;
	uv_loop_t *loop;
	uv_timer_t timer;
	multi_done_fn done;
	unsigned telling; /* depth */
	bool closing;
};

static void *
hook_alloc(size_t bytes)
{
	return mem_alloc(MEM_LIBRARY, bytes ? bytes : 1);
}

static void *
hook_resize(void *p, size_t bytes)
{
	return p ? mem_resize(MEM_LIBRARY, p, 1, bytes) : hook_alloc(bytes);
}

static void *
hook_array(size_t count, size_t bytes)
{
	return mem_array(MEM_LIBRARY, count ? count : 1, bytes ? bytes : 1);
}

static char *
hook_strdup(const char *text)
{
	return mem_strdup(MEM_LIBRARY, text);
}

int
multi_load(struct err *err)
{
	static bool loaded;

	if (loaded)
		return 0;
	if (dl_load_multi_curl(err) < 0)
		return -1;
	if (multi_curl.curl_global_init_mem(CURL_GLOBAL_DEFAULT, hook_alloc, mem_free, hook_resize,
					    hook_strdup, hook_array) != CURLE_OK)
		return err_set(err, ERR_SYSTEM, "libcurl cannot be initialised");
	loaded = true;
	return 0;
}

static void
timer_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
end(struct multi *m)
{
	multi_curl.curl_multi_cleanup(m->handle);
	uv_close((uv_handle_t *)&m->timer, timer_closed);
}

/* Who is told may close. */
static void
reap(struct multi *m)
{
	CURLMsg *message;
	int left;

	m->telling++;
	while (!m->closing && (message = multi_curl.curl_multi_info_read(m->handle, &left))) {
		void *private = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		multi_curl.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		m->done(private, code);
	}
	if (--m->telling == 0 && m->closing)
		end(m);
}

static void
on_socket(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct multi *m = w->multi;
	int flags = 0, running;

	if (status < 0) /* reading says what it is: a reset, or an alert that came before it */
		flags = CURL_CSELECT_ERR | CURL_CSELECT_IN;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	multi_curl.curl_multi_socket_action(m->handle, w->socket, flags, &running);
	reap(m);
}

static void
on_time(uv_timer_t *timer)
{
	struct multi *m = timer->data;
	int running;

	multi_curl.curl_multi_socket_action(m->handle, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(m);
}

static int
set_timer(CURLM *handle, long ms, void *arg)
{
	struct multi *m = arg;

	(void)handle;
	if (uv_is_closing((uv_handle_t *)&m->timer))
		return 0;
	if (ms < 0)
		uv_timer_stop(&m->timer);
	else /* not from within: 0 would call back at once */
		uv_timer_start(&m->timer, on_time, ms > 0 ? (uint64_t)ms : 1, 0);
	return 0;
}

static void
watch_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

/* Never gives -1: that would be the end of all transfers, and nobody would be told. One whose
 * socket cannot be watched is ended by its time. */
static int
set_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
	struct multi *m = arg;
	struct watch *w = socket_arg;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w) {
			uv_poll_stop(&w->poll);
			uv_close((uv_handle_t *)&w->poll, watch_closed);
			multi_curl.curl_multi_assign(m->handle, socket, NULL);
		}
		return 0;
	}
	if (!w) {
		w = mem_zalloc(MEM_WIRE, sizeof(*w));
		if (!w)
			return 0;
		if (uv_poll_init_socket(m->loop, &w->poll, socket) < 0) {
			mem_free(w);
			return 0;
		}
		w->poll.data = w;
		w->multi = m;
		w->socket = socket;
		multi_curl.curl_multi_assign(m->handle, socket, w);
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	uv_poll_start(&w->poll, events, on_socket);
	return 0;
}

int
multi_open(uv_loop_t *loop, multi_done_fn done, struct multi **out, struct err *err)
{
	struct multi *m = mem_zalloc(MEM_WIRE, sizeof(*m));

	if (!m)
		return err_set(err, ERR_NO_MEMORY, "no memory for transfers");
	m->loop = loop;
	m->done = done;
	m->handle = multi_curl.curl_multi_init();
	if (!m->handle) {
		mem_free(m);
		return err_set(err, ERR_NO_MEMORY, "no memory for transfers");
	}
	uv_timer_init(loop, &m->timer);
	m->timer.data = m;
	multi_curl.curl_multi_setopt(m->handle, CURLMOPT_SOCKETFUNCTION, set_socket);
	multi_curl.curl_multi_setopt(m->handle, CURLMOPT_SOCKETDATA, m);
	multi_curl.curl_multi_setopt(m->handle, CURLMOPT_TIMERFUNCTION, set_timer);
	multi_curl.curl_multi_setopt(m->handle, CURLMOPT_TIMERDATA, m);
	multi_curl.curl_multi_setopt(m->handle, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
	*out = m;
	return 0;
}

void
multi_close(struct multi *m)
{
	if (!m)
		return;
	m->closing = true;
	if (!m->telling)
		end(m);
}

int
multi_add(struct multi *m, CURL *easy)
{
	return multi_curl.curl_multi_add_handle(m->handle, easy) == CURLM_OK ? 0 : -1;
}

void
multi_remove(struct multi *m, CURL *easy)
{
	multi_curl.curl_multi_remove_handle(m->handle, easy);
}

void
multi_resume(struct multi *m, CURL *easy)
{
	multi_curl.curl_easy_pause(easy, CURLPAUSE_CONT);
	reap(m);
}
