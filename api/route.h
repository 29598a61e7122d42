/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ROUTE_H
#define API_ROUTE_H

/* The one table of paths; docs/openapi.json is checked against it. Constant data. */

#include "api/call.h"
#include "wire/http.h"

enum route_body { ROUTE_NO_BODY, ROUTE_BODY, ROUTE_STREAM };

struct route {
	enum http_method method;
	const char *pattern; /* "{x}" matches one segment, which becomes a parameter */
	const char *name;    /* operationId */
	enum route_body body;
	void (*handle)(struct call *call); /* ROUTE_STREAM: when the head is there */
	/* Bits 1 << enum role: it is not handled before their tables are whole (api/hold.h). */
	uint32_t needs;
	bool anyway; /* after a while it is, and says what it does not know */
};

extern const struct route route_table[];
extern const size_t route_table_count;

/* NULL when none fits: then allow holds the methods that the path takes ("": there is no such
 * path). Parameters are percent-decoded. */
const struct route *route_find(enum http_method method, const char *path, size_t length,
			       char param[CALL_PARAMS_MAX][CALL_PARAM_BYTES], char *allow,
			       size_t allow_cap);

/* ---- the handlers, by file ---- */
/* status.c */
void status_healthz(struct call *call);
void status_readyz(struct call *call);
void status_get(struct call *call);
void status_version(struct call *call);
void status_openapi(struct call *call);
/* deployments.c */
void deployments_list(struct call *call);
void deployments_get(struct call *call);
void deployments_put(struct call *call);
void deployments_delete(struct call *call);
void deployments_revisions(struct call *call);
void deployments_revision(struct call *call);
void deployments_stop(struct call *call);
void deployments_start(struct call *call);
void deployments_rollback(struct call *call);
void deployments_restart(struct call *call);
void deployments_pause(struct call *call);
void deployments_resume(struct call *call);
void deployments_abort(struct call *call);
/* crons.c */
void crons_list(struct call *call);
void crons_enable(struct call *call);
void crons_disable(struct call *call);
/* jobs.c */
void jobs_run(struct call *call);
/* services.c */
void services_list(struct call *call);
void services_get(struct call *call);
void services_patch(struct call *call);
void services_routes(struct call *call);
/* clients.c */
void clients_service(struct call *call);
/* why.c */
void why_service(struct call *call);
/* replicas.c */
void replicas_list(struct call *call);
void replicas_get(struct call *call);
/* logs.c */
void logs_replica(struct call *call);
void logs_target(struct call *call);
/* exec.c */
void exec_open(struct call *call);
/* events.c */
void events_list(struct call *call);
/* flows.c */
void flows_list(struct call *call);
/* feed.c */
void feed_operations(struct call *call);
void feed_operation(struct call *call);
void feed_operation_stream(struct call *call);
void feed_events_stream(struct call *call);
void feed_flows_stream(struct call *call);
/* images.c */
void images_list(struct call *call);
void images_post(struct call *call);
void images_pull(struct call *call);
void images_prune(struct call *call);
void images_delete(struct call *call);
/* nodes.c */
void nodes_list(struct call *call);
void nodes_read(struct call *call);
void nodes_patch(struct call *call);
void nodes_delete(struct call *call);
void nodes_drain(struct call *call);
void nodes_undrain(struct call *call);
void nodes_rotate(struct call *call);
/* cluster.c */
void cluster_get(struct call *call);
void cluster_invite(struct call *call);
void cluster_join(struct call *call);
void cluster_leave(struct call *call);
void cluster_admission(struct call *call);
/* attachments.c */
void attachments_list(struct call *call);
void attachments_add(struct call *call);
void attachments_check(struct call *call);
void attachments_remove(struct call *call);
void attachments_ready(struct call *call);
/* backup.c */
void backup_make(struct call *call);
void backup_restore(struct call *call);
void backup_recover(struct call *call);
/* certificates.c */
void certificates_list(struct call *call);
void certificates_authority(struct call *call);

#endif
