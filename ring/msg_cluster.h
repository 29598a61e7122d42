/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_CLUSTER_H
#define RING_MSG_CLUSTER_H

/* The cluster as this node's scheduler knows it, and what is asked of it. The rules are those of
 * ring/msg.h. Words of the user are checked by the scheduler, whoever has checked them before. */

#include "ring/msg_base.h"

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
	int64_t certificate_not_after_s; /* of this node */
	struct msg_reason trouble;       /* that somebody should look at; kind 0: none */
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

#endif
