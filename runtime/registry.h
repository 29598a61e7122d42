/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_REGISTRY_H
#define RUNTIME_REGISTRY_H

/*
 * One transfer from a registry (OCI distribution-spec 1.1) as a core: answers and time come in, the
 * next thing to do comes out. It knows logins and tokens, redirects, when to try again and when to
 * go to the next endpoint (mirrors first, then the registry itself), and says in words why it gave
 * up. The bytes of a body never come here: only how many there were.
 *
 *   registry_init, registry_add ... -> registry_step(r, NULL, ...) -> do r->action ->
 *   registry_step(r, &reply, ...) -> do r->action -> ... until REGISTRY_DONE or REGISTRY_FAIL
 *
 * No I/O, no clock. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "wire/challenge.h"

enum {
	REGISTRY_ENDPOINTS_MAX = 9,
	REGISTRY_HOST_BYTES = 264,
	REGISTRY_URL_BYTES = 4096,
	REGISTRY_NAME_BYTES = 256,
	REGISTRY_SECRET_BYTES = 8192,   /* tokens, passwords, a whole Authorization */
	REGISTRY_BODY_BYTES = 64 << 10, /* of a token or an error */
	REGISTRY_REDIRECTS_MAX = 5,
	REGISTRY_TRIES_MAX = 5, /* in a row without a byte more */
	REGISTRY_WAIT_MAX_MS = 30000,
};

struct registry_endpoint {
	char host[REGISTRY_HOST_BYTES]; /* HOST[:PORT]: for logins, certificates and messages */
	char base[REGISTRY_HOST_BYTES + 256]; /* "https://HOST" and maybe a path; no final "/" */
	bool plain;                           /* http */
	bool either; /* on this machine: https, and http when it does not speak TLS */
	bool mirror;
};

struct registry_login {
	char user[REGISTRY_NAME_BYTES];
	char password[REGISTRY_SECRET_BYTES];
	char identity[REGISTRY_SECRET_BYTES]; /* an OAuth refresh token; "" none */
	char helper[64]; /* the login is with a program: ask it when it is needed (REGISTRY_LOGIN)
			  */
};

enum registry_failure {
	REGISTRY_ANSWERED,
	REGISTRY_NO_NAME,   /* the name cannot be resolved */
	REGISTRY_NO_SERVER, /* refused, unreachable, no answer to a connection */
	REGISTRY_NO_TLS,    /* what answers does not speak TLS */
	REGISTRY_NO_TRUST,  /* TLS failed: certificate, name, version */
	REGISTRY_CUT,       /* the connection ended, or nothing came for too long */
	REGISTRY_LOCAL,     /* this side failed: who wanted the bytes is gone, no memory */
};

struct registry_reply {
	enum registry_failure failure;
	const char *detail; /* in words, when it failed */
	unsigned status;
	const char *challenges[4]; /* values of WWW-Authenticate */
	size_t challenges_count;
	const char *location;    /* absolute; NULL none */
	uint64_t retry_after_ms; /* 0: not told */
	const char *body;        /* of a token, or of an error; may be NULL */
	size_t body_bytes;
	uint64_t received;    /* bytes of the thing itself that were passed on, all in all */
	uint64_t whole_bytes; /* how many it has, when a 416 says so; 0 not told */
	const struct registry_login *login; /* for the endpoint; NULL none */
	const struct err *login_err;        /* after REGISTRY_LOGIN, without login: why */
};

enum registry_verb {
	REGISTRY_REQUEST,
	REGISTRY_WAIT,
	REGISTRY_LOGIN, /* ask the endpoint's login.helper; the reply has login or login_err only */
	REGISTRY_DONE,
	REGISTRY_FAIL,
};

struct registry_action {
	enum registry_verb verb;
	/* of a request */
	char url[REGISTRY_URL_BYTES];
	char authorization[REGISTRY_SECRET_BYTES]; /* the field's value; "" none */
	char form[REGISTRY_SECRET_BYTES];          /* POST this; "" GET or HEAD */
	bool head;
	bool token;    /* the body is for registry_reply.body, whatever the status */
	uint64_t from; /* bytes that are there already: ask for the rest */
	/* of a wait */
	uint64_t wait_ms;
};

struct registry {
	struct registry_endpoint endpoints[REGISTRY_ENDPOINTS_MAX];
	size_t count, at;
	char image[REGISTRY_NAME_BYTES]; /* for messages */
	char repository[REGISTRY_NAME_BYTES];
	char path[512]; /* behind /v2/REPOSITORY/ */
	bool head;
	bool quick; /* somebody waits: no second tries */
	struct registry_action action;
	struct err err; /* of REGISTRY_FAIL */
	/* What may be used again: an Authorization that was accepted for this endpoint. */
	char accepted[REGISTRY_SECRET_BYTES];
	uint64_t accepted_until_ns; /* 0: as long as it works */
	/* private */
	bool foreign; /* after a redirect to another host: no Authorization */
	bool in_token;
	bool in_login, helper_asked; /* once per endpoint */
	struct err helper_err;
	unsigned redirects, tries, logins;
	uint64_t received;
	char url[REGISTRY_URL_BYTES]; /* of the thing itself, after redirects */
	struct challenge challenge;
	struct err failed[REGISTRY_ENDPOINTS_MAX];
};

/* image: the full reference. path: "manifests/TAG", "blobs/DIGEST" ... */
void registry_init(struct registry *r, const char *image, const char *repository, const char *path,
		   bool head, bool quick);
/* In the order they are to be asked. url: a mirror's, as node.yaml has it; NULL: the registry of
 * that host itself. False: there is no room, or the url is none. */
bool registry_add(struct registry *r, const char *host, const char *url);
/* reply NULL: begin, or the wait is over. An Authorization that was accepted before may be put into
 * r->accepted before the first step. jitter: any random number. */
void registry_step(struct registry *r, const struct registry_reply *reply, uint64_t now_ns,
		   uint64_t jitter);
const struct registry_endpoint *registry_endpoint(const struct registry *r);
/* Whether http may be spoken to a host without having been told so. */
bool registry_is_loopback(const char *host);

#endif
