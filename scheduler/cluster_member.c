/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked about a node: labels, taints, draining, sending away. Each is a change of its row,
 * worked out from the row as it is in the transaction. */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

struct ask {
	struct cluster *c;
	struct station_request request;
	struct msg_node_op op;
	uint32_t node;
};

/* ---- "key=value\n" texts ---- */

static size_t
line_length(const char *at)
{
	return strcspn(at, "\n") + (at[strcspn(at, "\n")] == '\n');
}

static bool
is_key(const char *line, const char *key)
{
	size_t length = strlen(key);

	return strncmp(line, key, length) == 0 && line[length] == '=';
}

/* Takes a pair out; true when it was there. */
static bool
take_pair(char *text, const char *key)
{
	for (char *at = text; *at; at += line_length(at)) {
		size_t length = line_length(at);

		if (!is_key(at, key))
			continue;
		memmove(at, at + length, strlen(at + length) + 1);
		return true;
	}
	return false;
}

static size_t
count_pairs(const char *text)
{
	size_t count = 0;

	for (const char *at = text; *at; at += line_length(at))
		count++;
	return count;
}

/* In the order of keys. */
static int
put_pair(char text[MSG_PAIRS], const char *key, const char *value, const char *what,
	 struct err *err)
{
	char line[2 * MSG_NAME + 4];
	char *at = text;

	(void)take_pair(text, key);
	text_format(line, sizeof(line), "%s=%s\n", key, value);
	if (count_pairs(text) >= MSG_LABELS_MAX || strlen(text) + strlen(line) >= MSG_PAIRS)
		return err_set(err, ERR_LIMIT, "a node has at most %d %s, of %d bytes together",
			       MSG_LABELS_MAX, what, MSG_PAIRS - 1);
	while (*at && strncmp(at, line, strlen(key) + 1) < 0)
		at += line_length(at);
	memmove(at + strlen(line), at, strlen(at) + 1);
	memcpy(at, line, strlen(line));
	return 0;
}

static int
take_out(char *text, const struct ask *a, const char *name, const char *what, struct err *err)
{
	if (take_pair(text, a->op.key))
		return 0;
	err_set(err, ERR_NOT_FOUND, "%s has no %s \"%s\"", name, what, a->op.key);
	return err_fix(err, "zlayer node show %s shows what it has", name);
}

/* ---- the row ---- */

static int
refuse_removal(const struct ask *a, const struct cluster_node *n, struct err *err)
{
	uint32_t replicas = cluster_facts_replicas(a->c, n->row.node);
	bool alive = n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT;

	if (n->row.node == a->c->keep.node) {
		err_set(err, ERR_CONFLICT, "%s is this node itself", n->row.name);
		return err_fix(err, "zlayer leave");
	}
	if (!a->c->etcd && a->c->row.moving) {
		err_set(err, ERR_CONFLICT, "the store is moving into etcd");
		return err_fix(err, "try again in a moment");
	}
	if (n->row.node == cluster_writer(a->c)) {
		err_set(err, ERR_CONFLICT, "%s takes the changes of the cluster's store",
			n->row.name);
		err_why(err, "without it nothing could be changed any more");
		return err_fix(err, "when it is lost for good: zlayer recover --force-single, "
				    "then zlayer node rm again");
	}
	/* What a dead one had is started elsewhere already. */
	if (!a->op.force && alive) {
		err_set(err, ERR_CONFLICT, "%s is alive", n->row.name);
		if (replicas > 0)
			err_why(err, "it has %u replica%s", replicas, replicas == 1 ? "" : "s");
		return err_fix(err, "zlayer node drain %s, then zlayer leave there; or --force",
			       n->row.name);
	}
	return 0;
}

static int
change_row(const struct ask *a, const struct cluster_node *n, struct store_node *row,
	   struct err *err)
{
	int64_t until =
		a->op.seconds ? (cluster_now_s(a->c) + a->op.seconds) * CLUSTER_SECOND_NS : 0;

	switch ((enum msg_node_verb)a->op.verb) {
	case MSG_NODE_LABEL:
		return put_pair(row->labels, a->op.key, a->op.value, "labels", err);
	case MSG_NODE_UNLABEL:
		return take_out(row->labels, a, n->row.name, "label of its own (set by hand)", err);
	case MSG_NODE_TAINT:
		return put_pair(row->taints, a->op.key, a->op.value, "taints", err);
	case MSG_NODE_UNTAINT:
		return take_out(row->taints, a, n->row.name, "taint", err);
	case MSG_NODE_DRAIN:
		row->draining = 1;
		row->drain_until_wall_ns = until;
		return 0;
	case MSG_NODE_UNDRAIN:
		row->draining = 0;
		row->drain_until_wall_ns = 0;
		return 0;
	case MSG_NODE_REMOVE:
		if (refuse_removal(a, n, err) < 0)
			return -1;
		row->removed = STORE_NODE_SENT_AWAY;
		return 0;
	case MSG_NODE_ROTATE:
		row->rotate_wall_s = world_wall_ns() / CLUSTER_SECOND_NS;
		return 0;
	}
	return err_set(err, ERR_INVALID, "the request is malformed");
}

static int
work(void *arg, struct store *s, struct err *err)
{
	struct ask *a = arg;
	const struct cluster_node *n = cluster_roster_find(a->c, a->node);
	struct store_node row, before;

	if (!n || n->row.id == 0)
		return err_set(err, ERR_UNREACHABLE, "this node does not have the row of %s yet",
			       a->op.node);
	if (store_get(s, STORE_NODE, n->row.id, &row, err) < 0)
		return -1;
	before = row;
	if (row.removed)
		return a->op.verb == MSG_NODE_REMOVE
			       ? 1
			       : err_set(err, ERR_NOT_FOUND, "%s was removed", a->op.node);
	if (change_row(a, n, &row, err) < 0)
		return -1;
	return memcmp(&row, &before, sizeof(row)) == 0 ? 1 : store_put(s, STORE_NODE, &row, err);
}

static void
kept(void *arg, const struct err *err)
{
	struct ask *a = arg;
	struct cluster *c = a->c;
	struct msg_member row;

	if (err) {
		cluster_refuse(c, &a->request, err);
	} else {
		cluster_publish_changed(c);
		const struct cluster_node *n = cluster_roster_find(c, a->node);
		if (n) {
			cluster_publish_member(c, n, &row);
			cluster_answer(c, &a->request, &row, sizeof(row), NULL, 0);
		}
	}
	mem_free(a);
}

/* ---- the request ---- */

/* As in a document and in node.yaml (spec/doc_text.c). */
static bool
key_fits(const char *key)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-/";

	return key[0] && key[strspn(key, letters)] == '\0' && !strchr("_.-/", key[0]);
}

static int
check(const struct msg_node_op *op, struct err *err)
{
	bool has_key = op->verb <= MSG_NODE_UNTAINT;

	if (op->verb < MSG_NODE_LABEL || op->verb > MSG_NODE_ROTATE || !MSG_OK(op->node) ||
	    !MSG_OK(op->key) || !MSG_OK(op->value))
		return err_set(err, ERR_INVALID, "the request is malformed");
	if (has_key && !key_fits(op->key)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be the key of a %s", op->key,
			op->verb <= MSG_NODE_UNLABEL ? "label" : "taint");
		return err_fix(err, "a key is letters, digits and _ . - / inside");
	}
	if (has_key && !text_is_printable(op->value, strlen(op->value)))
		return err_set(err, ERR_INVALID, "the value of \"%s\" is not printable text",
			       op->key);
	return 0;
}

static int
begin(struct cluster *c, const struct station_request *q, const struct msg_node_op *op,
      struct err *err)
{
	if (!c->member) {
		err_set(err, ERR_NOT_FOUND, "this node is in no cluster");
		return err_fix(err, "zlayer invite begins one");
	}
	const struct cluster_node *n = cluster_roster_named(c, op->node);
	if (!n)
		return err_set(err, ERR_NOT_FOUND, "there is no node \"%s\" in the cluster",
			       op->node);
	struct ask *a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));
	if (!a)
		return err_set(err, ERR_NO_MEMORY, "no memory for a change");
	*a = (struct ask){.c = c, .request = *q, .op = *op, .node = n->row.node};
	if (cluster_store_change(c, work, kept, a, err) == 0)
		return 0;
	mem_free(a);
	return -1;
}

void
cluster_member_request(struct cluster *c, const struct station_request *q, const void *body,
		       size_t bytes)
{
	struct msg_node_op op = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(op))
		memcpy(&op, body, sizeof(op));
	if (bytes != sizeof(op))
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = check(&op, &err);
	if (rc == 0)
		rc = begin(c, q, &op, &err);
	if (rc < 0)
		cluster_refuse(c, q, &err);
}
