/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `exec`: a WebSocket to the node whose binary messages are the frames of ring/msg.h. Standard
 * input goes as long as it is asked for; with a terminal it is raw, its size and its changes are
 * told, and signals travel as the keys they are; without one, INT, TERM, HUP and QUIT are passed
 * on. The exit status is the command's own; 125 when the node could not start it or was lost.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/target.h"
#include "ring/msg.h"
#include "spec/json.h"
#include "wire/json_read.h"
#include "wire/url.h"
#include "wire/ws.h"

enum { EXIT_OWN = 125, INPUT_BYTES = 16384, OUT_MAX = 1 << 20 };

struct session {
	const struct cli *cli;
	struct client client;
	struct ws ws;
	struct world world;
	struct buf out;   /* to the node */
	struct buf frame; /* one frame of the node, as its message comes */
	bool tty, input;
	bool raw;
	struct termios before;
	int signals;
	int status;     /* -1: runs */
	char lost[512]; /* why the way to another node's replica was lost; "": it was not */
};

/* ---- to the node ---- */

static void
put_message(struct session *s, enum ws_opcode opcode, const void *data, size_t bytes)
{
	uint8_t head[WS_HEAD_MAX], mask[4];
	size_t at;

	world_random(&s->world, mask, sizeof(mask));
	buf_put(&s->out, head, ws_put_head(head, opcode, true, bytes, mask));
	at = s->out.length;
	buf_put(&s->out, data, bytes);
	if (buf_ok(&s->out))
		ws_mask(s->out.data + at, bytes, mask, 0);
}

static void
put_frame(struct session *s, enum msg_frame type, const void *data, size_t bytes)
{
	struct buf b;

	buf_init(&b, MEM_CLI, MSG_FRAME_MAX + MSG_FRAME_HEAD);
	buf_u8(&b, (uint8_t)type);
	buf_u8(&b, 0);
	buf_u16(&b, 0);
	buf_u32(&b, (uint32_t)bytes);
	buf_put(&b, data, bytes);
	put_message(s, WS_OP_BINARY, b.data, b.length);
	buf_fini(&b);
}

/* A terminal that was never told its size says 0 by 0, of which programs make nothing good. */
static bool
read_size(struct winsize *size)
{
	struct winsize now;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &now) < 0 || now.ws_row == 0 || now.ws_col == 0)
		return false;
	*size = now;
	return true;
}

static void
put_size(struct session *s)
{
	struct winsize size;
	struct buf b;

	if (!s->tty || !read_size(&size))
		return;
	buf_init(&b, MEM_CLI, 16);
	buf_u16(&b, size.ws_row);
	buf_u16(&b, size.ws_col);
	put_frame(s, MSG_FRAME_RESIZE, b.data, b.length);
	buf_fini(&b);
}

static void
take_input(struct session *s)
{
	char data[INPUT_BYTES];
	ssize_t n = read(STDIN_FILENO, data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	put_frame(s, MSG_FRAME_STDIN, data, n > 0 ? (size_t)n : 0);
	if (n <= 0)
		s->input = false;
}

static void
take_signal(struct session *s)
{
	struct signalfd_siginfo info;
	struct buf b;

	if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		put_size(s);
		return;
	}
	buf_init(&b, MEM_CLI, 16);
	buf_u32(&b, info.ssi_signo);
	put_frame(s, MSG_FRAME_SIGNAL, b.data, b.length);
	buf_fini(&b);
}

static int
flush_out(struct session *s, struct err *err)
{
	while (s->out.length > 0) {
		ssize_t n = send(s->client.fd, s->out.data, s->out.length, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			/* It takes no more; how the command ended may be there to be read. */
			buf_reset(&s->out);
			s->input = false;
			return 0;
		}
		buf_consume(&s->out, (size_t)n);
	}
	return buf_ok(&s->out) ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

/* ---- from the node ---- */

static void
write_out(int fd, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, data, bytes);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			poll(&p, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return; /* nobody reads any more: the command still runs to its end */
		} else if (n > 0) {
			data += n;
			bytes -= (size_t)n;
		}
	}
}

/* What it was, then a line for each "why" and "fix", which say so themselves. */
static void
show_error(const struct session *s, const char *data, size_t bytes)
{
	const char *label = "zlayer: ";

	while (bytes > 0) {
		const char *end = memchr(data, '\n', bytes);
		size_t length = end ? (size_t)(end - data) : bytes;
		char text[1024];

		text_printable(data, length, text, sizeof(text));
		fprintf(stderr, "%s%s%s", label, text, s->raw ? "\r\n" : "\n");
		label = "  ";
		length += end != NULL;
		data += length;
		bytes -= length;
	}
}

static void
take_frame(struct session *s)
{
	struct cursor c;

	cursor_init(&c, s->frame.data, s->frame.length);
	uint8_t type = cursor_u8(&c);
	cursor_u8(&c);
	cursor_u16(&c);
	uint32_t bytes = cursor_u32(&c);
	const uint8_t *data = cursor_take(&c, bytes);
	if (!data && bytes > 0)
		return;
	switch (type) {
	case MSG_FRAME_STDOUT:
		write_out(STDOUT_FILENO, data, bytes);
		break;
	case MSG_FRAME_STDERR:
		write_out(STDERR_FILENO, data, bytes);
		break;
	case MSG_FRAME_ERROR:
		show_error(s, (const char *)data, bytes);
		break;
	case MSG_FRAME_EXIT:
		if (bytes == 4)
			s->status = data[0];
		break;
	case MSG_FRAME_LOST:
		text_printable((const char *)data, bytes, s->lost, sizeof(s->lost));
		break;
	default:
		break;
	}
}

static int
take_piece(struct session *s, enum ws_event event, const struct ws_piece *piece, struct err *err)
{
	uint8_t body[WS_CONTROL_MAX];

	switch (event) {
	case WS_DATA:
		buf_put(&s->frame, piece->data, piece->length);
		if (!buf_ok(&s->frame))
			return err_set(err, ERR_CORRUPT, "the node sent a frame that is too long");
		if (piece->last) {
			take_frame(s);
			buf_reset(&s->frame);
		}
		return 0;
	case WS_PING:
		put_message(s, WS_OP_PONG, piece->data, piece->length);
		return 0;
	case WS_CLOSED:
		put_message(s, WS_OP_CLOSE, body, ws_put_close(body, piece->code, NULL));
		if (s->status < 0) {
			err_set(err, ERR_UNREACHABLE, "the node ended the session");
			return s->lost[0] ? err_why(err, "%s", s->lost) : -1;
		}
		return 0;
	case WS_BAD:
		return err_set(err, ERR_CORRUPT, "the node's answer is damaged");
	default:
		return 0;
	}
}

static int
take_bytes(struct session *s, uint8_t *data, size_t bytes, struct err *err)
{
	struct ws_piece piece;
	size_t used;

	while (bytes > 0 && s->status < 0) {
		enum ws_event event = ws_feed(&s->ws, data, bytes, &used, &piece);

		data += used;
		bytes -= used;
		if (take_piece(s, event, &piece, err) < 0)
			return -1;
	}
	return 0;
}

static int
take_socket(struct session *s, struct err *err)
{
	uint8_t data[32 << 10];
	ssize_t n = recv(s->client.fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(err, errno, "the node ended the connection");
	if (n == 0)
		return err_set(err, ERR_UNREACHABLE, "the node ended the connection");
	return take_bytes(s, data, (size_t)n, err);
}

static int
run(struct session *s, struct err *err)
{
	int rc = take_bytes(s, (uint8_t *)s->client.data + s->client.at,
			    s->client.filled - s->client.at, err);

	while (rc == 0 && s->status < 0) {
		bool full = s->out.length > OUT_MAX / 2;
		struct pollfd p[3] = {
			{.fd = s->client.fd,
			 .events = (short)(POLLIN | (s->out.length ? POLLOUT : 0))},
			{.fd = s->input && !full ? STDIN_FILENO : -1, .events = POLLIN},
			{.fd = s->signals, .events = POLLIN},
		};

		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return err_sys(err, errno, "cannot wait for the node");
		if (p[1].revents)
			take_input(s);
		if (p[2].revents)
			take_signal(s);
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
			rc = take_socket(s, err);
		if (rc == 0)
			rc = flush_out(s, err);
	}
	return rc;
}

/* ---- begin and end ---- */

/* Of what another node has its container is not told here, but that it is ready is. */
static bool
runs(const json_t *r)
{
	static const char *const states[] = {"ready", "starting", "unhealthy", "draining"};
	const char *state = json_read_text(r, "state");

	if (json_read_bool(r, "here"))
		return strcmp(json_read_text(json_read_get(r, "container"), "state"), "running") ==
		       0;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (strcmp(state, states[i]) == 0)
			return true;
	}
	return false;
}

static int
find_replica(const struct cli *cli, uint64_t *id_out, struct err *err)
{
	char text[TARGET_TEXT_BYTES], path[256];
	struct target t;
	struct buf answer;
	int rc = -1;

	if (target_resolve(cli, cli->args.operands[0], &t, err) < 0)
		return -1;
	target_text(&t, text);
	text_format(path, sizeof(path), "/v1/replicas?target=%s", text);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	if (client_get(cli, path, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	const json_t *items = json_read_array(root, "items");
	/* One of this node is nearer. */
	for (int far = 0; root && rc < 0 && far < 2; far++) {
		for (size_t i = 0; rc < 0 && i < json_read_count(items); i++) {
			const json_t *r = json_read_at(items, i);

			if (json_read_bool(r, "here") == far || !runs(r))
				continue;
			*id_out = (uint64_t)json_read_int(r, "id");
			rc = 0;
		}
	}
	if (root && rc < 0) {
		err_set(err, ERR_NOT_FOUND, "no replica of %s is running", text);
		err_fix(err, "zlayer ps -a %s shows them all", text);
	}
	json_read_free(root);
	buf_fini(&answer);
	return rc;
}

static int
put_query(struct buf *b, const char *name, const char *value, struct err *err)
{
	char *encoded = mem_alloc(MEM_CLI, strlen(value) * 3 + 1);

	if (!encoded)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	url_encode(value, strlen(value), encoded, strlen(value) * 3 + 1);
	buf_printf(b, "&%s=%s", name, encoded);
	mem_free(encoded);
	return buf_ok(b) ? 0 : err_set(err, ERR_USAGE, "the command is too long");
}

static int
put_path(const struct session *s, uint64_t id, struct buf *b, struct err *err)
{
	const struct args *a = &s->cli->args;
	struct winsize size = {.ws_row = 24, .ws_col = 80};

	if (s->tty)
		read_size(&size);
	buf_printf(b, "/v1/replicas/%llu/exec?tty=%s&rows=%u&columns=%u", (unsigned long long)id,
		   s->tty ? "true" : "false", size.ws_row, size.ws_col);
	if (a->given[FLAG_USER] && put_query(b, "user", a->value[FLAG_USER], err) < 0)
		return -1;
	if (a->given[FLAG_WORKDIR] && put_query(b, "workdir", a->value[FLAG_WORKDIR], err) < 0)
		return -1;
	if (a->rest_count == 0)
		return put_query(b, "command", "sh", err);
	for (size_t i = 0; i < a->rest_count; i++) {
		if (put_query(b, "command", a->rest[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
upgrade(struct session *s, struct err *err)
{
	uint8_t random[16];
	char key[WS_KEY_BYTES], accept[WS_ACCEPT_BYTES];
	struct buf path;
	uint64_t id;
	size_t length;
	int rc = -1;

	if (find_replica(s->cli, &id, err) < 0)
		return -1;
	buf_init(&path, MEM_CLI, 7000);
	world_random(&s->world, random, sizeof(random));
	ws_key(random, key);
	if (put_path(s, id, &path, err) < 0)
		goto out;
	rc = client_open(&s->client, s->cli,
			 &(struct client_request){
				 .method = "GET", .target = buf_cstr(&path), .upgrade_key = key},
			 err);
	if (rc == 0) {
		const char *value = http1_head_value(&s->client.head, s->client.data,
						     HEADER_SEC_WEBSOCKET_ACCEPT, &length);

		if (s->client.status != 101 || !value || !ws_accept(key, strlen(key), accept) ||
		    length != strlen(accept) || memcmp(value, accept, length) != 0)
			rc = err_set(err, ERR_CORRUPT, "the node did not agree to a session");
	}
out:
	buf_fini(&path);
	return rc;
}

static void
begin_terminal(struct session *s)
{
	struct termios raw;

	if (!s->tty || tcgetattr(STDIN_FILENO, &s->before) < 0)
		return;
	raw = s->before;
	cfmakeraw(&raw);
	s->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void
begin_signals(struct session *s)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		sigaddset(&set, passed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int
cmd_exec(struct cli *cli)
{
	static struct session s;
	struct err err = {0};

	s = (struct session){.cli = cli, .status = -1, .signals = -1};
	s.client.fd = -1;
	/* Without a command it is a shell for whoever sits there. */
	bool shell = cli->args.rest_count == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	s.tty = shell || cli->args.given[FLAG_TTY];
	s.input = shell || cli->args.given[FLAG_INTERACTIVE];
	if (s.tty && !isatty(STDIN_FILENO)) {
		err_set(&err, ERR_USAGE, "-t needs a terminal, standard input is none");
		err_fix(&err, "leave -t out");
		cli_fail(cli, &err);
		return EXIT_OWN;
	}
	world_real(&s.world);
	buf_init(&s.out, MEM_CLI, OUT_MAX);
	buf_init(&s.frame, MEM_CLI, MSG_FRAME_MAX + MSG_FRAME_HEAD);
	ws_init(&s.ws, WS_CLIENT, MSG_FRAME_MAX + MSG_FRAME_HEAD);
	int rc = upgrade(&s, &err);
	if (rc == 0) {
		s.client.deadline_mono_ns = 0;
		begin_terminal(&s);
		begin_signals(&s);
		if (!s.input)
			put_frame(&s, MSG_FRAME_STDIN, NULL, 0);
		rc = flush_out(&s, &err);
		if (rc == 0)
			rc = run(&s, &err);
	}
	if (s.raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &s.before);
	if (s.status < 0)
		cli_fail(cli, &err);
	fd_close(&s.signals);
	client_close(&s.client);
	buf_fini(&s.out);
	buf_fini(&s.frame);
	return s.status < 0 ? EXIT_OWN : s.status;
}
