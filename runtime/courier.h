/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_COURIER_H
#define RUNTIME_COURIER_H

/*
 * Carries one thing from a registry: drives the core of registry.h with everything that it needs of
 * the world (the registry's files from node, names, connections, waits), and keeps what several
 * transfers share: accepted tokens and connections.
 * Threading: the loop's thread of the fetch role.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/station.h"
#include "runtime/registry.h"
#include "runtime/transfer.h"
#include "spec/image_ref.h"

struct couriers;
struct courier;

struct courier_order {
	const char *image; /* the full reference, for messages */
	const struct image_ref *ref;
	const char *path; /* "manifests/TAG" ... */
	const char *accept;
	bool head, quick;
	uint64_t most; /* bytes after which nothing more is read, and it is there; 0: without end */
	size_t first;  /* endpoint to begin with: one that has served this image */
};

struct courier_calls {
	/* As transfer_calls. */
	bool (*data)(void *arg, const void *data, size_t bytes);
	/* err NULL: it is there; result holds the head of the last answer. Called from the loop.
	 * The courier is freed after it. */
	void (*done)(void *arg, const struct err *err, const struct transfer_result *result,
		     size_t endpoint);
};

int courier_open(struct station *st, struct transfers *transfers, struct couriers **out,
		 struct err *err) MUST_CHECK;
/* LEASH_REGISTRY_FILES. */
void courier_files(struct couriers *cs, const struct leash_message *m, int *fds, size_t count);
/* LEASH_LOGIN_PIPE. */
void courier_login(struct couriers *cs, const struct leash_message *m, int *fds, size_t count);

/* NULL with err. */
struct courier *courier_start(struct couriers *cs, const struct courier_order *order,
			      const struct courier_calls *calls, void *arg, struct err *err);
/* There is room again. */
void courier_resume(struct courier *c);
/* Who wanted it is gone: `done` is not called. */
void courier_cancel(struct courier *c);

#endif
