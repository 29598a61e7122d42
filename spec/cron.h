/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_CRON_H
#define SPEC_CRON_H

/*
 * A schedule in UTC: seven fields "sec min hour dom month dow year", or five as "min hour dom month
 * dow" (second 0, any year). Lists, ranges, steps, names (JAN, MON), "*" and "?" ; Sunday is 0
 * or 7. When both dom and dow are restricted a day matches if either does, as crontab(5) has it. No
 * I/O and no clock: times come in as seconds since 1970.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRON_YEAR_MIN = 1970, CRON_YEAR_MAX = 2199 };

struct cron {
	uint64_t seconds; /* bit n: second n */
	uint64_t minutes;
	uint32_t hours;
	uint32_t days;     /* bit 1-31 */
	uint16_t months;   /* bit 1-12 */
	uint8_t weekdays;  /* bit 0-6, 0 is Sunday */
	bool any_day;      /* dom was "*" */
	bool any_weekday;  /* dow was "*" */
	uint64_t years[4]; /* bit y - CRON_YEAR_MIN */
};

struct cron_error {
	size_t offset; /* of the field that is wrong, in bytes from the start of the text */
	size_t bytes;  /* of that field; 0: the text as a whole is wrong */
	char text[128];
};

/* 0, or -1 with *error_out set. A schedule that never matches (30 February) is an error. */
int cron_parse(const char *text, struct cron *out, struct cron_error *error_out);
/* The first matching second after `after` (strictly); false when there is none. */
bool cron_next(const struct cron *c, int64_t after, int64_t *next_out);
bool cron_matches(const struct cron *c, int64_t at);

#endif
