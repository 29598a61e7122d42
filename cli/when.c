/* SPDX-License-Identifier: Apache-2.0 */
/* Times on the command line: how long ago, or when. */
#include "cli/when.h"

#include "base/text.h"

int
when_parse(const char *text, int64_t now_wall_ns, int64_t *wall_ns_out, struct err *err)
{
	uint64_t ms;

	if (text_untime(text, wall_ns_out))
		return 0;
	if (text_duration_ms(text, &ms) == TEXT_OK && (int64_t)ms < now_wall_ns / 1000000) {
		*wall_ns_out = now_wall_ns - (int64_t)ms * 1000000;
		return 0;
	}
	err_set(err, ERR_USAGE, "\"%s\" is not a time", text);
	return err_fix(err, "for example 10m (ten minutes ago) or 2026-11-22T02:00:00Z");
}
