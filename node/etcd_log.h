/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_LOG_H
#define NODE_ETCD_LOG_H

/*
 * What etcd says goes into node's log, line by line, at most so many a second. It comes through a
 * named pipe in the run folder, which etcd holds open at both ends: it can say something while no
 * node is there to read, and a later node reads it. Texts are passed on as they are; of a line only
 * its level and its message are looked for.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>
#include "base/err.h"
#include "base/log.h"

enum {
	ETCD_LOG_LINE = 1024, /* bytes of one that are kept */
	ETCD_LOG_BURST = 100, /* lines at once */
	ETCD_LOG_A_SECOND = 10,
	ETCD_LOG_SAID = 240,
};

/* What an etcd says that is too old, or too new, for what it is started with. */
#define ETCD_LOG_NO_FLAG "flag provided but not defined"

struct etcd_log;

/* run: the run folder; borrowed. */
int etcd_log_new(uv_loop_t *loop, int run, struct etcd_log **out, struct err *err) MUST_CHECK;
void etcd_log_free(struct etcd_log *l);
/* An end for etcd's standard output: given; -1 with errno. */
int etcd_log_writer(const struct etcd_log *l);
/* Once a second. */
void etcd_log_tick(struct etcd_log *l);
/* Reads what is there already: after its end, before it is asked why. */
void etcd_log_drain(struct etcd_log *l);
/* The last complaint since etcd_log_forget(); "": none. A panic that repeats it is not another. */
const char *etcd_log_complaint(const struct etcd_log *l);
void etcd_log_forget(struct etcd_log *l);
/* Whether its data is why it ended at its start; how: as process_reap says. */
bool etcd_log_is_ruin(const char *complaint, const char *how);
/* At the end of the instance. */
void etcd_log_remove(int run);

/* A line without its end: what it says, printable, and how bad it is. */
void etcd_log_read(const char *line, size_t bytes, enum log_level *level_out,
		   char said_out[ETCD_LOG_SAID]);

#endif
