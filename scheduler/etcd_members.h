/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ETCD_MEMBERS_H
#define SCHEDULER_ETCD_MEMBERS_H

/*
 * Who keeps an etcd cluster (API 3.4, /v3/cluster/member/...): the list, and one change of it. Each
 * call is answered with the list as it is afterwards. A change whose answer was lost may have been
 * made: look at the list, and decide again (voters.h does).
 *
 * Threading: the loop's thread; `done` comes from the loop, exactly once, but not after
 * etcd_rpc_close().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "scheduler/etcd_rpc.h"

enum { ETCD_MEMBERS_MAX = 16, ETCD_MEMBER_NAME_BYTES = 64 };

struct etcd_member {
	uint64_t id;
	char name[ETCD_MEMBER_NAME_BYTES]; /* "": it was added and has not been started yet */
	char peer[ETCD_RPC_URL_BYTES];     /* the first of its URLs for other members */
	char client[ETCD_RPC_URL_BYTES];   /* the first one for clients; "": not started yet */
	bool learner;
};

struct etcd_members {
	struct etcd_member items[ETCD_MEMBERS_MAX];
	size_t count;
	uint64_t added; /* id of the one that was added by this call; 0 none */
};

/* err NULL: members is the list; valid during the call. ERR_CONFLICT: the cluster does not take
 * that change now (a learner that has not caught up, a member it needs, one that is there already);
 * ERR_NOT_FOUND: no such member. Others: as etcd_rpc.h says. */
typedef void (*etcd_members_fn)(void *arg, const struct etcd_members *members,
				const struct err *err);

int etcd_members_list(struct etcd_rpc *r, etcd_members_fn done, void *arg,
		      struct err *err) MUST_CHECK;
/* peer: "https://10.0.0.4:9886". */
int etcd_members_add_learner(struct etcd_rpc *r, const char *peer, etcd_members_fn done, void *arg,
			     struct err *err) MUST_CHECK;
int etcd_members_promote(struct etcd_rpc *r, uint64_t id, etcd_members_fn done, void *arg,
			 struct err *err) MUST_CHECK;
/* One that is not there any more counts as removed. */
int etcd_members_remove(struct etcd_rpc *r, uint64_t id, etcd_members_fn done, void *arg,
			struct err *err) MUST_CHECK;

/* Of the member that is asked (the rpc should have one endpoint). */
struct etcd_member_status {
	uint64_t member; /* its id */
	uint64_t leader; /* 0: it knows of none */
	uint64_t index;  /* decided, as far as it knows */
	uint64_t applied;
	bool learner;
	uint64_t data_bytes;
	char version[32];
};

typedef void (*etcd_member_status_fn)(void *arg, const struct etcd_member_status *status,
				      const struct err *err);

int etcd_members_status(struct etcd_rpc *r, etcd_member_status_fn done, void *arg,
			struct err *err) MUST_CHECK;
/* Only the leader does it: the rpc should have that one as its endpoint. */
int etcd_members_lead(struct etcd_rpc *r, uint64_t to, etcd_member_status_fn done, void *arg,
		      struct err *err) MUST_CHECK;
int etcd_members_read_status(const char *text, size_t bytes, struct etcd_member_status *out,
			     struct err *err) MUST_CHECK;

/* An answer's text. ERR_CORRUPT: it is none. */
int etcd_members_read(const char *text, size_t bytes, struct etcd_members *out,
		      struct err *err) MUST_CHECK;

#endif
