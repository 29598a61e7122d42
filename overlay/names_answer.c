/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records that a name is answered with (what it means: names_target.c).
 *
 * Only ready replicas that the asker may reach are answered with, by the address that was found
 * ready: IPv4. Those of this node stand first, both parts take turns.
 *
 * A name that exists without an answer of the type gets none and the zone's SOA (RFC 2308), and so
 * does one above others (RFC 8020); one that does not exist NXDOMAIN and the SOA.
 */
#include <string.h>
#include "base/text.h"
#include "overlay/names_target.h"

struct reply {
	const struct names *n;
	const struct names_asker *asker;
	const struct dns_question *question;
	struct dns_write *w;
	unsigned turn;
};

/* ---- records ---- */

static void
put_address(struct reply *r, enum dns_section section, const struct dns_name *owner,
	    const struct addr *a, unsigned type)
{
	bool v4 = addr_is_v4(a);

	if (addr_is_zero(a) || type != (v4 ? DNS_TYPE_A : DNS_TYPE_AAAA))
		return;
	(void)dns_write_record(r->w, section, owner, (uint16_t)type, NAMES_TTL_S,
			       v4 ? a->ip + 12 : a->ip, v4 ? 4 : 16);
}

/* As asked: type ANY is answered with both. */
static void
put_addresses(struct reply *r, enum dns_section section, const struct dns_name *owner,
	      const struct addr *addr4, const struct addr *addr6, unsigned type)
{
	if (type == DNS_TYPE_A || type == DNS_TYPE_ANY)
		put_address(r, section, owner, addr4, DNS_TYPE_A);
	if (type == DNS_TYPE_AAAA || type == DNS_TYPE_ANY)
		put_address(r, section, owner, addr6, DNS_TYPE_AAAA);
}

/* Of a replica the address that its readiness was seen at: many programs listen on IPv4 alone, and
 * many clients try only the first address they get, which would be the other one. */
static void
put_ready(struct reply *r, enum dns_section section, const struct dns_name *owner,
	  const struct names_replica *p, unsigned type)
{
	static const struct addr none;

	put_addresses(r, section, owner, &p->addr4, addr_is_zero(&p->addr4) ? &p->addr6 : &none,
		      type);
}

static bool
is_up(const struct reply *r, const struct names_entry *e, const struct names_target *t)
{
	return e->replica.ready && e->replica.running &&
	       (t->kind != TARGET_REPLICA || e->replica.index == t->index) &&
	       names_target_reaches(r->n, r->asker, e);
}

static void
put_replica(struct reply *r, const struct names_entry *e, const struct names_target *t)
{
	char text[DNS_NAME_TEXT];
	struct dns_name target;
	uint16_t port = e->replica.ports[t->endpoint];

	if (t->kind != TARGET_ENDPOINT) {
		put_ready(r, DNS_ANSWER, &r->question->name, &e->replica, r->question->type);
		return;
	}
	text_format(text, sizeof(text), "%u.%s", e->replica.index, t->suffix);
	if (port && dns_name_parse(text, &target) &&
	    (r->question->type == DNS_TYPE_SRV || r->question->type == DNS_TYPE_ANY))
		(void)dns_write_srv(r->w, DNS_ANSWER, &r->question->name, NAMES_TTL_S, 0, 1, port,
				    &target);
}

/* So that no second question is needed; what does not fit is no loss. */
static void
put_targets(struct reply *r, const struct names_target *t)
{
	bool cut = r->w->cut;
	char text[DNS_NAME_TEXT];
	struct dns_name owner;

	for (uint32_t i = 0; i < t->service->count && !r->w->cut && r->w->counts[1] > 0; i++) {
		const struct names_entry *e = names_entry_at(r->n, t->service->first + i);

		text_format(text, sizeof(text), "%u.%s", e->replica.index, t->suffix);
		if (is_up(r, e, t) && e->replica.ports[t->endpoint] && dns_name_parse(text, &owner))
			put_ready(r, DNS_ADDITIONAL, &owner, &e->replica, DNS_TYPE_ANY);
	}
	r->w->cut = cut;
}

/* Those from `first` on, beginning with another one each time. */
static void
put_part(struct reply *r, const struct names_target *t, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count && !r->w->cut; i++) {
		const struct names_entry *e =
			names_entry_at(r->n, first + (r->turn % count + i) % count);

		if (is_up(r, e, t))
			put_replica(r, e, t);
	}
}

static void
put_service(struct reply *r, const struct names_target *t)
{
	const struct names_service *s = t->service;

	put_part(r, t, s->first, s->local);
	put_part(r, t, s->first + s->local, s->count - s->local);
	if (t->kind == TARGET_ENDPOINT)
		put_targets(r, t);
}

static void
put_guests(struct reply *r, const struct names_target *t)
{
	const struct names_guest *first = names_guest_at(r->n, t->guest);

	for (size_t i = t->guest; i < r->n->guests.count; i++) {
		const struct names_guest *g = names_guest_at(r->n, i);

		if (strcmp(g->network, first->network) != 0 || strcmp(g->name, first->name) != 0)
			break;
		put_addresses(r, DNS_ANSWER, &r->question->name, &g->addr4, &g->addr6,
			      r->question->type);
	}
}

static void
put_pointer(struct reply *r, const struct names_target *t)
{
	char text[DNS_NAME_TEXT];
	struct dns_name name;

	if (r->question->type != DNS_TYPE_PTR && r->question->type != DNS_TYPE_ANY)
		return;
	if (t->pointer) {
		const struct names_service *s = names_service_at(r->n, t->pointer->service);

		text_format(text, sizeof(text), "%u.%s.%s.zlayer.internal",
			    t->pointer->replica.index, s->name, s->deployment);
	} else if (t->visitor) {
		text_format(text, sizeof(text), "%s.%s.cni.zlayer.internal", t->visitor->name,
			    t->visitor->network);
	} else {
		text_format(text, sizeof(text), "%s.node.zlayer.internal", t->node->name);
	}
	if (dns_name_parse(text, &name))
		(void)dns_write_name(r->w, DNS_ANSWER, &r->question->name, DNS_TYPE_PTR,
				     NAMES_TTL_S, &name);
}

static void
put_soa(struct reply *r, const struct names_target *t, enum dns_section section)
{
	static const struct dns_name server = {.length = 21, .bytes = "\3dns\6zlayer\10internal"};
	static const struct dns_name mailbox = {.length = 28,
						.bytes = "\12hostmaster\6zlayer\10internal"};
	const struct dns_name *asked = &r->question->name;
	struct dns_name zone;
	size_t at = 0;

	for (size_t above = dns_name_labels(asked) - t->zone_labels; above > 0; above--)
		at += 1u + asked->bytes[at];
	zone.length = (uint8_t)(asked->length - at);
	memcpy(zone.bytes, asked->bytes + at, zone.length);
	(void)dns_write_soa(r->w, section, &zone, NAMES_TTL_S, &server, &mailbox, 1, NAMES_TTL_S);
}

static enum dns_rcode
put_target(struct reply *r, const struct names_target *t)
{
	switch (t->kind) {
	case TARGET_SERVICE:
	case TARGET_REPLICA:
	case TARGET_ENDPOINT:
		put_service(r, t);
		break;
	case TARGET_NODE:
		put_addresses(r, DNS_ANSWER, &r->question->name, &t->node->addr4, &t->node->addr6,
			      r->question->type);
		break;
	case TARGET_GUEST:
		put_guests(r, t);
		break;
	case TARGET_POINTER:
		put_pointer(r, t);
		break;
	case TARGET_EMPTY:
		if (r->question->type == DNS_TYPE_SOA &&
		    dns_name_labels(&r->question->name) == t->zone_labels)
			put_soa(r, t, DNS_ANSWER);
		break;
	case TARGET_NOWHERE:
		break;
	}
	if (r->w->counts[1] == 0 && !r->w->cut)
		put_soa(r, t, DNS_AUTHORITY);
	return t->kind == TARGET_NOWHERE ? DNS_NXDOMAIN : DNS_NOERROR;
}

enum names_answer
names_answer(const struct names *n, const struct addr *asker, unsigned turn,
	     const struct dns_question *question, struct dns_write *w, enum dns_rcode *rcode_out)
{
	const struct names_asker who = names_target_asker(n, asker);
	struct reply r = {.n = n, .asker = &who, .question = question, .w = w, .turn = turn};
	struct names_target t = {.kind = TARGET_NOWHERE};
	enum names_answer found = names_target_find(n, &who, &question->name, &t);

	if (found == NAMES_ANSWERED)
		*rcode_out = put_target(&r, &t);
	return found;
}
