/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a deployment document: refused with a message, or a dump that parses to itself. */
#include <stdlib.h>
#include <string.h>
#include "spec/doc.h"
#include "spec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct doc *
parse(const char *text, size_t bytes)
{
	struct diag_list diags;
	struct doc *doc;
	struct buf out;

	diag_list_init(&diags);
	buf_init(&out, MEM_SPEC, 16 << 20);
	if (doc_parse(text, bytes, "fuzz.yaml", &doc, &diags) != 0) {
		if (diag_count(&diags) == 0)
			abort();
	} else {
		(void)!doc_check_available(doc, &diags);
	}
	diag_render(&diags, &out);
	diag_render_json(&diags, &out);
	buf_fini(&out);
	diag_list_fini(&diags);
	return doc;
}

static void
check_dump(const struct doc *doc, void (*dump)(const struct doc *, struct buf *))
{
	struct buf first, second;
	struct doc *again;

	buf_init(&first, MEM_SPEC, 64 << 20);
	buf_init(&second, MEM_SPEC, 64 << 20);
	dump(doc, &first);
	if (buf_ok(&first) && first.length <= DOC_BYTES_MAX) {
		again = parse(buf_cstr(&first), first.length);
		if (again == NULL)
			abort();
		dump(again, &second);
		if (strcmp(buf_cstr(&first), buf_cstr(&second)) != 0)
			abort();
		doc_free(again);
	}
	buf_fini(&first);
	buf_fini(&second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct doc *doc;

	if (dl_load_yaml(&err) != 0)
		abort();
	doc = parse((const char *)data, size);
	if (doc != NULL) {
		check_dump(doc, doc_dump_yaml);
		check_dump(doc, doc_dump_json);
		doc_free(doc);
	}
	return 0;
}
