/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/*
 * What the benchmarks share: clocks, medians, and the two forms of a result. Wall-clock figures of
 * a shared machine are noise, so a row always names a peer that was measured in the same run, in
 * turns with ours; `ratio` is ours over the peer's, and below 1 means that ours is better.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t
bench_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline int
bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts. */
static inline double
bench_quantile(double *values, size_t count, double q)
{
	qsort(values, count, sizeof(values[0]), bench_compare);
	return values[(size_t)((double)(count - 1) * q)];
}

struct bench_row {
	const char *bench;
	const char *row;
	const char *unit;
	double ours;
	const char *peer_name;
	double peer;
	bool higher_is_better;
};

static inline void
bench_print(bool json, const struct bench_row *r)
{
	double ratio = r->higher_is_better ? r->peer / r->ours : r->ours / r->peer;

	if (json)
		printf("{\"bench\":\"%s\",\"row\":\"%s\",\"unit\":\"%s\",\"ours\":%.4g,"
		       "\"peer_name\":\"%s\",\"peer\":%.4g,\"ratio\":%.4g}\n",
		       r->bench, r->row, r->unit, r->ours, r->peer_name, r->peer, ratio);
	else
		printf("%-22s %12.4g  %-12s %-22s %12.4g  ratio %.3f\n", r->row, r->ours, r->unit,
		       r->peer_name, r->peer, ratio);
	fflush(stdout);
}

#endif
