/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no member: options, nobody there, the end in the middle, no memory. The rest is in
 * tests/net/test_store_etcd.c. */
#include "scheduler/etcd_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static uv_loop_t loop;

static int
try_open(const char *const *urls, size_t count, uint32_t timeout_ms, struct etcd_rpc **out,
	 struct err *err)
{
	struct etcd_rpc_options options = {
		.loop = &loop,
		.endpoints = urls,
		.endpoints_count = count,
		.timeout_ms = timeout_ms,
		.authorities = "none",
	};

	return etcd_rpc_open(&options, out, err);
}

struct ended {
	bool over;
	bool lost;
	struct err err;
};

static void
ended(void *arg, const struct etcd_rpc_answer *answer)
{
	struct ended *e = arg;

	assert_false(e->over);
	assert_non_null(answer->err);
	e->over = true;
	e->lost = answer->lost;
	e->err = *answer->err;
}

static struct etcd_call *
call(struct etcd_rpc *r, struct ended *e, struct err *err)
{
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	struct etcd_call *c = etcd_rpc_call(r, "/v3/kv/range", &body, ended, e, err);
	buf_fini(&body);
	return c;
}

static void
test_options(void **state)
{
	static const char *const wrong[] = {"",
					    "https://",
					    "http://10.0.0.1:1",
					    "https://a:1",
					    "https://[::1]",
					    "https://127.0.0.1:0"};
	static const char *const right[] = {"http://127.0.0.1:1", "http://[::1]:1",
					    "https://10.0.0.1:2379"};
	const char *many[ETCD_RPC_ENDPOINTS_MAX + 1];
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(try_open(&wrong[i], 1, 300, &r, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	for (size_t i = 0; i <= ETCD_RPC_ENDPOINTS_MAX; i++)
		many[i] = right[0];
	assert_int_equal(try_open(many, ETCD_RPC_ENDPOINTS_MAX + 1, 300, &r, &err), -1);
	assert_int_equal(try_open(right, 3, 300, &r, &err), 0);
	etcd_rpc_close(r);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* Nothing listens at port 1: it is certain that nothing was done. */
static void
test_nobody_there(void **state)
{
	static const char *const urls[] = {"http://127.0.0.1:1", "http://[::1]:1"};
	struct ended end = {0};
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	assert_int_equal(try_open(urls, 2, 300, &r, &err), 0);
	assert_non_null(call(r, &end, &err));
	while (!end.over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(end.err.kind, ERR_UNREACHABLE);
	assert_false(end.lost);
	assert_true(text_starts(end.err.what, "no quorum: "));
	assert_true(end.err.whys > 0);
	assert_string_equal(end.err.fix, "bring back a majority of: http://127.0.0.1:1, "
					 "http://[::1]:1; what runs goes on meanwhile");
	etcd_rpc_close(r);
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void
test_end_in_the_middle(void **state)
{
	static const char *const url = "http://127.0.0.1:1";
	struct ended end = {0};
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	for (int turns = 0; turns < 6; turns++) {
		assert_int_equal(try_open(&url, 1, 300, &r, &err), 0);
		assert_non_null(call(r, &end, &err));
		etcd_rpc_cancel(call(r, &end, &err));
		for (int i = 0; i < turns; i++)
			uv_run(&loop, UV_RUN_ONCE);
		etcd_rpc_close(r);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	assert_false(end.over);
}

static void
test_out_of_memory(void **state)
{
	static const char *const url = "http://127.0.0.1:1";
	bool fine = false;

	(void)state;
	sweep_each(sweep)
	{
		struct ended end = {0};
		struct etcd_rpc *r = NULL;
		struct err err = {0};

		fine = try_open(&url, 1, 1, &r, &err) == 0;
		if (fine && call(r, &end, &err)) {
			while (!end.over)
				uv_run(&loop, UV_RUN_ONCE);
			assert_true(end.err.kind == ERR_UNREACHABLE ||
				    end.err.kind == ERR_NO_MEMORY);
		}
		etcd_rpc_close(fine ? r : NULL);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	assert_true(fine);
}

/* ---- a stream that breaks ---- */

struct stream {
	unsigned lines, ends;
	struct ended end;
};

static void
stream_line(void *arg, const char *text, size_t bytes)
{
	struct stream *s = arg;

	assert_true(bytes > 0 && text[0] == '{');
	s->lines++;
}

static void
stream_ended(void *arg, const struct etcd_rpc_answer *answer)
{
	struct stream *s = arg;

	ended(&s->end, answer);
	s->ends++;
}

static void
no_matter(uv_timer_t *timer)
{
	(void)timer;
}

/* Turns the loop, with pauses, until *what is so many. */
static void
turn_until(const unsigned *what, unsigned many)
{
	uv_timer_t tick;

	uv_timer_init(&loop, &tick);
	uv_timer_start(&tick, no_matter, 5, 5);
	for (int i = 0; i < 4000 && *what < many; i++)
		uv_run(&loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_true(*what >= many);
}

static int
listen_here(char url[64])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, bytes), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	snprintf(url, 64, "http://127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void
put_line(int fd, const char *before)
{
	char text[256];
	int bytes = snprintf(text, sizeof(text), "%s6\r\n{\"a\"}\n\r\n", before);

	assert_int_equal(write(fd, text, (size_t)bytes), bytes);
}

/* The last line and the reset behind it come in one turn: the line is told, and the end. */
static void
test_a_stream_is_reset(void **state)
{
	const struct linger now = {.l_onoff = 1};
	struct stream stream = {0};
	struct err err = {0};
	struct etcd_rpc *r;
	char url[64], request[4096];
	const char *urls = url;
	struct buf body;
	int peer = -1;

	(void)state;
	int fd = listen_here(url);
	assert_int_equal(try_open(&urls, 1, 1000, &r, &err), 0);
	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	assert_non_null(
		etcd_rpc_stream(r, "/v3/watch", &body, stream_line, stream_ended, &stream, &err));
	buf_fini(&body);
	while ((peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	while (read(peer, request, sizeof(request)) <= 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	put_line(peer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		       "Transfer-Encoding: chunked\r\n\r\n");
	turn_until(&stream.lines, 1);
	put_line(peer, "");
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(peer);
	turn_until(&stream.lines, 2);
	turn_until(&stream.ends, 1);
	close(fd);
	etcd_rpc_close(r);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- users ---- */

/* An etcd of one user: gives token after token, and takes the last one only. */
struct fake {
	uv_tcp_t listener;
	unsigned logins, calls, tokens, keeps;
	unsigned lose; /* so many calls are heard and not answered, nor is the token known then */
	bool cut;      /* after the first two leases */
	const char *password;
	bool no_users;
	char url[64];
};
static struct fake fake;

struct visitor {
	uv_tcp_t tcp;
	uv_write_t write;
	char in[4096], out[8192];
	size_t used;
};

static void
visitor_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void
visitor_written(uv_write_t *write, int status)
{
	(void)status;
	uv_close((uv_handle_t *)write->data, visitor_closed);
}

static void
say_of(struct visitor *v, int status, const char *body, size_t bytes)
{
	snprintf(v->out, sizeof(v->out),
		 "HTTP/1.1 %d x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", status,
		 bytes, body);
	uv_buf_t out = uv_buf_init(v->out, (unsigned)strlen(v->out));
	v->write.data = &v->tcp;
	uv_write(&v->write, (uv_stream_t *)&v->tcp, &out, 1, visitor_written);
}

static void
say(struct visitor *v, int status, const char *body)
{
	say_of(v, status, body, strlen(body));
}

static void
answer_login(struct visitor *v)
{
	char body[128];

	fake.logins++;
	if (fake.no_users) {
		say(v, 400, "{\"message\":\"authentication is not enabled\",\"code\":9}");
	} else if (!strstr(v->in, fake.password) || !strstr(v->in, "\"edge\"")) {
		say(v, 400, "{\"message\":\"authentication failed, wrong password\",\"code\":3}");
	} else {
		snprintf(body, sizeof(body), "{\"token\":\"token-%u\"}", ++fake.tokens);
		say(v, 200, body);
	}
}

/* A line for each lease; 13 is lost, about 14 nothing is said. */
static void
answer_keeps(struct visitor *v)
{
	char body[6144] = "";
	unsigned said = 0;

	fake.calls++;
	for (const char *at = strstr(v->in, "{\"ID\":\""); at; at = strstr(at + 1, "{\"ID\":\"")) {
		unsigned long id = strtoul(at + 7, NULL, 10);
		size_t used = strlen(body);

		fake.keeps++;
		if (fake.cut && ++said > 2)
			continue;
		if (id != 14)
			snprintf(
				body + used, sizeof(body) - used,
				"{\"result\":{\"header\":{\"cluster_id\":\"1\",\"revision\":\"1\"},"
				"\"ID\":\"%lu\"%s}}\n",
				id, id == 13 ? "" : ",\"TTL\":\"10\"");
	}
	if (fake.cut) /* more is promised than comes */
		strcat(body, "{\"result\":{\"ID\":\"");
	say_of(v, 200, body, strlen(body) + fake.cut);
}

static void
answer_visitor(struct visitor *v)
{
	char want[64];

	if (text_starts(v->in, "POST /v3/auth/authenticate ")) {
		answer_login(v);
		return;
	}
	if (text_starts(v->in, "POST /v3/kv/txn ")) { /* three gets of nothing */
		say(v, 200,
		    "{\"header\":{\"cluster_id\":\"1\",\"revision\":\"1\"},\"succeeded\":true,"
		    "\"responses\":["
		    "{\"response_range\":{}},{\"response_range\":{}},{\"response_range\":{}}]}");
		return;
	}
	if (text_starts(v->in, "POST /v3/lease/keepalive ")) {
		answer_keeps(v);
		return;
	}
	fake.calls++;
	if (fake.lose) {
		fake.lose--;
		fake.tokens++;
		uv_close((uv_handle_t *)&v->tcp, visitor_closed);
		return;
	}
	snprintf(want, sizeof(want), "Authorization: token-%u\r\n", fake.tokens);
	if (fake.no_users ? !strstr(v->in, "Authorization") : strstr(v->in, want) != NULL)
		say(v, 200, "{}");
	else
		say(v, 401, "{\"message\":\"invalid auth token\",\"code\":16}");
}

static void
visitor_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
	struct visitor *v = handle->data;

	(void)wanted;
	*out = uv_buf_init(v->in + v->used, (unsigned)(sizeof(v->in) - 1 - v->used));
}

static void
visitor_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct visitor *v = stream->data;

	(void)bytes;
	if (n < 0) {
		if (!uv_is_closing((uv_handle_t *)stream))
			uv_close((uv_handle_t *)stream, visitor_closed);
		return;
	}
	v->used += (size_t)n;
	v->in[v->used] = '\0';
	const char *length = strstr(v->in, "Content-Length: "), *body = strstr(v->in, "\r\n\r\n");
	if (!length || !body || strlen(body + 4) < strtoul(length + 16, NULL, 10))
		return;
	uv_read_stop(stream);
	answer_visitor(v);
}

static void
visitor_came(uv_stream_t *listener, int status)
{
	struct visitor *v = calloc(1, sizeof(*v));

	assert_int_equal(status, 0);
	assert_non_null(v);
	uv_tcp_init(&loop, &v->tcp);
	v->tcp.data = v;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&v->tcp), 0);
	uv_read_start((uv_stream_t *)&v->tcp, visitor_room, visitor_read);
}

static void
fake_open(void)
{
	struct sockaddr_in at;
	int bytes = sizeof(at);

	memset(&fake, 0, sizeof(fake));
	fake.password = "\"open\"";
	uv_tcp_init(&loop, &fake.listener);
	uv_ip4_addr("127.0.0.1", 0, &at);
	assert_int_equal(uv_tcp_bind(&fake.listener, (struct sockaddr *)&at, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&fake.listener, 16, visitor_came), 0);
	uv_tcp_getsockname(&fake.listener, (struct sockaddr *)&at, &bytes);
	snprintf(fake.url, sizeof(fake.url), "http://127.0.0.1:%u", ntohs(at.sin_port));
}

static void
fake_close(void)
{
	uv_close((uv_handle_t *)&fake.listener, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* Of the user that the fake knows. */
static struct etcd_rpc_options
edge(const char *const *url)
{
	return (struct etcd_rpc_options){
		.loop = &loop,
		.endpoints = url,
		.endpoints_count = 1,
		.user = "edge",
		.password = "open",
		.timeout_ms = 20000,
	};
}

struct told {
	unsigned over, good, lost;
	struct err err;
};

static void
told(void *arg, const struct etcd_rpc_answer *answer)
{
	struct told *t = arg;

	t->over++;
	t->good += !answer->err;
	t->lost += answer->lost;
	if (answer->err)
		t->err = *answer->err;
}

/* So many calls at once, to their ends. */
static struct told
calls(struct etcd_rpc *r, unsigned count)
{
	struct told t = {0};
	struct err err = {0};
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	for (unsigned i = 0; i < count; i++)
		assert_non_null(etcd_rpc_call(r, "/v3/kv/range", &body, told, &t, &err));
	buf_fini(&body);
	while (t.over < count)
		uv_run(&loop, UV_RUN_ONCE);
	return t;
}

static void
test_users(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = {
		.loop = &loop,
		.endpoints = &url,
		.endpoints_count = 1,
		.user = "edge",
		.password = "open",
		.timeout_ms = 20000,
	};
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	/* All that begin together wait for one token. */
	assert_int_equal(calls(r, 3).good, 3);
	assert_int_equal(fake.logins, 1);
	assert_int_equal(fake.calls, 3);
	assert_int_equal(calls(r, 1).good, 1);
	assert_int_equal(fake.logins, 1);
	/* It is forgotten there: another one is had, and nobody sees it. */
	fake.tokens++;
	assert_int_equal(calls(r, 1).good, 1);
	assert_int_equal(fake.logins, 2);
	/* A wrong password. */
	fake.password = "\"other\"";
	fake.tokens++;
	struct told t = calls(r, 2);
	assert_int_equal(t.good, 0);
	assert_int_equal(t.err.kind, ERR_DENIED);
	assert_non_null(strstr(t.err.why[0], "authentication failed"));
	options.password = "other";
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	assert_int_equal(calls(r, 1).good, 1);
	/* One that knows no users takes everybody. */
	fake.no_users = true;
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	assert_int_equal(calls(r, 2).good, 2);
	/* Nowhere, and why. */
	options.endpoints_count = 0;
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	err_set(&err, ERR_UNREACHABLE, "nobody says where it is");
	etcd_rpc_none(r, &err);
	t = calls(r, 1);
	assert_string_equal(t.err.what, "nobody says where it is");
	etcd_rpc_close(r);
	uv_close((uv_handle_t *)&fake.listener, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* What may have been done is in doubt, also when nobody lets this node in afterwards. */
static void
test_doubt_outlives_a_refused_login(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	assert_int_equal(calls(r, 1).good, 1);
	fake.lose = 1;
	fake.password = "\"other\"";
	struct told t = calls(r, 1);
	assert_int_equal(fake.logins, 2);
	assert_int_equal(t.lost, 1);
	assert_int_equal(t.err.kind, ERR_TIMEOUT);
	assert_non_null(strstr(t.err.what, "does not let this node in"));
	/* One that was never sent is certainly not done. */
	t = calls(r, 1);
	assert_int_equal(t.lost, 0);
	assert_int_equal(t.err.kind, ERR_DENIED);
	etcd_rpc_close(r);
	fake_close();
}

/* Or when it is not known any more where etcd is. */
static void
test_doubt_outlives_the_members(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct told t = {0};
	struct err err = {0};
	struct buf body;

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	fake.lose = 1;
	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	assert_non_null(etcd_rpc_call(r, "/v3/kv/range", &body, told, &t, &err));
	buf_fini(&body);
	while (!fake.calls)
		uv_run(&loop, UV_RUN_ONCE);
	options.endpoints_count = 0;
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	while (!t.over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(t.lost, 1);
	assert_int_equal(t.err.kind, ERR_TIMEOUT);
	etcd_rpc_close(r);
	fake_close();
}

/* A new password that etcd does not know yet takes nothing away. */
static void
test_token_outlives_its_password(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	assert_int_equal(calls(r, 1).good, 1);
	options.password = "other";
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	assert_int_equal(calls(r, 1).good, 1);
	assert_int_equal(fake.logins, 1);
	/* Another user's it is not, nor another etcd's. */
	options.user = "verge";
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	assert_int_equal(calls(r, 1).err.kind, ERR_DENIED);
	assert_int_equal(fake.logins, 2);
	etcd_rpc_close(r);
	fake_close();
}

/* Each login is dear to etcd. */
static void
test_refused_password_is_not_shown_again(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	fake_open();
	fake.password = "\"other\"";
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	assert_int_equal(calls(r, 1).err.kind, ERR_DENIED);
	/* On a slow machine it may be time for another one. */
	for (unsigned i = 0; i < 50; i++) {
		struct told t = calls(r, 1);

		assert_int_equal(t.err.kind, ERR_DENIED);
		assert_non_null(strstr(t.err.why[0], "authentication failed"));
	}
	assert_true(fake.logins < 25);
	/* What is corrected counts at once. */
	unsigned logins = fake.logins;
	options.password = "other";
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	assert_int_equal(calls(r, 1).good, 1);
	assert_int_equal(fake.logins, logins + 1);
	etcd_rpc_close(r);
	fake_close();
}

/* One that is asked for with what was is not waited for. */
static void
test_renewed_while_it_logs_in(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct told t = {0};
	struct err err = {0};
	struct buf body;

	(void)state;
	fake_open();
	fake.password = "\"other\"";
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	assert_non_null(etcd_rpc_call(r, "/v3/kv/range", &body, told, &t, &err));
	buf_fini(&body);
	while (!fake.logins)
		uv_run(&loop, UV_RUN_ONCE);
	options.password = "other";
	assert_int_equal(etcd_rpc_renew(r, &options, &err), 0);
	while (!t.over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(t.good, 1);
	etcd_rpc_close(r);
	fake_close();
}

/* ---- leases ---- */

struct keep {
	struct etcd_keep keep;
	bool over;
	int64_t ttl_s;
	enum err_kind error;
};

static void
keep_told(struct etcd_keep *k, int64_t ttl_s, const struct err *err)
{
	struct keep *keep = container_of(k, struct keep, keep);

	assert_false(keep->over);
	keep->over = true;
	keep->ttl_s = ttl_s;
	keep->error = err ? err->kind : ERR_NONE;
}

static bool
all_over(const struct keep *keeps, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!keeps[i].over)
			return false;
	return true;
}

/* Those that are asked for together go with one request, and each is told its own answer. */
static void
test_many_leases_one_request(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = {
		.loop = &loop, .endpoints = &url, .endpoints_count = 1, .timeout_ms = 20000};
	struct keep keeps[6] = {0};
	struct etcd_engine e = {.loop = &loop};
	struct err err = {0};

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &e.rpc, &err), 0);
	etcd_keep_init(&e);
	for (size_t i = 0; i < 6; i++) {
		keeps[i].keep = (struct etcd_keep){.lease = (int64_t)i + 10, .done = keep_told};
		etcd_keep_ask(&e, &keeps[i].keep);
	}
	while (!all_over(keeps, 6))
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(fake.calls, 1);
	assert_int_equal(fake.keeps, 6);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(keeps[i].ttl_s, i == 3 || i == 4 ? 0 : 10);
		assert_int_equal(keeps[i].error, i == 4 ? ERR_UNREACHABLE : ERR_NONE);
	}
	/* Nobody there: each hears of it. The end in the middle: nobody does. */
	uv_close((uv_handle_t *)&fake.listener, NULL);
	keeps[0].over = keeps[1].over = false;
	options.endpoints_count = 0;
	assert_int_equal(etcd_rpc_renew(e.rpc, &options, &err), 0);
	etcd_keep_ask(&e, &keeps[0].keep);
	while (!keeps[0].over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(keeps[0].error, ERR_UNREACHABLE);
	etcd_keep_ask(&e, &keeps[1].keep);
	etcd_keep_stop(&e);
	uv_close((uv_handle_t *)&e.keep_timer, NULL);
	etcd_rpc_close(e.rpc);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_false(keeps[1].over);
}

static void
ask_keeps(struct etcd_engine *e, struct keep *keeps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		keeps[i] = (struct keep){.keep = {.lease = (int64_t)i + 100, .done = keep_told}};
		etcd_keep_ask(e, &keeps[i].keep);
	}
}

/* An answer that ends too early is one of those whose lines came; and not too many go at once. */
static void
test_part_of_an_answer(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct keep keeps[40];
	struct etcd_engine e = {.loop = &loop};
	struct err err = {0};

	(void)state;
	options.user = NULL;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &e.rpc, &err), 0);
	etcd_keep_init(&e);
	ask_keeps(&e, keeps, 40);
	while (!all_over(keeps, 40))
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(fake.calls, 2);
	assert_int_equal(fake.keeps, 40);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(keeps[i].ttl_s, 10);

	fake.calls = 0;
	fake.cut = true;
	ask_keeps(&e, keeps, 5);
	while (!fake.calls)
		uv_run(&loop, UV_RUN_ONCE);
	options.endpoints_count = 0; /* the call is not made again */
	assert_int_equal(etcd_rpc_renew(e.rpc, &options, &err), 0);
	while (!all_over(keeps, 5))
		uv_run(&loop, UV_RUN_ONCE);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(keeps[i].ttl_s, i < 2 ? 10 : 0);
		assert_int_equal(keeps[i].error, i < 2 ? ERR_NONE : ERR_TIMEOUT);
	}
	etcd_keep_stop(&e);
	uv_close((uv_handle_t *)&e.keep_timer, NULL);
	etcd_rpc_close(e.rpc);
	fake_close();
}

/* ---- an empty etcd ---- */

/* Where another etcd or prefix is named by mistake, the copy is not what is wrong. */
static void
test_nothing_there_is_no_reason_to_move_the_copy(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_engine e = {.loop = &loop, .existing = true, .prefix = "/other/"};
	struct err err = {0};

	(void)state;
	options.user = NULL;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &e.rpc, &err), 0);
	text_copy(e.base.copy.id, sizeof(e.base.copy.id), "0123456789abcdef0123456789abcdef");
	etcd_sync_init(&e);
	while (!e.why.kind)
		uv_run(&loop, UV_RUN_ONCE);
	assert_string_equal(e.why.what, "etcd has no store of this cluster");
	assert_null(strstr(e.why.fix, "move"));
	etcd_sync_stop(&e);
	uv_close((uv_handle_t *)&e.sync.timer, NULL);
	etcd_rpc_close(e.rpc);
	fake_close();
}

/* ---- secrets ---- */

void __real_mem_wipe(void *p, size_t bytes);
void __wrap_mem_wipe(void *p, size_t bytes);

static unsigned wiped_passwords, wiped_answers, wiped_fields;

void
__wrap_mem_wipe(void *p, size_t bytes)
{
	wiped_passwords += memmem(p, bytes, "\"open\"", 6) != NULL;
	wiped_answers += memmem(p, bytes, "\"token-1\"", 9) != NULL;
	wiped_fields += memmem(p, bytes, "Authorization: token-1", 22) != NULL;
	__real_mem_wipe(p, bytes);
}

/* Who asks, and the call; what came; what is shown, and libcurl's list of it. At least: what lies
 * behind the text in a block may be of before. */
static void
test_secrets_are_wiped(void **state)
{
	const char *url = fake.url;
	struct etcd_rpc_options options = edge(&url);
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	fake_open();
	assert_int_equal(etcd_rpc_open(&options, &r, &err), 0);
	wiped_passwords = wiped_answers = wiped_fields = 0;
	assert_int_equal(calls(r, 1).good, 1);
	assert_true(wiped_passwords >= 2);
	assert_true(wiped_answers >= 1);
	assert_true(wiped_fields >= 2);
	etcd_rpc_close(r);
	fake_close();
}

int
main(void)
{
	struct err err = {0};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_end_in_the_middle),
		cmocka_unit_test(test_a_stream_is_reset),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_doubt_outlives_a_refused_login),
		cmocka_unit_test(test_doubt_outlives_the_members),
		cmocka_unit_test(test_token_outlives_its_password),
		cmocka_unit_test(test_refused_password_is_not_shown_again),
		cmocka_unit_test(test_renewed_while_it_logs_in),
		cmocka_unit_test(test_many_leases_one_request),
		cmocka_unit_test(test_part_of_an_answer),
		cmocka_unit_test(test_nothing_there_is_no_reason_to_move_the_copy),
		cmocka_unit_test(test_secrets_are_wiped),
		cmocka_unit_test(test_out_of_memory),
	};

	if (etcd_rpc_load(&err) < 0) {
		printf("1..0 # SKIP no libcurl or libjansson here: %s\n", err.what);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	uv_loop_init(&loop);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return uv_loop_close(&loop) < 0 ? 1 : failed;
}
