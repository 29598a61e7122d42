/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of a cluster, and two nodes that meet by them in memory. */
#include "scheduler/identity.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "wire/tls.h"

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

struct node {
	struct identity_keys keys;
	struct identity who;
	struct buf chain;
};

static struct identity_authority authority;

static void
make_authority(struct identity_authority *a)
{
	struct err err = {0};

	assert_int_equal(identity_authority_create(a, NOW, &err), 0);
}

static void
make_node(struct node *n, const struct identity_authority *a, uint32_t id, const char *name)
{
	struct err err = {0};

	memset(n, 0, sizeof(*n));
	assert_int_equal(identity_keys_new(&n->keys, &err), 0);
	n->who.node = id;
	strcpy(n->who.name, name);
	memcpy(n->who.sign_public, n->keys.sign_public, IDENTITY_KEY);
	memcpy(n->who.gossip_public, n->keys.gossip_public, IDENTITY_KEY);
	buf_init(&n->chain, MEM_SCHEDULER, 65536);
	assert_int_equal(identity_issue(a, &n->who, NOW, &n->chain, &err), 0);
}

/* Borrowed from the chain. */
static const uint8_t *
leaf(const struct node *n, size_t *bytes)
{
	struct cursor c;

	cursor_init(&c, n->chain.data, n->chain.length);
	return cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, bytes);
}

static enum identity_verdict
judge(const struct node *n, int64_t wall_s, struct identity *out)
{
	size_t bytes;
	const uint8_t *der = leaf(n, &bytes);

	assert_non_null(der);
	return identity_judge(&authority, der, bytes, wall_s, out);
}

static void
test_says_who(void **state)
{
	struct identity who;
	struct node n;

	(void)state;
	make_node(&n, &authority, 4294967295u, "edge-1");
	assert_int_equal(judge(&n, NOW, &who), IDENTITY_GOOD);
	assert_int_equal(who.node, 4294967295u);
	assert_string_equal(who.name, "edge-1");
	assert_memory_equal(who.sign_public, n.keys.sign_public, IDENTITY_KEY);
	assert_memory_equal(who.gossip_public, n.keys.gossip_public, IDENTITY_KEY);
	assert_true(who.not_after_s == NOW + IDENTITY_LEAF_DAYS * DAY);
	buf_fini(&n.chain);
}

static void
test_times(void **state)
{
	struct identity who;
	struct node n;

	(void)state;
	make_node(&n, &authority, 7, "edge-1");
	assert_int_equal(judge(&n, NOW - 1800, &who), IDENTITY_GOOD); /* a clock that is behind */
	assert_int_equal(judge(&n, NOW - 7200, &who), IDENTITY_OUT_OF_TIME);
	assert_int_equal(judge(&n, NOW + 365 * DAY, &who), IDENTITY_OUT_OF_TIME);
	assert_int_equal(who.node, 7); /* it slept a year, and we still know who it is */
	buf_fini(&n.chain);
}

static void
test_other_authority(void **state)
{
	struct identity_authority other;
	struct identity who;
	struct node n;

	(void)state;
	make_authority(&other);
	make_node(&n, &other, 7, "edge-1");
	assert_int_equal(judge(&n, NOW, &who), IDENTITY_FOREIGN);
	assert_int_equal(who.node, 0);
	buf_fini(&n.chain);
	identity_authority_fini(&other);
}

/* A member's key signs for another name: the authority's certificate is the only one that counts.
 */
static void
test_a_member_is_no_authority(void **state)
{
	struct identity_authority fake = {0};
	struct identity who;
	struct err err = {0};
	struct node member, victim;
	size_t bytes;

	(void)state;
	make_node(&member, &authority, 7, "edge-1");
	const uint8_t *der = leaf(&member, &bytes);
	assert_int_equal(identity_authority_of(&fake, der, bytes, NULL, &err), 0);
	fake.key = identity_keys_pkey(&member.keys);
	memcpy(fake.cluster, authority.cluster, IDENTITY_CLUSTER);
	make_node(&victim, &fake, 1, "edge-0");
	assert_int_equal(judge(&victim, NOW, &who), IDENTITY_FOREIGN);
	buf_fini(&member.chain);
	buf_fini(&victim.chain);
	identity_authority_fini(&fake);
}

static void
test_changed_bytes(void **state)
{
	struct identity who;
	struct node n;
	size_t bytes;

	(void)state;
	make_node(&n, &authority, 7, "edge-1");
	uint8_t copy[IDENTITY_CERTIFICATE_MAX + 1];
	const uint8_t *der = leaf(&n, &bytes);
	memcpy(copy, der, bytes);
	for (size_t i = 0; i < bytes; i++) {
		copy[i] ^= 0x10;
		assert_true(identity_judge(&authority, copy, bytes, NOW, &who) >= IDENTITY_FOREIGN);
		copy[i] ^= 0x10;
	}
	for (size_t cut = 0; cut < bytes; cut++)
		assert_int_equal(identity_judge(&authority, copy, cut, NOW, &who),
				 IDENTITY_MALFORMED);
	copy[bytes] = 0; /* something behind it */
	assert_int_equal(identity_judge(&authority, copy, bytes + 1, NOW, &who),
			 IDENTITY_MALFORMED);
	buf_fini(&n.chain);
}

static void
test_authority_is_kept(void **state)
{
	struct identity_authority again, alone;
	struct secret pem, bad;
	struct err err = {0};
	struct buf der;
	uint8_t other[IDENTITY_CLUSTER] = {1};

	(void)state;
	assert_int_equal(identity_authority_export(&authority, &pem, &err), 0);
	assert_int_equal(identity_authority_import(&again, &pem, &err), 0);
	assert_memory_equal(again.cluster, authority.cluster, IDENTITY_CLUSTER);
	assert_int_equal(secret_from(&bad, pem.data, pem.length / 2, &err), 0);
	identity_authority_fini(&again);
	assert_int_equal(identity_authority_import(&again, &bad, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	secret_fini(&bad);
	secret_fini(&pem);

	buf_init(&der, MEM_SCHEDULER, 65536);
	assert_int_equal(identity_authority_der(&authority, &der, &err), 0);
	assert_int_equal(
		identity_authority_of(&alone, der.data, der.length, authority.cluster, &err), 0);
	struct node n = {.who = {.node = 1, .name = "x"}};
	buf_init(&n.chain, MEM_SCHEDULER, 65536);
	assert_int_equal(identity_issue(&alone, &n.who, NOW, &n.chain, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	identity_authority_fini(&alone);
	assert_int_equal(identity_authority_of(&alone, der.data, der.length, other, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(identity_authority_of(&alone, der.data, der.length - 1, NULL, &err), -1);
	buf_fini(&n.chain);
	buf_fini(&der);
}

/* ---- mutual TLS ---- */

struct end {
	struct tls *tls;
	struct buf out;
	char text[64];
	enum tls_result last;
};

static bool
sink(void *arg, const void *data, size_t bytes)
{
	struct end *e = arg;

	buf_put(&e->out, data, bytes);
	return buf_ok(&e->out);
}

static struct tls_context *
choose(void *arg, const char *host)
{
	(void)host;
	return *(struct tls_context **)arg;
}

static enum identity_verdict
judge_chain(const struct identity_authority *a, const void *chain, size_t chain_bytes,
	    struct identity *who)
{
	struct cursor c;
	size_t bytes;

	cursor_init(&c, chain, chain_bytes);
	const void *der = cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, &bytes);
	assert_non_null(der);
	assert_non_null(cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, &(size_t){0})); /* authority */
	assert_true(cursor_done(&c));
	return identity_judge(a, der, bytes, NOW, who);
}

static bool
admit(void *arg, const void *chain, size_t bytes)
{
	struct identity who;

	return judge_chain(arg, chain, bytes, &who) == IDENTITY_GOOD;
}

static void
give(struct end *from, struct end *to)
{
	static char plain[TLS_PLAIN_MIN];
	size_t n = 0;

	if (from->out.length == 0 || to->last == TLS_FAILED)
		return;
	to->last = tls_feed(to->tls, from->out.data, from->out.length, plain, sizeof(plain), &n);
	buf_consume(&from->out, from->out.length);
	assert_true(n < sizeof(to->text));
	memcpy(to->text + strlen(to->text), plain, n);
}

/* Whether the server heard what the client had to say, and who it says that was. */
static bool
meet(struct node *server, struct node *client, const char *client_protocol, uint32_t *heard_out)
{
	struct tls_context *context = NULL;
	struct tls_server *server_rules;
	struct tls_client *client_rules;
	struct err err = {0};
	struct end s = {0}, c = {0};
	EVP_PKEY *key = identity_keys_pkey(&server->keys);
	struct tls_server_config sc = {.select = choose,
				       .select_arg = &context,
				       .tls13_only = true,
				       .judge = admit,
				       .judge_arg = &authority,
				       .protocol = "zlayer/1"};

	assert_int_equal(tls_server_new(&sc, &server_rules, &err), 0);
	assert_int_equal(tls_context_new(server_rules, server->chain.data, server->chain.length,
					 key, &context, &err),
			 0);
	EVP_PKEY_free(key);
	key = client ? identity_keys_pkey(&client->keys) : NULL;
	struct tls_client_config cc = {
		.judge = admit, .judge_arg = &authority, .protocol = client_protocol, .key = key};
	if (client) {
		cc.chain = client->chain.data;
		cc.chain_bytes = client->chain.length;
	}
	assert_int_equal(tls_client_new(&cc, &client_rules, &err), 0);
	EVP_PKEY_free(key);
	buf_init(&s.out, MEM_SCHEDULER, 65536);
	buf_init(&c.out, MEM_SCHEDULER, 65536);
	s.tls = tls_accept(server_rules, sink, &s);
	c.tls = tls_connect(client_rules, "", NULL, sink, &c);
	for (int i = 0; i < 10; i++) {
		give(&c, &s);
		give(&s, &c);
	}
	if (c.last == TLS_OK && tls_established(c.tls)) {
		tls_write(c.tls, "hello", 5, 0);
		give(&c, &s);
	}
	bool heard = s.last == TLS_OK && strcmp(s.text, "hello") == 0;
	*heard_out = 0;
	if (heard) {
		struct identity who;
		struct buf chain;

		buf_init(&chain, MEM_SCHEDULER, 65536);
		assert_true(tls_peer(s.tls, &chain));
		assert_int_equal(judge_chain(&authority, chain.data, chain.length, &who),
				 IDENTITY_GOOD);
		*heard_out = who.node;
		buf_fini(&chain);
	}
	tls_free(s.tls);
	tls_free(c.tls);
	buf_fini(&s.out);
	buf_fini(&c.out);
	tls_context_unref(context);
	tls_client_free(client_rules);
	tls_server_free(server_rules);
	return heard;
}

static void
test_nodes_meet(void **state)
{
	struct identity_authority other;
	struct node a, b, stranger;
	uint32_t heard;

	(void)state;
	make_authority(&other);
	make_node(&a, &authority, 1, "edge-1");
	make_node(&b, &authority, 2, "edge-2");
	make_node(&stranger, &other, 3, "edge-3");
	assert_true(meet(&a, &b, "zlayer/1", &heard));
	assert_int_equal(heard, 2);
	assert_false(meet(&a, &stranger, "zlayer/1", &heard)); /* another cluster's client */
	assert_false(meet(&stranger, &b, "zlayer/1", &heard)); /* another cluster's server */
	assert_false(meet(&a, NULL, "zlayer/1", &heard));      /* shows nothing */
	assert_false(meet(&a, &b, NULL, &heard));              /* speaks HTTP */
	/* A stolen certificate without its key. */
	buf_consume(&stranger.chain, stranger.chain.length);
	buf_put(&stranger.chain, b.chain.data, b.chain.length);
	struct tls_client *rules;
	struct err err = {0};
	EVP_PKEY *key = identity_keys_pkey(&stranger.keys);
	struct tls_client_config cc = {.judge = admit,
				       .chain = stranger.chain.data,
				       .chain_bytes = stranger.chain.length,
				       .key = key};
	assert_int_equal(tls_client_new(&cc, &rules, &err), -1);
	EVP_PKEY_free(key);
	buf_fini(&a.chain);
	buf_fini(&b.chain);
	buf_fini(&stranger.chain);
	identity_authority_fini(&other);
}

static int
setup(void **state)
{
	(void)state;
	make_authority(&authority);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	identity_authority_fini(&authority);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_says_who),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_other_authority),
		cmocka_unit_test(test_a_member_is_no_authority),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_authority_is_kept),
		cmocka_unit_test(test_nodes_meet),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
