/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call is a row of attempts. An attempt that was sent and not answered may have been done: it
 * is made again all the same, at the next member, and the last answer says whether an earlier one
 * is in doubt (`lost`). A member that fails is not the first to be asked next time.
 *
 * Lines of a stream and all ends are told from a timer, outside of libcurl's callbacks, so that
 * whoever is told may do anything.
 */
#include "scheduler/etcd_rpc_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/json_read.h"

enum {
	TIMEOUT_MS = 2000,
	PAUSE_MS = 100,   /* after all members were asked in vain */
	LIST_BYTES = 190, /* of members, for people: with the words around it a MSG_TEXT */
	OVERDUE_MS =
		500, /* past its time libcurl is not waited for: without memory it may forget */
	BODY_BYTES_MAX = 64 << 20,
};

static void attempt(struct etcd_call *c);

/* ---- opening ---- */

int
etcd_rpc_load(struct err *err)
{
	if (multi_load(err) < 0)
		return -1;
	return json_read_open(err);
}

static int
take_endpoint(struct etcd_rpc *r, const char *url, struct err *err)
{
	struct endpoint *e = &r->endpoints[r->endpoints_count++];
	struct addr addr;

	bool tls = text_starts(url, "https://");
	const char *address = strstr(url, "://");
	if (!text_copy(e->url, sizeof(e->url), url) || !address ||
	    (!tls && !text_starts(url, "http://")) || !addr_parse(address + 3, &addr) ||
	    !addr.port) {
		err_set(err, ERR_INVALID, "this is no member of a store: %s", url);
		return err_fix(err, "write it as https://ADDRESS:PORT");
	}
	if (!tls && !addr_is_loopback(&addr)) {
		err_set(err, ERR_INVALID, "the store at %s would be spoken to in the clear", url);
		return err_fix(err, "use https, or 127.0.0.1 for a member on this machine");
	}
	return 0;
}

static int
copy_pem(char **out, const char *pem, struct err *err)
{
	if (!pem)
		return 0;
	if (strlen(pem) > ETCD_RPC_PEM_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "a certificate of the store is too long");
	*out = mem_strdup(MEM_SCHEDULER, pem);
	return *out ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the store");
}

static void
pems_free(struct etcd_rpc *r)
{
	mem_free(r->authorities);
	mem_free(r->certificate);
	mem_free_zero(r->key);
}

static void
rpc_free(struct etcd_rpc *r)
{
	pems_free(r);
	etcd_login_fini(r);
	mem_free(r);
}

static int
take_options(struct etcd_rpc *r, const struct etcd_rpc_options *o, struct err *err)
{
	int rc = 0;

	if (o->endpoints_count > ETCD_RPC_ENDPOINTS_MAX)
		rc = err_set(err, ERR_INVALID, "a store has at most %d members",
			     ETCD_RPC_ENDPOINTS_MAX);
	for (size_t i = 0; i < o->endpoints_count && rc == 0; i++)
		rc = take_endpoint(r, o->endpoints[i], err);
	if (rc == 0)
		rc = copy_pem(&r->authorities, o->authorities, err);
	if (rc == 0)
		rc = copy_pem(&r->certificate, o->certificate, err);
	if (rc == 0)
		rc = copy_pem(&r->key, o->key, err);
	if (rc == 0)
		rc = etcd_login_take(r, o, err);
	r->trust_fix = o->trust_fix ? o->trust_fix
				    : "both need certificates of the cluster's own authority";
	return rc;
}

int
etcd_rpc_renew(struct etcd_rpc *r, const struct etcd_rpc_options *o, struct err *err)
{
	struct etcd_rpc fresh = {0};

	if (take_options(&fresh, o, err) < 0) {
		pems_free(&fresh);
		etcd_login_fini(&fresh);
		return -1;
	}
	etcd_login_renew(r, &fresh);
	pems_free(r);
	memcpy(r->endpoints, fresh.endpoints, sizeof(r->endpoints));
	r->endpoints_count = fresh.endpoints_count;
	r->next = 0;
	r->authorities = fresh.authorities;
	r->certificate = fresh.certificate;
	r->key = fresh.key;
	r->trust_fix = fresh.trust_fix;
	err_clear(&r->none);
	return 0;
}

void
etcd_rpc_none(struct etcd_rpc *r, const struct err *why)
{
	r->none = *why;
}

static void finish(void *private, CURLcode code);

int
etcd_rpc_open(const struct etcd_rpc_options *o, struct etcd_rpc **out, struct err *err)
{
	struct etcd_rpc *r = mem_zalloc(MEM_SCHEDULER, sizeof(*r));

	if (!r)
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	r->loop = o->loop;
	r->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	list_init(&r->calls);
	int rc = take_options(r, o, err);
	if (rc == 0)
		rc = multi_open(o->loop, finish, &r->multi, err);
	if (rc < 0) {
		rpc_free(r);
		return -1;
	}
	*out = r;
	return 0;
}

uint32_t
etcd_rpc_timeout_ms(const struct etcd_rpc *r)
{
	return r->timeout_ms;
}

/* ---- the end of a call ---- */

static void
drop_attempt(struct etcd_call *c)
{
	if (c->easy) {
		multi_remove(c->rpc->multi, c->easy);
		multi_curl.curl_easy_cleanup(c->easy);
		c->easy = NULL;
	}
	for (struct curl_slist *field = c->fields; field; field = field->next)
		mem_wipe(field->data, strlen(field->data)); /* one is the token */
	if (c->fields)
		multi_curl.curl_slist_free_all(c->fields);
	c->fields = NULL;
}

/* secret: there is a password in it, or a token. */
static void
drop_text(struct buf *b, bool secret)
{
	if (secret && b->data)
		mem_wipe(b->data, b->capacity);
	buf_fini(b);
}

static void
call_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
etcd_rpc_cancel(struct etcd_call *c)
{
	if (!c)
		return;
	drop_attempt(c);
	list_remove(&c->link);
	drop_text(&c->body, c->bare);
	drop_text(&c->answer, c->bare);
	uv_close((uv_handle_t *)&c->timer, call_closed);
}

void
etcd_rpc_close(struct etcd_rpc *r)
{
	struct list *it, *next;

	if (!r)
		return;
	list_each (it, next, &r->calls)
		etcd_rpc_cancel(container_of(it, struct etcd_call, link));
	multi_close(r->multi);
	rpc_free(r);
}

/* Frees the call. */
static void
tell(struct etcd_call *c, const struct err *err)
{
	struct buf text = c->answer;
	struct etcd_rpc_answer answer = {
		.err = err,
		.lost = c->lost,
		.text = (const char *)text.data,
		.bytes = text.length,
	};
	etcd_rpc_done_fn done = c->done;
	struct err kept;
	void *arg = c->arg;
	bool secret = c->bare;

	if (err) {
		kept = *err;
		/* What is certain of the last attempt is not of those before. */
		if (c->lost && !c->bare &&
		    (err->kind == ERR_UNREACHABLE || err->kind == ERR_DENIED))
			kept.kind = ERR_TIMEOUT;
		answer.err = &kept;
	}
	buf_init(&c->answer, MEM_SCHEDULER, 0);
	etcd_rpc_cancel(c);
	done(arg, &answer);
	drop_text(&text, secret);
}

/* All of them: which is away is not known here, the one that was asked may only have no leader. */
static void
say_members(const struct etcd_rpc *r, struct err *err)
{
	char list[LIST_BYTES] = "";
	size_t used = 0;

	for (size_t i = 0; i < r->endpoints_count; i++) {
		if (!text_format(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
				 r->endpoints[i].url)) {
			text_format(list + used, sizeof(list) - used, " ...");
			break;
		}
		used += strlen(list + used);
	}
	err_fix(err, "bring back a majority of: %s; what runs goes on meanwhile", list);
}

/* One that is not there does not hide that another one does not fit. */
static void
say_why(const struct etcd_call *c, const struct err *last, struct err *err)
{
	const struct etcd_rpc *r = c->rpc;

	if (c->distrust[0] && !text_equal(c->distrust, last->what))
		err_why(err, "%s", c->distrust);
	err_why(err, "%s", last->what);
	for (unsigned i = 0; i < last->whys; i++)
		err_why(err, "%s", last->why[i]);
	if (c->distrust[0])
		err_fix(err, "%s", r->trust_fix);
	else
		say_members(r, err);
}

static void
give_up(struct etcd_call *c)
{
	const struct etcd_rpc *r = c->rpc;
	struct err last = c->err, err = {0};

	if (r->endpoints_count == 0) {
		err_set(&err, ERR_UNREACHABLE, "no member of the store is known yet");
		if (r->none.kind)
			err = r->none;
		tell(c, &err);
		return;
	}
	if (c->denied == c->attempts) {
		tell(c, &last);
		return;
	}
	if (c->lost) {
		err_set(&err, ERR_TIMEOUT, "no quorum: %s within %.1f s",
			r->endpoints_count == 1 ? "the store's member did not answer"
						: "no majority of the store's members answered",
			r->timeout_ms / 1000.0);
	} else {
		err_set(&err, ERR_UNREACHABLE, "no quorum: none of the store's members is there");
	}
	say_why(c, &last, &err);
	tell(c, &err);
}

static void
on_pause(uv_timer_t *timer)
{
	struct etcd_call *c = timer->data;

	if (uv_now(c->rpc->loop) >= c->deadline_ms)
		give_up(c);
	else
		attempt(c);
}

/* Another member, or the same again. */
static void
try_next(struct etcd_call *c)
{
	struct etcd_rpc *r = c->rpc;
	uint64_t now = uv_now(r->loop), pause = 0;

	if (r->endpoints_count == 0) {
		give_up(c);
		return;
	}
	/* Time does not change certificates. */
	if (c->denied == c->attempts && c->attempts >= r->endpoints_count &&
	    c->attempts >= ETCD_RPC_ATTEMPTS) {
		give_up(c);
		return;
	}
	if (r->next == c->endpoint)
		r->next = (c->endpoint + 1) % r->endpoints_count;
	c->endpoint = (c->endpoint + 1) % r->endpoints_count;
	if (c->attempts % r->endpoints_count == 0)
		pause = PAUSE_MS;
	if (now + pause > c->deadline_ms)
		pause = c->deadline_ms > now ? c->deadline_ms - now : 0;
	uv_timer_start(&c->timer, on_pause, pause, 0);
}

/* ---- what came ---- */

/* With TLS 1.3 a member closes after the handshake when it does not take the certificate, and what
 * it says about that is often lost. */
static bool
is_distrust(struct etcd_call *c, CURLcode code)
{
	long head = 0;

	multi_curl.curl_easy_getinfo(c->easy, CURLINFO_HEADER_SIZE, &head);
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return true;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return text_starts(c->url, "https://") && !head;
	default:
		return false;
	}
}

static void
failed_attempt(struct etcd_call *c, CURLcode code)
{
	const char *url = c->url;
	const char *why = c->error[0] ? c->error : multi_curl.curl_easy_strerror(code);
	long sent = 0;

	multi_curl.curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &sent);
	if (c->too_long) {
		err_set(&c->err, ERR_LIMIT, "the answer of %s is too long", url);
		return;
	}
	if (is_distrust(c, code)) {
		c->denied++;
		err_set(&c->err, ERR_DENIED, "%s and this node do not trust each other", url);
		if (code != CURLE_PEER_FAILED_VERIFICATION && !strstr(why, " alert "))
			err_why(&c->err, "it ends the connection after the handshake");
		err_why(&c->err, "%s", why);
		err_fix(&c->err, "%s", c->rpc->trust_fix);
		text_copy(c->distrust, sizeof(c->distrust), c->err.what);
		return;
	}
	c->lost |= sent > 0 && code != CURLE_COULDNT_CONNECT;
	err_set(&c->err, sent > 0 ? ERR_TIMEOUT : ERR_UNREACHABLE, "%s does not answer", url);
	err_why(&c->err, "%s", why);
}

/* True when it makes sense to ask again. */
static bool
refused_attempt(struct etcd_call *c, long status)
{
	const char *url = c->url;
	char why[256];
	enum etcd_json_refusal is =
		etcd_json_refusal((char *)c->answer.data, c->answer.length, why, sizeof(why));

	if (is == ETCD_JSON_OTHER && status >= 500)
		is = ETCD_JSON_NO_QUORUM;
	switch (is) {
	case ETCD_JSON_NO_QUORUM:
		c->lost = true;
		err_set(&c->err, ERR_TIMEOUT, "%s cannot decide alone", url);
		err_why(&c->err, "%s", why[0] ? why : "it is not well");
		return true;
	case ETCD_JSON_NO_SPACE:
		err_set(&c->err, ERR_NO_SPACE, "the store is full");
		err_fix(&c->err, "compact and defragment it (etcdctl compact, defrag, alarm "
				 "disarm), or raise its --quota-backend-bytes");
		break;
	case ETCD_JSON_COMPACTED:
		err_set(&c->err, ERR_CONFLICT, "the store has forgotten what it was then");
		break;
	case ETCD_JSON_TOO_LARGE:
		err_set(&c->err, ERR_LIMIT, "the store's members take no change of this size");
		break;
	case ETCD_JSON_NOT_FOUND:
		err_set(&c->err, ERR_NOT_FOUND, "the store does not have it");
		break;
	case ETCD_JSON_STRANGER:
		if (c->rpc->user && !c->stranger) {
			c->stranger = true;
			etcd_login_forget(c->rpc);
			return true;
		}
		/* fallthrough */
	case ETCD_JSON_DENIED:
		err_set(&c->err, ERR_DENIED, "%s does not let this node in", url);
		err_fix(&c->err, c->rpc->user ? "give it the user and password of one that may "
						"read and write the store's keys"
					      : "a user that may read and write the store's keys, "
						"or none at all");
		break;
	case ETCD_JSON_NAMED:
		err_set(&c->err, ERR_DENIED, "%s does not let this node in", url);
		err_fix(&c->err, "an etcd that has users takes a client's certificate without a "
				 "common name (CN) only");
		break;
	case ETCD_JSON_NO_USERS:
		err_set(&c->err, ERR_UNSUPPORTED, "%s knows no users", url);
		break;
	case ETCD_JSON_OTHER:
		err_set(&c->err, ERR_CORRUPT, "%s gives an answer that is none (%ld)", url, status);
		break;
	}
	err_why(&c->err, "%s", why);
	return false;
}

static void on_lines(uv_timer_t *timer);

static void
finish(void *private, CURLcode code)
{
	struct etcd_call *c = private;
	long status = 0;

	multi_curl.curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		failed_attempt(c, code);
	bool refused = code == CURLE_OK && status != 200;
	bool again = code != CURLE_OK && !c->too_long;
	if (refused)
		again = refused_attempt(c, status);
	drop_attempt(c);
	if (c->line) { /* what came before the end is told first */
		if (code == CURLE_OK && !refused)
			err_set(&c->err, ERR_UNREACHABLE, "a member of the store ended the news");
		if (c->rpc->next == c->endpoint && c->rpc->endpoints_count)
			c->rpc->next = (c->endpoint + 1) % c->rpc->endpoints_count;
		c->over = true;
		uv_timer_start(&c->timer, on_lines, 0, 0);
	} else if (again) {
		try_next(c);
	} else {
		tell(c, code == CURLE_OK && !refused ? NULL : &c->err);
	}
}

static void
on_lines(uv_timer_t *timer)
{
	struct etcd_call *c = timer->data;
	uint8_t *end = c->answer.length ? memchr(c->answer.data, '\n', c->answer.length) : NULL;

	if (end) {
		struct buf all = c->answer;
		size_t bytes = (size_t)(end - all.data);

		/* One at a turn: the call may be gone after it. */
		buf_init(&c->answer, MEM_SCHEDULER, ETCD_RPC_ANSWER_BYTES_MAX);
		buf_put(&c->answer, end + 1, all.length - bytes - 1);
		uv_timer_start(&c->timer, on_lines, 0, 0);
		c->line(c->arg, (char *)all.data, bytes);
		buf_fini(&all);
	} else if (c->over) {
		struct err err = c->err;

		tell(c, &err);
	}
}

size_t
etcd_rpc_body(char *data, size_t size, size_t count, void *arg)
{
	struct etcd_call *c = arg;

	buf_put(&c->answer, data, size * count);
	c->too_long = !buf_ok(&c->answer);
	if (c->too_long)
		return 0;
	if (c->line && memchr(data, '\n', size * count))
		uv_timer_start(&c->timer, on_lines, 0, 0);
	return size * count;
}

/* ---- an attempt ---- */

static void
overdue(uv_timer_t *timer)
{
	struct etcd_call *c = timer->data;

	failed_attempt(c, CURLE_OPERATION_TIMEDOUT);
	drop_attempt(c);
	try_next(c);
}

static void
attempt(struct etcd_call *c)
{
	if (c->rpc->endpoints_count == 0) {
		give_up(c);
		return;
	}
	if (etcd_login_first(c))
		return;
	c->endpoint %= c->rpc->endpoints_count; /* there may be fewer than before */
	c->attempts++;
	c->error[0] = '\0';
	buf_reset(&c->answer);
	c->easy = multi_curl.curl_easy_init();
	if (c->easy && etcd_attempt_set(c) && multi_add(c->rpc->multi, c->easy) == 0) {
		if (!c->line)
			uv_timer_start(&c->timer, overdue, c->attempt_ms + OVERDUE_MS, 0);
		return;
	}
	drop_attempt(c);
	err_set(&c->err, ERR_NO_MEMORY, "no memory to ask the store");
	struct err err = c->err;
	tell(c, &err);
}

static void
on_start(uv_timer_t *timer)
{
	struct etcd_call *c = timer->data;
	struct err err = c->err;

	if (c->refused)
		tell(c, &err);
	else
		attempt(c);
}

void
etcd_rpc_again(struct etcd_call *c)
{
	uv_timer_start(&c->timer, on_start, 0, 0);
}

struct etcd_call *
etcd_rpc_begin(struct etcd_rpc *r, const char *path, const struct buf *body, etcd_rpc_line_fn line,
	       etcd_rpc_done_fn done, void *arg, struct err *err)
{
	struct etcd_call *c = buf_ok(body) ? mem_zalloc(MEM_SCHEDULER, sizeof(*c)) : NULL;

	if (!c) {
		err_set(err, ERR_NO_MEMORY, "no memory to ask the store");
		return NULL;
	}
	buf_init(&c->body, MEM_SCHEDULER, BODY_BYTES_MAX);
	buf_init(&c->answer, MEM_SCHEDULER, ETCD_RPC_ANSWER_BYTES_MAX);
	buf_put(&c->body, body->data, body->length);
	if (!buf_ok(&c->body)) {
		buf_fini(&c->body);
		mem_free(c);
		err_set(err, ERR_NO_MEMORY, "no memory to ask the store");
		return NULL;
	}
	c->rpc = r;
	text_copy(c->path, sizeof(c->path), path);
	c->line = line;
	c->done = done;
	c->arg = arg;
	c->endpoint = r->next;
	uv_timer_init(r->loop, &c->timer);
	c->timer.data = c;
	uv_update_time(r->loop);
	c->deadline_ms = uv_now(r->loop) + r->timeout_ms;
	list_push(&r->calls, &c->link);
	etcd_rpc_again(c);
	return c;
}

struct etcd_call *
etcd_rpc_call(struct etcd_rpc *r, const char *path, const struct buf *body, etcd_rpc_done_fn done,
	      void *arg, struct err *err)
{
	return etcd_rpc_begin(r, path, body, NULL, done, arg, err);
}

struct etcd_call *
etcd_rpc_stream(struct etcd_rpc *r, const char *path, const struct buf *body, etcd_rpc_line_fn line,
		etcd_rpc_done_fn done, void *arg, struct err *err)
{
	assert(line);
	return etcd_rpc_begin(r, path, body, line, done, arg, err);
}
