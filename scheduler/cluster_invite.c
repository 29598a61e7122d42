/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invitations: the first one makes the cluster, each makes a ticket. Of the ticket's secret the
 * store has a digest; the word itself is in the answer and nowhere else.
 */
#include "scheduler/cluster_inside.h"

#include <openssl/sha.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { TTL_S = 3600, USES = 1, KEEP_ENDED_S = 86400, NEW_S = 60 };

/* ---- the cluster itself ---- */

static int
make(struct cluster *c, struct cluster_keep *k, struct err *err)
{
	struct identity who = {.node = 1};
	int64_t now_s = world_wall_ns() / CLUSTER_SECOND_NS;

	k->node = who.node;
	k->founder = true;
	k->since_s = now_s;
	text_copy(k->name, sizeof(k->name), station_welcome(c->st)->node);
	if (identity_authority_create(&k->authority, now_s, err) < 0 ||
	    identity_keys_new(&k->keys, err) < 0)
		return -1;
	text_copy(who.name, sizeof(who.name), k->name);
	memcpy(who.sign_public, k->keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, k->keys.gossip_public, IDENTITY_KEY);
	if (identity_issue(&k->authority, &who, now_s, &k->chain, err) < 0 ||
	    cluster_keep_clear(c->folder, err) < 0)
		return -1;
	return cluster_keep_write(c->folder, k, err);
}

static int
found(struct cluster *c, struct err *err)
{
	const char *name = station_welcome(c->st)->node;
	struct cluster_keep k;

	if (!c->config->listen.gossip.on) {
		err_set(err, ERR_UNSUPPORTED, "this node cannot be in a cluster");
		err_why(err, "`listen.gossip` is off in node.yaml");
		return err_fix(err, "give it an address (0.0.0.0:9881), then reload");
	}
	if (!admission_name_fits(name)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be a node's name in a cluster", name);
		err_why(err, "a name is 1 to 63 of a-z, 0-9 and hyphens within");
		return err_fix(err, "set `node.name` in node.yaml, then restart the node");
	}
	if (c->join || c->over)
		return err_set(err, ERR_CONFLICT, "this node is joining a cluster");
	cluster_keep_init(&k);
	int rc = make(c, &k, err);
	cluster_keep_fini(&k);
	if (rc == 0)
		log_event(LOG_INFO, "this node has begun a cluster", log_s("name", name), LOG_END);
	return rc;
}

/* ---- a ticket ---- */

struct invite {
	struct cluster *c;
	struct station_request request;
	struct msg_invite asked;
	struct ticket ticket;
	struct store_ticket row;
	bool created;
};

static int
prune(struct store *s, const struct buf *rows, int64_t now_s, size_t *left, struct err *err)
{
	const struct store_ticket *t = (const void *)rows->data;

	*left = rows->length / sizeof(*t);
	for (size_t i = 0; i < rows->length / sizeof(*t); i++) {
		if (t[i].expires_s + KEEP_ENDED_S > now_s)
			continue;
		if (store_drop(s, STORE_TICKET, t[i].id, t[i].version, err) < 0)
			return -1;
		(*left)--;
	}
	return 0;
}

static int
put_ticket(void *arg, struct store *s, struct err *err)
{
	struct invite *v = arg;
	struct store_ticket row = v->row;
	size_t left = 0;
	struct buf rows;

	buf_init(&rows, MEM_SCHEDULER, ADMISSION_TICKETS_MAX * sizeof(struct store_ticket));
	int rc = cluster_store_rows(s, STORE_TICKET, &rows, err);
	v->created = rc == 0 && rows.length == 0 && v->c->keep.founder &&
		     world_wall_ns() / CLUSTER_SECOND_NS - v->c->keep.since_s < NEW_S;
	if (rc == 0)
		rc = prune(s, &rows, cluster_now_s(v->c), &left, err);
	buf_fini(&rows);
	if (rc == 0 && left >= ADMISSION_TICKETS_MAX) {
		err_set(err, ERR_LIMIT, "there are %zu tickets, the most that are kept at a time",
			left);
		rc = err_fix(err, "wait until some have ended, or give one ticket more uses");
	}
	return rc == 0 ? store_put(s, STORE_TICKET, &row, err) : -1;
}

static void
kept(void *arg, const struct err *err)
{
	struct invite *v = arg;
	struct msg_invited invited = {
		.expires_s = v->row.expires_s, .uses = v->row.uses_left, .created = v->created};
	char text[TICKET_TEXT_BYTES];
	struct err failed = {0};

	if (err) {
		cluster_refuse(v->c, &v->request, err);
	} else {
		ticket_write(&v->ticket, text);
		int fd = fd_memfd_sealed("ticket", text, strlen(text));
		if (fd >= 0) {
			cluster_answer(v->c, &v->request, &invited, sizeof(invited), &fd, 1);
		} else {
			err_set(&failed, ERR_NO_MEMORY, "no memory for the ticket");
			cluster_refuse(v->c, &v->request, &failed);
		}
		fd_close(&fd);
		mem_wipe(text, sizeof(text));
	}
	mem_wipe(v, sizeof(*v));
	mem_free(v);
}

/* Addresses of nodes that can admit: this one's own, then those of others. */
static int
put_addresses(struct cluster *c, struct ticket *t, struct err *err)
{
	struct map_iter it = {0};

	if (cluster_keeper(c))
		t->addresses_count = cluster_link_addresses(c, t->addresses, TICKET_ADDRESSES_MAX);
	while (t->addresses_count < TICKET_ADDRESSES_MAX && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.keeper && !n->row.removed && n->row.node != c->keep.node &&
		    !cluster_link_hidden(n) &&
		    cluster_address(c, n->row.node, &t->addresses[t->addresses_count]))
			t->addresses_count++;
	}
	if (t->addresses_count > 0)
		return 0;
	err_set(err, ERR_UNREACHABLE, "no address is known at which others could join");
	return err_fix(err, cluster_keeper(c)
				    ? "set `node.advertise` in node.yaml to an address of this "
				      "machine that the others reach"
				    : "invite from a node that admits others (zlayer node ls)");
}

static int
make_ticket(struct invite *v, struct err *err)
{
	struct cluster *c = v->c;
	struct world world;

	world_real(&world);
	memcpy(v->ticket.cluster, c->keep.authority.cluster, TICKET_CLUSTER);
	v->ticket.id = world_random_u64(&world) >> 1 | 1; /* an integer of the database's */
	world_random(&world, v->ticket.secret, TICKET_SECRET);
	v->row.ticket = v->ticket.id;
	v->row.expires_s = cluster_now_s(c) + (v->asked.ttl_s ? v->asked.ttl_s : TTL_S);
	v->row.uses_left = v->asked.uses ? v->asked.uses : USES;
	SHA256(v->ticket.secret, TICKET_SECRET, v->row.secret_sha256);
	return put_addresses(c, &v->ticket, err);
}

static int
check(const struct msg_invite *asked, struct err *err)
{
	if (asked->ttl_s > ADMISSION_TTL_MAX_S)
		return err_set(err, ERR_INVALID, "a ticket is good for at most %d days",
			       ADMISSION_TTL_MAX_S / 86400);
	if (asked->uses > ADMISSION_USES_MAX)
		return err_set(err, ERR_INVALID, "a ticket has at most %d uses",
			       ADMISSION_USES_MAX);
	return 0;
}

/* A ticket is of no use where nobody is heard. */
static int
hears(const struct cluster *c, struct err *err)
{
	if (c->shell || !c->unbound.kind)
		return 0;
	*err = c->unbound;
	return -1;
}

static int
invite(struct cluster *c, const struct station_request *q, const struct msg_invite *asked,
       struct err *err)
{
	struct invite *v;

	if (hears(c, err) < 0)
		return -1;
	v = mem_zalloc(MEM_SCHEDULER, sizeof(*v));
	if (!v)
		return err_set(err, ERR_NO_MEMORY, "no memory for a ticket");
	v->c = c;
	v->request = *q;
	v->asked = *asked;
	if (make_ticket(v, err) == 0 && cluster_store_change(c, put_ticket, kept, v, err) == 0)
		return 0;
	mem_wipe(v, sizeof(*v));
	mem_free(v);
	return -1;
}

void
cluster_invite_request(struct cluster *c, const struct station_request *q, const void *body,
		       size_t bytes)
{
	struct msg_invite asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (bytes != sizeof(asked))
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = check(&asked, &err);
	if (rc == 0 && !c->member) {
		rc = found(c, &err);
		if (rc == 0) {
			cluster_renew_process(c); /* the next one makes the ticket */
			return;
		}
	} else if (rc == 0) {
		rc = invite(c, q, &asked, &err);
	}
	if (rc < 0)
		cluster_refuse(c, q, &err);
}

/* ---- who may join ---- */

struct mode {
	struct cluster *c;
	struct station_request request;
	uint32_t mode;
};

static int
put_mode(void *arg, struct store *s, struct err *err)
{
	const struct mode *v = arg;
	struct store_cluster row = v->c->row;

	if (row.id == 0)
		return err_set(err, ERR_UNREACHABLE,
			       "this node does not have the cluster's rows yet");
	if (store_get(s, STORE_CLUSTER, row.id, &row, err) < 0)
		return -1;
	if (row.admission == v->mode)
		return 1;
	row.admission = v->mode;
	return store_put(s, STORE_CLUSTER, &row, err);
}

static void
mode_kept(void *arg, const struct err *err)
{
	struct mode *v = arg;

	if (err) {
		cluster_refuse(v->c, &v->request, err);
	} else {
		cluster_publish_changed(v->c);
		cluster_answer(v->c, &v->request, NULL, 0, NULL, 0);
	}
	mem_free(v);
}

static int
change_mode(struct cluster *c, const struct station_request *q, uint32_t to, struct err *err)
{
	struct mode *v = mem_zalloc(MEM_SCHEDULER, sizeof(*v));

	if (!v)
		return err_set(err, ERR_NO_MEMORY, "no memory for a change");
	*v = (struct mode){.c = c, .request = *q, .mode = to};
	if (cluster_store_change(c, put_mode, mode_kept, v, err) == 0)
		return 0;
	mem_free(v);
	return -1;
}

static int
no_cluster(struct err *err)
{
	err_set(err, ERR_NOT_FOUND, "this node is in no cluster");
	return err_fix(err, "zlayer invite begins one");
}

void
cluster_invite_mode(struct cluster *c, const struct station_request *q, const void *body,
		    size_t bytes)
{
	struct msg_admit asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (asked.mode < MSG_ADMISSION_TOKEN || asked.mode > MSG_ADMISSION_CLOSED)
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else if (!c->member)
		rc = no_cluster(&err);
	else
		rc = change_mode(c, q, asked.mode, &err);
	if (rc < 0)
		cluster_refuse(c, q, &err);
}
