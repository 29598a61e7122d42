/* SPDX-License-Identifier: Apache-2.0 */
/* Why a replica is no more where it was: the last time that it was placed anew, of the newest
 * events of all nodes. What cannot be asked is left out. */
#include "cli/explain.h"

#include <string.h>
#include "base/text.h"

enum { EVENTS = 500 }; /* of each node */

json_t *
explain_moves(struct explain *w)
{
	struct err ignored = {0};
	char path[40];

	text_format(path, sizeof(path), "/v1/events?limit=%d", EVENTS);
	return explain_ask(w, path, &ignored);
}

static bool
is_move(const json_t *event)
{
	const char *type = json_read_text(event, "type");

	return strcmp(type, "placement.moved") == 0 || strcmp(type, "placement.lost") == 0;
}

void
explain_say_move(struct explain *w, const json_t *moves, const char *deployment,
		 const char *service, long long index)
{
	const json_t *items = json_read_array(moves, "items");
	const json_t *last = NULL;
	char begin[160], line[EXPLAIN_LIST_BYTES];

	text_format(begin, sizeof(begin), "%s.%lld ", service, index);
	for (size_t i = 0; i < json_read_count(items); i++) {
		const json_t *e = json_read_at(items, i);

		if (is_move(e) && strcmp(json_read_text(e, "deployment"), deployment) == 0 &&
		    strncmp(json_read_text(e, "text"), begin, strlen(begin)) == 0)
			last = e; /* they come in the order of time */
	}
	if (!last)
		return;
	text_format(line, sizeof(line), "%.19sZ %s", json_read_text(last, "ts"),
		    json_read_text(last, "text"));
	explain_say(w, "last", line);
}
