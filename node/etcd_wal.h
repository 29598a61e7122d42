/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_WAL_H
#define NODE_ETCD_WAL_H

/*
 * The beginning of a log of etcd's: records behind each other, each with its length in 8 bytes,
 * little-endian, whose highest byte says how many bytes fill it up (server/wal of etcd 3.4 and
 * 3.5: encoder.go, walpb/record.proto). Zeroes follow the last one. Pure. Threading: none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ETCD_WAL_LOOK = 64 * 1024,    /* bytes: records of a blank one end well before */
	ETCD_WAL_BYTES_MAX = 1 << 28, /* etcd makes files of 64 MiB */
};

/*
 * Whether it holds the member's name and nothing else: no entry, no vote. A member that was killed
 * before its first entry was written leaves such a log; begun with it, it knows of nobody who may
 * vote, itself neither, and waits for ever. `bytes`: of the file, or ETCD_WAL_LOOK of a longer one,
 * of which all else is to be looked at with etcd_wal_is_rest. What does not hold is not blank.
 */
bool etcd_wal_is_blank(const uint8_t *data, size_t bytes);
/* Whether it may follow in a blank log: after a hole that a bad disk made there is more. */
bool etcd_wal_is_rest(const uint8_t *data, size_t bytes);

#endif
