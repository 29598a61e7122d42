/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_BACKUP_CRAFT_H
#define TESTS_SUPPORT_BACKUP_CRAFT_H

/* Backups that nobody would write: records of one's own, with checks that hold. */

#include <openssl/sha.h>
#include <string.h>
#include "scheduler/backup.h"

struct craft {
	struct buf out;
	struct store_digest digest;
	uint64_t count;
};

static inline void
craft_begin(struct craft *c)
{
	memset(c, 0, sizeof(*c));
	buf_init(&c->out, MEM_BASE, 64 << 20);
	buf_put(&c->out, backup_magic, BACKUP_MAGIC_BYTES);
}

static inline void
craft_record(struct craft *c, unsigned type, const void *body, size_t bytes)
{
	uint8_t check[SHA256_DIGEST_LENGTH];

	buf_u32(&c->out, (uint32_t)bytes);
	buf_u8(&c->out, (uint8_t)type);
	buf_put(&c->out, body, bytes);
	SHA256(c->out.data, c->out.length, check);
	buf_put(&c->out, check, 8);
}

/* The head of a store that holds what has been summed up. */
static inline void
craft_head(struct craft *c, const struct store_digest *digest, uint64_t count, bool keys)
{
	struct backup_head head = {.version = "1", .node = "edge-1", .keys = keys};
	struct buf b;

	head.entry.digest = *digest;
	head.entry.count = count;
	buf_init(&b, MEM_BASE, BACKUP_RECORD_MAX);
	backup_put_head(&b, &head);
	craft_record(c, BACKUP_HEAD, b.data, b.length);
	buf_fini(&b);
}

static inline void
craft_end(struct craft *c, uint64_t count)
{
	uint8_t all[SHA256_DIGEST_LENGTH];
	struct buf b;

	SHA256(c->out.data, c->out.length, all);
	buf_init(&b, MEM_BASE, 64);
	buf_u64(&b, count);
	buf_put(&b, all, sizeof(all));
	craft_record(c, BACKUP_END, b.data, b.length);
	buf_fini(&b);
}

#endif
