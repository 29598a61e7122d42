/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers into maps. What a predecessor left there is not known: the first time all is written, and
 * what is nobody's goes. From then on it is known what the maps hold, and only what differs is
 * written: of thousands of peers one changes at a time. After a failure it is not known again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel_private.h"

_Static_assert((int)TC_OVERLAY_PEERS_MAX == (int)TUNNEL_PEERS_MAX, "all peers fit the maps");
_Static_assert((int)TC_PEER_PLAIN == MSG_WAY_PLAIN && (int)TC_PEER_SEALED == MSG_WAY_SEALED &&
		       (int)TC_PEER_TRUSTED == MSG_WAY_TRUSTED,
	       "the programs know ways by the same bits");

enum { MTU_MIN = 1280, MTU_MAX = 65535 };

/* ---- rows of the maps ---- */

static void
rows_init(struct lb_rows rows[TUNNEL_MAPS])
{
	lb_rows_of(&rows[TUNNEL_IDS], sizeof(uint64_t), 0);
	lb_rows_of(&rows[TUNNEL_REMOTES], sizeof(struct tc_overlay_addr), sizeof(uint64_t));
	lb_rows_of(&rows[TUNNEL_PEERS4], sizeof(struct tc_overlay_key4),
		   sizeof(struct tc_overlay_peer));
	lb_rows_of(&rows[TUNNEL_PEERS6], sizeof(struct tc_overlay_key6),
		   sizeof(struct tc_overlay_peer));
}

static void
rows_fini(struct lb_rows rows[TUNNEL_MAPS])
{
	for (int i = 0; i < TUNNEL_MAPS; i++)
		lb_rows_fini(&rows[i]);
}

static uint8_t *
row_at(const struct lb_rows *rows, size_t i)
{
	return rows->bytes + i * (rows->key_bytes + rows->value_bytes);
}

static int
map_fd(const struct tunnel *t, enum tunnel_map which)
{
	const struct tc_veth *skel = veth_loaded(t->veth);
	const struct bpf_map *const maps[TUNNEL_MAPS] = {
		[TUNNEL_IDS] = skel->maps.peer_bytes,
		[TUNNEL_REMOTES] = skel->maps.remotes,
		[TUNNEL_PEERS4] = skel->maps.peers4,
		[TUNNEL_PEERS6] = skel->maps.peers6,
	};

	return libbpf.bpf_map__fd(maps[which]);
}

/* Sorted. Two rows that want the same key: always the same one has it, in whatever order they came.
 */
static void
settle(struct lb_rows *rows)
{
	size_t each = rows->key_bytes + rows->value_bytes, kept = 0;

	lb_rows_sort(rows);
	for (size_t i = 0; i < rows->count; i++) {
		const uint8_t *row = row_at(rows, i);
		uint8_t *last = kept ? row_at(rows, kept - 1) : NULL;

		if (!last || memcmp(last, row, rows->key_bytes) != 0)
			memmove(row_at(rows, kept++), row, each);
		else if (memcmp(last, row, each) < 0)
			memcpy(last, row, each);
	}
	rows->count = kept;
}

/* ---- what is wanted ---- */

static bool
row_holds(const struct msg_peer *row)
{
	return row->id && MSG_OK(row->name) && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits > 96 && row->v4.bits <= 128 &&
	       !addr_is_v4(&row->v6.base) && row->v6.bits > 0 && row->v6.bits <= 128 &&
	       (row->mtu == 0 || (row->mtu >= MTU_MIN && row->mtu <= MTU_MAX));
}

/* The node itself has the first address of its prefixes. */
static struct tc_overlay_peer
value_of(const struct tunnel_row *row)
{
	struct tc_overlay_peer p = {.id = row->peer->id, .mtu = row->peer->mtu};
	struct addr own4 = row->peer->v4.base;

	p.flags = row->peer->ways & (MSG_WAY_PLAIN | MSG_WAY_SEALED | MSG_WAY_TRUSTED);
	if (row->member)
		p.flags |= TC_PEER_MEMBER;
	memcpy(p.remote.addr, row->peer->address.ip, sizeof(p.remote.addr));
	memcpy(p.own6, row->peer->v6.base.ip, sizeof(p.own6));
	own4.ip[15] |= 1;
	p.own6[15] |= 1;
	p.own4 = addr_v4_be(&own4);
	return p;
}

static uint32_t
member_before(const struct tunnel *t, const struct tc_overlay_key4 *key, uint64_t id)
{
	struct tc_overlay_peer was;

	if (libbpf.bpf_map_lookup_elem(map_fd(t, TUNNEL_PEERS4), key, &was) < 0 || was.id != id)
		return TC_PEER_MEMBER;
	return was.flags & TC_PEER_MEMBER;
}

static void
want_peer(const struct tunnel *t, const struct tunnel_row *row, struct lb_rows want[TUNNEL_MAPS])
{
	struct tc_overlay_peer value = value_of(row);
	struct tc_overlay_key4 key4 = {.bits = row->peer->v4.bits - 96U};
	struct tc_overlay_key6 key6 = {.bits = row->peer->v6.bits};

	memcpy(key4.addr, row->peer->v4.base.ip + 12, sizeof(key4.addr));
	memcpy(key6.addr, row->peer->v6.base.ip, sizeof(key6.addr));
	if (row->member_as_before)
		value.flags |= member_before(t, &key4, value.id);
	lb_rows_add(&want[TUNNEL_IDS], &value.id, NULL);
	/* Nothing comes from where no way leads to. */
	if (row->peer->ways)
		lb_rows_add(&want[TUNNEL_REMOTES], &value.remote, &value.id);
	lb_rows_add(&want[TUNNEL_PEERS4], &key4, &value);
	lb_rows_add(&want[TUNNEL_PEERS6], &key6, &value);
}

static int
want_all(const struct tunnel *t, const struct tunnel_row *rows, size_t count,
	 struct lb_rows want[TUNNEL_MAPS], struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (row_holds(rows[i].peer))
			want_peer(t, &rows[i], want);
		else
			log_event(LOG_ERROR, "a row of the overlay's peers does not hold", LOG_END);
	}
	for (int i = 0; i < TUNNEL_MAPS; i++) {
		if (want[i].failed)
			return err_set(err, ERR_NO_MEMORY,
				       "no memory for the peers of the data path");
		settle(&want[i]);
	}
	return 0;
}

/* ---- into the maps ---- */

static int
write_row(const struct tunnel *t, enum tunnel_map which, const uint8_t *row, size_t key_bytes,
	  struct err *err)
{
	static const struct tc_overlay_bytes none[TUNNEL_CPUS_MAX];
	int rc;

	if (which != TUNNEL_IDS) {
		rc = libbpf.bpf_map_update_elem(map_fd(t, which), row, row + key_bytes, BPF_ANY);
		return rc < 0 ? err_sys(err, -rc, "cannot write a map of peers") : 0;
	}
	/* Counters go on, when there are any. */
	rc = libbpf.bpf_map_update_elem(map_fd(t, which), row, none, BPF_NOEXIST);
	return rc < 0 && rc != -EEXIST ? err_sys(err, -rc, "cannot count a peer's bytes") : 0;
}

/* What `now` has not got, or not so; all, if it is not known what there is. */
static int
write_new(const struct tunnel *t, enum tunnel_map which, const struct lb_rows *want,
	  struct err *err)
{
	const struct lb_rows *now = &t->now[which];

	for (size_t i = 0; i < want->count; i++) {
		const uint8_t *row = row_at(want, i);
		const uint8_t *old = t->known ? lb_rows_find(now, row) : NULL;

		if (old && memcmp(old, row, want->key_bytes + want->value_bytes) == 0)
			continue;
		if (write_row(t, which, row, want->key_bytes, err) < 0)
			return -1;
	}
	return 0;
}

static void
drop_old(const struct tunnel *t, enum tunnel_map which, struct lb_rows *want)
{
	const struct lb_rows *now = &t->now[which];

	if (!t->known) {
		lb_rows_prune(want, map_fd(t, which));
		return;
	}
	for (size_t i = 0; i < now->count; i++)
		if (!lb_rows_find(want, row_at(now, i)))
			(void)libbpf.bpf_map_delete_elem(map_fd(t, which), row_at(now, i));
}

static int
write_all(struct tunnel *t, struct lb_rows want[TUNNEL_MAPS], struct err *err)
{
	for (unsigned i = 0; i < TUNNEL_MAPS; i++)
		if (write_new(t, (enum tunnel_map)i, &want[i], err) < 0)
			return -1;
	for (unsigned i = 0; i < TUNNEL_MAPS; i++)
		drop_old(t, (enum tunnel_map)i, &want[i]);
	return 0;
}

/* ---- who is counted ---- */

static int
compare(const void *a, const void *b)
{
	const struct tunnel_peer *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static void
remember(struct tunnel *t, const struct tunnel_row *rows, size_t count)
{
	static struct tunnel_peer before[TUNNEL_PEERS_MAX];
	size_t before_count = t->peers_count;

	memcpy(before, t->peers, sizeof(before));
	t->peers_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct tunnel_peer *p = &t->peers[t->peers_count], *old;

		if (!row_holds(rows[i].peer))
			continue;
		*p = (struct tunnel_peer){.id = rows[i].peer->id};
		old = bsearch(p, before, before_count, sizeof(*p), compare);
		if (old)
			*p = *old;
		text_copy(p->name, sizeof(p->name), rows[i].peer->name);
		t->peers_count++;
	}
	qsort(t->peers, t->peers_count, sizeof(t->peers[0]), compare);
}

int
tunnel_peers(struct tunnel *t, const struct tunnel_row *rows, size_t count, struct err *err)
{
	struct lb_rows want[TUNNEL_MAPS];

	if (count > TUNNEL_PEERS_MAX) {
		log_event(LOG_ERROR, "more peers than the data path can have",
			  log_u("most", TUNNEL_PEERS_MAX), LOG_END);
		count = TUNNEL_PEERS_MAX;
	}
	rows_init(want);
	if (want_all(t, rows, count, want, err) < 0 || write_all(t, want, err) < 0) {
		t->known = false;
		rows_fini(want);
		return -1;
	}
	tunnel_peers_forget(t);
	memcpy(t->now, want, sizeof(want));
	t->known = true;
	remember(t, rows, count);
	return 0;
}

void
tunnel_peers_forget(struct tunnel *t)
{
	rows_fini(t->now);
	t->known = false;
}
