/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the store's file is damaged. What is only a copy of another node's is set aside, and the
 * next process copies it anew; what others follow, or is alone, stays where it is, for somebody to
 * decide. The file itself cannot be asked which of the two it is: the file `engine` in the folder
 * of the cluster says so, written before the store is used.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "scheduler/event.h"

enum { ENGINE_BYTES = 32 };

static const char engine_file[] = "engine", file_name[] = "zlayer.db",
		  set_aside[] = "zlayer.db.damaged";

/* "" not known. */
static void
read_engine(const struct cluster *c, char out[ENGINE_BYTES])
{
	struct err ignored = {0};
	struct buf b;

	out[0] = '\0';
	buf_init(&b, MEM_SCHEDULER, ENGINE_BYTES);
	if (fd_read_file(c->folder, engine_file, &b, &ignored) == 0)
		text_ncopy(out, ENGINE_BYTES, (const char *)b.data, b.length);
	buf_fini(&b);
}

static bool
was_copy(const struct cluster *c)
{
	char engine[ENGINE_BYTES];

	read_engine(c, engine);
	for (enum store_role role = STORE_ROLE_FOLLOW; role <= STORE_ROLE_OUTSIDE; role++) {
		if (text_equal(engine, store_role_name(role)))
			return true;
	}
	return false;
}

int
cluster_anew_note(struct cluster *c, enum store_role role, struct err *err)
{
	const char *name = store_role_name(role);
	char engine[ENGINE_BYTES];

	if (!c->member)
		return 0;
	read_engine(c, engine);
	if (text_equal(engine, name) ||
	    fd_replace(c->folder, engine_file, name, strlen(name), 0600, err) == 0)
		return 0;
	/* A full disk is no reason not to serve. Not known is safe, what it was is not. */
	if (unlinkat(c->folder, engine_file, 0) < 0 && errno != ENOENT)
		return -1;
	log_err(LOG_WARN, "which part of the store this is cannot be written down", err);
	err_clear(err);
	return 0;
}

void
cluster_anew_begun(struct cluster *c)
{
	c->anew = was_copy(c);
}

void
cluster_anew_tell(struct cluster *c)
{
	if (!c->anew)
		return;
	c->anew = false;
	event_node(c->m, "store.anew", LOG_WARN, NULL,
		   "this node's copy of the store was damaged or gone: it is copied again from the "
		   "other nodes");
}

void
cluster_damaged(struct cluster *c, struct err *err)
{
	int state = station_folder(c->st, 0);

	/* Of one that has just been begun it is not the file that is damaged. */
	if (err->kind != ERR_CORRUPT || !c->member || c->anew)
		return;
	if (!was_copy(c)) {
		err_fix(err, "put a copy of the file back; or, on another node: zlayer recover "
			     "--force-single, and then move the file away here: this node "
			     "follows that one. What runs goes on meanwhile");
		return;
	}
	/* What has yet to be written into it is of no use without it. */
	if (renameat(state, file_name, state, set_aside) < 0 ||
	    (unlinkat(state, "zlayer.db-wal", 0) < 0 && errno != ENOENT) || fsync(state) < 0) {
		err_why(err, "it cannot be set aside: %s", strerror(errno));
		err_fix(err, "move the file away: it is copied again from the other nodes. What "
			     "runs goes on meanwhile");
		return;
	}
	err_why(err, "it was a copy, and is set aside as state/%s", set_aside);
	err_fix(err, "nothing: it is copied again from the other nodes");
}
