/* SPDX-License-Identifier: Apache-2.0 */
/* The set of public ports, sorted and without doubles, so that two of them can be compared. */
#include "node/streams.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"

/* The version of a table that its producer has not committed yet. */
enum { UNSAID = 1 };

static int
compare(const void *left, const void *right)
{
	const struct listeners_port *a = left, *b = right;

	return a->udp != b->udp ? (a->udp ? 1 : -1) : (int)a->port - (int)b->port;
}

static bool
take(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_stream *row = bytes;
	struct streams *s = arg;
	struct listeners_port port = {.port = row->port, .udp = row->protocol == MSG_STREAM_UDP};

	(void)key;
	if (!(row->flags & MSG_STREAM_PUBLIC) || !port.port ||
	    (row->protocol != MSG_STREAM_TCP && row->protocol != MSG_STREAM_UDP))
		return true;
	for (size_t i = 0; i < s->count; i++) {
		if (compare(&s->ports[i], &port) == 0)
			return true;
	}
	if (s->count == MSG_STREAM_PORTS_MAX) {
		log_event(LOG_ERROR, "too many public ports: one is not served",
			  log_u("port", port.port), LOG_END);
		return true;
	}
	s->ports[s->count++] = port;
	return true;
}

bool
streams_sync(struct streams *s, struct ring_reader *scheduler)
{
	struct streams fresh = {.known = true};

	if (ring_table_sync(scheduler, MSG_TABLE_STREAM, sizeof(struct msg_stream), NULL, NULL) !=
		    RING_OK ||
	    ring_table_version(scheduler, MSG_TABLE_STREAM) <= UNSAID)
		return false;
	ring_table_each(scheduler, MSG_TABLE_STREAM, take, &fresh);
	qsort(fresh.ports, fresh.count, sizeof(fresh.ports[0]), compare);
	bool changed = !s->known || s->count != fresh.count;
	for (size_t i = 0; i < s->count && !changed; i++)
		changed = compare(&s->ports[i], &fresh.ports[i]) != 0;
	*s = fresh;
	return changed;
}
