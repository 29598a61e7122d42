/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choice and text form of a node's prefixes. Containers route through 169.254.1.1 and fe80::1 for
 * every destination; the node itself answers at the prefix's first address (.1, ::1), which is
 * never given to a container.
 */
#include "overlay/prefix.h"

#include <assert.h>
#include <string.h>
#include "base/text.h"
#include "spec/config.h"

void
prefix_choose4(const struct world *world, const struct addr_prefix *network,
	       struct addr_prefix *out)
{
	uint32_t places = config_network_places(network);

	config_network_place(network, (uint32_t)world_random_below(world, places), out);
}

void
prefix_choose(const struct world *world, const struct addr_prefix *network, struct prefix *out)
{
	memset(out, 0, sizeof(*out));
	prefix_choose4(world, network, &out->v4);
	out->v6.base.ip[0] = 0xfd;
	world_random(world, &out->v6.base.ip[1], 7);
	out->v6.bits = 64;
}

void
prefix_put(const struct prefix *p, char *out, size_t cap)
{
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	addr_put_prefix(&p->v4, v4, sizeof(v4));
	addr_put_prefix(&p->v6, v6, sizeof(v6));
	text_format(out, cap, "v4 %s\nv6 %s\n", v4, v6);
}

/* One line "name value\n": the value is copied, *at moves behind it. */
static bool
take_line(const char **at, const char *name, char *out, size_t cap)
{
	const char *end = strchr(*at, '\n');

	if (!end || !text_starts(*at, name) || (*at)[strlen(name)] != ' ')
		return false;
	const char *value = *at + strlen(name) + 1;
	if (value >= end || (size_t)(end - value) >= cap)
		return false;
	text_ncopy(out, cap, value, (size_t)(end - value));
	*at = end + 1;
	return true;
}

int
prefix_parse(const char *text, struct prefix *out, struct err *err)
{
	char v4[ADDR_TEXT_BYTES + 8], v6[ADDR_TEXT_BYTES + 8];
	const char *at = text;

	memset(out, 0, sizeof(*out));
	if (!take_line(&at, "v4", v4, sizeof(v4)) || !take_line(&at, "v6", v6, sizeof(v6)) || *at ||
	    !addr_parse_prefix(v4, &out->v4) || !addr_parse_prefix(v6, &out->v6) ||
	    !addr_is_v4(&out->v4.base) || out->v4.bits != 120 || addr_is_v4(&out->v6.base) ||
	    out->v6.bits != 64)
		return err_set(err, ERR_CORRUPT, "the kept address prefix of this node is damaged");
	return 0;
}

struct addr
prefix_own(const struct addr_prefix *p)
{
	struct addr a = p->base;

	if (p->bits > 0)
		a.ip[15] |= 1;
	return a;
}

void
prefix_row(const struct prefix *p, struct msg_prefix *out)
{
	memset(out, 0, sizeof(*out));
	out->v4 = p->v4;
	out->v6 = p->v6;
	bool ok = addr_parse_ip("169.254.1.1", &out->gateway4) &&
		  addr_parse_ip("fe80::1", &out->gateway6);
	assert(ok);
	out->service4 = prefix_own(&p->v4);
	out->service6 = prefix_own(&p->v6);
	out->mtu = PREFIX_MTU;
}
