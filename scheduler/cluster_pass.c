/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this node calls the cluster's etcd with: a certificate of three days for its own key, a new
 * one each day. Who has the authority's key makes it himself; all others ask for it, as soon as
 * they are members, so that it is there when the store moves. It is kept, so that a node that
 * starts while nobody can be asked still has the last one.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/credentials.h"

static const char not_had[] = "there is no new certificate to call the store with";

static void
init(struct cluster_pass *p)
{
	memset(p, 0, sizeof(*p));
	buf_init(&p->leaf, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
	buf_init(&p->authority, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
	buf_init(&p->key, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
}

static void
fini(struct cluster_pass *p)
{
	if (p->key.data)
		mem_wipe(p->key.data, p->key.capacity);
	buf_fini(&p->leaf);
	buf_fini(&p->authority);
	buf_fini(&p->key);
	memset(p, 0, sizeof(*p));
}

/* Texts of C, for libcurl; checked before they are believed. p is ours if it holds. */
static int
take(struct cluster *c, struct cluster_pass *p, struct err *err)
{
	const struct credentials_pem pem = {p->leaf.data, p->leaf.length, p->authority.data,
					    p->authority.length};

	if (!buf_ok(&p->leaf) || !buf_ok(&p->authority))
		return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
	if (credentials_check(&c->keep.authority, CREDENTIALS_CLIENTS, &pem,
			      c->keep.keys.sign_public, cluster_now_s(c), &p->since_s, err) < 0 ||
	    credentials_put_key(c->keep.keys.sign, &p->key, err) < 0)
		return -1;
	buf_u8(&p->leaf, 0);
	buf_u8(&p->authority, 0);
	buf_u8(&p->key, 0);
	if (!buf_ok(&p->leaf) || !buf_ok(&p->authority) || !buf_ok(&p->key))
		return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
	p->number = c->pass.number + 1;
	fini(&c->pass);
	c->pass = *p;
	init(p);
	return 0;
}

/* ---- kept ---- */

void
cluster_pass_open(struct cluster *c)
{
	struct cluster_pass p;
	struct err err = {0};

	init(&p);
	if (cluster_keep_get_pass(c->folder, &p.leaf, &p.authority, &err) < 0 ||
	    take(c, &p, &err) < 0)
		err_clear(&err); /* another one is had */
	fini(&p);
}

static void
keep(struct cluster *c)
{
	struct err err = {0};

	if (cluster_keep_put_pass(c->folder, &c->pass.leaf, &c->pass.authority, &err) < 0)
		log_err(LOG_WARN, "the certificate to call the store with is not kept", &err);
}

/* ---- made ---- */

static int
issue(struct cluster *c, struct err *err)
{
	const struct credentials_who who = {.node = c->keep.node,
					    .name = c->keep.name,
					    .sign_public = c->keep.keys.sign_public};
	struct identity_authority from;
	struct cluster_pass p;

	if (credentials_authority(&c->keep.authority, CREDENTIALS_CLIENTS, &from, err) < 0)
		return -1;
	init(&p);
	int rc =
		credentials_issue(&from, CREDENTIALS_CLIENTS, &who, cluster_now_s(c), &p.leaf, err);
	if (rc == 0)
		rc = credentials_put_authority(&from, &p.authority, err);
	if (rc == 0)
		rc = take(c, &p, err);
	fini(&p);
	identity_authority_fini(&from);
	return rc;
}

/* ---- asked for ---- */

static int
take_answer(struct cluster *c, const struct admission_answer *answer, struct err *err)
{
	struct cluster_pass p;

	init(&p);
	buf_put(&p.leaf, answer->chain, answer->chain_bytes);
	buf_put(&p.authority, answer->authority, answer->authority_bytes);
	int rc = take(c, &p, err);
	fini(&p);
	return rc;
}

static void
answered(void *arg, const struct admission_answer *answer, const struct identity *from,
	 const struct addr *address, const struct err *failure)
{
	struct cluster *c = arg;
	struct err err = {0};

	(void)from;
	(void)address;
	if (failure) {
		cluster_asking_failed(&c->passing, not_had, failure);
	} else if (!answer->admitted) {
		cluster_asking_failed(&c->passing, not_had, &answer->refused);
	} else if (take_answer(c, answer, &err) < 0) {
		cluster_asking_failed(&c->passing, not_had, &err);
	} else {
		cluster_asking_done(&c->passing);
		keep(c);
	}
	cluster_asking_end(&c->passing);
}

/* ---- when ---- */

static bool
is_fresh(const struct cluster *c)
{
	int64_t age_s = cluster_now_s(c) - c->pass.since_s;

	return c->pass.number != 0 && age_s < CREDENTIALS_RENEW_S && age_s > -CREDENTIALS_RENEW_S;
}

void
cluster_pass_tick(struct cluster *c, uint64_t now_ns)
{
	struct err err = {0};

	if (is_fresh(c) || c->leave || c->over || !cluster_asking_due(&c->passing, now_ns))
		return;
	if (!cluster_keeper(c)) {
		if (c->shell)
			cluster_asking_begin(c, &c->passing, ADMISSION_STORE, answered, not_had);
	} else if (issue(c, &err) < 0) {
		cluster_asking_failed(&c->passing, not_had, &err);
	} else {
		cluster_asking_done(&c->passing);
	}
}

void
cluster_pass_end(struct cluster *c)
{
	cluster_asking_end(&c->passing);
	fini(&c->pass);
}

int
cluster_tls(struct cluster *c, struct cluster_tls *out, struct err *err)
{
	struct err failed = {0};

	if (cluster_keeper(c) && !is_fresh(c) && issue(c, &failed) < 0)
		log_err(LOG_WARN, not_had, &failed);
	if (!c->member || c->pass.number == 0) {
		err_set(err, ERR_NOT_FOUND, "this node has no certificate to call the store with");
		return err_why(err, "it is asked for at nodes that admit others");
	}
	*out = (struct cluster_tls){.authorities = (const char *)c->pass.authority.data,
				    .certificate = (const char *)c->pass.leaf.data,
				    .key = (const char *)c->pass.key.data,
				    .number = c->pass.number};
	return 0;
}
