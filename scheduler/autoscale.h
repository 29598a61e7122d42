/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_AUTOSCALE_H
#define SCHEDULER_AUTOSCALE_H

/*
 * How many replicas an adaptive service should have, as a core: what all its replicas use now comes
 * in, a size and its reason come out.
 *
 * Each metric is kept as the exponential mean (weight 0.3) of the *sum* over all replicas, so that
 * it says what the service needs, whatever its size is while replicas come and go. A replica's
 * share of it is compared with the target:
 *
 *   up    when any metric is at its target or above: in one step to the smallest size at which
 * every share is below its target; down  by one, when every share is at or below half of its target
 * and would stay below it; sleep from one (without targets: from any size) to none, when min is 0
 * and nothing was asked for a whole cooldown; wake  from none to one, as soon as a request waits:
 * not held up by the cooldown.
 *
 * Nothing else happens within the cooldown after a change, while the size is not reached yet by
 * replicas that are ready (except further up), or when a node's figures are missing (then never
 * down). Without targets the size stays where it is, between min and max.
 *
 * Time is monotonic nanoseconds. No I/O, no allocation, integers only.
 */

#include <stdbool.h>
#include <stdint.h>

enum autoscale_metric { AUTOSCALE_CPU, AUTOSCALE_MEMORY, AUTOSCALE_RPS, AUTOSCALE_METRICS_ };

enum {
	AUTOSCALE_INTERVAL_MS = 10000,
	AUTOSCALE_WEIGHT_PERCENT = 30, /* of the newest sample in the mean */
};

struct autoscale_rule {
	uint32_t min, max; /* min <= max, max > 0 */
	uint64_t cooldown_ns;
	uint64_t interval_ns; /* between two samples that count */
	/* Per replica; 0: not given. cpu and memory in thousandths of its limit, requests in
	 * thousandths a second. */
	uint64_t target[AUTOSCALE_METRICS_];
};

struct autoscale_sample {
	uint32_t size;      /* asked for now */
	uint32_t ready;     /* of these, in balancing */
	uint32_t waiting;   /* requests that wait for a replica to wake */
	uint32_t in_flight; /* requests and upgraded connections open now */
	bool whole;         /* the sums are of all replicas: no node's figures are missing or old */
	uint64_t sum[AUTOSCALE_METRICS_]; /* in the units of target, over all replicas */
};

enum autoscale_reason {
	AUTOSCALE_FITS = 1,  /* between half of the targets and the targets */
	AUTOSCALE_BOUNDS,    /* size was outside min and max */
	AUTOSCALE_LOAD,      /* up: metric */
	AUTOSCALE_AT_MAX,    /* would go up: metric */
	AUTOSCALE_IDLE,      /* down */
	AUTOSCALE_ASLEEP,    /* is at 0, or goes there */
	AUTOSCALE_WAKE,      /* a request waits */
	AUTOSCALE_COOLING,   /* changed shortly ago */
	AUTOSCALE_STARTING,  /* the size is not reached yet */
	AUTOSCALE_PARTIAL,   /* a node's figures are missing */
	AUTOSCALE_NO_TARGET, /* has none */
};

struct autoscale_verdict {
	uint32_t size; /* to ask for; equal to sample.size: nothing to do */
	enum autoscale_reason reason;
	enum autoscale_metric metric; /* of LOAD and AT_MAX: the one that needs most */
	uint64_t mean;                /* of that metric, per ready replica */
	uint64_t due_ns;              /* step again by then */
};

/* Soft state: a successor that begins anew has means again after one sample. */
struct autoscale {
	uint64_t mean[AUTOSCALE_METRICS_]; /* of the sums */
	uint64_t sampled_ns;               /* the last sample that counted; 0: none yet */
	uint64_t changed_ns;               /* the last change of size */
	uint64_t asked_ns;                 /* when something was asked of it last */
};

/* changed_ns: when its size was changed last as far as is known. */
void autoscale_init(struct autoscale *a, uint64_t now_ns, uint64_t changed_ns);
/* Whenever anything of the sample changes, and at due_ns. */
struct autoscale_verdict autoscale_step(struct autoscale *a, const struct autoscale_rule *rule,
					const struct autoscale_sample *sample, uint64_t now_ns);

#endif
