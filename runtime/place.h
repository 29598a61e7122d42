/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PLACE_H
#define RUNTIME_PLACE_H

/*
 * Where the runtime keeps what. In its part of the data folder (containers/, survives a reboot):
 *   claims/<replica>                                  the plan, as the scheduler encoded it
 *   addresses                                         who has which address
 *   attachments                                       containers of others, attachment_book.h
 *   exits/<replica>/exit                              how the last attempt ended
 *   logs/<deployment>/<service>/<index>-<replica>/    log, log.1 ...
 *   anonymous/<replica>/<n>/                          volumes without a name: go with the replica
 *   upper/<replica>.<attempt>/{upper,work}            what an attempt wrote; goes with the next one
 *   trash/                                            on its way out
 * in volumes/ of the data folder:
 *   <deployment>/<name>/                              named volumes: stay when a replica goes
 * below /run/zlayer/NAME/containers (gone after a reboot):
 *   <replica>/{control,state,exit}                    the monitor's socket and records
 *   <replica>/{hosts,resolv.conf,hostname}            mounted into the container
 *   stage/                                            empty: roots are put together on it
 * and in ../netns beside it: <replica>, its network namespace (net.h).
 * Threading: the loop's thread; place_delete works in the pool.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"

struct place {
	int data;    /* containers/; borrowed, as the others */
	int volumes; /* volumes/ */
	int run;     /* /run/zlayer/NAME/containers */
	uv_loop_t *loop;
	char stage[256];
};

/* Makes the folders. */
int place_open(struct place *p, int data, int volumes, int run, uv_loop_t *loop,
	       struct err *err) MUST_CHECK;

/* Folder of a kind: "claims", "exits/7"; made when missing. A directory descriptor or -1 with err.
 */
int place_folder(int base, const char *path, struct err *err);
int place_log(struct place *p, const char *deployment, const char *service, uint32_t index,
	      uint64_t replica, struct err *err);
/* The replica's folder below /run. make: also when it is not there. */
int place_container(struct place *p, uint64_t replica, bool make, struct err *err);
/* The absolute path of a descriptor; false when it has none. */
bool place_path(int fd, char *out, size_t cap);

/* Removes base/path and everything below without holding up the loop. Moved aside first, so that
 * the name is free at once. */
void place_delete(struct place *p, int base, const char *path);
/* Removes what a replica leaves in both folders, but for logs of others and named volumes. */
void place_forget(struct place *p, const char *deployment, const char *service, uint32_t index,
		  uint64_t replica);
/* Removes upper folders of attempts other than `keep` (0: all). */
void place_delete_uppers(struct place *p, uint64_t replica, uint32_t keep);
/* Makes the upper folder of the last attempt before that of `attempt`, if it has none yet. */
void place_inherit_upper(struct place *p, uint64_t replica, uint32_t attempt);
/* Visits the replicas that have a file or folder in base/path. */
void place_each(int base, const char *path, void (*visit)(void *arg, uint64_t replica), void *arg);

#endif
