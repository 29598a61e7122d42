/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of /proc/net/tcp: "0: 0100007F:1F90 00000000:0000 0A ...", address in the machine's byte
 * order by 32-bit words, state 0A is LISTEN. The same port on several addresses is one entry, and
 * loopback only when all of them are.
 */
#include "runtime/listening.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"

enum { STATE_LISTEN = 0x0a, TEXT_BYTES = 65536 };

static bool
is_loopback(const char *address)
{
	static const char v6[] = "00000000000000000000000001000000";
	static const char mapped[] = "0000000000000000FFFF0000";
	size_t length = strlen(address);
	if (length == 8)
		return strcmp(address + 6, "7F") == 0;
	if (length != 32)
		return false;
	if (strncmp(address, mapped, 24) == 0)
		return strcmp(address + 30, "7F") == 0;
	return strcmp(address, v6) == 0;
}

static void
add(struct listening *out, uint16_t port, bool loopback)
{
	for (size_t i = 0; i < out->count; i++) {
		if (out->ports[i] == port) {
			out->loopback[i] = out->loopback[i] && loopback;
			return;
		}
	}
	if (out->count == LISTENING_MAX)
		return;
	out->ports[out->count] = port;
	out->loopback[out->count++] = loopback;
}

void
listening_parse(const char *text, struct listening *out)
{
	char address[33];
	unsigned port, state;
	for (; text != NULL && *text != '\0'; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (sscanf(text, " %*u: %32[0-9A-F]:%4x %*[0-9A-F]:%*4x %2x", address, &port,
			   &state) == 3 &&
		    state == STATE_LISTEN)
			add(out, (uint16_t)port, is_loopback(address));
	}
}

void
listening_read(uint32_t pid, struct listening *out)
{
	static char text[TEXT_BYTES];
	static const char *const files[] = {"tcp", "tcp6"};
	char path[48];
	*out = (struct listening){0};
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%u/net/%s", pid, files[i]);
		defer_close int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t used = 0, n = 0;
		while (fd >= 0 && used < TEXT_BYTES - 1 &&
		       (n = read(fd, text + used, (size_t)(TEXT_BYTES - 1 - used))) > 0)
			used += n;
		text[used] = '\0';
		listening_parse(text, out);
	}
}
