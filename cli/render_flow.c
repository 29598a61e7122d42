/* SPDX-License-Identifier: Apache-2.0 */
/* A flow in one line: when, where, verdict, from whom to whom, and why. */
#include "cli/render.h"

#include <string.h>
#include "base/text.h"
#include "cli/grid.h"

/* "shop/web.1 10.200.3.5:8080", "edge-1 10.200.3.1", "192.0.2.7:443" */
static void
put_end(const json_t *end, struct buf *out)
{
	const char *service = json_read_text(end, "service");
	const char *node = json_read_text(end, "node");
	const char *address = json_read_text(end, "address");
	int64_t index = json_read_int(end, "index"), port = json_read_int(end, "port");
	bool v6 = strchr(address, ':') != NULL;

	if (service[0]) {
		render_put_safe(out, json_read_text(end, "deployment"));
		buf_putc(out, '/');
		render_put_safe(out, service);
		if (index)
			buf_printf(out, ".%lld", (long long)index);
		buf_putc(out, ' ');
	} else if (node[0]) {
		render_put_safe(out, node);
		buf_putc(out, ' ');
	}
	buf_puts(out, v6 && port ? "[" : "");
	render_put_safe(out, address);
	buf_puts(out, v6 && port ? "]" : "");
	if (port)
		buf_printf(out, ":%lld", (long long)port);
}

static void
put_why(const json_t *flow, struct buf *out)
{
	const char *reason = json_read_text(flow, "reason");
	const char *text = json_read_text(flow, "text"), *rule = json_read_text(flow, "rule");

	if (reason[0]) {
		buf_puts(out, "  ");
		render_put_safe(out, reason);
	}
	if (text[0]) {
		buf_puts(out, ": ");
		render_put_safe(out, text);
	}
	if (rule[0]) {
		buf_puts(out, " (");
		render_put_safe(out, rule);
		buf_putc(out, ')');
	}
}

void
render_flow(const json_t *flow, const struct render *r, struct buf *out)
{
	const char *verdict = json_read_text(flow, "verdict");
	bool dropped = strcmp(verdict, "dropped") == 0;
	char shown[32];

	text_printable(verdict, strlen(verdict), shown, sizeof(shown));
	render_put_safe(out, json_read_text(flow, "ts"));
	buf_puts(out, "  ");
	if (json_read_text(flow, "node")[0]) {
		render_put_safe(out, json_read_text(flow, "node"));
		buf_puts(out, "  ");
	}
	grid_text(out, r->colour, dropped ? GRID_RED : GRID_GREEN, shown);
	buf_puts(out, "  ");
	put_end(json_read_get(flow, "source"), out);
	buf_puts(out, " -> ");
	put_end(json_read_get(flow, "destination"), out);
	if (json_read_text(flow, "protocol")[0]) {
		buf_puts(out, "  ");
		render_put_safe(out, json_read_text(flow, "protocol"));
	}
	if (!dropped && json_read_text(flow, "way")[0]) {
		buf_puts(out, "  ");
		render_put_safe(out, json_read_text(flow, "way"));
	}
	put_why(flow, out);
	buf_putc(out, '\n');
}
