/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_LOGS_INSIDE_H
#define API_LOGS_INSIDE_H

/* What the files of log streams share: logs.c (streams, and what they read), logs_source.c (bytes
 * of one replica), logs_merge.c (lines of all). Nobody else includes this. */

#include "api/call.h"
#include "api/rows.h"
#include "base/map.h"

enum logs_source_state { SOURCE_ASKED, SOURCE_OPEN, SOURCE_ENDED };

struct logs_source {
	struct list link;
	/* NULL: it has gone; freed with its last answer or handle. */
	struct logs_stream *stream;
	enum logs_source_state state;
	uint64_t replica;
	char name[MSG_TARGET];
	uint32_t far; /* the node that has it; 0: this one */
	uv_pipe_t pipe;
	bool has_pipe, reading, closing, asked, told;
	bool opened; /* it has been */
	uint64_t heard_ms;
	struct buf in;
	bool done;       /* all of another node's came */
	struct err lost; /* kind 0: the way was not lost */
	/* The time of the last line, and how many of it have come: from there it goes on. */
	int64_t last_ns;
	uint32_t same;
	uint32_t skip; /* of them, to come again */
	uint64_t wait_ms;
};

/* The way to it was lost; it is asked for again. */
struct logs_lost {
	struct list link;
	uint64_t replica;
	int64_t last_ns;
	uint32_t same;
	uint64_t since_ms, due_ms, wait_ms;
};

struct logs_stream {
	struct list link;
	struct call *call;
	struct list sources;
	size_t count;
	struct list losts;
	struct map seen; /* ids of the replicas that were taken in */
	uv_timer_t timer;
	struct rows_target target;
	uint64_t only; /* one replica, by id; 0: the target's */
	bool follow, previous, opened, scanning, closing;
	struct msg_logs options;
	uint64_t retry_ms;
	struct err first_error;
};

struct logs_line {
	int64_t wall_ns;
	uint32_t attempt;
	uint8_t stream;
	uint8_t flags;
	const char *text;
	size_t bytes;
	size_t frame_bytes;
};

/* ---- logs.c ---- */

/* The way to it was lost: it is asked again, from the last line that came. */
void logs_ask_again_later(struct logs_stream *s, const struct logs_source *src);

/* ---- logs_source.c ---- */

/* In the stream's list; NULL: no memory. */
struct logs_source *logs_source_new(struct logs_stream *s, uint64_t replica);
/* Its stream is to be read; far_end is for who writes it. */
bool logs_source_open(struct logs_source *src, int *far_end);
/* Nothing more is read; lines that came stay. */
void logs_source_end(struct logs_source *src);
/* Out of its stream; freed when nobody calls it any more. */
void logs_source_drop(struct logs_source *src);
/* It was answered for a stream that has gone. */
void logs_source_free_if_done(struct logs_source *src);
void logs_source_read_on(struct logs_source *src);
/* The next line; frames that are none are passed over, one that lies ends the source. */
bool logs_source_line(struct logs_source *src, struct logs_line *out);
/* That line was sent. */
void logs_source_take(struct logs_source *src, const struct logs_line *line);

/* ---- logs_merge.c ---- */

/* Sends what can be sent; may end the stream. */
void logs_merge_pump(struct logs_stream *s);
/* The head of the answer; false: the client has left over it, and the stream is gone. */
bool logs_merge_open(struct logs_stream *s);

#endif
