/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile registry gives as manifest, index and configuration, and a hostile fetch as their
 * envelope; and the config.json of logins. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/documents.h"
#include "runtime/logins.h"
#include "wire/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_envelope(const void *data, size_t size, const char *digest, struct arena *arena)
{
	struct documents d;
	struct err err = {0};

	if (documents_read(data, size, digest, "amd64", arena, &d, &err) == 0 &&
	    d.manifest.layers.count != d.record.layers.count)
		abort();
}

/* The input is a manifest; the rest around it is right. */
static void
wrap(const void *data, size_t size, struct arena *arena)
{
	static const char config[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":"
		"\"layers\",\"diff_ids\":[]}}";
	char digest[MSG_DIGEST];
	struct buf b;

	buf_init(&b, MEM_RUNTIME, DOCUMENTS_BYTES_MAX);
	documents_begin(&b);
	documents_add(&b, data, size);
	documents_add(&b, config, strlen(config));
	documents_digest(data, size, digest);
	if (buf_ok(&b))
		read_envelope(b.data, b.length, digest, arena);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool loaded;
	static struct registry_login login;
	struct err err = {0};
	struct arena arena;
	const char *name = "";

	if (!loaded && (layout_load(&err) < 0 || json_read_open(&err) < 0))
		abort();
	loaded = true;
	if (size == 0)
		return 0;
	arena_init(&arena, MEM_RUNTIME, 16 << 20);
	switch (data[0] & 3) {
	case 0:
		wrap(data + 1, size - 1, &arena);
		break;
	case 1: {
		char digest[MSG_DIGEST];

		documents_digest(data + 1, size - 1, digest);
		read_envelope(data + 1, size - 1, digest, &arena);
		break;
	}
	case 2:
		(void)documents_kind(data + 1, size - 1, "application/json", &arena, &name);
		break;
	default:
		if (logins_find((const char *)data + 1, size - 1, "reg.test", "a/b", &login, &err) >
			    0 &&
		    !login.user[0] && !login.identity[0] && !login.helper[0])
			abort();
		break;
	}
	arena_fini(&arena);
	return 0;
}
