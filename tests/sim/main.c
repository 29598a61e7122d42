/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator as a program; tools/sim builds and starts it. With --seed one plan, else many.
 * Built a second time with ZL_MUTANTS it takes --mutants: each of these planted faults must be
 * found within the seeds.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/mutant.h"
#include "tests/sim/profiles.h"
#include "tests/sim/run.h"

enum {
	OPTION_ONLY = 256,
	OPTION_TRACE,
	OPTION_ONCE,
	OPTION_FAULTS,
	OPTION_MUTANTS,
	OPTION_PROFILES
};

static const struct option options[] = {
	{"profile", required_argument, NULL, 'p'},
	{"seeds", required_argument, NULL, 'n'},
	{"from", required_argument, NULL, 'f'},
	{"seed", required_argument, NULL, 's'},
	{"seconds", required_argument, NULL, 't'},
	{"nodes", required_argument, NULL, 'N'},
	{"jobs", required_argument, NULL, 'j'},
	{"only", required_argument, NULL, OPTION_ONLY},
	{"faults", required_argument, NULL, OPTION_FAULTS},
	{"trace", no_argument, NULL, OPTION_TRACE},
	{"once", no_argument, NULL, OPTION_ONCE},
	{"profiles", no_argument, NULL, OPTION_PROFILES},
#ifdef ZL_MUTANTS
	{"mutants", required_argument, NULL, OPTION_MUTANTS},
#endif
	{NULL, 0, NULL, 0},
};

static void
usage(void)
{
	fprintf(stderr,
		"usage: sim [--profile %s] [--seeds N] [--from S] [--seconds 60] "
		"[--nodes N] [--jobs 2] [--faults a,b] [--once]\n"
		"       sim --profile P --seed S [--seconds 60] [--nodes N] [--only items] "
		"[--trace]\n",
		profiles_names());
	exit(2);
}

static uint64_t
number(const char *text, uint64_t low, uint64_t high)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *end != '\0' || n < low || n > high) {
		fprintf(stderr, "sim: \"%s\" is no number from %" PRIu64 " to %" PRIu64 "\n", text,
			low, high);
		exit(2);
	}
	return n;
}

static uint32_t
fault_kinds(char *text)
{
	uint32_t kinds = 0;

	for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
		enum plan_kind kind = PLAN_ACT + 1;

		while (kind < PLAN_KINDS && strcmp(word, sim_plan_kind_name(kind)) != 0)
			kind++;
		if (kind == PLAN_KINDS && strcmp(word, "none") != 0) {
			fprintf(stderr, "sim: no fault \"%s\"\n", word);
			exit(2);
		}
		if (kind < PLAN_KINDS)
			kinds |= 1u << kind;
	}
	return kinds;
}

static int
many(const struct run_options *o)
{
	struct run_result r;
	struct timespec began, ended;
	double wall;

	clock_gettime(CLOCK_MONOTONIC, &began);
	run_seeds(o, &r);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	wall = (double)(ended.tv_sec - began.tv_sec) +
	       (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
	printf("%s: %" PRIu64 " seeds from %" PRIu64 ", %" PRIu64 " failed; %.1f seeds/s, "
	       "%.0f simulated node-seconds per CPU second%s\n",
	       o->profile->name, r.done, o->from, r.failed, (double)r.done / wall,
	       r.cpu_ns ? (double)r.node_ns / (double)r.cpu_ns : 0.0,
	       r.interrupted ? "; interrupted" : "");
	if (r.interrupted)
		return 130;
	return r.failed > 0 || r.done == 0 ? 1 : 0;
}

static int
one(const struct run_options *o, const char *only, bool trace)
{
	struct trial t;

	run_one(o, only, trace ? stdout : NULL, &t);
	printf("%" PRIu64 " steps, %" PRIu64 " datagrams, %" PRIu64 " bytes, trace %016" PRIx64
	       "\n",
	       t.steps, t.datagrams, t.sent_bytes, t.hash);
	if (!t.failure.failed) {
		printf("passed; settled %.3f s after the faults\n", (double)t.settled_ns / 1e9);
		return 0;
	}
	printf("FAILED %s: ", t.failure.check);
	if (t.failure.node)
		printf("node %u ", t.failure.node);
	printf("at %.6f s: %s\n", (double)t.failure.at_ns / 1e9, t.failure.text);
	return 1;
}

#ifdef ZL_MUTANTS
unsigned mutant_chosen;

static int
mutants(struct run_options *o, char *list)
{
	unsigned survived = 0;

	o->quiet = true;
	o->once = true;
	o->failures_max = 1;
	for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		struct run_result r;

		mutant_chosen = (unsigned)number(word, 1, UINT32_MAX);
		run_seeds(o, &r);
		if (r.interrupted)
			return 130;
		if (r.failed > 0)
			printf("mutant %3u found by seed %" PRIu64 ": %s: %s\n", mutant_chosen,
			       r.first_failed, r.failure.check, r.failure.text);
		else
			printf("mutant %3u SURVIVED %" PRIu64 " seeds\n", mutant_chosen, r.done);
		fflush(stdout);
		survived += r.failed == 0;
	}
	return survived > 0 ? 1 : 0;
}
#endif

int
main(int argc, char **argv)
{
	struct run_options o = {.from = 1,
				.seeds = 200,
				.seconds = 60,
				.kinds = UINT32_MAX,
				.failures_max = 3,
				.minimise = true,
				.profile = profiles_find(NULL)};
	bool single = false, trace = false;
	char *only = NULL, *wrong = NULL;
	int c;

	o.jobs = 2;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'p':
			o.profile = profiles_find(optarg);
			break;
		case 'n':
			o.seeds = number(optarg, 1, UINT32_MAX);
			break;
		case 's':
			single = true;
			o.from = number(optarg, 0, UINT64_MAX - 1);
			break;
		case 'f':
			o.from = number(optarg, 0, UINT64_MAX - 1);
			break;
		case 't':
			o.seconds = number(optarg, 1, 1000000);
			break;
		case 'N':
			o.nodes = (uint32_t)number(optarg, 2, 16000);
			break;
		case 'j':
			o.jobs = (unsigned)number(optarg, 1, 64);
			break;
		case OPTION_ONLY:
			only = optarg;
			break;
		case OPTION_FAULTS:
			o.kinds = fault_kinds(optarg);
			break;
		case OPTION_TRACE:
			trace = true;
			break;
		case OPTION_ONCE:
			o.once = true;
			break;
		case OPTION_PROFILES:
			for (const char *at = profiles_names(); *at; at++)
				putchar(*at == '|' ? '\n' : *at);
			putchar('\n');
			return 0;
		case OPTION_MUTANTS:
			wrong = optarg;
			break;
		default:
			usage();
		}
	if (optind < argc || !o.profile)
		usage();
#ifdef ZL_MUTANTS
	if (wrong)
		return mutants(&o, wrong);
#else
	(void)wrong;
#endif
	return single ? one(&o, only, trace) : many(&o);
}
