/* SPDX-License-Identifier: Apache-2.0 */
/* A short list: a node has as many leases as it runs things that only one node may run. */
#include "scheduler/store_mine.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"

enum { NAME_BYTES = 256 };

struct mine {
	struct list link;
	char name[NAME_BYTES];
	uint64_t epoch;
};

static struct mine *
find(const struct list *mine, const char *name)
{
	for (struct list *it = mine->next; it != mine; it = it->next) {
		struct mine *m = container_of(it, struct mine, link);

		if (text_equal(m->name, name))
			return m;
	}
	return NULL;
}

bool
store_mine_add(struct list *mine, const char *name, uint64_t epoch)
{
	struct mine *m = find(mine, name);

	if (!m) {
		m = mem_zalloc(MEM_SCHEDULER, sizeof(*m));
		if (!m)
			return false;
		text_copy(m->name, sizeof(m->name), name);
		list_push(mine, &m->link);
	}
	m->epoch = epoch;
	return true;
}

uint64_t
store_mine_find(const struct list *mine, const char *name)
{
	const struct mine *m = find(mine, name);

	return m ? m->epoch : 0;
}

void
store_mine_remove(struct list *mine, const char *name)
{
	struct mine *m = find(mine, name);

	if (!m)
		return;
	list_remove(&m->link);
	mem_free(m);
}

void
store_mine_clear(struct list *mine)
{
	struct list *it, *next;

	list_each (it, next, mine) {
		list_remove(it);
		mem_free(container_of(it, struct mine, link));
	}
}
