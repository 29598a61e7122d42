/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_GOSSIP_TRUTH_H
#define TESTS_SIM_GOSSIP_TRUTH_H

/*
 * What is true of a simulated gossip cell, kept by the observer: what every owner wrote, by
 * version; the greatest incarnation that others hold of it; and what every holder was told, from
 * which it must be able to know all that it holds. Breaks of a rule go to sim_fail.
 */

#include "tests/sim/sim.h"

struct gossip_truth;

struct gossip_truth *gossip_truth_new(struct sim *s);
void gossip_truth_free(struct gossip_truth *t);
/* As in struct sim_profile. */
void gossip_truth_turned(struct gossip_truth *t, uint32_t node, bool up);
/* After each step. */
void gossip_truth_step(struct gossip_truth *t, struct sim *s, uint32_t node,
		       const struct step_input *in, const struct step_actions *out);
/* In the end: what each was told is what it holds. */
void gossip_truth_end(struct gossip_truth *t, struct sim *s);

#endif
