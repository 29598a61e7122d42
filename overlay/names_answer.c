/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What names mean, and their answers.
 *
 *   web.service, web.global             ready replicas of web in the asker's deployment
 *   2.web.service, 2.web.global         its replica 2
 *   _http._tcp.web.service              SRV: port of the endpoint "http" of each ready replica
 *   web.shop.zlayer.internal            the same without regard to the asker
 *   2.web.shop.zlayer.internal, _http._tcp.web.shop.zlayer.internal
 *   edge-1.node.zlayer.internal         a node's own address in the overlay: this one, its peers
 *   2.0.200.10.in-addr.arpa, ...        2.web.shop.zlayer.internal, for the node's own prefixes;
 *                                       edge-1.node.zlayer.internal, for any node's own address
 *
 * Who asks is known by the source address. "service" is the network of a service's own replicas,
 * "global" that of all services of the deployment; a container has one address for both, so that
 * the two names of a service have the same answer. Only ready replicas are answered with, by the
 * address that was found ready: IPv4. A name
 * that exists without an answer of the type gets none and the zone's SOA (RFC 2308), one that does
 * not exist NXDOMAIN and the SOA. The zones "service", "global" and "zlayer.internal" are nobody
 * else's: a name in them is never forwarded.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "overlay/names_book.h"

enum { LABELS_MAX = 8 };

enum kind {
	NOWHERE, /* no such name */
	EMPTY,   /* a name above others, or a zone */
	SERVICE,
	REPLICA,
	ENDPOINT,
	NODE,
	POINTER,
};

struct target {
	enum kind kind;
	const char *zone;               /* whose SOA a negative answer has */
	char suffix[2 * MSG_NAME + 20]; /* what stands behind "N." in names of replicas */
	const struct names_service *service;
	const struct names_host *node;
	const struct names_entry *pointer;
	uint32_t index; /* of a replica */
	uint32_t endpoint;
};

struct labels {
	char text[LABELS_MAX][DNS_LABEL_MAX + 1];
	size_t count;
};

struct reply {
	const struct names *n;
	const struct dns_question *question;
	struct dns_write *w;
	unsigned turn;
};

/* ---- which name ---- */

/* False: too many labels, or bytes that no name of ours has. */
static bool
take_labels(const struct dns_name *name, struct labels *out)
{
	out->count = dns_name_labels(name);
	if (out->count > LABELS_MAX)
		return false;
	for (size_t i = 0; i < out->count; i++)
		if (!dns_name_label(name, i, out->text[i], sizeof(out->text[i])))
			return false;
	return true;
}

static bool
ends_with(const struct dns_name *name, const char *a, const char *b)
{
	size_t count = dns_name_labels(name);
	char label[DNS_LABEL_MAX + 1];

	return count >= (a ? 2 : 1) && dns_name_label(name, count - 1, label, sizeof(label)) &&
	       strcmp(label, b) == 0 &&
	       (!a ||
		(dns_name_label(name, count - 2, label, sizeof(label)) && strcmp(label, a) == 0));
}

static const struct names_service *
find_service(const struct names *n, const char *deployment, const char *name)
{
	size_t i = names_lower(n, deployment, name);
	const struct names_service *s = i < n->services.count ? names_service_at(n, i) : NULL;

	return s && strcmp(s->deployment, deployment) == 0 && strcmp(s->name, name) == 0 ? s : NULL;
}

static bool
has_deployment(const struct names *n, const char *deployment)
{
	size_t i = names_lower(n, deployment, "");

	return i < n->services.count && strcmp(names_service_at(n, i)->deployment, deployment) == 0;
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
protocol_of(const char *label)
{
	return strcmp(label, "_tcp") == 0   ? IPPROTO_TCP
	       : strcmp(label, "_udp") == 0 ? IPPROTO_UDP
					    : 0;
}

static bool
find_endpoint(const struct names_service *s, const char *label, uint32_t protocol, uint32_t *out)
{
	for (uint32_t i = 0; i < s->endpoints_count; i++) {
		if (label[0] == '_' && strcmp(label + 1, s->endpoints[i].name) == 0 &&
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
	protocol = protocol_of(l->text[count - 1]);
	if (count == 1 && protocol) {
		for (uint32_t i = 0; i < t->service->endpoints_count; i++)
			if (t->service->endpoints[i].protocol == protocol)
				return EMPTY;
		return NOWHERE;
	}
	if (count == 1 && take_index(l->text[0], &t->index) && has_index(n, t->service, t->index))
		return REPLICA;
	if (count == 2 && protocol && find_endpoint(t->service, l->text[0], protocol, &t->endpoint))
		return ENDPOINT;
	return NOWHERE;
}

/* [...] service deployment zlayer internal */
static void
find_absolute(const struct names *n, const struct labels *l, struct target *t)
{
	size_t count = l->count - 2;
	const char *deployment = count > 0 ? l->text[count - 1] : "";

	t->zone = "zlayer.internal";
	if (count == 0) {
		t->kind = EMPTY;
	} else if (strcmp(deployment, "node") == 0) {
		t->kind = count == 1 ? EMPTY : NOWHERE;
		for (size_t i = 0; count == 2 && !t->node && i < n->nodes.count; i++) {
			if (strcmp(names_host_at(n, i)->name, l->text[0]) != 0)
				continue;
			t->node = names_host_at(n, i);
			t->kind = NODE;
		}
	} else if (count == 1) {
		t->kind = has_deployment(n, deployment) ? EMPTY : NOWHERE;
	} else {
		t->service = find_service(n, deployment, l->text[count - 2]);
		text_format(t->suffix, sizeof(t->suffix), "%s.%s.zlayer.internal",
			    l->text[count - 2], deployment);
		t->kind = t->service ? of_service(n, l, count - 2, t) : NOWHERE;
	}
}

/* [...] service "global" */
static void
find_relative(const struct names *n, const struct labels *l, const char *deployment,
	      struct target *t)
{
	size_t count = l->count - 1;

	if (count == 0) {
		t->kind = EMPTY;
		return;
	}
	t->service = find_service(n, deployment, l->text[count - 1]);
	text_format(t->suffix, sizeof(t->suffix), "%s.%s", l->text[count - 1], t->zone);
	t->kind = t->service ? of_service(n, l, count - 1, t) : NOWHERE;
}

/* ---- addresses as names ---- */

static bool
arpa4(const struct dns_name *name, struct addr *out)
{
	uint8_t ip[4];
	char label[DNS_LABEL_MAX + 1];

	for (size_t i = 0; i < 4; i++) {
		uint64_t v;

		if (!dns_name_label(name, i, label, sizeof(label)) || !text_u64(label, 255, &v))
			return false;
		ip[3 - i] = (uint8_t)v;
	}
	uint32_t be;
	memcpy(&be, ip, sizeof(be));
	addr_from_v4_be(be, 0, out);
	return true;
}

static bool
arpa6(const struct dns_name *name, struct addr *out)
{
	char label[DNS_LABEL_MAX + 1];

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < 32; i++) {
		if (!dns_name_label(name, i, label, sizeof(label)) || label[1] != '\0')
			return false;
		const char *digits = "0123456789abcdef", *d = strchr(digits, label[0]);
		if (!d)
			return false;
		out->ip[15 - i / 2] |= (uint8_t)((d - digits) << (i % 2 * 4));
	}
	return true;
}

static const struct names_host *
node_of(const struct names *n, const struct addr *at)
{
	for (size_t i = 0; i < n->nodes.count && !addr_is_zero(at); i++)
		if (addr_equal_ip(&names_host_at(n, i)->addr4, at) ||
		    addr_equal_ip(&names_host_at(n, i)->addr6, at))
			return names_host_at(n, i);
	return NULL;
}

/* Whose address it is, when it is a node's or in one of this node's prefixes. */
static bool
find_pointer(const struct names *n, const struct dns_name *name, struct target *t)
{
	size_t count = dns_name_labels(name);
	const struct addr_prefix *ours;
	struct addr at;

	if (count == 6 && ends_with(name, "in-addr", "arpa") && arpa4(name, &at)) {
		t->zone = "in-addr.arpa";
		ours = &n->v4;
	} else if (count == 34 && ends_with(name, "ip6", "arpa") && arpa6(name, &at)) {
		t->zone = "ip6.arpa";
		ours = &n->v6;
	} else {
		return false;
	}
	t->pointer = names_entry_of(n, &at);
	t->node = t->pointer ? NULL : node_of(n, &at);
	if (!t->node && !(ours->bits > 0 && addr_in_prefix(&at, ours)))
		return false;
	t->kind = t->pointer || t->node ? POINTER : NOWHERE;
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
is_up(const struct names_entry *e, const struct target *t)
{
	return e->replica.ready && e->replica.running &&
	       (t->kind != REPLICA || e->replica.index == t->index);
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
		if (is_up(e, t) && e->replica.ports[t->endpoint] && dns_name_parse(text, &owner))
			put_ready(r, DNS_ADDITIONAL, &owner, &e->replica, DNS_TYPE_ANY);
	}
	r->w->cut = cut;
}

static void
put_service(struct reply *r, const struct target *t)
{
	const struct names_service *s = t->service;

	for (uint32_t i = 0; i < s->count && !r->w->cut; i++) {
		const struct names_entry *e =
			names_entry_at(r->n, s->first + (r->turn % s->count + i) % s->count);

		if (is_up(e, t))
			put_replica(r, e, t);
	}
	if (t->kind == ENDPOINT)
		put_targets(r, t);
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
	struct dns_name zone, server, mailbox;

	if (dns_name_parse(t->zone, &zone) && dns_name_parse("dns.zlayer.internal", &server) &&
	    dns_name_parse("hostmaster.zlayer.internal", &mailbox))
		(void)dns_write_soa(r->w, section, &zone, NAMES_TTL_S, &server, &mailbox, 1,
				    NAMES_TTL_S);
}

static enum dns_rcode
put_target(struct reply *r, const struct target *t)
{
	struct dns_name zone;

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
	case POINTER:
		put_pointer(r, t);
		break;
	case EMPTY:
		if (r->question->type == DNS_TYPE_SOA && dns_name_parse(t->zone, &zone) &&
		    dns_name_equal(&zone, &r->question->name))
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
	struct reply r = {.n = n, .question = question, .w = w, .turn = turn};
	const struct dns_name *name = &question->name;
	struct target t = {.kind = NOWHERE};
	struct labels l;

	t.zone = ends_with(name, NULL, "service")  ? "service"
		 : ends_with(name, NULL, "global") ? "global"
						   : NULL;
	if (t.zone) {
		const struct names_entry *e = names_entry_of(n, asker);

		if (!e)
			return NAMES_REFUSED;
		if (take_labels(name, &l))
			find_relative(n, &l, names_service_at(n, e->service)->deployment, &t);
	} else if (ends_with(name, "zlayer", "internal")) {
		t.zone = "zlayer.internal";
		if (take_labels(name, &l))
			find_absolute(n, &l, &t);
	} else if (!find_pointer(n, name, &t)) {
		return NAMES_FOREIGN;
	}
	*rcode_out = put_target(&r, &t);
	return NAMES_ANSWERED;
}
