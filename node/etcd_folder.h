/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_FOLDER_H
#define NODE_ETCD_FOLDER_H

/*
 * What etcd has on the disk: the folder `etcd` in the data folder (root's, to be passed through),
 * and in it
 *
 *   <life, 16 hex>  the data of one life, etcd's own
 *   shown           its certificates: copies of what scheduler wrote, root's, for etcd to read
 *
 * Beside it the file `etcd.life`: which life has had its log here. A member of etcd that begins
 * again with nothing of what it has promised could vote twice.
 *
 * Threading: one owner; blocking (small files).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

enum { ETCD_FOLDER_PATH = 320, ETCD_FOLDER_NAME = 17 };

struct etcd_folder {
	int fd;    /* of the folder */
	int data;  /* the data folder */
	uid_t uid; /* etcd's */
	char path[ETCD_FOLDER_PATH];
};

/* data, data_path: the data folder; borrowed. */
int etcd_folder_open(int data, const char *data_path, uid_t uid, struct etcd_folder *out,
		     struct err *err) MUST_CHECK;
void etcd_folder_close(struct etcd_folder *f);

/* The newest life whose data is here; 0: none. */
uint64_t etcd_folder_life(const struct etcd_folder *f);
/* Its data: made when it is not there, given to etcd. fd_out: O_PATH; path_out: from the folder. */
int etcd_folder_data(const struct etcd_folder *f, uint64_t life, int *fd_out,
		     char path_out[ETCD_FOLDER_NAME], struct err *err) MUST_CHECK;
/* Its log is there: etcd has written it, and whoever has may have voted. */
bool etcd_folder_has_log(const struct etcd_folder *f, uint64_t life);
/* Its log holds nothing yet, and there is no other (etcd_wal.h). */
bool etcd_folder_is_blank(const struct etcd_folder *f, uint64_t life);
/* No data of that life, and no note. */
int etcd_folder_empty(const struct etcd_folder *f, uint64_t life, struct err *err) MUST_CHECK;
/* The life that has had its log here, in a file beside the folder, so that it is known when all of
 * that was lost; 0: none, or it cannot be read. */
uint64_t etcd_folder_noted(const struct etcd_folder *f);
int etcd_folder_note(const struct etcd_folder *f, uint64_t life, struct err *err) MUST_CHECK;

/* Data of all lives but that one (0: of all, the certificates and the note too). */
int etcd_folder_prune(const struct etcd_folder *f, uint64_t life, struct err *err) MUST_CHECK;
/* Bytes on the disk of a life. */
uint64_t etcd_folder_bytes(const struct etcd_folder *f, uint64_t life);
/* Bytes that etcd could have there: of a life, and those that are free. UINT64_MAX: not known. */
uint64_t etcd_folder_room(const struct etcd_folder *f, uint64_t life);

/* Brings what scheduler (its user: owner) wrote to where etcd reads it: files of that user alone,
 * never what a link leads to. */
int etcd_folder_show(const struct etcd_folder *f, uid_t owner, struct err *err) MUST_CHECK;
int etcd_folder_shown(const struct etcd_folder *f, int *fd_out, struct err *err) MUST_CHECK;
#define ETCD_FOLDER_SHOWN "shown"

#endif
