/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority is made when the first name needs it, and kept: what must outlive this process
 * leaves it sealed only. One that is kept but cannot be opened is never replaced by a new one,
 * since people may trust it already.
 */
#include "proxy/signer_local.h"

#include <errno.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "proxy/seal.h"
#include "spec/config.h"

static const char authority_name[] = "authority";

bool
signer_local_row(struct signer_local *l, struct msg_certificate *out)
{
	struct err err = {0};

	if (!l->has_authority)
		return false;
	if (authority_row(&l->authority, out, &err) < 0) {
		log_err(LOG_ERROR, "the local authority cannot be shown", &err);
		return false;
	}
	out->id = cert_table_id(MSG_CERT_AUTHORITY, authority_name);
	return true;
}

static void
keep_authority(struct signer_local *l)
{
	struct err err = {0};
	struct secret pem;
	struct buf sealed;
	struct leash_message m;
	int fd = -1;

	if (authority_export(&l->authority, &pem, &err) < 0) {
		log_err(LOG_ERROR, "the local authority is not kept", &err);
		return;
	}
	buf_init(&sealed, MEM_PROXY, SEAL_BYTES_MAX + SEAL_OVERHEAD_BYTES);
	if (seal_close(&l->sealing_key, authority_name, pem.data, pem.length, &sealed, &err) == 0) {
		fd = fd_memfd_sealed("authority", sealed.data, sealed.length);
		leash_init(&m, LEASH_KEEP);
		text_copy(m.name, sizeof(m.name), authority_name);
		if (fd < 0)
			err_sys(&err, errno, "cannot hand it over");
		else if (station_send(l->st, &m, &fd, 1, &err) == 0)
			err_clear(&err);
	}
	if (err.kind)
		log_err(LOG_ERROR, "the local authority is not kept", &err);
	fd_close(&fd);
	buf_fini(&sealed);
	secret_fini(&pem);
}

static void
publish_authority(struct signer_local *l)
{
	struct msg_certificate row;

	if (l->table->shown && signer_local_row(l, &row))
		cert_table_put(l->table, &row);
}

static void
open_authority(struct signer_local *l, const struct buf *sealed)
{
	struct err err = {0};
	struct secret pem;

	if (!l->has_sealing_key || seal_open(&l->sealing_key, authority_name, sealed->data,
					     sealed->length, &pem, &err) < 0)
		goto refused;
	int rc = authority_import(&l->authority, &pem, &err);
	secret_fini(&pem);
	if (rc < 0)
		goto refused;
	l->has_authority = true;
	(void)keys_add(l->keys, l->authority.leaf);
	publish_authority(l);
	return;
refused:
	l->refused = true;
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
make_authority(struct signer_local *l)
{
	struct err err = {0};

	if (authority_create(&l->authority, station_welcome(l->st)->node,
			     world_wall_ns() / 1000000000, &err) < 0) {
		log_err(LOG_ERROR, "no local authority", &err);
		return;
	}
	l->has_authority = true;
	(void)keys_add(l->keys, l->authority.leaf);
	keep_authority(l);
	publish_authority(l);
	log_event(LOG_INFO, "made a local authority", LOG_END);
}

/* ---- what node sends ---- */

void
signer_local_sealing_key(struct signer_local *l, int fd)
{
	uint8_t key[SEAL_KEY_BYTES];
	struct err err = {0};
	ssize_t n = pread(fd, key, sizeof(key), 0);

	if (n != sizeof(key))
		err_set(&err, ERR_CORRUPT, "the sealing key is not %d bytes", SEAL_KEY_BYTES);
	else if (!l->has_sealing_key && secret_from(&l->sealing_key, key, sizeof(key), &err) == 0)
		l->has_sealing_key = true;
	mem_wipe(key, sizeof(key));
	if (err.kind)
		log_err(LOG_ERROR, "the sealing key was not taken", &err);
}

void
signer_local_sealed(struct signer_local *l, const char *name, int fd)
{
	struct err err = {0};
	struct buf b;

	if (!text_equal(name, authority_name) || l->has_authority)
		return;
	buf_init(&b, MEM_PROXY, SEAL_BYTES_MAX + SEAL_OVERHEAD_BYTES);
	if (fd_read_all(fd, &b, &err) < 0) {
		l->refused = true;
		log_err(LOG_ERROR, "the local authority cannot be read", &err);
	} else {
		open_authority(l, &b);
	}
	buf_fini(&b);
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

		if (!p || more > CERT_TABLE_MAX) {
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

/* Names of the certificate for clients that name no host: the node, localhost and its addresses. */
static size_t
any_names(struct signer_local *l, const char **names, char (*texts)[ADDR_TEXT_BYTES])
{
	struct ring_reader *node = station_reader(l->st, ROLE_NODE, 0);
	const struct msg_node *row = node ? ring_table_get(node, MSG_TABLE_NODE, 1) : NULL;
	size_t count = 0;

	if (station_welcome(l->st)->node[0])
		names[count++] = station_welcome(l->st)->node;
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
issue(struct signer_local *l, const char *host, int64_t now_s)
{
	const char *names[AUTHORITY_NAMES_MAX];
	char texts[16][ADDR_TEXT_BYTES];
	struct cert_entry *e = cert_table_find(l->table, MSG_CERT_LOCAL, host);
	struct err err = {0};
	bool renewal = e && e->row.id;
	struct cert c;
	size_t count = 1;

	if (e && e->issued_s + (int64_t)AUTHORITY_RENEW_DAYS * 86400 > now_s && e->row.id)
		return;
	names[0] = host;
	if (!host[0])
		count = any_names(l, names, texts);
	if (!e)
		e = cert_table_add(l->table, MSG_CERT_LOCAL, host, &err);
	if (!e)
		goto refused;
	e->any_host = !host[0];
	if (authority_issue(&l->authority, names, count, now_s, &c, &err) < 0)
		goto refused;
	int rc = cert_table_serve(l->table, e, &c, &err);
	cert_fini(&c);
	if (rc < 0)
		goto refused;
	e->issued_s = now_s;
	if (renewal)
		cert_table_count(l->table, MSG_CERT_LOCAL, true);
	return;
refused:
	if (renewal)
		cert_table_count(l->table, MSG_CERT_LOCAL, false);
	if (e && !e->row.id)
		cert_table_remove(l->table, e);
	err_where(&err, "host \"%s\"", host);
	log_err(LOG_ERROR, "no certificate was issued", &err);
}

static bool
self_signed(struct signer_local *l)
{
	size_t bytes;
	const struct config *config = station_config(l->st, &bytes);

	return bytes >= sizeof(*config) && config->tls.self_signed;
}

static void
drop_unwanted(struct signer_local *l, const struct wanted *w)
{
	struct list *it, *next;

	list_each (it, next, &l->table->entries) {
		struct cert_entry *e = container_of(it, struct cert_entry, link);
		bool keep = e->source != MSG_CERT_LOCAL;

		for (size_t i = 0; i < w->count && !keep && self_signed(l); i++)
			keep = text_equal(w->hosts[i], e->name) &&
			       !cert_table_file_covers(l->table, e->name);
		if (!keep)
			cert_table_remove(l->table, e);
	}
}

void
signer_local_reconcile(struct signer_local *l, struct ring_reader *scheduler)
{
	struct wanted w = {0};
	int64_t now_s = world_wall_ns() / 1000000000;

	ring_table_each(scheduler, MSG_TABLE_ROUTE, want_route, &w);
	ring_table_each(scheduler, MSG_TABLE_STREAM, want_stream, &w);
	if (self_signed(l)) {
		if (w.count && !l->has_authority && !l->refused)
			make_authority(l);
		for (size_t i = 0; i < w.count && l->has_authority; i++) {
			if (!cert_table_file_covers(l->table, w.hosts[i]))
				issue(l, w.hosts[i], now_s);
		}
	}
	drop_unwanted(l, &w);
	mem_free(w.hosts);
}
