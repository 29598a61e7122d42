/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table by id; by key it is searched, which a few hundred entries and a few calls a second allow.
 * The text is our own, but a disk may damage it: each line is judged as a request would be.
 */
#include "runtime/attachment_book.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

enum { LINE_BYTES = 768 };

void
attachment_book_init(struct attachment_book *b)
{
	map_init(&b->entries, MEM_RUNTIME);
}

void
attachment_book_fini(struct attachment_book *b)
{
	struct map_iter it = {0};
	while (map_next(&b->entries, &it))
		mem_free(it.value);
	map_fini(&b->entries);
}

int
attachment_book_add(struct attachment_book *b, const struct msg_attachment *row,
		    struct attachment **out, struct err *err)
{
	if (map_count(&b->entries) >= MSG_ATTACHMENTS_MAX) {
		err_set(err, ERR_LIMIT, "this node has %d containers of others already",
			MSG_ATTACHMENTS_MAX);
		return err_fix(err, "remove some of them, or run them on another node");
	}
	struct attachment *a = mem_zalloc(MEM_RUNTIME, sizeof(*a));
	if (a != NULL && map_put_u64(&b->entries, row->id, a) < 0) {
		mem_free(a);
		a = NULL;
	}
	if (a == NULL)
		return err_set(err, ERR_NO_MEMORY, "no memory for an attachment");
	a->row = *row;
	*out = a;
	return 0;
}

struct attachment *
attachment_book_get(const struct attachment_book *b, uint64_t id)
{
	return map_get_u64(&b->entries, id);
}

struct attachment *
attachment_book_find(const struct attachment_book *b, const struct msg_attach_key *key)
{
	struct map_iter it = {0};
	while (map_next(&b->entries, &it)) {
		struct attachment *a = it.value;
		if (strcmp(a->row.key.container, key->container) == 0 &&
		    strcmp(a->row.key.network, key->network) == 0 &&
		    strcmp(a->row.key.interface, key->interface) == 0)
			return a;
	}
	return NULL;
}

void
attachment_book_remove(struct attachment_book *b, uint64_t id)
{
	mem_free(map_remove_u64(&b->entries, id));
}

/* ---- text ---- */

static bool
parse_line(const char *line, struct msg_attachment *out)
{
	struct msg_attach a = {0};
	struct err err = {0};
	int used = -1;
	*out = (struct msg_attachment){0};
	if (sscanf(line, "%" SCNu64 " %63s %127s %15s %63s %" SCNd64 " %n", &out->id, a.key.network,
		   a.key.container, a.key.interface, a.name, &out->created_wall_ns, &used) != 6 ||
	    used < 0 || !text_copy(a.netns, sizeof(a.netns), line + used))
		return false;
	if (strcmp(a.name, "-") == 0)
		a.name[0] = '\0';
	out->key = a.key;
	text_copy(out->name, sizeof(out->name), a.name);
	text_copy(out->netns, sizeof(out->netns), a.netns);
	return msg_attachment_id(out->id) && msg_attach_check(&a, &err) == 0;
}

int
attachment_book_load(struct attachment_book *b, const char *text, struct err *err)
{
	char line[LINE_BYTES];
	struct msg_attachment row;
	struct attachment *a;
	while (*text != '\0') {
		size_t length = strcspn(text, "\n");
		bool fits = text_ncopy(line, sizeof(line), text, length);
		text += length + (text[length] == '\n');
		if (!fits || !parse_line(line, &row) || attachment_book_get(b, row.id) != NULL ||
		    attachment_book_find(b, &row.key) != NULL)
			continue;
		if (attachment_book_add(b, &row, &a, err) == 0) {
			a->whole = true;
			continue;
		}
		if (err->kind != ERR_LIMIT)
			return -1;
		err_clear(err);
	}
	return 0;
}

void
attachment_book_save(const struct attachment_book *b, struct buf *out)
{
	struct map_iter it = {0};
	while (map_next(&b->entries, &it)) {
		const struct attachment *a = it.value;
		const struct msg_attachment *r = &a->row;
		if (!a->whole)
			continue;
		buf_printf(out, "%" PRIu64 " %s %s %s %s %" PRId64 " %s\n", r->id, r->key.network,
			   r->key.container, r->key.interface, r->name[0] != '\0' ? r->name : "-",
			   r->created_wall_ns, r->netns);
	}
}
