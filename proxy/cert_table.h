/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CERT_TABLE_H
#define PROXY_CERT_TABLE_H

/*
 * The certificates that signer serves, by source and name, with their rows in MSG_TABLE_CERTIFICATE
 * and their keys. Nothing is in that table before cert_table_show(): workers drop what the table of
 * a new signer does not have, so it appears whole.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "proxy/cert.h"
#include "proxy/keys.h"
#include "ring/station.h"

enum { CERT_TABLE_MAX = 1024 }; /* certificates */

/* One certificate in the table. name: the file's base name, or the host it was issued for. */
struct cert_entry {
	struct list link;
	uint64_t id;
	enum msg_certificate_source source;
	char name[MSG_HOST];
	uint8_t sha256[32];  /* files: of both contents */
	uint8_t refused[32]; /* files: of those that were last not taken over */
	uint64_t round;      /* files: last round in which it was sent */
	int64_t issued_s;
	bool any_host;
	struct msg_certificate row;
};

struct cert_table {
	struct station *st;
	struct keys *keys;
	struct list entries;
	size_t count;
	bool shown; /* rows are in the table */
};

void cert_table_init(struct cert_table *t, struct station *st, struct keys *keys);
/* The same for the same source and name. */
uint64_t cert_table_id(enum msg_certificate_source source, const char *name);
struct cert_entry *cert_table_find(const struct cert_table *t, enum msg_certificate_source source,
				   const char *name);
/* An entry that serves nothing yet. NULL with err. */
struct cert_entry *cert_table_add(struct cert_table *t, enum msg_certificate_source source,
				  const char *name, struct err *err);
/* Puts a certificate in the entry's place; on failure the one before serves on. */
int cert_table_serve(struct cert_table *t, struct cert_entry *e, const struct cert *c,
		     struct err *err) MUST_CHECK;
/* Counts that another certificate took this one's place, or failed to. */
void cert_table_count(const struct cert_table *t, enum msg_certificate_source source, bool ok);
void cert_table_remove(struct cert_table *t, struct cert_entry *e);
/* Whether a certificate from a file has this name. */
bool cert_table_file_covers(const struct cert_table *t, const char *host);

/* A row that is nobody's entry, when rows are shown. */
void cert_table_put(struct cert_table *t, const struct msg_certificate *row);
/* The first time: all rows at once, and this one (may be NULL). */
void cert_table_show(struct cert_table *t, const struct msg_certificate *more);

#endif
