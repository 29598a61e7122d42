/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of an etcd of others before a store is sealed to move there: whether it takes
 * changes from this node, has nothing of this cluster, and whose the prefix is. Two clusters would
 * not meet below one, for their ids follow it; but whoever gives one to two clusters has most often
 * copied a file, so the first one keeps it (PREFIXcluster has its id).
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "scheduler/etcd_json.h"

enum { EMPTY_MS = 5000, BODY_BYTES = 4096, ANSWER_BYTES = 64 << 10 };

#define MS UINT64_C(1000000)

bool
cluster_outside_is_empty(const struct cluster *c)
{
	return world_mono_ns() < c->outside.empty_until_ns;
}

struct names {
	char owner[STORE_ETCD_PREFIX_BYTES + 16]; /* whose the prefix is */
	char cluster[2 * IDENTITY_CLUSTER + 1];   /* its value */
	char id[STORE_ETCD_PREFIX_BYTES + 16];    /* there when there is a store */
	char probe[STORE_ETCD_PREFIX_BYTES + 16]; /* never there */
};

static void
names_of(const struct cluster *c, struct names *out)
{
	char prefix[STORE_ETCD_PREFIX_BYTES];

	cluster_etcd_prefix(c, prefix);
	text_hex(c->keep.authority.cluster, IDENTITY_CLUSTER, out->cluster, sizeof(out->cluster));
	text_format(out->owner, sizeof(out->owner), "%scluster", c->config->store.etcd.prefix);
	text_format(out->id, sizeof(out->id), "%sid", prefix);
	text_format(out->probe, sizeof(out->probe), "%sprobe", prefix);
}

static int
refuse_other(const struct names *n, const struct etcd_json_kvs *owner, struct err *err)
{
	char other[64];

	if (owner->count != 1)
		return err_set(err, ERR_CONFLICT, "%s was removed just now", n->owner);
	text_printable((const char *)owner->items[0].value,
		       owner->items[0].value_bytes < sizeof(other) ? owner->items[0].value_bytes
								   : sizeof(other) - 1,
		       other, sizeof(other));
	err_set(err, ERR_CONFLICT, "the prefix in etcd is another cluster's");
	err_why(err, "%s says %s, this one is %s", n->owner, other, n->cluster);
	return err_fix(
		err,
		"give this cluster a store.etcd.prefix of its own; if that other one is gone "
		"for good: etcdctl del %s",
		n->owner);
}

static int
refuse_former(const struct cluster *c, struct err *err)
{
	char prefix[STORE_ETCD_PREFIX_BYTES];

	cluster_etcd_prefix(c, prefix);
	err_set(err, ERR_CONFLICT, "etcd has a store of this cluster already");
	err_why(err, "there are keys below %s", prefix);
	return err_fix(err,
		       "if nobody needs it: etcdctl del --prefix %s; or do without store.etcd in "
		       "this node.yaml",
		       prefix);
}

static int
read_probe(struct cluster *c, const struct etcd_rpc_answer *answer, struct err *err)
{
	struct etcd_json_answer a;
	struct names n;
	struct arena arena;

	if (answer->err) {
		*err = *answer->err;
		return -1;
	}
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	int rc = etcd_json_answer(answer->text, answer->bytes, &arena, &a, err);
	if (rc == 0 && !a.succeeded) {
		const struct etcd_json_kvs *owner = &a.gets[0];

		names_of(c, &n);
		if (owner->count == 1 && owner->items[0].value_bytes == strlen(n.cluster) &&
		    !memcmp(owner->items[0].value, n.cluster, strlen(n.cluster)))
			rc = refuse_former(c, err);
		else
			rc = refuse_other(&n, owner, err);
	}
	arena_fini(&arena);
	return rc;
}

static void
probed(void *arg, const struct etcd_rpc_answer *answer)
{
	struct cluster *c = arg;
	struct err err = {0};
	int rc = read_probe(c, answer, &err);

	if (rc == 0)
		c->outside.empty_until_ns = world_mono_ns() + EMPTY_MS * MS;
	c->outside.probed(c, rc < 0 ? &err : NULL);
}

static int
ask(struct cluster *c, struct buf *body, etcd_rpc_done_fn done, struct err *err)
{
	const struct etcd_call *call =
		etcd_rpc_call(c->voters.rpc, "/v3/kv/txn", body, done, c, err);

	buf_fini(body);
	return call ? 0 : -1;
}

/* Deleting what is not there takes the right to write, and changes nothing. */
static void
claimed(void *arg, const struct etcd_rpc_answer *answer)
{
	struct cluster *c = arg;
	struct etcd_json_txn t;
	struct err err = {0};
	struct names n;
	struct buf body;

	if (answer->err) {
		c->outside.probed(c, answer->err);
		return;
	}
	names_of(c, &n);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_if_absent(&t, n.id);
	etcd_json_if_value(&t, n.owner, n.cluster);
	etcd_json_then(&t);
	etcd_json_delete(&t, n.probe, NULL);
	etcd_json_otherwise(&t);
	etcd_json_get(&t, &(struct etcd_json_range){.key = n.owner});
	etcd_json_end(&t);
	if (ask(c, &body, probed, &err) < 0)
		c->outside.probed(c, &err);
}

int
cluster_outside_probe(struct cluster *c, void (*done)(struct cluster *c, const struct err *err),
		      struct err *err)
{
	struct etcd_json_txn t;
	struct names n;
	struct buf body;

	cluster_etcd_renew(c);
	if (!cluster_outside_had(c) || !c->voters.rpc) {
		*err = c->outside.why;
		return err->kind ? -1 : err_set(err, ERR_UNREACHABLE, "etcd is not known yet");
	}
	names_of(c, &n);
	c->outside.probed = done;
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_if_absent(&t, n.owner);
	etcd_json_then(&t);
	etcd_json_put(&t, n.owner, n.cluster, strlen(n.cluster), 0);
	etcd_json_end(&t);
	return ask(c, &body, claimed, err);
}
