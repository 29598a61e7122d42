/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each kind of row looks: one table per struct of store.h, from which engines build their
 * statements and copy values in and out. A column is added here, in the struct, and by a migration
 * of each engine (store_schema.c); always behind the others: its number stands in rows that are
 * kept as bytes (store_row.h).
 */
#include "scheduler/store.h"

#include <assert.h>

#define U32(row, field)                                           \
	{                                                         \
#field, STORE_U32, offsetof(struct row, field), 4 \
	}
#define U64(row, field)                                           \
	{                                                         \
#field, STORE_U64, offsetof(struct row, field), 8 \
	}
#define I64(row, field)                                           \
	{                                                         \
#field, STORE_I64, offsetof(struct row, field), 8 \
	}
#define TEXT(row, field)                                                                          \
	{                                                                                         \
#field, STORE_TEXT, offsetof(struct row, field), sizeof(((struct row *)0)->field) \
	}
#define BYTES(row, field)                                                                          \
	{                                                                                          \
#field, STORE_BYTES, offsetof(struct row, field), sizeof(((struct row *)0)->field) \
	}
/* A column whose name is not the field's. */
#define NAMED(row, column, kind, field)                                                     \
	{                                                                                   \
		column, kind, offsetof(struct row, field), sizeof(((struct row *)0)->field) \
	}
#define REASON(row, reason)                                         \
	NAMED(row, "reason_kind", STORE_U32, reason.kind),          \
		NAMED(row, "reason_code", STORE_U32, reason.code),  \
		NAMED(row, "reason_what", STORE_TEXT, reason.what), \
		NAMED(row, "reason_why", STORE_TEXT, reason.why),   \
		NAMED(row, "reason_why2", STORE_TEXT, reason.why2), \
		NAMED(row, "reason_fix", STORE_TEXT, reason.fix)

static const struct store_column deployment[] = {
	TEXT(store_deployment, name),           U32(store_deployment, revision),
	U32(store_deployment, target),          U32(store_deployment, newest),
	U32(store_deployment, phase),           U32(store_deployment, stopped),
	U32(store_deployment, failed),          U64(store_deployment, operation),
	I64(store_deployment, created_wall_ns), I64(store_deployment, updated_wall_ns),
	REASON(store_deployment, reason),
};

static const struct store_column service[] = {
	U64(store_service, deployment), TEXT(store_service, name),    U32(store_service, desired),
	U32(store_service, wanted),     U32(store_service, operator),
};

static const struct store_column revision[] = {
	U64(store_revision, deployment),      U32(store_revision, revision),
	U32(store_revision, who_uid),         U32(store_revision, result),
	I64(store_revision, created_wall_ns), BYTES(store_revision, sha256),
	U32(store_revision, copy_of),
};

static const struct store_column pin[] = {
	U64(store_pin, revision),      TEXT(store_pin, service), TEXT(store_pin, image),
	TEXT(store_pin, image_digest), BYTES(store_pin, make),
};

static const struct store_column replica[] = {
	U64(store_replica, service),
	U64(store_replica, operation),
	NAMED(store_replica, "number", STORE_U32, index),
	U32(store_replica, revision),
	U32(store_replica, attempt),
	U32(store_replica, desired),
	U32(store_replica, ready_attempt),
	U32(store_replica, restarts),
	I64(store_replica, ready_started_wall_ns),
	I64(store_replica, created_wall_ns),
	U32(store_replica, remove_volumes),
	U32(store_replica, stop_grace_ms),
	BYTES(store_replica, make),
	BYTES(store_replica, plan_sha256),
	TEXT(store_replica, address),
	TEXT(store_replica, boot),
	U32(store_replica, job),
	U64(store_replica, firing),
	I64(store_replica, due_s),
	U32(store_replica, tries),
};

static const struct store_column operation[] = {
	U64(store_operation, deployment),
	TEXT(store_operation, deployment_name),
	U32(store_operation, kind),
	U32(store_operation, state),
	U32(store_operation, revision),
	U32(store_operation, previous_revision),
	U64(store_operation, service),
	NAMED(store_operation, "number", STORE_U32, index),
	U32(store_operation, keep),
	U32(store_operation, volumes),
	U32(store_operation, grace_ms),
	U32(store_operation, who_uid),
	I64(store_operation, started_wall_ns),
	I64(store_operation, ended_wall_ns),
	REASON(store_operation, reason),
};

static const struct store_column route[] = {
	U64(store_route, service),
	TEXT(store_route, endpoint),
};

static const struct store_column event[] = {
	NAMED(store_event, "wall_ns", STORE_I64, event.wall_ns),
	NAMED(store_event, "type", STORE_TEXT, event.type),
	NAMED(store_event, "deployment", STORE_TEXT, event.deployment),
	NAMED(store_event, "service", STORE_TEXT, event.service),
	NAMED(store_event, "number", STORE_U32, event.index),
	NAMED(store_event, "revision", STORE_U32, event.revision),
	NAMED(store_event, "replica", STORE_U64, event.replica),
	NAMED(store_event, "operation", STORE_U64, event.operation),
	NAMED(store_event, "severity", STORE_U32, event.severity),
	NAMED(store_event, "text", STORE_TEXT, event.text),
	REASON(store_event, event.reason),
};

static const struct store_column node[] = {
	U32(store_node, node),
	U32(store_node, keeper),
	TEXT(store_node, name),
	BYTES(store_node, sign_public),
	BYTES(store_node, gossip_public),
	TEXT(store_node, address),
	U32(store_node, removed),
	U32(store_node, draining),
	I64(store_node, drain_until_wall_ns),
	I64(store_node, admitted_wall_ns),
	TEXT(store_node, labels),
	TEXT(store_node, taints),
	I64(store_node, rotate_wall_s),
};

static const struct store_column ticket[] = {
	U64(store_ticket, ticket),
	BYTES(store_ticket, secret_sha256),
	I64(store_ticket, expires_s),
	U32(store_ticket, uses_left),
};

static const struct store_column cluster[] = {
	U32(store_cluster, admission),       U32(store_cluster, writer),
	I64(store_cluster, created_wall_ns), U32(store_cluster, term),
	U32(store_cluster, moving),          TEXT(store_cluster, restored),
	U32(store_cluster, outside),
};

static const struct store_column voter[] = {
	U32(store_voter, node),
	U32(store_voter, phase),
	U64(store_voter, life),
	U64(store_voter, token),
	TEXT(store_voter, client),
	TEXT(store_voter, peer),
	NAMED(store_voter, "members", STORE_TEXT, initial),
	I64(store_voter, since_wall_ns),
};

static const struct store_column cron[] = {
	U64(store_cron, service),  TEXT(store_cron, schedule), I64(store_cron, mark_s),
	U32(store_cron, disabled), U32(store_cron, halted),
};

static const struct store_column firing[] = {
	U64(store_firing, service),
	I64(store_firing, at_s),
	U32(store_firing, state),
	U32(store_firing, reason),
	U32(store_firing, skipped),
	U32(store_firing, skipped_more),
	U32(store_firing, tries),
	U32(store_firing, owner),
	U64(store_firing, replica),
	NAMED(store_firing, "number", STORE_U32, index),
	U32(store_firing, exit_status),
	U32(store_firing, exit_signal),
	I64(store_firing, recorded_wall_ns),
	I64(store_firing, ended_wall_ns),
	REASON(store_firing, why),
};

#define SHAPE(table, parent, columns)                                   \
	{                                                               \
		table, sizeof(struct store_##columns), parent, columns, \
			sizeof(columns) / sizeof(*columns)              \
	}

static const struct store_shape shapes[STORE_KINDS_] = {
	[STORE_DEPLOYMENT] = SHAPE("deployments", NULL, deployment),
	[STORE_SERVICE] = SHAPE("services", "deployment", service),
	[STORE_REVISION] = SHAPE("revisions", "deployment", revision),
	[STORE_PIN] = SHAPE("pins", "revision", pin),
	[STORE_REPLICA] = SHAPE("replicas", "service", replica),
	[STORE_OPERATION] = SHAPE("operations", NULL, operation),
	[STORE_ROUTE] = SHAPE("routes", "service", route),
	[STORE_EVENT] = SHAPE("events", NULL, event),
	[STORE_NODE] = SHAPE("nodes", NULL, node),
	[STORE_TICKET] = SHAPE("tickets", NULL, ticket),
	[STORE_CLUSTER] = SHAPE("clusters", NULL, cluster),
	[STORE_CRON] = SHAPE("crons", "service", cron),
	[STORE_FIRING] = SHAPE("firings", "service", firing),
	[STORE_VOTER] = SHAPE("voters", NULL, voter),
};

const struct store_shape *
store_shape(enum store_kind kind)
{
	assert(kind < STORE_KINDS_);
	return &shapes[kind];
}

const char *
store_blob_table(enum store_blob blob)
{
	assert(blob < STORE_BLOBS_);
	return blob == STORE_DOCUMENT ? "documents" : "plans";
}

enum store_kind
store_parent(enum store_kind kind)
{
	switch (kind) {
	case STORE_SERVICE:
	case STORE_REVISION:
		return STORE_DEPLOYMENT;
	case STORE_PIN:
		return STORE_REVISION;
	case STORE_REPLICA:
	case STORE_ROUTE:
	case STORE_CRON:
	case STORE_FIRING:
		return STORE_SERVICE;
	case STORE_DEPLOYMENT:
	case STORE_OPERATION:
	case STORE_EVENT:
	case STORE_NODE:
	case STORE_TICKET:
	case STORE_CLUSTER:
	case STORE_VOTER:
	case STORE_KINDS_:
		break;
	}
	return STORE_KINDS_;
}

enum store_kind
store_blob_parent(enum store_blob blob)
{
	return blob == STORE_DOCUMENT ? STORE_REVISION : STORE_REPLICA;
}

bool
store_kind_is_local(enum store_kind kind)
{
	return kind == STORE_REPLICA || kind == STORE_EVENT;
}

bool
store_blob_is_local(enum store_blob blob)
{
	return blob == STORE_PLAN;
}
