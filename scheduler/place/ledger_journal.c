/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of the ledger. The token of a claim's record is its number, that of its end the same
 * with ENDED set, that of the whole file has WHOLE set.
 *
 * After a write that failed the file may hold the record or not. A claim in that doubt is neither
 * told nor given back: the journal is written anew without it, and when that is durable it ends.
 * An end is made good likewise: what the claim held is given to others only when a restart would no
 * longer adopt it.
 */
#include "scheduler/place/ledger_item.h"

#include <assert.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)
#define ENDED ((uint64_t)1 << 63)
#define WHOLE ((uint64_t)1 << 62)

enum { RECORDS_SPARE = 256 };

/* ---- writing ---- */

static struct claimlog_record
record_of(const struct ledger_item *i)
{
	struct claimlog_record r = {
		.kind = CLAIMLOG_CLAIM,
		.claim = i->claim,
		.cpu_milli = i->cpu_milli,
		.memory_bytes = i->memory_bytes,
		.mode = (uint8_t)i->mode,
		.takes_count = i->takes_count,
	};

	memcpy(r.takes, i->takes, i->takes_count * sizeof(r.takes[0]));
	return r;
}

static void
append(struct ledger *l, const struct claimlog_record *r, uint64_t token, struct step_actions *out)
{
	struct step_action *a = step_add(out, STEP_APPEND, NULL, claimlog_size(r));

	claimlog_encode(r, step_data(out, a));
	a->what = l->file;
	a->token = token;
	if (++l->journal_records > 2 * l->items_count + RECORDS_SPARE)
		l->rewrite = true;
}

void
ledger_journal_append(struct ledger *l, struct ledger_item *i, struct step_actions *out)
{
	struct claimlog_record r = record_of(i);

	append(l, &r, i->claim.number, out);
}

static bool
is_kept(const struct ledger_item *i)
{
	return i->phase == LEDGER_WRITING || i->phase == LEDGER_HELD;
}

static void
write_anew(struct ledger *l, struct step_actions *out)
{
	struct claimlog_record next = {.kind = CLAIMLOG_NEXT, .number = l->next_number};
	struct step_action *a;
	size_t bytes = CLAIMLOG_SMALL_BYTES;
	struct list *it, *tmp;
	uint8_t *at;

	list_each (it, tmp, &l->items) {
		struct ledger_item *i = container_of(it, struct ledger_item, link);

		i->excluded = !is_kept(i);
		bytes += is_kept(i) ? ledger_item_bytes(i) : 0;
	}
	a = step_add(out, STEP_REPLACE, NULL, bytes);
	at = step_data(out, a);
	at += claimlog_encode(&next, at);
	l->journal_records = 1;
	list_each (it, tmp, &l->items) {
		struct ledger_item *i = container_of(it, struct ledger_item, link);
		struct claimlog_record r;

		if (!is_kept(i))
			continue;
		r = record_of(i);
		at += claimlog_encode(&r, at);
		l->journal_records++;
	}
	a->what = l->file;
	a->token = l->rewrite_token = WHOLE | ++l->rewrites;
	l->rewrite = false;
}

bool
ledger_journal_work(struct ledger *l, uint64_t now_ns, struct step_actions *out)
{
	if (!l->rewrite || l->rewrite_token || now_ns < l->rewrite_at_ns)
		return false;
	/* A journal of a version that allowed more is only added to, until enough has ended. */
	if (CLAIMLOG_SMALL_BYTES + l->journal_bytes > STEP_BYTES_MAX)
		return false;
	if (!step_actions_room(out, 1, CLAIMLOG_SMALL_BYTES + l->journal_bytes))
		return true;
	write_anew(l, out);
	return false;
}

void
ledger_ended(struct ledger *l, uint64_t number, struct step_actions *out)
{
	struct ledger_item *i = map_get_u64(&l->by_number, number);
	struct claimlog_record r = {.kind = CLAIMLOG_ENDED, .number = number};
	struct step_action *a;

	if (!i || i->phase != LEDGER_HELD)
		return;
	i->phase = LEDGER_ENDING;
	list_remove(&i->due);
	append(l, &r, number | ENDED, out);
	a = step_add(out, STEP_TELL, NULL, 0);
	a->what = LEDGER_TELL_UNCLAIM;
	a->token = number;
}

/* ---- what became of it ---- */

static void
whole_done(struct ledger *l, bool good, uint64_t now_ns)
{
	struct list *it, *next;

	l->rewrite_token = 0;
	if (!good) {
		l->rewrite = true;
		l->rewrite_at_ns = now_ns + LEDGER_RETRY_MS * MS_NS;
		return;
	}
	list_each (it, next, &l->items) {
		struct ledger_item *i = container_of(it, struct ledger_item, link);

		if (i->phase != LEDGER_DOUBTFUL && i->phase != LEDGER_ENDING)
			continue;
		if (i->excluded)
			ledger_item_free(l, i);
		else if (i->phase == LEDGER_DOUBTFUL)
			l->rewrite = true;
	}
}

void
ledger_disk_done(struct ledger *l, uint64_t token, bool good, uint64_t now_ns)
{
	struct ledger_item *i;

	if (token & WHOLE) {
		if (token == l->rewrite_token)
			whole_done(l, good, now_ns);
		return;
	}
	i = map_get_u64(&l->by_number, token & ~ENDED);
	if (i && !(token & ENDED) && i->phase == LEDGER_WRITING)
		i->phase = good ? LEDGER_HELD : LEDGER_DOUBTFUL;
	if (good) {
		if (i && token & ENDED && i->phase == LEDGER_ENDING)
			ledger_item_free(l, i);
		return;
	}
	l->rewrite = true;
	l->rewrite_at_ns = now_ns;
}

/* ---- after a restart ---- */

static int
adopt(struct ledger *l, const struct claimlog_record *r)
{
	struct ledger_item *i = map_get_u64(&l->by_number, r->claim.number);

	if (r->claim.node != l->self)
		return 0;
	if (i && (i->claim.service != r->claim.service || i->claim.slot != r->claim.slot))
		return 0;
	if (i) {
		i->claim = r->claim;
		return 0;
	}
	i = ledger_item_new(l, r->takes_count);
	if (!i)
		return -1;
	ledger_item_hold(l, i, r->cpu_milli, r->memory_bytes, (enum fleet_mode)r->mode);
	memcpy(i->takes, r->takes, r->takes_count * sizeof(r->takes[0]));
	i->phase = LEDGER_HELD;
	/* Named without its number until that is found by it. */
	struct claim claim = r->claim;
	claim.number = 0;
	if (ledger_item_name(l, i, &claim) < 0 ||
	    map_put_u64(&l->by_number, r->claim.number, i) < 0) {
		ledger_item_free(l, i);
		return -1;
	}
	i->claim = r->claim;
	return 0;
}

static int
take_record(struct ledger *l, const struct claimlog_record *r)
{
	uint64_t number = r->kind == CLAIMLOG_CLAIM ? r->claim.number + 1 : r->number;
	struct ledger_item *i;

	l->journal_records++;
	if (r->kind == CLAIMLOG_ENDED)
		number++;
	if (number > l->next_number && number < WHOLE)
		l->next_number = number;
	if (r->kind == CLAIMLOG_CLAIM)
		return adopt(l, r);
	i = map_get_u64(&l->by_number, r->number);
	if (r->kind == CLAIMLOG_ENDED && i)
		ledger_item_free(l, i);
	return 0;
}

int
ledger_load(struct ledger *l, const void *data, size_t bytes)
{
	struct claimlog_reader reader;
	struct claimlog_record record;
	struct list *it, *next;

	claimlog_open(&reader, data, bytes);
	while (claimlog_next(&reader, &record)) {
		if (take_record(l, &record) < 0)
			return -1;
	}
	l->rewrite |= reader.damaged;
	list_each (it, next, &l->items) {
		struct ledger_item *i = container_of(it, struct ledger_item, link);

		if (i->claim.state == CLAIM_LEAVING)
			i->stop = true;
		else
			i->claim.state = CLAIM_STARTING;
		i->tell = true;
		ledger_item_due(l, i);
	}
	return 0;
}
