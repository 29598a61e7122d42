/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in, as a table; and the messages, there and back and broken. */
#include "scheduler/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/sha.h>
#include <string.h>
#include "tests/support/sweep.h"

#define NOW INT64_C(1800000000)

enum { NODES = 3, TICKETS = 4, BUF_MAX = 1 << 20 };

static struct admission_node nodes[NODES];
static struct admission_ticket tickets[TICKETS];
static struct admission_state cluster;
static struct addr from;

static void
set_key(uint8_t key[IDENTITY_KEY], uint8_t fill)
{
	memset(key, fill, IDENTITY_KEY);
}

/* Nodes 1 (a), 2 (b, removed), 5 (c). Tickets 10 good, 11 over, 12 used up, 13 good for one. */
static int
setup(void **state)
{
	static const struct {
		uint32_t id;
		const char *name;
		bool removed;
	} rows[NODES] = {{1, "a", false}, {2, "b", true}, {5, "c", false}};
	static const struct {
		int64_t expires_s;
		uint32_t uses;
	} kept[TICKETS] = {{NOW + 100, 5}, {NOW, 5}, {NOW + 100, 0}, {NOW + 100, 1}};

	(void)state;
	for (size_t i = 0; i < NODES; i++) {
		nodes[i] = (struct admission_node){.id = rows[i].id, .removed = rows[i].removed};
		strcpy(nodes[i].name, rows[i].name);
		set_key(nodes[i].sign_public, (uint8_t)rows[i].id);
		set_key(nodes[i].gossip_public, (uint8_t)(rows[i].id + 100));
		assert_true(addr_parse("192.0.2.9:9881", &nodes[i].address));
	}
	for (size_t i = 0; i < TICKETS; i++) {
		uint8_t secret[TICKET_SECRET];

		memset(secret, (int)(10 + i), sizeof(secret));
		tickets[i] = (struct admission_ticket){
			.id = 10 + i, .expires_s = kept[i].expires_s, .uses_left = kept[i].uses};
		SHA256(secret, sizeof(secret), tickets[i].secret_sha256);
	}
	cluster = (struct admission_state){
		.nodes = nodes, .nodes_count = NODES, .tickets = tickets, .tickets_count = TICKETS};
	assert_true(addr_parse("198.51.100.7:40000", &from));
	return 0;
}

static struct admission_question
ask(uint64_t ticket, uint8_t secret, const char *name)
{
	struct admission_question q = {.what = ADMISSION_JOIN, .ticket = ticket};

	memset(q.secret, secret, sizeof(q.secret));
	strcpy(q.name, name);
	set_key(q.gossip_public, 77);
	assert_true(addr_parse("0.0.0.0:9881", &q.address));
	return q;
}

static struct identity
peer(uint8_t key, uint32_t node)
{
	struct identity who = {.node = node};

	set_key(who.sign_public, key);
	return who;
}

static int
judge(const struct admission_question *q, struct identity who, struct admission_verdict *v,
      struct err *err)
{
	err_clear(err);
	return admission_judge(&cluster, q, &who, &from, NOW, v, err);
}

/* ---- the table ---- */

static void
test_table(void **state)
{
	static const struct {
		enum admission_mode mode;
		uint64_t ticket;
		uint8_t secret;
		const char *name;
		uint8_t key;
		const char *refused; /* in what or why; NULL: admitted */
		uint32_t id;
		bool add, take_use;
	} rows[] = {
		/* A new node. */
		{ADMISSION_TOKEN, 10, 10, "d", 40, NULL, 6, true, true},
		{ADMISSION_TOKEN, 13, 13, "d", 40, NULL, 6, true, true},
		{ADMISSION_TOKEN, 11, 11, "d", 40, "its time is over", 0, false, false},
		{ADMISSION_TOKEN, 12, 12, "d", 40, "as often as it may", 0, false, false},
		{ADMISSION_TOKEN, 99, 10, "d", 40, "does not know it", 0, false, false},
		{ADMISSION_TOKEN, 10, 11, "d", 40, "does not know it", 0, false, false},
		{ADMISSION_TOKEN, 0, 0, "d", 40, "does not know it", 0, false, false},
		{ADMISSION_OPEN, 10, 10, "d", 40, NULL, 6, true, false},
		{ADMISSION_OPEN, 11, 11, "d", 40, NULL, 6, true, false},
		{ADMISSION_OPEN, 12, 12, "d", 40, NULL, 6, true, false},
		{ADMISSION_OPEN, 10, 11, "d", 40, "does not know it", 0, false, false},
		{ADMISSION_CLOSED, 10, 10, "d", 40, "takes no nodes in", 0, false, false},
		/* Names. */
		{ADMISSION_TOKEN, 10, 10, "a", 40, "has that name", 0, false, false},
		{ADMISSION_TOKEN, 10, 10, "b", 40, NULL, 6, true,
		 true}, /* its bearer was removed */
		{ADMISSION_TOKEN, 10, 10, "", 40, "a name is", 0, false, false},
		{ADMISSION_TOKEN, 10, 10, "Up", 40, "a name is", 0, false, false},
		{ADMISSION_TOKEN, 10, 10, "-x", 40, "a name is", 0, false, false},
		/* A node that is there asks again: the same, for nothing. */
		{ADMISSION_TOKEN, 10, 10, "c", 5, NULL, 5, false, false},
		{ADMISSION_TOKEN, 12, 12, "c", 5, NULL, 5, false, false},
		{ADMISSION_TOKEN, 11, 11, "c", 5, NULL, 5, false, false},
		{ADMISSION_TOKEN, 10, 99, "c", 5, "does not know it", 0, false, false},
		{ADMISSION_CLOSED, 10, 10, "c", 5, "takes no nodes in", 0, false, false},
		/* One that was sent away. */
		{ADMISSION_TOKEN, 10, 10, "b", 2, "was removed", 0, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct admission_question q = ask(rows[i].ticket, rows[i].secret, rows[i].name);
		struct admission_verdict v;
		struct err err;

		cluster.mode = rows[i].mode;
		int rc = judge(&q, peer(rows[i].key, 0), &v, &err);
		if (rows[i].refused) {
			assert_int_equal(rc, -1);
			assert_true(strstr(err.what, rows[i].refused) ||
				    strstr(err.why[0], rows[i].refused));
			assert_true(err.fix[0] != '\0');
		} else {
			assert_int_equal(rc, 0);
			assert_int_equal(err.kind, ERR_NONE);
		}
		assert_int_equal(v.node.id, rows[i].id);
		assert_int_equal(v.add, rows[i].add);
		assert_int_equal(v.take_use, rows[i].take_use);
		if (v.take_use)
			assert_int_equal(tickets[v.ticket].id, rows[i].ticket);
	}
	cluster.mode = ADMISSION_TOKEN;
}

static void
test_what_is_kept_of_a_new_node(void **state)
{
	struct admission_question q = ask(10, 10, "d");
	struct admission_verdict v;
	char text[ADDR_TEXT_BYTES];
	struct err err;

	(void)state;
	assert_int_equal(judge(&q, peer(40, 0), &v, &err), 0);
	assert_string_equal(v.node.name, "d");
	assert_int_equal(v.node.sign_public[0], 40); /* of the channel, not of the message */
	assert_int_equal(v.node.gossip_public[0], 77);
	addr_put(&v.node.address, text, sizeof(text));
	assert_string_equal(text, "198.51.100.7:9881"); /* its port, at the address it came from */
	assert_true(addr_parse("203.0.113.5:1234", &q.address));
	assert_int_equal(judge(&q, peer(40, 0), &v, &err), 0);
	assert_true(addr_equal(&v.node.address, &q.address));
}

/* As many as others have room for; then those that were removed count, too. */
static void
test_full(void **state)
{
	static struct admission_node many[ADMISSION_NODES_MAX];
	struct admission_question q = ask(10, 10, "late");
	struct admission_verdict v;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ADMISSION_NODES_MAX; i++) {
		many[i] = (struct admission_node){.id = (uint32_t)i + 1};
		memcpy(many[i].sign_public, &many[i].id, sizeof(many[i].id));
		many[i].sign_public[4] = 1;
	}
	cluster.nodes = many;
	cluster.nodes_count = ADMISSION_MEMBERS_MAX - 1;
	assert_int_equal(judge(&q, peer(200, 0), &v, &err), 0);
	assert_true(v.add);
	cluster.nodes_count++;
	assert_int_equal(judge(&q, peer(200, 0), &v, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_non_null(strstr(err.why[0], "10000 nodes"));
	assert_non_null(strstr(err.fix, "zlayer node rm"));
	many[7].removed = true;
	assert_int_equal(judge(&q, peer(200, 0), &v, &err), 0);
	for (size_t i = 0; i < ADMISSION_NODES_MAX; i++)
		many[i].removed = i > 9;
	cluster.nodes_count = ADMISSION_NODES_MAX;
	assert_int_equal(judge(&q, peer(200, 0), &v, &err), -1);
	assert_non_null(strstr(err.why[0], "it has had"));
	cluster.nodes = nodes;
	cluster.nodes_count = NODES;
}

static void
test_renewal(void **state)
{
	struct admission_question q = {.what = ADMISSION_RENEW};
	struct admission_verdict v;
	struct err err;

	(void)state;
	cluster.mode = ADMISSION_CLOSED; /* is for new ones */
	assert_true(addr_parse("203.0.113.5:1234", &q.address));
	assert_int_equal(judge(&q, peer(5, 5), &v, &err), 0);
	assert_int_equal(v.node.id, 5);
	assert_false(v.add || v.take_use);
	assert_true(addr_equal(&v.node.address, &q.address));
	assert_int_equal(judge(&q, peer(2, 2), &v, &err), -1); /* removed */
	assert_int_equal(err.kind, ERR_DENIED);
	assert_int_equal(judge(&q, peer(5, 1), &v, &err), -1);  /* a key of another id */
	assert_int_equal(judge(&q, peer(40, 0), &v, &err), -1); /* a stranger */
	cluster.mode = ADMISSION_TOKEN;
}

/* ---- messages ---- */

static void
take_length(const struct buf *b, const uint8_t **data, size_t *bytes)
{
	struct cursor c;

	cursor_init(&c, b->data, b->length);
	*bytes = cursor_u32(&c);
	*data = b->data + 4;
	assert_int_equal(*bytes, b->length - 4);
}

static void
test_questions(void **state)
{
	struct admission_question q = ask(10, 10, "edge-1"), again;
	struct err err = {0};
	const uint8_t *data;
	struct buf out;
	size_t bytes;

	(void)state;
	buf_init(&out, MEM_SCHEDULER, BUF_MAX);
	admission_put_question(&q, &out);
	take_length(&out, &data, &bytes);
	assert_true(bytes <= ADMISSION_QUESTION_MAX);
	assert_int_equal(admission_take_question(data, bytes, &again, &err), 0);
	assert_memory_equal(&q, &again, sizeof(q));
	for (size_t cut = 0; cut < bytes; cut++)
		assert_int_equal(admission_take_question(data, cut, &again, &err), -1);

	out.data[4] = 2;
	assert_int_equal(admission_take_question(data, bytes, &again, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	out.data[4] = 1;
	out.data[5] = 9;
	assert_int_equal(admission_take_question(data, bytes, &again, &err), -1);
	buf_reset(&out);
	q = (struct admission_question){.what = ADMISSION_RENEW};
	admission_put_question(&q, &out);
	take_length(&out, &data, &bytes);
	assert_int_equal(admission_take_question(data, bytes, &again, &err), 0);
	assert_int_equal(again.what, ADMISSION_RENEW);
	buf_fini(&out);
}

static void
test_answers(void **state)
{
	struct admission_answer a;
	struct err err = {0};
	const uint8_t *data;
	struct buf out;
	size_t bytes;

	(void)state;
	buf_init(&out, MEM_SCHEDULER, BUF_MAX);
	admission_put_answer(6, "chain", 5, "authority", 9, nodes, NODES, &out);
	take_length(&out, &data, &bytes);
	assert_int_equal(admission_take_answer(data, bytes, &a, &err), 0);
	assert_true(a.admitted);
	assert_int_equal(a.node, 6);
	assert_int_equal(a.chain_bytes, 5);
	assert_memory_equal(a.authority, "authority", 9);
	assert_int_equal(a.nodes_count, 2); /* the removed one is not told of */
	assert_int_equal(a.nodes[1].id, 5);
	assert_string_equal(a.nodes[1].name, "c");
	assert_true(addr_equal(&a.nodes[1].address, &nodes[2].address));
	admission_answer_fini(&a);
	for (size_t cut = 0; cut < bytes; cut++)
		assert_int_equal(admission_take_answer(data, cut, &a, &err), -1);
	sweep_each(s)
	{
		int rc = admission_take_answer(data, bytes, &a, &err);

		assert_int_equal(rc, sweep_failed() ? -1 : 0);
		admission_answer_fini(&a);
	}
	buf_fini(&out);
}

static void
test_refusals(void **state)
{
	struct admission_answer a;
	struct err why = {0}, err = {0};
	const uint8_t *data;
	struct buf out;
	size_t bytes;

	(void)state;
	buf_init(&out, MEM_SCHEDULER, BUF_MAX);
	err_set(&why, ERR_DENIED, "the ticket is refused");
	err_why(&why, "its time is over");
	err_fix(&why, "make a new one");
	admission_put_refusal(&why, &out);
	take_length(&out, &data, &bytes);
	assert_int_equal(admission_take_answer(data, bytes, &a, &err), 0);
	assert_false(a.admitted);
	assert_string_equal(a.refused.what, why.what);
	assert_string_equal(a.refused.why[0], why.why[0]);
	assert_string_equal(a.refused.fix, why.fix);
	out.data[4 + 2 + 4] = '\x1b'; /* nothing of the peer's may reach a terminal raw */
	assert_int_equal(admission_take_answer(data, bytes, &a, &err), -1);
	buf_fini(&out);
}

static void
test_names(void **state)
{
	char name[IDENTITY_NAME_BYTES + 1];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[IDENTITY_NAME_BYTES] = '\0';
	assert_false(admission_name_fits(name));
	name[IDENTITY_NAME_BYTES - 1] = '\0';
	assert_true(admission_name_fits(name));
	assert_true(admission_name_fits("edge-1"));
	assert_false(admission_name_fits("edge.1"));
	assert_false(admission_name_fits("edge-"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),   cmocka_unit_test(test_what_is_kept_of_a_new_node),
		cmocka_unit_test(test_renewal), cmocka_unit_test(test_questions),
		cmocka_unit_test(test_answers), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_names),   cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
