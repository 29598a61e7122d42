/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_ETCD_HOME_H
#define TESTS_SUPPORT_ETCD_HOME_H

/* For cmocka: a folder of the test's own in which node keeps an etcd; all in it goes with it. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "base/fd.h"
#include "node/folder.h"

static char home[64];
static int at = -1;

static inline int
etcd_home_setup(void **state)
{
	(void)state;
	strcpy(home, "/tmp/zl-etcd-XXXXXX");
	if (!mkdtemp(home))
		return -1;
	at = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return at < 0;
}

static inline int
etcd_home_teardown(void **state)
{
	(void)state;
	fd_close(&at);
	return folder_remove(AT_FDCWD, home);
}

#endif
