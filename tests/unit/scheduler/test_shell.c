/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of one process that meet over the loopback: what their cores ask for happens, and nothing
 * comes to a core that did not come from a peer. */
#include "scheduler/shell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/world.h"

enum { NODES = 3, SERVICE = 9, BIG = 300000, MARK = 7, TICKS_MAX = 3000 };

struct node {
	struct identity_keys keys;
	struct envelope_self self;
	struct channel_rules *rules;
	struct shell *shell;
	struct addr address;
	char folder[64];
	int folder_fd;
	int udp; /* the shell's */
	/* The core. */
	void (*plan)(struct node *n, struct step_actions *out); /* on the next STEP_LOCAL */
	void (*react)(struct node *n, const struct step_input *in, struct step_actions *out);
	bool started;
	char file[256]; /* what STEP_FILE gave */
	size_t datagrams;
	uint32_t last_from;
	char last[64];
	size_t timers, rooms, ups, downs;
	uint32_t stream; /* that a peer opened */
	int16_t down_status;
	uint64_t received, sent;
	int disk_status;
	size_t disk_done;
	size_t tells;
	uint64_t told;
	size_t olders;
	struct addr older_from, newest_from;
	uint64_t newest;
};

static struct identity_authority authority;
static struct node nodes[NODES];
static uv_loop_t loop;
static bool late;
static unsigned ticks;

/* ---- the core ---- */

static void
toy_step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct node *n = core;

	assert_true(in->kind == STEP_FILE || in->kind == STEP_START || n->started);
	switch (in->kind) {
	case STEP_START:
		n->started = true;
		break;
	case STEP_FILE:
		memcpy(n->file, in->data, in->bytes);
		break;
	case STEP_DATAGRAM:
		n->datagrams++;
		n->last_from = in->node;
		memcpy(n->last, in->data, in->bytes);
		n->last[in->bytes] = '\0';
		break;
	case STEP_TIMER:
		n->timers++;
		break;
	case STEP_STREAM_UP:
		n->ups++;
		n->stream = in->stream;
		n->last_from = in->node;
		break;
	case STEP_STREAM_DATA:
		n->received += in->bytes;
		break;
	case STEP_STREAM_ROOM:
		n->rooms++;
		break;
	case STEP_STREAM_DOWN:
		n->downs++;
		n->down_status = in->status;
		break;
	case STEP_DISK_DONE:
		n->disk_done++;
		n->disk_status = in->status;
		break;
	case STEP_LOCAL:
		if (n->plan)
			n->plan(n, out);
		break;
	case STEP_MORE:
		break;
	}
	if (n->react)
		n->react(n, in, out);
}

static void
toy_tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data, size_t bytes)
{
	struct node *n = arg;

	assert_int_equal(what, MARK);
	assert_int_equal(node, 5);
	assert_int_equal(bytes, 3);
	assert_memory_equal(data, "abc", 3);
	n->tells++;
	n->told = token;
}

static void
toy_older(void *arg, uint32_t node, const struct addr *from, uint64_t newest,
	  const struct addr *newest_from)
{
	struct node *n = arg;

	assert_int_equal(node, 2);
	n->olders++;
	n->older_from = *from;
	n->newest = newest;
	n->newest_from = *newest_from;
}

/* ---- nodes ---- */

static int
open_socket(int type, struct addr *address)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(address, &sa);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	if (bind(fd, (struct sockaddr *)&sa, length) < 0) {
		close(fd);
		return -1;
	}
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, address));
	return fd;
}

/* Both kinds on one port, chosen by the kernel. */
static void
open_sockets(struct addr *address, int *udp, int *tcp)
{
	for (;;) {
		assert_true(addr_parse("127.0.0.1:0", address));
		*udp = open_socket(SOCK_DGRAM, address);
		*tcp = open_socket(SOCK_STREAM, address);
		if (*tcp >= 0)
			break;
		close(*udp);
	}
	assert_int_equal(listen(*tcp, 16), 0);
}

static void
add_core(struct node *n)
{
	struct err err = {0};
	const struct shell_core core = {
		.service = SERVICE,
		.core = n,
		.step = toy_step,
		.tell = toy_tell,
		.arg = n,
		.files = {NULL, "notes"},
	};

	assert_int_equal(shell_add(n->shell, &core, &err), 0);
}

static void
open_node(struct node *n, uint32_t id)
{
	static const uint8_t cluster[32] = {1};
	struct identity who = {.node = id, .name = "edge"};
	struct err err = {0};
	struct buf chain;

	memset(n, 0, sizeof(*n));
	n->disk_status = -1;
	assert_int_equal(identity_keys_new(&n->keys, &err), 0);
	memcpy(who.sign_public, n->keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, n->keys.gossip_public, IDENTITY_KEY);
	buf_init(&chain, MEM_SCHEDULER, 65536);
	assert_int_equal(
		identity_issue(&authority, &who, world_wall_ns() / 1000000000, &chain, &err), 0);
	const struct channel_rules_config rules = {.keys = &n->keys,
						   .chain = chain.data,
						   .chain_bytes = chain.length,
						   .authority = &authority};
	assert_int_equal(channel_rules_new(&rules, &n->rules, &err), 0);
	buf_fini(&chain);
	assert_int_equal(envelope_self_init(&n->self, id, 1, cluster, n->keys.gossip, &err), 0);
	strcpy(n->folder, "/tmp/zlayer-shell-XXXXXX");
	assert_non_null(mkdtemp(n->folder));
	n->folder_fd = open(n->folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	struct shell_config config = {.loop = &loop,
				      .folder = n->folder_fd,
				      .self = &n->self,
				      .rules = n->rules,
				      .older = toy_older,
				      .arg = n};
	open_sockets(&n->address, &config.udp_fd, &config.tcp_fd);
	n->udp = config.udp_fd;
	assert_int_equal(shell_new(&config, &n->shell, &err), 0);
	add_core(n);
}

static void
introduce(struct node *a, const struct node *b)
{
	struct err err = {0};

	assert_int_equal(
		shell_peer(a->shell, b->self.node, b->keys.gossip_public, &b->address, &err), 0);
}

static void
close_node(struct node *n)
{
	char path[128];

	shell_free(n->shell);
	uv_run(&loop, UV_RUN_NOWAIT);
	channel_rules_unref(n->rules);
	envelope_self_fini(&n->self);
	close(n->folder_fd);
	snprintf(path, sizeof(path), "%s/notes", n->folder);
	unlink(path);
	rmdir(n->folder);
}

/* Also wakes the loop, which would sleep past what its own timers have done. */
static void
tick(uv_timer_t *timer)
{
	(void)timer;
	late = ++ticks > TICKS_MAX;
}

static uv_timer_t alarm_timer;

static int
setup(void **state)
{
	(void)state;
	late = false;
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_timer_init(&loop, &alarm_timer);
	ticks = 0;
	uv_timer_start(&alarm_timer, tick, 20, 20);
	for (uint32_t i = 0; i < NODES; i++)
		open_node(&nodes[i], i + 1);
	introduce(&nodes[0], &nodes[1]);
	introduce(&nodes[1], &nodes[0]);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < NODES; i++)
		close_node(&nodes[i]);
	uv_close((uv_handle_t *)&alarm_timer, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return 0;
}

#define WAIT(condition)                             \
	do {                                        \
		while (!(condition) && !late)       \
			uv_run(&loop, UV_RUN_ONCE); \
		assert_true(condition);             \
	} while (0)

static void
run(struct node *n, void (*plan)(struct node *n, struct step_actions *out))
{
	n->plan = plan;
	shell_local(n->shell, SERVICE, 0, 0, NULL, 0);
	n->plan = NULL;
}

/* ---- datagrams ---- */

static void
send_hello(struct node *n, struct step_actions *out)
{
	step_add(out, STEP_SEND, "hello", 5)->node = n == &nodes[0] ? 2 : 1;
}

static void
send_many(struct node *n, struct step_actions *out)
{
	(void)n;
	for (int i = 0; i < 100; i++)
		step_add(out, STEP_SEND, "hello", 5)->node = 2;
}

static void
test_datagrams(void **state)
{
	(void)state;
	run(&nodes[0], send_hello);
	WAIT(nodes[1].datagrams == 1);
	assert_string_equal(nodes[1].last, "hello");
	assert_int_equal(nodes[1].last_from, 1);
	run(&nodes[0], send_many); /* more than a batch */
	WAIT(nodes[1].datagrams == 101);
	assert_int_equal(shell_counters(nodes[0].shell)->sent, 101);
	assert_int_equal(shell_counters(nodes[1].shell)->received, 101);
}

/* Nodes 1 and 3: 3 knows 1, but 1 was never told of 3. */
static void
send_to_one(struct node *n, struct step_actions *out)
{
	(void)n;
	step_add(out, STEP_SEND, "hello", 5)->node = 1;
}

static void
test_strangers_are_not_heard(void **state)
{
	uint8_t noise[200] = {1};
	struct sockaddr_storage sa;

	(void)state;
	introduce(&nodes[2], &nodes[0]);
	run(&nodes[2], send_to_one);
	WAIT(shell_counters(nodes[0].shell)->strangers == 1);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t length = addr_to_sockaddr(&nodes[0].address, &sa);
	assert_true(sendto(fd, noise, sizeof(noise), 0, (struct sockaddr *)&sa, length) > 0);
	WAIT(shell_counters(nodes[0].shell)->malformed == 1);
	noise[4] = 1;  /* to node 1 */
	noise[8] = 2;  /* from node 2 */
	noise[12] = 1; /* session */
	assert_true(sendto(fd, noise, sizeof(noise), 0, (struct sockaddr *)&sa, length) > 0);
	WAIT(shell_counters(nodes[0].shell)->forged == 1);
	close(fd);
	assert_int_equal(nodes[0].datagrams, 0);
}

static void
test_a_node_that_moved_is_followed(void **state)
{
	struct addr wrong, now;
	struct err err = {0};

	(void)state;
	assert_true(addr_parse("127.0.0.1:1", &wrong));
	assert_int_equal(shell_peer(nodes[0].shell, 2, nodes[1].keys.gossip_public, &wrong, &err),
			 0);
	run(&nodes[0], send_hello); /* lost */
	run(&nodes[1], send_hello);
	WAIT(nodes[0].datagrams == 1);
	assert_true(shell_peer_address(nodes[0].shell, 2, &now));
	assert_true(addr_equal(&now, &nodes[1].address));
	run(&nodes[0], send_hello);
	WAIT(nodes[1].datagrams == 1);
}

/* From a socket of its own, as node 2, in a session that is newer than that of nodes[1]; its
 * address is given back. */
static void
send_newer(uint64_t session, const char *text, struct addr *from)
{
	static const uint8_t cluster[32] = {1};
	struct envelope_self self;
	struct envelope_peer peer;
	struct sockaddr_storage sa;
	struct err err = {0};
	uint8_t plain[16] = {SERVICE}, packet[64];

	memcpy(plain + 1, text, strlen(text));
	assert_int_equal(envelope_self_init(&self, 2, session, cluster, nodes[1].keys.gossip, &err),
			 0);
	assert_int_equal(envelope_peer_init(&peer, &self, 1, nodes[0].keys.gossip_public, &err), 0);
	assert_int_equal(envelope_seal(&self, &peer, plain, 1 + strlen(text), packet, &err), 0);
	assert_true(addr_parse("127.0.0.1:0", from));
	int fd = open_socket(SOCK_DGRAM, from);
	socklen_t length = addr_to_sockaddr(&nodes[0].address, &sa);
	assert_true(sendto(fd, packet, 1 + strlen(text) + ENVELOPE_OVERHEAD, 0,
			   (struct sockaddr *)&sa, length) > 0);
	close(fd);
	envelope_peer_fini(&peer);
	envelope_self_fini(&self);
}

/* Two that are the same node: who hears both says of the one with the older session where it is. */
static void
test_a_node_that_is_twice(void **state)
{
	uint8_t noise[200] = {1};
	struct sockaddr_storage sa;
	struct addr copy;

	(void)state;
	run(&nodes[1], send_hello);
	WAIT(nodes[0].datagrams == 1);
	uint64_t heard = shell_peer_heard_ns(nodes[0].shell, 2);
	assert_true(heard > 0 && shell_peer_heard_ns(nodes[0].shell, 9) == 0);
	send_newer(5, "copy", &copy);
	WAIT(nodes[0].datagrams == 2);
	assert_string_equal(nodes[0].last, "copy");
	assert_true(shell_peer_heard_ns(nodes[0].shell, 2) > heard);
	/* What only says an older session is not sealed by it. */
	noise[4] = 1;
	noise[8] = 2;
	noise[12] = 3;
	socklen_t length = addr_to_sockaddr(&nodes[0].address, &sa);
	assert_true(sendto(nodes[2].udp, noise, sizeof(noise), 0, (struct sockaddr *)&sa, length) >
		    0);
	WAIT(shell_counters(nodes[0].shell)->replayed == 1);
	assert_int_equal(nodes[0].olders, 0);
	while (nodes[0].olders == 0 && !late) {
		run(&nodes[1], send_hello); /* looked at now and then */
		uv_run(&loop, UV_RUN_ONCE);
	}
	assert_int_equal(nodes[0].olders, 1);
	assert_int_equal(nodes[0].newest, 5);
	assert_true(addr_equal(&nodes[0].older_from, &nodes[1].address));
	assert_true(addr_equal(&nodes[0].newest_from, &copy));
	/* Nothing of it is taken, and the way to the newer one stays. */
	assert_int_equal(nodes[0].datagrams, 2);
}

static void
test_removed_peers(void **state)
{
	(void)state;
	shell_peer_remove(nodes[0].shell, 2);
	run(&nodes[0], send_hello);
	assert_int_equal(shell_counters(nodes[0].shell)->unsent, 1);
	run(&nodes[1], send_hello);
	WAIT(shell_counters(nodes[0].shell)->strangers == 1);
	assert_int_equal(nodes[0].datagrams, 0);
}

/* 1 and 2 only dial out: 3, which both have spoken with, passes on between them. */
static void
only_dial_out(void)
{
	struct err err = {0};

	introduce(&nodes[2], &nodes[0]);
	introduce(&nodes[2], &nodes[1]);
	for (size_t i = 0; i < 2; i++) {
		const struct node *other = &nodes[1 - i];

		shell_peer_dials(nodes[2].shell, (uint32_t)i + 1, true);
		assert_int_equal(shell_peer(nodes[i].shell, other->self.node,
					    other->keys.gossip_public, &nodes[2].address, &err),
				 0);
	}
}

static void
send_third(struct node *n, struct step_actions *out)
{
	(void)n;
	step_add(out, STEP_SEND, "hello", 5)->node = 3;
}

/* Each has said something to the third one, which so knows its session. */
static void
prove_both(void)
{
	for (size_t i = 0; i < 2; i++) {
		introduce(&nodes[i], &nodes[2]);
		run(&nodes[i], send_third);
	}
	WAIT(nodes[2].datagrams == 2);
}

static void
test_passed_on(void **state)
{
	const struct shell_counters *third = shell_counters(nodes[2].shell);
	struct addr elsewhere;
	struct err err = {0};

	(void)state;
	only_dial_out();
	prove_both();
	run(&nodes[0], send_hello);
	WAIT(nodes[1].datagrams == 1);
	assert_int_equal(nodes[1].last_from, 1);
	assert_string_equal(nodes[1].last, "hello");
	run(&nodes[1], send_hello);
	WAIT(nodes[0].datagrams == 1);
	assert_int_equal(nodes[0].last_from, 2);
	assert_int_equal(third->passed, 2);
	assert_int_equal(nodes[2].datagrams, 2); /* its own */
	/* More than a batch. */
	run(&nodes[0], send_many);
	WAIT(nodes[1].datagrams == 101);
	/* So many, and no more. */
	while (third->unpassed == 0 && !late) {
		run(&nodes[0], send_many);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	assert_true(third->passed >= SHELL_PASS_PER_S);
	/* Not from where that node has not proven to be. */
	assert_true(addr_parse("127.0.0.1:1", &elsewhere));
	assert_int_equal(
		shell_peer(nodes[2].shell, 2, nodes[1].keys.gossip_public, &elsewhere, &err), 0);
	uint64_t before = third->passed, refused = third->unpassed;
	run(&nodes[1], send_hello);
	WAIT(third->unpassed > refused);
	assert_true(third->passed >= before);
	assert_int_equal(nodes[0].datagrams, 1);
}

/* In the name of 1 to 2, from where 1 is, by somebody who does not know its session. */
static void
forge(uint8_t number)
{
	uint8_t packet[ENVELOPE_OVERHEAD + 8] = {1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 77};
	struct sockaddr_storage to;
	socklen_t length = addr_to_sockaddr(&nodes[2].address, &to);

	packet[20] = number;
	assert_int_equal(
		sendto(nodes[0].udp, packet, sizeof(packet), 0, (struct sockaddr *)&to, length),
		sizeof(packet));
}

/* Whoever makes up an address takes nothing of what its owner may send. */
static void
test_made_up(void **state)
{
	const struct shell_counters *third = shell_counters(nodes[2].shell);
	uint64_t seconds = world_mono_ns();

	(void)state;
	only_dial_out();
	prove_both();
	for (unsigned i = 0; i < 200; i++) {
		uint64_t before = third->passed + third->unpassed;

		forge((uint8_t)i);
		WAIT(third->passed + third->unpassed > before);
	}
	/* As many as there may be in each second that this took. */
	seconds = (world_mono_ns() - seconds) / 1000000000 + 2;
	assert_true(third->passed >= SHELL_PASS_UNPROVEN_PER_S);
	assert_true(third->passed <= seconds * SHELL_PASS_UNPROVEN_PER_S);
	WAIT(shell_counters(nodes[1].shell)->forged == third->passed);
	assert_int_equal(nodes[1].datagrams, 0);
	uint64_t refused = third->unpassed;
	run(&nodes[0], send_many);
	WAIT(nodes[1].datagrams == 100);
	assert_int_equal(third->unpassed, refused);
}

/* Who has just begun has proven nothing yet: a little of it goes all the same. */
static void
test_passed_on_unproven(void **state)
{
	const struct shell_counters *third = shell_counters(nodes[2].shell);

	(void)state;
	only_dial_out();
	run(&nodes[0], send_hello);
	WAIT(nodes[1].datagrams == 1);
	assert_int_equal(third->passed, 1);
	assert_int_equal(nodes[2].datagrams, 0);
}

/* Only between two such: all others have a way of their own. */
static void
test_not_passed_on(void **state)
{
	const struct shell_counters *third = shell_counters(nodes[2].shell);

	(void)state;
	only_dial_out();
	shell_peer_dials(nodes[2].shell, 2, false);
	run(&nodes[0], send_hello);
	WAIT(third->malformed == 1);
	run(&nodes[1], send_hello);
	WAIT(third->malformed == 2);
	shell_peer_dials(nodes[2].shell, 2, true);
	shell_peer_remove(nodes[2].shell, 1);
	run(&nodes[1], send_hello);
	WAIT(third->malformed == 3);
	assert_int_equal(third->passed, 0);
	assert_int_equal(nodes[0].datagrams + nodes[1].datagrams, 0);
}

/* ---- timers, tells ---- */

static void
plan_timer(struct node *n, struct step_actions *out)
{
	(void)n;
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = world_mono_ns() + 3000000;
	struct step_action *a = step_add(out, STEP_TELL, "abc", 3);
	a->what = MARK;
	a->node = 5;
	a->token = 77;
}

static void
test_timer_and_tell(void **state)
{
	(void)state;
	run(&nodes[0], plan_timer);
	assert_int_equal(nodes[0].tells, 1);
	assert_int_equal(nodes[0].told, 77);
	WAIT(nodes[0].timers == 1);
}

/* ---- streams ---- */

static const uint32_t ours = 1 | STEP_STREAM_OURS;

static void
open_and_write(struct node *n, struct step_actions *out)
{
	static uint8_t data[STEP_WRITE_MAX];
	struct step_action *a = step_add(out, STEP_STREAM_OPEN, NULL, 0);

	a->node = 2;
	a->stream = ours;
	step_add(out, STEP_STREAM_WRITE, data, sizeof(data))->stream = ours;
	n->sent = sizeof(data);
}

/* A piece for each room, then the end. */
static void
write_on(struct node *n, const struct step_input *in, struct step_actions *out)
{
	static uint8_t data[STEP_WRITE_MAX];

	if (in->kind != STEP_STREAM_ROOM)
		return;
	if (n->sent >= BIG) {
		step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = ours;
		return;
	}
	step_add(out, STEP_STREAM_WRITE, data, sizeof(data))->stream = ours;
	n->sent += sizeof(data);
}

static void
test_stream(void **state)
{
	(void)state;
	nodes[0].react = write_on;
	run(&nodes[0], open_and_write);
	WAIT(nodes[1].downs == 1);
	assert_int_equal(nodes[1].ups, 1);
	assert_int_equal(nodes[1].last_from, 1);
	assert_false(nodes[1].stream & STEP_STREAM_OURS);
	assert_true(nodes[1].received >= BIG);
	assert_true(nodes[1].received == nodes[0].sent);
	assert_int_equal(nodes[1].down_status, 0);
	assert_int_equal(nodes[0].downs, 0); /* who closes hears nothing more */
}

static void
open_write_close(struct node *n, struct step_actions *out)
{
	open_and_write(n, out);
	step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = ours;
}

static void
test_what_was_written_before_it_was_up_arrives(void **state)
{
	(void)state;
	run(&nodes[0], open_write_close);
	WAIT(nodes[1].downs == 1);
	assert_true(nodes[1].received == STEP_WRITE_MAX);
	assert_int_equal(nodes[0].ups, 0);
}

static void
test_stream_to_nobody(void **state)
{
	struct addr unknown = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(shell_peer(nodes[0].shell, 2, nodes[1].keys.gossip_public, &unknown, &err),
			 0);
	run(&nodes[0], open_and_write);
	assert_int_equal(nodes[0].downs, 0); /* not within the step */
	WAIT(nodes[0].downs == 1);
	assert_int_equal(nodes[0].down_status, ERR_UNREACHABLE);
	assert_true(addr_parse("127.0.0.1:1", &unknown));
	assert_int_equal(shell_peer(nodes[0].shell, 2, nodes[1].keys.gossip_public, &unknown, &err),
			 0);
	run(&nodes[0], open_and_write);
	WAIT(nodes[0].downs == 2);
}

static void
test_peer_dies(void **state)
{
	(void)state;
	run(&nodes[0], open_and_write);
	WAIT(nodes[1].ups == 1);
	shell_free(nodes[1].shell);
	nodes[1].shell = NULL;
	WAIT(nodes[0].downs == 1);
	assert_int_not_equal(nodes[0].down_status, 0);
}

/* A connection that cannot be taken waits; the loop does not turn for it alone. */
static void
test_no_descriptors(void **state)
{
	struct rlimit all, few;
	int filler[64];
	size_t fillers = 0;

	(void)state;
	run(&nodes[0], open_and_write);
	WAIT(nodes[1].ups == 1);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){.rlim_cur = (rlim_t)fd + 8, .rlim_max = all.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((filler[fillers] = dup(fd)) >= 0)
		assert_true(++fillers < sizeof(filler) / sizeof(filler[0]));

	struct sockaddr_storage to;
	socklen_t length = addr_to_sockaddr(&nodes[1].address, &to);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, length), 0);
	const struct shell_counters *seen = shell_counters(nodes[1].shell);
	WAIT(seen->accepts_failed == 1);
	unsigned turns = 0;
	for (unsigned until = ticks + 2; ticks < until; turns++)
		uv_run(&loop, UV_RUN_ONCE);
	assert_true(turns < 100);

	while (fillers > 0)
		close(filler[--fillers]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
	run(&nodes[0], open_and_write);
	WAIT(nodes[1].ups == 2);
	close(fd);
}

/* ---- files ---- */

static void
keep(struct node *n, struct step_actions *out)
{
	(void)n;
	struct step_action *a = step_add(out, STEP_REPLACE, "one ", 4);
	a->what = 1;
	a->token = 10;
	a = step_add(out, STEP_APPEND, "two", 3);
	a->what = 1;
	a->token = 11;
	a = step_add(out, STEP_SEND, "kept", 4);
	a->node = 2;
	a->after = 11;
}

static void
test_files(void **state)
{
	(void)state;
	run(&nodes[0], keep);
	assert_int_equal(shell_counters(nodes[0].shell)->sent, 0); /* not yet */
	WAIT(nodes[0].disk_done == 2 && nodes[1].datagrams == 1);
	assert_int_equal(nodes[0].disk_status, 0);
	assert_string_equal(nodes[1].last, "kept");
	/* The next life reads it. */
	struct node *n = &nodes[0];
	shell_free(n->shell);
	uv_run(&loop, UV_RUN_NOWAIT);
	n->started = false;
	struct shell_config config = {
		.loop = &loop, .folder = n->folder_fd, .self = &n->self, .rules = n->rules};
	struct err err = {0};
	open_sockets(&n->address, &config.udp_fd, &config.tcp_fd);
	assert_int_equal(shell_new(&config, &n->shell, &err), 0);
	add_core(n);
	assert_string_equal(n->file, "one two");
	assert_true(n->started);
}

static void
test_a_disk_that_refuses(void **state)
{
	(void)state;
	struct node *n = &nodes[0];
	char path[128];

	snprintf(path, sizeof(path), "%s/notes", n->folder);
	assert_int_equal(mkdir(path, 0700), 0); /* not even root can write to that */
	run(n, keep);
	WAIT(n->disk_done == 2);
	assert_int_not_equal(n->disk_status, 0);
	assert_int_equal(shell_counters(n->shell)->sent, 0); /* and never */
	assert_int_equal(rmdir(path), 0);
}

static void
test_no_stream_to_who_dials_out(void **state)
{
	(void)state;
	shell_peer_dials(nodes[0].shell, 2, true);
	run(&nodes[0], open_and_write);
	WAIT(nodes[0].downs == 1);
	assert_int_equal(nodes[0].down_status, ERR_UNREACHABLE);
	assert_int_equal(nodes[1].ups, 0);
	/* That one itself may. */
	shell_peer_dials(nodes[0].shell, 2, false);
	run(&nodes[0], open_and_write);
	WAIT(nodes[1].ups == 1);
}

static int
group_setup(void **state)
{
	struct err err = {0};

	(void)state;
	return identity_authority_create(&authority, world_wall_ns() / 1000000000, &err);
}

static int
group_teardown(void **state)
{
	(void)state;
	identity_authority_fini(&authority);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_datagrams),
		TEST(test_strangers_are_not_heard),
		TEST(test_a_node_that_moved_is_followed),
		TEST(test_a_node_that_is_twice),
		TEST(test_removed_peers),
		TEST(test_passed_on),
		TEST(test_not_passed_on),
		TEST(test_made_up),
		TEST(test_passed_on_unproven),
		TEST(test_timer_and_tell),
		TEST(test_stream),
		TEST(test_no_stream_to_who_dials_out),
		TEST(test_what_was_written_before_it_was_up_arrives),
		TEST(test_stream_to_nobody),
		TEST(test_peer_dies),
		TEST(test_no_descriptors),
		TEST(test_files),
		TEST(test_a_disk_that_refuses),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
