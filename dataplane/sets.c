/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply is written by its backend's address, port and protocol (a speaker) as if it came from one
 * address of the service (its voice): the one that clients most likely came by. Where that is not
 * the whole truth, flows are noted:
 *
 *   - clients that came by another address than the usual one (EDGE_VIP_REMEMBER);
 *   - all clients of a service whose speaker is another service's too, because it has one voice;
 *   - clients that came by another node (noted there where their packets come in);
 *   - and then clients of the usual way correct a note that stands from before (EDGE_VIP_CORRECT),
 *     and voices say that notes have to be looked for (edge_voice.many). A node that has no address
 *     for clients has replies for those of other nodes only: its voices say nothing else.
 */
#include "dataplane/sets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

void
sets_init(struct sets *s, const struct addr *addresses, size_t count, size_t own_count, bool meshed)
{
	*s = (struct sets){.addresses = addresses,
			   .addresses_count = count,
			   .own_count = own_count,
			   .meshed = meshed};
	for (unsigned set = 0; set < LB_SETS; set++)
		lb_rows_init(&s->of[set], (enum lb_set)set);
	map_init(&s->speakers, MEM_DATAPLANE);
}

void
sets_fini(struct sets *s)
{
	for (unsigned set = 0; set < LB_SETS; set++)
		lb_rows_fini(&s->of[set]);
	map_fini(&s->speakers);
}

static void
add_prefixes(struct lb_rows *rows, const struct sets_service *v, const struct addr_prefix *list,
	     uint32_t count)
{
	const uint32_t yes = 1;

	for (uint32_t i = 0; i < count; i++) {
		struct edge_prefix key = {.bits = 32u + list[i].bits, .service = v->number};

		if (list[i].bits > 128)
			continue;
		memcpy(key.addr, list[i].base.ip, sizeof(key.addr));
		lb_rows_add(rows, &key, &yes);
	}
}

void
sets_add_service(struct sets *s, const struct sets_service *v)
{
	add_prefixes(&s->of[LB_DENIED], v, v->row->deny, v->row->prefixes_deny);
	add_prefixes(&s->of[LB_ALLOWED], v, v->row->allow, v->row->prefixes_allow);
}

/* What clients most likely came by: a dedicated address, else the first of the node's own. */
static const struct addr *
usual_address(const struct sets *s, bool v4)
{
	for (size_t i = 0; i < s->addresses_count; i++) {
		size_t at = (i + s->own_count) % s->addresses_count;

		if (addr_is_v4(&s->addresses[at]) == v4)
			return &s->addresses[at];
	}
	return NULL;
}

static size_t
addresses_of(const struct sets *s, bool v4)
{
	size_t count = 0;

	for (size_t i = 0; i < s->addresses_count; i++)
		count += addr_is_v4(&s->addresses[i]) == v4;
	return count;
}

/* The same container and port for another endpoint: replies of the second one are noted. */
static bool
is_second(struct sets *s, const void *key, size_t bytes, struct sets_service *v)
{
	const struct sets_service *first = map_get(&s->speakers, key, bytes);

	if (!first)
		s->of[LB_PORTS].failed |= map_put(&s->speakers, key, bytes, v, NULL) < 0;
	else if (first != v)
		s->second = v->remember = true;
	return first != NULL;
}

/* Whether a container says anything to clients, by the usual address of a family or NULL. */
static bool
is_spoken(const struct sets *s, const struct addr *usual)
{
	return usual || s->meshed;
}

static void
add_speaker4(struct sets *s, struct sets_service *v, const struct edge_backend *b)
{
	const struct addr *usual = usual_address(s, true);
	struct edge_speaker4 key = {
		.addr = b->addr4, .port = b->port, .protocol = (uint8_t)v->row->protocol};
	struct edge_voice voice = {.port = usual ? htons(v->row->port) : 0, .many = 1};

	if (!is_spoken(s, usual) || !(b->flags & EDGE_BACKEND_V4) ||
	    is_second(s, &key, sizeof(key), v))
		return;
	uint32_t addr = usual ? addr_v4_be(usual) : 0;
	memcpy(voice.addr, &addr, sizeof(addr));
	lb_rows_add(&s->of[LB_SPEAKERS4], &key, &voice);
}

static void
add_speaker6(struct sets *s, struct sets_service *v, const struct edge_backend *b)
{
	const struct addr *usual = usual_address(s, false);
	struct edge_speaker6 key = {.port = b->port, .protocol = (uint8_t)v->row->protocol};
	struct edge_voice voice = {.port = usual ? htons(v->row->port) : 0, .many = 1};

	memcpy(key.addr, b->addr6, sizeof(key.addr));
	if (!is_spoken(s, usual) || !(b->flags & EDGE_BACKEND_V6) ||
	    is_second(s, &key, sizeof(key), v))
		return;
	if (usual)
		memcpy(voice.addr, usual->ip, sizeof(voice.addr));
	lb_rows_add(&s->of[LB_SPEAKERS6], &key, &voice);
}

/* What other nodes send it is for the port that the endpoint has there, as here. */
static void
add_endpoints(struct sets *s, const struct sets_service *v, const struct edge_backend *b,
	      uint32_t index)
{
	struct edge_speaker4 key4 = {.addr = b->addr4,
				     .port = htons(v->row->port),
				     .protocol = (uint8_t)v->row->protocol};
	struct edge_speaker6 key6 = {.port = key4.port, .protocol = key4.protocol};

	memcpy(key6.addr, b->addr6, sizeof(key6.addr));
	if (s->meshed && b->flags & EDGE_BACKEND_V4)
		lb_rows_add(&s->of[LB_ENDPOINTS4], &key4, &index);
	if (s->meshed && b->flags & EDGE_BACKEND_V6)
		lb_rows_add(&s->of[LB_ENDPOINTS6], &key6, &index);
}

void
sets_add_backend(struct sets *s, struct sets_service *v, const struct edge_backend *b,
		 uint32_t index)
{
	if (!(b->flags & EDGE_BACKEND_LOCAL))
		return;
	lb_rows_add(&s->of[LB_PORTS], &b->ifindex, &b->ifindex);
	add_speaker4(s, v, b);
	add_speaker6(s, v, b);
	add_endpoints(s, v, b, index);
}

/* Flows of a family may have notes. */
static bool
is_noted(const struct sets *s, bool v4)
{
	return s->second || s->meshed || addresses_of(s, v4) > 1;
}

/* Clients have only the usual way: replies need no look at flows. */
static void
settle_speakers(struct lb_rows *rows, bool many)
{
	size_t each = rows->key_bytes + rows->value_bytes;

	for (size_t i = 0; !many && i < rows->count; i++) {
		struct edge_voice *voice = (void *)(rows->bytes + i * each + rows->key_bytes);
		uint32_t none = 0;

		memcpy(&voice->many, &none, sizeof(none));
	}
}

void
sets_finish(struct sets *s)
{
	settle_speakers(&s->of[LB_SPEAKERS4], is_noted(s, true));
	settle_speakers(&s->of[LB_SPEAKERS6], is_noted(s, false));
}

static bool
add_vip(struct sets *s, const struct addr *a, uint16_t port, uint8_t protocol,
	const struct edge_vip *vip)
{
	if (s->of[addr_is_v4(a) ? LB_VIPS4 : LB_VIPS6].count == EDGE_VIPS_MAX)
		return false;
	if (addr_is_v4(a)) {
		struct edge_vip4 key = {
			.addr = addr_v4_be(a), .port = htons(port), .protocol = protocol};

		lb_rows_add(&s->of[LB_VIPS4], &key, vip);
	} else {
		struct edge_vip6 key = {.port = htons(port), .protocol = protocol};

		memcpy(key.addr, a->ip, sizeof(key.addr));
		lb_rows_add(&s->of[LB_VIPS6], &key, vip);
	}
	return true;
}

bool
sets_add_vips(struct sets *s, const struct sets_service *v)
{
	uint32_t flags = (v->big ? EDGE_VIP_BIG : 0) | (v->row->prefixes_deny ? EDGE_VIP_DENY : 0) |
			 (v->row->prefixes_allow ? EDGE_VIP_ALLOW : 0);
	bool all = true;

	for (size_t i = 0; i < s->addresses_count; i++) {
		const struct addr *a = &s->addresses[i];
		bool v4 = addr_is_v4(a), usual = a == usual_address(s, v4) && !v->remember;
		struct edge_vip vip = {.service = v->number, .flags = flags};

		if (!usual)
			vip.flags |= EDGE_VIP_REMEMBER;
		else if (is_noted(s, v4))
			vip.flags |= EDGE_VIP_CORRECT;
		if (i >= s->own_count)
			vip.flags |= EDGE_VIP_DEDICATED | (s->meshed ? EDGE_VIP_SHARED : 0);
		all &= add_vip(s, a, v->row->port, (uint8_t)v->row->protocol, &vip);
	}
	return all;
}

void
sets_add_echoes(struct sets *s)
{
	struct edge_vip vip = {0};

	for (size_t i = s->own_count; i < s->addresses_count; i++)
		(void)add_vip(s, &s->addresses[i], 0,
			      addr_is_v4(&s->addresses[i]) ? IPPROTO_ICMP : IPPROTO_ICMPV6, &vip);
}
