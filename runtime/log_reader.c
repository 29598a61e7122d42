/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading side of a replica's log. All files are opened first, newest to oldest, so that a
 * rotation in between can show a file twice (found by its inode) but never hide one; what was
 * opened is read to its end even when it is renamed or removed meanwhile. Following means: at the
 * end of the last file look whether `log` is another file by now, and go through those that came
 * between. Lines that are not ours (a file that was damaged) are passed over.
 */
#include "runtime/log_reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"

bool
log_reader_parse(const char *line, size_t length, struct log_reader_record *out)
{
	char head[80];
	const char *field[4], *at = line, *end = line + length;
	for (int i = 0; i < 4; i++) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		if (space == NULL || space - line >= (long)sizeof(head))
			return false;
		field[i] = at;
		at = space + 1;
	}
	size_t head_bytes = (size_t)(at - line);
	if (head_bytes > sizeof(head))
		return false;
	memcpy(head, line, head_bytes);
	for (size_t i = 0; i < head_bytes; i++)
		if (head[i] == ' ')
			head[i] = '\0';
	uint64_t attempt;
	const char *stream = head + (field[2] - line), *kind = head + (field[3] - line);
	if (!text_untime(head, &out->wall_ns) ||
	    !text_u64(head + (field[1] - line), UINT32_MAX, &attempt))
		return false;
	if ((strcmp(stream, "out") != 0 && strcmp(stream, "err") != 0) ||
	    (strcmp(kind, "F") != 0 && strcmp(kind, "P") != 0))
		return false;
	out->attempt = (uint32_t)attempt;
	out->stream = stream[0] == 'o' ? LOG_FILE_OUT : LOG_FILE_ERR;
	out->partial = kind[0] == 'P';
	out->text = at;
	out->length = (size_t)(end - at);
	return true;
}

bool
log_reader_match(const struct log_reader_filter *filter, const struct log_reader_record *record)
{
	if (filter->since_wall_ns != 0 && record->wall_ns < filter->since_wall_ns)
		return false;
	if (filter->until_wall_ns != 0 && record->wall_ns > filter->until_wall_ns)
		return false;
	return filter->attempt == 0 || filter->attempt == record->attempt;
}

static int
open_part(int dirfd, unsigned n)
{
	char name[24];
	struct stat st;
	if (n == 0)
		strcpy(name, "log");
	else
		snprintf(name, sizeof(name), "log.%u", n);
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool
same_file(int a, int b)
{
	struct stat sa, sb;
	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino &&
	       sa.st_dev == sb.st_dev;
}

/* Opens log, log.1 ... until `stop` (or the end) into fds, newest first; gives how many. */
static size_t
open_newer(int dirfd, int stop, int *fds, size_t max)
{
	size_t count = 0;
	for (unsigned n = 0; n <= LOG_FILE_FILES_MAX && count < max; n++) {
		int fd = open_part(dirfd, n);
		if (fd < 0)
			continue;
		bool again = count > 0 && same_file(fd, fds[count - 1]);
		bool found = stop >= 0 && same_file(fd, stop);
		if (again || found)
			close(fd);
		else
			fds[count++] = fd;
		if (found)
			break;
	}
	return count;
}

static bool
fill(struct log_reader *r)
{
	if (r->from > 0) {
		memmove(r->buffer, r->buffer + r->from, r->used - r->from);
		r->used -= r->from;
		r->from = 0;
	}
	if (r->used == sizeof(r->buffer)) {
		/* No line of ours is that long. */
		r->used = 0;
		r->overlong = true;
	}
	ssize_t n = read(r->fds[r->at], r->buffer + r->used, sizeof(r->buffer) - r->used);
	if (n <= 0)
		return false;
	r->used += (size_t)n;
	return true;
}

/* The next whole line of the file being read; false at its end. */
static bool
next_line(struct log_reader *r, const char **line, size_t *length)
{
	for (;;) {
		char *start = r->buffer + r->from;
		char *end = memchr(start, '\n', r->used - r->from);
		if (end == NULL) {
			if (!fill(r))
				return false;
			continue;
		}
		r->from = (size_t)(end + 1 - r->buffer);
		bool skip = r->overlong;
		r->overlong = false;
		if (skip)
			continue;
		*line = start;
		*length = (size_t)(end - start);
		return true;
	}
}

/* Moves to the next file; false when there is none. */
static bool
advance(struct log_reader *r)
{
	if (r->at + 1 >= r->count) {
		int newer[LOG_FILE_FILES_MAX];
		int held = r->count > 0 ? r->fds[r->at] : -1;
		size_t count = open_newer(r->dirfd, held, newer, LOG_FILE_FILES_MAX - 1);
		if (count == 0)
			return false;
		for (size_t i = 0; i < r->at && r->count > 0; i++)
			close(r->fds[i]);
		r->count = 0;
		if (held >= 0)
			r->fds[r->count++] = held;
		for (size_t i = count; i > 0; i--)
			r->fds[r->count++] = newer[i - 1];
		r->at = 0;
		if (held < 0)
			return true;
		/* Between the last look and now the held file may have got its last lines. */
		if (fill(r))
			return true;
	}
	r->at++;
	r->from = r->used = 0;
	r->overlong = false;
	return true;
}

static bool
next_match(struct log_reader *r, struct log_reader_record *out)
{
	const char *line;
	size_t length;
	do {
		while (r->count > 0 && next_line(r, &line, &length))
			if (log_reader_parse(line, length, out) &&
			    log_reader_match(&r->filter, out))
				return true;
	} while (advance(r));
	return false;
}

static uint64_t
count_matches(struct log_reader *r)
{
	struct log_reader_record record;
	const char *line;
	size_t length;
	uint64_t count = 0;
	while (next_line(r, &line, &length))
		if (log_reader_parse(line, length, &record) &&
		    log_reader_match(&r->filter, &record))
			count++;
	lseek(r->fds[r->at], 0, SEEK_SET);
	r->from = r->used = 0;
	r->overlong = false;
	return count;
}

/* Starts at the newest file that has the last `tail` records behind its beginning. */
static void
seek_tail(struct log_reader *r, uint32_t tail)
{
	uint64_t seen = 0;
	for (r->at = r->count; r->at > 0;) {
		r->at--;
		seen += count_matches(r);
		if (seen >= tail)
			break;
	}
	r->skip = seen > tail ? seen - tail : 0;
}

void
log_reader_open(struct log_reader *r, int dirfd, const struct log_reader_filter *filter,
		uint32_t tail)
{
	int newest[LOG_FILE_FILES_MAX];
	r->dirfd = dirfd;
	r->filter = *filter;
	r->at = r->from = r->used = 0;
	r->skip = 0;
	r->overlong = false;
	r->count = open_newer(dirfd, -1, newest, LOG_FILE_FILES_MAX);
	for (size_t i = 0; i < r->count; i++)
		r->fds[i] = newest[r->count - 1 - i];
	if (tail != UINT32_MAX && r->count > 0)
		seek_tail(r, tail);
}

bool
log_reader_next(struct log_reader *r, struct log_reader_record *out)
{
	while (next_match(r, out)) {
		if (r->skip == 0)
			return true;
		r->skip--;
	}
	return false;
}

void
log_reader_close(struct log_reader *r)
{
	for (size_t i = 0; i < r->count; i++)
		close(r->fds[i]);
	r->count = 0;
}
