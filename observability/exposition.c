/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing of the two text formats. They differ in the name of a counter's family, in how the number
 * of a bucket is spelled, and in the end mark. Raw nanoseconds become seconds here, with integer
 * arithmetic: no digit is made up.
 */
#include "observability/exposition.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "ring/metrics.h"

const char *
exposition_content_type(enum exposition_format format)
{
	return format == EXPOSITION_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- Accept ---- */

struct range {
	char type[64];
	char version[16];
	double q;
};

static void
trim(const char **at, size_t *length)
{
	while (*length && (**at == ' ' || **at == '\t'))
		(*at)++, (*length)--;
	while (*length && ((*at)[*length - 1] == ' ' || (*at)[*length - 1] == '\t'))
		(*length)--;
}

static void
take_part(struct range *r, const char *at, size_t length, bool first)
{
	char text[64];

	trim(&at, &length);
	if (!text_ncopy(text, sizeof(text), at, length))
		return;
	if (first)
		text_copy(r->type, sizeof(r->type), text);
	else if (strncasecmp(text, "q=", 2) == 0)
		r->q = strtod(text + 2, NULL);
	else if (strncasecmp(text, "version=", 8) == 0)
		text_copy(r->version, sizeof(r->version), text + 8);
}

static size_t
part_length(const char *at, size_t length, char end)
{
	const char *p = memchr(at, end, length);

	return p ? (size_t)(p - at) : length;
}

static struct range
take_range(const char *at, size_t length)
{
	struct range r = {.q = 1};

	for (bool first = true; length > 0; first = false) {
		size_t n = part_length(at, length, ';');

		take_part(&r, at, n, first);
		at += n < length ? n + 1 : n;
		length -= n < length ? n + 1 : n;
	}
	return r;
}

enum exposition_format
exposition_choose(const char *accept, size_t length)
{
	double openmetrics = 0, classic = 0;

	while (length > 0) {
		size_t n = part_length(accept, length, ',');
		struct range r = take_range(accept, n);

		if (strcasecmp(r.type, "application/openmetrics-text") == 0) {
			/* 0.0.1 and 1.0.0 have the same syntax for what is written here. */
			bool known = !r.version[0] || text_equal(r.version, "1.0.0") ||
				     text_equal(r.version, "0.0.1");
			if (known && r.q > openmetrics)
				openmetrics = r.q;
		} else if (strcasecmp(r.type, "text/plain") == 0 || text_equal(r.type, "*/*") ||
			   text_equal(r.type, "text/*")) {
			if (r.q > classic)
				classic = r.q;
		}
		accept += n < length ? n + 1 : n;
		length -= n < length ? n + 1 : n;
	}
	return openmetrics > 0 && openmetrics >= classic ? EXPOSITION_OPENMETRICS
							 : EXPOSITION_CLASSIC;
}

/* ---- numbers ---- */

static void
put_scaled(struct buf *out, uint64_t raw, enum metrics_scale scale)
{
	char digits[16];
	uint64_t unit = scale == METRICS_NANO ? UINT64_C(1000000000) : 1000;
	size_t n = scale == METRICS_NANO ? 9 : 3;

	if (scale == METRICS_ONE) {
		buf_printf(out, "%" PRIu64, raw);
		return;
	}
	buf_printf(out, "%" PRIu64, raw / unit);
	text_format(digits, sizeof(digits), "%0*" PRIu64, (int)n, raw % unit);
	while (n > 0 && digits[n - 1] == '0')
		n--;
	if (n) {
		buf_putc(out, '.');
		buf_put(out, digits, n);
	}
}

static void
put_gauge(struct buf *out, uint64_t raw, enum metrics_scale scale)
{
	int64_t value = (int64_t)raw;

	if (value < 0) {
		buf_putc(out, '-');
		put_scaled(out, (uint64_t)0 - raw, scale);
	} else {
		put_scaled(out, raw, scale);
	}
}

/* ---- samples ---- */

struct writer {
	struct buf *out;
	enum exposition_format format;
	const struct metrics_family *family;
	char base[96]; /* the family's name without _total */
};

static void
put_name(const struct writer *w, const char *suffix, const char *labels, const char *le)
{
	buf_puts(w->out, w->base);
	buf_puts(w->out, suffix);
	if (labels[0] || le) {
		buf_putc(w->out, '{');
		buf_puts(w->out, labels);
		if (le)
			buf_printf(w->out, "%sle=\"%s\"", labels[0] ? "," : "", le);
		buf_putc(w->out, '}');
	}
	buf_putc(w->out, ' ');
}

static void
bound_text(const struct writer *w, uint64_t bound, char *out, size_t cap)
{
	struct buf b;

	buf_init(&b, MEM_OBSERVABILITY, 64);
	put_scaled(&b, bound, w->family->scale);
	bool whole = buf_ok(&b) && !memchr(b.data, '.', b.length);
	text_format(out, cap, "%s%s", buf_cstr(&b),
		    whole && w->format == EXPOSITION_OPENMETRICS ? ".0" : "");
	buf_fini(&b);
}

static void
put_histogram(const struct writer *w, const struct gather_series *s)
{
	const uint64_t *bounds = metrics_bounds_of(w->family->bounds);
	uint64_t sum = 0;
	char le[40];

	for (size_t i = 0; i < METRIC_BOUNDS; i++) {
		sum += s->values[i];
		if (bounds[i] == UINT64_MAX)
			continue;
		bound_text(w, bounds[i], le, sizeof(le));
		put_name(w, "_bucket", s->labels, le);
		buf_printf(w->out, "%" PRIu64 "\n", sum);
	}
	sum += s->values[METRIC_BOUNDS];
	put_name(w, "_bucket", s->labels, "+Inf");
	buf_printf(w->out, "%" PRIu64 "\n", sum);
	put_name(w, "_sum", s->labels, NULL);
	put_scaled(w->out, s->values[METRIC_BOUNDS + 1], w->family->scale);
	buf_putc(w->out, '\n');
	put_name(w, "_count", s->labels, NULL);
	buf_printf(w->out, "%" PRIu64 "\n", sum);
}

static void
put_sample(const struct writer *w, const struct gather_series *s)
{
	switch (w->family->kind) {
	case METRIC_COUNTER:
		put_name(w, "_total", s->labels, NULL);
		put_scaled(w->out, s->values[0], w->family->scale);
		buf_putc(w->out, '\n');
		break;
	case METRIC_GAUGE:
		put_name(w, "", s->labels, NULL);
		put_gauge(w->out, s->values[0], w->family->scale);
		buf_putc(w->out, '\n');
		break;
	case METRIC_HISTOGRAM:
		put_histogram(w, s);
		break;
	}
}

static void
begin_family(struct writer *w, uint16_t metric)
{
	static const char *const kinds[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const struct metrics_family *f = w->family = metrics_family(metric);

	text_copy(w->base, sizeof(w->base), f->name);
	if (f->kind == METRIC_COUNTER && text_ends(w->base, "_total"))
		w->base[strlen(w->base) - strlen("_total")] = 0;
	const char *shown = w->format == EXPOSITION_OPENMETRICS ? w->base : f->name;
	buf_printf(w->out, "# HELP %s %s\n# TYPE %s %s\n", shown, f->help, shown, kinds[f->kind]);
}

void
exposition_write(const struct gather *g, enum exposition_format format, struct buf *out)
{
	struct writer w = {.out = out, .format = format};

	for (size_t i = 0; i < g->count; i++) {
		const struct gather_series *s = g->items[i];

		if (i == 0 || g->items[i - 1]->metric != s->metric)
			begin_family(&w, s->metric);
		put_sample(&w, s);
	}
	if (format == EXPOSITION_OPENMETRICS)
		buf_puts(out, "# EOF\n");
}
