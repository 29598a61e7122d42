/* SPDX-License-Identifier: Apache-2.0 */

/* Inherited listeners. TCP_NODELAY is set on the listener: accepted sockets have it then, without a
 * system call each. */

#include "proxy/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/worker.h"

enum { BACKLOG = 4096 };

struct listener {
	struct list link;
	uv_tcp_t tcp;
	struct worker *w;
	bool secure;
	bool starved;
	bool closing;
};

static void
on_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
close_listener(struct listener *l)
{
	if (l->closing)
		return;
	l->closing = true;
	list_remove(&l->link);
	uv_close((uv_handle_t *)&l->tcp, on_closed);
}

static void
on_connection(uv_stream_t *server, int status)
{
	struct listener *l = server->data;

	if (status < 0 || l->closing)
		return;
	l->starved = !downstream_accept(l->w, server, l->secure);
	if (l->starved)
		worker_wake_tick(l->w);
}

void
listener_retry(struct worker *w)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->starved)
			on_connection((uv_stream_t *)&l->tcp, 0);
	}
}

static void
note_port(struct worker *w, int fd)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr a;

	if (getsockname(fd, (struct sockaddr *)&sa, &length) == 0 &&
	    addr_from_sockaddr((const struct sockaddr *)&sa, length, &a))
		w->https_port = a.port;
}

int
listener_add(struct worker *w, int fd, bool secure, struct err *err)
{
	struct listener *l = mem_zalloc(MEM_PROXY, sizeof(*l));
	int on = 1, rc;

	if (!l) {
		(void)close(fd);
		return err_set(err, ERR_NO_MEMORY, "cannot listen");
	}
	l->w = w;
	l->secure = secure;
	(void)uv_tcp_init(w->loop, &l->tcp);
	l->tcp.data = l;
	list_push(&w->listeners, &l->link);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (secure && w->https_port == 0)
		note_port(w, fd);
	rc = uv_tcp_open(&l->tcp, fd);
	if (rc < 0)
		(void)close(fd);
	else
		rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
	if (rc < 0) {
		close_listener(l);
		return err_set(err, ERR_SYSTEM, "cannot listen on a socket that node sent: %s",
			       uv_strerror(rc));
	}
	return 0;
}

void
listener_close_all(struct worker *w)
{
	while (!list_empty(&w->listeners))
		close_listener(container_of(w->listeners.next, struct listener, link));
}
