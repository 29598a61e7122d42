/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up to three documents, one after the other, each from the endpoint that gave the one before. A
 * head asks for the digest only; a registry that does not tell it is asked for the document.
 */
#include "runtime/fetch_image.h"

#include <string.h>
#include "base/text.h"
#include "runtime/documents.h"

enum { ARENA_BYTES = 48 << 20 };

#define ACCEPT_MANIFESTS                                              \
	"application/vnd.oci.image.index.v1+json, "                   \
	"application/vnd.oci.image.manifest.v1+json, "                \
	"application/vnd.docker.distribution.manifest.list.v2+json, " \
	"application/vnd.docker.distribution.manifest.v2+json"

enum stage { OUTERMOST, MANIFEST, CONFIG };

struct fetch_image {
	struct couriers *cs;
	struct courier *courier;
	fetch_image_fn done;
	void *arg;
	struct msg_fetch what;
	struct msg_fetched answer;
	struct image_ref ref;
	enum stage stage;
	bool head;
	char wanted[MSG_DIGEST]; /* of the document under way; "" not known */
	uint64_t wanted_bytes;   /* 0 not known */
	size_t endpoint;
	bool too_large;
	struct buf document;
	struct buf documents;
	struct arena arena;
};

static int ask(struct fetch_image *f, struct err *err);

static void
fetch_image_free(struct fetch_image *f)
{
	buf_fini(&f->document);
	buf_fini(&f->documents);
	arena_fini(&f->arena);
	mem_free(f);
}

void
fetch_image_cancel(struct fetch_image *f)
{
	if (!f)
		return;
	courier_cancel(f->courier);
	fetch_image_free(f);
}

static void
finish(struct fetch_image *f, const struct err *err)
{
	f->done(f->arg, err, &f->answer, &f->documents);
	fetch_image_free(f);
}

/* ---- what came ---- */

static int
check_digest(const struct fetch_image *f, struct err *err)
{
	char found[MSG_DIGEST];

	documents_digest(f->document.data, f->document.length, found);
	if (!strcmp(found, f->wanted))
		return 0;
	err_set(err, ERR_CORRUPT, "the registry gave something else than was asked for");
	err_why(err, "asked for %s", f->wanted);
	err_why(err, "got %s", found);
	return err_fix(err, "tell whoever runs the registry or mirror: its data is damaged");
}

static int
take_index(struct fetch_image *f, struct err *err)
{
	struct layout_list list = {0};
	const struct layout_descriptor *d;

	if (layout_index(f->document.data, f->document.length, &f->arena, &list, err) < 0 ||
	    documents_pick(&list, layout_machine(), &d, err) < 0)
		return -1;
	text_copy(f->wanted, sizeof(f->wanted), d->digest);
	f->wanted_bytes = d->bytes;
	f->stage = MANIFEST;
	return ask(f, err);
}

static int
take_manifest(struct fetch_image *f, struct err *err)
{
	struct layout_manifest m;

	if (layout_manifest(f->document.data, f->document.length, &f->arena, &m, err) < 0 ||
	    documents_check(&m, err) < 0)
		return -1;
	text_copy(f->wanted, sizeof(f->wanted), m.config.digest);
	f->wanted_bytes = m.config.bytes;
	f->stage = CONFIG;
	return ask(f, err);
}

static int
take_document(struct fetch_image *f, const char *media_type, struct err *err)
{
	const char *name;

	if (!f->wanted[0])
		documents_digest(f->document.data, f->document.length, f->wanted);
	else if (check_digest(f, err) < 0)
		return -1;
	if (f->stage == OUTERMOST)
		memcpy(f->answer.digest, f->wanted, sizeof(f->wanted));
	if (f->head)
		return 1;
	documents_add(&f->documents, f->document.data, f->document.length);
	if (!buf_ok(&f->documents))
		return err_set(err, ERR_NO_MEMORY, "no memory for an image's documents");
	if (f->stage == CONFIG)
		return 1;
	switch (documents_kind(f->document.data, f->document.length, media_type, &f->arena,
			       &name)) {
	case DOCUMENTS_INDEX:
		if (f->stage == OUTERMOST)
			return take_index(f, err);
		return err_set(err, ERR_UNSUPPORTED, "an index names another index");
	case DOCUMENTS_MANIFEST:
		return take_manifest(f, err);
	case DOCUMENTS_OTHER:
		break;
	}
	return documents_refuse(name, err);
}

static bool
on_data(void *arg, const void *data, size_t bytes)
{
	struct fetch_image *f = arg;

	if (f->document.length + bytes > DOCUMENTS_EACH_MAX)
		f->too_large = true;
	else
		buf_put(&f->document, data, bytes);
	return true;
}

static bool
is_digest(const char *text)
{
	return text_starts(text, "sha256:") && strspn(text + 7, "0123456789abcdef") == 64 &&
	       text[71] == '\0';
}

/* 1: all is there; 0: something more was asked for. */
static int
go_on(struct fetch_image *f, const struct transfer_result *result, struct err *err)
{
	if (f->head && f->document.length == 0) {
		if (is_digest(result->digest)) {
			text_copy(f->answer.digest, sizeof(f->answer.digest), result->digest);
			return 1;
		}
		if (f->what.head == 0) /* asked for all of it, and nothing came */
			return err_set(err, ERR_CORRUPT, "the registry gave an empty document");
		f->what.head = 0;
		return ask(f, err);
	}
	if (f->too_large)
		return err_set(err, ERR_LIMIT, "a document of the image is larger than 4 MiB");
	if (!buf_ok(&f->document))
		return err_set(err, ERR_NO_MEMORY, "no memory for an image's documents");
	return take_document(f, result->media_type, err);
}

static void
on_done(void *arg, const struct err *why, const struct transfer_result *result, size_t endpoint)
{
	struct fetch_image *f = arg;
	struct err err = {0};
	int rc = -1;

	f->courier = NULL;
	f->endpoint = endpoint;
	f->answer.endpoint = (uint32_t)endpoint;
	if (why)
		err = *why;
	else
		rc = go_on(f, result, &err);
	if (rc != 0)
		finish(f, rc < 0 ? &err : NULL);
}

/* ---- asking ---- */

static const struct courier_calls calls = {.data = on_data, .done = on_done};

static int
ask(struct fetch_image *f, struct err *err)
{
	char path[256];
	struct courier_order order = {
		.image = f->what.name,
		.ref = &f->ref,
		.path = path,
		.accept = f->stage == CONFIG ? "*/*" : ACCEPT_MANIFESTS,
		.head = f->what.head != 0,
		.quick = f->what.quick != 0,
		.most = DOCUMENTS_EACH_MAX,
		.first = f->endpoint,
	};

	if (f->wanted_bytes > DOCUMENTS_EACH_MAX)
		return err_set(err, ERR_LIMIT, "a document of the image is larger than 4 MiB");
	text_format(path, sizeof(path), "%s/%s", f->stage == CONFIG ? "blobs" : "manifests",
		    f->wanted[0] ? f->wanted : f->ref.tag);
	buf_reset(&f->document);
	f->courier = courier_start(f->cs, &order, &calls, f, err);
	return f->courier ? 0 : -1;
}

struct fetch_image *
fetch_image_start(struct couriers *cs, const struct msg_fetch *what, fetch_image_fn done, void *arg,
		  struct err *err)
{
	struct fetch_image *f = mem_zalloc(MEM_RUNTIME, sizeof(*f));

	if (!f) {
		err_set(err, ERR_NO_MEMORY, "no memory to fetch an image");
		return NULL;
	}
	f->cs = cs;
	f->done = done;
	f->arg = arg;
	f->what = *what;
	f->head = what->head != 0;
	text_copy(f->wanted, sizeof(f->wanted), what->digest);
	buf_init(&f->document, MEM_RUNTIME, DOCUMENTS_EACH_MAX);
	buf_init(&f->documents, MEM_RUNTIME, DOCUMENTS_BYTES_MAX);
	arena_init(&f->arena, MEM_RUNTIME, ARENA_BYTES);
	documents_begin(&f->documents);
	if (image_ref_parse(what->name, &f->ref) != IMAGE_REF_OK)
		err_set(err, ERR_INVALID, "the image's name is not a reference");
	else if (what->digest[0] && !is_digest(what->digest))
		err_set(err, ERR_UNSUPPORTED, "only sha256 digests can be checked");
	else if (ask(f, err) == 0)
		return f;
	fetch_image_free(f);
	return NULL;
}
