/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_LEDGER_ITEM_H
#define SCHEDULER_PLACE_LEDGER_ITEM_H

/* Between ledger.c and ledger_journal.c. */

#include "scheduler/place/claimlog.h"
#include "scheduler/place/ledger.h"

/* In the list, holding nothing yet. NULL: out of memory. */
struct ledger_item *ledger_item_new(struct ledger *l, size_t takes_count);
void ledger_item_hold(struct ledger *l, struct ledger_item *i, uint32_t cpu_milli,
		      uint64_t memory_bytes, enum fleet_mode mode);
/* It is this claim from now on, and found by its slot. -1: out of memory. */
int ledger_item_name(struct ledger *l, struct ledger_item *i, const struct claim *claim);
/* Gives back all it holds. */
void ledger_item_free(struct ledger *l, struct ledger_item *i);
size_t ledger_item_bytes(const struct ledger_item *i); /* in the journal */
void ledger_item_due(struct ledger *l, struct ledger_item *i);
/* One action each. */
void ledger_tell_claim(const struct ledger_item *i, uint64_t after, struct step_actions *out);
void ledger_journal_append(struct ledger *l, struct ledger_item *i, struct step_actions *out);
/* True: there was no room. */
bool ledger_journal_work(struct ledger *l, uint64_t now_ns, struct step_actions *out);

#endif
