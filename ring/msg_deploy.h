/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_DEPLOY_H
#define RING_MSG_DEPLOY_H

/* Deployments as people see them: the scheduler's rows and events, and what it is asked for. The
 * rules are those of ring/msg.h. */

#include "ring/msg_base.h"

enum msg_deployment_state {
	MSG_DEPLOYMENT_STABLE = 1,
	MSG_DEPLOYMENT_DEPLOYING,
	MSG_DEPLOYMENT_DEGRADED,
	MSG_DEPLOYMENT_STOPPED,
	MSG_DEPLOYMENT_REMOVING,
	MSG_DEPLOYMENT_FAILED, /* the first revision never came up */
	MSG_DEPLOYMENT_PAUSED, /* a roll-out stands still: on_failure, or by hand */
};

struct msg_deployment { /* key: id from the store */
	uint64_t id;
	char name[MSG_NAME];
	uint32_t state;
	uint32_t revision;        /* that serves; 0: none yet */
	uint32_t target_revision; /* being rolled out; equal to revision when none */
	uint32_t services;
	uint64_t operation; /* last or running */
	int64_t created_wall_ns;
	int64_t updated_wall_ns;
	struct msg_reason reason;
};

enum msg_scale_mode { MSG_SCALE_FIXED = 1, MSG_SCALE_ADAPTIVE, MSG_SCALE_MANUAL };
enum msg_service_state {
	MSG_SERVICE_STARTING = 1,
	MSG_SERVICE_READY,
	MSG_SERVICE_DEGRADED,
	MSG_SERVICE_STOPPED,
	MSG_SERVICE_FAILED,
	MSG_SERVICE_IDLE,    /* its size is 0 */
	MSG_SERVICE_SCALING, /* serves, and gets more replicas because of its load */
};

/* Why an adaptive service has the size that it has. */
enum msg_scale_reason {
	MSG_SCALE_FITS = 1,  /* between half of the targets and the targets */
	MSG_SCALE_BOUNDS,    /* it was outside of min and max */
	MSG_SCALE_LOAD,      /* it went up */
	MSG_SCALE_AT_MAX,    /* it would go up */
	MSG_SCALE_IDLE,      /* it went down */
	MSG_SCALE_ASLEEP,    /* nothing is asked of it */
	MSG_SCALE_WAKE,      /* a request waits */
	MSG_SCALE_COOLING,   /* it was changed less than a cooldown ago */
	MSG_SCALE_STARTING,  /* replicas of the last change are not ready yet */
	MSG_SCALE_PARTIAL,   /* figures are missing: it does not go down */
	MSG_SCALE_NO_TARGET, /* there is none: it stays */
	MSG_SCALE_PAUSED,    /* an operation is under way, or it was stopped */
	MSG_SCALE_HELD,      /* it would go up and cannot: the reason of the service says why */
};

enum msg_scale_metric { MSG_SCALE_CPU, MSG_SCALE_MEMORY, MSG_SCALE_RPS, MSG_SCALE_METRICS };

struct msg_scale_figure {
	uint64_t target; /* of a replica; 0: none. cpu, memory: thousandths of its limit */
	uint64_t mean;   /* of a ready one. rps: thousandths a second */
	uint32_t known;  /* the mean is */
	uint32_t pad_;
};

struct msg_service_endpoint {
	char name[MSG_NAME];
	uint32_t protocol; /* of the transport: IPPROTO_TCP, IPPROTO_UDP */
};

/* What replicas that are wanted and not there wait for. */
enum msg_waits { MSG_WAITS_DEPENDENCY = 1, MSG_WAITS_NODE /* none of the cluster takes them */ };

struct msg_service { /* key: id from the store */
	uint64_t id;
	uint64_t deployment;
	char deployment_name[MSG_NAME];
	char name[MSG_NAME];
	uint32_t state;
	uint32_t revision;
	uint32_t scale_mode;
	uint32_t scale_min, scale_max;
	uint32_t desired, running, ready;
	uint32_t weak_gate; /* no health block: the weaker gate is used */
	uint32_t waits;     /* enum msg_waits (reason): its replicas are not made yet */
	char image[MSG_IMAGE];
	char url[MSG_HOST + MSG_PATH]; /* of the first public endpoint, http before tcp and udp; ""
					  when none */
	struct msg_reason reason;
	uint32_t endpoints_count;
	uint32_t pad2_;
	struct msg_service_endpoint endpoints[MSG_ENDPOINTS_MAX]; /* order of msg_backend.ports */
	uint32_t job;  /* its replicas are runs: it has no size */
	uint32_t cron; /* runs are made by a schedule: msg_cron of the same key */
	/* Of an adaptive one. */
	uint32_t scale_reason;  /* enum msg_scale_reason; 0: it is not adaptive */
	uint32_t scale_waiting; /* requests that wait for a replica */
	uint64_t scale_cooldown_ms;
	struct msg_scale_figure scale_figures[MSG_SCALE_METRICS];
	uint32_t scale_from, scale_to; /* the last change that is remembered; equal: none */
	int64_t scale_changed_wall_ns;
	char scale_why[MSG_TEXT]; /* of that */
	uint32_t unique;          /* never two live replicas of a number: each has a lease */
	uint32_t overlays; /* bits of enum msg_identity_flag, with MSG_IDENTITY_SAID; 0: not said */
};

enum msg_figures_flags {
	MSG_FIGURES_SELF = 1 << 0,   /* of the node that says so */
	MSG_FIGURES_WHOLE = 1 << 1,  /* nothing is missing, and they are not old */
	MSG_FIGURES_SILENT = 1 << 2, /* the node has not said what it has: all else is 0 */
};

/* An adaptive service on a node: what its size is judged by. */
struct msg_figures { /* key: a hash of service and node */
	uint64_t service;
	char node[MSG_NAME];
	uint32_t flags;
	uint32_t ready;                  /* replicas */
	uint32_t waiting;                /* requests that came to that node, for a replica */
	uint32_t in_flight;              /* of them open */
	uint64_t sum[MSG_SCALE_METRICS]; /* as the mean of msg_scale_figure, over its replicas */
};

enum msg_cron_state {
	MSG_CRON_WAITING = 1, /* for next_s */
	MSG_CRON_DISABLED,    /* by hand */
	MSG_CRON_STOPPED,     /* its deployment is */
	MSG_CRON_BEHIND,      /* the clock was set back: until it has caught up with mark_s */
	MSG_CRON_OVER,        /* the schedule has no time left */
	MSG_CRON_PENDING,     /* no revision of it serves yet */
};
enum msg_overlap { MSG_OVERLAP_FORBID = 1, MSG_OVERLAP_ALLOW, MSG_OVERLAP_REPLACE };
enum msg_catch_up { MSG_CATCH_UP_LAST = 1, MSG_CATCH_UP_ALL, MSG_CATCH_UP_NONE };
enum msg_on_loss { MSG_ON_LOSS_SKIP = 1, MSG_ON_LOSS_RETRY };

enum msg_firing_state {
	MSG_FIRING_DUE = 1, /* recorded; its run is not made yet */
	MSG_FIRING_STARTED, /* its run is under way */
	MSG_FIRING_DONE,    /* its run has ended: exit_status, exit_signal */
	MSG_FIRING_PASSED,  /* passed over: reason */
	MSG_FIRING_LOST,    /* its run was cut off, or could not be made */
};
enum msg_firing_reason {
	MSG_FIRING_ON_TIME = 1,
	MSG_FIRING_CAUGHT_UP, /* late */
	MSG_FIRING_MISSED,    /* PASSED: too late */
	MSG_FIRING_OVERLAPS,  /* PASSED: a run was under way */
};

enum { MSG_FIRINGS_MAX = 10, MSG_SCHEDULE = 512 };

struct msg_firing {
	int64_t at_s;
	int64_t ended_wall_ns; /* 0: it has not */
	uint32_t state;
	uint32_t reason;
	uint32_t skipped; /* times before it that were passed over with it */
	uint32_t skipped_more;
	uint32_t run;        /* N of its last run; 0 none */
	uint32_t tries;      /* runs of it that were lost before */
	int32_t exit_status; /* -1: none */
	uint32_t exit_signal;
};

struct msg_cron { /* key: id of the service */
	uint64_t service;
	char schedule[MSG_SCHEDULE];
	uint32_t state;
	uint32_t overlap;
	uint32_t catch_up;
	uint32_t on_loss;
	int64_t next_s; /* 0: none */
	int64_t mark_s; /* dealt with last */
	uint32_t firings_count;
	uint32_t pad_;
	struct msg_firing firings[MSG_FIRINGS_MAX]; /* the newest first */
	struct msg_reason reason;                   /* why it does not run, or did not run last */
};

enum msg_replica_state {
	MSG_REPLICA_PENDING = 1, /* not yet with the runtime */
	MSG_REPLICA_CREATING,
	MSG_REPLICA_STARTING, /* runs, gate not passed */
	MSG_REPLICA_READY,    /* in balancing */
	MSG_REPLICA_UNHEALTHY,
	MSG_REPLICA_DRAINING,
	MSG_REPLICA_STOPPING,
	MSG_REPLICA_STOPPED,
	MSG_REPLICA_BACKOFF, /* ended, waits before the next try */
	MSG_REPLICA_FAILED,
	MSG_REPLICA_ISOLATED, /* its program has ended; open to exec, no requests */
};

enum msg_condition { /* bits of msg_replica.conditions */
		     MSG_SCHEDULED = 1 << 0,
		     MSG_IMAGE_READY = 1 << 1,
		     MSG_VOLUME_READY = 1 << 2,
		     MSG_NETWORK_READY = 1 << 3,
		     MSG_STARTED = 1 << 4,
		     MSG_READY = 1 << 5,
};

/* How a process ended, in one word: known, the signal, the status. */
enum { MSG_EXIT_KNOWN = 1 << 16, MSG_EXIT_SIGNAL_SHIFT = 8, MSG_EXIT_BYTE = 0xff };

struct msg_replica { /* key: id from the store, below 2^56, never reused */
	uint64_t id;
	uint64_t service;
	char deployment_name[MSG_NAME];
	char service_name[MSG_NAME];
	uint32_t index; /* N of "web.N": 1 .. */
	uint32_t revision;
	uint32_t state;
	uint32_t conditions;
	uint32_t restarts;
	uint32_t attempt;
	int64_t since_wall_ns;
	int64_t created_wall_ns;
	char node[MSG_NAME];
	struct msg_reason reason;
	uint32_t job;  /* a run of a job */
	uint32_t exit; /* of a run on another node that has ended: MSG_EXIT_*; 0: not known */
	int64_t due_s; /* the time of a cron that it was made for; 0: made by hand */
	uint64_t lease_epoch; /* of the lease that it lives with, or had last; 0: none */
};

/* Of another node's replica that runs, as its node has said it last: about, and not often. */
struct msg_usage { /* key: replica */
	uint64_t replica;
	uint64_t memory_bytes;
};

enum msg_operation_kind {
	MSG_OPERATION_DEPLOY = 1,
	MSG_OPERATION_SCALE,
	MSG_OPERATION_STOP,
	MSG_OPERATION_START,
	MSG_OPERATION_REMOVE,
	MSG_OPERATION_RESTART,
};
enum msg_operation_state {
	MSG_OPERATION_RUNNING = 1,
	MSG_OPERATION_DONE,
	MSG_OPERATION_FAILED,
	MSG_OPERATION_ROLLED_BACK,
};

struct msg_operation { /* key: id from the store */
	uint64_t id;
	uint64_t deployment;
	char deployment_name[MSG_NAME];
	uint32_t kind;
	uint32_t state;
	uint32_t revision;
	uint32_t previous_revision;
	uint32_t steps_done, steps_total; /* replicas */
	int64_t started_wall_ns;
	int64_t ended_wall_ns; /* 0 while it runs */
	uint32_t who_uid;
	uint32_t pad_;
	struct msg_reason reason;
};

struct msg_event {
	uint64_t id; /* of the store, grows by one */
	int64_t wall_ns;
	char type[48]; /* "replica.ready": docs/events.md */
	char deployment[MSG_NAME];
	char service[MSG_NAME]; /* "" when none */
	uint32_t index;         /* replica N, 0 when none */
	uint32_t revision;
	uint64_t replica;
	uint64_t operation;
	uint32_t severity; /* enum log_level */
	uint32_t pad_;
	char text[MSG_TEXT];
	struct msg_reason reason;
};

struct msg_apply {
	char name[MSG_NAME];
	uint32_t dry_run;
	uint32_t has_expect;
	uint32_t expect_revision; /* conflict when another revision is the newest */
	uint32_t no_rollback;
	uint32_t who_uid;
	uint32_t who_pid;
};

struct msg_apply_pin {
	char service[MSG_NAME];
	char digest[MSG_DIGEST]; /* what its image's name means now */
};

struct msg_apply_answer {
	uint64_t operation; /* 0: unchanged, or dry run */
	uint32_t revision;
	uint32_t previous_revision;
	uint32_t unchanged;
	uint32_t changes_bytes; /* text of the plan, one line each: "~ web image a -> b" */
	char changes[3072];
};

struct msg_rollback {
	char name[MSG_NAME];
	uint32_t revision; /* 0: the last good one before what serves */
	uint32_t dry_run;
	uint32_t who_uid;
	uint32_t pad_;
};

struct msg_target_op {
	char deployment[MSG_NAME];
	char service[MSG_NAME]; /* "" for the whole deployment */
	uint32_t index;         /* 0: all replicas */
	uint32_t replicas;      /* scale */
	uint32_t force;
	uint32_t grace_ms; /* 0: as the document says */
	uint32_t volumes;  /* remove: named volumes too */
	uint32_t who_uid;
};

struct msg_target_answer {
	uint64_t operation; /* 0: nothing to do */
	uint32_t unchanged;
	uint32_t pad_;
};

struct msg_run_answer {
	uint64_t replica;
	uint32_t index;
	uint32_t pad_;
};

struct msg_document_op {
	char deployment[MSG_NAME];
	uint32_t revision; /* 0: the one that serves (or the newest) */
	uint32_t pad_;
};

struct msg_events_op {
	uint64_t since; /* ids above this */
	uint32_t limit; /* at most, newest kept: 1 .. 1000 */
	uint32_t pad_;
};

#endif
