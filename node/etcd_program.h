/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_PROGRAM_H
#define NODE_ETCD_PROGRAM_H

/*
 * The program etcd of this machine: where it is, and whether it is one that zlayer can run. It is
 * asked for its version by a process that node forks, under etcd's own user and limits; node reads
 * nothing of what it prints. It is asked again when the file is another one.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>
#include "base/err.h"

enum {
	ETCD_PROGRAM_PATH = 64,
	ETCD_PROGRAM_VERSION = 32,
	ETCD_PROGRAM_SAID = 4096, /* of what it prints is read */
};

struct etcd_program;

/* changed: what is known is different now. NULL: out of memory. */
struct etcd_program *etcd_program_new(uv_loop_t *loop, uid_t uid, void (*changed)(void *arg),
				      void *arg);
void etcd_program_free(struct etcd_program *p);
/* Once a second while it is of interest. */
void etcd_program_tick(struct etcd_program *p);
/* The first look is over. */
bool etcd_program_known(const struct etcd_program *p);
/* NULL: there is none that can be run; the reason is in err. */
const char *etcd_program_path(const struct etcd_program *p, struct err *err);
/* "": not known. */
const char *etcd_program_version(const struct etcd_program *p);

/* What `etcd --version` printed. ERR_UNSUPPORTED: a version that does not serve; ERR_INVALID: not
 * etcd. */
int etcd_program_read(const char *text, size_t bytes, char version_out[ETCD_PROGRAM_VERSION],
		      struct err *err) MUST_CHECK;

#endif
