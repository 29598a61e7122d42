/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a backup in one turn: nobody changes the store meanwhile, so it is what the store was
 * between two transactions. What is written is summed up once more on its way and compared with
 * what the head has promised: a file that is damaged here is found here.
 */
#include "scheduler/backup.h"

#include <openssl/evp.h>
#include <string.h>

enum { FLUSH_BYTES = STORE_CHUNK_BYTES / 2, CHECK_BYTES = 8 };

struct writer {
	backup_write_fn out;
	void *arg;
	EVP_MD_CTX *all, *now;
	uint64_t bytes;
	struct buf changes;
	struct store_digest digest;
	uint64_t count;
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a backup");
}

static int
put(struct writer *w, const void *data, size_t bytes, struct err *err)
{
	if (EVP_DigestUpdate(w->all, data, bytes) != 1)
		return no_memory(err);
	w->bytes += bytes;
	if (w->bytes > BACKUP_BYTES_MAX)
		return err_set(err, ERR_LIMIT,
			       "the store is too large for a backup: more than %d MiB",
			       BACKUP_BYTES_MAX >> 20);
	return w->out(w->arg, data, bytes, err);
}

static int
hash_now(struct writer *w, uint8_t out[STORE_SHA256_BYTES], struct err *err)
{
	if (EVP_MD_CTX_copy_ex(w->now, w->all) != 1 || EVP_DigestFinal_ex(w->now, out, NULL) != 1)
		return no_memory(err);
	return 0;
}

static int
put_record(struct writer *w, enum backup_type type, const void *data, size_t bytes, struct err *err)
{
	uint8_t check[STORE_SHA256_BYTES];
	uint8_t head[5] = {(uint8_t)bytes, (uint8_t)(bytes >> 8), (uint8_t)(bytes >> 16),
			   (uint8_t)(bytes >> 24), (uint8_t)type};

	if (put(w, head, sizeof(head), err) < 0 || put(w, data, bytes, err) < 0 ||
	    hash_now(w, check, err) < 0)
		return -1;
	return put(w, check, CHECK_BYTES, err);
}

static int
put_buf(struct writer *w, enum backup_type type, struct buf *b, struct err *err)
{
	return buf_ok(b) ? put_record(w, type, b->data, b->length, err) : no_memory(err);
}

/* ---- rows and blobs ---- */

static int
flush(struct writer *w, struct err *err)
{
	int rc = w->changes.length || !buf_ok(&w->changes)
			 ? put_buf(w, BACKUP_CHANGES, &w->changes, err)
			 : 0;

	buf_reset(&w->changes);
	return rc;
}

static int
put_change(void *arg, const struct store_change *change, struct err *err)
{
	struct writer *w = arg;

	if (w->changes.length + change->bytes > FLUSH_BYTES && flush(w, err) < 0)
		return -1;
	store_change_put(&w->changes, change);
	store_digest_add(&w->digest, &change->key, change->data, change->bytes);
	w->count++;
	return 0;
}

static int
put_all(struct writer *w, struct store *s, const struct backup_head *head, struct err *err)
{
	if (store_copy_each(s, put_change, w, err) < 0 || flush(w, err) < 0)
		return -1;
	if (w->count == head->entry.count &&
	    !memcmp(&w->digest, &head->entry.digest, sizeof(w->digest)))
		return 0;
	err_set(err, ERR_CORRUPT, "the store is not what its log says");
	return err_fix(err, "zlayer explain this node; in a cluster another node has a copy that "
			    "can be backed up");
}

static int
put_end(struct writer *w, struct err *err)
{
	uint8_t all[STORE_SHA256_BYTES];
	struct buf b;

	if (hash_now(w, all, err) < 0)
		return -1;
	buf_init(&b, MEM_SCHEDULER, 2 * sizeof(all));
	buf_u64(&b, w->count);
	buf_put(&b, all, sizeof(all));
	int rc = put_buf(w, BACKUP_END, &b, err);
	buf_fini(&b);
	return rc;
}

static int
put_head(struct writer *w, const struct backup_head *head, struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, BACKUP_RECORD_MAX);
	backup_put_head(&b, head);
	int rc = put_buf(w, BACKUP_HEAD, &b, err);
	buf_fini(&b);
	return rc;
}

int
backup_write(struct backup_head *head, struct store *s, const void *keys, size_t keys_bytes,
	     backup_write_fn out, void *arg, struct err *err)
{
	struct writer w = {.out = out, .arg = arg};
	int rc = 0;

	head->keys = keys != NULL;
	if (!head->entry.sequence)
		rc = store_copy_sum(s, &head->entry.digest, &head->entry.count, err);
	buf_init(&w.changes, MEM_SCHEDULER, BACKUP_RECORD_MAX);
	w.all = EVP_MD_CTX_new();
	w.now = EVP_MD_CTX_new();
	if (rc == 0 && (!w.all || !w.now || EVP_DigestInit_ex(w.all, EVP_sha256(), NULL) != 1))
		rc = no_memory(err);
	if (rc == 0)
		rc = put(&w, backup_magic, BACKUP_MAGIC_BYTES, err);
	if (rc == 0)
		rc = put_head(&w, head, err);
	if (rc == 0)
		rc = put_all(&w, s, head, err);
	if (rc == 0 && keys)
		rc = put_record(&w, BACKUP_KEYS, keys, keys_bytes, err);
	if (rc == 0)
		rc = put_end(&w, err);
	EVP_MD_CTX_free(w.all);
	EVP_MD_CTX_free(w.now);
	buf_fini(&w.changes);
	return rc;
}
