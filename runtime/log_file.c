/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing side of a replica's log. Records are gathered and written by one write(2) per batch,
 * so that a busy container costs one system call per read of its pipe. A batch that the disk does
 * not take is cut off again by its known size and its records are counted as dropped: a reader
 * never meets half a record, except at the very end after a power cut, which the next attempt
 * closes with a line end. Rotation renames log.N-1 to log.N down to log to log.1: a reader that
 * holds a file keeps reading it.
 */
#include "runtime/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"

static void
name_of(uint32_t n, char out[24])
{
	if (n == 0)
		strcpy(out, "log");
	else
		snprintf(out, 24, "log.%u", n);
}

static void
open_current(struct log_file *f)
{
	struct stat st;
	char last;

	f->fd = openat(f->dirfd, "log",
		       O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (f->fd < 0)
		return;
	if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(f->fd);
		f->fd = -1;
		return;
	}
	f->size = (uint64_t)st.st_size;
	if (st.st_size > 0 && pread(f->fd, &last, 1, st.st_size - 1) == 1 && last != '\n' &&
	    write(f->fd, "\n", 1) == 1)
		f->size++;
}

void
log_file_open(struct log_file *f, int dirfd, uint32_t attempt, uint64_t max_bytes,
	      uint32_t max_files)
{
	f->dirfd = dirfd;
	f->attempt = attempt;
	f->max_bytes = max_bytes < LOG_FILE_BYTES_MIN ? LOG_FILE_BYTES_MIN : max_bytes;
	f->max_files = max_files < 1 ? 1 : max_files;
	if (f->max_files > LOG_FILE_FILES_MAX)
		f->max_files = LOG_FILE_FILES_MAX;
	f->dropped = 0;
	f->used = 0;
	memset(f->lines, 0, sizeof(f->lines));
	memset(f->pending, 0, sizeof(f->pending));
	open_current(f);
}

static void
rotate(struct log_file *f)
{
	char from[24], to[24];

	name_of(f->max_files - 1, to);
	if (f->max_files == 1) {
		/* Only one file may stay: it starts again. */
		unlinkat(f->dirfd, to, 0);
	}
	for (uint32_t n = f->max_files - 1; n > 0; n--) {
		name_of(n, to);
		name_of(n - 1, from);
		renameat(f->dirfd, from, f->dirfd, to);
	}
	close(f->fd);
	open_current(f);
}

static bool
write_buffer(struct log_file *f)
{
	size_t done = 0;
	while (done < f->used) {
		ssize_t n = write(f->fd, f->buffer + done, f->used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

void
log_file_flush(struct log_file *f)
{
	if (f->used == 0)
		return;
	if (f->fd < 0)
		open_current(f);
	if (f->fd >= 0 && f->size > 0 && f->size + f->used > f->max_bytes)
		rotate(f);
	if (f->fd >= 0 && write_buffer(f)) {
		f->size += f->used;
		f->lines[LOG_FILE_OUT] += f->pending[LOG_FILE_OUT];
		f->lines[LOG_FILE_ERR] += f->pending[LOG_FILE_ERR];
	} else {
		/* The batch is given up as a whole: what part of it got there goes again. */
		if (f->fd >= 0 && ftruncate(f->fd, (off_t)f->size) < 0) {
			close(f->fd);
			f->fd = -1;
		}
		f->dropped += f->pending[LOG_FILE_OUT] + f->pending[LOG_FILE_ERR];
	}
	memset(f->pending, 0, sizeof(f->pending));
	f->used = 0;
}

void
log_file_put(struct log_file *f, enum log_file_stream stream, int64_t wall_ns, bool partial,
	     const char *text, size_t length)
{
	char when[40];
	if (length > LOG_FILE_TEXT_MAX)
		length = LOG_FILE_TEXT_MAX;
	/* Batches end where a file would: sizes are kept to a record, not to a batch. */
	if (sizeof(f->buffer) - f->used < length + 64 ||
	    (f->used > 0 && f->size + f->used + length + 64 > f->max_bytes))
		log_file_flush(f);
	text_time(wall_ns, 9, when, sizeof(when));
	int head = snprintf(f->buffer + f->used, 64, "%s %u %s %c ", when, f->attempt,
			    stream == LOG_FILE_OUT ? "out" : "err", partial ? 'P' : 'F');
	f->used += (size_t)head;
	memcpy(f->buffer + f->used, text, length);
	f->used += length;
	f->buffer[f->used++] = '\n';
	f->pending[stream]++;
}

void
log_file_close(struct log_file *f)
{
	log_file_flush(f);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static void
put_kept(struct log_file *f, struct log_file_pipe *p, bool partial)
{
	log_file_put(f, p->stream, p->wall_ns, partial, p->text, p->used);
	p->used = 0;
}

void
log_file_feed(struct log_file *f, struct log_file_pipe *p, int64_t wall_ns, const char *data,
	      size_t bytes)
{
	while (bytes > 0) {
		const char *end = memchr(data, '\n', bytes);
		size_t take = end == NULL ? bytes : (size_t)(end - data);
		if (take > sizeof(p->text) - p->used) {
			take = sizeof(p->text) - p->used;
			end = NULL;
		}
		if (p->used == 0)
			p->wall_ns = wall_ns;
		if (end != NULL && p->used == 0) {
			log_file_put(f, p->stream, wall_ns, false, data, take);
		} else {
			memcpy(p->text + p->used, data, take);
			p->used += take;
			if (end != NULL)
				put_kept(f, p, false);
			else if (p->used == sizeof(p->text))
				put_kept(f, p, true);
		}
		take += end != NULL;
		data += take;
		bytes -= take;
	}
}

void
log_file_end(struct log_file *f, struct log_file_pipe *p)
{
	if (p->used > 0)
		put_kept(f, p, false);
}
