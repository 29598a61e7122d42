/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two schedulers on one shared store, asked for anything at any time, with lost answers, cuts,
 * restarts, failing containers and a conductor that changes or is doubled: when it is quiet again,
 * both hold what the store says, nothing is under way, and what was asked for last is so.
 */
#include "base/log.h"
#include "scheduler/sqlite.h"
#include "tests/support/prop.h"
#include "tests/support/shared_world.h"

enum { RUNS = 12, STEPS = 120, ASKED_MAX = STEPS };

static const char *const names[] = {"shop", "blog"};
static struct shared_asked asked[ASKED_MAX];
static size_t asked_count;

static const char *
document(struct prop *p, const char *name)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\ndeployment: %s\nservices:\n"
		 "  web:\n    image: {name: web:%u}\n"
		 "    endpoints: [{name: http, protocol: http, port: 8080, host: %s.test,"
		 " expose: public}]\n"
		 "    health: {check: {type: tcp}}\n"
		 "    scale: {mode: fixed, replicas: %u}\n"
		 "  db:\n    image: {name: db:1}\n",
		 name, (unsigned)prop_below(p, 4), name, (unsigned)prop_below(p, 4));
	return text;
}

static void
ask(struct shared_world *s, struct prop *p)
{
	static const uint16_t ops[] = {MSG_OP_SCALE, MSG_OP_STOP,   MSG_OP_START, MSG_OP_REMOVE,
				       MSG_OP_PAUSE, MSG_OP_RESUME, MSG_OP_ABORT, MSG_OP_RESTART};
	unsigned n = (unsigned)prop_below(p, SHARED_WORLD_NODES);
	const char *name = names[prop_below(p, 2)];
	struct shared_asked *a = &asked[asked_count];

	/* The queue before it is another test's: scheduler/intake.h. */
	if (store_busy(s->worlds[n].m.store) || asked_count == ASKED_MAX)
		return;
	asked_count++;
	if (prop_below(p, 2))
		shared_apply(s, n, name, document(p, name), a);
	else
		shared_target(s, n, ops[prop_below(p, sizeof(ops) / sizeof(*ops))], name,
			      prop_below(p, 2) ? "web" : "", (uint32_t)prop_below(p, 4), a);
}

static void
happen(struct shared_world *s, struct prop *p)
{
	unsigned n = (unsigned)prop_below(p, SHARED_WORLD_NODES);
	struct shared_node *node = &s->nodes[n];

	switch (prop_below(p, 24)) {
	case 0:
	case 1:
	case 2:
	case 3:
		ask(s, p);
		break;
	case 4:
		node->cut = !node->cut;
		break;
	case 5:
		node->loss = prop_below(p, 2) ? SHARED_LOST : SHARED_LOST_KEPT;
		break;
	case 6:
		if (prop_below(p, 3) == 0)
			shared_world_restart(s, n);
		break;
	case 7:
		s->conductor = n;
		break;
	case 8:
		node->news_alls = 1;
		break;
	case 9:
		s->worlds[n].behaviour[prop_below(p, 64)] =
			prop_below(p, 2) ? NODE_EXITS : NODE_GOOD;
		break;
	case 10:
	case 11:
	case 12:
		s->worlds[0].now_ns += NODE_S;
		s->worlds[1].now_ns += NODE_S;
		break;
	case 13:
	case 14:
	case 15:
	case 16:
	case 17:
		node_turn(&s->worlds[n]);
		break;
	default:
		(void)shared_step(node);
		break;
	}
}

static void
calm(struct shared_world *s)
{
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		s->nodes[n].cut = false;
		s->nodes[n].loss = SHARED_ANSWERED;
		s->nodes[n].news_alls = 0;
		memset(s->worlds[n].behaviour, 0, sizeof(s->worlds[n].behaviour));
	}
	shared_world_pass(s, 150);
}

static void
check(struct shared_world *s)
{
	struct list *it, *next;

	for (size_t i = 0; i < asked_count; i++)
		prop_check(asked[i].over);
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		const char *differs = shared_differs(&s->worlds[n].m);

		if (differs)
			fprintf(stderr, "node %u: %s\n", n, differs);
		prop_check(!differs);
		list_each (it, next, &s->worlds[n].m.deployments) {
			struct deployment *d = container_of(it, struct deployment, link);

			prop_check(d->rollout.phase == ROLLOUT_PAUSED ||
				   (d->rollout.phase == ROLLOUT_IDLE && !d->operation));
			prop_check(d->rollout.phase == d->row.phase);
		}
	}
}

static void
run(uint64_t seed)
{
	static struct shared_world s;
	struct prop p = {.state = seed};

	asked_count = 0;
	shared_world_begin(&s);
	for (unsigned i = 0; i < STEPS; i++)
		happen(&s, &p);
	calm(&s);
	check(&s);
	shared_world_end(&s);
}

int
main(int argc, char **argv)
{
	uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 0) : RUNS;
	struct err err = {0};
	struct prop p;

	if (dl_load_yaml(&err) < 0 || sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	prop_init(&p, argc, argv);
	log_change((enum log_level)(LOG_ERROR + 1), LOG_FORMAT_JSON);
	for (uint64_t i = 0; i < runs; i++) {
		printf("run %" PRIu64 "\n", p.state + i);
		fflush(stdout);
		run(p.state + i);
	}
	return 0;
}
