/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_API_RIG_H
#define TESTS_UNIT_API_RIG_H

/* The api role with a scheduler and a runtime that only pretend, and a client of it. Needs root. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "api/api.h"

enum { RIG_ANSWER_BYTES = 1 << 20 };

/* What the test says to processes that it is not the parent of. */
struct rig_control {
	pid_t api;
	atomic_bool listens; /* the scheduler has not heard everything */
	atomic_bool away;    /* edge-2 cannot be asked */
	atomic_bool forgets; /* operation 6, which is under way until then */
	atomic_uint left;    /* how often the api left when it was told to */
	atomic_int status;   /* of the process that left last, as waitpid(2) says */
	struct api_times times;
};

extern struct rig_control *rig_control;
extern const struct station_role rig_dataplane, rig_overlay, rig_node;
extern char rig_answer[RIG_ANSWER_BYTES];

/* NULL: the usual times. 0, or -1. */
int rig_begin(const struct api_times *times);
void rig_end(void);
/* 'k': the scheduler is killed, 's': another one starts; 'l': the api is told to leave, and has a
 * successor when it did. Returns when that was done, or the api was told. */
void rig_tell(char order);
/* The tables have come. */
void rig_wait_ready(void);

extern char rig_path[108]; /* of the socket */
int rig_dial(void);
void rig_send(int fd, const char *text);
/* A request with "connection: close". */
int rig_ask_begin(const char *method, const char *target);
/* Reads the answer to the end of the connection, which is closed. */
unsigned rig_ask_end(int fd);
/* Something has come, or the end. */
bool rig_is_answered(int fd);
/* Sends, reads until the end or until `until` is there. Gives the status, 0 when none came. */
unsigned rig_talk(const char *request, size_t bytes, const char *until);
unsigned rig_ask(const char *method, const char *target, const char *extra, const char *body);
/* In the last answer. */
bool rig_has(const char *text);

#endif
