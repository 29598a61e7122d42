/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the configuration protocol: what they mean does not depend on how they come in
 * pieces; what was taken can be said again, in as many bytes as was foretold. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/uapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EVENTS_MAX = 64 };

struct seen {
	enum uapi_event event;
	int code;
	bool broken, nothing;
	size_t peers, prefixes, at;
};

static void
say_again(const struct setup *s)
{
	struct buf b;

	buf_init(&b, MEM_OVERLAY, uapi_state_bytes_max(s));
	if (!uapi_put_state(&b, s) || b.length > uapi_state_bytes_max(s))
		abort();
	buf_fini(&b);
}

static void
check(const struct uapi *u, enum uapi_event event)
{
	size_t prefixes = 0;

	if ((event == UAPI_WRONG) != (u->code != 0) || (event != UAPI_WRONG && u->broken))
		abort();
	if (event != UAPI_SET && !setup_says_nothing(&u->change))
		abort();
	for (size_t i = 0; i < u->change.peers_count; i++)
		prefixes += u->change.peers[i].prefixes_count;
	if (prefixes != u->change.prefixes_count)
		abort();
	say_again(&u->change);
}

/* In pieces of that many bytes. */
static size_t
read_all(const uint8_t *data, size_t size, size_t piece, struct seen seen[EVENTS_MAX])
{
	size_t count = 0, at = 0, used;
	struct uapi u;

	uapi_init(&u);
	while (at < size && count < EVENTS_MAX && !u.broken) {
		size_t n = size - at < piece ? size - at : piece;
		enum uapi_event event = uapi_read(&u, data + at, n, &used);

		if (used > n || (event == UAPI_MORE && used != n))
			abort();
		at += used;
		if (event == UAPI_MORE)
			continue;
		check(&u, event);
		memset(&seen[count], 0, sizeof(seen[count]));
		seen[count].event = event;
		seen[count].code = u.code;
		seen[count].broken = u.broken;
		seen[count].nothing = setup_says_nothing(&u.change);
		seen[count].peers = u.change.peers_count;
		seen[count].prefixes = u.change.prefixes_count;
		seen[count++].at = at;
		if (!u.broken)
			uapi_next(&u);
	}
	uapi_fini(&u);
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen whole[EVENTS_MAX], pieces[EVENTS_MAX];
	size_t n = read_all(data, size, size + 1, whole);

	for (size_t piece = 1; piece < 8; piece += 3)
		if (read_all(data, size, piece, pieces) != n ||
		    memcmp(whole, pieces, n * sizeof(whole[0])) != 0)
			abort();
	return 0;
}
