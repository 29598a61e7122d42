/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups of the store, and back. A backup is written in one turn of the loop, into memory: the
 * store is between two transactions all the while. A restore is one transaction; afterwards nothing
 * that this process holds is right any more, so it ends at once, without a last pass over what it
 * knew, and its successor reads the store anew and answers. What the transaction itself leaves in
 * the store tells the successor that it was done: the question's number and what the backup holds;
 * where the store is shared that is in the cluster's row, for this node's own notes are kept apart.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/event.h"
#include "scheduler/restore.h"

enum { NOTE_BYTES = 64 };

#define NOTE "restore.done"

/* ---- backup ---- */

static int
to_file(void *arg, const void *data, size_t bytes, struct err *err)
{
	return fd_write_all(*(const int *)arg, data, bytes, err);
}

int
cluster_backup_head(struct cluster *c, struct backup_head *head, struct err *err)
{
	struct store_status status;
	int64_t revision;

	memset(head, 0, sizeof(*head));
	head->created_wall_ns = world_wall_ns();
	text_copy(head->version, sizeof(head->version), ZLAYER_VERSION);
	text_copy(head->node, sizeof(head->node),
		  c->member ? c->keep.name : station_welcome(c->st)->node);
	if (c->member) {
		head->node_id = c->keep.node;
		text_hex(c->keep.authority.cluster, IDENTITY_CLUSTER, head->cluster,
			 sizeof(head->cluster));
	}
	store_status(c->m->store, &status);
	if (!status.shared)
		return 0;
	if (!status.sequence) {
		err_set(err, ERR_UNREACHABLE, "this node has no copy of the cluster's store yet");
		return err_fix(err, "zlayer cluster show says what it waits for; other nodes can "
				    "be backed up");
	}
	return store_copy_read(c->m->store, head->store, &head->entry, &revision, err);
}

static int
take_keys(struct cluster *c, struct secret *out, struct err *err)
{
	if (cluster_keeper(c))
		return identity_authority_export(&c->keep.authority, out, err);
	err_set(err, ERR_NOT_FOUND, "this node does not have the authority's key");
	if (!c->member)
		return err_why(err, "it is in no cluster");
	return err_fix(err, "zlayer node ls -o wide shows which nodes do: make the backup there");
}

static int
make(struct cluster *c, const struct msg_backup *asked, struct msg_backed_up *out, int *fd_out,
     struct err *err)
{
	defer_close int fd = fd_memfd("backup");
	struct secret keys = {0};
	struct backup_head head;

	if (fd < 0)
		return err_sys(err, errno, "no memory for a backup");
	if (cluster_backup_head(c, &head, err) < 0 || (asked->keys && take_keys(c, &keys, err) < 0))
		return -1;
	int rc = backup_write(&head, c->m->store, keys.data, keys.length, to_file, &fd, err);
	if (keys.data)
		secret_fini(&keys);
	if (rc < 0)
		return -1;
	out->bytes = (uint64_t)lseek(fd, 0, SEEK_END);
	out->sequence = head.entry.sequence;
	out->created_wall_ns = head.created_wall_ns;
	if (fd_memfd_seal(fd) < 0)
		return err_sys(err, errno, "cannot hand over a backup");
	*fd_out = fd_take(&fd);
	return 0;
}

void
cluster_backup_request(struct cluster *c, const struct station_request *q, const void *body,
		       size_t bytes)
{
	struct msg_backed_up answer = {0};
	struct msg_backup asked = {0};
	struct err err = {0};
	int fd = -1;
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (bytes != sizeof(asked))
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = make(c, &asked, &answer, &fd, &err);
	if (rc < 0) {
		log_err(LOG_WARN, "a backup was not made", &err);
		cluster_refuse(c, q, &err);
		return;
	}
	event_node(c->m, "node.backup", LOG_INFO, NULL,
		   "a backup was made%s: %" PRIu64 " bytes, for user %u",
		   asked.keys ? ", with the authority's key" : "", answer.bytes, asked.who_uid);
	cluster_answer(c, q, &answer, sizeof(answer), &fd, 1);
	fd_close(&fd);
}

/* ---- restore ---- */

struct cluster_restore {
	struct cluster *c;
	struct station_request request;
	struct msg_restore asked;
	struct backup_scan report;
	uint32_t removed;
	int fd;
};

static void
restore_free(struct cluster_restore *v)
{
	fd_close(&v->fd);
	mem_free(v);
}

static void
note_of(const struct cluster_restore *v, char out[NOTE_BYTES])
{
	text_format(out, NOTE_BYTES, "%" PRIu64 " %" PRIu32, v->asked.nonce, v->removed);
}

/* What it is known by in a shared store: this question, and this backup. */
static void
mark_of(const struct cluster_restore *v, char out[STORE_RESTORED_BYTES])
{
	uint8_t asked[sizeof(v->asked.nonce) + sizeof(v->report.sha256)];
	uint8_t digest[SHA256_DIGEST_LENGTH];

	memcpy(asked, &v->asked.nonce, sizeof(v->asked.nonce));
	memcpy(asked + sizeof(v->asked.nonce), v->report.sha256, sizeof(v->report.sha256));
	SHA256(asked, sizeof(asked), digest);
	text_hex(digest, sizeof(digest), out, STORE_RESTORED_BYTES);
}

static int
put_mark(const struct cluster_restore *v, struct store *s, struct err *err)
{
	struct store_cluster row;

	if (v->c->row.id == 0)
		return err_set(err, ERR_UNREACHABLE,
			       "this node does not have the cluster's row of the store yet");
	if (store_get(s, STORE_CLUSTER, v->c->row.id, &row, err) < 0)
		return -1;
	mark_of(v, row.restored);
	return store_put(s, STORE_CLUSTER, &row, err);
}

/* The transaction that puts it there; where the store is shared, its own comes before. */
static int
put_note(struct store *s, const char *text, struct err *err)
{
	if (store_begin(s, err) < 0)
		return -1;
	if (store_put_note(s, NOTE, text, err) == 0)
		return store_commit(s, err);
	store_abort(s);
	return -1;
}

static int
put(void *arg, struct store *s, struct err *err)
{
	struct cluster_restore *v = arg;
	char note[NOTE_BYTES];

	if (restore_put(v->fd, s, cluster_self(v->c), err) < 0)
		return -1;
	if (store_local(s) != s)
		return put_mark(v, s, err);
	note_of(v, note);
	return store_put_note(s, NOTE, note, err);
}

static void
kept(void *arg, const struct err *err)
{
	struct cluster_restore *v = arg;
	struct cluster *c = v->c;

	c->restore = NULL;
	if (err) {
		log_err(LOG_WARN, "a backup was not restored", err);
		cluster_refuse(c, &v->request, err);
	} else {
		log_event(LOG_INFO, "a backup was restored", log_s("node", v->report.head.node),
			  LOG_END);
		c->stale = true;
		cluster_renew_process(c); /* the next one answers */
	}
	restore_free(v);
}

static void
answer(const struct cluster_restore *v)
{
	struct cluster *c = v->c;
	struct msg_restored out = {
		.created_wall_ns = v->report.head.created_wall_ns,
		.deployments = (uint32_t)v->report.rows[STORE_DEPLOYMENT],
		.services = (uint32_t)v->report.rows[STORE_SERVICE],
		.revisions = (uint32_t)v->report.rows[STORE_REVISION],
		.removed = v->removed,
	};

	text_copy(out.node, sizeof(out.node), v->report.head.node);
	event_node(c->m, "node.restored", LOG_WARN, NULL,
		   "a backup of %s was restored: %u deployments, for user %u", out.node,
		   out.deployments, v->asked.who_uid);
	cluster_answer(c, &v->request, &out, sizeof(out), NULL, 0);
}

/* 1: an earlier process has done what is asked. */
static int
was_done(struct cluster_restore *v, struct err *err)
{
	struct store *local = store_local(v->c->m->store);
	char note[NOTE_BYTES], *at = note, mark[STORE_RESTORED_BYTES];
	uint64_t nonce = 0, removed = 0;

	if (store_get_note(local, NOTE, note, sizeof(note), err) < 0)
		return -1;
	const char *first = strsep(&at, " ");
	if (!at || !text_u64(first, UINT64_MAX, &nonce) || nonce != v->asked.nonce ||
	    !text_u64(at, UINT32_MAX, &removed))
		return 0;
	mark_of(v, mark);
	if (local != v->c->m->store && !text_equal(v->c->row.restored, mark))
		return 0;
	v->removed = (uint32_t)removed;
	return put_note(local, "", err) < 0 ? -1 : 1;
}

static int
refuse_to_replace(const struct cluster_restore *v, struct err *err)
{
	const struct model *m = v->c->m;

	size_t n = m->deployments_count;

	if (n == 1)
		err_set(err, ERR_CONFLICT, "there is a deployment here already");
	else
		err_set(err, ERR_CONFLICT, "there are %zu deployments here already", n);
	err_why(err, "a restore replaces all of them by those of the backup");
	return err_fix(err, "zlayer restore --replace removes them, with what they run; volumes "
			    "stay");
}

static int
begin(struct cluster_restore *v, struct err *err)
{
	struct cluster *c = v->c;
	struct store *local = store_local(c->m->store);
	struct store_status status;
	char note[NOTE_BYTES];

	if (c->restore)
		return err_set(err, ERR_CONFLICT, "a backup is being restored already");
	if (cluster_may_change(c, err) < 0)
		return -1;
	v->removed = (uint32_t)c->m->deployments_count;
	if (v->removed > 0 && !v->asked.replace)
		return refuse_to_replace(v, err);
	store_status(c->m->store, &status);
	if (!status.writable) {
		*err = status.why;
		return -1;
	}
	note_of(v, note);
	if (local != c->m->store && put_note(local, note, err) < 0)
		return -1;
	if (cluster_store_change(c, put, kept, v, err) < 0)
		return -1;
	c->restore = v;
	return 0;
}

static int
take(struct cluster *c, const struct station_request *q, const struct msg_restore *asked, int fd,
     struct err *err)
{
	struct cluster_restore *v = mem_zalloc(MEM_SCHEDULER, sizeof(*v));

	if (!v)
		return err_set(err, ERR_NO_MEMORY, "no memory to restore a backup");
	v->c = c;
	v->request = *q;
	v->asked = *asked;
	v->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int rc = v->fd < 0 ? err_sys(err, errno, "cannot keep the backup") : 0;
	if (rc == 0)
		rc = restore_check(v->fd, &v->report, err);
	if (rc == 0)
		rc = was_done(v, err);
	if (rc == 0)
		rc = begin(v, err);
	else if (rc > 0)
		answer(v);
	if (rc != 0)
		restore_free(v);
	return rc < 0 ? -1 : 0;
}

void
cluster_backup_restore(struct cluster *c, const struct station_request *q, const void *body,
		       size_t bytes, const int *fds, size_t count)
{
	struct msg_restore asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (bytes != sizeof(asked) || count != 1)
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = take(c, q, &asked, fds[0], &err);
	if (rc < 0)
		cluster_refuse(c, q, &err);
}
