/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a backup: who wrote it, when, of which store, and what that held. Columns are only
 * ever added behind the others; a reader that knows fewer refuses the file by its format. */
#include "scheduler/backup.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/store_wire.h"

enum { HAS_KEYS = 1 };

const char backup_magic[BACKUP_MAGIC_BYTES + 1] = "zlayer backup 1\n";

void
backup_put_head(struct buf *out, const struct backup_head *head)
{
	buf_text(out, head->version);
	buf_text(out, head->node);
	buf_text(out, head->cluster);
	buf_text(out, head->store);
	buf_u32(out, head->node_id);
	buf_u64(out, (uint64_t)head->created_wall_ns);
	store_wire_put_entry(out, &head->entry);
	buf_u8(out, head->keys ? HAS_KEYS : 0);
}

/* A word for people: what a terminal shows as it stands. */
static bool
take_word(struct cursor *in, char out[BACKUP_WORD_BYTES])
{
	if (!store_wire_get_text(in, out, BACKUP_WORD_BYTES))
		return false;
	for (const char *at = out; *at; at++) {
		if (*at <= ' ' || *at > '~')
			return false;
	}
	return true;
}

int
backup_take_head(const void *data, size_t bytes, struct backup_head *out, struct err *err)
{
	struct cursor in;

	memset(out, 0, sizeof(*out));
	cursor_init(&in, data, bytes);
	bool fine = take_word(&in, out->version) && take_word(&in, out->node) &&
		    take_word(&in, out->cluster) && take_word(&in, out->store);
	out->node_id = cursor_u32(&in);
	out->created_wall_ns = (int64_t)cursor_u64(&in);
	if (fine && !store_wire_get_entry(&in, &out->entry, err))
		return -1;
	unsigned flags = cursor_u8(&in);
	out->keys = flags & HAS_KEYS;
	if (!fine || !cursor_done(&in) || flags > HAS_KEYS || !out->version[0])
		return err_set(err, ERR_CORRUPT, "the head of the backup is none");
	return 0;
}
