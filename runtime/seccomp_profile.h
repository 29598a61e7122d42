/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SECCOMP_PROFILE_H
#define RUNTIME_SECCOMP_PROFILE_H

/*
 * System call filters as instructions: the default profile of containers, and those of the monitor
 * and its helpers. Compiled with libseccomp, which only this role opens.
 * Threading: the loop's thread; the library is opened at the first use or by seccomp_profile_open.
 */

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct seccomp_profile {
	struct sock_filter *items; /* owned */
	size_t count;
};

enum seccomp_profile_kind {
	SECCOMP_PROFILE_MONITOR, /* watches a container */
	SECCOMP_PROFILE_EXEC,    /* carries a command's input and output */
	SECCOMP_PROFILE_LOGS,    /* reads a log */
};

int seccomp_profile_open(struct err *err) MUST_CHECK;
/* The default profile for a process with these capabilities (bit CAP_x): calls that a capability
 * guards are allowed with it. */
int seccomp_profile_container(uint64_t caps, struct seccomp_profile *out,
			      struct err *err) MUST_CHECK;
int seccomp_profile_own(enum seccomp_profile_kind kind, struct seccomp_profile *out,
			struct err *err) MUST_CHECK;
void seccomp_profile_fini(struct seccomp_profile *p);
/* The capabilities that make a difference: profiles are equal when these bits are. */
uint64_t seccomp_profile_caps(void);

#endif
