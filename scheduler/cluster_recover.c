/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the node that takes the changes is lost for good, the copy of another one becomes the store,
 * because somebody says so (`zlayer recover --force-single`). What keeps two stores apart is the
 * term: a number in the cluster's row, one higher with each recovery. The new writer tells it to
 * everybody, and of two that tell one the higher term counts, then the lower node.
 *
 * Who follows goes to that node by itself. If its copy does not fit there any more (it has changes
 * that were not known where the store was recovered) it is set aside and copied again. A writer
 * that hears of a higher term than its own takes no change any more, also after a restart, and says
 * what to do: what only it has would be lost, so somebody is to say that (`--rejoin`).
 *
 * Both become durable in one step beside the rows, then the process ends, and its successor goes on
 * from there. A copy is never set back but here.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/backup.h"
#include "scheduler/event.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_role.h"

enum {
	NOTE_BYTES = 64,
	ASIDE_MAX = 100,  /* files of one term */
	AHEAD_MAX = 1024, /* of the row's term: who tells a higher one has made it up */
};

#define NOTE_TERM "recover.term"     /* that this node is to write in; until its row says so */
#define NOTE_FENCED "recover.fenced" /* "TERM NODE": who writes instead of this node */

/* ---- terms ---- */

static bool
beats(const struct cluster_term *a, const struct cluster_term *b)
{
	return a->term > b->term || (a->term == b->term && a->term > 0 && a->node < b->node);
}

static struct cluster_term
term_of_row(const struct cluster *c)
{
	return (struct cluster_term){.term = c->row.term, .node = c->row.writer};
}

uint32_t
cluster_recover_writer(const struct cluster *c)
{
	struct cluster_term row = term_of_row(c);

	if (c->recover_term > c->row.term)
		return c->keep.node;
	return beats(&c->claimed, &row) ? c->claimed.node : 0;
}

uint32_t
cluster_recover_term(const struct cluster *c)
{
	return c->claimed.term > c->row.term ? c->claimed.term : c->row.term;
}

const char *
cluster_recover_name(const struct cluster *c, uint32_t node, char out[CLUSTER_RECOVER_NAME])
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	if (n)
		text_copy(out, CLUSTER_RECOVER_NAME, n->row.name);
	else
		text_format(out, CLUSTER_RECOVER_NAME, "node %" PRIu32, node);
	return out;
}

/* ---- notes ---- */

static int
read_term(struct cluster *c, struct store *rows, struct err *err)
{
	char note[NOTE_BYTES], *at = note;
	uint64_t term = 0, node = 0;

	if (store_get_note(rows, NOTE_TERM, note, sizeof(note), err) < 0)
		return -1;
	if (note[0] && !text_u64(note, UINT32_MAX, &term))
		return err_set(err, ERR_CORRUPT, "the store's term is none");
	c->recover_term = (uint32_t)term;
	if (store_get_note(rows, NOTE_FENCED, note, sizeof(note), err) < 0)
		return -1;
	if (!note[0])
		return 0;
	const char *first = strsep(&at, " ");
	if (!at || !text_u64(first, UINT32_MAX, &term) || !text_u64(at, UINT32_MAX, &node))
		return err_set(err, ERR_CORRUPT, "the store does not say who writes it now");
	c->claimed = (struct cluster_term){.term = (uint32_t)term, .node = (uint32_t)node};
	return 0;
}

int
cluster_recover_read(struct cluster *c, struct store *rows, struct err *err)
{
	return c->member ? read_term(c, rows, err) : 0;
}

static int
commit(struct store *rows, int rc, struct err *err)
{
	if (rc == 0)
		return store_commit(rows, err);
	store_abort(rows);
	return -1;
}

static int
put_note(struct cluster *c, const char *name, const char *text, struct err *err)
{
	struct store *rows = store_local(c->m->store);

	if (store_begin(rows, err) < 0)
		return -1;
	return commit(rows, store_put_note(rows, name, text, err), err);
}

/* ---- what is set aside ---- */

static int
to_file(void *arg, const void *data, size_t bytes, struct err *err)
{
	return fd_write_all(*(const int *)arg, data, bytes, err);
}

/* What was set aside before, in the same term, stays. -1: errno. */
static int
name_it(const struct cluster *c, int folder, const char *part, char name[CLUSTER_RECOVER_NAME])
{
	text_format(name, CLUSTER_RECOVER_NAME, "set-aside-%" PRIu32 ".zlayer", c->claimed.term);
	for (unsigned again = 2;; again++) {
		if (renameat2(folder, part, folder, name, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST || again > ASIDE_MAX)
			return -1;
		text_format(name, CLUSTER_RECOVER_NAME, "set-aside-%" PRIu32 "-%u.zlayer",
			    c->claimed.term, again);
	}
}

static int
write_aside(struct cluster *c, int folder, char name[CLUSTER_RECOVER_NAME], struct err *err)
{
	static const char part[] = "set-aside.part";
	struct backup_head head;

	if (cluster_backup_head(c, &head, err) < 0)
		return -1;
	(void)unlinkat(folder, part, 0);
	defer_close int fd =
		openat(folder, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "cannot write to the state folder");
	if (backup_write(&head, c->m->store, NULL, 0, to_file, &fd, err) < 0)
		return -1;
	if (fsync(fd) < 0 || name_it(c, folder, part, name) < 0 || fsync(folder) < 0)
		return err_sys(err, errno, "cannot write to the state folder");
	return 0;
}

/* What this node's copy was, as a backup: it may have what nobody else has. "": it was damaged. */
static int
set_aside(struct cluster *c, char name[CLUSTER_RECOVER_NAME], struct err *err)
{
	struct err failed = {0};

	if (write_aside(c, station_folder(c->st, 0), name, &failed) == 0)
		return 0;
	name[0] = '\0';
	/* A copy that is damaged cannot be kept, and need not be. */
	if (failed.kind != ERR_CORRUPT) {
		*err = failed;
		return -1;
	}
	log_err(LOG_WARN, "what this node's store was is not kept", &failed);
	return 0;
}

static int
forget_copy(struct store *rows, struct err *err)
{
	if (store_begin(rows, err) < 0)
		return -1;
	int rc = store_copy_expect(rows, err);
	if (rc == 0)
		rc = store_role_put(rows, STORE_ROLE_FOLLOW, err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_FENCED, "", err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_TERM, "", err);
	return commit(rows, rc, err);
}

int
cluster_recover_begin_anew(struct cluster *c, struct err *err)
{
	char name[CLUSTER_RECOVER_NAME];

	if (set_aside(c, name, err) < 0)
		return -1;
	if (forget_copy(store_local(c->m->store), err) < 0) {
		/* It is set aside again then. */
		(void)unlinkat(station_folder(c->st, 0), name, 0);
		return -1;
	}
	if (name[0])
		event_node(c->m, "node.recovered", LOG_WARN, NULL,
			   "this node's store is copied again; what it was is kept as %s in the "
			   "state folder",
			   name);
	return 0;
}

int
cluster_recover_take_over(struct cluster *c, uint32_t term, struct err *err)
{
	struct store *rows = store_local(c->m->store);
	char note[NOTE_BYTES];

	text_format(note, sizeof(note), "%" PRIu32, term);
	if (store_begin(rows, err) < 0)
		return -1;
	int rc = store_serve_take_over(rows, term, err);
	if (rc == 0)
		rc = store_role_put(rows, STORE_ROLE_SERVE, err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_FENCED, "", err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_TERM, note, err);
	return commit(rows, rc, err);
}

/* ---- what the others say ---- */

void
cluster_recover_heard(struct cluster *c, uint32_t node, const void *value, size_t bytes)
{
	struct cluster_term told = {.node = node};

	if (!cluster_has(c, node) || node == c->keep.node ||
	    !tidings_take_writer(value, bytes, &told.term) || !beats(&told, &c->claimed) ||
	    (told.term > c->row.term && told.term - c->row.term > AHEAD_MAX))
		return;
	c->claimed = told;
	c->dirty = true;
}

/* Also those who spoke before their row was here. */
static void
look(struct cluster *c)
{
	struct map_iter it = {0};
	struct gossip_entry e;

	while (c->gossip && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (gossip_get(c->gossip, n->row.node, TIDINGS_WRITER, TIDINGS_ONE, &e))
			cluster_recover_heard(c, n->row.node, e.value, e.bytes);
	}
}

static void
fence(struct cluster *c)
{
	char name[CLUSTER_RECOVER_NAME], note[NOTE_BYTES];
	struct err why = {0}, err = {0};

	cluster_recover_name(c, c->claimed.node, name);
	err_set(&why, ERR_UNREACHABLE, "%s takes the changes of this cluster now", name);
	err_why(&why, "the store was recovered there without this node (term %" PRIu32 ")",
		c->claimed.term);
	err_fix(&why,
		"on this node: zlayer recover --rejoin; it follows %s then, and what only it "
		"has kept is set aside",
		name);
	cluster_move_end(c); /* what is recovered goes another way */
	store_serve_fence(c->serve, &why);
	c->fenced = true;
	c->fence_err = why;
	c->dirty = true;
	text_format(note, sizeof(note), "%" PRIu32 " %" PRIu32, c->claimed.term, c->claimed.node);
	log_err(LOG_ERROR, "this node takes no change any more", &why);
	if (put_note(c, NOTE_FENCED, note, &err) < 0)
		log_err(LOG_ERROR, "this is not known after a restart", &err);
}

/* Its copy does not fit what the writer has now: only a recovery can have made that so. */
static void
look_at_copy(struct cluster *c)
{
	struct store_status status;
	struct err err = {0};

	store_status(c->m->store, &status);
	if (status.writable || status.why.kind != ERR_CORRUPT)
		return;
	if (cluster_recover_begin_anew(c, &err) < 0) {
		log_err(LOG_ERROR, "this node's copy of the store cannot be copied again", &err);
		return;
	}
	log_err(LOG_WARN, "this node's store is copied again", &status.why);
	cluster_renew_process(c);
}

/* The members of etcd were given up: one of their copies is the store now. */
static void
turn_to_follow(struct cluster *c)
{
	struct store *rows = store_local(c->m->store);
	struct err err = {0};
	int rc = store_begin(rows, &err);

	if (rc == 0)
		rc = commit(rows, store_role_put(rows, STORE_ROLE_FOLLOW, &err), &err);
	if (rc < 0)
		log_err(LOG_ERROR, "this node cannot follow the node that writes now", &err);
	else
		cluster_renew_process(c);
}

/* ---- the row of a new writer ---- */

static int
put_term(void *arg, struct store *s, struct err *err)
{
	struct cluster *c = arg;
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	struct store_cluster row = c->row;
	struct store_node node;

	if (row.id != 0 && store_get(s, STORE_CLUSTER, row.id, &row, err) < 0)
		return -1;
	if (!row.created_wall_ns)
		row.created_wall_ns = world_wall_ns();
	if (!row.admission)
		row.admission = MSG_ADMISSION_TOKEN;
	row.writer = c->keep.node;
	row.term = c->recover_term;
	/* An etcd that was given up, or was on its way: another one begins from nothing. */
	row.moving = 0;
	row.outside = 0;
	if (store_put(s, STORE_CLUSTER, &row, err) < 0 ||
	    store_drop_through(s, STORE_VOTER, INT64_MAX, err) < 0)
		return -1;
	if (!self || self->row.id == 0 || self->row.keeper || !cluster_keeper(c))
		return 0;
	if (store_get(s, STORE_NODE, self->row.id, &node, err) < 0)
		return -1;
	node.keeper = 1;
	return store_put(s, STORE_NODE, &node, err);
}

static void
term_kept(void *arg, const struct err *err)
{
	struct cluster *c = arg;
	struct err failed = {0};

	c->recovering = false;
	if (err) {
		log_err(LOG_ERROR, "that this node writes the store now was not written", err);
		return;
	}
	if (put_note(c, NOTE_TERM, "", &failed) < 0)
		log_err(LOG_WARN, "a note of the store stays, and does no harm", &failed);
	event_node(c->m, "node.recovered", LOG_WARN, NULL,
		   "this node takes the changes of the cluster now: its copy is the store (term "
		   "%" PRIu32 ")",
		   c->recover_term);
	c->rows_changed = true;
}

static void
write_term(struct cluster *c)
{
	struct err err = {0};

	if (c->recovering || !list_empty(&c->changes))
		return;
	if (cluster_store_change(c, put_term, term_kept, c, &err) == 0)
		c->recovering = true;
	else
		log_err(LOG_ERROR, "that this node writes the store now was not written", &err);
}

static void
tell_term(struct cluster *c)
{
	struct tidings_value value;

	if (!c->gossip || c->fenced || c->row.term == 0 || c->row.writer != c->keep.node)
		return;
	tidings_put_writer(c->row.term, &value);
	c->put |= gossip_put(c->gossip, TIDINGS_WRITER, TIDINGS_ONE, value.data, value.bytes) ==
		  GOSSIP_OK;
}

/* ---- each second ---- */

void
cluster_recover_tick(struct cluster *c, uint64_t now_ns)
{
	struct cluster_term row = term_of_row(c);

	if (!c->m || c->over)
		return;
	look(c);
	if (c->serve && !c->fenced && beats(&c->claimed, &row) &&
	    c->claimed.term >= c->recover_term && c->claimed.node != c->keep.node)
		fence(c);
	if (c->serve && !c->fenced && c->recover_term > c->row.term)
		write_term(c);
	if (c->follow && beats(&c->claimed, &row))
		look_at_copy(c);
	else if (!c->serve && !c->follow && beats(&c->claimed, &row))
		turn_to_follow(c);
	tell_term(c);
	cluster_recover_answer(c, now_ns);
}
