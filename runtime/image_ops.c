/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image requests in runtime: an import is asked of unpack, whose answer (a sealed record, fixed
 * structs, no JSON) is decoded with every length checked and put into the store; the caller is
 * answered after the image can be used. The role's layout has MSG_TABLE_IMAGE with
 * IMAGE_OPS_ROWS_MAX rows of struct msg_image.
 */
#include "runtime/image_ops.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "ring/msg.h"
#include "spec/image_ref.h"

enum {
	IMPORTS_MAX = 16,
	RECORD_ARENA_BYTES = 4 << 20,
	/* A little less than the caller's own time, so that the answer's reason is ours. */
	MARGIN_MS = 500,
};

struct import {
	struct image_ops *ops;
	struct station_request request;
};

struct image_ops {
	struct station *st;
	struct image_store *store;
	struct map published; /* key -> the ops object: rows that are in the table */
	struct metric_series *bytes;
	unsigned imports;
};

/* ---- the table ---- */

static uint64_t
row_key(const char *digest, const char *name)
{
	uint8_t hash[32] = {0};
	char text[MSG_DIGEST + MSG_IMAGE + 1];
	uint64_t key;

	text_format(text, sizeof(text), "%s %s", digest, name);
	EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL);
	memcpy(&key, hash, sizeof(key));
	return key ? key : 1;
}

struct round {
	struct image_ops *ops;
	struct map keys;
	bool failed;
};

static void
publish_row(void *arg, const struct image_entry *entry)
{
	struct round *round = arg;
	struct msg_image row = {0};
	uint64_t key = row_key(entry->record->digest, entry->name);

	text_copy(row.name, sizeof(row.name), entry->name);
	text_copy(row.digest, sizeof(row.digest), entry->record->digest);
	text_copy(row.architecture, sizeof(row.architecture), entry->record->architecture);
	row.bytes = entry->record->bytes;
	row.layers = (uint32_t)entry->record->layers.count;
	row.in_use = entry->in_use;
	row.kept = entry->pinned;
	row.imported_wall_ns = entry->imported_wall_ns;
	if (map_put_u64(&round->keys, key, round->ops) < 0 ||
	    ring_table_set(station_writer(round->ops->st), MSG_TABLE_IMAGE, key, &row, NULL) !=
		    RING_OK)
		round->failed = true;
}

void
image_ops_publish(struct image_ops *ops)
{
	struct round round = {.ops = ops};
	struct map_iter it = {0};
	struct ring_writer *w = station_writer(ops->st);

	map_init(&round.keys, MEM_RUNTIME);
	image_store_each(ops->store, publish_row, &round);
	while (map_next(&ops->published, &it)) {
		uint64_t key;

		memcpy(&key, it.key, sizeof(key));
		if (!map_get_u64(&round.keys, key))
			ring_table_remove(w, MSG_TABLE_IMAGE, key);
	}
	map_fini(&ops->published);
	ops->published = round.keys;
	if (round.failed)
		log_event(LOG_WARN, "not all images found a place in the table", LOG_END);
	metric_set(ops->bytes, (int64_t)image_store_bytes(ops->store));
	station_kick(ops->st);
}

int
image_ops_new(struct station *st, struct image_store *store, struct image_ops **out,
	      struct err *err)
{
	struct image_ops *ops = mem_zalloc(MEM_RUNTIME, sizeof(*ops));
	struct metric_labels labels = {0};

	if (!ops)
		return err_set(err, ERR_NO_MEMORY, "no memory for images");
	ops->st = st;
	ops->store = store;
	map_init(&ops->published, MEM_RUNTIME);
	metric_label(&labels, "kind", "images");
	ops->bytes = metrics_get(station_metrics(st), METRICS_STORAGE_BYTES, &labels);
	image_ops_publish(ops);
	*out = ops;
	return 0;
}

/* ---- import ---- */

static int
read_record(int fd, struct arena *arena, struct image_record **out, struct err *err)
{
	struct buf data;
	struct stat st;

	if (!fd_is_sealed(fd) || fstat(fd, &st) < 0 || st.st_size <= 0 ||
	    st.st_size > IMAGE_RECORD_BYTES_MAX)
		return err_set(err, ERR_CORRUPT, "unpack gave a record that does not hold");
	buf_init(&data, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	uint8_t *to = buf_reserve(&data, (size_t)st.st_size);
	int rc = -1;
	if (!to)
		err_set(err, ERR_NO_MEMORY, "no memory for an image's record");
	else if (pread(fd, to, (size_t)st.st_size, 0) != st.st_size)
		err_set(err, ERR_CORRUPT, "unpack gave a record that cannot be read");
	else
		rc = image_record_decode(to, (size_t)st.st_size, arena, out, err);
	buf_fini(&data);
	return rc;
}

static int
normalise(const char *name, char *out, size_t cap, struct err *err)
{
	struct image_ref ref;
	enum image_ref_status status = image_ref_parse(name, &ref);

	if (!*name) {
		err_set(err, ERR_INVALID, "the archive does not say the image's name");
		return err_fix(err, "give the image a name");
	}
	if (status != IMAGE_REF_OK) {
		err_set(err, ERR_INVALID, "the image's name %s is not a reference", name);
		return err_why(err, "%s", image_ref_why(status));
	}
	char text[IMAGE_REF_TEXT_BYTES];
	/* A digest is of the content: what was imported has its own. */
	ref.digest[0] = '\0';
	if (!ref.tag[0])
		text_copy(ref.tag, sizeof(ref.tag), "latest");
	image_ref_put(&ref, text, sizeof(text));
	if (!text_copy(out, cap, text))
		return err_set(err, ERR_LIMIT, "the image's name is too long");
	return 0;
}

int
image_ops_take_record(struct image_store *store, const char *as, const void *body, size_t bytes,
		      const int *fds, size_t count, struct msg_imported *out, struct err *err)
{
	struct image_record *record;
	struct arena arena;

	if (bytes != sizeof(*out) || count != 1)
		return err_set(err, ERR_CORRUPT, "unpack gave an answer that does not hold");
	memcpy(out, body, sizeof(*out));
	if (!MSG_OK(out->name) || !MSG_OK(out->digest))
		return err_set(err, ERR_CORRUPT, "unpack gave an answer that does not hold");
	arena_init(&arena, MEM_RUNTIME, RECORD_ARENA_BYTES);
	char name[MSG_IMAGE];
	int rc = read_record(fds[0], &arena, &record, err);
	if (rc == 0 && as)
		text_copy(name, sizeof(name), as);
	else if (rc == 0)
		rc = normalise(out->name, name, sizeof(name), err);
	if (rc == 0)
		rc = image_store_add(store, name, record, err);
	if (rc == 0) {
		text_copy(out->name, sizeof(out->name), name);
		text_copy(out->digest, sizeof(out->digest), record->digest);
	}
	arena_fini(&arena);
	return rc;
}

static void
unpacked(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct import *import = arg;
	struct image_ops *ops = import->ops;
	struct msg_imported imported = {0};
	struct err err = {0};

	if (status)
		err = *why;
	else if (image_ops_take_record(ops->store, NULL, body, bytes, fds, count, &imported,
				       &err) == 0)
		log_event(LOG_INFO, "image imported", log_s("image", imported.name),
			  log_s("digest", imported.digest), LOG_END);
	ops->imports--;
	image_store_import_end(ops->store);
	image_ops_publish(ops);
	if (err.kind)
		station_answer_err(ops->st, &import->request, &err);
	else
		station_answer(ops->st, &import->request, &imported, sizeof(imported), NULL, 0);
	mem_free(import);
}

static void
note_index(void *arg, struct ring_reader *reader)
{
	*(uint16_t *)arg = ring_reader_index(reader);
}

static int
ask_unpack(struct image_ops *ops, const struct station_request *request,
	   const struct msg_import *body, const int *fds, struct err *err)
{
	uint64_t now = world_mono_ns();
	uint64_t left_ms =
		request->deadline_mono_ns > now ? (request->deadline_mono_ns - now) / 1000000 : 0;
	struct import *import = mem_zalloc(MEM_RUNTIME, sizeof(*import));
	uint16_t index = 0;

	if (!import)
		return err_set(err, ERR_NO_MEMORY, "no memory to import an image");
	import->ops = ops;
	import->request = *request;
	station_readers(ops->st, ROLE_UNPACK, note_index, &index);
	if (station_ask(ops->st, ROLE_UNPACK, index, MSG_OP_UNPACK, body, sizeof(*body), fds, 1,
			left_ms > 2 * MARGIN_MS ? left_ms - MARGIN_MS : left_ms, unpacked, import,
			err) < 0) {
		mem_free(import);
		return -1;
	}
	ops->imports++;
	image_store_import_begin(ops->store);
	return 0;
}

static int
import(struct image_ops *ops, const struct station_request *request, const struct msg_import *body,
       const int *fds, size_t count, struct err *err)
{
	if (count != 1)
		return err_set(err, ERR_INVALID, "the request to import an image has no archive");
	if (ops->imports >= IMPORTS_MAX)
		return err_set(err, ERR_LIMIT, "too many images are being imported");
	/* What is wrong with a name is said before the work, not after. */
	char text[MSG_IMAGE];
	if (*body->name && normalise(body->name, text, sizeof(text), err) < 0)
		return -1;
	return ask_unpack(ops, request, body, fds, err);
}

/* ---- remove ---- */

static int
remove_image(struct image_ops *ops, const struct station_request *request,
	     const struct msg_import *body, struct err *err)
{
	char name[MSG_IMAGE];
	struct msg_imported answer = {0};

	/* What was pulled by digest is called so. */
	if (strchr(body->name, '@'))
		text_copy(name, sizeof(name), body->name);
	else if (normalise(body->name, name, sizeof(name), err) < 0)
		return -1;
	if (image_store_remove(ops->store, name, err) < 0)
		return -1;
	text_copy(answer.name, sizeof(answer.name), name);
	log_event(LOG_INFO, "image removed", log_s("image", name), LOG_END);
	image_ops_publish(ops);
	station_answer(ops->st, request, &answer, sizeof(answer), NULL, 0);
	return 0;
}

bool
image_ops_request(struct image_ops *ops, const struct station_request *request, const void *body,
		  size_t bytes, int *fds, size_t count)
{
	struct msg_import copy;
	struct err err = {0};
	int rc;

	if (request->op != MSG_OP_IMAGE_IMPORT && request->op != MSG_OP_IMAGE_REMOVE)
		return false;
	if (bytes == sizeof(copy))
		memcpy(&copy, body, sizeof(copy));
	if (bytes != sizeof(copy) || !MSG_OK(copy.name))
		rc = err_set(&err, ERR_INVALID, "the request for an image does not hold");
	else if (request->op == MSG_OP_IMAGE_IMPORT)
		rc = import(ops, request, &copy, fds, count, &err);
	else
		rc = remove_image(ops, request, &copy, &err);
	if (rc < 0)
		station_answer_err(ops->st, request, &err);
	return true;
}
