/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors on the ring: struct err as the body of an answer, and shortened to a row's reason. What
 * comes from another process is ended, counted and clamped here before anybody prints it.
 */
#include "ring/msg.h"

#include <string.h>
#include "base/text.h"

bool
msg_text_ok(const char *text, size_t bytes)
{
	return memchr(text, 0, bytes) != NULL;
}

void
msg_reason_from(const struct err *err, struct msg_reason *out)
{
	memset(out, 0, sizeof(*out));
	out->kind = (uint32_t)err->kind;
	out->code = (uint32_t)err->code;
	text_copy(out->what, sizeof(out->what), err->what);
	if (err->whys > 0)
		text_copy(out->why, sizeof(out->why), err->why[0]);
	if (err->whys > 1)
		text_copy(out->why2, sizeof(out->why2), err->why[1]);
	text_copy(out->fix, sizeof(out->fix), err->fix);
}

static bool
reason_holds(const struct msg_reason *r)
{
	return r->kind > ERR_NONE && r->kind < ERR_KINDS_ && MSG_OK(r->what) && MSG_OK(r->why) &&
	       MSG_OK(r->why2) && MSG_OK(r->fix);
}

void
msg_reason_to(const struct msg_reason *reason, struct err *err)
{
	err_clear(err);
	if (!reason_holds(reason)) {
		err_set(err, ERR_CORRUPT,
			"a process of this node gave a reason that does not hold");
		return;
	}
	err_set(err, (enum err_kind)reason->kind, "%s", reason->what);
	err->code = (int)reason->code;
	if (reason->why[0])
		err_why(err, "%s", reason->why);
	if (reason->why2[0])
		err_why(err, "%s", reason->why2);
	if (reason->fix[0])
		err_fix(err, "%s", reason->fix);
}

_Static_assert(sizeof(struct err) <= 4096, "an error fits the body of an answer");

size_t
msg_err_body(const struct err *err, void *out, size_t cap)
{
	if (cap < sizeof(*err))
		return 0;
	memcpy(out, err, sizeof(*err));
	return sizeof(*err);
}

static bool
err_holds(const struct err *e)
{
	if (e->kind <= ERR_NONE || e->kind >= ERR_KINDS_ || e->wheres > ERR_WHERES_MAX ||
	    e->whys > ERR_WHYS_MAX || !MSG_OK(e->what) || !MSG_OK(e->fix))
		return false;
	for (unsigned i = 0; i < e->wheres; i++) {
		if (!MSG_OK(e->where[i]))
			return false;
	}
	for (unsigned i = 0; i < e->whys; i++) {
		if (!MSG_OK(e->why[i]))
			return false;
	}
	return true;
}

void
msg_err_from_body(uint16_t status, const void *body, size_t bytes, struct err *err)
{
	err_clear(err);
	if (bytes == sizeof(*err)) {
		memcpy(err, body, sizeof(*err));
		if (err_holds(err))
			return;
		err_clear(err);
	}
	enum err_kind kind =
		status > ERR_NONE && status < ERR_KINDS_ ? (enum err_kind)status : ERR_CORRUPT;

	err_set(err, kind, "a process of this node answered without saying why");
}

const char *
msg_certificate_name(const struct msg_certificate *row, size_t *at)
{
	if (*at >= sizeof(row->names) || !row->names[*at])
		return NULL;
	const char *name = row->names + *at;
	const char *end = memchr(name, 0, sizeof(row->names) - *at);
	if (!end)
		return NULL;
	*at += (size_t)(end - name) + 1;
	return name;
}
