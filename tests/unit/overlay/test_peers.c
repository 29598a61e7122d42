/* SPDX-License-Identifier: Apache-2.0 */
/* Peers of the configuration as rows: the same name keeps its id, what is gone goes. */
#include "overlay/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/msg.h"

static struct config config;
static struct peers peers;

static bool
sealed(uint32_t node)
{
	return node == 1;
}

static uint32_t
mtu(uint64_t id)
{
	return id == peers_id("b") ? 1376 : 1420;
}

/* Those of the configuration. */
/* The table that is published. */
static struct ring_writer *
own_table(void)
{
	const struct ring_layout layout = {.role = ROLE_OVERLAY,
					   .generation = 1,
					   .tables = {peers_layout()},
					   .tables_count = 1};
	struct ring_writer *w = NULL;
	struct err err = {0};

	assert_int_equal(ring_writer_new(&layout, &w, &err), 0);
	return w;
}

/* What the next process of the scheduler says. */
static struct ring_writer *
mesh_of(uint32_t rows, struct ring_reader **reader_out)
{
	static uint32_t generation;
	const struct ring_layout layout = {
		.role = ROLE_SCHEDULER,
		.generation = ++generation,
		.tables = {{MSG_TABLE_MESH, 1, sizeof(struct msg_mesh), rows}},
		.tables_count = 1};
	struct ring_writer *w = NULL;
	struct err err = {0};

	assert_int_equal(ring_writer_new(&layout, &w, &err), 0);
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(w)), reader_out, &err), 0);
	return w;
}

static bool
publish(struct ring_writer *w)
{
	assert_true(peers_gather(&config, NULL, &peers));
	return peers_publish(w, &peers, sealed, mtu);
}

static void
add(const char *name, const char *address, const char *v4, const char *v6)
{
	struct config_peer *p = &config.overlay.peers[config.overlay.peers_count++];

	memset(p, 0, sizeof(*p));
	text_copy(p->name, sizeof(p->name), name);
	assert_true(addr_parse_ip(address, &p->address));
	assert_true(addr_parse_prefix(v4, &p->prefix4));
	assert_true(addr_parse_prefix(v6, &p->prefix6));
}

struct seen {
	size_t count;
	uint64_t ids[PEERS_MAX];
	char names[256];
};

static void
note(void *arg, uint64_t key, const void *row)
{
	struct seen *s = arg;
	const struct msg_peer *p = row;

	s->ids[s->count++] = key;
	strcat(s->names, p ? p->name : "-");
	strcat(s->names, ",");
	if (p) {
		assert_int_equal(p->id, key);
		assert_int_equal(p->ways, MSG_WAY_PLAIN | MSG_WAY_TRUSTED);
		assert_int_equal(p->mtu, 0); /* of the sealed way, which there is none */
	}
}

static struct seen
look(struct ring_reader *r)
{
	struct seen s = {.count = 0};

	ring_table_sync(r, MSG_TABLE_PEER, sizeof(struct msg_peer), note, &s);
	return s;
}

/* What probes found out counts where they were sealed. */
static void
test_sizes(void **state)
{
	static const uint32_t ways[] = {MSG_WAY_SEALED, MSG_WAY_SEALED | MSG_WAY_PLAIN,
					MSG_WAY_SEALED | MSG_WAY_PLAIN | MSG_WAY_TRUSTED,
					MSG_WAY_PLAIN | MSG_WAY_TRUSTED};
	static const uint32_t sizes[] = {1376, 1376, 0, 0};
	struct ring_writer *w;

	(void)state;
	w = own_table();
	config.overlay.peers_count = 0;
	add("b", "192.0.2.2", "10.200.2.0/24", "fd00:2::/64");
	memset(&peers, 0, sizeof(peers));
	peers.all[0] = config.overlay.peers[0];
	peers.count = 1;
	peers.mesh_count = 1;
	for (unsigned i = 0; i < 4; i++) {
		const struct msg_peer *row;

		peers.mesh[0] = (struct msg_mesh){.node = 1, .ways = ways[i]};
		(void)peers_publish(w, &peers, sealed, mtu);
		row = ring_table_own(w, MSG_TABLE_PEER, peers_id("b"));
		assert_non_null(row);
		assert_int_equal(row->ways, ways[i]);
		assert_int_equal(row->mtu, sizes[i]);
	}
	config.overlay.peers_count = 0;
	memset(&peers, 0, sizeof(peers));
	(void)peers_publish(w, &peers, sealed, mtu);
	ring_writer_free(w);
}

static void
test_rows(void **state)
{
	struct ring_writer *w;
	struct ring_reader *r;
	struct err err = {0};
	struct seen s;

	(void)state;
	w = own_table();
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(w)), &r, &err), 0);
	assert_false(publish(w));
	add("b", "192.0.2.2", "10.200.2.0/24", "fd00:2::/64");
	add("c", "2001:db8::3", "10.200.3.0/24", "fd00:3::/64");
	assert_true(publish(w));
	assert_false(publish(w));
	s = look(r);
	assert_int_equal(s.count, 2);
	uint64_t c = strncmp(s.names, "c", 1) == 0 ? s.ids[0] : s.ids[1];
	/* The first one goes: the second keeps its id though its place has changed. */
	config.overlay.peers[0] = config.overlay.peers[1];
	config.overlay.peers_count = 1;
	assert_true(publish(w));
	s = look(r);
	assert_int_equal(s.count, 1);
	assert_string_equal(s.names, "-,");
	assert_int_not_equal(s.ids[0], c);
	assert_non_null(ring_table_get(r, MSG_TABLE_PEER, c));
	config.overlay.peers_count = 0;
	assert_true(publish(w));
	s = look(r);
	assert_int_equal(s.ids[0], c);
	ring_reader_free(r);
	ring_writer_free(w);
}

static void
put_mesh(struct ring_writer *w, uint32_t node, const char *name, const char *address,
	 const char *v4, const char *v6, bool self)
{
	struct msg_mesh row = {.node = node, .self = self};

	text_copy(row.name, sizeof(row.name), name);
	assert_true(addr_parse_ip(address, &row.address));
	if (v4)
		assert_true(addr_parse_prefix(v4, &row.v4));
	assert_true(addr_parse_prefix(v6, &row.v6));
	assert_int_equal(ring_table_set(w, MSG_TABLE_MESH, node, &row, NULL), RING_OK);
}

/* Those of the cluster beside those by hand, which go before; as they were while nobody says. */
static void
test_cluster(void **state)
{
	static struct peers p;
	const struct peers *out = &p;
	struct ring_writer *w;
	struct ring_reader *r;
	struct addr_prefix wish;

	(void)state;
	config.overlay.peers_count = 0;
	add("m", "192.0.2.9", "10.200.9.0/24", "fd00:9::/64");
	w = mesh_of(16, &r);
	put_mesh(w, 1, "z", "192.0.2.1", "10.200.1.0/24", "fd00:1::/64", false);
	put_mesh(w, 2, "a", "192.0.2.2", "10.200.2.0/24", "fd00:2::/64", false);
	put_mesh(w, 3, "m", "192.0.2.3", "10.200.3.0/24", "fd00:3::/64", false);
	put_mesh(w, 4, "own", "192.0.2.4", NULL, "fd00:4::/64", true);
	put_mesh(w, 5, "wide", "192.0.2.5", "10.0.0.0/8", "fd00:5::/64", false);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_gather(&config, r, &p));
	assert_int_equal(out->count, 3);
	assert_string_equal(out->all[0].name, "m");
	assert_int_equal(out->all[0].address.ip[15], 9); /* by hand */
	assert_string_equal(out->all[1].name, "a");
	assert_string_equal(out->all[2].name, "z");
	assert_false(peers_wish(r, &wish));
	put_mesh(w, 4, "own", "192.0.2.4", "10.200.4.0/24", "fd00:4::/64", true);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_wish(r, &wish));
	assert_int_equal(wish.base.ip[14], 4);
	assert_true(peers_gather(&config, NULL, &p));
	assert_int_equal(out->count, 3);
	config.overlay.peers_count = 0;
	assert_true(peers_gather(&config, r, &p));
	assert_int_equal(out->count, 3);
	assert_string_equal(out->all[1].name, "m");
	assert_int_equal(out->all[1].address.ip[15], 3);
	ring_reader_free(r);
	ring_writer_free(w);
}

/* A scheduler that has just begun takes nobody away of whom it has not heard. */
static void
test_scheduler_begins(void **state)
{
	const struct msg_mesh untold = {.node = 2, .name = "b"};
	static struct peers p;
	const struct peers *out = &p;
	struct ring_writer *w;
	struct ring_reader *r;

	(void)state;
	config.overlay.peers_count = 0;
	memset(&p, 0, sizeof(p));
	for (unsigned generation = 1; generation <= 2; generation++) {
		w = mesh_of(16, &r);
		ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
		assert_true(peers_gather(&config, r, &p));
		assert_int_equal(out->count, generation == 1 ? 0 : 2);
		put_mesh(w, 1, "a", "192.0.2.1", "10.200.1.0/24", "fd00:1::/64", false);
		if (generation == 1)
			put_mesh(w, 2, "b", "192.0.2.2", "10.200.2.0/24", "fd00:2::/64", false);
		else
			assert_int_equal(ring_table_set(w, MSG_TABLE_MESH, 2, &untold, NULL),
					 RING_OK);
		put_mesh(w, 4, "own", "192.0.2.4", NULL, "fd00:4::/64", true);
		ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
		assert_true(peers_gather(&config, r, &p));
		assert_int_equal(out->count, 2);
		assert_string_equal(out->all[1].name, "b");
		assert_int_equal(out->all[1].address.ip[15], 2);
		if (generation == 1) {
			ring_reader_free(r);
			ring_writer_free(w);
		}
	}
	/* What is kept gives way to nobody above it, and to one below. */
	put_mesh(w, 3, "c", "192.0.2.3", "10.200.2.0/24", "fd00:3::/64", false);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_gather(&config, r, &p));
	assert_int_equal(out->count, 2);
	assert_string_equal(out->all[1].name, "b");
	put_mesh(w, 1, "a", "192.0.2.1", "10.200.1.0/24", "fd00:2::/64", false);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_gather(&config, r, &p));
	assert_string_equal(out->all[0].name, "a");
	assert_false(out->count > 1 && strcmp(out->all[1].name, "b") == 0);
	ring_table_remove(w, MSG_TABLE_MESH, 2); /* it is no member any more */
	ring_table_remove(w, MSG_TABLE_MESH, 3);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_gather(&config, r, &p));
	assert_int_equal(out->count, 1);
	ring_reader_free(r);
	ring_writer_free(w);
}

/* A full list has room. */
static void
test_most(void **state)
{
	char name[16], address[24], v4[24], v6[24];
	struct ring_writer *w;

	(void)state;
	w = own_table();
	config.overlay.peers_count = 0;
	for (unsigned i = 0; i < CONFIG_PEERS_MAX; i++) {
		text_format(name, sizeof(name), "n%u", i);
		text_format(address, sizeof(address), "192.0.%u.%u", i / 128, 1 + i % 128);
		text_format(v4, sizeof(v4), "10.%u.%u.0/24", i / 128, i % 128);
		text_format(v6, sizeof(v6), "fd00:%x::/64", i + 1);
		add(name, address, v4, v6);
	}
	assert_true(publish(w));
	for (unsigned i = 0; i < CONFIG_PEERS_MAX; i++)
		config.overlay.peers[i].name[0] = 'm'; /* all others at once */
	assert_true(publish(w));
	assert_false(publish(w));
	config.overlay.peers_count = 0;
	assert_true(publish(w));
	ring_writer_free(w);
}

/* As many of the cluster as there may be: the later names are left out, and each has one row. */
static void
test_large(void **state)
{
	char name[16], v4[24], v6[24];
	struct ring_writer *w, *to;
	struct ring_reader *r;

	(void)state;
	config.overlay.peers_count = 0;
	add("hand", "192.0.2.9", "10.200.9.0/24", "fd00:9::/64");
	w = mesh_of(PEERS_MAX + 8, &r);
	to = own_table();
	for (unsigned i = 0; i < PEERS_MAX + 8; i++) {
		/* The last ones come first. */
		text_format(name, sizeof(name), "n%05u", PEERS_MAX + 8 - i);
		text_format(v4, sizeof(v4), "10.%u.%u.0/24", i / 128, i % 128);
		text_format(v6, sizeof(v6), "fd01:%x::/64", i + 1);
		put_mesh(w, i + 1, name, "192.0.2.1", v4, v6, false);
	}
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	memset(&peers, 0, sizeof(peers));
	assert_true(peers_gather(&config, r, &peers));
	assert_int_equal(peers.by_hand, 1);
	assert_int_equal(peers.count, PEERS_MAX);
	assert_int_equal(peers.mesh_count, PEERS_MAX - 1);
	assert_int_equal(peers.left_out, 9);
	for (uint32_t i = 0; i + 1 < PEERS_MAX; i++) {
		text_format(name, sizeof(name), "n%05u", i + 1);
		assert_string_equal(peers.mesh[i].name, name);
		assert_string_equal(peers.all[i + 1].name, name);
	}
	assert_true(peers_publish(to, &peers, sealed, mtu));
	assert_false(peers_publish(to, &peers, sealed, mtu));
	/* Half of them go. */
	for (unsigned i = 0; i < PEERS_MAX / 2; i++)
		ring_table_remove(w, MSG_TABLE_MESH, i + 1);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	assert_true(peers_gather(&config, r, &peers));
	assert_int_equal(peers.left_out, 0);
	assert_int_equal(peers.mesh_count, PEERS_MAX + 8 - PEERS_MAX / 2);
	assert_true(peers_publish(to, &peers, sealed, mtu));
	config.overlay.peers_count = 0;
	memset(&peers, 0, sizeof(peers));
	assert_true(peers_publish(to, &peers, sealed, mtu));
	ring_reader_free(r);
	ring_writer_free(w);
	ring_writer_free(to);
}

/* Nobody is known by halves: it is as it was, and then as it is to be. */
static void
test_without_memory(void **state)
{
	struct ring_writer *w;
	struct ring_reader *r;
	bool done = false;

	(void)state;
	config.overlay.peers_count = 0;
	add("hand", "192.0.2.9", "10.200.9.0/24", "fd00:9::/64");
	w = mesh_of(16, &r);
	put_mesh(w, 1, "a", "192.0.2.1", "10.200.1.0/24", "fd00:1::/64", false);
	put_mesh(w, 2, "b", "192.0.2.2", "10.200.2.0/24", "fd00:2::/64", false);
	put_mesh(w, 3, "c", "192.0.2.3", "10.200.1.0/24", "fd00:3::/64", false);
	ring_table_sync(r, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	for (int64_t n = 0; !done; n++) {
		assert_true(n < 64);
		memset(&peers, 0, sizeof(peers));
		mem_fail_after(n);
		done = peers_gather(&config, r, &peers);
		mem_fail_after(-1);
		assert_int_equal(peers.count, done ? 3 : 0);
		assert_int_equal(peers.mesh_count, done ? 2 : 0);
	}
	config.overlay.peers_count = 0;
	ring_reader_free(r);
	ring_writer_free(w);
	assert_int_equal(mem_used_all(), 0);
}

/* A peer's name stands for the first address of its prefix. */
static void
test_names(void **state)
{
	struct names *n = names_new();
	struct dns_query q = {.question = {.type = DNS_TYPE_A, .class = DNS_CLASS_IN}};
	struct addr asker = {0};
	unsigned char m[DNS_UDP_BYTES];
	enum dns_rcode rcode;
	struct dns_write w;

	(void)state;
	config.overlay.peers_count = 0;
	add("edge-2", "192.0.2.2", "10.200.8.0/24", "fd00:8::/64");
	assert_non_null(n);
	assert_true(peers_gather(&config, NULL, &peers));
	peers_add_names(&peers, n);
	config.overlay.peers_count = 0;
	assert_true(names_finish(n));
	assert_true(dns_name_parse("Edge-2.node.zlayer.internal", &q.question.name));
	dns_write_begin(&w, m, sizeof(m));
	dns_write_question(&w, &q);
	assert_int_equal(names_answer(n, &asker, 0, &q.question, &w, &rcode), NAMES_ANSWERED);
	assert_int_equal(rcode, DNS_NOERROR);
	size_t bytes = dns_write_end(&w, &q, 0, rcode);
	assert_memory_equal(m + bytes - 4, "\x0a\xc8\x08\x01", 4);
	names_free(n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),   cmocka_unit_test(test_rows),
		cmocka_unit_test(test_cluster), cmocka_unit_test(test_scheduler_begins),
		cmocka_unit_test(test_most),    cmocka_unit_test(test_names),
		cmocka_unit_test(test_large),   cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
