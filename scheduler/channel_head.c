/* SPDX-License-Identifier: Apache-2.0 */
/* The first words of a channel, piece by piece. */
#include "scheduler/channel_head.h"

#include <assert.h>
#include <string.h>

void
channel_head_init(struct channel_head *h, size_t wanted, uint64_t until_ns)
{
	assert(wanted > 0 && wanted <= CHANNEL_HEAD_MAX);
	*h = (struct channel_head){.wanted = wanted, .until_ns = until_ns};
}

bool
channel_head_take(struct channel_head *h, const uint8_t **data, size_t *bytes)
{
	size_t missing = h->wanted - h->bytes;
	size_t part = *bytes < missing ? *bytes : missing;

	memcpy(h->data + h->bytes, *data, part);
	h->bytes += part;
	*data += part;
	*bytes -= part;
	return h->bytes == h->wanted;
}

bool
channel_head_is_late(const struct channel_head *h, uint64_t now_ns)
{
	return now_ns >= h->until_ns;
}
