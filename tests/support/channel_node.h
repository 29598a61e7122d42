/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_CHANNEL_NODE_H
#define TESTS_SUPPORT_CHANNEL_NODE_H

/* Nodes that talk over channels (scheduler/channel.h) on one loop, over the loopback. For cmocka.
 */

#include <string.h>
#include <sys/socket.h>
#include <uv.h>
#include "base/addr.h"
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/channel.h"

struct channel_node {
	struct identity_keys keys;
	struct buf chain;
	struct channel_rules *rules;
};

/* authority NULL: in no cluster, on its way into `cluster`. */
static inline void
channel_node_make(struct channel_node *n, uint32_t id, struct identity_authority *a,
		  const uint8_t *cluster, int64_t age_s)
{
	struct err err = {0};
	struct identity who = {.node = id, .name = "edge"};
	int64_t now = world_wall_ns() / 1000000000;

	memset(n, 0, sizeof(*n));
	assert_int_equal(identity_keys_new(&n->keys, &err), 0);
	memcpy(who.sign_public, n->keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, n->keys.gossip_public, IDENTITY_KEY);
	buf_init(&n->chain, MEM_SCHEDULER, 65536);
	if (a)
		assert_int_equal(identity_issue(a, &who, now - age_s, &n->chain, &err), 0);
	else
		assert_int_equal(identity_alone(&n->keys, now, &n->chain, &err), 0);
	const struct channel_rules_config config = {
		.keys = &n->keys,
		.chain = n->chain.data,
		.chain_bytes = n->chain.length,
		.authority = a,
		.cluster = cluster,
		.strangers = true,
	};
	assert_int_equal(channel_rules_new(&config, &n->rules, &err), 0);
}

static inline void
channel_node_free(struct channel_node *n)
{
	channel_rules_unref(n->rules);
	buf_fini(&n->chain);
}

/* The listener's descriptor; it is at *address. `arrived` is called on the loop, with poll->data.
 */
static inline int
channel_node_listen(uv_loop_t *loop, uv_poll_t *poll, uv_poll_cb arrived, void *data,
		    struct addr *address)
{
	struct sockaddr_storage sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(addr_parse("127.0.0.1:0", address));
	socklen_t length = addr_to_sockaddr(address, &sa);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(listen(fd, 8), 0);
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_true(addr_from_sockaddr((struct sockaddr *)&sa, length, address));
	uv_poll_init(loop, poll, fd);
	poll->data = data;
	uv_poll_start(poll, UV_READABLE, arrived);
	return fd;
}

#endif
