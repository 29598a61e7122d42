/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A document is held against both revisions of every other deployment that matter: the one that
 * serves and the one that is on its way.
 */
#include "scheduler/places.h"

#include "base/text.h"
#include "scheduler/ports.h"

bool
places_is_edge(const struct doc_endpoint *e)
{
	return e->expose == DOC_EXPOSE_PUBLIC && !ports_is_stream(e);
}

static bool
same_place(const struct doc_endpoint *a, const struct doc_endpoint *b)
{
	bool upgrades_a = a->protocol == DOC_PROTOCOL_WEBSOCKET;
	bool upgrades_b = b->protocol == DOC_PROTOCOL_WEBSOCKET;

	return places_is_edge(a) && places_is_edge(b) && upgrades_a == upgrades_b &&
	       text_equal(a->host, b->host) && text_equal(a->path, b->path);
}

static int
compare_places(const struct doc *mine, const struct doc *theirs, struct err *err)
{
	struct doc_endpoint_iter a = {0};

	while (doc_endpoint_next(mine, &a)) {
		struct doc_endpoint_iter b = {0};

		while (doc_endpoint_next(theirs, &b)) {
			if (!same_place(a.endpoint, b.endpoint))
				continue;
			err_set(err, ERR_CONFLICT, "%s%s is served by deployment %s already",
				a.endpoint->host ? a.endpoint->host : "(any host)",
				a.endpoint->path, theirs->deployment);
			err_why(err, "endpoint \"%s\" of %s, and endpoint \"%s\" of %s/%s",
				a.endpoint->name, mine->deployment, b.endpoint->name,
				theirs->deployment, b.service ? b.service->name : "?");
			return err_fix(err,
				       "give one of them another host or path, or: zlayer rm "
				       "%s",
				       theirs->deployment);
		}
	}
	return 0;
}

/* *ports grows by what the other has at most: its two revisions take turns. */
static int
compare_deployment(struct model *m, const struct doc *doc, struct deployment *other, size_t *ports,
		   struct err *err)
{
	uint32_t numbers[2] = {other->row.revision, other->row.target};
	size_t most = 0;

	for (size_t i = 0; i < 2; i++) {
		struct err ignored = {0};
		struct revision *r =
			numbers[i] ? model_document(m, other, numbers[i], &ignored) : NULL;

		if (!r)
			continue;
		if (compare_places(doc, r->doc, err) < 0 || ports_compare(doc, r->doc, err) < 0)
			return -1;
		if (ports_count(r->doc) > most)
			most = ports_count(r->doc);
	}
	*ports += most;
	return 0;
}

int
places_check(struct model *m, const struct deployment *self, const struct doc *doc, struct err *err)
{
	size_t ports = ports_count(doc);
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *other = container_of(it, struct deployment, link);

		if (other != self && !other->gone && !other->lost &&
		    compare_deployment(m, doc, other, &ports, err) < 0)
			return -1;
	}
	if (ports > MSG_STREAM_PORTS_MAX)
		return err_set(err, ERR_LIMIT, "a node has at most %d public tcp and udp ports",
			       MSG_STREAM_PORTS_MAX);
	return ports_check_node(m, doc, err);
}
