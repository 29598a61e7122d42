/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `explain`: walks the way of a request (listener, route, certificate, replica) or of a replica
 * (dependency, image, volume, network, start, check) and stops at the first thing that is not as it
 * must be, with why and what to do. All of it is what the API says anyway; nothing is tried out.
 */
#include "cli/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/grid.h"
#include "cli/job.h"
#include "cli/target.h"
#include "spec/doc.h"
#include "spec/json.h"
#include "spec/yaml.h"
#include "wire/json_read.h"

enum { LINE_BYTES = 600, LIST_BYTES = 300, LOG_LINES = 3, HOST_BYTES = 256, PATH_BYTES = 1024 };

struct walk {
	const struct cli *cli;
	struct buf out;
	struct json json;
	bool machine;
	bool failed; /* the walk is over */
};

/* ---- telling ---- */

static void
put(struct walk *w, const char *label, const char *text)
{
	char safe[LINE_BYTES];

	text_printable(text, strlen(text), safe, sizeof(safe));
	buf_puts(&w->out, "  ");
	grid_text(&w->out, w->cli->colour_out,
		  strcmp(label, "FAIL") == 0   ? GRID_RED
		  : strcmp(label, "ok") == 0   ? GRID_GREEN
		  : strcmp(label, "warn") == 0 ? GRID_YELLOW
					       : GRID_PLAIN,
		  label);
	buf_printf(&w->out, "%*s  %s\n", (int)(4 - strlen(label)), "", safe);
}

static void begin(struct walk *w, const char *state, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A step; its why, log and fix may follow, then end(). */
static void
begin(struct walk *w, const char *state, const char *what, const char *fmt, ...)
{
	char text[LINE_BYTES], line[LINE_BYTES + 16];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	w->failed |= strcmp(state, "FAIL") == 0;
	if (w->machine) {
		json_object(&w->json, NULL);
		json_text(&w->json, "state", strcmp(state, "FAIL") == 0 ? "failed" : state);
		json_text(&w->json, "name", what);
		json_text(&w->json, "text", text);
		return;
	}
	text_format(line, sizeof(line), "%-11s %s", what, text);
	put(w, state, line);
}

static void
say(struct walk *w, const char *label, const char *text)
{
	if (!text[0])
		return;
	if (w->machine)
		json_text(&w->json, label, text);
	else
		put(w, label, text);
}

static void
end(struct walk *w)
{
	if (w->machine)
		json_end(&w->json);
}

static json_t *
ask(struct walk *w, const char *target, struct err *err)
{
	struct buf answer;
	json_t *root = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(w->cli, target, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	buf_fini(&answer);
	return root;
}

/* A reason of the API, below a step. */
static void
say_reason(struct walk *w, const json_t *reason)
{
	const json_t *why = json_read_array(reason, "why");

	for (size_t i = 0; i < json_read_count(why); i++)
		say(w, w->machine && i ? "why2" : "why", json_read_string(json_read_at(why, i)));
	say(w, "fix", json_read_text(reason, "fix"));
}

/* ---- replicas ---- */

/* The last lines that it wrote; without any, or without an answer, nothing is said. */
static void
say_log(struct walk *w, const char *replica)
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

			say(w, "log", json_read_text(row, "text"));
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
explain_replica(struct walk *w, const json_t *r)
{
	const json_t *reason = json_read_get(r, "reason");
	const char *name = json_read_text(r, "name"), *state = json_read_text(r, "state");
	const char *what = json_read_text(reason, "what");

	if (strcmp(state, "ready") == 0) {
		begin(w, "ok", "replica", "%s is in balancing", name);
		end(w);
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
	begin(w, bad ? "FAIL" : "warn", "replica", "%s is %s (%s does not hold)%s%s", name, state,
	      missing(r), what[0] ? ": " : "", what);
	say_log(w, name);
	say_reason(w, reason);
	end(w);
}

/* A run of a job that has ended is no fault of the service; how it ended is worth a word. */
static void
explain_run(struct walk *w, const json_t *r)
{
	const json_t *reason = json_read_get(r, "reason");
	const json_t *why = json_read_array(reason, "why");
	const char *name = json_read_text(r, "name"), *what = json_read_text(reason, "what");
	char fix[256];

	if (job_is_over(r) && !what[0] && !job_status_is_known(r))
		begin(w, "ok", "run", "%s ended on %s", name, json_read_text(r, "node"));
	else if (job_is_over(r) && !what[0])
		begin(w, "ok", "run", "%s ended with %d", name, job_status(r));
	else
		begin(w, what[0] ? "warn" : "ok", "run", "%s %s%s%s%s", name,
		      job_is_over(r) ? "" : "is ", job_state(r), what[0] ? ": " : "", what);
	if (what[0]) {
		say(w, "why", json_read_string(json_read_at(why, 0)));
		text_format(fix, sizeof(fix), "zlayer job logs %s", name);
		say(w, "fix", fix);
	}
	end(w);
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
say_targets(struct walk *w, const json_t *scale)
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
	say(w, "why", line);
}

static void
explain_scale(struct walk *w, const json_t *s)
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
	begin(w, is_held(s) || strcmp(decision, "at_max") == 0 ? "warn" : "ok", "scale",
	      "%lld of %lld to %lld: %s", (long long)json_read_int(s, "desired"),
	      (long long)json_read_int(scale, "min"), (long long)json_read_int(scale, "max"),
	      words);
	if (json_read_int(s, "desired") > 0)
		say_targets(w, scale);
	if (json_read_kind(last) == JSON_READ_OBJECT) {
		text_format(line, sizeof(line), "%.19sZ from %lld to %lld: %s",
			    json_read_text(last, "at"), (long long)json_read_int(last, "from"),
			    (long long)json_read_int(last, "to"), json_read_text(last, "why"));
		say(w, "last", line);
	}
	if (is_held(s))
		say_reason(w, json_read_get(s, "reason"));
	end(w);
}

static void
explain_sleep(struct walk *w, const json_t *s)
{
	long long waiting = (long long)json_read_int(json_read_get(s, "scale"), "waiting");
	const char *deployment = json_read_text(s, "deployment"), *name = json_read_text(s, "name");

	if (is_held(s))
		begin(w, "FAIL", "service", "%s/%s sleeps and cannot be woken", deployment, name);
	else
		begin(w, "ok", "service", "%s/%s sleeps: the next request wakes it%s", deployment,
		      name, waiting ? " (one waits)" : "");
	if (is_held(s))
		say_reason(w, json_read_get(s, "reason"));
	end(w);
}

/* When it runs next; why it does not, or did not the last time. */
static void
explain_cron(struct walk *w, const json_t *s)
{
	const json_t *cron = json_read_get(s, "cron");
	const json_t *reason = json_read_get(cron, "reason");
	const char *what = json_read_text(reason, "what");
	const char *next = json_read_text(cron, "next");
	bool waits = strcmp(json_read_text(cron, "state"), "waiting") == 0;

	if (json_read_kind(cron) != JSON_READ_OBJECT)
		return;
	if (waits && next[0]) {
		begin(w, "ok", "cron", "runs next at %s", next);
		end(w);
	}
	if (!what[0])
		return;
	begin(w, waits ? "warn" : "FAIL", "cron", "%s", what);
	say_reason(w, reason);
	end(w);
}

static void
explain_service(struct walk *w, const json_t *s, uint32_t index)
{
	char target[300];
	struct err err = {0};
	const char *deployment = json_read_text(s, "deployment"), *name = json_read_text(s, "name");
	const json_t *reason = json_read_get(s, "reason");
	long long ready = (long long)json_read_int(s, "ready");
	long long desired = (long long)json_read_int(s, "desired");

	if (json_read_bool(s, "unplaced")) {
		begin(w, "FAIL", "place", "%s/%s: %s", deployment, name,
		      json_read_text(reason, "what"));
		say_reason(w, reason);
		end(w);
	} else if (json_read_bool(s, "waits")) {
		begin(w, "FAIL", "depends", "%s/%s: %s", deployment, name,
		      json_read_text(reason, "what"));
		say_reason(w, reason);
		end(w);
		return;
	}
	if (strcmp(json_read_text(s, "state"), "stopped") == 0) {
		begin(w, "FAIL", "service", "%s/%s is stopped", deployment, name);
		text_format(target, sizeof(target), "zlayer start %s/%s", deployment, name);
		say(w, "fix", target);
		end(w);
		return;
	}
	if (strcmp(json_read_text(json_read_get(s, "scale"), "mode"), "adaptive") == 0)
		explain_scale(w, s);
	if (!desired && sleeps(s)) {
		explain_sleep(w, s);
		return;
	}
	if (!desired && !job_has_runs(s)) {
		begin(w, "FAIL", "service", "%s/%s has the size 0", deployment, name);
		text_format(target, sizeof(target),
			    "zlayer scale %s/%s=1 --force, or zlayer deploy", deployment, name);
		say(w, "fix", target);
		end(w);
		return;
	}
	if (desired)
		begin(w, ready >= desired ? "ok" : "warn", "service",
		      "%s/%s: %lld of %lld in balancing", deployment, name, ready, desired);
	else if (strcmp(json_read_text(s, "rtype"), "job") == 0)
		begin(w, "ok", "service", "%s/%s runs when it is asked to", deployment, name);
	else
		begin(w, "ok", "service", "%s/%s runs at the times \"%s\"", deployment, name,
		      json_read_text(json_read_get(s, "cron"), "schedule"));
	end(w);
	explain_cron(w, s);
	text_format(target, sizeof(target), "/v1/replicas?target=%s/%s", deployment, name);
	json_t *root = ask(w, target, &err);
	const json_t *list = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *r = json_read_at(list, i);

		if (index && json_read_int(r, "index") != index)
			continue;
		if (json_read_bool(r, "job"))
			explain_run(w, r);
		else
			explain_replica(w, r);
	}
	if (root && !json_read_count(list) && desired > 0) {
		begin(w, "FAIL", "replica", "%s/%s has no replica", deployment, name);
		say_reason(w, reason);
		end(w);
	}
	json_read_free(root);
}

/* ---- nodes ---- */

static void
explain_membership(struct walk *w, const json_t *n)
{
	const char *state = json_read_text(n, "state"), *name = json_read_text(n, "name");
	const char *accuser = json_read_text(n, "accuser");
	char since[64], why[LIST_BYTES], fix[LIST_BYTES];

	text_format(since, sizeof(since), "%.19sZ", json_read_text(n, "since"));
	if (strcmp(state, "alive") == 0) {
		begin(w, "ok", "node", "%s is alive since %s", name, since);
		end(w);
		return;
	}
	begin(w, strcmp(state, "unreachable") == 0 ? "FAIL" : "warn", "node", "%s is %s since %s",
	      name, state, since);
	text_format(why, sizeof(why), "%s got no answer from it", accuser);
	say(w, "why", accuser[0] ? why : "");
	text_format(fix, sizeof(fix),
		    "start it again, or when it is gone for good: zlayer node rm %s", name);
	say(w, "fix", strcmp(state, "unreachable") == 0 ? fix : "");
	end(w);
}

static void
explain_store(struct walk *w, const json_t *n)
{
	struct err err = {0};
	json_t *cluster = ask(w, "/v1/cluster", &err);
	const json_t *store = json_read_get(cluster, "store");
	long long has = (long long)json_read_int(n, "store_sequence");
	long long here = (long long)json_read_int(store, "sequence");

	if (cluster && !json_read_bool(store, "writable")) {
		begin(w, "warn", "store", "changes are refused: %s",
		      json_read_text(json_read_get(store, "why"), "what"));
		say_reason(w, json_read_get(store, "why"));
		end(w);
	} else if (cluster && has && has < here) {
		begin(w, "warn", "store", "it has %lld of %lld changes so far", has, here);
		end(w);
	}
	json_read_free(cluster);
}

/* Why it takes nothing, or not everything. */
static void
explain_room(struct walk *w, const json_t *n)
{
	json_t *taints = json_read_get(n, "taints");
	const char *name = json_read_text(n, "name");
	long long replicas = (long long)json_read_int(n, "replicas");
	char fix[LIST_BYTES], memory[32];

	if (json_read_bool(n, "draining")) {
		begin(w, "warn", "drain", "it takes nothing new; %lld replica%s to move", replicas,
		      replicas == 1 ? "" : "s");
		text_format(fix, sizeof(fix), "zlayer node undrain %s", name);
		say(w, "fix", fix);
		end(w);
	}
	for (void *it = json_read_first(taints); it; it = json_read_next(taints, it)) {
		const char *value = json_read_string(json_read_value(it));

		begin(w, "warn", "taint", "only what tolerates %s%s%s is placed here",
		      json_read_key(it), value[0] ? "=" : "", value);
		end(w);
	}
	text_human_bytes((uint64_t)json_read_int(n, "memory_free_bytes"), memory, sizeof(memory));
	if (json_read_kind(json_read_get(n, "cpu_free_milli")) == JSON_READ_NULL)
		begin(w, "ok", "replicas", "%lld; it has not said yet what is free", replicas);
	else
		begin(w, "ok", "replicas", "%lld; free: %.1f cores, %s", replicas,
		      (double)json_read_int(n, "cpu_free_milli") / 1000, memory);
	end(w);
}

/* True when it is the name of one. */
static bool
explain_node(struct walk *w, const char *name)
{
	struct err ignored = {0};
	char path[128];

	text_format(path, sizeof(path), "/v1/nodes/%s", name);
	json_t *n = text_is_label(name) ? ask(w, path, &ignored) : NULL;
	if (!n)
		return false;
	explain_membership(w, n);
	explain_store(w, n);
	if (!w->failed)
		explain_room(w, n);
	json_read_free(n);
	return true;
}

static int
explain_target(struct walk *w, const char *text, struct err *err)
{
	char path[200];
	struct target t;

	if (target_resolve(w->cli, text, &t, err) < 0) {
		if (err->kind != ERR_NOT_FOUND || !explain_node(w, text))
			return -1;
		err_clear(err);
		return 0;
	}
	text_format(path, sizeof(path), "/v1/deployments/%s", t.deployment);
	json_t *d = ask(w, path, err);
	if (!d)
		return -1;
	const json_t *reason = json_read_get(d, "reason");
	const json_t *services = json_read_array(d, "services");
	const char *state = json_read_text(d, "state");
	if (json_read_text(reason, "what")[0]) {
		/* What was rolled back is not there any more; what serves may be well. */
		begin(w, strcmp(state, "failed") == 0 ? "FAIL" : "warn", "deploy", "%s",
		      json_read_text(reason, "what"));
		say_reason(w, reason);
		end(w);
	} else {
		begin(w, "ok", "deploy", "%s revision %lld is %s", t.deployment,
		      (long long)json_read_int(d, "revision"), state);
		end(w);
	}
	for (size_t i = 0; i < json_read_count(services); i++) {
		const json_t *s = json_read_at(services, i);

		if (!t.service[0] || strcmp(t.service, json_read_text(s, "name")) == 0)
			explain_service(w, s, t.index);
	}
	json_read_free(d);
	return 0;
}

/* ---- urls ---- */

struct url {
	bool tls;
	char host[HOST_BYTES]; /* lower case, without brackets */
	char path[PATH_BYTES];
	uint16_t port;
	bool port_given;
};

static int
read_url(const char *text, struct url *out, struct err *err)
{
	const char *at = strstr(text, "://");
	uint64_t port;

	memset(out, 0, sizeof(*out));
	out->tls = text_starts(text, "https://");
	if (!at || (!out->tls && !text_starts(text, "http://"))) {
		err_set(err, ERR_USAGE, "\"%s\" is no url of http or https", text);
		return err_fix(err, "name the service: zlayer explain DEPLOYMENT/SERVICE");
	}
	at += 3;
	size_t length = strcspn(at, "/?#");
	char authority[HOST_BYTES];
	if (!length || !text_ncopy(authority, sizeof(authority), at, length))
		return err_set(err, ERR_USAGE, "\"%s\" names no host", text);
	char *colon = strrchr(authority, ':');
	if (colon && !strchr(colon, ']')) {
		if (!text_u64(colon + 1, UINT16_MAX, &port) || !port)
			return err_set(err, ERR_USAGE, "\"%s\" has no port after its colon", text);
		out->port = (uint16_t)port;
		out->port_given = true;
		*colon = 0;
	}
	for (size_t i = 0, n = 0; authority[i]; i++) {
		char c = authority[i];

		if (c != '[' && c != ']')
			out->host[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	at += length;
	text_ncopy(out->path, sizeof(out->path), *at == '/' ? at : "/",
		   *at == '/' ? strcspn(at, "?#") : 1);
	return 0;
}

static bool
host_matches(const char *pattern, const char *host)
{
	const char *dot = strchr(host, '.');

	if (!pattern[0] || strcasecmp(pattern, host) == 0)
		return true;
	return pattern[0] == '*' && pattern[1] == '.' && dot && strcasecmp(pattern + 1, dot) == 0;
}

static bool
path_matches(const char *prefix, const char *path)
{
	size_t n = strlen(prefix);

	return strcmp(prefix, "/") == 0 ||
	       (strncmp(prefix, path, n) == 0 && (path[n] == '/' || path[n] == 0));
}

static void
add_word(char list[LIST_BYTES], const char *word)
{
	size_t used = strlen(list);

	if (word[0] && !strstr(list, word) && used + strlen(word) + 3 < LIST_BYTES)
		text_format(list + used, LIST_BYTES - used, "%s%s", used ? ", " : "", word);
}

static uint16_t
port_of(const char *address)
{
	const char *colon = strrchr(address, ':');
	uint64_t port = 0;

	return colon && text_u64(colon + 1, UINT16_MAX, &port) ? (uint16_t)port : 0;
}

static void
explain_listener(struct walk *w, const json_t *status, const struct url *u)
{
	const json_t *list = json_read_array(status, "listeners");
	char others[LIST_BYTES] = "";
	const json_t *first = NULL;

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *l = json_read_at(list, i);
		const char *address = json_read_text(l, "address");

		if (strcmp(json_read_text(l, "name"), u->tls ? "https" : "http") != 0)
			continue;
		add_word(others, address);
		if (!first && (!u->port_given || port_of(address) == u->port))
			first = l;
	}
	if (!first) {
		begin(w, "FAIL", "listener", "nothing of this node listens on port %u for %s",
		      u->port, u->tls ? "https" : "http");
		text_format(others + strlen(others), LIST_BYTES - strlen(others), "%s",
			    others[0] ? " is what it listens on" : "it listens on nothing for it");
		say(w, "why", others);
		say(w, "fix",
		    u->tls ? "ask that port, or change listen.https of node.yaml"
			   : "ask that port, or change listen.http of node.yaml");
	} else if (!json_read_bool(first, "up")) {
		begin(w, "FAIL", "listener", "%s is not up", json_read_text(first, "address"));
		say_reason(w, json_read_get(first, "reason"));
	} else {
		begin(w, "ok", "listener", "%s (%s)", json_read_text(first, "address"),
		      u->tls ? "https" : "http");
	}
	end(w);
}

/* Better: an exact host before a suffix before any, then the longer path. */
static bool
is_better(const json_t *a, const json_t *b)
{
	const char *x = json_read_text(a, "host"), *y = json_read_text(b, "host");
	int i = !x[0] ? 0 : x[0] == '*' ? 1 : 2, k = !y[0] ? 0 : y[0] == '*' ? 1 : 2;

	if (i != k)
		return i > k;
	return strlen(json_read_text(a, "path")) > strlen(json_read_text(b, "path"));
}

struct routing {
	const json_t *route;
	bool host, scheme;      /* some route has it; that one is of the other scheme */
	char hosts[LIST_BYTES]; /* that there are */
	char paths[LIST_BYTES]; /* of this host */
};

static void
find_route(const json_t *routes, const struct url *u, struct routing *out)
{
	const json_t *list = json_read_array(routes, "items");

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *r = json_read_at(list, i);

		if (json_read_bool(r, "websocket"))
			continue;
		add_word(out->hosts, json_read_text(r, "host"));
		if (!host_matches(json_read_text(r, "host"), u->host))
			continue;
		if (!json_read_bool(r, u->tls ? "https" : "http")) {
			out->scheme |= path_matches(json_read_text(r, "path"), u->path);
			continue;
		}
		out->host = true;
		add_word(out->paths, json_read_text(r, "path"));
		if (path_matches(json_read_text(r, "path"), u->path) &&
		    (!out->route || is_better(r, out->route)))
			out->route = r;
	}
}

/* Whether a document in force has such an endpoint, for the inside only. */
static bool
is_internal(const struct doc *doc, const struct url *u, char name[LIST_BYTES])
{
	struct doc_endpoint_iter it = {0};

	while (doc_endpoint_next(doc, &it)) {
		const struct doc_endpoint *e = it.endpoint;
		bool http = e->protocol == DOC_PROTOCOL_HTTP || e->protocol == DOC_PROTOCOL_HTTPS;

		if (!http || e->expose == DOC_EXPOSE_PUBLIC || !it.service ||
		    (e->host ? !host_matches(e->host, u->host) : false) ||
		    !path_matches(e->path, u->path))
			continue;
		text_format(name, LIST_BYTES,
			    "endpoint \"%s\" of %s/%s would match, but it is for "
			    "the inside only (expose: internal)",
			    e->name, doc->deployment, it.service->name);
		return true;
	}
	return false;
}

static bool
find_internal(struct walk *w, const json_t *status, const struct url *u, char name[LIST_BYTES])
{
	const json_t *list = json_read_array(status, "deployments");
	bool found = false;

	for (size_t i = 0; i < json_read_count(list) && !found; i++) {
		static struct diag_list diags;
		const json_t *d = json_read_at(list, i);
		struct err ignored = {0};
		char target[200];
		struct buf text;
		struct doc *doc = NULL;

		text_format(target, sizeof(target), "/v1/deployments/%s/revisions/%lld",
			    json_read_text(d, "name"), (long long)json_read_int(d, "revision"));
		buf_init(&text, MEM_CLI, CLI_TEXT_MAX);
		diag_list_init(&diags);
		if (client_get(w->cli, target, &text, &ignored) == 0 &&
		    doc_parse(buf_cstr(&text), text.length, "document", &doc, &diags) == 0) {
			found = is_internal(doc, u, name);
			doc_free(doc);
		}
		diag_list_fini(&diags);
		buf_fini(&text);
	}
	return found;
}

static void
no_route(struct walk *w, const json_t *status, const struct url *u, const struct routing *r)
{
	char why[LIST_BYTES + 64] = "", internal[LIST_BYTES] = "";
	const char *fix = "give a public endpoint this host (and path), then: zlayer deploy";

	if (find_internal(w, status, u, internal)) {
		begin(w, "FAIL", "route", "%s%s is not public", u->host, u->path);
		text_copy(why, sizeof(why), internal);
		fix = "say expose: public, then: zlayer deploy";
	} else if (r->scheme) {
		begin(w, "FAIL", "route", "%s is served, but not over %s", u->host,
		      u->tls ? "https" : "http");
		fix = u->tls ? "ask with http://, or give it an endpoint of protocol https"
			     : "ask with https://";
	} else if (r->host) {
		begin(w, "FAIL", "route", "%s is served, but nothing under %s", u->host, u->path);
		text_format(why, sizeof(why), "its paths are %s", r->paths);
	} else {
		begin(w, "FAIL", "route", "no deployment has the host %s", u->host);
		if (r->hosts[0])
			text_format(why, sizeof(why), "those that there are: %s", r->hosts);
	}
	say(w, "why", why);
	say(w, "fix", fix);
	end(w);
}

static void
explain_certificate(struct walk *w, const char *host)
{
	struct err err = {0};
	json_t *root = ask(w, "/v1/certificates", &err);
	const json_t *list = json_read_array(root, "items"), *best = NULL;
	int64_t until = 0, last = 0;

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *c = json_read_at(list, i);
		const json_t *names = json_read_array(c, "names");

		text_untime(json_read_text(c, "not_after"), &until);
		for (size_t k = 0; k < json_read_count(names); k++) {
			const char *name = json_read_string(json_read_at(names, k));

			if (name[0] && host_matches(name, host) && until > last) {
				best = c;
				last = until;
			}
		}
	}
	int64_t days = (last - world_wall_ns()) / 1000000000 / 86400;
	if (!root) {
		begin(w, "warn", "tls", "%s", err.what);
	} else if (!best) {
		begin(w, "FAIL", "tls", "there is no certificate for %s", host);
		say(w, "why", "a client that names it gets a TLS alert (unrecognized_name)");
		say(w, "fix",
		    "put NAME.crt and NAME.key into tls.certificates of node.yaml, or let "
		    "the local authority sign it (tls.self_signed: true)");
	} else if (last < world_wall_ns()) {
		begin(w, "FAIL", "tls", "the certificate for %s has expired", host);
		say(w, "fix", "replace it: the folder tls.certificates is watched");
	} else if (strcmp(json_read_text(best, "source"), "local") == 0) {
		begin(w, "ok", "tls", "certificate of this node's own authority, %lld days left",
		      (long long)days);
		say(w, "note", "clients must trust it: zlayer cert authority");
	} else {
		begin(w, "ok", "tls", "certificate from a file, %lld days left", (long long)days);
	}
	end(w);
	json_read_free(root);
}

static void
explain_backend(struct walk *w, const json_t *status, const char *label)
{
	const json_t *deployments = json_read_array(status, "deployments");
	char name[160];

	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const json_t *services = json_read_array(json_read_at(deployments, i), "services");

		for (size_t k = 0; k < json_read_count(services); k++) {
			const json_t *s = json_read_at(services, k);

			text_format(name, sizeof(name), "%s/%s", json_read_text(s, "deployment"),
				    json_read_text(s, "name"));
			if (strcmp(name, label) == 0)
				explain_service(w, s, 0);
		}
	}
}

static int
explain_url(struct walk *w, const char *text, struct err *err)
{
	struct routing r;
	struct url u;

	if (read_url(text, &u, err) < 0)
		return -1;
	json_t *status = ask(w, "/v1/status", err);
	json_t *routes = status ? ask(w, "/v1/routes", err) : NULL;
	if (!routes) {
		json_read_free(status);
		return -1;
	}
	if (!u.port)
		u.port = u.tls ? 443 : 80;
	explain_listener(w, status, &u);
	find_route(routes, &u, &r);
	if (!r.route && !w->failed) {
		no_route(w, status, &u, &r);
	} else if (!w->failed) {
		begin(w, "ok", "route", "%s endpoint \"%s\" path %s",
		      json_read_text(r.route, "service"), json_read_text(r.route, "endpoint"),
		      json_read_text(r.route, "path"));
		end(w);
	}
	if (u.tls && !w->failed)
		explain_certificate(w, u.host);
	if (!w->failed)
		explain_backend(w, status, json_read_text(r.route, "service"));
	json_read_free(routes);
	json_read_free(status);
	return 0;
}

int
cmd_explain(struct cli *cli)
{
	const char *text = cli->args.operands[0];
	struct walk w = {.cli = cli, .machine = cli_machine(cli)};
	struct err err = {0};

	if (dl_load_yaml(&err) < 0)
		return cli_fail(cli, &err);
	buf_init(&w.out, MEM_CLI, CLI_TEXT_MAX);
	if (w.machine) {
		json_init(&w.json, &w.out);
		json_object(&w.json, NULL);
		json_array(&w.json, "items");
	}
	int rc = strstr(text, "://") ? explain_url(&w, text, &err) : explain_target(&w, text, &err);
	int status = rc < 0 ? cli_fail(cli, &err) : w.failed;
	if (w.machine) {
		json_end(&w.json);
		json_bool(&w.json, "good", !w.failed);
		json_end(&w.json);
	}
	if (rc == 0 && w.machine)
		cli_out_json(cli, buf_cstr(&w.out), w.out.length);
	else if (rc == 0)
		cli_out_buf(&w.out);
	buf_fini(&w.out);
	return status;
}
