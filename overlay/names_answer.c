/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What names mean, and their answers.
 *
 *   web.service, web.global             ready replicas of web in the asker's deployment
 *   2.web.service, 2.web.global         its replica 2
 *   _http._tcp.web.service              SRV: port of the endpoint "http" of each ready replica
 *   web.shop.zlayer.internal            the same without regard to the asker
 *   2.web.shop.zlayer.internal, _http._tcp.web.shop.zlayer.internal
 *   db.pods.cni.zlayer.internal         a container of others on this node, in its network pods
 *   edge-1.node.zlayer.internal         a node's own address in the overlay: this one, its peers
 *   2.0.200.10.in-addr.arpa, ...        2.web.shop.zlayer.internal; edge-1.node.zlayer.internal for
 *                                       a node's own address
 *
 * Who asks is known by the source address. "service" is the network of a service's own replicas,
 * "global" that of all services of the deployment; a container has one address for both, so that
 * the two names of a service have the same answer. A name is there only if that network of the
 * service is on, and the asker may reach it by any way; what the asker may not reach is answered as
 * what does not exist. Containers of others ask as what they are, of their network; an asker that
 * is no container finds all.
 * Only ready replicas that the asker may reach are answered with, by the address that was found
 * ready: IPv4. Those of this node stand first, both parts take turns.
 *
 * A name that exists without an answer of the type gets none and the zone's SOA (RFC 2308), and so
 * does one above others (RFC 8020); one that does not exist NXDOMAIN and the SOA. The zones
 * "service", "global", "zlayer.internal" and those of the nodes' prefixes (RFC 6303) are nobody
 * else's: a name in them is never forwarded.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "overlay/names_book.h"

enum { LABELS_MAX = 128, ARPA4_LABELS = 6, ARPA6_LABELS = 34 };

enum kind {
	NOWHERE, /* no such name */
	EMPTY,   /* a name above others, or a zone */
	SERVICE,
	REPLICA,
	ENDPOINT,
	NODE,
	GUEST,
	POINTER,
};

struct target {
	enum kind kind;
	size_t zone_labels; /* of the question's name: whose SOA a negative answer has */
	char suffix[2 * MSG_NAME + 20]; /* of an ENDPOINT: what stands behind "N." in its targets */
	const struct names_service *service;
	const struct names_host *node;
	size_t guest; /* the first of its name */
	const struct names_entry *pointer;
	uint32_t index; /* of a replica */
	uint32_t endpoint;
};

/* A name's labels in lower case, each ended by a NUL; one that holds a NUL is none of ours and is
 * an empty text. */
struct labels {
	char text[DNS_NAME_MAX + 1];
	uint8_t at[LABELS_MAX];
	size_t count;
};

struct asker {
	bool known; /* a container, ours or of others */
	struct identity who;
	const struct names_entry *entry; /* NULL: no replica */
};

struct reply {
	const struct names *n;
	const struct asker *asker;
	const struct dns_question *question;
	struct dns_write *w;
	unsigned turn;
};

/* ---- who may know of whom ---- */

static struct identity
identity_of(const struct names *n, const struct names_entry *e)
{
	const struct names_service *s = names_service_at(n, e->service);
	uint32_t own = e->replica.overlays;

	return (struct identity){s->deployment_id, s->id,
				 own & MSG_IDENTITY_SAID ? own : s->overlays};
}

static struct asker
asker_of(const struct names *n, const struct addr *from)
{
	const struct names_entry *e = names_entry_of(n, from);
	const struct names_visitor *v = e ? NULL : names_visitor_of(n, from);
	struct asker asker = {.known = e || v, .entry = e};

	if (asker.known)
		asker.who = e ? identity_of(n, e) : v->who;
	return asker;
}

static bool
reaches_service(const struct asker *asker, const struct names_service *s)
{
	const struct identity there = {s->deployment_id, s->id, s->overlays};

	return !asker->known || identity_reaches(&asker->who, &there);
}

static bool
reaches_guest(const struct asker *asker, const struct names_guest *g)
{
	return !asker->known || identity_reaches(&asker->who, &g->who);
}

static bool
reaches(const struct names *n, const struct asker *asker, const struct names_entry *e)
{
	const struct identity there = identity_of(n, e);

	return !asker->known || asker->entry == e || identity_reaches(&asker->who, &there);
}

/* ---- which name ---- */

/* out: zero. */
static void
take_labels(const struct dns_name *name, struct labels *out)
{
	size_t at = 0;

	while (name->bytes[at] != 0) {
		size_t n = name->bytes[at++];
		bool holds = true;

		for (size_t i = at; i < at + n; i++) {
			uint8_t c = name->bytes[i];

			out->text[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
			holds &= c != 0;
		}
		out->at[out->count++] = (uint8_t)(holds ? at : DNS_NAME_MAX);
		at += n;
		out->text[at] = '\0';
	}
}

static const char *
label(const struct labels *l, size_t i)
{
	return l->text + l->at[i];
}

/* Whether it ends with "a.b", or with "b" when a is NULL. */
static bool
ends_with(const struct labels *l, const char *a, const char *b)
{
	return l->count >= (a ? 2 : 1) && strcmp(label(l, l->count - 1), b) == 0 &&
	       (!a || strcmp(label(l, l->count - 2), a) == 0);
}

static const struct names_service *
find_service(const struct names *n, const char *deployment, const char *name)
{
	size_t i = names_lower(n, deployment, name);
	const struct names_service *s = i < n->services.count ? names_service_at(n, i) : NULL;

	return s && strcmp(s->deployment, deployment) == 0 && strcmp(s->name, name) == 0 ? s : NULL;
}

/* Another one than the asker's that the asker may reach nothing of is none. */
static bool
has_deployment(const struct names *n, const struct asker *asker, const char *deployment)
{
	for (size_t i = names_lower(n, deployment, ""); i < n->services.count; i++) {
		const struct names_service *s = names_service_at(n, i);

		if (strcmp(s->deployment, deployment) != 0)
			return false;
		if (s->deployment_id == asker->who.deployment || reaches_service(asker, s))
			return true;
	}
	return false;
}

static bool
has_index(const struct names *n, const struct names_service *s, uint32_t index)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (names_entry_at(n, s->first + i)->replica.index == index)
			return true;
	return false;
}

/* "2", without zeros in front. */
static bool
take_index(const char *text, uint32_t *out)
{
	uint64_t v;

	if (text[0] == '0' || !text_u64(text, UINT32_MAX, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

static uint32_t
protocol_of(const char *text)
{
	return strcmp(text, "_tcp") == 0   ? IPPROTO_TCP
	       : strcmp(text, "_udp") == 0 ? IPPROTO_UDP
					   : 0;
}

static bool
find_endpoint(const struct names_service *s, const char *text, uint32_t protocol, uint32_t *out)
{
	for (uint32_t i = 0; i < s->endpoints_count; i++) {
		if (text[0] == '_' && strcmp(text + 1, s->endpoints[i].name) == 0 &&
		    s->endpoints[i].protocol == protocol) {
			*out = i;
			return true;
		}
	}
	return false;
}

/* What stands before a service's name: nothing, "2", "_tcp" or "_http._tcp". */
static enum kind
of_service(const struct names *n, const struct labels *l, size_t count, struct target *t)
{
	uint32_t protocol;

	if (count == 0)
		return SERVICE;
	protocol = protocol_of(label(l, count - 1));
	if (count == 1 && protocol) {
		for (uint32_t i = 0; i < t->service->endpoints_count; i++)
			if (t->service->endpoints[i].protocol == protocol)
				return EMPTY;
		return NOWHERE;
	}
	if (count == 1 && take_index(label(l, 0), &t->index) && has_index(n, t->service, t->index))
		return REPLICA;
	if (count == 2 && protocol &&
	    find_endpoint(t->service, label(l, 0), protocol, &t->endpoint))
		return ENDPOINT;
	return NOWHERE;
}

/* Whether there is a network of this name that the asker may reach; NULL: any. */
static bool
has_network(const struct names *n, const struct asker *asker, const char *network)
{
	for (size_t i = network ? names_guest_lower(n, network, "") : 0; i < n->guests.count; i++) {
		const struct names_guest *g = names_guest_at(n, i);

		if (network && strcmp(g->network, network) != 0)
			return false;
		if (reaches_guest(asker, g))
			return true;
	}
	return false;
}

/* [[name] network] "cni" zlayer internal: a deployment of that name has what is no network. */
static bool
find_guest(const struct names *n, const struct asker *asker, const struct labels *l, size_t count,
	   struct target *t)
{
	const char *network = count > 1 ? label(l, count - 2) : NULL;

	if (count > 3 || !has_network(n, asker, network))
		return false;
	t->kind = EMPTY;
	if (count < 3)
		return true;
	t->guest = names_guest_lower(n, network, label(l, 0));
	t->kind = t->guest < n->guests.count &&
				  strcmp(names_guest_at(n, t->guest)->network, network) == 0 &&
				  strcmp(names_guest_at(n, t->guest)->name, label(l, 0)) == 0
			  ? GUEST
			  : NOWHERE;
	return true;
}

/* [...] service deployment zlayer internal */
static void
find_absolute(const struct names *n, const struct asker *asker, const struct labels *l,
	      struct target *t)
{
	size_t count = l->count - 2;
	const char *deployment = count > 0 ? label(l, count - 1) : "";

	t->zone_labels = 2;
	if (count == 0) {
		t->kind = EMPTY;
	} else if (strcmp(deployment, "node") == 0) {
		t->node = count == 2 ? names_host_find(n, label(l, 0)) : NULL;
		t->kind = count == 1 ? EMPTY : t->node ? NODE : NOWHERE;
	} else if (strcmp(deployment, "cni") == 0 && find_guest(n, asker, l, count, t)) {
		return;
	} else if (count == 1) {
		t->kind = has_deployment(n, asker, deployment) ? EMPTY : NOWHERE;
	} else {
		t->service = find_service(n, deployment, label(l, count - 2));
		if (t->service && !reaches_service(asker, t->service))
			t->service = NULL;
		t->kind = t->service ? of_service(n, l, count - 2, t) : NOWHERE;
		if (t->kind == ENDPOINT)
			text_format(t->suffix, sizeof(t->suffix), "%s.%s.zlayer.internal",
				    t->service->name, deployment);
	}
}

/* [...] service "global" */
static void
find_relative(const struct names *n, const struct asker *asker, const struct labels *l,
	      struct target *t)
{
	const char *deployment = names_service_at(n, asker->entry->service)->deployment;
	size_t count = l->count - 1;
	uint32_t network = strcmp(label(l, count), "global") == 0 ? MSG_IDENTITY_GLOBAL_ON
								  : MSG_IDENTITY_SERVICE_ON;

	t->zone_labels = 1;
	if (count == 0) {
		t->kind = EMPTY;
		return;
	}
	t->service = find_service(n, deployment, label(l, count - 1));
	if (t->service &&
	    (!(t->service->overlays & network) || !reaches_service(asker, t->service)))
		t->service = NULL;
	t->kind = t->service ? of_service(n, l, count - 1, t) : NOWHERE;
	if (t->kind == ENDPOINT)
		text_format(t->suffix, sizeof(t->suffix), "%s.%s", t->service->name,
			    label(l, count));
}

/* ---- addresses as names ---- */

/* The digits of an address from the right end of a name, as many as hold: the prefix that they are
 * of. Gives the number of labels that were read. */
static size_t
arpa4(const struct labels *l, struct addr_prefix *out)
{
	uint8_t ip[4] = {0};
	size_t got = 0;
	uint32_t be;

	for (; got < 4 && got + 2 < l->count; got++) {
		const char *text = label(l, l->count - 3 - got);
		uint64_t v;

		if ((text[0] == '0' && text[1] != '\0') || !text_u64(text, 255, &v))
			break;
		ip[got] = (uint8_t)v;
	}
	memcpy(&be, ip, sizeof(be));
	addr_from_v4_be(be, 0, &out->base);
	out->bits = (uint8_t)(96 + 8 * got);
	return got + 2;
}

static size_t
arpa6(const struct labels *l, struct addr_prefix *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t got = 0;

	for (; got < 32 && got + 2 < l->count; got++) {
		const char *text = label(l, l->count - 3 - got);
		const char *d = text[0] != '\0' && text[1] == '\0' ? strchr(digits, text[0]) : NULL;

		if (!d)
			break;
		out->base.ip[got / 2] |= (uint8_t)((d - digits) << (got % 2 ? 0 : 4));
	}
	out->bits = (uint8_t)(4 * got);
	return got + 2;
}

/* Whose address it is, when it is in one of the nodes' prefixes or a node's. */
static bool
find_pointer(const struct names *n, const struct asker *asker, const struct labels *l,
	     struct target *t)
{
	struct addr_prefix at = {0};
	bool v4 = ends_with(l, "in-addr", "arpa");
	size_t whole = v4 ? ARPA4_LABELS : ARPA6_LABELS;

	if (!v4 && !ends_with(l, "ip6", "arpa"))
		return false;
	size_t got = v4 ? arpa4(l, &at) : arpa6(l, &at);
	if (addr_is_v4(&at.base) != v4)
		return false;
	const struct addr_prefix *ours = names_prefix_of(n, &at.base);
	bool full = got == whole && l->count == whole;
	t->pointer = full ? names_entry_of(n, &at.base) : NULL;
	t->node = full && !t->pointer ? names_host_of(n, &at.base) : NULL;
	if (t->pointer && !reaches(n, asker, t->pointer))
		t->pointer = NULL;
	if (ours && at.bits >= ours->bits)
		t->zone_labels = 2 + (v4 ? (ours->bits - 96u) / 8 : ours->bits / 4u);
	else if (t->node)
		t->zone_labels = whole;
	else
		return false;
	t->kind = t->pointer || t->node ? POINTER
		  : l->count == t->zone_labels ||
				  (got == l->count && got < whole && names_any_in(n, &at))
			  ? EMPTY
			  : NOWHERE;
	return true;
}

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
is_up(const struct reply *r, const struct names_entry *e, const struct target *t)
{
	return e->replica.ready && e->replica.running &&
	       (t->kind != REPLICA || e->replica.index == t->index) && reaches(r->n, r->asker, e);
}

static void
put_replica(struct reply *r, const struct names_entry *e, const struct target *t)
{
	char text[DNS_NAME_TEXT];
	struct dns_name target;
	uint16_t port = e->replica.ports[t->endpoint];

	if (t->kind != ENDPOINT) {
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
put_targets(struct reply *r, const struct target *t)
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
put_part(struct reply *r, const struct target *t, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count && !r->w->cut; i++) {
		const struct names_entry *e =
			names_entry_at(r->n, first + (r->turn % count + i) % count);

		if (is_up(r, e, t))
			put_replica(r, e, t);
	}
}

static void
put_service(struct reply *r, const struct target *t)
{
	const struct names_service *s = t->service;

	put_part(r, t, s->first, s->local);
	put_part(r, t, s->first + s->local, s->count - s->local);
	if (t->kind == ENDPOINT)
		put_targets(r, t);
}

static void
put_guests(struct reply *r, const struct target *t)
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
put_pointer(struct reply *r, const struct target *t)
{
	char text[DNS_NAME_TEXT];
	struct dns_name name;

	if (r->question->type != DNS_TYPE_PTR && r->question->type != DNS_TYPE_ANY)
		return;
	if (t->pointer) {
		const struct names_service *s = names_service_at(r->n, t->pointer->service);

		text_format(text, sizeof(text), "%u.%s.%s.zlayer.internal",
			    t->pointer->replica.index, s->name, s->deployment);
	} else {
		text_format(text, sizeof(text), "%s.node.zlayer.internal", t->node->name);
	}
	if (dns_name_parse(text, &name))
		(void)dns_write_name(r->w, DNS_ANSWER, &r->question->name, DNS_TYPE_PTR,
				     NAMES_TTL_S, &name);
}

static void
put_soa(struct reply *r, const struct target *t, enum dns_section section)
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
put_target(struct reply *r, const struct target *t)
{
	switch (t->kind) {
	case SERVICE:
	case REPLICA:
	case ENDPOINT:
		put_service(r, t);
		break;
	case NODE:
		put_addresses(r, DNS_ANSWER, &r->question->name, &t->node->addr4, &t->node->addr6,
			      r->question->type);
		break;
	case GUEST:
		put_guests(r, t);
		break;
	case POINTER:
		put_pointer(r, t);
		break;
	case EMPTY:
		if (r->question->type == DNS_TYPE_SOA &&
		    dns_name_labels(&r->question->name) == t->zone_labels)
			put_soa(r, t, DNS_ANSWER);
		break;
	case NOWHERE:
		break;
	}
	if (r->w->counts[1] == 0 && !r->w->cut)
		put_soa(r, t, DNS_AUTHORITY);
	return t->kind == NOWHERE ? DNS_NXDOMAIN : DNS_NOERROR;
}

enum names_answer
names_answer(const struct names *n, const struct addr *asker, unsigned turn,
	     const struct dns_question *question, struct dns_write *w, enum dns_rcode *rcode_out)
{
	const struct asker who = asker_of(n, asker);
	struct reply r = {.n = n, .asker = &who, .question = question, .w = w, .turn = turn};
	struct target t = {.kind = NOWHERE};
	struct labels l = {0};

	take_labels(&question->name, &l);
	if (ends_with(&l, NULL, "service") || ends_with(&l, NULL, "global")) {
		if (!who.entry)
			return NAMES_REFUSED;
		find_relative(n, &who, &l, &t);
	} else if (ends_with(&l, "zlayer", "internal")) {
		find_absolute(n, &who, &l, &t);
	} else if (!find_pointer(n, &who, &l, &t)) {
		return NAMES_FOREIGN;
	}
	*rcode_out = put_target(&r, &t);
	return NAMES_ANSWERED;
}
