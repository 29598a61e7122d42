/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_PLAN_H
#define RUNTIME_CONTAINER_PLAN_H

/* How a container comes to the plan of its claim: c->plan, in c->arena. Threading: the loop's. */

#include "runtime/container.h"

/* True: c->plan is what the claim says. False: it is asked for; container_step() is called when it
 * is there, or the attempt fails. */
bool container_plan_have(struct container *c);
/* The kept copy, whatever the claim says; false when there is none. */
bool container_plan_load(struct container *c);

#endif
