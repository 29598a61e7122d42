/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ROLES_H
#define NODE_ROLES_H

/*
 * The table of roles: what each process of a node may do, and how it is run. docs/security.md shows
 * the same table (a unit test compares the two) and tests/net/test_confine.c tries it from inside.
 * Every role is started again when it ends, at once and then with back-off.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/sandbox.h"
#include "ring/leash.h"
#include "ring/role.h"

enum roles_netns {
	ROLES_HOST,   /* the one that node runs in */
	ROLES_FABRIC, /* where containers' links end */
	ROLES_NONE,   /* a new, empty one: inherited sockets only */
};

enum roles_place {
	ROLES_DATA = 1, /* the data folder */
	ROLES_RUN,      /* /run/zlayer/NAME */
	ROLES_BPF,      /* /sys/fs/bpf/zlayer/NAME */
	ROLES_SYS,      /* /sys; only ever read, may be missing */
};

struct roles_folder {
	enum roles_place place;
	const char *path; /* below the place; "" is the place itself */
	unsigned access;  /* enum sandbox_access */
};

struct roles_entry {
	enum role role;
	enum roles_netns netns;
	bool user_ns;       /* in a user namespace that maps every id to itself */
	uint8_t uid;        /* offset in the instance's block (proxy: of worker index 0) */
	uint8_t start;      /* order of start; stopped in the reverse order */
	uint8_t replace;    /* order at an upgrade: consumers before producers */
	bool many;          /* one per worker */
	bool outlives;      /* serves on when node is killed */
	bool new_privs;     /* no_new_privs stays off: its containers may run set-uid programs */
	bool landlock;      /* sees only `folders` */
	uint64_t caps;      /* kept, where node itself has them */
	unsigned filter;    /* enum filter_set bits of node/filter.h */
	uint32_t files_max; /* RLIMIT_NOFILE, cut to the machine's hard limit */
	uint32_t tasks_max; /* RLIMIT_NPROC of its uid; 0: not limited */
	size_t folders_count;
	struct roles_folder folders[LEASH_FOLDERS_MAX]; /* order: enum role_folder of ring/role.h */
};

enum {
	ROLES_UIDS = 256,    /* per instance */
	ROLES_UID_NFT = 128, /* offset of the user that the nft program runs as */
	ROLES_UID_ETCD = 129,
	ROLES_UID_WGDOOR = 130,
	ROLES_COUNT = ROLES_ - ROLE_NODE - 1,
};

/* NULL for node itself and what is out of range. */
const struct roles_entry *roles_get(unsigned role);
/* All of them, in the order of start. */
const struct roles_entry *roles_at(size_t i);
/* Of an instance whose block begins at base. Distinct for each role and index. */
uid_t roles_uid(const struct roles_entry *entry, unsigned index, uid_t base);

#endif
