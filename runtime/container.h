/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_H
#define RUNTIME_CONTAINER_H

/*
 * One replica as the runtime sees it: what the scheduler claims, what is true, and the next step
 * between them. container_step() may be called at any time and as often as one likes: it looks at
 * the claim and goes on from where things stand (level-triggered). An attempt goes
 *
 *   plan -> image -> network -> data path attached -> started -> running -> ended
 *
 * and waits where something is not there yet. What cannot be done ends the attempt with a reason;
 * it is tried again when the scheduler asks for the next attempt.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/arena.h"
#include "ring/msg.h"
#include "ring/plan.h"
#include "ring/station.h"
#include "runtime/address_pool.h"
#include "runtime/cgroups.h"
#include "runtime/image_ask.h"
#include "runtime/image_ops.h"
#include "runtime/image_pull.h"
#include "runtime/image_store.h"
#include "runtime/monitor_link.h"
#include "runtime/net.h"
#include "runtime/place.h"
#include "runtime/seccomp_profile.h"
#include "runtime/spawn.h"

enum { CONTAINER_PROFILES = 8 };

/* What all containers share. */
struct container_host {
	struct station *st;
	uv_loop_t *loop;
	struct place place;
	struct net *net;
	struct cgroups *groups;
	struct spawn spawn;
	struct image_store *images;
	struct image_ops *ops;
	struct pulls *pulls;
	struct image_ask *asks;
	struct address_pool pool;
	struct seccomp_profile own[3]; /* by enum seccomp_profile_kind */
	struct {
		uint64_t caps;
		struct seccomp_profile profile;
	} profiles[CONTAINER_PROFILES];
	size_t profiles_next;
	struct map containers; /* replica -> struct container */
	struct msg_prefix prefix;
	bool have_prefix;
	struct ring_reader *dataplane; /* NULL: not there */
	struct ring_reader *scheduler; /* likewise */
};

enum container_phase {
	CONTAINER_IDLE,      /* nothing tried yet */
	CONTAINER_PREPARING, /* until a monitor was started */
	CONTAINER_STARTED,   /* there is a monitor */
	CONTAINER_LOST,  /* its monitor ended before it: not over while anything is left of it */
	CONTAINER_ENDED, /* attempt `attempt` is over */
};

struct check;

struct container {
	struct container_host *host;
	uint64_t replica;
	struct msg_claim claim; /* last one seen */
	bool claimed;           /* the scheduler that is there now has a row for it */
	uint64_t unclaimed_ns;  /* since when it has not */
	bool forgotten;         /* nobody claims it any more: remove it */

	enum container_phase phase;
	uint32_t attempt;
	bool hold; /* the attempt holds the place of a program that ended */
	struct msg_container row;
	struct msg_veth veth;
	struct control_state told; /* the monitor's last word of this attempt */

	struct arena arena; /* plan and image of this plan */
	struct plan *plan;
	uint8_t plan_sha256[32];
	bool asking;
	struct image_record *image;
	char held[MSG_DIGEST]; /* image that is held; "" none */
	bool pulling;
	char pulled[MSG_DIGEST]; /* by this attempt; "" nothing */
	bool network, connected; /* its link: made, and carrying packets */

	struct monitor_link *monitor;
	int pidfd;           /* of the first process, checked; -1 */
	uint64_t lease_sent; /* the claim's deadline that the monitor was told */
	uint32_t stop_sent;  /* the claim's desired value that the monitor was told; 0 none */
	uint64_t stop_by_ns; /* when its grace is over; 0: it is not to stop */
	bool groups_left;
	bool closing;
	uint64_t began_ns;      /* of this attempt */
	uint64_t lines_seen[3]; /* out, err, dropped: already counted */
	bool lines_before;      /* the next look at them only says what a predecessor counted */
	uint64_t cpu_seen;
	uint32_t oom_seen; /* processes of this attempt, counted already */
	uv_timer_t timer;
	struct check *check; /* command health check, NULL: none */
};

/* Finds or makes. NULL: out of memory. */
struct container *container_get(struct container_host *host, uint64_t replica);
struct container *container_find(struct container_host *host, uint64_t replica);
/* Picks up what a former runtime left: plan, monitor, records. */
void container_adopt(struct container *c);
/* A new or changed claim. */
void container_claim(struct container *c, const struct msg_claim *claim);
void container_step(struct container *c);
/* Does it again a little later. */
void container_later(struct container *c, uint64_t ms);
void container_publish(struct container *c);
/* Ends the attempt that is being prepared. */
void container_fail(struct container *c, const struct err *err);
/* Removes what is left of the attempt's cgroups: those of an earlier attempt have its counters.
 * False: they are busy; container_step() is called again. */
bool container_clear_groups(struct container *c);
/* Figures of the cgroups into the row and the metrics. */
void container_measure(struct container *c);
/* Ports that programs of the container listen on, into the row. */
void container_look_for_ports(struct container *c);
/* Frees all of them without touching what runs. */
void container_close_all(struct container_host *host);

/* "deployment/service" and "deployment/service.N" for metrics and messages. */
void container_service_label(const struct container *c, char out[MSG_TARGET]);
void container_label(const struct container *c, char out[MSG_TARGET]);

/* ERR_NO_MEMORY, in the words of all that prepares an attempt. */
int container_no_memory(struct err *err);
/* container_start.c: makes everything for the attempt and starts its monitor. */
int container_start(struct container *c, struct err *err) MUST_CHECK;

#endif
