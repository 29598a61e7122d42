/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of one simulated node: it gives a core its inputs, one at a time, and carries out the
 * actions in their order, as scheduler/step.h says a shell does. Beyond that it is hostile within
 * the contract: it may end between any two actions, stand still while its sockets fill, and start
 * again with what the disk really holds.
 *
 * What breaks the contract (a token twice, a datagram too long, a stream that is not there) fails
 * the run under the name "contract".
 */
#include "tests/sim/inside.h"

#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"

enum {
	MORE_MAX = 10000, /* steps in a row without an end */
	SKB_BYTES = 704,  /* what a datagram takes of a socket's room beside itself */
	TIMER_LATE_NS = 100000,
	HELD_MAX = 65536,
};

#define WALL_NS 1790000000000000000ll

struct sim_held {
	struct sim_held *next;
	struct step_action action;
	struct parcel *parcel;
};

struct sim_node *
sim_shell_node(struct sim *s, uint32_t node)
{
	assert(node >= 1 && node <= s->plan->nodes);
	return &s->nodes[node - 1];
}

/* ---- timer ---- */

void
sim_shell_arm(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *e;
	uint64_t at;

	if (n->state != SIM_UP || n->timer_ns == UINT64_MAX)
		return;
	at = skew_true(&n->clock, n->timer_ns);
	if (at < s->now_ns)
		at = s->now_ns;
	if (n->timer_armed && n->timer_event_ns <= at)
		return;
	at += draw_below(&s->draw, TIMER_LATE_NS);
	if (n->timer_armed && n->timer_event_ns <= at)
		return;
	n->timer_armed = true;
	n->timer_event_ns = at;
	e = sim_queue_add(&s->queue, at, SIM_TIMER);
	e->node = node;
	e->number = ++n->timer_serial;
}

/* ---- actions ---- */

static void
arrive(struct sim *s, uint32_t node, const struct step_action *a, uint64_t at_ns, struct parcel *p)
{
	struct event *e = sim_queue_add(&s->queue, at_ns, SIM_DATAGRAM);

	e->node = a->node;
	e->peer = node;
	e->what = a->what;
	e->parcel = parcel_ref(p);
}

static void
send_datagram(struct sim *s, uint32_t node, const struct step_action *a, struct parcel *p)
{
	struct sim_node *n = sim_shell_node(s, node);
	uint64_t at[2];
	unsigned copies;

	if (a->node < 1 || a->node > s->plan->nodes ||
	    (a->node == node && !s->profile->sends_to_self))
		sim_fail(s, "contract", node, "sends a datagram to node %u", a->node);
	else if (p->bytes > STEP_DATAGRAM_MAX)
		sim_fail(s, "contract", node, "sends a datagram of %u bytes", p->bytes);
	if (s->failure.failed) {
		parcel_put(&s->parcels, p);
		return;
	}
	if (a->node == node) {
		arrive(s, node, a, s->now_ns + 1, p);
		parcel_put(&s->parcels, p);
		return;
	}
	n->sent_packets++;
	n->sent_bytes += p->bytes;
	s->datagrams++;
	copies = sim_link_send(&s->link, s->now_ns, node - 1, a->node - 1, p->bytes, at);
	s->lost += copies == 0;
	for (unsigned i = 0; i < copies; i++)
		arrive(s, node, a, at[i], p);
	parcel_put(&s->parcels, p);
}

static void
begin_disk(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *e =
		sim_queue_add(&s->queue, s->now_ns + sim_disk_duration_ns(&n->disk), SIM_DISK);

	e->node = node;
	e->number = n->boot;
}

static void
submit_disk(struct sim *s, uint32_t node, const struct step_action *a, struct parcel *p)
{
	struct disk *d = &sim_shell_node(s, node)->disk;
	bool busy = sim_disk_busy(d);

	sim_shell_node(s, node)->crash_at_disk = false;
	if (!sim_disk_submit(d, a->kind == STEP_REPLACE, a->what, a->token, p)) {
		sim_fail(s, "contract", node, "writes with token %llu, which is %s",
			 (unsigned long long)a->token, a->token ? "under way" : "nobody");
		return;
	}
	if (!busy)
		begin_disk(s, node);
}

/* Owns the parcel. */
static void
carry_out(struct sim *s, uint32_t node, const struct step_action *a, struct parcel *p)
{
	struct sim_node *n = sim_shell_node(s, node);

	switch (a->kind) {
	case STEP_SEND:
		send_datagram(s, node, a, p);
		return;
	case STEP_STREAM_WRITE:
		if (p->bytes > STEP_WRITE_MAX)
			sim_fail(s, "contract", node, "writes %u bytes at once", p->bytes);
		n->stream_bytes += p->bytes;
		sim_stream_write(s, node, a->stream, p);
		return;
	case STEP_APPEND:
	case STEP_REPLACE:
		submit_disk(s, node, a, p);
		return;
	case STEP_STREAM_OPEN:
		sim_stream_open(s, node, a->node, a->stream);
		break;
	case STEP_STREAM_CLOSE:
		sim_stream_close(s, node, a->stream);
		break;
	case STEP_SET_TIMER:
		n->timer_ns = a->at_ns;
		sim_shell_arm(s, node);
		break;
	case STEP_TELL:
		if (s->profile->told)
			s->profile->told(s->observer, s, node, a, p->data);
		break;
	default:
		sim_fail(s, "contract", node, "an action of kind %d", (int)a->kind);
	}
	parcel_put(&s->parcels, p);
}

/* The crash that was asked for, if its turn has come: false then. */
static bool
survives(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);

	if (n->crash_after == UINT64_MAX || n->crash_at_disk)
		return true;
	if (n->crash_after-- > 0)
		return true;
	sim_shell_crash(s, node, n->power, n->down_for_ns);
	return false;
}

static bool
hold(struct sim *s, uint32_t node, const struct step_action *a, struct parcel *p)
{
	struct sim_held **at = &sim_shell_node(s, node)->held, *h;
	size_t count = 0;

	for (; *at; at = &(*at)->next)
		count++;
	if (count >= HELD_MAX)
		sim_fail(s, "contract", node, "%zu actions wait for the disk", count);
	h = mem_alloc(MEM_BASE, sizeof(*h));
	assert(h);
	*h = (struct sim_held){.action = *a, .parcel = p};
	*at = h;
	return true;
}

static void
carry_out_after(struct sim *s, uint32_t node, const struct step_action *a, struct parcel *p)
{
	switch (sim_disk_token(&sim_shell_node(s, node)->disk, a->after)) {
	case DISK_GOOD:
		carry_out(s, node, a, p);
		return;
	case DISK_PENDING:
		hold(s, node, a, p);
		return;
	case DISK_BAD:
		break;
	case DISK_UNKNOWN:
		sim_fail(s, "contract", node, "waits for token %llu, which nobody has written",
			 (unsigned long long)a->after);
	}
	parcel_put(&s->parcels, p);
}

/* False when the node did not survive them. */
static bool
carry_out_all(struct sim *s, uint32_t node)
{
	struct step_actions *all = &s->actions;

	for (size_t i = 0; i < all->count && !s->failure.failed; i++) {
		const struct step_action *a = &all->items[i];
		struct parcel *p;

		if (!survives(s, node))
			return false;
		sim_trace_action(s, node, all, a);
		p = parcel_new(&s->parcels, all->data + a->offset, a->bytes);
		if (a->after != 0)
			carry_out_after(s, node, a, p);
		else
			carry_out(s, node, a, p);
	}
	return true;
}

/* ---- steps ---- */

static void
look(struct sim *s, uint32_t node, const struct step_input *in)
{
	const struct sim_profile *p = s->profile;

	for (size_t i = 0; i < p->check_count && !s->failure.failed; i++)
		if (p->checks[i].step)
			p->checks[i].step(s->observer, s, node, in, &s->actions);
}

static void
step(struct sim *s, uint32_t node, struct step_input in)
{
	struct sim_node *n = sim_shell_node(s, node);

	assert(n->state == SIM_UP && !s->in_step);
	for (unsigned i = 0; i < MORE_MAX && !s->failure.failed; i++) {
		in.now_ns = skew_local(&n->clock, s->now_ns);
		in.wall_ns = WALL_NS + (int64_t)s->now_ns + n->wall_off_ns;
		sim_trace_input(s, node, &in);
		step_actions_clear(&s->actions);
		s->in_step = true;
		s->profile->core->step(n->core, &in, &s->actions);
		s->in_step = false;
		s->steps++;
		n->steps++;
		look(s, node, &in);
		if (!carry_out_all(s, node) || !s->actions.more)
			return;
		in = (struct step_input){.kind = STEP_MORE};
	}
	if (!s->failure.failed)
		sim_fail(s, "contract", node, "wants %d steps in a row", (int)MORE_MAX);
}

static void
release_held(struct sim *s, uint32_t node, uint64_t token, bool good)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct sim_held **at = &n->held;

	while (*at) {
		struct sim_held *h = *at;

		if (h->action.after != token) {
			at = &h->next;
			continue;
		}
		if (good && !survives(s, node))
			return; /* the list is gone */
		*at = h->next;
		if (good)
			carry_out(s, node, &h->action, h->parcel);
		else
			parcel_put(&s->parcels, h->parcel);
		mem_free(h);
	}
}

static void
give(struct sim *s, const struct event *e)
{
	struct sim_node *n = sim_shell_node(s, e->node);
	struct step_input in = {
		.node = e->peer,
		.what = e->what,
		.status = e->status,
		.data = e->parcel ? e->parcel->data : NULL,
		.bytes = e->parcel ? e->parcel->bytes : 0,
	};

	switch (e->kind) {
	case SIM_DATAGRAM:
		in.kind = STEP_DATAGRAM;
		n->got_packets++;
		break;
	case SIM_LOCAL:
		in.kind = STEP_LOCAL;
		in.token = e->number;
		break;
	case SIM_DISK:
		in.kind = STEP_DISK_DONE;
		in.token = e->number;
		release_held(s, e->node, e->number, e->status == 0);
		break;
	default:
		in.kind = e->side;
		in.stream = (uint32_t)e->number;
		if (in.kind == STEP_STREAM_DOWN)
			sim_stream_forget(s, e->node, in.stream);
	}
	if (n->state == SIM_UP)
		step(s, e->node, in);
}

static void
keep(struct sim *s, struct sim_node *n, const struct event *e)
{
	size_t bytes = e->kind == SIM_DATAGRAM ? e->parcel->bytes + SKB_BYTES : 0;

	if (n->inbox_bytes + bytes > s->plan->socket_bytes) {
		n->packets_lost_full++;
		parcel_put(&s->parcels, e->parcel);
		return;
	}
	if (n->inbox_count == n->inbox_room) {
		n->inbox_room = n->inbox_room ? n->inbox_room * 2 : 16;
		n->inbox = mem_resize(MEM_BASE, n->inbox, n->inbox_room, sizeof(n->inbox[0]));
		assert(n->inbox);
	}
	n->inbox[n->inbox_count++] = *e;
	n->inbox_bytes += bytes;
}

static void
take_timer(struct sim *s, const struct event *e)
{
	struct sim_node *n = sim_shell_node(s, e->node);

	if (e->number != n->timer_serial)
		return;
	n->timer_armed = false;
	if (n->state != SIM_UP || n->timer_ns == UINT64_MAX)
		return;
	if (n->timer_ns > skew_local(&n->clock, s->now_ns)) {
		sim_shell_arm(s, e->node);
		return;
	}
	n->timer_ns = UINT64_MAX;
	step(s, e->node, (struct step_input){.kind = STEP_TIMER});
}

/* The kernel's part, which a process that stands still does not stop. */
static bool
finish_disk(struct sim *s, struct event *e)
{
	struct sim_node *n = sim_shell_node(s, e->node);

	if (n->state == SIM_DOWN || e->number != n->boot || !sim_disk_busy(&n->disk))
		return false;
	e->status = (int16_t)sim_disk_finish(&n->disk, &e->number);
	if (sim_disk_busy(&n->disk))
		begin_disk(s, e->node);
	return true;
}

void
sim_shell_deliver(struct sim *s, uint32_t node, struct event *e)
{
	struct sim_node *n = sim_shell_node(s, node);

	if (e->kind == SIM_TIMER) {
		take_timer(s, e);
		return;
	}
	if (e->kind == SIM_DISK && !finish_disk(s, e))
		return;
	if (n->state == SIM_PAUSED) {
		keep(s, n, e);
		return;
	}
	if (n->state == SIM_UP)
		give(s, e);
	parcel_put(&s->parcels, e->parcel);
}

/* ---- coming and going ---- */

static void
give_files(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);

	for (size_t i = 0; i < n->disk.file_count && n->state == SIM_UP; i++) {
		const struct disk_file *f = &n->disk.files[i];
		size_t bytes = f->bytes;
		uint8_t *copy = mem_alloc(MEM_BASE, bytes + 1);

		assert(copy);
		if (bytes > 0)
			memcpy(copy, f->data, bytes);
		step(s, node,
		     (struct step_input){
			     .kind = STEP_FILE, .what = f->what, .data = copy, .bytes = bytes});
		mem_free(copy);
	}
}

void
sim_shell_start(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct sim_core_config config = {
		.node = node,
		.nodes = s->plan->nodes,
		.wire = n->wire,
		.zone = s->link.nodes[node - 1].zone,
		.boot = ++n->boot,
		.plan_seed = s->plan->seed,
		.profile = s->profile->data,
	};

	assert(n->state == SIM_DOWN);
	config.seed = draw_mix(draw_mix(s->plan->seed, node), n->boot);
	n->core = s->profile->core->start(&config);
	assert(n->core);
	n->state = SIM_UP;
	n->timer_ns = UINT64_MAX;
	n->timer_serial++;
	n->timer_armed = false;
	n->crash_after = UINT64_MAX;
	sim_trace_turn(s, node, "starts");
	if (s->profile->turned)
		s->profile->turned(s->observer, s, node, true);
	if (n->crash_again)
		sim_fault_crash(s, n->crash_again);
	n->crash_again = NULL;
	give_files(s, node);
	if (n->state == SIM_UP)
		step(s, node, (struct step_input){.kind = STEP_START});
}

static void
drop_waiting(struct sim *s, struct sim_node *n)
{
	for (size_t i = 0; i < n->inbox_count; i++)
		parcel_put(&s->parcels, n->inbox[i].parcel);
	n->inbox_count = 0;
	n->inbox_bytes = 0;
	while (n->held) {
		struct sim_held *h = n->held;

		n->held = h->next;
		parcel_put(&s->parcels, h->parcel);
		mem_free(h);
	}
}

void
sim_shell_crash(struct sim *s, uint32_t node, bool power, uint64_t down_for_ns)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *e;

	if (n->state == SIM_DOWN)
		return;
	assert(!s->in_step);
	sim_trace_turn(s, node, power ? "loses power" : "crashes");
	s->profile->core->free(n->core);
	n->core = NULL;
	n->state = SIM_DOWN;
	n->clock_stands = false;
	n->crash_after = UINT64_MAX;
	drop_waiting(s, n);
	sim_disk_crash(&n->disk);
	sim_stream_crash(s, node, power);
	if (power)
		skew_init(&n->clock, s->now_ns, draw_below(&s->draw, 30 * SIM_S),
			  n->clock.rate_ppb);
	if (s->profile->turned)
		s->profile->turned(s->observer, s, node, false);
	n->back_at_ns = down_for_ns == PLAN_FOR_EVER ? PLAN_FOR_EVER : s->now_ns + down_for_ns;
	if (n->back_at_ns == PLAN_FOR_EVER)
		return;
	e = sim_queue_add(&s->queue, n->back_at_ns, SIM_RESTART);
	e->node = node;
	e->number = n->boot;
}

void
sim_shell_pause(struct sim *s, uint32_t node, uint64_t until_ns, bool clock_stands)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *e;

	if (n->state == SIM_DOWN)
		return;
	if (n->state == SIM_UP) {
		sim_trace_turn(s, node, "stands still");
		n->clock_stands = clock_stands;
		n->stood += clock_stands;
		n->stood_ns = skew_local(&n->clock, s->now_ns);
		n->pause_until_ns = 0;
	}
	n->state = SIM_PAUSED;
	if (until_ns > n->pause_until_ns)
		n->pause_until_ns = until_ns;
	e = sim_queue_add(&s->queue, n->pause_until_ns, SIM_RESUME);
	e->node = node;
}

void
sim_shell_resume(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *waiting = n->inbox;
	size_t count = n->inbox_count;

	if (n->state != SIM_PAUSED || n->pause_until_ns > s->now_ns)
		return;
	sim_trace_turn(s, node, "goes on");
	n->state = SIM_UP;
	if (n->clock_stands)
		skew_init(&n->clock, s->now_ns, n->stood_ns, n->clock.rate_ppb);
	n->clock_stands = false;
	n->inbox = NULL;
	n->inbox_count = n->inbox_room = n->inbox_bytes = 0;
	for (size_t i = 0; i < count; i++) {
		if (n->state == SIM_UP && !s->failure.failed)
			give(s, &waiting[i]);
		parcel_put(&s->parcels, waiting[i].parcel);
	}
	mem_free(waiting);
	sim_shell_arm(s, node);
}

void
sim_shell_free(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);

	drop_waiting(s, n);
	mem_free(n->inbox);
	sim_disk_fini(&n->disk);
	if (n->core)
		s->profile->core->free(n->core);
	n->core = NULL;
}
