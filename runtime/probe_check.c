/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meaning of one check. An HTTP answer is read only as far as needed: the status line decides,
 * the first bytes of the body are kept so that a person can be told what was answered. A TLS alert
 * or hello on a plain port is recognised by its record header (RFC 8446 5.1).
 */
#include "runtime/probe_check.h"

#include <string.h>
#include <uv.h>
#include "base/text.h"
#include "wire/http1_write.h"

static bool
can_be_asked(const struct msg_probe *row)
{
	char request[PROBE_REQUEST_BYTES];

	return row->path[0] == '/' && probe_check_request(row, request, sizeof(request)) > 0;
}

bool
probe_check_row(const struct msg_probe *row)
{
	return row->replica && row->interval_ms > 0 && row->timeout_ms > 0 && row->addr.port > 0 &&
	       !addr_is_zero(&row->addr) && MSG_OK(row->host) && MSG_OK(row->path) &&
	       MSG_OK(row->service_label) && MSG_OK(row->request) && MSG_OK(row->expect) &&
	       (row->check == MSG_CHECK_TCP ||
		(row->check == MSG_CHECK_HTTP && can_be_asked(row)) ||
		(row->check == MSG_CHECK_UDP && row->request[0]));
}

size_t
probe_check_request(const struct msg_probe *row, char *out, size_t cap)
{
	struct http1_writer w;
	char host[MSG_HOST];

	if (row->host[0])
		text_copy(host, sizeof(host), row->host);
	else
		addr_put(&row->addr, host, sizeof(host));
	http1_write_init(&w, out, cap);
	http1_write_request(&w, "GET", 3, row->path, strlen(row->path));
	http1_write_header(&w, "host", host);
	http1_write_header(&w, "user-agent", "zlayer-health/" ZLAYER_VERSION);
	http1_write_header(&w, "accept", "*/*");
	http1_write_header(&w, "connection", "close");
	http1_write_end(&w);
	return http1_write_ok(&w) ? http1_write_length(&w) : 0;
}

void
probe_check_init(struct probe_check *c)
{
	http1_head_init(&c->head, HTTP1_RESPONSE, NULL);
	c->length = 0;
}

static bool
looks_like_tls(const struct probe_check *c)
{
	const unsigned char *d = (const unsigned char *)c->data;

	return c->length >= 3 && (d[0] == 0x15 || d[0] == 0x16) && d[1] == 0x03 && d[2] <= 0x04;
}

static void
show(struct msg_result *result, const char *data, size_t length)
{
	text_printable(data, length < PROBE_SHOWN_BYTES ? length : PROBE_SHOWN_BYTES,
		       result->detail, sizeof(result->detail));
}

static enum probe_verdict
judge_head(struct probe_check *c, const struct msg_probe *row, bool ended,
	   struct msg_result *result, enum msg_result_failure *failure_out)
{
	size_t body = c->length - c->head.head_bytes;

	result->http_status = c->head.status;
	if (c->head.status == row->expect_status) {
		*failure_out = MSG_FAILURE_NONE;
		return PROBE_DONE;
	}
	if (!ended && body < PROBE_SHOWN_BYTES && c->length < sizeof(c->data) &&
	    c->head.content_length > body)
		return PROBE_MORE; /* a little of the body tells more */
	show(result, c->data + c->head.head_bytes, body);
	*failure_out = MSG_FAILURE_STATUS;
	return PROBE_DONE;
}

/* An interim answer (1xx) is dropped: the final one follows. */
static bool
drop_interim(struct probe_check *c)
{
	if (c->head.status < 100 || c->head.status >= 200 || c->head.status == 101)
		return false;
	size_t used = c->head.head_bytes;

	memmove(c->data, c->data + used, c->length - used);
	c->length -= used;
	http1_head_init(&c->head, HTTP1_RESPONSE, NULL);
	return true;
}

enum probe_verdict
probe_check_feed(struct probe_check *c, const struct msg_probe *row, const void *data, size_t bytes,
		 struct msg_result *result, enum msg_result_failure *failure_out)
{
	size_t room = sizeof(c->data) - c->length;
	size_t taken = bytes < room ? bytes : room;
	enum http1_result parsed = HTTP1_DONE;

	if (taken)
		memcpy(c->data + c->length, data, taken);
	c->length += taken;
	bool ended = bytes == 0 || c->length == sizeof(c->data);
	if (!c->head.head_bytes) {
		do {
			parsed = http1_head_parse(&c->head, c->data, c->length);
		} while (parsed == HTTP1_DONE && drop_interim(c));
	}
	if (parsed == HTTP1_DONE)
		return judge_head(c, row, ended, result, failure_out);
	if (parsed == HTTP1_MORE && !ended)
		return PROBE_MORE;
	result->tls_seen = looks_like_tls(c);
	show(result, c->data, c->length);
	*failure_out = c->length == 0 ? MSG_FAILURE_RESET : MSG_FAILURE_PROTOCOL;
	return PROBE_DONE;
}

enum msg_result_failure
probe_check_datagram(const struct msg_probe *row, const void *data, size_t bytes,
		     struct msg_result *result)
{
	size_t want = strlen(row->expect);

	if (bytes >= want && (want == 0 || memcmp(data, row->expect, want) == 0))
		return MSG_FAILURE_NONE;
	show(result, data, bytes);
	return MSG_FAILURE_PROTOCOL;
}

void
probe_check_count(struct msg_result *result, enum msg_result_failure failure, uint64_t latency_ns,
		  int64_t wall_ns)
{
	result->total++;
	result->last_wall_ns = wall_ns;
	result->latency_ns = latency_ns;
	result->failure = (uint32_t)failure;
	result->ok = failure == MSG_FAILURE_NONE;
	if (result->ok) {
		result->successes++;
		result->failures = 0;
		result->tls_seen = 0;
		result->detail[0] = 0;
	} else {
		result->failures++;
		result->successes = 0;
		result->total_failures++;
		if (failure != MSG_FAILURE_STATUS)
			result->http_status = 0;
	}
}

uint64_t
probe_check_wait_ms(const struct msg_probe *row, const struct msg_result *result)
{
	if (result->total > result->total_failures)
		return row->interval_ms;
	uint64_t wait = 50;

	for (uint64_t i = 0; i < result->total && wait < row->interval_ms; i++)
		wait *= 2;
	return wait < row->interval_ms ? wait : row->interval_ms;
}

bool
probe_check_is_own(int uv_status)
{
	switch (uv_status) {
	case UV_EMFILE:
	case UV_ENFILE:
	case UV_ENOMEM:
	case UV_ENOBUFS:
	case UV_EADDRNOTAVAIL:
	case UV_EADDRINUSE:
		return true;
	default:
		return false;
	}
}

enum msg_result_failure
probe_check_failure(int uv_status)
{
	switch (uv_status) {
	case 0:
		return MSG_FAILURE_NONE;
	case UV_ECONNREFUSED:
		return MSG_FAILURE_REFUSED;
	case UV_ETIMEDOUT:
		return MSG_FAILURE_TIMEOUT;
	case UV_ECONNRESET:
	case UV_EPIPE:
	case UV_EOF:
		return MSG_FAILURE_RESET;
	case UV_EHOSTUNREACH:
	case UV_ENETUNREACH:
		return MSG_FAILURE_UNREACHABLE;
	default:
		return MSG_FAILURE_OTHER;
	}
}
