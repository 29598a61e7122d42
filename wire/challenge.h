/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_CHALLENGE_H
#define WIRE_CHALLENGE_H

/*
 * WWW-Authenticate (RFC 9110 11.6.1) as a client reads it: which schemes a server offers, and the
 * parameters of Bearer as registries give them (realm, service, scope). Bounded, no allocation.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>

enum { CHALLENGE_TEXT_BYTES = 1024 };

struct challenge {
	bool basic;
	bool bearer;
	char realm[CHALLENGE_TEXT_BYTES]; /* of bearer; "" when not given */
	char service[256];
	char scope[CHALLENGE_TEXT_BYTES];
};

/* Adds what one field's value says; several fields may follow each other. False: it is malformed
 * (what was read before that is kept), or a parameter is too long. */
bool challenge_parse(const char *value, size_t length, struct challenge *out);

#endif
