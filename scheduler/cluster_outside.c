/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one node has to do with an etcd that somebody else keeps. Nobody is made a voter and nothing
 * is run: the node that writes looks whether etcd takes changes and has nothing of this cluster,
 * and whether every node that lives names one too; then its store is sealed and moved as into
 * an etcd of the cluster's own (cluster_move.c).
 *
 * Files are asked for again and again, so that a renewed certificate counts, and soon when etcd
 * does not let this node in. One that cannot be read any more changes nothing: what was read before
 * is used on.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum {
	FILE_BYTES = 256 << 10,
	ASK_AGAIN_MS = 2000, /* while they are not here, or not right */
	ASK_LATER_MS = 30000,
};

#define MS UINT64_C(1000000)

static bool
is_named(const struct cluster *c)
{
	return c->config->store.etcd.endpoints_count > 0;
}

bool
cluster_outside_is(const struct cluster *c)
{
	if (c->etcd)
		return c->etcd_outside;
	return c->row.moving ? c->row.outside != 0 : is_named(c);
}

bool
cluster_outside_had(const struct cluster *c)
{
	return is_named(c) && c->outside.here;
}

/* ---- files ---- */

static void
not_named(struct err *err)
{
	memset(err, 0, sizeof(*err));
	err_set(err, ERR_UNREACHABLE, "this node's node.yaml does not say where the etcd is");
	err_why(err, "the store of this cluster is in an etcd that is not its own");
	err_fix(err, "give it store.etcd, as on the other nodes, then: systemctl reload zlayer");
}

static void
not_here(struct cluster *c)
{
	struct cluster_outside *o = &c->outside;

	if (!is_named(c)) {
		o->here = false;
		not_named(&o->why);
	} else if (!o->here) {
		memset(&o->why, 0, sizeof(o->why));
		err_set(&o->why, ERR_UNREACHABLE, "the files of store.etcd are not here yet");
	}
}

void
cluster_outside_open(struct cluster *c)
{
	for (size_t i = 0; i < CLUSTER_OUTSIDE_FILES; i++)
		buf_init(&c->outside.files[i], MEM_SCHEDULER, FILE_BYTES);
	text_copy(c->outside.prefix, sizeof(c->outside.prefix), c->config->store.etcd.prefix);
	c->outside.named = c->config->store.etcd;
	not_here(c);
}

static void
wipe(struct buf *b)
{
	if (b->data)
		mem_wipe(b->data, b->capacity);
	buf_fini(b);
	buf_init(b, MEM_SCHEDULER, FILE_BYTES);
}

void
cluster_outside_end(struct cluster *c)
{
	for (size_t i = 0; i < CLUSTER_OUTSIDE_FILES; i++) {
		wipe(&c->outside.files[i]);
		buf_fini(&c->outside.files[i]);
	}
}

void
cluster_outside_configured(struct cluster *c)
{
	struct cluster_outside *o = &c->outside;

	o->asked_ns = 0;
	o->empty_until_ns = 0; /* it may be another one */
	if (memcmp(&o->named, &c->config->store.etcd, sizeof(o->named)) != 0) {
		o->named = c->config->store.etcd;
		o->number++;
	}
	not_here(c);
	/* Of all keys, for good. */
	if (c->etcd && c->etcd_outside && is_named(c) &&
	    !text_equal(o->prefix, c->config->store.etcd.prefix))
		cluster_renew_process(c);
}

/* etcd does not let this node in: a password or a certificate may be new. */
static bool
is_denied(const struct cluster *c)
{
	const struct cluster_voters *v = &c->voters;

	return c->etcd ? !v->writable && v->why.kind == ERR_DENIED : v->step_err.kind == ERR_DENIED;
}

void
cluster_outside_tick(struct cluster *c, uint64_t now_ns)
{
	struct cluster_outside *o = &c->outside;
	struct leash_message m;
	struct err err = {0};

	uint64_t pause_ms = o->here && !is_denied(c) ? ASK_LATER_MS : ASK_AGAIN_MS;

	if (!is_named(c) || (o->asked_ns && now_ns - o->asked_ns < pause_ms * MS))
		return;
	o->asked_ns = now_ns;
	leash_init(&m, LEASH_STORE);
	m.to_role = ROLE_NODE;
	m.id = ++o->asked;
	if (station_send(c->st, &m, NULL, 0, &err) < 0)
		log_err(LOG_WARN, "the files of store.etcd were not asked for", &err);
}

static int
cannot_read(const char *key, const char *path, struct err *err)
{
	err_set(err, ERR_UNREACHABLE, "%s cannot be read", path);
	err_why(err, "store.etcd.%s of node.yaml names it", key);
	return err_fix(err, "it is to be a file that is not empty, of at most %d KiB",
		       FILE_BYTES >> 10);
}

static int
read_one(const char *key, const char *path, int fd, struct buf *out, struct err *err)
{
	struct err ignored = {0};

	if (!path[0])
		return 0;
	if (fd < 0 || fd_read_all(fd, out, &ignored) < 0 || !out->length ||
	    memchr(out->data, '\0', out->length))
		return cannot_read(key, path, err);
	while (out->length &&
	       (out->data[out->length - 1] == '\n' || out->data[out->length - 1] == '\r'))
		out->length--; /* of a password it is no part */
	buf_u8(out, 0);
	return buf_ok(out) ? 0 : cannot_read(key, path, err);
}

static bool
same(const struct buf *a, const struct buf *b)
{
	return a->length == b->length && (!a->length || !memcmp(a->data, b->data, a->length));
}

/* fresh is ours. */
static void
take(struct cluster_outside *o, struct buf fresh[CLUSTER_OUTSIDE_FILES])
{
	bool changed = !o->here;

	for (size_t i = 0; i < CLUSTER_OUTSIDE_FILES; i++) {
		struct buf was = o->files[i];

		changed |= !same(&was, &fresh[i]);
		o->files[i] = fresh[i];
		fresh[i] = was;
	}
	o->number += changed;
	o->here = true;
	err_clear(&o->why);
}

void
cluster_outside_files(struct cluster *c, const struct leash_message *m, const int *fds,
		      size_t count)
{
	static const char *const keys[CLUSTER_OUTSIDE_FILES] = {"ca", "cert", "key",
								"password_file"};
	const struct config_store_etcd *e = &c->config->store.etcd;
	const char *const paths[CLUSTER_OUTSIDE_FILES] = {e->ca, e->cert, e->key, e->password_file};
	struct cluster_outside *o = &c->outside;
	struct buf fresh[CLUSTER_OUTSIDE_FILES];
	struct err err = {0};
	size_t used = 0;
	int rc = 0;

	if (m->id != o->asked || !is_named(c))
		return;
	for (size_t i = 0; i < CLUSTER_OUTSIDE_FILES; i++) {
		int fd = m->a >> i & 1 && used < count ? fds[used++] : -1;

		buf_init(&fresh[i], MEM_SCHEDULER, FILE_BYTES);
		if (rc == 0)
			rc = read_one(keys[i], paths[i], fd, &fresh[i], &err);
	}
	if (rc == 0)
		take(o, fresh);
	else if (!o->here)
		o->why = err;
	for (size_t i = 0; i < CLUSTER_OUTSIDE_FILES; i++) {
		wipe(&fresh[i]);
		buf_fini(&fresh[i]);
	}
	if (rc < 0)
		log_err(LOG_WARN, "a file of store.etcd cannot be read", &err);
	c->dirty = true;
	if (c->member && c->m)
		cluster_etcd_renew(c);
}

/* ---- connections ---- */

void
cluster_outside_endpoints(const struct cluster *c, struct cluster_endpoints *out)
{
	const struct config_store_etcd *e = &c->config->store.etcd;

	memset(out, 0, sizeof(*out));
	if (!cluster_outside_had(c))
		return;
	/* Each node begins with another one. */
	for (uint32_t i = 0; i < e->endpoints_count; i++)
		text_copy(out->urls[out->count++], sizeof(out->urls[0]),
			  e->endpoints[(i + c->keep.node) % e->endpoints_count].text);
}

static const char *
text_of(const struct buf *file)
{
	return file->length ? (const char *)file->data : NULL;
}

void
cluster_outside_fill(const struct cluster *c, struct etcd_rpc_options *out)
{
	const struct cluster_outside *o = &c->outside;

	out->authorities = text_of(&o->files[0]);
	out->certificate = text_of(&o->files[1]);
	out->key = text_of(&o->files[2]);
	out->password = text_of(&o->files[3]);
	out->user = c->config->store.etcd.user;
	out->trust_fix =
		"store.etcd.ca of node.yaml is to be the authority of its certificate, which "
		"names its address; cert and key are to be of an authority that it trusts";
}

int
cluster_outside_rank(const struct cluster *c)
{
	struct map_iter it = {0};
	int before = 0;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		before += n->row.node < c->keep.node && !n->row.removed &&
			  (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT);
	}
	return before;
}

/* ---- for people ---- */

/* One that lives and does not name it; NULL. */
static const struct cluster_node *
who_does_not(const struct cluster *c)
{
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node != c->keep.node && !n->row.removed &&
		    (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT) &&
		    !(n->voter.flags & TIDINGS_VOTER_NAMES))
			return n;
	}
	return NULL;
}

void
cluster_outside_note(const struct cluster *c, char *out, size_t cap)
{
	const struct cluster_node *other = who_does_not(c);

	if (c->etcd || !is_named(c))
		return;
	if (other)
		text_format(out, cap, "it moves into the etcd of node.yaml when %s names it, too",
			    other->row.name);
	else
		text_copy(out, cap, "it is to move into the etcd of node.yaml");
}

void
cluster_outside_trouble(const struct cluster *c, struct msg_reason *out)
{
	struct err err = {0};

	if (!is_named(c) || (c->member && c->etcd && c->etcd_outside))
		return;
	if (!c->member) {
		err_set(&err, ERR_CONFLICT, "store.etcd of node.yaml is not used yet");
		err_why(&err, "this node is in no cluster: its store is a file");
		err_fix(&err, "zlayer invite begins a cluster, zlayer join enters one");
	} else if (c->etcd) {
		err_set(&err, ERR_CONFLICT, "store.etcd of node.yaml is not used");
		err_why(&err, "this cluster keeps an etcd of its own");
		err_fix(&err,
			"take it out of node.yaml; or restore a backup of this cluster in one "
			"that began with it");
	} else if (c->outside.why.kind) {
		err = c->outside.why;
	} else if (c->voters.step_err.kind && cluster_writer(c) == c->keep.node) {
		err = c->voters.step_err;
	}
	if (err.kind)
		msg_reason_from(&err, out);
}

void
cluster_outside_where(const struct cluster *c, char *out, size_t cap)
{
	const struct config_store_etcd *e = &c->config->store.etcd;

	out[0] = '\0';
	if (!c->member || !c->etcd || !c->etcd_outside)
		return;
	if (e->endpoints_count > 1)
		text_format(out, cap, "%s and %u more", e->endpoints[0].text,
			    e->endpoints_count - 1);
	else
		text_copy(out, cap, e->endpoints_count ? e->endpoints[0].text : "an unknown place");
}
