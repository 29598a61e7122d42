/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state folder that was copied makes two nodes with one identity (docs/decisions/022).
 *
 * At the start. A folder that has not run here since this machine booted may be a copy. The node
 * holds itself back: it speaks with nobody as a member, gives no order and begins nothing, until
 * the others were asked where they hear it, and whoever answers there was asked which instance it
 * is (twin.h). Is it another one, it stays held back for good: the file `twin` says so. Nobody
 * answers, or says something else: the next process is a member.
 *
 * Later. Two that could not hear each other at first speak in two sessions. Who gets datagrams of
 * both tells the one of the older session where the other one is, and that one asks it. Of two
 * instances that live the first one stays. It goes on in a session above the other one's: its
 * containers do not notice. So does one whose older session is left from a former life of its own.
 *
 * What is believed: what the other one says itself, over TLS, with this node's own key. A member
 * only says where to ask.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "scheduler/event.h"
#include "scheduler/twin.h"

enum {
	LOOK_MS = 3000, /* the others are asked so long */
	AGAIN_MS = 10000,
	KEPT_MS = 60000, /* so long it is said of a copy that is silent */
	LOOK_NODES = 16,
};

#define MS_NS UINT64_C(1000000)
/* ---- files ---- */

static int
read_text(int folder, const char *name, char out[TWIN_FILE_MAX], struct err *err)
{
	struct buf b;

	out[0] = '\0';
	buf_init(&b, MEM_SCHEDULER, TWIN_FILE_MAX - 1);
	int rc = fd_read_file(folder, name, &b, err);
	if (rc == 0)
		text_ncopy(out, TWIN_FILE_MAX, (const char *)b.data, b.length);
	buf_fini(&b);
	return rc;
}

static int
write_instance(struct cluster *c, struct err *err)
{
	char text[TWIN_FILE_MAX];
	size_t bytes = twin_put_instance(&c->twin.here, text);

	return fd_replace(c->folder, cluster_keep_instance, text, bytes, 0600, err);
}

static int
write_mark(struct cluster *c, struct err *err)
{
	char text[ADDR_TEXT_BYTES + 1];

	addr_put(&c->twin.at, text, sizeof(text));
	return fd_replace(c->folder, cluster_keep_twin, text, strlen(text), 0600, err);
}

/* ---- the start ---- */

int
cluster_twin_open(struct cluster *c, const char *boot, struct err *err)
{
	struct twin_instance before = {0};
	char text[TWIN_FILE_MAX];
	struct err why = {0};
	struct world world;
	struct stat st;

	list_init(&c->twin.asks);
	if (!c->member)
		return 0;
	if (fstat(c->folder, &st) < 0)
		return err_sys(err, errno, "cannot look at the folder of the cluster");
	world_real(&world);
	text_copy(c->twin.here.boot, sizeof(c->twin.here.boot), boot);
	c->twin.here.device = st.st_dev;
	c->twin.here.inode = st.st_ino;
	bool known = read_text(c->folder, cluster_keep_instance, text, &why) == 0 &&
		     twin_take_instance(text, &before);
	c->twin.has_run = known && twin_is_here(&before, &c->twin.here);
	c->twin.here.born =
		c->twin.has_run ? before.born
				: twin_next(before.born, world_wall_ns(), world_random_u64(&world));
	err_clear(&why);
	if (read_text(c->folder, cluster_keep_twin, text, &why) == 0) {
		c->twin.held = c->twin.found = true;
		(void)addr_parse(text, &c->twin.at);
		return 0;
	}
	/* Without the file it has never run with a version that writes it, or it is new. */
	c->twin.held = known && !c->twin.has_run;
	return known ? 0 : write_instance(c, err);
}

static void
set_err(struct cluster *c)
{
	char at[ADDR_TEXT_BYTES];
	struct err *err = &c->twin.err;

	err_clear(err);
	if (c->twin.found) {
		addr_put(&c->twin.at, at, sizeof(at));
		err_set(err, ERR_CONFLICT, "%s is at %s, too: this one is held back", c->keep.name,
			at);
		err_why(err, "both have one state folder: one is a copy of the other");
		err_why(err, "it speaks with no other node and begins nothing; what ran here runs "
			     "on");
		err_fix(err, "zlayer leave --force here, then join as a new node; or end zlayer "
			     "there, remove state/cluster/twin in this data folder, start here");
	} else if (c->twin.copy_ns) {
		addr_put_ip(&c->twin.copy_at, at, sizeof(at));
		err_set(err, ERR_CONFLICT,
			"a second %s runs at %s, from a copy of this state "
			"folder",
			c->keep.name, at);
		err_why(err, "it is held back, and this one goes on");
		err_fix(err, "there: zlayer leave --force, then join as a new node");
	}
}

/* ---- what follows ---- */

void
cluster_twin_step_back(struct cluster *c, const struct addr *at)
{
	struct err err = {0};

	if (c->twin.found)
		return;
	c->twin.at = *at;
	c->twin.since_wall_ns = world_wall_ns();
	if (write_mark(c, &err) < 0)
		log_err(LOG_ERROR, "that this node is twice cannot be written down", &err);
	if (!c->twin.held) {
		/* As a member it has containers: they run on, held by the next process. */
		c->over = true;
		event_node(c->m, "node.twin", LOG_ERROR, NULL,
			   "%s was begun a second time here: it is held back", c->keep.name);
	}
	c->twin.held = c->twin.found = true;
	c->twin.next_ns = 0;
	c->dirty = true;
	set_err(c);
	log_err(LOG_ERROR, "this node is another one's copy", &c->twin.err);
}

/* It goes on in a session above that one, which others hear before its own. */
void
cluster_twin_outgrow(struct cluster *c, uint64_t session)
{
	struct err err = {0};

	if (!c->has_self || session < c->self.session || c->over)
		return;
	log_event(LOG_WARN, "others know a newer session of this node: it begins another one",
		  LOG_END);
	if (cluster_keep_session_above(c->folder, session, &err) < 0)
		log_err(LOG_WARN, "the session of this node cannot be written", &err);
	else
		cluster_renew_process(c);
}

void
cluster_twin_note(struct cluster *c, const struct addr *at)
{
	struct tidings_value value;
	struct addr shown = *at;
	char text[ADDR_TEXT_BYTES];
	bool news = !c->twin.copy_ns;

	shown.port = 0; /* of the question: it says nothing */
	news |= !addr_equal_ip(&shown, &c->twin.copy_at);
	c->twin.copy_at = shown;
	c->twin.copy_ns = world_mono_ns();
	if (!news)
		return;
	c->twin.copy_since_wall_ns = world_wall_ns();
	c->dirty = true;
	set_err(c);
	if (c->gossip) {
		tidings_put_twin(&shown, &value);
		c->put |= gossip_put(c->gossip, TIDINGS_TWIN, TIDINGS_ONE, value.data,
				     value.bytes) == GOSSIP_OK;
	}
	addr_put_ip(&shown, text, sizeof(text));
	event_node(c->m, "node.twin", LOG_ERROR, NULL,
		   "a second %s runs at %s, from a copy of this node's state folder; it is held "
		   "back",
		   c->keep.name, text);
}

static void
forget_copy(struct cluster *c, uint64_t now_ns)
{
	if (!c->twin.copy_ns || now_ns - c->twin.copy_ns < KEPT_MS * MS_NS)
		return;
	c->twin.copy_ns = 0;
	c->dirty = true;
	set_err(c);
	if (c->gossip)
		c->put |= gossip_drop(c->gossip, TIDINGS_TWIN, TIDINGS_ONE) == GOSSIP_OK;
	event_node(c->m, "node.twin_gone", LOG_INFO, NULL,
		   "nothing is heard any more of a second %s", c->keep.name);
}

/* ---- looking around ---- */

static void
open_gate(struct cluster *c)
{
	struct err err = {0};

	if (write_instance(c, &err) < 0) {
		/* Held back for a little longer, rather than each time anew. */
		log_err(LOG_WARN, "the instance of this node cannot be written", &err);
		c->twin.until_ns = world_mono_ns() + LOOK_MS * MS_NS;
		return;
	}
	log_event(LOG_INFO, "no other node has this one's identity", LOG_END);
	c->twin.held = false;
	cluster_renew_process(c);
}

static void
look_around(struct cluster *c)
{
	struct map_iter it = {0};
	size_t count = 0;
	struct addr at;

	c->twin.until_ns = world_mono_ns() + LOOK_MS * MS_NS;
	log_event(LOG_INFO,
		  "this state folder is new on this machine: the others are asked whether the "
		  "node is somewhere else",
		  LOG_END);
	while (count < LOOK_NODES && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node == c->keep.node || n->row.removed)
			continue;
		if (n->row.node == c->keep.via)
			cluster_twin_ask(c, n->row.node, &c->keep.via_address, TWIN_ASK, 0, NULL);
		if (addr_parse(n->row.address, &at))
			cluster_twin_ask(c, n->row.node, &at, TWIN_ASK, 0, NULL);
		count++;
	}
}

void
cluster_twin_begin(struct cluster *c)
{
	set_err(c);
	if (!c->twin.held || c->twin.found)
		return;
	look_around(c);
	if (c->twin.asks_count == 0)
		open_gate(c);
}

void
cluster_twin_turn(struct cluster *c)
{
	uint64_t now = world_mono_ns();

	if (c->twin.held && !c->twin.found && !c->over &&
	    (c->twin.asks_count == 0 || now >= c->twin.until_ns))
		open_gate(c);
}

void
cluster_twin_tick(struct cluster *c, uint64_t now_ns)
{
	size_t twins = c->twin.found || c->twin.copy_ns;
	struct map_iter it = {0};

	cluster_twin_ask_late(c, now_ns);
	forget_copy(c, now_ns);
	/* The other one knows by that that this one is still here. */
	if (c->twin.found && now_ns >= c->twin.next_ns) {
		c->twin.next_ns = now_ns + AGAIN_MS * MS_NS;
		cluster_twin_ask(c, c->keep.node, &c->twin.at, TWIN_ASK, 0, NULL);
	}
	while (map_next(&c->nodes, &it))
		twins += !addr_is_zero(&((const struct cluster_node *)it.value)->twin);
	if (c->m->metrics)
		metric_set(metrics_get(c->m->metrics, METRICS_CLUSTER_TWINS, NULL), (int64_t)twins);
}

int
cluster_twin_may(const struct cluster *c, struct err *err)
{
	if (!c->twin.held)
		return 0;
	if (c->twin.found) {
		*err = c->twin.err;
		return -1;
	}
	err_set(err, ERR_CONFLICT, "this node asks the others whether it is somewhere else, too");
	return err_fix(err, "try again in a moment");
}
