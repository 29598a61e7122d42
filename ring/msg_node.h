/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_NODE_H
#define RING_MSG_NODE_H

/* The node, its processes and its listeners, as node says it. The rules are those of ring/msg.h. */

#include "ring/msg_base.h"

enum msg_process_state {
	MSG_PROCESS_STARTING = 1,
	MSG_PROCESS_UP,
	MSG_PROCESS_BACKOFF,
	MSG_PROCESS_LEAVING
};

struct msg_process { /* key: role << 16 | index + 1 */
	uint16_t role;
	uint16_t index;
	uint32_t generation;
	uint32_t state;
	uint32_t pid;
	uint32_t uid;
	uint32_t restarts;
	uint32_t landlock_abi; /* 0: the kernel has none */
	uint32_t pad_;
	int64_t started_wall_ns;
	char exit_text[MSG_TEXT]; /* how the last one ended, "" when none has */
	struct msg_reason reason; /* why it cannot start, as it said itself; kind 0: it did not */
};

struct msg_listener {     /* key: 1 .. */
	char name[32];    /* http, https, api, metrics, admin; tcp, udp: of a public endpoint */
	struct addr addr; /* zero for a unix socket */
	uint32_t sockets; /* SO_REUSEPORT group size */
	uint32_t up;
	struct msg_reason reason; /* when not up */
};

struct msg_node { /* key: 1 */
	char instance[MSG_NAME];
	char name[MSG_NAME];
	char zone[MSG_NAME];
	char version[32];
	char kernel[64];
	int64_t started_wall_ns;
	uint32_t cpus;
	uint32_t cgroup_mode; /* 1 v1, 2 v2, 3 hybrid */
	uint64_t memory_bytes;
	uint32_t addresses_count; /* of the host's interfaces, without link-local ones */
	uint32_t pad_;
	struct addr addresses[16];
	int64_t configured_wall_ns;     /* when the configuration in force was read */
	struct msg_reason config_error; /* why the last reload was refused; kind 0: it was not */
};

#endif
