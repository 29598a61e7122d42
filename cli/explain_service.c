/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a replica: dependency, image, volume, network, start, check; and how its service is
 * sized, sleeps, or fires.
 */
#include "cli/explain.h"

#include <string.h>
#include "base/text.h"
#include "cli/client.h"
#include "cli/grid.h"
#include "cli/job.h"

enum { LOG_LINES = 3 };

/* ---- replicas ---- */

/* The last lines that it wrote; without any, or without an answer, nothing is said. */
static void
say_log(struct explain *w, const char *replica)
{
	char target[256];
	struct err ignored = {0};
	struct buf answer;

	if (w->machine)
		return;
	text_format(target, sizeof(target), "/v1/logs?target=%s&tail=%d", replica, LOG_LINES);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(w->cli, target, &answer, &ignored) == 0) {
		char *at = (char *)(uintptr_t)buf_cstr(&answer);

		for (char *line = strsep(&at, "\n"); line; line = strsep(&at, "\n")) {
			json_t *row = *line ? json_read_parse(line, strlen(line), &ignored) : NULL;

			explain_say(w, "log", json_read_text(row, "text"));
			json_read_free(row);
		}
	}
	buf_fini(&answer);
}

/* The first condition that does not hold, by name. */
static const char *
missing(const json_t *replica)
{
	const json_t *list = json_read_array(replica, "conditions");

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *c = json_read_at(list, i);

		if (!json_read_bool(c, "status"))
			return json_read_text(c, "type");
	}
	return "Ready";
}

static const char *
message(const json_t *replica)
{
	const json_t *list = json_read_array(replica, "conditions");

	for (size_t i = 0; i < json_read_count(list); i++) {
		const char *text = json_read_text(json_read_at(list, i), "message");

		if (text[0])
			return text;
	}
	return "";
}

static void
explain_replica(struct explain *w, const json_t *s, const json_t *r, const json_t *moves)
{
	const char *deployment = json_read_text(s, "deployment"),
		   *service = json_read_text(s, "name");
	long long index = (long long)json_read_int(r, "index");
	const json_t *reason = json_read_get(r, "reason");
	const char *name = json_read_text(r, "name"), *state = json_read_text(r, "state");
	const char *what = json_read_text(reason, "what");

	if (strcmp(state, "ready") == 0) {
		explain_begin(w, "ok", "replica", "%s is in balancing", name);
		explain_say_move(w, moves, deployment, service, index);
		explain_end(w);
		return;
	}
	if (!what[0]) {
		reason = json_read_get(json_read_get(r, "container"), "reason");
		what = json_read_text(reason, "what");
	}
	if (!what[0])
		what = message(r);
	/* Under way, and nothing is wrong yet. */
	bool bad = json_read_text(reason, "what")[0] || strcmp(state, "failed") == 0 ||
		   strcmp(state, "unhealthy") == 0 || strcmp(state, "backoff") == 0 ||
		   strcmp(state, "isolated") == 0;
	explain_begin(w, bad ? "FAIL" : "warn", "replica", "%s is %s (%s does not hold)%s%s", name,
		      state, missing(r), what[0] ? ": " : "", what);
	say_log(w, name);
	explain_reason(w, reason);
	explain_say_move(w, moves, deployment, service, index);
	explain_end(w);
}

/* A run of a job that has ended is no fault of the service; how it ended is worth a word. */
static void
explain_run(struct explain *w, const json_t *r)
{
	const json_t *reason = json_read_get(r, "reason");
	const json_t *why = json_read_array(reason, "why");
	const char *name = json_read_text(r, "name"), *what = json_read_text(reason, "what");
	char fix[256];

	if (job_is_over(r) && !what[0] && !job_status_is_known(r))
		explain_begin(w, "ok", "run", "%s ended on %s", name, json_read_text(r, "node"));
	else if (job_is_over(r) && !what[0])
		explain_begin(w, "ok", "run", "%s ended with %d", name, job_status(r));
	else
		explain_begin(w, what[0] ? "warn" : "ok", "run", "%s %s%s%s%s", name,
			      job_is_over(r) ? "" : "is ", job_state(r), what[0] ? ": " : "", what);
	if (what[0]) {
		explain_say(w, "why", json_read_string(json_read_at(why, 0)));
		text_format(fix, sizeof(fix), "zlayer job logs %s", name);
		explain_say(w, "fix", fix);
	}
	explain_end(w);
}

/* ---- nodes ---- */

static void
node_row(struct grid *g, const json_t *n)
{
	const char *why = json_read_text(n, "why");
	bool known = json_read_kind(json_read_get(n, "cpu_free_milli")) != JSON_READ_NULL;
	char memory[32] = "";

	if (known)
		text_human_bytes((uint64_t)json_read_int(n, "memory_free_bytes"), memory,
				 sizeof(memory));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(n, "node"));
	if (known)
		grid_put(g, GRID_PLAIN, "%.1f", (double)json_read_int(n, "cpu_free_milli") / 1000);
	else
		grid_put(g, GRID_PLAIN, "%s", "");
	grid_put(g, GRID_PLAIN, "%s", memory);
	grid_put(g, why[0] ? GRID_YELLOW : GRID_GREEN, "%s", why[0] ? why : "it would take one");
}

/* Each node with its reason, as the node that conducts the service has it. */
static void
explain_nodes(struct explain *w, const char *deployment, const char *name)
{
	struct err ignored = {0};
	char path[300];
	struct grid g;

	text_format(path, sizeof(path), "/v1/services/%s/%s/nodes", deployment, name);
	json_t *root = explain_ask(w, path, &ignored);
	const json_t *items = json_read_array(root, "items");
	const json_t *doubt = json_read_get(root, "doubt");
	if (json_read_text(doubt, "what")[0]) {
		explain_begin(w, "warn", "nodes", "as this node sees it: %s",
			      json_read_text(doubt, "what"));
		explain_end(w);
	}
	if (json_read_count(items) == 0) {
		json_read_free(root);
		return;
	}
	if (w->machine) {
		for (size_t i = 0; i < json_read_count(items); i++) {
			const json_t *n = json_read_at(items, i);
			const char *why = json_read_text(n, "why");

			explain_begin(w, why[0] ? "warn" : "ok", "node", "%s: %s",
				      json_read_text(n, "node"),
				      why[0] ? why : "it would take one");
			explain_say(w, "node", json_read_text(n, "node"));
			explain_say(w, "why", why);
			explain_end(w);
		}
	} else {
		grid_init(&g, "NODE|CPU FREE|MEMORY FREE|WHY NOT");
		for (size_t i = 0; i < json_read_count(items); i++)
			node_row(&g, json_read_at(items, i));
		grid_print(&g, w->cli->colour_out, &w->out);
		grid_fini(&g);
	}
	json_read_free(root);
}

/* ---- scaling ---- */

static bool
sleeps(const json_t *s)
{
	const json_t *scale = json_read_get(s, "scale");

	return strcmp(json_read_text(scale, "mode"), "adaptive") == 0 &&
	       json_read_int(scale, "min") == 0;
}

static bool
is_held(const json_t *s)
{
	return strcmp(json_read_text(json_read_get(s, "scale"), "decision"), "held") == 0;
}

/* "cpu 43% of 70%, 12 requests/s of 200" */
static void
say_targets(struct explain *w, const json_t *scale)
{
	static const struct {
		const char *name, *label, *unit;
	} metrics[] = {
		{"cpu", "cpu ", "%"}, {"memory", "memory ", "%"}, {"rps", "", " requests/s"}};
	const json_t *targets = json_read_get(scale, "targets");
	char line[160] = "";
	size_t used = 0;

	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const json_t *t = json_read_get(targets, metrics[i].name);
		char mean[24] = "?";

		if (json_read_kind(t) != JSON_READ_OBJECT)
			continue;
		if (json_read_kind(json_read_get(t, "mean")) != JSON_READ_NULL)
			text_format(mean, sizeof(mean), "%lld",
				    (long long)json_read_int(t, "mean"));
		text_format(line + used, sizeof(line) - used, "%s%s%s%s of %lld%s",
			    used ? ", " : "each: ", metrics[i].label, mean, metrics[i].unit,
			    (long long)json_read_int(t, "target"),
			    metrics[i].label[0] ? metrics[i].unit : "");
		used += strlen(line + used);
	}
	explain_say(w, "why", line);
}

/* "edge-2: 2 ready, cpu 43%, memory 20%, 12 requests/s, 1 waits"; nodes with nothing are left out.
 */
static void
say_node(struct explain *w, const json_t *targets, const json_t *n)
{
	static const char *const shares[] = {"cpu", "memory"};
	long long ready = (long long)json_read_int(n, "ready");
	long long waiting = (long long)json_read_int(n, "waiting");
	long long rps = (long long)json_read_int(n, "rps");
	long long open = (long long)json_read_int(n, "in_flight");
	char line[240];
	size_t used;

	if (json_read_kind(json_read_get(n, "ready")) == JSON_READ_NULL) {
		text_format(line, sizeof(line), "%s: has not said what it has",
			    json_read_text(n, "node"));
		explain_say(w, "node", line);
		return;
	}
	if (!ready && !waiting && !rps && !open && json_read_bool(n, "whole"))
		return;
	text_format(line, sizeof(line), "%s: %lld ready", json_read_text(n, "node"), ready);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		const json_t *value = json_read_get(n, shares[i]);

		used = strlen(line);
		if (json_read_kind(json_read_get(targets, shares[i])) == JSON_READ_OBJECT &&
		    json_read_kind(value) != JSON_READ_NULL)
			text_format(line + used, sizeof(line) - used, ", %s %lld%%", shares[i],
				    (long long)json_read_int(n, shares[i]));
	}
	used = strlen(line);
	text_format(line + used, sizeof(line) - used, ", %lld requests/s, %lld open", rps, open);
	used = strlen(line);
	if (waiting)
		text_format(line + used, sizeof(line) - used, ", %lld wait%s", waiting,
			    waiting == 1 ? "s" : "");
	used = strlen(line);
	if (!json_read_bool(n, "whole"))
		text_format(line + used, sizeof(line) - used, " (not all of it is known)");
	explain_say(w, "node", line);
}

/* In a cluster, what each node has a part in. */
static void
say_nodes(struct explain *w, const json_t *scale)
{
	const json_t *nodes = json_read_array(scale, "nodes");

	for (size_t i = 0; json_read_count(nodes) > 1 && i < json_read_count(nodes); i++)
		say_node(w, json_read_get(scale, "targets"), json_read_at(nodes, i));
}

static void
explain_scale(struct explain *w, const json_t *s)
{
	static const struct {
		const char *decision, *words;
	} known[] = {
		{"fits", "its load fits"},
		{"bounds", "brought between min and max"},
		{"load", "grown because of its load"},
		{"at_max", "needs more than max"},
		{"idle", "shrunk because of its load"},
		{"asleep", "asleep until a request comes"},
		{"wake", "woken by a request"},
		{"cooling", "changed less than a cooldown ago"},
		{"starting", "new replicas are not ready yet"},
		{"partial", "figures are missing: it does not shrink"},
		{"no_target", "no targets: it stays as it is"},
		{"paused", "paused while an operation is under way"},
		{"held", "it would grow and cannot"},
	};
	const json_t *scale = json_read_get(s, "scale"), *last = json_read_get(scale, "last");
	const char *decision = json_read_text(scale, "decision"), *words = decision;
	char line[400];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		words = strcmp(known[i].decision, decision) == 0 ? known[i].words : words;
	explain_begin(w, is_held(s) || strcmp(decision, "at_max") == 0 ? "warn" : "ok", "scale",
		      "%lld of %lld to %lld: %s%s%s", (long long)json_read_int(s, "desired"),
		      (long long)json_read_int(scale, "min"),
		      (long long)json_read_int(scale, "max"), words, is_held(s) ? ": " : "",
		      is_held(s) ? json_read_text(json_read_get(s, "reason"), "what") : "");
	if (json_read_int(s, "desired") > 0)
		say_targets(w, scale);
	say_nodes(w, scale);
	if (json_read_kind(last) == JSON_READ_OBJECT) {
		text_format(line, sizeof(line), "%.19sZ from %lld to %lld: %s",
			    json_read_text(last, "at"), (long long)json_read_int(last, "from"),
			    (long long)json_read_int(last, "to"), json_read_text(last, "why"));
		explain_say(w, "last", line);
	}
	if (is_held(s))
		explain_reason(w, json_read_get(s, "reason"));
	explain_end(w);
}

static void
explain_sleep(struct explain *w, const json_t *s)
{
	long long waiting = (long long)json_read_int(json_read_get(s, "scale"), "waiting");
	const char *deployment = json_read_text(s, "deployment"), *name = json_read_text(s, "name");

	if (is_held(s))
		explain_begin(w, "FAIL", "service", "%s/%s sleeps and cannot be woken", deployment,
			      name);
	else
		explain_begin(w, "ok", "service", "%s/%s sleeps: the next request wakes it%s",
			      deployment, name, waiting ? " (one waits)" : "");
	if (is_held(s))
		explain_reason(w, json_read_get(s, "reason"));
	explain_end(w);
}

/* When it runs next; why it does not, or did not the last time. */
static void
explain_cron(struct explain *w, const json_t *s)
{
	const json_t *cron = json_read_get(s, "cron");
	const json_t *reason = json_read_get(cron, "reason");
	const char *what = json_read_text(reason, "what");
	const char *next = json_read_text(cron, "next");
	bool waits = strcmp(json_read_text(cron, "state"), "waiting") == 0;

	if (json_read_kind(cron) != JSON_READ_OBJECT)
		return;
	if (waits && next[0]) {
		explain_begin(w, "ok", "cron", "runs next at %s", next);
		explain_end(w);
	}
	if (!what[0])
		return;
	explain_begin(w, waits ? "warn" : "FAIL", "cron", "%s", what);
	explain_reason(w, reason);
	explain_end(w);
}

void
explain_service(struct explain *w, const json_t *s, uint32_t index)
{
	char target[300];
	struct err err = {0};
	const char *deployment = json_read_text(s, "deployment"), *name = json_read_text(s, "name");
	const json_t *reason = json_read_get(s, "reason");
	long long ready = (long long)json_read_int(s, "ready");
	long long desired = (long long)json_read_int(s, "desired");

	explain_conductor(w, deployment, name);
	if (json_read_bool(s, "unplaced")) {
		explain_begin(w, "FAIL", "place", "%s/%s: %s", deployment, name,
			      json_read_text(reason, "what"));
		/* The table has what the reason could only begin to say. */
		explain_say(w, "fix", json_read_text(reason, "fix"));
		explain_end(w);
		explain_nodes(w, deployment, name);
	} else if (json_read_bool(s, "waits")) {
		explain_begin(w, "FAIL", "depends", "%s/%s: %s", deployment, name,
			      json_read_text(reason, "what"));
		explain_reason(w, reason);
		explain_end(w);
		return;
	}
	if (strcmp(json_read_text(s, "state"), "stopped") == 0) {
		explain_begin(w, "FAIL", "service", "%s/%s is stopped", deployment, name);
		text_format(target, sizeof(target), "zlayer start %s/%s", deployment, name);
		explain_say(w, "fix", target);
		explain_end(w);
		return;
	}
	if (strcmp(json_read_text(json_read_get(s, "scale"), "mode"), "adaptive") == 0)
		explain_scale(w, s);
	if (!desired && sleeps(s)) {
		explain_sleep(w, s);
		return;
	}
	if (!desired && !job_has_runs(s)) {
		explain_begin(w, "FAIL", "service", "%s/%s has the size 0", deployment, name);
		text_format(target, sizeof(target),
			    "zlayer scale %s/%s=1 --force, or zlayer deploy", deployment, name);
		explain_say(w, "fix", target);
		explain_end(w);
		return;
	}
	if (desired)
		explain_begin(w, ready >= desired ? "ok" : "warn", "service",
			      "%s/%s: %lld of %lld in balancing", deployment, name, ready, desired);
	else if (strcmp(json_read_text(s, "rtype"), "job") == 0)
		explain_begin(w, "ok", "service", "%s/%s runs when it is asked to", deployment,
			      name);
	else
		explain_begin(w, "ok", "service", "%s/%s runs at the times \"%s\"", deployment,
			      name, json_read_text(json_read_get(s, "cron"), "schedule"));
	explain_end(w);
	explain_cron(w, s);
	text_format(target, sizeof(target), "/v1/replicas?target=%s/%s", deployment, name);
	json_t *root = explain_ask(w, target, &err);
	json_t *moves = explain_moves(w);
	const json_t *list = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *r = json_read_at(list, i);

		if (index && json_read_int(r, "index") != index)
			continue;
		if (json_read_bool(r, "job"))
			explain_run(w, r);
		else
			explain_replica(w, s, r, moves);
	}
	explain_clients(w, s, index);
	if (root && !json_read_count(list) && desired > 0) {
		explain_begin(w, "FAIL", "replica", "%s/%s has no replica", deployment, name);
		explain_reason(w, reason);
		explain_end(w);
	}
	json_read_free(moves);
	json_read_free(root);
}
