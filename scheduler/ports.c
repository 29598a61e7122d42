/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conflicts of public ports between deployments, and with the node. Within one document they were
 * found when it was read (spec/doc_edge.c). The node's listeners are taken from its table, where a
 * port 0 of the configuration has its number, and from the configuration for those that are not up.
 */
#include "scheduler/ports.h"

#include "base/text.h"

bool
ports_is_stream(const struct doc_endpoint *e)
{
	return e->protocol == DOC_PROTOCOL_TCP || e->protocol == DOC_PROTOCOL_UDP;
}

static bool
is_public(const struct doc_endpoint *e)
{
	return ports_is_stream(e) && e->expose == DOC_EXPOSE_PUBLIC;
}

size_t
ports_count(const struct doc *doc)
{
	struct doc_endpoint_iter it = {0};
	size_t count = 0;

	while (doc_endpoint_next(doc, &it))
		count += is_public(it.endpoint);
	return count;
}

int
ports_compare(const struct doc *mine, const struct doc *theirs, struct err *err)
{
	struct doc_endpoint_iter a = {0};

	while (doc_endpoint_next(mine, &a)) {
		struct doc_endpoint_iter b = {0};

		while (is_public(a.endpoint) && doc_endpoint_next(theirs, &b)) {
			if (!is_public(b.endpoint) ||
			    a.endpoint->protocol != b.endpoint->protocol ||
			    a.endpoint->port != b.endpoint->port)
				continue;
			err_set(err, ERR_CONFLICT, "%s port %u is served by deployment %s already",
				doc_protocol_name(a.endpoint->protocol), a.endpoint->port,
				theirs->deployment);
			err_why(err, "endpoint \"%s\" of %s, and endpoint \"%s\" of %s/%s",
				a.endpoint->name, mine->deployment, b.endpoint->name,
				theirs->deployment, b.service ? b.service->name : "?");
			return err_fix(err, "give one of them another port, or: zlayer rm %s",
				       theirs->deployment);
		}
	}
	return 0;
}

/* ---- the node's own ---- */

struct own_port {
	const struct doc_endpoint *e;
	const char *owner; /* found: listen.X */
	char name[32];
};

static void
look_at(struct own_port *p, const char *name, const struct addr *addr)
{
	if (!p->owner && addr->port && addr->port == p->e->port)
		p->owner = name;
}

static void
look_at_config(struct own_port *p, const struct config_listeners *c)
{
	const struct {
		const char *name;
		const struct config_listen *listen;
		bool tcp, udp;
	} others[] = {
		{"api", &c->api, true, false},      {"metrics", &c->metrics, true, false},
		{"gossip", &c->gossip, true, true}, {"overlay", &c->overlay, false, true},
		{"vxlan", &c->vxlan, false, true},  {"store", &c->store, true, false},
	};
	bool udp = p->e->protocol == DOC_PROTOCOL_UDP;

	for (uint32_t i = 0; i < c->http_count && !udp; i++)
		look_at(p, "http", &c->http[i]);
	for (uint32_t i = 0; i < c->https_count && !udp; i++)
		look_at(p, "https", &c->https[i]);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (others[i].listen->on && (udp ? others[i].udp : others[i].tcp))
			look_at(p, others[i].name, &others[i].listen->addr);
	}
}

static bool
look_at_listener(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_listener *row = bytes;
	struct own_port *p = arg;

	(void)key;
	if (!MSG_OK(row->name) || row->addr.port != p->e->port || text_equal(row->name, "tcp") ||
	    text_equal(row->name, "udp"))
		return true;
	text_copy(p->name, sizeof(p->name), row->name);
	p->owner = p->name;
	return false;
}

int
ports_check_node(const struct model *m, const struct doc *mine, struct err *err)
{
	struct doc_endpoint_iter it = {0};

	while (doc_endpoint_next(mine, &it)) {
		struct own_port p = {.e = it.endpoint};

		if (!is_public(it.endpoint))
			continue;
		look_at_config(&p, &m->config->listen);
		if (!p.owner && m->supervisor && p.e->protocol == DOC_PROTOCOL_TCP)
			ring_table_each(m->supervisor, MSG_TABLE_LISTENER, look_at_listener, &p);
		if (!p.owner)
			continue;
		err_set(err, ERR_CONFLICT, "%s port %u is the node's own",
			doc_protocol_name(p.e->protocol), p.e->port);
		err_why(err, "endpoint \"%s\" of %s wants it, and the node listens there for %s",
			p.e->name, mine->deployment, p.owner);
		return err_fix(err,
			       "give the endpoint another port, or change listen.%s in the "
			       "configuration",
			       p.owner);
	}
	return 0;
}

/* ---- ports that could not be opened ---- */

struct closed_port {
	const struct doc_endpoint *e;
	struct msg_reason *out;
	bool found;
};

static bool
look_at_stream(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_listener *row = bytes;
	struct closed_port *p = arg;

	(void)key;
	if (row->up || row->addr.port != p->e->port || !MSG_OK(row->name) ||
	    !text_equal(row->name, doc_protocol_name(p->e->protocol)) ||
	    !MSG_OK(row->reason.what) || !MSG_OK(row->reason.why) || !MSG_OK(row->reason.why2) ||
	    !MSG_OK(row->reason.fix))
		return true;
	*p->out = row->reason;
	p->found = row->reason.kind != 0;
	return !p->found;
}

bool
ports_trouble(const struct model *m, const struct doc_service *s, struct msg_reason *out)
{
	struct closed_port p = {.out = out};

	for (size_t i = 0; m->supervisor && i < s->endpoints_count && !p.found; i++) {
		p.e = &s->endpoints[i];
		if (is_public(p.e))
			ring_table_each(m->supervisor, MSG_TABLE_LISTENER, look_at_stream, &p);
	}
	return p.found;
}
