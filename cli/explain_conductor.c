/* SPDX-License-Identifier: Apache-2.0 */
/* Who conducts a service, where that is not the node whose turn it is: that one cannot write the
 * store. It is asked for only while there is such a node. */
#include "cli/explain.h"

#include "base/text.h"

static bool
any_is_refused(struct explain *w)
{
	struct err ignored = {0};
	json_t *root = explain_ask(w, "/v1/nodes", &ignored);
	const json_t *items = json_read_array(root, "items");
	bool any = false;

	for (size_t i = 0; i < json_read_count(items) && !any; i++)
		any = json_read_text(json_read_at(items, i), "refused_since")[0];
	json_read_free(root);
	return any;
}

void
explain_conductor(struct explain *w, const char *deployment, const char *name)
{
	char path[300], fix[128];
	struct err ignored = {0};

	if (!any_is_refused(w))
		return;
	text_format(path, sizeof(path), "/v1/services/%s/%s/nodes", deployment, name);
	json_t *root = explain_ask(w, path, &ignored);
	const char *over = json_read_text(root, "passed_over");
	if (over[0]) {
		/* Who could not be asked is not named: another node answers then. */
		bool named = !json_read_text(json_read_get(root, "doubt"), "what")[0];
		explain_begin(w, "warn", "conductor",
			      "%s conducts it: the store takes no changes of %s",
			      named ? json_read_text(root, "by") : "another node", over);
		text_format(fix, sizeof(fix), "zlayer status, on %s, says why", over);
		explain_say(w, "fix", fix);
		explain_end(w);
	}
	json_read_free(root);
}
