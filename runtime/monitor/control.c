/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of what monitor and runtime tell each other. Both sides may be of different versions, and
 * a file may be cut by a crash: nothing is used before it went through here.
 */
#include "runtime/monitor/control.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool
head_ok(const void *data, size_t bytes)
{
	uint32_t magic;
	uint16_t version;
	if (bytes < 8)
		return false;
	memcpy(&magic, data, sizeof(magic));
	memcpy(&version, (const char *)data + 4, sizeof(version));
	return magic == CONTROL_MAGIC && version >= CONTROL_VERSION_MIN;
}

bool
control_state_check(const void *data, size_t bytes, struct control_state *out)
{
	/* A newer monitor sends more than we know; an older one never less than version 1. */
	const size_t first = offsetof(struct control_state, init_done);
	const size_t second = offsetof(struct control_state, lease_until_ns);
	if (!head_ok(data, bytes) || bytes < first)
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(out, data, bytes < second ? first : bytes < sizeof(*out) ? second : sizeof(*out));
	if (out->phase < CONTROL_STARTING || out->phase > CONTROL_INIT)
		return false;
	out->what[CONTROL_TEXT - 1] = '\0';
	out->why[CONTROL_TEXT - 1] = '\0';
	out->fix[CONTROL_TEXT - 1] = '\0';
	return true;
}

bool
control_order_check(const void *data, size_t bytes, struct control_order *out)
{
	const size_t least = offsetof(struct control_order, lease_until_ns);
	if (!head_ok(data, bytes) || bytes < least)
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(out, data, bytes < sizeof(*out) ? least : sizeof(*out));
	if (out->verb == CONTROL_LEASE && bytes < sizeof(*out))
		return false;
	return out->verb >= CONTROL_QUERY && out->verb <= CONTROL_LEASE && out->signal < 65;
}

uint64_t
control_start_of(uint32_t pid)
{
	char path[32], text[1024];
	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	/* The name in parentheses may hold anything: fields count from the last ')'. */
	char *at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}
