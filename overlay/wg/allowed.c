/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trie. A node stands for the first `bits` bits of its key; below it are at most two, one for
 * each value of the bit behind. A node without a peer has two children: it is where two paths part.
 * Keys are 128 bits wide for both families, in two words, so that comparing is two operations.
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
	void *peer;
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
node_new(struct allowed *a, const struct key *k, unsigned bits, void *peer)
{
	struct allowed_node *n = a->spare;

	if (n)
		a->spare = n->below[0];
	else
		n = mem_alloc(MEM_OVERLAY, sizeof(*n));
	if (n)
		*n = (struct allowed_node){
			.key = cut(*k, bits), .bits = (uint8_t)bits, .peer = peer};
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
	  void *peer, struct err *err)
{
	struct allowed_node *old = *at, *fork = NULL;
	unsigned same = common(&old->key, k);
	struct allowed_node *n = node_new(a, k, bits, peer);

	if (!n)
		return no_memory(err);
	if (same >= bits) {
		n->below[bit(&old->key, bits)] = old;
		*at = n;
		return 0;
	}
	fork = node_new(a, k, same, NULL);
	if (!fork) {
		mem_free(n);
		return no_memory(err);
	}
	fork->below[bit(k, same)] = n;
	fork->below[bit(&old->key, same)] = old;
	*at = fork;
	return 0;
}

static int
put(struct allowed *a, struct allowed_node **at, const struct key *k, unsigned bits, void *peer,
    struct err *err)
{
	while (*at && (*at)->bits < bits && has(*at, k))
		at = &(*at)->below[bit(k, (*at)->bits)];
	if (*at && (*at)->bits == bits && has(*at, k)) {
		a->count += (*at)->peer == NULL;
		(*at)->peer = peer;
		return 0;
	}
	if (*at) {
		if (put_above(a, at, k, bits, peer, err) < 0)
			return -1;
	} else if (!(*at = node_new(a, k, bits, peer))) {
		return no_memory(err);
	}
	a->count++;
	return 0;
}

int
allowed_set(struct allowed *a, const struct addr_prefix *prefix, void *peer, struct err *err)
{
	struct key k = key_of(prefix->base.ip);

	assert(peer && prefix->bits <= KEY_BITS);
	if (a->count >= ALLOWED_PREFIXES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d prefixes of peers",
			       ALLOWED_PREFIXES_MAX);
	k = cut(k, prefix->bits);
	return put(a, root_of(a, &k), &k, prefix->bits, peer, err);
}

/* One that stands for nobody and parts nothing is taken out. True: it was. */
static bool
prune(struct allowed_node **at)
{
	struct allowed_node *n = *at;

	if (n->peer || (n->below[0] && n->below[1]))
		return false;
	*at = n->below[0] ? n->below[0] : n->below[1];
	mem_free(n);
	return true;
}

bool
allowed_remove(struct allowed *a, const struct addr_prefix *prefix, const void *peer)
{
	struct key k = cut(key_of(prefix->base.ip), prefix->bits);
	struct allowed_node **at = root_of(a, &k), **above = NULL;

	while (*at && (*at)->bits < prefix->bits && has(*at, &k)) {
		above = at;
		at = &(*at)->below[bit(&k, (*at)->bits)];
	}
	if (!*at || (*at)->bits != prefix->bits || !has(*at, &k) || (*at)->peer != peer || !peer)
		return false;
	(*at)->peer = NULL;
	a->count--;
	if (prune(at) && above)
		prune(above);
	return true;
}

/* Children before their parent, so that one that parts nothing any more goes, too. */
static size_t
remove_below(struct allowed_node **root, const void *peer)
{
	struct allowed_node **path[DEPTH_MAX + 1];
	uint8_t sides[DEPTH_MAX + 1] = {0};
	size_t removed = 0, depth = 0;

	if (*root)
		path[depth++] = root;
	while (depth > 0) {
		struct allowed_node **at = path[depth - 1];

		if (sides[depth - 1] < 2) {
			struct allowed_node **below = &(*at)->below[sides[depth - 1]++];

			if (*below) {
				sides[depth] = 0;
				path[depth++] = below;
			}
			continue;
		}
		if ((*at)->peer == peer) {
			(*at)->peer = NULL;
			removed++;
		}
		prune(at);
		depth--;
	}
	return removed;
}

void
allowed_remove_peer(struct allowed *a, const void *peer)
{
	assert(peer);
	a->count -= remove_below(&a->root4, peer) + remove_below(&a->root6, peer);
}

/* ---- asking ---- */

static void *
find(const struct allowed_node *n, const struct key *k)
{
	void *best = NULL;

	while (n && has(n, k)) {
		if (n->peer)
			best = n->peer;
		if (n->bits == KEY_BITS)
			break;
		n = n->below[bit(k, n->bits)];
	}
	return best;
}

void *
allowed_find4(const struct allowed *a, const uint8_t ip[4])
{
	uint32_t v;

	memcpy(&v, ip, sizeof(v));
	struct key k = {{0, (uint64_t)V4_HEAD << 32 | __builtin_bswap32(v)}};
	return find(a->root4, &k);
}

void *
allowed_find6(const struct allowed *a, const uint8_t ip[16])
{
	struct key k = key_of(ip);

	return find(a->root6, &k);
}

void *
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

static void
each(const struct allowed_node *root, const void *peer,
     void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg)
{
	const struct allowed_node *stack[DEPTH_MAX + 1];
	struct addr_prefix prefix;
	size_t depth = 0;

	if (root)
		stack[depth++] = root;
	while (depth > 0) {
		const struct allowed_node *n = stack[--depth];

		if (n->peer == peer) {
			prefix_of(n, &prefix);
			visit(arg, &prefix);
		}
		for (unsigned i = 2; i-- > 0;)
			if (n->below[i])
				stack[depth++] = n->below[i];
	}
}

void
allowed_each(const struct allowed *a, const void *peer,
	     void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg)
{
	assert(peer);
	each(a->root4, peer, visit, arg);
	each(a->root6, peer, visit, arg);
}
