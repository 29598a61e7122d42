/* SPDX-License-Identifier: Apache-2.0 */
/* What the api role answers (rig.h): views, changes, streams, hostile clients, want of memory. */
#include "api/route.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/server.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "tests/unit/api/rig.h"
#include "wire/json_read.h"

enum { BIG = 4 << 20 };

static void
test_views(void **state)
{
	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
	assert_int_equal(rig_ask("GET", "/readyz", "", NULL), 503); /* nobody published processes */
	assert_int_equal(rig_ask("GET", "/v1/status", "", NULL), 200);
	assert_true(rig_has("\"shop/web.1: cannot find the image\""));
	assert_int_equal(rig_ask("GET", "/v1/replicas/77", "", NULL), 200);
	assert_true(rig_has("\"type\":\"ImageReady\",\"status\":false,\"reason\":\"not_found\""));
	assert_int_equal(rig_ask("GET", "/v1/replicas?target=shop/web.1", "", NULL), 200);
	assert_true(rig_has("\"id\":77"));
	assert_int_equal(rig_ask("GET", "/v1/replicas?target=other", "", NULL), 200);
	assert_false(rig_has("\"id\":77"));
	assert_int_equal(rig_ask("GET", "/v1/deployments/shop", "", NULL), 200);
	assert_true(rig_has("etag: \"1\""));
	assert_int_equal(rig_ask("HEAD", "/v1/version", "", NULL), 200);
	assert_false(rig_has("{"));
	assert_int_equal(rig_ask("GET", "/v1/openapi.json", "", NULL), 200);
}

static const char document[] =
	"version: v1\ndeployment: shop\nservices:\n  web:\n    image: {name: "
	"a:1}\n";

static void
test_changes(void **state)
{
	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("PUT", "/v1/deployments/shop", "", document), 202);
	assert_true(rig_has("\"changes\":[\"~ web image a -> b\",\"+ web env X\"]"));
	assert_int_equal(rig_ask("PUT", "/v1/deployments/shop", "if-match: \"1\"\r\n", document),
			 202);
	assert_int_equal(rig_ask("PUT", "/v1/deployments/shop", "if-match: \"9\"\r\n", document),
			 412);
	assert_int_equal(rig_ask("PUT", "/v1/deployments/shop", "if-match: x\r\n", document), 412);
	assert_int_equal(rig_ask("PUT", "/v1/deployments/other", "", document), 400);
	assert_int_equal(rig_ask("PUT", "/v1/deployments/shop", "", "version: v2\nfoo: 1\n"), 400);
	assert_true(rig_has("\"diagnostics\":[{\"code\":"));
	assert_int_equal(rig_ask("PATCH", "/v1/services/shop/web", "", "{\"replicas\": 3}"), 202);
	assert_int_equal(rig_ask("PATCH", "/v1/services/shop/web", "", "{\"replicas\": -3}"), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/services/shop/web", "", "{\"replica\": 3}"), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/services/shop/none", "", "{\"replicas\": 3}"), 404);
	assert_int_equal(rig_ask("POST", "/v1/deployments/shop/stop", "", "{\"index\": 1"), 400);
	assert_int_equal(rig_ask("POST", "/v1/deployments/shop/stop", "", "{\"grace_ms\": 1}"),
			 202);
	assert_int_equal(rig_ask("DELETE", "/v1/images/none%2Fimage:1", "", NULL), 404);
	assert_int_equal(rig_ask("POST", "/v1/images?name=a:1", "", "0123456789"), 201);
	assert_true(rig_has("\"bytes\":10,"));
	assert_int_equal(rig_ask("POST", "/v1/images", "", NULL), 400);
}

static void
test_nodes(void **state)
{
	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("GET", "/v1/nodes", "", NULL), 200);
	assert_true(rig_has(
		"{\"items\":[{\"id\":1,\"name\":\"edge-1\",\"self\":true,\"state\":\"alive\""));
	assert_true(
		rig_has("\"labels\":{\"disk\":\"ssd\",\"gpu\":\"true\",\"bare\":\"\"},\"taints\":{"
			"\"alone\":\"\"}"));
	assert_true(rig_has("\"cpu_milli\":2500,\"cpu_free_milli\":500,\"memory_bytes\":null"));
	assert_int_equal(rig_ask("GET", "/v1/nodes/20", "", NULL), 200);
	assert_true(rig_has("\"name\":\"edge-2\"") && rig_has("\"accuser\":\"edge-1\""));
	assert_int_equal(rig_ask("GET", "/v1/nodes/edge-2", "", NULL), 200);
	assert_true(rig_has("\"since\":\"1970-01-01T00:00:01"));
	assert_int_equal(rig_ask("GET", "/v1/nodes/2", "", NULL), 404);
	assert_true(rig_has("zlayer node ls"));
	assert_int_equal(rig_ask("GET", "/v1/replicas/77", "", NULL), 200);
	assert_true(rig_has("\"node\":null,\"here\":true"));
	assert_int_equal(rig_ask("GET", "/v1/replicas/78", "", NULL), 200);
	assert_true(rig_has("\"node\":\"edge-2\",\"here\":false"));
	assert_int_equal(rig_ask("POST", "/v1/nodes/none/drain", "", NULL), 404);
	assert_int_equal(rig_ask("POST", "/v1/nodes/edge-2/drain", "", "{\"seconds\": 30}"), 200);
	assert_true(rig_has("\"20.drain.\":\".30.0\""));
	assert_int_equal(rig_ask("POST", "/v1/nodes/edge-2/drain", "", "{\"second\": 30}"), 400);
	assert_int_equal(rig_ask("POST", "/v1/nodes/edge-2/undrain", "", NULL), 200);
	assert_true(rig_has("\"20.undrain.\":"));
	assert_int_equal(rig_ask("POST", "/v1/nodes/edge-2/rotate", "", NULL), 200);
	assert_true(rig_has("\"20.rotate.\":"));
	assert_int_equal(rig_ask("DELETE", "/v1/nodes/edge-2?force=true", "", NULL), 200);
	assert_true(rig_has("\"20.remove.\":\".0.1\""));
	assert_int_equal(rig_ask("DELETE", "/v1/nodes/edge-2?force=maybe", "", NULL), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "",
				 "{\"labels\": {\"first\": \"1\", \"b\": null}}"),
			 200);
	assert_true(rig_has("\"20.label.first\":\"1.0.0\"") &&
		    rig_has("\"20.unlabel.b\":\".0.0\""));
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "",
				 "{\"taints\": {\"first\": \"\", \"c\": null}, \"labels\": {}}"),
			 200);
	assert_true(rig_has("\"20.taint.first\":") && rig_has("\"20.untaint.c\":"));
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{}"), 200);
	assert_true(rig_has("\"name\":\"edge-2\",\"self\":false"));
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"bad\": \"x\"}}"),
			 400);
	assert_true(rig_has("that is no label"));
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{\"labels\": [\"x\"]}"), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"x\": 1}}"), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{\"labels\": {\"\": \"x\"}}"), 400);
	assert_int_equal(rig_ask("PATCH", "/v1/nodes/20", "", "{\"label\": {}}"), 400);
}

static void
test_cluster(void **state)
{
	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("GET", "/v1/cluster", "", NULL), 200);
	assert_true(rig_has(
		"\"self\":1,\"admission\":\"token\",\"store\":{\"engine\":\"writer\",\"writer\":"
		"\"edge-1\",\"writable\":true,\"why\":null,\"sequence\":9,\"members\":[],"
		"\"voters\":0,\"voters_up\":0,\"member_bytes\":0,\"member_quota_bytes\":0,\"member_"
		"behind\":0,"
		"\"outside\":null,\"note\":null},\"nodes\":{\"total\":2,"
		"\"new\":0,\"alive\":1,\"suspect\":0,\"unreachable\":1,\"left\":0}"));
	assert_int_equal(rig_ask("GET", "/v1/status", "", NULL), 200);
	assert_true(rig_has("\"cluster: its clock is wrong\"") &&
		    rig_has("\"node edge-2: does not answer since 1970-01-01T00:00:01Z\"") &&
		    rig_has("\"edge-1 said so\"") && rig_has("zlayer node rm edge-2"));
	assert_true(rig_has("\"cluster\":{\"id\":\"aaaa") && rig_has("\"nodes\":[{\"id\":1"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/invite", "", "{\"uses\": 2, \"ttl_s\": 60}"),
			 200);
	assert_true(
		rig_has("{\"ticket\":\"zl1-secret\",\"expires\":\"1970-01-01T00:16:40.000000000Z\","
			"\"uses\":2,\"created\":true}"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/invite", "", NULL), 200);
	assert_int_equal(rig_ask("POST", "/v1/cluster/invite", "", "{\"uses\": 7}"), 422);
	assert_false(rig_has("secret"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/invite", "", "{\"uses\": -1}"), 400);
	assert_int_equal(rig_ask("POST", "/v1/cluster/join", "",
				 "{\"ticket\": \"zl1-\", \"name\": \"edge-9\"}"),
			 200);
	assert_true(rig_has("{\"node\":3,\"nodes\":3,\"id\":\"abc\"}"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/join", "", "{\"ticket\": \"zl1-x\"}"), 403);
	assert_true(rig_has("this ticket has ended") && rig_has("ask for another one") &&
		    !rig_has("zl1-x"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/join", "", "{\"ticket\": \"zl1 x\"}"), 400);
	assert_false(rig_has("zl1 x"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/join", "", "{}"), 400);
	assert_int_equal(rig_ask("POST", "/v1/cluster/join", "", "{\"ticket\": 5}"), 400);
	assert_int_equal(rig_ask("POST", "/v1/cluster/leave", "", NULL), 503);
	assert_true(rig_has("the writer does not answer") && !rig_has("retry-after"));
	assert_int_equal(rig_ask("POST", "/v1/cluster/leave", "", "{\"force\": true}"), 200);
	assert_int_equal(rig_ask("PUT", "/v1/cluster/admission", "", "{\"mode\": \"closed\"}"),
			 200);
	assert_int_equal(rig_ask("PUT", "/v1/cluster/admission", "", "{\"mode\": \"ajar\"}"), 400);
	assert_int_equal(rig_ask("PUT", "/v1/cluster/admission", "", "{}"), 400);
}

static void
test_streams(void **state)
{
	static const char events_all[] =
		"GET /v1/events/stream?since=0 HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char events_late[] =
		"GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nlast-event-id: 2\r\n\r\n";
	static const char exec[] =
		"GET /v1/replicas/77/exec?command=hello HTTP/1.1\r\nhost: x\r\nconnection: "
		"upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: "
		"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_talk(events_all, strlen(events_all), "id: 3\n"), 200);
	assert_true(rig_has("id: 1\n") && rig_has("id: 2\n"));
	assert_int_equal(rig_talk(events_late, strlen(events_late), "id: 3\n"), 200);
	assert_false(rig_has("id: 2\n"));
	assert_int_equal(rig_ask("GET", "/v1/operations/5/stream", "", NULL), 200);
	assert_true(rig_has("event: operation\n") && rig_has("event: replica\n") &&
		    rig_has("event: result\n"));
	assert_int_equal(rig_ask("GET", "/v1/replicas/77/logs", "", NULL), 200);
	assert_true(rig_has("\"text\":\"first \\\"line\\\"\"}"));
	assert_int_equal(rig_ask("GET", "/v1/logs?target=shop&tail=5", "", NULL), 200);
	assert_true(rig_has("\"replica\":\"shop/web.1\""));
	assert_int_equal(rig_talk(exec, strlen(exec), "\x88\x02\x03\xe8"), 101);
	assert_true(rig_has("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

/* Adds to the last answer until that is there, or the end; false: it was the end. */
static bool
read_on(int fd, const char *until)
{
	size_t length = strlen(rig_answer);
	ssize_t n;

	while (!rig_has(until)) {
		n = recv(fd, rig_answer + length, sizeof(rig_answer) - 1 - length, 0);
		assert_true(n >= 0);
		if (n == 0)
			return false;
		length += (size_t)n;
		rig_answer[length] = 0;
	}
	return true;
}

/* So old that it is not kept any more: nobody waits for its end. */
static void
test_a_stream_of_what_is_forgotten(void **state)
{
	static const char stream[] = "GET /v1/operations/6/stream HTTP/1.1\r\nhost: x\r\n"
				     "connection: close\r\n\r\n";
	int fd;

	(void)state;
	rig_wait_ready();
	fd = rig_dial();
	rig_answer[0] = 0;
	assert_int_equal(send(fd, stream, strlen(stream), MSG_NOSIGNAL), (ssize_t)strlen(stream));
	assert_true(read_on(fd, "event: operation\n"));
	atomic_store(&rig_control->forgets, true);
	assert_false(read_on(fd, "event: result\n"));
	close(fd);
	assert_int_equal(rig_ask("GET", "/v1/operations/6/stream", "", NULL), 404);
}

static bool
in_order(const char *const *texts, size_t count)
{
	const char *at = rig_answer;

	for (size_t i = 0; i < count && at; i++)
		at = strstr(at, texts[i]);
	return at != NULL;
}

/* Of all nodes by time, of one by its name, and who is away. */
static void
test_events_of_all_nodes(void **state)
{
	static const char *const order[] = {
		"{\"id\":41,\"node\":\"edge-2\"", "{\"id\":1,\"node\":\"edge-1\"",
		"{\"id\":2,\"node\":\"edge-1\"",  "{\"id\":42,\"node\":\"edge-2\"",
		"{\"id\":3,\"node\":\"edge-1\"",  "\"away\":[]"};
	static const char late[] = "GET /v1/events/stream?after=1970-01-01T00:00:01.000000001Z "
				   "HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char one[] = "GET /v1/events/stream?after=1970-01-01T00:00:01Z&node=edge-2 "
				  "HTTP/1.1\r\nhost: x\r\nlast-event-id: 0\r\n\r\n";
	static const char early[] = "GET /v1/events/stream?after=1970-01-01T00:00:00.5Z "
				    "HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char *const gap[] = {
		"event: lost\ndata: {\"node\":\"edge-2\",\"from\":0,\"to\":40}", "\"id\":41,",
		"\"id\":42,"};
	static const char away[] = "event: away\ndata: {\"node\":\"edge-2\",\"reason\":{";

	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("GET", "/v1/events", "", NULL), 200);
	assert_true(in_order(order, sizeof(order) / sizeof(order[0])));
	/* The newest of all; ids are of one node. */
	assert_int_equal(rig_ask("GET", "/v1/events?limit=1", "", NULL), 200);
	assert_false(rig_has("edge-2"));
	assert_int_equal(rig_ask("GET", "/v1/events?since=0", "", NULL), 200);
	assert_false(rig_has("edge-2"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-1", "", NULL), 200);
	assert_true(rig_has("\"id\":3,") && !rig_has("edge-2"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-2", "", NULL), 200);
	assert_true(rig_has("\"newest\":42") && !rig_has("edge-1"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-2&since=41", "", NULL), 200);
	assert_true(rig_has("\"newest\":42") && rig_has("\"id\":42,") && !rig_has("\"id\":41,"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-2&since=42", "", NULL), 200);
	assert_true(rig_has("\"items\":[]") && rig_has("\"newest\":0"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-9", "", NULL), 404);
	/* As they come. */
	assert_int_equal(rig_talk(late, strlen(late), "\"id\":42,"), 200);
	assert_false(rig_has("\"id\":41,") || rig_has("id: 42"));
	assert_int_equal(rig_talk(one, strlen(one), "\"id\":42,"), 200);
	assert_true(rig_has("\"id\":42,") && !rig_has("edge-1"));
	/* What it still has begins later than was asked for. */
	assert_int_equal(rig_talk(early, strlen(early), "\"id\":42,"), 200);
	assert_true(in_order(gap, sizeof(gap) / sizeof(gap[0])));
	/* One that is away is named and left out. */
	atomic_store(&rig_control->away, true);
	assert_int_equal(rig_ask("GET", "/v1/events", "", NULL), 200);
	assert_true(rig_has("\"away\":[{\"node\":\"edge-2\",\"reason\":{") &&
		    rig_has("edge-2 is not reachable") && rig_has("\"id\":1,") && !rig_has(":42,"));
	assert_int_equal(rig_ask("GET", "/v1/events?node=edge-2", "", NULL), 503);
	assert_int_equal(rig_talk(late, strlen(late), away), 200);
	assert_true(rig_has(away));
	atomic_store(&rig_control->away, false);
}

/* Likewise; this node is one of those that are asked, also for what comes. */
static void
test_flows_of_all_nodes(void **state)
{
	static const char *const order[] = {"{\"items\":[{\"id\":41,\"node\":\"edge-2\"",
					    "{\"id\":2,\"node\":\"edge-1\"", "\"away\":[]"};
	static const char *const whole[] = {
		"\"verdict\":\"dropped\",\"reason\":\"isolated\",\"text\":\"",
		"\"rule\":\"network.overlays\",\"protocol\":\"tcp\"",
		"\"source\":{\"address\":\"10.200.1.5\",\"port\":40000,\"deployment\":\"shop\","
		"\"service\":\"web\",\"index\":1}",
		"\"destination\":{\"address\":\"fd00::7\",\"port\":5432}",
		"\"way\":\"sealed\",\"seen\":\"veth\",\"bytes\":60,\"peer\":null}"};
	static const char stream[] = "GET /v1/flows/stream HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char dropped[] =
		"GET /v1/flows/stream?verdict=dropped&service=blog/db&node=edge-2&peer=edge-1 "
		"HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char *const far[] = {"event: lost\ndata: {\"node\":\"edge-2\",\"count\":9}",
					  "event: flow\ndata: {\"id\":42,\"node\":\"edge-2\"",
					  "\"deployment\":\"blog\",\"service\":\"db\"",
					  "\"peer\":\"edge-1\"}"};
	static const char away[] = "event: away\ndata: {\"node\":\"edge-2\",\"reason\":{";

	(void)state;
	rig_wait_ready();
	assert_int_equal(rig_ask("GET", "/v1/flows", "", NULL), 200);
	assert_true(in_order(order, sizeof(order) / sizeof(order[0])));
	assert_true(in_order(whole, sizeof(whole) / sizeof(whole[0])));
	assert_false(rig_has("observed"));
	assert_int_equal(rig_ask("GET", "/v1/flows?limit=1", "", NULL), 200);
	assert_true(rig_has("\"id\":2,") && !rig_has("\"id\":41,"));
	assert_int_equal(rig_ask("GET", "/v1/flows?node=edge-2&verdict=forwarded", "", NULL), 200);
	assert_true(rig_has("\"id\":41,") && !rig_has("edge-1") &&
		    rig_has("\"verdict\":\"forwarded\",\"protocol\""));
	assert_int_equal(rig_ask("GET", "/v1/flows?node=edge-1&service=db&peer=edge-7", "", NULL),
			 200);
	assert_true(rig_has("\"service\":\"db\"") && rig_has("\"peer\":\"edge-7\"") &&
		    !rig_has("edge-2"));
	/* Who is no service has no document. */
	assert_true(rig_has("\"reason\":\"isolated\"") && !rig_has("\"rule\""));
	static const char *const wrong[] = {"verdict=maybe", "service=a/b/c", "service=/b",
					    "peer=-",        "limit=0",       "limit=1001"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char target[64];

		snprintf(target, sizeof(target), "/v1/flows?%s", wrong[i]);
		assert_int_equal(rig_ask("GET", target, "", NULL), 400);
	}
	assert_int_equal(rig_ask("GET", "/v1/flows?node=edge-9", "", NULL), 404);
	/* As they come: not what was before. */
	assert_int_equal(rig_talk(stream, strlen(stream), "\"id\":3,"), 200);
	assert_true(rig_has("\"id\":3,\"node\":\"edge-1\"") && rig_has("observed"));
	assert_false(rig_has("\"id\":2,") || rig_has("\"id\":41,"));
	/* Who wants drops alone makes nobody tell more. */
	assert_int_equal(rig_talk(dropped, strlen(dropped), "\"id\":42,"), 200);
	assert_true(in_order(far, sizeof(far) / sizeof(far[0])));
	assert_false(rig_has("observed") || rig_has("\"node\":\"edge-1\""));
	atomic_store(&rig_control->away, true);
	assert_int_equal(rig_ask("GET", "/v1/flows", "", NULL), 200);
	assert_true(rig_has("\"away\":[{\"node\":\"edge-2\"") && rig_has("\"id\":2,"));
	assert_int_equal(rig_ask("GET", "/v1/flows?node=edge-2", "", NULL), 503);
	assert_int_equal(rig_talk(stream, strlen(stream), away), 200);
	assert_true(rig_has(away));
	atomic_store(&rig_control->away, false);
}

/* Without memory an answer is whole, an error, or cut; never a list that lacks something. */
static void
test_memory_runs_out(void **state)
{
	static const struct {
		const char *target, *last;
	} lists[] = {{"/v1/status", "\"warnings\":["}, {"/v1/deployments", "shop"},
		     {"/v1/services", "web"},          {"/v1/replicas", "web.1"},
		     {"/v1/services/shop/web", "web"}, {"/v1/services/shop/web/clients", "told"}};
	unsigned refused = 0;

	(void)state;
	rig_wait_ready();
	for (unsigned i = 0; i < 6 * 41 * 2; i++) {
		const char *target = lists[i % 6].target;

		assert_int_equal(kill(rig_control->api, SIGUSR1), 0);
		unsigned status = rig_ask("GET", target, "", NULL);
		const char *body = strstr(rig_answer, "\r\n\r\n");
		const char *length = strstr(rig_answer, "content-length: ");
		bool whole = body && length && strlen(body + 4) == strtoul(length + 16, NULL, 10);
		if (whole && status < 500) {
			if (status != 200 || !rig_has(lists[i % 6].last) || !rig_has("shop"))
				print_error("%s\n", rig_answer);
			assert_int_equal(status, 200);
			assert_true(rig_has(lists[i % 6].last) && rig_has("shop"));
		}
		refused += status >= 500;
	}
	assert_true(refused > 0);
	rig_wait_ready();
}

/* As this node's clients reach a service, by endpoint and replica. */
static void
test_clients(void **state)
{
	static const char target[] = "/v1/services/shop/web/clients";

	(void)state;
	rig_wait_ready();
	for (int i = 0; i < 1000; i++) { /* until all tables have come */
		assert_int_equal(rig_ask("GET", target, "", NULL), 200);
		if (rig_has("does not take"))
			break;
		usleep(10000);
	}
	assert_true(rig_has(
		"{\"items\":[{\"endpoint\":\"raw\",\"protocol\":\"tcp\",\"port\":7100,"
		"\"xdp\":\"generic\",\"reason\":null,\"replicas\":[{\"name\":\"shop/web.1\","
		"\"index\":1,\"node\":null,\"by\":\"kernel\",\"sees\":\"client\","
		"\"reason\":null},{\"name\":\"shop/web.2\",\"index\":2,\"node\":\"edge-2\","
		"\"by\":\"relay\",\"sees\":\"node\",\"reason\":{\"kind\":\"unsupported\","
		"\"what\":\"edge-2 only dials out\""));
	assert_true(rig_has("\"index\":3,\"node\":\"edge-9\",\"by\":\"relay\",\"sees\":\"node\","
			    "\"reason\":{\"kind\":\"unsupported\","
			    "\"what\":\"edge-9 does not take clients' packets\""));
	assert_true(rig_has("{\"endpoint\":\"safe\",\"protocol\":\"tcp\",\"port\":7102,"
			    "\"xdp\":\"off\",\"reason\":{\"kind\":\"unsupported\","
			    "\"what\":\"its TLS is ended here\""));
	assert_true(rig_has("{\"endpoint\":\"told\"") &&
		    rig_has("\"what\":\"stream.proxy_protocol is true\"") &&
		    rig_has("\"by\":\"relay\",\"sees\":\"header\",\"reason\":null"));
	assert_false(rig_has("inside"));
	assert_int_equal(rig_ask("GET", "/v1/services/shop/none/clients", "", NULL), 404);
	assert_int_equal(rig_ask("GET", "/v1/status", "", NULL), 200);
	/* Its prefix stands for the address of who only dials out. */
	assert_true(rig_has("\"name\":\"edge-2\",\"address\":null,\"via\":\"edge-1\",\"prefix4\":"
			    "\"10.200.2.0/24\"") &&
		    rig_has("\"name\":\"hand\",\"address\":null,\"via\":null"));
}

/* Lines of a replica that is there: all of them, or a word that they were lost. */
static void
test_logs_without_memory(void **state)
{
	unsigned whole = 0;
	int many[60];

	(void)state;
	rig_wait_ready();
	/* The library ends a process that has no memory for a descriptor higher than all before. */
	for (size_t i = 0; i < 60; i++)
		many[i] = rig_dial();
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
	for (size_t i = 0; i < 60; i++)
		close(many[i]);
	for (unsigned i = 0; i < 41 * 2; i++) {
		assert_int_equal(kill(rig_control->api, SIGUSR1), 0);
		if (rig_ask("GET", "/v1/logs?target=shop&tail=5", "", NULL) != 200 ||
		    !rig_has("\r\n0\r\n\r\n"))
			continue;
		whole++;
		if (rig_has("\"replica\":\"shop/web.1\",\"lost\""))
			continue;
		assert_true(rig_has("\"text\":\"first") && rig_has("\"text\":\"second"));
	}
	assert_true(whole > 0);
	rig_wait_ready();
}

static void
test_hostile(void **state)
{
	static char big[BIG];
	static const struct {
		const char *request;
		unsigned status;
	} cases[] = {
		{"\x16\x03\x01\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET /healthz HTTP/9.1\r\nhost: x\r\n\r\n", 505},
		{"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n"
		 "transfer-encoding: chunked\r\n\r\n",
		 400},
		{"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na", 400},
		{"GET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/replicas/abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/replicas/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404},
		{"GET /v1/events?since=-1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400},
		{"GET /v1/logs?target=../x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400},
		{"GET /v1/replicas/77/exec?command=a HTTP/1.1\r\nhost: x\r\nconnection: "
		 "close\r\n\r\n",
		 426},
		{"PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n",
		 413},
		{"PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
		 "chunked\r\n\r\nzz\r\n",
		 400},
	};

	(void)state;
	rig_wait_ready();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(rig_talk(cases[i].request, strlen(cases[i].request), NULL),
				 cases[i].status);
	assert_int_equal(rig_ask("POST", "/v1/status", "", ""), 405);
	assert_true(rig_has("allow: GET\r\n"));
	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /", 5);
	assert_int_equal(rig_talk(big, 64 << 10, NULL), 414);
	memcpy(big,
	       "PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
	       "chunked\r\n\r\n300000\r\n",
	       strlen("PUT /v1/deployments/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
		      "chunked\r\n\r\n300000\r\n"));
	assert_int_equal(rig_talk(big, sizeof(big), NULL), 413);
	/* Clients that leave in the middle, and ones that never read. */
	for (int i = 0; i < 50; i++) {
		int fd = rig_dial();

		(void)!send(fd, "DELETE /v1/deployments/shop HTTP/1.1\r\nhost: x\r\n\r\n", 50, 0);
		close(fd);
	}
	int idle[20];
	for (size_t i = 0; i < 20; i++) {
		idle[i] = rig_dial();
		for (int k = 0; k < 200; k++)
			if (send(idle[i], "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", 37,
				 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
				break;
	}
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
	for (size_t i = 0; i < 20; i++)
		close(idle[i]);
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
}

static void
test_keep_alive(void **state)
{
	static const char two[] =
		"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
		"GET /none HTTP/1.1\r\nhost: x\r\n\r\n"
		"GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

	(void)state;
	assert_int_equal(rig_talk(two, strlen(two), NULL), 200);
	assert_true(rig_has("HTTP/1.1 404") && rig_has("\"api\":\"v1\""));
}

/* More than a user may ask for is refused with words; a moment later it may ask again. */
static void
test_too_many(void **state)
{
	static const char one[] = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
	static const char last[] = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
	enum { ROUNDS = 8, MANY = 1000 };
	static char many[MANY * (sizeof(one) - 1) + sizeof(last)];
	uint64_t begun = world_mono_ns(), ns = 0;
	bool refused = false;

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		memcpy(many + i * (sizeof(one) - 1), one, sizeof(one) - 1);
	memcpy(many + MANY * (sizeof(one) - 1), last, sizeof(last));
	for (int i = 0; i < ROUNDS && !refused; i++) {
		assert_int_equal(rig_talk(many, strlen(many), NULL), 200);
		refused = rig_has("HTTP/1.1 429 ");
		ns = world_mono_ns() - begun;
	}
	if (!refused) /* only where all of them were not too many */
		assert_true(ns / 1000000 * SERVER_RATE > (ROUNDS * MANY - SERVER_BURST) * 1000ull);
	else
		assert_true(rig_has("\r\nretry-after: 1\r\n") &&
			    rig_has("\"detail\":\"too many requests\"") &&
			    rig_has("a user may make 500 a second") && rig_has("events/stream"));
	/* Once: what has come meanwhile may be enough for one. */
	unsigned status = rig_ask("GET", "/healthz", "", NULL);
	for (int i = 0; i < 2000 && status != 200; i++) {
		poll(NULL, 0, 10);
		status = rig_ask("GET", "/healthz", "", NULL);
	}
	assert_int_equal(status, 200);
}

/* The document and the table say the same. */
static void
test_openapi(void **state)
{
	struct err err = {0};
	struct buf text;
	size_t operations = 0;

	(void)state;
	buf_init(&text, MEM_BASE, 1 << 20);
	assert_int_equal(fd_read_file(AT_FDCWD, OPENAPI, &text, &err), 0);
	json_t *root = json_read_parse(buf_cstr(&text), text.length, &err);
	assert_non_null(root);
	json_t *paths = json_read_get(root, "paths");
	for (size_t i = 0; i < route_table_count; i++) {
		const struct route *r = &route_table[i];
		char method[16];

		text_copy(method, sizeof(method), http_method_name(r->method));
		for (char *at = method; *at; at++)
			*at = (char)(*at | 0x20);
		const json_t *o = json_read_get(json_read_get(paths, r->pattern), method);
		assert_string_equal(json_read_text(o, "operationId"), r->name);
	}
	for (void *it = json_read_first(paths); it; it = json_read_next(paths, it))
		operations += json_read_count(json_read_value(it));
	assert_int_equal(operations, route_table_count);
	json_read_free(root);
	buf_fini(&text);
}

static int
begin(void **state)
{
	struct err err = {0};

	(void)state;
	return rig_begin(NULL) < 0 ? -1 : json_read_open(&err);
}

static int
end(void **state)
{
	(void)state;
	rig_end();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openapi),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_a_stream_of_what_is_forgotten),
		cmocka_unit_test(test_events_of_all_nodes),
		cmocka_unit_test(test_flows_of_all_nodes),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_cluster),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_memory_runs_out),
		cmocka_unit_test(test_logs_without_memory),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_too_many),
	};

	if (getuid() != 0) {
		printf("1..0 # SKIP needs root to change its user\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, begin, end);
}
