/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/gossip/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

enum { ROOM = 256 };

struct side {
	struct envelope_self self;
	struct envelope_peer other;
};

struct pair {
	struct side a, b;
};

static void
key_of(uint8_t first, uint8_t key[32])
{
	for (uint8_t i = 0; i < 32; i++)
		key[i] = (uint8_t)(first + i);
}

static void
side_init(struct envelope_self *self, uint32_t node, uint64_t session, uint8_t key_first)
{
	struct err err = {0};
	uint8_t key[32];
	uint8_t cluster[32];

	key_of(key_first, key);
	key_of(200, cluster);
	assert_int_equal(envelope_self_init(self, node, session, cluster, key, &err), 0);
}

static struct pair *
pair_new(void)
{
	static struct pair p;
	struct err err = {0};

	memset(&p, 0, sizeof(p));
	side_init(&p.a.self, 7, 5, 1);
	side_init(&p.b.self, 9, 3, 101);
	assert_int_equal(envelope_peer_init(&p.a.other, &p.a.self, 9, p.b.self.public_key, &err),
			 0);
	assert_int_equal(envelope_peer_init(&p.b.other, &p.b.self, 7, p.a.self.public_key, &err),
			 0);
	return &p;
}

static void
pair_free(struct pair *p)
{
	envelope_peer_fini(&p->a.other);
	envelope_peer_fini(&p->b.other);
	envelope_self_fini(&p->a.self);
	envelope_self_fini(&p->b.self);
}

static size_t
seal(struct side *from, const char *text, uint8_t *out)
{
	struct err err = {0};

	assert_int_equal(envelope_seal(&from->self, &from->other, text, strlen(text), out, &err),
			 0);
	return strlen(text) + ENVELOPE_OVERHEAD;
}

static enum envelope_result
opened(struct side *to, const uint8_t *packet, size_t bytes, const char *text)
{
	uint8_t out[ROOM];
	size_t out_bytes = 0;
	enum envelope_result result =
		envelope_open(&to->self, &to->other, packet, bytes, out, &out_bytes);

	if (result == ENVELOPE_OPENED) {
		assert_int_equal(out_bytes, strlen(text));
		assert_memory_equal(out, text, out_bytes);
	}
	return result;
}

/* Computed by an implementation of the three RFCs that shares nothing with this one. */
static void
test_known_answer(void **state)
{
	static const uint8_t want[] = {
		0x01, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x05,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0xdc, 0x7f, 0x2a, 0x21, 0x11, 0xf6, 0x16, 0x37, 0x76, 0x5f, 0x0e,
		0x99, 0xba, 0xfd, 0x3a, 0x09, 0x4d, 0x25, 0x56, 0xcd, 0x17,
	};
	uint8_t packet[ROOM];

	(void)state;
	struct pair *p = pair_new();
	assert_int_equal(seal(&p->a, "probe", packet), sizeof(want));
	assert_memory_equal(packet, want, sizeof(want));
	assert_int_equal(envelope_from(&p->b.self, packet, sizeof(want)), 7);
	assert_int_equal(opened(&p->b, packet, sizeof(want), "probe"), ENVELOPE_OPENED);
	pair_free(p);
}

static void
test_both_ways(void **state)
{
	uint8_t packet[ROOM];

	(void)state;
	struct pair *p = pair_new();
	for (int i = 0; i < 600; i++) {
		size_t n = seal(&p->a, "there", packet);
		assert_int_equal(opened(&p->b, packet, n, "there"), ENVELOPE_OPENED);
		n = seal(&p->b, "back", packet);
		assert_int_equal(opened(&p->a, packet, n, "back"), ENVELOPE_OPENED);
	}
	size_t n = seal(&p->a, "", packet);
	assert_int_equal(opened(&p->b, packet, n, ""), ENVELOPE_OPENED);
	pair_free(p);
}

static void
test_every_changed_bit_is_seen(void **state)
{
	uint8_t packet[ROOM];

	(void)state;
	struct pair *p = pair_new();
	size_t n = seal(&p->a, "the quick brown fox", packet);
	for (size_t bit = 0; bit < n * 8; bit++) {
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(opened(&p->b, packet, n, "the quick brown fox"),
				     ENVELOPE_OPENED);
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t cut = 0; cut < n; cut++)
		assert_int_not_equal(opened(&p->b, packet, cut, ""), ENVELOPE_OPENED);
	/* And nothing of that moved the window. */
	assert_int_equal(opened(&p->b, packet, n, "the quick brown fox"), ENVELOPE_OPENED);
	pair_free(p);
}

static void
test_replay_and_reorder(void **state)
{
	static uint8_t packets[ENVELOPE_WINDOW + 2][ROOM];
	size_t n = 0;

	(void)state;
	struct pair *p = pair_new();
	for (size_t i = 0; i < ENVELOPE_WINDOW + 2; i++)
		n = seal(&p->a, "x", packets[i]);
	/* The last first; then all that are in its window, backwards, each once. */
	assert_int_equal(opened(&p->b, packets[ENVELOPE_WINDOW + 1], n, "x"), ENVELOPE_OPENED);
	for (size_t i = ENVELOPE_WINDOW; i >= 2; i--) {
		assert_int_equal(opened(&p->b, packets[i], n, "x"), ENVELOPE_OPENED);
		assert_int_equal(opened(&p->b, packets[i], n, "x"), ENVELOPE_REPLAYED);
	}
	assert_int_equal(opened(&p->b, packets[1], n, "x"), ENVELOPE_REPLAYED);
	assert_int_equal(opened(&p->b, packets[0], n, "x"), ENVELOPE_REPLAYED);
	pair_free(p);
}

static void
test_a_jump_past_the_window(void **state)
{
	uint8_t packet[ROOM];
	uint8_t early[ROOM];
	size_t n = 0;

	(void)state;
	struct pair *p = pair_new();
	size_t m = seal(&p->a, "early", early);
	for (size_t i = 0; i < 3 * ENVELOPE_WINDOW; i++)
		n = seal(&p->a, "x", packet);
	assert_int_equal(opened(&p->b, packet, n, "x"), ENVELOPE_OPENED);
	assert_int_equal(opened(&p->b, packet, n, "x"), ENVELOPE_REPLAYED);
	assert_int_equal(opened(&p->b, early, m, "early"), ENVELOPE_REPLAYED);
	n = seal(&p->a, "next", packet);
	assert_int_equal(opened(&p->b, packet, n, "next"), ENVELOPE_OPENED);
	pair_free(p);
}

static void
test_sessions_only_go_up(void **state)
{
	struct err err = {0};
	struct side later = {0};
	uint8_t old[ROOM];
	uint8_t packet[ROOM];

	(void)state;
	struct pair *p = pair_new();
	size_t m = seal(&p->a, "old", old);
	side_init(&later.self, 7, 6, 1);
	assert_int_equal(
		envelope_peer_init(&later.other, &later.self, 9, p->b.self.public_key, &err), 0);
	size_t n = seal(&later, "new", packet);
	assert_int_equal(opened(&p->b, packet, n, "new"), ENVELOPE_OPENED);
	assert_int_equal(opened(&p->b, packet, n, "new"), ENVELOPE_REPLAYED);
	assert_int_equal(opened(&p->b, old, m, "old"), ENVELOPE_REPLAYED);
	/* It is known to be an older one, whenever it was made; what is changed on its way is not.
	 */
	assert_true(envelope_is_older(&p->b.self, &p->b.other, old, m));
	assert_false(envelope_is_older(&p->b.self, &p->b.other, packet, n));
	for (size_t at = 0; at < m; at++) {
		old[at] ^= 1;
		assert_false(envelope_is_older(&p->b.self, &p->b.other, old, m));
		old[at] ^= 1;
		assert_false(envelope_is_older(&p->b.self, &p->b.other, old, at));
	}
	envelope_peer_fini(&later.other);
	envelope_self_fini(&later.self);
	pair_free(p);
}

static void
test_not_for_us(void **state)
{
	struct err err = {0};
	struct side other = {0};
	struct side foreign = {0};
	uint8_t cluster[32] = {1};
	uint8_t key[32];
	uint8_t packet[ROOM];

	(void)state;
	struct pair *p = pair_new();
	size_t n = seal(&p->a, "x", packet);
	/* Sent back to where it came from. */
	assert_int_equal(envelope_from(&p->a.self, packet, n), 0);
	assert_int_equal(opened(&p->a, packet, n, "x"), ENVELOPE_MALFORMED);
	/* Another node's key under an admitted id. */
	side_init(&other.self, 7, 5, 50);
	assert_int_equal(
		envelope_peer_init(&other.other, &other.self, 9, p->b.self.public_key, &err), 0);
	n = seal(&other, "x", packet);
	assert_int_equal(opened(&p->b, packet, n, "x"), ENVELOPE_FORGED);
	/* The right keys, of another cluster. */
	key_of(1, key);
	assert_int_equal(envelope_self_init(&foreign.self, 7, 5, cluster, key, &err), 0);
	assert_int_equal(
		envelope_peer_init(&foreign.other, &foreign.self, 9, p->b.self.public_key, &err),
		0);
	n = seal(&foreign, "x", packet);
	assert_int_equal(opened(&p->b, packet, n, "x"), ENVELOPE_FORGED);
	envelope_peer_fini(&other.other);
	envelope_peer_fini(&foreign.other);
	envelope_self_fini(&other.self);
	envelope_self_fini(&foreign.self);
	pair_free(p);
}

static void
test_keys(void **state)
{
	struct err err = {0};
	struct envelope_self self;
	struct envelope_peer peer;
	uint8_t zero[32] = {0};
	uint8_t one[32] = {0};
	uint8_t public_key[32];

	(void)state;
	side_init(&self, 7, 5, 1);
	assert_int_equal(envelope_peer_init(&peer, &self, 9, zero, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.what, "node 9"));
	envelope_self_fini(&self);

	assert_int_equal(envelope_key_new(one, public_key, &err), 0);
	assert_int_equal(envelope_self_init(&self, 1, 1, zero, one, &err), 0);
	assert_memory_equal(self.public_key, public_key, 32);
	envelope_self_fini(&self);
	assert_int_equal(envelope_key_new(zero, public_key, &err), 0);
	assert_memory_not_equal(zero, one, 32);
}

/* Computed likewise, of X25519, HMAC and nothing else. */
static void
test_pair_key(void **state)
{
	static const uint8_t want[] = {
		0xfb, 0x1f, 0x88, 0x0d, 0xac, 0x92, 0x44, 0x58, 0x38, 0xc2, 0xca,
		0x52, 0x78, 0x22, 0xb8, 0x19, 0xbb, 0x9f, 0x11, 0x71, 0x3c, 0x11,
		0x3a, 0x46, 0xac, 0xef, 0xd6, 0xd5, 0x4b, 0xce, 0x35, 0x73,
	};
	static const uint8_t zero[32];
	struct pair *p = pair_new();
	uint8_t a[32], b[32];
	struct err err = {0};

	(void)state;
	const uint8_t *of_a = p->a.self.public_key, *of_b = p->b.self.public_key;
	assert_int_equal(envelope_pair_key(&p->a.self, 9, of_b, "a purpose", a, &err), 0);
	assert_memory_equal(a, want, sizeof(a));
	assert_int_equal(envelope_pair_key(&p->b.self, 7, of_a, "a purpose", b, &err), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(envelope_pair_key(&p->b.self, 7, of_a, "another one", b, &err), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(envelope_pair_key(&p->b.self, 8, of_a, "a purpose", b, &err), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(envelope_pair_key(&p->a.self, 9, zero, "a purpose", a, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	pair_free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answer),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_every_changed_bit_is_seen),
		cmocka_unit_test(test_replay_and_reorder),
		cmocka_unit_test(test_a_jump_past_the_window),
		cmocka_unit_test(test_sessions_only_go_up),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_pair_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
