/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the core goes: files of its host (asked of node each time the host is another one)
 * -> addresses -> transfer -> the core again. The login is given to the core with every answer of
 * the endpoint itself; the bytes of config.json are wiped when the courier ends. A login that a
 * program keeps is asked of node when the core wants it, and kept as long.
 *
 * Mirrors come from the configuration, which node replaces at any time: each courier looks into it
 * when it starts.
 */
#include "runtime/courier.h"

#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/login_pipe.h"
#include "runtime/logins.h"
#include "runtime/lookup.h"
#include "spec/config.h"
#include "wire/url.h"

enum { FILES = 4, TOKENS_MAX = 256, FILES_WAIT_MS = 5000, LOGIN_WAIT_MS = 20000 };

/* What a program that keeps logins gave is not used for longer without asking it again. */
static const uint64_t PASSWORD_NS = UINT64_C(300) * 1000000000;

struct token {
	uint64_t until_ns;
	uint64_t logins; /* the config.json that it came of: a login that is taken away is gone */
	char authorization[REGISTRY_SECRET_BYTES];
};

struct couriers {
	struct station *st;
	struct transfers *transfers;
	struct list all;
	struct map tokens; /* "HOST REPOSITORY" -> struct token */
	uint64_t logins_key[2];
	uint64_t next_id;
};

struct courier {
	struct list link;
	struct couriers *cs;
	struct courier_calls calls;
	void *arg;
	const char *accept;
	uint64_t most;
	struct registry *r;
	struct lookup *lookup;
	struct transfer *transfer;
	uv_timer_t timer;
	uint64_t files_id; /* asked for; 0 no */
	uint64_t login_id; /* the same */
	struct login_pipe *login;
	struct registry_login *helped;       /* by a program; NULL: it gave none */
	char helper_of[REGISTRY_HOST_BYTES]; /* the endpoint whose program was asked; "" none */
	char host[REGISTRY_HOST_BYTES];
	struct buf files[FILES]; /* of that host, by bit of enum leash_registry */
	uint64_t logins;         /* fingerprint of that config.json; 0 none */
	uint64_t passed;         /* bytes of the thing that were passed on */
	struct transfer_result *result;
	bool over; /* freed when the handle is closed */
};

enum { LOGINS, CA, RESOLV, HOSTS };

static void act(struct courier *c);

/* ---- ending ---- */

static void
drop_files(struct courier *c)
{
	for (size_t i = 0; i < FILES; i++) {
		if (c->files[i].data)
			mem_wipe(c->files[i].data, c->files[i].length);
		buf_reset(&c->files[i]);
	}
}

static void
closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
courier_free(struct courier *c)
{
	if (c->over)
		return;
	c->over = true;
	list_remove(&c->link);
	lookup_cancel(c->lookup);
	login_pipe_cancel(c->login);
	mem_free_zero(c->helped);
	transfer_cancel(c->transfer);
	drop_files(c);
	for (size_t i = 0; i < FILES; i++)
		buf_fini(&c->files[i]);
	mem_free_zero(c->r);
	mem_free(c->result);
	uv_close((uv_handle_t *)&c->timer, closed);
}

void
courier_cancel(struct courier *c)
{
	if (c)
		courier_free(c);
}

static void
finish(struct courier *c, const struct err *err)
{
	c->calls.done(c->arg, err, c->result, c->r->at);
	courier_free(c);
}

static void
fail_now(uv_timer_t *timer)
{
	struct courier *c = timer->data;

	finish(c, &c->r->err);
}

/* Not from within whoever called. */
static void
fail_later(struct courier *c, const struct err *err)
{
	c->r->err = *err;
	uv_timer_start(&c->timer, fail_now, 0, 0);
}

/* ---- tokens ---- */

static void
token_key(const struct courier *c, char *out, size_t cap)
{
	text_format(out, cap, "%s %s", registry_endpoint(c->r)->host, c->r->repository);
}

static void
use_token(struct courier *c)
{
	struct registry *r = c->r;
	char key[REGISTRY_HOST_BYTES + REGISTRY_NAME_BYTES];

	if (r->foreign || r->in_token || r->accepted[0])
		return;
	token_key(c, key, sizeof(key));
	const struct token *t = map_get_str(&c->cs->tokens, key);
	if (!t || t->until_ns < world_mono_ns() || t->logins != c->logins)
		return;
	memcpy(r->accepted, t->authorization, sizeof(r->accepted));
	r->accepted_until_ns = t->until_ns;
	memcpy(r->action.authorization, t->authorization, sizeof(r->action.authorization));
}

static void
drop_tokens(struct couriers *cs)
{
	struct map_iter it = {0};

	while (map_next(&cs->tokens, &it))
		mem_free_zero(it.value);
	map_fini(&cs->tokens);
	map_init(&cs->tokens, MEM_RUNTIME);
}

static void
keep_token(struct courier *c)
{
	char key[REGISTRY_HOST_BYTES + REGISTRY_NAME_BYTES];

	if (!c->r->accepted[0])
		return;
	if (map_count(&c->cs->tokens) >= TOKENS_MAX)
		drop_tokens(c->cs);
	token_key(c, key, sizeof(key));
	struct token *t = map_get_str(&c->cs->tokens, key);
	if (!t) {
		t = mem_zalloc(MEM_RUNTIME, sizeof(*t));
		if (!t || map_put_str(&c->cs->tokens, key, t) < 0) {
			mem_free(t);
			return;
		}
	}
	t->until_ns =
		c->r->accepted_until_ns ? c->r->accepted_until_ns : world_mono_ns() + PASSWORD_NS;
	t->logins = c->logins;
	memcpy(t->authorization, c->r->accepted, sizeof(t->authorization));
}

/* ---- the transfer ---- */

static void
step(struct courier *c, const struct registry_reply *reply)
{
	struct world w;

	world_real(&w);
	registry_step(c->r, reply, w.mono_ns, world_random_u64(&w) >> 1);
	act(c);
}

static const struct registry_login *
login_for_endpoint(struct courier *c, struct registry_login *login)
{
	const struct registry_endpoint *e = registry_endpoint(c->r);
	struct err err = {0};
	int rc = 0;

	if (!strcmp(c->helper_of, e->host))
		return c->helped;
	if (c->files[LOGINS].length)
		rc = logins_find((const char *)c->files[LOGINS].data, c->files[LOGINS].length,
				 e->host, c->r->repository, login, &err);
	if (rc < 0)
		log_err(LOG_WARN, "a registry's login cannot be read", &err);
	return rc > 0 ? login : NULL;
}

static void
answered(void *arg, const struct transfer_result *result)
{
	struct courier *c = arg;
	struct registry_login *login = mem_zalloc(MEM_RUNTIME, sizeof(*login));
	struct registry_reply reply = {
		.failure = result->failure,
		.detail = result->detail,
		.status = result->status,
		.challenges_count = result->challenges_count,
		.location = result->location[0] ? result->location : NULL,
		.retry_after_ms = result->retry_after_ms,
		.body = result->body,
		.body_bytes = result->body_bytes,
		.received = c->passed,
		.whole_bytes = result->whole_bytes,
	};

	for (size_t i = 0; i < result->challenges_count; i++)
		reply.challenges[i] = result->challenges[i];
	if (login)
		reply.login = login_for_endpoint(c, login);
	c->transfer = NULL;
	memcpy(c->result, result, sizeof(*result));
	c->result->body = NULL;
	step(c, &reply);
	mem_free_zero(login);
}

static bool
give(void *arg, const void *data, size_t bytes)
{
	struct courier *c = arg;

	if (!c->calls.data(c->arg, data, bytes))
		return false;
	c->passed += bytes;
	return true;
}

static const struct transfer_calls transfer_calls = {.data = give, .done = answered};

/* Where the url leads to: host without brackets, port. */
static bool
split(const char *url, char *host, size_t cap, char *authority, size_t authority_cap,
      uint16_t *port_out)
{
	struct url_target t;
	struct url_authority a;

	if (!url_target_parse(url, strlen(url), HTTP_GET, &t) || t.form != URL_ABSOLUTE ||
	    !url_authority_parse(url + t.authority.at, t.authority.length, &a) ||
	    !text_ncopy(host, cap, a.host, a.host_length) ||
	    !text_ncopy(authority, authority_cap, url + t.authority.at, t.authority.length))
		return false;
	*port_out = a.port ? a.port : t.https ? 443 : 80;
	return true;
}

static void
go(struct courier *c, const struct dns_stub_addrs *addrs)
{
	const struct registry_action *a = &c->r->action;
	char host[REGISTRY_HOST_BYTES], authority[REGISTRY_HOST_BYTES];
	struct err err = {0};
	struct transfer_request q = {
		.url = a->url,
		.accept = a->token ? "application/json" : c->accept,
		.authorization = a->authorization,
		.form = a->form,
		.head = a->head && !a->token,
		.keep_body = a->token,
		.from = a->token ? 0 : a->from,
		.most = c->most,
		.host = host,
		.addrs = addrs,
	};

	if (!split(a->url, host, sizeof(host), authority, sizeof(authority), &q.port)) {
		err_set(&err, ERR_INVALID, "the registry's address does not hold");
		fail_later(c, &err);
		return;
	}
	if (c->files[CA].length) {
		q.authorities = (const char *)c->files[CA].data;
		q.authorities_bytes = c->files[CA].length;
	}
	c->transfer = transfer_start(c->cs->transfers, &q, &transfer_calls, c, &err);
	if (!c->transfer)
		fail_later(c, &err);
}

static void
no_answer(struct courier *c, enum registry_failure failure, const char *why)
{
	struct registry_reply reply = {.failure = failure, .detail = why, .received = c->passed};

	step(c, &reply);
}

static void
resolved(void *arg, const struct dns_stub_addrs *addrs, const char *why)
{
	struct courier *c = arg;

	c->lookup = NULL;
	if (addrs->count)
		go(c, addrs);
	else
		no_answer(c, REGISTRY_NO_NAME, why);
}

static void
look_up(struct courier *c)
{
	char host[REGISTRY_HOST_BYTES], authority[REGISTRY_HOST_BYTES];
	struct dns_stub_addrs none = {0};
	struct addr literal;
	struct err err = {0};
	uint16_t port;

	use_token(c);
	if (!split(c->r->action.url, host, sizeof(host), authority, sizeof(authority), &port) ||
	    addr_parse_ip(host, &literal)) {
		go(c, &none);
		return;
	}
	c->lookup = lookup_start(station_loop(c->cs->st), host, (char *)c->files[RESOLV].data,
				 c->files[RESOLV].length, (char *)c->files[HOSTS].data,
				 c->files[HOSTS].length, resolved, c);
	if (!c->lookup) {
		err_set(&err, ERR_NO_MEMORY, "no memory to resolve a name");
		fail_later(c, &err);
	}
}

/* ---- files ---- */

static void
files_late(uv_timer_t *timer)
{
	struct courier *c = timer->data;
	struct err err = {0};

	err_set(&err, ERR_TIMEOUT, "node did not give the registry's files");
	finish(c, &err);
}

static void
ask_files(struct courier *c, const char *host)
{
	struct leash_message m;
	struct err err = {0};

	leash_init(&m, LEASH_REGISTRY);
	m.to_role = ROLE_NODE;
	m.id = c->files_id = ++c->cs->next_id;
	text_copy(c->host, sizeof(c->host), host);
	text_copy(m.name, sizeof(m.name), host);
	if (station_send(c->cs->st, &m, NULL, 0, &err) < 0)
		fail_later(c, &err);
	else
		uv_timer_start(&c->timer, files_late, FILES_WAIT_MS, 0);
}

static void
note_logins(struct courier *c)
{
	const struct buf *logins = &c->files[LOGINS];

	if (!c->r->foreign && !c->r->in_token)
		c->logins = logins->length
				    ? map_siphash(c->cs->logins_key, logins->data, logins->length)
				    : 0;
}

void
courier_files(struct couriers *cs, const struct leash_message *m, int *fds, size_t count)
{
	struct list *it, *next;
	size_t used = 0;

	list_each (it, next, &cs->all) {
		struct courier *c = container_of(it, struct courier, link);

		if (c->files_id != m->id)
			continue;
		c->files_id = 0;
		uv_timer_stop(&c->timer);
		drop_files(c);
		for (size_t i = 0; i < FILES && used < count; i++) {
			struct err err = {0};

			if (!(m->a >> i & 1))
				continue;
			if (fd_read_all(fds[used++], &c->files[i], &err) < 0) {
				log_err(LOG_WARN, "a file for a registry cannot be read", &err);
				buf_reset(&c->files[i]);
			}
		}
		note_logins(c);
		look_up(c);
		return;
	}
}

/* ---- logins that a program keeps ---- */

static void
helped(struct courier *c, const struct err *err)
{
	struct registry_reply reply = {
		.received = c->passed,
		.login = c->helped,
		.login_err = c->helped ? NULL : err,
	};

	if (!c->helped && err->kind != ERR_NOT_FOUND)
		log_err(LOG_WARN, "a registry's login could not be had", err);
	step(c, &reply);
}

static void
login_told(void *arg, const struct registry_login *login, const struct err *err)
{
	struct courier *c = arg;
	struct err none = {0};

	uv_timer_stop(&c->timer);
	c->login = NULL;
	c->helped = login ? mem_zalloc(MEM_RUNTIME, sizeof(*login)) : NULL;
	if (c->helped)
		*c->helped = *login;
	else if (login)
		err_set(&none, ERR_NO_MEMORY, "no memory for a registry's login");
	helped(c, login ? &none : err);
}

static void
login_late(uv_timer_t *timer)
{
	struct courier *c = timer->data;
	struct err err = {0};

	c->login_id = 0;
	login_pipe_cancel(c->login);
	c->login = NULL;
	err_set(&err, ERR_TIMEOUT, "node did not ask the program that keeps this login");
	helped(c, &err);
}

static void
ask_login(struct courier *c)
{
	const struct registry_endpoint *e = registry_endpoint(c->r);
	struct leash_message m;
	struct err err = {0};

	mem_free_zero(c->helped);
	c->helped = NULL;
	text_copy(c->helper_of, sizeof(c->helper_of), e->host);
	leash_init(&m, LEASH_LOGIN);
	m.to_role = ROLE_NODE;
	m.id = c->login_id = ++c->cs->next_id;
	text_copy(m.name, sizeof(m.name), e->host);
	if (station_send(c->cs->st, &m, NULL, 0, &err) < 0)
		fail_later(c, &err);
	else
		uv_timer_start(&c->timer, login_late, FILES_WAIT_MS, 0);
}

static void
take_pipe(struct courier *c, int *fds, size_t count)
{
	struct err err = {0};

	c->login_id = 0;
	uv_timer_stop(&c->timer);
	if (count == 1)
		c->login = login_pipe_start(station_loop(c->cs->st), fd_take(&fds[0]), login_told,
					    c, &err);
	else
		err_set(&err, ERR_SYSTEM, "node cannot ask the program that keeps this login");
	if (c->login)
		uv_timer_start(&c->timer, login_late, LOGIN_WAIT_MS, 0);
	else
		helped(c, &err);
}

void
courier_login(struct couriers *cs, const struct leash_message *m, int *fds, size_t count)
{
	struct list *it, *next;

	list_each (it, next, &cs->all) {
		struct courier *c = container_of(it, struct courier, link);

		if (c->login_id != m->id)
			continue;
		take_pipe(c, fds, count);
		return;
	}
}

/* ---- actions ---- */

static void
waited(uv_timer_t *timer)
{
	step(timer->data, NULL);
}

static void
request(struct courier *c)
{
	char host[REGISTRY_HOST_BYTES], authority[REGISTRY_HOST_BYTES];
	uint16_t port;

	if (split(c->r->action.url, host, sizeof(host), authority, sizeof(authority), &port) &&
	    strcmp(authority, c->host) != 0)
		ask_files(c, authority);
	else
		look_up(c);
}

static void
act(struct courier *c)
{
	switch (c->r->action.verb) {
	case REGISTRY_REQUEST:
		request(c);
		break;
	case REGISTRY_WAIT:
		log_event(LOG_INFO, "a registry is asked again", log_s("image", c->r->image),
			  log_u("in_ms", c->r->action.wait_ms), LOG_END);
		uv_timer_start(&c->timer, waited, c->r->action.wait_ms, 0);
		break;
	case REGISTRY_LOGIN:
		ask_login(c);
		break;
	case REGISTRY_DONE:
		keep_token(c);
		finish(c, NULL);
		break;
	case REGISTRY_FAIL:
		finish(c, &c->r->err);
		break;
	}
}

static void
begin(uv_timer_t *timer)
{
	step(timer->data, NULL);
}

static void
add_endpoints(struct courier *c, const char *registry)
{
	size_t bytes;
	const void *data = station_config(c->cs->st, &bytes);
	const struct config *config = config_check(data, bytes);

	for (uint32_t i = 0; config && i < config->runtime.mirrors_count; i++) {
		const struct config_mirror *m = &config->runtime.mirrors[i];

		if (strcmp(m->registry, registry) != 0)
			continue;
		for (uint32_t k = 0; k < m->urls_count; k++)
			(void)registry_add(c->r, registry, m->urls[k].text);
	}
	(void)registry_add(c->r, registry, NULL);
}

struct courier *
courier_start(struct couriers *cs, const struct courier_order *order,
	      const struct courier_calls *calls, void *arg, struct err *err)
{
	struct courier *c = mem_zalloc(MEM_RUNTIME, sizeof(*c));

	if (c) {
		c->r = mem_zalloc(MEM_RUNTIME, sizeof(*c->r));
		c->result = mem_zalloc(MEM_RUNTIME, sizeof(*c->result));
	}
	if (!c || !c->r || !c->result) {
		if (c) {
			mem_free(c->r);
			mem_free(c->result);
		}
		mem_free(c);
		err_set(err, ERR_NO_MEMORY, "no memory for a transfer");
		return NULL;
	}
	c->cs = cs;
	c->calls = *calls;
	c->arg = arg;
	c->accept = order->accept;
	c->most = order->most;
	for (size_t i = 0; i < FILES; i++)
		buf_init(&c->files[i], MEM_RUNTIME, LOGINS_BYTES_MAX);
	registry_init(c->r, order->image, order->ref->name, order->path, order->head, order->quick);
	add_endpoints(c, order->ref->registry);
	if (order->first < c->r->count)
		c->r->at = order->first;
	list_push(&cs->all, &c->link);
	uv_timer_init(station_loop(cs->st), &c->timer);
	c->timer.data = c;
	uv_timer_start(&c->timer, begin, 0, 0);
	return c;
}

void
courier_resume(struct courier *c)
{
	if (c->transfer)
		transfer_resume(c->transfer);
}

int
courier_open(struct station *st, struct transfers *transfers, struct couriers **out,
	     struct err *err)
{
	struct couriers *cs = mem_zalloc(MEM_RUNTIME, sizeof(*cs));
	struct world w;

	if (!cs)
		return err_set(err, ERR_NO_MEMORY, "no memory for transfers");
	world_real(&w);
	world_random(&w, cs->logins_key, sizeof(cs->logins_key));
	cs->st = st;
	cs->transfers = transfers;
	list_init(&cs->all);
	map_init(&cs->tokens, MEM_RUNTIME);
	*out = cs;
	return 0;
}
