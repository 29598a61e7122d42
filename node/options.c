/* SPDX-License-Identifier: Apache-2.0 */
/* Words of `zlayer serve`. An instance with a name of its own must say where its data is, so that
 * two nodes never meet in /var/lib/zlayer by accident. */
#include "node/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "base/text.h"
#include "spec/yaml.h"

#define CONFIG_PATH "/etc/zlayer/node.yaml"

void
options_usage(void)
{
	fputs("Usage: zlayer serve [--instance NAME] [--data-dir D] [--config F]\n"
	      "\n"
	      "Runs the node in the foreground.\n"
	      "  --instance NAME  name of this node's instance on the machine (default)\n"
	      "  --data-dir D     where state, images and volumes are (/var/lib/zlayer)\n"
	      "  --config F       configuration (" CONFIG_PATH ")\n",
	      stdout);
}

static int
take(char *out, size_t cap, const char *what, struct err *err)
{
	if (optarg[0] && text_copy(out, cap, optarg))
		return 0;
	return err_set(err, ERR_USAGE, "--%s: the value is empty or too long", what);
}

int
options_parse(int argc, char **argv, struct options *o, struct err *err)
{
	static const struct option known[] = {
		{"instance", required_argument, NULL, 'i'},
		{"data-dir", required_argument, NULL, 'd'},
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int rc = 0, c;

	*o = (struct options){.instance = "default", .config_path = CONFIG_PATH};
	optind = 1;
	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 'i':
			rc = take(o->instance, sizeof(o->instance), "instance", err);
			break;
		case 'd':
			rc = take(o->data_path, sizeof(o->data_path), "data-dir", err);
			break;
		case 'c':
			rc = take(o->config_path, sizeof(o->config_path), "config", err);
			o->config_given = true;
			break;
		case 'h':
			o->help = true;
			break;
		default:
			(void)err_set(err, ERR_USAGE, "serve: unknown word or missing value: %s",
				      argv[optind - 1]);
			rc = err_fix(err, "zlayer serve --help");
		}
	}
	if (rc == 0 && optind < argc)
		return err_set(err, ERR_USAGE, "serve: unexpected word: %s", argv[optind]);
	return rc;
}

static void
take_environment(struct config *c)
{
	for (uint32_t i = 0; i < c->node.env_count; i++) {
		const char *value = getenv(c->node.env[i].text);
		struct config_value *v = &c->node.env_values[i];

		v->given = value && text_copy(v->text, sizeof(v->text), value);
	}
}

/* People read the errors of a start; those of a reload belong into the log, an event each. */
static void
tell(struct diag_list *diags, bool at_work)
{
	struct buf text;

	if (at_work) {
		diag_sort(diags);
		for (size_t i = 0; i < diags->count; i++) {
			const struct diag *d = &diags->items[i];

			log_event(LOG_ERROR, "an error of the configuration",
				  log_s("file", d->file), log_u("line", d->pos.line),
				  log_u("column", d->pos.col), log_s("path", d->path),
				  log_s("text", d->text), log_s("fix", d->fix), LOG_END);
		}
		return;
	}
	buf_init(&text, MEM_NODE, 1 << 20);
	diag_render(diags, &text);
	fputs(buf_cstr(&text), stderr);
	buf_fini(&text);
}

int
options_config(const struct options *o, bool at_work, struct config *out, struct err *err)
{
	struct diag_list diags;

	if (dl_load_yaml(err) < 0)
		return -1;
	diag_list_init(&diags);
	config_defaults(out);
	int rc = config_load(o->config_path, !o->config_given, out, &diags, err);
	if (rc < 0 && diag_count(&diags)) {
		tell(&diags, at_work);
		if (at_work) {
			(void)diag_err(&diags, err);
		} else {
			(void)err_set(err, ERR_INVALID, "the node was not started");
			(void)err_why(err, "its configuration is wrong, see above");
		}
	}
	diag_list_fini(&diags);
	if (rc == 0)
		take_environment(out);
	return rc;
}

int
options_data(const struct options *o, const struct config *config, char *out, size_t cap,
	     struct err *err)
{
	char folder[INSTANCE_PATH];

	if (!o->data_path[0] && !text_equal(o->instance, "default")) {
		(void)err_set(err, ERR_USAGE, "instance %s needs a data folder of its own",
			      o->instance);
		return err_fix(err, "add --data-dir D");
	}
	const char *path = o->data_path[0] ? o->data_path : config->runtime.state;
	if (path[0] == '/')
		return text_copy(out, cap, path)
			       ? 0
			       : err_set(err, ERR_USAGE, "the data folder's path is too long");
	if (!getcwd(folder, sizeof(folder)))
		return err_sys(err, errno, "cannot find the folder %s", path);
	if (!text_format(out, cap, "%s/%s", folder, path))
		return err_set(err, ERR_USAGE, "the data folder's path is too long");
	return 0;
}
