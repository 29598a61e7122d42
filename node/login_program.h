/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_LOGIN_PROGRAM_H
#define NODE_LOGIN_PROGRAM_H

/*
 * The programs that keep logins of registries for docker and podman (credHelpers, credsStore of
 * config.json): `docker-credential-NAME get`, with the server on its standard input. A process that
 * node forks reads config.json, runs the program that stands there for this registry, and sends
 * what it printed through a pipe (struct leash_login). node itself reads neither.
 * Threading: the loop's thread.
 */

#include <uv.h>
#include "base/err.h"

struct login_program;

struct login_program *login_program_new(uv_loop_t *loop); /* NULL: out of memory */
void login_program_free(struct login_program *p);
/* Gives the pipe, for the fetch role; -1 with err: ERR_LIMIT when too many are at work.
 * logins: config.json, borrowed. host: HOST[:PORT], checked here. */
int login_program_start(struct login_program *p, int logins, const char *host,
			struct err *err) MUST_CHECK;

#endif
