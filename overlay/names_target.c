/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What names mean.
 *
 *   web.service, web.global             ready replicas of web in the asker's deployment
 *   2.web.service, 2.web.global         its replica 2
 *   _http._tcp.web.service              SRV: port of the endpoint "http" of each ready replica
 *   web.shop.zlayer.internal            the same without regard to the asker
 *   2.web.shop.zlayer.internal, _http._tcp.web.shop.zlayer.internal
 *   db.pods.cni.zlayer.internal         a container of others, in its network pods
 *   edge-1.node.zlayer.internal         a node's own address in the overlay: this one, its peers
 *   2.0.200.10.in-addr.arpa, ...        2.web.shop.zlayer.internal; db.pods.cni.zlayer.internal;
 *                                       edge-1.node.zlayer.internal for a node's own address
 *
 * Who asks is known by the source address. "service" is the network of a service's own replicas,
 * "global" that of all services of the deployment; a container has one address for both, so that
 * the two names of a service have the same answer. A name is there only if that network of the
 * service is on, and the asker may reach it by any way; what the asker may not reach is answered as
 * what does not exist. Containers of others ask as what they are, of their network; an asker that
 * is no container finds all.
 *
 * The zones "service", "global", "zlayer.internal" and those of the nodes' prefixes (RFC 6303) are
 * nobody else's: a name in them is never forwarded.
 */
#include "overlay/names_target.h"

#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { LABELS_MAX = 128, ARPA4_LABELS = 6, ARPA6_LABELS = 34 };

/* A name's labels in lower case, each ended by a NUL; one that holds a NUL is none of ours and is
 * an empty text. */
struct labels {
	char text[DNS_NAME_MAX + 1];
	uint8_t at[LABELS_MAX];
	size_t count;
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

struct names_asker
names_target_asker(const struct names *n, const struct addr *from)
{
	const struct names_entry *e = names_entry_of(n, from);
	const struct names_visitor *v = e ? NULL : names_visitor_of(n, from);
	struct names_asker asker = {.known = e || v, .entry = e};

	if (asker.known)
		asker.who = e ? identity_of(n, e) : v->who;
	return asker;
}

static bool
reaches_service(const struct names_asker *asker, const struct names_service *s)
{
	const struct identity there = {s->deployment_id, s->id, s->overlays};

	return !asker->known || identity_reaches(&asker->who, &there);
}

static bool
reaches_guest(const struct names_asker *asker, const struct names_guest *g)
{
	return !asker->known || identity_reaches(&asker->who, &g->who);
}

bool
names_target_reaches(const struct names *n, const struct names_asker *asker,
		     const struct names_entry *e)
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
has_deployment(const struct names *n, const struct names_asker *asker, const char *deployment)
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
static enum names_kind
of_service(const struct names *n, const struct labels *l, size_t count, struct names_target *t)
{
	uint32_t protocol;

	if (count == 0)
		return TARGET_SERVICE;
	protocol = protocol_of(label(l, count - 1));
	if (count == 1 && protocol) {
		for (uint32_t i = 0; i < t->service->endpoints_count; i++)
			if (t->service->endpoints[i].protocol == protocol)
				return TARGET_EMPTY;
		return TARGET_NOWHERE;
	}
	if (count == 1 && take_index(label(l, 0), &t->index) && has_index(n, t->service, t->index))
		return TARGET_REPLICA;
	if (count == 2 && protocol &&
	    find_endpoint(t->service, label(l, 0), protocol, &t->endpoint))
		return TARGET_ENDPOINT;
	return TARGET_NOWHERE;
}

/* Whether there is a network of this name that the asker may reach; NULL: any. */
static bool
has_network(const struct names *n, const struct names_asker *asker, const char *network)
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
find_guest(const struct names *n, const struct names_asker *asker, const struct labels *l,
	   size_t count, struct names_target *t)
{
	const char *network = count > 1 ? label(l, count - 2) : NULL;

	if (count > 3 || !has_network(n, asker, network))
		return false;
	t->kind = TARGET_EMPTY;
	if (count < 3)
		return true;
	t->guest = names_guest_lower(n, network, label(l, 0));
	t->kind = t->guest < n->guests.count &&
				  strcmp(names_guest_at(n, t->guest)->network, network) == 0 &&
				  strcmp(names_guest_at(n, t->guest)->name, label(l, 0)) == 0
			  ? TARGET_GUEST
			  : TARGET_NOWHERE;
	return true;
}

/* [...] service deployment zlayer internal */
static void
find_absolute(const struct names *n, const struct names_asker *asker, const struct labels *l,
	      struct names_target *t)
{
	size_t count = l->count - 2;
	const char *deployment = count > 0 ? label(l, count - 1) : "";

	t->zone_labels = 2;
	if (count == 0) {
		t->kind = TARGET_EMPTY;
	} else if (strcmp(deployment, "node") == 0) {
		t->node = count == 2 ? names_host_find(n, label(l, 0)) : NULL;
		t->kind = count == 1 ? TARGET_EMPTY : t->node ? TARGET_NODE : TARGET_NOWHERE;
	} else if (strcmp(deployment, "cni") == 0 && find_guest(n, asker, l, count, t)) {
		return;
	} else if (count == 1) {
		t->kind = has_deployment(n, asker, deployment) ? TARGET_EMPTY : TARGET_NOWHERE;
	} else {
		t->service = find_service(n, deployment, label(l, count - 2));
		if (t->service && !reaches_service(asker, t->service))
			t->service = NULL;
		t->kind = t->service ? of_service(n, l, count - 2, t) : TARGET_NOWHERE;
		if (t->kind == TARGET_ENDPOINT)
			text_format(t->suffix, sizeof(t->suffix), "%s.%s.zlayer.internal",
				    t->service->name, deployment);
	}
}

/* [...] service "global" */
static void
find_relative(const struct names *n, const struct names_asker *asker, const struct labels *l,
	      struct names_target *t)
{
	const char *deployment = names_service_at(n, asker->entry->service)->deployment;
	size_t count = l->count - 1;
	uint32_t network = strcmp(label(l, count), "global") == 0 ? MSG_IDENTITY_GLOBAL_ON
								  : MSG_IDENTITY_SERVICE_ON;

	t->zone_labels = 1;
	if (count == 0) {
		t->kind = TARGET_EMPTY;
		return;
	}
	t->service = find_service(n, deployment, label(l, count - 1));
	if (t->service &&
	    (!(t->service->overlays & network) || !reaches_service(asker, t->service)))
		t->service = NULL;
	t->kind = t->service ? of_service(n, l, count - 1, t) : TARGET_NOWHERE;
	if (t->kind == TARGET_ENDPOINT)
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
find_pointer(const struct names *n, const struct names_asker *asker, const struct labels *l,
	     struct names_target *t)
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
	t->visitor = full && !t->pointer ? names_guest_of(n, &at.base) : NULL;
	t->node = full && !t->pointer && !t->visitor ? names_host_of(n, &at.base) : NULL;
	if (t->pointer && !names_target_reaches(n, asker, t->pointer))
		t->pointer = NULL;
	if (t->visitor && !reaches_guest(asker, t->visitor))
		t->visitor = NULL;
	if (ours && at.bits >= ours->bits)
		t->zone_labels = 2 + (v4 ? (ours->bits - 96u) / 8 : ours->bits / 4u);
	else if (t->node)
		t->zone_labels = whole;
	else
		return false;
	t->kind = t->pointer || t->visitor || t->node ? TARGET_POINTER
		  : l->count == t->zone_labels ||
				  (got == l->count && got < whole && names_any_in(n, &at))
			  ? TARGET_EMPTY
			  : TARGET_NOWHERE;
	return true;
}

enum names_answer
names_target_find(const struct names *n, const struct names_asker *asker,
		  const struct dns_name *name, struct names_target *out)
{
	struct labels l = {0};

	take_labels(name, &l);
	if (ends_with(&l, NULL, "service") || ends_with(&l, NULL, "global")) {
		if (!asker->entry)
			return NAMES_REFUSED;
		find_relative(n, asker, &l, out);
	} else if (ends_with(&l, "zlayer", "internal")) {
		find_absolute(n, asker, &l, out);
	} else if (!find_pointer(n, asker, &l, out)) {
		return NAMES_FOREIGN;
	}
	return NAMES_ANSWERED;
}
