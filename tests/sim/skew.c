/* SPDX-License-Identifier: Apache-2.0 */
/* A clock with an offset, a rate and jumps, in whole numbers. */
#include "tests/sim/skew.h"

#include <assert.h>

enum { RATE_MAX_PPB = 50000000 };
#define PER_ONE UINT64_C(1000000000)

static uint64_t
rate(const struct skew *s)
{
	return PER_ONE + (uint64_t)(int64_t)s->rate_ppb;
}

void
skew_init(struct skew *s, uint64_t true_ns, uint64_t local_ns, int32_t rate_ppb)
{
	assert(rate_ppb <= RATE_MAX_PPB && rate_ppb >= -RATE_MAX_PPB);
	*s = (struct skew){rate_ppb, true_ns, local_ns};
}

uint64_t
skew_local(const struct skew *s, uint64_t true_ns)
{
	unsigned __int128 passed = true_ns - s->true_ns;

	assert(true_ns >= s->true_ns);
	return s->local_ns + (uint64_t)(passed * rate(s) / PER_ONE);
}

uint64_t
skew_true(const struct skew *s, uint64_t local_ns)
{
	unsigned __int128 wanted;
	uint64_t at;

	if (local_ns == UINT64_MAX)
		return UINT64_MAX;
	if (local_ns <= s->local_ns)
		return s->true_ns;
	wanted = (unsigned __int128)(local_ns - s->local_ns) * PER_ONE;
	wanted = wanted / rate(s) + s->true_ns;
	if (wanted >= UINT64_MAX)
		return UINT64_MAX;
	at = (uint64_t)wanted;
	while (skew_local(s, at) < local_ns)
		at++;
	return at;
}

void
skew_jump(struct skew *s, uint64_t true_ns, uint64_t forward_ns)
{
	s->local_ns = skew_local(s, true_ns) + forward_ns;
	s->true_ns = true_ns;
}
