/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four nodes of one process, over the loopback, with all that is between a request on one and what
 * another one answers: 1 and 2 listen, 3 and 4 only dial out, and nobody knows where they are until
 * they have said something.
 */
#include "scheduler/cluster_callback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/world.h"
#include "ring/station_private.h"
#include "scheduler/cluster_inside.h"
#include "scheduler/far_wire.h"
#include "tests/support/channel_node.h"

enum { NODES = 4, KEEP_TICKS = 20, SERVICE = 5 };

struct node {
	struct config config;
	struct model model;
	struct cluster c;
	struct channel_node shown;
	struct addr address;
};

static struct node nodes[NODES + 1]; /* by id */
static struct station st;            /* its loop alone, of all */
static struct identity_authority authority;
static uv_timer_t alarm_timer;
static bool late;
static unsigned answers, refusals;
static unsigned doubts, late_doubts; /* answers of what is known here alone, and why */
static struct msg_why_answer answer;
static struct err refused;

void __wrap_station_answer(struct station *of, const struct station_request *q, const void *body,
			   size_t bytes, const int *fds, size_t count);
void __wrap_station_answer_err(struct station *of, const struct station_request *q,
			       const struct err *err);

void
__wrap_station_answer(struct station *of, const struct station_request *q, const void *body,
		      size_t bytes, const int *fds, size_t count)
{
	(void)of, (void)q, (void)fds, (void)count;
	answers++;
	assert_int_equal(bytes, sizeof(answer));
	memcpy(&answer, body, bytes);
	doubts += answer.doubt.kind != ERR_NONE;
	late_doubts += answer.doubt.kind == ERR_TIMEOUT;
}

void
__wrap_station_answer_err(struct station *of, const struct station_request *q,
			  const struct err *err)
{
	(void)of, (void)q;
	refusals++;
	refused = *err;
}

#define WAIT(condition)                                \
	do {                                           \
		while (!(condition) && !late)          \
			uv_run(&st.loop, UV_RUN_ONCE); \
		assert_true(condition);                \
	} while (0)

/* ---- nodes ---- */

static bool
listens(uint32_t id)
{
	return id <= 2;
}

static int
open_socket(int type, struct addr *address)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(address, &sa);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (bind(fd, (struct sockaddr *)&sa, length) < 0) {
		close(fd);
		return -1;
	}
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, address));
	return fd;
}

static void
open_sockets(uint32_t id, struct shell_config *config)
{
	for (;;) {
		assert_true(addr_parse("127.0.0.1:0", &nodes[id].address));
		config->udp_fd = open_socket(SOCK_DGRAM, &nodes[id].address);
		assert_true(config->udp_fd >= 0);
		config->tcp_fd = -1;
		if (!listens(id))
			return;
		config->tcp_fd = open_socket(SOCK_STREAM, &nodes[id].address);
		if (config->tcp_fd >= 0)
			break;
		close(config->udp_fd);
	}
	assert_int_equal(listen(config->tcp_fd, 64), 0);
}

static void
open_node(uint32_t id)
{
	static const uint8_t cluster[32] = {1};
	struct node *n = &nodes[id];
	struct cluster *c = &n->c;
	struct err err = {0};

	memset(n, 0, sizeof(*n));
	channel_node_make(&n->shown, id, &authority, NULL, 0);
	list_init(&n->model.deployments);
	map_init(&n->model.replicas, MEM_SCHEDULER);
	n->config.node.advertise_none = !listens(id);
	c->st = &st;
	c->m = &n->model;
	c->config = &n->config;
	c->member = true;
	c->rules = n->shown.rules;
	c->keep.node = id;
	snprintf(c->keep.name, sizeof(c->keep.name), "edge-%u", id);
	map_init(&c->nodes, MEM_SCHEDULER);
	list_init(&c->asks);
	list_init(&c->serves);
	cluster_callback_init(c);
	assert_int_equal(envelope_self_init(&c->self, id, 1, cluster, n->shown.keys.gossip, &err),
			 0);
	struct shell_config config = {
		.loop = &st.loop,
		.folder = -1,
		.self = &c->self,
		.rules = c->rules,
		.call = cluster_far_channel,
		.callback = cluster_callback_channel,
		.arg = c,
	};
	open_sockets(id, &config);
	assert_int_equal(shell_new(&config, &c->shell, &err), 0);
	assert_int_equal(cluster_callback_begin(c, &err), 0);
}

/* As what it hears of the other one would have it. */
static void
meet(uint32_t id, uint32_t other)
{
	struct cluster *c = &nodes[id].c;
	struct cluster_node *n = mem_zalloc(MEM_SCHEDULER, sizeof(*n));
	struct addr at = {0};
	struct err err = {0};

	assert_non_null(n);
	n->row.node = other;
	snprintf(n->row.name, sizeof(n->row.name), "edge-%u", other);
	n->peer = n->has_facts = true;
	n->state = GOSSIP_ALIVE;
	n->facts.address.port = listens(other) ? 9881 : 0;
	assert_int_equal(map_put_u64(&c->nodes, other, n), 0);
	if (other == id)
		return;
	if (listens(other))
		at = nodes[other].address;
	assert_int_equal(
		shell_peer(c->shell, other, nodes[other].shown.keys.gossip_public, &at, &err), 0);
	shell_peer_dials(c->shell, other, !listens(other));
}

static void
too_late(uv_timer_t *timer)
{
	(void)timer;
	late = true;
}

static int
setup(void **state)
{
	(void)state;
	late = false;
	answers = refusals = doubts = late_doubts = 0;
	assert_int_equal(uv_loop_init(&st.loop), 0);
	uv_timer_init(&st.loop, &alarm_timer);
	uv_timer_start(&alarm_timer, too_late, 120000, 0);
	for (uint32_t i = 1; i <= NODES; i++)
		open_node(i);
	for (uint32_t i = 1; i <= NODES; i++)
		for (uint32_t k = 1; k <= NODES; k++)
			meet(i, k);
	return 0;
}

static void
close_node(uint32_t id)
{
	struct cluster *c = &nodes[id].c;

	c->freed = true;
	cluster_far_end(c);
	shell_free(c->shell);
	c->shell = NULL;
}

static int
teardown(void **state)
{
	(void)state;
	for (uint32_t i = 1; i <= NODES; i++)
		close_node(i);
	uv_close((uv_handle_t *)&alarm_timer, NULL);
	uv_run(&st.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&st.loop), 0);
	for (uint32_t i = 1; i <= NODES; i++) {
		struct map_iter it = {0};

		while (map_next(&nodes[i].c.nodes, &it))
			mem_free(it.value);
		map_fini(&nodes[i].c.nodes);
		assert_int_equal(nodes[i].c.asks_count, 0);
		assert_int_equal(nodes[i].c.serves_count, 0);
		envelope_self_fini(&nodes[i].c.self);
		channel_node_free(&nodes[i].shown);
	}
	return 0;
}

/* Those that only dial out say something to the others, who know then where they are. */
static void
keep_ways(void)
{
	struct addr at;

	for (uint32_t i = 1; i <= NODES; i++)
		for (int n = 0; n < KEEP_TICKS; n++)
			cluster_callback_tick(&nodes[i].c, world_mono_ns());
	for (uint32_t i = 1; i <= NODES; i++)
		for (uint32_t k = 1; k <= NODES; k++)
			if (listens(i) && !listens(k))
				WAIT(shell_peer_address(nodes[i].c.shell, k, &at) && at.port);
}

static void
ask(uint32_t from, uint32_t to, enum far_what what)
{
	const struct station_request q = {0};
	const struct far_call call = {.what = what, .service = SERVICE, .events = {.limit = 1}};

	cluster_far_ask(&nodes[from].c, &q, to, &call, -1);
}

/* ---- who asks whom ---- */

static void
test_each_asks_each(void **state)
{
	(void)state;
	keep_ways();
	for (uint32_t from = 1; from <= NODES; from++) {
		for (uint32_t to = 1; to <= NODES; to++) {
			unsigned before = answers;

			if (from == to)
				continue;
			ask(from, to, FAR_WHY);
			WAIT(answers == before + 1);
			assert_int_equal(answer.by, to);
			assert_int_equal(answer.doubt.kind, 0);
			assert_int_equal(nodes[from].c.asks_count, 0);
		}
	}
	assert_int_equal(refusals, 0);
	/* And what is refused there comes back with its words. */
	ask(4, 3, FAR_LOGS);
	WAIT(refusals == 1);
	assert_string_equal(refused.what, "edge-3 does not have this replica (any more)");
	WAIT(nodes[3].c.serves_count == 0);
}

/* Of keepers only those are asked to whom one can connect. */
static void
test_keepers_that_are_asked(void **state)
{
	struct addr at[NODES];

	(void)state;
	keep_ways();
	for (uint32_t from = 1; from <= NODES; from++) {
		for (uint32_t to = 1; to <= NODES; to++)
			cluster_roster_find(&nodes[from].c, to)->row.keeper = to != 2;
		size_t count = cluster_ask_whom(&nodes[from].c, at, NODES);
		assert_int_equal(count, from != 1);
		if (count)
			assert_true(addr_equal(&at[0], &nodes[1].address));
	}
}

/* All are answered; with what is known here only where the machine is so slow that connections are
 * given up. */
static void
test_many_ask_at_once(void **state)
{
	enum { MANY = 50 };
	uint64_t begun = world_mono_ns();

	(void)state;
	keep_ways();
	for (int i = 0; i < MANY; i++) {
		ask(1, 3, FAR_WHY);
		ask(3, 4, FAR_WHY);
	}
	WAIT(answers == 2 * MANY);
	assert_int_equal(refusals, 0);
	assert_int_equal(doubts, late_doubts);
	if (world_mono_ns() - begun < CHANNEL_HANDSHAKE_MS * UINT64_C(1000000))
		assert_int_equal(doubts, 0);
}

/* Nothing has come of it yet: it is asked until it can be. */
static void
test_who_is_not_known_yet(void **state)
{
	(void)state;
	ask(1, 3, FAR_WHY);
	for (int i = 0; i < 5; i++)
		uv_run(&st.loop, UV_RUN_NOWAIT);
	assert_int_equal(answers, 0);
	keep_ways();
	WAIT(answers == 1);
	assert_int_equal(answer.by, 3);
}

static void
test_who_does_not_call(void **state)
{
	(void)state;
	keep_ways();
	close_node(3);
	ask(1, 3, FAR_EVENTS);
	WAIT(refusals == 1);
	assert_int_equal(refused.kind, ERR_TIMEOUT);
	assert_non_null(strstr(refused.why[0], "asked to call back"));
	assert_int_equal(nodes[1].c.asks_count, 0);
	assert_int_equal(nodes[1].c.callback.core.asks_count, 0);
	nodes[3].c.freed = false;
}

static void
test_nobody_passes_on(void **state)
{
	(void)state;
	keep_ways();
	for (uint32_t i = 1; i <= 2; i++)
		cluster_roster_find(&nodes[3].c, i)->state = GOSSIP_DEAD;
	ask(3, 4, FAR_EVENTS);
	assert_int_equal(refusals, 1); /* at once */
	assert_int_equal(refused.kind, ERR_UNREACHABLE);
	assert_non_null(strstr(refused.why[0], "no third one"));
	assert_int_equal(nodes[3].c.asks_count, 0);
	/* Who is dead is not waited for. */
	cluster_roster_find(&nodes[1].c, 3)->state = GOSSIP_DEAD;
	ask(1, 3, FAR_EVENTS);
	assert_int_equal(refusals, 2);
	assert_string_equal(refused.what, "edge-3 is not reachable");
	/* The next one does it, when there is one again. */
	cluster_roster_find(&nodes[3].c, 2)->state = GOSSIP_ALIVE;
	ask(3, 4, FAR_WHY);
	WAIT(answers == 1);
	assert_int_equal(answer.by, 4);
}

/* The third one, as both find it. */
static void
test_the_same_third(void **state)
{
	(void)state;
	uint32_t third = cluster_link_relay(&nodes[3].c, 4);
	assert_true(third == 1 || third == 2);
	assert_int_equal(cluster_link_relay(&nodes[4].c, 3), third);
	for (uint32_t i = 3; i <= 4; i++)
		cluster_roster_find(&nodes[i].c, third)->state = GOSSIP_SUSPECT;
	assert_int_equal(cluster_link_relay(&nodes[3].c, 4), 3 - third);
	assert_int_equal(cluster_link_relay(&nodes[4].c, 3), 3 - third);
}

/* As id knows of other: by = 0 of a version that does not say, else what it says. */
static void
passes_by(uint32_t id, uint32_t other, bool said, uint8_t by)
{
	struct cluster_node *n = cluster_roster_find(&nodes[id].c, other);

	n->facts.passes_said = said;
	n->facts.passes = by;
}

/* Nodes of several versions: who says that it passes on is taken, by both ends; who says nothing,
 * as all did once, if there is no other; who says that it does not, never. */
static void
test_thirds_of_versions(void **state)
{
	(void)state;
	keep_ways();
	for (uint32_t third = 1; third <= 2; third++) {
		for (uint32_t end = 3; end <= 4; end++) {
			passes_by(end, third, true, CALLBACK_VERSION + (third == 2));
			passes_by(end, 3 - third, false, 0);
		}
		assert_int_equal(cluster_link_relay(&nodes[3].c, 4), third);
		assert_int_equal(cluster_link_relay(&nodes[4].c, 3), third);
		ask(3, 4, FAR_WHY);
		WAIT(answers == third);
		assert_int_equal(answer.by, 4);
		assert_int_equal(answer.doubt.kind, 0);
	}
	for (uint32_t end = 3; end <= 4; end++) {
		passes_by(end, 1, true, 0);
		passes_by(end, 2, false, 0);
	}
	assert_int_equal(cluster_link_relay(&nodes[3].c, 4), 2);
	assert_int_equal(cluster_link_relay(&nodes[4].c, 3), 2);
	for (uint32_t end = 3; end <= 4; end++)
		passes_by(end, 2, true, 0);
	assert_int_equal(cluster_link_relay(&nodes[3].c, 4), 0);
	ask(3, 4, FAR_EVENTS);
	assert_int_equal(refusals, 1);
	assert_non_null(strstr(refused.why[0], "no third one"));
}

/* An end that is of the version before takes whom its rank says, whatever is said. */
static void
test_ends_of_versions(void **state)
{
	(void)state;
	keep_ways();
	for (uint32_t third = 1; third <= 2; third++) {
		passes_by(3, third, false, 0);                 /* it has not heard of that yet */
		passes_by(4, third, true, third == 1 ? 1 : 0); /* and this one has */
	}
	for (uint32_t from = 3; from <= 4; from++) {
		unsigned before = answers;

		ask(from, 7 - from, FAR_WHY);
		WAIT(answers == before + 1);
		assert_int_equal(answer.by, 7 - from);
		assert_int_equal(answer.doubt.kind, 0);
	}
	assert_int_equal(refusals, 0);
}

/* It is sent away while it is waited for. */
static void
test_parting(void **state)
{
	(void)state;
	ask(1, 3, FAR_WHY);
	assert_int_equal(nodes[1].c.asks_count, 1);
	cluster_far_part(&nodes[1].c, 3);
	assert_int_equal(nodes[1].c.asks_count, 0);
	assert_int_equal(nodes[1].c.callback.core.asks_count, 0);
	assert_int_equal(answers, 1); /* what is known here, with doubt */
	assert_int_equal(answer.doubt.kind, ERR_UNREACHABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keepers_that_are_asked), TEST(test_each_asks_each),
		TEST(test_many_ask_at_once),       TEST(test_who_is_not_known_yet),
		TEST(test_who_does_not_call),      TEST(test_nobody_passes_on),
		TEST(test_the_same_third),         TEST(test_parting),
		TEST(test_thirds_of_versions),     TEST(test_ends_of_versions),
	};
	struct err err = {0};

	signal(SIGPIPE, SIG_IGN); /* as in every process of a node */
	if (identity_authority_create(&authority, world_wall_ns() / 1000000000, &err) < 0)
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	identity_authority_fini(&authority);
	return rc;
}
