/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_CERTS_H
#define NODE_CERTS_H

/*
 * The folder of certificates (tls.certificates): pairs <name>.crt and <name>.key. node opens them
 * for signer, which has no file system, and looks when the folder changes: by inotify, and by
 * comparing sizes and times now and then, since links may lead elsewhere.
 * Threading: the loop's thread.
 */

#include <uv.h>
#include "base/err.h"

struct certs;

enum { CERTS_PAIRS_MAX = 1024, CERTS_FILE_MAX = 1 << 20 };

/* changed: soon after something in the folder changed. A folder that is not there yet is fine. */
struct certs *certs_new(uv_loop_t *loop, const char *path, void (*changed)(void *arg), void *arg);
void certs_free(struct certs *certs);
/* Compares; to be called every few seconds. */
void certs_tick(struct certs *certs);

/* Opens every certificate and its key (-1: there is none); the descriptors are borrowed. */
typedef void (*certs_fn)(void *arg, const char *name, int certificate, int key);
void certs_each(const struct certs *certs, certs_fn visit, void *arg);

#endif
