/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How this node speaks to the store's etcd: which members, with which certificates. Members are
 * those of the rows that it has a copy of, its own first; what other nodes say of theirs comes
 * beside them, for the copy may be old. Both change while the process lives: whoever holds a
 * connection is given the new ones.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/cluster_voters.h"
#include "scheduler/store_etcd.h"
#include "scheduler/voting.h"

#define OUTSIDE (UINT64_C(1) << 63) /* numbers of what is shown there */

/* ---- which members ---- */

static void
add(struct cluster_endpoints *e, const char *url)
{
	for (size_t i = 0; i < e->count; i++) {
		if (text_equal(e->urls[i], url))
			return;
	}
	if (e->count < ETCD_RPC_ENDPOINTS_MAX)
		text_copy(e->urls[e->count++], sizeof(e->urls[0]), url);
}

static void
add_address(struct cluster_endpoints *e, const char *address)
{
	char url[ETCD_RPC_URL_BYTES];

	voting_url(address, url);
	add(e, url);
}

static bool
serves(const struct store_voter *row)
{
	return row->phase == STORE_VOTER_BEGINS || row->phase == STORE_VOTER_VOTES;
}

static void
add_rows(struct cluster_endpoints *e, uint32_t self, const struct store_voter *rows, size_t count)
{
	size_t from = count ? self % count : 0;

	for (size_t i = 0; i < count; i++) {
		if (rows[i].node == self && serves(&rows[i]))
			add_address(e, rows[i].client);
	}
	for (size_t i = 0; i < count; i++) {
		const struct store_voter *row = &rows[(from + i) % count];

		if (serves(row))
			add_address(e, row->client);
	}
}

/* Of the etcd that the rows are about, or that came after them. One that only learns answers
 * nothing; one of another life is what is left of a member that was removed, or given up. */
static bool
is_member(const struct cluster *c, const struct cluster_node *n)
{
	const struct store_voter *row = cluster_voters_row(c, n->row.node);
	uint32_t both = TIDINGS_VOTER_UP | TIDINGS_VOTER_VOTES;

	return !n->row.removed && n->has_voter && n->voter.client.port &&
	       (n->voter.flags & both) == both && n->voter.term >= cluster_recover_term(c) &&
	       (!row || row->life == n->voter.life);
}

/* What others say of themselves, and no row says yet. */
static void
add_heard(struct cluster *c, struct cluster_endpoints *e)
{
	struct map_iter it = {0};
	char text[ADDR_TEXT_BYTES];

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (!is_member(c, n))
			continue;
		addr_put(&n->voter.client, text, sizeof(text));
		add_address(e, text);
	}
}

/* Of the store's own rows, before there is a roster. */
static int
endpoints_of(struct cluster *c, struct store *rows, struct cluster_endpoints *out, struct err *err)
{
	struct buf voters;

	memset(out, 0, sizeof(*out));
	if (c->etcd_outside)
		return 0; /* node tells later */
	buf_init(&voters, MEM_SCHEDULER, VOTING_ROWS_MAX * sizeof(struct store_voter));
	int rc = cluster_store_rows(rows, STORE_VOTER, &voters, err);
	if (rc == 0)
		add_rows(out, c->keep.node, (const void *)voters.data,
			 voters.length / sizeof(struct store_voter));
	buf_fini(&voters);
	return rc;
}

void
cluster_etcd_endpoints(struct cluster *c, struct cluster_endpoints *out)
{
	const struct cluster_voters *v = &c->voters;

	if (cluster_outside_is(c)) {
		cluster_outside_endpoints(c, out);
		return;
	}
	memset(out, 0, sizeof(*out));
	add_rows(out, c->keep.node, v->rows, v->rows_count);
	if (c->etcd)
		add_heard(c, out);
}

/* ---- with which certificates ---- */

static void
fill(struct cluster *c, const struct cluster_endpoints *e, const struct cluster_tls *tls,
     const char *urls[ETCD_RPC_ENDPOINTS_MAX], struct etcd_rpc_options *out)
{
	for (size_t i = 0; i < e->count; i++)
		urls[i] = e->urls[i];
	*out = (struct etcd_rpc_options){
		.loop = station_loop(c->st),
		.endpoints = urls,
		.endpoints_count = e->count,
		.authorities = tls->authorities,
		.certificate = tls->certificate,
		.key = tls->key,
	};
	if (cluster_outside_is(c))
		cluster_outside_fill(c, out);
}

/* What this node shows to whom it speaks to. */
static int
shown(struct cluster *c, struct cluster_tls *out, struct err *err)
{
	if (!cluster_outside_is(c))
		return cluster_tls(c, out, err);
	if (!cluster_outside_had(c)) {
		*err = c->outside.why;
		return -1;
	}
	*out = (struct cluster_tls){.number = c->outside.number | OUTSIDE};
	return 0;
}

int
cluster_etcd_rpc(struct cluster *c, struct etcd_rpc **rpc, const struct cluster_endpoints *e,
		 struct err *err)
{
	const char *urls[ETCD_RPC_ENDPOINTS_MAX];
	struct cluster_tls tls;
	struct etcd_rpc_options options;

	if (shown(c, &tls, err) < 0)
		return -1;
	fill(c, e, &tls, urls, &options);
	return *rpc ? etcd_rpc_renew(*rpc, &options, err) : etcd_rpc_open(&options, rpc, err);
}

/* ---- the store ---- */

void
cluster_etcd_prefix(const struct cluster *c, char out[STORE_ETCD_PREFIX_BYTES])
{
	const char *before = cluster_outside_is(c) ? c->config->store.etcd.prefix : "/zlayer/";
	char id[2 * IDENTITY_CLUSTER + 1];

	text_hex(c->keep.authority.cluster, IDENTITY_CLUSTER, id, sizeof(id));
	text_format(out, STORE_ETCD_PREFIX_BYTES, "%.63s%.32s/", before, id);
}

int
cluster_etcd_open(struct cluster *c, const struct cluster_endpoints *e, bool existing,
		  struct store *copy, struct store **out, struct err *err)
{
	const char *urls[ETCD_RPC_ENDPOINTS_MAX];
	char prefix[STORE_ETCD_PREFIX_BYTES];
	struct store_etcd_options options = {.prefix = prefix, .existing = existing};
	struct cluster_tls tls = {0};
	struct err none = {0};

	cluster_etcd_prefix(c, prefix);
	/* Without certificates it can be read, and says why it cannot be changed. */
	if (shown(c, &tls, &none) < 0)
		log_err(LOG_WARN, "this node cannot speak to the store yet", &none);
	fill(c, e, &tls, urls, &options.rpc);
	return store_etcd_open(&options, copy, out, err);
}

int
cluster_etcd_store(struct cluster *c, struct store *rows, struct store **out, struct err *err)
{
	struct cluster_endpoints e;

	if (endpoints_of(c, rows, &e, err) < 0) {
		store_free(rows);
		return -1;
	}
	c->etcd = true;
	return cluster_etcd_open(c, &e, true, rows, out, err);
}

/* It is not known any more where etcd is, or not yet. */
static void
cut_off(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	const struct etcd_rpc_options nowhere = {.loop = station_loop(c->st)};
	struct err err = {0};

	if (!c->etcd || text_equal(v->none, c->outside.why.what))
		return;
	text_copy(v->none, sizeof(v->none), c->outside.why.what);
	memset(&v->endpoints, 0, sizeof(v->endpoints));
	if (store_etcd_renew(c->m->store, &nowhere, &err) < 0)
		log_err(LOG_WARN, "the store's members are not forgotten", &err);
	store_etcd_none(c->m->store, &c->outside.why);
}

/* Whoever has connections is given what is right now. */
void
cluster_etcd_renew(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	const char *urls[ETCD_RPC_ENDPOINTS_MAX];
	struct cluster_tls tls;
	struct etcd_rpc_options options;
	struct cluster_endpoints e;
	struct err err = {0};

	cluster_etcd_endpoints(c, &e);
	if (cluster_outside_is(c) && !cluster_outside_had(c)) {
		cut_off(c);
		return;
	}
	if (e.count == 0 || shown(c, &tls, &err) < 0 ||
	    (memcmp(&e, &v->endpoints, sizeof(e)) == 0 && v->tls == tls.number))
		return;
	fill(c, &e, &tls, urls, &options);
	int rc = v->rpc ? etcd_rpc_renew(v->rpc, &options, &err)
			: etcd_rpc_open(&options, &v->rpc, &err);
	if (rc == 0 && c->etcd)
		rc = store_etcd_renew(c->m->store, &options, &err);
	if (rc < 0) { /* once: it is tried again and again */
		if (!text_equal(v->none, err.what))
			log_err(LOG_WARN, "the store's members are not known to all of this node",
				&err);
		text_copy(v->none, sizeof(v->none), err.what);
		return;
	}
	v->endpoints = e;
	v->tls = tls.number;
	v->none[0] = '\0';
}
