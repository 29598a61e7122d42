/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of admission over the loopback: a node that admits, with a store of its own, and those
 * that ask it, rightly and wrongly. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/credentials.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_sqlite.h"

enum { DAY_S = 86400, TURNS_MAX = 100000 };

static struct {
	uv_loop_t loop;
	char path[64];
	int folder;
	struct model model;
	struct cluster c;
	struct addr address;
} keeper;

/* What an asker was told. */
static struct {
	bool done, admitted;
	uint32_t node;
	size_t nodes;
	struct buf chain, authority;
	struct err err;
} told;

static int64_t
now_s(void)
{
	return world_wall_ns() / CLUSTER_SECOND_NS;
}

/* ---- the node that admits ---- */

static int
open_socket(int type, struct addr *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, at));
	return fd;
}

static void
put(enum store_kind kind, void *row)
{
	struct err err = {0};

	assert_int_equal(store_begin(keeper.model.store, &err), 0);
	assert_int_equal(store_put(keeper.model.store, kind, row, &err), 0);
	assert_int_equal(store_commit(keeper.model.store, &err), 0);
	cluster_roster_read(&keeper.c);
}

static void
issue(const struct identity_keys *keys, uint32_t node, const char *name, int64_t wall_s,
      struct buf *chain)
{
	struct identity who = {.node = node};
	struct err err = {0};

	text_copy(who.name, sizeof(who.name), name);
	memcpy(who.sign_public, keys->sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, keys->gossip_public, IDENTITY_KEY);
	assert_int_equal(identity_issue(&keeper.c.keep.authority, &who, wall_s, chain, &err), 0);
}

static void
open_store(void)
{
	struct store_sqlite_options options = {.name = "t.db", .busy_ms = 1000};
	struct store_cluster cluster = {.admission = MSG_ADMISSION_TOKEN, .writer = 1};
	struct store_node self = {.node = 1, .keeper = 1, .name = "edge-1"};
	static const struct config nothing;
	struct err err = {0};

	keeper.c.config = &nothing;
	strcpy(keeper.path, "/tmp/zl-admit-XXXXXX");
	assert_non_null(mkdtemp(keeper.path));
	keeper.folder = open(keeper.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	options.dirfd = keeper.folder;
	assert_int_equal(store_sqlite_open(&options, &keeper.model.store, &err), 0);
	memcpy(self.sign_public, keeper.c.keep.keys.sign_public, IDENTITY_KEY);
	memcpy(self.gossip_public, keeper.c.keep.keys.gossip_public, IDENTITY_KEY);
	put(STORE_CLUSTER, &cluster);
	put(STORE_NODE, &self);
}

static void
listen_with(int64_t certificate_s)
{
	struct cluster *c = &keeper.c;
	struct err err = {0};

	buf_reset(&c->keep.chain);
	issue(&c->keep.keys, 1, "edge-1", certificate_s, &c->keep.chain);
	assert_int_equal(cluster_link_rules(c, &err), 0);
	assert_true(addr_parse("127.0.0.1:0", &keeper.address));
	struct addr udp = keeper.address;
	const struct shell_config config = {.loop = &keeper.loop,
					    .udp_fd = open_socket(SOCK_DGRAM, &udp),
					    .tcp_fd = open_socket(SOCK_STREAM, &keeper.address),
					    .folder = -1,
					    .self = &c->self,
					    .rules = c->rules,
					    .admission = cluster_admit_channel,
					    .arg = c};
	assert_int_equal(shell_new(&config, &c->shell, &err), 0);
}

static int
set_up(void **unused)
{
	struct cluster *c = &keeper.c;
	struct err err = {0};

	(void)unused;
	memset(&keeper, 0, sizeof(keeper));
	memset(&told, 0, sizeof(told));
	buf_init(&told.chain, MEM_BASE, CLUSTER_KEEP_MAX);
	buf_init(&told.authority, MEM_BASE, CLUSTER_KEEP_MAX);
	uv_loop_init(&keeper.loop);
	c->m = &keeper.model;
	list_init(&keeper.model.events);
	c->member = true;
	c->started_ns = world_mono_ns();
	map_init(&c->nodes, MEM_SCHEDULER);
	list_init(&c->changes);
	list_init(&c->admits);
	list_init(&c->feds);
	uv_timer_init(&keeper.loop, &c->again);
	c->again.data = c;
	cluster_keep_init(&c->keep);
	c->keep.node = 1;
	text_copy(c->keep.name, sizeof(c->keep.name), "edge-1");
	assert_int_equal(identity_authority_create(&c->keep.authority, now_s(), &err), 0);
	assert_int_equal(identity_keys_new(&c->keep.keys, &err), 0);
	assert_int_equal(envelope_self_init(&c->self, 1, 1, c->keep.authority.cluster,
					    c->keep.keys.gossip, &err),
			 0);
	open_store();
	listen_with(now_s());
	return 0;
}

static int
tear_down(void **unused)
{
	struct cluster *c = &keeper.c;
	struct map_iter it = {0};
	struct list *at, *next;
	char command[128];

	(void)unused;
	cluster_store_end(c);
	cluster_admit_end(c);
	shell_free(c->shell);
	uv_close((uv_handle_t *)&c->again, NULL);
	while (uv_run(&keeper.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_int_equal(uv_loop_close(&keeper.loop), 0);
	while (map_next(&c->nodes, &it))
		mem_free(it.value);
	map_fini(&c->nodes);
	channel_rules_unref(c->rules);
	envelope_self_fini(&c->self);
	cluster_keep_fini(&c->keep);
	list_each (at, next, &keeper.model.events)
		mem_free(container_of(at, struct event, link));
	store_free(keeper.model.store);
	buf_fini(&told.chain);
	buf_fini(&told.authority);
	fd_close(&keeper.folder);
	text_format(command, sizeof(command), "rm -rf %s", keeper.path);
	return system(command);
}

/* ---- who asks ---- */

struct asker {
	struct identity_keys keys;
	struct channel_rules *rules;
	struct petition *petition;
};

static struct admission_question
word(uint64_t ticket, uint8_t secret, const char *name)
{
	struct admission_question q = {.what = ADMISSION_JOIN, .ticket = ticket};

	memset(q.secret, secret, sizeof(q.secret));
	text_copy(q.name, sizeof(q.name), name);
	q.address.port = 9881;
	return q;
}

static void
make_ticket(uint64_t id, uint8_t secret, int64_t expires_s, uint32_t uses)
{
	struct store_ticket row = {.ticket = id, .expires_s = expires_s, .uses_left = uses};
	uint8_t bytes[TICKET_SECRET];

	memset(bytes, secret, sizeof(bytes));
	SHA256(bytes, sizeof(bytes), row.secret_sha256);
	put(STORE_TICKET, &row);
}

static void
answered(void *arg, const struct admission_answer *answer, const struct identity *from,
	 const struct addr *address, const struct err *err)
{
	struct asker *a = arg;

	(void)from;
	(void)address;
	told.done = true;
	told.admitted = !err && answer->admitted;
	if (err)
		told.err = *err;
	else if (!answer->admitted)
		told.err = answer->refused;
	if (told.admitted) {
		told.node = answer->node;
		told.nodes = answer->nodes_count;
		buf_reset(&told.chain);
		buf_put(&told.chain, answer->chain, answer->chain_bytes);
		buf_reset(&told.authority);
		buf_put(&told.authority, answer->authority, answer->authority_bytes);
	}
	petition_free(a->petition);
	a->petition = NULL;
}

static void
stranger(struct asker *a)
{
	struct err err = {0};
	struct buf chain;

	memset(a, 0, sizeof(*a));
	assert_int_equal(identity_keys_new(&a->keys, &err), 0);
	buf_init(&chain, MEM_BASE, CLUSTER_KEEP_MAX);
	assert_int_equal(identity_alone(&a->keys, now_s(), &chain, &err), 0);
	const struct channel_rules_config config = {.keys = &a->keys,
						    .chain = chain.data,
						    .chain_bytes = chain.length,
						    .cluster = keeper.c.keep.authority.cluster};
	assert_int_equal(channel_rules_new(&config, &a->rules, &err), 0);
	buf_fini(&chain);
}

static void
member(struct asker *a, uint32_t node, const char *name, int64_t issued_s)
{
	struct err err = {0};
	struct buf chain;

	buf_init(&chain, MEM_BASE, CLUSTER_KEEP_MAX);
	issue(&a->keys, node, name, issued_s, &chain);
	channel_rules_unref(a->rules);
	const struct channel_rules_config config = {.keys = &a->keys,
						    .chain = chain.data,
						    .chain_bytes = chain.length,
						    .authority = &keeper.c.keep.authority};
	assert_int_equal(channel_rules_new(&config, &a->rules, &err), 0);
	buf_fini(&chain);
}

static void
ask_at(struct asker *a, const struct admission_question *q, const struct addr *at, size_t count)
{
	struct petition_config config = {.loop = &keeper.loop,
					 .rules = a->rules,
					 .addresses = at,
					 .count = count,
					 .question = *q,
					 .done = answered,
					 .arg = a};
	struct err err = {0};

	memcpy(config.question.gossip_public, a->keys.gossip_public, IDENTITY_KEY);
	memset(&told.err, 0, sizeof(told.err));
	told.done = told.admitted = false;
	assert_int_equal(petition_new(&config, &a->petition, &err), 0);
	for (int i = 0; i < TURNS_MAX && !told.done; i++)
		uv_run(&keeper.loop, UV_RUN_ONCE);
	assert_true(told.done);
}

static void
ask(struct asker *a, const struct admission_question *q)
{
	ask_at(a, q, &keeper.address, 1);
}

static void
assert_refused(const char *what, const char *why)
{
	assert_false(told.admitted);
	assert_non_null(strstr(told.err.what, what));
	if (why)
		assert_non_null(strstr(told.err.why[0], why));
}

static uint32_t
uses_left(void)
{
	struct err err = {0};
	struct buf rows;

	buf_init(&rows, MEM_BASE, 1 << 20);
	assert_int_equal(cluster_store_rows(keeper.model.store, STORE_TICKET, &rows, &err), 0);
	uint32_t left = ((const struct store_ticket *)(const void *)rows.data)->uses_left;
	buf_fini(&rows);
	return left;
}

/* ---- cases ---- */

static void
test_a_ticket_admits_once(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct asker a, thief;
	struct identity who;
	size_t bytes;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &q);
	assert_true(told.admitted);
	assert_int_equal(told.node, 2);
	assert_int_equal(told.nodes, 2);
	const void *leaf = cluster_keep_leaf(told.chain.data, told.chain.length, &bytes);
	assert_int_equal(identity_judge(&keeper.c.keep.authority, leaf, bytes, now_s(), &who),
			 IDENTITY_GOOD);
	assert_memory_equal(who.sign_public, a.keys.sign_public, IDENTITY_KEY);
	assert_int_equal(uses_left(), 0);
	const struct cluster_node *n = cluster_roster_find(&keeper.c, 2);
	assert_non_null(n);
	assert_string_equal(n->row.address, "127.0.0.1:9881");
	/* The answer may have been lost: the same key is the same node. */
	ask(&a, &q);
	assert_true(told.admitted);
	assert_int_equal(told.node, 2);
	/* Whoever copied the word is somebody else. */
	stranger(&thief);
	q = word(5, 9, "edge-3");
	ask(&thief, &q);
	assert_refused("the ticket is refused", "as often as it may be");
	channel_rules_unref(a.rules);
	channel_rules_unref(thief.rules);
}

static void
test_refusals(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct asker a;

	(void)unused;
	make_ticket(5, 9, now_s() - 1, 1);
	make_ticket(6, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &q);
	assert_refused("the ticket is refused", "its time is over");
	q = word(6, 8, "edge-2");
	ask(&a, &q);
	assert_refused("the ticket is refused", "does not know it");
	q = word(6, 9, "edge-1");
	ask(&a, &q);
	assert_refused("edge-1", "another node of the cluster has that name");
	q = word(6, 9, "Not A Name");
	ask(&a, &q);
	assert_refused("no node can be called", NULL);
	struct store_cluster row = keeper.c.row;
	row.admission = MSG_ADMISSION_CLOSED;
	put(STORE_CLUSTER, &row);
	q = word(6, 9, "edge-2");
	ask(&a, &q);
	assert_refused("takes no nodes in", NULL);
	assert_int_equal(cluster_roster_count(&keeper.c), 1);
	channel_rules_unref(a.rules);
}

/* Whoever has no ticket cannot fill the log: a few lines, and how many more there were. */
static void
test_refusals_in_the_log(void **unused)
{
	const struct admission_question q = word(7, 7, "edge-2");
	struct log_config log = {.level = LOG_INFO, .format = LOG_FORMAT_JSON};
	defer_close int fd = fd_memfd("log");
	unsigned lines = 0;
	struct err err = {0};
	struct asker a;
	struct buf text;

	(void)unused;
	buf_init(&text, MEM_BASE, 1 << 20);
	log.fd = fd;
	log_setup(&log);
	stranger(&a);
	for (int i = 0; i < LOG_FEW + 3; i++) {
		ask(&a, &q);
		assert_refused("the ticket is refused", NULL);
	}
	cluster_admit_tick(&keeper.c, world_mono_ns());
	cluster_admit_tick(&keeper.c, world_mono_ns() + LOG_FEW_S * UINT64_C(1000000000));
	log.fd = STDERR_FILENO;
	log_setup(&log);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(fd, &text, &err), 0);
	buf_u8(&text, 0);
	const char *at = (const char *)text.data;
	assert_non_null(strstr(at, "\"more nodes were not admitted\""));
	assert_non_null(strstr(at, "\"count\":3"));
	for (; (at = strstr(at, "\"a node was not admitted\"")); at++)
		lines++;
	assert_int_equal(lines, LOG_FEW);
	buf_fini(&text);
	channel_rules_unref(a.rules);
}

static void
test_renewal(void **unused)
{
	struct admission_question join = word(5, 9, "edge-2");
	const struct admission_question renew = {.what = ADMISSION_RENEW,
						 .address = {.port = 9999}};
	struct asker a, other;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 2);
	stranger(&a);
	ask(&a, &renew);
	assert_refused("only a node of the cluster", NULL);
	ask(&a, &join);
	assert_true(told.admitted);
	/* It slept for a year. */
	member(&a, 2, "edge-2", now_s() - 365 * DAY_S);
	ask(&a, &renew);
	assert_true(told.admitted);
	assert_int_equal(told.node, 2);
	assert_string_equal(cluster_roster_find(&keeper.c, 2)->row.address, "127.0.0.1:9881");
	cluster_roster_read(&keeper.c);
	assert_string_equal(cluster_roster_find(&keeper.c, 2)->row.address, "127.0.0.1:9999");
	/* A certificate of an id that was never given. */
	stranger(&other);
	member(&other, 7, "edge-7", now_s());
	ask(&other, &renew);
	assert_refused("no member", NULL);
	/* Sent away. */
	struct store_node row = cluster_roster_find(&keeper.c, 2)->row;
	row.removed = STORE_NODE_SENT_AWAY;
	put(STORE_NODE, &row);
	ask(&a, &renew);
	assert_refused("no member", NULL);
	assert_int_equal(told.err.kind, ERR_DENIED);
	channel_rules_unref(a.rules);
	channel_rules_unref(other.rules);
}

/* To call etcd with; members only, and no row is needed for it. */
static void
test_a_pass_for_the_store(void **unused)
{
	struct admission_question join = word(5, 9, "edge-2");
	const struct admission_question store = {.what = ADMISSION_STORE};
	struct asker a;
	struct err err = {0};
	int64_t since;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &store);
	assert_refused("only a node of the cluster", NULL);
	ask(&a, &join);
	assert_true(told.admitted);
	/* Who slept renews its certificate first. */
	member(&a, 2, "edge-2", now_s() - 365 * DAY_S);
	ask(&a, &store);
	assert_int_equal(told.err.kind, ERR_UNREACHABLE);
	member(&a, 2, "edge-2", now_s());
	ask(&a, &store);
	assert_true(told.admitted);
	assert_int_equal(told.nodes, 0);
	const struct credentials_pem pem = {told.chain.data, told.chain.length, told.authority.data,
					    told.authority.length};
	assert_int_equal(credentials_check(&keeper.c.keep.authority, CREDENTIALS_CLIENTS, &pem,
					   a.keys.sign_public, now_s(), &since, &err),
			 0);
	channel_rules_unref(a.rules);
}

/* The authority's key goes to who is to have it, and to nobody else. */
static void
test_the_key(void **unused)
{
	struct admission_question join = word(5, 9, "edge-2");
	const struct admission_question key = {.what = ADMISSION_KEY};
	struct identity_authority got;
	struct secret secret;
	struct asker a;
	struct err err = {0};

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &key);
	assert_refused("only a node of the cluster", NULL);
	ask(&a, &join);
	member(&a, 2, "edge-2", now_s());
	ask(&a, &key);
	assert_refused("is not to have the authority's key", NULL);
	struct store_node row = cluster_roster_find(&keeper.c, 2)->row;
	row.keeper = 1;
	put(STORE_NODE, &row);
	ask(&a, &key);
	assert_true(told.admitted);
	assert_int_equal(secret_from(&secret, told.chain.data, told.chain.length, &err), 0);
	assert_int_equal(identity_authority_import(&got, &secret, &err), 0);
	secret_fini(&secret);
	assert_memory_equal(got.cluster, keeper.c.keep.authority.cluster, IDENTITY_CLUSTER);
	identity_authority_fini(&got);
	/* Rows that say so of everybody are no rows to believe. */
	for (uint32_t id = 10; id < 10 + ADMISSION_KEEPERS_MAX; id++) {
		struct store_node more = {.node = id, .keeper = 1};

		text_format(more.name, sizeof(more.name), "more-%u", id);
		memset(more.sign_public, (int)id, sizeof(more.sign_public));
		put(STORE_NODE, &more);
	}
	ask(&a, &key);
	assert_refused("nobody is given the authority's key", NULL);
	channel_rules_unref(a.rules);
}

/* A node that has not got the key answers nobody. */
static void
test_not_a_keeper(void **unused)
{
	struct identity_authority part = {.key = keeper.c.keep.authority.key};
	struct admission_question join = word(5, 9, "edge-2");
	struct asker a;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &join);
	assert_true(told.admitted);
	member(&a, 2, "edge-2", now_s());
	keeper.c.keep.authority.key = NULL;
	ask(&a, &(struct admission_question){.what = ADMISSION_RENEW});
	assert_int_equal(told.err.kind, ERR_UNREACHABLE);
	identity_authority_fini(&part);
	channel_rules_unref(a.rules);
}

static void
test_every_address_is_tried(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct addr at[3];
	struct asker a;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	assert_true(addr_parse("127.0.0.1:1", &at[0]));
	assert_true(addr_parse("127.0.0.1:2", &at[1]));
	at[2] = keeper.address;
	stranger(&a);
	ask_at(&a, &q, at, 2);
	assert_int_equal(told.err.kind, ERR_UNREACHABLE);
	assert_int_equal(told.err.whys, 2);
	assert_non_null(strstr(told.err.why[0], "127.0.0.1:1: "));
	assert_non_null(strstr(told.err.why[1], "127.0.0.1:2: "));
	ask_at(&a, &q, at, 3);
	assert_true(told.admitted);
	channel_rules_unref(a.rules);
}

/* The other side's certificate is good at another time: somebody's clock is wrong. */
static void
test_clocks(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct asker a;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	shell_free(keeper.c.shell);
	listen_with(now_s() - 100 * DAY_S);
	stranger(&a);
	ask(&a, &q);
	assert_refused("the clocks of this node and of edge-1", NULL);
	channel_rules_unref(a.rules);
}

/* ---- bytes of anybody ---- */

static bool ended;

static void
raw_up(void *arg, struct channel *c)
{
	const char *text = arg;

	(void)channel_write(c, text, strlen(text));
}

static void
raw_data(void *arg, struct channel *c, const void *data, size_t bytes)
{
	(void)arg;
	(void)c;
	(void)data;
	(void)bytes;
}

static void
raw_room(void *arg, struct channel *c)
{
	(void)arg;
	(void)c;
}

static void
raw_down(void *arg, struct channel *c, const struct err *why)
{
	(void)arg;
	(void)c;
	(void)why;
	ended = true;
}

static void
test_garbage(void **unused)
{
	static const struct channel_calls calls = {raw_up, raw_data, raw_room, raw_down};
	static char texts[][16] = {"\xff\xff\xff\x7f garbage", "\x04\x01\x01\x01 garbage",
				   "\x01\x01\x01\x01"};
	struct channel *channel;
	struct err err = {0};
	struct asker a;

	(void)unused;
	stranger(&a);
	for (size_t i = 0; i < 3; i++) {
		ended = false;
		assert_int_equal(channel_connect(&keeper.loop, a.rules, &keeper.address, 0,
						 CHANNEL_ADMISSION, &calls, texts[i], &channel,
						 &err),
				 0);
		for (int turn = 0; turn < TURNS_MAX && !ended; turn++)
			uv_run(&keeper.loop, UV_RUN_ONCE);
		assert_true(ended);
	}
	assert_int_equal(keeper.c.admits_count, 0);
	channel_rules_unref(a.rules);
}

/* Whoever says nothing is hung up on. */
static void
test_silence(void **unused)
{
	static const struct channel_calls calls = {raw_up, raw_data, raw_room, raw_down};
	static char nothing[1];
	struct channel *channel;
	struct err err = {0};
	struct asker a;

	(void)unused;
	stranger(&a);
	ended = false;
	assert_int_equal(channel_connect(&keeper.loop, a.rules, &keeper.address, 0,
					 CHANNEL_ADMISSION, &calls, nothing, &channel, &err),
			 0);
	for (int turn = 0; turn < TURNS_MAX && keeper.c.admits_count == 0; turn++)
		uv_run(&keeper.loop, UV_RUN_ONCE);
	cluster_admit_tick(&keeper.c, world_mono_ns());
	assert_int_equal(keeper.c.admits_count, 1);
	cluster_admit_tick(&keeper.c, world_mono_ns() + 60 * (uint64_t)CLUSTER_SECOND_NS);
	assert_int_equal(keeper.c.admits_count, 0);
	for (int turn = 0; turn < TURNS_MAX && !ended; turn++)
		uv_run(&keeper.loop, UV_RUN_ONCE);
	assert_true(ended);
	channel_rules_unref(a.rules);
}

/* Rows that a node wrote which lies: nobody is met that cannot be a node, and who joins gets a
 * number that is one. */
static void
test_rows_of_a_liar(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct store_node none = {.name = "edge-0", .sign_public = {1}, .gossip_public = {1}};
	struct store_node shown = {
		.node = 9, .name = "a\x1b[2Jb", .sign_public = {2}, .gossip_public = {2}};
	struct store_node last = {
		.node = INT32_MAX, .name = "edge-9", .sign_public = {3}, .gossip_public = {3}};
	struct asker a;

	(void)unused;
	put(STORE_NODE, &none);
	put(STORE_NODE, &shown);
	assert_null(cluster_roster_find(&keeper.c, 0));
	assert_null(cluster_roster_find(&keeper.c, 9));
	assert_int_equal(cluster_roster_count(&keeper.c), 1);
	put(STORE_NODE, &last);
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&a);
	ask(&a, &q);
	assert_refused("no number left", NULL);
	assert_int_equal(uses_left(), 1);
	channel_rules_unref(a.rules);
}

static void
turn_until(bool (*holds)(void))
{
	for (int turn = 0; turn < TURNS_MAX && !holds(); turn++)
		uv_run(&keeper.loop, UV_RUN_ONCE);
	assert_true(holds());
}

static size_t silent_wanted;

static bool
are_there(void)
{
	return keeper.c.admits_count == silent_wanted;
}

/* Strangers that say nothing take every place: one that asks is heard all the same. */
static void
test_silent_crowd(void **unused)
{
	enum { CROWD = 64 };
	static const struct channel_calls calls = {raw_up, raw_data, raw_room, raw_down};
	static char nothing[1];
	struct admission_question q = word(5, 9, "edge-2");
	struct channel *crowd[CROWD];
	struct err err = {0};
	struct asker silent, a;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	stranger(&silent);
	for (silent_wanted = 1; silent_wanted <= CROWD; silent_wanted++) {
		assert_int_equal(channel_connect(&keeper.loop, silent.rules, &keeper.address, 0,
						 CHANNEL_ADMISSION, &calls, nothing,
						 &crowd[silent_wanted - 1], &err),
				 0);
		turn_until(are_there);
	}
	stranger(&a);
	ask(&a, &q);
	assert_true(told.admitted);
	assert_int_equal(keeper.c.admits_count, CROWD - 1);
	for (size_t i = 1; i < CROWD; i++)
		channel_abort(crowd[i]);
	channel_rules_unref(a.rules);
	channel_rules_unref(silent.rules);
}

/* Connections that never say who they are take every place of the port. */
static void
test_half_handshakes(void **unused)
{
	struct admission_question q = word(5, 9, "edge-2");
	struct sockaddr_storage sa;
	int crowd[SHELL_CHANNELS_MAX + 8];
	const size_t count = sizeof(crowd) / sizeof(crowd[0]);
	struct asker a;

	(void)unused;
	make_ticket(5, 9, now_s() + 60, 1);
	socklen_t length = addr_to_sockaddr(&keeper.address, &sa);
	for (size_t i = 0; i < count; i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(crowd[i], (struct sockaddr *)&sa, length), 0);
		for (int turn = 0; turn < 8; turn++)
			uv_run(&keeper.loop, UV_RUN_NOWAIT);
	}
	stranger(&a);
	ask(&a, &q);
	assert_true(told.admitted);
	for (size_t i = 0; i < count; i++)
		fd_close(&crowd[i]);
	channel_rules_unref(a.rules);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_a_ticket_admits_once),
		CASE(test_refusals),
		CASE(test_refusals_in_the_log),
		CASE(test_renewal),
		CASE(test_a_pass_for_the_store),
		CASE(test_the_key),
		CASE(test_not_a_keeper),
		CASE(test_every_address_is_tried),
		CASE(test_clocks),
		CASE(test_garbage),
		CASE(test_silence),
		CASE(test_rows_of_a_liar),
		CASE(test_silent_crowd),
		CASE(test_half_handshakes),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
