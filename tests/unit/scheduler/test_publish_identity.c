/* SPDX-License-Identifier: Apache-2.0 */
/* Who is behind an address: the table identity of a whole scheduler with stand-ins for the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/text.h"
#include "scheduler/publish_parts.h"
#include "scheduler/remote.h"
#include "scheduler/sqlite.h"
#include "scheduler/tidings.h"
#include "tests/support/node_world.h"

enum {
	SERVICE = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED,
	GLOBAL = MSG_IDENTITY_GLOBAL_ON | MSG_IDENTITY_GLOBAL_SEALED,
	USUAL = SERVICE | MSG_IDENTITY_SERVICE_ISOLATED | GLOBAL,
};

static const uint64_t far_id = UINT64_C(7) << 32 | 1;
static struct node_world w;

static void
deploy(const char *image, const char *overlays)
{
	struct msg_apply_answer answer;
	struct err err = {0};
	char text[1024];

	text_format(text, sizeof(text),
		    "version: v1\n"
		    "deployment: shop\n"
		    "services:\n"
		    "  web:\n"
		    "    image: {name: %s}\n"
		    "    endpoints: [{name: http, protocol: http, port: 8080}]\n"
		    "    health: {check: {type: http, url: /health}}\n"
		    "    scale: {mode: fixed, replicas: 1}\n%s%s\n",
		    image, overlays[0] ? "    network: " : "", overlays);
	if (node_apply(&w, "shop", text, &answer, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
}

static const struct msg_identity *
identity(uint64_t key)
{
	return ring_table_own(w.m.writer, MSG_TABLE_IDENTITY, key);
}

static bool
count_row(void *arg, uint64_t key, const void *row)
{
	(void)key;
	(void)row;
	(*(size_t *)arg)++;
	return true;
}

static size_t
rows(void)
{
	size_t count = 0;

	node_sync(w.seen, MSG_TABLE_IDENTITY, sizeof(struct msg_identity));
	ring_table_each(w.seen, MSG_TABLE_IDENTITY, count_row, &count);
	return count;
}

/* The newest of this node. */
static struct replica *
own(void)
{
	struct service *s = model_service(model_deployment(&w.m, "shop"), "web");
	struct replica *found = NULL;
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (!p->remote)
			found = p;
	}
	assert_non_null(found);
	return found;
}

static void
assert_addr(const struct addr *a, const char *text)
{
	char is[ADDR_TEXT_BYTES];

	addr_put_ip(a, is, sizeof(is));
	assert_string_equal(is, text);
}

static bool
conducts(void *arg, const struct deployment *d)
{
	(void)arg;
	(void)d;
	return true;
}

static void
begin(void)
{
	node_begin(&w);
	w.m.node_id = 3;
	w.m.hooks.conducts = conducts;
	deploy("web:1", "");
}

/* ---- this node's ---- */

static void
test_a_row_before_the_container(void **state)
{
	(void)state;
	begin();
	/* One look of the scheduler alone: nobody has run the claim yet. */
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	struct replica *p = own();
	const struct msg_identity *row = identity(p->row.id);
	assert_non_null(ring_table_own(w.m.writer, MSG_TABLE_CLAIM, p->row.id));
	assert_non_null(row);
	assert_true(addr_is_zero(&row->addr4) && addr_is_zero(&row->addr6));
	assert_int_equal(row->flags, USUAL);
	assert_int_equal(row->node, 3);
	assert_true(row->deployment == p->service->deployment->row.id);
	assert_true(row->service == p->service->row.id);
	node_pass(&w, 10);
	row = identity(p->row.id);
	assert_true(addr_equal(&row->addr4, &p->container.addr4));
	assert_false(addr_is_zero(&row->addr4));
	/* Gone with the replica. */
	uint64_t id = p->row.id;
	deploy("web:2", "");
	node_pass(&w, 60);
	assert_true(own()->row.id != id);
	assert_null(identity(id));
	assert_int_equal(rows(), 2);
	node_end(&w);
}

/* Its address is its own until it is gone, whether or not a program runs just now. */
static void
test_between_two_attempts(void **state)
{
	struct tidings_replica told;

	(void)state;
	begin();
	node_pass(&w, 10);
	struct replica *p = own();
	struct addr before = identity(p->row.id)->addr4;
	p->life.attempt++;
	publish_identity(&w.m);
	assert_true(addr_equal(&identity(p->row.id)->addr4, &before));
	remote_tell(&w.m, p, &told);
	assert_true(addr_equal_ip(&told.addr4, &before));
	assert_false(told.flags & TIDINGS_STARTED);
	node_end(&w);
}

/* ---- the networks of a document ---- */

static struct tidings_replica
told(const char *addr4, const char *addr6)
{
	struct tidings_replica t;

	remote_tell(&w.m, own(), &t);
	t.addr4 = t.addr6 = (struct addr){0};
	assert_true(!addr4 || addr_parse_ip(addr4, &t.addr4));
	assert_true(!addr6 || addr_parse_ip(addr6, &t.addr6));
	return t;
}

static void
test_switches(void **state)
{
	static const struct {
		const char *overlays;
		uint32_t flags;
	} cases[] = {
		{"{overlays: {service: {enabled: false}}}", USUAL & ~MSG_IDENTITY_SERVICE_ON},
		{"{overlays: {service: {encrypted: false}}}", USUAL & ~MSG_IDENTITY_SERVICE_SEALED},
		{"{overlays: {service: {isolated: false}}}",
		 USUAL & ~MSG_IDENTITY_SERVICE_ISOLATED},
		{"{overlays: {global: {enabled: false}}}", USUAL & ~MSG_IDENTITY_GLOBAL_ON},
		{"{overlays: {global: {encrypted: false}}}", USUAL & ~MSG_IDENTITY_GLOBAL_SEALED},
		{"{overlays: {global: {isolated: true}}}", USUAL | MSG_IDENTITY_GLOBAL_ISOLATED},
		{"", USUAL},
	};
	struct tidings_replica t;

	(void)state;
	begin();
	node_pass(&w, 10);
	uint64_t id = own()->row.id;
	t = told("10.200.7.2", NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* At once, for all replicas, and none is made again. */
		deploy("web:1", cases[i].overlays);
		reconcile_run(&w.m, w.now_ns, node_wall(&w));
		assert_int_equal(identity(id)->flags, cases[i].flags);
		assert_true(remote_take(&w.m, 7, "edge-7", far_id, &t));
		publish_identity(&w.m);
		assert_int_equal(identity(far_id)->flags, cases[i].flags);
		remote_drop(&w.m, 7, far_id);
		node_pass(&w, 10);
		assert_int_equal(node_deployment(&w, "shop")->revision, i + 2);
		const struct msg_service *s =
			ring_table_own(w.m.writer, MSG_TABLE_SERVICE, own()->service->row.id);
		assert_int_equal(s->overlays, cases[i].flags | MSG_IDENTITY_SAID);
	}
	assert_true(own()->row.id == id);
	assert_int_equal(w.started, 1);
	/* What is yet to be replaced keeps what it was made with. */
	w.behaviour[node_deployment(&w, "shop")->revision + 1] = NODE_SLOW;
	deploy("web:2", "{overlays: {global: {isolated: true}}}");
	node_pass(&w, 2);
	uint64_t next = own()->row.id;
	assert_true(next != id);
	assert_int_equal(identity(id)->flags, USUAL);
	assert_int_equal(identity(next)->flags, USUAL | MSG_IDENTITY_GLOBAL_ISOLATED);
	node_end(&w);
}

/* ---- other nodes' ---- */

static void
test_of_other_nodes(void **state)
{
	struct tidings_replica t;

	(void)state;
	begin();
	node_pass(&w, 10);
	t = told(NULL, NULL);
	assert_true(remote_take(&w.m, 7, "edge-7", far_id, &t));
	publish_identity(&w.m);
	assert_null(identity(far_id));
	/* Its container is being prepared: it is known before it can say anything. */
	t = told("10.200.7.2", "fd00::7:2");
	t.flags = 0;
	assert_true(remote_take(&w.m, 7, "edge-7", far_id, &t));
	publish_identity(&w.m);
	const struct msg_identity *row = identity(far_id);
	assert_non_null(row);
	assert_addr(&row->addr4, "10.200.7.2");
	assert_addr(&row->addr6, "fd00::7:2");
	assert_int_equal(row->node, 7);
	assert_int_equal(row->flags, USUAL);
	assert_true(row->service == own()->service->row.id);
	remote_drop(&w.m, 7, far_id);
	publish_identity(&w.m);
	assert_null(identity(far_id));
	node_end(&w);
}

static bool
owns_seven(void *arg, uint32_t node, const struct addr *a)
{
	struct addr_prefix prefix;

	(void)arg;
	assert_true(addr_parse_prefix("10.200.7.0/24", &prefix));
	return node == 7 && addr_in_prefix(a, &prefix);
}

/* Nobody gives out the addresses of others. */
static void
test_a_node_speaks_for_its_own(void **state)
{
	struct tidings_replica t;

	(void)state;
	begin();
	w.m.hooks.owns = owns_seven;
	node_pass(&w, 10);
	assert_non_null(identity(own()->row.id));
	t = told("10.200.8.2", NULL);
	assert_true(remote_take(&w.m, 7, "edge-7", far_id, &t));
	publish_identity(&w.m);
	assert_null(identity(far_id));
	t = told("10.200.7.2", "fd00::8:2");
	assert_true(remote_take(&w.m, 7, "edge-7", far_id, &t));
	publish_identity(&w.m);
	assert_non_null(identity(far_id));
	assert_true(addr_is_zero(&identity(far_id)->addr6));
	t = told("10.200.7.2", NULL);
	assert_true(remote_take(&w.m, 8, "edge-8", far_id + 1, &t));
	publish_identity(&w.m);
	assert_null(identity(far_id + 1));
	node_end(&w);
}

/* ---- containers of others ---- */

static const uint64_t guest_id = MSG_ATTACHMENT_BIT | 5;

static void
attach(uint64_t id, const char *network, const char *addr4)
{
	struct msg_attachment row = {.id = id};

	text_copy(row.key.network, sizeof(row.key.network), network);
	assert_true(addr_parse_ip(addr4, &row.addr4));
	assert_int_equal(ring_table_set(w.runtime, MSG_TABLE_ATTACHMENT, id, &row, NULL), RING_OK);
	node_sync(w.runtime_r, MSG_TABLE_ATTACHMENT, sizeof(row));
}

static void
test_guests(void **state)
{
	(void)state;
	begin();
	node_pass(&w, 10);
	assert_int_equal(publish_identity_guests(&w.m), 0);
	attach(guest_id, "mesh", "10.200.3.9");
	attach(guest_id + 1, "mesh", "10.200.3.10");
	attach(guest_id + 2, "other", "10.200.3.11");
	publish_identity(&w.m);
	assert_int_equal(publish_identity_guests(&w.m), 3);
	const struct msg_identity *row = identity(guest_id);
	assert_non_null(row);
	assert_addr(&row->addr4, "10.200.3.9");
	assert_int_equal(row->node, 3);
	assert_int_equal(row->flags, USUAL);
	assert_true(row->deployment == identity(guest_id + 1)->deployment);
	assert_true(row->deployment != identity(guest_id + 2)->deployment);
	assert_true(row->deployment != own()->service->deployment->row.id);
	/* A runtime that is away, and one that has not said yet what it has, have lost none. */
	w.m.runtime = NULL;
	publish_identity(&w.m);
	assert_non_null(identity(guest_id));
	assert_non_null(identity(guest_id + 2));
	w.m.runtime = w.runtime_r;
	ring_table_remove(w.runtime, MSG_TABLE_ATTACHMENT, guest_id);
	node_sync(w.runtime_r, MSG_TABLE_ATTACHMENT, sizeof(struct msg_attachment));
	publish_identity(&w.m);
	assert_null(identity(guest_id));
	assert_non_null(identity(guest_id + 1));
	node_end(&w);
}

static void
guests(void *arg, model_guest_fn visit, void *visit_arg)
{
	struct tidings_guest g = {.network = "mesh"};

	assert_true(addr_parse_ip("10.200.7.9", &g.addr4));
	if (*(const bool *)arg)
		visit(visit_arg, 7, guest_id, &g);
	/* A key that a replica could have. */
	visit(visit_arg, 7, far_id, &g);
}

static const struct msg_guest *
named(uint64_t key)
{
	return ring_table_own(w.m.writer, MSG_TABLE_GUEST, key);
}

static void
names(void *arg, model_guest_fn visit, void *visit_arg)
{
	struct tidings_guest g = {.network = "mesh", .name = "web"};

	assert_true(addr_parse_ip("10.200.7.9", &g.addr4));
	if (*(const bool *)arg)
		visit(visit_arg, 7, guest_id, &g);
	/* Another node's with the same id, no names, and what is this node's. */
	visit(visit_arg, 8, guest_id, &g);
	g.name[0] = '\0';
	visit(visit_arg, 7, guest_id + 2, &g);
	text_copy(g.name, sizeof(g.name), "Web");
	visit(visit_arg, 7, guest_id + 3, &g);
	visit(visit_arg, 3, guest_id + 4, &g);
}

static void
test_names_of_guests(void **state)
{
	bool there = true;

	(void)state;
	begin();
	w.m.hooks.arg = &there;
	w.m.hooks.guests = names;
	for (int i = 0; i < 2; i++) {
		publish_identity(&w.m);
		publish_guests(&w.m);
		assert_non_null(named(guest_id));
		assert_int_equal(named(guest_id)->node, 7);
		assert_string_equal(named(guest_id)->name, "web");
		assert_string_equal(named(guest_id)->network, "mesh");
		assert_addr(&named(guest_id)->addr4, "10.200.7.9");
		for (uint64_t id = guest_id + 1; id < guest_id + 5; id++)
			assert_null(named(id));
	}
	/* It has gone: the id is the other one's. */
	there = false;
	publish_identity(&w.m);
	publish_guests(&w.m);
	assert_int_equal(named(guest_id)->node, 8);
	w.m.hooks.guests = NULL;
	publish_identity(&w.m);
	publish_guests(&w.m);
	assert_null(named(guest_id));
	node_end(&w);
}

static void
test_guests_of_other_nodes(void **state)
{
	bool there = true;

	(void)state;
	begin();
	w.m.hooks.arg = &there;
	w.m.hooks.guests = guests;
	attach(guest_id + 1, "mesh", "10.200.3.9");
	publish_identity(&w.m);
	const struct msg_identity *row = identity(guest_id);
	assert_non_null(row);
	assert_int_equal(row->node, 7);
	assert_addr(&row->addr4, "10.200.7.9");
	assert_true(row->deployment == identity(guest_id + 1)->deployment);
	assert_null(identity(far_id));
	there = false;
	publish_identity(&w.m);
	assert_null(identity(guest_id));
	assert_non_null(identity(guest_id + 1));
	node_end(&w);
}

/* The first of two comes earlier in a walk. */
static void
two_with_an_id(void *arg, model_guest_fn visit, void *visit_arg)
{
	struct tidings_guest g = {.network = "mesh"};

	assert_true(addr_parse_ip("10.200.6.9", &g.addr4));
	if (*(const bool *)arg)
		visit(visit_arg, 6, guest_id, &g);
	visit(visit_arg, 6, guest_id + 1, &g);
	assert_true(addr_parse_ip("10.200.7.9", &g.addr4));
	visit(visit_arg, 7, guest_id, &g);
	visit(visit_arg, 7, guest_id + 1, &g);
}

static void
test_a_guests_id_is_taken_by_nobody(void **state)
{
	bool both = false;

	(void)state;
	begin();
	w.m.hooks.arg = &both;
	w.m.hooks.guests = two_with_an_id;
	attach(guest_id + 1, "mesh", "10.200.3.9");
	for (int i = 0; i < 2; i++) {
		publish_identity(&w.m);
		assert_int_equal(identity(guest_id)->node, 7);
		assert_addr(&identity(guest_id)->addr4, "10.200.7.9");
		assert_int_equal(identity(guest_id + 1)->node, 3);
		assert_addr(&identity(guest_id + 1)->addr4, "10.200.3.9");
		both = true;
	}
	node_end(&w);
}

/* ---- all of them ---- */

static bool
heard(void *arg)
{
	return *(const bool *)arg;
}

static void
test_whole_when_all_were_heard(void **state)
{
	bool all = false;

	(void)state;
	begin();
	w.m.hooks.arg = &all;
	w.m.hooks.heard = heard;
	node_pass(&w, 10);
	assert_null(identity(MSG_IDENTITY_WHOLE));
	all = true;
	/* What is not among the backends by then is taken for gone. */
	publish_identity(&w.m);
	assert_null(identity(MSG_IDENTITY_WHOLE));
	node_pass(&w, 1);
	assert_non_null(identity(MSG_IDENTITY_WHOLE));
	assert_int_equal(identity(MSG_IDENTITY_WHOLE)->node, 3);
	/* Once it was so, it is. */
	all = false;
	node_pass(&w, 1);
	assert_non_null(identity(MSG_IDENTITY_WHOLE));
	/* A process that has just begun: what runs here has not been said. */
	node_stop(&w);
	w.m.hooks = (struct model_hooks){0};
	w.boot = "second";
	node_start(&w);
	w.m.runtime = NULL;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	assert_null(identity(MSG_IDENTITY_WHOLE));
	w.m.runtime = w.runtime_r;
	node_pass(&w, 10);
	assert_non_null(identity(MSG_IDENTITY_WHOLE));
	node_end(&w);
}

static void
test_too_many(void **state)
{
	enum { MORE = 10 };
	struct tidings_replica t;
	struct addr a;

	(void)state;
	begin();
	node_pass(&w, 10);
	t = told("10.200.7.2", NULL);
	a = t.addr4;
	for (uint32_t i = 0; i < PUBLISH_IDENTITIES_MAX - 1; i++) {
		addr_from_v4_be(__builtin_bswap32(0x0ac90000 + i), 0, &t.addr4);
		assert_true(remote_take(&w.m, 7, "edge-7", far_id + i, &t));
	}
	publish_identity(&w.m);
	assert_int_equal(w.m.nameless, 0);
	assert_int_equal(rows(), PUBLISH_IDENTITIES_MAX + 1);
	/* Those that stand there stay, wherever the others come in between. */
	t.addr4 = a;
	for (uint32_t i = 0; i < MORE; i++)
		assert_true(remote_take(&w.m, 8, "edge-8", (UINT64_C(8) << 32) + i, &t));
	publish_identity(&w.m);
	assert_int_equal(w.m.nameless, MORE);
	assert_int_equal(rows(), PUBLISH_IDENTITIES_MAX + 1);
	for (uint32_t i = 0; i < PUBLISH_IDENTITIES_MAX - 1; i++)
		assert_non_null(identity(far_id + i));
	assert_non_null(identity(own()->row.id));
	/* All others at once: the new ones find their place in the same pass. */
	remote_drop_node(&w.m, 7);
	publish_identity(&w.m);
	assert_int_equal(w.m.nameless, 0);
	assert_int_equal(rows(), 1 + MORE + 1);
	node_end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_row_before_the_container),
		cmocka_unit_test(test_between_two_attempts),
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_of_other_nodes),
		cmocka_unit_test(test_a_node_speaks_for_its_own),
		cmocka_unit_test(test_guests),
		cmocka_unit_test(test_guests_of_other_nodes),
		cmocka_unit_test(test_names_of_guests),
		cmocka_unit_test(test_a_guests_id_is_taken_by_nobody),
		cmocka_unit_test(test_whole_when_all_were_heard),
		cmocka_unit_test(test_too_many),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
