/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why each node does not take (more of) a service. The scheduler asks the node that conducts it, so
 * the answer is the same whichever node is asked; when that one cannot be reached it is this node's
 * own view, and says so.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "api/nodes.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/target.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"

enum { ANSWER_MAX = 4 << 20, ROWS_BYTES_MAX = 1 << 20 };

static void
put_node(struct json *j, const struct msg_why *w)
{
	bool known = w->flags & MSG_WHY_KNOWN;

	json_object(j, NULL);
	json_text(j, "node", w->node);
	json_u64(j, "id", w->id);
	json_bool(j, "fits", w->flags & MSG_WHY_FITS);
	json_bool(j, "has", w->flags & MSG_WHY_HAS);
	if (known) {
		json_u64(j, "cpu_free_milli", w->cpu_free_milli);
		json_u64(j, "memory_free_bytes", w->memory_free_bytes);
	} else {
		json_null(j, "cpu_free_milli");
		json_null(j, "memory_free_bytes");
	}
	json_text(j, "why", w->text[0] ? w->text : NULL);
	json_end(j);
}

/* Rows that were sealed by the scheduler; false: they do not hold. */
static bool
read_rows(int fd, uint32_t count, struct buf *out)
{
	struct err err = {0};

	if (!fd_is_sealed(fd) || lseek(fd, 0, SEEK_SET) < 0 || fd_read_all(fd, out, &err) < 0 ||
	    out->length != count * sizeof(struct msg_why))
		return false;
	const struct msg_why *rows = (const void *)out->data;
	for (uint32_t i = 0; i < count; i++)
		if (!MSG_OK(rows[i].node) || !MSG_OK(rows[i].text))
			return false;
	return true;
}

static void
answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_why_answer *a = body;
	const struct msg_member *by;
	struct buf rows, b;
	struct json j;

	buf_init(&rows, MEM_API, ROWS_BYTES_MAX);
	bool good = bytes == sizeof(*a) && count == 1 && read_rows(fds[0], a->count, &rows);
	if (call_answer_begin(call, "scheduler", good, ANSWER_MAX, &b, &j)) {
		by = nodes_get(call->server, a->by);
		if (by)
			VIEW_TEXT(&j, "by", by->name);
		else
			json_null(&j, "by");
		nodes_put_name(&j, "passed_over", call->server, a->passed_over);
		view_reason(&j, "doubt", &a->doubt);
		json_array(&j, "items");
		for (uint32_t i = 0; i < a->count; i++)
			put_node(&j, (const struct msg_why *)(const void *)rows.data + i);
		json_end(&j);
		json_end(&j);
		call_json(call, 200, NULL, &b);
	}
	buf_fini(&rows);
}

void
why_service(struct call *call)
{
	const struct msg_service *s = rows_service(call->server, call->param[0], call->param[1]);

	if (!s) {
		target_no_service(call, call->param[0], call->param[1]);
		return;
	}
	const struct msg_why_op op = {.service = s->id};
	call_ask(call, ROLE_SCHEDULER, MSG_OP_WHY, &op, sizeof(op), NULL, 0, CALL_ASK_MS, answered);
}
