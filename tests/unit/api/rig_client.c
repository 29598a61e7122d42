/* SPDX-License-Identifier: Apache-2.0 */
/* The client of the rig: a request and its answer, at once or in two parts. */
#include "tests/unit/api/rig.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"

int
rig_dial(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	text_copy(sun.sun_path, sizeof(sun.sun_path), rig_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

char rig_answer[RIG_ANSWER_BYTES];

/* Sends, reads until the end or until `until` is there. Gives the status, 0 when none came. */
unsigned
rig_talk(const char *request, size_t bytes, const char *until)
{
	int fd = rig_dial();
	size_t length = 0;
	ssize_t n;

	(void)!send(fd, request, bytes, MSG_NOSIGNAL);
	rig_answer[0] = 0;
	while (length + 1 < sizeof(rig_answer) &&
	       (n = recv(fd, rig_answer + length, sizeof(rig_answer) - 1 - length, 0)) > 0) {
		length += (size_t)n;
		rig_answer[length] = 0;
		if (until && memmem(rig_answer, length, until, strlen(until)))
			break;
	}
	close(fd);
	return length > 12 ? (unsigned)atoi(rig_answer + 9) : 0;
}

int
rig_ask_begin(const char *method, const char *target)
{
	char request[256];
	int fd = rig_dial();

	snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
		 method, target);
	rig_send(fd, request);
	return fd;
}

void
rig_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

unsigned
rig_ask_end(int fd)
{
	size_t length = 0;
	ssize_t n;

	while ((n = recv(fd, rig_answer + length, sizeof(rig_answer) - 1 - length, 0)) > 0)
		length += (size_t)n;
	rig_answer[length] = 0;
	close(fd);
	return length > 12 ? (unsigned)atoi(rig_answer + 9) : 0;
}

bool
rig_is_answered(int fd)
{
	return recv(fd, rig_answer, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

unsigned
rig_ask(const char *method, const char *target, const char *extra, const char *body)
{
	char request[8192];

	snprintf(request, sizeof(request),
		 "%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s%s%zu\r\n\r\n%s", method,
		 target, extra, body ? "content-length: " : "x-none: ", body ? strlen(body) : 0,
		 body ? body : "");
	return rig_talk(request, strlen(request), NULL);
}

/* The tables arrive a moment after the socket. */
void
rig_wait_ready(void)
{
	for (int i = 0; i < 2000; i++) {
		if (rig_ask("GET", "/v1/deployments/shop", "", NULL) == 200 &&
		    rig_ask("GET", "/v1/events", "", NULL) == 200)
			return;
		poll(NULL, 0, 10);
	}
	fail_msg("the api never saw the tables");
}

bool
rig_has(const char *text)
{
	return strstr(rig_answer, text) != NULL;
}
