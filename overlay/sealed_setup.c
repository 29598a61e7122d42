/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and pairs into a setup. Rows are another process's, and other nodes' word: each is checked,
 * and one that does not hold, or has a key that an earlier one has, is left out. */
#include "overlay/sealed_setup.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "overlay/wg/setup_index.h"

struct pair {
	uint8_t key[SETUP_KEY];
	struct addr said;                        /* zero: nothing yet */
	uint8_t has[SETUP_KEY], next[SETUP_KEY]; /* its WireGuard keys that counted last */
	bool stays;
	bool left_out; /* it says a key of another node's, or of nobody knows whom */
	bool told;
};

static void
pair_free(void *pair)
{
	mem_wipe(pair, sizeof(struct pair));
	mem_free(pair);
}

void
sealed_pairs_init(struct sealed_pairs *p)
{
	map_init(&p->nodes, MEM_OVERLAY);
}

void
sealed_pairs_fini(struct sealed_pairs *p)
{
	map_sweep(&p->nodes, NULL, pair_free);
	map_fini(&p->nodes);
}

/* Whether it was named since the last time that this was asked. */
static bool
stays(void *value)
{
	struct pair *pair = value;
	bool named = pair->stays;

	pair->stays = false;
	return named;
}

static void
sweep(struct sealed_pairs *p)
{
	map_sweep(&p->nodes, stays, pair_free);
}

int
sealed_pairs_take(struct sealed_pairs *p, const void *data, size_t bytes, struct err *err)
{
	size_t count = bytes / sizeof(struct leash_pair);
	struct leash_pair one;

	if (bytes % sizeof(one) != 0)
		return err_set(err, ERR_CORRUPT, "these are no keys of pairs");
	if (count > SEALED_SETUP_NODES_MAX)
		return err_set(err, ERR_LIMIT, "keys of more than %d other nodes",
			       SEALED_SETUP_NODES_MAX);
	for (size_t i = 0; i < count; i++) {
		memcpy(&one, (const uint8_t *)data + i * sizeof(one), sizeof(one));
		struct pair *pair =
			one.node ? map_make_u64(&p->nodes, one.node, sizeof(*pair)) : NULL;

		if (pair) {
			memcpy(pair->key, one.key, sizeof(pair->key));
			pair->stays = true;
		} else if (one.node) {
			mem_wipe(&one, sizeof(one));
			sweep(p);
			return err_set(err, ERR_NO_MEMORY, "no memory for the keys of pairs");
		}
	}
	mem_wipe(&one, sizeof(one));
	sweep(p);
	return 0;
}

bool
sealed_pairs_has(const struct sealed_pairs *p, uint32_t node)
{
	const struct pair *pair = map_get_u64(&p->nodes, node);

	return pair && !pair->left_out;
}

void
sealed_pairs_forget_places(struct sealed_pairs *p)
{
	struct map_iter it = {0};

	while (map_next(&p->nodes, &it))
		((struct pair *)it.value)->said = (struct addr){0};
}

/* ---- whose keys they are ---- */

/* A key that a node says, or that counted as its own before. */
struct claim {
	uint8_t key[SETUP_KEY];
	uint32_t node;
	struct msg_mesh *row; /* NULL: from before */
	bool next, lost;
};

struct claims {
	struct claim *list;
	size_t count;
};

static void
add_claim(struct claims *c, const uint8_t *key, uint32_t node, struct msg_mesh *row, bool next)
{
	struct claim *claim = &c->list[c->count];

	if (setup_key_is_zero(key))
		return;
	*claim = (struct claim){.node = node, .row = row, .next = next};
	memcpy(claim->key, key, SETUP_KEY);
	c->count++;
}

static int
compare(const void *a, const void *b)
{
	return memcmp(((const struct claim *)a)->key, ((const struct claim *)b)->key, SETUP_KEY);
}

static void
gather(struct claims *c, const struct sealed_pairs *pairs, struct msg_mesh *rows, size_t count)
{
	struct map_iter it = {0};

	while (map_next(&pairs->nodes, &it)) {
		const struct pair *pair = it.value;
		uint64_t node;

		memcpy(&node, it.key, sizeof(node));
		add_claim(c, pair->has, (uint32_t)node, NULL, false);
		add_claim(c, pair->next, (uint32_t)node, NULL, true);
	}
	for (size_t i = 0; i < count; i++) {
		if (!sealed_setup_row_holds(&rows[i]))
			continue;
		add_claim(c, rows[i].key, rows[i].node, &rows[i], false);
		add_claim(c, rows[i].next_key, rows[i].node, &rows[i], true);
	}
	qsort(c->list, c->count, sizeof(*c->list), compare);
}

/* All that are of one key. It is the one's that had it before, or that of the only one. */
static void
judge_key(struct claim *list, size_t count)
{
	uint32_t owner = list[0].node;
	bool known = false;

	for (size_t i = 0; i < count; i++) {
		if (!list[i].row) {
			owner = list[i].node;
			known = true;
		} else if (!known && list[i].node != owner) {
			owner = 0;
		}
	}
	for (size_t i = 0; i < count; i++)
		list[i].lost = list[i].row && list[i].node != owner;
}

static void
tell_lost(struct pair *pair, const struct msg_mesh *row)
{
	if (!pair->told)
		log_event(LOG_WARN, "a node says another one's key as its own: it is not heeded",
			  log_s("node", MSG_OK(row->name) ? row->name : ""), LOG_END);
	pair->told = true;
}

static void
heed(struct sealed_pairs *pairs, const struct claim *claim)
{
	struct pair *pair = claim->row ? map_get_u64(&pairs->nodes, claim->node) : NULL;

	if (!pair)
		return;
	if (!claim->lost) {
		memcpy(claim->next ? pair->next : pair->has, claim->key, SETUP_KEY);
		return;
	}
	tell_lost(pair, claim->row);
	if (claim->next) {
		memset(claim->row->next_key, 0, SETUP_KEY);
	} else {
		claim->row->ways &= ~(uint32_t)MSG_WAY_SEALED;
		pair->left_out = true;
	}
}

/* What a node says counts from now on; of one whose row is away, what it said last. */
static void
begin_row(struct sealed_pairs *pairs, const struct msg_mesh *row)
{
	struct pair *pair = map_get_u64(&pairs->nodes, row->node);

	if (!pair)
		return;
	pair->left_out = false;
	if (sealed_setup_row_holds(row))
		memset(pair->next, 0, SETUP_KEY);
}

int
sealed_setup_judge(struct sealed_pairs *pairs, struct msg_mesh *rows, size_t count, struct err *err)
{
	size_t room = 2 * (map_count(&pairs->nodes) + count), same;
	struct claims c = {0};

	if (room == 0)
		return 0;
	c.list = mem_array(MEM_OVERLAY, room, sizeof(*c.list));
	if (!c.list)
		return err_set(err, ERR_NO_MEMORY, "no memory to tell whose keys are whose");
	gather(&c, pairs, rows, count);
	for (size_t i = 0; i < c.count; i += same) {
		for (same = 1; i + same < c.count && compare(&c.list[i], &c.list[i + same]) == 0;)
			same++;
		judge_key(&c.list[i], same);
	}
	for (size_t i = 0; i < count; i++)
		begin_row(pairs, &rows[i]);
	for (size_t i = 0; i < c.count; i++)
		heed(pairs, &c.list[i]);
	mem_free(c.list);
	return 0;
}

/* ---- the setup ---- */

bool
sealed_setup_row_holds(const struct msg_mesh *row)
{
	return !row->self && row->node && (row->ways & MSG_WAY_SEALED) &&
	       !setup_key_is_zero(row->key) && !addr_is_zero(&row->address) &&
	       row->port <= UINT16_MAX && addr_is_v4(&row->v4.base) && row->v4.bits == 96 + 24 &&
	       !addr_is_v4(&row->v6.base) && row->v6.bits == 64;
}

static int
refused(enum setup_rc rc, struct err *err)
{
	if (rc == SETUP_OK)
		return 0;
	return rc == SETUP_NO_MEMORY
		       ? err_set(err, ERR_NO_MEMORY, "no memory for the peers of sealed traffic")
		       : err_set(err, ERR_LIMIT, "more peers than sealed traffic may have");
}

/* What is being made, and what is looked up for it. */
struct making {
	const struct sealed_setup_in *in;
	struct setup_index is, has; /* the device; what is made so far */
	size_t row;                 /* that is being looked at */
	struct setup *out;
};

static enum setup_rc
new_peer(struct making *m, const uint8_t key[SETUP_KEY], struct setup_peer **out)
{
	enum setup_rc rc = setup_add_peer(m->out, key, out);

	return rc == SETUP_OK && setup_index_add(&m->has) < 0 ? SETUP_NO_MEMORY : rc;
}

/* For a second key of a node, with all others having one. Where there is none the owner of a key is
 * met again when it has changed. */
static bool
has_room(const struct making *m)
{
	return m->out->peers_count + (m->in->rows_count - m->row) < SETUP_PEERS_MAX;
}

/* Whether the owner of row->key has changed to the next one already, and the device has seen it. */
static bool
has_followed(const struct making *m, const struct msg_mesh *row)
{
	const struct setup_peer *next =
		setup_key_is_zero(row->next_key) ? NULL : setup_index_find(&m->is, row->next_key);

	return next && (next->prefixes_count > 0 || (m->in->follows && next->handshake_s));
}

/* Its owner begins, and is known by it. */
static enum setup_rc
add_next(struct making *m, const struct msg_mesh *row, const struct pair *pair)
{
	struct setup_peer *peer;

	if (setup_key_is_zero(row->next_key) || setup_index_find(&m->has, row->next_key))
		return SETUP_OK;
	if (!has_room(m))
		return SETUP_OK;
	enum setup_rc rc = new_peer(m, row->next_key, &peer);
	if (rc != SETUP_OK)
		return rc;
	memcpy(peer->psk, pair->key, sizeof(peer->psk));
	peer->has_psk = peer->has_keepalive = true;
	return SETUP_OK;
}

static void
say_place(const struct making *m, const struct msg_mesh *row, struct pair *pair,
	  struct setup_peer *peer)
{
	const struct sealed_setup_in *in = m->in;
	struct addr at = row->address;

	at.port = (uint16_t)row->port;
	if (!at.port && in->places)
		at = in->places[row - in->rows];
	if (!at.port ||
	    (addr_equal(&at, &pair->said) && setup_index_find(&m->is, peer->public_key) != NULL))
		return;
	peer->has_endpoint = true;
	peer->endpoint = at;
	pair->said = at;
}

static enum setup_rc
add_peer(struct making *m, const struct msg_mesh *row, struct pair *pair)
{
	const struct sealed_setup_in *in = m->in;
	bool followed = has_followed(m, row);
	const uint8_t *key = followed ? row->next_key : row->key;
	struct setup_peer *peer;
	enum setup_rc rc;

	if (setup_index_find(&m->has, key) || (followed && setup_index_find(&m->has, row->key)))
		return SETUP_OK;
	/* What is under way with the former key is its owner's: it stays until it is not said. */
	if (followed && has_room(m) && (rc = new_peer(m, row->key, &peer)) != SETUP_OK)
		return rc;
	rc = new_peer(m, key, &peer);
	if (rc != SETUP_OK)
		return rc;
	memcpy(peer->psk, pair->key, sizeof(peer->psk));
	peer->has_psk = peer->has_keepalive = true;
	peer->keepalive_s = in->dials_out || !row->port ? SEALED_SETUP_KEEPALIVE_S : 0;
	say_place(m, row, pair, peer);
	rc = setup_add_prefix(m->out, peer, &row->v4, false);
	if (rc == SETUP_OK)
		rc = setup_add_prefix(m->out, peer, &row->v6, false);
	return rc == SETUP_OK && in->follows && !followed ? add_next(m, row, pair) : rc;
}

static enum setup_rc
add_peers(struct making *m, struct sealed_pairs *pairs)
{
	enum setup_rc rc = SETUP_OK;

	for (m->row = 0; m->row < m->in->rows_count && rc == SETUP_OK; m->row++) {
		const struct msg_mesh *row = &m->in->rows[m->row];
		struct pair *pair = map_get_u64(&pairs->nodes, row->node);

		if (pair && sealed_setup_row_holds(row))
			rc = add_peer(m, row, pair);
	}
	return rc;
}

int
sealed_setup_make(const struct sealed_setup_in *in, struct sealed_pairs *pairs, struct setup *out,
		  struct err *err)
{
	struct making m = {.in = in, .out = out};

	out->has_private_key = true;
	memcpy(out->private_key, in->private_key, SETUP_KEY);
	bool is = setup_index_init(&m.is, in->is) == 0;
	bool has = setup_index_init(&m.has, out) == 0;
	enum setup_rc rc = is && has ? add_peers(&m, pairs) : SETUP_NO_MEMORY;
	setup_index_fini(&m.is);
	setup_index_fini(&m.has);
	return refused(rc, err);
}
