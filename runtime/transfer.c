/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request as a handle of libcurl's (wire/multi.h). Nothing of the environment counts (proxies,
 * .netrc, configuration files): this process sees none of it.
 *
 * A body of an answer that is no success is collected instead of passed on, so that a registry's
 * own words get into the message. When a part of the thing is there already the rest is asked for
 * by Range; a server that gives all of it anyway is read over.
 */
#include "runtime/transfer.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/multi.h"

enum {
	AUTHORITIES_BYTES_MAX = 8 << 20,
	CONNECT_MS = 10000,
	SLOW_BYTES = 64, /* a second, for SLOW_S: given up */
	SLOW_S = 30,
	SLOW_QUICK_S = 10,
	HEAD_BYTES_MAX = 256 << 10,
};

struct transfers {
	struct multi *multi;
	struct buf authorities; /* the machine's, PEM */
};

struct transfer {
	struct transfers *ts;
	CURL *easy;
	const struct transfer_calls *calls;
	void *arg;
	struct curl_slist *fields;
	struct curl_slist *resolve;
	struct buf authorities;
	struct buf body;
	bool keep_body;
	bool head_seen; /* of the last answer: the decisions below were taken */
	bool pass_on;
	bool nothing_left;
	uint64_t from, skip;
	uint64_t most, given;
	size_t head_bytes;
	bool bad_range;
	bool enough; /* it was ended here: what came is all that is looked at */
	char error[CURL_ERROR_SIZE];
	struct transfer_result result;
};

static void finish(void *private, CURLcode code);

int
transfer_load(struct err *err)
{
	return multi_load(err);
}

/* ---- opening ---- */

static void
load_authorities(struct buf *out)
{
	static const char *const places[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct err ignored = {0};

		if (fd_read_file(AT_FDCWD, places[i], out, &ignored) == 0)
			return;
		buf_reset(out);
	}
}

int
transfer_open(uv_loop_t *loop, struct transfers **out, struct err *err)
{
	struct transfers *ts = mem_zalloc(MEM_RUNTIME, sizeof(*ts));

	if (!ts)
		return err_set(err, ERR_NO_MEMORY, "no memory for transfers");
	if (multi_open(loop, finish, &ts->multi, err) < 0) {
		mem_free(ts);
		return -1;
	}
	buf_init(&ts->authorities, MEM_RUNTIME, AUTHORITIES_BYTES_MAX);
	load_authorities(&ts->authorities);
	*out = ts;
	return 0;
}

/* ---- what comes ---- */

static bool
is_field(const char *line, size_t bytes, const char *name, const char **value, size_t *length)
{
	size_t n = strlen(name);

	if (bytes <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	for (n++; n < bytes && (line[n] == ' ' || line[n] == '\t');)
		n++;
	while (bytes > n && strchr("\r\n \t", line[bytes - 1]))
		bytes--;
	*value = line + n;
	*length = bytes - n;
	return true;
}

static void
take_retry_after(struct transfer_result *r, const char *value, size_t length)
{
	char text[16];
	uint64_t s;

	if (text_ncopy(text, sizeof(text), value, length) && text_u64(text, 86400, &s))
		r->retry_after_ms = s * 1000;
}

/* "bytes 100-199/200": is it what was asked for? A star instead of 100-199 (416): there is no more.
 */
static void
take_range(struct transfer *t, const char *value, size_t length)
{
	char text[64];
	uint64_t from;

	if (!text_ncopy(text, sizeof(text), value, length) || !text_starts(text, "bytes "))
		return;
	if (text_starts(text, "bytes */")) {
		if (!text_u64(text + 8, UINT64_MAX, &t->result.whole_bytes))
			t->result.whole_bytes = 0;
		return;
	}
	text[strcspn(text, "-")] = '\0';
	if (!text_u64(text + 6, UINT64_MAX, &from) || from != t->from)
		t->bad_range = true;
}

static size_t
on_head(char *line, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct transfer_result *r = &t->result;
	size_t bytes = size * count, length;
	const char *value;

	t->head_bytes += bytes;
	if (t->head_bytes > HEAD_BYTES_MAX)
		return 0;
	if (bytes > 5 && !memcmp(line, "HTTP/", 5)) { /* 100 came before: a new head */
		r->challenges_count = 0;
		r->retry_after_ms = 0;
		r->media_type[0] = r->digest[0] = '\0';
	} else if (is_field(line, bytes, "www-authenticate", &value, &length)) {
		if (r->challenges_count < 4 &&
		    text_ncopy(r->challenges[r->challenges_count], 2048, value, length))
			r->challenges_count++;
	} else if (is_field(line, bytes, "retry-after", &value, &length)) {
		take_retry_after(r, value, length);
	} else if (is_field(line, bytes, "content-type", &value, &length)) {
		text_ncopy(r->media_type, sizeof(r->media_type), value, length);
		r->media_type[strcspn(r->media_type, "; ")] = '\0';
	} else if (is_field(line, bytes, "docker-content-digest", &value, &length)) {
		if (!text_ncopy(r->digest, sizeof(r->digest), value, length))
			r->digest[0] = '\0';
	} else if (is_field(line, bytes, "content-range", &value, &length)) {
		take_range(t, value, length);
	}
	return bytes;
}

static void
decide(struct transfer *t)
{
	long status = 0;

	multi_curl.curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->head_seen = true;
	t->pass_on = !t->keep_body && (status == 200 || status == 206);
	t->skip = status == 200 ? t->from : 0;
	t->nothing_left = status == 416;
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t bytes = size * count, gone = 0;

	if (!t->head_seen)
		decide(t);
	if (!t->pass_on) {
		size_t room = REGISTRY_BODY_BYTES - t->body.length;

		buf_put(&t->body, data, bytes < room ? bytes : room);
		/* A 416 has said all in its head; some servers tell a length of the body there that
		 * is not the body's. */
		t->enough = bytes > room || t->nothing_left;
		return t->enough ? 0 : bytes;
	}
	if (t->bad_range)
		return 0;
	if (t->skip >= bytes) {
		t->skip -= bytes;
		return bytes;
	}
	gone = (size_t)t->skip;
	if (!t->calls->data(t->arg, data + gone, bytes - gone))
		return CURL_WRITEFUNC_PAUSE;
	t->skip = 0;
	t->given += bytes - gone;
	t->enough = t->most && t->given > t->most;
	return t->enough ? 0 : bytes;
}

/* ---- the end ---- */

static enum registry_failure
failure_of(CURLcode code, const struct transfer *t)
{
	switch (code) {
	case CURLE_OK:
		return REGISTRY_ANSWERED;
	case CURLE_COULDNT_RESOLVE_HOST:
		return REGISTRY_NO_NAME;
	case CURLE_COULDNT_CONNECT:
		return REGISTRY_NO_SERVER;
	case CURLE_SSL_CONNECT_ERROR:
		return strstr(t->error, "wrong version number") || strstr(t->error, "http request")
			       ? REGISTRY_NO_TLS
			       : REGISTRY_NO_TRUST;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return REGISTRY_NO_TRUST;
	case CURLE_OUT_OF_MEMORY:
	case CURLE_ABORTED_BY_CALLBACK:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return REGISTRY_LOCAL;
	case CURLE_OPERATION_TIMEDOUT: {
		double connected = 0;

		multi_curl.curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME, &connected);
		return connected > 0 ? REGISTRY_CUT : REGISTRY_NO_SERVER;
	}
	default:
		return REGISTRY_CUT;
	}
}

static void
fill_result(struct transfer *t, CURLcode code)
{
	struct transfer_result *r = &t->result;
	long status = 0, number = 0;
	char *location = NULL;

	multi_curl.curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	multi_curl.curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &location);
	r->status = (unsigned)status;
	r->failure = t->enough ? REGISTRY_ANSWERED : failure_of(code, t);
	if (location && !text_copy(r->location, sizeof(r->location), location))
		r->location[0] = '\0';
	if (r->failure == REGISTRY_NO_SERVER) {
		multi_curl.curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number);
		text_copy(r->detail, sizeof(r->detail),
			  number && code == CURLE_COULDNT_CONNECT ? strerror((int)number)
								  : "no answer to a connection");
	} else if (r->failure != REGISTRY_ANSWERED) {
		text_copy(r->detail, sizeof(r->detail),
			  t->error[0] ? t->error : multi_curl.curl_easy_strerror(code));
	}
	r->body = (char *)t->body.data;
	r->body_bytes = t->body.length;
}

static void
transfer_free(struct transfer *t)
{
	if (t->easy)
		multi_curl.curl_easy_cleanup(t->easy);
	if (t->fields)
		multi_curl.curl_slist_free_all(t->fields);
	if (t->resolve)
		multi_curl.curl_slist_free_all(t->resolve);
	buf_fini(&t->authorities);
	buf_fini(&t->body);
	mem_free_zero(t);
}

static void
finish(void *private, CURLcode code)
{
	struct transfer *t = private;

	fill_result(t, code);
	multi_remove(t->ts->multi, t->easy);
	t->calls->done(t->arg, &t->result);
	transfer_free(t);
}

void
transfer_cancel(struct transfer *t)
{
	if (!t)
		return;
	multi_remove(t->ts->multi, t->easy);
	transfer_free(t);
}

void
transfer_resume(struct transfer *t)
{
	multi_resume(t->ts->multi, t->easy);
}

/* ---- the beginning ---- */

static bool
add_field(struct transfer *t, const char *name, const char *value)
{
	char line[REGISTRY_SECRET_BYTES + 64];

	if (!value[0])
		return true;
	bool fits = text_format(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *list = fits ? multi_curl.curl_slist_append(t->fields, line) : NULL;

	mem_wipe(line, sizeof(line));
	if (list)
		t->fields = list;
	return list != NULL;
}

static bool
set_addresses(struct transfer *t, const struct transfer_request *q)
{
	char line[2048], ip[ADDR_TEXT_BYTES];

	if (!q->addrs->count)
		return true;

	text_format(line, sizeof(line), "%s:%u:", q->host, q->port);
	for (size_t i = 0; i < q->addrs->count; i++) {
		bool v4 = addr_is_v4(&q->addrs->items[i]);
		size_t n = strlen(line);

		addr_put_ip(&q->addrs->items[i], ip, sizeof(ip));
		if (!text_format(line + n, sizeof(line) - n, "%s%s%s%s", i ? "," : "",
				 v4 ? "" : "[", ip, v4 ? "" : "]"))
			return false;
	}
	t->resolve = multi_curl.curl_slist_append(NULL, line);
	return t->resolve != NULL;
}

#define SET(option, value)                                                               \
	do {                                                                             \
		if (multi_curl.curl_easy_setopt(t->easy, (option), (value)) != CURLE_OK) \
			return false;                                                    \
	} while (0)

static bool
set_trust(struct transfer *t, const struct transfer_request *q)
{
	struct curl_blob blob = {.flags = CURL_BLOB_NOCOPY};

	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CAINFO, NULL);
	blob.data = t->ts->authorities.data;
	blob.len = t->ts->authorities.length;
	if (q->authorities) {
		buf_put(&t->authorities, blob.data, blob.len);
		buf_putc(&t->authorities, '\n');
		buf_put(&t->authorities, q->authorities, q->authorities_bytes);
		if (!buf_ok(&t->authorities))
			return false;
		blob.data = t->authorities.data;
		blob.len = t->authorities.length;
	}
	if (blob.len)
		SET(CURLOPT_CAINFO_BLOB, &blob);
	return true;
}

static bool
set_method(struct transfer *t, const struct transfer_request *q)
{
	char range[32];

	if (q->form[0])
		SET(CURLOPT_COPYPOSTFIELDS, q->form);
	else if (q->head)
		SET(CURLOPT_NOBODY, 1L);
	if (q->from) {
		text_format(range, sizeof(range), "%llu-", (unsigned long long)q->from);
		SET(CURLOPT_RANGE, range);
	}
	return true;
}

static bool
set_all(struct transfer *t, const struct transfer_request *q)
{
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_ERRORBUFFER, t->error);
	SET(CURLOPT_URL, q->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "zlayer");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	SET(CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	SET(CURLOPT_LOW_SPEED_TIME, (long)(q->head || q->keep_body ? SLOW_QUICK_S : SLOW_S));
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, (long)TRANSFER_CHUNK_BYTES);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_HEADERFUNCTION, on_head);
	SET(CURLOPT_HEADERDATA, t);
	if (!add_field(t, "Accept", q->accept) ||
	    !add_field(t, "Authorization", q->authorization) || !set_addresses(t, q))
		return false;
	SET(CURLOPT_HTTPHEADER, t->fields);
	if (t->resolve)
		SET(CURLOPT_RESOLVE, t->resolve);
	return set_method(t, q) && set_trust(t, q);
}

struct transfer *
transfer_start(struct transfers *ts, const struct transfer_request *request,
	       const struct transfer_calls *calls, void *arg, struct err *err)
{
	struct transfer *t = mem_zalloc(MEM_RUNTIME, sizeof(*t));

	if (!t) {
		err_set(err, ERR_NO_MEMORY, "no memory for a transfer");
		return NULL;
	}
	t->ts = ts;
	t->calls = calls;
	t->arg = arg;
	t->from = request->from;
	t->most = request->most;
	t->keep_body = request->keep_body;
	buf_init(&t->body, MEM_RUNTIME, REGISTRY_BODY_BYTES + 1);
	buf_init(&t->authorities, MEM_RUNTIME, 2 * AUTHORITIES_BYTES_MAX);
	t->easy = multi_curl.curl_easy_init();
	if (!t->easy || !set_all(t, request) || multi_add(ts->multi, t->easy) < 0) {
		err_set(err, ERR_NO_MEMORY, "a transfer cannot be set up");
		transfer_free(t);
		return NULL;
	}
	return t;
}
