/* SPDX-License-Identifier: Apache-2.0 */
/* Writer of the PROXY protocol header, version 2, section 2.2 of its specification. */
#include "proxy/pp2.h"

#include <string.h>

enum { VERSION_PROXY = 0x21, INET = 0x10, INET6 = 0x20, STREAM = 1, DGRAM = 2, FIXED = 16 };

static size_t
put_ip(const struct addr *a, bool v4, uint8_t *out)
{
	size_t bytes = v4 ? 4 : 16;

	memcpy(out, a->ip + (v4 ? 12 : 0), bytes);
	return bytes;
}

static size_t
put_u16(uint16_t value, uint8_t *out)
{
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
	return 2;
}

size_t
pp2_write(const struct addr *client, const struct addr *asked, bool udp, uint8_t out[PP2_BYTES_MAX])
{
	static const uint8_t signature[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
					      '\n', 'Q',  'U',  'I',  'T', '\n'};
	bool v4 = addr_is_v4(client) && addr_is_v4(asked);
	size_t at = FIXED;

	memcpy(out, signature, sizeof(signature));
	out[12] = VERSION_PROXY;
	out[13] = (uint8_t)((v4 ? INET : INET6) | (udp ? DGRAM : STREAM));
	at += put_ip(client, v4, out + at);
	at += put_ip(asked, v4, out + at);
	at += put_u16(client->port, out + at);
	at += put_u16(asked->port, out + at);
	(void)put_u16((uint16_t)(at - FIXED), out + 14);
	return at;
}
