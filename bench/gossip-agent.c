/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One agent of the gossip benchmark: the cores and the shell that the scheduler runs, with sealed
 * datagrams and mutual TLS, and nothing else. bench/gossip.py starts many of them on the loopback.
 *
 *   gossip-agent FOLDER prepare COUNT PORT   makes keys and certificates of nodes 1 to COUNT, whose
 *                                            ports begin above PORT
 *   gossip-agent FOLDER ID                   is node ID
 *
 * Commands come as lines on standard input: "put TEXT" (an entry of its own), "members" (prints how
 * many are alive). What it hears is printed, a line each: "entry NODE TEXT", "member NODE STATE".
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/gossip/gossip.h"
#include "scheduler/shell.h"

enum { SERVICE = 1, ENTRY = 1, NODES_MAX = 4096, LINE = 256, CHAIN_MAX = 16384 };

struct roster_row {
	struct identity_keys keys;
	uint16_t port;
};

static struct {
	uv_loop_t loop;
	struct identity_authority authority;
	struct envelope_self self;
	struct gossip *gossip;
	struct shell *shell;
	uint32_t id;
	char line[LINE];
	size_t line_bytes;
	uint64_t puts;
} agent;

static void
die(const struct err *err)
{
	err_print(err, "gossip-agent", stderr);
	exit(1);
}

static void
die_of(const char *what)
{
	struct err err = {0};

	err_sys(&err, errno, "%s", what);
	die(&err);
}

/* ---- what all share ---- */

static void
prepare(int folder, uint32_t count, uint16_t port)
{
	struct identity_authority authority;
	struct secret pem;
	struct err err = {0};
	struct buf rows;

	buf_init(&rows, MEM_BASE, NODES_MAX * sizeof(struct roster_row));
	if (identity_authority_create(&authority, world_wall_ns() / 1000000000, &err) < 0 ||
	    identity_authority_export(&authority, &pem, &err) < 0 ||
	    fd_replace(folder, "authority", pem.data, pem.length, 0600, &err) < 0)
		die(&err);
	for (uint32_t i = 1; i <= count; i++) {
		struct roster_row row = {.port = (uint16_t)(port + i)};

		if (identity_keys_new(&row.keys, &err) < 0)
			die(&err);
		buf_put(&rows, &row, sizeof(row));
	}
	if (fd_replace(folder, "roster", rows.data, rows.length, 0600, &err) < 0)
		die(&err);
	secret_fini(&pem);
	buf_fini(&rows);
	identity_authority_fini(&authority);
}

static void
read_file(int folder, const char *name, struct buf *out)
{
	struct err err = {0};

	buf_init(out, MEM_BASE, 1 << 22);
	if (fd_read_file(folder, name, out, &err) < 0)
		die(&err);
}

static void
read_authority(int folder)
{
	struct secret pem;
	struct err err = {0};
	struct buf text;

	read_file(folder, "authority", &text);
	if (secret_from(&pem, text.data, text.length, &err) < 0 ||
	    identity_authority_import(&agent.authority, &pem, &err) < 0)
		die(&err);
	secret_fini(&pem);
	buf_fini(&text);
}

/* ---- the agent ---- */

static void
address_of(const struct roster_row *row, struct addr *out)
{
	char text[32];

	snprintf(text, sizeof(text), "127.0.0.1:%u", row->port);
	addr_parse(text, out);
}

static int
open_socket(int type, const struct addr *address)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(address, &sa);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, length) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 128) < 0))
		die_of("cannot open a socket");
	return fd;
}

static struct channel_rules *
make_rules(const struct roster_row *row)
{
	struct identity who = {.node = agent.id};
	struct channel_rules *rules;
	struct err err = {0};
	struct buf chain;

	text_format(who.name, sizeof(who.name), "node-%u", agent.id);
	memcpy(who.sign_public, row->keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, row->keys.gossip_public, IDENTITY_KEY);
	buf_init(&chain, MEM_BASE, CHAIN_MAX);
	if (identity_issue(&agent.authority, &who, world_wall_ns() / 1000000000, &chain, &err) < 0)
		die(&err);
	const struct channel_rules_config config = {.keys = &row->keys,
						    .chain = chain.data,
						    .chain_bytes = chain.length,
						    .authority = &agent.authority};
	if (channel_rules_new(&config, &rules, &err) < 0)
		die(&err);
	buf_fini(&chain);
	return rules;
}

static void
tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data, size_t bytes)
{
	static const char *const states[] = {"unknown", "alive", "suspect", "dead", "left"};
	const uint8_t *at = data;

	(void)arg;
	(void)token;
	(void)bytes;
	if (what == GOSSIP_MEMBER) {
		struct gossip_tell_member member;

		memcpy(&member, at, sizeof(member));
		printf("member %" PRIu32 " %s\n", node, states[member.state]);
	} else if (what == GOSSIP_ENTRY) {
		struct gossip_tell_entry entry;

		memcpy(&entry, at, sizeof(entry));
		printf("entry %" PRIu32 " %.*s\n", node, (int)entry.bytes,
		       (const char *)at + sizeof(entry));
	}
	fflush(stdout);
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	gossip_step(core, in, out);
}

static void
command(const char *line)
{
	if (strncmp(line, "put ", 4) == 0) {
		(void)gossip_put(agent.gossip, ENTRY, agent.puts++ % 16, line + 4,
				 strlen(line + 4));
		shell_local(agent.shell, SERVICE, 0, 0, NULL, 0);
	} else if (strcmp(line, "members") == 0) {
		printf("members %zu\n", gossip_members_live(agent.gossip));
		fflush(stdout);
	}
}

static void
readable(uv_poll_t *poll, int status, int events)
{
	char *end;
	ssize_t n = read(0, agent.line + agent.line_bytes, LINE - agent.line_bytes);

	(void)status;
	(void)events;
	if (n <= 0) {
		uv_poll_stop(poll);
		uv_stop(&agent.loop);
		return;
	}
	agent.line_bytes += (size_t)n;
	while ((end = memchr(agent.line, '\n', agent.line_bytes)) != NULL) {
		size_t used = (size_t)(end + 1 - agent.line);

		*end = '\0';
		command(agent.line);
		agent.line_bytes -= used;
		memmove(agent.line, agent.line + used, agent.line_bytes);
	}
	if (agent.line_bytes == LINE)
		agent.line_bytes = 0;
}

static void
meet(const struct roster_row *rows, size_t count)
{
	struct err err = {0};

	for (uint32_t i = 1; i <= count; i++) {
		struct addr address;

		address_of(&rows[i - 1], &address);
		if (i != agent.id && (shell_peer(agent.shell, i, rows[i - 1].keys.gossip_public,
						 &address, &err) < 0 ||
				      gossip_roster_add(agent.gossip, i) != GOSSIP_OK))
			die(&err);
	}
}

static void
serve(int folder, const struct roster_row *rows, size_t count)
{
	char incarnation[32];
	const struct roster_row *own = &rows[agent.id - 1];
	struct channel_rules *rules = make_rules(own);
	struct err err = {0};
	uv_poll_t input;

	text_format(incarnation, sizeof(incarnation), "incarnation-%u", agent.id);
	struct addr address;
	address_of(own, &address);
	if (envelope_self_init(&agent.self, agent.id, world_mono_ns(), agent.authority.cluster,
			       own->keys.gossip, &err) < 0)
		die(&err);
	const struct shell_config config = {
		.loop = &agent.loop,
		.udp_fd = open_socket(SOCK_DGRAM, &address),
		.tcp_fd = open_socket(SOCK_STREAM, &address),
		.folder = folder,
		.self = &agent.self,
		.rules = rules,
	};
	const struct gossip_config gossip = {.self = agent.id, .seed = world_mono_ns()};
	const struct shell_core core = {
		.service = SERVICE, .step = step, .tell = tell, .files = {incarnation}};
	if (gossip_new(&gossip, &agent.gossip) < 0)
		die_of("no memory");
	if (shell_new(&config, &agent.shell, &err) < 0)
		die(&err);
	meet(rows, count);
	struct shell_core with = core;
	with.core = agent.gossip;
	if (shell_add(agent.shell, &with, &err) < 0)
		die(&err);
	uv_poll_init(&agent.loop, &input, 0);
	uv_poll_start(&input, UV_READABLE, readable);
	uv_run(&agent.loop, UV_RUN_DEFAULT);
}

int
main(int argc, char **argv)
{
	struct buf rows;

	if (argc < 3) {
		fprintf(stderr, "usage: gossip-agent FOLDER prepare COUNT PORT | FOLDER ID\n");
		return 2;
	}
	int folder = open(argv[1], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0)
		die_of("cannot open the folder");
	if (argc == 5) {
		prepare(folder, (uint32_t)strtoul(argv[3], NULL, 10),
			(uint16_t)strtoul(argv[4], NULL, 10));
		return 0;
	}
	agent.id = (uint32_t)strtoul(argv[2], NULL, 10);
	read_authority(folder);
	read_file(folder, "roster", &rows);
	size_t count = rows.length / sizeof(struct roster_row);
	if (agent.id == 0 || agent.id > count)
		return 2;
	uv_loop_init(&agent.loop);
	serve(folder, (const struct roster_row *)(const void *)rows.data, count);
	return 0;
}
