/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of keys, and what the parts of the shared engine have in common.
 *
 *   PREFIX/id          which store this is
 *   PREFIX/ids         the next id that no node has reserved
 *   PREFIX/log/N       entry of transaction N (store_change.h); the newest ones
 *   PREFIX/row/...     rows and
 *   PREFIX/blob/...    parts of blobs, as they are after the newest transaction
 *   PREFIX/stage/...   parts of large transactions (etcd_spread.c)
 */
#include "scheduler/etcd_engine.h"

#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"

void
etcd_engine_key(const struct etcd_engine *e, const char *name, char *out)
{
	text_format(out, ETCD_ENGINE_KEY_BYTES, "%s%s", e->prefix, name);
}

void
etcd_engine_log_key(const struct etcd_engine *e, uint64_t sequence, char *out)
{
	text_format(out, ETCD_ENGINE_KEY_BYTES, "%slog/%016" PRIx64, e->prefix, sequence);
}

void
etcd_engine_stage_key(const struct etcd_engine *e, const uint8_t *txid, long part, char *out)
{
	char hex[2 * STORE_TXID_BYTES + 1];

	text_hex(txid, STORE_TXID_BYTES, hex, sizeof(hex));
	if (part >= 0)
		text_format(out, ETCD_ENGINE_KEY_BYTES, "%sstage/%s/%06lx", e->prefix, hex, part);
	else /* '0' is what follows '/' */
		text_format(out, ETCD_ENGINE_KEY_BYTES, "%sstage/%s%c", e->prefix, hex,
			    part == -1 ? '/' : '0');
}

void
etcd_engine_put_changes(const struct etcd_engine *e, struct etcd_json_txn *t,
			const struct store_change *changes, size_t count)
{
	char name[STORE_KEY_BYTES], key[ETCD_ENGINE_KEY_BYTES];

	for (size_t i = 0; i < count; i++) {
		store_key_put(&changes[i].key, name);
		etcd_engine_key(e, name, key);
		if (changes[i].gone)
			etcd_json_delete(t, key, NULL);
		else
			etcd_json_put(t, key, changes[i].data, changes[i].bytes, 0);
	}
}

static void
refuse(struct etcd_engine *e, enum log_level level, const struct err *err)
{
	if (e->writable || !text_equal(e->why.what, err->what))
		log_err(level, "the store cannot be changed; what runs goes on", err);
	e->writable = false;
	e->why = *err;
	/* What is refused because of it was not tried, and certainly not done. */
	if (e->why.kind == ERR_TIMEOUT)
		e->why.kind = ERR_UNREACHABLE;
}

void
etcd_engine_unwritable(struct etcd_engine *e, const struct err *err)
{
	refuse(e, LOG_WARN, err);
}

void
etcd_engine_wait(struct etcd_engine *e, const struct err *err)
{
	refuse(e, err->kind == ERR_UNREACHABLE ? LOG_INFO : LOG_WARN, err);
}
