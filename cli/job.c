/* SPDX-License-Identifier: Apache-2.0 */
/* How a run of a job stands, from what the node tells. */
#include "cli/job.h"

#include <string.h>

enum { OWN_FAILURE = 125, SIGNALLED = 128 };

bool
job_has_runs(const json_t *service)
{
	const char *rtype = json_read_text(service, "rtype");

	return strcmp(rtype, "job") == 0 || strcmp(rtype, "cron") == 0;
}

bool
job_is_over(const json_t *run)
{
	const char *state = json_read_text(run, "state");

	return strcmp(state, "stopped") == 0 || strcmp(state, "failed") == 0;
}

bool
job_status_is_known(const json_t *run)
{
	const json_t *here = json_read_get(run, "here");

	return json_read_kind(here) != JSON_READ_BOOL || json_read_bool(run, "here") ||
	       json_read_kind(json_read_get(run, "container")) == JSON_READ_OBJECT;
}

const char *
job_state(const json_t *run)
{
	const char *state = json_read_text(json_read_get(run, "container"), "state");

	if (job_is_over(run))
		return "ended";
	if (strcmp(state, "running") == 0)
		return state;
	state = json_read_text(run, "state");
	/* Of another node's there is no container to see. */
	return !job_status_is_known(run) && strcmp(state, "starting") == 0 ? "running" : state;
}

int
job_status(const json_t *run)
{
	const json_t *c = json_read_get(run, "container");
	const json_t *status = json_read_get(c, "exit_status");

	if (json_read_int(c, "exit_signal"))
		return SIGNALLED + (int)json_read_int(c, "exit_signal");
	if (json_read_text(json_read_get(run, "reason"), "what")[0] &&
	    !json_read_int(c, "exit_status"))
		return OWN_FAILURE;
	return status ? (int)json_read_int(c, "exit_status") : OWN_FAILURE;
}

bool
job_failed_by_node(const json_t *run)
{
	const json_t *c = json_read_get(run, "container");

	return json_read_bool(c, "oom_killed") ||
	       json_read_text(json_read_get(c, "reason"), "what")[0] ||
	       (json_read_kind(json_read_get(c, "exit_status")) == JSON_READ_NULL &&
		json_read_kind(json_read_get(c, "exit_signal")) == JSON_READ_NULL);
}
