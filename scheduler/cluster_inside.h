/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_INSIDE_H
#define SCHEDULER_CLUSTER_INSIDE_H

/* What the files of the cluster share; nobody else includes this. */

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "scheduler/backup.h"
#include "scheduler/cluster.h"
#include "scheduler/clocks.h"
#include "scheduler/cluster_callback.h"
#include "scheduler/cluster_keep.h"
#include "scheduler/cluster_outside.h"
#include "scheduler/drains.h"
#include "scheduler/cluster_voters.h"
#include "scheduler/flows.h"
#include "scheduler/gossip/gossip.h"
#include "scheduler/ipam.h"
#include "scheduler/petition.h"
#include "scheduler/shell.h"
#include "scheduler/store_follow.h"
#include "scheduler/store_role.h"
#include "scheduler/store_serve.h"
#include "scheduler/tidings.h"
#include "scheduler/twin.h"

enum {
	CLUSTER_GOSSIP = 1, /* the core's service number */
	CLUSTER_TICK_MS = 1000,
	CLUSTER_STUCK_MS =
		5000, /* until a node of which the store takes nothing conducts nothing */
	CLUSTER_SECOND_NS = 1000000000,
	CLUSTER_RECOVER_NAME = 64, /* bytes of a node's name, for people */
};

/* A node of the roster. */
struct cluster_node {
	struct store_node row; /* id 0: it has none here yet, and what is in it came otherwise */
	bool peer;             /* given to shell and gossip */
	struct addr given;     /* the address that the shell was given last */
	enum gossip_state state;
	uint32_t accuser;
	int64_t since_wall_ns; /* of the state */
	uint64_t since_ns;     /* likewise, monotonic; 0: before this process */
	bool announced;        /* that it came is told, or was so before this process */
	bool has_facts;
	struct tidings_facts facts;
	struct tidings_load load;
	bool has_voter;
	struct tidings_voter voter;
	uint64_t wrote_ns;     /* when it last ceased to say TIDINGS_VOTER_WRITES; 0: it did not */
	int64_t stuck_wall_ns; /* when it was heard that the store takes nothing of it; 0: it does
				*/
	bool has_pair;
	uint8_t pair[ENVELOPE_KEY];    /* cluster_seal.c: of this node and that one */
	uint8_t pair_of[ENVELOPE_KEY]; /* made with this key of it */
	uint64_t mark;                 /* of the look at the rows that saw it last */
	/* cluster_heard.c */
	int64_t unreached_wall_ns; /* it lives, and no sealed packet comes from it since then; 0 */
	struct addr twin;          /* it runs there, too (cluster_twin.c); zero: it does not */
	uint32_t via;              /* who passes on what is sealed for it; 0: nobody does */
};

/* Something that keepers are asked for, until they give it. */
struct cluster_asking {
	struct petition *petition;
	uint64_t at_ns, wait_s;
};

/* What this node calls etcd with: PEM, NUL behind it. */
struct cluster_pass {
	struct buf leaf, authority, key;
	int64_t since_s;
	uint64_t number; /* 0: has none */
};

/* What the files of this node's etcd were made of. */
struct cluster_order_mark {
	int64_t day;
	uint64_t sent_away, addresses;
	uint8_t digest[32];
};

/* Who takes the changes of the store, and the how-manieth that is to do so. */
struct cluster_term {
	uint32_t term, node;
};

/* This node somewhere else, too. */
struct cluster_twin {
	struct twin_instance here;
	bool has_run; /* this folder, on this machine, since it booted */
	bool held;    /* nothing of a member is done, and nothing begun */
	bool found;   /* for good: the other one is */
	struct addr at;
	int64_t since_wall_ns;
	uint64_t until_ns; /* the others are asked */
	uint64_t next_ns;
	struct list asks, guests;
	size_t asks_count, guests_count;
	/* One that is held back, elsewhere. */
	struct addr copy_at;
	uint64_t copy_ns; /* it was heard; 0: there is none */
	int64_t copy_since_wall_ns;
	struct err err;
};

/* A change of the store that waits for its turn. work is called within a transaction: 0, it is to
 * be kept; 1, there is nothing to change; or -1. It may be called again after a conflict. */
struct cluster_change {
	struct list link;
	int (*work)(void *arg, struct store *s, struct err *err);
	/* err NULL: it is kept (or there was nothing to do). The last call. */
	void (*done)(void *arg, const struct err *err);
	void *arg;
	unsigned tries;
};

struct far_call;

struct cluster {
	struct station *st;
	const struct config *config;
	struct model *m; /* NULL before cluster_start */
	int folder;
	bool member;
	struct cluster_keep keep;
	int64_t not_before_s, not_after_s; /* of the certificate */

	/* cluster_link.c */
	struct envelope_self self;
	bool has_self;
	struct channel_rules *rules;
	struct shell *shell;
	struct gossip *gossip;
	struct placing *placing; /* cluster_place.c */
	struct drains drains;
	struct config_listen listen; /* as when it was begun */
	uint64_t suspect_after_ms, dead_after_ms;
	uint64_t bind_at_ns; /* when the sockets are tried again */
	struct err unbound;  /* why there are none */
	bool unsaid;         /* facts do not fit into an entry */
	bool put;            /* the core has something to let out */
	bool nodes_changed;  /* who lives, and where: others may pass on */

	/* cluster_roster.c */
	struct map nodes;         /* struct cluster_node by id */
	struct store_cluster row; /* id 0: none here */
	uint64_t looks;
	bool anew;         /* the store's file was not there, and is copied again */
	uint64_t list_sum; /* of the list of nodes that this process has written; 0: none */
	const struct map
		*listed; /* while the rows are read first: who is in that list; else NULL */
	bool rows_changed;
	bool admitted_changed; /* entries of gossip about new nodes */
	uint64_t started_ns;
	bool heard; /* all others, since then; or they were waited for long enough */
	bool known; /* what all others run, likewise; after that nothing is listened for */

	/* cluster_mesh.c */
	struct ipam ipam;
	struct err mesh_err;      /* two nodes have the same addresses */
	size_t mesh_left_out;     /* nodes for which its table had no room */
	uint64_t no_way_since_ns; /* to a node that is alive; 0: there is to all */

	/* cluster_heard.c */
	struct err unreached_err; /* sealed packets do not pass; kind 0: they do */
	struct log_few unreached_told;

	/* cluster_twin.c */
	struct cluster_twin twin;

	/* cluster_clocks.c */
	struct clocks clocks;
	struct err clock_err;  /* a clock is wrong; kind 0: none is */
	int64_t clock_base_ns; /* as channels go by it */
	uint64_t clock_next_ns;
	uint64_t clock_sum; /* of what was published */
	bool clock_told;

	/* cluster_seal.c */
	struct ipam_ways ways; /* of this node */
	bool ways_read;        /* its overlay has been there once */
	uint64_t pairs_digest; /* of what overlay has; 0: nothing */
	uint32_t pairs_generation;

	/* cluster_store.c */
	struct list changes;
	struct cluster_change *change; /* submitted */
	uv_timer_t again;

	/* cluster_voters*.c, cluster_etcd.c, cluster_move.c */
	bool etcd;         /* the store of this process is etcd's, */
	bool etcd_outside; /* one that node.yaml names */
	struct cluster_outside outside;
	struct cluster_voters voters;

	/* cluster_feed.c: at most one of the two; none when the store is etcd's */
	struct store_serve *serve;
	struct list feds;
	bool fed_ended;
	struct store_follow *follow;
	struct cluster_feed *feed;

	/* cluster_admit.c */
	struct list admits;
	size_t admits_count;
	struct log_few refusals;

	/* cluster_keepers.c */
	struct cluster_asking key;
	uint32_t next_keeper; /* that is being marked; 0: nobody */
	uint64_t keepers_at_ns;

	/* cluster_pass.c */
	struct cluster_asking passing;
	struct cluster_pass pass;

	/* cluster_order.c */
	bool ordered;
	struct msg_etcd_order order;
	struct cluster_order_mark order_mark;
	uint64_t order_at_ns, turn_at_ns;

	/* cluster_flows.c: of this node's data path */
	struct flows flows;

	/* cluster_far.c, cluster_far_serve.c */
	struct list asks, serves;
	size_t asks_count, serves_count;
	struct cluster_callback callback;

	/* cluster_join.c, cluster_leave.c: at most one of a kind */
	struct cluster_join *join;
	struct petition *renewal;
	uint64_t renew_at_ns, renew_wait_ns;
	struct err renewal_err;  /* why the last one failed; ERR_DENIED: it was sent away */
	uint64_t alone_since_ns; /* nobody else was alive since then; 0: somebody is */
	struct cluster_leave *leave;
	struct cluster_restore *restore; /* cluster_backup.c: on its way into the store */

	/* cluster_recover.c */
	struct cluster_term claimed; /* the highest that another node has told */
	uint32_t recover_term;       /* that this node is to write in; 0: none */
	bool recovering;             /* its row is being written */
	bool fenced;                 /* another node writes what this one did */
	struct err fence_err;
	struct station_request asked; /* waits for the row */
	uint64_t asked_until_ns;      /* 0: nobody does */

	uv_timer_t tick;
	unsigned handles;
	bool dirty;            /* the tables */
	bool waits;            /* replicas of a dead node do, for it */
	uint32_t own_replicas; /* at the last look, */
	size_t replicas_count; /* when the model had so many */
	size_t nameless;       /* likewise: the model's */
	bool seen_writable;    /* the store, then */
	uint64_t seen_sequence;
	bool over;
	bool stale; /* the store is another one than the model knows */
	bool freed;
	struct gossip_counters counted; /* as they were when metrics were written */
	struct shell_counters carried;  /* likewise */
};

/* ---- cluster.c ---- */

/* A member's identity was written: the process ends. */
void cluster_renew_process(struct cluster *c);
/* The state of the certificate, from its chain. */
int cluster_read_times(struct cluster *c, struct err *err) MUST_CHECK;
/* Answers, unless the process ends: then the next one is given the request, and answers. */
void cluster_answer(struct cluster *c, const struct station_request *q, const void *body,
		    size_t bytes, const int *fds, size_t count);
void cluster_refuse(struct cluster *c, const struct station_request *q, const struct err *err);

/* ---- cluster_link.c ---- */

/* Sockets, shell, gossip: nothing happens when they are there. */
void cluster_link_try(struct cluster *c, uint64_t now_ns);
int cluster_link_rules(struct cluster *c, struct err *err) MUST_CHECK;
void cluster_link_end(struct cluster *c);
/* Makes a node of the roster a peer, or gives its newer address; and the other way. */
void cluster_link_meet(struct cluster *c, struct cluster_node *n);
void cluster_link_part(struct cluster *c, struct cluster_node *n);
void cluster_link_tick(struct cluster *c);
/* It was reached at that address; until it says otherwise that is where it is. */
void cluster_link_found(struct cluster *c, uint32_t node, const struct addr *address);
/* Lets out what was put. Not from within a tell. */
void cluster_link_flush(struct cluster *c);
/* Others cannot open a connection to it, nor send it what it did not ask for. */
bool cluster_link_hidden(const struct cluster_node *n);
/* Who passes on between this node and that one, of which neither can connect to the other; 0:
 * nobody. */
uint32_t cluster_link_relay(const struct cluster *c, uint32_t node);
/* As node.yaml says it; a zero IP: it is where this node's packets come from; port 0: nowhere. */
void cluster_link_own(const struct cluster *c, struct addr *out);
/* Where others can reach this node, for those who have not heard of it. */
size_t cluster_link_addresses(struct cluster *c, struct addr *out, size_t max);

/* ---- cluster_place.c ---- */

/* The shell is there, gossip's core is made and not begun. */
int cluster_place_begin(struct cluster *c, struct err *err) MUST_CHECK;
void cluster_place_end(struct cluster *c);
/* Nodes as they are now. Not from within a tell. */
void cluster_place_nodes(struct cluster *c);
/* It is dead, and its replicas are not placed anew yet. */
bool cluster_place_waits(const struct cluster *c, const struct cluster_node *n);
/* What the gossip core tells. */
void cluster_place_entry(struct cluster *c, const struct gossip_tell_entry *told,
			 const void *value);
void cluster_place_reset(struct cluster *c, uint32_t node);
void cluster_place_lost(struct cluster *c);

/* ---- cluster_roster.c ---- */

struct cluster_node *cluster_roster_find(const struct cluster *c, uint32_t id);
struct cluster_node *cluster_roster_named(const struct cluster *c, const char *name);
/* This node itself, as it is before any row is read. */
int cluster_roster_self(struct cluster *c, struct err *err) MUST_CHECK;
/* Reads the rows; meets new nodes, parts from those that were removed. */
void cluster_roster_read(struct cluster *c);
/* From the list beside the store (cluster_list.c). */
void cluster_roster_listed(struct cluster *c);
/* From entries of gossip: nodes that somebody has just admitted. */
void cluster_roster_admitted(struct cluster *c);
/* What the gossip core tells. */
void cluster_roster_tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data,
			 size_t bytes);
size_t cluster_roster_count(const struct cluster *c); /* not removed, self counted */
size_t cluster_roster_live(const struct cluster *c);  /* others that are alive */
/* Whether all others were heard since this process began (`heard`). Before a turn lets in more. */
void cluster_roster_listen(struct cluster *c);

/* ---- cluster_begin.c ---- */

/* Has a founder's first rows written when they are not there. */
void cluster_begin_rows(struct cluster *c);

/* ---- cluster_list.c ---- */

/* A row as admission has it. No byte of it is by chance. */
void cluster_list_node(const struct store_node *row, struct admission_node *out);
/* The rows are read for the first time: who is in the list that an earlier process has written, or
 * that came with the admission, is no news. */
void cluster_list_begin(struct cluster *c);
/* Beside the store, where the rows have changed it. */
void cluster_list_keep(struct cluster *c);
/* Whether it names others than this node. */
int cluster_list_others(const struct cluster *c, bool *out, struct err *err) MUST_CHECK;

/* ---- cluster_facts.c ---- */

/* Puts what this node says of itself where it has changed. */
void cluster_facts_put(struct cluster *c);
void cluster_facts_of(struct cluster *c, struct tidings_facts *out);
void cluster_facts_load(struct cluster *c, struct tidings_load *out);
/* Replicas that a node says it has. */
uint32_t cluster_facts_replicas(struct cluster *c, uint32_t node);
/* That this node itself has. */
uint32_t cluster_facts_own_replicas(const struct cluster *c);

/* ---- cluster_mesh.c ---- */

/* Reads who has which addresses, says its own, publishes where packets go. */
void cluster_mesh_look(struct cluster *c);
/* enum msg_backend_kind: who seals that node's traffic; 0: nobody, or it is not known. */
uint32_t cluster_mesh_backend(const struct cluster *c, const struct cluster_node *n);
/* cluster_heard.c: reads of whom overlay hears nothing, and says so. */
void cluster_heard_look(struct cluster *c);
/* Of sealed packets between that node and this one, where they go to first; 0: not known. */
uint16_t cluster_heard_port(const struct cluster *c, const struct cluster_node *n);
/* cluster_guests.c: tells the others of this node's containers of others. */
void cluster_guests_say(struct cluster *c);

/* ---- cluster_clocks.c ---- */

int cluster_clocks_begin(struct cluster *c, struct err *err) MUST_CHECK;
void cluster_clocks_tick(struct cluster *c, uint64_t now_ns);
/* Seconds since 1970 by the middle of the nodes' clocks, as far as that is known here: for times
 * that nodes write for each other. And how far that is ahead of this node's own clock. */
int64_t cluster_now_s(const struct cluster *c);
int64_t cluster_base_ns(const struct cluster *c);
/* Whether a certificate is good by this node's clock or by that of the others (clocks.h). */
enum identity_verdict cluster_judge(const struct cluster *c, const void *der, size_t bytes,
				    struct identity *out);
/* How far its clock is ahead of the others'; 0: it is right, or that is not known. */
int64_t cluster_clocks_ahead_ms(const struct cluster *c, uint32_t node);

/* ---- cluster_twin.c ---- */

/* Which instance it is, and whether it is held back. After the identity was read. */
int cluster_twin_open(struct cluster *c, const char *boot, struct err *err) MUST_CHECK;
/* The roster is there: asks the others, where that is to be. */
void cluster_twin_begin(struct cluster *c);
void cluster_twin_turn(struct cluster *c);
void cluster_twin_tick(struct cluster *c, uint64_t now_ns);
/* It is that one which stays, at that address: this one is held back from now on. */
void cluster_twin_step_back(struct cluster *c, const struct addr *at);
/* One that is held back was heard. */
void cluster_twin_note(struct cluster *c, const struct addr *at);
/* Others have heard that session of this node: it goes on in one above it. */
void cluster_twin_outgrow(struct cluster *c, uint64_t session);

/* ---- cluster_twin_ask.c ---- */

/* session: of a hint that was got, or that is given; other: where that one is, or NULL. */
void cluster_twin_ask(struct cluster *c, uint32_t node, const struct addr *at, enum twin_kind kind,
		      uint64_t session, const struct addr *other);
void cluster_twin_ask_late(struct cluster *c, uint64_t now_ns);
void cluster_twin_ask_end(struct cluster *c);
/* Channels of kind WHO, and what the shell says of sessions. */
void cluster_twin_channel(void *arg, struct channel *channel);
void cluster_twin_older(void *arg, uint32_t node, const struct addr *from, uint64_t newest,
			const struct addr *newest_from);
/* Why nothing may be asked of this node. */
int cluster_twin_may(const struct cluster *c, struct err *err) MUST_CHECK;

/* ---- cluster_seal.c ---- */

/* Reads what overlay encrypts with, into c->ways. */
void cluster_seal_read(struct cluster *c);
/* Why this node's overlay serves no sealed traffic; false: it does, or has said nothing yet. */
bool cluster_seal_why(const struct cluster *c, struct err *err);
/* This process has not seen yet what this node's overlay says of its key. */
bool cluster_seal_waits(const struct cluster *c);

/* ---- cluster_store.c ---- */

int cluster_store_change(struct cluster *c, int (*work)(void *, struct store *, struct err *),
			 void (*done)(void *, const struct err *), void *arg,
			 struct err *err) MUST_CHECK;
void cluster_store_end(struct cluster *c);
/* Rows of a kind as an array of its struct; appended to out. */
int cluster_store_rows(struct store *s, enum store_kind kind, struct buf *out,
		       struct err *err) MUST_CHECK;

/* ---- cluster_anew.c ---- */

/* Before the store is used: what its file is. */
int cluster_anew_note(struct cluster *c, enum store_role role, struct err *err) MUST_CHECK;
/* A member finds no file, or one that is nothing yet. */
void cluster_anew_begun(struct cluster *c);
void cluster_anew_tell(struct cluster *c);

/* ---- cluster_feed.c ---- */

/* The engine that the file is for; rows is taken over, also on failure. */
int cluster_feed_open(struct cluster *c, struct store *rows, struct store **out,
		      struct err *err) MUST_CHECK;
void cluster_feed_channel(void *arg, struct channel *channel);
/* There is no way to the writer, but it may be there in a moment: this process has just begun, or
 * the way was lost just now. */
bool cluster_feed_comes(struct cluster *c, bool writable, uint64_t now_ns);
/* A node is there again. If it is the writer there is no pause before the next try; if it was given
 * up, changes wait for the way to it. */
void cluster_feed_back(struct cluster *c, uint32_t node, bool from_dead);
void cluster_feed_part(struct cluster *c, uint32_t node);
void cluster_feed_turn(struct cluster *c, uint64_t now_ns);
/* Before the store is freed. */
void cluster_feed_end(struct cluster *c);

/* ---- cluster_admit.c ---- */

void cluster_admit_channel(void *arg, struct channel *channel);
void cluster_admit_tick(struct cluster *c, uint64_t now_ns);
void cluster_admit_end(struct cluster *c);
/* Entries about those that were admitted lately. */
void cluster_admit_announce(struct cluster *c);

/* ---- cluster_admit_give.c ---- */

/* Appends the answer; what is in it is for nobody else: cluster_admit_wipe. */
int cluster_admit_give(struct cluster *c, enum admission_what what, const struct admission_node *n,
		       struct buf *out, struct err *err) MUST_CHECK;
/* A certificate of a node, as the authority's. */
int cluster_admit_issue(struct cluster *c, const struct admission_node *n, struct buf *chain,
			struct err *err) MUST_CHECK;
/* All nodes: struct admission_node each. */
int cluster_admit_nodes(struct store *s, struct buf *out, struct err *err) MUST_CHECK;
/* Zeroes and frees. */
void cluster_admit_wipe(struct buf *b);

/* ---- cluster_ask.c ---- */

/* Where keepers can be asked. */
size_t cluster_ask_whom(struct cluster *c, struct addr *out, size_t max);
int cluster_ask(struct cluster *c, enum admission_what what, petition_fn done,
		struct petition **out, struct err *err) MUST_CHECK;
bool cluster_asking_due(const struct cluster_asking *a, uint64_t now_ns);
/* done: with the cluster as arg; ends with cluster_asking_end. log: what is not had. */
void cluster_asking_begin(struct cluster *c, struct cluster_asking *a, enum admission_what what,
			  petition_fn done, const char *log);
void cluster_asking_failed(struct cluster_asking *a, const char *log, const struct err *err);
void cluster_asking_done(struct cluster_asking *a);
void cluster_asking_end(struct cluster_asking *a);

/* ---- cluster_keepers.c, cluster_pass.c, cluster_order.c ---- */

void cluster_keepers_tick(struct cluster *c, uint64_t now_ns);
void cluster_keepers_end(struct cluster *c);
/* The authority's key (PEM), if it is that of this cluster: this node is a keeper then. */
int cluster_keepers_take(struct cluster *c, const void *pem, size_t bytes,
			 struct err *err) MUST_CHECK;
void cluster_pass_open(struct cluster *c);
void cluster_pass_tick(struct cluster *c, uint64_t now_ns);
void cluster_pass_end(struct cluster *c);
void cluster_order_tick(struct cluster *c, uint64_t now_ns);
void cluster_order_publish(struct cluster *c);

/* ---- cluster_far.c, cluster_far_serve.c ---- */

/* FAR_LOGS, FAR_EXEC, WHY, FAR_EVENTS, FLOWS. */
void cluster_far_request(struct cluster *c, const struct station_request *q, const void *body,
			 size_t bytes, int *fds, size_t count);
void cluster_far_channel(void *arg, struct channel *channel);
/* Of another node, for this request, which is answered. stream: taken in every case. */
void cluster_far_ask(struct cluster *c, const struct station_request *q, uint32_t node,
		     const struct far_call *call, int stream);
/* It is sent away, or has left. */
void cluster_far_part(struct cluster *c, uint32_t node);
void cluster_far_end(struct cluster *c);
/* Whoever waits for events or flows. */
void cluster_far_tick(struct cluster *c, uint64_t now_ns);

/* ---- cluster_events.c ---- */

enum { CLUSTER_EVENTS_MAX = 1000 /* of a node, in one answer */ };

/* There are some above that id. */
bool cluster_events_has(const struct cluster *c, uint64_t since);
/* As they are sent, the newest that fit. */
int cluster_events_give(struct cluster *c, const struct msg_events_op *op, struct buf *out,
			struct err *err) MUST_CHECK;

/* ---- cluster_flows.c ---- */

/* There are some above op->since; a wish to observe is one from now on. */
bool cluster_flows_has(struct cluster *c, const struct msg_flows_op *op);
/* This node's, as they are sent. */
int cluster_flows_give(struct cluster *c, const struct msg_flows_op *op, struct buf *out,
		       struct err *err) MUST_CHECK;
/* Likewise as a sealed file of struct msg_flow_row; -1. */
int cluster_flows_own(struct cluster *c, const struct msg_flows_op *op, struct err *err) MUST_CHECK;

/* ---- cluster_run.c ---- */

/* What another node asks to be run here; rest: of the answer. */
int cluster_run_serve(struct cluster *c, const struct far_call *call, struct buf *rest,
		      struct err *err) MUST_CHECK;
/* What that node answered; answers the request when it is good. */
int cluster_run_take(struct cluster *c, const struct station_request *q, uint32_t node,
		     const void *rest, size_t bytes, struct err *err) MUST_CHECK;

/* ---- cluster_join.c, cluster_renew.c ---- */

void cluster_join_request(struct cluster *c, const struct station_request *q, const void *body,
			  size_t bytes, const int *fds, size_t count);
void cluster_join_end(struct cluster *c);
void cluster_renew_tick(struct cluster *c, uint64_t now_ns);
void cluster_renew_end(struct cluster *c);

/* ---- cluster_invite.c, cluster_member.c, cluster_leave.c ---- */

void cluster_invite_request(struct cluster *c, const struct station_request *q, const void *body,
			    size_t bytes);
void cluster_invite_mode(struct cluster *c, const struct station_request *q, const void *body,
			 size_t bytes);
void cluster_member_request(struct cluster *c, const struct station_request *q, const void *body,
			    size_t bytes);
void cluster_leave_request(struct cluster *c, const struct station_request *q, const void *body,
			   size_t bytes);
void cluster_leave_said(struct cluster *c);
void cluster_leave_tick(struct cluster *c, uint64_t now_ns);
void cluster_leave_end(struct cluster *c);

/* ---- cluster_backup.c ---- */

void cluster_backup_request(struct cluster *c, const struct station_request *q, const void *body,
			    size_t bytes);
void cluster_backup_restore(struct cluster *c, const struct station_request *q, const void *body,
			    size_t bytes, const int *fds, size_t count);

int cluster_backup_head(struct cluster *c, struct backup_head *head, struct err *err) MUST_CHECK;

/* ---- cluster_recover.c ---- */

/* What the file says, before its engine is opened. */
int cluster_recover_read(struct cluster *c, struct store *rows, struct err *err) MUST_CHECK;
/* Who takes the changes, whatever the row says; 0: the row is right. */
uint32_t cluster_recover_writer(const struct cluster *c);
/* A node says that it takes them (tidings.h, WRITER). */
void cluster_recover_heard(struct cluster *c, uint32_t node, const void *value, size_t bytes);
void cluster_recover_tick(struct cluster *c, uint64_t now_ns);
/* The highest that this node knows. */
uint32_t cluster_recover_term(const struct cluster *c);
const char *cluster_recover_name(const struct cluster *c, uint32_t node,
				 char out[CLUSTER_RECOVER_NAME]);
/* The next process writes this node's copy, in that term. */
int cluster_recover_take_over(struct cluster *c, uint32_t term, struct err *err) MUST_CHECK;
/* The next process has no copy, and takes what the writer has. What there was is set aside. */
int cluster_recover_begin_anew(struct cluster *c, struct err *err) MUST_CHECK;

/* ---- cluster_recover_ask.c ---- */

void cluster_recover_request(struct cluster *c, const struct station_request *q, const void *body,
			     size_t bytes, const int *fds, size_t count);
/* Whoever waits for the row. */
void cluster_recover_answer(struct cluster *c, uint64_t now_ns);

/* ---- cluster_stuck.c ---- */

/* Each second, before voters.writable follows. */
void cluster_stuck_look(struct cluster *c, const struct store_status *status, uint64_t now_ns);
/* Its VOTER came. */
void cluster_stuck_heard(struct cluster_node *n);
/* Since when the store takes nothing of it, as far as is known; 0: it does. */
int64_t cluster_stuck_since(const struct cluster *c, const struct cluster_node *n);

/* ---- cluster_publish.c ---- */

void cluster_publish(struct cluster *c);
/* Rows were changed: before the answer, for who reads that may look at once. The turn's end does
 * the rest. */
void cluster_publish_changed(struct cluster *c);
/* What is published of this node is not what it is now. Not all that is in those rows is told to
 * the others, or tells of itself: node's row of etcd may be another one for less than a second. */
bool cluster_publish_is_old(struct cluster *c);
void cluster_publish_metrics(struct cluster *c);
void cluster_publish_member(struct cluster *c, const struct cluster_node *n,
			    struct msg_member *out);
#endif
