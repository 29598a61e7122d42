/* SPDX-License-Identifier: Apache-2.0 */
/* systemd's notification protocol. A lost notification is no reason to fail. */
#include "node/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

void
notify_send(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if (!path || (path[0] != '/' && path[0] != '@') ||
	    !text_copy(at.sun_path, sizeof(at.sun_path), path))
		return;
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	defer_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
			     (struct sockaddr *)&at, length);
}

void
notify_reloading(void)
{
	char text[96];
	struct timespec now = {0};

	clock_gettime(CLOCK_MONOTONIC, &now);
	text_format(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		    (unsigned long long)now.tv_sec * 1000000 +
			    (unsigned long long)now.tv_nsec / 1000);
	notify_send(text);
}

uint64_t
notify_watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t value, whose;

	if (!usec || !text_u64(usec, UINT64_MAX / 2, &value))
		return 0;
	if (pid && (!text_u64(pid, INT32_MAX, &whose) || whose != (uint64_t)getpid()))
		return 0;
	return value / 2000;
}
