/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deployments. A document is parsed here, where a wrong or hostile one can do no harm, and goes to
 * the scheduler in its canonical form as a sealed memfd.
 */
#include <string.h>
#include "api/call.h"
#include "api/pins.h"
#include "api/rows.h"
#include "api/route.h"
#include "api/target.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"
#include "spec/config.h"
#include "spec/doc.h"

enum { ANSWER_MAX = 32 << 20, DUMP_MAX = 4 << 20, APPLY_MS = 30000 };

static void
put_deployment(struct json *j, struct server *s, const void *row)
{
	view_deployment(j, s, row);
}

void
deployments_list(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_DEPLOYMENT, NULL, NULL,
					      rows_by_deployment, put_deployment});
}

void
deployments_get(struct call *call)
{
	const struct msg_deployment *d = rows_deployment(call->server, call->param[0]);
	char etag[64];
	struct buf b;
	struct json j;

	if (!d) {
		target_no_deployment(call, call->param[0]);
		return;
	}
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	view_deployment(&j, call->server, d);
	text_format(etag, sizeof(etag), "etag: \"%u\"\r\n",
		    d->target_revision ? d->target_revision : d->revision);
	call_json(call, 200, etag, &b);
}

/* ---- apply ---- */

static void
applied(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_apply_answer *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler",
			       bytes == sizeof(*a) && a->changes_bytes <= sizeof(a->changes),
			       ANSWER_MAX, &b, &j))
		return;
	json_text(&j, "deployment", call->param[0]);
	json_u64(&j, "operation", a->operation);
	json_u64(&j, "revision", a->revision);
	json_u64(&j, "previous_revision", a->previous_revision);
	json_bool(&j, "unchanged", a->unchanged != 0);
	json_array(&j, "changes");
	for (const char *at = a->changes, *end = at + a->changes_bytes; at < end;) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		size_t length = line ? (size_t)(line - at) : (size_t)(end - at);

		if (length)
			json_textn(&j, NULL, at, length);
		at += length + 1;
	}
	json_end(&j);
	json_end(&j);
	call_json(call, a->operation ? 202 : 200, NULL, &b);
}

/* "12" with or without quotes; false when it was answered. */
static bool
take_if_match(struct call *call, struct msg_apply *op)
{
	const char *text = call->if_match;
	char number[64];
	struct err err = {0};
	uint64_t revision;
	size_t length = strlen(text);

	if (!text[0] || strcmp(text, "*") == 0)
		return true;
	if (length >= 2 && text[0] == '"' && text[length - 1] == '"')
		text_ncopy(number, sizeof(number), text + 1, length - 2);
	else
		text_copy(number, sizeof(number), text);
	if (!text_u64(number, UINT32_MAX, &revision)) {
		err_set(&err, ERR_CONFLICT, "If-Match is not a revision: %s", text);
		call_problem_status(call, &err, 412);
		return false;
	}
	op->has_expect = 1;
	op->expect_revision = (uint32_t)revision;
	return true;
}

static void
refuse_document(struct call *call, struct diag_list *diags)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_API, CALL_BODY_MAX);
	diag_render_json(diags, &b);
	diag_err(diags, &err);
	if (buf_ok(&b))
		call_problem_diags(call, &err, &b);
	else
		call_problem(call, &err);
	buf_fini(&b);
}

/* Where a service does not say how it is updated and logged, the node's configuration does. */
static void
fill_defaults(struct call *call, struct doc *doc)
{
	size_t bytes;
	const struct config *config = station_config(call->server->station, &bytes);
	struct doc_update defaults;

	if (bytes < sizeof(*config))
		return;
	config_update_defaults(config, &defaults);
	doc_set_update_defaults(doc, &defaults);
	doc_set_log_defaults(doc, config->logs.containers.max_size_bytes,
			     config->logs.containers.max_files);
}

/* The document of the body, or NULL: then it was answered. */
static struct doc *
read_document(struct call *call)
{
	static struct diag_list diags; /* large; used within this call only */
	struct doc *doc = NULL;
	struct err err = {0};

	diag_list_init(&diags);
	if (doc_parse(buf_cstr(&call->body), call->body.length, "document", &doc, &diags) < 0 ||
	    doc_check_available(doc, &diags) < 0) {
		if (diag_count(&diags) > 0) {
			refuse_document(call, &diags);
		} else {
			err_set(&err, ERR_NO_MEMORY, "no memory for this document");
			call_problem(call, &err);
		}
		doc_free(doc);
		doc = NULL;
	} else if (strcmp(doc->deployment, call->param[0]) != 0) {
		err_set(&err, ERR_INVALID, "the document is of deployment %s, the path says %s",
			doc->deployment, call->param[0]);
		call_problem(call, &err);
		doc_free(doc);
		doc = NULL;
	}
	diag_list_fini(&diags);
	if (doc)
		fill_defaults(call, doc);
	return doc;
}

static int
seal(const struct doc *doc, struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_API, DUMP_MAX);
	doc_dump_yaml(doc, &b);
	int fd = buf_ok(&b) ? fd_memfd_sealed("document", b.data, b.length) : -1;
	if (fd < 0)
		err_set(err, ERR_NO_MEMORY, "no memory for this document");
	buf_fini(&b);
	return fd;
}

void
deployments_put(struct call *call)
{
	struct msg_apply op = {0};
	struct err err = {0};
	bool dry_run = false, rollback = true;

	if (!call_query_bool(call, "dry_run", &dry_run) ||
	    !call_query_bool(call, "rollback", &rollback) || !take_if_match(call, &op))
		return;
	struct doc *doc = read_document(call);
	if (!doc)
		return;
	int fd = seal(doc, &err);
	if (fd < 0) {
		call_problem(call, &err);
	} else {
		text_copy(op.name, sizeof(op.name), doc->deployment);
		op.dry_run = dry_run;
		op.no_rollback = !rollback;
		op.who_uid = call->conn->user->uid;
		op.who_pid = call->conn->pid;
		pins_resolve(call, doc, &op, fd, applied);
	}
	fd_close(&fd);
	doc_free(doc);
}

/* ---- stop, start, remove ---- */

static void
change(struct call *call, uint16_t op)
{
	struct msg_target_op t = {0};

	if (!target_from_body(call, &t))
		return;
	target_ask(call, op, &t);
}

void
deployments_stop(struct call *call)
{
	change(call, MSG_OP_STOP);
}

void
deployments_start(struct call *call)
{
	change(call, MSG_OP_START);
}

void
deployments_restart(struct call *call)
{
	change(call, MSG_OP_RESTART);
}

/* The whole deployment, without a body. */
static void
change_all(struct call *call, uint16_t op)
{
	struct msg_target_op t = {0};

	if (text_copy(t.deployment, sizeof(t.deployment), call->param[0]))
		target_ask(call, op, &t);
	else
		target_no_deployment(call, call->param[0]);
}

void
deployments_pause(struct call *call)
{
	change_all(call, MSG_OP_PAUSE);
}

void
deployments_resume(struct call *call)
{
	change_all(call, MSG_OP_RESUME);
}

void
deployments_abort(struct call *call)
{
	change_all(call, MSG_OP_ABORT);
}

void
deployments_rollback(struct call *call)
{
	struct msg_rollback q = {.who_uid = call->conn->user->uid};
	bool dry_run = false;
	uint64_t to = 0;

	if (!call_query_bool(call, "dry_run", &dry_run) ||
	    !call_query_u64(call, "to", UINT32_MAX, &to))
		return;
	if (!text_copy(q.name, sizeof(q.name), call->param[0])) {
		target_no_deployment(call, call->param[0]);
		return;
	}
	q.revision = (uint32_t)to;
	q.dry_run = dry_run;
	call_ask(call, ROLE_SCHEDULER, MSG_OP_ROLLBACK, &q, sizeof(q), NULL, 0, APPLY_MS, applied);
}

void
deployments_delete(struct call *call)
{
	struct msg_target_op t = {0};
	bool volumes = false;
	uint64_t grace_ms = 0;

	if (!call_query_bool(call, "volumes", &volumes) ||
	    !call_query_u64(call, "grace_ms", 86400000, &grace_ms))
		return;
	t.grace_ms = (uint32_t)grace_ms;
	text_copy(t.deployment, sizeof(t.deployment), call->param[0]);
	t.volumes = volumes;
	target_ask(call, MSG_OP_REMOVE, &t);
}

/* ---- revisions ---- */

static void
send_text(struct call *call, int *fds, size_t count, bool list)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_API, ANSWER_MAX);
	if (list)
		buf_puts(&b, "{\"items\":");
	if (count != 1 || !fd_is_sealed(fds[0])) {
		call_damaged(call, "scheduler");
	} else if (fd_read_all(fds[0], &b, &err) < 0) {
		call_problem(call, &err);
	} else if (list) {
		buf_putc(&b, '}');
		call_json(call, 200, NULL, &b);
		return;
	} else {
		call_reply(call, 200, "application/yaml", NULL, b.data, b.length);
	}
	buf_fini(&b);
}

static void
revisions_answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	(void)body, (void)bytes;
	send_text(call, fds, count, true);
}

static void
revision_answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	(void)body, (void)bytes;
	send_text(call, fds, count, false);
}

static void
ask_document(struct call *call, uint16_t op, uint32_t revision, call_answer_fn done)
{
	struct msg_document_op q = {.revision = revision};
	struct err err = {0};

	if (!text_copy(q.deployment, sizeof(q.deployment), call->param[0])) {
		err_set(&err, ERR_NOT_FOUND, "there is no such deployment");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_SCHEDULER, op, &q, sizeof(q), NULL, 0, CALL_ASK_MS, done);
}

void
deployments_revisions(struct call *call)
{
	ask_document(call, MSG_OP_REVISIONS, 0, revisions_answered);
}

void
deployments_revision(struct call *call)
{
	struct err err = {0};
	uint64_t n;

	if (!text_u64(call->param[1], UINT32_MAX, &n) || n == 0) {
		err_set(&err, ERR_NOT_FOUND, "%s is not a revision's number", call->param[1]);
		call_problem(call, &err);
		return;
	}
	ask_document(call, MSG_OP_DOCUMENT, (uint32_t)n, revision_answered);
}
