/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows out of objects: what is to be seen first, then what is to be done, then what is to be
 * served.
 */
#include "scheduler/publish.h"

#include "scheduler/cluster.h"
#include "scheduler/publish_parts.h"

static const struct ring_table_layout layouts[] = {
	{MSG_TABLE_DEPLOYMENT, 1, sizeof(struct msg_deployment), MODEL_DEPLOYMENTS_MAX},
	{MSG_TABLE_SERVICE, 1, sizeof(struct msg_service), MODEL_SERVICES_MAX},
	{MSG_TABLE_REPLICA, 1, sizeof(struct msg_replica), MODEL_REPLICAS_MAX},
	{MSG_TABLE_OPERATION, 1, sizeof(struct msg_operation), MODEL_OPERATIONS_MAX * 2},
	{MSG_TABLE_CRON, 1, sizeof(struct msg_cron), MODEL_SERVICES_MAX},
	{MSG_TABLE_FIGURES, 1, sizeof(struct msg_figures), PUBLISH_FIGURES_MAX},
	/* Rows are removed at the end of a pass: there is room for those that come in it. */
	{MSG_TABLE_IDENTITY, 1, sizeof(struct msg_identity),
	 PUBLISH_IDENTITIES_MAX + MODEL_REPLICAS_MAX + 1},
	{MSG_TABLE_GUEST, 1, sizeof(struct msg_guest), PUBLISH_GUESTS_MAX * 2},
	{MSG_TABLE_CLAIM, 1, sizeof(struct msg_claim), MODEL_REPLICAS_MAX},
	{MSG_TABLE_PROBE, 1, sizeof(struct msg_probe), MODEL_REPLICAS_MAX},
	{MSG_TABLE_ROUTE, 1, sizeof(struct msg_route), MODEL_SERVICES_MAX * 2},
	{MSG_TABLE_BACKEND, 1, sizeof(struct msg_backend), MODEL_REPLICAS_MAX},
	{MSG_TABLE_PIN, 1, sizeof(struct msg_pin), MSG_PINS_MAX},
	{MSG_TABLE_STREAM, 1, sizeof(struct msg_stream), MODEL_SERVICES_MAX},
	{MSG_TABLE_MEMBER, 1, sizeof(struct msg_member), CLUSTER_ROWS_MAX},
	{MSG_TABLE_CLUSTER, 1, sizeof(struct msg_cluster), 1},
	{MSG_TABLE_MESH, 1, sizeof(struct msg_mesh), CLUSTER_ROWS_MAX},
	{MSG_TABLE_OBSERVE, 1, sizeof(struct msg_observe), 1},
	{MSG_TABLE_USAGE, 1, sizeof(struct msg_usage), MODEL_REPLICAS_MAX},
	{MSG_TABLE_ETCD_ORDER, 1, sizeof(struct msg_etcd_order), 1},
};

void
publish_layout(struct ring_layout *layout)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		layout->tables[layout->tables_count++] = layouts[i];
}

void
publish_held(struct model *m, bool works)
{
	if (!m->writer)
		return;
	publish_status(m);
	publish_cron(m);
	publish_figures(m);
	if (works)
		publish_work(m);
}

void
publish_all(struct model *m)
{
	if (!m->writer)
		return;
	publish_status(m);
	publish_cron(m);
	publish_figures(m);
	publish_identity(m);
	publish_guests(m);
	publish_work(m);
	publish_traffic(m);
	publish_identity_whole(m);
}
