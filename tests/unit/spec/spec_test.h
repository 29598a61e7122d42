/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SPEC_SPEC_TEST_H
#define TESTS_UNIT_SPEC_SPEC_TEST_H

/* What the tests of spec/ share: cmocka with its includes, and documents from texts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "spec/doc.h"

#define SPEC_TEST_HEAD "version: v1\ndeployment: shop\n"
#define SPEC_TEST_WEB SPEC_TEST_HEAD "services:\n  web:\n    image: {name: nginx}\n"

static inline struct doc *
spec_test_parse(const char *text)
{
	struct diag_list diags;
	struct doc *doc;
	struct buf out;

	diag_list_init(&diags);
	if (doc_parse(text, strlen(text), "test.yaml", &doc, &diags) != 0) {
		buf_init(&out, MEM_SPEC, 1 << 20);
		diag_render(&diags, &out);
		printf("%s", buf_cstr(&out));
		buf_fini(&out);
		diag_list_fini(&diags);
		fail();
	}
	diag_list_fini(&diags);
	return doc;
}

#endif
