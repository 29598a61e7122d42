/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random valid documents, written in the styles people use (block, flow, quoted, reordered): the
 * dump parses to the same dump, in YAML and in JSON, and the order of services and variables makes
 * no difference.
 */
#include <stdarg.h>
#include <string.h>
#include "spec/doc.h"
#include "spec/yaml.h"
#include "tests/support/prop.h"

enum { RUNS = 400, SERVICES_MAX = 6 };

static struct prop prop;

static unsigned
below(unsigned bound)
{
	return (unsigned)prop_below(&prop, bound);
}

static bool
coin(void)
{
	return below(2) == 0;
}

/* A quoted text with anything that YAML may hold. */
static void
put_quoted(struct buf *out)
{
	static const char *const pieces[] = {
		"a",    "B",     " ",    "0",     ":",       "#",       "'", "\\\"", "\\\\", "\\n",
		"\\t",  "\\x07", "{",    "}",     "é",       "漢",      "😀", "- ",   "? ",   "yes",
		"null", "$",     "$$E:", "$E:X9", "\\u2028", "\\ufeff", "%", "@"};

	buf_putc(out, '"');
	for (unsigned i = below(12); i > 0; i--)
		buf_puts(out, pieces[below(sizeof(pieces) / sizeof(pieces[0]))]);
	buf_putc(out, '"');
}

static void
put_env(struct buf *out)
{
	if (coin())
		return;
	buf_puts(out, "    env:\n");
	for (unsigned i = 1 + below(5), base = below(90); i > 0; i--) {
		buf_printf(out, "      V%u: ", base + i);
		put_quoted(out);
		buf_putc(out, '\n');
	}
}

/* True: a client may come from outside, so that the service may sleep. */
static bool
put_endpoints(struct buf *out, unsigned service)
{
	static const char *const protocols[] = {"http", "https", "websocket", "tcp", "udp"};
	unsigned count = below(4);
	bool public = false;

	if (count == 0)
		return false;
	buf_puts(out, "    endpoints:\n");
	for (unsigned i = 0; i < count; i++) {
		unsigned protocol = below(5);

		buf_printf(out, "      - name: e%u\n        protocol: %s\n        port: %u\n", i,
			   protocols[protocol], 1000 + service * 100 + i);
		if (coin())
			buf_printf(out, "        target_port: %u\n", 1 + below(65535));
		if (coin()) {
			buf_puts(out, "        expose: public\n");
			public = true;
		}
		if (protocol > 2)
			continue;
		buf_printf(out, "        host: h%u-%u.Test\n", service, i);
		if (coin())
			buf_printf(out, "        limits: {body: %uKi, allow: [10.%u.0.0/16]}\n",
				   1 + below(5000), below(256));
		if (coin())
			buf_puts(out, "        balance: {hash: cookie, name: id}\n");
	}
	return public;
}

static void
put_sections(struct buf *out, bool public)
{
	static const char *const sections[] = {
		"    labels: {b: \"2\", a: one}\n",
		"    user: 1000:1000\n",
		"    stop_signal: INT\n    stop_grace_period: 1m 5s\n",
		"    storage: [{type: tmpfs, target: /tmp, mode: 0755}]\n",
		"    volumes:\n      - type: named\n        name: data\n        target: /data\n",
		"    cap_drop: [ALL]\n    cap_add: [net_bind_service, CAP_CHOWN]\n",
		"    update: {order: start-first, drain: 90000ms}\n",
		"    node_selector: {labels: {disk: ssd}}\n",
		"    health: {check: {type: command, command: [a, \"b c\"]}}\n",
		"    init: {steps: [{id: a, uses: init.run, with: {command: \"x: y\"}}]}\n",
		"    read_only_root_fs: true\n    privileged: false\n",
		"    logs: {max_size: 2Mi}\n",
	};

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		/* storage and volumes are one key. */
		if (below(3) == 0 && i != 4)
			buf_puts(out, sections[i]);
	}
	buf_printf(out, "    resources: {cpu: %u.%03u, memory: %uMi, pids: %u}\n", below(9),
		   1 + below(999), 1 + below(4096), 1 + below(1000));
	if (coin())
		buf_printf(out, "    scale: {mode: fixed, replicas: %u}\n", below(9));
	else
		buf_printf(out,
			   "    scale: {mode: adaptive, min: %u, max: %u, targets: {cpu: %u}}\n",
			   public ? below(4) : 1 + below(3), 4 + below(9), 1 + below(100));
}

static void
put_service(struct buf *out, unsigned service)
{
	buf_printf(out, "  s%u:\n    image:\n      name: r.test:%u/a/b:%u\n", service,
		   1 + below(65535), below(100));
	put_env(out);
	bool public = put_endpoints(out, service);
	put_sections(out, public);
	if (service > 0 && coin())
		buf_printf(out, "    depends: [{service: s%u, timeout: %us}]\n", below(service),
			   1 + below(1000));
}

/* The services in the order given, from their own seeds. */
static void
put_document(struct buf *out, const uint64_t *seeds, unsigned count, bool backwards)
{
	buf_reset(out);
	buf_puts(out, "# made\nversion: v1\ndeployment: d\nservices:\n");
	for (unsigned i = 0; i < count; i++) {
		unsigned service = backwards ? count - 1 - i : i;

		prop.state = seeds[service];
		put_service(out, service);
	}
}

static struct doc *
parse(struct buf *text)
{
	struct diag_list diags;
	struct doc *doc;
	struct buf out;

	diag_list_init(&diags);
	if (doc_parse(buf_cstr(text), text->length, "made.yaml", &doc, &diags) != 0) {
		buf_init(&out, MEM_SPEC, 1 << 20);
		diag_render(&diags, &out);
		fprintf(stderr, "%s\n%s", buf_cstr(text), buf_cstr(&out));
		exit(1);
	}
	diag_list_fini(&diags);
	return doc;
}

static void
same(struct buf *a, struct buf *b, const char *what)
{
	if (buf_ok(a) && strcmp(buf_cstr(a), buf_cstr(b)) == 0)
		return;
	fprintf(stderr, "%s\n--- one\n%s--- other\n%s", what, buf_cstr(a), buf_cstr(b));
	exit(1);
}

static void
redump(struct buf *text, void (*dump)(const struct doc *, struct buf *), struct buf *out)
{
	struct doc *doc = parse(text);

	buf_reset(out);
	dump(doc, out);
	doc_free(doc);
}

static void
run(struct buf b[5])
{
	uint64_t seeds[SERVICES_MAX], next;
	unsigned count = 1 + below(SERVICES_MAX);

	for (unsigned i = 0; i < SERVICES_MAX; i++)
		seeds[i] = prop_u64(&prop);
	next = prop_u64(&prop);
	put_document(&b[0], seeds, count, false);
	redump(&b[0], doc_dump_yaml, &b[1]);
	redump(&b[1], doc_dump_yaml, &b[2]);
	same(&b[1], &b[2], "the dump of a dump");
	redump(&b[0], doc_dump_json, &b[3]);
	redump(&b[3], doc_dump_yaml, &b[2]);
	same(&b[1], &b[2], "the dump of a JSON dump");
	put_document(&b[4], seeds, count, true);
	redump(&b[4], doc_dump_yaml, &b[2]);
	same(&b[1], &b[2], "the services in another order");
	prop.state = next;
}

int
main(int argc, char **argv)
{
	struct err err = {0};
	struct buf b[5];

	prop_init(&prop, argc, argv);
	if (dl_load_yaml(&err) != 0)
		return 1;
	for (size_t i = 0; i < 5; i++)
		buf_init(&b[i], MEM_SPEC, 4 << 20);
	for (unsigned i = 0; i < RUNS; i++)
		run(b);
	for (size_t i = 0; i < 5; i++)
		buf_fini(&b[i]);
	return 0;
}
