/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile member of etcd answers: to a call, in a watch, as a refusal, as a list. */
#include <stdlib.h>
#include <string.h>
#include "scheduler/etcd_json.h"
#include "scheduler/etcd_members.h"
#include "wire/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look(const struct etcd_json_kvs *kvs)
{
	for (size_t i = 0; i < kvs->count; i++) {
		const struct etcd_json_kv *kv = &kvs->items[i];

		if (kv->key[kv->key_bytes] || kv->revision <= 0)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool loaded;
	struct etcd_json_answer answer;
	struct etcd_json_events events;
	struct etcd_members members;
	struct err err = {0};
	struct arena arena;
	char why[128];

	if (!loaded && json_read_open(&err) < 0)
		return 0;
	loaded = true;
	arena_init(&arena, MEM_BASE, 16 << 20);
	if (etcd_json_answer(data, size, &arena, &answer, &err) == 0) {
		look(&answer.kvs);
		for (size_t i = 0; i < answer.gets_count; i++)
			look(&answer.gets[i]);
	}
	if (etcd_json_events(data, size, &arena, &events, &err) == 0)
		look(&events.kvs);
	etcd_json_refusal(data, size, why, sizeof(why));
	if (etcd_json_token(data, size, why, sizeof(why)) && (!why[0] || strpbrk(why, " \r\n")))
		abort();
	err = (struct err){0};
	if (etcd_members_read((const char *)data, size, &members, &err) == 0 &&
	    (members.count == 0 || members.count > ETCD_MEMBERS_MAX || !members.items[0].id))
		abort();
	arena_fini(&arena);
	return 0;
}
