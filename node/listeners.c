/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening listeners. Rules: IPv6 sockets are for IPv6 only, so that "0.0.0.0" and "[::]" can stand
 * side by side; a group of SO_REUSEPORT sockets is opened only when nobody else listens there (the
 * kernel would let any process of root share the port silently, another instance of ours for one);
 * a group is complete or closed.
 *
 * Ports of endpoints come and go while the node runs. Sockets of theirs that a node before this one
 * had are kept until the scheduler has said which ports there are.
 */
#include "node/listeners.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/fabric.h"
#include "node/portuser.h"
#include "overlay/prober.h"
#include "overlay/engine/udp.h"

enum { BACKLOG = 4096, DOMAIN_PORT = 53 };

void
listeners_init(struct listeners *l, const struct instance *inst, unsigned workers)
{
	assert(workers <= ROLE_PROXIES_MAX);
	memset(l, 0, sizeof(*l));
	l->inst = inst;
	l->workers = workers;
	l->fabric = -1;
}

static void
close_group(struct listener *item)
{
	for (unsigned i = 0; i < ROLE_PROXIES_MAX; i++)
		fd_close(&item->fds[i]);
	item->up = false;
}

static void
socket_path(const struct listeners *l, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	text_format(out->sun_path, sizeof(out->sun_path), "%s/zlayer.sock", l->inst->run_path);
}

void
listeners_fini(struct listeners *l)
{
	struct sockaddr_un at;

	for (size_t i = 0; i < l->count; i++) {
		if (l->items[i].local && l->items[i].up) {
			socket_path(l, &at);
			(void)unlink(at.sun_path);
		}
		close_group(&l->items[i]);
	}
	l->count = 0;
}

/* ---- what is wanted ---- */

static struct listener *
find(struct listeners *l, const char *name, const struct addr *want)
{
	for (size_t i = 0; i < l->count; i++)
		if (text_equal(l->items[i].name, name) && addr_equal(&l->items[i].want, want))
			return &l->items[i];
	return NULL;
}

static struct listener *
want(struct listeners *l, const char *name, const struct addr *addr, unsigned role)
{
	struct listener *item = find(l, name, addr);

	if (item) {
		item->stale = false;
		return item;
	}
	if (l->count == LISTENERS_MAX) {
		log_event(LOG_WARN, "too many listeners", log_s("name", name), LOG_END);
		return NULL;
	}
	item = &l->items[l->count++];
	memset(item, 0, sizeof(*item));
	text_copy(item->name, sizeof(item->name), name);
	item->want = *addr;
	item->addr = *addr;
	item->role = role;
	item->local = addr_is_zero(addr) && addr->port == 0 && text_equal(name, "admin");
	item->inside = text_starts(name, "dns-") || text_equal(name, "probe");
	item->sockets = role == ROLE_PROXY ? l->workers : 1;
	item->stream = text_equal(name, "tcp") || text_equal(name, "udp");
	for (unsigned i = 0; i < ROLE_PROXIES_MAX; i++)
		item->fds[i] = -1;
	return item;
}

static void
mark_stale(struct listeners *l, bool streams)
{
	for (size_t i = 0; i < l->count; i++)
		l->items[i].stale = l->items[i].stream == streams;
}

static void
drop_stale(struct listeners *l, listeners_gone_fn gone, void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->count; i++) {
		struct listener *item = &l->items[i];

		if (!item->stale) {
			if (kept++ != i)
				l->items[kept - 1] = *item;
			continue;
		}
		close_group(item);
		if (gone)
			gone(arg, item->name, &item->addr);
	}
	l->count = kept;
}

static bool
has_v6(void)
{
	defer_close int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0;
}

/* On any address of the fabric: which one is the node's own is overlay's to decide, and to check.
 */
static void
want_names(struct listeners *l)
{
	struct addr any = {.port = DOMAIN_PORT};

	if (has_v6()) {
		(void)want(l, "dns-udp", &any, ROLE_OVERLAY);
		(void)want(l, "dns-tcp", &any, ROLE_OVERLAY);
	}
	addr_from_v4_be(INADDR_ANY, DOMAIN_PORT, &any);
	(void)want(l, "dns-udp", &any, ROLE_OVERLAY);
	(void)want(l, "dns-tcp", &any, ROLE_OVERLAY);
}

/* Between the nodes' own addresses, which are of IPv4 in any case. */
static void
want_probes(struct listeners *l)
{
	struct addr any;

	addr_from_v4_be(INADDR_ANY, PROBER_PORT, &any);
	(void)want(l, "probe", &any, ROLE_OVERLAY);
}

/* "0.0.0.0" is any address, of both families: each has a socket of its own. */
static void
want_sealed(struct listeners *l, const struct config_listen *overlay)
{
	struct addr any = {.port = overlay->addr.port};

	(void)want(l, "overlay", &overlay->addr, ROLE_OVERLAY);
	if (addr_is_v4(&overlay->addr) && addr_v4_be(&overlay->addr) == INADDR_ANY && has_v6())
		(void)want(l, "overlay", &any, ROLE_OVERLAY);
}

void
listeners_plan(struct listeners *l, const struct config *config)
{
	static const struct addr local;
	const struct config_listeners *c = &config->listen;

	mark_stale(l, false);
	for (uint32_t i = 0; i < c->http_count; i++)
		want(l, "http", &c->http[i], ROLE_PROXY);
	for (uint32_t i = 0; i < c->https_count; i++)
		want(l, "https", &c->https[i], ROLE_PROXY);
	want(l, "admin", &local, ROLE_API);
	if (c->api.on)
		want(l, "api", &c->api.addr, ROLE_API);
	if (c->metrics.on && config->metrics.enabled)
		want(l, "metrics", &c->metrics.addr, ROLE_OBSERVABILITY);
	if (l->fabric >= 0) {
		want_names(l);
		want_probes(l);
	}
	if (l->sealed && c->overlay.on)
		want_sealed(l, &c->overlay);
	drop_stale(l, NULL, NULL);
}

const struct listener *
listeners_named(const struct listeners *l, const char *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (text_equal(l->items[i].name, name))
			return &l->items[i];
	return NULL;
}

struct addresses {
	struct addr items[2 * CONFIG_LISTENERS_MAX];
	size_t count;
};

static void
add_address(struct addresses *out, const struct addr *from)
{
	for (size_t i = 0; i < out->count; i++)
		if (addr_equal_ip(&out->items[i], from))
			return;
	out->items[out->count++] = *from;
}

/* Where the edge is: the addresses of the shared listeners. */
static void
edge_addresses(const struct config_listeners *c, struct addresses *out)
{
	static const struct addr any6;
	struct addr any4 = {0};

	out->count = 0;
	for (uint32_t i = 0; i < c->http_count; i++)
		add_address(out, &c->http[i]);
	for (uint32_t i = 0; i < c->https_count; i++)
		add_address(out, &c->https[i]);
	if (out->count)
		return;
	addr_from_v4_be(0, 0, &any4);
	add_address(out, &any4);
	add_address(out, &any6);
}

size_t
listeners_edge(const struct config *config, struct addr *out)
{
	struct addresses at;

	edge_addresses(&config->listen, &at);
	memcpy(out, at.items, at.count * sizeof(out[0]));
	return at.count;
}

/* The scheduler refuses these in documents; that it does is not relied upon. */
static bool
is_nodes_own(const struct config_listeners *c, const struct listeners_port *p)
{
	bool own = false;

	if (p->udp)
		return (c->gossip.on && c->gossip.addr.port == p->port) ||
		       (c->overlay.on && c->overlay.addr.port == p->port) ||
		       (c->vxlan.on && c->vxlan.addr.port == p->port);
	for (uint32_t i = 0; i < c->http_count; i++)
		own |= c->http[i].port == p->port;
	for (uint32_t i = 0; i < c->https_count; i++)
		own |= c->https[i].port == p->port;
	return own || (c->api.on && c->api.addr.port == p->port) ||
	       (c->metrics.on && c->metrics.addr.port == p->port) ||
	       (c->gossip.on && c->gossip.addr.port == p->port) ||
	       (c->store.on && c->store.addr.port == p->port);
}

void
listeners_streams(struct listeners *l, const struct config *config,
		  const struct listeners_port *ports, size_t count, listeners_gone_fn gone,
		  void *arg)
{
	struct addresses at;
	size_t streams = 0;

	edge_addresses(&config->listen, &at);
	mark_stale(l, true);
	for (size_t i = 0; i < count; i++) {
		if (is_nodes_own(&config->listen, &ports[i])) {
			log_event(LOG_ERROR, "a public port is the node's own: it is not opened",
				  log_u("port", ports[i].port), LOG_END);
			continue;
		}
		for (size_t k = 0; k < at.count; k++) {
			struct addr addr = at.items[k];

			addr.port = ports[i].port;
			if (++streams > LISTENERS_STREAMS_MAX)
				log_event(LOG_ERROR, "too many public ports: one is not served",
					  log_u("port", addr.port), LOG_END);
			else
				(void)want(l, ports[i].udp ? "udp" : "tcp", &addr, ROLE_PROXY);
		}
	}
	drop_stale(l, gone, arg);
}

static bool
is_udp(const char *name)
{
	return text_equal(name, "udp") || text_equal(name, "dns-udp") ||
	       text_equal(name, "probe") || text_equal(name, "overlay");
}

/* A socket from elsewhere: is it one that connections are accepted from, or a bound udp one? */
static bool
is_listening(int fd, const char *name)
{
	int type = 0, on = 0;
	socklen_t length = sizeof(int);

	if (is_udp(name))
		return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
		       type == SOCK_DGRAM;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &length) == 0 && on != 0;
}

void
listeners_adopt(struct listeners *l, unsigned role, const char *name, int fd)
{
	struct sockaddr_storage ss = {0};
	socklen_t length = sizeof(ss);
	struct addr at = {0};

	if (!is_listening(fd, name) || getsockname(fd, (struct sockaddr *)&ss, &length) < 0 ||
	    (ss.ss_family != AF_UNIX && !addr_from_sockaddr((struct sockaddr *)&ss, length, &at)))
		goto out;
	if (at.port && (text_equal(name, "tcp") || text_equal(name, "udp")))
		(void)want(l, name, &at, ROLE_PROXY);
	for (size_t i = 0; i < l->count; i++) {
		struct listener *item = &l->items[i];

		if (!text_equal(item->name, name) || (role != ROLE_NODE && item->role != role) ||
		    item->local != (ss.ss_family == AF_UNIX) ||
		    (!item->local && !addr_equal(&item->want, &at) &&
		     !addr_equal(&item->addr, &at)))
			continue;
		for (unsigned w = 0; w < item->sockets; w++) {
			if (item->fds[w] >= 0)
				continue;
			item->fds[w] = fd;
			item->addr = at;
			return;
		}
	}
out:
	fd_close(&fd);
}

/* ---- opening ---- */

static int
inet_socket(const struct addr *addr, bool share, bool udp)
{
	struct sockaddr_storage ss;
	socklen_t length = addr_to_sockaddr(addr, &ss);
	static const int one = 1;
	defer_close int fd = socket(
		ss.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	/* Of udp it would let others in. */
	if (!udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		return -1;
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, length) < 0)
		return -1;
	return fd_take(&fd);
}

static int
inet_listener(struct listener *item, bool share)
{
	bool udp = is_udp(item->name);
	struct sockaddr_storage ss;
	socklen_t length = sizeof(ss);
	defer_close int fd = inet_socket(&item->addr, share, udp);

	if (fd < 0 || (!udp && listen(fd, BACKLOG) < 0) ||
	    getsockname(fd, (struct sockaddr *)&ss, &length) < 0 ||
	    !addr_from_sockaddr((struct sockaddr *)&ss, length, &item->addr))
		return -1;
	if (text_equal(item->name, "overlay"))
		udp_set_room(fd);
	return fd_take(&fd);
}

static int
inside_open(const struct listeners *l, struct listener *item)
{
	if (item->fds[0] < 0)
		item->fds[0] = fabric_socket(
			l->fabric, is_udp(item->name) ? SOCK_DGRAM : SOCK_STREAM, &item->want);
	return item->fds[0] < 0 ? -1 : 0;
}

static int
inet_open(struct listener *item)
{
	bool share = item->role == ROLE_PROXY;
	bool empty = true;

	for (unsigned w = 0; w < item->sockets; w++)
		empty &= item->fds[w] < 0;
	if (share && empty) {
		/* Binding alone fails when somebody listens there, with SO_REUSEPORT or not. */
		struct listener one = {.addr = item->want};

		text_copy(one.name, sizeof(one.name), item->name);
		int alone = inet_listener(&one, false);
		if (alone < 0)
			return -1;
		fd_close(&alone);
	}
	for (unsigned w = 0; w < item->sockets; w++) {
		if (item->fds[w] >= 0)
			continue;
		item->fds[w] = inet_listener(item, share);
		if (item->fds[w] < 0) {
			int code = errno;

			close_group(item);
			item->addr = item->want;
			errno = code;
			return -1;
		}
	}
	return 0;
}

static void
link_default(const struct listeners *l)
{
	if (!text_equal(l->inst->name, "default"))
		return;
	(void)unlinkat(l->inst->runs_fd, "zlayer.sock", 0);
	if (symlinkat("default/zlayer.sock", l->inst->runs_fd, "zlayer.sock") < 0)
		log_event(LOG_WARN, "cannot link the admin socket", log_i("errno", errno), LOG_END);
}

static int
local_open(const struct listeners *l, struct listener *item)
{
	struct sockaddr_un at;
	const struct group *group = getgrnam("zlayer");
	defer_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	socket_path(l, &at);
	if (fd < 0)
		return -1;
	(void)unlink(at.sun_path);
	mode_t mask = umask(0177);
	int rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (rc < 0)
		return -1;
	if (group && (chown(at.sun_path, 0, group->gr_gid) < 0 || chmod(at.sun_path, 0660) < 0))
		return -1;
	if (listen(fd, BACKLOG) < 0)
		return -1;
	item->fds[0] = fd_take(&fd);
	link_default(l);
	return 0;
}

static void
explain(struct listener *item, int code)
{
	char at[ADDR_TEXT_BYTES], user[200];

	addr_put(&item->want, at, sizeof(at));
	(void)err_sys(&item->reason, code, "cannot listen on %s for %s",
		      item->local ? "the admin socket" : at, item->name);
	if (code != EADDRINUSE || item->local || item->inside)
		return;
	if (portuser_find(&item->want, is_udp(item->name), user, sizeof(user)))
		(void)err_why(&item->reason, "%s listens there", user);
	if (item->stream)
		(void)err_fix(&item->reason,
			      "stop that process, or give the endpoint another port");
	else
		(void)err_fix(&item->reason,
			      "stop that process, or change listen.%s in the configuration",
			      item->name);
}

static bool
open_one(const struct listeners *l, struct listener *item)
{
	struct err before = item->reason;
	int rc = item->local && item->fds[0] >= 0 ? 0
		 : item->local                    ? local_open(l, item)
		 : item->inside                   ? inside_open(l, item)
						  : inet_open(item);

	if (rc == 0) {
		item->up = true;
		item->fresh = true;
		err_clear(&item->reason);
		return true;
	}
	explain(item, errno);
	if (before.code == item->reason.code && text_equal(before.why[1], item->reason.why[1]))
		return false;
	log_err(LOG_WARN, "a listener is not up; it is tried again", &item->reason);
	return true;
}

bool
listeners_open(struct listeners *l)
{
	bool changed = false;

	for (size_t i = 0; i < l->count; i++)
		if (!l->items[i].up)
			changed |= open_one(l, &l->items[i]);
	return changed;
}

bool
listeners_all_up(const struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (!l->items[i].up)
			return false;
	return true;
}

void
listeners_each(const struct listeners *l, unsigned role, unsigned worker, bool fresh,
	       listeners_fn visit, void *arg)
{
	const struct listener *last = NULL;

	for (size_t i = 0; i < l->count; i++) {
		const struct listener *item = &l->items[i];

		if (item->role != role || !item->up || worker >= item->sockets ||
		    (fresh && !item->fresh))
			continue;
		if (last)
			visit(arg, last->name, last->fds[worker], false);
		last = item;
	}
	if (last)
		visit(arg, last->name, last->fds[worker], true);
}

void
listeners_settle(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++)
		l->items[i].fresh = false;
}
