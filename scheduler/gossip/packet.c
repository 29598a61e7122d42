/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How datagrams are written and read. The format grows by new kinds of sections: a node reads what
 * says that its version can read it, and skips the kinds that it does not know, so two versions
 * side by side understand each other in all that both have.
 *
 * A packet never exceeds STEP_DATAGRAM_MAX: whoever adds a record has asked for room.
 */
#include "scheduler/gossip/packet.h"

#include <assert.h>
#include <string.h>
#include "base/mutant.h"

void
packet_u16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
}

void
packet_u32(uint8_t *at, uint32_t v)
{
	packet_u16(at, (uint16_t)v);
	packet_u16(at + 2, (uint16_t)(v >> 16));
}

void
packet_u64(uint8_t *at, uint64_t v)
{
	packet_u32(at, (uint32_t)v);
	packet_u32(at + 4, (uint32_t)(v >> 32));
}

void
packet_begin(struct packet *p)
{
	p->bytes = PACKET_HEAD;
	p->section = 0;
	p->kind = -1;
	p->data[0] = CORE_VERSION;
	p->data[1] = CORE_VERSION;
	packet_u16(p->data + 2, 0);
}

bool
packet_fits(const struct packet *p, size_t bytes)
{
	return p->bytes + PACKET_SECTION + bytes <= sizeof(p->data);
}

static void
close_section(struct packet *p)
{
	if (p->section == 0)
		return;
	packet_u16(p->data + p->section + 2, (uint16_t)(p->bytes - p->section - PACKET_SECTION));
	p->section = 0;
	p->kind = -1;
}

static uint8_t *
take(struct packet *p, size_t bytes)
{
	uint8_t *at = p->data + p->bytes;

	assert(bytes <= sizeof(p->data) - p->bytes);
	p->bytes += bytes;
	return at;
}

void
packet_open(struct gossip *g, struct packet *p, enum gossip_message kind, uint8_t flags)
{
	close_section(p);
	p->section = p->bytes;
	p->kind = (int)kind;
	uint8_t *at = take(p, PACKET_SECTION);
	at[0] = (uint8_t)(kind + 1);
	at[1] = flags;
	packet_u16(at + 2, 0);
	g->counters.sent[kind]++;
}

void
packet_ping(struct gossip *g, struct packet *p, enum gossip_message kind, uint32_t number,
	    uint32_t node)
{
	packet_open(g, p, kind, 0);
	uint8_t *at = take(p, PACKET_PING_BYTES);
	packet_u32(at, number);
	packet_u32(at + 4, node);
	packet_u64(at + 8, g->digest);
}

void
packet_ask(struct gossip *g, struct packet *p, enum gossip_message kind, uint32_t number,
	   uint32_t node)
{
	packet_open(g, p, kind, 0);
	uint8_t *at = take(p, PACKET_ASK_BYTES);
	packet_u32(at, number);
	packet_u32(at + 4, node);
}

void
packet_member(struct packet *p, uint32_t node, uint32_t accuser, uint32_t status)
{
	uint8_t *at = take(p, PACKET_MEMBER_BYTES);
	uint32_t incarnation = core_incarnation(status);

	packet_u32(at, node);
	packet_u32(at + 4, accuser);
	packet_u16(at + 8, (uint16_t)incarnation);
	at[10] = (uint8_t)(incarnation >> 16);
	at[11] = (uint8_t)core_state(status);
}

void
packet_mark(struct packet *p, uint32_t node, uint64_t version)
{
	uint8_t *at = take(p, PACKET_MARK_BYTES);

	packet_u32(at, node);
	packet_u64(at + 4, version);
}

void
packet_change(struct packet *p, const struct change *c)
{
	size_t bytes = c->op == CHANGE_PUT ? c->bytes : 0;
	uint8_t *at = take(p, PACKET_CHANGE_BYTES + bytes);

	packet_u32(at, c->node);
	packet_u64(at + 4, c->version);
	packet_u64(at + 12, c->id);
	packet_u16(at + 20, c->type);
	packet_u16(at + 22, c->span);
	packet_u16(at + 24, c->age);
	packet_u16(at + 26, (uint16_t)bytes);
	at[28] = c->op;
	memset(at + 29, 0, 3);
	if (bytes > 0)
		memcpy(at + PACKET_CHANGE_BYTES, c->value, bytes);
}

/* As a node of a later version may write: one section that nobody knows yet, behind all others. */
static void
speak_later(const struct gossip *g, struct packet *p)
{
	static const uint8_t section[] = {200, 0, 4, 0, 1, 2, 3, 4};

	p->data[0] = (uint8_t)g->config.wire;
	if (p->bytes + sizeof(section) > sizeof(p->data))
		return;
	memcpy(p->data + p->bytes, section, sizeof(section));
	p->bytes += sizeof(section);
}

void
packet_send(struct gossip *g, struct packet *p, uint32_t node)
{
	close_section(p);
	if (g->config.wire > CORE_VERSION && p->bytes > PACKET_HEAD)
		speak_later(g, p);
	/* No step has so much to send; and a datagram may be lost. */
	if (p->bytes > PACKET_HEAD && !g->life.failed && step_actions_room(g->out, 2, p->bytes)) {
		struct step_action *a = step_add(g->out, STEP_SEND, p->data, p->bytes);

		a->node = node;
		a->after = MUTANT(4, 0, g->life.after);
		g->counters.datagrams_sent++;
		g->counters.datagram_bytes_sent += p->bytes;
	}
	packet_begin(p);
}

bool
packet_head(struct cursor *c)
{
	unsigned version = cursor_u8(c);
	unsigned oldest = cursor_u8(c);

	cursor_u16(c);
	if (version == 0 || oldest == 0 || oldest > version ||
	    MUTANT(131, version, oldest) > CORE_VERSION)
		c->failed = true;
	return cursor_ok(c);
}

bool
packet_section(struct cursor *c, unsigned *kind_out, uint8_t *flags_out, struct cursor *body_out)
{
	if (cursor_left(c) == 0)
		return false;
	*kind_out = cursor_u8(c);
	*flags_out = cursor_u8(c);
	size_t bytes = cursor_u16(c);
	const void *body = cursor_take(c, bytes);

	if (!cursor_ok(c))
		return false;
	cursor_init(body_out, body, bytes);
	return true;
}

void
packet_get_member(struct cursor *c, uint32_t *node, uint32_t *accuser, uint32_t *status)
{
	*node = cursor_u32(c);
	*accuser = cursor_u32(c);
	uint32_t last = cursor_u32(c);
	*status = core_status(last & 0xffffff, (enum gossip_state)(last >> 24));
	/* Nothing known has neither; all else has both. */
	if (last >> 24 > GOSSIP_LEFT || (last >> 24 == 0) != (last == 0) ||
	    (last != 0 && (last & 0xffffff) == 0) || *node == 0)
		c->failed = true;
}

void
packet_get_mark(struct cursor *c, uint32_t *node, uint64_t *version)
{
	*node = cursor_u32(c);
	*version = cursor_u64(c);
	if (*node == 0)
		c->failed = true;
}

void
packet_get_change(struct cursor *c, struct change *out)
{
	out->node = cursor_u32(c);
	out->version = cursor_u64(c);
	out->id = cursor_u64(c);
	out->type = cursor_u16(c);
	out->span = cursor_u16(c);
	out->age = cursor_u16(c);
	out->bytes = cursor_u16(c);
	out->op = cursor_u8(c);
	cursor_take(c, 3);
	out->value = cursor_take(c, out->bytes);
	if (out->node == 0 || out->span == 0 || gossip_version_birth(out->version) == 0 ||
	    out->span > gossip_version_sequence(out->version) || out->op < CHANGE_PUT ||
	    out->op > CHANGE_VOID || out->bytes > GOSSIP_VALUE_MAX ||
	    (out->op != CHANGE_PUT && out->bytes > 0))
		c->failed = true;
}
