/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever passes the door says the device's name to who reads it as the kernel does, and neither
 * an index nor a port nor a mark. */
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <stdlib.h>
#include <string.h>
#include "node/wgdoor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 64 };

static void
check(const uint8_t *data, size_t size)
{
	size_t at = NLMSG_HDRLEN + GENL_HDRLEN;
	const uint8_t *words[WORDS] = {NULL};

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
	if (words[WGDEVICE_A_IFINDEX] || words[WGDEVICE_A_LISTEN_PORT] ||
	    words[WGDEVICE_A_FWMARK] || !words[WGDEVICE_A_IFNAME] ||
	    memcmp(words[WGDEVICE_A_IFNAME], "sealed", sizeof("sealed")) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wgdoor_order order = {.family = 32, .device = "sealed"};

	if (wgdoor_lets_pass(&order, data, size))
		check(data, size);
	return 0;
}
