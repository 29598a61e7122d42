/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster: how it is, tickets, joining, leaving, who may join. A ticket is worth a membership:
 * it stands in bodies of requests and answers only, goes to and from the scheduler as a sealed
 * memfd, and what held it here is wiped.
 */
#include "api/cluster.h"

#include <string.h>
#include "api/body.h"
#include "api/nodes.h"
#include "api/route.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"

enum {
	ANSWER_MAX = 64 << 10,
	TICKET_BYTES = 1024,
	TTL_S_MAX = 30 * 86400,
	USES_MAX = 10000,
	/* PETITION_AGAIN_MS, then each address of a ticket once; the command line waits longer */
	JOIN_MS = 115000,
	LEAVE_MS = 60000,
};

/* ---- how it is ---- */

const struct msg_cluster *
cluster_row(struct server *s)
{
	return rows_get(s, ROLE_SCHEDULER, MSG_TABLE_CLUSTER, 1);
}

static const char *const engines[] = {
	[MSG_STORE_ALONE] = "alone",
	[MSG_STORE_WRITER] = "writer",
	[MSG_STORE_FOLLOWER] = "follower",
	[MSG_STORE_ETCD] = "etcd",
};
static const char *const admissions[] = {
	[MSG_ADMISSION_TOKEN] = "token",
	[MSG_ADMISSION_OPEN] = "open",
	[MSG_ADMISSION_CLOSED] = "closed",
};
#define NAME_OF(names, value) \
	((value) < sizeof(names) / sizeof(names[0]) && names[value] ? names[value] : "unknown")

static bool
is_writer(const void *row, void *arg)
{
	(void)arg;
	return ((const struct msg_member *)row)->writer != 0;
}

/* Names of the nodes that keep a part of it; who leads is the first. */
static void
put_members(struct json *j, struct server *s)
{
	struct rows rows;

	json_array(j, "members");
	nodes_collect(s, &rows);
	for (int leads = 1; leads >= 0; leads--) {
		for (size_t i = 0; i < rows.count; i++) {
			const struct msg_member *m = rows.items[i];

			if (m->voter == MSG_VOTER_NONE || (m->voter_leads != 0) != leads)
				continue;
			json_object(j, NULL);
			VIEW_TEXT(j, "name", m->name);
			json_bool(j, "votes", m->voter == MSG_VOTER_VOTES);
			json_bool(j, "up", m->voter_up != 0);
			json_bool(j, "leads", m->voter_leads != 0);
			json_end(j);
		}
	}
	json_end(j);
	rows_fini(&rows);
}

static void
put_store(struct json *j, struct server *s, const struct msg_cluster *c)
{
	const struct msg_member *writer = rows_first(s, MSG_TABLE_MEMBER, is_writer, NULL);

	json_object(j, "store");
	json_text(j, "engine", NAME_OF(engines, c->engine));
	if (writer && c->engine != MSG_STORE_ETCD)
		VIEW_TEXT(j, "writer", writer->name);
	else
		json_null(j, "writer");
	json_bool(j, "writable", c->writable != 0);
	view_reason(j, "why", &c->why);
	json_u64(j, "sequence", c->store_sequence);
	put_members(j, s);
	json_u64(j, "voters", c->voters);
	json_u64(j, "voters_up", c->voters_up);
	json_u64(j, "member_bytes", c->member_bytes);
	json_u64(j, "member_quota_bytes", c->member_quota);
	json_u64(j, "member_behind", c->member_behind);
	VIEW_TEXT(j, "outside", c->outside);
	VIEW_TEXT(j, "note", c->voters_note);
	json_end(j);
}

static void
put_counts(struct json *j, struct server *s)
{
	uint64_t counts[MSG_MEMBER_LEFT + 1] = {0};
	struct rows rows;

	nodes_collect(s, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_member *m = rows.items[i];

		if (m->state <= MSG_MEMBER_LEFT)
			counts[m->state]++;
	}
	json_object(j, "nodes");
	json_u64(j, "total", rows.count);
	for (uint32_t state = MSG_MEMBER_NEW; state <= MSG_MEMBER_LEFT; state++)
		json_u64(j, nodes_state(state), counts[state]);
	json_end(j);
	rows_fini(&rows);
}

void
cluster_put(struct json *j, const char *key, struct server *s)
{
	const struct msg_cluster *c = cluster_row(s);

	if (!c) {
		json_null(j, key);
		return;
	}
	json_object(j, key);
	VIEW_TEXT(j, "id", c->id);
	if (c->self)
		json_u64(j, "self", c->self);
	else
		json_null(j, "self");
	json_text(j, "admission", NAME_OF(admissions, c->admission));
	put_store(j, s, c);
	put_counts(j, s);
	nodes_put_address(j, "gossip", &c->gossip);
	view_time(j, "certificate_not_after", c->certificate_not_after_s * 1000000000);
	view_reason(j, "trouble", &c->trouble);
	json_end(j);
}

void
cluster_get(struct call *call)
{
	struct buf b;
	struct json j;

	call->server->lacked = false;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	cluster_put(&j, NULL, call->server);
	if (call->server->lacked)
		b.failed = true; /* wrong counts are worse than none */
	call_json(call, 200, NULL, &b);
}

/* ---- tickets ---- */

/* One printable word: what a scheduler answered, or a client sent. */
static bool
is_word(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return length > 0 && length < TICKET_BYTES;
}

static void
invited(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_invited *a = body;
	struct err err = {0};
	struct buf word, b;
	struct json j;

	buf_init(&word, MEM_API, TICKET_BYTES);
	bool good = bytes == sizeof(*a) && count == 1 && fd_is_sealed(fds[0]) &&
		    fd_read_all(fds[0], &word, &err) == 0 &&
		    is_word((const char *)word.data, word.length);
	if (call_answer_begin(call, "scheduler", good, ANSWER_MAX, &b, &j)) {
		json_textn(&j, "ticket", (const char *)word.data, word.length);
		view_time(&j, "expires", a->expires_s * 1000000000);
		json_u64(&j, "uses", a->uses);
		json_bool(&j, "created", a->created != 0);
		json_end(&j);
		call_json(call, 200, NULL, &b);
	}
	if (word.length)
		mem_wipe(word.data, word.length);
	buf_fini(&word);
}

static int
take_invite(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_invite *q = arg;

	if (strcmp(key, "ttl_s") == 0)
		return body_number(value, key, TTL_S_MAX, &q->ttl_s, err);
	if (strcmp(key, "uses") == 0)
		return body_number(value, key, USES_MAX, &q->uses, err);
	return body_unknown(key, "ttl_s, uses", err);
}

void
cluster_invite(struct call *call)
{
	struct msg_invite q = {0};

	if (body_each(call, take_invite, &q))
		call_ask(call, ROLE_SCHEDULER, MSG_OP_INVITE, &q, sizeof(q), NULL, 0, CALL_ASK_MS,
			 invited);
}

/* ---- in and out ---- */

static void
joined(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_joined *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler", bytes == sizeof(*a), ANSWER_MAX, &b, &j))
		return;
	json_u64(&j, "node", a->node);
	json_u64(&j, "nodes", a->nodes);
	VIEW_TEXT(&j, "id", a->id);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

struct join {
	struct msg_join question;
	char ticket[TICKET_BYTES];
};

static int
take_join(void *arg, const char *key, json_t *value, struct err *err)
{
	struct join *q = arg;

	if (strcmp(key, "ticket") == 0)
		return body_text(value, key, q->ticket, sizeof(q->ticket), err);
	if (strcmp(key, "name") == 0)
		return body_text(value, key, q->question.name, sizeof(q->question.name), err);
	return body_unknown(key, "ticket, name", err);
}

static void
ask_to_join(struct call *call, const struct join *q)
{
	struct err err = {0};
	size_t length = strlen(q->ticket);

	if (!is_word(q->ticket, length)) {
		err_set(&err, ERR_INVALID, "\"ticket\" must be the word of an invitation");
		err_fix(&err, "zlayer invite, on a node of the cluster, prints one");
		call_problem(call, &err);
		return;
	}
	int fd = fd_memfd_sealed("ticket", q->ticket, length);
	if (fd < 0) {
		err_set(&err, ERR_NO_MEMORY, "no memory for the ticket");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_SCHEDULER, MSG_OP_JOIN, &q->question, sizeof(q->question), &fd, 1,
		 JOIN_MS, joined);
	fd_close(&fd);
}

void
cluster_join(struct call *call)
{
	struct join q = {0};

	call_ref(call); /* its body is wiped, whoever has answered */
	if (body_each(call, take_join, &q))
		ask_to_join(call, &q);
	if (call->body.length)
		mem_wipe(call->body.data, call->body.length);
	mem_wipe(&q, sizeof(q));
	call_unref(call);
}

static void
put_self(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct buf b;
	struct json j;

	(void)body, (void)bytes, (void)fds, (void)count;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

static int
take_leave(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_leave *q = arg;

	if (strcmp(key, "force") == 0)
		return body_bool(value, key, &q->force, err);
	return body_unknown(key, "force", err);
}

void
cluster_leave(struct call *call)
{
	struct msg_leave q = {0};

	if (body_each(call, take_leave, &q))
		call_ask(call, ROLE_SCHEDULER, MSG_OP_LEAVE, &q, sizeof(q), NULL, 0, LEAVE_MS,
			 put_self);
}

static int
take_admission(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_admit *q = arg;

	if (strcmp(key, "mode") != 0)
		return body_unknown(key, "mode", err);
	for (uint32_t mode = MSG_ADMISSION_TOKEN; mode <= MSG_ADMISSION_CLOSED; mode++) {
		if (strcmp(json_read_string(value), admissions[mode]) == 0)
			q->mode = mode;
	}
	return q->mode ? 0 : err_set(err, ERR_INVALID, "\"mode\" must be token, open or closed");
}

void
cluster_admission(struct call *call)
{
	struct msg_admit q = {0};
	struct err err = {0};

	if (!body_each(call, take_admission, &q))
		return;
	if (q.mode) {
		call_ask(call, ROLE_SCHEDULER, MSG_OP_ADMIT, &q, sizeof(q), NULL, 0, CALL_ASK_MS,
			 put_self);
		return;
	}
	err_set(&err, ERR_INVALID, "the body must say who may join");
	err_fix(&err, "for example {\"mode\": \"closed\"}");
	call_problem(call, &err);
}
