/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_TROUBLE_H
#define SCHEDULER_STORE_TROUBLE_H

/*
 * Whether the embedded store's file can be written, as its last transaction has shown: a disk that
 * is full or read-only, a file that was removed. While it cannot, it is tried again when somebody
 * asks, at most once a second, with a row that is removed again; so it is over as soon as there is
 * room, whether anybody changes something or not. Threading: the owner of the connection.
 */

#include <sys/types.h>
#include "scheduler/sqlite.h"

struct store_trouble {
	int folder; /* and what the file's name in it stands for */
	char name[64];
	dev_t dev;
	ino_t ino;
	struct err err; /* kind 0: none */
	uint64_t tried_ns;
};

/* Of a file that is open. Nothing is borrowed. */
int store_trouble_init(struct store_trouble *t, int folder, const char *name,
		       struct err *err) MUST_CHECK;
void store_trouble_fini(struct store_trouble *t);
/* -1: what is written from now on would be lost with this process, for the file was removed. */
int store_trouble_begin(struct store_trouble *t, sqlite3 *db, struct err *err) MUST_CHECK;

/* How a step of a transaction ended. What is not the disk's fault is no trouble. */
void store_trouble_failed(struct store_trouble *t, const struct err *err);
void store_trouble_kept(struct store_trouble *t);
/* -1: it cannot be written, and why. Tries only while no transaction is open. */
int store_trouble_look(struct store_trouble *t, sqlite3 *db, struct err *err) MUST_CHECK;

#endif
