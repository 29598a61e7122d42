/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node is given that is admitted, or asks as a member: certificates of the cluster's
 * authority, and the list of nodes; or, for who is to hold it, the authority's key itself. That is
 * wiped where it was.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/credentials.h"

int
cluster_admit_issue(struct cluster *c, const struct admission_node *n, struct buf *chain,
		    struct err *err)
{
	struct identity who = {.node = n->id};

	text_copy(who.name, sizeof(who.name), n->name);
	memcpy(who.sign_public, n->sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, n->gossip_public, IDENTITY_KEY);
	return identity_issue(&c->keep.authority, &who, cluster_now_s(c), chain, err);
}

int
cluster_admit_nodes(struct store *s, struct buf *out, struct err *err)
{
	struct buf rows;

	buf_init(&rows, MEM_SCHEDULER, ADMISSION_NODES_MAX * sizeof(struct store_node));
	int rc = cluster_store_rows(s, STORE_NODE, &rows, err);
	const struct store_node *row = (const void *)rows.data;
	for (size_t i = 0; rc == 0 && i < rows.length / sizeof(*row); i++) {
		struct admission_node n;

		cluster_list_node(&row[i], &n);
		buf_put(out, &n, sizeof(n));
	}
	buf_fini(&rows);
	if (rc == 0 && !buf_ok(out))
		rc = err_set(err, ERR_NO_MEMORY, "no memory for the list of nodes");
	return rc;
}

/* To call etcd with, for the key that this node is known by. */
static int
issue_pass(struct cluster *c, const struct admission_node *n, struct buf *chain,
	   struct buf *authority, struct err *err)
{
	const struct credentials_who who = {
		.node = n->id, .name = n->name, .sign_public = n->sign_public};
	struct identity_authority from;

	if (credentials_authority(&c->keep.authority, CREDENTIALS_CLIENTS, &from, err) < 0)
		return -1;
	int rc = credentials_issue(&from, CREDENTIALS_CLIENTS, &who, cluster_now_s(c), chain, err);
	if (rc == 0)
		rc = credentials_put_authority(&from, authority, err);
	identity_authority_fini(&from);
	return rc;
}

static int
hand_key(struct cluster *c, const struct admission_node *n, struct buf *chain, struct err *err)
{
	struct secret pem = {0};

	if (identity_authority_export(&c->keep.authority, &pem, err) < 0)
		return -1;
	buf_put(chain, pem.data, pem.length);
	secret_fini(&pem);
	log_event(LOG_WARN, "another node is given the authority's key", log_u("node", n->id),
		  log_s("name", n->name), LOG_END);
	return 0;
}

struct parts {
	struct buf chain, authority, nodes;
};

static int
put_parts(struct cluster *c, enum admission_what what, const struct admission_node *n,
	  struct parts *p, struct err *err)
{
	if (what == ADMISSION_STORE)
		return issue_pass(c, n, &p->chain, &p->authority, err);
	if (identity_authority_der(&c->keep.authority, &p->authority, err) < 0)
		return -1;
	if (what == ADMISSION_KEY)
		return hand_key(c, n, &p->chain, err);
	return cluster_admit_issue(c, n, &p->chain, err) < 0
		       ? -1
		       : cluster_admit_nodes(c->m->store, &p->nodes, err);
}

void
cluster_admit_wipe(struct buf *b)
{
	if (b->data)
		mem_wipe(b->data, b->capacity);
	buf_fini(b);
}

int
cluster_admit_give(struct cluster *c, enum admission_what what, const struct admission_node *n,
		   struct buf *out, struct err *err)
{
	struct parts p;

	buf_init(&p.chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	buf_init(&p.authority, MEM_SCHEDULER, IDENTITY_CERTIFICATE_MAX);
	buf_init(&p.nodes, MEM_SCHEDULER, ADMISSION_NODES_MAX * sizeof(struct admission_node));
	int rc = put_parts(c, what, n, &p, err);
	if (rc == 0)
		admission_put_answer(n->id, p.chain.data, p.chain.length, p.authority.data,
				     p.authority.length, (const void *)p.nodes.data,
				     p.nodes.length / sizeof(struct admission_node), out);
	cluster_admit_wipe(&p.chain);
	buf_fini(&p.authority);
	buf_fini(&p.nodes);
	return rc;
}
