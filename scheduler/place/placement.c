/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs to ledger and coordinator, their work, and what both say when it is done. */
#include "scheduler/place/placement.h"

#include <assert.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)

void
placement_init(struct placement *p, struct fleet *fleet, uint32_t self, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->fleet = fleet;
	p->self = self;
	p->timer_ns = UINT64_MAX;
	p->load_due_ns = UINT64_MAX;
	ledger_init(&p->ledger, fleet, self, PLACEMENT_FILE);
	coordinator_init(&p->coordinator, fleet, self, seed);
}

void
placement_fini(struct placement *p)
{
	coordinator_fini(&p->coordinator);
	ledger_fini(&p->ledger);
	mem_free(p->running);
}

void
placement_changed(void *placement, struct fleet_service *service)
{
	struct placement *p = placement;

	coordinator_touch(&p->coordinator, service);
}

/* ---- inputs ---- */

static void
datagram(struct placement *p, const struct step_input *in, struct step_actions *out)
{
	enum placemsg_result result;
	struct placemsg m;
	struct cursor c;

	cursor_init(&c, in->data, in->bytes);
	while ((result = placemsg_decode(&c, &m)) == PLACEMSG_OK) {
		/* A datagram is small enough for all of its answers; what comes too much is sent
		 * again by the other side. */
		if (!step_actions_room(out, LEDGER_STEP_ACTIONS, CLAIMLOG_BYTES_MAX + 256))
			return;
		switch (m.kind) {
		case PLACEMSG_OFFER:
		case PLACEMSG_AWARD:
		case PLACEMSG_RELEASE:
		case PLACEMSG_RETIRE:
		case PLACEMSG_ASK:
			if (!p->lost)
				ledger_message(&p->ledger, in->node, &m, in->now_ns, out);
			break;
		case PLACEMSG_PROMISE:
		case PLACEMSG_REJECT:
		case PLACEMSG_CLAIMED:
		case PLACEMSG_GONE:
			coordinator_message(&p->coordinator, in->node, &m, in->now_ns, out);
			break;
		}
	}
	p->bad += result == PLACEMSG_BAD;
}

static void
take_running(struct placement *p, const struct step_input *in)
{
	size_t count = in->bytes / sizeof(uint64_t);
	uint64_t *running = mem_array(MEM_SCHEDULER, count, sizeof(*running));

	/* Without memory no orphan is named now; the shell says again what runs. */
	if (!running)
		return;
	if (count)
		memcpy(running, in->data, count * sizeof(*running));
	mem_free(p->running);
	p->running = running;
	p->running_count = count;
	p->running_at = 0;
}

static void
local(struct placement *p, const struct step_input *in, struct step_actions *out)
{
	uint16_t words[2] = {0, (uint16_t)in->status}; /* reason, state */
	uint64_t memory = 0;

	switch ((enum placement_local)in->what) {
	case PLACEMENT_FLEET:
		break;
	case PLACEMENT_RUNNING:
		take_running(p, in);
		break;
	case PLACEMENT_STATE:
		if (in->bytes)
			memcpy(words, in->data,
			       in->bytes < sizeof(words) ? in->bytes : sizeof(words));
		if (words[1] >= CLAIM_STARTING && words[1] <= CLAIM_LEAVING)
			ledger_state(&p->ledger, in->token, (enum claim_state)words[1], words[0]);
		break;
	case PLACEMENT_ENDED:
		ledger_ended(&p->ledger, in->token, out);
		break;
	case PLACEMENT_CORDON:
		ledger_cordon(&p->ledger, in->token != 0);
		break;
	case PLACEMENT_DRAIN:
		ledger_drain(&p->ledger, in->token);
		break;
	case PLACEMENT_RUNS:
		if (in->bytes == sizeof(memory))
			memcpy(&memory, in->data, sizeof(memory));
		ledger_runs(&p->ledger, in->token, memory);
		break;
	}
}

static void
input(struct placement *p, const struct step_input *in, struct step_actions *out)
{
	switch (in->kind) {
	case STEP_FILE:
		if (in->what == PLACEMENT_FILE)
			p->lost = ledger_load(&p->ledger, in->data, in->bytes) < 0;
		break;
	case STEP_START:
		coordinator_start(&p->coordinator, in->now_ns);
		p->started = true;
		break;
	case STEP_DATAGRAM:
		datagram(p, in, out);
		break;
	case STEP_DISK_DONE:
		ledger_disk_done(&p->ledger, in->token, in->status == 0, in->now_ns);
		break;
	case STEP_LOCAL:
		local(p, in, out);
		break;
	case STEP_TIMER:
		p->timer_ns = UINT64_MAX;
		break;
	case STEP_MORE:
	case STEP_STREAM_UP:
	case STEP_STREAM_DATA:
	case STEP_STREAM_DOWN:
	case STEP_STREAM_ROOM:
		break;
	}
}

/* ---- what goes out ---- */

static bool
name_orphans(struct placement *p, struct step_actions *out)
{
	for (; p->running_at < p->running_count; p->running_at++) {
		uint64_t number = p->running[p->running_at];
		struct step_action *a;

		if (p->lost || ledger_claim(&p->ledger, number))
			continue;
		if (!step_actions_room(out, 1, 0))
			return true;
		a = step_add(out, STEP_TELL, NULL, 0);
		a->what = PLACEMENT_ORPHAN;
		a->token = number;
	}
	return false;
}

/* True: there was no room. */
static bool
tell_load(struct placement *p, uint64_t now_ns, struct step_actions *out)
{
	uint32_t cpu = ledger_cpu_free_milli(&p->ledger);
	uint64_t memory = ledger_memory_free_bytes(&p->ledger);
	struct step_action *a;
	uint8_t *at;

	if (p->load_told && cpu == p->cpu_told_milli && memory == p->memory_told_bytes)
		return false;
	if (p->load_due_ns == UINT64_MAX)
		p->load_due_ns = now_ns;
	if (now_ns < p->load_due_ns)
		return false;
	if (!step_actions_room(out, 1, 16))
		return true;
	a = step_add(out, STEP_TELL, NULL, 16);
	at = step_data(out, a);
	for (unsigned i = 0; i < 8; i++) {
		at[i] = (uint8_t)((uint64_t)cpu >> 8 * i);
		at[8 + i] = (uint8_t)(memory >> 8 * i);
	}
	a->what = PLACEMENT_LOAD;
	p->load_told = true;
	p->cpu_told_milli = cpu;
	p->memory_told_bytes = memory;
	p->load_due_ns = now_ns + PLACEMENT_LOAD_MS * MS_NS;
	return false;
}

static uint64_t
due(const struct placement *p)
{
	uint64_t ledger = ledger_due_ns(&p->ledger), due = coordinator_due_ns(&p->coordinator);

	if (ledger < due)
		due = ledger;
	if ((ledger_cpu_free_milli(&p->ledger) != p->cpu_told_milli ||
	     ledger_memory_free_bytes(&p->ledger) != p->memory_told_bytes) &&
	    p->load_due_ns < due)
		due = p->load_due_ns;
	return due;
}

static bool
set_timer(struct placement *p, struct step_actions *out)
{
	uint64_t at = due(p);

	if (at == p->timer_ns)
		return false;
	if (!step_actions_room(out, 1, 0))
		return true;
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = at;
	p->timer_ns = at;
	return false;
}

void
placement_step(struct placement *p, const struct step_input *in, struct step_actions *out)
{
	bool more;

	input(p, in, out);
	if (!p->started)
		return;
	more = ledger_work(&p->ledger, in->now_ns, out);
	more |= coordinator_work(&p->coordinator, in->now_ns, out);
	more |= name_orphans(p, out);
	more |= tell_load(p, in->now_ns, out);
	more |= set_timer(p, out);
	out->more |= more;
}
