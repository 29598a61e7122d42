/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules:
 *  - https, but for mirrors that node.yaml names with http://, and registries on this machine that
 *    do not speak TLS; a redirect never leads from https to http.
 *  - an Authorization goes to the endpoint that asked for it and to its token server, never along a
 *    redirect to another host; a token server is asked over https (http only by an http endpoint).
 *  - a program that keeps a login is asked when a login is wanted, once per endpoint.
 *  - what may get better by itself (cut connections, 429, 5xx) is tried again after 0.5, 1, 2, 4 s
 *    or what Retry-After says, going on behind the last byte; progress counts the tries anew.
 *  - a connection may be cut behind the last byte, before its end was seen: then nothing is left to
 *    ask for (416). Whether what came is right its digest says, which is not checked here.
 *  - what failed at one endpoint is tried at the next; the last one's error is the error, those of
 *    the mirrors stand below it as reasons.
 *
 * RFC 6750 (bearer tokens), RFC 7617 (basic), the token flow of the distribution project.
 */
#include "runtime/registry.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "wire/json_read.h"
#include "wire/url.h"

#define MS_NS 1000000ull

enum { BACKOFF_MS = 500, LOGINS_MAX = 2, TOKEN_LIFE_S = 60, TOKEN_LIFE_MAX_S = 3600 };

/* ---- endpoints ---- */

bool
registry_is_loopback(const char *host)
{
	struct url_authority a;

	if (!url_authority_parse(host, strlen(host), &a))
		return false;
	if (a.ipv6)
		return a.host_length == 3 && !memcmp(a.host, "::1", 3);
	if (a.host_length == 9 && !memcmp(a.host, "localhost", 9))
		return true;
	size_t octets = 0;
	for (size_t i = 0; i < a.host_length; i++) {
		if ((a.host[i] < '0' || a.host[i] > '9') && a.host[i] != '.')
			return false;
		octets += a.host[i] == '.';
	}
	return octets == 3 && !memcmp(a.host, "127.", 4);
}

static bool
set_mirror(struct registry_endpoint *e, const char *url)
{
	struct url_target t;

	if (!url_target_parse(url, strlen(url), HTTP_GET, &t) || t.form != URL_ABSOLUTE ||
	    t.has_query ||
	    !text_ncopy(e->host, sizeof(e->host), url + t.authority.at, t.authority.length) ||
	    !text_copy(e->base, sizeof(e->base), url))
		return false;
	for (size_t n = strlen(e->base); n > 0 && e->base[n - 1] == '/'; n--)
		e->base[n - 1] = '\0';
	e->plain = !t.https;
	e->mirror = true;
	return true;
}

bool
registry_add(struct registry *r, const char *host, const char *url)
{
	struct registry_endpoint *e = &r->endpoints[r->count];

	if (r->count == REGISTRY_ENDPOINTS_MAX)
		return false;
	memset(e, 0, sizeof(*e));
	if (url) {
		if (!set_mirror(e, url))
			return false;
	} else {
		/* Docker's registry has another name than its images. */
		bool docker = !strcmp(host, "docker.io");

		if (!text_copy(e->host, sizeof(e->host), docker ? "registry-1.docker.io" : host))
			return false;
		text_format(e->base, sizeof(e->base), "https://%s", e->host);
		e->either = registry_is_loopback(e->host);
	}
	r->count++;
	return true;
}

void
registry_init(struct registry *r, const char *image, const char *repository, const char *path,
	      bool head, bool quick)
{
	memset(r, 0, sizeof(*r));
	text_copy(r->image, sizeof(r->image), image);
	text_copy(r->repository, sizeof(r->repository), repository);
	text_copy(r->path, sizeof(r->path), path);
	r->head = head;
	r->quick = quick;
}

const struct registry_endpoint *
registry_endpoint(const struct registry *r)
{
	return &r->endpoints[r->at];
}

/* ---- actions ---- */

static void
request(struct registry *r)
{
	struct registry_action *a = &r->action;

	memset(a, 0, sizeof(*a));
	a->verb = REGISTRY_REQUEST;
	a->head = r->head;
	a->from = r->received;
	text_copy(a->url, sizeof(a->url), r->url);
	if (!r->foreign)
		text_copy(a->authorization, sizeof(a->authorization), r->accepted);
	r->in_token = false;
}

/* From the endpoint's own address: a place that a redirect named may not hold for long. */
static void
begin(struct registry *r)
{
	const struct registry_endpoint *e = registry_endpoint(r);

	text_format(r->url, sizeof(r->url), "%s/v2/%s/%s", e->base, r->repository, r->path);
	r->foreign = false;
	r->redirects = 0;
	request(r);
}

static void
fail_all(struct registry *r)
{
	r->err = r->failed[r->at];
	for (size_t i = 0; i < r->at; i++)
		err_why(&r->err, "the mirror %s: %s", r->endpoints[i].host,
			r->failed[i].whys ? r->failed[i].why[0] : r->failed[i].what);
	r->action.verb = REGISTRY_FAIL;
}

/* This endpoint is no use: *err is why. */
static void
next_endpoint(struct registry *r, const struct err *err)
{
	r->failed[r->at] = *err;
	if (r->at + 1 >= r->count || err->kind == ERR_INTERRUPTED) {
		fail_all(r);
		return;
	}
	r->at++;
	r->tries = r->logins = 0;
	memset(r->accepted, 0, sizeof(r->accepted));
	memset(&r->challenge, 0, sizeof(r->challenge));
	r->helper_asked = false;
	err_clear(&r->helper_err);
	begin(r);
}

static void
wait_and_retry(struct registry *r, uint64_t told_ms, uint64_t jitter)
{
	uint64_t wait = (uint64_t)BACKOFF_MS << (r->tries < 8 ? r->tries : 8);

	r->tries++;
	wait += jitter % (wait / 4);
	if (told_ms > wait)
		wait = told_ms;
	r->action.verb = REGISTRY_WAIT;
	r->action.wait_ms = wait < REGISTRY_WAIT_MAX_MS ? wait : REGISTRY_WAIT_MAX_MS;
}

/* ---- words ---- */

static void
why_body(const struct registry_reply *reply, struct err *err)
{
	struct err ignored = {0};
	json_t *j = reply->body && reply->body_bytes
			    ? json_read_parse(reply->body, reply->body_bytes, &ignored)
			    : NULL;
	const json_t *first = json_read_at(json_read_array(j, "errors"), 0);
	const char *message = json_read_text(first, "message");
	char safe[200];

	if (!message[0])
		message = json_read_text(j, "details");
	if (message[0]) {
		text_printable(message, strnlen(message, 150), safe, sizeof(safe));
		err_why(err, "it says: %s", safe);
	}
	json_read_free(j);
}

static void
say_failure(const struct registry *r, const struct registry_reply *reply, struct err *err)
{
	const char *host = registry_endpoint(r)->host;

	switch (reply->failure) {
	case REGISTRY_NO_NAME:
		err_set(err, ERR_SYSTEM, "the registry's name cannot be resolved: %s", host);
		err_fix(err,
			"check the image's name and /etc/resolv.conf of this node, or bring the "
			"image without a registry: zlayer image import FILE.tar");
		break;
	case REGISTRY_NO_SERVER:
		err_set(err, ERR_SYSTEM, "the registry %s cannot be reached", host);
		err_fix(err,
			"check that it runs and that this node reaches it (curl %s/v2/), or bring "
			"the image without it: zlayer image import FILE.tar",
			registry_endpoint(r)->base);
		break;
	case REGISTRY_NO_TLS:
		err_set(err, ERR_SYSTEM, "the registry %s does not speak TLS", host);
		err_fix(err, "give it a certificate, or name it as a mirror with http:// "
			     "(runtime.mirrors in node.yaml)");
		break;
	case REGISTRY_NO_TRUST:
		err_set(err, ERR_SYSTEM, "the registry %s is not trusted", host);
		err_fix(err,
			"put the certificate of its authority into certs.d/%s/ca.crt of "
			"runtime.registries (by default /etc/zlayer/registries)",
			host);
		break;
	case REGISTRY_CUT:
		err_set(err, ERR_SYSTEM, "the connection to the registry %s was cut", host);
		err_fix(err, "try again; it has been tried %u times", r->tries + 1);
		break;
	default:
		err_set(err, ERR_INTERRUPTED, "the transfer from %s was given up", host);
		break;
	}
	if (reply->detail && reply->detail[0])
		err_why(err, "%s", reply->detail);
}

static void
say_denied(const struct registry *r, const struct registry_reply *reply, struct err *err)
{
	const char *host = registry_endpoint(r)->host;
	bool hub = !strcmp(host, "registry-1.docker.io");

	if (reply->status == 403)
		err_set(err, ERR_DENIED, "the registry %s refuses access to %s (403)", host,
			r->repository);
	else if (reply->login && !reply->login->helper[0])
		err_set(err, ERR_DENIED, "the registry %s refuses the login (401)", host);
	else
		err_set(err, ERR_DENIED, "the registry %s wants a login for %s (401)", host,
			r->repository);
	if (r->helper_err.kind) {
		err_why(err, "%s", r->helper_err.what);
		for (unsigned i = 0; i < r->helper_err.whys; i++)
			err_why(err, "%s", r->helper_err.why[i]);
	}
	if (r->helper_err.fix[0]) {
		err_fix(err, "%s", r->helper_err.fix);
		return;
	}
	if (!reply->login && !r->helper_err.kind)
		err_why(err, "there is no login for it; a repository that does not exist looks "
			     "the same");
	why_body(reply, err);
	err_fix(err,
		"as root on this node: docker login %s (or write config.json in "
		"runtime.registries, by default /etc/zlayer/registries)",
		hub ? "" : host);
}

static void
say_status(const struct registry *r, const struct registry_reply *reply, struct err *err)
{
	const char *host = registry_endpoint(r)->host;

	switch (reply->status) {
	case 401:
	case 403:
		say_denied(r, reply, err);
		return;
	case 404:
		err_set(err, ERR_NOT_FOUND, "the image %s is not in the registry %s (404)",
			r->image, host);
		why_body(reply, err);
		err_fix(err, "check its name and tag");
		return;
	case 429:
		err_set(err, ERR_LIMIT, "the registry %s answers: too many requests (429)", host);
		why_body(reply, err);
		if (reply->retry_after_ms)
			err_why(err, "it says to wait for %llu s",
				(unsigned long long)(reply->retry_after_ms / 1000));
		err_fix(err, "wait, log in (docker login), or use a mirror (runtime.mirrors)");
		return;
	default:
		err_set(err, ERR_SYSTEM, "the registry %s answers with status %u", host,
			reply->status);
		why_body(reply, err);
		err_fix(err, "see its log, then try again");
		return;
	}
}

/* ---- logins and tokens ---- */

static void
give_up(struct registry *r, const struct registry_reply *reply)
{
	struct err err = {0};

	if (reply->failure != REGISTRY_ANSWERED)
		say_failure(r, reply, &err);
	else
		say_status(r, reply, &err);
	next_endpoint(r, &err);
}

static bool
basic(const struct registry_login *login, char *out, size_t cap)
{
	char pair[REGISTRY_NAME_BYTES + REGISTRY_SECRET_BYTES];
	char encoded[REGISTRY_SECRET_BYTES];
	bool fits = text_format(pair, sizeof(pair), "%s:%s", login->user, login->password) &&
		    text_base64_size(strlen(pair)) <= sizeof(encoded);

	if (fits) {
		text_base64(pair, strlen(pair), encoded, sizeof(encoded));
		fits = text_format(out, cap, "Basic %s", encoded);
	}
	mem_wipe(pair, sizeof(pair));
	mem_wipe(encoded, sizeof(encoded));
	return fits;
}

static bool
has_password(const struct registry_login *login)
{
	return login && login->user[0] && login->password[0];
}

/* The scope that this transfer needs, whatever the server's challenge says. */
static bool
put_query(const struct registry *r, char *out, size_t cap)
{
	char service[768], scope[1024], wanted[REGISTRY_NAME_BYTES + 32];

	text_format(wanted, sizeof(wanted), "repository:%s:pull", r->repository);
	const char *asked = r->challenge.scope[0] ? r->challenge.scope : wanted;
	if (url_encode(r->challenge.service, strlen(r->challenge.service), service,
		       sizeof(service)) < 0 ||
	    url_encode(asked, strlen(asked), scope, sizeof(scope)) < 0)
		return false;
	return text_format(out, cap, "service=%s&scope=%s", service, scope);
}

/* A scheme may be written in capitals. */
static bool
is_https(const char *url)
{
	struct url_target t;

	return url_target_parse(url, strlen(url), HTTP_GET, &t) && t.https;
}

static bool
realm_is_fine(const struct registry *r)
{
	struct url_target t;
	const char *realm = r->challenge.realm;

	return url_target_parse(realm, strlen(realm), HTTP_GET, &t) && t.form == URL_ABSOLUTE &&
	       (t.https || !is_https(r->url));
}

static bool
ask_token(struct registry *r, const struct registry_login *login)
{
	struct registry_action *a = &r->action;
	char query[2048], encoded[REGISTRY_SECRET_BYTES / 2];
	bool fits;

	if (!realm_is_fine(r) || !put_query(r, query, sizeof(query)))
		return false;
	memset(a, 0, sizeof(*a));
	a->verb = REGISTRY_REQUEST;
	a->token = true;
	if (login && login->identity[0]) {
		fits = url_encode(login->identity, strlen(login->identity), encoded,
				  sizeof(encoded)) >= 0 &&
		       text_copy(a->url, sizeof(a->url), r->challenge.realm) &&
		       text_format(a->form, sizeof(a->form),
				   "grant_type=refresh_token&client_id=zlayer&refresh_token=%s&%s",
				   encoded, query);
		mem_wipe(encoded, sizeof(encoded));
	} else {
		fits = text_format(a->url, sizeof(a->url), "%s%c%s", r->challenge.realm,
				   strchr(r->challenge.realm, '?') ? '&' : '?', query) &&
		       (!has_password(login) ||
			basic(login, a->authorization, sizeof(a->authorization)));
	}
	r->in_token = true;
	return fits;
}

static void
log_in(struct registry *r, const struct registry_reply *reply)
{
	bool again = ++r->logins <= LOGINS_MAX && !r->foreign;
	bool identity = reply->login && reply->login->identity[0];

	if (again && r->challenge.bearer && r->challenge.realm[0]) {
		if (ask_token(r, reply->login))
			return;
	} else if (again && r->challenge.basic && has_password(reply->login) && !identity &&
		   r->logins == 1) {
		if (basic(reply->login, r->accepted, sizeof(r->accepted))) {
			r->accepted_until_ns = 0;
			begin(r);
			return;
		}
	}
	give_up(r, reply);
}

static void
unauthorised(struct registry *r, const struct registry_reply *reply)
{
	memset(&r->challenge, 0, sizeof(r->challenge));
	for (size_t i = 0; i < reply->challenges_count; i++)
		(void)challenge_parse(reply->challenges[i], strlen(reply->challenges[i]),
				      &r->challenge);
	if (reply->login && reply->login->helper[0] && !r->foreign && !r->helper_asked) {
		r->helper_asked = r->in_login = true;
		r->action.verb = REGISTRY_LOGIN;
		return;
	}
	log_in(r, reply);
}

/* Without a login it is tried as anybody: what is public must not depend on the program. */
static void
login_told(struct registry *r, const struct registry_reply *told)
{
	struct registry_reply reply = {.status = 401, .login = told->login};

	r->in_login = false;
	if (told->login_err)
		r->helper_err = *told->login_err;
	log_in(r, &reply);
}

static bool
take_token(struct registry *r, const struct registry_reply *reply, uint64_t now_ns)
{
	struct err ignored = {0};
	json_t *j = reply->body ? json_read_parse(reply->body, reply->body_bytes, &ignored) : NULL;
	const char *token = json_read_text(j, "token");
	int64_t life = json_read_int(j, "expires_in");

	if (!token[0])
		token = json_read_text(j, "access_token");
	bool good = token[0] && token[strcspn(token, "\r\n \t")] == '\0' &&
		    text_format(r->accepted, sizeof(r->accepted), "Bearer %s", token);
	if (life < TOKEN_LIFE_S)
		life = TOKEN_LIFE_S;
	if (life > TOKEN_LIFE_MAX_S)
		life = TOKEN_LIFE_MAX_S;
	/* Not used in its last seconds: the request takes its time, too. */
	r->accepted_until_ns = now_ns + (uint64_t)(life - 10) * 1000 * MS_NS;
	json_read_free(j);
	return good;
}

static bool
is_transient(const struct registry_reply *reply)
{
	return reply->failure == REGISTRY_CUT ||
	       (reply->failure == REGISTRY_ANSWERED &&
		(reply->status == 429 || reply->status == 408 || reply->status >= 500));
}

/* True when it is tried again after a while. */
static bool
retry(struct registry *r, const struct registry_reply *reply, uint64_t jitter)
{
	bool too_long = reply->retry_after_ms > REGISTRY_WAIT_MAX_MS;
	unsigned most = r->quick || registry_endpoint(r)->mirror ? 1 : REGISTRY_TRIES_MAX;

	if (!is_transient(reply) || too_long || r->tries + 1 >= most)
		return false;
	wait_and_retry(r, reply->retry_after_ms, jitter);
	return true;
}

static void
token_answered(struct registry *r, const struct registry_reply *reply, uint64_t now_ns,
	       uint64_t jitter)
{
	struct err err = {0};

	if (reply->failure == REGISTRY_ANSWERED && reply->status == 200) {
		if (take_token(r, reply, now_ns)) {
			begin(r);
			return;
		}
		err_set(&err, ERR_SYSTEM, "the registry %s gave no token",
			registry_endpoint(r)->host);
		err_why(&err, "its token server's answer does not hold");
		next_endpoint(r, &err);
		return;
	}
	r->in_token = false;
	if (retry(r, reply, jitter))
		return;
	give_up(r, reply);
	if (r->action.verb == REGISTRY_FAIL)
		err_where(&r->err, "the registry's token server %.100s", r->challenge.realm);
}

/* ---- redirects ---- */

static bool
same_origin(const char *a, const char *b)
{
	struct url_target x, y;

	if (!url_target_parse(a, strlen(a), HTTP_GET, &x) ||
	    !url_target_parse(b, strlen(b), HTTP_GET, &y) || x.https != y.https ||
	    x.authority.length != y.authority.length)
		return false;
	return !memcmp(a + x.authority.at, b + y.authority.at, x.authority.length);
}

static void
redirected(struct registry *r, const struct registry_reply *reply)
{
	struct url_target t;
	struct err err = {0};
	const char *to = reply->location;
	const char *why = NULL;

	if (!to || !url_target_parse(to, strlen(to), HTTP_GET, &t) || t.form != URL_ABSOLUTE ||
	    strlen(to) >= sizeof(r->url))
		why = "it does not say where to";
	else if (!t.https && is_https(r->url))
		why = "it leads from https to http";
	else if (++r->redirects > REGISTRY_REDIRECTS_MAX)
		why = "there are too many in a row";
	if (why) {
		err_set(&err, ERR_SYSTEM, "a redirect of the registry %s is not followed",
			registry_endpoint(r)->host);
		err_why(&err, "%s", why);
		next_endpoint(r, &err);
		return;
	}
	r->foreign = r->foreign || !same_origin(r->url, to);
	text_copy(r->url, sizeof(r->url), to);
	request(r);
}

/* ---- */

static void
answered(struct registry *r, const struct registry_reply *reply, uint64_t jitter)
{
	struct registry_endpoint *e = &r->endpoints[r->at];

	if (reply->failure == REGISTRY_NO_TLS && e->either && !e->plain) {
		text_format(e->base, sizeof(e->base), "http://%s", e->host);
		e->plain = true;
		begin(r);
		return;
	}
	if (reply->failure == REGISTRY_ANSWERED) {
		if (reply->status == 200 || reply->status == 206) {
			r->action.verb = REGISTRY_DONE;
			return;
		}
		if (reply->status == 416 && r->received > 0 &&
		    (!reply->whole_bytes || reply->whole_bytes == r->received)) {
			r->action.verb = REGISTRY_DONE;
			return;
		}
		if (reply->status == 401) {
			unauthorised(r, reply);
			return;
		}
		if (reply->status >= 300 && reply->status < 400) {
			redirected(r, reply);
			return;
		}
		/* A signed address that a redirect gave may have run out. */
		if (r->foreign && reply->status == 403 && r->tries == 0) {
			r->tries++;
			begin(r);
			return;
		}
	}
	if (!retry(r, reply, jitter))
		give_up(r, reply);
}

void
registry_step(struct registry *r, const struct registry_reply *reply, uint64_t now_ns,
	      uint64_t jitter)
{
	assert(r->count > 0);
	if (!reply) {
		begin(r);
		return;
	}
	if (reply->received > r->received) {
		r->received = reply->received;
		r->tries = 0;
		r->logins = 0;
	}
	if (r->in_login)
		login_told(r, reply);
	else if (r->in_token)
		token_answered(r, reply, now_ns, jitter);
	else
		answered(r, reply, jitter);
}
