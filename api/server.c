/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepting on the admin socket. Who may connect is the socket's mode, made by node; the peer's
 * credentials say who it is, for the history and for limits per user. Too many connections are
 * answered and closed, not left waiting.
 */
#include "api/server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/conn.h"
#include "base/fd.h"
#include "base/log.h"

enum { ACCEPT_TURN = 32 };

void
server_init(struct server *s, struct station *st)
{
	memset(s, 0, sizeof(*s));
	s->station = st;
	s->listener_fd = -1;
	list_init(&s->conns);
	list_init(&s->feeds);
	list_init(&s->logs);
	list_init(&s->spools);
	bus_init(&s->bus);
}

struct server_user *
server_user(struct server *s, uint32_t uid)
{
	struct server_user *free_user = NULL;

	for (size_t i = 0; i < SERVER_USERS_MAX; i++) {
		struct server_user *u = &s->users[i];

		if (u->at_ms && u->uid == uid)
			return u;
		if (!u->conns && (!free_user || u->at_ms < free_user->at_ms))
			free_user = u;
	}
	if (free_user)
		*free_user = (struct server_user){
			.uid = uid,
			.tokens_milli = (uint64_t)SERVER_BURST * 1000,
			.at_ms = uv_now(station_loop(s->station)) + 1,
		};
	return free_user;
}

bool
server_allow(struct server *s, struct server_user *u)
{
	uint64_t now = uv_now(station_loop(s->station)) + 1;
	uint64_t most = (uint64_t)SERVER_BURST * 1000;

	u->tokens_milli += (now - u->at_ms) * SERVER_RATE;
	if (u->tokens_milli > most)
		u->tokens_milli = most;
	u->at_ms = now;
	if (u->tokens_milli < 1000)
		return false;
	u->tokens_milli -= 1000;
	return true;
}

static void
refuse(int fd, const char *status)
{
	static const char rest[] =
		"\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

	send(fd, status, strlen(status), MSG_NOSIGNAL | MSG_DONTWAIT);
	send(fd, rest, sizeof(rest) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void
take(struct server *s, int fd)
{
	pid_t pid;
	uid_t uid;
	gid_t gid;

	if (fd_peer(fd, &pid, &uid, &gid) < 0) {
		close(fd);
		return;
	}
	struct server_user *user = server_user(s, uid);
	if (!user || user->conns >= SERVER_CONNS_OF_USER_MAX)
		refuse(fd, "HTTP/1.1 429 Too Many Requests");
	else if (s->conns_count >= SERVER_CONNS_MAX || mem_used(MEM_API) > SERVER_MEMORY_MAX)
		refuse(fd, "HTTP/1.1 503 Service Unavailable");
	else
		conn_new(s, fd, user, (uint32_t)pid);
}

static void
on_listener(uv_poll_t *poll, int status, int events)
{
	struct server *s = poll->data;

	(void)events;
	for (int turn = 0; status == 0 && turn < ACCEPT_TURN; turn++) {
		int fd = accept4(s->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				log_event(LOG_WARN, "no descriptor for a connection", LOG_END);
			return;
		}
		take(s, fd);
	}
}

int
server_listen(struct server *s, int fd, struct err *err)
{
	if (s->listener_fd >= 0)
		return err_set(err, ERR_CONFLICT, "there is an admin socket already");
	if (fd_nonblock(fd, true) < 0)
		return err_sys(err, errno, "cannot use the admin socket");
	int rc = uv_poll_init(station_loop(s->station), &s->listener, fd);
	if (rc < 0)
		return err_sys(err, -rc, "cannot wait on the admin socket");
	s->listener.data = s;
	s->listener_fd = fd;
	uv_poll_start(&s->listener, UV_READABLE, on_listener);
	return 0;
}
