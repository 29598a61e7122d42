/* SPDX-License-Identifier: Apache-2.0 */
/* From tables to calls of the engine. */
#include "overlay/sealed_peers.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "overlay/probing.h"
#include "overlay/relay.h"
#include "overlay/wg/setup_index.h"

void
sealed_peers_init(struct sealed_peers *p, const struct peers *peers)
{
	p->peers = peers;
	p->told = false;
	p->relay_digest = 0;
	sealed_pairs_init(&p->pairs);
	relayed_init(&p->relayed);
	sealed_known_init(&p->known);
	map_init(&p->used, MEM_OVERLAY);
}

void
sealed_peers_fini(struct sealed_peers *p)
{
	sealed_pairs_fini(&p->pairs);
	relayed_fini(&p->relayed);
	sealed_known_fini(&p->known);
	map_fini(&p->used);
}

void
sealed_peers_pairs(struct sealed_peers *p, int fd)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_OVERLAY, SEALED_SETUP_NODES_MAX * sizeof(struct leash_pair));
	if (fd_read_all(fd, &b, &err) < 0 ||
	    sealed_pairs_take(&p->pairs, b.data, b.length, &err) < 0)
		log_err(LOG_WARN, "the keys of sealed traffic to other nodes are not known", &err);
	else
		p->told = true;
	if (b.data)
		mem_wipe(b.data, b.length);
	buf_fini(&b);
}

bool
sealed_peers_told(const struct sealed_peers *p)
{
	return p->told && p->peers->self;
}

bool
sealed_peers_has(const struct sealed_peers *p, uint32_t node)
{
	return sealed_pairs_has(&p->pairs, node);
}

void
sealed_peers_forget(struct sealed_peers *p)
{
	p->relay_digest = 0;
	p->rows_count = 0;
	sealed_pairs_forget_places(&p->pairs);
}

void
sealed_peers_note(struct sealed_peers *p, const struct setup *is)
{
	relayed_note(&p->relayed, is, p->peers->mesh, p->peers->mesh_count, world_mono_ns());
}

/* ---- who is spoken to ---- */

/* True: that is news. Without memory it is looked at again. */
static bool
set_used(struct sealed_peers *p, uint32_t node, bool used)
{
	if (used == (map_get_u64(&p->used, node) != NULL))
		return false;
	if (used)
		return map_put_u64(&p->used, node, p) == 0;
	map_remove_u64(&p->used, node);
	return true;
}

static bool
forget_used(struct sealed_peers *p)
{
	bool any = map_count(&p->used) > 0;

	map_fini(&p->used);
	map_init(&p->used, MEM_OVERLAY);
	return any;
}

/* By either key of a row: while it changes both are peers. */
static void
find_used(const struct sealed_peers *p, const struct setup *is, bool *used)
{
	struct map rows;

	map_init(&rows, MEM_OVERLAY);
	for (size_t i = 0; i < p->rows_count; i++) {
		const struct msg_mesh *row = &p->rows[i];
		void *place = (void *)(uintptr_t)(i + 1);

		if (map_put(&rows, row->key, SETUP_KEY, place, NULL) < 0 ||
		    (!setup_key_is_zero(row->next_key) &&
		     map_put(&rows, row->next_key, SETUP_KEY, place, NULL) < 0))
			break;
	}
	for (size_t i = 0; i < is->peers_count; i++) {
		const struct setup_peer *peer = &is->peers[i];
		uintptr_t place = (uintptr_t)map_get(&rows, peer->public_key, SETUP_KEY);

		if (place && peer->idle_s < SEALED_PEERS_USED_S)
			used[place - 1] = true;
	}
	map_fini(&rows);
}

bool
sealed_peers_look_at_use(struct sealed_peers *p, const struct setup *is)
{
	bool used[PEERS_MAX] = {0}, was_large = p->large, news = false;

	p->large = p->rows_count > ENGINE_EAGER_MAX;
	if (!p->large)
		return forget_used(p) || was_large;
	if (map_count(&p->used) > PEERS_MAX) /* most of them are no members any more */
		news = forget_used(p);
	find_used(p, is, used);
	for (size_t i = 0; i < p->rows_count; i++)
		news |= set_used(p, p->rows[i].node, used[i]);
	return news || !was_large;
}

bool
sealed_peers_uses(const struct sealed_peers *p, uint32_t node)
{
	return !p->large || map_get_u64(&p->used, node) != NULL;
}

/* ---- the engine ---- */

static int
change_engine(struct engine *e, const struct setup *is, const struct setup *want, struct err *err)
{
	struct setup change;

	setup_init(&change);
	enum setup_rc rc = setup_diff(is, want, &change);
	int result = 0;
	if (rc != SETUP_OK)
		result = err_set(err, rc == SETUP_NO_MEMORY ? ERR_NO_MEMORY : ERR_LIMIT,
				 "the change of sealed traffic's peers is too large");
	else if (!setup_says_nothing(&change))
		result = engine_change(e, &change, err);
	setup_fini(&change);
	return result;
}

/* Keys that others have announced. That of one who changed it already is not theirs to follow;
 * those that find no room are met when they have changed. */
static int
follow(struct sealed_peers *p, struct engine *e, struct err *err)
{
	static struct engine_heir heirs[PEERS_MAX];
	static size_t rows[PEERS_MAX]; /* of each heir */
	size_t count = 0;

	for (size_t i = 0; i < p->peers->mesh_count; i++) {
		const struct msg_mesh *row = &p->rows[i];
		bool next = !setup_key_is_zero(row->next_key);

		p->follows[i] = false;
		if (!sealed_setup_row_holds(row) || !sealed_pairs_has(&p->pairs, row->node))
			continue;
		heirs[count] = (struct engine_heir){row->key, next ? row->next_key : NULL, false};
		rows[count++] = i;
	}
	if (engine_follow(e, heirs, count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		p->follows[rows[i]] = heirs[i].followed;
	return 0;
}

/* ---- this node's own key ---- */

bool
sealed_peers_know(const struct sealed_peers *p, uint64_t id, uint64_t token)
{
	for (size_t i = 0; i < p->rows_count && token; i++) {
		const struct msg_mesh *row = &p->rows[i];

		if (p->follows[i] && peers_id(row->name) == id)
			return sealed_known_token(row->key) == token ||
			       sealed_known_token(row->next_key) == token;
	}
	return false;
}

static bool
has_key(const struct setup_index *is, const uint8_t key[SETUP_KEY])
{
	return setup_key_is_zero(key) || setup_index_find(is, key);
}

void
sealed_peers_saw(struct sealed_peers *p, const struct setup *is)
{
	struct setup_index by_key;

	/* Whom there is no memory for is asked once more. */
	(void)!setup_index_init(&by_key, is);
	p->rows_count = p->peers->mesh_count;
	for (size_t i = 0; i < p->rows_count; i++) {
		const struct msg_mesh *row = &p->rows[i];

		p->follows[i] = sealed_setup_row_holds(row) &&
				sealed_pairs_has(&p->pairs, row->node) &&
				has_key(&by_key, row->key) && has_key(&by_key, row->next_key);
	}
	setup_index_fini(&by_key);
}

/* In a large cluster most are not spoken to, and are not woken for this. */
bool
sealed_peers_ask(struct sealed_peers *p, const struct setup *is, const uint8_t *next)
{
	const struct sealed_known_in in = {.next = next,
					   .rows = p->rows,
					   .count = p->rows_count,
					   .is = is,
					   .wall_s = world_wall_ns() / 1000000000,
					   .id = peers_id,
					   .ask = probing_ask_key};

	return p->rows_count <= ENGINE_EAGER_MAX && sealed_known_by_all(&p->known, &in);
}

/* ---- nodes that only dial out (docs/decisions/018) ---- */

/* Of each of the mesh's rows. */
static const struct addr *
places(struct sealed_peers *p)
{
	static struct addr out[PEERS_MAX];
	const struct peers *all = p->peers;
	uint64_t now_ns = world_mono_ns();
	struct relayed_third third;

	relayed_find(&p->relayed, all->mesh, all->mesh_count, now_ns, &third);
	memset(out, 0, all->mesh_count * sizeof(out[0]));
	for (size_t i = 0; i < all->mesh_count; i++)
		if (!all->mesh[i].port)
			(void)relayed_place(&p->relayed, all->self, &third, &all->mesh[i], now_ns,
					    &out[i]);
	return out;
}

/* The first of them: to the others packets go by way of whoever has fewer, or not. */
static size_t
bound_relayed(size_t count)
{
	static bool told;

	if (count > RELAY_NODES_MAX && !told)
		log_event(LOG_WARN, "more nodes only dial out than this one can pass on between",
			  log_u("keys", count), log_u("most", RELAY_NODES_MAX), LOG_END);
	told = count > RELAY_NODES_MAX;
	return told ? RELAY_NODES_MAX : count;
}

/* One that only dials out itself has nothing to pass on: they do not come to it. */
static int
relay(struct sealed_peers *p, struct engine *e, bool dials_out, struct err *err)
{
	static uint8_t keys[2 * PEERS_MAX][SETUP_KEY];
	static const uint64_t seed[2] = {UINT64_C(0x7a6c61796572), 9};
	size_t count = dials_out ? 0 : relayed_keys(p->rows, p->peers->mesh_count, keys);

	count = bound_relayed(count);
	uint64_t digest = map_siphash(seed, keys, count * sizeof(keys[0])) | 1;

	if (digest == p->relay_digest)
		return 0;
	if (engine_relay(e, (const uint8_t(*)[SETUP_KEY])keys, count, err) < 0)
		return -1;
	p->relay_digest = digest;
	return 0;
}

/* ---- sizes ---- */

static void
set_size(struct engine *e, const uint8_t key[SETUP_KEY], uint32_t mtu)
{
	struct err err = {0};

	if (setup_key_is_zero(key))
		return;
	if (engine_set_peer_mtu(e, key, mtu, &err) < 0 && err.kind != ERR_NOT_FOUND)
		log_err(LOG_WARN, "what fits the path to another node is not heeded", &err);
}

/* Of the key that is used, and of the one that follows it. Not every row is a peer. */
static void
set_sizes(const struct sealed_peers *p, struct engine *e)
{
	for (size_t i = 0; i < p->peers->mesh_count; i++) {
		const struct msg_mesh *row = &p->rows[i];
		uint32_t mtu =
			peers_probed_sealed(row->ways) ? probing_mtu(peers_id(row->name)) : 0;

		set_size(e, row->key, mtu);
		set_size(e, row->next_key, mtu);
	}
}

/* ---- all of it ---- */

bool
sealed_peers_change(const struct sealed_peers *p)
{
	for (size_t i = 0; i < p->peers->mesh_count; i++)
		if (!setup_key_is_zero(p->peers->mesh[i].next_key))
			return true;
	return false;
}

int
sealed_peers_want(struct sealed_peers *p, const struct setup *is, const uint8_t *private_key,
		  bool dials_out, bool follows, struct setup *want, struct err *err)
{
	const size_t count = p->peers->mesh_count;
	const struct sealed_setup_in in = {.private_key = private_key,
					   .rows = p->rows,
					   .rows_count = count,
					   .is = is,
					   .dials_out = dials_out,
					   .places = dials_out ? places(p) : NULL,
					   .follows = follows};

	p->rows_count = 0;
	memcpy(p->rows, p->peers->mesh, count * sizeof(p->rows[0]));
	if (sealed_setup_judge(&p->pairs, p->rows, count, err) < 0)
		return -1;
	return sealed_setup_make(&in, &p->pairs, want, err);
}

int
sealed_peers_apply(struct sealed_peers *p, struct engine *e, const uint8_t *private_key,
		   bool dials_out, struct err *err)
{
	struct setup is, want;

	setup_init(&is);
	setup_init(&want);
	int rc = engine_state(e, &is, err);
	if (rc == 0)
		rc = sealed_peers_want(p, &is, private_key, dials_out, false, &want, err);
	if (rc == 0)
		rc = change_engine(e, &is, &want, err);
	if (rc == 0)
		rc = follow(p, e, err);
	if (rc == 0)
		rc = relay(p, e, dials_out, err);
	if (rc == 0) {
		set_sizes(p, e);
		p->rows_count = p->peers->mesh_count;
	}
	setup_fini(&is);
	setup_fini(&want);
	return rc;
}
