/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Metrics and access records of a worker.
 *
 * Series of a route are found by its service and endpoint names and kept for the life of the
 * process: a route that is redeployed goes on counting where it was. Per route the pairs of method
 * and status that occurred are kept in a short list, most recently found first.
 */

#include "proxy/account.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"

enum { PAIRS_MAX = 96, TEXT_MAX = 1024 };

struct pair {
	uint16_t status;
	uint8_t method;
	struct metric_series *requests;
	struct metric_series *duration;
};

struct account_route {
	char service[MSG_TARGET];
	char endpoint[MSG_NAME];
	struct metric_series *in_flight, *upstream, *request_size, *response_size;
	size_t pairs_count;
	struct pair pairs[PAIRS_MAX];
};

static const char *
listener_name(bool tls)
{
	return tls ? "https" : "http";
}

static struct metric_series *
get(struct account *a, enum metrics_id id, const struct metric_labels *labels)
{
	return a->page ? metrics_get(a->page, id, labels) : NULL;
}

static struct metric_series *
get1(struct account *a, enum metrics_id id, const char *name, const char *value)
{
	struct metric_labels l = {0};

	metric_label(&l, name, value);
	return get(a, id, &l);
}

static struct metric_series *
get2(struct account *a, enum metrics_id id, const char *name, const char *value, const char *name2,
     const char *value2)
{
	struct metric_labels l = {0};

	metric_label(&l, name, value);
	metric_label(&l, name2, value2);
	return get(a, id, &l);
}

static void
count(struct metric_series *s)
{
	if (s)
		metric_add(s, 1);
}

void
account_gauge(struct metric_series *s, int64_t delta)
{
	if (s)
		metric_gauge_add(s, delta);
}

static void
observe(struct metric_series *s, enum metrics_id id, uint64_t raw)
{
	if (s)
		metrics_observe(s, id, raw);
}

static struct metric_series *
handshakes(struct account *a, const char *version, bool resumed, const char *result)
{
	struct metric_labels l = {0};

	metric_label(&l, "version", version);
	metric_label(&l, "resumed", resumed ? "true" : "false");
	metric_label(&l, "result", result);
	return get(a, METRICS_TLS_HANDSHAKES, &l);
}

static void
begin_known(struct account *a)
{
	static const char *const rejected[] = {"memory", "connections", "h2_flood", "h2_protocol"};
	static const char *const unrouted[] = {"redirect", "no_route", "no_routes"};

	for (size_t i = 0; i < sizeof(rejected) / sizeof(rejected[0]); i++)
		(void)get2(a, METRICS_HTTP_REJECTED, "service", "", "reason", rejected[i]);
	for (size_t i = 0; i < sizeof(unrouted) / sizeof(unrouted[0]); i++)
		(void)get1(a, METRICS_HTTP_UNROUTED, "reason", unrouted[i]);
	for (int i = 0; i < 2; i++) {
		(void)handshakes(a, "1.2", i == 1, "ok");
		(void)handshakes(a, "1.3", i == 1, "ok");
	}
	(void)handshakes(a, "", false, "failed");
	(void)handshakes(a, "", false, "unknown_name");
}

void
account_init(struct account *a, struct metric_page *page, struct ring_writer *log, const char *node)
{
	memset(a, 0, sizeof(*a));
	a->page = page;
	a->log = log;
	text_copy(a->node, sizeof(a->node), node);
	map_init(&a->routes, MEM_PROXY);
	for (int i = 0; i < 2; i++) {
		const char *name = listener_name(i == 1);

		a->accepted[i] = get1(a, METRICS_CONNECTIONS_ACCEPTED, "listener", name);
		a->h1[i] = get2(a, METRICS_CONNECTIONS_ACTIVE, "listener", name, "protocol",
				"http/1.1");
		a->h2[i] = get2(a, METRICS_CONNECTIONS_ACTIVE, "listener", name, "protocol", "h2");
		a->streams[i] = get1(a, METRICS_H2_STREAMS_ACTIVE, "listener", name);
	}
	begin_known(a);
	a->relayed[0] = get1(a, METRICS_CONNECTIONS_ACCEPTED, "listener", "tcp");
	a->relayed[1] = get1(a, METRICS_CONNECTIONS_ACCEPTED, "listener", "udp");
	a->tcp = get2(a, METRICS_CONNECTIONS_ACTIVE, "listener", "tcp", "protocol", "tcp");
	a->tls = get2(a, METRICS_CONNECTIONS_ACTIVE, "listener", "tcp", "protocol", "tls");
	a->udp = get2(a, METRICS_CONNECTIONS_ACTIVE, "listener", "udp", "protocol", "udp");
}

static size_t
route_key(const struct msg_route *row, char out[MSG_TARGET + MSG_NAME])
{
	size_t service = strlen(row->service_label) + 1;
	size_t endpoint = strlen(row->endpoint) + 1;

	memcpy(out, row->service_label, service);
	memcpy(out + service, row->endpoint, endpoint);
	return service + endpoint;
}

static struct metric_series *
route_series(struct account *a, struct account_route *r, enum metrics_id id)
{
	return get2(a, id, "service", r->service, "endpoint", r->endpoint);
}

void
account_in_flight(struct account_route *r, int delta)
{
	if (r)
		account_gauge(r->in_flight, delta);
}

static void
fill_pair(struct account *a, const struct account_route *r, struct pair *p, enum http_method method,
	  unsigned status)
{
	struct metric_labels requests = {0}, duration = {0};

	p->method = (uint8_t)method;
	p->status = (uint16_t)status;
	metric_label(&requests, "service", r->service);
	metric_label(&requests, "endpoint", r->endpoint);
	metric_label(&requests, "method", http_method_name(method));
	metric_label_u(&requests, "code", status);
	metric_label(&duration, "service", r->service);
	metric_label(&duration, "endpoint", r->endpoint);
	metric_label_u(&duration, "code", status);
	p->requests = get(a, METRICS_HTTP_REQUESTS, &requests);
	p->duration = get(a, METRICS_HTTP_REQUEST_DURATION, &duration);
}

static struct pair *
find_pair(struct account *a, struct account_route *r, enum http_method method, unsigned status)
{
	struct pair found;
	size_t i;

	for (i = 0; i < r->pairs_count; i++) {
		if (r->pairs[i].status == status && r->pairs[i].method == method)
			break;
	}
	if (i == 0 && r->pairs_count > 0)
		return &r->pairs[0];
	if (i < r->pairs_count) {
		found = r->pairs[i];
	} else {
		fill_pair(a, r, &found, method, status);
		if (r->pairs_count < PAIRS_MAX)
			r->pairs_count++;
		i = r->pairs_count - 1; /* the least recent leaves when all are taken */
	}
	memmove(&r->pairs[1], &r->pairs[0], i * sizeof(found));
	r->pairs[0] = found;
	return &r->pairs[0];
}

/* Rates and alerts need a series from before its first event on. */
static void
begin_service(struct account *a, const char *service)
{
	static const struct {
		enum metrics_id id;
		const char *reason;
	} known[] = {
		{METRICS_HTTP_RETRIES, "connect"},
		{METRICS_HTTP_RETRIES, "reused_connection"},
		{METRICS_HTTP_REJECTED, "no_replica"},
		{METRICS_HTTP_REJECTED, "bad_gateway"},
		{METRICS_HTTP_REJECTED, "gateway_timeout"},
		{METRICS_HTTP_REJECTED, "wake_full"},
		{METRICS_HTTP_REJECTED, "wake_late"},
		{METRICS_UPSTREAM_EJECTIONS, "failures"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		(void)get2(a, known[i].id, "service", service, "reason", known[i].reason);
}

struct account_route *
account_route(struct account *a, const struct msg_route *row)
{
	char key[MSG_TARGET + MSG_NAME];
	size_t bytes = route_key(row, key);
	struct account_route *r = map_get(&a->routes, key, bytes);

	if (r)
		return r;
	r = mem_zalloc(MEM_PROXY, sizeof(*r));
	if (!r || map_put(&a->routes, key, bytes, r, NULL)) {
		mem_free(r);
		return NULL;
	}
	text_copy(r->service, sizeof(r->service), row->service_label);
	text_copy(r->endpoint, sizeof(r->endpoint), row->endpoint);
	r->in_flight = route_series(a, r, METRICS_HTTP_IN_FLIGHT);
	r->upstream = route_series(a, r, METRICS_HTTP_UPSTREAM_DURATION);
	r->request_size = route_series(a, r, METRICS_HTTP_REQUEST_SIZE);
	r->response_size = route_series(a, r, METRICS_HTTP_RESPONSE_SIZE);
	begin_service(a, r->service);
	(void)find_pair(a, r, HTTP_GET, 200);
	return r;
}

static size_t
put_text(char *out, size_t at, size_t cap, const char *text, size_t length)
{
	if (length > cap - at - 1)
		length = cap - at - 1;
	if (length > 0)
		memcpy(out + at, text, length);
	out[at + length] = '\0';
	return at + length + 1;
}

static void
log_access(struct account *a, const struct account_request *r)
{
	struct {
		struct msg_access head;
		char text[TEXT_MAX + 8];
	} record;
	size_t n = 0;

	memset(&record.head, 0, sizeof(record.head));
	record.head.wall_ns = r->wall_ns;
	record.head.duration_ns = r->duration_ns;
	record.head.upstream_ns = r->upstream_ns;
	record.head.request_bytes = r->request_bytes;
	record.head.response_bytes = r->response_bytes;
	record.head.replica = r->replica;
	record.head.route = r->route ? r->route->row.id : 0;
	record.head.client = r->client;
	record.head.status = (uint16_t)r->status;
	record.head.method = (uint8_t)r->method;
	record.head.protocol = r->protocol;
	record.head.tls = r->tls;
	record.head.cut = r->cut;
	/* Later texts always find room for their NULs, and the path cannot crowd out the id. */
	n = put_text(record.text, n, 256, r->host, r->host_length);
	n = put_text(record.text, n, TEXT_MAX - 240, r->path, r->path_length);
	n = put_text(record.text, n, TEXT_MAX - 160, r->id, r->id_length);
	n = put_text(record.text, n, TEXT_MAX, r->agent, r->agent_length);
	record.head.text_bytes = (uint16_t)n;
	ring_log_put(a->log, MSG_RECORD_ACCESS, 1, &record, sizeof(record.head) + n);
}

void
account_done(struct account *a, const struct account_request *r)
{
	if (r->series) {
		struct pair *p = find_pair(a, r->series, r->method, r->status);

		count(p->requests);
		observe(p->duration, METRICS_HTTP_REQUEST_DURATION, r->duration_ns);
		observe(r->series->request_size, METRICS_HTTP_REQUEST_SIZE, r->request_bytes);
		observe(r->series->response_size, METRICS_HTTP_RESPONSE_SIZE, r->response_bytes);
		if (r->upstream_ns > 0)
			observe(r->series->upstream, METRICS_HTTP_UPSTREAM_DURATION,
				r->upstream_ns);
	}
	if (a->log)
		log_access(a, r);
}

void
account_accepted(struct account *a, bool tls)
{
	count(a->accepted[tls]);
}

void
account_connection(struct account *a, bool tls, bool h2, int delta)
{
	account_gauge(h2 ? a->h2[tls] : a->h1[tls], delta);
}

void
account_streams(struct account *a, bool tls, int delta)
{
	account_gauge(a->streams[tls], delta);
}

void
account_reset(struct account *a, bool by_client, uint32_t code)
{
	struct metric_labels l = {0};

	metric_label(&l, "side", by_client ? "client" : "server");
	metric_label_u(&l, "code", code <= H2_HTTP_1_1_REQUIRED ? code : 255);
	count(get(a, METRICS_H2_RESETS, &l));
}

void
account_handshake(struct account *a, const char *version, bool resumed, const char *result,
		  uint64_t ns)
{
	count(handshakes(a, version, resumed, result));
	if (strcmp(result, "ok") == 0)
		observe(get1(a, METRICS_TLS_HANDSHAKE_DURATION, "resumed",
			     resumed ? "true" : "false"),
			METRICS_TLS_HANDSHAKE_DURATION, ns);
}

void
account_rejected(struct account *a, const struct route *route, const char *reason)
{
	count(get2(a, METRICS_HTTP_REJECTED, "service", route ? route->row.service_label : "",
		   "reason", reason));
}

void
account_relay_accepted(struct account *a, bool udp)
{
	count(a->relayed[udp]);
}

void
account_relay_active(struct account *a, bool udp, bool tls, int delta)
{
	account_gauge(udp ? a->udp : tls ? a->tls : a->tcp, delta);
}

void
account_relay_rejected(struct account *a, const char *service, const char *reason)
{
	count(get2(a, METRICS_HTTP_REJECTED, "service", service, "reason", reason));
}

void
account_unrouted(struct account *a, const char *reason)
{
	count(get1(a, METRICS_HTTP_UNROUTED, "reason", reason));
}

void
account_retry(struct account *a, const struct route *route, const char *reason)
{
	count(get2(a, METRICS_HTTP_RETRIES, "service", route->row.service_label, "reason", reason));
}

void
account_ejection(struct account *a, const char *service)
{
	count(get2(a, METRICS_UPSTREAM_EJECTIONS, "service", service, "reason", "failures"));
}

struct metric_series *
account_upstream_up(struct account *a, const char *service, const char *replica)
{
	struct metric_labels l = {0};

	metric_label(&l, "service", service);
	metric_label(&l, "replica", replica);
	metric_label(&l, "node", a->node);
	return get(a, METRICS_UPSTREAM_UP, &l);
}

struct metric_series *
account_upstream_connections(struct account *a, const char *service, const char *replica)
{
	return get2(a, METRICS_UPSTREAM_CONNECTIONS, "service", service, "replica", replica);
}
