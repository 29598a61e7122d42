/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands between a container and a tunnel in bench/overlay.py: our programs on the container's
 * link and on the tunnel's device, with what they would know in a cluster of two nodes.
 *
 *   overlay-fabric SIDE plain|sealed LINK DEVICE MTU MAC
 *
 * runs in the fabric's network namespace, with a BPF file system of its own as working folder, and
 * takes everything off again when its input ends. SIDE is 1 or 2: the container is 10.200.SIDE.2,
 * MAC that of its end of LINK.
 */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "dataplane/identities.h"
#include "dataplane/tunnel.h"
#include "dataplane/veth.h"

enum { VNI = 7, HERE = 1, THERE = 2 };

/* Of `network.overlays` with and without `encrypted: false`. */
enum {
	USUAL = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
		MSG_IDENTITY_SERVICE_ISOLATED | MSG_IDENTITY_GLOBAL_ON | MSG_IDENTITY_GLOBAL_SEALED,
	OPENLY = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_GLOBAL_ON,
};

static struct err err;

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "overlay-fabric: %s\n", what);
	if (err.kind)
		err_print(&err, "overlay-fabric", stderr);
	exit(1);
}

static struct addr
address(const char *before, int side, const char *after)
{
	struct addr a;
	char text[64];

	text_format(text, sizeof(text), "%s%d%s", before, side, after);
	must(addr_parse_ip(text, &a), text);
	return a;
}

static struct addr_prefix
prefix(const char *before, int side, const char *after)
{
	struct addr_prefix p;
	char text[64];

	text_format(text, sizeof(text), "%s%d%s", before, side, after);
	must(addr_parse_prefix(text, &p), text);
	return p;
}

static uint32_t
link_of(const char *name)
{
	uint32_t index = if_nametoindex(name);

	must(index != 0, name);
	return index;
}

static struct msg_identity
identity(int side, bool sealed)
{
	return (struct msg_identity){.deployment = 1,
				     .service = 10,
				     .node = (uint32_t)side,
				     .flags = sealed ? USUAL : OPENLY,
				     .addr4 = address("10.200.", side, ".2"),
				     .addr6 = address("fd00:", side, "::2")};
}

static void
add_container(struct veth *veth, int side, const char *link, const char *mac)
{
	struct msg_veth row = {.replica = HERE,
			       .ifindex = link_of(link),
			       .addr4 = address("10.200.", side, ".2"),
			       .addr6 = address("fd00:", side, "::2")};
	enum msg_hook hook;

	must(sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &row.mac[0], &row.mac[1], &row.mac[2],
		    &row.mac[3], &row.mac[4], &row.mac[5]) == 6,
	     mac);
	must(veth_add(veth, &row, NULL, &hook, &err) == 0, "link");
}

static void
say_identities(struct identities *ids, int side, bool sealed)
{
	const struct msg_identity here = identity(side, sealed), there = identity(3 - side, sealed);

	identities_begin(ids, 1);
	must(identities_change(ids, HERE, &here, &err) == 0 &&
		     identities_change(ids, THERE, &there, &err) == 0 &&
		     identities_settle(ids, true, &err) == 0,
	     "identities");
}

static void
say_peer(struct tunnel *tunnel, int side, bool sealed)
{
	const struct msg_peer peer = {.id = 11,
				      .name = "other",
				      .address = address("10.8.0.", 3 - side, ""),
				      .v4 = prefix("10.200.", 3 - side, ".0/24"),
				      .v6 = prefix("fd00:", 3 - side, "::/64"),
				      .ways = sealed ? MSG_WAY_SEALED : MSG_WAY_PLAIN};
	const struct tunnel_row row = {.peer = &peer, .member = true};

	must(tunnel_peers(tunnel, &row, 1, &err) == 0, "peer");
}

static void
hook_device(struct tunnel *tunnel, int side, bool sealed, uint32_t device, uint32_t mtu)
{
	const struct msg_underlay underlay = {.vni = VNI, .ifindex = sealed ? 0 : device};
	const struct msg_tunnel sealing = {.state = sealed ? MSG_TUNNEL_UP : MSG_TUNNEL_FAILED,
					   .ifindex = sealed ? device : 0};
	const struct msg_prefix own = {.mtu = mtu,
				       .service4 = address("10.200.", side, ".1"),
				       .service6 = address("fd00:", side, "::1")};
	const struct tunnel_devices devices = {
		.underlay = &underlay, .tunnel = &sealing, .prefix = &own};

	must(tunnel_devices(tunnel, &devices, &err) == 0, "device");
}

int
main(int argc, char **argv)
{
	static const struct tunnel_devices none;
	struct veth *veth;
	char end;

	must(argc == 7, "arguments");
	int side = atoi(argv[1]);
	bool sealed = strcmp(argv[2], "sealed") == 0;
	must((side == 1 || side == 2) && (sealed || strcmp(argv[2], "plain") == 0), "arguments");
	must(veth_open(getuid(), &veth, &err) == 0, "programs");
	struct tunnel *tunnel = tunnel_new(veth);
	struct identities *ids = identities_new(veth);
	must(tunnel && ids, "memory");
	add_container(veth, side, argv[3], argv[6]);
	say_identities(ids, side, sealed);
	say_peer(tunnel, side, sealed);
	hook_device(tunnel, side, sealed, link_of(argv[4]), (uint32_t)atoi(argv[5]));
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &end, 1) > 0)
		;
	must(tunnel_devices(tunnel, &none, &err) == 0, "device");
	veth_remove(veth, HERE);
	identities_free(ids);
	tunnel_free(tunnel);
	veth_close(veth);
	return 0;
}
