/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CHANNEL_HEAD_H
#define SCHEDULER_CHANNEL_HEAD_H

/*
 * What is first said on a channel: a message of a size that is known, in whatever pieces it comes,
 * and until when it must be there. No I/O, no clock. Threading: values of one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHANNEL_HEAD_MAX = 64 /* bytes */ };

struct channel_head {
	uint8_t data[CHANNEL_HEAD_MAX];
	size_t bytes, wanted;
	uint64_t until_ns;
};

/* wanted: at most CHANNEL_HEAD_MAX, and not 0. */
void channel_head_init(struct channel_head *h, size_t wanted, uint64_t until_ns);
/* Takes of *data what is missing, and moves *data and *bytes to what follows. True: `data` is
 * whole. */
bool channel_head_take(struct channel_head *h, const uint8_t **data, size_t *bytes);
bool channel_head_is_late(const struct channel_head *h, uint64_t now_ns);

#endif
