/* SPDX-License-Identifier: Apache-2.0 */
/* One word in the file, written when a node founds a cluster, joins or leaves one, or moves. */
#include "scheduler/store_role.h"

#include <assert.h>
#include <string.h>

enum { WORD_BYTES = 32 };

#define NOTE "cluster.engine"

static const char *const names[] = {
	[STORE_ROLE_ALONE] = "",          [STORE_ROLE_SERVE] = "serve",
	[STORE_ROLE_FOLLOW] = "follow",   [STORE_ROLE_ETCD] = "etcd",
	[STORE_ROLE_OUTSIDE] = "outside",
};

const char *
store_role_name(enum store_role role)
{
	assert(role < sizeof(names) / sizeof(names[0]));
	return names[role];
}

int
store_role_get(struct store *rows, enum store_role *out, struct err *err)
{
	char word[WORD_BYTES];

	if (store_get_note(rows, NOTE, word, sizeof(word), err) < 0)
		return -1;
	for (unsigned role = 0; role < sizeof(names) / sizeof(names[0]); role++) {
		*out = role;
		if (!strcmp(word, names[role]))
			return 0;
	}
	err_set(err, ERR_UNSUPPORTED, "the store is kept by an engine that is not known: %s", word);
	return err_fix(err, "upgrade zlayer on this node");
}

int
store_role_put(struct store *rows, enum store_role role, struct err *err)
{
	return store_put_note(rows, NOTE, store_role_name(role), err);
}

static void
take_row(void *arg, const void *row)
{
	const struct store_cluster *cluster = row;
	enum store_role *out = arg;

	*out = cluster->outside ? STORE_ROLE_OUTSIDE : STORE_ROLE_ETCD;
}

int
store_role_moved(struct store *rows, enum store_role *out, struct err *err)
{
	*out = STORE_ROLE_ETCD;
	return store_each(rows, STORE_CLUSTER, 0, 0, take_row, out, err);
}
