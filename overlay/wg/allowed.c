/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trie. A node stands for the first `bits` bits of its key; below it are at most two, one for
 * each value of the bit behind. A node without an owner has two children: it is where two paths
 * part. Keys are 128 bits wide for both families, in two words, so that comparing is two
 * operations.
 */
#include "overlay/wg/allowed.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

enum { KEY_BITS = 128, WORD_BITS = 64, DEPTH_MAX = KEY_BITS + 1, V4_HEAD = 0xffff };

struct key {
	uint64_t word[2];
};

struct allowed_node {
	struct key key;
	struct allowed_node *below[2];
	struct allowed_owner *owner;
	struct list place; /* among those of its owner */
	uint8_t bits;
};

/* ---- keys ---- */

static struct key
key_of(const uint8_t ip[16])
{
	struct key k;

	for (unsigned w = 0; w < 2; w++) {
		uint64_t v;

		memcpy(&v, ip + 8 * w, sizeof(v));
		k.word[w] = __builtin_bswap64(v);
	}
	return k;
}

static uint64_t
mask(unsigned bits)
{
	return bits >= WORD_BITS ? UINT64_MAX : ~(UINT64_MAX >> bits);
}

static struct key
cut(struct key k, unsigned bits)
{
	k.word[0] &= mask(bits);
	k.word[1] &= bits > WORD_BITS ? mask(bits - WORD_BITS) : 0;
	return k;
}

static bool
has(const struct allowed_node *n, const struct key *k)
{
	struct key c = cut(*k, n->bits);

	return c.word[0] == n->key.word[0] && c.word[1] == n->key.word[1];
}

static unsigned
bit(const struct key *k, unsigned at)
{
	return (unsigned)(k->word[at / WORD_BITS] >> (WORD_BITS - 1 - at % WORD_BITS)) & 1;
}

/* How many of the first bits are the same. */
static unsigned
common(const struct key *a, const struct key *b)
{
	for (unsigned w = 0; w < 2; w++) {
		uint64_t differs = a->word[w] ^ b->word[w];

		if (differs)
			return w * WORD_BITS + (unsigned)__builtin_clzll(differs);
	}
	return KEY_BITS;
}

/* ---- changing ---- */

void
allowed_init(struct allowed *a)
{
	*a = (struct allowed){0};
}

void
allowed_owner_init(struct allowed_owner *o)
{
	list_init(&o->places);
	o->count = 0;
}

static void
give(struct allowed_node *n, struct allowed_owner *o)
{
	if (n->owner)
		n->owner->count--;
	list_remove(&n->place);
	n->owner = o;
	if (!o)
		return;
	list_push(&o->places, &n->place);
	o->count++;
}

static void
free_all(struct allowed_node *root)
{
	struct allowed_node *stack[DEPTH_MAX + 1];
	size_t depth = 0;

	if (root)
		stack[depth++] = root;
	while (depth > 0) {
		struct allowed_node *n = stack[--depth];

		for (unsigned i = 0; i < 2; i++)
			if (n->below[i])
				stack[depth++] = n->below[i];
		give(n, NULL);
		mem_free(n);
	}
}

void
allowed_fini(struct allowed *a)
{
	free_all(a->root4);
	free_all(a->root6);
	allowed_release(a);
	allowed_init(a);
}

/* Of a key without host bits: what is wider than all of IPv4 is IPv6. */
static struct allowed_node **
root_of(struct allowed *a, const struct key *k)
{
	return k->word[0] == 0 && k->word[1] >> 32 == V4_HEAD ? &a->root4 : &a->root6;
}

static struct allowed_node *
node_new(struct allowed *a, const struct key *k, unsigned bits, struct allowed_owner *o)
{
	struct allowed_node *n = a->spare;

	if (n)
		a->spare = n->below[0];
	else
		n = mem_alloc(MEM_OVERLAY, sizeof(*n));
	if (!n)
		return NULL;
	*n = (struct allowed_node){.key = cut(*k, bits), .bits = (uint8_t)bits};
	list_init(&n->place);
	give(n, o);
	return n;
}

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for the addresses of a peer");
}

/* A prefix needs a node, and perhaps one more where its path parts from another one's. */
int
allowed_reserve(struct allowed *a, size_t prefixes, struct err *err)
{
	assert(!a->spare && prefixes <= ALLOWED_PREFIXES_MAX);
	for (size_t i = 0; i < 2 * prefixes; i++) {
		struct allowed_node *n = mem_zalloc(MEM_OVERLAY, sizeof(*n));

		if (!n) {
			allowed_release(a);
			return no_memory(err);
		}
		n->below[0] = a->spare;
		a->spare = n;
	}
	return 0;
}

void
allowed_release(struct allowed *a)
{
	while (a->spare) {
		struct allowed_node *n = a->spare;

		a->spare = n->below[0];
		mem_free(n);
	}
}

/* Between *at and what is above it: the new one, and where the two part unless that is in it. */
static int
put_above(struct allowed *a, struct allowed_node **at, const struct key *k, unsigned bits,
	  struct allowed_owner *o, struct err *err)
{
	struct allowed_node *old = *at, *fork = NULL;
	unsigned same = common(&old->key, k);
	struct allowed_node *n = node_new(a, k, bits, o);

	if (!n)
		return no_memory(err);
	if (same >= bits) {
		n->below[bit(&old->key, bits)] = old;
		*at = n;
		return 0;
	}
	fork = node_new(a, k, same, NULL);
	if (!fork) {
		give(n, NULL);
		mem_free(n);
		return no_memory(err);
	}
	fork->below[bit(k, same)] = n;
	fork->below[bit(&old->key, same)] = old;
	*at = fork;
	return 0;
}

static int
put(struct allowed *a, struct allowed_node **at, const struct key *k, unsigned bits,
    struct allowed_owner *o, struct err *err)
{
	while (*at && (*at)->bits < bits && has(*at, k))
		at = &(*at)->below[bit(k, (*at)->bits)];
	if (*at && (*at)->bits == bits && has(*at, k)) {
		a->count += (*at)->owner == NULL;
		give(*at, o);
		return 0;
	}
	if (*at) {
		if (put_above(a, at, k, bits, o, err) < 0)
			return -1;
	} else if (!(*at = node_new(a, k, bits, o))) {
		return no_memory(err);
	}
	a->count++;
	return 0;
}

int
allowed_set(struct allowed *a, const struct addr_prefix *prefix, struct allowed_owner *o,
	    struct err *err)
{
	struct key k = key_of(prefix->base.ip);

	assert(o && prefix->bits <= KEY_BITS);
	if (a->count >= ALLOWED_PREFIXES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d prefixes of peers",
			       ALLOWED_PREFIXES_MAX);
	k = cut(k, prefix->bits);
	return put(a, root_of(a, &k), &k, prefix->bits, o, err);
}

/* One that stands for nobody and parts nothing is taken out. True: it was. */
static bool
prune(struct allowed_node **at)
{
	struct allowed_node *n = *at;

	if (n->owner || (n->below[0] && n->below[1]))
		return false;
	*at = n->below[0] ? n->below[0] : n->below[1];
	mem_free(n);
	return true;
}

static bool
take_out(struct allowed *a, const struct key *k, unsigned bits, const struct allowed_owner *o)
{
	struct allowed_node **at = root_of(a, k), **above = NULL;

	while (*at && (*at)->bits < bits && has(*at, k)) {
		above = at;
		at = &(*at)->below[bit(k, (*at)->bits)];
	}
	if (!*at || (*at)->bits != bits || !has(*at, k) || (*at)->owner != o || !o)
		return false;
	give(*at, NULL);
	a->count--;
	if (prune(at) && above)
		prune(above);
	return true;
}

bool
allowed_remove(struct allowed *a, const struct addr_prefix *prefix, const struct allowed_owner *o)
{
	struct key k = cut(key_of(prefix->base.ip), prefix->bits);

	return take_out(a, &k, prefix->bits, o);
}

void
allowed_remove_all(struct allowed *a, struct allowed_owner *o)
{
	while (!list_empty(&o->places)) {
		const struct allowed_node *n =
			container_of(o->places.next, struct allowed_node, place);
		struct key k = n->key;

		(void)take_out(a, &k, n->bits, o);
	}
}

/* ---- asking ---- */

static struct allowed_owner *
find(const struct allowed_node *n, const struct key *k)
{
	struct allowed_owner *best = NULL;

	while (n && has(n, k)) {
		if (n->owner)
			best = n->owner;
		if (n->bits == KEY_BITS)
			break;
		n = n->below[bit(k, n->bits)];
	}
	return best;
}

struct allowed_owner *
allowed_find4(const struct allowed *a, const uint8_t ip[4])
{
	uint32_t v;

	memcpy(&v, ip, sizeof(v));
	struct key k = {{0, (uint64_t)V4_HEAD << 32 | __builtin_bswap32(v)}};
	return find(a->root4, &k);
}

struct allowed_owner *
allowed_find6(const struct allowed *a, const uint8_t ip[16])
{
	struct key k = key_of(ip);

	return find(a->root6, &k);
}

struct allowed_owner *
allowed_find(const struct allowed *a, const struct addr *address)
{
	return addr_is_v4(address) ? allowed_find4(a, address->ip + 12)
				   : allowed_find6(a, address->ip);
}

static void
prefix_of(const struct allowed_node *n, struct addr_prefix *out)
{
	*out = (struct addr_prefix){.bits = n->bits};
	for (unsigned i = 0; i < 16; i++)
		out->base.ip[i] = (uint8_t)(n->key.word[i / 8] >> (56 - 8 * (i % 8)));
}

void
allowed_each(const struct allowed_owner *o,
	     void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg)
{
	struct addr_prefix prefix;

	for (struct list *it = o->places.next; it != &o->places; it = it->next) {
		prefix_of(container_of(it, struct allowed_node, place), &prefix);
		visit(arg, &prefix);
	}
}
