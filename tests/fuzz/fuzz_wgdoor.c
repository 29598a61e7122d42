/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever passes the door says the device's name to who reads it as the kernel does, no index, and
 * no other port or mark than node's. */
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <stdlib.h>
#include <string.h>
#include "node/wgdoor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 64, PORT = 9882 };

static void
check(const uint8_t *data, size_t size)
{
	size_t at = NLMSG_HDRLEN + GENL_HDRLEN;
	const uint8_t *words[WORDS] = {NULL};
	uint16_t port = PORT;
	uint32_t mark = 0;

	while (size - at >= sizeof(struct nlattr)) {
		struct nlattr a;

		memcpy(&a, data + at, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > size - at)
			break;
		unsigned type = a.nla_type & 0x3fffu;
		words[type < WORDS ? type : 0] = data + at + sizeof(a);
		size_t step = ((size_t)a.nla_len + 3) / 4 * 4;
		at += step < size - at ? step : size - at;
	}
	if (words[WGDEVICE_A_LISTEN_PORT])
		memcpy(&port, words[WGDEVICE_A_LISTEN_PORT], sizeof(port));
	if (words[WGDEVICE_A_FWMARK])
		memcpy(&mark, words[WGDEVICE_A_FWMARK], sizeof(mark));
	if (words[WGDEVICE_A_IFINDEX] || port != PORT || mark || !words[WGDEVICE_A_IFNAME] ||
	    memcmp(words[WGDEVICE_A_IFNAME], "sealed", sizeof("sealed")) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wgdoor_order order = {.family = 32, .device = "sealed", .port = PORT};

	if (wgdoor_lets_pass(&order, data, size))
		check(data, size);
	return 0;
}
