/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PROBE_CHECK_H
#define RUNTIME_PROBE_CHECK_H

/*
 * One check without I/O: what to send, what an answer means, and when to ask again. Answers come
 * from containers: they are hostile input.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/msg.h"
#include "wire/http1.h"

enum { PROBE_ANSWER_BYTES = 16384, PROBE_REQUEST_BYTES = 1024, PROBE_SHOWN_BYTES = 200 };

/* True when the row can be used: texts end, times are not zero, the address is one, and the request
 * can be written. */
bool probe_check_row(const struct msg_probe *row);

/* The request of an HTTP check (GET, connection: close). Gives its length, 0 when the path or host
 * holds something that cannot be sent. */
size_t probe_check_request(const struct msg_probe *row, char *out, size_t cap);

enum probe_verdict { PROBE_MORE, PROBE_DONE };

struct probe_check {
	struct http1_head head;
	char data[PROBE_ANSWER_BYTES];
	size_t length;
};
void probe_check_init(struct probe_check *c);
/* Takes bytes of an HTTP answer. PROBE_DONE: *failure_out, status and detail of result are set. The
 * peer's end (bytes == 0) always gives PROBE_DONE. */
enum probe_verdict probe_check_feed(struct probe_check *c, const struct msg_probe *row,
				    const void *data, size_t bytes, struct msg_result *result,
				    enum msg_result_failure *failure_out);

/* What a datagram means: it must begin with what is expected. Sets detail when it does not. */
enum msg_result_failure probe_check_datagram(const struct msg_probe *row, const void *data,
					     size_t bytes, struct msg_result *result);

/* Counts a check's end into the result. detail is kept for failures, cleared by a success. */
void probe_check_count(struct msg_result *result, enum msg_result_failure failure,
		       uint64_t latency_ns, int64_t wall_ns);

/* Milliseconds until the next check: fast while nothing has succeeded yet (100, 200, 400 ... up to
 * the interval), so that a replica is in balancing soon after it is ready. */
uint64_t probe_check_wait_ms(const struct msg_probe *row, const struct msg_result *result);

/* Whether an error is our own (no descriptors, no memory, no ports): it says nothing of the replica
 * and must not be counted against it. */
bool probe_check_is_own(int uv_status);
enum msg_result_failure probe_check_failure(int uv_status);

#endif
