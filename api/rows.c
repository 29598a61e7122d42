/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: which are read from whom, and how they are found. Texts of rows are compared only up to
 * their fields' size: a row that lies reads as something else, never beyond itself. */
#include "api/rows.h"

#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "ring/ring_rows.h"

enum { ANSWER_MAX = 32 << 20 };

static const struct {
	uint16_t role, table;
	uint32_t bytes;
} tables[] = {
	{ROLE_SCHEDULER, MSG_TABLE_DEPLOYMENT, sizeof(struct msg_deployment)},
	{ROLE_SCHEDULER, MSG_TABLE_SERVICE, sizeof(struct msg_service)},
	{ROLE_SCHEDULER, MSG_TABLE_REPLICA, sizeof(struct msg_replica)},
	{ROLE_SCHEDULER, MSG_TABLE_USAGE, sizeof(struct msg_usage)},
	{ROLE_SCHEDULER, MSG_TABLE_CRON, sizeof(struct msg_cron)},
	{ROLE_SCHEDULER, MSG_TABLE_FIGURES, sizeof(struct msg_figures)},
	{ROLE_SCHEDULER, MSG_TABLE_OPERATION, sizeof(struct msg_operation)},
	{ROLE_SCHEDULER, MSG_TABLE_ROUTE, sizeof(struct msg_route)},
	{ROLE_SCHEDULER, MSG_TABLE_STREAM, sizeof(struct msg_stream)},
	{ROLE_SCHEDULER, MSG_TABLE_BACKEND, sizeof(struct msg_backend)},
	{ROLE_SCHEDULER, MSG_TABLE_IDENTITY, sizeof(struct msg_identity)},
	{ROLE_SCHEDULER, MSG_TABLE_MEMBER, sizeof(struct msg_member)},
	{ROLE_SCHEDULER, MSG_TABLE_CLUSTER, sizeof(struct msg_cluster)},
	{ROLE_RUNTIME, MSG_TABLE_CONTAINER, sizeof(struct msg_container)},
	{ROLE_RUNTIME, MSG_TABLE_IMAGE, sizeof(struct msg_image)},
	{ROLE_RUNTIME, MSG_TABLE_ATTACHMENT, sizeof(struct msg_attachment)},
	{ROLE_SIGNER, MSG_TABLE_CERTIFICATE, sizeof(struct msg_certificate)},
	{ROLE_NODE, MSG_TABLE_PROCESS, sizeof(struct msg_process)},
	{ROLE_NODE, MSG_TABLE_LISTENER, sizeof(struct msg_listener)},
	{ROLE_NODE, MSG_TABLE_NODE, sizeof(struct msg_node)},
	{ROLE_NODE, MSG_TABLE_UPLINK, sizeof(struct msg_uplink)},
	{ROLE_NODE, MSG_TABLE_UNDERLAY, sizeof(struct msg_underlay)},
	{ROLE_NODE, MSG_TABLE_TUNNEL, sizeof(struct msg_tunnel)},
	{ROLE_OVERLAY, MSG_TABLE_SEALED, sizeof(struct msg_sealed)},
	{ROLE_OVERLAY, MSG_TABLE_PREFIX, sizeof(struct msg_prefix)},
	{ROLE_OVERLAY, MSG_TABLE_PEER, sizeof(struct msg_peer)},
	{ROLE_DATAPLANE, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath)},
};

/* A segment that was read. */
static uint64_t
mark_of(const struct ring_reader *reader)
{
	return ring_reader_generation(reader) + UINT64_C(1);
}

bool
rows_sync(struct server *s, struct ring_reader *reader)
{
	uint16_t role = ring_reader_role(reader);
	bool again = false, all = ring_reader_index(reader) == 0;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (tables[i].role != role)
			continue;
		enum ring_status status =
			ring_table_sync(reader, tables[i].table, tables[i].bytes, NULL, NULL);

		again |= status == RING_AGAIN || status == RING_NO_MEM;
		all &= status == RING_OK || status == RING_EMPTY;
	}
	if (all && role < ROLES_)
		s->whole[role] = mark_of(reader);
	return !again;
}

void
rows_sync_role(struct server *s, uint16_t role)
{
	struct ring_reader *reader = station_reader(s->station, role, 0);

	if (reader)
		rows_sync(s, reader);
}

bool
rows_whole(struct server *s, uint16_t role)
{
	struct ring_reader *reader = station_reader(s->station, role, 0);
	const struct msg_cluster *cluster;

	if (!reader || s->whole[role] != mark_of(reader))
		return false;
	switch (role) {
	case ROLE_SCHEDULER:
		cluster = ring_table_get(reader, MSG_TABLE_CLUSTER, 1);
		return cluster && !cluster->listens;
	case ROLE_SIGNER: /* it shows none before node has given it all files */
		return ring_table_version(reader, MSG_TABLE_CERTIFICATE) > 1;
	default:
		return true;
	}
}

const void *
rows_get(struct server *s, uint16_t role, uint16_t table, uint64_t key)
{
	struct ring_reader *reader = station_reader(s->station, role, 0);

	return reader && key ? ring_table_get(reader, table, key) : NULL;
}

struct collect {
	struct server *server;
	rows_wanted_fn wanted;
	void *arg;
	struct ring_rows rows;
};

static bool
collect_row(void *arg, uint64_t key, const void *row)
{
	struct collect *c = arg;

	(void)key;
	if (c->wanted && !c->wanted(row, c->arg))
		return true;
	return ring_rows_add(&c->rows, row);
}

void
rows_collect(struct server *s, uint16_t role, uint16_t table, rows_wanted_fn wanted, void *arg,
	     rows_order_fn order, struct rows *out)
{
	struct collect c = {.server = s, .wanted = wanted, .arg = arg};
	struct ring_reader *reader = station_reader(s->station, role, 0);

	memset(out, 0, sizeof(*out));
	if (!reader)
		return;
	ring_rows_init(&c.rows, MEM_API);
	ring_table_each(reader, table, collect_row, &c);
	*out = (struct rows){c.rows.items, c.rows.count, c.rows.failed};
	s->lacked |= out->failed;
	if (order && out->count > 1)
		qsort((void *)out->items, out->count, sizeof(*out->items), order);
}

void
rows_fini(struct rows *r)
{
	mem_free((void *)r->items);
}

void
rows_answer(struct call *call, const struct rows_list *list)
{
	struct err err = {0};
	struct rows rows;
	struct buf b;
	struct json j;

	rows_collect(call->server, list->role, list->table, list->wanted, list->arg, list->order,
		     &rows);
	if (rows.failed) {
		err_set(&err, ERR_NO_MEMORY, "no memory for this list");
		call_problem(call, &err);
		rows_fini(&rows);
		return;
	}
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_array(&j, "items");
	for (size_t i = 0; i < rows.count; i++)
		list->view(&j, call->server, rows.items[i]);
	rows_fini(&rows);
	json_end(&j);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

static int
compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int
rows_by_deployment(const void *a, const void *b)
{
	const struct msg_deployment *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strncmp(x->name, y->name, sizeof(x->name));
}

int
rows_by_service(const void *a, const void *b)
{
	const struct msg_service *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = strncmp(x->deployment_name, y->deployment_name, sizeof(x->deployment_name));

	return order ? order : strncmp(x->name, y->name, sizeof(x->name));
}

int
rows_by_replica(const void *a, const void *b)
{
	const struct msg_replica *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = strncmp(x->deployment_name, y->deployment_name, sizeof(x->deployment_name));

	if (!order)
		order = strncmp(x->service_name, y->service_name, sizeof(x->service_name));
	if (!order)
		order = compare_u64(x->index, y->index);
	return order ? order : compare_u64(x->id, y->id);
}

int
rows_by_operation(const void *a, const void *b)
{
	const struct msg_operation *x = *(const void *const *)a, *y = *(const void *const *)b;

	return compare_u64(x->id, y->id);
}

int
rows_by_image(const void *a, const void *b)
{
	const struct msg_image *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strncmp(x->name, y->name, sizeof(x->name));
}

int
rows_by_process(const void *a, const void *b)
{
	const struct msg_process *x = *(const void *const *)a, *y = *(const void *const *)b;

	return compare_u64((uint64_t)x->role << 16 | x->index, (uint64_t)y->role << 16 | y->index);
}

static bool
same(const char *field, const char *text, size_t cap)
{
	return strncmp(field, text, cap) == 0;
}

struct named {
	const char *deployment;
	const char *service;
};

static bool
is_deployment(const void *row, void *arg)
{
	const struct msg_deployment *d = row;

	return same(d->name, ((struct named *)arg)->deployment, sizeof(d->name));
}

static bool
is_service(const void *row, void *arg)
{
	const struct msg_service *s = row;
	const struct named *n = arg;

	return same(s->deployment_name, n->deployment, sizeof(s->deployment_name)) &&
	       same(s->name, n->service, sizeof(s->name));
}

struct finding {
	rows_wanted_fn wanted;
	void *arg;
	const void *row;
};

static bool
find_row(void *arg, uint64_t key, const void *row)
{
	struct finding *f = arg;

	(void)key;
	if (!f->wanted(row, f->arg))
		return true;
	f->row = row;
	return false;
}

const void *
rows_first(struct server *s, uint16_t table, rows_wanted_fn wanted, void *arg)
{
	struct finding f = {wanted, arg, NULL};
	struct ring_reader *reader = station_reader(s->station, ROLE_SCHEDULER, 0);

	if (reader)
		ring_table_each(reader, table, find_row, &f);
	return f.row;
}

const struct msg_deployment *
rows_deployment(struct server *s, const char *name)
{
	return rows_first(s, MSG_TABLE_DEPLOYMENT, is_deployment,
			  &(struct named){.deployment = name});
}

const struct msg_service *
rows_service(struct server *s, const char *deployment, const char *name)
{
	return rows_first(s, MSG_TABLE_SERVICE, is_service,
			  &(struct named){.deployment = deployment, .service = name});
}

bool
rows_target_parse(const char *text, struct rows_target *out)
{
	char copy[MSG_TARGET];
	uint64_t n = 0;

	memset(out, 0, sizeof(*out));
	if (!text_copy(copy, sizeof(copy), text))
		return false;
	char *slash = strchr(copy, '/');
	char *dot = strchr(copy, '.');
	if (dot) {
		*dot = 0;
		if (!slash || !text_u64(dot + 1, UINT32_MAX, &n) || n == 0)
			return false;
	}
	if (slash)
		*slash = 0;
	if (!text_is_label(copy) || (slash && !text_is_label(slash + 1)))
		return false;
	text_copy(out->deployment, sizeof(out->deployment), copy);
	if (slash)
		text_copy(out->service, sizeof(out->service), slash + 1);
	out->index = (uint32_t)n;
	return true;
}

bool
rows_target_has(const struct rows_target *t, const struct msg_replica *r)
{
	return same(r->deployment_name, t->deployment, sizeof(r->deployment_name)) &&
	       (!t->service[0] || same(r->service_name, t->service, sizeof(r->service_name))) &&
	       (!t->index || r->index == t->index);
}
