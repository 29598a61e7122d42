/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate's life: half of its time over, a new one is asked for at a node that can give
 * one, again and again with growing pauses; also when it has ended, for that still says who we are.
 * The same question is how a node that hears nobody finds out whether it is still one of them.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"

enum {
	FIRST_WAIT_S = 10,
	WAIT_MAX_S = 3600,
	ALONE_S = 10, /* without anybody until it asks whether it is a member */
	DAY_S = 86400,
};

void
cluster_renew_end(struct cluster *c)
{
	petition_free(c->renewal);
	c->renewal = NULL;
}

/* ---- a new one ---- */

static int
take_chain(struct cluster *c, const void *chain, size_t bytes, struct err *err)
{
	struct identity who;
	size_t leaf_bytes = 0;
	struct buf before = c->keep.chain;
	const void *leaf = cluster_keep_leaf(chain, bytes, &leaf_bytes);
	enum identity_verdict verdict =
		leaf ? cluster_judge(c, leaf, leaf_bytes, &who) : IDENTITY_MALFORMED;

	if (verdict == IDENTITY_OUT_OF_TIME) {
		err_set(err, ERR_TIMEOUT, "the clock of this machine is wrong");
		err_why(err, "a certificate that was issued just now is good at another time");
		return err_fix(err, "set the clock right (timedatectl)");
	}
	if (verdict != IDENTITY_GOOD || who.node != c->keep.node ||
	    memcmp(who.sign_public, c->keep.keys.sign_public, IDENTITY_KEY) != 0)
		return err_set(err, ERR_CORRUPT, "the new certificate is not this node's");
	buf_init(&c->keep.chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	buf_put(&c->keep.chain, chain, bytes);
	if (buf_ok(&c->keep.chain) && cluster_keep_write(c->folder, &c->keep, err) == 0) {
		buf_fini(&before);
		return cluster_read_times(c, err) < 0 ? -1 : cluster_link_rules(c, err);
	}
	buf_fini(&c->keep.chain);
	c->keep.chain = before;
	return err->kind ? -1 : err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
}

static void
failed(struct cluster *c, const struct err *err)
{
	log_err(LOG_WARN, "the certificate of this node was not renewed", err);
	c->renewal_err = *err;
	c->renew_wait_ns = c->renew_wait_ns * 2;
	if (c->renew_wait_ns < (uint64_t)FIRST_WAIT_S * CLUSTER_SECOND_NS)
		c->renew_wait_ns = (uint64_t)FIRST_WAIT_S * CLUSTER_SECOND_NS;
	if (c->renew_wait_ns > (uint64_t)WAIT_MAX_S * CLUSTER_SECOND_NS)
		c->renew_wait_ns = (uint64_t)WAIT_MAX_S * CLUSTER_SECOND_NS;
	c->renew_at_ns = world_mono_ns() + c->renew_wait_ns;
	c->dirty = true;
}

static void
renewed(struct cluster *c)
{
	err_clear(&c->renewal_err);
	c->renew_wait_ns = 0;
	c->renew_at_ns = 0;
	c->alone_since_ns = 0;
	c->dirty = true;
	log_event(LOG_INFO, "the certificate of this node was renewed", LOG_END);
}

static void
answered(void *arg, const struct admission_answer *answer, const struct identity *from,
	 const struct addr *address, const struct err *failure)
{
	struct cluster *c = arg;
	struct err err = {0};

	if (failure) {
		err = *failure;
		/* Only an answer says that this node was sent away (cluster_leave.c). */
		if (err.kind == ERR_DENIED)
			err.kind = ERR_UNREACHABLE;
		failed(c, &err);
	} else if (!answer->admitted) {
		failed(c, &answer->refused);
	} else if (take_chain(c, answer->chain, answer->chain_bytes, &err) < 0) {
		failed(c, &err);
	} else {
		renewed(c);
		/* Perhaps it is where nobody here knew it to be. */
		cluster_link_found(c, from->node, address);
	}
	cluster_renew_end(c);
}

/* ---- asking ---- */

static int
issue_own(struct cluster *c, struct err *err)
{
	struct identity who = {.node = c->keep.node};
	struct buf chain;

	text_copy(who.name, sizeof(who.name), c->keep.name);
	memcpy(who.sign_public, c->keep.keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, c->keep.keys.gossip_public, IDENTITY_KEY);
	buf_init(&chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	int rc = identity_issue(&c->keep.authority, &who, cluster_now_s(c), &chain, err);
	if (rc == 0)
		rc = take_chain(c, chain.data, chain.length, err);
	buf_fini(&chain);
	return rc;
}

static bool
is_due(struct cluster *c, uint64_t now_ns)
{
	int64_t now_s = cluster_now_s(c);

	if (now_s >= c->not_after_s - (int64_t)(IDENTITY_LEAF_DAYS - IDENTITY_RENEW_DAYS) * DAY_S ||
	    now_s < c->not_before_s)
		return true;
	if (cluster_keeper(c) || cluster_roster_count(c) < 2 || cluster_roster_live(c) > 0) {
		c->alone_since_ns = 0;
		return false;
	}
	if (c->alone_since_ns == 0)
		c->alone_since_ns = now_ns;
	return now_ns - c->alone_since_ns > (uint64_t)ALONE_S * CLUSTER_SECOND_NS;
}

void
cluster_renew_tick(struct cluster *c, uint64_t now_ns)
{
	struct err err = {0};

	if (!c->member || c->renewal || c->leave || now_ns < c->renew_at_ns || !is_due(c, now_ns))
		return;
	c->renew_at_ns = now_ns + (uint64_t)FIRST_WAIT_S * CLUSTER_SECOND_NS;
	int rc = cluster_keeper(c) ? issue_own(c, &err)
				   : cluster_ask(c, ADMISSION_RENEW, answered, &c->renewal, &err);
	if (rc < 0)
		failed(c, &err);
	else if (!c->renewal)
		renewed(c);
}
