/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a node's membership. A change of several files has one that counts, written or removed
 * last when something comes to be, first when it ends: `identity` for a member, `left` for one that
 * has left. What is found beside them after a crash is of no meaning and goes with the next change.
 * Each file ends with a digest of what is before, so that a damaged one is refused, not believed.
 */
#include "scheduler/cluster_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum {
	MAGIC = 0x44494c5a, /* "ZLID" */
	VERSION = 1,
	FOUNDER = 1,
	SMALL_FILE = 4096,
	SECOND_NS = 1000000000,
	MILLI_NS = 1000000,
	SESSION_DRAWN = 20, /* bits of a session that say nothing */
};

static const char identity_file[] = "identity";
static const char joining_file[] = "joining";
static const char nodes_file[] = "nodes";
static const char session_file[] = "session";
static const char incarnation_file[] = "incarnation";
static const char claims_file[] = "claims"; /* placing.h */
static const char left_file[] = "left";
static const char pass_file[] = "pass";

const char cluster_keep_instance[] = "instance";
const char cluster_keep_twin[] = "twin";

const char cluster_keep_etcd_folder[] = "etcd";
const char *const cluster_keep_etcd[CLUSTER_KEEP_ETCD] = {
	"clients.crt", "peers.crt", "server.key", "server.crt", "peer.crt", "revoked.crl"};

void
cluster_keep_init(struct cluster_keep *k)
{
	memset(k, 0, sizeof(*k));
	buf_init(&k->chain, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
}

void
cluster_keep_fini(struct cluster_keep *k)
{
	identity_authority_fini(&k->authority);
	buf_fini(&k->chain);
	mem_wipe(&k->keys, sizeof(k->keys));
	cluster_keep_init(k);
}

int
cluster_keep_open(int state, int *folder_out, struct err *err)
{
	static const char name[] = "cluster";

	if (mkdirat(state, name, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder of the cluster");
	*folder_out = fd_open_beneath(state, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (*folder_out < 0)
		return err_sys(err, errno, "cannot open the folder of the cluster");
	return 0;
}

bool
cluster_keep_is_member(int state)
{
	return faccessat(state, "cluster/identity", F_OK, 0) == 0;
}

/* ---- sealed with a digest ---- */

static void
wipe(struct buf *b)
{
	if (b->data)
		mem_wipe(b->data, b->capacity);
	buf_fini(b);
}

static int
write_file(int folder, const char *name, struct buf *b, struct err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (buf_ok(b)) {
		SHA256(b->data, b->length, digest);
		buf_put(b, digest, sizeof(digest));
	}
	if (!buf_ok(b))
		return err_set(err, ERR_NO_MEMORY, "cannot write cluster/%s", name);
	return fd_replace(folder, name, b->data, b->length, 0600, err);
}

static int
damaged(struct err *err, const char *name)
{
	err_set(err, ERR_CORRUPT, "the file cluster/%s in the state folder is damaged", name);
	return err_fix(err,
		       "bring it back from a backup of this node, or move the folder away: the "
		       "node is in no cluster then");
}

/* c is over the bytes without their digest. */
static int
read_file(int folder, const char *name, struct buf *b, struct cursor *c, struct err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (fd_read_file(folder, name, b, err) < 0)
		return -1;
	if (b->length < sizeof(digest))
		return damaged(err, name);
	size_t bytes = b->length - sizeof(digest);
	SHA256(b->data, bytes, digest);
	if (memcmp(digest, b->data + bytes, sizeof(digest)) != 0)
		return damaged(err, name);
	cursor_init(c, b->data, bytes);
	return 0;
}

static void
remove_file(int folder, const char *name)
{
	(void)unlinkat(folder, name, 0);
}

/* ---- keys ---- */

static void
put_keys(const struct identity_keys *keys, struct buf *b)
{
	buf_put(b, keys->sign, IDENTITY_KEY);
	buf_put(b, keys->sign_public, IDENTITY_KEY);
	buf_put(b, keys->gossip, IDENTITY_KEY);
	buf_put(b, keys->gossip_public, IDENTITY_KEY);
}

static void
take_bytes(struct cursor *c, void *out, size_t bytes)
{
	const void *at = cursor_take(c, bytes);

	if (at)
		memcpy(out, at, bytes);
}

static void
take_keys(struct cursor *c, struct identity_keys *out)
{
	take_bytes(c, out->sign, IDENTITY_KEY);
	take_bytes(c, out->sign_public, IDENTITY_KEY);
	take_bytes(c, out->gossip, IDENTITY_KEY);
	take_bytes(c, out->gossip_public, IDENTITY_KEY);
}

/* ---- identity ---- */

static int
put_authority(const struct identity_authority *a, struct buf *b, struct err *err)
{
	struct secret pem = {0};
	struct buf der;

	buf_init(&der, MEM_SCHEDULER, IDENTITY_CERTIFICATE_MAX);
	int rc = identity_authority_der(a, &der, err);
	if (rc == 0 && a->key)
		rc = identity_authority_export(a, &pem, err);
	if (rc == 0) {
		buf_blob(b, der.data, der.length);
		buf_blob(b, pem.data, pem.length);
	}
	if (pem.data)
		secret_fini(&pem);
	buf_fini(&der);
	return rc;
}

int
cluster_keep_write(int folder, const struct cluster_keep *k, struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	buf_u32(&b, MAGIC);
	buf_u32(&b, VERSION);
	buf_u32(&b, k->node);
	buf_u32(&b, k->founder ? FOUNDER : 0);
	buf_u64(&b, (uint64_t)k->since_s);
	buf_u32(&b, k->via);
	buf_put(&b, k->via_address.ip, sizeof(k->via_address.ip));
	buf_u16(&b, k->via_address.port);
	buf_blob(&b, k->name, strlen(k->name));
	put_keys(&k->keys, &b);
	buf_blob(&b, k->chain.data, k->chain.length);
	int rc = put_authority(&k->authority, &b, err);
	if (rc == 0)
		rc = write_file(folder, identity_file, &b, err);
	wipe(&b);
	return rc;
}

static int
take_authority(struct cursor *c, struct identity_authority *out, struct err *err)
{
	size_t der_bytes = 0, pem_bytes = 0;
	const void *der = cursor_blob(c, IDENTITY_CERTIFICATE_MAX, &der_bytes);
	const void *pem = cursor_blob(c, SMALL_FILE, &pem_bytes);
	struct secret secret;

	if (!der || !pem)
		return damaged(err, identity_file);
	if (pem_bytes == 0)
		return identity_authority_of(out, der, der_bytes, NULL, err);
	if (secret_from(&secret, pem, pem_bytes, err) < 0)
		return -1;
	int rc = identity_authority_import(out, &secret, err);
	secret_fini(&secret);
	return rc;
}

static int
take_identity(struct cursor *c, struct cluster_keep *k, struct err *err)
{
	size_t name_bytes = 0, chain_bytes = 0;

	if (cursor_u32(c) != MAGIC)
		return damaged(err, identity_file);
	uint32_t version = cursor_u32(c);
	if (version != VERSION) {
		err_set(err, ERR_UNSUPPORTED, "cluster/%s is of version %u", identity_file,
			version);
		return err_fix(err, "start the version of zlayer that wrote it, or a newer one");
	}
	k->node = cursor_u32(c);
	k->founder = cursor_u32(c) & FOUNDER;
	k->since_s = (int64_t)cursor_u64(c);
	k->via = cursor_u32(c);
	take_bytes(c, k->via_address.ip, sizeof(k->via_address.ip));
	k->via_address.port = cursor_u16(c);
	const char *name = cursor_blob(c, sizeof(k->name) - 1, &name_bytes);
	take_keys(c, &k->keys);
	const void *chain = cursor_blob(c, CLUSTER_KEEP_MAX, &chain_bytes);
	if (!name || !chain || k->node == 0)
		return damaged(err, identity_file);
	memcpy(k->name, name, name_bytes);
	buf_put(&k->chain, chain, chain_bytes);
	if (!buf_ok(&k->chain))
		return err_set(err, ERR_NO_MEMORY, "cannot read cluster/%s", identity_file);
	if (take_authority(c, &k->authority, err) < 0)
		return -1;
	return cursor_done(c) && admission_name_fits(k->name) ? 0 : damaged(err, identity_file);
}

int
cluster_keep_read(int folder, struct cluster_keep *k, struct err *err)
{
	struct cursor c;
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	int rc = read_file(folder, identity_file, &b, &c, err);
	if (rc == 0)
		rc = take_identity(&c, k, err);
	if (rc < 0)
		cluster_keep_fini(k);
	wipe(&b);
	return rc;
}

const void *
cluster_keep_leaf(const void *chain, size_t chain_bytes, size_t *bytes_out)
{
	struct cursor c;

	cursor_init(&c, chain, chain_bytes);
	return cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, bytes_out);
}

/* ---- session ---- */

int
cluster_keep_session(int folder, int64_t wall_ns, uint64_t *out, struct err *err)
{
	uint64_t before = 0, clock = wall_ns > 0 ? (uint64_t)wall_ns / MILLI_NS : 0;
	struct world world;
	struct cursor c;
	struct buf b;

	/* When a node began can be guessed. */
	world_real(&world);
	clock = clock << SESSION_DRAWN | world_random_u64(&world) >> (64 - SESSION_DRAWN);
	buf_init(&b, MEM_SCHEDULER, SMALL_FILE);
	int rc = read_file(folder, session_file, &b, &c, err);
	if (rc == 0) {
		before = cursor_u64(&c);
	} else if (err->kind == ERR_NOT_FOUND || err->kind == ERR_CORRUPT) {
		err_clear(err); /* the clock says enough */
		rc = 0;
	}
	*out = before >= clock ? before + 1 : clock;
	buf_reset(&b);
	buf_u64(&b, *out);
	if (rc == 0)
		rc = write_file(folder, session_file, &b, err);
	buf_fini(&b);
	return rc;
}

int
cluster_keep_session_above(int folder, uint64_t session, struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_FILE);
	buf_u64(&b, session);
	int rc = write_file(folder, session_file, &b, err);
	buf_fini(&b);
	return rc;
}

/* ---- joining ---- */

static int
read_joining(int folder, const struct ticket *t, struct identity_keys *out)
{
	uint8_t cluster[TICKET_CLUSTER] = {0};
	struct err ignored = {0};
	struct cursor c;
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_FILE);
	int rc = read_file(folder, joining_file, &b, &c, &ignored);
	if (rc == 0) {
		take_bytes(&c, cluster, sizeof(cluster));
		take_keys(&c, out);
		rc = cursor_done(&c) && memcmp(cluster, t->cluster, sizeof(cluster)) == 0 ? 0 : -1;
	}
	wipe(&b);
	return rc;
}

int
cluster_keep_joining(int folder, const struct ticket *t, struct identity_keys *out, struct err *err)
{
	struct buf b;

	if (read_joining(folder, t, out) == 0)
		return 0;
	if (identity_keys_new(out, err) < 0)
		return -1;
	buf_init(&b, MEM_SCHEDULER, SMALL_FILE);
	buf_put(&b, t->cluster, sizeof(t->cluster));
	put_keys(out, &b);
	int rc = write_file(folder, joining_file, &b, err);
	wipe(&b);
	return rc;
}

void
cluster_keep_not_joining(int folder)
{
	remove_file(folder, joining_file);
}

/* ---- the list of nodes ---- */

/* In the form of an answer to a question for admission, which has a codec already. */
int
cluster_keep_put_nodes(int folder, const struct admission_node *nodes, size_t count,
		       struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, CLUSTER_KEEP_NODES_MAX);
	admission_put_answer(1, "", 0, "", 0, nodes, count, &b);
	int rc = write_file(folder, nodes_file, &b, err);
	buf_fini(&b);
	return rc;
}

int
cluster_keep_get_nodes(int folder, struct buf *bytes, struct admission_answer *out, struct err *err)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	if (read_file(folder, nodes_file, bytes, &c, err) < 0)
		return -1;
	(void)cursor_u32(&c); /* its length */
	return admission_take_answer(c.at, cursor_left(&c), out, err);
}

/* ---- to call the store with ---- */

int
cluster_keep_put_pass(int folder, const struct buf *leaf, const struct buf *authority,
		      struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	buf_blob(&b, leaf->data, leaf->length);
	buf_blob(&b, authority->data, authority->length);
	int rc = write_file(folder, pass_file, &b, err);
	buf_fini(&b);
	return rc;
}

int
cluster_keep_get_pass(int folder, struct buf *leaf, struct buf *authority, struct err *err)
{
	size_t leaf_bytes = 0, authority_bytes = 0;
	struct cursor c;
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, CLUSTER_KEEP_MAX);
	int rc = read_file(folder, pass_file, &b, &c, err);
	if (rc == 0) {
		const void *at = cursor_blob(&c, CLUSTER_KEEP_MAX, &leaf_bytes);
		const void *by = cursor_blob(&c, CLUSTER_KEEP_MAX, &authority_bytes);

		if (!at || !by || !cursor_done(&c)) {
			rc = damaged(err, pass_file);
		} else {
			buf_put(leaf, at, leaf_bytes);
			buf_put(authority, by, authority_bytes);
		}
	}
	buf_fini(&b);
	return rc;
}

/* ---- leaving ---- */

int
cluster_keep_leave(int folder, enum cluster_keep_left how, struct err *err)
{
	uint8_t byte = (uint8_t)how;

	if (fd_replace(folder, left_file, &byte, 1, 0600, err) < 0)
		return -1;
	remove_file(folder, identity_file);
	return 0;
}

enum cluster_keep_left
cluster_keep_left(int folder)
{
	enum cluster_keep_left how = CLUSTER_KEEP_STAYED;
	struct err ignored = {0};
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, SMALL_FILE);
	if (fd_read_file(folder, left_file, &b, &ignored) == 0)
		how = b.length == 1 && b.data[0] == CLUSTER_KEEP_LEFT_OWN ? CLUSTER_KEEP_LEFT_OWN
									  : CLUSTER_KEEP_LEFT_ALL;
	buf_fini(&b);
	return how;
}

static void
clear_etcd(int cluster)
{
	defer_close int folder = fd_open_beneath(cluster, cluster_keep_etcd_folder,
						 O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	for (size_t i = 0; folder >= 0 && i < CLUSTER_KEEP_ETCD; i++)
		remove_file(folder, cluster_keep_etcd[i]);
	if (folder >= 0)
		(void)unlinkat(cluster, cluster_keep_etcd_folder, AT_REMOVEDIR);
}

int
cluster_keep_clear(int folder, struct err *err)
{
	remove_file(folder, identity_file);
	remove_file(folder, nodes_file);
	remove_file(folder, session_file);
	remove_file(folder, incarnation_file);
	remove_file(folder, claims_file);
	remove_file(folder, pass_file);
	remove_file(folder, "engine"); /* cluster_anew.c */
	remove_file(folder, cluster_keep_instance);
	remove_file(folder, cluster_keep_twin);
	clear_etcd(folder);
	if (fsync(folder) < 0)
		return err_sys(err, errno, "cannot write the folder of the cluster");
	remove_file(folder, left_file);
	if (fsync(folder) < 0)
		return err_sys(err, errno, "cannot write the folder of the cluster");
	return 0;
}
