/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_APPLY_PRIVATE_H
#define SCHEDULER_APPLY_PRIVATE_H

/* For the files of apply.h among themselves: apply.c decides, apply_write.c writes. */

#include "base/arena.h"
#include "base/buf.h"
#include "scheduler/apply.h"

/* One service of the new document. */
struct part {
	const struct doc_service *doc;
	struct service *service; /* NULL: new to the deployment */
	struct store_service row;
	struct store_pin pin;
};

struct apply {
	struct model *m;
	const struct msg_apply *request;
	const struct apply_input *in;
	struct arena arena;
	struct doc *doc;
	struct buf text; /* canonical */
	uint8_t sha256[32];
	struct deployment *d; /* NULL: new */
	struct revision *serving;
	const struct revision *from; /* roll-back: whose document and images; else NULL */
	struct store_deployment row;
	struct part *parts;
	size_t parts_count;
};

/* Into the store, or nothing of it: as write_end. */
int apply_write(struct apply *a, struct request *r, struct err *err) MUST_CHECK;

#endif
