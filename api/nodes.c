/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes: what is known of each, and what an operator says about them. Labels and taints of one
 * request are changes of their own, one behind the other: each states what is to be, so that the
 * same request again completes what a failure in the middle left.
 */
#include "api/nodes.h"

#include <string.h>
#include "api/body.h"
#include "api/cluster.h"
#include "api/route.h"
#include "api/view.h"
#include "base/text.h"

enum {
	ANSWER_MAX = 32 << 20,
	CHANGES_MAX = 2 * MSG_LABELS_MAX,
	DRAIN_S_MAX = 30 * 86400,
};

/* ---- what they are ---- */

const char *
nodes_state(uint32_t member_state)
{
	static const char *const names[] = {
		[MSG_MEMBER_NEW] = "new",          [MSG_MEMBER_READY] = "alive",
		[MSG_MEMBER_SUSPECT] = "suspect",  [MSG_MEMBER_LEFT] = "left",
		[MSG_MEMBER_DEAD] = "unreachable",
	};

	return member_state < sizeof(names) / sizeof(names[0]) && names[member_state]
		       ? names[member_state]
		       : "unknown";
}

static int
by_name(const void *a, const void *b)
{
	const struct msg_member *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = strncmp(x->name, y->name, sizeof(x->name));

	return order ? order : (x->node > y->node) - (x->node < y->node);
}

void
nodes_collect(struct server *s, struct rows *out)
{
	rows_collect(s, ROLE_SCHEDULER, MSG_TABLE_MEMBER, NULL, NULL, by_name, out);
}

const struct msg_member *
nodes_among(const struct rows *all, const char name[MSG_NAME])
{
	size_t low = 0, high = all->count;

	while (low < high) {
		size_t at = low + (high - low) / 2;
		const struct msg_member *m = all->items[at];
		int order = strncmp(m->name, name, MSG_NAME);

		if (order == 0)
			return m;
		if (order < 0)
			low = at + 1;
		else
			high = at;
	}
	return NULL;
}

static bool
is_named(const void *row, void *arg)
{
	return strncmp(((const struct msg_member *)row)->name, arg, MSG_NAME) == 0;
}

const struct msg_member *
nodes_get(struct server *s, uint32_t node)
{
	return rows_get(s, ROLE_SCHEDULER, MSG_TABLE_MEMBER, node);
}

const struct msg_member *
nodes_find(struct server *s, char *text)
{
	const struct msg_member *m = rows_first(s, MSG_TABLE_MEMBER, is_named, text);
	uint64_t id;

	return m || !text_u64(text, UINT32_MAX, &id) ? m : nodes_get(s, (uint32_t)id);
}

bool
nodes_has_here(struct server *s, const struct msg_replica *r)
{
	const struct msg_cluster *c = cluster_row(s);
	const struct msg_member *self = c && c->self ? nodes_get(s, c->self) : NULL;

	return !self || !r->node[0] || strncmp(r->node, self->name, sizeof(r->node)) == 0;
}

uint32_t
nodes_far(struct server *s, const struct msg_replica *r)
{
	const struct msg_member *m;
	char name[MSG_NAME];

	if (nodes_has_here(s, r))
		return 0;
	text_copy(name, sizeof(name), r->node);
	m = rows_first(s, MSG_TABLE_MEMBER, is_named, name);
	return m ? m->node : 0;
}

/* ---- how they look ---- */

void
nodes_put_address(struct json *j, const char *key, const struct addr *address)
{
	char text[ADDR_TEXT_BYTES];

	addr_put(address, text, sizeof(text));
	json_text(j, key, addr_is_zero(address) && !address->port ? NULL : text);
}

/* "key=value" lines as an object. */
static void
put_pairs(struct json *j, const char *key, const char *pairs)
{
	const char *at = pairs, *end = pairs + strnlen(pairs, MSG_PAIRS);
	char name[MSG_NAME];

	json_object(j, key);
	while (at < end) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		const char *stop = line ? line : end;
		const char *equals = memchr(at, '=', (size_t)(stop - at));
		const char *name_end = equals ? equals : stop;

		if (text_ncopy(name, sizeof(name), at, (size_t)(name_end - at)) && name[0])
			json_textn(j, name, equals ? equals + 1 : "",
				   equals ? (size_t)(stop - equals - 1) : 0);
		at = stop + 1;
	}
	json_end(j);
}

static void
put_known(struct json *j, const char *key, uint64_t value, bool known)
{
	if (known)
		json_u64(j, key, value);
	else
		json_null(j, key);
}

void
nodes_put_name(struct json *j, const char *key, struct server *s, uint32_t node)
{
	const struct msg_member *m = node ? nodes_get(s, node) : NULL;

	if (m)
		VIEW_TEXT(j, key, m->name);
	else
		json_null(j, key);
}

static void
put_voter(struct json *j, const struct msg_member *m)
{
	static const char *const states[] = {[MSG_VOTER_NONE] = "none",
					     [MSG_VOTER_LEARNS] = "learns",
					     [MSG_VOTER_VOTES] = "votes",
					     [MSG_VOTER_GOES] = "goes"};
	bool known = m->voter < sizeof(states) / sizeof(states[0]);

	json_object(j, "etcd");
	json_text(j, "state", known ? states[m->voter] : "unknown");
	json_bool(j, "able", m->voter_able != 0);
	json_bool(j, "up", m->voter_up != 0);
	json_bool(j, "leads", m->voter_leads != 0);
	view_time(j, "since", m->voter_since_wall_ns);
	VIEW_TEXT(j, "version", m->etcd);
	VIEW_TEXT(j, "reason", m->voter_reason);
	json_end(j);
}

/* Where it runs, too: an address without port, where that is not known. */
static void
put_twin(struct json *j, const struct addr *at)
{
	char text[ADDR_TEXT_BYTES];

	if (addr_is_zero(at)) {
		json_null(j, "twin");
		return;
	}
	addr_put_ip(at, text, sizeof(text));
	json_text(j, "twin", text);
}

/* How far it is ahead; null where it is right. */
static void
put_clock(struct json *j, int64_t clock_ms)
{
	if (clock_ms)
		json_i64(j, "clock_ahead_ms", clock_ms);
	else
		json_null(j, "clock_ahead_ms");
}

static void
put_node(struct json *j, struct server *s, const void *row)
{
	static const char *const backends[] = {
		[MSG_BACKEND_ENGINE] = "engine",
		[MSG_BACKEND_KERNEL] = "kernel",
	};
	const struct msg_member *m = row;

	json_object(j, NULL);
	json_u64(j, "id", m->node);
	VIEW_TEXT(j, "name", m->name);
	json_bool(j, "self", m->self != 0);
	json_text(j, "state", nodes_state(m->state));
	view_time(j, "since", m->since_wall_ns);
	nodes_put_name(j, "accuser", s, m->accuser);
	json_bool(j, "draining", m->draining != 0);
	json_bool(j, "keeper", m->keeper != 0);
	json_bool(j, "writer", m->writer != 0);
	put_voter(j, m);
	VIEW_TEXT(j, "zone", m->zone);
	VIEW_TEXT(j, "version", m->version);
	VIEW_TEXT(j, "platform", m->platform);
	nodes_put_address(j, "address", &m->address);
	json_bool(j, "dials_out", m->dials_out != 0);
	nodes_put_name(j, "via", s, m->via);
	view_time(j, "unreached_since", m->unreached_wall_ns);
	view_time(j, "refused_since", m->refused_wall_ns);
	put_known(j, "sealed_port", m->sealed_port, m->sealed_port != 0);
	put_twin(j, &m->twin);
	put_clock(j, m->clock_ms);
	json_text(j, "backend", m->backend <= MSG_BACKEND_KERNEL ? backends[m->backend] : NULL);
	put_pairs(j, "labels", m->labels);
	put_pairs(j, "taints", m->taints);
	json_u64(j, "replicas", m->replicas);
	put_known(j, "cpu_milli", m->cpu_milli, m->cpu_milli != 0);
	put_known(j, "cpu_free_milli", m->cpu_free_milli, m->cpu_milli != 0);
	put_known(j, "memory_bytes", m->memory_bytes, m->memory_bytes != 0);
	put_known(j, "memory_free_bytes", m->memory_free_bytes, m->memory_bytes != 0);
	put_known(j, "store_sequence", m->store_sequence, m->store_sequence != 0);
	view_time(j, "admitted", m->admitted_wall_ns);
	json_end(j);
}

void
nodes_put(struct json *j, const char *key, struct server *s)
{
	struct rows rows;

	json_array(j, key);
	nodes_collect(s, &rows);
	for (size_t i = 0; i < rows.count; i++)
		put_node(j, s, rows.items[i]);
	rows_fini(&rows);
	json_end(j);
}

void
nodes_list(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_MEMBER, NULL, NULL, by_name,
					      put_node});
}

static void
answer_node(struct call *call, const struct msg_member *m)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	put_node(&j, call->server, m);
	call_json(call, 200, NULL, &b);
}

/* Of the path; NULL: it was answered. */
static const struct msg_member *
of_path(struct call *call)
{
	const struct msg_member *m = nodes_find(call->server, call->param[0]);
	struct err err = {0};

	if (m)
		return m;
	err_set(&err, ERR_NOT_FOUND, "there is no node \"%.63s\"", call->param[0]);
	err_fix(&err, "zlayer node ls shows those that there are");
	call_problem(call, &err);
	return NULL;
}

void
nodes_read(struct call *call)
{
	const struct msg_member *m = of_path(call);

	if (m)
		answer_node(call, m);
}

/* ---- what is said about them ---- */

static bool
holds(const struct msg_member *m, size_t bytes)
{
	return bytes == sizeof(*m) && MSG_OK(m->name);
}

static void
answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	(void)fds, (void)count;
	if (!holds(body, bytes)) {
		call_damaged(call, "scheduler");
		return;
	}
	answer_node(call, body);
}

/* The id, not the name: nodes may come to have the same one. */
static void
name_it(struct msg_node_op *op, const struct msg_member *m)
{
	text_format(op->node, sizeof(op->node), "%u", m->node);
}

static void
ask(struct call *call, const struct msg_node_op *op, call_answer_fn done)
{
	call_ask(call, ROLE_SCHEDULER, MSG_OP_MEMBER, op, sizeof(*op), NULL, 0, CALL_ASK_MS, done);
}

static int
take_drain(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_node_op *op = arg;

	if (strcmp(key, "seconds") == 0)
		return body_number(value, key, DRAIN_S_MAX, &op->seconds, err);
	return body_unknown(key, "seconds: until replicas are stopped anyway", err);
}

void
nodes_drain(struct call *call)
{
	const struct msg_member *m = of_path(call);
	struct msg_node_op op = {.verb = MSG_NODE_DRAIN};

	if (!m || !body_each(call, take_drain, &op))
		return;
	name_it(&op, m);
	ask(call, &op, answered);
}

void
nodes_undrain(struct call *call)
{
	const struct msg_member *m = of_path(call);
	struct msg_node_op op = {.verb = MSG_NODE_UNDRAIN};

	if (!m)
		return;
	name_it(&op, m);
	ask(call, &op, answered);
}

void
nodes_rotate(struct call *call)
{
	const struct msg_member *m = of_path(call);
	struct msg_node_op op = {.verb = MSG_NODE_ROTATE};

	if (!m)
		return;
	name_it(&op, m);
	ask(call, &op, answered);
}

void
nodes_delete(struct call *call)
{
	const struct msg_member *m = of_path(call);
	struct msg_node_op op = {.verb = MSG_NODE_REMOVE};
	bool force = false;

	if (!m || !call_query_bool(call, "force", &force))
		return;
	name_it(&op, m);
	op.force = force;
	ask(call, &op, answered);
}

/* ---- labels and taints ---- */

struct changes {
	size_t count, next;
	struct msg_node_op ops[CHANGES_MAX];
};

static int
take_pair(struct changes *c, const char *key, json_t *value, bool taint, struct err *err)
{
	bool gone = json_read_kind(value) == JSON_READ_NULL;
	struct msg_node_op *op = &c->ops[c->count];

	if (c->count == CHANGES_MAX)
		return err_set(err, ERR_LIMIT, "too many changes at once: at most %d", CHANGES_MAX);
	if (!key[0] || !text_copy(op->key, sizeof(op->key), key))
		return err_set(err, ERR_INVALID,
			       "\"%.70s\" cannot be a key: 1 to %d bytes, \"%s\" has them", key,
			       MSG_NAME - 1, taint ? "taints" : "labels");
	if (!gone && body_text(value, key, op->value, sizeof(op->value), err) < 0)
		return -1;
	if (taint)
		op->verb = gone ? MSG_NODE_UNTAINT : MSG_NODE_TAINT;
	else
		op->verb = gone ? MSG_NODE_UNLABEL : MSG_NODE_LABEL;
	c->count++;
	return 0;
}

static int
take_change(void *arg, const char *key, json_t *value, struct err *err)
{
	bool taint = strcmp(key, "taints") == 0;
	int rc = 0;

	if (!taint && strcmp(key, "labels") != 0)
		return body_unknown(key, "labels, taints", err);
	if (json_read_kind(value) != JSON_READ_OBJECT)
		return err_set(err, ERR_INVALID, "\"%s\" must be an object: {\"key\": \"value\"}",
			       key);
	for (void *it = json_read_first(value); it && rc == 0; it = json_read_next(value, it))
		rc = take_pair(arg, json_read_key(it), json_read_value(it), taint, err);
	return rc;
}

static void
changes_free(struct call *call)
{
	mem_free(call->stream);
	call->stream = NULL;
}

static void
one_changed(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct changes *c = call->stream;

	if (c->next == c->count || !holds(body, bytes))
		answered(call, body, bytes, fds, count);
	else
		ask(call, &c->ops[c->next++], one_changed);
}

void
nodes_patch(struct call *call)
{
	const struct msg_member *m = of_path(call);
	struct changes *c = m ? mem_zalloc(MEM_API, sizeof(*c)) : NULL;
	struct err err = {0};

	if (!m)
		return;
	if (!c) {
		err_set(&err, ERR_NO_MEMORY, "out of memory");
		call_problem(call, &err);
		return;
	}
	call->stream = c;
	call->stream_free = changes_free;
	if (!body_each(call, take_change, c))
		return;
	for (size_t i = 0; i < c->count; i++)
		name_it(&c->ops[i], m);
	if (c->count == 0)
		answer_node(call, m);
	else
		ask(call, &c->ops[c->next++], one_changed);
}
