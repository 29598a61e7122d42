/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of node's tables. Everything here is small and changes rarely. */
#include "node/publish.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "base/text.h"
#include "base/world.h"

int
publish_new(uint32_t generation, struct ring_writer **out, struct err *err)
{
	struct ring_layout layout = {
		.role = ROLE_NODE,
		.generation = generation,
		.tables = {{MSG_TABLE_PROCESS, 1, sizeof(struct msg_process),
			    2 * ROLE_PROXIES_MAX + ROLES_},
			   {MSG_TABLE_LISTENER, 1, sizeof(struct msg_listener), LISTENERS_MAX},
			   {MSG_TABLE_NODE, 1, sizeof(struct msg_node), 1},
			   {MSG_TABLE_UPLINK, 1, sizeof(struct msg_uplink), 1},
			   {MSG_TABLE_UNDERLAY, 1, sizeof(struct msg_underlay), 1},
			   {MSG_TABLE_EDGE, 1, sizeof(struct msg_edge), 1},
			   {MSG_TABLE_ETCD, 1, sizeof(struct msg_etcd), 1},
			   {MSG_TABLE_TUNNEL, 1, sizeof(struct msg_tunnel), 1}},
		.tables_count = 8,
		.metric_series = PUBLISH_SERIES,
	};

	return ring_writer_new(&layout, out, err);
}

void
publish_name(const struct config *config, char *out, size_t cap)
{
	char host[256] = "";

	if (config->node.name[0]) {
		text_copy(out, cap, config->node.name);
		return;
	}
	gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	text_copy(out, cap, host[0] ? host : "node");
}

static bool
is_link_local(const struct addr *a)
{
	return addr_is_v4(a) ? a->ip[12] == 169 && a->ip[13] == 254
			     : a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/* As they are now: what other nodes can be told, until the configuration is read again. */
static void
find_addresses(struct msg_node *row)
{
	const size_t most = sizeof(row->addresses) / sizeof(row->addresses[0]);
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *a = all; a && row->addresses_count < most; a = a->ifa_next) {
		struct addr *out = &row->addresses[row->addresses_count];

		if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || text_starts(a->ifa_name, "zl-") ||
		    !addr_from_sockaddr(a->ifa_addr, sizeof(struct sockaddr_storage), out) ||
		    addr_is_loopback(out) || is_link_local(out))
			continue;
		out->port = 0;
		row->addresses_count++;
	}
	if (row->addresses_count < most)
		row->addresses[row->addresses_count] = (struct addr){0};
	freeifaddrs(all);
}

void
publish_node(struct ring_writer *w, const struct instance *inst, const struct config *config,
	     uint32_t cgroup_mode)
{
	struct msg_node row = {.cgroup_mode = cgroup_mode};
	struct utsname system;
	struct sysinfo info;
	cpu_set_t cpus;

	text_copy(row.instance, sizeof(row.instance), inst->name);
	publish_name(config, row.name, sizeof(row.name));
	text_copy(row.zone, sizeof(row.zone), config->node.zone);
	text_copy(row.version, sizeof(row.version), ZLAYER_VERSION);
	if (uname(&system) == 0)
		text_copy(row.kernel, sizeof(row.kernel), system.release);
	const struct msg_node *before = ring_table_own(w, MSG_TABLE_NODE, 1);
	row.started_wall_ns = before ? before->started_wall_ns : world_wall_ns();
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		row.cpus = (uint32_t)CPU_COUNT(&cpus);
	if (sysinfo(&info) == 0)
		row.memory_bytes = (uint64_t)info.totalram * info.mem_unit;
	row.configured_wall_ns = world_wall_ns();
	find_addresses(&row);
	(void)ring_table_set(w, MSG_TABLE_NODE, 1, &row, NULL);
}

void
publish_config_error(struct ring_writer *w, const struct err *err)
{
	const struct msg_node *before = ring_table_own(w, MSG_TABLE_NODE, 1);
	struct msg_node row;

	if (!before)
		return;
	row = *before;
	msg_reason_from(err, &row.config_error);
	(void)ring_table_set(w, MSG_TABLE_NODE, 1, &row, NULL);
}

static uint64_t
process_key(unsigned role, unsigned index)
{
	return (uint64_t)role << 16 | (index + 1);
}

void
publish_process(struct ring_writer *w, const struct msg_process *process)
{
	(void)ring_table_set(w, MSG_TABLE_PROCESS, process_key(process->role, process->index),
			     process, NULL);
}

void
publish_process_gone(struct ring_writer *w, unsigned role, unsigned index)
{
	ring_table_remove(w, MSG_TABLE_PROCESS, process_key(role, index));
}

void
publish_listeners(struct ring_writer *w, const struct listeners *l)
{
	ring_table_begin(w, MSG_TABLE_LISTENER);
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		struct msg_listener row = {0};

		if (i >= l->count) {
			ring_table_remove(w, MSG_TABLE_LISTENER, i + 1);
			continue;
		}
		text_copy(row.name, sizeof(row.name), l->items[i].name);
		row.addr = l->items[i].addr;
		row.sockets = l->items[i].sockets;
		row.up = l->items[i].up;
		if (!row.up)
			msg_reason_from(&l->items[i].reason, &row.reason);
		(void)ring_table_set(w, MSG_TABLE_LISTENER, i + 1, &row, NULL);
	}
	ring_table_commit(w, MSG_TABLE_LISTENER);
}
