/* SPDX-License-Identifier: Apache-2.0 */
/* What is there is read first: a route that stays is not touched. */
#include "node/wgroutes.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/map.h"
#include "runtime/net_link.h"

enum { PLACE_BYTES = 17, THERE_MAX = 4 * WGROUTES_PEERS_MAX };

void
wgroutes_copy(struct wgroutes *to, const struct wgroutes *from)
{
	to->ifindex = from->ifindex;
	to->times = from->times;
	to->cluster = from->cluster;
	to->count = from->count;
	memcpy(to->peers, from->peers, from->count * sizeof(from->peers[0]));
	to->members_count = from->members_count;
	memcpy(to->members, from->members, from->members_count * sizeof(from->members[0]));
}

bool
wgroutes_equal(const struct wgroutes *a, const struct wgroutes *b)
{
	return a->ifindex == b->ifindex && a->times == b->times && a->count == b->count &&
	       a->members_count == b->members_count &&
	       memcmp(&a->cluster, &b->cluster, sizeof(a->cluster)) == 0 &&
	       memcmp(a->peers, b->peers, a->count * sizeof(a->peers[0])) == 0 &&
	       memcmp(a->members, b->members, a->members_count * sizeof(a->members[0])) == 0;
}

struct making {
	const struct wgroutes *wanted;
	int sock;
	struct map there; /* prefix -> struct addr_prefix of found */
	struct addr_prefix found[THERE_MAX];
	size_t found_count;
	bool failed;
};

static void
place_of(const struct addr_prefix *p, uint8_t out[PLACE_BYTES])
{
	memcpy(out, p->base.ip, 16);
	out[16] = p->bits;
}

static void
take(void *arg, const struct addr_prefix *to)
{
	struct making *m = arg;
	uint8_t place[PLACE_BYTES];

	if (m->found_count == THERE_MAX)
		return;
	struct addr_prefix *p = &m->found[m->found_count++];
	*p = *to;
	place_of(p, place);
	m->failed |= map_put(&m->there, place, sizeof(place), p, NULL) < 0;
}

/* There is no IPv6 here, or not on this device. */
static bool
has_no_v6(const struct err *err)
{
	return err->code == EAFNOSUPPORT || err->code == EOPNOTSUPP || err->code == EACCES ||
	       err->code == ENODEV;
}

static int
add(struct making *m, const struct addr_prefix *to, bool optional, struct err *err)
{
	uint8_t place[PLACE_BYTES];
	struct err own = {0};

	place_of(to, place);
	if (map_remove(&m->there, place, sizeof(place)))
		return 0;
	if (net_link_add_prefix_route(m->sock, m->wanted->ifindex, to, NULL, &own) == 0)
		return 0;
	if (optional && has_no_v6(&own))
		return 0;
	*err = own;
	return -1;
}

static int
make(struct making *m, struct err *err)
{
	const struct wgroutes *w = m->wanted;
	struct map_iter it = {0};

	net_link_each_prefix(m->sock, AF_INET, w->ifindex, take, m);
	net_link_each_prefix(m->sock, AF_INET6, w->ifindex, take, m);
	if (m->failed)
		return err_set(err, ERR_NO_MEMORY, "no memory for the routes that are there");
	for (uint32_t i = 0; i < w->count; i++)
		if (add(m, &w->peers[i].v4, false, err) < 0 ||
		    add(m, &w->peers[i].v6, true, err) < 0)
			return -1;
	while (map_next(&m->there, &it)) {
		struct err gone = {0};

		if (net_link_remove_prefix_route(m->sock, w->ifindex, it.value, &gone) < 0 &&
		    gone.kind != ERR_NOT_FOUND) {
			*err = gone;
			return -1;
		}
	}
	return 0;
}

int
wgroutes_apply(int fabric, const struct wgroutes *wanted, struct err *err)
{
	static struct making m;

	if (!wanted->ifindex)
		return 0;
	m.wanted = wanted;
	m.sock = -1;
	m.found_count = 0;
	m.failed = false;
	if (net_link_open(err) < 0 || (m.sock = net_link_socket(fabric, err)) < 0)
		return -1;
	map_init(&m.there, MEM_NODE);
	int rc = make(&m, err);
	map_fini(&m.there);
	fd_close(&m.sock);
	return rc < 0 ? err_where(err, "the sealed way to other nodes") : 0;
}

static int
refuse(int sock, const struct wgroutes *w, struct err *err)
{
	if (w->cluster.bits && net_link_refuse_prefix(sock, &w->cluster, err) < 0)
		return -1;
	for (uint32_t i = 0; i < w->members_count; i++) {
		struct err own = {0};

		if (net_link_refuse_prefix(sock, &w->members[i].v4, err) < 0)
			return -1;
		if (net_link_refuse_prefix(sock, &w->members[i].v6, &own) < 0 && !has_no_v6(&own)) {
			*err = own;
			return -1;
		}
	}
	return 0;
}

int
wgroutes_refuse(int fabric, const struct wgroutes *wanted, struct err *err)
{
	if (net_link_open(err) < 0)
		return -1;
	defer_close int sock = net_link_socket(fabric, err);
	if (sock < 0 || refuse(sock, wanted, err) < 0)
		return err_where(err, "what is for other nodes and has no way to them");
	return 0;
}
