/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tables of the embedded store are. Ids of everything that other processes or people may
 * remember (deployments, services, replicas, operations, routes) come from AUTOINCREMENT, so that
 * one is never given twice, also after its row is gone.
 */
#include "scheduler/store_schema.h"

#include <assert.h>

#define REASON_COLUMNS                   \
	"reason_kind INTEGER NOT NULL, " \
	"reason_code INTEGER NOT NULL, " \
	"reason_what TEXT NOT NULL, "    \
	"reason_why TEXT NOT NULL, "     \
	"reason_why2 TEXT NOT NULL, "    \
	"reason_fix TEXT NOT NULL"

#define ID "id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, "

static const char first[] =
	"CREATE TABLE migrations(version INTEGER PRIMARY KEY, applied_s INTEGER NOT NULL,"
	" program TEXT NOT NULL);"
	"CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL);"
	"CREATE TABLE deployments(" ID "name TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL,"
	" target INTEGER NOT NULL, newest INTEGER NOT NULL, phase INTEGER NOT NULL,"
	" stopped INTEGER NOT NULL, failed INTEGER NOT NULL, operation INTEGER NOT NULL,"
	" created_wall_ns INTEGER NOT NULL, updated_wall_ns INTEGER NOT NULL," REASON_COLUMNS ");"
	"CREATE TABLE services(" ID
	"deployment INTEGER NOT NULL REFERENCES deployments(id) ON DELETE CASCADE,"
	" name TEXT NOT NULL, desired INTEGER NOT NULL, wanted INTEGER NOT NULL,"
	" operator INTEGER NOT NULL, UNIQUE(deployment, name));"
	"CREATE TABLE revisions(" ID
	"deployment INTEGER NOT NULL REFERENCES deployments(id) ON DELETE CASCADE,"
	" revision INTEGER NOT NULL, who_uid INTEGER NOT NULL, result INTEGER NOT NULL,"
	" created_wall_ns INTEGER NOT NULL, sha256 BLOB NOT NULL, UNIQUE(deployment, revision));"
	"CREATE TABLE documents(id INTEGER PRIMARY KEY"
	" REFERENCES revisions(id) ON DELETE CASCADE, bytes BLOB NOT NULL);"
	"CREATE TABLE pins(" ID
	"revision INTEGER NOT NULL REFERENCES revisions(id) ON DELETE CASCADE,"
	" service TEXT NOT NULL, image TEXT NOT NULL, image_digest TEXT NOT NULL,"
	" make BLOB NOT NULL, UNIQUE(revision, service));"
	"CREATE TABLE replicas(" ID
	"service INTEGER NOT NULL REFERENCES services(id) ON DELETE CASCADE,"
	" operation INTEGER NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL,"
	" attempt INTEGER NOT NULL, desired INTEGER NOT NULL, ready_attempt INTEGER NOT NULL,"
	" restarts INTEGER NOT NULL, ready_started_wall_ns INTEGER NOT NULL,"
	" created_wall_ns INTEGER NOT NULL, remove_volumes INTEGER NOT NULL,"
	" stop_grace_ms INTEGER NOT NULL, make BLOB NOT NULL, plan_sha256 BLOB NOT NULL,"
	" address TEXT NOT NULL, boot TEXT NOT NULL);"
	"CREATE INDEX replicas_service ON replicas(service);"
	"CREATE TABLE plans(id INTEGER PRIMARY KEY"
	" REFERENCES replicas(id) ON DELETE CASCADE, bytes BLOB NOT NULL);"
	"CREATE TABLE operations(" ID
	"deployment INTEGER NOT NULL, deployment_name TEXT NOT NULL, kind INTEGER NOT NULL,"
	" state INTEGER NOT NULL, revision INTEGER NOT NULL, previous_revision INTEGER NOT NULL,"
	" service INTEGER NOT NULL, number INTEGER NOT NULL, keep INTEGER NOT NULL,"
	" volumes INTEGER NOT NULL, grace_ms INTEGER NOT NULL, who_uid INTEGER NOT NULL,"
	" started_wall_ns INTEGER NOT NULL, ended_wall_ns INTEGER NOT NULL," REASON_COLUMNS ");"
	"CREATE TABLE routes(" ID
	"service INTEGER NOT NULL REFERENCES services(id) ON DELETE CASCADE,"
	" endpoint TEXT NOT NULL, UNIQUE(service, endpoint));"
	"CREATE TABLE events(id INTEGER PRIMARY KEY, version INTEGER NOT NULL,"
	" wall_ns INTEGER NOT NULL, type TEXT NOT NULL, deployment TEXT NOT NULL,"
	" service TEXT NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL,"
	" replica INTEGER NOT NULL, operation INTEGER NOT NULL, severity INTEGER NOT NULL,"
	" text TEXT NOT NULL," REASON_COLUMNS ");";

/* Revisions made by a roll-back say of which. */
static const char copies[] = "ALTER TABLE revisions ADD COLUMN copy_of INTEGER NOT NULL DEFAULT 0;";

/* Replicas that are runs of a job. */
static const char jobs[] = "ALTER TABLE replicas ADD COLUMN job INTEGER NOT NULL DEFAULT 0;";

/* A cluster: its nodes, who may join, how. */
static const char clusters[] =
	"CREATE TABLE nodes(" ID "node INTEGER NOT NULL UNIQUE, keeper INTEGER NOT NULL,"
	" name TEXT NOT NULL, sign_public BLOB NOT NULL UNIQUE, gossip_public BLOB NOT NULL,"
	" address TEXT NOT NULL, removed INTEGER NOT NULL, draining INTEGER NOT NULL,"
	" drain_until_wall_ns INTEGER NOT NULL, admitted_wall_ns INTEGER NOT NULL,"
	" labels TEXT NOT NULL, taints TEXT NOT NULL);"
	"CREATE TABLE tickets(" ID "ticket INTEGER NOT NULL UNIQUE, secret_sha256 BLOB NOT NULL,"
	" expires_s INTEGER NOT NULL, uses_left INTEGER NOT NULL);"
	"CREATE TABLE clusters(" ID "admission INTEGER NOT NULL, writer INTEGER NOT NULL,"
	" created_wall_ns INTEGER NOT NULL);";

/* Jobs that run at certain times, and what became of each time. */
static const char crons[] =
	"ALTER TABLE replicas ADD COLUMN firing INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE replicas ADD COLUMN due_s INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE crons(" ID
	"service INTEGER NOT NULL UNIQUE REFERENCES services(id) ON DELETE CASCADE,"
	" schedule TEXT NOT NULL, mark_s INTEGER NOT NULL, disabled INTEGER NOT NULL,"
	" halted INTEGER NOT NULL);"
	"CREATE TABLE firings(" ID
	"service INTEGER NOT NULL REFERENCES services(id) ON DELETE CASCADE,"
	" at_s INTEGER NOT NULL, state INTEGER NOT NULL, reason INTEGER NOT NULL,"
	" skipped INTEGER NOT NULL, skipped_more INTEGER NOT NULL, tries INTEGER NOT NULL,"
	" owner INTEGER NOT NULL, replica INTEGER NOT NULL, number INTEGER NOT NULL, exit_status "
	"INTEGER NOT NULL,"
	" exit_signal INTEGER NOT NULL, recorded_wall_ns INTEGER NOT NULL,"
	" ended_wall_ns INTEGER NOT NULL," REASON_COLUMNS ", UNIQUE(service, at_s));";

/* A writer that was replaced by hand. */
static const char terms[] = "ALTER TABLE clusters ADD COLUMN term INTEGER NOT NULL DEFAULT 0;";

/* Who keeps the store's etcd; that it is moving there. */
static const char voters[] =
	"ALTER TABLE clusters ADD COLUMN moving INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE voters(" ID "node INTEGER NOT NULL UNIQUE, phase INTEGER NOT NULL,"
	" life INTEGER NOT NULL, token INTEGER NOT NULL, client TEXT NOT NULL, peer TEXT NOT NULL,"
	" members TEXT NOT NULL, since_wall_ns INTEGER NOT NULL);";

/* The last restore, by what it was asked with. */
static const char restores[] = "ALTER TABLE clusters ADD COLUMN restored TEXT NOT NULL DEFAULT '';";

/* Which try of its firing a run is. */
static const char tries[] = "ALTER TABLE replicas ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;";

/* An etcd that somebody else keeps. */
static const char outside[] = "ALTER TABLE clusters ADD COLUMN outside INTEGER NOT NULL DEFAULT 0;";

/* Another key of a node's sealed traffic. */
static const char rotations[] =
	"ALTER TABLE nodes ADD COLUMN rotate_wall_s INTEGER NOT NULL DEFAULT 0;";

static const char *const migrations[] = {
	first, copies, jobs, clusters, crons, terms, voters, restores, tries, outside, rotations,
};

size_t
store_schema_version(void)
{
	return sizeof(migrations) / sizeof(*migrations);
}

const char *
store_schema_migration(size_t i)
{
	assert(i < store_schema_version());
	return migrations[i];
}
