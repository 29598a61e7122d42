/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

/*
 * A node's files (numbered, as step.h names them) and what it asked to be made durable. One
 * operation after the other; each is durable when it is answered well and not before. What happens
 * to one that fails, or that the crash came upon, is drawn:
 *   an append leaves nothing, a part of its bytes, a part with the rest zeroed, or all;
 *   a replacement leaves the old file or the new one, whole.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/sim/draw.h"
#include "tests/sim/queue.h"

enum { DISK_FILES_MAX = 16, DISK_TOKENS = 1024 };

struct disk_file {
	uint16_t what;
	uint8_t *data;
	size_t bytes;
	size_t room;
};

struct disk_op {
	bool replace;
	uint16_t what;
	uint64_t token;
	struct parcel *parcel;
};

struct disk_answer {
	uint64_t token;
	bool good;
};

enum disk_token { DISK_UNKNOWN, DISK_PENDING, DISK_GOOD, DISK_BAD };

struct disk {
	struct draw draw;
	struct parcels *parcels;
	struct disk_file files[DISK_FILES_MAX]; /* in the order of their numbers */
	size_t file_count;
	struct disk_op *ops; /* the first is under way */
	size_t op_count;
	size_t op_room;
	struct disk_answer *answered; /* the latest; number n at n % answered_room */
	uint64_t answers;
	uint64_t answered_room; /* grows up to DISK_TOKENS */
	uint64_t sync_ns_max;   /* how long an operation usually takes at most */
	uint32_t slow;          /* times the usual duration; 0 and 1 are usual */
	uint32_t fail_ppm;
	bool full;
};

void sim_disk_init(struct disk *d, struct draw draw, struct parcels *parcels);
void sim_disk_fini(struct disk *d);
/* Takes the parcel. False, and nothing is done, when the token is 0 or under way. */
bool sim_disk_submit(struct disk *d, bool replace, uint16_t what, uint64_t token,
		     struct parcel *parcel);
bool sim_disk_busy(const struct disk *d);
/* How long the first operation will take from when it is begun. */
uint64_t sim_disk_duration_ns(struct disk *d);
/* Ends the first operation; gives its token and 0 or an enum err_kind. */
int sim_disk_finish(struct disk *d, uint64_t *token_out);
/* What is under way is lost, in part or as a whole; tokens are forgotten. */
void sim_disk_crash(struct disk *d);
enum disk_token sim_disk_token(const struct disk *d, uint64_t token);
const struct disk_file *sim_disk_file(const struct disk *d, uint16_t what); /* NULL: none */

#endif
