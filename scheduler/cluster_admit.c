/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answering side of admission, on a node that has the authority's key: a question comes over a
 * channel, is judged against the rows (scheduler/admission.h), and the rows that the verdict says
 * are kept before the answer leaves. What members ask needs no row to be written, and so is
 * answered also while the store takes no changes. One question a channel; who does not ask in time
 * is hung up on. What is refused says why to who asked.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum {
	LENGTH_BYTES = 4,
	ASK_S = 15,
	ADMITS_MAX = 64,
	ANNOUNCE_S = 3600, /* so long others may not have the row of a new node */
	ANNOUNCE_MAX = 256,
};

_Static_assert((int)ADMISSION_MEMBERS_MAX == (int)MSG_PEERS_MAX, "what others have room for");

struct admit {
	struct list link;
	struct cluster *c;
	struct channel *channel; /* NULL: it is gone */
	struct buf in;
	uint64_t until_ns; /* to have asked; 0: it has */
	struct identity peer;
	struct addr from;
	struct admission_question question;
	struct admission_verdict verdict;
};

static void
admit_free(struct admit *a)
{
	channel_abort(a->channel);
	list_remove(&a->link);
	a->c->admits_count--;
	mem_wipe(&a->question, sizeof(a->question));
	buf_fini(&a->in);
	mem_free(a);
}

/* ---- answers ---- */

static void
send_out(struct admit *a, struct buf *out)
{
	struct channel *channel = a->channel;

	a->channel = NULL;
	if (channel && buf_ok(out) && channel_write(channel, out->data, out->length))
		channel_close(channel);
	else
		channel_abort(channel);
	cluster_admit_wipe(out);
	admit_free(a);
}

static void
refuse(struct admit *a, const struct err *err)
{
	struct buf out;

	if (log_few(&a->c->refusals, world_mono_ns()))
		log_event(LOG_INFO, "a node was not admitted", log_s("name", a->question.name),
			  log_s("reason", err->whys > 0 ? err->why[0] : err->what), LOG_END);
	/* Only the judge may say that a member was sent away; a passing trouble of this node is not
	 * that. */
	if (a->question.what != ADMISSION_JOIN && err->kind != ERR_DENIED) {
		admit_free(a);
		return;
	}
	buf_init(&out, MEM_SCHEDULER, ADMISSION_ANSWER_MAX);
	admission_put_refusal(err, &out);
	send_out(a, &out);
}

static void
answer(struct admit *a)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, ADMISSION_ANSWER_MAX);
	if (cluster_admit_give(a->c, a->question.what, &a->verdict.node, &out, &err) < 0) {
		cluster_admit_wipe(&out);
		refuse(a, &err);
	} else {
		send_out(a, &out);
	}
}

/* ---- rows ---- */

struct rows {
	struct buf nodes, tickets, kept; /* kept: struct store_ticket, as tickets */
	struct store_cluster cluster;
};

static void
rows_fini(struct rows *r)
{
	buf_fini(&r->nodes);
	buf_fini(&r->tickets);
	buf_fini(&r->kept);
}

static void
keep_cluster(void *arg, const void *row)
{
	*(struct store_cluster *)arg = *(const struct store_cluster *)row;
}

static int
rows_read(struct rows *r, struct store *s, struct err *err)
{
	memset(r, 0, sizeof(*r));
	buf_init(&r->nodes, MEM_SCHEDULER, ADMISSION_NODES_MAX * sizeof(struct admission_node));
	buf_init(&r->tickets, MEM_SCHEDULER,
		 ADMISSION_TICKETS_MAX * sizeof(struct admission_ticket));
	buf_init(&r->kept, MEM_SCHEDULER, ADMISSION_TICKETS_MAX * sizeof(struct store_ticket));
	if (store_each(s, STORE_CLUSTER, 0, 0, keep_cluster, &r->cluster, err) < 0 ||
	    cluster_admit_nodes(s, &r->nodes, err) < 0 ||
	    cluster_store_rows(s, STORE_TICKET, &r->kept, err) < 0)
		return -1;
	const struct store_ticket *row = (const void *)r->kept.data;
	for (size_t i = 0; i < r->kept.length / sizeof(*row); i++) {
		struct admission_ticket t = {.id = row[i].ticket,
					     .expires_s = row[i].expires_s,
					     .uses_left = row[i].uses_left};

		memcpy(t.secret_sha256, row[i].secret_sha256, sizeof(t.secret_sha256));
		buf_put(&r->tickets, &t, sizeof(t));
	}
	return buf_ok(&r->tickets) ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the tickets");
}

static enum admission_mode
mode_of(const struct store_cluster *row)
{
	switch (row->admission) {
	case MSG_ADMISSION_OPEN:
		return ADMISSION_OPEN;
	case MSG_ADMISSION_TOKEN:
		return ADMISSION_TOKEN;
	default:
		return ADMISSION_CLOSED;
	}
}

static int
put_new(struct admit *a, struct store *s, struct err *err)
{
	const struct admission_node *n = &a->verdict.node;
	struct store_node row = {.node = n->id,
				 .admitted_wall_ns = cluster_now_s(a->c) * CLUSTER_SECOND_NS};

	text_copy(row.name, sizeof(row.name), n->name);
	memcpy(row.sign_public, n->sign_public, IDENTITY_KEY);
	memcpy(row.gossip_public, n->gossip_public, IDENTITY_KEY);
	addr_put(&n->address, row.address, sizeof(row.address));
	return store_put(s, STORE_NODE, &row, err);
}

static int
judge_rows(struct admit *a, const struct rows *r, struct err *err)
{
	const struct admission_state state = {
		.mode = mode_of(&r->cluster),
		.nodes = (const void *)r->nodes.data,
		.nodes_count = r->nodes.length / sizeof(struct admission_node),
		.tickets = (const void *)r->tickets.data,
		.tickets_count = r->tickets.length / sizeof(struct admission_ticket),
	};

	return admission_judge(&state, &a->question, &a->peer, &a->from, cluster_now_s(a->c),
			       &a->verdict, err);
}

/* A stranger: what is decided is kept first. */
static int
judge(void *arg, struct store *s, struct err *err)
{
	struct admit *a = arg;
	bool changed = false;
	struct rows r;

	int rc = rows_read(&r, s, err);
	if (rc == 0)
		rc = judge_rows(a, &r, err);
	if (rc == 0 && a->verdict.add) {
		changed = true;
		rc = put_new(a, s, err);
	}
	if (rc == 0 && a->verdict.take_use) {
		struct store_ticket *t = (struct store_ticket *)(void *)r.kept.data;

		t[a->verdict.ticket].uses_left--;
		changed = true;
		rc = store_put(s, STORE_TICKET, &t[a->verdict.ticket], err);
	}
	rows_fini(&r);
	return rc < 0 ? -1 : !changed;
}

/* ---- members ---- */

/* One that asked from another address than it was admitted with. */
struct moved {
	struct cluster *c;
	uint32_t node;
	char address[ADDR_TEXT_BYTES];
};

static int
put_address(void *arg, struct store *s, struct err *err)
{
	const struct moved *m = arg;
	const struct cluster_node *known = cluster_roster_find(m->c, m->node);
	struct store_node row;

	if (!known || known->row.id == 0)
		return 1;
	if (store_get(s, STORE_NODE, known->row.id, &row, err) < 0)
		return -1;
	if (row.removed || text_equal(row.address, m->address))
		return 1;
	text_copy(row.address, sizeof(row.address), m->address);
	return store_put(s, STORE_NODE, &row, err);
}

static void
address_put(void *arg, const struct err *err)
{
	struct moved *m = arg;

	if (err && !m->c->freed)
		log_err(LOG_INFO, "the new address of a node was not kept", err);
	mem_free(m);
}

/* The answer does not wait for it: the store may take no changes now, and gossip says the same. */
static void
keep_address(struct admit *a)
{
	const struct cluster_node *known = cluster_roster_find(a->c, a->verdict.node.id);
	struct moved *m = mem_zalloc(MEM_SCHEDULER, sizeof(*m));
	struct err err = {0};

	if (!m)
		return;
	m->c = a->c;
	m->node = a->verdict.node.id;
	addr_put(&a->verdict.node.address, m->address, sizeof(m->address));
	if (!known || text_equal(known->row.address, m->address) ||
	    cluster_store_change(a->c, put_address, address_put, m, &err) < 0)
		mem_free(m);
}

static void
answer_member(struct admit *a)
{
	struct err err = {0};
	struct rows r;

	int rc = rows_read(&r, a->c->m->store, &err);
	if (rc == 0)
		rc = judge_rows(a, &r, &err);
	rows_fini(&r);
	if (rc < 0) {
		refuse(a, &err);
		return;
	}
	if (a->question.what == ADMISSION_RENEW)
		keep_address(a);
	answer(a);
}

/* ---- telling the others ---- */

static void
announce(struct cluster *c, const struct admission_node *n)
{
	struct tidings_value value;
	struct err err = {0};
	struct buf chain;
	size_t bytes = 0;

	if (!c->gossip)
		return;
	buf_init(&chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	if (cluster_admit_issue(c, n, &chain, &err) == 0) {
		const void *leaf = cluster_keep_leaf(chain.data, chain.length, &bytes);

		if (leaf && tidings_put_admitted(leaf, bytes, &value))
			c->put |= gossip_put(c->gossip, TIDINGS_ADMITTED, n->id, value.data,
					     value.bytes) == GOSSIP_OK;
	} else {
		log_err(LOG_WARN, "the others hear later of a new node", &err);
	}
	buf_fini(&chain);
}

void
cluster_admit_announce(struct cluster *c)
{
	struct map_iter it = {0};
	int64_t since = (cluster_now_s(c) - ANNOUNCE_S) * CLUSTER_SECOND_NS;
	size_t count = 0;

	if (!cluster_keeper(c))
		return;
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;
		struct admission_node node;

		if (n->row.id == 0 || n->row.removed || n->row.node == c->keep.node ||
		    n->row.admitted_wall_ns < since || count++ >= ANNOUNCE_MAX)
			continue;
		cluster_list_node(&n->row, &node);
		announce(c, &node);
	}
}

static void
kept(void *arg, const struct err *err)
{
	struct admit *a = arg;
	struct cluster *c = a->c;

	if (err) {
		refuse(a, err);
		return;
	}
	if (a->verdict.add) {
		log_event(LOG_INFO, "a node was admitted", log_u("node", a->verdict.node.id),
			  log_s("name", a->verdict.node.name), LOG_END);
		cluster_roster_read(c); /* it may call at once */
		announce(c, &a->verdict.node);
		cluster_link_flush(c);
	}
	answer(a);
}

/* ---- a channel ---- */

static void
take_question(struct admit *a, const uint8_t *message, size_t bytes)
{
	struct err err = {0};

	a->until_ns = 0;
	if (admission_take_question(message, bytes, &a->question, &err) < 0) {
		refuse(a, &err);
		return;
	}
	if (a->question.what != ADMISSION_JOIN &&
	    channel_standing(a->channel) == CHANNEL_STRANGER) {
		err_set(&err, ERR_DENIED, "only a node of the cluster can ask for a certificate");
		refuse(a, &err);
		return;
	}
	if (a->question.what > ADMISSION_RENEW && channel_standing(a->channel) != CHANNEL_MEMBER) {
		admit_free(a); /* it renews its certificate first */
		return;
	}
	if (a->question.what != ADMISSION_JOIN) {
		answer_member(a);
		return;
	}
	if (cluster_store_change(a->c, judge, kept, a, &err) < 0)
		refuse(a, &err);
}

static void
on_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct admit *a = arg;
	struct cursor cursor;

	(void)channel;
	if (a->until_ns == 0)
		return; /* one question only */
	buf_put(&a->in, data, bytes);
	cursor_init(&cursor, a->in.data, a->in.length);
	uint32_t length = cursor_u32(&cursor);
	if (!buf_ok(&a->in) || (cursor_ok(&cursor) && length > ADMISSION_QUESTION_MAX)) {
		admit_free(a);
		return;
	}
	if (cursor_ok(&cursor) && cursor_left(&cursor) >= length)
		take_question(a, cursor.at, length);
}

static void
on_down(void *arg, struct channel *channel, const struct err *why)
{
	struct admit *a = arg;

	(void)channel;
	(void)why;
	a->channel = NULL;
	if (a->until_ns != 0)
		admit_free(a); /* else the store still has it */
}

static void
on_nothing(void *arg, struct channel *channel)
{
	(void)arg;
	(void)channel;
}

/* Of those that have yet to ask, the one that has had the most time; a stranger before a member. */
static struct admit *
slowest(const struct cluster *c)
{
	struct admit *found = NULL;

	for (struct list *l = c->admits.next; l != &c->admits; l = l->next) {
		struct admit *a = container_of(l, struct admit, link);

		if (a->until_ns != 0 && (!found || (found->peer.node != 0 && a->peer.node == 0)))
			found = a;
	}
	return found;
}

static bool
make_room(struct cluster *c)
{
	struct admit *a = c->admits_count < ADMITS_MAX ? NULL : slowest(c);

	if (a)
		admit_free(a);
	return c->admits_count < ADMITS_MAX;
}

void
cluster_admit_channel(void *arg, struct channel *channel)
{
	static const struct channel_calls calls = {on_nothing, on_data, on_nothing, on_down};
	struct cluster *c = arg;
	struct admit *a =
		cluster_keeper(c) && make_room(c) ? mem_zalloc(MEM_SCHEDULER, sizeof(*a)) : NULL;

	if (!a) {
		channel_abort(channel);
		return;
	}
	a->c = c;
	a->channel = channel;
	a->peer = *channel_peer(channel);
	a->from = *channel_address(channel);
	a->until_ns = world_mono_ns() + (uint64_t)ASK_S * CLUSTER_SECOND_NS;
	buf_init(&a->in, MEM_SCHEDULER, ADMISSION_QUESTION_MAX + LENGTH_BYTES);
	list_init(&a->link);
	list_push(&c->admits, &a->link);
	c->admits_count++;
	channel_give(channel, &calls, a);
}

void
cluster_admit_tick(struct cluster *c, uint64_t now_ns)
{
	uint32_t left_out = log_few_left_out(&c->refusals, now_ns);
	struct list *it, *next;

	if (left_out)
		log_event(LOG_INFO, "more nodes were not admitted", log_u("count", left_out),
			  LOG_END);
	list_each (it, next, &c->admits) {
		struct admit *a = container_of(it, struct admit, link);

		if (a->until_ns != 0 && now_ns >= a->until_ns)
			admit_free(a);
	}
}

void
cluster_admit_end(struct cluster *c)
{
	while (!list_empty(&c->admits))
		admit_free(container_of(c->admits.next, struct admit, link));
}
