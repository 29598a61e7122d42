/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path that takes packets up to some size, loses some, is slow or fast, silent for a while, and
 * becomes another one now and then. Whatever it does: what is in use is within its bounds, nothing
 * is sent without being due, and once the path has been the same and loses nothing for long
 * enough, what is in use is the largest that passes, to a step.
 */
#include "overlay/probe.h"
#include "tests/support/prop.h"

enum { LIVES = 300, ANSWERS = 64, MS = 1000000, STEPS_MAX = 4000 };

/* A black hole is found out after one confirmation and its tries; a search of nine halves takes
 * its tries each; what lies above is looked for after PROBE_RAISE_MS. */
static const uint64_t enough_ns =
	(PROBE_RAISE_MS + 2 * PROBE_CONFIRM_MS + 30 * PROBE_TRIES * 5000 + PROBE_SILENT_MS) *
	UINT64_C(1000000);
static const uint64_t shrunk_ns =
	(PROBE_CONFIRM_MS + PROBE_SILENT_MS + 4 * PROBE_TRIES * 5000) * UINT64_C(1000000) +
	UINT64_C(13) * PROBE_TRIES * 5000 * 1000000;

struct path {
	uint32_t takes;
	unsigned loss_percent;
	uint64_t rtt_ns;
	bool silent;
};

struct answer {
	uint64_t at_ns, token;
	uint32_t size;
	bool used;
};

static struct prop prop;
static struct answer answers[ANSWERS];

static void
draw(void *arg, void *out, size_t bytes)
{
	prop_bytes(arg, out, bytes);
}

static struct path
any_path(bool calm)
{
	static const uint32_t known[] = {1280, 1360, 1400, 1420, 1424, 1439, 1440, 4096, 8920};

	return (struct path){
		.takes = prop_below(&prop, 2) ? known[prop_below(&prop, 9)]
					      : PROBE_MIN + (uint32_t)prop_below(&prop, 8000),
		.loss_percent = calm ? 0 : (unsigned)prop_below(&prop, 60),
		.rtt_ns = (1 + prop_below(&prop, 600)) * MS,
		.silent = !calm && prop_below(&prop, 4) == 0,
	};
}

static void
carry(const struct path *path, uint64_t now, const struct probe_send *s)
{
	/* What WireGuard makes of it. */
	uint32_t bytes = (s->size + PROBE_STEP - 1) / PROBE_STEP * PROBE_STEP;
	uint32_t room = (path->takes + PROBE_STEP - 1) / PROBE_STEP * PROBE_STEP;

	if (path->silent || bytes > room || prop_below(&prop, 100) < path->loss_percent)
		return;
	for (unsigned i = 0; i < ANSWERS; i++) {
		if (answers[i].used)
			continue;
		answers[i] = (struct answer){now + path->rtt_ns, s->token, s->size, true};
		return;
	}
}

static struct answer *
next_answer(void)
{
	struct answer *first = NULL;

	for (unsigned i = 0; i < ANSWERS; i++) {
		if (answers[i].used && (!first || answers[i].at_ns < first->at_ns))
			first = &answers[i];
	}
	return first;
}

/* Lives with a path for so long; true if at its end what is in use passes. */
static void
live(struct probe *p, struct world *w, const struct path *path, uint64_t for_ns)
{
	uint64_t end = w->mono_ns + for_ns;

	for (unsigned steps = 0;; steps++) {
		struct probe_send out[PROBE_SENDS];
		struct answer *a = next_answer();
		uint64_t due = probe_deadline(p);

		prop_check(steps < STEPS_MAX);
		if ((!a || due <= a->at_ns) && due > end)
			break;
		if (a && a->at_ns <= due) {
			if (a->at_ns > end)
				break;
			if (a->at_ns > w->mono_ns)
				w->mono_ns = a->at_ns;
			a->used = false;
			(void)probe_answered(p, w->mono_ns, a->token, a->size);
		} else {
			if (due > w->mono_ns)
				w->mono_ns = due;
			size_t count = probe_tick(p, w, out);
			for (size_t i = 0; i < count; i++)
				carry(path, w->mono_ns, &out[i]);
		}
		prop_check(probe_mtu(p) >= PROBE_MIN && probe_mtu(p) <= p->max);
	}
	w->mono_ns = end;
}

static void
check_found(const struct probe *p, const struct path *path)
{
	uint32_t room = (path->takes + PROBE_STEP - 1) / PROBE_STEP * PROBE_STEP;

	prop_check(probe_mtu(p) <= room);
	prop_check(probe_mtu(p) == p->max || probe_mtu(p) + PROBE_STEP > path->takes);
}

int
main(int argc, char **argv)
{
	struct world w = {.mono_ns = 1, .random = draw, .random_arg = &prop};
	struct probe p;

	prop_init(&prop, argc, argv);
	for (unsigned i = 0; i < LIVES; i++) {
		uint32_t max = PROBE_MIN + (uint32_t)prop_below(&prop, 9000);
		unsigned changes = (unsigned)prop_below(&prop, 5);
		struct path path;

		probe_init(&p, max, w.mono_ns);
		while (changes-- > 0) {
			path = any_path(false);
			live(&p, &w, &path, prop_below(&prop, 200) * 1000 * MS);
			if (prop_below(&prop, 3) == 0)
				probe_moved(&p, w.mono_ns);
		}
		path = any_path(true);
		live(&p, &w, &path, shrunk_ns);
		prop_check(probe_mtu(&p) <=
			   (path.takes + PROBE_STEP - 1) / PROBE_STEP * PROBE_STEP);
		live(&p, &w, &path, enough_ns);
		check_found(&p, &path);
		for (unsigned k = 0; k < ANSWERS; k++)
			answers[k].used = false;
	}
	return 0;
}
