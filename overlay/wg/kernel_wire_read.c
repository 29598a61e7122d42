/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's answers. A state comes as several messages: what belongs to the device stands in the
 * first one, a peer whose prefixes did not fit begins the next one again by its key.
 */
#include <assert.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/time_types.h>
#include <linux/wireguard.h>
#include <string.h>
#include "overlay/wg/kernel_wire.h"
#include "overlay/wg/kernel_wire_mnl.h"

enum { V4_OFFSET_BITS = 96 };

/* Attributes one behind the other. */
struct attrs {
	const struct nlattr *at;
	const char *end;
};

static struct attrs
inside(const struct nlattr *a)
{
	const char *from = kernel_wire_mnl.mnl_attr_get_payload(a);

	return (struct attrs){(const struct nlattr *)(const void *)from,
			      from + kernel_wire_mnl.mnl_attr_get_payload_len(a)};
}

static const struct nlattr *
next(struct attrs *all)
{
	const struct nlattr *a = all->at;

	if ((const char *)a >= all->end ||
	    !kernel_wire_mnl.mnl_attr_ok(a, (int)(all->end - (const char *)a)))
		return NULL;
	all->at = kernel_wire_mnl.mnl_attr_next(a);
	return a;
}

static unsigned
type_of(const struct nlattr *a)
{
	return kernel_wire_mnl.mnl_attr_get_type(a);
}

/* False: it is shorter than that. */
static bool
take(const struct nlattr *a, void *out, size_t bytes)
{
	if (kernel_wire_mnl.mnl_attr_get_payload_len(a) < bytes)
		return false;
	memcpy(out, kernel_wire_mnl.mnl_attr_get_payload(a), bytes);
	return true;
}

static int
code_of(enum setup_rc rc)
{
	return rc == SETUP_OK ? 0 : rc == SETUP_NO_MEMORY ? ENOMEM : E2BIG;
}

/* ---- a peer; each gives 0 or an errno ---- */

static int
take_prefix(struct setup *s, struct setup_peer *peer, const struct nlattr *nested)
{
	struct addr_prefix p = {0};
	struct attrs all = inside(nested);
	const struct nlattr *a, *ip = NULL;
	uint16_t family = 0;
	uint8_t bits = 255;
	bool ok = true;

	while ((a = next(&all)) != NULL) {
		if (type_of(a) == WGALLOWEDIP_A_FAMILY)
			ok = take(a, &family, sizeof(family)) && ok;
		else if (type_of(a) == WGALLOWEDIP_A_IPADDR)
			ip = a;
		else if (type_of(a) == WGALLOWEDIP_A_CIDR_MASK)
			ok = take(a, &bits, sizeof(bits)) && ok;
	}
	if (!ok || !ip)
		return EBADMSG;
	if (family == AF_INET && bits <= 32 && take(ip, p.base.ip + 12, 4)) {
		p.base.ip[10] = p.base.ip[11] = 0xff;
		bits = (uint8_t)(bits + V4_OFFSET_BITS);
	} else if (family != AF_INET6 || bits > 128 || !take(ip, p.base.ip, 16)) {
		return EBADMSG;
	}
	p.bits = bits;
	return code_of(setup_add_prefix(s, peer, &p, false));
}

static int
take_prefixes(struct setup *s, struct setup_peer *peer, const struct nlattr *nested)
{
	struct attrs all = inside(nested);
	const struct nlattr *a;
	int code = 0;

	while (code == 0 && (a = next(&all)) != NULL)
		code = take_prefix(s, peer, a);
	return code;
}

static bool
take_endpoint(struct setup_peer *peer, const struct nlattr *a)
{
	struct sockaddr_storage ss = {0};
	size_t bytes = kernel_wire_mnl.mnl_attr_get_payload_len(a);

	if (bytes > sizeof(ss) || !take(a, &ss, bytes))
		return false;
	peer->has_endpoint =
		addr_from_sockaddr((const struct sockaddr *)&ss, (socklen_t)bytes, &peer->endpoint);
	return peer->has_endpoint;
}

static bool
take_handshake(struct setup_peer *peer, const struct nlattr *a)
{
	struct __kernel_timespec t;

	if (!take(a, &t, sizeof(t)) || t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= 1000000000)
		return false;
	peer->handshake_s = t.tv_sec;
	peer->handshake_ns = (uint32_t)t.tv_nsec;
	return true;
}

/* What has a fixed form. */
static bool
take_word(struct setup_peer *p, const struct nlattr *a)
{
	switch (type_of(a)) {
	case WGPEER_A_PRESHARED_KEY:
		return p->has_psk = take(a, p->psk, SETUP_KEY);
	case WGPEER_A_ENDPOINT:
		return take_endpoint(p, a);
	case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
		return p->has_keepalive = take(a, &p->keepalive_s, sizeof(p->keepalive_s));
	case WGPEER_A_LAST_HANDSHAKE_TIME:
		return take_handshake(p, a);
	case WGPEER_A_RX_BYTES:
		return take(a, &p->rx_bytes, sizeof(p->rx_bytes));
	case WGPEER_A_TX_BYTES:
		return take(a, &p->tx_bytes, sizeof(p->tx_bytes));
	default:
		return true;
	}
}

/* The one that it goes on with, or a new one. */
static int
find_peer(struct setup *s, const struct nlattr *nested, struct setup_peer **out)
{
	struct attrs all = inside(nested);
	const struct nlattr *a;
	uint8_t key[SETUP_KEY];

	while ((a = next(&all)) != NULL)
		if (type_of(a) == WGPEER_A_PUBLIC_KEY)
			break;
	if (!a || !take(a, key, SETUP_KEY))
		return EBADMSG;
	*out = s->peers_count > 0 ? &s->peers[s->peers_count - 1] : NULL;
	if (*out && memcmp((*out)->public_key, key, SETUP_KEY) == 0)
		return 0;
	return code_of(setup_add_peer(s, key, out));
}

static int
take_peer(struct setup *s, const struct nlattr *nested)
{
	struct attrs all = inside(nested);
	const struct nlattr *a;
	struct setup_peer *peer;
	int code = find_peer(s, nested, &peer);

	while (code == 0 && (a = next(&all)) != NULL) {
		if (type_of(a) == WGPEER_A_ALLOWEDIPS)
			code = take_prefixes(s, peer, a);
		else if (!take_word(peer, a))
			code = EBADMSG;
	}
	return code;
}

/* ---- messages ---- */

static int
take_peers(struct setup *s, const struct nlattr *nested)
{
	struct attrs all = inside(nested);
	const struct nlattr *a;
	int code = 0;

	while (code == 0 && (a = next(&all)) != NULL)
		code = take_peer(s, a);
	return code;
}

static int
take_device(struct setup *s, struct attrs all)
{
	const struct nlattr *a;
	int code = 0;

	while (code == 0 && (a = next(&all)) != NULL) {
		bool ok = true;

		switch (type_of(a)) {
		case WGDEVICE_A_PRIVATE_KEY:
			ok = s->has_private_key = take(a, s->private_key, SETUP_KEY);
			break;
		case WGDEVICE_A_LISTEN_PORT:
			ok = s->has_port = take(a, &s->port, sizeof(s->port));
			break;
		case WGDEVICE_A_FWMARK:
			ok = s->has_fwmark = take(a, &s->fwmark, sizeof(s->fwmark));
			break;
		case WGDEVICE_A_PEERS:
			code = take_peers(s, a);
			break;
		}
		if (!ok)
			code = EBADMSG;
	}
	return code;
}

static int
take_family(struct kernel_wire_answer *out, struct attrs all)
{
	const struct nlattr *a;

	while ((a = next(&all)) != NULL)
		if (type_of(a) == CTRL_ATTR_FAMILY_ID)
			return take(a, &out->family, sizeof(out->family)) ? 0 : EBADMSG;
	return EBADMSG;
}

static enum kernel_wire_event
fail(struct kernel_wire_answer *a, int code)
{
	a->code = code;
	return KERNEL_WIRE_FAILED;
}

/* The number at the front of an acknowledgement and of a dump's end. */
static enum kernel_wire_event
take_end(struct kernel_wire_answer *a, const struct nlmsghdr *h)
{
	int code;

	if (h->nlmsg_len < NLMSG_HDRLEN + sizeof(code))
		return fail(a, EBADMSG);
	memcpy(&code, (const char *)h + NLMSG_HDRLEN, sizeof(code));
	if (code == 0)
		return KERNEL_WIRE_DONE;
	return fail(a, code < 0 && code > -4096 ? -code : EBADMSG);
}

static enum kernel_wire_event
take_message(struct kernel_wire_answer *a, const struct nlmsghdr *h)
{
	const size_t before = NLMSG_HDRLEN + GENL_HDRLEN;
	int code = 0;

	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	if (h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE)
		return take_end(a, h);
	if (h->nlmsg_type < NLMSG_MIN_TYPE)
		return KERNEL_WIRE_MORE;
	if (h->nlmsg_len < before)
		return fail(a, EBADMSG);
	struct attrs all = {(const struct nlattr *)(const void *)((const char *)h + before),
			    (const char *)h + h->nlmsg_len};
	if (a->state && h->nlmsg_type == a->family)
		code = take_device(a->state, all);
	else if (!a->state && h->nlmsg_type == GENL_ID_CTRL)
		code = take_family(a, all);
	return code == 0 ? KERNEL_WIRE_MORE : fail(a, code);
}

/* libmnl's own walk takes a length above INT_MAX for one that fits. */
enum kernel_wire_event
kernel_wire_read(struct kernel_wire_answer *a, const void *bytes, size_t count)
{
	enum kernel_wire_event event = KERNEL_WIRE_MORE;
	const char *at = bytes;

	assert(count <= KERNEL_WIRE_ANSWER_MAX);
	while (event == KERNEL_WIRE_MORE && count >= NLMSG_HDRLEN) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)at;

		if (h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > count)
			break;
		size_t step = NLMSG_ALIGN((size_t)h->nlmsg_len);
		if (h->nlmsg_seq == a->sequence)
			event = take_message(a, h);
		if (step >= count)
			break;
		at += step;
		count -= step;
	}
	return event;
}
