/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 6479. A jump over many words clears each of them once. */
#include "overlay/wg/replay.h"

#include <string.h>

enum { WORD = 64, WORDS = REPLAY_BITS / WORD };

void
replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

static void
advance(struct replay *r, uint64_t counter)
{
	uint64_t newest = r->next ? (r->next - 1) / WORD : 0, words = counter / WORD - newest;

	for (uint64_t i = 1; i <= words && i <= WORDS; i++)
		r->seen[(newest + i) % WORDS] = 0;
	r->next = counter + 1;
}

bool
replay_take(struct replay *r, uint64_t counter)
{
	if (counter >= REPLAY_COUNTER_MAX ||
	    (counter < r->next && r->next - counter > REPLAY_WINDOW))
		return false;
	if (counter >= r->next)
		advance(r, counter);
	uint64_t *word = &r->seen[counter / WORD % WORDS], bit = UINT64_C(1) << (counter % WORD);
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}
