/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tar reader, fed at once and in small pieces: what it tells must be the same, and must hold:
 * texts end, sizes and numbers are in their ranges, a body has the bytes that its header told.
 */
#include "runtime/tar.h"

#include <assert.h>
#include <string.h>
#include "base/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct trace {
	uint64_t hash;
	uint64_t body;
	bool in_entry;
};

static void
note(struct trace *trace, const void *data, size_t bytes)
{
	uint64_t key[2] = {trace->hash, 1};

	trace->hash = map_siphash(key, data, bytes);
}

static void
check_entry(const struct tar *t, struct trace *trace)
{
	const struct tar_entry *e = &t->entry;

	assert(memchr(e->path, '\0', sizeof(e->path)) && memchr(e->link, '\0', sizeof(e->link)));
	assert(e->path[0] && e->mode <= 07777 && e->mtime_ns < 1000000000);
	assert(e->type == TAR_FILE || e->size == 0);
	assert(e->xattrs_count <= TAR_XATTRS_MAX && !trace->in_entry);
	for (size_t i = 0; i < e->xattrs_count; i++) {
		note(trace, e->xattrs[i].name, strlen(e->xattrs[i].name));
		note(trace, e->xattrs[i].value, e->xattrs[i].bytes);
	}
	note(trace, e->path, strlen(e->path));
	note(trace, e->link, strlen(e->link));
	note(trace, &e->size, sizeof(e->size));
	note(trace, &e->mtime_s, sizeof(e->mtime_s));
	trace->in_entry = true;
	trace->body = 0;
}

/* Body bytes one by one: how they are cut does not count. */
static void
check_data(const struct tar *t, struct trace *trace)
{
	assert(trace->in_entry);
	trace->body += t->chunk_bytes;
	assert(trace->body <= t->entry.size);
	for (size_t i = 0; i < t->chunk_bytes; i++)
		trace->hash = trace->hash * 31 + t->chunk[i];
}

static uint64_t
run(const uint8_t *data, size_t size, size_t step)
{
	struct trace trace = {0};
	static struct tar t;
	enum tar_event e = TAR_MORE;

	tar_init(&t);
	for (size_t at = 0; at < size && e != TAR_BAD; at += step) {
		tar_give(&t, data + at, size - at < step ? size - at : step);
		while ((e = tar_next(&t)) != TAR_MORE && e != TAR_BAD) {
			if (e == TAR_ENTRY)
				check_entry(&t, &trace);
			else if (e == TAR_DATA)
				check_data(&t, &trace);
			else if (e == TAR_DONE)
				assert(trace.in_entry && trace.body == t.entry.size);
			if (e == TAR_DONE)
				trace.in_entry = false;
		}
	}
	note(&trace, t.why, strlen(t.why));
	trace.hash += tar_complete(&t);
	tar_fini(&t);
	return trace.hash;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = run(data, size, size ? size : 1);

	assert(run(data, size, 512) == whole);
	assert(run(data, size, 37) == whole);
	return 0;
}
