/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining: a ticket comes with a request, one of its addresses is asked, and the answer is checked
 * against the ticket's word for the cluster before anything of it is believed. What makes this node
 * a member is one file, written last; then the process ends, and its successor answers the request.
 * The keys are kept before the first question, so that a try after a crash is one by the same node.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

struct cluster_join {
	struct cluster *c;
	struct station_request request;
	struct ticket ticket;
	struct identity_keys keys;
	char name[IDENTITY_NAME_BYTES];
	struct channel_rules *rules;
	struct petition *petition;
};

void
cluster_join_end(struct cluster *c)
{
	struct cluster_join *j = c->join;

	if (!j)
		return;
	c->join = NULL;
	petition_free(j->petition);
	channel_rules_unref(j->rules);
	mem_wipe(j, sizeof(*j));
	mem_free(j);
}

static void
fail(struct cluster_join *j, const struct err *err)
{
	struct cluster *c = j->c;

	log_err(LOG_WARN, "this node did not join the cluster", err);
	cluster_refuse(c, &j->request, err);
	cluster_join_end(c);
	c->dirty = true;
}

/* ---- the answer ---- */

static int
check_leaf(struct cluster_join *j, const struct identity_authority *authority,
	   const struct admission_answer *answer, struct err *err)
{
	struct identity who;
	size_t bytes = 0;
	const void *leaf = cluster_keep_leaf(answer->chain, answer->chain_bytes, &bytes);
	enum identity_verdict verdict =
		leaf ? identity_judge(authority, leaf, bytes, world_wall_ns() / CLUSTER_SECOND_NS,
				      &who)
		     : IDENTITY_MALFORMED;

	if (verdict == IDENTITY_OUT_OF_TIME) {
		err_set(err, ERR_DENIED, "the clock of this machine is wrong");
		err_why(err, "the certificate that the cluster gave is good at another time");
		return err_fix(err, "set the clock right (timedatectl), then join again");
	}
	if (verdict != IDENTITY_GOOD || who.node != answer->node ||
	    memcmp(who.sign_public, j->keys.sign_public, IDENTITY_KEY) != 0 ||
	    memcmp(who.gossip_public, j->keys.gossip_public, IDENTITY_KEY) != 0)
		return err_set(err, ERR_CORRUPT,
			       "the cluster gave a certificate that is not this "
			       "node's");
	/* The name that an earlier question asked for, if its answer was lost. */
	if (!admission_name_fits(who.name))
		return err_set(err, ERR_CORRUPT, "the cluster gave a name that is none");
	text_copy(j->name, sizeof(j->name), who.name);
	return 0;
}

static int
keep(struct cluster_join *j, const struct admission_answer *answer, const struct identity *from,
     const struct addr *address, struct err *err)
{
	struct cluster_keep k;

	cluster_keep_init(&k);
	k.node = answer->node;
	k.since_s = world_wall_ns() / CLUSTER_SECOND_NS;
	k.via = from->node;
	k.via_address = *address;
	k.keys = j->keys;
	buf_put(&k.chain, answer->chain, answer->chain_bytes);
	int rc = buf_ok(&k.chain)
			 ? identity_authority_of(&k.authority, answer->authority,
						 answer->authority_bytes, j->ticket.cluster, err)
			 : err_set(err, ERR_NO_MEMORY, "no memory to join the cluster");
	if (rc == 0)
		rc = check_leaf(j, &k.authority, answer, err);
	text_copy(k.name, sizeof(k.name), j->name);
	if (rc == 0)
		rc = cluster_keep_clear(j->c->folder, err);
	if (rc == 0)
		rc = cluster_keep_put_nodes(j->c->folder, answer->nodes, answer->nodes_count, err);
	if (rc == 0)
		rc = cluster_keep_write(j->c->folder, &k, err);
	cluster_keep_fini(&k);
	return rc;
}

/* Asked again when the answer is there: one that was on its way may have come meanwhile. */
static int
has_no_deployments(const struct cluster *c, struct err *err)
{
	size_t deployments = c->m->deployments_count;

	if (deployments == 0)
		return 0;
	err_set(err, ERR_CONFLICT, "a node joins without deployments, and this one has %zu",
		deployments);
	err_why(err, "what is wanted is the same on all nodes of a cluster");
	return err_fix(err, "remove them first (zlayer rm), or let this node invite and "
			    "the other one join");
}

static void
answered(void *arg, const struct admission_answer *answer, const struct identity *from,
	 const struct addr *address, const struct err *failed)
{
	struct cluster_join *j = arg;
	struct cluster *c = j->c;
	struct err err = {0};

	if (failed) {
		fail(j, failed);
		return;
	}
	if (!answer->admitted) {
		cluster_keep_not_joining(c->folder);
		fail(j, &answer->refused);
		return;
	}
	if (has_no_deployments(c, &err) < 0 || keep(j, answer, from, address, &err) < 0) {
		fail(j, &err);
		return;
	}
	log_event(LOG_INFO, "this node is one of the cluster now", log_u("node", answer->node),
		  log_s("name", j->name), LOG_END);
	cluster_join_end(c);
	cluster_renew_process(c); /* the next one answers */
}

/* ---- the question ---- */

static int
make_rules(struct cluster_join *j, struct err *err)
{
	struct buf chain;

	buf_init(&chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	int rc = identity_alone(&j->keys, world_wall_ns() / CLUSTER_SECOND_NS, &chain, err);
	const struct channel_rules_config config = {.keys = &j->keys,
						    .chain = chain.data,
						    .chain_bytes = chain.length,
						    .cluster = j->ticket.cluster};
	if (rc == 0)
		rc = channel_rules_new(&config, &j->rules, err);
	buf_fini(&chain);
	return rc;
}

static int
ask(struct cluster_join *j, struct err *err)
{
	struct petition_config config = {
		.loop = station_loop(j->c->st),
		.addresses = j->ticket.addresses,
		.count = j->ticket.addresses_count,
		.question = {.what = ADMISSION_JOIN, .ticket = j->ticket.id},
		.done = answered,
		.arg = j,
	};

	if (cluster_keep_joining(j->c->folder, &j->ticket, &j->keys, err) < 0 ||
	    make_rules(j, err) < 0)
		return -1;
	config.rules = j->rules;
	memcpy(config.question.secret, j->ticket.secret, TICKET_SECRET);
	memcpy(config.question.gossip_public, j->keys.gossip_public, IDENTITY_KEY);
	text_copy(config.question.name, sizeof(config.question.name), j->name);
	cluster_link_own(j->c, &config.question.address);
	int rc = petition_new(&config, &j->petition, err);
	mem_wipe(&config.question, sizeof(config.question));
	return rc;
}

static int
read_ticket(const int *fds, size_t count, struct ticket *out, struct err *err)
{
	struct buf text;

	if (count < 1 || !fd_is_sealed(fds[0]))
		return err_set(err, ERR_INVALID, "there is no ticket in the request");
	buf_init(&text, MEM_SCHEDULER, 4 * TICKET_TEXT_BYTES);
	/* A process that ended over this request has read it, too. */
	int rc = lseek(fds[0], 0, SEEK_SET) == 0 ? fd_read_all(fds[0], &text, err)
						 : err_sys(err, errno, "cannot read the ticket");
	if (rc == 0)
		rc = ticket_read(buf_cstr(&text), out, err);
	if (text.data)
		mem_wipe(text.data, text.capacity);
	buf_fini(&text);
	return rc;
}

/* It is a member: of the ticket's cluster, or of another one. */
static void
answer_member(struct cluster *c, const struct station_request *q, const struct ticket *t)
{
	struct msg_joined joined = {.node = c->keep.node};
	struct err err = {0};

	if (memcmp(t->cluster, c->keep.authority.cluster, TICKET_CLUSTER) != 0) {
		err_set(&err, ERR_CONFLICT, "this node is in another cluster");
		err_fix(&err, "zlayer leave, then join again");
		cluster_refuse(c, q, &err);
		return;
	}
	joined.nodes = (uint32_t)cluster_roster_count(c);
	text_hex(c->keep.authority.cluster, IDENTITY_CLUSTER, joined.id, sizeof(joined.id));
	cluster_answer(c, q, &joined, sizeof(joined), NULL, 0);
}

static int
may_join(struct cluster *c, const char *name, struct err *err)
{

	if (!c->config->listen.gossip.on) {
		err_set(err, ERR_UNSUPPORTED, "this node cannot be in a cluster");
		err_why(err, "`listen.gossip` is off in node.yaml");
		return err_fix(err, "give it an address (0.0.0.0:9881), then reload");
	}
	if (has_no_deployments(c, err) < 0)
		return -1;
	if (!admission_name_fits(name)) {
		err_set(err, ERR_INVALID, "\"%s\" cannot be a node's name in a cluster", name);
		err_why(err, "a name is 1 to 63 of a-z, 0-9 and hyphens within");
		return err_fix(err, "set `node.name` in node.yaml, or join with another name");
	}
	if (c->join || c->over) {
		err_set(err, ERR_CONFLICT, "this node is joining a cluster already");
		return err_fix(err, "wait until it has, or has not: zlayer cluster show");
	}
	return 0;
}

static void
begin(struct cluster *c, const struct station_request *q, const struct ticket *t, const char *name)
{
	struct cluster_join *j = mem_zalloc(MEM_SCHEDULER, sizeof(*j));
	struct err err = {0};

	if (!j) {
		err_set(&err, ERR_NO_MEMORY, "no memory to join a cluster");
		cluster_refuse(c, q, &err);
		return;
	}
	j->c = c;
	j->request = *q;
	j->ticket = *t;
	text_copy(j->name, sizeof(j->name), name);
	c->join = j;
	if (ask(j, &err) < 0)
		fail(j, &err);
}

void
cluster_join_request(struct cluster *c, const struct station_request *q, const void *body,
		     size_t bytes, const int *fds, size_t count)
{
	struct msg_join join = {0};
	struct ticket ticket = {0};
	struct err err = {0};

	if (bytes == sizeof(join))
		memcpy(&join, body, sizeof(join));
	if (bytes != sizeof(join) || !MSG_OK(join.name)) {
		err_set(&err, ERR_INVALID, "the request is malformed");
		cluster_refuse(c, q, &err);
		return;
	}
	const char *name = join.name[0] ? join.name : station_welcome(c->st)->node;
	if (read_ticket(fds, count, &ticket, &err) < 0)
		cluster_refuse(c, q, &err);
	else if (c->member)
		answer_member(c, q, &ticket);
	else if (may_join(c, name, &err) < 0)
		cluster_refuse(c, q, &err);
	else
		begin(c, q, &ticket, name);
	mem_wipe(&ticket, sizeof(ticket));
}
