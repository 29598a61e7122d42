/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How clients of tcp and udp reach the replicas of a service by the node that is asked: those that
 * are served alike, for the same reason, are one step.
 */
#include "cli/explain.h"

#include <string.h>
#include "base/text.h"

static bool
is_alike(const json_t *a, const json_t *b)
{
	const char *x = json_read_text(json_read_get(a, "reason"), "what");
	const char *y = json_read_text(json_read_get(b, "reason"), "what");

	return strcmp(json_read_text(a, "by"), json_read_text(b, "by")) == 0 && strcmp(x, y) == 0;
}

static bool
is_wanted(const json_t *replica, uint32_t index)
{
	return !index || json_read_int(replica, "index") == index;
}

/* Whether one before it is in the same step. */
static bool
is_said(const json_t *list, size_t at, uint32_t index)
{
	for (size_t i = 0; i < at; i++) {
		const json_t *r = json_read_at(list, i);

		if (is_wanted(r, index) && is_alike(r, json_read_at(list, at)))
			return true;
	}
	return false;
}

/* "web.1, web.3 on edge-2"; how many. */
static size_t
name_alike(const json_t *list, size_t first, uint32_t index, char *out, size_t cap)
{
	size_t count = 0, used = 0;

	out[0] = 0;
	for (size_t i = first; i < json_read_count(list); i++) {
		const json_t *r = json_read_at(list, i);
		const char *name = json_read_text(r, "name"), *node = json_read_text(r, "node");
		const char *short_name = strchr(name, '/');

		if (!is_wanted(r, index) || !is_alike(r, json_read_at(list, first)))
			continue;
		text_format(out + used, cap - used, "%s%s%s%s", count ? ", " : "",
			    short_name ? short_name + 1 : name, node[0] ? " on " : "", node);
		used += strlen(out + used);
		count++;
	}
	return count;
}

static void
explain_step(struct explain *w, const json_t *e, size_t first, uint32_t index)
{
	const json_t *list = json_read_array(e, "replicas"), *r = json_read_at(list, first);
	const json_t *reason = json_read_get(r, "reason");
	bool kernel = strcmp(json_read_text(r, "by"), "kernel") == 0;
	const char *sees = json_read_text(r, "sees");
	char names[EXPLAIN_LIST_BYTES];

	if (kernel || !json_read_text(reason, "what")[0])
		reason = json_read_get(e, "reason");
	bool many = name_alike(list, first, index, names, sizeof(names)) > 1;
	const char *what = json_read_text(reason, "what");
	explain_begin(w, "ok", "clients", "%s (%s %lld): %s%s%s %s %s%s%s%s",
		      json_read_text(e, "endpoint"), json_read_text(e, "protocol"),
		      (long long)json_read_int(e, "port"),
		      kernel ? "by the kernel, XDP " : "by the relay",
		      kernel ? json_read_text(e, "xdp") : "", ":", names,
		      strcmp(sees, "client") == 0   ? many ? "see them" : "sees them"
		      : strcmp(sees, "header") == 0 ? many ? "are told of them" : "is told of them"
		      : many                        ? "see this node"
						    : "sees this node",
		      what[0] ? " (" : "", what, what[0] ? ")" : "");
	explain_reason(w, reason);
	explain_end(w);
}

void
explain_clients(struct explain *w, const json_t *s, uint32_t index)
{
	struct err ignored = {0};
	char path[300];

	text_format(path, sizeof(path), "/v1/services/%s/%s/clients",
		    json_read_text(s, "deployment"), json_read_text(s, "name"));
	json_t *root = explain_ask(w, path, &ignored);
	const json_t *items = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(items); i++) {
		const json_t *e = json_read_at(items, i);
		const json_t *list = json_read_array(e, "replicas");

		for (size_t k = 0; k < json_read_count(list); k++)
			if (is_wanted(json_read_at(list, k), index) && !is_said(list, k, index))
				explain_step(w, e, k, index);
	}
	json_read_free(root);
}
