/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replaced certificate's row and key come first, the old key goes later (keys.h), so no handshake
 * breaks.
 */
#include "proxy/cert_table.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"

static const char *
name_of(enum msg_certificate_source source)
{
	return source == MSG_CERT_FILE ? "file" : "local";
}

static struct metric_series *
renewals_of(const struct cert_table *t, enum msg_certificate_source source, bool ok)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "source", name_of(source));
	metric_label(&labels, "result", ok ? "ok" : "failed");
	return metrics_get(station_metrics(t->st), METRICS_TLS_CERTIFICATE_RENEWALS, &labels);
}

void
cert_table_init(struct cert_table *t, struct station *st, struct keys *keys)
{
	*t = (struct cert_table){.st = st, .keys = keys};
	list_init(&t->entries);
	for (int ok = 0; ok < 2; ok++) { /* known from the start */
		(void)renewals_of(t, MSG_CERT_FILE, ok);
		(void)renewals_of(t, MSG_CERT_LOCAL, ok);
	}
}

void
cert_table_count(const struct cert_table *t, enum msg_certificate_source source, bool ok)
{
	metric_add(renewals_of(t, source, ok), 1);
}

uint64_t
cert_table_id(enum msg_certificate_source source, const char *name)
{
	static const uint64_t key[2] = {0x7a6c617965720001, 0x6365727469666963};
	char text[MSG_HOST + 8];

	text_format(text, sizeof(text), "%d:%s", (int)source, name);
	uint64_t id = map_siphash(key, text, strlen(text));
	return id ? id : 1;
}

struct cert_entry *
cert_table_find(const struct cert_table *t, enum msg_certificate_source source, const char *name)
{
	struct list *it, *next;

	list_each (it, next, &t->entries) {
		struct cert_entry *e = container_of(it, struct cert_entry, link);

		if (e->source == source && text_equal(e->name, name))
			return e;
	}
	return NULL;
}

static struct metric_series *
expiry_of(const struct cert_table *t, const struct cert_entry *e)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "server_name", e->name[0] ? e->name : "any");
	metric_label(&labels, "source", name_of(e->source));
	return metrics_get(station_metrics(t->st), METRICS_TLS_CERTIFICATE_NOT_AFTER, &labels);
}

void
cert_table_remove(struct cert_table *t, struct cert_entry *e)
{
	keys_retire(t->keys, e->row.key_handle, world_mono_ns());
	ring_table_remove(station_writer(t->st), MSG_TABLE_CERTIFICATE, e->id);
	station_kick(t->st);
	if (e->source != MSG_CERT_AUTHORITY)
		metric_hide(expiry_of(t, e));
	list_remove(&e->link);
	t->count--;
	mem_free(e);
}

struct cert_entry *
cert_table_add(struct cert_table *t, enum msg_certificate_source source, const char *name,
	       struct err *err)
{
	struct cert_entry *e = NULL;

	if (t->count < CERT_TABLE_MAX)
		e = mem_zalloc(MEM_PROXY, sizeof(*e));
	if (!e) {
		err_set(err, ERR_LIMIT, "no place for another certificate (at most %d)",
			CERT_TABLE_MAX);
		return NULL;
	}
	e->source = source;
	text_copy(e->name, sizeof(e->name), name);
	e->id = cert_table_id(source, name);
	list_push(&t->entries, &e->link);
	t->count++;
	return e;
}

int
cert_table_serve(struct cert_table *t, struct cert_entry *e, const struct cert *c, struct err *err)
{
	struct msg_certificate row;
	uint64_t old = e->row.key_handle;

	if (cert_row(c, &row, err) < 0)
		return -1;
	row.id = e->id;
	row.source = e->source;
	row.any_host = e->any_host;
	row.key_handle = keys_add(t->keys, c->key);
	if (!row.key_handle)
		return err_set(err, ERR_LIMIT, "no place for another key");
	if (t->shown && ring_table_set(station_writer(t->st), MSG_TABLE_CERTIFICATE, e->id, &row,
				       NULL) != RING_OK) {
		keys_retire(t->keys, row.key_handle, 0);
		return err_set(err, ERR_LIMIT, "no place in the table of certificates");
	}
	e->row = row;
	if (old)
		keys_retire(t->keys, old, world_mono_ns());
	metric_set(expiry_of(t, e), row.not_after_s);
	station_kick(t->st);
	return 0;
}

bool
cert_table_file_covers(const struct cert_table *t, const char *host)
{
	struct list *it, *next;

	list_each (it, next, &t->entries) {
		struct cert_entry *e = container_of(it, struct cert_entry, link);

		if (e->source == MSG_CERT_FILE && cert_covers(&e->row, host))
			return true;
	}
	return false;
}

void
cert_table_put(struct cert_table *t, const struct msg_certificate *row)
{
	if (!t->shown)
		return;
	ring_table_set(station_writer(t->st), MSG_TABLE_CERTIFICATE, row->id, row, NULL);
	station_kick(t->st);
}

void
cert_table_show(struct cert_table *t, const struct msg_certificate *more)
{
	static const struct msg_certificate nothing;
	struct ring_writer *w = station_writer(t->st);
	struct list *it, *next;

	if (t->shown)
		return;
	t->shown = true;
	ring_table_begin(w, MSG_TABLE_CERTIFICATE);
	/* So that none is told from not yet told. */
	if (ring_table_set(w, MSG_TABLE_CERTIFICATE, UINT64_MAX, &nothing, NULL) == RING_OK)
		ring_table_remove(w, MSG_TABLE_CERTIFICATE, UINT64_MAX);
	list_each (it, next, &t->entries) {
		struct cert_entry *e = container_of(it, struct cert_entry, link);

		if (e->row.id)
			(void)ring_table_set(w, MSG_TABLE_CERTIFICATE, e->id, &e->row, NULL);
	}
	if (more)
		(void)ring_table_set(w, MSG_TABLE_CERTIFICATE, more->id, more, NULL);
	ring_table_commit(w, MSG_TABLE_CERTIFICATE);
	station_kick(t->st);
}
