/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one program. Three ways in: `zlayer role NAME INDEX` is a process of a node and works only
 * when node started it (descriptor 3 is a leash), `zlayer serve` is the node, everything else is
 * the command line. Container engines start their plugins without any words, by the name of a file:
 * as `zlayer-cni` this program is `zlayer cni`.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/role_table.h"
#include "node/node.h"

/* A connected SOCK_SEQPACKET unix socket. */
static int
leash_there(void)
{
	int type = 0;
	socklen_t length = sizeof(type);
	struct sockaddr peer;
	socklen_t peer_length = sizeof(peer);

	return getsockopt(LEASH_FD, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
	       type == SOCK_SEQPACKET && getpeername(LEASH_FD, &peer, &peer_length) == 0 &&
	       peer.sa_family == AF_UNIX;
}

static int
run_role(const char *name)
{
	const struct station_role *role = role_table_find(role_of_name(name));

	if (!role || !leash_there()) {
		fputs("zlayer role: only zlayer serve starts these\n", stderr);
		return 2;
	}
	char title[16];
	text_format(title, sizeof(title), "zlayer:%s", name);
	prctl(PR_SET_NAME, title);
	fcntl(LEASH_FD, F_SETFD, FD_CLOEXEC);
	_exit(station_main(role, LEASH_FD, NULL));
}

static bool
is_plugin(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "zlayer-cni") == 0;
}

int
main(int argc, char **argv)
{
	static char program[] = "zlayer", command[] = "cni";
	char *plugin[] = {program, command, NULL};
	unsigned roles[ROLE_TABLE_MAX];

	if (argc == 1 && is_plugin(argv[0]))
		return cli_main(2, plugin);
	if (argc >= 3 && strcmp(argv[1], "role") == 0)
		return run_role(argv[2]);
	if (argc >= 2 && strcmp(argv[1], "serve") == 0)
		return node_serve(argc - 1, argv + 1, roles, role_table_list(roles));
	return cli_main(argc, argv);
}
