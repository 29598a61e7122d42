/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as problem documents (RFC 9457): "detail" is the error's "what"; code, where, why and fix
 * are members of our own. */
#include "spec/problem.h"

static const char *
title_of(enum err_kind kind)
{
	switch (kind) {
	case ERR_USAGE:
	case ERR_INVALID:
		return "The request or document is wrong";
	case ERR_UNSUPPORTED:
		return "Not available on this node";
	case ERR_NOT_FOUND:
		return "Not found";
	case ERR_CONFLICT:
		return "Somebody else changed it, or it exists";
	case ERR_DENIED:
		return "Not allowed";
	case ERR_LIMIT:
		return "A limit was reached";
	case ERR_TIMEOUT:
		return "No answer in time";
	case ERR_UNREACHABLE:
		return "A part of the node is not there";
	default:
		return "The node could not do it";
	}
}

void
problem_put(struct json *j, const struct err *err, unsigned status)
{
	json_object(j, NULL);
	json_textf(j, "type", "urn:zlayer:error:%s", err_kind_name(err->kind));
	json_text(j, "title", title_of(err->kind));
	json_u64(j, "status", status);
	json_text(j, "detail", err->what);
	json_text(j, "code", err_kind_name(err->kind));
	json_array(j, "where");
	for (unsigned i = 0; i < err->wheres; i++)
		json_text(j, NULL, err->where[i]);
	json_end(j);
	json_array(j, "why");
	for (unsigned i = 0; i < err->whys; i++)
		json_text(j, NULL, err->why[i]);
	json_end(j);
	json_text(j, "fix", err->fix);
}
