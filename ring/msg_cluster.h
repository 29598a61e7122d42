/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_CLUSTER_H
#define RING_MSG_CLUSTER_H

/* The cluster as this node's scheduler knows it, and what is asked of it. The rules are those of
 * ring/msg.h. Words of the user are checked by the scheduler, whoever has checked them before. */

#include "ring/msg_base.h"
#include "ring/msg_container.h"

enum {
	MSG_PAIRS = 1024,    /* text of labels or taints: "key=value" each behind the other, '\n' */
	MSG_LABELS_MAX = 64, /* of a node; so many taints, too */
	MSG_CLUSTER_ID = 65, /* 64 hex digits, NUL */
};

/* How a node is, as this one has heard. */
enum msg_member_state {
	MSG_MEMBER_NEW = 1, /* admitted, never heard of */
	MSG_MEMBER_READY,
	MSG_MEMBER_SUSPECT, /* did not answer */
	MSG_MEMBER_DEAD,
	MSG_MEMBER_LEFT, /* said so itself, and may come back */
};

/* What a node has to do with the store's etcd. */
enum msg_voter {
	MSG_VOTER_NONE,
	MSG_VOTER_LEARNS, /* begins, or has not all of it yet */
	MSG_VOTER_VOTES,
	MSG_VOTER_GOES,
};

struct msg_member { /* key: id of the node. One row, of this node, when it is in no cluster */
	uint32_t node;
	uint32_t state;
	uint32_t self;
	uint32_t accuser; /* of a suspect or dead one: who said so; 0: not known */
	char name[MSG_NAME];
	char zone[MSG_NAME];
	char version[32];
	char platform[32];   /* "linux/amd64" */
	struct addr address; /* gossip; zero: not known */
	char labels[MSG_PAIRS];
	char taints[MSG_PAIRS];
	uint32_t draining;
	uint32_t keeper;    /* holds the authority's key: it admits others */
	uint32_t writer;    /* takes the store's changes */
	uint32_t replicas;  /* it has, of all states */
	uint32_t cpu_milli; /* what replicas may use in all; 0: not known */
	uint32_t cpu_free_milli;
	uint64_t memory_bytes;
	uint64_t memory_free_bytes;
	int64_t since_wall_ns; /* of the state */
	int64_t admitted_wall_ns;
	uint64_t store_sequence; /* that its copy of the store has; 0: not known */
	uint32_t voter;          /* enum msg_voter */
	uint32_t voter_up;       /* its member of etcd answers */
	uint32_t voter_leads;    /* the others */
	uint32_t voter_able;     /* it could keep a part of the store */
	int64_t voter_since_wall_ns;
	uint32_t backend; /* enum msg_backend_kind: who seals its traffic; 0: nobody, or not known
			   */
	/* UDP port that what is sealed between it and this node goes to first: its own, that of
	 * `via`, or this node's, if it alone only dials out; 0: not known. */
	uint32_t sealed_port;
	char etcd[32];          /* version of the program; "": not installed, or not known */
	char voter_reason[160]; /* why it is not able, or its member does not answer */
	uint32_t dials_out;     /* nobody can send to it first */
	uint32_t via; /* id of the node that passes on between it and this one; 0: none does */
	int64_t unreached_wall_ns; /* it lives, and no sealed packet comes since then; 0: it does */
	struct addr twin; /* it runs there, too, from a copy of its folder; zero: it does not */
	int64_t clock_ms; /* its wall clock is so far ahead of the others'; 0: it is right, or not
			     known */
	int64_t refused_wall_ns; /* the store takes no changes of it, as was heard then; 0: it does,
				    or not known */
};

enum msg_store_engine {
	MSG_STORE_ALONE = 1, /* a file of this node */
	MSG_STORE_WRITER,    /* a file of this node, which the others follow */
	MSG_STORE_FOLLOWER,  /* a copy of another node's */
	MSG_STORE_ETCD,
};

enum msg_admission { MSG_ADMISSION_TOKEN = 1, MSG_ADMISSION_OPEN, MSG_ADMISSION_CLOSED };

struct msg_cluster {   /* key: 1 */
	uint32_t self; /* node id; 0: in no cluster */
	uint32_t admission;
	uint32_t engine;
	uint32_t writable;     /* the store takes changes now */
	struct msg_reason why; /* it does not */
	char id[MSG_CLUSTER_ID];
	char pad_[7];
	struct addr gossip; /* where this node listens */
	uint64_t store_sequence;
	uint32_t voters; /* members of the store's etcd that vote */
	uint32_t voters_up;
	uint64_t member_bytes;  /* of the data of this node's member; 0: it has none that answers */
	uint64_t member_quota;  /* bytes, past which it takes no change; 0 likewise */
	uint64_t member_behind; /* entries that it has not applied yet */
	char outside[128];      /* where its etcd is, when it is none of the nodes' own */
	char voters_note[256];  /* what is under way, or wanting; "" nothing */
	int64_t certificate_not_after_s; /* of this node */
	struct msg_reason trouble;       /* that somebody should look at; kind 0: none */
	uint32_t listens; /* it has just begun: other nodes' replicas are not all in its tables yet
			   */
	uint32_t pad2_;
};

/* ---- etcd: one process on each node that is to keep a part of the store ---- */

enum {
	MSG_ETCD_VOTERS = 7, /* in the text of a cluster */
	MSG_ETCD_TEXT = 1024,
	MSG_ETCD_FILES = 64, /* hexadecimal digits of a digest's half, NUL */
};

/*
 * What scheduler wants of node: table MSG_TABLE_ETCD_ORDER. No row, or no scheduler: what was
 * ordered last goes on. A row that does not hold is no order, and node says so (msg_etcd.reason).
 *
 * A life is one member of etcd, from empty data to its removal: data of other lives is removed as
 * soon as a row names another one (or 0), and never otherwise. The words of its beginning count
 * only while its data is empty; etcd itself knows better afterwards.
 */
struct msg_etcd_order {
	uint64_t life;        /* never used twice on this node; 0: nothing runs, nothing is kept */
	uint64_t turn;        /* another number than before: the process is started again */
	uint32_t run;         /* 0: is stopped, and keeps its data */
	uint32_t existing;    /* begins as one more member of a cluster that is there */
	char name[MSG_NAME];  /* of the member */
	char token[MSG_NAME]; /* of the cluster of etcd: one that is begun anew has another */
	char cluster[MSG_ETCD_TEXT]; /* "edge-1=https://10.0.0.1:9886,edge-2=...": at its beginning
				      */
	struct addr client;          /* where others reach it: the address, port of listen.store */
	struct addr peer;            /* the next port */
	/* Of what lies in state/cluster/etcd (scheduler/credentials.h): node brings these files
	 * to etcd when the text is another one. "": there are none yet, it does not start. */
	char files[MSG_ETCD_FILES];
};

enum { MSG_ETCD_QUOTA_MIB = 2048 }; /* past which a member takes no change */

enum msg_etcd_state {
	MSG_ETCD_ABSENT = 1, /* none is ordered */
	MSG_ETCD_STARTING,   /* runs, and does not answer clients yet: it may wait for others */
	MSG_ETCD_UP,
	MSG_ETCD_STOPPED, /* as ordered */
	MSG_ETCD_FAILED,  /* does not run; is tried again. reason says why */
	MSG_ETCD_RUINED,  /* likewise, because its data is damaged: it is to begin another life */
};

enum msg_etcd_able {
	MSG_ETCD_UNABLE,
	MSG_ETCD_ABLE,  /* the program is there, of a version that serves, and may run here */
	MSG_ETCD_FAILS, /* so it is, and what was begun of late did not come up */
};

/* etcd on this node: table MSG_TABLE_ETCD, node's. */
struct msg_etcd {
	uint64_t life; /* whose data is here; 0: none */
	uint64_t turn; /* of the process that runs */
	uint32_t state;
	uint32_t able;            /* enum msg_etcd_able */
	uint32_t pid;             /* 0: does not run */
	uint32_t restarts;        /* of this life, that nobody ordered */
	int64_t since_wall_ns;    /* of the state */
	uint64_t memory_bytes;    /* resident; 0: does not run */
	uint64_t data_bytes;      /* on the disk */
	char version[32];         /* of the program; "": there is none */
	struct addr listen;       /* listen.store: for clients; port 0: off */
	struct msg_reason reason; /* why it is not able, or has failed; kind 0: no reason */
};

/* ---- asked by api. Secrets travel as sealed memfds (fd), never in a body ---- */

struct msg_invite {
	uint32_t ttl_s; /* 0: an hour */
	uint32_t uses;  /* 0: one */
};
/* Answer: struct msg_invited, fd: the ticket's text. */
struct msg_invited {
	int64_t expires_s;
	uint32_t uses;
	uint32_t created; /* the cluster is new: this node was in none */
};

struct msg_join {            /* fd: the ticket's text */
	char name[MSG_NAME]; /* "": as node.yaml says */
};
struct msg_joined {
	uint32_t node;
	uint32_t nodes; /* of the cluster, with this one */
	char id[MSG_CLUSTER_ID];
	char pad_[7];
};

struct msg_backup {
	uint32_t keys; /* the authority's key too */
	uint32_t who_uid;
};
struct msg_backed_up {
	uint64_t bytes;
	uint64_t sequence; /* of the store; 0: it has no log */
	int64_t created_wall_ns;
};

struct msg_restore {
	uint64_t nonce;   /* of this question: asked again, it is answered again */
	uint32_t replace; /* what is here goes */
	uint32_t who_uid;
};
struct msg_restored {
	int64_t created_wall_ns; /* the backup */
	char node[MSG_NAME];     /* that made it */
	uint32_t deployments;
	uint32_t services;
	uint32_t revisions;
	uint32_t removed; /* deployments that were here */
};

enum msg_recover_how {
	MSG_RECOVER_SINGLE = 1, /* this node's copy becomes the store */
	MSG_RECOVER_FOLLOW,     /* another node's has: follow that one */
};
struct msg_recover { /* fd, or none: the authority's key (PEM), for SINGLE */
	uint32_t how;
	uint32_t dry_run; /* only say what would be */
};
struct msg_recovered {
	uint32_t done;     /* it was so already, or is now */
	uint32_t term;     /* of the store's writer, afterwards */
	uint64_t sequence; /* that this node's copy is at */
	uint32_t keeper;   /* this node has the authority's key, or gets it */
	uint32_t others;   /* nodes of the cluster besides this one */
	uint32_t alive;    /* of them */
	uint32_t pad_;
	int64_t not_after_s;   /* this node's certificate */
	char writer[MSG_NAME]; /* that took the changes */
};

struct msg_leave {
	uint32_t force; /* also when nobody can be asked, or replicas would be lost */
	uint32_t pad_;
};

enum msg_node_verb {
	MSG_NODE_LABEL = 1, /* key, value */
	MSG_NODE_UNLABEL,   /* key */
	MSG_NODE_TAINT,     /* key, value ("" for none) */
	MSG_NODE_UNTAINT,   /* key */
	MSG_NODE_DRAIN,     /* seconds: until replicas are stopped anyway; 0: never */
	MSG_NODE_UNDRAIN,
	MSG_NODE_REMOVE, /* force: also when it is alive or has replicas */
	MSG_NODE_ROTATE, /* it makes another key of its sealed traffic, and uses that */
};

struct msg_node_op {
	char node[MSG_NAME]; /* name, or decimal id */
	char key[MSG_NAME];
	char value[MSG_NAME];
	uint32_t verb;
	uint32_t seconds;
	uint32_t force;
	uint32_t pad_;
};
/* Answer: struct msg_member, as it will be. */

struct msg_admit {     /* who may join */
	uint32_t mode; /* enum msg_admission */
	uint32_t pad_;
};

/* ---- asked by api: what another node has alone ---- */

/* As MSG_OP_LOGS and MSG_OP_EXEC of the runtime, of a replica of that node. A stream that is lost
 * ends with MSG_FRAME_LOST. */
struct msg_far_logs { /* fd: the stream */
	uint32_t node;
	uint32_t pad_;
	struct msg_logs logs;
};
struct msg_far_events { /* of that node alone, with its ids */
	uint32_t node;
	uint32_t wait; /* an answer comes when there are some, or after a while without */
	uint64_t since;
	uint32_t limit;
	uint32_t pad_;
};
struct msg_far_exec { /* fds: the stream, the command (ring/words.h) */
	uint32_t node;
	uint32_t pad_;
	struct msg_exec exec;
};

/* Why nodes do not take (more of) a service, as its conductor has it. */
struct msg_why_op {
	uint64_t service;
};
/* Answer: struct msg_why_answer, fd: array of struct msg_why, by node. */
struct msg_why_answer {
	uint32_t by; /* node that says so; 0: this one, which is in no cluster */
	uint32_t count;
	/* Who would conduct, but that the store takes no changes of it; 0: nobody */
	uint32_t passed_over;
	uint32_t pad_;
	struct msg_reason
		doubt; /* the conductor could not be asked: this node's own view; kind 0 */
};

enum msg_why_flag {
	MSG_WHY_FITS = 1 << 0,  /* it would take one more: there is no reason */
	MSG_WHY_KNOWN = 1 << 1, /* what is free on it */
	MSG_WHY_HAS = 1 << 2,   /* it has a replica of the service */
};

struct msg_why {
	char node[MSG_NAME];
	uint32_t id;
	uint32_t flags; /* enum msg_why_flag */
	uint32_t cpu_free_milli;
	uint32_t pad_;
	uint64_t memory_free_bytes;
	char text[MSG_TEXT]; /* "" when it fits */
};

#endif
