/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_COORDINATOR_INSIDE_H
#define SCHEDULER_PLACE_COORDINATOR_INSIDE_H

/* Between coordinator.c (the works and their turns), coordinator_look.c (one service as a whole)
 * and coordinator_asked.c (slots that are decided elsewhere). */

#include "scheduler/place/coordinator_attempt.h"

#define COORDINATOR_MS_NS UINT64_C(1000000)

/* ---- coordinator.c ---- */

/* NULL: out of memory. */
struct coordinator_work *coordinator_work_new(struct coordinator *c, struct fleet_service *s);
/* As a whole, with this step. */
void coordinator_look_soon(struct coordinator *c, struct coordinator_work *w);
/* By its timer: then, or sooner. */
void coordinator_work_at(struct coordinator *c, struct coordinator_work *w, uint64_t at,
			 uint64_t now_ns);
/* What could not be done for want of memory is done again, with everything else, in a second. */
void coordinator_again(struct coordinator *c, uint64_t now_ns);
void coordinator_wait_for_change(struct coordinator *c, struct coordinator_work *w,
				 uint64_t now_ns);

/* ---- coordinator_look.c ---- */

/* False: no room is left. */
bool coordinator_look(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
		      struct step_actions *out);
/* Those of slots that are not wanted any more. */
void coordinator_end_attempts(struct coordinator *c, struct coordinator_work *w,
			      struct step_actions *out);
/* Empties the queue; it has room for so many then. -1: out of memory. */
int coordinator_queue_room(struct coordinator_work *w, size_t count);
/* What only its node has told of may have ended before gossip began to tell. False: no room. */
bool coordinator_ask_direct(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
			    struct step_actions *out);
void coordinator_send_retire(struct coordinator *c, const struct slots_item *item, uint64_t now_ns,
			     struct step_actions *out);

/* ---- coordinator_asked.c ---- */

/* NULL: nobody asks for it. */
struct coordinator_slot *coordinator_ask_of(const struct coordinator_work *w, uint32_t slot,
					    uint32_t revision);
void coordinator_drop_ask(struct coordinator_work *w, uint32_t slot, uint32_t revision);
/* Instead of deciding. False: no room. */
bool coordinator_look_at_asks(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
			      struct step_actions *out);
/* True: there was no room. */
bool coordinator_part(struct coordinator *c, uint64_t now_ns, struct step_actions *out);
void coordinator_parting_free(struct coordinator_parting *p);

#endif
