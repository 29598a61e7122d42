/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_IMAGE_H
#define RUNTIME_CONTAINER_IMAGE_H

/* A container's image: c->image, in c->arena, held in the store. Threading: the loop's. */

#include "runtime/container.h"

/* 1: it is there; 0: it is being pulled, container_step() is called after; -1: it cannot be had. */
int container_image_find(struct container *c, struct err *err) MUST_CHECK;
/* After a restart: what a container that was there runs is not asked for again. */
int container_image_again(struct container *c, struct err *err) MUST_CHECK;
/* No longer waits for a pull. */
void container_image_stop(struct container *c);
/* The store may remove the image again. */
void container_image_release(struct container *c);

#endif
