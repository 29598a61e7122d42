/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_MULTI_H
#define WIRE_MULTI_H

/*
 * libcurl's multi interface on a libuv loop, for whoever speaks HTTP as a client: transfers are
 * libcurl's own handles, made and set up by the caller through `multi_curl` and told apart by
 * CURLOPT_PRIVATE. Threading: the loop's thread. multi_load runs before confinement.
 */

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <uv.h>
#include "base/dl.h"
#include "base/err.h"

#define MULTI_CALLS(X)              \
	X(curl_global_init_mem)     \
	X(curl_multi_init)          \
	X(curl_multi_cleanup)       \
	X(curl_multi_setopt)        \
	X(curl_multi_add_handle)    \
	X(curl_multi_remove_handle) \
	X(curl_multi_socket_action) \
	X(curl_multi_assign)        \
	X(curl_multi_info_read)     \
	X(curl_easy_init)           \
	X(curl_easy_setopt)         \
	X(curl_easy_getinfo)        \
	X(curl_easy_pause)          \
	X(curl_easy_cleanup)        \
	X(curl_easy_strerror)       \
	X(curl_slist_append)        \
	X(curl_slist_free_all)

DL_DECLARE(multi_curl, MULTI_CALLS);

struct multi;
/* The end of a transfer, from the loop: private is its CURLOPT_PRIVATE. It is still to be removed,
 * which may be done here. */
typedef void (*multi_done_fn)(void *private, CURLcode code);

/* Opens the library and gives it our memory. Idempotent. */
int multi_load(struct err *err) MUST_CHECK;
int multi_open(uv_loop_t *loop, multi_done_fn done, struct multi **out, struct err *err) MUST_CHECK;
/* All transfers were removed. The loop must turn once more. NULL is fine. */
void multi_close(struct multi *m);

/* 0, or -1 when there is no memory. */
int multi_add(struct multi *m, CURL *easy) MUST_CHECK;
/* Ends it without `done`; not from within one of libcurl's own callbacks. */
void multi_remove(struct multi *m, CURL *easy);
void multi_resume(struct multi *m, CURL *easy); /* after CURL_WRITEFUNC_PAUSE */

#endif
