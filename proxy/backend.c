/* SPDX-License-Identifier: Apache-2.0 */

/* The registry of replicas. Rows are checked here once; a row that does not hold is as if it were
 * not there. */

#include "proxy/backend.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"

void
backend_table_init(struct backend_table *b, struct account *account,
		   void (*drop)(struct list *idle),
		   void (*doubt)(struct list *connection, enum backend_doubt why))
{
	map_init(&b->services, MEM_PROXY);
	map_init(&b->replicas, MEM_PROXY);
	b->account = account;
	b->drop = drop;
	b->doubt = doubt;
}

struct service *
backend_table_service(struct backend_table *b, uint64_t service)
{
	return map_get_u64(&b->services, service);
}

static struct service *
get_service(struct backend_table *b, uint64_t id)
{
	struct service *s = map_get_u64(&b->services, id);

	if (s)
		return s;
	s = mem_zalloc(MEM_PROXY, sizeof(*s));
	if (!s || map_put_u64(&b->services, id, s)) {
		mem_free(s);
		return NULL;
	}
	s->id = id;
	return s;
}

static bool
row_holds(uint64_t key, const struct msg_backend *row)
{
	return row->replica == key && row->service != 0 && MSG_OK(row->name) &&
	       row->ports_count <= MSG_ENDPOINTS_MAX && !addr_is_zero(&row->addr) &&
	       row->state >= MSG_BACKEND_ACTIVE && row->state <= MSG_BACKEND_DOUBTED;
}

/* "deployment/service.N" -> "deployment/service" */
static void
service_label(const char *replica, char *out, size_t cap)
{
	const char *dot = strrchr(replica, '.');
	size_t n = dot ? (size_t)(dot - replica) : strlen(replica);

	if (n >= cap)
		n = cap - 1;
	memcpy(out, replica, n);
	out[n] = '\0';
}

static struct backend *
add(struct backend_table *b, const struct msg_backend *row)
{
	struct service *s = get_service(b, row->service);
	struct backend *backend = mem_zalloc(MEM_PROXY, sizeof(*backend));
	char label[MSG_TARGET];

	if (!s || !backend || s->count == BACKEND_REPLICAS_MAX ||
	    map_put_u64(&b->replicas, row->replica, backend)) {
		mem_free(backend);
		if (s && s->count == 0) {
			map_remove_u64(&b->services, s->id);
			mem_free(s);
		}
		return NULL;
	}
	backend->service = s;
	list_init(&backend->all);
	list_init(&backend->idle);
	service_label(row->name, label, sizeof(label));
	backend->up = account_upstream_up(b->account, label, row->name);
	backend->connections = account_upstream_connections(b->account, label, row->name);
	s->loads[s->count] = &backend->load;
	s->backends[s->count++] = backend;
	return backend;
}

static void
drop_idle(struct backend_table *b, struct backend *backend)
{
	while (!list_empty(&backend->idle))
		b->drop(backend->idle.next);
}

/* What it had under way may go on, unless its machine is dead. */
static void
doubt_all(struct backend_table *b, struct backend *backend, enum backend_doubt why)
{
	struct list *it, *next;

	list_each (it, next, &backend->all)
		b->doubt(it, why);
}

static void
leave_service(struct backend_table *b, struct backend *backend)
{
	struct service *s = backend->service;

	for (size_t i = 0; i < s->count; i++) {
		if (s->backends[i] == backend) {
			s->backends[i] = s->backends[--s->count];
			s->loads[i] = s->loads[s->count];
			break;
		}
	}
	backend->service = NULL;
	if (s->count > 0)
		return;
	map_remove_u64(&b->services, s->id);
	mem_free(s);
}

/* What tells of a replica that is gone is no longer shown. Its successor has the same name, and so
 * the same series: then they stay. */
static void
hide_series(struct backend_table *b, const struct backend *gone)
{
	struct map_iter it = {0};

	if (!gone->up || !gone->connections)
		return;
	while (map_next(&b->replicas, &it)) {
		const struct backend *other = it.value;

		if (other->up != gone->up)
			continue;
		metric_set(other->up, !other->load.draining);
		return;
	}
	metric_hide(gone->up);
	metric_hide(gone->connections);
}

static void
remove_backend(struct backend_table *b, struct backend *backend)
{
	map_remove_u64(&b->replicas, backend->row.replica);
	leave_service(b, backend);
	hide_series(b, backend);
	backend->gone = true;
	backend_ref(backend);
	drop_idle(b, backend);
	doubt_all(b, backend, backend->load.doubted ? BACKEND_DEAD : BACKEND_LEFT);
	backend_unref(backend);
}

void
backend_table_change(struct backend_table *b, uint64_t replica, const struct msg_backend *row)
{
	struct backend *backend = map_get_u64(&b->replicas, replica);
	bool moved, doubted;

	if (!row || !row_holds(replica, row)) {
		if (backend)
			remove_backend(b, backend);
		return;
	}
	if (backend && backend->row.service != row->service) {
		remove_backend(b, backend);
		backend = NULL;
	}
	if (!backend)
		backend = add(b, row);
	if (!backend) {
		log_event(LOG_ERROR, "a replica was left out: no place",
			  log_s("replica", row->name), LOG_END);
		return;
	}
	moved = backend->row.replica != 0 &&
		(!addr_equal_ip(&backend->row.addr, &row->addr) ||
		 memcmp(backend->row.ports, row->ports, sizeof(row->ports)) != 0);
	doubted = row->state == MSG_BACKEND_DOUBTED && !backend->load.doubted;
	backend->row = *row;
	backend->load.draining = row->state == MSG_BACKEND_DRAINING;
	backend->load.doubted = row->state == MSG_BACKEND_DOUBTED;
	if (moved)
		backend->load.failures = 0;
	if (moved || backend->load.draining)
		drop_idle(b, backend);
	if (doubted)
		doubt_all(b, backend, BACKEND_SILENT);
	if (backend->up)
		metric_set(backend->up, !backend->load.draining);
}

void
backend_ref(struct backend *b)
{
	b->refs++;
}

void
backend_unref(struct backend *b)
{
	if (--b->refs == 0 && b->gone)
		mem_free(b);
}

size_t
backend_spare(const struct backend *b, uint64_t now_ms)
{
	return b->service ? balance_spare(b->service->loads, b->service->count, now_ms) : 0;
}
