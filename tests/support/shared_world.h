/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SHARED_WORLD_H
#define TESTS_SUPPORT_SHARED_WORLD_H

/* Nodes without processes (node_world.h) on one shared store (shared_store.h). */

#include "tests/support/node_world.h"
#include "tests/support/shared_store.h"

enum { SHARED_WORLD_NODES = 2 };

struct shared_asked {
	struct request r;
	bool over;
	bool failed;
	struct err err;
};

struct shared_world {
	struct folder folder;
	struct shared_log log;
	struct shared_node nodes[SHARED_WORLD_NODES];
	struct node_world worlds[SHARED_WORLD_NODES];
	unsigned conductor;
	unsigned cluster_rows[SHARED_WORLD_NODES];
	unsigned stirred[SHARED_WORLD_NODES];
};

static struct shared_world *shared_world_now; /* hooks and openers have no other way to it */

static inline unsigned
shared_world_number(const struct node_world *w)
{
	return (unsigned)(w - shared_world_now->worlds);
}

static inline struct store *
shared_world_opens(struct node_world *w)
{
	struct shared_world *s = shared_world_now;
	unsigned n = shared_world_number(w);
	char name[32];

	snprintf(name, sizeof(name), "copy-%u.db", n);
	return shared_open(&s->nodes[n], &s->log, s->folder.fd, name);
}

static inline bool
shared_world_conducts(void *arg, const struct deployment *d)
{
	(void)d;
	return shared_world_number(arg) == shared_world_now->conductor;
}

static inline void
shared_world_cluster_rows(void *arg)
{
	shared_world_now->cluster_rows[shared_world_number(arg)]++;
}

static inline void
shared_world_stir(void *arg)
{
	shared_world_now->stirred[shared_world_number(arg)]++;
}

static inline void
shared_world_hook(struct shared_world *s, unsigned n)
{
	s->worlds[n].m.hooks = (struct model_hooks){
		.arg = &s->worlds[n],
		.stir = shared_world_stir,
		.cluster_rows = shared_world_cluster_rows,
		.conducts = shared_world_conducts,
	};
}

static inline void
shared_world_begin(struct shared_world *s)
{
	memset(s, 0, sizeof(*s));
	shared_world_now = s;
	folder_begin(&s->folder, "shared");
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		node_begin_with(&s->worlds[n], shared_world_opens);
		shared_world_hook(s, n);
	}
}

/* A process ends and begins again; what it had asked the store for is open. */
static inline void
shared_world_restart(struct shared_world *s, unsigned n)
{
	node_stop(&s->worlds[n]);
	node_start(&s->worlds[n]);
	shared_world_hook(s, n);
}

/* After node_power_off(). */
static inline void
shared_world_power_on(struct shared_world *s, unsigned n)
{
	node_start(&s->worlds[n]);
	s->worlds[n].m.node_id = n + 1;
	shared_world_hook(s, n);
}

static inline void
shared_world_end(struct shared_world *s)
{
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
		node_end(&s->worlds[n]);
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		char name[40];

		snprintf(name, sizeof(name), "copy-%u.db", n);
		folder_remove_store(&s->folder, name);
	}
	folder_end(&s->folder);
	shared_log_fini(&s->log);
}

static inline void
shared_world_deliver(struct shared_world *s)
{
	bool moved = true;

	while (moved) {
		moved = false;
		for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
			moved |= shared_step(&s->nodes[n]);
	}
}

/* Time passes for everybody, and everything arrives. */
static inline void
shared_world_pass(struct shared_world *s, unsigned seconds)
{
	for (unsigned i = 0; i <= seconds; i++) {
		for (int turn = 0; turn < 12; turn++) {
			for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
				node_turn(&s->worlds[n]);
			shared_world_deliver(s);
		}
		for (unsigned n = 0; n < SHARED_WORLD_NODES && i < seconds; n++)
			s->worlds[n].now_ns += NODE_S;
		s->log.now_ns = s->worlds[0].now_ns;
	}
}

/* Two seconds in which one node hears nothing of the others, and they do nothing. */
static inline void
shared_world_alone(struct shared_world *s, unsigned n)
{
	for (unsigned i = 0; i < 8; i++) {
		s->worlds[n].now_ns += NODE_S / 4;
		s->log.now_ns = s->worlds[n].now_ns;
		node_turn(&s->worlds[n]);
	}
}

static inline void
shared_answered(struct request *r, const struct err *err)
{
	struct shared_asked *a = container_of(r, struct shared_asked, r);

	NODE_MUST(!a->over);
	a->over = true;
	a->failed = err != NULL;
	if (err)
		a->err = *err;
}

static inline void
shared_apply(struct shared_world *s, unsigned n, const char *name, const char *text,
	     struct shared_asked *a)
{
	struct msg_apply q = {.who_uid = 1000};
	struct apply_input in = {.request = &q, .text = text, .bytes = strlen(text)};
	struct err err = {0};

	memset(a, 0, sizeof(*a));
	a->r.done = shared_answered;
	strcpy(q.name, name);
	int rc = apply_document(&s->worlds[n].m, &in, &a->r, &err);
	if (rc != REQUEST_UNDER_WAY)
		shared_answered(&a->r, rc < 0 ? &err : NULL);
}

static inline void
shared_target(struct shared_world *s, unsigned n, uint16_t op, const char *deployment,
	      const char *service, uint32_t replicas, struct shared_asked *a)
{
	struct msg_target_op q = {.replicas = replicas, .force = 1};

	memset(a, 0, sizeof(*a));
	a->r.done = shared_answered;
	strcpy(q.deployment, deployment);
	strcpy(q.service, service);
	request_change(&s->worlds[n].m, op, &q, sizeof(q), NULL, 0, &a->r);
}

/* ---- whether memory is what the store says ---- */

struct shared_compare {
	struct model *m;
	size_t rows[STORE_KINDS_];
	const char *differs;
};

static inline void
shared_compare_row(struct shared_compare *c, const void *mine, const void *row, size_t bytes,
		   const char *what)
{
	if (!mine || memcmp(mine, row, bytes) != 0)
		c->differs = what;
}

static inline void
shared_see_deployment(void *arg, const void *row)
{
	const struct store_deployment *d = row;
	struct shared_compare *c = arg;
	const struct deployment *mine = model_deployment_by_id(c->m, d->id);

	c->rows[STORE_DEPLOYMENT]++;
	shared_compare_row(c, mine ? &mine->row : NULL, row, sizeof(*d), "a deployment");
	if (mine && (mine->dirty || mine->gone || mine->lost || mine->changing))
		c->differs = "a deployment is not at rest";
}

static inline void
shared_see_service(void *arg, const void *row)
{
	const struct store_service *s = row;
	struct shared_compare *c = arg;
	const struct service *mine = model_service_by_id(c->m, s->id);

	c->rows[STORE_SERVICE]++;
	shared_compare_row(c, mine ? &mine->row : NULL, row, sizeof(*s), "a service");
}

static inline void
shared_see_revision(void *arg, const void *row)
{
	const struct store_revision *r = row;
	struct shared_compare *c = arg;
	const struct revision *mine = model_revision_by_id(c->m, r->id);

	c->rows[STORE_REVISION]++;
	shared_compare_row(c, mine ? &mine->row : NULL, row, sizeof(*r), "a revision");
}

static inline void
shared_see_pin(void *arg, const void *row)
{
	const struct store_pin *p = row;
	struct shared_compare *c = arg;
	const struct revision *r = model_revision_by_id(c->m, p->revision);

	c->rows[STORE_PIN]++;
	shared_compare_row(c, r ? model_pin(r, p->service) : NULL, row, sizeof(*p), "a pin");
}

static inline void
shared_see_route(void *arg, const void *row)
{
	const struct store_route *route = row;
	struct shared_compare *c = arg;
	const struct service *s = model_service_by_id(c->m, route->service);
	const struct store_route *mine = NULL;

	c->rows[STORE_ROUTE]++;
	for (size_t i = 0; s && i < s->routes_count; i++) {
		if (s->routes[i].id == route->id)
			mine = &s->routes[i];
	}
	shared_compare_row(c, mine, row, sizeof(*route), "a route");
}

static inline void
shared_see_operation(void *arg, const void *row)
{
	const struct store_operation *o = row;
	struct shared_compare *c = arg;
	const struct operation *mine = model_operation(c->m, o->id);

	/* Memory may have forgotten one that has ended. */
	if (mine || o->state == MSG_OPERATION_RUNNING)
		shared_compare_row(c, mine ? &mine->row : NULL, row, sizeof(*o), "an operation");
}

/* NULL: it is; else what differs. */
static inline const char *
shared_differs(struct model *m)
{
	static const struct {
		enum store_kind kind;
		store_visit_fn visit;
	} kinds[] = {
		{STORE_DEPLOYMENT, shared_see_deployment}, {STORE_SERVICE, shared_see_service},
		{STORE_REVISION, shared_see_revision},     {STORE_PIN, shared_see_pin},
		{STORE_ROUTE, shared_see_route},           {STORE_OPERATION, shared_see_operation},
	};
	struct shared_compare c = {.m = m};
	size_t mine[STORE_KINDS_] = {0};
	struct list *it, *next, *at, *after;
	struct err err = {0};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		NODE_MUST(store_each(m->store, kinds[i].kind, 0, 0, kinds[i].visit, &c, &err) == 0);
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		mine[STORE_DEPLOYMENT]++;
		list_each (at, after, &d->services) {
			struct service *s = container_of(at, struct service, link);

			mine[STORE_SERVICE]++;
			mine[STORE_ROUTE] += s->routes_count;
		}
		list_each (at, after, &d->revisions) {
			struct revision *r = container_of(at, struct revision, link);

			mine[STORE_REVISION]++;
			mine[STORE_PIN] += r->pins_count;
		}
	}
	for (unsigned k = 0; k < STORE_KINDS_; k++) {
		if (mine[k] != c.rows[k])
			return store_shape(k)->table;
	}
	return c.differs;
}

#endif
