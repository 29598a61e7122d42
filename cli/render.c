/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Screens. Self first, unknown is "-", warnings last with what to do. Every text that comes from
 * the node is made safe for a terminal: names of images and reasons may hold what a registry or a
 * program wrote.
 */
#include "cli/render.h"

#include <pwd.h>
#include <string.h>
#include "base/text.h"
#include "cli/grid.h"
#include "cli/job.h"

void
render_put_safe(struct buf *out, const char *text)
{
	char safe[4096];

	text_printable(text, strlen(text), safe, sizeof(safe));
	buf_puts(out, safe);
}

static enum grid_colour
state_colour(const char *state)
{
	static const char *const good[] = {"ready", "stable", "up", "done", NULL};
	static const char *const bad[] = {"failed",  "unhealthy", "degraded",
					  "backoff", "isolated",  NULL};
	static const char *const still[] = {"stopped", "idle", NULL};

	for (size_t i = 0; good[i]; i++) {
		if (strcmp(state, good[i]) == 0)
			return GRID_GREEN;
	}
	for (size_t i = 0; bad[i]; i++) {
		if (strcmp(state, bad[i]) == 0)
			return GRID_RED;
	}
	return strcmp(state, still[0]) == 0 ? GRID_DIM : GRID_YELLOW;
}

void
render_age(const json_t *object, const char *key, const struct render *r, char *out, size_t cap)
{
	int64_t at;

	out[0] = 0;
	if (!text_untime(json_read_text(object, key), &at))
		return;
	int64_t ms = (r->now_wall_ns - at) / 1000000;
	text_human_duration(ms > 0 ? (uint64_t)ms : 0, out, cap);
}

/* "   XDP native eth0 eth1 (shared)": where the kernel balances; eth1 has programs of others too.
 */
static void
put_xdp(const json_t *datapath, struct buf *out)
{
	const char *mode = datapath ? json_read_text(datapath, "xdp") : NULL;
	const json_t *attached = datapath ? json_read_array(datapath, "attached") : NULL;

	if (!mode || !json_read_count(attached))
		return;
	buf_puts(out, "   XDP ");
	render_put_safe(out, mode);
	for (size_t i = 0; i < json_read_count(attached); i++) {
		const json_t *one = json_read_at(attached, i);
		const char *own = json_read_text(one, "xdp");

		buf_putc(out, ' ');
		render_put_safe(out, json_read_text(one, "interface"));
		if (own && strcmp(own, mode) != 0) {
			buf_puts(out, " (");
			render_put_safe(out, own);
			buf_putc(out, ')');
		}
		if (json_read_bool(one, "shared"))
			buf_puts(out, " (shared)");
	}
}

static void
put_header(const json_t *status, const struct render *r, struct buf *out)
{
	const json_t *node = json_read_get(status, "node");
	const json_t *datapath = json_read_get(status, "datapath");
	size_t warnings = json_read_count(json_read_array(status, "warnings"));
	char up[32];

	render_age(node, "started", r, up, sizeof(up));
	render_put_safe(out, json_read_text(node, "name"));
	buf_printf(out, "   up %s   zlayer ", up[0] ? up : "-");
	render_put_safe(out, json_read_text(node, "version"));
	buf_puts(out, "   data path ");
	render_put_safe(out, datapath ? json_read_text(datapath, "mode") : "-");
	put_xdp(datapath, out);
	render_counts(status, out);
	if (warnings)
		buf_printf(out, "   %zu warning%s", warnings, warnings == 1 ? "" : "s");
	buf_putc(out, '\n');
}

/* "; next in 3h", "; disabled": of a cron. */
static void
cron_text(const json_t *cron, const struct render *r, char *out, size_t cap)
{
	const char *state = json_read_text(cron, "state");
	char left[32];
	int64_t at;

	out[0] = 0;
	if (json_read_kind(cron) != JSON_READ_OBJECT)
		return;
	if (strcmp(state, "waiting") != 0) {
		text_format(out, cap, "; %s", state);
		return;
	}
	if (!text_untime(json_read_text(cron, "next"), &at))
		return;
	int64_t ms = (at - r->now_wall_ns) / 1000000;
	text_human_duration(ms > 0 ? (uint64_t)ms : 0, left, sizeof(left));
	text_format(out, cap, "; next in %s", left);
}

/* "run 4 failed (3), 5m ago", "run 4 ok, 5m ago", "run 4 ended on edge-2", "run 4 is running",
 * "never run". */
static void
put_job(struct grid *g, const json_t *s, const struct render *r)
{
	const json_t *runs = json_read_get(s, "runs");
	const json_t *last = json_read_get(runs, "last");
	const json_t *container = json_read_get(last, "container");
	long long kept = (long long)json_read_int(runs, "kept");
	long long index = (long long)json_read_int(last, "index");
	char when[32], next[64];

	grid_put(g, GRID_PLAIN, "%lld run%s", kept, kept == 1 ? "" : "s");
	cron_text(json_read_get(s, "cron"), r, next, sizeof(next));
	render_age(container, "exited", r, when, sizeof(when));
	if (json_read_kind(last) != JSON_READ_OBJECT)
		grid_put(g, GRID_PLAIN, "never run%s", next);
	else if (!job_is_over(last))
		grid_put(g, GRID_YELLOW, "run %lld is %s%s", index, job_state(last), next);
	else if (!job_status_is_known(last))
		grid_put(g, GRID_PLAIN, "run %lld ended on %s%s", index,
			 json_read_text(last, "node"), next);
	else if (job_status(last) == 0)
		grid_put(g, GRID_GREEN, "run %lld ok%s%s%s%s", index, when[0] ? ", " : "", when,
			 when[0] ? " ago" : "", next);
	else
		grid_put(g, GRID_RED, "run %lld failed (%d)%s%s%s%s", index, job_status(last),
			 when[0] ? ", " : "", when, when[0] ? " ago" : "", next);
}

/* "fixed", "adaptive 1-5 at_max" */
static void
put_scale(struct grid *g, const json_t *scale, bool job)
{
	const char *mode = json_read_text(scale, "mode");

	if (job)
		grid_put(g, GRID_PLAIN, "-");
	else if (strcmp(mode, "adaptive") != 0)
		grid_put(g, GRID_PLAIN, "%s", mode);
	else
		grid_put(g, GRID_PLAIN, "%s %lld-%lld %s", mode,
			 (long long)json_read_int(scale, "min"),
			 (long long)json_read_int(scale, "max"), json_read_text(scale, "decision"));
}

static void
put_service_row(struct grid *g, const json_t *d, const json_t *s, bool first,
		const struct render *r)
{
	int64_t ready = json_read_int(s, "ready"), desired = json_read_int(s, "desired");
	const char *state = json_read_text(s, "state");
	bool few = ready < desired && strcmp(state, "stopped") != 0;

	if (first) {
		int64_t revision = json_read_int(d, "revision");

		grid_put(g, GRID_PLAIN, "%s", json_read_text(d, "name"));
		if (revision)
			grid_put(g, GRID_PLAIN, "%lld", (long long)revision);
		else
			grid_put(g, GRID_PLAIN, "-");
	} else {
		grid_blank(g);
		grid_blank(g);
	}
	grid_put(g, GRID_PLAIN, "%s", json_read_text(s, "name"));
	bool job = job_has_runs(s);
	if (job) {
		put_job(g, s, r);
	} else {
		grid_put(g, few ? GRID_YELLOW : GRID_PLAIN, "%lld/%lld%s", (long long)ready,
			 (long long)desired, few ? " !" : "");
		grid_put(g, state_colour(state), "%s", state);
	}
	if (r->wide) {
		put_scale(g, json_read_get(s, "scale"), job);
		grid_put(g, GRID_PLAIN, "%s", json_read_text(s, "image"));
	}
	grid_put(g, GRID_PLAIN, "%s", json_read_text(s, "url"));
}

static void
put_deployment(struct grid *g, const json_t *d, const char *service, const struct render *r)
{
	const json_t *services = json_read_array(d, "services");
	bool first = true;

	for (size_t i = 0; i < json_read_count(services); i++) {
		const json_t *s = json_read_at(services, i);

		if (service[0] && strcmp(json_read_text(s, "name"), service) != 0)
			continue;
		put_service_row(g, d, s, first, r);
		first = false;
	}
	if (first && !service[0]) {
		grid_put(g, GRID_PLAIN, "%s", json_read_text(d, "name"));
		grid_put(g, GRID_PLAIN, "-");
		grid_put(g, GRID_PLAIN, "-");
		grid_put(g, GRID_PLAIN, "-");
		grid_put(g, state_colour(json_read_text(d, "state")), "%s",
			 json_read_text(d, "state"));
		for (int k = r->wide ? 3 : 1; k > 0; k--)
			grid_blank(g);
	}
}

static void
put_warnings(const json_t *status, const char *deployment, const struct render *r, struct buf *out)
{
	const json_t *warnings = json_read_array(status, "warnings");

	for (size_t i = 0; i < json_read_count(warnings); i++) {
		const json_t *w = json_read_at(warnings, i);
		const json_t *why = json_read_array(w, "why");
		const char *of = json_read_text(w, "deployment");

		if (deployment[0] && of[0] && strcmp(of, deployment) != 0)
			continue;
		grid_text(out, r->colour, GRID_RED, "!");
		buf_putc(out, ' ');
		render_put_safe(out, json_read_text(w, "text"));
		buf_putc(out, '\n');
		for (size_t k = 0; k < json_read_count(why); k++) {
			const json_t *line = json_read_at(why, k);

			buf_puts(out, "    why  ");
			render_put_safe(out, json_read_string(line));
			buf_putc(out, '\n');
		}
		if (json_read_text(w, "fix")[0]) {
			buf_puts(out, "    fix  ");
			render_put_safe(out, json_read_text(w, "fix"));
			buf_putc(out, '\n');
		}
	}
}

void
render_status(const json_t *status, const char *deployment, const char *service,
	      const struct render *r, struct buf *out)
{
	const json_t *deployments = json_read_array(status, "deployments");
	struct grid g;

	put_header(status, r, out);
	if (!deployment[0])
		render_status_cluster(status, r, out);
	if (!deployments) {
		buf_puts(out, "\nWhat is deployed is not known now.\n");
	} else if (json_read_count(deployments) == 0) {
		buf_puts(out, "\nNothing is deployed.   zlayer deploy FILE\n");
	} else {
		buf_putc(out, '\n');
		grid_init(&g, r->wide ? "DEPLOYMENT|REV|SERVICE|REPLICAS|STATE|SCALE|IMAGE|URL"
				      : "DEPLOYMENT|REV|SERVICE|REPLICAS|STATE|URL");
		for (size_t i = 0; i < json_read_count(deployments); i++) {
			const json_t *d = json_read_at(deployments, i);

			if (!deployment[0] || strcmp(json_read_text(d, "name"), deployment) == 0)
				put_deployment(&g, d, service, r);
		}
		grid_print(&g, r->colour, out);
		grid_fini(&g);
	}
	put_warnings(status, deployment, r, out);
}

static bool
has_ended(const char *state)
{
	return strcmp(state, "stopped") == 0 || strcmp(state, "failed") == 0;
}

/* What does not hold, with the reason: "ImageReady=false: cannot find the image". */
static void
condition_text(const json_t *replica, char *out, size_t cap)
{
	const json_t *conditions = json_read_array(replica, "conditions");

	out[0] = 0;
	for (size_t i = 0; i < json_read_count(conditions); i++) {
		const json_t *c = json_read_at(conditions, i);

		if (json_read_bool(c, "status"))
			continue;
		text_format(out, cap, "%s=false%s%s", json_read_text(c, "type"),
			    json_read_text(c, "message")[0] ? ": " : "",
			    json_read_text(c, "message"));
		return;
	}
	/* What is worth knowing though nothing fails. */
	const char *what = json_read_text(json_read_get(replica, "reason"), "what");
	text_format(out, cap, "all hold%s%s", what[0] ? ": " : "", what);
}

static void
put_replica_row(struct grid *g, const json_t *replica, const struct render *r)
{
	const json_t *container = json_read_get(replica, "container");
	const char *state = json_read_text(replica, "state");
	char since[32], memory[32] = "", conditions[256];

	/* A run has no checks to wait for. */
	if (json_read_bool(replica, "job") && !job_is_over(replica))
		state = job_state(replica);

	render_age(replica, "since", r, since, sizeof(since));
	if (json_read_int(replica, "memory_bytes"))
		text_human_bytes((uint64_t)json_read_int(replica, "memory_bytes"), memory,
				 sizeof(memory));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(replica, "name"));
	grid_put(g, state_colour(state), "%s", state);
	grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(replica, "revision"));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(replica, "node"));
	grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(replica, "restarts"));
	grid_put(g, GRID_PLAIN, "%s", memory);
	grid_put(g, GRID_PLAIN, "%s", since);
	if (r->wide) {
		grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(container, "pid"));
		grid_put(g, GRID_PLAIN, "%s", json_read_text(container, "address"));
		condition_text(replica, conditions, sizeof(conditions));
		grid_put(g, GRID_PLAIN, "%s", conditions);
	}
}

void
render_replicas(const json_t *replicas, const struct render *r, struct buf *out)
{
	struct grid g;

	grid_init(&g,
		  r->wide ? "REPLICA|STATE|REV|NODE|RESTARTS|MEMORY|SINCE|PID|ADDRESS|CONDITIONS"
			  : "REPLICA|STATE|REV|NODE|RESTARTS|MEMORY|SINCE");
	for (size_t i = 0; i < json_read_count(replicas); i++) {
		const json_t *replica = json_read_at(replicas, i);

		if (r->all || !has_ended(json_read_text(replica, "state")))
			put_replica_row(&g, replica, r);
	}
	grid_print(&g, r->colour, out);
	grid_fini(&g);
}

/* "web nginx:1.27@9be0c1d2e3f4, db ..." */
static void
images_text(const json_t *revision, char *out, size_t cap)
{
	const json_t *images = json_read_array(revision, "images");
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < json_read_count(images) && used < cap; i++) {
		const json_t *image = json_read_at(images, i);
		const char *digest = strchr(json_read_text(image, "digest"), ':');

		text_format(out + used, cap - used, "%s%s %s%s%.12s", i ? ", " : "",
			    json_read_text(image, "service"), json_read_text(image, "image"),
			    digest ? "@" : "", digest ? digest + 1 : "");
		used += strlen(out + used);
	}
}

static void
put_revision(struct grid *g, const json_t *revision, const struct render *r)
{
	const char *result = json_read_text(revision, "result");
	long long copy = (long long)json_read_int(revision, "copy_of");
	char when[32], images[1024];

	render_age(revision, "created", r, when, sizeof(when));
	images_text(revision, images, sizeof(images));
	grid_put(g, GRID_PLAIN, "%lld%s", (long long)json_read_int(revision, "revision"),
		 json_read_bool(revision, "serving") ? " *" : "");
	grid_put(g, strcmp(result, "ok") == 0 ? GRID_GREEN : GRID_RED, "%s", result);
	if (copy)
		grid_put(g, GRID_PLAIN, "rollback to %lld", copy);
	else
		grid_put(g, GRID_PLAIN, "deploy");
	grid_put(g, GRID_PLAIN, "%s", r->wide ? json_read_text(revision, "created") : when);
	const struct passwd *who = getpwuid((uid_t)json_read_int(revision, "who_uid"));
	if (who)
		grid_put(g, GRID_PLAIN, "%s", who->pw_name);
	else
		grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(revision, "who_uid"));
	grid_put(g, GRID_PLAIN, "%s", images);
}

void
render_revisions(const json_t *revisions, const struct render *r, struct buf *out)
{
	struct grid g;

	grid_init(&g, "REV|RESULT|BY|AGE|WHO|IMAGES");
	for (size_t i = json_read_count(revisions); i-- > 0;)
		put_revision(&g, json_read_at(revisions, i), r);
	grid_print(&g, r->colour, out);
	grid_fini(&g);
}

void
render_images(const json_t *images, const struct render *r, struct buf *out)
{
	struct grid g;

	grid_init(&g, "NAME|DIGEST|SIZE|LAYERS|IN USE|AGE");
	for (size_t i = 0; i < json_read_count(images); i++) {
		const json_t *image = json_read_at(images, i);
		const char *digest = json_read_text(image, "digest");
		char size[32], since[32];

		text_human_bytes((uint64_t)json_read_int(image, "bytes"), size, sizeof(size));
		render_age(image, "imported", r, since, sizeof(since));
		grid_put(&g, GRID_PLAIN, "%s", json_read_text(image, "name"));
		grid_put(&g, GRID_PLAIN, r->wide ? "%s" : "%.19s", digest);
		grid_put(&g, GRID_PLAIN, "%s", size);
		grid_put(&g, GRID_PLAIN, "%lld", (long long)json_read_int(image, "layers"));
		grid_put(&g, GRID_PLAIN, "%lld", (long long)json_read_int(image, "in_use"));
		grid_put(&g, GRID_PLAIN, "%s", since);
	}
	grid_print(&g, r->colour, out);
	grid_fini(&g);
}

void
render_event(const json_t *event, const struct render *r, struct buf *out)
{
	const char *severity = json_read_text(event, "severity");
	const char *deployment = json_read_text(event, "deployment");
	const char *service = json_read_text(event, "service");
	int64_t index = json_read_int(event, "index");
	const json_t *reason = json_read_get(event, "reason");

	char type[256];

	text_printable(json_read_text(event, "type"), strlen(json_read_text(event, "type")), type,
		       sizeof(type));
	render_put_safe(out, json_read_text(event, "ts"));
	buf_puts(out, "  ");
	if (json_read_text(event, "node")[0]) {
		render_put_safe(out, json_read_text(event, "node"));
		buf_puts(out, "  ");
	}
	grid_text(out, r->colour,
		  strcmp(severity, "error") == 0  ? GRID_RED
		  : strcmp(severity, "warn") == 0 ? GRID_YELLOW
						  : GRID_PLAIN,
		  type);
	if (deployment[0]) {
		buf_puts(out, "  ");
		render_put_safe(out, deployment);
	}
	if (service[0]) {
		buf_putc(out, '/');
		render_put_safe(out, service);
	}
	if (index)
		buf_printf(out, ".%lld", (long long)index);
	if (json_read_text(event, "text")[0]) {
		buf_puts(out, "  ");
		render_put_safe(out, json_read_text(event, "text"));
	}
	/* Who it is about was said: why is the news. */
	const char *why = json_read_string(json_read_at(json_read_array(reason, "why"), 0));
	if (!why[0])
		why = json_read_text(reason, "what");
	if (why[0] && !text_ends(json_read_text(event, "text"), why)) {
		buf_puts(out, ": ");
		render_put_safe(out, why);
	}
	buf_putc(out, '\n');
}
