/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CNI_H
#define CLI_CNI_H

/*
 * What a container engine says to a CNI plugin, and what it is answered: the Container Network
 * Interface specification, versions 0.4.0, 1.0.0 and 1.1.0. Here is no I/O: the environment and
 * standard input come as texts, the answer goes to a buffer.
 * Errors: as everywhere, and a code of the specification beside them (cni_code).
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "ring/msg_attachment.h"
#include "wire/json_read.h"

enum {
	CNI_INPUT_MAX = 1 << 20,   /* bytes of standard input */
	CNI_ARGS_MAX = 4096,       /* of CNI_ARGS */
	CNI_VALID_MAX = 16384,     /* attachments that a GC may name */
	CNI_ADDRESS_BYTES = 64 + 4 /* "10.200.1.2/32" */
};

enum cni_verb { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION };
enum cni_version { CNI_0_4_0, CNI_1_0_0, CNI_1_1_0 };

/* Of the specification, and from 100 on our own. */
enum cni_code {
	CNI_BAD_VERSION = 1,
	CNI_BAD_FIELD = 2,
	CNI_NO_CONTAINER = 3,
	CNI_BAD_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_BAD_JSON = 6,
	CNI_BAD_CONFIG = 7,
	CNI_AGAIN = 11,
	CNI_NOT_AVAILABLE = 50,
	CNI_REFUSED = 100, /* the node does not do it: a limit, want of memory ... */
	CNI_CONFLICT = 101 /* it is attached already, or not whole */
};

/* The variables of the environment; NULL: not set. */
struct cni_environment {
	const char *command, *container, *netns, *interface, *args;
};

struct cni_request {
	enum cni_verb verb;
	enum cni_version version;
	struct msg_attach attach; /* as far as the verb has to do with one */
	char instance[MSG_NAME];  /* "": as the command line says */
	char socket[CLI_SOCKET_BYTES];
	bool names;             /* containers may have names in the overlay's DNS */
	const json_t *previous; /* prevResult of a CHECK; in root */
	const json_t *valid;    /* of a GC: an array that was looked through; in root */
	json_t *root;
};

/* 0, or -1 with err and *code_out. r is to be given to cni_fini either way; r->version is what the
 * answer is to be written in. text: standard input, all of it. */
int cni_parse(const struct cni_environment *env, const char *text, size_t bytes,
	      struct cni_request *r, unsigned *code_out, struct err *err) MUST_CHECK;
void cni_fini(struct cni_request *r);
/* Whether a GC's list has this container's interface. */
bool cni_is_valid(const struct cni_request *r, const char *container, const char *interface);

/* The code for what the node answered. */
unsigned cni_code(const struct err *err);

/* Answers, each one JSON object and the end of the line. made: what the API answered to ATTACH. */
void cni_put_result(const struct cni_request *r, const json_t *made, const char *fabric,
		    struct buf *out);
void cni_put_versions(const struct cni_request *r, struct buf *out);
void cni_put_error(enum cni_version version, unsigned code, const struct err *err, struct buf *out);
/* What the engine believes (prevResult) against what the node has; -1 says what differs. */
int cni_compare(const struct cni_request *r, const json_t *made, struct err *err) MUST_CHECK;

#endif
