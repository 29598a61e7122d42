/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_NGHTTP2_H
#define WIRE_NGHTTP2_H

/* The part of libnghttp2 that is called: opened by the roles that speak HTTP/2 (base/dl.h). Only
 * functions that every 1.5x has: limits that came as late fixes are kept by wire/h2_guard.h. */

#include <nghttp2/nghttp2.h>
#include "base/dl.h"

#define NGHTTP2_CALLS(X)                                             \
	X(nghttp2_option_new)                                        \
	X(nghttp2_option_del)                                        \
	X(nghttp2_option_set_no_auto_window_update)                  \
	X(nghttp2_option_set_max_deflate_dynamic_table_size)         \
	X(nghttp2_option_set_max_outbound_ack)                       \
	X(nghttp2_option_set_max_settings)                           \
	X(nghttp2_session_callbacks_new)                             \
	X(nghttp2_session_callbacks_del)                             \
	X(nghttp2_session_callbacks_set_on_begin_headers_callback)   \
	X(nghttp2_session_callbacks_set_on_header_callback)          \
	X(nghttp2_session_callbacks_set_on_invalid_header_callback)  \
	X(nghttp2_session_callbacks_set_on_frame_recv_callback)      \
	X(nghttp2_session_callbacks_set_on_data_chunk_recv_callback) \
	X(nghttp2_session_callbacks_set_on_stream_close_callback)    \
	X(nghttp2_session_callbacks_set_on_frame_send_callback)      \
	X(nghttp2_session_callbacks_set_send_data_callback)          \
	X(nghttp2_session_server_new3)                               \
	X(nghttp2_session_del)                                       \
	X(nghttp2_session_mem_recv)                                  \
	X(nghttp2_session_mem_send)                                  \
	X(nghttp2_session_want_read)                                 \
	X(nghttp2_session_want_write)                                \
	X(nghttp2_session_consume)                                   \
	X(nghttp2_session_resume_data)                               \
	X(nghttp2_session_set_local_window_size)                     \
	X(nghttp2_session_set_stream_user_data)                      \
	X(nghttp2_session_get_stream_user_data)                      \
	X(nghttp2_session_terminate_session)                         \
	X(nghttp2_session_get_last_proc_stream_id)                   \
	X(nghttp2_submit_settings)                                   \
	X(nghttp2_submit_response)                                   \
	X(nghttp2_submit_headers)                                    \
	X(nghttp2_submit_trailer)                                    \
	X(nghttp2_submit_rst_stream)                                 \
	X(nghttp2_submit_goaway)                                     \
	X(nghttp2_submit_shutdown_notice)

DL_DECLARE(nghttp2, NGHTTP2_CALLS);

#endif
