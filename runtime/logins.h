/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOGINS_H
#define RUNTIME_LOGINS_H

/* Finds a registry's login in a config.json as docker and podman write it (auths, credHelpers,
 * credsStore). Programs that keep logins are named here, and what they printed is read; who runs
 * them is node/login_program.c. Threading: one owner. */

#include "base/err.h"
#include "runtime/registry.h"

enum { LOGINS_BYTES_MAX = 4 << 20 };

/* 1: *out is it; 0: there is none; -1 with err: the file does not hold. */
int logins_find(const char *text, size_t bytes, const char *host, const char *repository,
		struct registry_login *out, struct err *err) MUST_CHECK;
/* What docker-credential-NAME calls this host: docker.io has another name there. */
const char *logins_server(const char *host);
/* What it printed: {"Username": ..., "Secret": ...}; the user "<token>" stands for an identity
 * token. */
int logins_take(const char *text, size_t bytes, struct registry_login *out,
		struct err *err) MUST_CHECK;

#endif
