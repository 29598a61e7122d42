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
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/backup.h"
#include "scheduler/event.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_role.h"

enum { NOTE_BYTES = 64, NAME_BYTES = 64, ANSWER_S = 30, LOOK_S = 10, KEYS_BYTES = 16 << 10 };

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

static const char *
name_of(const struct cluster *c, uint32_t node, char out[NAME_BYTES])
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	if (n)
		text_copy(out, NAME_BYTES, n->row.name);
	else
		text_format(out, NAME_BYTES, "node %" PRIu32, node);
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

static int
write_aside(struct cluster *c, int folder, const char *name, struct err *err)
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
	if (fsync(fd) < 0 || renameat(folder, part, folder, name) < 0 || fsync(folder) < 0)
		return err_sys(err, errno, "cannot write to the state folder");
	return 0;
}

/* What this node's copy was, as a backup: it may have what nobody else has. */
static int
set_aside(struct cluster *c, struct err *err)
{
	char name[NAME_BYTES];
	struct err failed = {0};

	text_format(name, sizeof(name), "set-aside-%" PRIu32 ".zlayer", c->claimed.term);
	if (write_aside(c, station_folder(c->st, 0), name, &failed) == 0) {
		event_node(c->m, "node.recovered", LOG_WARN, NULL,
			   "this node's store is copied again; what it was is kept as %s in the "
			   "state folder",
			   name);
		return 0;
	}
	/* A copy that is damaged cannot be kept, and need not be. */
	if (failed.kind != ERR_CORRUPT) {
		*err = failed;
		return -1;
	}
	log_err(LOG_WARN, "what this node's store was is not kept", &failed);
	return 0;
}

/* The next process has no copy, and takes what the writer has. */
static int
begin_anew(struct cluster *c, struct err *err)
{
	struct store *rows = store_local(c->m->store);

	if (set_aside(c, err) < 0 || store_begin(rows, err) < 0)
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

/* ---- what the others say ---- */

void
cluster_recover_heard(struct cluster *c, uint32_t node, const void *value, size_t bytes)
{
	struct cluster_term told = {.node = node};

	if (!cluster_has(c, node) || node == c->keep.node ||
	    !tidings_take_writer(value, bytes, &told.term) || !beats(&told, &c->claimed))
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
	char name[NAME_BYTES], note[NOTE_BYTES];
	struct err why = {0}, err = {0};

	name_of(c, c->claimed.node, name);
	err_set(&why, ERR_UNREACHABLE, "%s takes the changes of this cluster now", name);
	err_why(&why, "the store was recovered there without this node (term %" PRIu32 ")",
		c->claimed.term);
	err_fix(&why,
		"on this node: zlayer recover --rejoin; it follows %s then, and what only it "
		"has kept is set aside",
		name);
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
	if (begin_anew(c, &err) < 0) {
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

/* ---- the question ---- */

static bool
is_alive(const struct cluster_node *n)
{
	return n && !n->row.removed && (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT);
}

static void
describe(struct cluster *c, struct msg_recovered *out)
{
	struct store_status status;
	char name[NAME_BYTES];
	struct cluster_term row = term_of_row(c);
	uint32_t writer = cluster_writer(c);
	size_t nodes = cluster_roster_count(c);

	store_status(c->m->store, &status);
	*out = (struct msg_recovered){
		.term = 1 + (beats(&c->claimed, &row) ? c->claimed.term : row.term),
		.sequence = status.sequence,
		.keeper = cluster_keeper(c),
		.others = nodes ? (uint32_t)nodes - 1 : 0,
		.alive = (uint32_t)cluster_roster_live(c),
		.not_after_s = c->not_after_s,
	};
	if (writer)
		text_copy(out->writer, sizeof(out->writer), name_of(c, writer, name));
	else
		text_copy(out->writer, sizeof(out->writer), "etcd");
}

static int
refuse_newer(struct cluster *c, uint64_t sequence, struct err *err)
{
	struct map_iter it = {0};
	const struct cluster_node *best = NULL;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node != c->keep.node && is_alive(n) && n->load.sequence > sequence &&
		    (!best || n->load.sequence > best->load.sequence))
			best = n;
	}
	if (!best)
		return 0;
	err_set(err, ERR_CONFLICT, "%s has a newer copy of the store than this node",
		best->row.name);
	err_why(err, "that is at change %" PRIu64 ", this one at %" PRIu64, best->load.sequence,
		sequence);
	return err_fix(err, "on %s: zlayer recover --force-single", best->row.name);
}

/* With etcd: by gossip, which needs no etcd. What cannot be reached from here alone is not lost. */
static int
refuse_majority(struct cluster *c, struct err *err)
{
	size_t voters = 0, there = 0;

	if (world_mono_ns() - c->started_ns < (uint64_t)LOOK_S * CLUSTER_SECOND_NS) {
		err_set(err, ERR_UNREACHABLE, "this node has just begun to look for the others");
		return err_fix(err, "try again in %d s", LOOK_S);
	}
	for (size_t i = 0; i < c->voters.rows_count; i++) {
		const struct store_voter *row = &c->voters.rows[i];

		if (row->phase != STORE_VOTER_VOTES && row->phase != STORE_VOTER_BEGINS)
			continue;
		voters++;
		there += row->node != c->keep.node && is_alive(cluster_roster_find(c, row->node));
	}
	if (voters == 0 || 2 * there <= voters)
		return 0;
	err_set(err, ERR_CONFLICT, "%zu of the %zu nodes that keep the store are there", there,
		voters);
	return err_fix(err, "nothing is to be recovered: zlayer cluster show says why they are not "
			    "reached; if etcd is broken on them, end zlayer there first");
}

/* Only what nobody can change any more is recovered. */
static int
may_take_over(struct cluster *c, struct err *err)
{
	struct store_status status;
	uint32_t writer = cluster_writer(c);
	const struct cluster_node *n = cluster_roster_find(c, writer);
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	char name[NAME_BYTES], expected[NOTE_BYTES];

	if (self && self->row.removed) {
		err_set(err, ERR_DENIED, "this node was sent away from the cluster");
		return err_fix(err, "recover on one that was not; here: zlayer leave");
	}
	if (c->etcd && refuse_majority(c, err) < 0)
		return -1;
	if (is_alive(n)) {
		err_set(err, ERR_CONFLICT, "%s takes the changes of the store, and is there",
			name_of(c, writer, name));
		return err_fix(err,
			       "nothing is to be recovered: zlayer cluster show; if %s is "
			       "broken, end zlayer there first",
			       name);
	}
	if (n && !n->row.removed && n->state == GOSSIP_UNKNOWN &&
	    world_mono_ns() - c->started_ns < (uint64_t)LOOK_S * CLUSTER_SECOND_NS) {
		err_set(err, ERR_UNREACHABLE, "this node has just begun to look for %s",
			name_of(c, writer, name));
		return err_fix(err, "try again in %d s", LOOK_S);
	}
	store_status(c->m->store, &status);
	if (status.writable) {
		err_set(err, ERR_CONFLICT, "the store takes changes");
		return err_fix(err, "nothing is to be recovered: zlayer cluster show");
	}
	if (store_get_note(store_local(c->m->store), "copy.expected", expected, sizeof(expected),
			   err) < 0)
		return -1;
	if (!status.sequence || expected[0]) {
		err_set(err, ERR_CONFLICT, "this node has no copy of the store");
		return err_fix(err, "recover on a node that has one; or restore a backup on a node "
				    "in no cluster (docs/cluster.md)");
	}
	return refuse_newer(c, status.sequence, err);
}

static int
take_over(struct cluster *c, struct err *err)
{
	struct store *rows = store_local(c->m->store);
	struct msg_recovered now;
	char note[NOTE_BYTES];

	describe(c, &now);
	text_format(note, sizeof(note), "%" PRIu32, now.term);
	if (store_begin(rows, err) < 0)
		return -1;
	int rc = store_serve_take_over(rows, now.term, err);
	if (rc == 0)
		rc = store_role_put(rows, STORE_ROLE_SERVE, err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_FENCED, "", err);
	if (rc == 0)
		rc = store_put_note(rows, NOTE_TERM, note, err);
	return commit(rows, rc, err);
}

static int
take_keys(struct cluster *c, int fd, struct err *err)
{
	struct buf pem;

	buf_init(&pem, MEM_SCHEDULER, KEYS_BYTES);
	int rc = fd_read_all(fd, &pem, err);
	if (rc == 0 && !cluster_keeper(c))
		rc = cluster_keepers_take(c, pem.data, pem.length, err);
	if (pem.data)
		mem_wipe(pem.data, pem.capacity);
	buf_fini(&pem);
	return rc;
}

static void
answer(struct cluster *c, const struct station_request *q, bool done)
{
	struct msg_recovered out;

	describe(c, &out);
	out.done = done;
	if (done)
		out.term = c->claimed.term > c->row.term ? c->claimed.term : c->row.term;
	cluster_answer(c, q, &out, sizeof(out), NULL, 0);
}

static bool
is_writer(const struct cluster *c)
{
	return c->serve && !c->fenced && c->recover_term <= c->row.term &&
	       c->row.writer == c->keep.node;
}

static int
single(struct cluster *c, const struct station_request *q, const struct msg_recover *asked, int fd,
       struct err *err)
{
	bool going = c->serve && !c->fenced;

	if (!going && may_take_over(c, err) < 0)
		return -1;
	if (asked->dry_run) {
		answer(c, q, is_writer(c));
		return 0;
	}
	if (fd >= 0 && take_keys(c, fd, err) < 0)
		return -1;
	if (is_writer(c)) {
		answer(c, q, true);
		return 0;
	}
	if (going) { /* its row is on the way */
		c->asked = *q;
		c->asked_until_ns = world_mono_ns() + (uint64_t)ANSWER_S * CLUSTER_SECOND_NS;
		return 0;
	}
	if (take_over(c, err) < 0)
		return -1;
	cluster_renew_process(c); /* the next one writes the row, and answers */
	return 0;
}

static int
rejoin(struct cluster *c, const struct station_request *q, const struct msg_recover *asked,
       struct err *err)
{
	if (c->follow) {
		answer(c, q, true);
		return 0;
	}
	if (!c->fenced) {
		err_set(err, ERR_CONFLICT, "no other node takes the changes of this node's store");
		return err_fix(err, "zlayer cluster show");
	}
	if (asked->dry_run) {
		answer(c, q, false);
		return 0;
	}
	if (begin_anew(c, err) < 0)
		return -1;
	log_event(LOG_WARN, "this node follows the node that takes the changes now", LOG_END);
	cluster_renew_process(c); /* the next one answers */
	return 0;
}

static int
ask(struct cluster *c, const struct station_request *q, const struct msg_recover *asked, int fd,
    struct err *err)
{
	if (!c->member) {
		err_set(err, ERR_CONFLICT, "this node is in no cluster");
		return err_fix(err, "nothing is to be recovered; zlayer restore brings a backup "
				    "back");
	}
	if (cluster_may_change(c, err) < 0)
		return -1;
	if (c->asked_until_ns)
		return err_set(err, ERR_CONFLICT, "the store is being recovered already");
	return asked->how == MSG_RECOVER_SINGLE ? single(c, q, asked, fd, err)
						: rejoin(c, q, asked, err);
}

void
cluster_recover_request(struct cluster *c, const struct station_request *q, const void *body,
			size_t bytes, const int *fds, size_t count)
{
	struct msg_recover asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (asked.how < MSG_RECOVER_SINGLE || asked.how > MSG_RECOVER_FOLLOW || count > 1)
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = ask(c, q, &asked, count ? fds[0] : -1, &err);
	if (rc < 0)
		cluster_refuse(c, q, &err);
}

/* ---- each second ---- */

static void
answer_asked(struct cluster *c, uint64_t now_ns)
{
	struct err err = {0};

	if (!c->asked_until_ns)
		return;
	if (is_writer(c)) {
		answer(c, &c->asked, true);
	} else if (now_ns > c->asked_until_ns) {
		err_set(&err, ERR_TIMEOUT, "this node does not write the store yet");
		err_fix(&err, "zlayer cluster show says why; it goes on trying");
		cluster_refuse(c, &c->asked, &err);
	} else {
		return;
	}
	c->asked_until_ns = 0;
}

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
	answer_asked(c, now_ns);
}
