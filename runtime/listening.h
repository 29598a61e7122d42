/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LISTENING_H
#define RUNTIME_LISTENING_H

/* TCP ports that are listened on in a network namespace, out of /proc/PID/net/tcp and tcp6: so that
 * a failed check can be explained ("listens on 127.0.0.1 only"). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LISTENING_MAX = 8 };

struct listening {
	size_t count;
	uint16_t ports[LISTENING_MAX];
	bool loopback[LISTENING_MAX]; /* on a loopback address only */
};

/* Adds what a file of that form says; pure. */
void listening_parse(const char *text, struct listening *out);
void listening_read(uint32_t pid, struct listening *out);

#endif
