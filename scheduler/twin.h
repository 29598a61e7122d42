/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_TWIN_H
#define SCHEDULER_TWIN_H

/*
 * Two nodes with one identity: a state folder that was copied to a second machine. What tells them
 * apart is the instance: a number that is drawn when a folder is first run on a machine since that
 * has booted, and that stays over everything that ends and begins there. It stands in the file
 * `instance` of the folder, with the boot and the place of the folder that it is for; both are
 * different where the folder was copied to. A later instance of a folder has a greater number,
 * whatever the clocks say.
 *
 * What is said on a channel of kind CHANNEL_WHO, one message each way at most, little endian:
 *   0 version u8   1 kind u8   2 flags u16 (ASK: 1 it holds itself back)   4 node u32
 *   8 born u64 (the instance)   16 session u64   24 address (16 bytes, then u16 port)
 *   42 zero (6)
 *
 *   ASK   node, born and session of who asks, and the port where it hears others; who are you, and
 *         where do you hear me?
 *   SAY   the same of who answers; address: where it hears the asker's node (port 0: nowhere)
 *   HINT  not answered: you speak in a session older than that one, which comes from there
 *
 * No I/O, no clock. Threading: values of one owner. Who acts on it: cluster_twin.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum {
	TWIN_VERSION = 1,
	TWIN_BYTES = 48,
	TWIN_HOLDS = 1, /* flag of an ASK */
	TWIN_BOOT = 40, /* bytes of a boot's name, with NUL */
	TWIN_FILE_MAX = 256,
};

enum twin_kind { TWIN_ASK = 1, TWIN_SAY, TWIN_HINT };

struct twin_message {
	enum twin_kind kind;
	uint16_t flags;
	uint32_t node;
	uint64_t born;
	uint64_t session;
	struct addr address;
};

void twin_encode(const struct twin_message *m, uint8_t out[TWIN_BYTES]);
/* Of the first TWIN_BYTES bytes. False: not what a node writes. */
bool twin_decode(const void *data, size_t bytes, struct twin_message *out);

/* Where a folder runs, and since when. */
struct twin_instance {
	char boot[TWIN_BOOT];
	uint64_t device, inode; /* of the folder */
	uint64_t born;
};

/* Text, NUL behind it; the bytes without that. */
size_t twin_put_instance(const struct twin_instance *i, char out[TWIN_FILE_MAX]);
bool twin_take_instance(const char *text, struct twin_instance *out);
/* The same boot and folder. */
bool twin_is_here(const struct twin_instance *a, const struct twin_instance *b);
/* The number of a new instance of a folder whose last one had `before` (0: none). */
uint64_t twin_next(uint64_t before, int64_t wall_ns, uint64_t random);

#endif
