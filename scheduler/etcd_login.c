/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An etcd with users: for a name and a password it gives a token, which every call shows. Calls
 * that have none wait for the one that asks for it. etcd forgets tokens: a call that is refused for
 * that asks for a new one once, and is made again. Each look at a password is dear to etcd: one
 * that it refused is not shown again for REFUSED_MS, and whoever calls is told what it said.
 */
#include "scheduler/etcd_rpc_inside.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"

enum {
	BODY_BYTES = 4096,
	REFUSED_MS = 3000,
};

static void
go_on(struct etcd_rpc *r, const struct err *err)
{
	struct list *it, *next;

	list_each (it, next, &r->calls) {
		struct etcd_call *c = container_of(it, struct etcd_call, link);

		if (!c->waits)
			continue;
		c->waits = false;
		if (err)
			c->err = *err;
		c->refused = err != NULL;
		etcd_rpc_again(c);
	}
}

static void
answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_rpc *r = arg;
	struct err err = {0};

	r->login = NULL;
	if (answer->err && answer->err->kind == ERR_UNSUPPORTED) {
		r->no_users = true;
	} else if (answer->err) {
		err = *answer->err;
	} else if (!etcd_json_token(answer->text, answer->bytes, r->token, sizeof(r->token))) {
		r->token[0] = '\0';
		err_set(&err, ERR_CORRUPT, "etcd gave a token that is none");
	}
	if (err.kind && err.kind != ERR_UNREACHABLE && err.kind != ERR_TIMEOUT) {
		r->login_err = err;
		r->login_err_ms = uv_now(r->loop);
	}
	go_on(r, err.kind ? &err : NULL);
}

static int
ask(struct etcd_rpc *r, struct err *err)
{
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_login(&body, r->user, r->password);
	r->login = etcd_rpc_begin(r, "/v3/auth/authenticate", &body, NULL, answered, r, err);
	if (body.data)
		mem_wipe(body.data, body.capacity);
	buf_fini(&body);
	if (!r->login)
		return -1;
	r->login->bare = true;
	return 0;
}

static bool
refused_lately(const struct etcd_rpc *r)
{
	return r->login_err.kind && uv_now(r->loop) - r->login_err_ms < REFUSED_MS;
}

bool
etcd_login_first(struct etcd_call *c)
{
	struct etcd_rpc *r = c->rpc;

	if (c->bare || !r->user || r->token[0] || r->no_users)
		return false;
	c->waits = true;
	if (refused_lately(r))
		c->err = r->login_err;
	else if (r->login || ask(r, &c->err) == 0)
		return true;
	c->waits = false;
	c->refused = true;
	etcd_rpc_again(c);
	return true;
}

void
etcd_login_forget(struct etcd_rpc *r)
{
	mem_wipe(r->token, sizeof(r->token));
	r->no_users = false;
}

int
etcd_login_take(struct etcd_rpc *r, const struct etcd_rpc_options *o, struct err *err)
{
	if (!o->user || !o->user[0])
		return 0;
	r->user = mem_strdup(MEM_SCHEDULER, o->user);
	r->password = mem_strdup(MEM_SCHEDULER, o->password ? o->password : "");
	return r->user && r->password ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the store");
}

static bool
same_place(const struct etcd_rpc *a, const struct etcd_rpc *b)
{
	if (!a->user || !b->user || !text_equal(a->user, b->user) ||
	    a->endpoints_count != b->endpoints_count)
		return false;
	for (size_t i = 0; i < a->endpoints_count; i++) {
		if (!text_equal(a->endpoints[i].url, b->endpoints[i].url))
			return false;
	}
	return true;
}

void
etcd_login_renew(struct etcd_rpc *r, struct etcd_rpc *fresh)
{
	/* A token outlives the password that it was given for. */
	if (same_place(r, fresh))
		memcpy(fresh->token, r->token, sizeof(fresh->token));
	etcd_login_fini(r);
	r->user = fresh->user;
	r->password = fresh->password;
	memcpy(r->token, fresh->token, sizeof(r->token));
	mem_wipe(fresh->token, sizeof(fresh->token));
	r->no_users = false;
	err_clear(&r->login_err);
	if (!r->login)
		return;
	/* It shows what was. */
	etcd_rpc_cancel(r->login);
	r->login = NULL;
	go_on(r, NULL);
}

void
etcd_login_fini(struct etcd_rpc *r)
{
	mem_free(r->user);
	if (r->password)
		mem_free_zero(r->password);
	mem_wipe(r->token, sizeof(r->token));
	r->user = r->password = NULL;
}
