/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What node's etcd is to do, and what it shows: the order as it was decided, completed by what only
 * this node knows, and published. Files lie in cluster/etcd of the state folder; node brings them
 * to where etcd may read them, whenever the order names others:
 *
 *   clients.crt, peers.crt   the two authorities (credentials.h)
 *   server.key               one key for both ports, made once, so that a new certificate fits
 *                            whichever of the two was read first
 *   server.crt, peer.crt     with this node's addresses, new each day: etcd reads them anew for
 *                            each connection
 *   revoked.crl              of nodes that were sent away, at the port for clients
 *
 * Who was sent away may have connections, which no list ends: etcd is started again then, on one
 * node after the other.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/credentials.h"
#include "scheduler/publish_table.h"

enum { FILES = CLUSTER_KEEP_ETCD, TURN_APART_S = 20, AGAIN_S = 10 };

/* Of cluster_keep_etcd. */
enum { CLIENTS, PEERS, KEY, SERVER, PEER, REVOKED };

/* ---- what it shows ---- */

static size_t
own_addresses(struct cluster *c, struct addr *out)
{
	const struct addr *ordered[] = {&c->order.client, &c->order.peer};
	size_t count = cluster_link_addresses(c, out, CREDENTIALS_ADDRESSES_MAX - 4);

	for (size_t i = 0; i < 2; i++) {
		bool known = ordered[i]->port == 0 || addr_is_zero(ordered[i]);

		for (size_t k = 0; k < count; k++)
			known |= addr_equal_ip(&out[k], ordered[i]);
		if (!known)
			out[count++] = *ordered[i];
	}
	/* This node's own scheduler comes by the loopback. */
	if (addr_parse_ip("127.0.0.1", &out[count]))
		count++;
	if (addr_parse_ip("::1", &out[count]))
		count++;
	for (size_t i = 0; i < count; i++)
		out[i].port = 0;
	return count;
}

static int
put_key(int folder, struct buf *pem, uint8_t public_key[IDENTITY_KEY], struct err *err)
{
	struct identity_keys keys;
	struct err ignored = {0};

	if (fd_read_file(folder, cluster_keep_etcd[KEY], pem, &ignored) == 0 &&
	    credentials_key_public(pem->data, pem->length, public_key))
		return 0;
	buf_reset(pem);
	if (identity_keys_new(&keys, err) < 0)
		return -1;
	memcpy(public_key, keys.sign_public, IDENTITY_KEY);
	int rc = credentials_put_key(keys.sign, pem, err);
	mem_wipe(&keys, sizeof(keys));
	return rc;
}

static int
put_leaf(struct cluster *c, enum credentials_authority of, const uint8_t *public_key,
	 struct buf *authority, struct buf *leaf, struct err *err)
{
	struct addr addresses[CREDENTIALS_ADDRESSES_MAX];
	const struct credentials_who who = {.node = c->keep.node,
					    .name = c->keep.name,
					    .sign_public = public_key,
					    .addresses = addresses,
					    .addresses_count = own_addresses(c, addresses)};
	struct identity_authority from;

	if (credentials_authority(&c->keep.authority, of, &from, err) < 0)
		return -1;
	int rc = credentials_put_authority(&from, authority, err);
	if (rc == 0)
		rc = credentials_issue(&from, of, &who, cluster_now_s(c), leaf, err);
	identity_authority_fini(&from);
	return rc;
}

static bool
was_sent_away(const struct cluster *c, const struct cluster_node *n)
{
	return n->row.removed == STORE_NODE_SENT_AWAY && n->row.node != c->keep.node;
}

static size_t
count_sent_away(const struct cluster *c)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(&c->nodes, &it))
		count += was_sent_away(c, it.value);
	return count;
}

static int
put_revoked(struct cluster *c, struct buf *out, struct err *err)
{
	uint32_t *nodes = mem_array(MEM_SCHEDULER, map_count(&c->nodes) + 1, sizeof(*nodes));
	struct identity_authority from;
	struct map_iter it = {0};
	size_t count = 0;

	if (!nodes)
		return err_set(err, ERR_NO_MEMORY, "no memory for a list of nodes");
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (was_sent_away(c, n))
			nodes[count++] = n->row.node;
	}
	int rc = credentials_authority(&c->keep.authority, CREDENTIALS_CLIENTS, &from, err);
	if (rc == 0) {
		rc = credentials_revoke(&from, CREDENTIALS_CLIENTS, nodes, count, cluster_now_s(c),
					out, err);
		identity_authority_fini(&from);
	}
	mem_free(nodes);
	return rc;
}

/* ---- files ---- */

static int
make_files(struct cluster *c, int folder, struct buf files[FILES], struct err *err)
{
	uint8_t public_key[IDENTITY_KEY];

	if (put_key(folder, &files[KEY], public_key, err) < 0 ||
	    put_leaf(c, CREDENTIALS_CLIENTS, public_key, &files[CLIENTS], &files[SERVER], err) <
		    0 ||
	    put_leaf(c, CREDENTIALS_PEERS, public_key, &files[PEERS], &files[PEER], err) < 0)
		return -1;
	return put_revoked(c, &files[REVOKED], err);
}

static int
keep_files(int folder, const struct buf files[FILES], char digest_out[MSG_ETCD_FILES],
	   struct err *err)
{
	uint8_t digests[FILES][SHA256_DIGEST_LENGTH], digest[SHA256_DIGEST_LENGTH];

	for (size_t i = 0; i < FILES; i++) {
		if (fd_replace(folder, cluster_keep_etcd[i], files[i].data, files[i].length, 0600,
			       err) < 0)
			return -1;
		SHA256(files[i].data, files[i].length, digests[i]);
	}
	SHA256((const uint8_t *)digests, sizeof(digests), digest);
	text_hex(digest, (MSG_ETCD_FILES - 1) / 2, digest_out, MSG_ETCD_FILES);
	return 0;
}

static int
write_files(struct cluster *c, struct err *err)
{
	struct buf files[FILES];
	int rc = -1;

	if (mkdirat(c->folder, cluster_keep_etcd_folder, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder of etcd's certificates");
	defer_close int folder = fd_open_beneath(c->folder, cluster_keep_etcd_folder,
						 O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (folder < 0)
		return err_sys(err, errno, "cannot open the folder of etcd's certificates");
	for (size_t i = 0; i < FILES; i++)
		buf_init(&files[i], MEM_SCHEDULER,
			 i == REVOKED ? CREDENTIALS_REVOKED_PEM_MAX : CREDENTIALS_PEM_MAX);
	if (make_files(c, folder, files, err) == 0)
		rc = keep_files(folder, files, c->order.files, err);
	if (files[KEY].data)
		mem_wipe(files[KEY].data, files[KEY].capacity);
	for (size_t i = 0; i < FILES; i++)
		buf_fini(&files[i]);
	return rc;
}

/* What the files were made of: another one, and they are made again. */
static void
mark_of(struct cluster *c, struct cluster_order_mark *out)
{
	struct addr addresses[CREDENTIALS_ADDRESSES_MAX] = {0};

	memset(out, 0, sizeof(*out));
	out->day = cluster_now_s(c) / CREDENTIALS_RENEW_S;
	out->sent_away = count_sent_away(c);
	out->addresses = own_addresses(c, addresses);
	SHA256((const uint8_t *)addresses, sizeof(addresses), out->digest);
}

static void
look_after_files(struct cluster *c, uint64_t now_ns)
{
	struct cluster_order_mark mark;
	struct err err = {0};

	if (c->order.life == 0 || !cluster_keeper(c) || now_ns < c->order_at_ns)
		return;
	mark_of(c, &mark);
	if (c->order.files[0] && memcmp(&mark, &c->order_mark, sizeof(mark)) == 0)
		return;
	if (write_files(c, &err) < 0) {
		log_err(LOG_WARN, "etcd has no new certificates", &err);
		c->order_at_ns = now_ns + (uint64_t)AGAIN_S * CLUSTER_SECOND_NS;
		return;
	}
	c->order_mark = mark;
	c->dirty = true;
}

/* ---- turns ---- */

/* Which of those that have a member of etcd comes when: keepers in the order of their ids. */
static uint64_t
rank(const struct cluster *c)
{
	struct map_iter it = {0};
	uint64_t before = 0;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		before += n->row.keeper && !n->row.removed && n->row.node < c->keep.node;
	}
	return before;
}

static void
look_after_turn(struct cluster *c, uint64_t now_ns)
{
	const struct msg_etcd *state = cluster_etcd_state(c);
	uint64_t wanted = count_sent_away(c);

	if (c->order.life == 0 || c->order.turn == wanted)
		return;
	/* A process that runs with fewer than are known goes on until it is its turn; one that does
	 * not run begins with all of them. */
	if (state && state->pid != 0 && state->life == c->order.life && state->turn != wanted) {
		if (c->turn_at_ns == 0)
			c->turn_at_ns = now_ns + (1 + rank(c) * TURN_APART_S) * CLUSTER_SECOND_NS;
		if (now_ns < c->turn_at_ns) {
			c->dirty |= c->order.turn != state->turn;
			c->order.turn = state->turn;
			return;
		}
	}
	c->turn_at_ns = 0;
	c->order.turn = wanted;
	c->dirty = true;
}

/* ---- the order ---- */

void
cluster_order_tick(struct cluster *c, uint64_t now_ns)
{
	if (!c->ordered)
		return;
	look_after_turn(c, now_ns);
	look_after_files(c, now_ns);
}

void
cluster_etcd_order(struct cluster *c, const struct msg_etcd_order *order)
{
	struct msg_etcd_order now = *order;

	now.turn = c->order.turn;
	memcpy(now.files, c->order.files, sizeof(now.files));
	if (c->ordered && memcmp(&now, &c->order, sizeof(now)) == 0)
		return;
	c->order = now;
	c->ordered = true;
	c->dirty = true;
	cluster_order_tick(c, world_mono_ns());
}

const struct msg_etcd *
cluster_etcd_state(const struct cluster *c)
{
	return c->m && c->m->supervisor ? ring_table_get(c->m->supervisor, MSG_TABLE_ETCD, 1)
					: NULL;
}

void
cluster_order_publish(struct cluster *c)
{
	static const struct msg_etcd_order nothing;
	struct publish_table t;

	/* Without a word what was ordered last goes on: a member that has yet to read what it is to
	 * do says none. */
	if (c->member && !c->ordered)
		return;
	publish_table_begin(&t, c->m, MSG_TABLE_ETCD_ORDER);
	publish_table_row(&t, 1, c->member ? &c->order : &nothing);
	publish_table_commit(&t);
}
