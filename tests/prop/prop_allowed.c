/* SPDX-License-Identifier: Apache-2.0 */
/* The trie of allowed addresses against a list of prefixes. */
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/allowed.h"
#include "tests/support/prop.h"

enum { PREFIXES_MAX = 400, PEERS = 9, ROUNDS = 6000 };

struct entry {
	struct addr_prefix prefix;
	struct allowed_owner *peer;
};

static struct entry list[PREFIXES_MAX];
static size_t count;
static struct allowed_owner peers[PEERS];

/* Few different bits, so that prefixes nest and meet. */
static void
draw(struct prop *p, struct addr_prefix *out)
{
	bool v4 = prop_below(p, 2);

	*out = (struct addr_prefix){0};
	for (unsigned i = 0; i < 16; i++)
		out->base.ip[i] = (uint8_t)(prop_below(p, 3) ? 0 : 1u << prop_below(p, 8));
	out->base.ip[0] = 0xfd;
	if (v4) {
		memset(out->base.ip, 0, 10);
		memset(out->base.ip + 10, 0xff, 2);
	}
	out->bits = (uint8_t)(v4 ? 96 + prop_below(p, 33) : prop_below(p, 129));
	for (unsigned i = out->bits; i < 128; i++)
		out->base.ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	/* ::/0 and what begins with zeros would be an IPv4 one, cut off. */
	if (!v4 && addr_is_v4(&out->base))
		out->base.ip[15] = 1;
}

static bool
same(const struct addr_prefix *a, const struct addr_prefix *b)
{
	return a->bits == b->bits && addr_equal_ip(&a->base, &b->base);
}

static struct entry *
lookup(const struct addr_prefix *prefix)
{
	for (size_t i = 0; i < count; i++)
		if (same(&list[i].prefix, prefix))
			return &list[i];
	return NULL;
}

static struct allowed_owner *
longest(const struct addr *a)
{
	const struct entry *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (addr_is_v4(&list[i].prefix.base) == addr_is_v4(a) &&
		    addr_in_prefix(a, &list[i].prefix) &&
		    (!best || list[i].prefix.bits > best->prefix.bits))
			best = &list[i];
	return best ? best->peer : NULL;
}

static void
set(struct prop *p, struct allowed *a)
{
	struct addr_prefix prefix;
	struct err err = {0};
	struct allowed_owner *peer = &peers[prop_below(p, PEERS)];

	draw(p, &prefix);
	struct entry *e = lookup(&prefix);
	if (!e && count == PREFIXES_MAX)
		return;
	prop_check(allowed_set(a, &prefix, peer, &err) == 0);
	if (!e)
		e = &list[count++];
	*e = (struct entry){prefix, peer};
}

static void
drop(size_t i)
{
	list[i] = list[--count];
}

static void
take(struct prop *p, struct allowed *a)
{
	if (count == 0)
		return;
	size_t i = prop_below(p, count);
	struct addr_prefix prefix = list[i].prefix;
	struct allowed_owner *peer = list[i].peer,
			     *other = &peers[(size_t)(peer - peers + 1) % PEERS];

	prop_check(!allowed_remove(a, &prefix, other));
	prop_check(allowed_remove(a, &prefix, peer));
	prop_check(!allowed_remove(a, &prefix, peer));
	drop(i);
}

static void
take_peer(struct prop *p, struct allowed *a)
{
	struct allowed_owner *peer = &peers[prop_below(p, PEERS)];

	allowed_remove_all(a, peer);
	for (size_t i = count; i-- > 0;)
		if (list[i].peer == peer)
			drop(i);
}

struct visit {
	const struct allowed_owner *peer;
	size_t seen;
};

static void
visit(void *arg, const struct addr_prefix *prefix)
{
	struct visit *v = arg;
	struct entry *e = lookup(prefix);

	prop_check(e && e->peer == v->peer);
	v->seen++;
}

static void
compare(struct prop *p, const struct allowed *a)
{
	struct addr_prefix near;
	size_t seen = 0;

	prop_check(a->count == count);
	for (int i = 0; i < 20; i++) {
		draw(p, &near);
		if (i % 2 && count) {
			near = list[prop_below(p, count)].prefix;
			near.base.ip[15 - prop_below(p, 3)] ^= (uint8_t)prop_below(p, 4);
		}
		prop_check(allowed_find(a, &near.base) == longest(&near.base));
	}
	for (size_t i = 0; i < PEERS; i++) {
		struct visit v = {.peer = &peers[i]};

		allowed_each(v.peer, visit, &v);
		prop_check(v.seen == peers[i].count);
		seen += v.seen;
	}
	prop_check(seen == count);
}

static void
fail_some(struct prop *p, struct allowed *a)
{
	struct addr_prefix prefix;
	struct err err = {0};

	draw(p, &prefix);
	if (lookup(&prefix) || count == PREFIXES_MAX)
		return;
	mem_fail_after((int64_t)prop_below(p, 2));
	bool kept = allowed_set(a, &prefix, &peers[0], &err) == 0;
	mem_fail_after(-1);
	if (kept)
		list[count++] = (struct entry){prefix, &peers[0]};
}

int
main(int argc, char **argv)
{
	struct allowed a;
	struct prop p;

	prop_init(&p, argc, argv);
	allowed_init(&a);
	for (size_t i = 0; i < PEERS; i++)
		allowed_owner_init(&peers[i]);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned what = (unsigned)prop_below(&p, 40);

		if (what < 20)
			set(&p, &a);
		else if (what < 35)
			take(&p, &a);
		else if (what == 35)
			take_peer(&p, &a);
		else
			fail_some(&p, &a);
		compare(&p, &a);
	}
	allowed_fini(&a);
	prop_check(mem_used_all() == 0);
	return 0;
}
