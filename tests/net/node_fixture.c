/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program like zlayer with roles made for test_node.py: everything of node is the real thing.
 *   proxy          answers every connection with its pid; counts; outlives node
 *   observability  answers on "metrics" with what it reads on the ring, as text
 *   signer         tells what files it was given, in its log
 *   probe, api     do nothing
 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/node.h"
#include "ring/handover.h"
#include "ring/metrics.h"

enum { SOCKETS_MAX = 8 };

struct served {
	uv_poll_t poll;
	int fd;
	char name[32];
};

static struct served served[SOCKETS_MAX];
static size_t served_count;
static struct handover *handover;
static struct station *station;
static bool draining;

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->metric_series = 64;
}

static int
start(struct station *st, struct err *err)
{
	(void)err;
	station = st;
	return 0;
}

static void
answer(int fd, const char *text, size_t bytes)
{
	char request[4096];

	if (recv(fd, request, sizeof(request), 0) > 0) {
		static const char head[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
		ssize_t n = send(fd, head, strlen(head), MSG_NOSIGNAL);

		if (n > 0)
			(void)!send(fd, text, bytes, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
	}
	close(fd);
}

static bool
serve(const struct leash_message *m, int *fds, uv_poll_cb event)
{
	if (served_count == SOCKETS_MAX)
		return false;
	struct served *s = &served[served_count++];
	s->fd = fd_take(&fds[0]);
	text_copy(s->name, sizeof(s->name), m->name);
	s->poll.data = s;
	uv_poll_init(station_loop(station), &s->poll, s->fd);
	uv_poll_start(&s->poll, UV_READABLE, event);
	return true;
}

/* ---- proxy ---- */

static void
proxy_event(uv_poll_t *poll, int status, int events)
{
	struct served *s = poll->data;
	char text[32];
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	text_format(text, sizeof(text), "%d\n", (int)getpid());
	answer(fd, text, strlen(text));
	metric_add(metrics_get(station_metrics(station), METRICS_HTTP_REQUESTS, NULL), 1);
}

static void
proxy_drain(void *arg, uint64_t grace_ms)
{
	(void)arg;
	(void)grace_ms;
	draining = true;
	for (size_t i = 0; i < served_count; i++)
		uv_poll_stop(&served[i].poll);
	station_leave(station, 0);
}

static bool
proxy_listener(void *arg, size_t i, int *fd_out, const char **name_out)
{
	(void)arg;
	if (i >= served_count)
		return false;
	*fd_out = served[i].fd;
	*name_out = served[i].name;
	return true;
}

static const struct handover_events handover_events = {proxy_listener, proxy_drain};

static void
proxy_message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	struct err err = {0};

	(void)count;
	if (m->kind != LEASH_LISTENER)
		return;
	if (!text_equal(m->name, "handover"))
		serve(m, fds, proxy_event);
	else if (handover_new(st, fd_take(&fds[0]), &handover_events, NULL, &handover, &err) < 0)
		log_err(LOG_ERROR, "no handover", &err);
}

static void
proxy_stop(struct station *st, uint64_t grace_ms)
{
	(void)st;
	proxy_drain(NULL, grace_ms);
}

static void
proxy_orphaned(struct station *st)
{
	(void)st;
	log_event(LOG_INFO, "orphaned", LOG_END);
}

static const struct station_role proxy_role = {
	.role = ROLE_PROXY,
	.layout = layout,
	.start = start,
	.message = proxy_message,
	.stop = proxy_stop,
	.orphaned = proxy_orphaned,
};

/* ---- observability ---- */

static char page[65536];
static size_t page_bytes;
static uint64_t requests;

static void
add(const char *text)
{
	text_copy(page + page_bytes, sizeof(page) - page_bytes, text);
	page_bytes += strlen(page + page_bytes);
}

static bool
add_process(void *arg, uint64_t key, const void *row)
{
	const struct msg_process *p = row;
	char line[512];

	(void)arg;
	(void)key;
	text_format(line, sizeof(line), "process %s.%u pid=%u state=%u restarts=%u generation=%u\n",
		    role_name(p->role), p->index, p->pid, p->state, p->restarts, p->generation);
	add(line);
	return true;
}

static bool
add_listener(void *arg, uint64_t key, const void *row)
{
	const struct msg_listener *l = row;
	char line[1024], at[ADDR_TEXT_BYTES];

	(void)arg;
	(void)key;
	addr_put(&l->addr, at, sizeof(at));
	text_format(line, sizeof(line), "listener %s %s up=%u sockets=%u why=%s / %s\n", l->name,
		    at, l->up, l->sockets, l->reason.why, l->reason.why2);
	add(line);
	return true;
}

static void
nothing(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

static void
add_counters(void *arg, struct ring_reader *reader)
{
	const struct metric_page *metrics = ring_reader_metrics(reader);
	struct metric_series s;

	(void)arg;
	for (uint32_t i = 0; metrics && i < metrics->capacity; i++) {
		char line[512];

		if (!metric_read(metrics, i, &s))
			continue;
		if (s.metric == METRICS_HTTP_REQUESTS)
			requests += s.values[0];
		text_format(line, sizeof(line), "metric %s{%s} %llu\n",
			    metrics_family(s.metric)->name, s.labels,
			    (unsigned long long)s.values[0]);
		add(line);
	}
}

static void
observability_event(uv_poll_t *poll, int status, int events)
{
	struct served *s = poll->data;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	struct ring_reader *node = station_reader(station, ROLE_NODE, 0);
	char line[64];

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	page_bytes = 0;
	requests = 0;
	if (node) {
		ring_table_sync(node, MSG_TABLE_PROCESS, sizeof(struct msg_process), nothing, NULL);
		ring_table_sync(node, MSG_TABLE_LISTENER, sizeof(struct msg_listener), nothing,
				NULL);
		ring_table_each(node, MSG_TABLE_PROCESS, add_process, NULL);
		ring_table_each(node, MSG_TABLE_LISTENER, add_listener, NULL);
	}
	station_readers(station, ROLE_NODE, add_counters, NULL);
	station_readers(station, ROLE_PROXY, add_counters, NULL);
	text_format(line, sizeof(line), "requests %llu\n", (unsigned long long)requests);
	add(line);
	answer(fd, page, page_bytes);
}

static void
observability_message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	(void)count;
	if (m->kind == LEASH_LISTENER)
		serve(m, fds, observability_event);
}

static const struct station_role observability_role = {
	.role = ROLE_OBSERVABILITY,
	.layout = layout,
	.start = start,
	.message = observability_message,
};

/* ---- signer ---- */

static void
signer_message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	(void)fds;
	if (m->kind == LEASH_FILE)
		log_event(LOG_INFO, "file", log_s("name", m->name), log_u("what", m->a),
			  log_u("fds", count), LOG_END);
	else if (m->kind == LEASH_FILES_END)
		log_event(LOG_INFO, "files end", LOG_END);
	else if (m->kind == LEASH_CONFIG)
		log_event(LOG_INFO, "configuration", LOG_END);
}

static const struct station_role signer_role = {
	.role = ROLE_SIGNER,
	.layout = layout,
	.start = start,
	.message = signer_message,
};

static const struct station_role probe_role = {
	.role = ROLE_PROBE, .layout = layout, .start = start};
static const struct station_role api_role = {.role = ROLE_API, .layout = layout, .start = start};

static const struct station_role *const table[] = {&proxy_role, &observability_role, &signer_role,
						   &probe_role, &api_role};

int
main(int argc, char **argv)
{
	static const unsigned roles[] = {ROLE_PROXY, ROLE_OBSERVABILITY, ROLE_SIGNER, ROLE_PROBE,
					 ROLE_API};

	char title[16];

	if (argc == 4 && strcmp(argv[1], "role") == 0) {
		text_format(title, sizeof(title), "zlayer:%s", argv[2]);
		prctl(PR_SET_NAME, title);
		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
			if (table[i]->role == role_of_name(argv[2]))
				_exit(station_main(table[i], LEASH_FD, NULL));
	}
	if (argc >= 2 && strcmp(argv[1], "serve") == 0)
		return node_serve(argc - 1, argv + 1, roles, sizeof(roles) / sizeof(roles[0]));
	return 2;
}
