/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JOB_H
#define CLI_JOB_H

/* Runs of jobs, as the node tells them: items of GET /v1/replicas?job=true. */

#include <stdbool.h>
#include "wire/json_read.h"

/* Whether a service is a job or a cron: its replicas are runs. */
bool job_has_runs(const json_t *service);
bool job_is_over(const json_t *run);
/* "ended", "running", or how far it has come: a word that lives as long as run. */
const char *job_state(const json_t *run);
/* How it ended is known on the node that ran it; of another one's runs only that they did. */
bool job_status_is_known(const json_t *run);
/* As env(1): the command's own exit status, 128 + n on a signal, 125 when it could not be run. */
int job_status(const json_t *run);
/* It did not end by itself: it could not be run, or was ended by the node or the kernel. */
bool job_failed_by_node(const json_t *run);

#endif
