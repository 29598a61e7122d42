/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_FOLDER_H
#define RUNTIME_LAYER_FOLDER_H

/*
 * Where layers are on the disk: made below tmp/ under a number of their own, moved to
 * layers/<chain id> when they are complete and on the disk, seen there whole or not at all. A
 * folder has fs/ (the files), bytes (their size) and, below tmp/ only, maybe orphans
 * (runtime/layer.h). Threading: any; one call per folder at a time.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"

struct layer_folder {
	int fd; /* the folder itself */
	int fs;
};

/* A number that no other folder has, of this process or of one before it. */
uint64_t layer_folder_number(void);
void layer_folder_name(uint64_t number, char out[24]);

int layer_folder_make(int tmp, uint64_t number, struct layer_folder *out,
		      struct err *err) MUST_CHECK;
void layer_folder_close(struct layer_folder *f);
int layer_folder_finish(const struct layer_folder *f, uint64_t bytes, const struct buf *orphans,
			struct err *err) MUST_CHECK;
void layer_folder_remove(int tmp, uint64_t number);

/* The fs of a layer that is there, -1 when it is not (or not whole); *bytes_out its size. */
int layer_folder_open(int layers, const char *chain_id, uint64_t *bytes_out);

struct layer_folder_move {
	const char *chain_id;
	uint64_t number; /* 0: it is in its place */
	int fs;          /* opened by the caller */
};

/* Gives deferred owners to folders, writes all to the disk, then moves: bottom layer first. One
 * that somebody else has put there meanwhile is fine. */
int layer_folder_commit(int images, int layers, int tmp, struct layer_folder_move *moves,
			size_t count, struct err *err) MUST_CHECK;

#endif
