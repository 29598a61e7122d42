/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container engine says to the plugin: five lines for the variables (command, container,
 * namespace, interface, arguments; "~" for one that is not set), then standard input. What is taken
 * of it fits where the node gets it, and every answer can be written.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "cli/cni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VARIABLES = 5, LINE_BYTES = 8192 };

static const char *
take_line(struct cursor *c, char out[LINE_BYTES])
{
	const char *at = (const char *)c->at;
	const char *end = memchr(at, '\n', cursor_left(c));
	size_t length = end ? (size_t)(end - at) : cursor_left(c);

	text_ncopy(out, LINE_BYTES, at, length);
	(void)cursor_take(c, length + (end != NULL));
	return strcmp(out, "~") == 0 ? NULL : out;
}

static void
check(const struct cni_request *r)
{
	struct msg_attach a = r->attach;
	struct err err = {0};

	if (r->verb == CNI_VERSION)
		return;
	if (r->verb == CNI_GC || r->verb == CNI_STATUS) {
		text_copy(a.key.container, sizeof(a.key.container), "a");
		text_copy(a.key.interface, sizeof(a.key.interface), "a");
	}
	if (!a.netns[0])
		text_copy(a.netns, sizeof(a.netns), "/");
	if (msg_attach_check(&a, &err) < 0 || (r->verb == CNI_GC && !r->valid) ||
	    (r->verb == CNI_CHECK && !r->previous) || (r->verb == CNI_ADD && r->previous))
		abort();
}

/* The input is an answer of the node, too. */
static void
answer(const struct cni_request *r, struct buf *out)
{
	struct err err = {0};

	(void)cni_is_valid(r, "c", "eth0");
	(void)!cni_compare(r, r->root, &err);
	cni_put_result(r, r->root, "/fabric", out);
	cni_put_versions(r, out);
	if (!buf_ok(out))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char lines[VARIABLES][LINE_BYTES];
	static bool loaded;
	struct cni_environment env;
	struct cni_request r;
	struct err err = {0};
	struct cursor c;
	struct buf out;
	unsigned code = 0;

	if (!loaded && json_read_open(&err) < 0)
		return 0;
	loaded = true;
	cursor_init(&c, data, size);
	env.command = take_line(&c, lines[0]);
	env.container = take_line(&c, lines[1]);
	env.netns = take_line(&c, lines[2]);
	env.interface = take_line(&c, lines[3]);
	env.args = take_line(&c, lines[4]);
	buf_init(&out, MEM_CLI, 64 << 20);
	if (cni_parse(&env, (const char *)c.at, cursor_left(&c), &r, &code, &err) == 0) {
		check(&r);
		answer(&r, &out);
	} else if (!err.kind || !code) {
		abort();
	} else {
		cni_put_error(r.version, code, &err, &out);
	}
	cni_fini(&r);
	buf_fini(&out);
	return 0;
}
