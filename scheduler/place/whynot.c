/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From reasons to sentences. A node may have many reasons; the one that is said first is the one
 * that stays when all others are mended. Indexes in a fit are believed only where they point to
 * something: an answer of another node has none.
 */
#include "scheduler/place/whynot.h"

#include <string.h>
#include "base/text.h"

enum { CELL_BYTES = 32, FIXES_MAX = 3 };

/* ---- one sentence for each reason ---- */

struct say {
	const struct fleet *fleet;
	const struct fleet_service *service;
	const struct fleet_node *node;
	const struct fit *fit;
	char *out;
	size_t cap;
};

static void
say_dead(const struct say *s)
{
	text_copy(s->out, s->cap, "not reachable");
}

static void
say_suspect(const struct say *s)
{
	text_copy(s->out, s->cap, "does not answer the others (suspect)");
}

static void
say_platform(const struct say *s)
{
	text_format(s->out, s->cap, "is %s, %s is asked", s->node->platform_name,
		    s->service->spec.platform);
}

static void
say_label(const struct say *s)
{
	const struct fleet_words *labels = &s->service->labels;
	const struct fleet_word *asked;
	const char *has;

	if (s->fit->label >= labels->count) {
		text_copy(s->out, s->cap, "a label that is asked is not there");
		return;
	}
	asked = &labels->items[s->fit->label];
	has = fleet_words_value(&s->node->labels, asked->text);
	if (has)
		text_format(s->out, s->cap, "label %s=%s is asked, this node has %s=%s",
			    asked->text, asked->value, asked->text, has);
	else
		text_format(s->out, s->cap, "label %s=%s is asked, this node has no %s",
			    asked->text, asked->value, asked->text);
}

static void
say_taint(const struct say *s)
{
	if (s->fit->taint < s->node->taints.count)
		text_format(s->out, s->cap, "taint %s is not tolerated",
			    s->node->taints.items[s->fit->taint].text);
	else
		text_copy(s->out, s->cap, "a taint is not tolerated");
}

/* "device:/dev/kvm" is "device /dev/kvm" to people. */
static void
thing(const struct fleet_words *w, uint16_t index, char *out, size_t cap)
{
	char *colon;

	text_copy(out, cap, index < w->count ? w->items[index].text : "something it needs");
	colon = strchr(out, ':');
	if (colon)
		*colon = ' ';
}

static void
say_need(const struct say *s)
{
	char what[WHYNOT_TEXT_BYTES];

	thing(&s->service->needs, s->fit->need, what, sizeof(what));
	text_format(s->out, s->cap, "%s is not there", what);
}

static void
say_keep(const struct say *s)
{
	const struct fleet_node *keeper = fleet_node(s->fleet, s->fit->keeper);
	char what[WHYNOT_TEXT_BYTES];

	thing(&s->service->keeps, s->fit->keep, what, sizeof(what));
	text_format(s->out, s->cap, "%s is on %s", what, keeper ? keeper->name : "another node");
}

static void
say_taken(const struct say *s)
{
	char what[WHYNOT_TEXT_BYTES];

	thing(&s->service->takes, s->fit->taken, what, sizeof(what));
	text_format(s->out, s->cap, "%s is in use", what);
}

static void
say_cpu(const struct say *s)
{
	uint32_t want = s->service->spec.cpu_milli, free = s->fit->cpu_free_milli;

	text_format(s->out, s->cap, "needs %.2f cores (%.2f short)", want / 1000.0,
		    (want > free ? want - free : 0) / 1000.0);
}

static void
say_memory(const struct say *s)
{
	uint64_t want = s->service->spec.memory_bytes, free = s->fit->memory_free_bytes;
	char need[CELL_BYTES], lack[CELL_BYTES];

	text_human_bytes(want, need, sizeof(need));
	text_human_bytes(want > free ? want - free : 0, lack, sizeof(lack));
	text_format(s->out, s->cap, "needs memory %s (%s short)", need, lack);
}

static void
say_dedicated(const struct say *s)
{
	text_format(s->out, s->cap, "has a replica of %s already (node.mode dedicated)",
		    s->service->name);
}

static void
say_exclusive(const struct say *s)
{
	text_copy(s->out, s->cap, "runs a service that has the node for itself");
}

static void
say_occupied(const struct say *s)
{
	text_format(s->out, s->cap, "runs others, and %s wants a node for itself",
		    s->service->name);
}

static void
say_cordoned(const struct say *s)
{
	text_copy(s->out, s->cap, "is cordoned: takes nothing new");
}

static void
say_draining(const struct say *s)
{
	text_copy(s->out, s->cap, "is being drained");
}

static void
say_store(const struct say *s)
{
	text_copy(s->out, s->cap, "cannot write the store, and it lives with a lease");
}

static void
say_gave_up(const struct say *s)
{
	text_copy(s->out, s->cap, "could not run it");
}

static void
say_unknown(const struct say *s)
{
	text_copy(s->out, s->cap, "has not got this revision yet");
}

static void
say_expired(const struct say *s)
{
	text_copy(s->out, s->cap, "took back its promise: the award came too late");
}

static void
say_journal(const struct say *s)
{
	text_copy(s->out, s->cap, "could not write its journal");
}

static void
say_full(const struct say *s)
{
	text_copy(s->out, s->cap, "has as many replicas as one node may have");
}

static void
say_silent(const struct say *s)
{
	text_copy(s->out, s->cap, "did not answer the offer");
}

/* In the order in which they are said. */
static const struct {
	enum fit_reason reason;
	void (*say)(const struct say *s);
} sentences[] = {
	{FIT_DEAD, say_dead},
	{FIT_PLATFORM, say_platform},
	{FIT_LABEL, say_label},
	{FIT_TAINT, say_taint},
	{FIT_NEED, say_need},
	{FIT_KEEP, say_keep},
	{FIT_CORDONED, say_cordoned},
	{FIT_DRAINING, say_draining},
	{FIT_STORE, say_store},
	{FIT_OCCUPIED, say_occupied},
	{FIT_EXCLUSIVE, say_exclusive},
	{FIT_DEDICATED, say_dedicated},
	{FIT_TAKEN, say_taken},
	{FIT_MEMORY, say_memory},
	{FIT_CPU, say_cpu},
	{FIT_FULL, say_full},
	{FIT_GAVE_UP, say_gave_up},
	{FIT_SUSPECT, say_suspect},
	{FIT_UNKNOWN, say_unknown},
	{FIT_JOURNAL, say_journal},
	{FIT_SILENT, say_silent},
	{FIT_EXPIRED, say_expired},
};

void
whynot_sentence(const struct fleet *f, const struct fleet_service *s, const struct whynot_row *row,
		char *out, size_t cap)
{
	struct say say = {f, s, row->node, &row->fit, out, cap};
	char text[WHYNOT_TEXT_BYTES];

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++) {
		if (!(row->fit.reasons & sentences[i].reason))
			continue;
		sentences[i].say(&say);
		break;
	}
	if (!out[0] || !row->note)
		return;
	text_copy(text, sizeof(text), out);
	text_format(out, cap, "%s %s", text, row->note);
}

/* ---- the table ---- */

static void
cpu_cell(const struct whynot_row *row, char *out, size_t cap)
{
	if (row->fit.reasons & FIT_DEAD || !row->node->cpu_milli)
		text_copy(out, cap, "-");
	else
		text_format(out, cap, "%.1f", row->fit.cpu_free_milli / 1000.0);
}

static void
memory_cell(const struct whynot_row *row, char *out, size_t cap)
{
	if (row->fit.reasons & FIT_DEAD || !row->node->memory_bytes)
		text_copy(out, cap, "-");
	else
		text_human_bytes(row->fit.memory_free_bytes, out, cap);
}

static int
wider(int width, const char *text)
{
	int length = (int)strlen(text);

	return length > width ? length : width;
}

void
whynot_table(const struct fleet *f, const struct fleet_service *s, const struct whynot_row *rows,
	     size_t count, unsigned indent, struct buf *out)
{
	static const char *const heads[] = {"node", "cpu free", "memory free"};
	int name = (int)strlen(heads[0]), memory = (int)strlen(heads[2]);
	char cpu[CELL_BYTES], bytes[CELL_BYTES], why[WHYNOT_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		name = wider(name, rows[i].node->name);
		memory_cell(&rows[i], bytes, sizeof(bytes));
		memory = wider(memory, bytes);
	}
	buf_printf(out, "%*s%-*s  %s  %-*s  why not\n", (int)indent, "", name, heads[0], heads[1],
		   memory, heads[2]);
	for (size_t i = 0; i < count; i++) {
		cpu_cell(&rows[i], cpu, sizeof(cpu));
		memory_cell(&rows[i], bytes, sizeof(bytes));
		whynot_sentence(f, s, &rows[i], why, sizeof(why));
		buf_printf(out, "%*s%-*s  %-*s  %-*s  %s\n", (int)indent, "", name,
			   rows[i].node->name, (int)strlen(heads[1]), cpu, memory, bytes, why);
	}
}

/* ---- what would help ---- */

struct fixes {
	char *out;
	size_t cap;
	unsigned count;
};

static void
fix(struct fixes *x, const char *text)
{
	size_t used = strlen(x->out);

	if (x->count < FIXES_MAX)
		text_format(x->out + used, x->cap - used, "%s%s", x->count ? ", or " : "", text);
	x->count++;
}

/* What only lacks room would do with less: the node that has most of it. */
static void
fix_room(struct fixes *x, const struct fleet_service *s, const struct whynot_row *rows,
	 size_t count)
{
	const uint32_t room = FIT_CPU | FIT_MEMORY;
	const struct whynot_row *best = NULL;
	char text[WHYNOT_TEXT_BYTES], size[CELL_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (!(rows[i].fit.reasons & room) || rows[i].fit.reasons & ~room)
			continue;
		if (!best || rows[i].fit.memory_free_bytes > best->fit.memory_free_bytes)
			best = &rows[i];
	}
	if (!best)
		return;
	if (best->fit.reasons & FIT_MEMORY) {
		text_put_size(best->fit.memory_free_bytes >> 20 << 20, size, sizeof(size));
		text_format(text, sizeof(text), "lower resources.memory of %s to %s", s->name,
			    size);
		if (best->fit.memory_free_bytes >> 20)
			fix(x, text);
	}
	if (best->fit.reasons & FIT_CPU && best->fit.cpu_free_milli) {
		text_format(text, sizeof(text), "lower resources.cpu of %s to %.2f", s->name,
			    best->fit.cpu_free_milli / 1000.0);
		fix(x, text);
	}
}

static void
fix_label(struct fixes *x, const struct fleet_service *s, const struct whynot_row *rows,
	  size_t count)
{
	char text[WHYNOT_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		const struct fleet_word *label;

		if (rows[i].fit.reasons != FIT_LABEL || rows[i].fit.label >= s->labels.count)
			continue;
		label = &s->labels.items[rows[i].fit.label];
		text_format(text, sizeof(text), "give %s the label %s=%s", rows[i].node->name,
			    label->text, label->value);
		fix(x, text);
		return;
	}
}

static void
fix_state(struct fixes *x, const struct fleet_service *s, const struct whynot_row *rows,
	  size_t count)
{
	char text[WHYNOT_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (!(rows[i].fit.reasons & FIT_DEAD))
			continue;
		text_format(text, sizeof(text), "start %s", rows[i].node->name);
		fix(x, text);
		break;
	}
	for (size_t i = 0; i < count; i++) {
		const struct fit *why = &rows[i].fit;

		if (why->reasons != FIT_TAINT || why->taint >= rows[i].node->taints.count)
			continue;
		text_format(text, sizeof(text), "let %s tolerate %s (node.tolerate)", s->name,
			    rows[i].node->taints.items[why->taint].text);
		fix(x, text);
		break;
	}
}

bool
whynot_fix(const struct fleet_service *s, const struct whynot_row *rows, size_t count, char *out,
	   size_t cap)
{
	struct fixes x = {out, cap, 0};

	out[0] = '\0';
	fix_room(&x, s, rows, count);
	fix_label(&x, s, rows, count);
	fix_state(&x, s, rows, count);
	return x.count > 0;
}
