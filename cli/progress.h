/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/*
 * What is known of a running operation, from the events of its stream, and how it is shown: lines
 * that are redrawn on a terminal, or one line per change. Pure: time comes in, text goes out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "wire/json_read.h"

enum { PROGRESS_REPLICAS_MAX = 256, PROGRESS_LINES_MAX = 20 };

struct progress_replica {
	uint64_t id;
	uint32_t revision;
	char name[160]; /* "web.1" */
	char node[64];
	char state[16];
	char trouble[256]; /* what the node says is wrong, "" for nothing */
	char pull[96];     /* "pulled 3.1 MiB (12 of 15 layers were here)", "" nothing was */
	bool pulling;
	uint32_t restarts;
	int64_t began_wall_ns; /* seen first */
	int64_t ready_wall_ns; /* 0: never */
	bool gone;
};

struct progress {
	char deployment[64];
	char kind[16];
	char state[16]; /* of the operation */
	uint32_t revision, previous;
	uint32_t done, total;
	int64_t began_wall_ns, ended_wall_ns;
	struct err reason;  /* kind 0: none */
	uint64_t troubled;  /* replica that had trouble last, 0: none */
	uint32_t troubles;  /* how often one came into trouble */
	struct err trouble; /* of it, as the node told it; kind 0: none */
	struct progress_replica replicas[PROGRESS_REPLICAS_MAX];
	size_t count;
	size_t left_out;  /* replicas that found no place */
	bool watched;     /* all are ready; they must stay so for a while */
	const char *what; /* the target that the result names, borrowed; NULL: the deployment */
};

void progress_init(struct progress *p, int64_t now_wall_ns);
/* One event of the stream: "operation", "replica", others are passed over. When something changed
 * that people want to know, plain lines (without time, '\n' between them) go to `line`. */
void progress_feed(struct progress *p, const char *event, const json_t *data, int64_t now_wall_ns,
		   struct buf *line);
/* The lines of a terminal, at most PROGRESS_LINES_MAX + 3; gives how many. hint: what Ctrl-C does.
 */
size_t progress_draw(struct progress *p, int64_t now_wall_ns, bool colour, struct buf *out);
/* "my-app revision 12 serves.  9.4 s." */
void progress_result(const struct progress *p, struct buf *out);
bool progress_ended(const struct progress *p);
/* The four words of a reason as the API writes it; kind ERR_NONE for null. */
void progress_reason(const json_t *reason, struct err *err);

#endif
