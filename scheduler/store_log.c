/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring by sequence. One transaction that alone is too large for it empties it.
 */
#include "scheduler/store_log.h"

#include <string.h>
#include "base/mem.h"

struct store_frames *
store_log_frames_new(uint64_t sequence, size_t bytes_max)
{
	struct store_frames *f = mem_zalloc(MEM_SCHEDULER, sizeof(*f));

	if (!f)
		return NULL;
	f->refs = 1;
	f->sequence = sequence;
	buf_init(&f->bytes, MEM_SCHEDULER, bytes_max);
	return f;
}

struct store_frames *
store_log_frames_ref(struct store_frames *f)
{
	f->refs++;
	return f;
}

void
store_log_frames_unref(struct store_frames *f)
{
	if (!f || --f->refs > 0)
		return;
	buf_fini(&f->bytes);
	mem_free(f);
}

void
store_log_init(struct store_log *l)
{
	memset(l, 0, sizeof(*l));
	l->oldest = 1;
}

static void
drop_oldest(struct store_log *l)
{
	struct store_frames **slot = &l->items[l->oldest++ % STORE_LOG_KEPT];

	l->bytes -= (*slot)->bytes.length;
	store_log_frames_unref(*slot);
	*slot = NULL;
}

void
store_log_fini(struct store_log *l)
{
	while (l->oldest <= l->newest)
		drop_oldest(l);
}

static struct store_frames *
frames_of(const struct store_entry *entry, const struct store_change *changes, size_t count)
{
	struct store_frames *f = store_log_frames_new(entry->sequence, STORE_LOG_BYTES_MAX);

	if (!f)
		return NULL;
	store_wire_put_changes(&f->bytes, changes, count);
	size_t begun = store_wire_begin(&f->bytes, STORE_WIRE_ENTRY);
	store_wire_put_entry(&f->bytes, entry);
	store_wire_end(&f->bytes, begun);
	if (buf_ok(&f->bytes))
		return f;
	store_log_frames_unref(f);
	return NULL;
}

void
store_log_add(struct store_log *l, const struct store_entry *entry,
	      const struct store_change *changes, size_t count)
{
	struct store_frames *f = frames_of(entry, changes, count);

	if (!f || entry->sequence != l->newest + 1) {
		store_log_fini(l);
		store_log_init(l);
		l->oldest = entry->sequence + (f ? 0 : 1);
	}
	l->newest = entry->sequence;
	if (!f)
		return;
	while (l->oldest < l->newest && (l->newest - l->oldest >= STORE_LOG_KEPT ||
					 l->bytes + f->bytes.length > STORE_LOG_BYTES_MAX))
		drop_oldest(l);
	l->items[l->newest % STORE_LOG_KEPT] = f;
	l->bytes += f->bytes.length;
}

struct store_frames *
store_log_get(const struct store_log *l, uint64_t sequence)
{
	if (sequence < l->oldest || sequence > l->newest)
		return NULL;
	return l->items[sequence % STORE_LOG_KEPT];
}
