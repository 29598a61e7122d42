/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_FULL_DISK_H
#define TESTS_SUPPORT_FULL_DISK_H

/* A disk without room, for this process alone: no file may grow or be written to. Included once,
 * after cmocka.h. */

#include <signal.h>
#include <sys/resource.h>

static inline void
disk_full(struct rlimit *was)
{
	struct rlimit none;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, was), 0);
	none = *was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
}

static inline void
disk_has_room(const struct rlimit *was)
{
	assert_int_equal(setrlimit(RLIMIT_FSIZE, was), 0);
}

#endif
