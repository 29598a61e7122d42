/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and removing of the uplink. Order: rules, links, routes, settings: nothing of a container
 * leaves before it is masqueraded, nothing gets in before it is filtered. Neither end has an
 * address: packets go by permanent neighbours, to 169.254.1.1 and fe80::1 outwards, 169.254.1.2 and
 * fe80::2 inwards, which are nobody's. What the fabric itself sends has the node's own address in
 * its prefix.
 *
 * A machine without IPv6, or with none on this link, has an uplink for IPv4.
 */
#include "node/uplink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/map.h"
#include "base/text.h"
#include "node/uplink_mark.h"
#include "node/uplink_nft.h"
#include "runtime/net.h"
#include "runtime/net_link.h"

/* The veth's own: what is larger than a way on is said there, to the sender. */
enum { MTU = 65535, OTHERS_MAX = 64, RULES_BYTES = 65536 };

static const char outer4[] = "169.254.1.1", outer6[] = "fe80::1";
static const char inner4[] = "169.254.1.2", inner6[] = "fe80::2";

struct job {
	const struct uplink_wanted *wanted;
	char name[IFNAMSIZ];
	int host, fabric; /* netlink sockets */
	int lock;
	uint32_t outer, inner; /* links; 0: not there */
	uint8_t outer_mac[6], inner_mac[6];
	char alias[UPLINK_MARK_BYTES]; /* of ours; "" when there is none */
	char others[OTHERS_MAX][UPLINK_MARK_BYTES];
	uint32_t other_links[OTHERS_MAX];
	size_t others_count;
	uint32_t rival; /* a link of theirs; 0 none */
	struct uplink_mark_links ways;
};

void
uplink_name(const char *instance, char out[IFNAMSIZ])
{
	const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 2};

	if (text_format(out, IFNAMSIZ, "zl-%s", instance))
		return;
	snprintf(out, IFNAMSIZ, "zl-%012" PRIx64,
		 map_siphash(key, instance, strlen(instance)) & UINT64_C(0xffffffffffff));
}

static void
make_mac(const char *instance, uint8_t first, uint8_t out[6])
{
	const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 3};
	uint64_t hash = map_siphash(key, instance, strlen(instance));

	out[0] = first;
	for (int i = 1; i < 6; i++)
		out[i] = (uint8_t)(hash >> (8 * i));
}

/* ---- what is there ---- */

static void
take_alias(void *arg, const char *name, uint32_t index, const char *alias)
{
	struct job *j = arg;

	if (!text_starts(name, "zl-") || !uplink_mark_ours(alias))
		return;
	if (strcmp(name, j->name) == 0) {
		text_copy(j->alias, sizeof(j->alias), alias);
	} else if (j->others_count < OTHERS_MAX) {
		j->other_links[j->others_count] = index;
		text_copy(j->others[j->others_count++], UPLINK_MARK_BYTES, alias);
	}
}

static uint32_t
find(int sock, const char *name)
{
	struct err none = {0};
	uint32_t index = 0;

	return net_link_find(sock, name, &index, &none) < 0 ? 0 : index;
}

static int
look(struct job *j, const struct uplink_wanted *wanted, struct err *err)
{
	*j = (struct job){.wanted = wanted, .host = -1, .fabric = -1, .lock = -1};
	uplink_name(wanted->instance, j->name);
	make_mac(wanted->instance, 0x0a, j->outer_mac);
	make_mac(wanted->instance, 0x0e, j->inner_mac);
	j->lock = openat(wanted->runs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->lock < 0 || flock(j->lock, LOCK_EX) < 0)
		return err_sys(err, errno, "cannot lock the uplinks of this machine");
	defer_close int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0)
		return err_sys(err, errno, "cannot open our own network namespace");
	if (net_link_open(err) < 0)
		return -1;
	j->host = net_link_socket(here, err);
	if (j->host < 0)
		return -1;
	j->fabric = net_link_socket(wanted->fabric, err);
	if (j->fabric < 0)
		return -1;
	j->outer = find(j->host, j->name);
	j->inner = find(j->fabric, UPLINK_IN_FABRIC);
	net_link_each_alias(j->host, take_alias, j);
	return 0;
}

static void
leave(struct job *j)
{
	fd_close(&j->host);
	fd_close(&j->fabric);
	fd_close(&j->lock);
}

static void
add_way(char names[UPLINK_MARK_LINKS_MAX][IFNAMSIZ], size_t *count, uint32_t index)
{
	char name[IFNAMSIZ];

	if (!if_indextoname(index, name) || text_starts(name, "zl-") ||
	    *count == UPLINK_MARK_LINKS_MAX)
		return;
	for (size_t i = 0; i < *count; i++)
		if (strcmp(names[i], name) == 0)
			return;
	text_copy(names[(*count)++], IFNAMSIZ, name);
}

static void
add_way4(void *arg, uint32_t index)
{
	struct job *j = arg;

	add_way(j->ways.v4, &j->ways.v4_count, index);
}

static void
add_way6(void *arg, uint32_t index)
{
	struct job *j = arg;

	add_way(j->ways.v6, &j->ways.v6_count, index);
}

static bool
find_ways(struct job *j)
{
	net_link_each_default(j->host, AF_INET, add_way4, j);
	net_link_each_default(j->host, AF_INET6, add_way6, j);
	return j->ways.v4_count + j->ways.v6_count > 0;
}

/* ---- making ---- */

static void
take_neighbour(void *arg, uint32_t index)
{
	struct job *j = arg;

	for (size_t i = 0; i < j->others_count; i++)
		if (j->other_links[i] == index)
			j->rival = index;
}

/* Each node draws its prefix by itself: two of one machine may have drawn the same, and the route
 * that is set last would take the other one's packets. */
static int
check_prefix(struct job *j, const struct addr_prefix *prefix, struct err *err)
{
	char text[ADDR_TEXT_BYTES], name[IFNAMSIZ] = "";

	j->rival = 0;
	net_link_each_way(j->host, prefix, take_neighbour, j);
	if (!j->rival)
		return 0;
	addr_put_prefix(prefix, text, sizeof(text));
	if_indextoname(j->rival, name);
	err_set(err, ERR_CONFLICT, "%s belongs to another node of this machine", text);
	err_why(err, "its route goes over %s", name);
	return err_fix(err,
		       "give one of the two nodes another one: overlay.%s in its node.yaml, then "
		       "start it again",
		       addr_is_v4(&prefix->base) ? "prefix4" : "prefix6");
}

static int
make_links(struct job *j, struct err *err)
{
	struct net_link_veth v = {.peer = UPLINK_IN_FABRIC, .mtu = MTU};

	if (j->outer && j->inner)
		return 0;
	/* One end alone: of a fabric that is gone, or made by somebody else. */
	if ((j->outer && net_link_remove(j->host, j->outer, err) < 0) ||
	    (j->inner && net_link_remove(j->fabric, j->inner, err) < 0))
		return -1;
	text_copy(v.name, sizeof(v.name), j->name);
	v.peer_ns = j->wanted->fabric;
	memcpy(v.mac, j->outer_mac, 6);
	memcpy(v.peer_mac, j->inner_mac, 6);
	if (net_link_add_veth(j->host, &v, err) < 0 ||
	    net_link_find(j->host, j->name, &j->outer, err) < 0)
		return -1;
	return net_link_find(j->fabric, UPLINK_IN_FABRIC, &j->inner, err);
}

static int
make_family(struct job *j, const char *outer, const char *inner, const struct addr_prefix *prefix,
	    struct err *err)
{
	struct addr out, in;
	bool ok = addr_parse_ip(outer, &out) && addr_parse_ip(inner, &in);

	assert(ok);
	if (net_link_add_neighbour(j->fabric, j->inner, &out, j->outer_mac, err) < 0 ||
	    net_link_add_route(j->fabric, j->inner, NULL, &out, err) < 0 ||
	    net_link_add_neighbour(j->host, j->outer, &in, j->inner_mac, err) < 0)
		return -1;
	return net_link_add_prefix_route(j->host, j->outer, prefix, &in, err);
}

static bool
has_v6(const struct job *j)
{
	char path[96], value = '1';

	text_format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", j->name);
	defer_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &value, 1) == 1 && value == '0';
}

static int
make_routes(struct job *j, struct err *err)
{
	if (net_link_up(j->host, j->outer, err) < 0 || net_link_up(j->fabric, j->inner, err) < 0 ||
	    make_family(j, outer4, inner4, &j->wanted->v4, err) < 0)
		return -1;
	if (!has_v6(j))
		return 0;
	return make_family(j, outer6, inner6, &j->wanted->v6, err);
}

/* What clients send to replicas of other nodes comes to the inner end from XDP, which a veth takes
 * only so. Where that is not to be had the proxies' relays serve: no reason to have no uplink. */
static void
join_packets(struct job *j)
{
	struct net_stay stay;
	struct err err = {0};

	if (net_enter(j->wanted->fabric, &stay, &err) < 0)
		return;
	if (net_gro(UPLINK_IN_FABRIC, &err) < 0)
		err_clear(&err);
	net_leave(&stay);
}

/* The alias says what is switched before it is. */
static int
make_marks(struct job *j, struct err *err)
{
	char alias[UPLINK_MARK_BYTES];

	if (!j->alias[0])
		uplink_mark_begin(j->wanted->instance, j->alias);
	text_copy(alias, sizeof(alias), j->alias);
	if (uplink_mark_plan(&j->ways, alias, err) < 0 ||
	    net_link_set_alias(j->host, j->outer, alias, err) < 0)
		return -1;
	text_copy(j->alias, sizeof(j->alias), alias);
	return 0;
}

static uint64_t
put_rules(struct job *j, struct buf *rules)
{
	const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 4};
	const char *aliases[OTHERS_MAX + 1];
	size_t count = 0;

	if (j->alias[0])
		aliases[count++] = j->alias;
	for (size_t i = 0; i < j->others_count; i++)
		aliases[count++] = j->others[i];
	uplink_nft_rules(j->wanted, aliases, count, rules);
	return map_siphash(key, rules->data, rules->length) | 1;
}

/* Gives the digest of the rules that stand after; 0 with err. */
static uint64_t
make_rules(struct job *j, uint64_t standing, struct err *err)
{
	struct buf rules;

	buf_init(&rules, MEM_NODE, RULES_BYTES);
	uint64_t digest = put_rules(j, &rules);
	if (!buf_ok(&rules)) {
		err_set(err, ERR_NO_MEMORY, "no memory for the rules of the uplink");
		digest = 0;
	} else if (digest != standing || !uplink_nft_there(j->wanted->instance)) {
		if (uplink_nft_run(buf_cstr(&rules), rules.length, j->wanted->nft_uid, err) < 0)
			digest = 0;
	}
	buf_fini(&rules);
	return digest;
}

static int
make(struct job *j, struct uplink_found *out)
{
	struct err *err = &out->err;

	if (check_prefix(j, &j->wanted->v4, err) < 0 || check_prefix(j, &j->wanted->v6, err) < 0)
		return -1;
	/* Rules before links, and again when marks have come to them: the same digest is no work.
	 */
	uint64_t digest = make_rules(j, j->wanted->digest, err);
	if (!digest || make_links(j, err) < 0 || make_marks(j, err) < 0)
		return -1;
	digest = make_rules(j, digest, err);
	if (!digest || make_routes(j, err) < 0 || uplink_mark_switch(j->name, j->alias, err) < 0)
		return -1;
	join_packets(j);
	out->digest = digest;
	return 0;
}

/* ---- removing ---- */

struct heir {
	char alias[UPLINK_MARK_BYTES];
	bool failed;
};

static void
inherit(void *arg, const char *word)
{
	struct heir *h = arg;
	struct err err = {0};

	if (uplink_mark_add(h->alias, word, &err) < 0)
		h->failed = true;
}

/* Marks go over to another node's uplink: what it needs too stays switched until the last one
 * goes. */
static bool
hand_over(struct job *j)
{
	struct heir heir = {0};
	struct err err = {0};

	if (!j->others_count)
		return false;
	text_copy(heir.alias, sizeof(heir.alias), j->others[0]);
	uplink_mark_each(j->alias, inherit, &heir);
	return !heir.failed &&
	       net_link_set_alias(j->host, j->other_links[0], heir.alias, &err) == 0;
}

static int
unmake(struct job *j, struct err *err)
{
	char text[2 * UPLINK_NFT_NAME_BYTES], table[UPLINK_NFT_NAME_BYTES];

	if (j->alias[0] && !hand_over(j))
		uplink_mark_restore(j->alias);
	if (j->outer && net_link_remove(j->host, j->outer, err) < 0)
		return -1;
	j->outer = 0;
	if (!uplink_nft_there(j->wanted->instance))
		return 0;
	uplink_nft_name(j->wanted->instance, table);
	text_format(text, sizeof(text), "delete table inet %s\n", table);
	return uplink_nft_run(text, strlen(text), j->wanted->nft_uid, err);
}

int
uplink_remove(const struct uplink_wanted *wanted, struct err *err)
{
	struct job job;
	int rc = look(&job, wanted, err);

	if (rc == 0)
		rc = unmake(&job, err);
	leave(&job);
	return rc;
}

/* ---- both ---- */

static void
fail(struct job *j, bool stood, struct uplink_found *out)
{
	struct err err = {0};

	out->state = MSG_UPLINK_FAILED;
	(void)err_where(&out->err, "the uplink of the containers, link %s", j->name);
	if (stood) {
		out->digest = 0; /* tried again at the next look */
		return;
	}
	j->outer = find(j->host, j->name);
	(void)unmake(j, &err);
	j->inner = 0;
}

static void
apply(struct job *j, struct uplink_found *out)
{
	bool stood = j->outer && j->inner;

	if (!j->wanted->on) {
		out->state = MSG_UPLINK_OFF;
		if (unmake(j, &out->err) < 0)
			out->state = MSG_UPLINK_FAILED;
		return;
	}
	if (!find_ways(j) && !j->wanted->always && !stood) {
		out->state = MSG_UPLINK_WAITS;
		return;
	}
	out->state = MSG_UPLINK_UP;
	if (make(j, out) < 0)
		fail(j, stood, out);
	out->ifindex = j->outer;
	out->fabric_ifindex = j->outer ? j->inner : 0;
	text_copy(out->name, sizeof(out->name), j->name);
}

void
uplink_apply(const struct uplink_wanted *wanted, struct uplink_found *out)
{
	struct job job;

	*out = (struct uplink_found){.state = MSG_UPLINK_FAILED};
	if (look(&job, wanted, &out->err) == 0)
		apply(&job, out);
	leave(&job);
}
