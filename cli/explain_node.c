/* SPDX-License-Identifier: Apache-2.0 */
/* A node: whether it is there, has what is wanted, and has room. */
#include "cli/explain.h"

#include <string.h>
#include "base/text.h"

static void
explain_membership(struct explain *w, const json_t *n)
{
	const char *state = json_read_text(n, "state"), *name = json_read_text(n, "name");
	const char *accuser = json_read_text(n, "accuser");
	char since[64], why[EXPLAIN_LIST_BYTES], fix[EXPLAIN_LIST_BYTES];

	text_format(since, sizeof(since), "%.19sZ", json_read_text(n, "since"));
	if (strcmp(state, "alive") == 0) {
		/* A node that is alone has no since. */
		explain_begin(w, "ok", "node", "%s is alive%s%s", name,
			      since[0] == 'Z' ? "" : " since ", since[0] == 'Z' ? "" : since);
		explain_end(w);
		return;
	}
	explain_begin(w, strcmp(state, "unreachable") == 0 ? "FAIL" : "warn", "node",
		      "%s is %s since %s", name, state, since);
	text_format(why, sizeof(why), "%s got no answer from it", accuser);
	explain_say(w, "why", accuser[0] ? why : "");
	text_format(fix, sizeof(fix),
		    "start it again, or when it is gone for good: zlayer node rm %s", name);
	explain_say(w, "fix", strcmp(state, "unreachable") == 0 ? fix : "");
	explain_end(w);
}

/* Its part of the store's etcd, if it has one. store: as the node that is asked has it. */
static void
explain_etcd(struct explain *w, const json_t *n, const json_t *store)
{
	const json_t *etcd = json_read_get(n, "etcd");
	const char *state = json_read_text(etcd, "state");
	bool votes = strcmp(state, "votes") == 0, up = json_read_bool(etcd, "up");
	uint64_t bytes = (uint64_t)json_read_int(store, "member_bytes");
	char size[32], quota[32], more[EXPLAIN_LIST_BYTES];

	if (!state[0] || strcmp(state, "none") == 0)
		return;
	explain_begin(w, up || !votes ? "ok" : "warn", "etcd", "%s",
		      !votes ? "it is about to keep the store, or not to"
		      : !up  ? "its part of the store does not answer"
		      : json_read_bool(etcd, "leads")
			      ? "it keeps the store, and leads those that do"
			      : "it keeps the store");
	explain_say(w, "why", json_read_text(etcd, "reason"));
	if (json_read_bool(n, "self") && bytes) {
		text_human_bytes(bytes, size, sizeof(size));
		text_human_bytes((uint64_t)json_read_int(store, "member_quota_bytes"), quota,
				 sizeof(quota));
		text_format(more, sizeof(more), "%s of %s, %lld changes behind", size, quota,
			    (long long)json_read_int(store, "member_behind"));
		explain_say(w, "size", more);
	}
	explain_end(w);
}

/* It lives, and cannot write the store. */
static void
explain_refused(struct explain *w, const json_t *n)
{
	const char *name = json_read_text(n, "name");
	char fix[EXPLAIN_LIST_BYTES];

	explain_begin(w, "warn", "store", "the store takes no changes of it since %.19sZ",
		      json_read_text(n, "refused_since"));
	explain_say(w, "why", "it lives by gossip; what it would conduct, other nodes conduct");
	text_format(fix, sizeof(fix), "zlayer status, on %s, says why", name);
	explain_say(w, "fix", fix);
	explain_end(w);
}

static void
explain_store(struct explain *w, const json_t *n)
{
	struct err err = {0};
	json_t *cluster = explain_ask(w, "/v1/cluster", &err);
	const json_t *store = json_read_get(cluster, "store");
	const char *outside = json_read_text(store, "outside");
	const json_t *trouble = json_read_get(cluster, "trouble");
	long long has = (long long)json_read_int(n, "store_sequence");
	long long here = (long long)json_read_int(store, "sequence");

	if (json_read_text(n, "refused_since")[0])
		explain_refused(w, n);
	if (cluster && !json_read_bool(store, "writable")) {
		explain_begin(w, "warn", "store", "changes are refused: %s",
			      json_read_text(json_read_get(store, "why"), "what"));
		explain_reason(w, json_read_get(store, "why"));
		explain_end(w);
	} else if (cluster && has && has < here) {
		explain_begin(w, "warn", "store", "it has %lld of %lld changes so far", has, here);
		explain_end(w);
	} else if (outside[0]) {
		explain_begin(w, "ok", "store", "in the etcd at %s", outside);
		explain_end(w);
	}
	if (json_read_bool(n, "self") && json_read_text(trouble, "what")[0]) {
		explain_begin(w, "warn", "cluster", "%s", json_read_text(trouble, "what"));
		explain_reason(w, trouble);
		explain_end(w);
	}
	explain_etcd(w, n, store);
	json_read_free(cluster);
}

/* It lives, but what is sealed does not pass. */
static void
explain_unreached(struct explain *w, const json_t *n)
{
	const char *name = json_read_text(n, "name"), *via = json_read_text(n, "via");
	bool here = json_read_bool(n, "dials_out") && !via[0];
	long long number = (long long)json_read_int(n, "sealed_port");
	char why[EXPLAIN_LIST_BYTES], fix[EXPLAIN_LIST_BYTES],
		port[64] = "the UDP port of listen.overlay";

	if (number)
		text_format(port, sizeof(port), "UDP port %lld (listen.overlay)", number);
	explain_begin(w, "warn", "network", "no sealed packet has come from it since %.19sZ",
		      json_read_text(n, "unreached_since"));
	text_format(why, sizeof(why), "it answers by gossip, so %s does not pass%s%s", port,
		    via[0] ? ", by way of " : "", via);
	explain_say(w, "why", why);
	if (here)
		text_format(fix, sizeof(fix),
			    "let %s of this node be reached from %s, and answers go back: "
			    "firewalls, rules of the provider",
			    port, name);
	else
		text_format(fix, sizeof(fix),
			    "let %s pass to and from %s: firewalls, rules of the provider", port,
			    via[0] ? via : name);
	explain_say(w, "fix", fix);
	explain_end(w);
}

/* Whether containers of this node reach its containers: a peer without a way is not reached. */
static void
explain_way(struct explain *w, const json_t *n)
{
	const char *name = json_read_text(n, "name");
	struct err ignored = {0};
	char fix[EXPLAIN_LIST_BYTES];

	if (json_read_bool(n, "self"))
		return;
	if (json_read_text(n, "unreached_since")[0]) {
		explain_unreached(w, n);
		return;
	}
	json_t *status = explain_ask(w, "/v1/status", &ignored);
	const json_t *peers = json_read_array(json_read_get(status, "overlay"), "peers");
	for (size_t i = 0; i < json_read_count(peers); i++) {
		const json_t *p = json_read_at(peers, i);

		if (strcmp(json_read_text(p, "name"), name) != 0 ||
		    json_read_kind(json_read_get(p, "way")) != JSON_READ_NULL)
			continue;
		explain_begin(w, "warn", "network", "its containers are not reached from here");
		text_format(fix, sizeof(fix), "zlayer status, here and on %s, says why", name);
		explain_say(w, "fix", fix);
		explain_end(w);
		break;
	}
	json_read_free(status);
}

/* Why it takes nothing, or not everything. */
static void
explain_room(struct explain *w, const json_t *n)
{
	json_t *taints = json_read_get(n, "taints");
	const char *name = json_read_text(n, "name");
	long long replicas = (long long)json_read_int(n, "replicas");
	char fix[EXPLAIN_LIST_BYTES], memory[32];

	if (json_read_bool(n, "draining")) {
		explain_begin(w, "warn", "drain", "it takes nothing new; %lld replica%s to move",
			      replicas, replicas == 1 ? "" : "s");
		text_format(fix, sizeof(fix), "zlayer node undrain %s", name);
		explain_say(w, "fix", fix);
		explain_end(w);
	}
	for (void *it = json_read_first(taints); it; it = json_read_next(taints, it)) {
		const char *value = json_read_string(json_read_value(it));

		explain_begin(w, "warn", "taint", "only what tolerates %s%s%s is placed here",
			      json_read_key(it), value[0] ? "=" : "", value);
		explain_end(w);
	}
	text_human_bytes((uint64_t)json_read_int(n, "memory_free_bytes"), memory, sizeof(memory));
	if (json_read_kind(json_read_get(n, "cpu_free_milli")) == JSON_READ_NULL)
		explain_begin(w, "ok", "replicas", "%lld; it has not said yet what is free",
			      replicas);
	else
		explain_begin(w, "ok", "replicas", "%lld; free: %.1f cores, %s", replicas,
			      (double)json_read_int(n, "cpu_free_milli") / 1000, memory);
	explain_end(w);
}

bool
explain_node(struct explain *w, const char *name)
{
	struct err ignored = {0};
	char path[128];

	text_format(path, sizeof(path), "/v1/nodes/%s", name);
	json_t *n = text_is_label(name) ? explain_ask(w, path, &ignored) : NULL;
	if (!n)
		return false;
	explain_membership(w, n);
	explain_store(w, n);
	if (!w->failed)
		explain_way(w, n);
	if (!w->failed)
		explain_room(w, n);
	json_read_free(n);
	return true;
}
