/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlayer-monitor: the small static program that stands between a node and its containers. It has no
 * options: the runtime hands it a sealed description at descriptor 3 that says all (launch.h).
 * Three verbs: run (start and watch a container), exec (a command in one), logs (read one's log).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "runtime/launch.h"
#include "runtime/monitor/exec.h"
#include "runtime/monitor/logs.h"
#include "runtime/monitor/run.h"

static int
fail(const struct err *err)
{
	err_print(err, "zlayer-monitor", stderr);
	return 125;
}

static const void *
map_description(size_t *bytes_out, struct err *err)
{
	struct stat st;
	if (!fd_is_sealed(LAUNCH_FD) || fstat(LAUNCH_FD, &st) < 0 || st.st_size <= 0 ||
	    st.st_size > LAUNCH_BYTES_MAX) {
		err_set(err, ERR_USAGE, "started without a sealed description at descriptor %d",
			LAUNCH_FD);
		err_fix(err, "this program is run by zlayer itself");
		return NULL;
	}
	*bytes_out = (size_t)st.st_size;
	void *data = mmap(NULL, *bytes_out, PROT_READ, MAP_PRIVATE, LAUNCH_FD, 0);
	if (data == MAP_FAILED) {
		err_set(err, ERR_NO_MEMORY, "no memory for a launch description");
		return NULL;
	}
	return data;
}

int
main(void)
{
	struct err err = {0};
	struct arena arena;
	struct launch *launch = NULL;
	size_t bytes;

	/* Nothing that shares our namespaces may look into this process. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	const void *data = map_description(&bytes, &err);
	if (data == NULL)
		return fail(&err);
	arena_init(&arena, MEM_RUNTIME, 4 * (size_t)LAUNCH_BYTES_MAX);
	if (launch_decode(data, bytes, &arena, &launch, &err) < 0)
		return fail(&err);
	int status = 125;
	switch (launch->verb) {
	case LAUNCH_RUN:
		status = run_main(launch);
		break;
	case LAUNCH_EXEC:
		status = exec_main(launch);
		break;
	case LAUNCH_LOGS:
		status = logs_main(launch);
		break;
	}
	/* By now the filter allows little more than to end. */
	_exit(status);
}
