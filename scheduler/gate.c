/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of a service, and what probe and runtime found. Results are copied out of shared tables
 * and belong to one attempt: another's are as good as none.
 */
#include "scheduler/gate.h"

#include <string.h>
#include "base/text.h"

enum { WEAK_INTERVAL_MS = 10000, WEAK_TIMEOUT_MS = 5000, STREAM_CHECK = 64 };

static const char *
endpoint_of(const struct doc_service *s, uint16_t port)
{
	for (size_t i = 0; i < s->endpoints_count; i++) {
		if (s->endpoints[i].target_port == port)
			return s->endpoints[i].name;
	}
	return NULL;
}

static size_t
weak_checks(const struct doc_service *s, struct gate_check *out)
{
	size_t count = 0;

	for (size_t i = 0; i < s->endpoints_count && count < MSG_ENDPOINTS_MAX; i++) {
		const struct doc_endpoint *e = &s->endpoints[i];
		bool known = false;

		for (size_t k = 0; k < count; k++)
			known |= out[k].port == e->target_port;
		/* What its stream checks itself comes below. */
		if (known || e->protocol == DOC_PROTOCOL_UDP ||
		    e->stream.health_check.type != DOC_STREAM_NO_CHECK)
			continue;
		out[count] = (struct gate_check){
			.n = (uint32_t)count,
			.check = CAUSE_TCP,
			.endpoint = e->name,
			.port = e->target_port,
			.interval_ms = WEAK_INTERVAL_MS,
			.timeout_ms = WEAK_TIMEOUT_MS,
		};
		count++;
	}
	return count;
}

/* Those that endpoints name themselves. Numbered by endpoint, so that results keep their meaning.
 */
static size_t
stream_checks(const struct doc_service *s, size_t count, struct gate_check *out)
{
	for (size_t i = 0; i < s->endpoints_count && count < MODEL_CHECKS_MAX; i++) {
		const struct doc_endpoint *e = &s->endpoints[i];
		const struct doc_stream_health *h = &e->stream.health_check;

		if (h->type == DOC_STREAM_NO_CHECK)
			continue;
		out[count++] = (struct gate_check){
			.n = STREAM_CHECK + (uint32_t)i,
			.check = h->type == DOC_STREAM_UDP_PROBE ? CAUSE_UDP : CAUSE_TCP,
			.endpoint = e->name,
			.port = e->target_port,
			.request = h->request,
			.expect = h->expect,
			.interval_ms =
				s->health.node ? (uint32_t)s->health.interval_ms : WEAK_INTERVAL_MS,
			.timeout_ms =
				s->health.node ? (uint32_t)s->health.timeout_ms : WEAK_TIMEOUT_MS,
		};
	}
	return count;
}

static size_t
service_check(const struct doc_service *s, struct gate_check *out)
{
	const struct doc_health *h = &s->health;

	out[0] = (struct gate_check){
		.endpoint = endpoint_of(s, h->check.port),
		.port = h->check.port,
		.host = s->endpoints_count && s->endpoints[0].host ? s->endpoints[0].host : "",
		.path = h->check.url ? h->check.url : "/",
		.expect_status = h->check.expect_status,
		.interval_ms = (uint32_t)h->interval_ms,
		.timeout_ms = (uint32_t)h->timeout_ms,
	};
	switch (h->check.type) {
	case DOC_CHECK_TCP:
		out[0].check = CAUSE_TCP;
		break;
	case DOC_CHECK_HTTP:
		out[0].check = CAUSE_HTTP;
		break;
	case DOC_CHECK_COMMAND:
		out[0].check = CAUSE_COMMAND;
		out[0].n = MODEL_COMMAND_CHECK;
		break;
	}
	/* A wildcard is no name that can be asked for. */
	if (text_starts(out[0].host, "*"))
		out[0].host = "";
	return 1;
}

size_t
gate_checks(const struct doc_service *s, struct gate_check out[MODEL_CHECKS_MAX])
{
	size_t count = s->health.node ? service_check(s, out) : weak_checks(s, out);

	return stream_checks(s, count, out);
}

bool
gate_result(const struct model *m, const struct replica *p, const struct gate_check *check,
	    struct msg_result *out)
{
	const struct ring_reader *reader = check->n == MODEL_COMMAND_CHECK ? m->runtime : m->probe;
	const struct msg_result *row =
		reader ? ring_table_get(reader, MSG_TABLE_RESULT, p->row.id << 8 | check->n) : NULL;

	if (!row || row->attempt != p->life.attempt || row->total == 0)
		return false;
	*out = *row;
	out->detail[sizeof(out->detail) - 1] = 0;
	return true;
}

void
gate_look(const struct model *m, const struct replica *p, const struct doc_service *s,
	  struct lifecycle_event *event)
{
	struct gate_check checks[MODEL_CHECKS_MAX];

	event->checks = s ? (uint32_t)gate_checks(s, checks) : 0;
	for (uint32_t i = 0; i < event->checks; i++) {
		struct msg_result result;

		if (!gate_result(m, p, &checks[i], &result))
			continue;
		event->passed += result.ok == 1;
		if (result.failures > event->failed_max)
			event->failed_max = result.failures;
	}
}
