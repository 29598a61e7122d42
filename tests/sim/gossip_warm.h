/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_GOSSIP_WARM_H
#define TESTS_SIM_GOSSIP_WARM_H

/* A cell in which all know all, without the hours of CPU time that ten thousand simultaneous joins
 * take to simulate: for measuring what comes after. */

struct gossip;

/* Before STEP_START of a first boot: its file is there and says that no incarnation was used yet,
 * so that it takes the first one. Without a file it would take a random one, of which nobody knows.
 */
void gossip_warm_file(struct gossip *g);
/* After it: every member of the roster is held to be alive in its first incarnation, as it is when
 * all have started and heard of each other. */
void gossip_warm(struct gossip *g);

#endif
