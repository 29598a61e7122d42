/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with triangular probing in a table whose size is a power of two (so a probe
 * visits every slot). Keys of up to 16 bytes stand in the slot itself; longer ones are copied to
 * the heap. Removing leaves a tombstone and moves nothing, hence the current item of an iteration
 * may be removed; tombstones go when the table is rebuilt.
 *
 * Keys come from outside, so places are chosen with SipHash-1-3 (Aumasson and Bernstein, 2012)
 * under a random key. Each map has a key of its own: copying one table into another in iteration
 * order would else pile up in the smaller one.
 */
#include "base/map.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

enum { SLOTS_MIN = 8, INLINE_BYTES = 16 };

enum slot_state { SLOT_FREE = 0, SLOT_LIVE, SLOT_GONE };

struct map_slot {
	uint64_t hash;
	uint32_t key_bytes;
	uint32_t state;
	union {
		uint8_t here[INLINE_BYTES];
		uint8_t *there;
	} key;
	void *value;
};

static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;
static uint64_t process_key[2];
static _Atomic uint64_t maps;

static void
process_key_init(void)
{
	ssize_t n;

	do
		n = getrandom(process_key, sizeof(process_key), 0);
	while (n < 0 && errno == EINTR);
	assert(n == (ssize_t)sizeof(process_key));
}

static inline uint64_t
rotate(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

static inline void
sip_rounds(uint64_t v[4], unsigned rounds)
{
	while (rounds--) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static inline uint64_t
siphash(unsigned compress, unsigned finish, const uint64_t key[2], const void *data, size_t bytes)
{
	const uint8_t *at = data;
	uint64_t last = (uint64_t)bytes << 56;
	uint64_t word;
	uint64_t v[4] = {
		key[0] ^ 0x736f6d6570736575,
		key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261,
		key[1] ^ 0x7465646279746573,
	};

	for (; bytes >= 8; at += 8, bytes -= 8) {
		memcpy(&word, at, sizeof(word));
		word = le64toh(word);
		v[3] ^= word;
		sip_rounds(v, compress);
		v[0] ^= word;
	}
	for (size_t i = 0; i < bytes; i++)
		last |= (uint64_t)at[i] << (8 * i);
	v[3] ^= last;
	sip_rounds(v, compress);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_rounds(v, finish);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t
map_siphash(const uint64_t key[2], const void *data, size_t bytes)
{
	return siphash(1, 3, key, data, bytes);
}

uint64_t
map_siphash_rounds(unsigned compress, unsigned finish, const uint64_t key[2], const void *data,
		   size_t bytes)
{
	return siphash(compress, finish, key, data, bytes);
}

void
map_init(struct map *m, enum mem_tag tag)
{
	pthread_once(&process_key_once, process_key_init);
	*m = (struct map){.tag = tag};
	m->key[0] = process_key[0] + atomic_fetch_add_explicit(&maps, 1, memory_order_relaxed);
	m->key[1] = process_key[1];
}

void
map_init_seeded(struct map *m, enum mem_tag tag, uint64_t seed)
{
	*m = (struct map){.tag = tag, .key = {seed, ~seed}};
}

static const void *
slot_key(const struct map_slot *s)
{
	return s->key_bytes <= INLINE_BYTES ? s->key.here : s->key.there;
}

static void
slot_drop(struct map_slot *s, enum slot_state state)
{
	if (s->key_bytes > INLINE_BYTES)
		mem_free(s->key.there);
	*s = (struct map_slot){.state = (uint32_t)state};
}

void
map_fini(struct map *m)
{
	for (size_t i = 0; m->slots && i <= m->mask; i++)
		if (m->slots[i].state == SLOT_LIVE)
			slot_drop(&m->slots[i], SLOT_FREE);
	mem_free(m->slots);
	m->slots = NULL;
	m->count = 0;
	m->used = 0;
	m->mask = 0;
}

size_t
map_count(const struct map *m)
{
	return m->count;
}

static bool
slot_is(const struct map_slot *s, uint64_t hash, const void *key, size_t bytes)
{
	return s->state == SLOT_LIVE && s->hash == hash && s->key_bytes == bytes &&
	       (bytes == 0 || memcmp(slot_key(s), key, bytes) == 0);
}

static struct map_slot *
find(const struct map *m, uint64_t hash, const void *key, size_t bytes)
{
	size_t at = hash & m->mask;

	if (!m->slots)
		return NULL;
	for (size_t step = 1;; step++) {
		struct map_slot *s = &m->slots[at];

		if (s->state == SLOT_FREE)
			return NULL;
		if (slot_is(s, hash, key, bytes))
			return s;
		at = (at + step) & m->mask;
	}
}

/* The slot where a new key goes: there is always a free one. */
static struct map_slot *
find_place(struct map_slot *slots, size_t mask, uint64_t hash)
{
	size_t at = hash & mask;

	for (size_t step = 1; slots[at].state == SLOT_LIVE; step++)
		at = (at + step) & mask;
	return &slots[at];
}

/* A new table at most half full once one more key is in it: larger, smaller, or just cleaned. */
static int
rebuild(struct map *m)
{
	struct map_slot *slots;
	size_t size = SLOTS_MIN;

	while (size / 2 < m->count + 1)
		size *= 2;
	slots = mem_array(m->tag, size, sizeof(*slots));
	if (!slots)
		return -1;
	for (size_t i = 0; m->slots && i <= m->mask; i++)
		if (m->slots[i].state == SLOT_LIVE)
			*find_place(slots, size - 1, m->slots[i].hash) = m->slots[i];
	mem_free(m->slots);
	m->slots = slots;
	m->mask = size - 1;
	m->used = m->count;
	return 0;
}

static bool
is_full(const struct map *m)
{
	return !m->slots || m->used + 1 > (m->mask + 1) / 4 * 3;
}

static int
add(struct map *m, uint64_t hash, const void *key, size_t bytes, void *value)
{
	struct map_slot fresh = {.hash = hash, .key_bytes = (uint32_t)bytes, .state = SLOT_LIVE};
	struct map_slot *s;

	fresh.value = value;
	if (bytes <= INLINE_BYTES) {
		if (bytes)
			memcpy(fresh.key.here, key, bytes);
	} else {
		fresh.key.there = mem_dup(m->tag, key, bytes);
		if (!fresh.key.there)
			return -1;
	}
	if (is_full(m) && rebuild(m) < 0) {
		slot_drop(&fresh, SLOT_FREE);
		return -1;
	}
	s = find_place(m->slots, m->mask, hash);
	if (s->state == SLOT_FREE)
		m->used++;
	*s = fresh;
	m->count++;
	return 0;
}

void *
map_get(const struct map *m, const void *key, size_t bytes)
{
	struct map_slot *s = find(m, map_siphash(m->key, key, bytes), key, bytes);

	return s ? s->value : NULL;
}

int
map_put(struct map *m, const void *key, size_t bytes, void *value, void **old_out)
{
	uint64_t hash = map_siphash(m->key, key, bytes);
	struct map_slot *s = find(m, hash, key, bytes);
	void *old = s ? s->value : NULL;

	assert(value);
	assert(bytes <= UINT32_MAX);
	if (s)
		s->value = value;
	else if (add(m, hash, key, bytes, value) < 0)
		return -1;
	if (old_out)
		*old_out = old;
	return 0;
}

void *
map_remove(struct map *m, const void *key, size_t bytes)
{
	struct map_slot *s = find(m, map_siphash(m->key, key, bytes), key, bytes);
	void *value;

	if (!s)
		return NULL;
	value = s->value;
	slot_drop(s, SLOT_GONE);
	m->count--;
	return value;
}

void *
map_get_str(const struct map *m, const char *key)
{
	return map_get(m, key, strlen(key));
}

void *
map_get_u64(const struct map *m, uint64_t key)
{
	return map_get(m, &key, sizeof(key));
}

int
map_put_str(struct map *m, const char *key, void *value)
{
	return map_put(m, key, strlen(key), value, NULL);
}

int
map_put_u64(struct map *m, uint64_t key, void *value)
{
	return map_put(m, &key, sizeof(key), value, NULL);
}

void *
map_remove_str(struct map *m, const char *key)
{
	return map_remove(m, key, strlen(key));
}

void *
map_remove_u64(struct map *m, uint64_t key)
{
	return map_remove(m, &key, sizeof(key));
}

void *
map_make(struct map *m, const void *key, size_t key_bytes, size_t value_bytes)
{
	void *value = map_get(m, key, key_bytes);

	if (value)
		return value;
	value = mem_zalloc(m->tag, value_bytes);
	if (value && map_put(m, key, key_bytes, value, NULL) < 0) {
		mem_free(value);
		value = NULL;
	}
	return value;
}

void *
map_make_u64(struct map *m, uint64_t key, size_t value_bytes)
{
	return map_make(m, &key, sizeof(key), value_bytes);
}

void
map_sweep(struct map *m, bool (*stays)(void *value), void (*release)(void *value))
{
	struct map_iter it = {0};

	while (map_next(m, &it)) {
		if (stays && stays(it.value))
			continue;
		map_remove(m, it.key, it.key_bytes);
		release(it.value);
	}
}

bool
map_next(const struct map *m, struct map_iter *it)
{
	while (m->slots && it->at <= m->mask) {
		const struct map_slot *s = &m->slots[it->at++];

		if (s->state != SLOT_LIVE)
			continue;
		it->key = slot_key(s);
		it->key_bytes = s->key_bytes;
		it->value = s->value;
		return true;
	}
	return false;
}
