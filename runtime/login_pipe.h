/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOGIN_PIPE_H
#define RUNTIME_LOGIN_PIPE_H

/* Waits for a login that a program keeps, on the pipe of LEASH_LOGIN_PIPE. Threading: the loop's.
 */

#include <uv.h>
#include "base/err.h"
#include "runtime/registry.h"

struct login_pipe;

/* login NULL: err says why; ERR_NOT_FOUND: the program has none. Both are wiped after it. */
typedef void (*login_pipe_fn)(void *arg, const struct registry_login *login, const struct err *err);
/* fd: taken, also on failure. NULL with err. */
struct login_pipe *login_pipe_start(uv_loop_t *loop, int fd, login_pipe_fn done, void *arg,
				    struct err *err);
void login_pipe_cancel(struct login_pipe *p); /* NULL is fine; `done` is not called */

#endif
