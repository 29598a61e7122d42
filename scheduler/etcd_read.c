/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that the cluster holds, at one revision, in pages whose size follows what they weigh.
 * It replaces the copy in one transaction when count and digest are what the newest entry says. The
 * pages after the first ask for the first one's revision; when that is compacted meanwhile it is
 * begun again.
 */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/etcd_engine.h"

enum {
	BODY_BYTES = 16 << 10,
	READ_BYTES = 512 << 20,
	CHANGES_BYTES = 256 << 20,
	READ_KEYS = 128,
	READ_KEYS_MAX = 4096,
	READ_SMALL_BYTES = 1 << 20,
	READ_LARGE_BYTES = 8 << 20,
	AGAIN_MS = 250,
};

void
etcd_read_stop(struct etcd_engine *e)
{
	etcd_rpc_cancel(e->sync.read);
	e->sync.read = NULL;
	buf_fini(&e->sync.changes);
	arena_fini(&e->sync.arena);
}

static void
fail_read(struct etcd_engine *e, const struct err *err)
{
	etcd_engine_unwritable(e, err);
	etcd_read_stop(e);
	etcd_sync_look(e, AGAIN_MS);
	etcd_sync_checked(e, err);
}

int
etcd_read_change(const struct etcd_engine *e, const struct etcd_json_kv *kv,
		 struct store_change *out, struct err *err)
{
	size_t skip = strlen(e->prefix);
	const char *name = kv->key + skip;

	memset(out, 0, sizeof(*out));
	if (!text_starts(kv->key, e->prefix) ||
	    (!text_starts(name, "row/") && !text_starts(name, "blob/")))
		return 0;
	if (!store_key_get(name, kv->key_bytes - skip, &out->key)) {
		err_set(err, ERR_UNSUPPORTED,
			"the store holds something that this zlayer does not "
			"know");
		return err_why(err, "%s", kv->key);
	}
	out->gone = kv->gone;
	out->data = kv->value;
	out->bytes = kv->value_bytes;
	return 1;
}

static int
take_read(struct etcd_engine *e, const struct etcd_json_kv *kv, struct err *err)
{
	const char *name = kv->key + strlen(e->prefix);
	struct store_change change;
	int rc = etcd_read_change(e, kv, &change, err);

	if (rc < 0)
		return -1;
	if (rc > 0)
		buf_put(&e->sync.changes, &change, sizeof(change));
	else if (text_equal(name, "id"))
		text_ncopy(e->sync.id, sizeof(e->sync.id), (const char *)kv->value,
			   kv->value_bytes);
	else if (text_starts(name, "log/")) /* the newest comes last */
		return store_entry_get((const char *)kv->value, kv->value_bytes, &e->sync.entry,
				       err);
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	return store_key_compare(&((const struct store_change *)a)->key,
				 &((const struct store_change *)b)->key);
}

void
etcd_read_sort(struct store_change *changes, size_t count)
{
	if (count)
		qsort(changes, count, sizeof(*changes), by_key);
}

static void
all_read(struct etcd_engine *e)
{
	size_t count = e->sync.changes.length / sizeof(struct store_change);
	struct store_change *changes = (struct store_change *)(void *)e->sync.changes.data;
	struct store_entry entry = e->sync.entry;
	struct err err = {0};

	if (entry.parts) {
		e->sync.unspread = true;
		etcd_spread_start(e, &entry);
		etcd_read_stop(e);
		return;
	}
	/* A transaction of this node came in between: the copy follows by itself. */
	if (e->base.copy.id[0] && entry.sequence < e->base.copy.head.sequence) {
		etcd_read_stop(e);
		etcd_sync_settle(e);
		return;
	}
	etcd_read_sort(changes, count);
	if (store_copy_replace(&e->base.copy, changes, count, &entry, e->sync.revision, e->sync.id,
			       &err) < 0) {
		fail_read(e, &err);
		return;
	}
	etcd_read_stop(e);
	log_event(LOG_INFO, "the store was copied", log_u("sequence", entry.sequence),
		  log_u("keys", count), LOG_END);
	e->sync.unspread = false;
	e->sync.behind = 0;
	etcd_ids_check(e);
	etcd_commit_seen(e, &entry);
	store_base_tell_all(&e->base);
	etcd_sync_settle(e);
	etcd_sync_checked(e, NULL);
}

static void read_page(struct etcd_engine *e);

static int
take_page(struct etcd_engine *e, const struct etcd_rpc_answer *answer, bool *more, struct err *err)
{
	struct etcd_json_answer a;

	if (etcd_json_answer(answer->text, answer->bytes, &e->sync.arena, &a, err) < 0)
		return -1;
	if (!e->sync.revision)
		e->sync.revision = a.revision;
	for (size_t i = 0; i < a.kvs.count; i++) {
		if (take_read(e, &a.kvs.items[i], err) < 0)
			return -1;
	}
	if (!buf_ok(&e->sync.changes))
		return err_set(err, ERR_NO_MEMORY, "no memory for a copy of the store");
	*more = a.kvs.more && a.kvs.count > 0;
	/* '!' is below all that a key may go on with. */
	if (*more && !text_format(e->sync.from, sizeof(e->sync.from), "%s!",
				  a.kvs.items[a.kvs.count - 1].key))
		return err_set(err, ERR_CORRUPT, "the store holds a key that is too long");
	if (answer->bytes < READ_SMALL_BYTES && e->sync.limit < READ_KEYS_MAX)
		e->sync.limit *= 2;
	else if (answer->bytes > READ_LARGE_BYTES && e->sync.limit > 1)
		e->sync.limit /= 2;
	return 0;
}

static void
page_read(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct err err = {0};
	bool more = false;

	e->sync.read = NULL;
	if (answer->err && answer->err->kind == ERR_LIMIT && e->sync.limit > 1) {
		e->sync.limit = e->sync.limit > 16 ? 16 : 1;
		read_page(e);
	} else if (answer->err) {
		fail_read(e, answer->err);
	} else if (take_page(e, answer, &more, &err) < 0) {
		fail_read(e, &err);
	} else if (more) {
		read_page(e);
	} else {
		all_read(e);
	}
}

static void
read_page(struct etcd_engine *e)
{
	char to[ETCD_ENGINE_KEY_BYTES];
	struct err err = {0};
	struct buf body;

	etcd_engine_key(e, "row0", to);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_range(&body, &(struct etcd_json_range){
				       .key = e->sync.from,
				       .end = to,
				       .limit = e->sync.limit,
				       .revision = e->sync.revision,
			       });
	e->sync.read = etcd_rpc_call(e->rpc, "/v3/kv/range", &body, page_read, e, &err);
	buf_fini(&body);
	if (!e->sync.read)
		fail_read(e, &err);
}

void
etcd_read_start(struct etcd_engine *e)
{
	if (e->sync.read)
		return;
	etcd_rpc_cancel(e->sync.watch);
	e->sync.watch = NULL;
	e->sync.revision = 0;
	e->sync.limit = READ_KEYS;
	e->sync.id[0] = '\0';
	memset(&e->sync.entry, 0, sizeof(e->sync.entry));
	etcd_engine_key(e, "blob/", e->sync.from);
	arena_init(&e->sync.arena, MEM_SCHEDULER, READ_BYTES);
	buf_init(&e->sync.changes, MEM_SCHEDULER, CHANGES_BYTES);
	read_page(e);
}
