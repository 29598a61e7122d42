/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a set is to hold, collected before any of it is written. Rows lie one behind the other, so
 * that they are sorted in place; a row for which there was no memory is remembered, and nothing is
 * written then.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "dataplane/lb_private.h"

enum { STALE_KEYS = 1024, KEY_BYTES_MAX = 32 };

static const struct {
	size_t key_bytes, value_bytes;
} sets[LB_SETS] = {
	[LB_PORTS] = {sizeof(uint32_t), sizeof(uint32_t)},
	[LB_SPEAKERS4] = {sizeof(struct edge_speaker4), sizeof(struct edge_voice)},
	[LB_SPEAKERS6] = {sizeof(struct edge_speaker6), sizeof(struct edge_voice)},
	[LB_ENDPOINTS4] = {sizeof(struct edge_speaker4), sizeof(uint32_t)},
	[LB_ENDPOINTS6] = {sizeof(struct edge_speaker6), sizeof(uint32_t)},
	[LB_DENIED] = {sizeof(struct edge_prefix), sizeof(uint32_t)},
	[LB_ALLOWED] = {sizeof(struct edge_prefix), sizeof(uint32_t)},
	[LB_VIPS4] = {sizeof(struct edge_vip4), sizeof(struct edge_vip)},
	[LB_VIPS6] = {sizeof(struct edge_vip6), sizeof(struct edge_vip)},
};

void
lb_rows_of(struct lb_rows *rows, size_t key_bytes, size_t value_bytes)
{
	assert(key_bytes <= KEY_BYTES_MAX);
	*rows = (struct lb_rows){.key_bytes = key_bytes, .value_bytes = value_bytes};
}

void
lb_rows_init(struct lb_rows *rows, enum lb_set set)
{
	lb_rows_of(rows, sets[set].key_bytes, sets[set].value_bytes);
}

void
lb_rows_fini(struct lb_rows *rows)
{
	mem_free(rows->bytes);
	rows->bytes = NULL;
}

size_t
lb_rows_each_bytes(const struct lb_rows *rows)
{
	return rows->key_bytes + rows->value_bytes;
}

void
lb_rows_add(struct lb_rows *rows, const void *key, const void *value)
{
	size_t each = lb_rows_each_bytes(rows);

	if (rows->count == rows->capacity) {
		size_t more = rows->capacity ? rows->capacity * 2 : 64;
		uint8_t *grown = mem_resize(MEM_DATAPLANE, rows->bytes, more, each);

		if (!grown) {
			rows->failed = true;
			return;
		}
		rows->bytes = grown;
		rows->capacity = more;
	}
	memcpy(rows->bytes + rows->count * each, key, rows->key_bytes);
	if (rows->value_bytes)
		memcpy(rows->bytes + rows->count * each + rows->key_bytes, value,
		       rows->value_bytes);
	rows->count++;
}

static int
compare(const void *a, const void *b, void *bytes)
{
	return memcmp(a, b, *(const size_t *)bytes);
}

void
lb_rows_sort(struct lb_rows *rows)
{
	if (rows->count)
		qsort_r(rows->bytes, rows->count, lb_rows_each_bytes(rows), compare,
			&rows->key_bytes);
}

const uint8_t *
lb_rows_find(const struct lb_rows *rows, const void *key)
{
	size_t low = 0, high = rows->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const uint8_t *row = rows->bytes + middle * lb_rows_each_bytes(rows);
		int order = memcmp(key, row, rows->key_bytes);

		if (order == 0)
			return row;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* Keys are collected before any is deleted: deleting the key that the kernel continues from would
 * begin anew. */
static size_t
stale_keys(int fd, const struct lb_rows *rows, uint8_t (*out)[KEY_BYTES_MAX])
{
	uint8_t key[KEY_BYTES_MAX];
	size_t count = 0;

	for (void *from = NULL; count < STALE_KEYS; from = key) {
		if (libbpf.bpf_map_get_next_key(fd, from, key) < 0)
			break;
		if (!lb_rows_find(rows, key))
			memcpy(out[count++], key, rows->key_bytes);
	}
	return count;
}

void
lb_rows_prune(struct lb_rows *rows, int map)
{
	static uint8_t stale[STALE_KEYS][KEY_BYTES_MAX];
	size_t count;

	lb_rows_sort(rows);
	do {
		count = stale_keys(map, rows, stale);
		for (size_t i = 0; i < count; i++)
			(void)libbpf.bpf_map_delete_elem(map, stale[i]);
	} while (count == STALE_KEYS);
}
