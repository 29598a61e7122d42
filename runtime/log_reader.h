/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOG_READER_H
#define RUNTIME_LOG_READER_H

/* Reads what log_file.h writes, from the oldest record to the newest, and goes on with what is
 * added, over rotation and attempts. Threading: one owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/log_file.h"

struct log_reader_record {
	int64_t wall_ns;
	uint32_t attempt;
	enum log_file_stream stream;
	bool partial;
	const char *text;
	size_t length;
};
/* A line without its end; false when it is none of ours. */
bool log_reader_parse(const char *line, size_t length, struct log_reader_record *out);

struct log_reader_filter {
	int64_t since_wall_ns; /* 0: none */
	int64_t until_wall_ns; /* 0: none */
	uint32_t attempt;      /* 0: all */
};
bool log_reader_match(const struct log_reader_filter *filter,
		      const struct log_reader_record *record);

/* Reads all files of a folder, oldest first, and goes on with what is added. */
struct log_reader {
	int dirfd; /* borrowed */
	struct log_reader_filter filter;
	int fds[LOG_FILE_FILES_MAX]; /* oldest first; the last one is read on */
	size_t count, at;
	uint64_t skip; /* matching records to leave out (tail) */
	size_t from, used;
	bool overlong; /* inside a line that is too long to be ours */
	char buffer[LOG_FILE_RECORD_MAX * 2];
};
/* tail: the last n matching records of what is there now; UINT32_MAX: all. */
void log_reader_open(struct log_reader *r, int dirfd, const struct log_reader_filter *filter,
		     uint32_t tail);
/* The next matching record (valid until the next call); false: nothing more for now. */
bool log_reader_next(struct log_reader *r, struct log_reader_record *out);
void log_reader_close(struct log_reader *r);

#endif
