/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of history each. Ids grow by one, so that a reader sees a gap; an event that cannot be
 * kept because the store has been failing for thousands of them is counted and gone from there (it
 * was in the log of the segment).
 */
#include "scheduler/event.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/events.h"

static void
keep(struct model *m, const struct msg_event *e)
{
	if (m->events_count >= MODEL_EVENTS_WAITING) {
		struct event *oldest = container_of(m->events.next, struct event, link);

		list_remove(&oldest->link);
		mem_free(oldest);
		m->events_count--;
		m->events_lost++;
	}
	struct event *kept = mem_zalloc(MEM_SCHEDULER, sizeof(*kept));
	if (!kept) {
		m->events_lost++;
		return;
	}
	kept->row.id = e->id;
	kept->row.event = *e;
	list_push(&m->events, &kept->link);
	m->events_count++;
}

static void emit(struct model *m, struct msg_event *e, const struct msg_reason *reason,
		 const char *fmt, va_list args) __attribute__((format(printf, 4, 0)));

static void
emit(struct model *m, struct msg_event *e, const struct msg_reason *reason, const char *fmt,
     va_list args)
{
	char text[512];

	assert(events_known(e->type));
	vsnprintf(text, sizeof(text), fmt, args);
	text_copy(e->text, sizeof(e->text), text);
	e->id = m->next_event++;
	e->wall_ns = m->wall_ns;
	if (reason)
		e->reason = *reason;
	if (m->writer)
		ring_log_put(m->writer, MSG_RECORD_EVENT, 1, e, sizeof(*e));
	keep(m, e);
	log_event((enum log_level)e->severity, e->text, log_s("type", e->type),
		  log_s("deployment", e->deployment), log_s("service", e->service),
		  log_u("replica", e->replica), LOG_END);
}

void
event_deployment(struct model *m, const struct deployment *d, const struct service *s,
		 const char *type, enum log_level severity, const struct msg_reason *reason,
		 const char *fmt, ...)
{
	struct msg_event e = {.severity = (uint32_t)severity, .revision = d->row.target};
	va_list args;

	text_copy(e.type, sizeof(e.type), type);
	text_copy(e.deployment, sizeof(e.deployment), d->row.name);
	if (s)
		text_copy(e.service, sizeof(e.service), s->row.name);
	if (d->operation)
		e.operation = d->operation->row.id;
	va_start(args, fmt);
	emit(m, &e, reason, fmt, args);
	va_end(args);
}

void
event_replica(struct model *m, const struct replica *p, const char *type, enum log_level severity,
	      const struct msg_reason *reason, const char *fmt, ...)
{
	const struct deployment *d = p->service->deployment;
	struct msg_event e = {
		.severity = (uint32_t)severity,
		.revision = p->row.revision,
		.index = p->row.index,
		.replica = p->row.id,
	};
	va_list args;

	text_copy(e.type, sizeof(e.type), type);
	text_copy(e.deployment, sizeof(e.deployment), d->row.name);
	text_copy(e.service, sizeof(e.service), p->service->row.name);
	if (d->operation)
		e.operation = d->operation->row.id;
	va_start(args, fmt);
	emit(m, &e, reason, fmt, args);
	va_end(args);
}

void
event_node(struct model *m, const char *type, enum log_level severity,
	   const struct msg_reason *reason, const char *fmt, ...)
{
	struct msg_event e = {.severity = (uint32_t)severity};
	va_list args;

	m->wall_ns = world_wall_ns(); /* no pass is under way that has a time of its own */
	text_copy(e.type, sizeof(e.type), type);
	va_start(args, fmt);
	emit(m, &e, reason, fmt, args);
	va_end(args);
}
