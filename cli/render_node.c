/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and their cluster as screens: tables, one node in full, and what the store's state means
 * for whoever wants to change something. */
#include "cli/render.h"

#include <string.h>
#include "base/text.h"
#include "cli/grid.h"

enum { STATUS_NODES_MAX = 10 }; /* of more, the status shows only those that are not well */

static bool
is_unreached(const json_t *node)
{
	return json_read_text(node, "unreached_since")[0] != '\0';
}

/* "clock 365 days ahead"; "" where it is right. */
static void
clock_text(const json_t *node, char *out, size_t cap)
{
	int64_t ahead_ms = json_read_int(node, "clock_ahead_ms");
	uint64_t far_s = ((uint64_t)(ahead_ms < 0 ? -ahead_ms : ahead_ms) + 500) / 1000;
	char far[32];

	out[0] = '\0';
	if (ahead_ms == 0)
		return;
	if (far_s >= 2 * 86400)
		text_format(far, sizeof(far), "%llu days", (unsigned long long)(far_s / 86400));
	else
		text_format(far, sizeof(far), "%llu s", (unsigned long long)far_s);
	text_format(out, cap, "clock %s %s", far, ahead_ms > 0 ? "ahead" : "behind");
}

static enum grid_colour
colour_of(const json_t *node)
{
	const char *state = json_read_text(node, "state");

	if (strcmp(state, "unreachable") == 0)
		return GRID_RED;
	if (strcmp(state, "alive") != 0)
		return strcmp(state, "left") == 0 ? GRID_DIM : GRID_YELLOW;
	return json_read_bool(node, "draining") || is_unreached(node) ||
			       json_read_int(node, "clock_ahead_ms") != 0 ||
			       json_read_text(node, "twin")[0]
		       ? GRID_YELLOW
		       : GRID_GREEN;
}

/* How it is reached, where that is worth a word; "" where all is as usual. */
static void
reach_text(const json_t *node, char *out, size_t cap)
{
	const char *via = json_read_text(node, "via");
	bool dials = json_read_bool(node, "dials_out");

	text_format(out, cap, "%s%s%s%s%s", dials ? "dials out" : "",
		    via[0] ? dials ? ", by way of " : "by way of " : "", via,
		    is_unreached(node) && (dials || via[0]) ? ", " : "",
		    is_unreached(node) ? "no sealed packet comes" : "");
}

static bool
any_reach(const json_t *nodes)
{
	char text[256];

	for (size_t i = 0; i < json_read_count(nodes); i++) {
		reach_text(json_read_at(nodes, i), text, sizeof(text));
		if (text[0])
			return true;
	}
	return false;
}

/* "0.5/2.5": used of all that replicas may use; "" when it is not known. */
static void
cpu_text(const json_t *node, char *out, size_t cap)
{
	int64_t all = json_read_int(node, "cpu_milli");
	int64_t unused = json_read_int(node, "cpu_free_milli");

	out[0] = 0;
	if (all > 0 && unused >= 0 && unused <= all)
		text_format(out, cap, "%.1f/%.1f", (double)(all - unused) / 1000,
			    (double)all / 1000);
}

static void
memory_text(const json_t *node, char *out, size_t cap)
{
	char used[32], all[32];
	int64_t bytes = json_read_int(node, "memory_bytes");
	int64_t unused = json_read_int(node, "memory_free_bytes");

	out[0] = 0;
	if (bytes <= 0 || unused < 0 || unused > bytes)
		return;
	text_human_bytes((uint64_t)(bytes - unused), used, sizeof(used));
	text_human_bytes((uint64_t)bytes, all, sizeof(all));
	text_format(out, cap, "%s/%s", used, all);
}

/* "gpu=true,disk=ssd". */
static void
pairs_text(json_t *pairs, char *out, size_t cap)
{
	size_t used = 0;

	out[0] = 0;
	for (void *it = json_read_first(pairs); it && used < cap; it = json_read_next(pairs, it)) {
		const char *value = json_read_string(json_read_value(it));

		text_format(out + used, cap - used, "%s%s%s%s", used ? "," : "", json_read_key(it),
			    value[0] ? "=" : "", value);
		used += strlen(out + used);
	}
}

static void
put_node_row(struct grid *g, const json_t *node, bool reach, const struct render *r)
{
	const char *state = json_read_text(node, "state");
	bool drains = json_read_bool(node, "draining");
	bool gone = strcmp(state, "unreachable") == 0 || strcmp(state, "left") == 0;
	char cpu[64], memory[96], since[32], pairs[256], how[256], clock[64];

	cpu_text(node, cpu, sizeof(cpu));
	memory_text(node, memory, sizeof(memory));
	render_age(node, "since", r, since, sizeof(since));
	grid_put(g, GRID_PLAIN, "%s%s", json_read_text(node, "name"),
		 json_read_bool(node, "self") ? "*" : "");
	clock_text(node, clock, sizeof(clock));
	grid_put(g, colour_of(node), "%s%s%s%s%s", state, drains ? ", draining" : "",
		 json_read_text(node, "twin")[0] ? ", twice" : "", clock[0] ? ", " : "", clock);
	grid_put(g, GRID_PLAIN, "%s", json_read_text(node, "zone"));
	grid_put(g, GRID_PLAIN, "%s", gone ? "" : cpu);
	grid_put(g, GRID_PLAIN, "%s", gone ? "" : memory);
	if (gone)
		grid_put(g, GRID_PLAIN, "%s", "");
	else
		grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(node, "replicas"));
	grid_put(g, GRID_PLAIN, "%s", since);
	reach_text(node, how, sizeof(how));
	if (reach)
		grid_put(g, is_unreached(node) ? GRID_YELLOW : GRID_PLAIN, "%s", how);
	if (!r->wide)
		return;
	grid_put(g, GRID_PLAIN, "%s", json_read_text(node, "address"));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(node, "version"));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(node, "platform"));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(node, "backend"));
	pairs_text(json_read_get(node, "labels"), pairs, sizeof(pairs));
	grid_put(g, GRID_PLAIN, "%s", pairs);
	pairs_text(json_read_get(node, "taints"), pairs, sizeof(pairs));
	grid_put(g, GRID_PLAIN, "%s", pairs);
}

static void
put_nodes(const json_t *nodes, bool unwell, const struct render *r, struct buf *out)
{
	bool reach = any_reach(nodes);
	struct grid g;
	char columns[160];

	text_format(columns, sizeof(columns), "NODE|STATE|ZONE|CPU|MEMORY|REPLICAS|SINCE%s%s",
		    reach ? "|REACHED" : "",
		    r->wide ? "|ADDRESS|VERSION|PLATFORM|SEALED BY|LABELS|TAINTS" : "");
	grid_init(&g, columns);
	for (size_t i = 0; i < json_read_count(nodes); i++) {
		const json_t *node = json_read_at(nodes, i);

		if (!unwell || colour_of(node) != GRID_GREEN || json_read_bool(node, "self"))
			put_node_row(&g, node, reach, r);
	}
	grid_print(&g, r->colour, out);
	grid_fini(&g);
}

void
render_nodes(const json_t *nodes, const struct render *r, struct buf *out)
{
	put_nodes(nodes, false, r, out);
}

/* ---- one node ---- */

static void
put_line(struct buf *out, const char *label, const char *text)
{
	if (!text[0])
		return;
	buf_printf(out, "  %-9s ", label);
	render_put_safe(out, text);
	buf_putc(out, '\n');
}

static void
put_pairs(struct buf *out, const char *label, json_t *pairs)
{
	char text[2048];

	for (void *it = json_read_first(pairs); it; it = json_read_next(pairs, it)) {
		const char *value = json_read_string(json_read_value(it));

		text_format(text, sizeof(text), "%s%s%s", json_read_key(it), value[0] ? "=" : "",
			    value);
		put_line(out, label, text);
		label = "";
	}
}

static void
put_state(struct buf *out, const json_t *node, const struct render *r)
{
	const char *accuser = json_read_text(node, "accuser");
	char since[32], text[512];

	render_age(node, "since", r, since, sizeof(since));
	text_format(text, sizeof(text), "%s%s%s%s%s%s", json_read_text(node, "state"),
		    since[0] ? " for " : "", since, accuser[0] ? ", as " : "", accuser,
		    accuser[0] ? " said first" : "");
	put_line(out, "state", text);
	if (json_read_bool(node, "draining"))
		put_line(out, "drain", "takes nothing new, and what it runs moves away");
}

/* "votes for 3m, leads"; why it does not, where it is to. */
static void
put_etcd(struct buf *out, const json_t *etcd, const struct render *r)
{
	const char *state = json_read_text(etcd, "state");
	const char *version = json_read_text(etcd, "version");
	char since[32], text[512];

	if (state[0] && strcmp(state, "none") != 0) {
		render_age(etcd, "since", r, since, sizeof(since));
		text_format(text, sizeof(text), "%s%s%s%s", state, since[0] ? " for " : "", since,
			    json_read_bool(etcd, "leads") ? ", leads"
			    : json_read_bool(etcd, "up")  ? ""
							  : ", down");
	} else if (version[0]) {
		text_format(text, sizeof(text), "%s %s", version,
			    json_read_bool(etcd, "able") ? "could keep the store" : "is not used");
	} else {
		text[0] = '\0';
	}
	put_line(out, "etcd", text);
	put_line(out, "", json_read_text(etcd, "reason"));
}

void
render_node(const json_t *node, const struct render *r, struct buf *out)
{
	char text[512], memory[96];

	render_put_safe(out, json_read_text(node, "name"));
	buf_printf(out, "   node %lld%s\n", (long long)json_read_int(node, "id"),
		   json_read_bool(node, "self") ? ", this one" : "");
	put_state(out, node, r);
	text_format(text, sizeof(text), "%s%s%s",
		    json_read_bool(node, "writer") ? "takes changes" : "",
		    json_read_bool(node, "writer") && json_read_bool(node, "keeper") ? ", " : "",
		    json_read_bool(node, "keeper") ? "admits others" : "");
	put_line(out, "does", text);
	put_etcd(out, json_read_get(node, "etcd"), r);
	put_line(out, "zone", json_read_text(node, "zone"));
	put_line(out, "address", json_read_text(node, "address"));
	reach_text(node, text, sizeof(text));
	put_line(out, "reached", text);
	if (is_unreached(node)) {
		render_age(node, "unreached_since", r, memory, sizeof(memory));
		text_format(text, sizeof(text),
			    "it answers, but its UDP port of sealed traffic has not for %s: zlayer "
			    "explain %s",
			    memory, json_read_text(node, "name"));
		put_line(out, "", text);
	}
	put_line(out, "also at", json_read_text(node, "twin"));
	if (json_read_text(node, "twin")[0])
		put_line(out, "",
			 "a copy of its state folder runs there; there: zlayer leave --force");
	clock_text(node, text, sizeof(text));
	put_line(out, "clock", text[0] ? text + sizeof("clock ") - 1 : "");
	put_line(out, "sealed by", json_read_text(node, "backend"));
	text_format(text, sizeof(text), "%s%s%s", json_read_text(node, "version"),
		    json_read_text(node, "platform")[0] ? "   " : "",
		    json_read_text(node, "platform"));
	put_line(out, "zlayer", text);
	cpu_text(node, text, sizeof(text));
	put_line(out, "cpu", text);
	memory_text(node, memory, sizeof(memory));
	put_line(out, "memory", memory);
	text_format(text, sizeof(text), "%lld", (long long)json_read_int(node, "replicas"));
	put_line(out, "replicas", text);
	put_pairs(out, "labels", json_read_get(node, "labels"));
	put_pairs(out, "taints", json_read_get(node, "taints"));
	text_format(text, sizeof(text), "%.19s%s", json_read_text(node, "admitted"),
		    json_read_text(node, "admitted")[0] ? "Z" : "");
	put_line(out, "admitted", text);
}

/* ---- the cluster ---- */

/* "3 nodes: 2 alive, 1 unreachable". */
static void
counts_text(const json_t *cluster, char *out, size_t cap)
{
	static const char *const states[] = {"alive", "suspect", "unreachable", "new", "left"};
	const json_t *nodes = json_read_get(cluster, "nodes");
	long long total = (long long)json_read_int(nodes, "total");
	const char *between = ": ";
	size_t used;

	text_format(out, cap, "%lld node%s", total, total == 1 ? "" : "s");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		long long n = (long long)json_read_int(nodes, states[i]);

		if (n == 0)
			continue;
		used = strlen(out);
		text_format(out + used, cap - used, "%s%lld %s", between, n, states[i]);
		between = ", ";
	}
}

/* "etcd on edge-1 (leads), edge-2, edge-3 (down): changes need 2 of 3". */
static void
etcd_text(const json_t *store, char *out, size_t cap)
{
	const json_t *members = json_read_array(store, "members");
	const char *outside = json_read_text(store, "outside");
	long long voters = (long long)json_read_int(store, "voters");
	size_t used;

	if (outside[0]) {
		text_format(out, cap, "etcd at %s, as node.yaml says", outside);
		return;
	}
	text_copy(out, cap, "etcd");
	for (size_t i = 0; i < json_read_count(members); i++) {
		const json_t *m = json_read_at(members, i);

		used = strlen(out);
		text_format(out + used, cap - used, "%s%s%s", i ? ", " : " on ",
			    json_read_text(m, "name"),
			    !json_read_bool(m, "votes")  ? " (learns)"
			    : !json_read_bool(m, "up")   ? " (down)"
			    : json_read_bool(m, "leads") ? " (leads)"
							 : "");
	}
	used = strlen(out);
	if (voters)
		text_format(out + used, cap - used, ": changes need %lld of %lld", voters / 2 + 1,
			    voters);
}

/* What the engine means for who wants to change something. */
static void
store_text(const json_t *cluster, char *out, size_t cap)
{
	const json_t *store = json_read_get(cluster, "store");
	const char *engine = json_read_text(store, "engine");
	const char *writer = json_read_text(store, "writer");

	if (strcmp(engine, "alone") == 0)
		text_format(out, cap, "a file of this node");
	else if (strcmp(engine, "etcd") == 0)
		etcd_text(store, out, cap);
	else
		text_format(out, cap,
			    "%s is the only node that takes changes; while it is away the others "
			    "serve and heal, and changes are refused",
			    writer[0] ? writer : "-");
}

static bool
has_unique(const json_t *status)
{
	const json_t *deployments = json_read_array(status, "deployments");

	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const json_t *services = json_read_array(json_read_at(deployments, i), "services");

		for (size_t k = 0; k < json_read_count(services); k++) {
			const json_t *scale = json_read_get(json_read_at(services, k), "scale");

			if (json_read_bool(scale, "unique"))
				return true;
		}
	}
	return false;
}

/* Nothing while this node is in no cluster: there is nothing to tell apart. */
void
render_status_cluster(const json_t *status, const struct render *r, struct buf *out)
{
	const json_t *cluster = json_read_get(status, "cluster");
	const json_t *nodes = json_read_array(status, "nodes");
	char text[512];

	if (json_read_kind(json_read_get(cluster, "self")) != JSON_READ_INTEGER)
		return;
	buf_putc(out, '\n');
	put_nodes(nodes, json_read_count(nodes) > STATUS_NODES_MAX && !r->wide, r, out);
	store_text(cluster, text, sizeof(text));
	buf_puts(out, "store: ");
	render_put_safe(out, text);
	if (json_read_text(json_read_get(cluster, "store"), "writer")[0] && has_unique(status))
		buf_puts(out, ", and what is unique ends on them after 8 s");
	buf_putc(out, '\n');
	text_copy(text, sizeof(text), json_read_text(json_read_get(cluster, "store"), "note"));
	if (text[0]) {
		buf_puts(out, "       ");
		render_put_safe(out, text);
		buf_putc(out, '\n');
	}
}

void
render_counts(const json_t *status, struct buf *out)
{
	const json_t *cluster = json_read_get(status, "cluster");
	char text[256];

	if (json_read_kind(json_read_get(cluster, "self")) != JSON_READ_INTEGER)
		return;
	counts_text(cluster, text, sizeof(text));
	buf_puts(out, "   ");
	buf_puts(out, text);
}

static void
put_reason(struct buf *out, const char *label, const json_t *reason, const struct render *r)
{
	const json_t *why = json_read_array(reason, "why");

	if (!json_read_text(reason, "what")[0])
		return;
	grid_text(out, r->colour, GRID_RED, "!");
	buf_printf(out, " %s: ", label);
	render_put_safe(out, json_read_text(reason, "what"));
	buf_putc(out, '\n');
	for (size_t i = 0; i < json_read_count(why); i++)
		put_line(out, "  why", json_read_string(json_read_at(why, i)));
	put_line(out, "  fix", json_read_text(reason, "fix"));
}

static void
put_member(struct buf *out, const json_t *store)
{
	uint64_t bytes = (uint64_t)json_read_int(store, "member_bytes");
	char size[32], quota[32], text[128];

	if (!bytes)
		return;
	text_human_bytes(bytes, size, sizeof(size));
	text_human_bytes((uint64_t)json_read_int(store, "member_quota_bytes"), quota,
			 sizeof(quota));
	text_format(text, sizeof(text),
		    "this node's part takes %s of %s and is %lld changes behind", size, quota,
		    (long long)json_read_int(store, "member_behind"));
	put_line(out, "", text);
}

void
render_cluster(const json_t *cluster, const struct render *r, struct buf *out)
{
	static const char *const modes[][2] = {
		{"token", "token: with a ticket of zlayer invite"},
		{"open", "open: also with a ticket that has ended or is used up"},
		{"closed", "closed: nobody may join"},
	};
	const char *id = json_read_text(cluster, "id");
	const char *admission = json_read_text(cluster, "admission");
	const json_t *store = json_read_get(cluster, "store");
	char text[512];

	if (json_read_kind(json_read_get(cluster, "self")) != JSON_READ_INTEGER) {
		buf_puts(out, "This node is in no cluster.   zlayer invite begins one, zlayer join "
			      "TICKET makes it a node of another\n");
		return;
	}
	counts_text(cluster, text, sizeof(text));
	buf_printf(out, "cluster %.16s   %s\n", id, text);
	text_format(text, sizeof(text), "%lld, gossip on %s, certificate until %.10s",
		    (long long)json_read_int(cluster, "self"), json_read_text(cluster, "gossip"),
		    json_read_text(cluster, "certificate_not_after"));
	put_line(out, "this node", text);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(admission, modes[i][0]) == 0)
			put_line(out, "admission", modes[i][1]);
	}
	store_text(cluster, text, sizeof(text));
	put_line(out, "store", text);
	put_member(out, store);
	put_line(out, "", json_read_text(store, "note"));
	text_format(text, sizeof(text), "%lld changes so far",
		    (long long)json_read_int(store, "sequence"));
	put_line(out, "", text);
	if (!json_read_bool(store, "writable"))
		put_reason(out, "changes are refused", json_read_get(store, "why"), r);
	put_reason(out, "trouble", json_read_get(cluster, "trouble"), r);
}
