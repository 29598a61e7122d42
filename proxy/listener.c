/* SPDX-License-Identifier: Apache-2.0 */

/* Inherited listeners. TCP_NODELAY is set on the listener: accepted sockets have it then, without a
 * system call each. The descriptor is this file's; libuv watches a duplicate, which is closed when
 * the listener is held. */

#include "proxy/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/relay_udp.h"
#include "proxy/worker.h"

enum { BACKLOG = 4096 };

enum kind { HTTP, HTTPS, TCP, UDP, KINDS };

static const char *const names[KINDS] = {"http", "https", "tcp", "udp"};

struct listener {
	struct list link;
	struct worker *w;
	int fd;
	enum kind kind;
	struct addr at;
	uv_tcp_t *tcp;          /* NULL: held (or udp) */
	struct udp_socket *udp; /* NULL: held */
	bool starved;
};

static void
on_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

static void
hold(struct listener *l)
{
	if (l->udp)
		relay_udp_close(l->udp);
	l->udp = NULL;
	if (!l->tcp)
		return;
	l->tcp->data = NULL;
	uv_close((uv_handle_t *)l->tcp, on_closed);
	l->tcp = NULL;
	l->starved = false;
}

static void
close_listener(struct listener *l)
{
	hold(l);
	fd_close(&l->fd);
	list_remove(&l->link);
	mem_free(l);
}

static bool
is_secure(const struct listener *l, const struct relay_endpoint *e)
{
	return e ? (e->row.flags & MSG_STREAM_TLS) != 0 : l->kind == HTTPS;
}

static void
on_connection(uv_stream_t *server, int status)
{
	struct listener *l = server->data;

	if (status < 0 || !l)
		return;
	struct relay_endpoint *e =
		l->kind == TCP ? relay_find(&l->w->relay, false, l->at.port) : NULL;
	/* Without its endpoint it is held from the end of this turn on. */
	if (l->kind == TCP && !e)
		return;
	l->starved = !downstream_accept(l->w, server, is_secure(l, e), e);
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
			on_connection((uv_stream_t *)l->tcp, 0);
	}
}

static bool
address_of(int fd, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &length) == 0 &&
	       addr_from_sockaddr((const struct sockaddr *)&sa, length, out);
}

static int
watch_udp(struct listener *l)
{
	int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	l->udp = relay_udp_open(l->w, fd, &l->at);
	return l->udp ? 0 : UV_ENOMEM;
}

static int
watch(struct listener *l)
{
	uv_tcp_t *tcp = mem_zalloc(MEM_PROXY, sizeof(*tcp));
	int fd = tcp ? fcntl(l->fd, F_DUPFD_CLOEXEC, 0) : -1, rc;

	if (fd < 0) {
		mem_free(tcp);
		return tcp ? -errno : UV_ENOMEM;
	}
	(void)uv_tcp_init(l->w->loop, tcp);
	tcp->data = l;
	l->tcp = tcp;
	rc = uv_tcp_open(tcp, fd);
	if (rc < 0)
		(void)close(fd);
	else
		rc = uv_listen((uv_stream_t *)tcp, BACKLOG, on_connection);
	if (rc < 0)
		hold(l);
	return rc;
}

static enum kind
kind_of(const char *name)
{
	unsigned kind = 0;

	while (kind < KINDS && strcmp(names[kind], name) != 0)
		kind++;
	return kind;
}

bool
listener_known(const char *name)
{
	return kind_of(name) != KINDS;
}

static struct relay_endpoint *
endpoint_of(const struct listener *l)
{
	return l->kind >= TCP ? relay_find(&l->w->relay, l->kind == UDP, l->at.port) : NULL;
}

int
listener_add(struct worker *w, int fd, const char *name, struct err *err)
{
	struct listener *l = mem_zalloc(MEM_PROXY, sizeof(*l));
	int on = 1;

	if (!l) {
		(void)close(fd);
		return err_set(err, ERR_NO_MEMORY, "cannot listen");
	}
	l->w = w;
	l->fd = fd;
	l->kind = kind_of(name);
	if (l->kind == KINDS || !address_of(fd, &l->at)) {
		(void)close(fd);
		mem_free(l);
		return err_set(err, ERR_INVALID, "cannot listen for %s", name);
	}
	list_push(&w->listeners, &l->link);
	if (l->kind != UDP)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (l->kind == HTTPS && w->https_port == 0)
		w->https_port = l->at.port;
	return 0;
}

void
listener_accept_all(struct worker *w)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);
		int rc = 0;

		if (l->tcp || l->udp || (l->kind >= TCP && !endpoint_of(l)))
			continue;
		rc = l->kind == UDP ? watch_udp(l) : watch(l);

		if (rc < 0)
			log_event(LOG_ERROR, "a listener is not served",
				  log_s("why", uv_strerror(rc)), LOG_END);
	}
}

void
listener_hold_secure(struct worker *w)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);

		if (is_secure(l, endpoint_of(l)))
			hold(l);
	}
}

static bool
wanted_at(const struct addr *wanted, size_t count, const struct addr *at)
{
	for (size_t i = 0; i < count; i++) {
		struct addr bound = wanted[i];

		if (bound.port == 0)
			bound.port = at->port;
		if (addr_equal(&bound, at))
			return true;
	}
	return false;
}

void
listener_keep(struct worker *w, const struct config_listeners *wanted)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->kind < TCP &&
		    !(l->kind == HTTPS ? wanted_at(wanted->https, wanted->https_count, &l->at)
				       : wanted_at(wanted->http, wanted->http_count, &l->at)))
			close_listener(l);
	}
}

void
listener_endpoints(struct worker *w)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->kind >= TCP && !endpoint_of(l))
			hold(l);
	}
	if (w->accepting)
		listener_accept_all(w);
}

void
listener_unlisten(struct worker *w, const char *name, const struct addr *at)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->kind >= TCP && strcmp(names[l->kind], name) == 0 && addr_equal(&l->at, at))
			close_listener(l);
	}
}

bool
listener_get(struct worker *w, size_t i, int *fd_out, const char **name_out)
{
	struct list *it, *tmp;

	list_each (it, tmp, &w->listeners) {
		const struct listener *l = container_of(it, struct listener, link);

		if (i-- > 0)
			continue;
		*fd_out = l->fd;
		*name_out = names[l->kind];
		return true;
	}
	return false;
}

void
listener_close_all(struct worker *w)
{
	while (!list_empty(&w->listeners))
		close_listener(container_of(w->listeners.next, struct listener, link));
}
