/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer process. Three sources feed one table of certificates (cert_table.h):
 *   files   pairs that node opened and passed; a round of them replaces the last round, and a pair
 *           that does not hold leaves the one before it in place, with the reason in the log;
 *   local   leaves of the node's own authority (signer_local.h);
 *   itself  the authority's certificate, so that people can trust it.
 * It also makes the session ticket keys of all workers, and signs for them.
 */
#include "proxy/signer.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "proxy/cert.h"
#include "proxy/cert_table.h"
#include "proxy/keys.h"
#include "proxy/signer_local.h"

enum { TICK_MS = 30000, ORPHAN_MS = 1000 };

struct signer {
	struct station *st;
	struct keys keys;
	struct cert_table table;
	struct signer_local local;
	uint64_t round;
	bool files_seen;
	struct msg_tickets tickets;
	int64_t rotated_s;
	uv_timer_t timer;
};

static struct signer signer;

/* ---- files ---- */

static int
read_pair(int *fds, size_t count, struct buf *crt, struct buf *key, struct err *err)
{
	if (count != 2)
		return err_set(err, ERR_INVALID, "the .key file beside it is missing");
	if (fd_read_all(fds[0], crt, err) < 0)
		return err_where(err, "the .crt file");
	if (fd_read_all(fds[1], key, err) < 0)
		return err_where(err, "the .key file");
	return 0;
}

static void
digest_pair(const struct buf *crt, const struct buf *key, uint8_t out[32])
{
	uint8_t both[64];

	if (EVP_Digest(crt->data, crt->length, both, NULL, EVP_sha256(), NULL) != 1 ||
	    EVP_Digest(key->data, key->length, both + 32, NULL, EVP_sha256(), NULL) != 1 ||
	    EVP_Digest(both, sizeof(both), out, NULL, EVP_sha256(), NULL) != 1)
		memset(out, 0, 32); /* never equal to what is kept: it is read again */
}

static int
serve_other(const char *name, struct cert_entry *e, const struct buf *crt, const struct buf *key,
	    const uint8_t sha256[32], struct err *err)
{
	struct cert c;

	if (cert_parse(crt->data, crt->length, key->data, key->length, &c, err) < 0)
		return -1;
	bool fresh = !e;
	if (fresh)
		e = cert_table_add(&signer.table, MSG_CERT_FILE, name, err);
	int rc = e ? cert_table_serve(&signer.table, e, &c, err) : -1;
	cert_fini(&c);
	if (rc < 0) {
		if (fresh && e)
			cert_table_remove(&signer.table, e);
		return -1;
	}
	e->round = signer.round;
	memcpy(e->sha256, sha256, sizeof(e->sha256));
	log_event(LOG_INFO, "a certificate file serves", log_s("name", name),
		  log_s("serial", e->row.serial), log_i("not_after", e->row.not_after_s), LOG_END);
	return 0;
}

/* The same files come with each round: only what is new is a renewal. */
static int
serve_pair(const char *name, const struct buf *crt, const struct buf *key, struct err *err)
{
	struct cert_entry *e = cert_table_find(&signer.table, MSG_CERT_FILE, name);
	uint8_t sha256[32];

	digest_pair(crt, key, sha256);
	if (e)
		e->round = signer.round; /* the one before serves on when this one is wrong */
	if (e && e->row.id && memcmp(sha256, e->sha256, sizeof(sha256)) == 0)
		return 0;
	int rc = serve_other(name, e, crt, key, sha256, err);
	if (e && (rc == 0 || memcmp(sha256, e->refused, sizeof(sha256)) != 0))
		cert_table_count(&signer.table, MSG_CERT_FILE, rc == 0);
	if (e && rc < 0)
		memcpy(e->refused, sha256, sizeof(sha256));
	return rc;
}

static void
take_pair(const char *name, int *fds, size_t count)
{
	struct err err = {0};
	struct buf crt, key;

	buf_init(&crt, MEM_PROXY, CERT_FILE_BYTES_MAX);
	buf_init(&key, MEM_PROXY, CERT_FILE_BYTES_MAX);
	if (read_pair(fds, count, &crt, &key, &err) < 0 || serve_pair(name, &crt, &key, &err) < 0) {
		struct cert_entry *e = cert_table_find(&signer.table, MSG_CERT_FILE, name);

		if (e)
			e->round = signer.round;
		err_where(&err, "%s in the folder of certificates", name);
		if (e)
			err_why(&err, "the certificate before it serves on");
		log_err(LOG_ERROR, "a certificate file was not taken over", &err);
	}
	if (key.data)
		mem_wipe(key.data, key.length);
	buf_fini(&key);
	buf_fini(&crt);
}

/* ---- all sources ---- */

static void
reconcile(void)
{
	struct ring_reader *scheduler = station_reader(signer.st, ROLE_SCHEDULER, 0);
	struct msg_certificate authority;

	/* Without the scheduler's table (1: not committed yet), what serves is left as it is. */
	if (!scheduler || !signer.files_seen || ring_table_version(scheduler, MSG_TABLE_ROUTE) <= 1)
		return;
	signer_local_reconcile(&signer.local, scheduler);
	if (!signer.table.shown)
		cert_table_show(&signer.table,
				signer_local_row(&signer.local, &authority) ? &authority : NULL);
}

/* ---- tickets ---- */

static void
send_tickets(void)
{
	struct err err = {0};
	struct leash_message m;
	int fd = fd_memfd_sealed("tickets", &signer.tickets, sizeof(signer.tickets));

	if (fd < 0)
		err_sys(&err, errno, "cannot make a sealed file");
	leash_init(&m, LEASH_TICKETS);
	m.to_role = ROLE_PROXY;
	m.to_index = LEASH_ALL;
	if (fd < 0 || station_send(signer.st, &m, &fd, 1, &err) < 0)
		log_err(LOG_ERROR, "session ticket keys were not handed out", &err);
	fd_close(&fd);
}

static void
rotate_tickets(int64_t now_s)
{
	struct world world;
	struct msg_tickets *t = &signer.tickets;

	world_real(&world);
	memmove(&t->keys[1], &t->keys[0], sizeof(t->keys[0]) * (MSG_TICKET_KEYS_MAX - 1));
	world_random(&world, &t->keys[0], sizeof(t->keys[0]));
	t->magic = MSG_TICKETS_MAGIC;
	if (t->count < MSG_TICKET_KEYS_MAX)
		t->count++;
	signer.rotated_s = now_s;
	send_tickets();
}

/* ---- the role ---- */

static void
tick(uv_timer_t *timer)
{
	int64_t now_s = world_wall_ns() / 1000000000;

	(void)timer;
	keys_sweep(&signer.keys, world_mono_ns());
	if (now_s - signer.rotated_s >= MSG_TICKET_ROTATE_S || now_s < signer.rotated_s)
		rotate_tickets(now_s);
	reconcile();
}

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->tables[0] = (struct ring_table_layout){
		.table = MSG_TABLE_CERTIFICATE,
		.version = 1,
		.row_bytes = sizeof(struct msg_certificate),
		.rows_max = CERT_TABLE_MAX + 1,
	};
	out->tables_count = 1;
	out->answers[0] = (struct ring_answers_layout){
		.role = ROLE_PROXY,
		.instances = ROLE_PROXIES_MAX,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
	out->answers_count = 1;
	out->metric_series = CERT_TABLE_MAX + 4; /* expiries, renewals */
}

static int
start(struct station *st, struct err *err)
{
	(void)err;
	signer.st = st;
	keys_init(&signer.keys);
	cert_table_init(&signer.table, st, &signer.keys);
	signer.local =
		(struct signer_local){.st = st, .table = &signer.table, .keys = &signer.keys};
	rotate_tickets(world_wall_ns() / 1000000000);
	uv_timer_init(station_loop(st), &signer.timer);
	uv_timer_start(&signer.timer, tick, TICK_MS, TICK_MS);
	return 0;
}

static void
sync_nothing(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	enum ring_status rc = RING_EMPTY, streams = RING_EMPTY;

	(void)st;
	if (ring_reader_role(reader) == ROLE_SCHEDULER) {
		streams = ring_table_sync(reader, MSG_TABLE_STREAM, sizeof(struct msg_stream),
					  sync_nothing, NULL);

		rc = ring_table_sync(reader, MSG_TABLE_ROUTE, sizeof(struct msg_route),
				     sync_nothing, NULL);
	} else if (ring_reader_role(reader) == ROLE_NODE)
		rc = ring_table_sync(reader, MSG_TABLE_NODE, sizeof(struct msg_node), sync_nothing,
				     NULL);
	if (rc == RING_OK || streams == RING_OK)
		reconcile();
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	/* A worker that comes has no ticket keys yet. */
	if (ring_reader_role(reader) == ROLE_PROXY)
		send_tickets();
	wake(st, reader);
}

static void
request(struct station *st, const struct station_request *r, const void *body, size_t bytes,
	int *fds, size_t count)
{
	uint8_t signature[KEYS_SIGNATURE_MAX];
	struct msg_sign sign;
	struct err err = {0};
	size_t length = 0;

	(void)fds;
	(void)count;
	if (r->op != MSG_OP_SIGN || r->role != ROLE_PROXY || bytes != sizeof(sign)) {
		err_set(&err, ERR_INVALID, "this process only signs");
		station_answer_err(st, r, &err);
		return;
	}
	memcpy(&sign, body, sizeof(sign));
	if (keys_sign(&signer.keys, &sign, signature, sizeof(signature), &length, &err) < 0)
		station_answer_err(st, r, &err);
	else
		station_answer(st, r, signature, length, NULL, 0);
}

static void
end_round(void)
{
	struct list *it, *next;

	list_each (it, next, &signer.table.entries) {
		struct cert_entry *e = container_of(it, struct cert_entry, link);

		if (e->source == MSG_CERT_FILE && e->round != signer.round)
			cert_table_remove(&signer.table, e);
	}
	signer.round++;
	signer.files_seen = true;
	reconcile();
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	if (m->kind == LEASH_FILES_END) {
		end_round();
		return;
	}
	if (m->kind == LEASH_CONFIG) {
		reconcile();
		return;
	}
	if (m->kind != LEASH_FILE || count == 0)
		return;
	switch ((enum leash_file)m->a) {
	case LEASH_FILE_CERTIFICATE:
		take_pair(m->name, fds, count);
		break;
	case LEASH_FILE_SEALING_KEY:
		signer_local_sealing_key(&signer.local, fds[0]);
		break;
	case LEASH_FILE_SEALED:
		signer_local_sealed(&signer.local, m->name, fds[0]);
		break;
	case LEASH_FILE_RESOLVERS:
		break;
	}
}

static void
leave(uv_timer_t *timer)
{
	(void)timer;
	station_leave(signer.st, 0);
}

/* Proxies go on without node, and hold new handshakes back; those that were begun are finished. */
static void
orphaned(struct station *st)
{
	(void)st;
	uv_timer_start(&signer.timer, leave, ORPHAN_MS, 0);
}

const struct station_role signer_role = {
	.role = ROLE_SIGNER,
	.layout = layout,
	.start = start,
	.peer = peer,
	.wake = wake,
	.request = request,
	.message = message,
	.orphaned = orphaned,
};
