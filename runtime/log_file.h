/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOG_FILE_H
#define RUNTIME_LOG_FILE_H

/*
 * The log of a replica: `log` in a folder of its own, older parts `log.1`, `log.2` ... One record a
 * line: `<RFC 3339 nanoseconds> <attempt> <out|err> <F|P> text`; P is a piece of a longer line.
 * This is the writer, the monitor's; log_reader.h reads. Attempts follow each other in one file.
 * Threading: one owner each.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LOG_FILE_TEXT_MAX = 16384, /* of one record; a longer line is cut into pieces */
	LOG_FILE_RECORD_MAX = LOG_FILE_TEXT_MAX + 64,
	LOG_FILE_BUFFER = 32768,
	LOG_FILE_FILES_MAX = 64,
	LOG_FILE_BYTES_MIN = 4096,
};

enum log_file_stream { LOG_FILE_OUT = 1, LOG_FILE_ERR = 2 };

struct log_file {
	int dirfd; /* borrowed */
	int fd;    /* -1: could not be opened, tried again at the next flush */
	uint64_t size;
	uint64_t max_bytes;
	uint32_t max_files;
	uint32_t attempt;
	uint64_t lines[3]; /* by stream, written to the end */
	uint64_t dropped;
	size_t used;
	uint64_t pending[3]; /* records in the buffer */
	char buffer[LOG_FILE_BUFFER];
};

/* Never fails: what cannot be written is counted. max_files counts `log` too. */
void log_file_open(struct log_file *f, int dirfd, uint32_t attempt, uint64_t max_bytes,
		   uint32_t max_files);
void log_file_put(struct log_file *f, enum log_file_stream stream, int64_t wall_ns, bool partial,
		  const char *text, size_t length);
/* Writes what was put; rotates before when it would grow too large. On a full disk nothing of a
 * record stays behind. */
void log_file_flush(struct log_file *f);
void log_file_close(struct log_file *f);

/* One pipe of the container: cuts bytes into lines. */
struct log_file_pipe {
	enum log_file_stream stream;
	int64_t wall_ns; /* when the kept beginning arrived */
	size_t used;
	char text[LOG_FILE_TEXT_MAX];
};
void log_file_feed(struct log_file *f, struct log_file_pipe *p, int64_t wall_ns, const char *data,
		   size_t bytes);
/* The end of the pipe: what is kept becomes a line. */
void log_file_end(struct log_file *f, struct log_file_pipe *p);

#endif
