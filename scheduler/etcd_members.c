/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, one answer. etcd says what it refuses in words only: those that mean "not now" are
 * told from the others here.
 */
#include "scheduler/etcd_members.h"

#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "spec/json.h"
#include "wire/json_read.h"

enum { BODY_BYTES = 1024 };

struct call {
	etcd_members_fn done;
	void *arg;
	struct etcd_rpc *remove; /* whom it is asked of; NULL: it is another question */
};

static int
wrong(struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "etcd's list of members cannot be read");
	err_why(err, "%s", why);
	return -1;
}

static int
read_id(const json_t *object, uint64_t *out)
{
	return text_u64(json_read_text(object, "ID"), UINT64_MAX, out) && *out ? 0 : -1;
}

/* False when it does not fit. */
static bool
read_first(const json_t *object, const char *key, char *out, size_t cap)
{
	json_t *array = json_read_array(object, key);
	const char *text = json_read_count(array) ? json_read_string(json_read_at(array, 0)) : "";

	if (strlen(text) >= cap)
		return false;
	text_copy(out, cap, text);
	return true;
}

static int
read_member(const json_t *object, struct etcd_member *out, struct err *err)
{
	const char *name = json_read_text(object, "name");

	if (read_id(object, &out->id) < 0)
		return wrong(err, "a member has no id");
	if (strlen(name) >= sizeof(out->name) ||
	    !read_first(object, "peerURLs", out->peer, sizeof(out->peer)) ||
	    !read_first(object, "clientURLs", out->client, sizeof(out->client)))
		return wrong(err, "a member's name or address is too long");
	text_copy(out->name, sizeof(out->name), name);
	out->learner = json_read_bool(object, "isLearner");
	return 0;
}

static int
read_members(const json_t *object, struct etcd_members *out, struct err *err)
{
	json_t *array = json_read_array(object, "members");
	json_t *added = json_read_get(object, "member");

	if (json_read_count(array) == 0)
		return wrong(err, "it has no members");
	if (json_read_count(array) > ETCD_MEMBERS_MAX)
		return wrong(err, "it has more members than a cluster of etcd should");
	out->count = json_read_count(array);
	for (size_t i = 0; i < out->count; i++) {
		if (read_member(json_read_at(array, i), &out->items[i], err) < 0)
			return -1;
	}
	if (added && read_id(added, &out->added) < 0)
		return wrong(err, "the new member has no id");
	return 0;
}

int
etcd_members_read(const char *text, size_t bytes, struct etcd_members *out, struct err *err)
{
	struct err why = {0};
	json_t *object = json_read_parse(text, bytes, &why);

	memset(out, 0, sizeof(*out));
	if (!object)
		return wrong(err, "it is not JSON");
	int rc = read_members(object, out, err);
	json_read_free(object);
	return rc;
}

/* ---- calls ---- */

/* What etcd says when it is asked for a change that must not be now. */
static bool
is_not_now(const struct err *err)
{
	static const char *const words[] = {
		"in sync with leader",        "unhealthy cluster",
		"not enough started members", "Peer URLs already exists",
		"too many learner members",   "can only promote a learner",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strstr(err->what, words[i]))
			return true;
		for (unsigned k = 0; k < err->whys; k++) {
			if (strstr(err->why[k], words[i]))
				return true;
		}
	}
	return false;
}

static bool
is_unknown(const struct err *err)
{
	for (unsigned k = 0; k < err->whys; k++) {
		if (strstr(err->why[k], "member not found"))
			return true;
	}
	return strstr(err->what, "member not found") != NULL;
}

/* Who is not there any more needs no removing. A member that is asked to remove itself may do so
 * before it answers, and whoever is asked next does not know it. */
static bool
is_done(const struct call *c, const struct etcd_rpc_answer *answer, struct err *err)
{
	return c->remove && is_unknown(answer->err) &&
	       etcd_members_list(c->remove, c->done, c->arg, err) == 0;
}

static void
answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct call c = *(struct call *)arg;
	struct etcd_members members;
	struct err err = {0};

	mem_free(arg);
	if (answer->err) {
		if (is_done(&c, answer, &err))
			return;
		err = *answer->err;
		if (is_not_now(&err))
			err.kind = ERR_CONFLICT;
		else if (is_unknown(&err))
			err.kind = ERR_NOT_FOUND;
		c.done(c.arg, NULL, &err);
		return;
	}
	if (etcd_members_read(answer->text, answer->bytes, &members, &err) < 0)
		c.done(c.arg, NULL, &err);
	else
		c.done(c.arg, &members, NULL);
}

/* A copy of the call comes with the answer, for `then` to free. */
static int
post(struct etcd_rpc *r, const char *path, const struct buf *body, etcd_rpc_done_fn then,
     const void *call, size_t bytes, struct err *err)
{
	void *c = mem_alloc(MEM_SCHEDULER, bytes);

	if (!c)
		return err_set(err, ERR_NO_MEMORY, "no memory to ask etcd");
	memcpy(c, call, bytes);
	if (!etcd_rpc_call(r, path, body, then, c, err)) {
		mem_free(c);
		return -1;
	}
	return 0;
}

static int
call(struct etcd_rpc *r, const char *path, const struct buf *body, const struct call *c,
     struct err *err)
{
	return post(r, path, body, answered, c, sizeof(*c), err);
}

static int
call_id(struct etcd_rpc *r, const char *path, uint64_t id, const struct call *c, struct err *err)
{
	struct json j;
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_textf(&j, "ID", "%" PRIu64, id);
	json_end(&j);
	int rc = call(r, path, &body, c, err);
	buf_fini(&body);
	return rc;
}

int
etcd_members_list(struct etcd_rpc *r, etcd_members_fn done, void *arg, struct err *err)
{
	const struct call c = {.done = done, .arg = arg};
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	buf_puts(&body, "{}");
	int rc = call(r, "/v3/cluster/member/list", &body, &c, err);
	buf_fini(&body);
	return rc;
}

int
etcd_members_add_learner(struct etcd_rpc *r, const char *peer, etcd_members_fn done, void *arg,
			 struct err *err)
{
	const struct call c = {.done = done, .arg = arg};
	struct json j;
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_array(&j, "peerURLs");
	json_text(&j, NULL, peer);
	json_end(&j);
	json_bool(&j, "isLearner", true);
	json_end(&j);
	int rc = call(r, "/v3/cluster/member/add", &body, &c, err);
	buf_fini(&body);
	return rc;
}

int
etcd_members_promote(struct etcd_rpc *r, uint64_t id, etcd_members_fn done, void *arg,
		     struct err *err)
{
	const struct call c = {.done = done, .arg = arg};

	return call_id(r, "/v3/cluster/member/promote", id, &c, err);
}

int
etcd_members_remove(struct etcd_rpc *r, uint64_t id, etcd_members_fn done, void *arg,
		    struct err *err)
{
	const struct call c = {.done = done, .arg = arg, .remove = r};

	return call_id(r, "/v3/cluster/member/remove", id, &c, err);
}

/* ---- one member ---- */

struct status_call {
	etcd_member_status_fn done;
	void *arg;
	bool changes; /* its answer says nothing */
};

static uint64_t
read_number(const json_t *object, const char *key)
{
	uint64_t n;

	return text_u64(json_read_text(object, key), UINT64_MAX, &n) ? n : 0;
}

int
etcd_members_read_status(const char *text, size_t bytes, struct etcd_member_status *out,
			 struct err *err)
{
	struct err why = {0};
	json_t *object = json_read_parse(text, bytes, &why);

	memset(out, 0, sizeof(*out));
	if (object) {
		out->member = read_number(json_read_get(object, "header"), "member_id");
		out->leader = read_number(object, "leader");
		out->index = read_number(object, "raftIndex");
		out->applied = read_number(object, "raftAppliedIndex");
		out->data_bytes = read_number(object, "dbSize");
		out->learner = json_read_bool(object, "isLearner");
		text_copy(out->version, sizeof(out->version), json_read_text(object, "version"));
		json_read_free(object);
	}
	if (out->member)
		return 0;
	err_set(err, ERR_CORRUPT, "what a member of etcd says of itself cannot be read");
	return err_why(err, "%s", why.kind ? why.what : "it does not say who it is");
}

static void
status_answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct status_call c = *(struct status_call *)arg;
	struct etcd_member_status status = {0};
	struct err err = {0};

	mem_free(arg);
	if (answer->err)
		err = *answer->err;
	else if (!c.changes)
		(void)!etcd_members_read_status(answer->text, answer->bytes, &status, &err);
	c.done(c.arg, err.kind ? NULL : &status, err.kind ? &err : NULL);
}

static int
ask_status(struct etcd_rpc *r, const char *path, const struct buf *body, bool changes,
	   etcd_member_status_fn done, void *arg, struct err *err)
{
	const struct status_call c = {.done = done, .arg = arg, .changes = changes};

	return post(r, path, body, status_answered, &c, sizeof(c), err);
}

int
etcd_members_status(struct etcd_rpc *r, etcd_member_status_fn done, void *arg, struct err *err)
{
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	buf_puts(&body, "{}");
	int rc = ask_status(r, "/v3/maintenance/status", &body, false, done, arg, err);
	buf_fini(&body);
	return rc;
}

int
etcd_members_lead(struct etcd_rpc *r, uint64_t to, etcd_member_status_fn done, void *arg,
		  struct err *err)
{
	struct json j;
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_textf(&j, "targetID", "%" PRIu64, to);
	json_end(&j);
	int rc = ask_status(r, "/v3/maintenance/transfer-leadership", &body, true, done, arg, err);
	buf_fini(&body);
	return rc;
}
