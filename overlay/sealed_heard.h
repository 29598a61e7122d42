/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_HEARD_H
#define OVERLAY_SEALED_HEARD_H

/*
 * The table heard: nodes from which no sealed packet comes although they are spoken to, and those
 * that are spoken to by way of a third one. Whether they live the scheduler knows.
 * Threading: the loop's thread.
 */

#include "overlay/heard.h"
#include "overlay/sealed_peers.h"
#include "ring/ring.h"

struct sealed_heard {
	struct heard heard;
	uint32_t told[PEERS_MAX]; /* nodes that have a row */
	size_t told_count;
	bool marked; /* something was said at all */
};

struct ring_table_layout sealed_heard_layout(void);
void sealed_heard_init(struct sealed_heard *h);
void sealed_heard_fini(struct sealed_heard *h);
/* The device is another one, or there is none: nobody is expected yet. */
void sealed_heard_forget(struct sealed_heard *h);
/* is: the device as it is. True: the table says something else. */
bool sealed_heard_take(struct sealed_heard *h, struct ring_writer *w, const struct sealed_peers *p,
		       const struct setup *is);

#endif
