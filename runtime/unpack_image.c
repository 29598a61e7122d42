/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents are read anew, and checked against the digest, at each step: nothing is kept
 * between two requests but folders below tmp/, whose numbers the asker has.
 *
 * A packet says where its bytes belong. What lies before the end of what was read is passed over (a
 * fetch process that was restarted begins anew); what lies behind is a gap: a part was read by a
 * predecessor of this process.
 */
#include "runtime/unpack_image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fd.h"
#include "base/text.h"
#include "runtime/documents.h"
#include "runtime/layer.h"
#include "runtime/layer_folder.h"
#include "runtime/layer_stream.h"

enum { ARENA_BYTES = 64 << 20, PACKET_BYTES = 128 << 10, ORPHANS_BYTES_MAX = 64 << 20 };

struct store {
	int layers;
	int tmp;
};

static int
store_open(int images, struct store *s, struct err *err)
{
	s->layers = fd_open_beneath(images, "layers", O_RDONLY | O_DIRECTORY, 0);
	s->tmp = fd_open_beneath(images, "tmp", O_RDONLY | O_DIRECTORY, 0);
	if (s->layers >= 0 && s->tmp >= 0)
		return 0;
	return err_sys(err, errno, "cannot open the folders of the image store");
}

static void
store_close(struct store *s)
{
	fd_close(&s->layers);
	fd_close(&s->tmp);
}

static int
read_documents(int fd, const char *digest, struct arena *arena, struct documents *out,
	       struct err *err)
{
	struct buf data;
	int rc;

	buf_init(&data, MEM_RUNTIME, DOCUMENTS_BYTES_MAX);
	if (!fd_is_sealed(fd))
		rc = err_set(err, ERR_INVALID, "an image's documents are not sealed");
	else if (lseek(fd, 0, SEEK_SET) < 0)
		rc = err_sys(err, errno, "cannot read an image's documents");
	else
		rc = fd_read_all(fd, &data, err);
	if (rc == 0)
		rc = documents_read(data.data, data.length, digest, layout_machine(), arena, out,
				    err);
	buf_fini(&data);
	return rc;
}

/* ---- what is missing ---- */

static void
put_layer(int layers, const struct documents *d, size_t i, struct buf *out)
{
	struct msg_layer row = {.bytes = d->manifest.layers.items[i].bytes};
	uint64_t bytes;
	int fs = layer_folder_open(layers, d->record.layers.items[i], &bytes);

	text_copy(row.digest, sizeof(row.digest), d->manifest.layers.items[i].digest);
	text_copy(row.diff_id, sizeof(row.diff_id), d->record.diff_ids.items[i]);
	text_copy(row.folder, sizeof(row.folder), d->record.layers.items[i]);
	row.here = fs >= 0;
	fd_close(&fs);
	buf_put(out, &row, sizeof(row));
}

int
unpack_image_look(int images, int documents, const struct msg_commit *what, struct buf *out,
		  struct err *err)
{
	struct arena arena;
	struct documents d;
	struct store store;

	arena_init(&arena, MEM_RUNTIME, ARENA_BYTES);
	int rc = store_open(images, &store, err);
	if (rc == 0)
		rc = read_documents(documents, what->digest, &arena, &d, err);
	for (size_t i = 0; rc == 0 && i < d.record.layers.count; i++)
		put_layer(store.layers, &d, i, out);
	if (rc == 0 && !buf_ok(out))
		rc = err_set(err, ERR_NO_MEMORY, "no memory for an image's layers");
	store_close(&store);
	arena_fini(&arena);
	return rc;
}

/* ---- a layer ---- */

static int
cut(uint64_t have, uint64_t bytes, struct err *err)
{
	err_set(err, ERR_INTERRUPTED, "the download of a layer ended too early");
	return err_why(err, "%llu of %llu bytes came", (unsigned long long)have,
		       (unsigned long long)bytes);
}

/* The next packet's new bytes: -1 with err. */
static int
next_piece(int stream, uint8_t *packet, uint64_t have, uint64_t whole, const uint8_t **at_out,
	   size_t *bytes_out, struct err *err)
{
	uint64_t offset;
	ssize_t n;

	do {
		n = recv(stream, packet, PACKET_BYTES + sizeof(offset), 0);
	} while (n < 0 && errno == EINTR);
	if (n <= (ssize_t)sizeof(offset))
		return cut(have, whole, err);
	memcpy(&offset, packet, sizeof(offset));
	size_t bytes = (size_t)n - sizeof(offset);
	*at_out = packet + sizeof(offset);
	*bytes_out = 0;
	if (offset > have)
		return cut(have, whole, err);
	if (offset + bytes <= have)
		return 0;
	*at_out += have - offset;
	*bytes_out = bytes - (size_t)(have - offset);
	if (*bytes_out > whole - have) {
		err_set(err, ERR_CORRUPT, "the image is damaged: a layer is larger than it says");
		return err_why(err, "it should have %llu bytes", (unsigned long long)whole);
	}
	return 0;
}

static int
pump(int stream, uint64_t whole, struct layer_stream *s, struct err *err)
{
	uint8_t *packet = mem_alloc(MEM_RUNTIME, PACKET_BYTES + sizeof(uint64_t));
	uint64_t have = 0;
	int rc = packet ? 0 : err_set(err, ERR_NO_MEMORY, "no memory to unpack a layer");

	while (rc == 0 && have < whole) {
		const uint8_t *at = NULL;
		size_t bytes = 0;

		rc = next_piece(stream, packet, have, whole, &at, &bytes, err);
		if (rc == 0 && bytes) {
			rc = layer_stream_feed(s, at, bytes, err);
			have += bytes;
		}
	}
	mem_free(packet);
	return rc < 0 ? -1 : layer_stream_end(s, err);
}

static int
unpack_into(const struct layer_folder *folder, int stream, const struct msg_layer *what,
	    struct msg_unpacked *out, struct err *err)
{
	static const struct layer_limits limits = {LAYER_BYTES_MAX, LAYER_ENTRIES_MAX};
	struct layer_stream *s = NULL;
	struct layer *layer;
	struct buf orphans;

	if (layer_new(folder->fs, NULL, 0, &limits, &layer, err) < 0)
		return -1;
	buf_init(&orphans, MEM_RUNTIME, ORPHANS_BYTES_MAX);
	layer_defer(layer, &orphans);
	int rc = layer_stream_new(layer, what->digest, what->diff_id,
				  limits.bytes_max + limits.entries_max * 4096, &s, err);
	if (rc == 0)
		rc = pump(stream, what->bytes, s, err);
	out->bytes = layer_bytes(layer);
	if (rc == 0)
		rc = layer_folder_finish(folder, out->bytes, &orphans, err);
	layer_stream_free(s);
	layer_free(layer);
	buf_fini(&orphans);
	return rc;
}

static bool
is_hex(const char *text)
{
	return strspn(text, "0123456789abcdef") == 64 && text[64] == '\0';
}

int
unpack_image_layer(int images, int stream, const struct msg_layer *what, struct msg_unpacked *out,
		   struct err *err)
{
	struct layer_folder folder;
	struct store store;

	memset(out, 0, sizeof(*out));
	if (!is_hex(what->diff_id) || !text_starts(what->digest, "sha256:") ||
	    !is_hex(what->digest + 7))
		return err_set(err, ERR_INVALID, "the request to unpack a layer does not hold");
	int rc = store_open(images, &store, err);
	if (rc == 0) {
		out->folder = layer_folder_number();
		rc = layer_folder_make(store.tmp, out->folder, &folder, err);
	}
	if (rc == 0) {
		rc = unpack_into(&folder, stream, what, out, err);
		layer_folder_close(&folder);
		if (rc < 0)
			layer_folder_remove(store.tmp, out->folder);
	}
	store_close(&store);
	return rc < 0 ? err_where(err, "layer sha256:%.12s", what->diff_id) : 0;
}

void
unpack_image_drop(int images, uint64_t folder)
{
	struct store store;
	struct err ignored = {0};

	if (store_open(images, &store, &ignored) == 0)
		layer_folder_remove(store.tmp, folder);
	store_close(&store);
}

/* ---- all of them ---- */

static int
open_move(const struct store *store, const char *chain_id, uint64_t number,
	  struct layer_folder_move *out, struct err *err)
{
	char path[32];
	uint64_t bytes;

	out->chain_id = chain_id;
	out->number = 0;
	out->fs = layer_folder_open(store->layers, chain_id, &bytes);
	if (out->fs >= 0)
		return 0;
	layer_folder_name(number, path);
	strcat(path, "/fs");
	out->number = number;
	out->fs = number ? fd_open_beneath(store->tmp, path, O_RDONLY | O_DIRECTORY, 0) : -1;
	if (out->fs >= 0)
		return 0;
	err_set(err, ERR_CONFLICT, "a layer of the image is gone");
	return err_why(err, "chain sha256:%.12s is neither here nor unpacked", chain_id);
}

static int
give_record(const struct store *store, struct documents *d, const struct msg_commit *what,
	    struct buf *out, struct msg_imported *told, struct err *err)
{
	struct image_record *r = &d->record;

	for (size_t i = 0; i < r->layers.count; i++) {
		uint64_t bytes;

		int fs = layer_folder_open(store->layers, r->layers.items[i], &bytes);
		fd_close(&fs);
		r->bytes += bytes;
		told->layers_new += what->folders[i] != 0;
	}
	r->digest = (char *)(uintptr_t)what->digest;
	r->name = (char *)(uintptr_t)what->name;
	image_record_encode(r, out);
	if (!buf_ok(out) || out->length > IMAGE_RECORD_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "the image's configuration is too large");
	text_copy(told->name, sizeof(told->name), what->name);
	text_copy(told->digest, sizeof(told->digest), what->digest);
	told->bytes = r->bytes;
	told->layers = (uint32_t)r->layers.count;
	return 0;
}

static int
commit(int images, const struct store *store, struct documents *d, const struct msg_commit *what,
       struct err *err)
{
	struct layer_folder_move moves[IMAGE_LAYERS_MAX];
	const struct image_list *layers = &d->record.layers;
	size_t count = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < layers->count; i++) {
		rc = open_move(store, layers->items[i], what->folders[i], &moves[count], err);
		count += rc == 0;
	}
	if (rc == 0)
		rc = layer_folder_commit(images, store->layers, store->tmp, moves, count, err);
	for (size_t i = 0; i < count; i++)
		fd_close(&moves[i].fs);
	/* What somebody else brought meanwhile. */
	for (size_t i = 0; rc == 0 && i < layers->count; i++) {
		if (what->folders[i])
			layer_folder_remove(store->tmp, what->folders[i]);
	}
	return rc;
}

int
unpack_image_commit(int images, int documents, const struct msg_commit *what,
		    struct buf *record_out, struct msg_imported *out, struct err *err)
{
	struct arena arena;
	struct documents d;
	struct store store;

	memset(out, 0, sizeof(*out));
	arena_init(&arena, MEM_RUNTIME, ARENA_BYTES);
	int rc = store_open(images, &store, err);
	if (rc == 0)
		rc = read_documents(documents, what->digest, &arena, &d, err);
	if (rc == 0)
		rc = commit(images, &store, &d, what, err);
	if (rc == 0)
		rc = give_record(&store, &d, what, record_out, out, err);
	store_close(&store);
	arena_fini(&arena);
	return rc;
}
