/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Validates one example of the documentation: standard input is a document ("doc"), lines that
 * stand below a service ("service") or a node.yaml ("node"); argument 2 is the name to show.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "spec/config.h"
#include "spec/yaml.h"

static const char head[] = "version: v1\ndeployment: shop\nservices:\n  web:\n";
static const char image[] = "    image: {name: nginx}\n";

/* The lines two levels in; an image where the example has none. */
static void
wrap(const char *lines, struct buf *out)
{
	buf_puts(out, head);
	if (strncmp(lines, "image:", 6) != 0 && strstr(lines, "\nimage:") == NULL)
		buf_puts(out, image);
	while (*lines != '\0') {
		size_t length = strcspn(lines, "\n");

		buf_puts(out, "    ");
		buf_put(out, lines, length);
		buf_putc(out, '\n');
		lines += length + (lines[length] == '\n');
	}
	/* Services that examples of `depends` name. */
	buf_puts(out, "  db:\n");
	buf_puts(out, image);
	buf_puts(out, "  cache:\n");
	buf_puts(out, image);
}

static int
check_document(struct buf *text, const char *name, struct diag_list *diags)
{
	struct doc *doc;
	int rc = doc_parse(buf_cstr(text), text->length, name, &doc, diags);

	doc_free(doc);
	return rc;
}

static int
check(const char *kind, const char *name, struct buf *text, struct diag_list *diags)
{
	static struct config config;
	struct buf wrapped;
	int rc;

	if (strcmp(kind, "node") == 0) {
		config_defaults(&config);
		return config_parse(buf_cstr(text), text->length, name, &config, diags);
	}
	if (strcmp(kind, "doc") == 0)
		return check_document(text, name, diags);
	buf_init(&wrapped, MEM_SPEC, 1 << 20);
	wrap(buf_cstr(text), &wrapped);
	rc = check_document(&wrapped, name, diags);
	buf_fini(&wrapped);
	return rc;
}

int
main(int argc, char **argv)
{
	struct diag_list diags;
	struct err err = {0};
	struct buf text, out;
	int rc;

	buf_init(&text, MEM_SPEC, 1 << 20);
	if (argc != 3 || dl_load_yaml(&err) != 0 || fd_read_all(STDIN_FILENO, &text, &err) != 0) {
		fprintf(stderr, "docs_example: %s\n", err.what);
		return 2;
	}
	diag_list_init(&diags);
	rc = check(argv[1], argv[2], &text, &diags);
	if (rc != 0) {
		buf_init(&out, MEM_SPEC, 1 << 20);
		diag_render(&diags, &out);
		fputs(buf_cstr(&out), stdout);
		buf_fini(&out);
	}
	diag_list_fini(&diags);
	buf_fini(&text);
	return rc == 0 ? 0 : 1;
}
