/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_VOTERS_H
#define SCHEDULER_VOTERS_H

/*
 * Which nodes keep the store's etcd, as a pure function: the nodes as they are and the time come
 * in, at most one change comes out. It remembers nothing, so any node may ask it, and after any
 * crash the next answer goes on from what etcd's list of members says.
 *
 *   - etcd begins when VOTERS_FEW nodes are able to run it; there are 3 voters, or 5 as soon as so
 *     many nodes are able: so any one of three, and any two of five nodes may die;
 *   - a new member is a learner first and becomes a voter when it has caught up; one change at a
 *     time;
 *   - a voter that has been dead for long (VOTERS_REPLACE_MS) is replaced while a majority lives
 *     and another node is able: it goes first, since etcd adds nobody while a voter does not
 * answer, and the majority is borne by the others anyway; then the other one is added. One that is
 *     drained goes only when the one that takes its place has caught up;
 *   - a voter whose data is damaged goes at once, also without another node: it is borne by the
 *     majority like a dead one, but is of no use any more; its node may be the one that is added;
 *   - a node whose etcd never comes up is chosen last. A learner there is given up for another
 *     node, if there is one, and stays as it is while there is none;
 *   - nothing is ever removed because it cannot be seen: without another node the dead voter stays.
 *     Only who was sent away from the cluster goes without a successor;
 *   - no change is made that would leave less than a majority of voters alive;
 *   - a voter is never moved for balance alone.
 *
 * Who is new is taken from the zone with the fewest voters; then who has lived longest.
 * No I/O, no clock, no allocation. Times are monotonic nanoseconds of who asks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VOTERS_FEW = 3,
	VOTERS_MANY = 5,
	VOTERS_SETTLE_MS = 10000,       /* a node has been alive so long before it is chosen */
	VOTERS_REPLACE_MS = 600000,     /* a voter has been dead so long, by default */
	VOTERS_LEARN_MS = 300000,       /* a learner that has not caught up by then is given up */
	VOTERS_LEARNER_DEAD_MS = 60000, /* so is one that has been dead so long */
};

enum voters_standing { VOTERS_NOT, VOTERS_LEARNER, VOTERS_VOTER };

struct voters_node {
	uint32_t node; /* not 0 */
	enum voters_standing standing;
	uint64_t zone; /* 0: none, which is a zone, too */
	bool able;     /* etcd is installed, and the node is willing */
	bool fails;    /* its etcd does not come up, and has not in this life of its member */
	bool live;
	bool ruined;          /* the data of its member is damaged: that one never votes again */
	bool draining;        /* is to give up its duty when another one has it */
	bool removed;         /* sent away from the cluster, or left it */
	bool caught_up;       /* a learner, with what the voters have */
	uint64_t since_ns;    /* when it was seen to live, or to be dead */
	uint64_t standing_ns; /* a learner's: since when it is one */
};

enum voters_verb {
	VOTERS_REST,    /* nothing is to be done now */
	VOTERS_BEGIN,   /* there is no etcd yet: this node begins one, alone */
	VOTERS_ADD,     /* as a learner */
	VOTERS_PROMOTE, /* to a voter */
	VOTERS_REMOVE,
};

enum voters_why {
	VOTERS_WHY_ENOUGH,    /* all is as it should be */
	VOTERS_WHY_FEW,       /* fewer than VOTERS_FEW nodes are able */
	VOTERS_WHY_GROW,      /* there are fewer voters than there should be */
	VOTERS_WHY_LEARNS,    /* a learner has not caught up yet */
	VOTERS_WHY_NO_QUORUM, /* no change is possible */
	VOTERS_WHY_NO_NODE,   /* a voter should be replaced, or added, and no node is able to */
	VOTERS_WHY_DEAD,      /* a voter, or a learner, has been dead for too long */
	VOTERS_WHY_RUINED,    /* the data of a member is damaged */
	VOTERS_WHY_DRAINS,
	VOTERS_WHY_REMOVED,
	VOTERS_WHY_SLOW,   /* a learner that does not catch up */
	VOTERS_WHY_FAILS,  /* a learner whose etcd does not come up */
	VOTERS_WHY_UNSAFE, /* the change would leave no majority alive */
};

struct voters_decision {
	enum voters_verb verb;
	enum voters_why why;
	uint32_t node;      /* that it is about; 0: none */
	uint32_t successor; /* of REMOVE: the learner that takes its place; 0 none */
	unsigned voters, live, wanted;
	uint64_t due_ns; /* when time alone changes the answer; UINT64_MAX: never */
};

/* nodes: in the order of ids, each once; all of the cluster, and what etcd's list has beside them.
 * first: who begins, if it can (it has the store now); 0: anybody. replace_ms: how long a voter has
 * been dead when it is replaced (VOTERS_REPLACE_MS unless somebody wants it otherwise). */
void voters_decide(const struct voters_node *nodes, size_t count, uint32_t first,
		   uint64_t replace_ms, uint64_t now_ns, struct voters_decision *out);
/* Whether a member that is begun on this node now may be expected to come up. */
bool voters_fit(const struct voters_node *n, uint64_t now_ns);
const char *voters_why_text(enum voters_why why);

#endif
