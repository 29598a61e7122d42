/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOGINS_H
#define RUNTIME_LOGINS_H

/* Finds a registry's login in a config.json as docker and podman write it (auths, credHelpers,
 * credsStore). Helpers are programs: they are named, not run. Threading: one owner. */

#include "base/err.h"
#include "runtime/registry.h"

enum { LOGINS_BYTES_MAX = 4 << 20 };

/* 1: *out is it; 0: there is none; -1 with err: the file does not hold. */
int logins_find(const char *text, size_t bytes, const char *host, const char *repository,
		struct registry_login *out, struct err *err) MUST_CHECK;

#endif
