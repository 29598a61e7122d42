/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_FILTER_H
#define NODE_FILTER_H

/*
 * Compiles a role's system call filter from named sets with libseccomp. Whatever no set names ends
 * the process (SIGSYS); what a library merely tries out is answered with an error instead.
 */

#include <linux/filter.h>
#include <stddef.h>
#include "base/err.h"

enum filter_set {
	FILTER_BASE = 1 << 0,    /* memory, loop, messages, clock, threads of its own */
	FILTER_CLIENT = 1 << 1,  /* sockets of its own: connect, bind */
	FILTER_SERVER = 1 << 2,  /* accept on inherited listeners */
	FILTER_SHARE = 1 << 3,   /* memfds, eventfds, socket pairs to hand out */
	FILTER_FILES = 1 << 4,   /* open, read, write and change files (which: landlock) */
	FILTER_OWNERS = 1 << 5,  /* owners, attributes and special files of an unpacked image */
	FILTER_BPF = 1 << 6,     /* bpf, rtnetlink, perf buffers */
	FILTER_SECRETS = 1 << 7, /* memory for keys that the kernel hides from everybody else */
	FILTER_HOST = 1 << 8,    /* everything but what changes the machine itself; its children
				  * (containers) inherit this */
	FILTER_PROGRAM = 1 << 9, /* alone: of a program that is not ours, set before it is run. All
				  * else is refused (ENOSYS), nothing kills */
};

enum { FILTER_INSTRUCTIONS_MAX = 4096 };

/* Fills out (room for FILTER_INSTRUCTIONS_MAX) and gives the count. */
int filter_compile(unsigned sets, struct sock_filter *out, size_t *count_out,
		   struct err *err) MUST_CHECK;

#endif
