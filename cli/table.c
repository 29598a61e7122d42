/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and flags. Whoever adds one adds a line here and an item to docs/zlayer.1; everything
 * else follows. A flag means the same in every command that has it.
 */
#include "cli/table.h"

#include <string.h>
#include "base/text.h"
#include "cli/cmd.h"

const struct table_flag table_flags[FLAGS_] = {
	[FLAG_OUTPUT] = {"output", 'o', "FORMAT", "table, wide, json, yaml or name",
			 "table wide json yaml name"},
	[FLAG_INSTANCE] = {"instance", 0, "NAME", "the node of this name on this machine", NULL},
	[FLAG_SOCKET] = {"socket", 0, "PATH", "the node's socket", NULL},
	[FLAG_TIMEOUT] = {"timeout", 0, "DUR", "give up after this long (90s, 5m)", NULL},
	[FLAG_QUIET] = {"quiet", 'q', NULL, "no progress, no remarks", NULL},
	[FLAG_VERBOSE] = {"verbose", 'v', NULL, "show what is asked of the node", NULL},
	[FLAG_NO_COLOR] = {"no-color", 0, NULL, "no colours, also on a terminal", NULL},
	[FLAG_NO_INPUT] = {"no-input", 0, NULL, "never ask: fail instead", NULL},
	[FLAG_YES] = {"yes", 'y', NULL, "answer every question with yes", NULL},
	[FLAG_HELP] = {"help", 'h', NULL, "show help", NULL},
	[FLAG_VERSION] = {"version", 0, NULL, "show the version", NULL},
	[FLAG_ALL] = {"all", 'a', NULL, "also what has ended", NULL},
	[FLAG_DETACH] = {"detach", 'd', NULL, "do not wait for the result", NULL},
	[FLAG_DIFF] = {"diff", 0, NULL, "show what differs first, and ask", NULL},
	[FLAG_DRY_RUN] = {"dry-run", 0, NULL, "show what would change, change nothing", NULL},
	[FLAG_EXIT_CODE] = {"exit-code", 0, NULL, "end with 3 when something differs", NULL},
	[FLAG_EXPECT] = {"expect", 0, "REV", "only when this is the newest revision", NULL},
	[FLAG_FOLLOW] = {"follow", 'f', NULL, "go on with what comes", NULL},
	[FLAG_FORCE] = {"force", 0, NULL, "also when something speaks against it", NULL},
	[FLAG_FORCE_SINGLE] = {"force-single", 0, NULL, "this node's copy becomes the store", NULL},
	[FLAG_GRACE] = {"grace", 't', "DUR", "time to end by itself before it is killed", NULL},
	[FLAG_GREP] = {"grep", 0, "TEXT", "only lines with this text", NULL},
	[FLAG_INTERACTIVE] = {"interactive", 'i', NULL, "pass standard input on", NULL},
	[FLAG_KEYS] = {"keys", 0, "FILE", "the authority's key, of a backup that has it", NULL},
	[FLAG_LAST] = {"last", 0, "N", "the last N of them (50)", NULL},
	[FLAG_LINES] = {"lines", 'n', "N", "the last N lines of each replica", NULL},
	[FLAG_NAME] = {"name", 0, "NAME", "the name to give it", NULL},
	[FLAG_NODE] = {"node", 0, "NAME", "of that node alone", NULL},
	[FLAG_NO_ROLLBACK] = {"no-rollback", 0, NULL, "leave a failed revision for a look at it",
			      NULL},
	[FLAG_PEER] = {"peer", 0, "NODE", "only what came from that node or goes to it", NULL},
	[FLAG_PREVIOUS] = {"previous", 0, NULL, "the attempt before the last restart", NULL},
	[FLAG_REJOIN] = {"rejoin", 0, NULL, "follow the node whose copy became the store", NULL},
	[FLAG_REPLACE] = {"replace", 0, NULL, "remove the deployments that are here", NULL},
	[FLAG_SERVICE] = {"service", 0, "SERVICE", "only from or to this service (web, my-app/web)",
			  NULL},
	[FLAG_SINCE] = {"since", 0, "WHEN", "from this time on (10m ago as 10m, or RFC 3339)",
			NULL},
	[FLAG_TO] = {"to", 0, "REV", "that revision, not the last good one", NULL},
	[FLAG_TTL] = {"ttl", 0, "DUR", "how long the ticket is good (1h)", NULL},
	[FLAG_TTY] = {"tty", 't', NULL, "give it a terminal", NULL},
	[FLAG_TYPE] =
		{"type", 0, "TYPE", "only events of this type (replica, replica.ready)",
		 "deploy rollback restart placement depends scale stop start remove operation "
		 "job cron init replica node"},
	[FLAG_UNTIL] = {"until", 0, "WHEN", "up to this time", NULL},
	[FLAG_USER] = {"user", 'u', "USER", "as this user of the container", NULL},
	[FLAG_USES] = {"uses", 0, "N", "how many nodes may join with it (1)", NULL},
	[FLAG_VERDICT] = {"verdict", 0, "VERDICT", "only what was dropped, or forwarded",
			  "dropped forwarded"},
	[FLAG_VOLUMES] = {"volumes", 0, NULL, "its named volumes and their data too", NULL},
	[FLAG_WAIT] = {"wait", 0, NULL, "until nothing runs there any more", NULL},
	[FLAG_WATCH] = {"watch", 'w', NULL, "redraw when something changes", NULL},
	[FLAG_WITH_KEYS] = {"with-keys", 0, NULL, "the key of the cluster's authority too", NULL},
	[FLAG_WORKDIR] = {"workdir", 'w', "DIR", "in this folder of the container", NULL},
};

#define FLAGS(...)                   \
	{                            \
		__VA_ARGS__, FLAGS_, \
	}
#define NO_FLAGS        \
	{               \
		FLAGS_, \
	}

static const char app[] = "Services";
static const char why[] = "What happens";
static const char data[] = "Images and certificates";
static const char cluster[] = "The cluster";
static const char document[] = "The document, without a node";
static const char other[] = "Other";

const struct table_command table_commands[] = {
	{app, "deploy", "[FILE]", "make the document true", 0, 1, false, OPERAND_FILE, NULL,
	 cmd_deploy, FLAGS(FLAG_DRY_RUN, FLAG_DIFF, FLAG_DETACH, FLAG_EXPECT, FLAG_NO_ROLLBACK)},
	{app, "diff", "[FILE]", "what a deploy of the document would change", 0, 1, false,
	 OPERAND_FILE, NULL, cmd_diff, FLAGS(FLAG_EXIT_CODE)},
	{app, "up", "", "deploy the document of this folder", 0, 0, false, OPERAND_NONE, NULL,
	 cmd_deploy, FLAGS(FLAG_DETACH)},
	{app, "down", "", "remove what the document of this folder is of", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_down, FLAGS(FLAG_VOLUMES, FLAG_GRACE, FLAG_DETACH)},
	{app, "rollback", "[DEPLOYMENT]", "deploy an earlier revision again", 0, 1, false,
	 OPERAND_TARGET, NULL, cmd_rollback, FLAGS(FLAG_TO, FLAG_DRY_RUN, FLAG_DETACH)},
	{app, "history", "[DEPLOYMENT]", "the revisions that are kept", 0, 1, false, OPERAND_TARGET,
	 NULL, cmd_history, NO_FLAGS},
	{app, "status", "[TARGET]", "node, deployments and services", 0, 1, false, OPERAND_TARGET,
	 NULL, cmd_status, FLAGS(FLAG_WATCH)},
	{app, "ps", "[TARGET]", "replicas", 0, 1, false, OPERAND_TARGET, NULL, cmd_ps,
	 FLAGS(FLAG_ALL)},
	{app, "logs", "[TARGET ...]", "what replicas write, in the order of time", 0, 16, false,
	 OPERAND_TARGET, NULL, cmd_logs,
	 FLAGS(FLAG_FOLLOW, FLAG_LINES, FLAG_SINCE, FLAG_UNTIL, FLAG_GREP, FLAG_PREVIOUS)},
	{app, "exec", "TARGET [-- COMMAND ...]", "run a command in a replica (sh if none is given)",
	 1, 1, true, OPERAND_TARGET, NULL, cmd_exec,
	 FLAGS(FLAG_INTERACTIVE, FLAG_TTY, FLAG_USER, FLAG_WORKDIR)},
	{app, "scale", "TARGET=N", "run N replicas of a service", 1, 2, false, OPERAND_TARGET, NULL,
	 cmd_scale, FLAGS(FLAG_FORCE, FLAG_DETACH)},
	{app, "stop", "TARGET", "stop replicas; the deployment stays", 1, 1, false, OPERAND_TARGET,
	 NULL, cmd_stop, FLAGS(FLAG_GRACE, FLAG_DETACH)},
	{app, "start", "TARGET", "start what was stopped", 1, 1, false, OPERAND_TARGET, NULL,
	 cmd_start, FLAGS(FLAG_DETACH)},
	{app, "restart", "TARGET", "replace replicas by new ones, without a gap", 1, 1, false,
	 OPERAND_TARGET, NULL, cmd_restart, FLAGS(FLAG_DETACH)},
	{app, "rollout pause", "DEPLOYMENT", "let a roll-out stand still", 1, 1, false,
	 OPERAND_TARGET, NULL, cmd_rollout_pause, NO_FLAGS},
	{app, "rollout resume", "DEPLOYMENT", "let it go on", 1, 1, false, OPERAND_TARGET, NULL,
	 cmd_rollout_resume, FLAGS(FLAG_DETACH)},
	{app, "rollout abort", "DEPLOYMENT", "end it: back to what served", 1, 1, false,
	 OPERAND_TARGET, NULL, cmd_rollout_abort, FLAGS(FLAG_DETACH)},
	{app, "rm", "DEPLOYMENT", "stop and remove a deployment", 1, 1, false, OPERAND_TARGET, NULL,
	 cmd_rm, FLAGS(FLAG_VOLUMES, FLAG_GRACE, FLAG_DETACH)},
	{app, "job run", "TARGET [-- ARG ...]", "run a job, and end as it does", 1, 1, true,
	 OPERAND_TARGET, NULL, cmd_job_run, FLAGS(FLAG_DETACH)},
	{app, "job ls", "[TARGET]", "runs of jobs", 0, 1, false, OPERAND_TARGET, NULL, cmd_job_ls,
	 NO_FLAGS},
	{app, "job logs", "TARGET", "what a run wrote", 1, 1, false, OPERAND_TARGET, NULL, cmd_logs,
	 FLAGS(FLAG_FOLLOW, FLAG_LINES)},
	{app, "job cancel", "TARGET", "stop a run", 1, 1, false, OPERAND_TARGET, NULL,
	 cmd_job_cancel, FLAGS(FLAG_GRACE, FLAG_DETACH)},
	{app, "cron ls", "[TARGET]", "crons: when they run next, what became of the last time", 0,
	 1, false, OPERAND_TARGET, NULL, cmd_cron_ls, NO_FLAGS},
	{app, "cron enable", "TARGET", "let a cron run at its times again", 1, 1, false,
	 OPERAND_TARGET, NULL, cmd_cron_enable, NO_FLAGS},
	{app, "cron disable", "TARGET", "let it not run until it is enabled", 1, 1, false,
	 OPERAND_TARGET, NULL, cmd_cron_disable, NO_FLAGS},
	{app, "cron trigger", "TARGET [-- ARG ...]", "run a cron now, and end as it does", 1, 1,
	 true, OPERAND_TARGET, NULL, cmd_job_run, FLAGS(FLAG_DETACH)},
	{why, "explain", "TARGET|NODE|URL", "why it does not come up, or is not reached", 1, 1,
	 false, OPERAND_TARGET, NULL, cmd_explain, NO_FLAGS},
	{why, "events", "", "what changed, and why", 0, 0, false, OPERAND_NONE, NULL, cmd_events,
	 FLAGS(FLAG_FOLLOW, FLAG_NODE, FLAG_SINCE, FLAG_TYPE)},
	{why, "observe", "", "what the data path drops, and why, and what it lets through", 0, 0,
	 false, OPERAND_NONE, NULL, cmd_observe,
	 FLAGS(FLAG_FOLLOW, FLAG_LAST, FLAG_NODE, FLAG_PEER, FLAG_SERVICE, FLAG_VERDICT)},
	{data, "image ls", "", "images of this node", 0, 0, false, OPERAND_NONE, NULL, cmd_image_ls,
	 NO_FLAGS},
	{data, "image import", "PATH", "take an image from an OCI layout: a folder or an archive",
	 1, 1, false, OPERAND_FILE, NULL, cmd_image_import, FLAGS(FLAG_NAME)},
	{data, "image pull", "NAME", "fetch an image from its registry", 1, 1, false, OPERAND_NONE,
	 NULL, cmd_image_pull, NO_FLAGS},
	{data, "image rm", "NAME", "remove an image", 1, 1, false, OPERAND_NONE, NULL, cmd_image_rm,
	 NO_FLAGS},
	{data, "image prune", "", "remove images that nothing runs and no revision needs", 0, 0,
	 false, OPERAND_NONE, NULL, cmd_image_prune, FLAGS(FLAG_DRY_RUN)},
	{data, "cert authority", "", "the local authority's certificate, as PEM", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_cert_authority, NO_FLAGS},
	{data, "backup", "[FILE|-]", "write all that is deployed into one file", 0, 1, false,
	 OPERAND_FILE, NULL, cmd_backup, FLAGS(FLAG_WITH_KEYS)},
	{data, "backup verify", "FILE", "whether a backup is whole, and what is in it", 1, 1, false,
	 OPERAND_FILE, NULL, cmd_backup_verify, NO_FLAGS},
	{data, "restore", "FILE", "bring back what a backup holds (-: from standard input)", 1, 1,
	 false, OPERAND_FILE, NULL, cmd_restore, FLAGS(FLAG_REPLACE)},
	{cluster, "invite", "", "print a ticket: one word, with which a node joins", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_invite, FLAGS(FLAG_TTL, FLAG_USES)},
	{cluster, "join", "TICKET", "make this node one of the cluster (-: from standard input)", 1,
	 1, false, OPERAND_NONE, NULL, cmd_join, FLAGS(FLAG_NAME)},
	{cluster, "leave", "", "make this node one in no cluster", 0, 0, false, OPERAND_NONE, NULL,
	 cmd_leave, FLAGS(FLAG_FORCE)},
	{cluster, "node ls", "", "nodes, and how they are", 0, 0, false, OPERAND_NONE, NULL,
	 cmd_node_ls, NO_FLAGS},
	{cluster, "node show", "NODE", "one node", 1, 1, false, OPERAND_NODE, NULL, cmd_node_show,
	 NO_FLAGS},
	{cluster, "node label", "NODE KEY=VALUE|KEY- ...", "set labels, or take them away", 2, 16,
	 false, OPERAND_NODE, NULL, cmd_node_label, NO_FLAGS},
	{cluster, "node taint", "NODE KEY=VALUE|KEY|KEY- ...",
	 "keep away what does not tolerate it, or no more", 2, 16, false, OPERAND_NODE, NULL,
	 cmd_node_taint, NO_FLAGS},
	{cluster, "node drain", "NODE", "move what it runs to other nodes", 1, 1, false,
	 OPERAND_NODE, NULL, cmd_node_drain, FLAGS(FLAG_GRACE, FLAG_WAIT)},
	{cluster, "node rotate", "NODE", "give its sealed traffic another key", 1, 1, false,
	 OPERAND_NODE, NULL, cmd_node_rotate, NO_FLAGS},
	{cluster, "node undrain", "NODE", "let it take replicas again", 1, 1, false, OPERAND_NODE,
	 NULL, cmd_node_undrain, NO_FLAGS},
	{cluster, "node rm", "NODE", "send a node away for good", 1, 1, false, OPERAND_NODE, NULL,
	 cmd_node_rm, FLAGS(FLAG_FORCE)},
	{cluster, "cluster show", "", "the cluster, its store, and who may join", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_cluster_show, NO_FLAGS},
	{cluster, "cluster admission", "MODE", "who may join: token, open or closed", 1, 1, false,
	 OPERAND_WORDS, "token open closed", cmd_cluster_admission, NO_FLAGS},
	{cluster, "recover", "", "go on without the node that takes the changes", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_recover, FLAGS(FLAG_FORCE_SINGLE, FLAG_KEYS, FLAG_REJOIN)},
	{document, "validate", "[FILE]", "all errors of a document", 0, 1, false, OPERAND_FILE,
	 NULL, cmd_validate, NO_FLAGS},
	{document, "spec dump", "[FILE]", "the document with every default filled in", 0, 1, false,
	 OPERAND_FILE, NULL, cmd_spec_dump, NO_FLAGS},
	{other, "cni", "", "the CNI plugin, for podman, containerd and others", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_cni, NO_FLAGS},
	{other, "version", "", "versions of the command line and of the node", 0, 0, false,
	 OPERAND_NONE, NULL, cmd_version, NO_FLAGS},
	{other, "completion", "SHELL", "completions for bash, zsh or fish", 1, 1, false,
	 OPERAND_WORDS, "bash zsh fish", cmd_completion, NO_FLAGS},
};

const size_t table_commands_count = sizeof(table_commands) / sizeof(table_commands[0]);

const struct table_command *
table_find(const char *name)
{
	for (size_t i = 0; i < table_commands_count; i++) {
		if (strcmp(table_commands[i].name, name) == 0)
			return &table_commands[i];
	}
	return NULL;
}

bool
table_is_group(const char *word)
{
	size_t length = strlen(word);

	for (size_t i = 0; i < table_commands_count; i++) {
		if (strncmp(table_commands[i].name, word, length) == 0 &&
		    table_commands[i].name[length] == ' ')
			return true;
	}
	return false;
}

bool
table_takes(const struct table_command *command, enum table_flag_id flag)
{
	if (flag < FLAG_GLOBALS_)
		return true;
	for (size_t i = 0; command && command->flags[i] != FLAGS_; i++) {
		if (command->flags[i] == flag)
			return true;
	}
	return false;
}

const char *
table_suggest(const char *name)
{
	const char *names[64] = {0};
	size_t count = 0;

	for (; count < table_commands_count && count < 62; count++)
		names[count] = table_commands[count].name;
	names[count] = "serve";
	return text_nearest(name, names);
}
