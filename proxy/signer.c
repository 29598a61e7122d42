/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signer process. Three sources feed one table of certificates:
 *   files   pairs that node opened and passed; a round of them replaces the last round, and a pair
 *           that does not hold leaves the one before it in place, with the reason in the log;
 *   local   leaves of the node's own authority, for hosts of https routes and tls streams that no
 * file covers; itself  the authority's certificate, so that people can trust it. A replaced
 * certificate's key signs on for a while (proxy/keys.h), so no handshake breaks. New key material
 * that must outlive this process leaves it sealed only.
 */
#include "proxy/signer.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "proxy/authority.h"
#include "proxy/cert.h"
#include "proxy/keys.h"
#include "proxy/seal.h"
#include "ring/metrics.h"
#include "spec/config.h"

enum { CERTIFICATES_MAX = 1024, TICK_MS = 30000 };

static const char authority_name[] = "authority";

/* One certificate in the table. name: the file's base name, or the host it was issued for. */
struct entry {
	struct list link;
	uint64_t id;
	enum msg_certificate_source source;
	char name[MSG_HOST];
	uint8_t sha256[32]; /* files: of both contents */
	uint64_t round;     /* files: last round in which it was sent */
	int64_t issued_s;
	bool any_host;
	struct msg_certificate row;
};

struct signer {
	struct station *st;
	struct secret sealing_key;
	bool has_sealing_key;
	struct authority authority;
	bool has_authority;
	bool authority_refused; /* kept, but cannot be opened: never replaced by a new one */
	struct keys keys;
	struct list entries;
	size_t count;
	uint64_t round;
	bool files_seen;
	bool shown; /* rows are in the table */
	struct msg_tickets tickets;
	int64_t rotated_s;
	uv_timer_t timer;
};

static struct signer signer;

/* ---- the table ---- */

static uint64_t
entry_id(enum msg_certificate_source source, const char *name)
{
	static const uint64_t key[2] = {0x7a6c617965720001, 0x6365727469666963};
	char text[MSG_HOST + 8];

	text_format(text, sizeof(text), "%d:%s", (int)source, name);
	uint64_t id = map_siphash(key, text, strlen(text));
	return id ? id : 1;
}

static struct entry *
entry_find(enum msg_certificate_source source, const char *name)
{
	struct list *it, *next;

	list_each (it, next, &signer.entries) {
		struct entry *e = container_of(it, struct entry, link);

		if (e->source == source && text_equal(e->name, name))
			return e;
	}
	return NULL;
}

static struct metric_series *
expiry_of(const struct entry *e)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "server_name", e->name[0] ? e->name : "any");
	metric_label(&labels, "source", e->source == MSG_CERT_FILE ? "file" : "local");
	return metrics_get(station_metrics(signer.st), METRICS_TLS_CERTIFICATE_NOT_AFTER, &labels);
}

static void
entry_remove(struct entry *e)
{
	keys_retire(&signer.keys, e->row.key_handle, world_mono_ns());
	ring_table_remove(station_writer(signer.st), MSG_TABLE_CERTIFICATE, e->id);
	station_kick(signer.st);
	if (e->source != MSG_CERT_AUTHORITY)
		metric_hide(expiry_of(e));
	list_remove(&e->link);
	signer.count--;
	mem_free(e);
}

static struct entry *
entry_add(enum msg_certificate_source source, const char *name, struct err *err)
{
	struct entry *e = NULL;

	if (signer.count < CERTIFICATES_MAX)
		e = mem_zalloc(MEM_PROXY, sizeof(*e));
	if (!e) {
		err_set(err, ERR_LIMIT, "no place for another certificate (at most %d)",
			CERTIFICATES_MAX);
		return NULL;
	}
	e->source = source;
	text_copy(e->name, sizeof(e->name), name);
	e->id = entry_id(source, name);
	list_push(&signer.entries, &e->link);
	signer.count++;
	return e;
}

/* Puts a certificate in the entry's place: the row and the new key first, the old key goes later.
 */
static int
entry_serve(struct entry *e, const struct cert *c, struct err *err)
{
	struct msg_certificate row;
	uint64_t old = e->row.key_handle;

	if (cert_row(c, &row, err) < 0)
		return -1;
	row.id = e->id;
	row.source = e->source;
	row.any_host = e->any_host;
	row.key_handle = keys_add(&signer.keys, c->key);
	if (!row.key_handle)
		return err_set(err, ERR_LIMIT, "no place for another key");
	if (signer.shown && ring_table_set(station_writer(signer.st), MSG_TABLE_CERTIFICATE, e->id,
					   &row, NULL) != RING_OK) {
		keys_retire(&signer.keys, row.key_handle, 0);
		return err_set(err, ERR_LIMIT, "no place in the table of certificates");
	}
	e->row = row;
	if (old)
		keys_retire(&signer.keys, old, world_mono_ns());
	metric_set(expiry_of(e), row.not_after_s);
	station_kick(signer.st);
	return 0;
}

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
serve_pair(const char *name, const struct buf *crt, const struct buf *key, struct err *err)
{
	struct entry *e = entry_find(MSG_CERT_FILE, name);
	uint8_t sha256[32];
	struct cert c;

	digest_pair(crt, key, sha256);
	if (e && e->row.id && memcmp(sha256, e->sha256, sizeof(sha256)) == 0) {
		e->round = signer.round;
		return 0;
	}
	if (e)
		e->round = signer.round; /* the one before serves on when this one is wrong */
	if (cert_parse(crt->data, crt->length, key->data, key->length, &c, err) < 0)
		return -1;
	bool fresh = !e;
	if (fresh)
		e = entry_add(MSG_CERT_FILE, name, err);
	int rc = e ? entry_serve(e, &c, err) : -1;
	cert_fini(&c);
	if (rc < 0) {
		if (fresh && e)
			entry_remove(e);
		return -1;
	}
	e->round = signer.round;
	memcpy(e->sha256, sha256, sizeof(sha256));
	log_event(LOG_INFO, "a certificate file serves", log_s("name", name),
		  log_s("serial", e->row.serial), log_i("not_after", e->row.not_after_s), LOG_END);
	return 0;
}

static void
take_pair(const char *name, int *fds, size_t count)
{
	struct err err = {0};
	struct buf crt, key;

	buf_init(&crt, MEM_PROXY, CERT_FILE_BYTES_MAX);
	buf_init(&key, MEM_PROXY, CERT_FILE_BYTES_MAX);
	if (read_pair(fds, count, &crt, &key, &err) < 0 || serve_pair(name, &crt, &key, &err) < 0) {
		struct entry *e = entry_find(MSG_CERT_FILE, name);

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

/* ---- the authority ---- */

static void
keep_authority(void)
{
	struct err err = {0};
	struct secret pem;
	struct buf sealed;
	struct leash_message m;
	int fd = -1;

	if (authority_export(&signer.authority, &pem, &err) < 0) {
		log_err(LOG_ERROR, "the local authority is not kept", &err);
		return;
	}
	buf_init(&sealed, MEM_PROXY, SEAL_BYTES_MAX + SEAL_OVERHEAD_BYTES);
	if (seal_close(&signer.sealing_key, authority_name, pem.data, pem.length, &sealed, &err) ==
	    0) {
		fd = fd_memfd_sealed("authority", sealed.data, sealed.length);
		leash_init(&m, LEASH_KEEP);
		text_copy(m.name, sizeof(m.name), authority_name);
		if (fd < 0)
			err_sys(&err, errno, "cannot hand it over");
		else if (station_send(signer.st, &m, &fd, 1, &err) == 0)
			err_clear(&err);
	}
	if (err.kind)
		log_err(LOG_ERROR, "the local authority is not kept", &err);
	fd_close(&fd);
	buf_fini(&sealed);
	secret_fini(&pem);
}

static void
publish_authority(void)
{
	struct err err = {0};
	struct msg_certificate row;
	uint64_t id = entry_id(MSG_CERT_AUTHORITY, authority_name);

	if (!signer.shown || !signer.has_authority)
		return;
	if (authority_row(&signer.authority, &row, &err) < 0) {
		log_err(LOG_ERROR, "the local authority cannot be shown", &err);
		return;
	}
	row.id = id;
	ring_table_set(station_writer(signer.st), MSG_TABLE_CERTIFICATE, id, &row, NULL);
	station_kick(signer.st);
}

static void
open_authority(const struct buf *sealed)
{
	struct err err = {0};
	struct secret pem;

	if (!signer.has_sealing_key || seal_open(&signer.sealing_key, authority_name, sealed->data,
						 sealed->length, &pem, &err) < 0)
		goto refused;
	int rc = authority_import(&signer.authority, &pem, &err);
	secret_fini(&pem);
	if (rc < 0)
		goto refused;
	signer.has_authority = true;
	(void)keys_add(&signer.keys, signer.authority.leaf);
	publish_authority();
	return;
refused:
	signer.authority_refused = true;
	if (!err.kind)
		err_set(&err, ERR_DENIED, "the sealing key did not come");
	err_fix(&err, "put secrets/seal.key of the data folder back, or remove "
		      "secrets/sealed/authority to let a new authority be made");
	log_err(LOG_ERROR,
		"the local authority cannot be used: names without a file have no "
		"certificate",
		&err);
}

static void
make_authority(void)
{
	struct err err = {0};

	if (authority_create(&signer.authority, station_welcome(signer.st)->node,
			     world_wall_ns() / 1000000000, &err) < 0) {
		log_err(LOG_ERROR, "no local authority", &err);
		return;
	}
	signer.has_authority = true;
	(void)keys_add(&signer.keys, signer.authority.leaf);
	keep_authority();
	publish_authority();
	log_event(LOG_INFO, "made a local authority", LOG_END);
}

/* ---- leaves for hosts without a file ---- */

struct wanted {
	char (*hosts)[MSG_HOST];
	size_t count, capacity;
};

static bool
want_host(struct wanted *w, const char *host)
{
	for (size_t i = 0; i < w->count; i++) {
		if (text_equal(w->hosts[i], host))
			return true;
	}
	if (w->count == w->capacity) {
		size_t more = w->capacity ? w->capacity * 2 : 16;
		void *p = mem_resize(MEM_PROXY, w->hosts, more, sizeof(*w->hosts));

		if (!p || more > CERTIFICATES_MAX) {
			if (p)
				w->hosts = p;
			return false;
		}
		w->hosts = p;
		w->capacity = more;
	}
	text_copy(w->hosts[w->count++], MSG_HOST, host);
	return true;
}

static bool
want_route(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_route *route = bytes;

	(void)key;
	return !(route->flags & MSG_ROUTE_TLS) || !MSG_OK(route->host) ||
	       want_host(arg, route->host);
}

static bool
want_stream(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_stream *stream = bytes;

	(void)key;
	return !(stream->flags & MSG_STREAM_TLS) || !MSG_OK(stream->host) ||
	       want_host(arg, stream->host);
}

static bool
covered_by_file(const char *host)
{
	struct list *it, *next;

	list_each (it, next, &signer.entries) {
		struct entry *e = container_of(it, struct entry, link);

		if (e->source == MSG_CERT_FILE && cert_covers(&e->row, host))
			return true;
	}
	return false;
}

/* Names of the certificate for clients that name no host: the node, localhost and its addresses. */
static size_t
any_names(const char **names, char (*texts)[ADDR_TEXT_BYTES])
{
	struct ring_reader *node = station_reader(signer.st, ROLE_NODE, 0);
	const struct msg_node *row = node ? ring_table_get(node, MSG_TABLE_NODE, 1) : NULL;
	size_t count = 0;

	if (station_welcome(signer.st)->node[0])
		names[count++] = station_welcome(signer.st)->node;
	names[count++] = "localhost";
	names[count++] = "*.localhost";
	names[count++] = "127.0.0.1";
	names[count++] = "::1";
	for (uint32_t i = 0; row && i < row->addresses_count && i < 16; i++) {
		if (addr_is_zero(&row->addresses[i]) || addr_is_loopback(&row->addresses[i]))
			continue;
		addr_put_ip(&row->addresses[i], texts[i], ADDR_TEXT_BYTES);
		names[count++] = texts[i];
	}
	return count;
}

static void
issue(const char *host, int64_t now_s)
{
	const char *names[AUTHORITY_NAMES_MAX];
	char texts[16][ADDR_TEXT_BYTES];
	struct entry *e = entry_find(MSG_CERT_LOCAL, host);
	struct err err = {0};
	struct cert c;
	size_t count = 1;

	if (e && e->issued_s + (int64_t)AUTHORITY_RENEW_DAYS * 86400 > now_s && e->row.id)
		return;
	names[0] = host;
	if (!host[0])
		count = any_names(names, texts);
	if (!e)
		e = entry_add(MSG_CERT_LOCAL, host, &err);
	if (!e)
		goto refused;
	e->any_host = !host[0];
	if (authority_issue(&signer.authority, names, count, now_s, &c, &err) < 0)
		goto refused;
	int rc = entry_serve(e, &c, &err);
	cert_fini(&c);
	if (rc < 0)
		goto refused;
	e->issued_s = now_s;
	return;
refused:
	if (e && !e->row.id)
		entry_remove(e);
	err_where(&err, "host \"%s\"", host);
	log_err(LOG_ERROR, "no certificate was issued", &err);
}

static bool
self_signed(void)
{
	size_t bytes;
	const struct config *config = station_config(signer.st, &bytes);

	return bytes >= sizeof(*config) && config->tls.self_signed;
}

static void
drop_unwanted(const struct wanted *w)
{
	struct list *it, *next;

	list_each (it, next, &signer.entries) {
		struct entry *e = container_of(it, struct entry, link);
		bool keep = e->source != MSG_CERT_LOCAL;

		for (size_t i = 0; i < w->count && !keep && self_signed(); i++)
			keep = text_equal(w->hosts[i], e->name) && !covered_by_file(e->name);
		if (!keep)
			entry_remove(e);
	}
}

/* The first time all at once: workers drop what the table of a new signer does not have. */
static void
show_all(void)
{
	static const struct msg_certificate nothing;
	struct ring_writer *w = station_writer(signer.st);
	struct list *it, *next;

	if (signer.shown)
		return;
	signer.shown = true;
	ring_table_begin(w, MSG_TABLE_CERTIFICATE);
	/* So that none is told from not yet told. */
	if (ring_table_set(w, MSG_TABLE_CERTIFICATE, UINT64_MAX, &nothing, NULL) == RING_OK)
		ring_table_remove(w, MSG_TABLE_CERTIFICATE, UINT64_MAX);
	list_each (it, next, &signer.entries) {
		struct entry *e = container_of(it, struct entry, link);

		if (e->row.id)
			(void)ring_table_set(w, MSG_TABLE_CERTIFICATE, e->id, &e->row, NULL);
	}
	publish_authority();
	ring_table_commit(w, MSG_TABLE_CERTIFICATE);
	station_kick(signer.st);
}

static void
reconcile(void)
{
	struct ring_reader *scheduler = station_reader(signer.st, ROLE_SCHEDULER, 0);
	struct wanted w = {0};
	int64_t now_s = world_wall_ns() / 1000000000;

	/* Without the scheduler's table (1: not committed yet), what serves is left as it is. */
	if (!scheduler || !signer.files_seen || ring_table_version(scheduler, MSG_TABLE_ROUTE) <= 1)
		return;
	ring_table_each(scheduler, MSG_TABLE_ROUTE, want_route, &w);
	ring_table_each(scheduler, MSG_TABLE_STREAM, want_stream, &w);
	if (self_signed()) {
		if (w.count && !signer.has_authority && !signer.authority_refused)
			make_authority();
		for (size_t i = 0; i < w.count && signer.has_authority; i++) {
			if (!covered_by_file(w.hosts[i]))
				issue(w.hosts[i], now_s);
		}
	}
	drop_unwanted(&w);
	mem_free(w.hosts);
	show_all();
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
		.rows_max = CERTIFICATES_MAX + 1,
	};
	out->tables_count = 1;
	out->answers[0] = (struct ring_answers_layout){
		.role = ROLE_PROXY,
		.instances = ROLE_PROXIES_MAX,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
	out->answers_count = 1;
	out->metric_series = CERTIFICATES_MAX;
}

static int
start(struct station *st, struct err *err)
{
	(void)err;
	signer.st = st;
	list_init(&signer.entries);
	keys_init(&signer.keys);
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
take_sealing_key(int fd)
{
	uint8_t key[SEAL_KEY_BYTES];
	struct err err = {0};
	ssize_t n = pread(fd, key, sizeof(key), 0);

	if (n != sizeof(key))
		err_set(&err, ERR_CORRUPT, "the sealing key is not %d bytes", SEAL_KEY_BYTES);
	else if (!signer.has_sealing_key &&
		 secret_from(&signer.sealing_key, key, sizeof(key), &err) == 0)
		signer.has_sealing_key = true;
	mem_wipe(key, sizeof(key));
	if (err.kind)
		log_err(LOG_ERROR, "the sealing key was not taken", &err);
}

static void
take_sealed(const char *name, int fd)
{
	struct err err = {0};
	struct buf b;

	if (!text_equal(name, authority_name) || signer.has_authority)
		return;
	buf_init(&b, MEM_PROXY, SEAL_BYTES_MAX + SEAL_OVERHEAD_BYTES);
	if (fd_read_all(fd, &b, &err) < 0) {
		signer.authority_refused = true;
		log_err(LOG_ERROR, "the local authority cannot be read", &err);
	} else {
		open_authority(&b);
	}
	buf_fini(&b);
}

static void
end_round(void)
{
	struct list *it, *next;

	list_each (it, next, &signer.entries) {
		struct entry *e = container_of(it, struct entry, link);

		if (e->source == MSG_CERT_FILE && e->round != signer.round)
			entry_remove(e);
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
		take_sealing_key(fds[0]);
		break;
	case LEASH_FILE_SEALED:
		take_sealed(m->name, fds[0]);
		break;
	case LEASH_FILE_RESOLVERS:
		break;
	}
}

const struct station_role signer_role = {
	.role = ROLE_SIGNER,
	.layout = layout,
	.start = start,
	.peer = peer,
	.wake = wake,
	.request = request,
	.message = message,
};
