/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_LEASH_H
#define RING_LEASH_H

/*
 * The leash: one SOCK_SEQPACKET pair between node and each role, for what shared memory cannot
 * carry: descriptors. Messages have one fixed size; node routes them by a permission table
 * (who may send what to whom) and never reads what a descriptor holds. The end of the leash means
 * that the other side is gone. (role, index) is unique among live processes: a successor that
 * starts before its predecessor has left gets another index; the generation grows with every start.
 * Threading: one owner. Errors: a message of another size, magic or with other descriptors than its
 * kind allows is dropped, counted, and its descriptors are closed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/fd.h"
#include "base/sandbox.h"
#include "ring/msg.h"

enum { LEASH_FD = 3, LEASH_MAGIC = 0x4853415a, LEASH_FOLDERS_MAX = 4 };

enum leash_kind {
	/* node -> role */
	LEASH_WELCOME = 1, /* fds: struct leash_welcome (sealed), config (sealed), then folders */
	LEASH_PEER,        /* a producer this role reads: fds: segment, pipe to wait on */
	LEASH_PEER_GONE,   /* peer_role, peer_index, a = generation */
	LEASH_KICK,        /* a reader of this role's segment: fd: pipe to signal */
	LEASH_KICK_GONE,
	LEASH_LISTENER, /* fd: listening socket; name: "http", "https", "tcp", "udp" ...; a = 1 when
			   it is the last */
	LEASH_CONFIG,   /* fd: new config (sealed): take it over without a pause; listeners whose
			   address it no longer has are to be closed; a = enum log_level + 1, b =
			   enum log_format; a = 0: as before */
	LEASH_UNLISTEN, /* node -> proxy: the port of a tcp or udp endpoint is given up; name, addr
			   as of its listener */
	LEASH_STOP,     /* finish what is under way and leave; a = grace in ms */
	LEASH_FILE, /* node -> signer, overlay: fds of opened files; name, a = enum leash_file */
	LEASH_FILES_END, /* all files of this round were sent: what was not sent is gone */
	/* role -> node */
	LEASH_SEGMENT, /* fd: this role's sealed segment */
	LEASH_READY,   /* confined and at work; a = landlock ABI */
	LEASH_KEEP,    /* signer -> node: fd: sealed bytes to keep under name */
	LEASH_SPOOL,   /* api -> node: asks for an unlinked file to write to; id */
	LEASH_SPOOLED, /* the answer: fd, or none and code errno; id */
	/* role -> node -> role */
	LEASH_DELIVER,        /* fds: what belongs to request or answer `id`; b = 1 for an answer */
	LEASH_TICKETS,        /* signer -> proxies: fd: sealed memfd with the session ticket keys */
	LEASH_REGISTRY,       /* fetch -> node: asks for the files below; name: HOST[:PORT], id */
	LEASH_REGISTRY_FILES, /* the answer: id, a = bits of enum leash_registry, a fd for each */
	/* node -> role */
	LEASH_SOCKETS, /* node -> overlay: fds: unconnected sockets of node's own network namespace,
			  to ask the machine's resolvers with */
	/* fetch <-> node */
	LEASH_LOGIN,      /* asks for the login that a program keeps; name: HOST[:PORT], id */
	LEASH_LOGIN_PIPE, /* the answer: id; fd: pipe with struct leash_login; none: node cannot */
	/* scheduler <-> node */
	LEASH_STORE,       /* asks for the files of store.etcd; id */
	LEASH_STORE_FILES, /* the answer: id, a = bits of enum leash_store, a fd for each */
	/* node -> overlay */
	LEASH_TUNNEL, /* what overlay has of the device of sealed traffic, instead of what it had
			 earlier; none: it is gone. code = enum msg_backend_kind: the queues of the
			 TUN device, b = what it offloads; or a door to the kernel's
			 (node/wgdoor.h), id = its family, b = the port it is to have.
			 name: the device's; a = its MTU */
	/* scheduler -> node -> overlay */
	LEASH_PAIRS, /* fd: sealed memfd, array of struct leash_pair: of all nodes of the cluster */
	/* role -> node */
	LEASH_FAILED, /* fd: sealed memfd, struct msg_reason: why it cannot start; it ends then */
	LEASH_KINDS_,
};

/* Of LEASH_FILE, in this order at signer's start: the sealing key, what was kept sealed, then each
 * round of certificates. */
enum leash_file {
	LEASH_FILE_CERTIFICATE = 1, /* fds: NAME.crt, and NAME.key when it is there; name: NAME */
	LEASH_FILE_SEALED,          /* fd: what LEASH_KEEP gave; name */
	LEASH_FILE_SEALING_KEY,     /* fd: 32 bytes */
	LEASH_FILE_RESOLVERS,       /* to overlay: sealed copy of the machine's resolv.conf */
};

/* Of LEASH_REGISTRY_FILES, in this order. What is not there on this machine is left out. */
enum leash_registry {
	LEASH_REGISTRY_LOGINS = 1 << 0, /* config.json, as docker writes it: holds passwords */
	LEASH_REGISTRY_CA = 1 << 1,     /* certificates to trust for this host, PEM */
	LEASH_REGISTRY_RESOLV = 1 << 2, /* /etc/resolv.conf */
	LEASH_REGISTRY_HOSTS = 1 << 3,  /* /etc/hosts */
};

/* Of LEASH_STORE_FILES, in this order. What node.yaml does not name, or cannot be opened, is left
 * out.
 */
enum leash_store {
	LEASH_STORE_CA = 1 << 0,
	LEASH_STORE_CERT = 1 << 1,
	LEASH_STORE_KEY = 1 << 2,
	LEASH_STORE_PASSWORD = 1 << 3,
};

/* What comes through the pipe of LEASH_LOGIN_PIPE, from a process that node forked; then `bytes` of
 * what the program printed. */
struct leash_login {
	uint32_t kind; /* enum err_kind; 0: the program gave a login. ERR_NOT_FOUND: it has none */
	uint32_t bytes;
	char what[256];
	char why[2][256];
	char fix[256];
};
enum { LEASH_LOGIN_BYTES_MAX = 64 << 10 };

/* What this node and another one alone can know: the preshared key of their sealed traffic. */
struct leash_pair {
	uint32_t node;
	uint8_t key[MSG_KEY];
};
enum { LEASH_TUNNEL_QUEUES_MAX = 4, LEASH_PAIRS_MAX = MSG_PEERS_MAX };

struct leash_message {
	uint32_t magic;
	uint16_t kind;
	uint16_t fds;
	uint16_t from_role, from_index;
	uint16_t to_role, to_index; /* role 0: node; index 0xffff: every instance of the role */
	uint16_t peer_role, peer_index;
	uint32_t code;
	uint64_t id;
	uint64_t a;
	uint64_t b;
	char name[128];
	struct addr addr; /* of LEASH_UNLISTEN */
	uint8_t reserved_[56];
};

enum { LEASH_ALL = 0xffff };

/* What node tells a role at its start. Fixed size, in a sealed memfd. */
struct leash_welcome {
	uint32_t abi;
	uint16_t role;
	uint16_t index;
	uint32_t generation;
	uint32_t instances; /* of this role: 1, or the number of workers */
	char instance[MSG_NAME];
	char node[MSG_NAME];
	/* confinement, from node's table of roles */
	uint32_t uid, gid;
	uint64_t keep_caps;
	uint32_t landlock;
	uint32_t folders; /* descriptors that follow the config in LEASH_WELCOME */
	uint32_t folder_access[LEASH_FOLDERS_MAX]; /* enum sandbox_access */
	uint32_t rlimits_count;
	uint32_t filter_count;
	struct {
		int32_t resource;
		uint32_t pad_;
		uint64_t value;
	} rlimits[SANDBOX_RLIMITS_MAX];
	int32_t log_level;        /* enum log_level */
	int32_t log_format;       /* enum log_format */
	uint32_t allow_new_privs; /* starts programs that may be set-uid: base/sandbox.h */
	uint32_t pad_;
	struct sock_filter filter[4096];
};

/* Both give 0, or -1 with errno (EAGAIN: try later; ECONNRESET: the other side is gone; EBADMSG:
 * dropped, go on). leash_send borrows the descriptors; leash_recv gives them, close-on-exec. */
int leash_send(int sock, const struct leash_message *m, const int *fds, size_t count);
int leash_recv(int sock, struct leash_message *m, int *fds, size_t max, size_t *count_out);
void leash_init(struct leash_message *m, enum leash_kind kind);

/* Whether `from` may send `kind` to `to` through node: the permission table. */
bool leash_allowed(unsigned from_role, unsigned to_role, enum leash_kind kind);
/* Most and least descriptors of a kind. */
void leash_fds(enum leash_kind kind, size_t *min_out, size_t *max_out);
/* Whether reader reads producer's segment: the graph of the ring. */
bool leash_reads(unsigned reader_role, unsigned producer_role);

#endif
