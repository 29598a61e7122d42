/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client. Answers are read with the same strict core that the proxy uses (RFC 9112); problems
 * (RFC 9457) come back as the struct err they were made of, so that the command line prints the
 * same four words wherever the error was found.
 */
#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "wire/http1_write.h"
#include "wire/json_read.h"

static int
wait_for(const struct client *c, short events, struct err *err)
{
	struct pollfd p = {.fd = c->fd, .events = events};

	for (;;) {
		int timeout = -1;

		if (c->deadline_mono_ns) {
			uint64_t now = world_mono_ns();

			if (now >= c->deadline_mono_ns)
				return err_set(err, ERR_TIMEOUT, "%s",
					       c->status ? "the time of --timeout is over"
							 : "the node did not answer in time");
			uint64_t left = (c->deadline_mono_ns - now) / 1000000 + 1;
			timeout = left > 1000000 ? 1000000 : (int)left;
		}
		int n = poll(&p, 1, timeout);
		if (n > 0)
			return 0;
		if (n < 0 && errno == EINTR)
			return err_set(err, ERR_INTERRUPTED, "interrupted");
		if (n < 0)
			return err_sys(err, errno, "cannot wait for the node");
	}
}

/* The unit is installed, and there is a systemd to start it. */
static bool
has_unit(void)
{
	static const char *const folders[] = {"/etc/systemd/system",
					      "/usr/local/lib/systemd/system",
					      "/usr/lib/systemd/system", "/lib/systemd/system"};
	char path[64];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		text_format(path, sizeof(path), "%s/zlayer.service", folders[i]);
		if (access(path, F_OK) == 0)
			return access("/run/systemd/system", F_OK) == 0;
	}
	return false;
}

static int
unreachable(const struct cli *cli, int code, struct err *err)
{
	static const char usual[] = "/run/zlayer/default/zlayer.sock";
	static const char folder[] = "/run/zlayer/";

	if (code == EACCES || code == EPERM) {
		err_set(err, ERR_DENIED, "this user may not talk to the node");
		err_why(err, "%s is for root and its group", cli->socket);
		return err_fix(err, "use sudo, or add the user to the group of the socket");
	}
	err_set(err, ERR_UNREACHABLE, "the node is not running");
	err_why(err, "%s: %s", cli->socket, strerror(code));
	if (strcmp(cli->socket, usual) == 0)
		return err_fix(err, "start it: %s",
			       has_unit() ? "systemctl start zlayer" : "zlayer serve");
	if (strncmp(cli->socket, folder, sizeof(folder) - 1) != 0)
		return err_fix(err, "start it: zlayer serve");
	const char *instance = cli->socket + sizeof(folder) - 1;
	return err_fix(err, "start it: zlayer serve --instance %.*s", (int)strcspn(instance, "/"),
		       instance);
}

static int
dial(struct client *c, const struct cli *cli, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	text_copy(sun.sun_path, sizeof(sun.sun_path), cli->socket);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return err_sys(err, errno, "cannot make a socket");
	while (connect(c->fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (errno != EAGAIN)
			return unreachable(cli, errno, err);
		if (wait_for(c, POLLOUT, err) < 0) /* its queue of connections is full */
			return -1;
	}
	return 0;
}

static int
send_all(struct client *c, const void *data, size_t bytes, struct err *err)
{
	const char *at = data;

	while (bytes > 0) {
		ssize_t n = send(c->fd, at, bytes, MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			bytes -= (size_t)n;
		} else if (errno == EAGAIN) {
			if (wait_for(c, POLLOUT, err) < 0)
				return -1;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return 0; /* it answered early: the answer says why */
		} else if (errno != EINTR) {
			return err_sys(err, errno, "cannot send to the node");
		}
	}
	return 0;
}

static int
send_head(struct client *c, const struct client_request *r, struct err *err)
{
	char memory[8192];
	struct http1_writer w;

	http1_write_init(&w, memory, sizeof(memory));
	http1_write_request(&w, r->method, strlen(r->method), r->target, strlen(r->target));
	http1_write_header(&w, "host", "zlayer");
	http1_write_header(&w, "user-agent", "zlayer/" ZLAYER_VERSION);
	if (r->if_match)
		http1_write_header(&w, "if-match", r->if_match);
	if (r->last_event_id)
		http1_write_header(&w, "last-event-id", r->last_event_id);
	if (r->upgrade_key) {
		http1_write_header(&w, "connection", "Upgrade");
		http1_write_header(&w, "upgrade", "websocket");
		http1_write_header(&w, "sec-websocket-version", "13");
		http1_write_header(&w, "sec-websocket-key", r->upgrade_key);
	} else {
		http1_write_header(&w, "connection", "close");
	}
	if (r->content_type)
		http1_write_header(&w, "content-type", r->content_type);
	if (r->produce)
		http1_write_header(&w, "transfer-encoding", "chunked");
	else if (r->content_type)
		http1_write_header_u(&w, "content-length", r->body_bytes);
	http1_write_end(&w);
	if (!http1_write_ok(&w))
		return err_set(err, ERR_LIMIT, "this request is too long to send");
	return send_all(c, memory, http1_write_length(&w), err);
}

static bool
is_readable(const struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static int
send_stream(struct client *c, const struct client_request *r, struct err *err)
{
	char *memory = mem_alloc(MEM_CLI, CLIENT_BUFFER);
	int rc = -1;

	if (!memory)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	for (;;) {
		char head[HTTP1_CHUNK_HEAD_MAX];
		long n = r->produce(r->produce_arg, memory, CLIENT_BUFFER - 2, err);

		if (n < 0)
			goto out;
		if (n == 0 || is_readable(c))
			break;
		memcpy(memory + n, "\r\n", 2);
		if (send_all(c, head, http1_write_chunk_head((uint64_t)n, head), err) < 0 ||
		    send_all(c, memory, (size_t)n + 2, err) < 0)
			goto out;
	}
	rc = send_all(c, "0\r\n\r\n", 5, err);
out:
	mem_free(memory);
	return rc;
}

/* Reads more into data: bytes, 0 at the end, -1. */
static long
fill(struct client *c, struct err *err)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->data + c->filled, CLIENT_BUFFER - c->filled, 0);

		if (n >= 0) {
			c->filled += (size_t)n;
			return n;
		}
		if (errno == ECONNRESET)
			return 0;
		if (errno == EAGAIN) {
			if (wait_for(c, POLLIN, err) < 0)
				return -1;
		} else if (errno != EINTR) {
			return err_sys(err, errno, "cannot read from the node");
		}
	}
}

static int
read_head(struct client *c, enum http_method method, struct err *err)
{
	enum http1_result r;

	for (;;) {
		http1_head_init(&c->head, HTTP1_RESPONSE, NULL);
		while ((r = http1_head_parse(&c->head, c->data, c->filled)) == HTTP1_MORE) {
			long n = fill(c, err);

			if (n < 0)
				return -1;
			if (n == 0) {
				err_set(err, ERR_UNREACHABLE, "the node ended the connection");
				return err_fix(err, "try again; zlayer status shows its processes");
			}
		}
		if (r == HTTP1_BAD) {
			err_set(err, ERR_CORRUPT, "the node's answer is not HTTP");
			return err_why(err, "%s", http1_error_text(c->head.error));
		}
		if (c->head.status >= 200 || c->head.status == 101)
			break;
		memmove(c->data, c->data + c->head.head_bytes, c->filled - c->head.head_bytes);
		c->filled -= c->head.head_bytes;
	}
	c->status = c->head.status;
	c->at = c->head.head_bytes;
	http1_body_init(&c->body, http1_head_framing(&c->head, method), c->head.content_length,
			NULL);
	return 0;
}

bool
client_buffered(const struct client *c)
{
	return c->ended || c->at < c->filled;
}

long
client_read(struct client *c, void *out, size_t cap, struct err *err)
{
	const char *span;
	size_t used, length;

	while (!c->ended) {
		size_t there = c->filled - c->at < cap ? c->filled - c->at : cap;
		enum http1_body_result r =
			http1_body_feed(&c->body, c->data + c->at, there, &used, &span, &length);

		c->at += used;
		if (r == HTTP1_BODY_DATA) {
			memcpy(out, span, length);
			return (long)length;
		}
		if (r == HTTP1_BODY_END)
			c->ended = true;
		if (r == HTTP1_BODY_BAD)
			return err_set(err, ERR_CORRUPT, "the node's answer is damaged");
		if (r != HTTP1_BODY_MORE || c->at < c->filled)
			continue;
		c->at = c->filled = 0;
		if (c->no_wait && !is_readable(c))
			return CLIENT_LATER;
		long n = fill(c, err);
		if (n < 0)
			return -1;
		if (n > 0)
			continue;
		if (!http1_body_finish(&c->body))
			return err_set(err, ERR_UNREACHABLE, "the node's answer was cut");
		c->ended = true;
	}
	return 0;
}

int
client_read_all(struct client *c, struct buf *out, struct err *err)
{
	for (;;) {
		uint8_t *at = buf_reserve(out, 4096);

		if (!at)
			return err_set(err, ERR_LIMIT, "the node's answer is too long");
		long n = client_read(c, at, 4096, err);
		if (n <= 0)
			return (int)n;
		buf_commit(out, (size_t)n);
	}
}

static enum err_kind
kind_of(const json_t *problem, unsigned status)
{
	const char *code = json_read_text(problem, "code");

	for (unsigned k = ERR_NONE + 1; k < ERR_KINDS_; k++) {
		if (strcmp(err_kind_name((enum err_kind)k), code) == 0)
			return (enum err_kind)k;
	}
	return status == 404   ? ERR_NOT_FOUND
	       : status == 412 ? ERR_CONFLICT
	       : status < 500  ? ERR_INVALID
			       : ERR_INTERNAL;
}

void
client_problem(const char *text, size_t bytes, unsigned status, struct err *err)
{
	struct err ignored = {0};
	json_t *problem = json_read_parse(text, bytes, &ignored);
	const json_t *why = json_read_array(problem, "why");
	const json_t *where = json_read_array(problem, "where");
	const char *detail = json_read_text(problem, "detail");
	const char *title = json_read_text(problem, "title");

	err_clear(err);
	err_set(err, kind_of(problem, status), "%s",
		detail[0]  ? detail
		: title[0] ? title
			   : "the node refused");
	if (!problem)
		err_why(err, "HTTP status %u", status);
	for (size_t i = 0; i < json_read_count(where); i++) {
		const json_t *line = json_read_at(where, i);

		if (json_read_string(line)[0])
			err_where(err, "%s", json_read_string(line));
	}
	for (size_t i = 0; i < json_read_count(why); i++) {
		const json_t *line = json_read_at(why, i);

		if (json_read_string(line)[0])
			err_why(err, "%s", json_read_string(line));
	}
	if (json_read_text(problem, "fix")[0])
		err_fix(err, "%s", json_read_text(problem, "fix"));
	json_read_free(problem);
}

static int
read_problem(struct client *c, struct err *err)
{
	struct buf text;
	struct err ignored = {0};

	buf_init(&text, MEM_CLI, CLIENT_PROBLEM_MAX);
	if (client_read_all(c, &text, &ignored) < 0)
		buf_reset(&text);
	client_problem(buf_cstr(&text), text.length, c->status, err);
	buf_put(&c->diagnostics, text.data, text.length);
	buf_fini(&text);
	return -1;
}

static int
exchange(struct client *c, const struct cli *cli, const struct client_request *r, struct err *err)
{
	uint64_t begun = world_mono_ns();

	if (!c->data)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	if (dial(c, cli, err) < 0 || send_head(c, r, err) < 0)
		return -1;
	if (r->produce ? send_stream(c, r, err) < 0
		       : r->body_bytes && send_all(c, r->body, r->body_bytes, err) < 0)
		return -1;
	if (read_head(c, http_method_of(r->method, strlen(r->method)), err) < 0)
		return -1;
	if (!cli->timeout_ms)
		c->deadline_mono_ns = 0;
	if (cli->verbose)
		fprintf(stderr, "%s %s: %u in %.1f ms\n", r->method, r->target, c->status,
			(double)(world_mono_ns() - begun) / 1e6);
	size_t length;
	c->again = c->status == 503 &&
		   http1_head_value(&c->head, c->data, HEADER_RETRY_AFTER, &length) != NULL;
	if ((c->status < 200 || c->status > 299) && c->status != 101)
		return read_problem(c, err);
	return 0;
}

static int
open_once(struct client *c, const struct cli *cli, const struct client_request *request,
	  struct err *err)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	buf_init(&c->diagnostics, MEM_CLI, CLIENT_PROBLEM_MAX);
	uint64_t wait_ms = cli->timeout_ms  ? cli->timeout_ms
			   : cli->answer_ms ? cli->answer_ms
					    : CLI_ANSWER_MS;
	/* Uploads take as long as they take. */
	if (cli->timeout_ms || !request->produce)
		c->deadline_mono_ns = world_mono_ns() + wait_ms * 1000000;
	c->data = mem_alloc(MEM_CLI, CLIENT_BUFFER);
	return exchange(c, cli, request, err);
}

int
client_open(struct client *c, const struct cli *cli, const struct client_request *request,
	    struct err *err)
{
	static const struct timespec pause = {.tv_nsec = 200000000};
	uint64_t give_up = world_mono_ns() + CLIENT_RETRY_MS * UINT64_C(1000000);

	/* A process of the node is being started again, and nothing was done. A body that is a
	 * stream cannot be sent twice. */
	for (;;) {
		int rc = open_once(c, cli, request, err);

		if (rc == 0 || !c->again || request->produce || world_mono_ns() > give_up)
			return rc;
		client_close(c);
		err_clear(err);
		nanosleep(&pause, NULL);
	}
}

void
client_close(struct client *c)
{
	fd_close(&c->fd);
	mem_free(c->data);
	c->data = NULL;
	buf_fini(&c->diagnostics);
}

int
client_call(const struct cli *cli, const struct client_request *request, struct buf *out,
	    struct err *err)
{
	struct client c;
	int rc = client_open(&c, cli, request, err);

	if (rc == 0)
		rc = client_read_all(&c, out, err);
	client_close(&c);
	return rc;
}

int
client_get(const struct cli *cli, const char *target, struct buf *out, struct err *err)
{
	return client_call(cli, &(struct client_request){.method = "GET", .target = target}, out,
			   err);
}
