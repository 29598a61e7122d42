/* SPDX-License-Identifier: Apache-2.0 */
/* Paths. Segments are compared as they were sent, parameters are decoded once: an encoded slash in
 * a name stays inside its parameter. */
#include "api/route.h"

#include <string.h>
#include "base/text.h"
#include "wire/url.h"

enum needs {
	SCHEDULER = 1u << ROLE_SCHEDULER,
	RUNTIME = 1u << ROLE_RUNTIME,
	SIGNER = 1u << ROLE_SIGNER,
};

const struct route route_table[] = {
	{HTTP_GET, "/healthz", "getHealth", ROUTE_NO_BODY, status_healthz},
	{HTTP_GET, "/readyz", "getReady", ROUTE_NO_BODY, status_readyz},
	{HTTP_GET, "/v1/status", "getStatus", ROUTE_NO_BODY, status_get, SCHEDULER, true},
	{HTTP_GET, "/v1/version", "getVersion", ROUTE_NO_BODY, status_version},
	{HTTP_GET, "/v1/nodes", "listNodes", ROUTE_NO_BODY, nodes_list, SCHEDULER},
	{HTTP_GET, "/v1/nodes/{node}", "getNode", ROUTE_NO_BODY, nodes_read, SCHEDULER},
	{HTTP_PATCH, "/v1/nodes/{node}", "changeNode", ROUTE_BODY, nodes_patch, SCHEDULER},
	{HTTP_DELETE, "/v1/nodes/{node}", "removeNode", ROUTE_NO_BODY, nodes_delete, SCHEDULER},
	{HTTP_POST, "/v1/nodes/{node}/drain", "drainNode", ROUTE_BODY, nodes_drain, SCHEDULER},
	{HTTP_POST, "/v1/nodes/{node}/rotate", "rotateNode", ROUTE_NO_BODY, nodes_rotate,
	 SCHEDULER},
	{HTTP_POST, "/v1/nodes/{node}/undrain", "undrainNode", ROUTE_NO_BODY, nodes_undrain,
	 SCHEDULER},
	{HTTP_GET, "/v1/cluster", "getCluster", ROUTE_NO_BODY, cluster_get, SCHEDULER},
	{HTTP_POST, "/v1/cluster/invite", "inviteNode", ROUTE_BODY, cluster_invite, SCHEDULER},
	{HTTP_POST, "/v1/cluster/join", "joinCluster", ROUTE_BODY, cluster_join, SCHEDULER},
	{HTTP_POST, "/v1/cluster/leave", "leaveCluster", ROUTE_BODY, cluster_leave, SCHEDULER},
	{HTTP_PUT, "/v1/cluster/admission", "setAdmission", ROUTE_BODY, cluster_admission,
	 SCHEDULER},
	{HTTP_POST, "/v1/cluster/recover", "recoverCluster", ROUTE_BODY, backup_recover, SCHEDULER},
	{HTTP_POST, "/v1/backup", "makeBackup", ROUTE_BODY, backup_make, SCHEDULER},
	{HTTP_POST, "/v1/restore", "restoreBackup", ROUTE_STREAM, backup_restore, SCHEDULER},
	{HTTP_GET, "/v1/openapi.json", "getOpenapi", ROUTE_NO_BODY, status_openapi},
	{HTTP_GET, "/v1/deployments", "listDeployments", ROUTE_NO_BODY, deployments_list,
	 SCHEDULER},
	{HTTP_GET, "/v1/deployments/{name}", "getDeployment", ROUTE_NO_BODY, deployments_get,
	 SCHEDULER},
	{HTTP_PUT, "/v1/deployments/{name}", "applyDeployment", ROUTE_BODY, deployments_put,
	 SCHEDULER},
	{HTTP_DELETE, "/v1/deployments/{name}", "removeDeployment", ROUTE_NO_BODY,
	 deployments_delete, SCHEDULER},
	{HTTP_GET, "/v1/deployments/{name}/revisions", "listRevisions", ROUTE_NO_BODY,
	 deployments_revisions, SCHEDULER},
	{HTTP_GET, "/v1/deployments/{name}/revisions/{revision}", "getRevision", ROUTE_NO_BODY,
	 deployments_revision, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/stop", "stopDeployment", ROUTE_BODY, deployments_stop,
	 SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/start", "startDeployment", ROUTE_BODY,
	 deployments_start, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/rollback", "rollBackDeployment", ROUTE_NO_BODY,
	 deployments_rollback, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/restart", "restartDeployment", ROUTE_BODY,
	 deployments_restart, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/pause", "pauseRollout", ROUTE_NO_BODY,
	 deployments_pause, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/resume", "resumeRollout", ROUTE_NO_BODY,
	 deployments_resume, SCHEDULER},
	{HTTP_POST, "/v1/deployments/{name}/abort", "abortRollout", ROUTE_NO_BODY,
	 deployments_abort, SCHEDULER},
	{HTTP_GET, "/v1/services", "listServices", ROUTE_NO_BODY, services_list, SCHEDULER},
	{HTTP_GET, "/v1/services/{deployment}/{service}", "getService", ROUTE_NO_BODY, services_get,
	 SCHEDULER},
	{HTTP_GET, "/v1/services/{deployment}/{service}/nodes", "getServiceNodes", ROUTE_NO_BODY,
	 why_service, SCHEDULER},
	{HTTP_GET, "/v1/services/{deployment}/{service}/clients", "getServiceClients",
	 ROUTE_NO_BODY, clients_service, SCHEDULER},
	{HTTP_PATCH, "/v1/services/{deployment}/{service}", "scaleService", ROUTE_BODY,
	 services_patch, SCHEDULER},
	{HTTP_POST, "/v1/jobs/{deployment}/{service}/run", "runJob", ROUTE_BODY, jobs_run,
	 SCHEDULER},
	{HTTP_GET, "/v1/crons", "listCrons", ROUTE_NO_BODY, crons_list, SCHEDULER},
	{HTTP_POST, "/v1/crons/{deployment}/{service}/enable", "enableCron", ROUTE_NO_BODY,
	 crons_enable, SCHEDULER},
	{HTTP_POST, "/v1/crons/{deployment}/{service}/disable", "disableCron", ROUTE_NO_BODY,
	 crons_disable, SCHEDULER},
	{HTTP_GET, "/v1/routes", "listRoutes", ROUTE_NO_BODY, services_routes, SCHEDULER},
	{HTTP_GET, "/v1/replicas", "listReplicas", ROUTE_NO_BODY, replicas_list, SCHEDULER},
	{HTTP_GET, "/v1/replicas/{id}", "getReplica", ROUTE_NO_BODY, replicas_get, SCHEDULER},
	{HTTP_GET, "/v1/replicas/{id}/logs", "getReplicaLogs", ROUTE_NO_BODY, logs_replica,
	 SCHEDULER},
	{HTTP_GET, "/v1/replicas/{id}/exec", "execInReplica", ROUTE_NO_BODY, exec_open, SCHEDULER},
	{HTTP_POST, "/v1/replicas/{id}/exec", "execInReplicaWithBody", ROUTE_BODY, exec_open,
	 SCHEDULER},
	{HTTP_GET, "/v1/logs", "getLogs", ROUTE_NO_BODY, logs_target, SCHEDULER},
	{HTTP_GET, "/v1/operations", "listOperations", ROUTE_NO_BODY, feed_operations, SCHEDULER},
	{HTTP_GET, "/v1/operations/{id}", "getOperation", ROUTE_NO_BODY, feed_operation, SCHEDULER},
	{HTTP_GET, "/v1/operations/{id}/stream", "streamOperation", ROUTE_NO_BODY,
	 feed_operation_stream, SCHEDULER},
	{HTTP_GET, "/v1/events", "listEvents", ROUTE_NO_BODY, events_list, SCHEDULER},
	{HTTP_GET, "/v1/events/stream", "streamEvents", ROUTE_NO_BODY, feed_events_stream,
	 SCHEDULER},
	{HTTP_GET, "/v1/flows", "listFlows", ROUTE_NO_BODY, flows_list, SCHEDULER},
	{HTTP_GET, "/v1/flows/stream", "streamFlows", ROUTE_NO_BODY, feed_flows_stream, SCHEDULER},
	{HTTP_GET, "/v1/images", "listImages", ROUTE_NO_BODY, images_list, RUNTIME},
	{HTTP_POST, "/v1/images", "importImage", ROUTE_STREAM, images_post, RUNTIME},
	{HTTP_POST, "/v1/images/pull", "pullImage", ROUTE_NO_BODY, images_pull, RUNTIME},
	{HTTP_POST, "/v1/images/prune", "pruneImages", ROUTE_NO_BODY, images_prune, RUNTIME},
	{HTTP_DELETE, "/v1/images/{name}", "removeImage", ROUTE_NO_BODY, images_delete, RUNTIME},
	{HTTP_GET, "/v1/attachments", "listAttachments", ROUTE_NO_BODY, attachments_list, RUNTIME},
	{HTTP_POST, "/v1/attachments", "attachContainer", ROUTE_BODY, attachments_add, RUNTIME},
	{HTTP_POST, "/v1/attachments/check", "checkAttachment", ROUTE_BODY, attachments_check,
	 RUNTIME},
	{HTTP_GET, "/v1/attachments/ready", "getAttachmentsReady", ROUTE_NO_BODY,
	 attachments_ready},
	{HTTP_DELETE, "/v1/attachments/{network}/{container}", "detachContainer", ROUTE_NO_BODY,
	 attachments_remove, RUNTIME},
	{HTTP_GET, "/v1/certificates", "listCertificates", ROUTE_NO_BODY, certificates_list,
	 SIGNER},
	{HTTP_GET, "/v1/certificates/authority", "getAuthority", ROUTE_NO_BODY,
	 certificates_authority, SIGNER},
};

const size_t route_table_count = sizeof(route_table) / sizeof(route_table[0]);

static bool
matches(const char *pattern, const char *path, size_t length,
	char param[CALL_PARAMS_MAX][CALL_PARAM_BYTES])
{
	const char *end = path + length;
	size_t params = 0;

	while (*pattern && path < end) {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		const char *slash = memchr(path, '/', (size_t)(end - path));
		const char *stop = slash ? slash : end;

		if (params == CALL_PARAMS_MAX || stop == path ||
		    url_decode(path, (size_t)(stop - path), false, param[params],
			       CALL_PARAM_BYTES) < 0)
			return false;
		params++;
		path = stop;
		pattern += strcspn(pattern, "}") + 1;
	}
	return !*pattern && path == end;
}

const struct route *
route_find(enum http_method method, const char *path, size_t length,
	   char param[CALL_PARAMS_MAX][CALL_PARAM_BYTES], char *allow, size_t allow_cap)
{
	size_t used = 0;

	allow[0] = 0;
	for (size_t i = 0; i < route_table_count; i++) {
		const struct route *r = &route_table[i];

		if (!matches(r->pattern, path, length, param))
			continue;
		if (r->method == method)
			return r;
		text_format(allow + used, allow_cap - used, "%s%s", used ? ", " : "",
			    http_method_name(r->method));
		used = strlen(allow);
	}
	return NULL;
}
