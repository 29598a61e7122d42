/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A book of what is said of each replica, and the two maps of addresses made of it. An address
 * goes from one replica to another in any order of the two changes: it is taken out of a map only
 * while the map says that it is of the one that has gone. What has gone from a table that is not
 * whole stays in the book, because it may yet come back; when the table is whole the maps hold what
 * the book holds and no more.
 */
#include "dataplane/identities.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "dataplane/lb.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/skel.h"

struct entry {
	struct tc_identity identity;
	struct addr addr4, addr6; /* zero: none, or those of its device */
	bool gone;                /* not in the table, before that is whole */
};

struct identities {
	struct veth *veth;
	struct map book;     /* replica -> struct entry */
	uint32_t generation; /* of who says all this */
	bool whole;
};

struct identities *
identities_new(struct veth *veth)
{
	struct identities *ids = mem_zalloc(MEM_DATAPLANE, sizeof(*ids));

	if (!ids)
		return NULL;
	ids->veth = veth;
	map_init(&ids->book, MEM_DATAPLANE);
	return ids;
}

void
identities_free(struct identities *ids)
{
	struct map_iter it = {0};

	if (!ids)
		return;
	while (map_next(&ids->book, &it))
		mem_free(it.value);
	map_fini(&ids->book);
	mem_free(ids);
}

const struct tc_identity *
identities_get(const struct identities *ids, uint64_t replica)
{
	const struct entry *e = map_get_u64(&ids->book, replica);

	return e ? &e->identity : NULL;
}

/* ---- maps ---- */

static int
map4(const struct identities *ids)
{
	return libbpf.bpf_map__fd(veth_loaded(ids->veth)->maps.identities4);
}

static int
map6(const struct identities *ids)
{
	return libbpf.bpf_map__fd(veth_loaded(ids->veth)->maps.identities6);
}

static int
put(int map, const void *key, const struct tc_identity *identity, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(map, key, identity, BPF_ANY);

	if (rc == -E2BIG || rc == -ENOSPC)
		return err_set(err, ERR_LIMIT,
			       "the data path can know no more than %d replicas of other nodes",
			       TC_IDENTITIES_MAX);
	return rc < 0 ? err_sys(err, -rc, "cannot write a map of identities") : 0;
}

static void
drop(int map, const void *key, uint64_t replica)
{
	struct tc_identity there;

	if (libbpf.bpf_map_lookup_elem(map, key, &there) == 0 && there.replica == replica)
		(void)libbpf.bpf_map_delete_elem(map, key);
}

static bool
has4(const struct entry *e)
{
	return addr_is_v4(&e->addr4) && !addr_is_zero(&e->addr4);
}

static bool
has6(const struct entry *e)
{
	return !addr_is_v4(&e->addr6) && !addr_is_zero(&e->addr6);
}

static int
put_entry(struct identities *ids, const struct entry *e, struct err *err)
{
	int rc = 0;

	if (has4(e)) {
		uint32_t key = addr_v4_be(&e->addr4);

		rc = put(map4(ids), &key, &e->identity, err);
	}
	if (rc == 0 && has6(e))
		rc = put(map6(ids), e->addr6.ip, &e->identity, err);
	return rc == 0 ? veth_identify(ids->veth, e->identity.replica, &e->identity, err) : rc;
}

static void
drop_entry(struct identities *ids, const struct entry *e)
{
	if (has4(e)) {
		uint32_t key = addr_v4_be(&e->addr4);

		drop(map4(ids), &key, e->identity.replica);
	}
	if (has6(e))
		drop(map6(ids), e->addr6.ip, e->identity.replica);
}

/* ---- changes ---- */

void
identities_begin(struct identities *ids, uint32_t generation)
{
	struct map_iter it = {0};

	if (ids->generation == generation)
		return;
	ids->generation = generation;
	ids->whole = false;
	while (map_next(&ids->book, &it))
		((struct entry *)it.value)->gone = true;
}

static bool
row_holds(uint64_t key, const struct msg_identity *row)
{
	return key && row->deployment && row->service &&
	       !(row->flags & ~(uint32_t)MSG_IDENTITY_OVERLAYS) &&
	       (addr_is_zero(&row->addr4) || addr_is_v4(&row->addr4)) &&
	       (addr_is_zero(&row->addr6) || !addr_is_v4(&row->addr6));
}

static void
remove_entry(struct identities *ids, uint64_t key)
{
	struct entry *e = map_get_u64(&ids->book, key);

	if (!e)
		return;
	if (!ids->whole) {
		e->gone = true;
		return;
	}
	drop_entry(ids, e);
	mem_free(map_remove_u64(&ids->book, key));
}

static struct entry *
entry_of(struct identities *ids, uint64_t key)
{
	struct entry *e = map_get_u64(&ids->book, key);

	if (e)
		return e;
	e = mem_zalloc(MEM_DATAPLANE, sizeof(*e));
	if (e && map_put_u64(&ids->book, key, e) < 0) {
		mem_free(e);
		return NULL;
	}
	return e;
}

int
identities_change(struct identities *ids, uint64_t key, const struct msg_identity *row,
		  struct err *err)
{
	struct entry *e, old;

	if (key == MSG_IDENTITY_WHOLE)
		return 0;
	if (!row) {
		remove_entry(ids, key);
		return 0;
	}
	if (!row_holds(key, row))
		return err_set(err, ERR_CORRUPT, "a row of the cluster's identities does not hold");
	e = entry_of(ids, key);
	if (!e)
		return err_set(err, ERR_NO_MEMORY, "no memory for what a replica is");
	old = *e;
	*e = (struct entry){
		.addr4 = row->addr4,
		.addr6 = row->addr6,
		.identity = {.deployment = row->deployment,
			     .service = row->service,
			     .replica = key,
			     .node = row->node,
			     .flags = row->flags | TC_IDENTITY_KNOWN},
	};
	if (old.identity.replica &&
	    (!addr_equal_ip(&old.addr4, &e->addr4) || !addr_equal_ip(&old.addr6, &e->addr6)))
		drop_entry(ids, &old);
	return put_entry(ids, e, err);
}

/* ---- the whole of it ---- */

static void
forget_gone(struct identities *ids)
{
	struct map_iter it = {0};

	while (map_next(&ids->book, &it)) {
		struct entry *e = it.value;

		if (e->gone) {
			(void)map_remove_u64(&ids->book, e->identity.replica);
			mem_free(e);
		}
	}
}

/* Also what a predecessor of this process wrote. */
static int
prune(struct identities *ids, struct err *err)
{
	struct lb_rows rows4, rows6;
	struct map_iter it = {0};
	int rc = 0;

	forget_gone(ids);
	lb_rows_of(&rows4, sizeof(uint32_t), 0);
	lb_rows_of(&rows6, sizeof(struct tc_veth_key6), 0);
	while (map_next(&ids->book, &it)) {
		const struct entry *e = it.value;
		uint32_t key = has4(e) ? addr_v4_be(&e->addr4) : 0;

		if (has4(e))
			lb_rows_add(&rows4, &key, NULL);
		if (has6(e))
			lb_rows_add(&rows6, e->addr6.ip, NULL);
	}
	if (rows4.failed || rows6.failed) {
		rc = err_set(err, ERR_NO_MEMORY, "no memory to look through the identities");
	} else {
		lb_rows_prune(&rows4, map4(ids));
		lb_rows_prune(&rows6, map6(ids));
	}
	lb_rows_fini(&rows4);
	lb_rows_fini(&rows6);
	return rc;
}

int
identities_settle(struct identities *ids, bool whole, struct err *err)
{
	if (whole && !ids->whole && prune(ids, err) < 0)
		return -1;
	ids->whole = whole;
	return 0;
}
