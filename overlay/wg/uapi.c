/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader and writer of the protocol. A line is taken when it is whole; which keys may stand in it
 * depends on whether a public_key was there before it in the request. Writing is left to text: the
 * other end is a program that reads lines.
 *
 * What a wrong line stops is the taking, not the reading: the answer comes where the request ends,
 * so that both ends agree about where the next one begins.
 */
#include "overlay/wg/uapi.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"

enum {
	V4_OFFSET_BITS = 96,
	HEX_BYTES = 2 * SETUP_KEY + 1,
	/* The longest that the writer below makes of each. */
	DEVICE_BYTES = 256,
	PEER_BYTES = 640,
	PREFIX_BYTES = 80,
};

void
uapi_init(struct uapi *u)
{
	*u = (struct uapi){0};
}

void
uapi_next(struct uapi *u)
{
	setup_fini(&u->change);
	mem_wipe(u->line, sizeof(u->line));
	u->state = UAPI_BEGIN;
	u->code = 0;
	u->line_bytes = u->request_bytes = 0;
}

void
uapi_fini(struct uapi *u)
{
	uapi_next(u);
}

/* ---- values: each gives 0 or an errno ---- */

static int
code_of(enum setup_rc rc)
{
	switch (rc) {
	case SETUP_OK:
		return 0;
	case SETUP_NO_MEMORY:
		return ENOMEM;
	case SETUP_TOO_MUCH:
		return E2BIG;
	case SETUP_TWICE:
		break;
	}
	return EINVAL;
}

static int
take_key(const char *text, uint8_t out[SETUP_KEY])
{
	uint8_t key[SETUP_KEY];
	size_t length = strlen(text);
	bool ok = length == 2 * SETUP_KEY && text_unhex(text, length, key, SETUP_KEY) == SETUP_KEY;

	if (ok)
		memcpy(out, key, SETUP_KEY);
	mem_wipe(key, sizeof(key));
	return ok ? 0 : EINVAL;
}

static int
take_true(const char *text, bool *out)
{
	if (!text_equal(text, "true"))
		return EINVAL;
	*out = true;
	return 0;
}

static struct setup_peer *
peer_of(struct uapi *u)
{
	assert(u->state == UAPI_PEER);
	return &u->change.peers[u->change.peers_count - 1];
}

static int
take_private_key(struct uapi *u, const char *text)
{
	u->change.has_private_key = true;
	return take_key(text, u->change.private_key);
}

static int
take_port(struct uapi *u, const char *text)
{
	uint64_t v;

	if (!text_u64(text, UINT16_MAX, &v))
		return EINVAL;
	u->change.has_port = true;
	u->change.port = (uint16_t)v;
	return 0;
}

static int
take_fwmark(struct uapi *u, const char *text)
{
	uint64_t v;

	if (!text_u64(text, UINT32_MAX, &v))
		return EINVAL;
	u->change.has_fwmark = true;
	u->change.fwmark = (uint32_t)v;
	return 0;
}

static int
take_replace_peers(struct uapi *u, const char *text)
{
	return take_true(text, &u->change.replace_peers);
}

static int
take_public_key(struct uapi *u, const char *text)
{
	uint8_t key[SETUP_KEY];
	struct setup_peer *peer;

	if (take_key(text, key) != 0)
		return EINVAL;
	u->state = UAPI_PEER;
	return code_of(setup_add_peer(&u->change, key, &peer));
}

static int
take_remove(struct uapi *u, const char *text)
{
	return take_true(text, &peer_of(u)->remove);
}

static int
take_update_only(struct uapi *u, const char *text)
{
	return take_true(text, &peer_of(u)->update_only);
}

static int
take_psk(struct uapi *u, const char *text)
{
	peer_of(u)->has_psk = true;
	return take_key(text, peer_of(u)->psk);
}

static int
take_endpoint(struct uapi *u, const char *text)
{
	peer_of(u)->has_endpoint = true;
	return addr_parse(text, &peer_of(u)->endpoint) ? 0 : EINVAL;
}

static int
take_keepalive(struct uapi *u, const char *text)
{
	uint64_t v;

	if (!text_u64(text, UINT16_MAX, &v))
		return EINVAL;
	peer_of(u)->has_keepalive = true;
	peer_of(u)->keepalive_s = (uint16_t)v;
	return 0;
}

static int
take_replace_prefixes(struct uapi *u, const char *text)
{
	return take_true(text, &peer_of(u)->replace_prefixes);
}

/* Host bits may be set: 10.0.0.1/24 is said of an interface's address, and meant as its prefix. */
static int
take_prefix(struct uapi *u, const char *text)
{
	bool remove = text[0] == '-';
	const char *ip = text + remove, *slash = strchr(ip, '/');
	struct addr_prefix at = {0};
	char part[ADDR_TEXT_BYTES];
	uint64_t bits;

	if (!slash || !text_ncopy(part, sizeof(part), ip, (size_t)(slash - ip)) ||
	    !addr_parse_ip(part, &at.base))
		return EINVAL;
	unsigned offset = strchr(part, ':') ? 0 : V4_OFFSET_BITS;
	if (!text_u64(slash + 1, 128 - offset, &bits))
		return EINVAL;
	at.bits = (uint8_t)(bits + offset);
	return code_of(setup_add_prefix(&u->change, peer_of(u), &at, remove));
}

static int
take_protocol_version(struct uapi *u, const char *text)
{
	(void)u;
	return text_equal(text, "1") ? 0 : EINVAL;
}

static const struct word {
	const char *name;
	int (*take)(struct uapi *u, const char *value);
	bool of_device, of_peer;
} words[] = {
	{"private_key", take_private_key, true, false},
	{"listen_port", take_port, true, false},
	{"fwmark", take_fwmark, true, false},
	{"replace_peers", take_replace_peers, true, false},
	{"public_key", take_public_key, true, true},
	{"remove", take_remove, false, true},
	{"update_only", take_update_only, false, true},
	{"preshared_key", take_psk, false, true},
	{"endpoint", take_endpoint, false, true},
	{"persistent_keepalive_interval", take_keepalive, false, true},
	{"replace_allowed_ips", take_replace_prefixes, false, true},
	{"allowed_ip", take_prefix, false, true},
	{"protocol_version", take_protocol_version, false, true},
};

/* ---- lines ---- */

/* One of a set. */
static int
take_word(struct uapi *u)
{
	char *value = strchr(u->line, '=');

	if (!value)
		return EPROTO;
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (text_equal(words[i].name, u->line))
			return (u->state == UAPI_PEER ? words[i].of_peer : words[i].of_device)
				       ? words[i].take(u, value)
				       : EINVAL;
	return EINVAL;
}

static void
begin(struct uapi *u)
{
	if (text_equal(u->line, "get=1"))
		u->state = UAPI_GETS;
	else if (text_equal(u->line, "set=1"))
		u->state = UAPI_DEVICE;
	else
		u->broken = true;
}

static enum uapi_event
wrong(struct uapi *u, int code)
{
	setup_fini(&u->change);
	u->code = code;
	return UAPI_WRONG;
}

static enum uapi_event
end_request(struct uapi *u)
{
	if (u->code != 0)
		return wrong(u, u->code);
	return u->state == UAPI_GETS ? UAPI_GET : UAPI_SET;
}

/* A line without its end; whole: it fits, and has no NUL in it. */
static enum uapi_event
take_line(struct uapi *u, bool whole)
{
	int code = 0;

	if (u->state == UAPI_BEGIN) {
		if (whole)
			begin(u);
		u->broken |= !whole;
		return u->broken ? wrong(u, EPROTO) : UAPI_MORE;
	}
	if (whole && u->line[0] == '\0')
		return end_request(u);
	if (!whole)
		code = EINVAL;
	else if (u->state == UAPI_GETS)
		code = EPROTO;
	else if (u->code == 0)
		code = take_word(u);
	if (u->code == 0)
		u->code = code;
	return UAPI_MORE;
}

static enum uapi_event
take_byte(struct uapi *u, char byte)
{
	if (byte != '\n') {
		if (u->line_bytes < UAPI_LINE_MAX)
			u->line[u->line_bytes] = byte;
		u->line_bytes++;
		return UAPI_MORE;
	}
	size_t have = u->line_bytes < UAPI_LINE_MAX ? u->line_bytes : UAPI_LINE_MAX;
	bool whole = u->line_bytes < UAPI_LINE_MAX && !memchr(u->line, '\0', have);
	if (whole)
		u->line[have] = '\0';
	enum uapi_event event = take_line(u, whole);
	mem_wipe(u->line, have);
	u->line_bytes = 0;
	return event;
}

enum uapi_event
uapi_read(struct uapi *u, const void *data, size_t bytes, size_t *used_out)
{
	const char *at = data;

	assert(!u->broken);
	*used_out = 0;
	while (*used_out < bytes) {
		enum uapi_event event = take_byte(u, at[(*used_out)++]);

		if (event != UAPI_MORE)
			return event;
		if (++u->request_bytes == UAPI_REQUEST_MAX) {
			u->broken = true;
			return wrong(u, E2BIG);
		}
	}
	return UAPI_MORE;
}

/* ---- answers ---- */

void
uapi_put_code(struct buf *out, int code)
{
	buf_printf(out, "errno=%d\n\n", -code);
}

static void
put_key(struct buf *out, const char *name, const uint8_t key[SETUP_KEY])
{
	char hex[HEX_BYTES];

	text_hex(key, SETUP_KEY, hex, sizeof(hex));
	buf_puts(out, name);
	buf_putc(out, '=');
	buf_puts(out, hex);
	buf_putc(out, '\n');
	mem_wipe(hex, sizeof(hex));
}

static void
put_peer(struct buf *out, const struct setup_peer *p)
{
	char text[ADDR_TEXT_BYTES];

	put_key(out, "public_key", p->public_key);
	put_key(out, "preshared_key", p->psk);
	buf_puts(out, "protocol_version=1\n");
	if (p->has_endpoint) {
		addr_put(&p->endpoint, text, sizeof(text));
		buf_printf(out, "endpoint=%s\n", text);
	}
	buf_printf(out, "last_handshake_time_sec=%" PRId64 "\n", p->handshake_s);
	buf_printf(out, "last_handshake_time_nsec=%" PRIu32 "\n", p->handshake_ns);
	buf_printf(out, "tx_bytes=%" PRIu64 "\nrx_bytes=%" PRIu64 "\n", p->tx_bytes, p->rx_bytes);
	buf_printf(out, "persistent_keepalive_interval=%u\n", p->keepalive_s);
	for (size_t i = 0; i < p->prefixes_count; i++) {
		addr_put_prefix(&p->prefixes[i].at, text, sizeof(text));
		buf_printf(out, "allowed_ip=%s\n", text);
	}
}

size_t
uapi_state_bytes_max(const struct setup *s)
{
	return DEVICE_BYTES + s->peers_count * PEER_BYTES + s->prefixes_count * PREFIX_BYTES;
}

bool
uapi_put_state(struct buf *out, const struct setup *s)
{
	if (!buf_reserve(out, uapi_state_bytes_max(s)))
		return false;
	const uint8_t *place = out->data;
	if (!setup_key_is_zero(s->private_key))
		put_key(out, "private_key", s->private_key);
	if (s->port != 0)
		buf_printf(out, "listen_port=%u\n", s->port);
	if (s->fwmark != 0)
		buf_printf(out, "fwmark=%" PRIu32 "\n", s->fwmark);
	for (size_t i = 0; i < s->peers_count; i++)
		put_peer(out, &s->peers[i]);
	uapi_put_code(out, 0);
	assert(buf_ok(out) && out->data == place);
	return true;
}
