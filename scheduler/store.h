/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_H
#define SCHEDULER_STORE_H

/*
 * The store: what must outlive every process. One interface; engines plug in (store_sqlite.h).
 *
 * Every change is part of a transaction, and every change of a row is a compare-and-swap: a row
 * that was read as version v is replaced only while it still is version v; version 0 means that it
 * must not exist. After the commit each row is read back; the transaction counts as done when all
 * of them are found as written, whatever the commit itself said (a commit whose answer was lost may
 * have happened).
 *
 * Errors: ERR_CONFLICT (somebody else changed it, or the name exists), ERR_NO_SPACE (disk full),
 * ERR_CORRUPT (damaged file), ERR_SYSTEM. After any error inside a transaction store_abort() is the
 * only call that is allowed; then nothing of it is there.
 * Rows: plain values of the caller. A put that succeeds sets id (when it was 0) and version in the
 * caller's row; after an abort those must be thrown away.
 * Reading never leaves the machine: what other nodes may change is read from a copy (store_etcd.h).
 * Local kinds (store_kind_is_local) are each node's own, in the same file. A store that is shared
 * takes them only through store_local(), in transactions of their own; a row of theirs goes with
 * its parent on every node, and so does what belongs to it.
 * Threading: one owner. Calls may wait for the disk.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "ring/msg.h"

enum {
	STORE_INITIAL_BYTES = 768, /* 7 members */
	STORE_RESTORED_BYTES = 65, /* a SHA-256 as text */
};

enum store_kind {
	STORE_DEPLOYMENT,
	STORE_SERVICE,
	STORE_REVISION,
	STORE_PIN,
	STORE_REPLICA,
	STORE_OPERATION,
	STORE_ROUTE,
	STORE_EVENT,
	STORE_NODE,
	STORE_TICKET,
	STORE_CLUSTER,
	STORE_CRON,
	STORE_FIRING,
	STORE_VOTER,
	STORE_KINDS_,
};

/* Each row begins with id and version. */
struct store_deployment {
	uint64_t id, version;
	char name[MSG_NAME];
	uint32_t revision; /* that serves; 0 none */
	uint32_t target;   /* being rolled out, or the one that serves */
	uint32_t newest;
	uint32_t phase; /* enum rollout_phase */
	uint32_t stopped;
	uint32_t failed; /* the first revision never came up */
	uint64_t operation;
	int64_t created_wall_ns;
	int64_t updated_wall_ns;
	struct msg_reason reason;
};

struct store_service { /* kept while its deployment is, so that ids are stable */
	uint64_t id, version;
	uint64_t deployment;
	char name[MSG_NAME];
	uint32_t desired;  /* replicas of the revision that serves */
	uint32_t wanted;   /* of the target; equal to desired when nothing is under way */
	uint32_t operator; /* 1: the size was set by hand, and by no deploy since */
};

enum store_result {
	STORE_RESULT_PENDING = 1,
	STORE_RESULT_GOOD,
	STORE_RESULT_FAILED,
	STORE_RESULT_ROLLED_BACK,
};

struct store_revision {
	uint64_t id, version;
	uint64_t deployment;
	uint32_t revision;
	uint32_t who_uid;
	uint32_t result;
	int64_t created_wall_ns;
	uint8_t sha256[32]; /* of the canonical text */
	uint32_t copy_of;   /* rolled back to that revision; 0: a document of its own */
};

struct store_pin { /* what a revision's service stands for, fixed when it was deployed */
	uint64_t id, version;
	uint64_t revision; /* id of the row, not its number */
	char service[MSG_NAME];
	char image[MSG_IMAGE];
	char image_digest[MSG_DIGEST]; /* "" when the image was not here */
	uint8_t make[32];              /* digest of what a replica is made of: plan_make.h */
};

struct store_replica {
	uint64_t id, version;
	uint64_t service;
	uint64_t operation; /* that made it */
	uint32_t index;
	uint32_t revision;
	uint32_t attempt;
	uint32_t desired; /* enum msg_desired */
	uint32_t ready_attempt;
	uint32_t restarts;
	int64_t ready_started_wall_ns; /* start of the process that passed the gate */
	int64_t created_wall_ns;
	uint32_t remove_volumes;
	uint32_t stop_grace_ms; /* 0: as the plan says */
	uint8_t make[32];
	uint8_t plan_sha256[32];
	char address[ADDR_TEXT_BYTES]; /* when it was ready last; "" never */
	char boot[40];                 /* the machine's boot in which that was; a job's: it began */
	uint32_t job;                  /* a run of a job: ends by itself, and is kept as history */
	uint32_t tries;                /* of the firing, that were lost before */
	uint64_t firing;               /* of a cron, that asked for the run; 0: somebody else did */
	int64_t due_s;                 /* the firing's time */
};

struct store_operation {
	uint64_t id, version;
	uint64_t deployment;
	char deployment_name[MSG_NAME];
	uint32_t kind;  /* enum msg_operation_kind */
	uint32_t state; /* enum msg_operation_state */
	uint32_t revision;
	uint32_t previous_revision;
	uint64_t service; /* scale, stop, start: 0 all */
	uint32_t index;   /* 0 all */
	uint32_t keep;    /* no roll-back */
	uint32_t volumes;
	uint32_t grace_ms;
	uint32_t who_uid;
	int64_t started_wall_ns;
	int64_t ended_wall_ns;
	struct msg_reason reason;
};

struct store_route {
	uint64_t id, version;
	uint64_t service;
	char endpoint[MSG_NAME];
};

struct store_event {
	uint64_t id, version;
	struct msg_event event; /* event.id is not kept: id is */
};

enum store_node_removed { STORE_NODE_SENT_AWAY = 1, STORE_NODE_LEFT };

struct store_node { /* of the cluster: kept when it was sent away, so that nothing of it comes again
		     */
	uint64_t id, version;
	uint32_t node;   /* what everybody calls it: not 0, never given twice */
	uint32_t keeper; /* has the authority's key */
	char name[MSG_NAME];
	uint8_t sign_public[32];
	uint8_t gossip_public[32];
	char address[ADDR_TEXT_BYTES]; /* gossip, as it said when it was admitted */
	uint32_t removed;              /* enum store_node_removed; 0: it is a node of the cluster */
	uint32_t draining;
	int64_t drain_until_wall_ns; /* 0: as long as it takes */
	int64_t admitted_wall_ns;
	char labels[MSG_PAIRS]; /* set by hand: they go before those of its node.yaml */
	char taints[MSG_PAIRS];
	int64_t rotate_wall_s; /* another key of sealed traffic was asked for; 0: never */
};

struct store_ticket { /* kept without a use left: who asks again with the same key is answered */
	uint64_t id, version;
	uint64_t ticket; /* its number in the word */
	uint8_t secret_sha256[32];
	int64_t expires_s;
	uint32_t uses_left;
};

struct store_cluster { /* one row */
	uint64_t id, version;
	uint32_t admission; /* enum msg_admission */
	uint32_t writer;    /* node that the others follow; 0: the store is etcd's */
	int64_t created_wall_ns;
	uint32_t term;   /* how often somebody else was made the writer: of two the higher counts */
	uint32_t moving; /* to etcd: the writer takes no change any more (voting.h) */
	char restored[STORE_RESTORED_BYTES]; /* the last restore; cluster_backup.c */
	uint32_t outside; /* that etcd is none of the cluster's own: node.yaml says where it is */
};

enum store_voter_phase {
	STORE_VOTER_BEGINS = 1, /* the first one: its member is a cluster of one */
	STORE_VOTER_ADDED,      /* etcd is about to be told of it; it is not to run yet */
	STORE_VOTER_LEARNS,     /* etcd knows it: it runs, as a learner */
	STORE_VOTER_VOTES,
	STORE_VOTER_GOES, /* etcd is about to be told; its data may go when this row has gone */
};

struct store_voter { /* a node that is to run a member of the store's etcd */
	uint64_t id, version;
	uint32_t node;
	uint32_t phase; /* enum store_voter_phase */
	uint64_t life;  /* of the member's data: another number, another member; below 2^63 */
	uint64_t token; /* of all members of one etcd; below 2^63 */
	char client[ADDR_TEXT_BYTES];
	char peer[ADDR_TEXT_BYTES];
	char initial[STORE_INITIAL_BYTES]; /* what its members were when this one was added */
	int64_t since_wall_ns;             /* of the phase */
};

struct store_cron { /* of a service that is, or was, a cron */
	uint64_t id, version;
	uint64_t service;
	char schedule[MSG_SCHEDULE]; /* that is in force; "" none */
	int64_t mark_s;              /* up to here all times have been dealt with */
	uint32_t disabled;           /* by hand */
	uint32_t halted;             /* its deployment was stopped */
};

struct store_firing { /* what became of one time of a cron; there is one of each time */
	uint64_t id, version;
	uint64_t service;
	int64_t at_s;
	uint32_t state;        /* enum msg_firing_state */
	uint32_t reason;       /* enum msg_firing_reason */
	uint32_t skipped;      /* times before it that were passed over with it */
	uint32_t skipped_more; /* 1: and others that nobody counted */
	uint32_t tries;        /* runs of it that were lost */
	uint32_t owner;        /* node that runs it; 0: alone */
	uint64_t replica;      /* its last run; 0 none */
	uint32_t index;        /* that one's */
	uint32_t exit_status;  /* as int32_t */
	uint32_t exit_signal;
	int64_t recorded_wall_ns;
	int64_t ended_wall_ns;
	struct msg_reason why;
};

enum store_blob {
	STORE_DOCUMENT, /* canonical text; id of the revision's row */
	STORE_PLAN,     /* ring/plan.h encoding; id of the replica */
	STORE_BLOBS_,
};

struct store;
typedef void (*store_visit_fn)(void *arg, const void *row);
/* err NULL: it is kept. */
typedef void (*store_done_fn)(void *arg, const struct err *err);
/* store_lease.h. */
enum store_lease_verb { STORE_LEASE_TAKE, STORE_LEASE_KEEP, STORE_LEASE_DROP };
typedef void (*store_lease_fn)(void *arg, uint64_t epoch, const struct err *err);

/* How the store is, as far as is known now. */
struct store_status {
	bool shared;        /* with other nodes */
	bool writable;      /* a change that is begun now has a chance */
	bool unwritten;     /* it has none, because this node's own file cannot be written, or the
			       writer's */
	struct err why;     /* it is not */
	uint64_t sequence;  /* of the last transaction that this node's copy has */
	uint64_t count;     /* keys: rows, and parts of blobs */
	uint8_t digest[32]; /* of all of them: copies of one sequence have the same */
	uint8_t hash[32];   /* of all transactions so far */
	int64_t revision;   /* of the engine, at least */
};

/* What other nodes changed, in the order in which it was committed. */
enum store_news_kind {
	STORE_NEWS_ROW,  /* row is what it is now */
	STORE_NEWS_GONE, /* the row is not there any more */
	STORE_NEWS_BLOB, /* of the row with this id; kind is an enum store_blob */
	STORE_NEWS_END,  /* of a transaction: all of it can be read */
	STORE_NEWS_ALL,  /* anything may be different: read everything again */
};

struct store_news {
	enum store_news_kind what;
	uint64_t sequence;
	unsigned kind;
	uint64_t id;
	const void *row; /* valid during the call */
};
/* From the loop; it may not change the store. */
typedef void (*store_news_fn)(void *arg, const struct store_news *news);

/* What an engine does; the contracts are those of the functions below. */
struct store_engine {
	int (*begin)(void *engine, struct err *err);
	int (*commit)(void *engine, struct err *err);
	void (*abort)(void *engine);
	int (*put)(void *engine, enum store_kind kind, void *row, struct err *err);
	int (*drop)(void *engine, enum store_kind kind, uint64_t id, uint64_t version,
		    struct err *err);
	int (*drop_through)(void *engine, enum store_kind kind, uint64_t id, struct err *err);
	int (*put_blob)(void *engine, enum store_blob blob, uint64_t id, const void *data,
			size_t bytes, struct err *err);
	int (*get_blob)(void *engine, enum store_blob blob, uint64_t id, struct buf *out,
			struct err *err);
	int (*each)(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
		    store_visit_fn visit, void *arg, struct err *err);
	/* 0 when the row is not there. */
	int (*version)(void *engine, enum store_kind kind, uint64_t id, uint64_t *version_out,
		       struct err *err);
	int (*get)(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err);
	int (*place)(void *engine, enum store_kind kind, const void *row, struct err *err);
	int (*get_note)(void *engine, const char *name, char *out, size_t cap, struct err *err);
	int (*put_note)(void *engine, const char *name, const char *value, struct err *err);
	void (*close)(void *engine);
	/* The highest id that a row of a shared kind was ever given; of an engine of one machine.
	 */
	int (*highest_id)(void *engine, uint64_t *out, struct err *err);
	/* Instead of commit, by an engine that must wait for other machines; the ones below come
	 * with it. It reads back by itself, and ends with `done` in any case, at the latest by
	 * close. */
	void (*submit)(void *engine, store_done_fn done, void *arg);
	void (*status)(void *engine, struct store_status *out);
	void (*watch)(void *engine, store_news_fn fn, void *arg);
	void (*check)(void *engine, store_done_fn done, void *arg);
	void (*lease)(void *engine, enum store_lease_verb verb, const char *name,
		      const char *holder, uint32_t ttl_s, store_lease_fn done, void *arg);
	/* Of a lease; or NULL, as `lease`. */
	bool (*adopt)(void *engine, const char *name, uint64_t epoch);
	uint64_t (*mine)(void *engine, const char *name);
	struct store *(*local)(void *engine); /* the embedded store beneath */
};

/* Takes the engine over. */
int store_new(const struct store_engine *calls, void *engine, struct store **out,
	      struct err *err) MUST_CHECK;
void store_free(struct store *s); /* NULL is fine */
/* For engines: their own, if the store is one of these calls; else NULL. */
void *store_engine_of(struct store *s, const struct store_engine *calls);

/* Where local kinds are written: the store itself when it is not shared, else the embedded store
 * beneath the copy, which the shared one keeps. No transaction of the one may be open (from begin
 * to submit or abort) while one of the other is. Shared kinds are only read from it. */
struct store *store_local(struct store *s);

int store_begin(struct store *s, struct err *err) MUST_CHECK;
/* Waits until it is kept: not for a store that is shared (store_submit). */
int store_commit(struct store *s, struct err *err) MUST_CHECK;
/* Ends the transaction without waiting: `done` is called once, at once (before this returns) by an
 * engine that has all it needs on this machine, else from the loop. Until then store_busy() is
 * true, another transaction cannot begin, and reading gives what was before. Errors besides those
 * above: ERR_UNREACHABLE: it is certain that nothing was changed; ERR_TIMEOUT: nobody answered in
 * time, so it may be kept all the same: then it comes as news; ERR_INTERRUPTED: the store was
 * closed. */
void store_submit(struct store *s, store_done_fn done, void *arg);
bool store_busy(const struct store *s);
void store_abort(struct store *s);

/* row: the struct of that kind. */
int store_put(struct store *s, enum store_kind kind, void *row, struct err *err) MUST_CHECK;
/* What belongs to the row goes with it (services, replicas, documents ...). */
int store_drop(struct store *s, enum store_kind kind, uint64_t id, uint64_t version,
	       struct err *err) MUST_CHECK;
/* All rows with an id up to this one, without compare: for events and old operations. */
int store_drop_through(struct store *s, enum store_kind kind, uint64_t id,
		       struct err *err) MUST_CHECK;
int store_put_blob(struct store *s, enum store_blob blob, uint64_t id, const void *data,
		   size_t bytes, struct err *err) MUST_CHECK;

/* The row as it is, with id and version, whatever was there; it is not read back. For copies. */
int store_place(struct store *s, enum store_kind kind, const void *row, struct err *err) MUST_CHECK;
/* A word about this copy of the store, which is no part of what is shared. value: no NUL inside. */
int store_put_note(struct store *s, const char *name, const char *value,
		   struct err *err) MUST_CHECK;

/* ERR_NOT_FOUND when absent. */
int store_get_blob(struct store *s, enum store_blob blob, uint64_t id, struct buf *out,
		   struct err *err) MUST_CHECK;
int store_get(struct store *s, enum store_kind kind, uint64_t id, void *row,
	      struct err *err) MUST_CHECK;
/* "" when there is none; ERR_LIMIT when it does not fit. */
int store_get_note(struct store *s, const char *name, char *out, size_t cap,
		   struct err *err) MUST_CHECK;
/* Visits rows in the order of their ids: those with an id above `above`; parent 0: of all parents.
 * The row is valid during the call. */
int store_each(struct store *s, enum store_kind kind, uint64_t above, uint64_t parent,
	       store_visit_fn visit, void *arg, struct err *err) MUST_CHECK;

/* Always possible; an engine of one machine is writable. */
void store_status(struct store *s, struct store_status *out);
/* NULL ends it. An engine of one machine has no news. */
void store_watch(struct store *s, store_news_fn fn, void *arg);

/* Reads all of a shared store from its members and compares it with its log; one check at a time.
 * `done` as of store_submit; an engine of one machine checks its file when it opens it. */
void store_check(struct store *s, store_done_fn done, void *arg);

/* ---- for engines: how a row looks ---- */

enum store_type { STORE_U32, STORE_U64, STORE_I64, STORE_TEXT, STORE_BYTES };

struct store_column {
	const char *name;
	enum store_type type;
	size_t offset;
	size_t bytes; /* of a text (with NUL) or of bytes */
};

struct store_shape {
	const char *table;
	size_t row_bytes;
	const char *parent; /* name of the parent's column; NULL none */
	const struct store_column *columns;
	size_t columns_count;
};

/* For store_lease.c: the engine, and the leases of one that has none of its own. */
struct list;
const struct store_engine *store_calls(const struct store *s, void **engine_out);
struct list *store_leases(struct store *s);
uint64_t *store_leases_since_ns(struct store *s); /* 0: they end with the process */

/* ERR_UNSUPPORTED: the engine gives ids by other means. */
int store_highest_id(struct store *s, uint64_t *out, struct err *err) MUST_CHECK;

const struct store_shape *store_shape(enum store_kind kind);
const char *store_blob_table(enum store_blob blob);
/* Whose row it belongs to and goes with; STORE_KINDS_: to none. */
enum store_kind store_parent(enum store_kind kind);
enum store_kind store_blob_parent(enum store_blob blob);
/* Each node's own: never copied, counted in a digest, or moved. */
bool store_kind_is_local(enum store_kind kind);
bool store_blob_is_local(enum store_blob blob);

#endif
