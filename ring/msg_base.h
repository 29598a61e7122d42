/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_BASE_H
#define RING_MSG_BASE_H

/* What all messages are made of: sizes of texts, reasons, errors. The rules are those of
 * ring/msg.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

enum {
	MSG_STREAM_PORTS_MAX = 64, /* public tcp and udp ports of a node */
	MSG_NAME = 64,             /* a DNS label and NUL */
	MSG_TARGET = 160,          /* "deployment/service.N" */
	MSG_HOST = 256,
	MSG_PATH = 256,
	MSG_IMAGE = 256,
	MSG_TEXT = 256,
	MSG_DIGEST = 72,        /* "sha256:" and 64 hex digits, NUL */
	MSG_ENDPOINTS_MAX = 16, /* per service */
	MSG_SLOTS = 256, /* request slots of every role that asks, and of the answers for it */
};

/* True when the array holds a NUL: then it is safe to read as a string. */
bool msg_text_ok(const char *text, size_t bytes);
#define MSG_OK(field) msg_text_ok((field), sizeof(field))

/* Why something is as it is, in the four words of struct err, shortened. */
struct msg_reason {
	uint32_t kind; /* enum err_kind; 0: no reason */
	uint32_t code;
	char what[MSG_TEXT];
	char why[MSG_TEXT];
	char why2[MSG_TEXT];
	char fix[MSG_TEXT];
};
void msg_reason_from(const struct err *err, struct msg_reason *out);
/* Into an empty err; a reason that does not hold becomes ERR_CORRUPT. */
void msg_reason_to(const struct msg_reason *reason, struct err *err);

/* An error as the body of an answer, and back (checked: text ended, counts in range). */
size_t msg_err_body(const struct err *err, void *out, size_t cap);
void msg_err_from_body(uint16_t status, const void *body, size_t bytes, struct err *err);

#endif
