/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event, one line, one write(2) of at most PIPE_BUF bytes, so that the lines of processes that
 * share a pipe never mix. The line is built on the stack; nothing is allocated. Before each write
 * the descriptor is polled without waiting: a reader that is late costs lines, which are counted,
 * and does not stop a process that serves, even when the pipe is in blocking mode (only two writers
 * that race for its last page can meet; whoever starts us may set O_NONBLOCK to exclude that).
 *
 * A line that is too long keeps what fits and ends with `"cut":true`; a single value is cut at a
 * character boundary. JSON and text use the same escapes (RFC 8259): control characters, DEL and
 * C1 as \u00XX, so that a terminal that shows the log is safe too; bytes that are not UTF-8 become
 * U+FFFD.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "base/world.h"

enum {
	LINE_BYTES = PIPE_BUF,
	/* Kept free while fields are added: `,"cut":true}` and the newline. */
	TAIL_BYTES = 16,
	/* The most that one input byte becomes: \u00XX. */
	ESCAPE_BYTES = 6,
};

static struct {
	struct log_config config;
	bool text;
	bool journal;
} state = {.config = {.level = LOG_INFO, .fd = STDERR_FILENO}};

static uint64_t dropped;

struct line {
	char data[LINE_BYTES];
	size_t length;
	bool text;
	bool cut;
};

/* ---- set-up ---- */

/* JOURNAL_STREAM is "device:inode" of the descriptor that systemd connected to the journal. */
static bool
is_journal(int fd)
{
	const char *value = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	char end;

	if (value == NULL || sscanf(value, "%llu:%llu%c", &device, &inode, &end) != 2)
		return false;
	return fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void
log_change(enum log_level level, enum log_format format)
{
	bool text = format == LOG_FORMAT_TEXT ||
		    (format == LOG_FORMAT_AUTO && isatty(state.config.fd) == 1);

	__atomic_store_n(&state.config.level, level, __ATOMIC_RELAXED);
	__atomic_store_n(&state.text, text, __ATOMIC_RELAXED);
}

void
log_setup(const struct log_config *config)
{
	state.config = *config;
	log_change(config->level, config->format);
	state.journal = is_journal(config->fd);
}

bool
log_on(enum log_level level)
{
	return level >= __atomic_load_n(&state.config.level, __ATOMIC_RELAXED);
}

static const char *
level_name(enum log_level level)
{
	switch (level) {
	case LOG_DEBUG:
		return "debug";
	case LOG_INFO:
		return "info";
	case LOG_WARN:
		return "warn";
	case LOG_ERROR:
		return "error";
	}
	assert(false && "a log level");
	return NULL;
}

/* The numbers of syslog(3), which the journal reads. */
static int
level_priority(enum log_level level)
{
	static const int priorities[] = {
		[LOG_DEBUG] = 7,
		[LOG_INFO] = 6,
		[LOG_WARN] = 4,
		[LOG_ERROR] = 3,
	};

	return priorities[level];
}

bool
log_level_parse(const char *text, enum log_level *out)
{
	for (enum log_level l = LOG_DEBUG; l <= LOG_ERROR; l++) {
		if (strcmp(text, level_name(l)) == 0) {
			*out = l;
			return true;
		}
	}
	return false;
}

uint64_t
log_dropped(void)
{
	return __atomic_load_n(&dropped, __ATOMIC_RELAXED);
}

/* ---- building a line ---- */

static size_t
room(const struct line *l)
{
	return LINE_BYTES - TAIL_BYTES - l->length;
}

static bool
put(struct line *l, const char *data, size_t bytes)
{
	if (bytes > room(l)) {
		l->cut = true;
		return false;
	}
	memcpy(l->data + l->length, data, bytes);
	l->length += bytes;
	return true;
}

static bool
puts_line(struct line *l, const char *text)
{
	return put(l, text, strlen(text));
}

/* Length of the valid UTF-8 character at `text`, 0 when it is none. */
static size_t
utf8_length(const char *text)
{
	unsigned char c = (unsigned char)*text;
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (n == 0 || strnlen(text, n) < n || !text_is_utf8(text, n))
		return 0;
	return n;
}

/* Escapes the character at `text` into `out`; *used is how many bytes it took. */
static size_t
escape(const char *text, char out[ESCAPE_BYTES + 1], size_t *used)
{
	static const char shorts[] = "\"\"\\\\\nn\rr\tt\bb\ff";
	unsigned code = (unsigned char)*text;
	size_t n = utf8_length(text);

	*used = n > 0 ? n : 1;
	if (n == 0) {
		memcpy(out, "\xef\xbf\xbd", 3);
		return 3;
	}
	for (size_t i = 0; n == 1 && i < sizeof(shorts) - 1; i += 2) {
		if (shorts[i] == *text) {
			out[0] = '\\';
			out[1] = shorts[i + 1];
			return 2;
		}
	}
	if (n == 2 && code == 0xc2) /* U+0080 .. U+00BF */
		code = (unsigned char)text[1];
	if (code < 0x20 || (code >= 0x7f && code < 0xa0))
		return (size_t)snprintf(out, ESCAPE_BYTES + 1, "\\u%04x", code);
	memcpy(out, text, n);
	return n;
}

/* The escaped characters of `text` without quotes, as many as fit beside a closing quote. */
static void
put_escaped(struct line *l, const char *text)
{
	char out[ESCAPE_BYTES + 1];
	size_t used;

	for (; *text != '\0'; text += used) {
		size_t n = escape(text, out, &used);
		if (n + 1 > room(l)) {
			l->cut = true;
			return;
		}
		put(l, out, n);
	}
}

static void
put_quoted(struct line *l, const char *text)
{
	if (room(l) < 2) {
		l->cut = true;
		return;
	}
	put(l, "\"", 1);
	put_escaped(l, text);
	put(l, "\"", 1);
}

/* A value that reads well without quotes: printable ASCII without the separators. */
static bool
is_plain(const char *text)
{
	const char *c = text;

	while (*c > ' ' && *c < 0x7f && *c != '"' && *c != '=' && *c != '\\')
		c++;
	return *c == '\0' && c != text;
}

static void
put_string(struct line *l, const char *value)
{
	if (value == NULL)
		puts_line(l, "null");
	else if (l->text && is_plain(value) && strlen(value) <= room(l))
		puts_line(l, value);
	else
		put_quoted(l, value);
}

/* The shortest of two precisions that reads back as the same number. */
static void
format_float(double value, char *out, size_t cap)
{
	if (!isfinite(value)) {
		snprintf(out, cap, "null");
		return;
	}
	snprintf(out, cap, "%.15g", value);
	if (strtod(out, NULL) != value) /* NOLINT: exact equality is the question */
		snprintf(out, cap, "%.17g", value);
}

static void
put_value(struct line *l, const struct log_field *f)
{
	char number[40];

	switch (f->kind) {
	case LOG_STRING:
		put_string(l, f->value.s);
		return;
	case LOG_SIGNED:
		snprintf(number, sizeof(number), "%" PRId64, f->value.i);
		break;
	case LOG_UNSIGNED:
		snprintf(number, sizeof(number), "%" PRIu64, f->value.u);
		break;
	case LOG_FLOAT:
		format_float(f->value.f, number, sizeof(number));
		break;
	case LOG_BOOL:
		snprintf(number, sizeof(number), "%s", f->value.b ? "true" : "false");
		break;
	}
	puts_line(l, number);
}

/* A field stands whole (its string perhaps shortened) or not at all. */
static void
put_field(struct line *l, const struct log_field *f)
{
	size_t start = l->length;
	size_t numbers = 40; /* room for any value but a string */

	if (l->text) {
		put(l, " ", 1);
		put_escaped(l, f->key);
		put(l, "=", 1);
	} else {
		put(l, ",", 1);
		put_quoted(l, f->key);
		put(l, ":", 1);
	}
	if (room(l) < numbers || l->cut) {
		l->length = start;
		l->cut = true;
		return;
	}
	put_value(l, f);
}

static void
start_json(struct line *l, enum log_level level, const char *message)
{
	char time[64];

	text_time(world_wall_ns(), 9, time, sizeof(time));
	puts_line(l, "{\"ts\":\"");
	puts_line(l, time);
	puts_line(l, "\",\"level\":\"");
	puts_line(l, level_name(level));
	puts_line(l, "\",\"msg\":");
	put_quoted(l, message);
	if (state.config.component[0] != '\0')
		put_field(l, &(struct log_field){.key = "component",
						 .kind = LOG_STRING,
						 .value.s = state.config.component});
	if (state.config.node[0] != '\0')
		put_field(l, &(struct log_field){.key = "node",
						 .kind = LOG_STRING,
						 .value.s = state.config.node});
}

static void
start_text(struct line *l, enum log_level level, const char *message)
{
	char time[64];

	text_time(world_wall_ns(), 3, time, sizeof(time));
	puts_line(l, time);
	put(l, " ", 1);
	puts_line(l, level_name(level));
	put(l, "     ", 6 - strlen(level_name(level)));
	if (state.config.component[0] != '\0') {
		put_escaped(l, state.config.component);
		puts_line(l, ": ");
	}
	put_escaped(l, message);
}

static void
end_line(struct line *l)
{
	const char *tail = l->text  ? l->cut ? " cut=true\n" : "\n"
			   : l->cut ? ",\"cut\":true}\n"
				    : "}\n";

	_Static_assert(sizeof(",\"cut\":true}\n") <= TAIL_BYTES, "the tail always fits");
	memcpy(l->data + l->length, tail, strlen(tail));
	l->length += strlen(tail);
}

static void
write_line(const struct line *l)
{
	struct pollfd p = {.fd = state.config.fd, .events = POLLOUT};
	int saved = errno;
	ssize_t n = -1;

	if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0) {
		do
			n = write(p.fd, l->data, l->length);
		while (n < 0 && errno == EINTR);
	}
	if (n != (ssize_t)l->length)
		__atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
	errno = saved;
}

void
log_event_(enum log_level level, const char *message, const struct log_field *fields)
{
	struct line l;

	if (!log_on(level))
		return;
	l.length = 0;
	l.text = __atomic_load_n(&state.text, __ATOMIC_RELAXED);
	l.cut = false;
	if (state.journal)
		l.length = (size_t)snprintf(l.data, sizeof(l.data), "<%d>", level_priority(level));
	if (l.text)
		start_text(&l, level, message);
	else
		start_json(&l, level, message);
	for (; fields != NULL && fields->key != NULL; fields++)
		put_field(&l, fields);
	end_line(&l);
	write_line(&l);
}

void
log_err(enum log_level level, const char *message, const struct err *err)
{
	static const char *const where_keys[ERR_WHERES_MAX] = {"where", "where2", "where3",
							       "where4"};
	static const char *const why_keys[ERR_WHYS_MAX] = {"why", "why2", "why3", "why4"};
	struct log_field fields[4 + ERR_WHERES_MAX + ERR_WHYS_MAX];
	size_t n = 0;

	fields[n++] = log_s("kind", err_kind_name(err->kind));
	fields[n++] = log_s("what", err->what);
	for (unsigned i = 0; i < err->wheres && i < ERR_WHERES_MAX; i++)
		fields[n++] = log_s(where_keys[i], err->where[i]);
	for (unsigned i = 0; i < err->whys && i < ERR_WHYS_MAX; i++)
		fields[n++] = log_s(why_keys[i], err->why[i]);
	if (err->fix[0] != '\0')
		fields[n++] = log_s("fix", err->fix);
	fields[n] = LOG_END;
	log_event_(level, message, fields);
}

bool
log_few(struct log_few *f, uint64_t now_ns)
{
	if (now_ns >= f->until_ns) {
		f->until_ns = now_ns + LOG_FEW_S * UINT64_C(1000000000);
		f->written = 0;
	}
	if (f->written >= LOG_FEW) {
		f->left_out++;
		return false;
	}
	f->written++;
	return true;
}

uint32_t
log_few_left_out(struct log_few *f, uint64_t now_ns)
{
	uint32_t count = now_ns >= f->until_ns ? f->left_out : 0;

	f->left_out -= count;
	return count;
}
