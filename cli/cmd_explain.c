/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `explain`: walks the way of a request (listener, route, certificate, replica) or of a replica
 * (dependency, image, volume, network, start, check) and stops at the first thing that is not as it
 * must be, with why and what to do. All of it is what the API says anyway; nothing is tried out.
 */
#include "cli/cmd.h"

#include <string.h>
#include "base/text.h"
#include "cli/client.h"
#include "cli/explain.h"
#include "cli/target.h"
#include "spec/yaml.h"

static int
explain_target(struct explain *w, const char *text, struct err *err)
{
	char path[200];
	struct target t;

	if (target_resolve(w->cli, text, &t, err) < 0) {
		if (err->kind != ERR_NOT_FOUND)
			return -1;
		if (explain_node(w, text)) {
			err_clear(err);
			return 0;
		}
		if (text_is_label(text))
			text_format(err->what, sizeof(err->what),
				    "there is no deployment, service or node \"%s\"", text);
		return -1;
	}
	text_format(path, sizeof(path), "/v1/deployments/%s", t.deployment);
	json_t *d = explain_ask(w, path, err);
	if (!d)
		return -1;
	const json_t *reason = json_read_get(d, "reason");
	const json_t *services = json_read_array(d, "services");
	const char *state = json_read_text(d, "state");
	if (json_read_text(reason, "what")[0]) {
		/* What was rolled back is not there any more; what serves may be well. */
		explain_begin(w, strcmp(state, "failed") == 0 ? "FAIL" : "warn", "deploy", "%s",
			      json_read_text(reason, "what"));
		explain_reason(w, reason);
		explain_end(w);
	} else {
		explain_begin(w, "ok", "deploy", "%s revision %lld is %s", t.deployment,
			      (long long)json_read_int(d, "revision"), state);
		explain_end(w);
	}
	for (size_t i = 0; i < json_read_count(services); i++) {
		const json_t *s = json_read_at(services, i);

		if (!t.service[0] || strcmp(t.service, json_read_text(s, "name")) == 0)
			explain_service(w, s, t.index);
	}
	json_read_free(d);
	return 0;
}

int
cmd_explain(struct cli *cli)
{
	const char *text = cli->args.operands[0];
	struct explain w = {.cli = cli, .machine = cli_machine(cli)};
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
