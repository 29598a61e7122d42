/* SPDX-License-Identifier: Apache-2.0 */
/* Screens and targets from what a node tells: status, replicas, progress, short forms, YAML. */
#include "cli/render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "cli/when.h"
#include "cli/yaml_out.h"

static json_t *
json(const char *text)
{
	struct err err = {0};
	json_t *v = json_read_parse(text, strlen(text), &err);

	if (!v)
		fail_msg("%s: %s", err.what, err.why[0]);
	return v;
}

static const char status_text[] =
	"{\"node\":{\"name\":\"edge-1\",\"version\":\"0.1.0\",\"started\":\"2026-11-10T00:00:00Z\"}"
	","
	"\"datapath\":{\"mode\":\"bpf "
	"(tcx)\"},\"deployments\":[{\"name\":\"my-app\",\"revision\":12,"
	"\"state\":\"degraded\",\"services\":[{\"name\":\"api\",\"state\":\"degraded\",\"ready\":2,"
	"\"desired\":3,\"url\":\"https://a.test/"
	"api\"},{\"name\":\"db\",\"state\":\"ready\",\"ready\":1,"
	"\"desired\":1,\"url\":null}]},{\"name\":\"my-job\",\"revision\":null,\"state\":\"failed\","
	"\"services\":[]},{\"name\":\"jobs\",\"revision\":3,\"state\":\"stable\",\"services\":["
	"{\"name\":\"a\",\"rtype\":\"job\",\"state\":\"ready\",\"ready\":0,\"desired\":0,\"runs\":"
	"{\"kept\":0,\"running\":0,\"last\":null}},"
	"{\"name\":\"b\",\"rtype\":\"job\",\"state\":\"ready\",\"runs\":{\"kept\":1,\"running\":1,"
	"\"last\":{\"index\":1,\"state\":\"starting\",\"container\":{\"state\":\"running\",\"exit_"
	"status\":null}}}},"
	"{\"name\":\"c\",\"rtype\":\"job\",\"state\":\"ready\",\"runs\":{\"kept\":4,\"running\":0,"
	"\"last\":{\"index\":7,\"state\":\"stopped\",\"container\":{\"exit_status\":0,\"exited\":"
	"\"2026-11-21T23:55:00Z\"}}}},"
	"{\"name\":\"d\",\"rtype\":\"job\",\"state\":\"ready\",\"runs\":{\"kept\":4,\"running\":0,"
	"\"last\":{\"index\":8,\"state\":\"failed\",\"reason\":{\"what\":\"x\"},\"container\":null}"
	"}}"
	"]}],\"warnings\":[{\"deployment\":\"my-app\",\"text\":\"my-app/api.3: "
	"cannot find "
	"the \\u001b[31mimage\",\"why\":[\"no such name\"],\"fix\":\"zlayer image import\"}]}";

/* Crons say when they run next, or why they do not. */
static void
test_crons(void **state)
{
	static const char text[] =
		"{\"deployments\":[{\"name\":\"shop\",\"revision\":1,\"services\":["
		"{\"name\":\"a\",\"rtype\":\"cron\",\"runs\":{\"kept\":0,\"last\":null},"
		"\"cron\":{\"state\":\"waiting\",\"next\":\"2026-11-22T03:00:00Z\"}},"
		"{\"name\":\"b\",\"rtype\":\"cron\",\"runs\":{\"kept\":1,\"last\":{\"index\":4,"
		"\"state\":\"stopped\",\"container\":{\"exit_status\":0,\"exited\":"
		"\"2026-11-21T23:55:00Z\"}}},\"cron\":{\"state\":\"disabled\",\"next\":null}},"
		"{\"name\":\"c\",\"rtype\":\"cron\",\"runs\":{\"kept\":0,\"last\":null},"
		"\"cron\":null},"
		"{\"name\":\"d\",\"rtype\":\"cron\",\"runs\":{\"kept\":1,\"last\":{\"index\":7,"
		"\"state\":\"stopped\",\"node\":\"edge-2\",\"here\":false,\"container\":null}},"
		"\"cron\":null}]}]}";
	struct render r = {0};
	json_t *status = json(text);
	struct buf out;

	(void)state;
	assert_true(text_untime("2026-11-22T00:00:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_status(status, "", "", &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "0 runs    never run; next in 3h "));
	assert_non_null(strstr(buf_cstr(&out), "1 run     run 4 ok, 5m ago; disabled "));
	assert_non_null(strstr(buf_cstr(&out), "0 runs    never run  "));
	assert_non_null(strstr(buf_cstr(&out), "1 run     run 7 ended on edge-2 "));
	buf_fini(&out);
	json_read_free(status);
}

static void
test_status(void **state)
{
	struct render r = {0};
	json_t *status = json(status_text);
	struct buf out;

	(void)state;
	assert_true(text_untime("2026-11-22T00:00:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_status(status, "", "", &r, &out);
	assert_string_equal(
		buf_cstr(&out),
		"edge-1   up 12d   zlayer 0.1.0   data path bpf (tcx)   1 warning\n"
		"\n"
		"DEPLOYMENT  REV  SERVICE  REPLICAS  STATE               URL\n"
		"my-app      12   api      2/3 !     degraded            https://a.test/api\n"
		"                 db       1/1       ready               -\n"
		"my-job      -    -        -         failed\n"
		"jobs        3    a        0 runs    never run           -\n"
		"                 b        1 run     run 1 is running    -\n"
		"                 c        4 runs    run 7 ok, 5m ago    -\n"
		"                 d        4 runs    run 8 failed (125)  -\n"
		"! my-app/api.3: cannot find the \\x1b[31mimage\n"
		"    why  no such name\n"
		"    fix  zlayer image import\n");
	buf_reset(&out);
	render_status(status, "my-app", "db", &r, &out);
	assert_null(strstr(buf_cstr(&out), "api  "));
	buf_fini(&out);
	json_read_free(status);
}

static const char cluster_text[] =
	"{\"id\":\"4a1f09bc4a1f09bc4a1f09bc\",\"self\":1,\"admission\":\"token\",\"store\":{"
	"\"engine\":\"follower\",\"writer\":\"edge-2\",\"writable\":false,\"why\":{\"what\":\"edge-"
	"2 "
	"does not answer\",\"why\":[\"refused\"],\"fix\":\"start it\"},\"sequence\":7},\"nodes\":{"
	"\"total\":3,\"new\":0,\"alive\":2,\"suspect\":0,\"unreachable\":1,\"left\":0},\"gossip\":"
	"\"10.0.0.1:9881\",\"certificate_not_after\":\"2026-12-06T00:00:00.000000000Z\","
	"\"trouble\":null}";
static const char nodes_text[] =
	"[{\"id\":1,\"name\":\"edge-1\",\"self\":true,\"state\":\"alive\",\"draining\":true,"
	"\"zone\":"
	"\"here\",\"cpu_milli\":2500,\"cpu_free_milli\":500,\"memory_bytes\":2147483648,"
	"\"memory_free_bytes\":1073741824,\"replicas\":4,\"since\":\"2026-11-21T23:00:00Z\","
	"\"backend\":\"engine\",\"labels\":"
	"{\"gpu\":\"true\",\"disk\":\"ssd\"},\"taints\":{\"alone\":\"\"},\"keeper\":true},"
	"{\"id\":2,\"name\":\"edge-2\",\"self\":false,\"state\":\"unreachable\",\"zone\":null,"
	"\"cpu_milli\":2500,\"cpu_free_milli\":500,\"replicas\":0,\"accuser\":\"edge-3\","
	"\"writer\":true,"
	"\"since\":\"2026-11-21T23:56:00Z\",\"labels\":{},\"taints\":{}}]";

static void
test_nodes(void **state)
{
	struct render r = {0};
	json_t *nodes = json(nodes_text), *cluster = json(cluster_text);
	struct buf out;

	(void)state;
	assert_true(text_untime("2026-11-22T00:00:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_nodes(nodes, &r, &out);
	assert_string_equal(
		buf_cstr(&out),
		"NODE     STATE            ZONE  CPU      MEMORY       REPLICAS  SINCE\n"
		"edge-1*  alive, draining  here  2.0/2.5  1 GiB/2 GiB  4         60m\n"
		"edge-2   unreachable      -     -        -            -         4m\n");
	buf_reset(&out);
	r.wide = true;
	render_nodes(nodes, &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "engine     gpu=true,disk=ssd  alone\n"));
	buf_reset(&out);
	render_node(json_read_at(nodes, 1), &r, &out);
	assert_string_equal(buf_cstr(&out), "edge-2   node 2\n"
					    "  state     unreachable for 4m, as edge-3 said first\n"
					    "  does      takes changes\n"
					    "  cpu       2.0/2.5\n"
					    "  replicas  0\n");
	buf_reset(&out);
	render_cluster(cluster, &r, &out);
	assert_string_equal(
		buf_cstr(&out),
		"cluster 4a1f09bc4a1f09bc   3 nodes: 2 alive, 1 unreachable\n"
		"  this node 1, gossip on 10.0.0.1:9881, certificate until 2026-12-06\n"
		"  admission token: with a ticket of zlayer invite\n"
		"  store     edge-2 is the only node that takes changes; while it is away the "
		"others serve and heal, and changes are refused\n"
		"            7 changes so far\n"
		"! changes are refused: edge-2 does not answer\n"
		"    why     refused\n"
		"    fix     start it\n");
	buf_fini(&out);
	json_read_free(nodes);
	json_read_free(cluster);
}

static const char etcd_text[] =
	"{\"id\":\"4a1f09bc4a1f09bc\",\"self\":1,\"admission\":\"token\",\"store\":{\"engine\":"
	"\"etcd\","
	"\"writer\":null,\"writable\":true,\"sequence\":7,\"voters\":3,\"voters_up\":2,"
	"\"member_bytes\":42991616,\"member_quota_bytes\":2147483648,\"member_behind\":3,\"note\":"
	"\"no other node can run "
	"etcd\",\"members\":[{\"name\":\"edge-2\",\"votes\":true,\"up\":true,"
	"\"leads\":true},{\"name\":\"edge-1\",\"votes\":true,\"up\":true,\"leads\":false},{"
	"\"name\":\"edge-3\","
	"\"votes\":true,\"up\":false,\"leads\":false},{\"name\":\"edge-4\",\"votes\":false,\"up\":"
	"true,"
	"\"leads\":false}]},\"nodes\":{\"total\":4,\"alive\":4},\"gossip\":\"10.0.0.1:9881\","
	"\"certificate_not_after\":\"2026-12-06T00:00:00Z\"}";

/* Who keeps the store, who leads, how many it takes. */
static void
test_members_of_the_store(void **state)
{
	struct render r = {0};
	json_t *cluster = json(etcd_text);
	json_t *node =
		json("{\"id\":3,\"name\":\"edge-3\",\"state\":\"alive\",\"etcd\":{\"state\":"
		     "\"votes\",\"able\":true,\"up\":false,\"leads\":false,\"since\":"
		     "\"2026-11-21T23:00:00Z\",\"version\":\"3.4.23\",\"reason\":\"no room\"}}");
	struct buf out;

	(void)state;
	assert_true(text_untime("2026-11-22T00:00:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_cluster(cluster, &r, &out);
	assert_non_null(
		strstr(buf_cstr(&out),
		       "  store     etcd on edge-2 (leads), edge-1, edge-3 (down), edge-4 "
		       "(learns): changes need 2 of 3\n"
		       "            this node's part takes 41 MiB of 2 GiB and is 3 changes "
		       "behind\n"
		       "            no other node can run etcd\n"
		       "            7 changes so far\n"));
	buf_reset(&out);
	render_node(node, &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "  etcd      votes for 60m, down\n"
					       "            no room\n"));
	buf_fini(&out);
	json_read_free(cluster);
	json_read_free(node);
}

/* A node in no cluster says nothing of one; one that is in one shows it first. */
static void
test_status_of_a_cluster(void **state)
{
	static char text[8192];
	struct render r = {0};
	struct buf out;

	(void)state;
	snprintf(
		text, sizeof(text),
		"{\"node\":{\"name\":\"edge-1\",\"version\":\"0.1.0\"},\"cluster\":%s,\"nodes\":%s,"
		"\"deployments\":[],\"warnings\":[]}",
		cluster_text, nodes_text);
	json_t *status = json(text);
	assert_true(text_untime("2026-11-22T00:00:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_status(status, "", "", &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "   3 nodes: 2 alive, 1 unreachable\n\nNODE "));
	assert_non_null(strstr(buf_cstr(&out), "\nstore: edge-2 is the only node"));
	json_read_free(status);
	buf_reset(&out);
	status = json("{\"node\":{\"name\":\"edge-1\",\"version\":\"0.1.0\"},\"cluster\":{\"self\":"
		      "null,\"nodes\":{\"total\":1}},\"nodes\":[{\"name\":\"edge-1\"}]}");
	render_status(status, "", "", &r, &out);
	assert_null(strstr(buf_cstr(&out), "NODE "));
	assert_null(strstr(buf_cstr(&out), "1 node"));
	buf_reset(&out);
	render_cluster(json_read_get(status, "cluster"), &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "in no cluster"));
	buf_fini(&out);
	json_read_free(status);
}

static void
test_where_the_kernel_balances(void **state)
{
	struct render r = {0};
	json_t *status = json("{\"node\":{\"name\":\"edge-1\",\"version\":\"0.1.0\"},\"datapath\":{"
			      "\"mode\":\"bpf (tcx)\",\"xdp\":\"generic\",\"attached\":["
			      "{\"interface\":\"eth0\",\"xdp\":\"generic\",\"shared\":false},"
			      "{\"interface\":\"eth1\",\"xdp\":\"native\",\"shared\":true}]}}");
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 20);
	render_status(status, "", "", &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "   XDP generic eth0 eth1 (native) (shared)\n"));
	buf_fini(&out);
	json_read_free(status);
}

static void
test_replicas(void **state)
{
	struct render r = {0};
	json_t *list = json("[{\"name\":\"my-app/web.1\",\"state\":\"ready\",\"revision\":3,"
			    "\"node\":\"edge-1\",\"restarts\":1,\"since\":\"2026-11-22T00:00:00Z\","
			    "\"container\":{\"memory_bytes\":1048576}},"
			    "{\"name\":\"my-app/web.2\",\"state\":\"stopped\",\"revision\":3},"
			    "{\"name\":\"my-app/tick.1\",\"state\":\"starting\",\"job\":true,"
			    "\"container\":{\"state\":\"running\"}}]");
	struct buf out;

	(void)state;
	assert_true(text_untime("2026-11-22T00:05:00Z", &r.now_wall_ns));
	buf_init(&out, MEM_CLI, 1 << 20);
	render_replicas(list, &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "my-app/web.1   ready    3    edge-1  1"));
	assert_null(strstr(buf_cstr(&out), "web.2"));
	assert_non_null(strstr(buf_cstr(&out), "my-app/tick.1  running"));
	buf_reset(&out);
	r.all = r.colour = true;
	render_replicas(list, &r, &out);
	assert_non_null(strstr(buf_cstr(&out), "web.2"));
	assert_non_null(strstr(buf_cstr(&out), "\033[32mready\033[0m"));
	buf_fini(&out);
	json_read_free(list);
}

static void
feed(struct progress *p, const char *event, const char *text, int64_t now, struct buf *line)
{
	json_t *v = json(text);

	progress_feed(p, event, v, now, line);
	json_read_free(v);
}

static void
test_progress(void **state)
{
	static struct progress p;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 20);
	progress_init(&p, 1000000000);
	feed(&p, "operation",
	     "{\"deployment\":\"my-app\",\"kind\":\"deploy\",\"state\":\"running\",\"revision\":13,"
	     "\"previous_revision\":12,\"steps_done\":0,\"steps_total\":2,\"reason\":null}",
	     0, &out);
	feed(&p, "replica",
	     "{\"id\":1,\"name\":\"my-app/web.1\",\"revision\":13,\"state\":\"creating\","
	     "\"node\":\"edge-1\"}",
	     1000000000, &out);
	assert_string_equal(buf_cstr(&out), "web.1 creating revision=13 node=edge-1");
	buf_reset(&out);
	feed(&p, "replica",
	     "{\"id\":1,\"name\":\"my-app/web.1\",\"revision\":13,\"state\":\"ready\","
	     "\"node\":\"edge-1\"}",
	     1800000000, &out);
	assert_string_equal(buf_cstr(&out), "web.1 ready revision=13 node=edge-1 after=0.8s");
	buf_reset(&out);
	feed(&p, "replica",
	     "{\"id\":9,\"name\":\"my-app/web.1\",\"revision\":12,\"state\":\"ready\"}", 0, &out);
	feed(&p, "nonsense", "[1]", 0, &out);
	buf_reset(&out);
	assert_int_equal(progress_draw(&p, 2000000000, false, &out), 2);
	assert_non_null(strstr(buf_cstr(&out), "  web.1        edge-1      ready 0.8s\n"));
	assert_non_null(strstr(buf_cstr(&out), "0/2   1 of revision 12 still there"));
	assert_false(progress_ended(&p));
	feed(&p, "operation",
	     "{\"deployment\":\"my-app\",\"kind\":\"deploy\",\"state\":\"rolled_back\","
	     "\"revision\":13,\"reason\":{\"kind\":\"timeout\",\"what\":\"web.1 did not become "
	     "healthy\",\"why\":[\"a\",\"b\"],\"fix\":\"c\"}}",
	     3000000000, &out);
	assert_true(progress_ended(&p));
	assert_int_equal(p.reason.kind, ERR_TIMEOUT);
	assert_int_equal(p.reason.whys, 2);
	buf_fini(&out);
}

/* One that ends again and again may be on its way out without a state that says so. */
static void
test_progress_sees_each_end(void **state)
{
	static const char fmt[] = "{\"id\":7,\"name\":\"my-app/web.1\",\"revision\":2,"
				  "\"state\":\"%s\",\"restarts\":%u,\"reason\":%s}";
	static const char ended[] = "{\"kind\":\"system\",\"what\":\"web.1 ended\",\"why\":"
				    "[\"the process exited with status 3\"],\"fix\":\"\"}";
	static const struct {
		const char *state;
		unsigned restarts, troubles;
	} steps[] = {{"starting", 0, 0}, {"creating", 1, 1}, {"starting", 1, 1},
		     {"creating", 2, 2}, {"stopping", 3, 3}, {"stopping", 3, 3}};
	static struct progress p;
	struct buf out, text;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 20);
	buf_init(&text, MEM_CLI, 1 << 20);
	progress_init(&p, 0);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		buf_reset(&text);
		buf_printf(&text, fmt, steps[i].state, steps[i].restarts,
			   steps[i].restarts ? ended : "null");
		feed(&p, "replica", buf_cstr(&text), 0, &out);
		assert_int_equal(p.troubles, steps[i].troubles);
		assert_int_equal(p.troubled, steps[i].restarts ? 7 : 0);
	}
	assert_string_equal(p.trouble.what, "web.1 ended");
	buf_fini(&text);
	buf_fini(&out);
}

/* What is as it was before the operation began is no news. */
static void
test_progress_of_a_change(void **state)
{
	static struct progress p;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 20);
	progress_init(&p, 0);
	p.what = "my-app/web.2";
	feed(&p, "operation",
	     "{\"deployment\":\"my-app\",\"kind\":\"stop\",\"state\":\"running\",\"revision\":1,"
	     "\"started\":\"2026-11-22T00:05:00Z\",\"reason\":null}",
	     0, &out);
	feed(&p, "replica",
	     "{\"id\":1,\"name\":\"my-app/web.1\",\"revision\":1,\"state\":\"ready\","
	     "\"since\":\"2026-11-22T00:04:59Z\",\"restarts\":1,\"reason\":{\"kind\":\"system\","
	     "\"what\":\"it ended\",\"why\":[]},\"container\":{\"pull\":{\"active\":false,"
	     "\"bytes\":1000,\"total_bytes\":1000,\"layers\":1,\"layers_here\":0}}}",
	     0, &out);
	assert_int_equal(out.length, 0);
	assert_int_equal(p.troubled, 0);
	feed(&p, "replica",
	     "{\"id\":2,\"name\":\"my-app/web.2\",\"revision\":1,\"state\":\"draining\","
	     "\"since\":\"2026-11-22T00:05:00Z\"}",
	     0, &out);
	assert_string_equal(buf_cstr(&out), "web.2 draining revision=1");
	buf_reset(&out);
	feed(&p, "operation",
	     "{\"deployment\":\"my-app\",\"kind\":\"stop\",\"state\":\"done\",\"revision\":1,"
	     "\"started\":\"2026-11-22T00:05:00Z\",\"ended\":\"2026-11-22T00:05:01Z\","
	     "\"reason\":null}",
	     0, &out);
	progress_result(&p, &out);
	assert_string_equal(buf_cstr(&out), "my-app/web.2 is stopped.  1s\n");
	buf_fini(&out);
}

/* Off a terminal the time in which the new ones are watched must not look like nothing. */
static void
test_progress_tells_that_it_watches(void **state)
{
	static struct progress p;
	static const char operation[] =
		"{\"deployment\":\"my-app\",\"kind\":\"deploy\",\"state\":\"running\",\"revision\":"
		"2,"
		"\"previous_revision\":1,\"steps_done\":1,\"steps_total\":1,\"reason\":null}";
	static const char ready[] = "{\"id\":1,\"name\":\"my-app/web.1\",\"revision\":2,"
				    "\"state\":\"ready\",\"node\":\"edge-1\"}";
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 20);
	progress_init(&p, 0);
	feed(&p, "operation", operation, 0, &out);
	assert_int_equal(out.length, 0);
	/* The clock was set back meanwhile. */
	feed(&p, "replica", ready, -5000000000, &out);
	assert_string_equal(buf_cstr(&out), "web.1 ready revision=2 node=edge-1 after=0s\n"
					    "my-app watched revision=2 ready=1");
	buf_reset(&out);
	feed(&p, "operation", operation, 0, &out);
	feed(&p, "replica", ready, 0, &out);
	assert_int_equal(out.length, 0);
	feed(&p, "replica",
	     "{\"id\":1,\"name\":\"my-app/web.1\",\"revision\":2,\"state\":\"unhealthy\"}", 0,
	     &out);
	buf_reset(&out);
	feed(&p, "replica", ready, 0, &out);
	assert_non_null(strstr(buf_cstr(&out), "watched"));
	buf_fini(&out);
}

static void
test_event(void **state)
{
	struct render r = {0};
	json_t *event =
		json("{\"ts\":\"2026-11-22T00:00:00Z\",\"type\":\"replica.unhealthy\","
		     "\"severity\":\"warn\",\"deployment\":\"shop\",\"service\":\"web\","
		     "\"index\":1,\"text\":\"web.1 takes no requests until its checks pass\","
		     "\"reason\":{\"what\":\"web.1 on edge-1 did not become healthy\","
		     "\"why\":[\"GET /health answered 500, expected 200\"]}}");
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 4096);
	render_event(event, &r, &out);
	assert_string_equal(buf_cstr(&out),
			    "2026-11-22T00:00:00Z  replica.unhealthy  shop/web.1  web.1 takes no "
			    "requests until its checks pass: GET /health answered 500, "
			    "expected 200\n");
	json_read_free(event);
	/* The text may have said why. */
	event = json("{\"ts\":\"2026-11-22T00:00:00Z\",\"type\":\"placement.lost\","
		     "\"deployment\":\"shop\",\"service\":\"web\",\"text\":\"web.3 is placed anew: "
		     "edge-2 is not reachable\",\"reason\":{\"what\":\"web.3 is placed anew\","
		     "\"why\":[\"edge-2 is not reachable\"]}}");
	buf_reset(&out);
	render_event(event, &r, &out);
	assert_string_equal(buf_cstr(&out),
			    "2026-11-22T00:00:00Z  placement.lost  shop/web  web.3 is placed anew: "
			    "edge-2 is not reachable\n");
	buf_fini(&out);
	json_read_free(event);
}

/* Without a terminal a script has said what it wants; --no-input says that it has not. */
static void
test_unasked(void **state)
{
	struct cli cli = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(cli_sure(&cli, "It is lost.\nRecover?", &err), 0);
	cli.args.given[FLAG_NO_INPUT] = true;
	assert_int_equal(cli_sure(&cli, "It is lost.\nRecover?", &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_string_equal(err.what, "this is asked first: Recover?");
	assert_string_equal(err.fix, "say so: --yes");
	cli.yes = true;
	assert_int_equal(cli_sure(&cli, "Recover?", &err), 0);
}

static void
test_targets(void **state)
{
	json_t *list =
		json("[{\"name\":\"shop\",\"services\":[{\"name\":\"web\"},{\"name\":\"db\"}]},"
		     "{\"name\":\"shoes\",\"services\":[{\"name\":\"web\"}]}]");
	static const struct {
		const char *text, *full;
	} good[] = {{"shop", "shop"},  {"shop/web.2", "shop/web.2"},
		    {"db", "shop/db"}, {"db.1", "shop/db.1"},
		    {"shoe", "shoes"}, {"shoe/web", "shoes/web"}};
	static const char *const bad[] = {"web",        "sho", "none", "shop/none", "shop/",
					  "shop/web.0", "",    "SHOP", "a/b/c",     "shop.x"};
	char text[TARGET_TEXT_BYTES];
	struct target t;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(target_match(list, good[i].text, &t, &err), 0);
		target_text(&t, text);
		assert_string_equal(text, good[i].full);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(target_match(list, bad[i], &t, &err), -1);
	json_read_free(list);
}

static void
test_yaml(void **state)
{
	json_t *v = json(
		"{\"a\":[1,{\"b\":null,\"c\":\"yes\"},[]],\"d\":{\"e\":\"x y\",\"f\":\"word\"}}");
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 4096);
	yaml_out_put(&out, v);
	assert_string_equal(buf_cstr(&out), "a:\n  - 1\n  - b: null\n    c: \"yes\"\n  - []\nd:\n"
					    "  e: \"x y\"\n  f: word\n");
	buf_fini(&out);
	json_read_free(v);
}

static void
test_when(void **state)
{
	struct err err = {0};
	int64_t at;

	(void)state;
	assert_int_equal(when_parse("10m", 1000000000000000, &at, &err), 0);
	assert_int_equal(at, 1000000000000000 - 600000000000);
	assert_int_equal(when_parse("2026-11-22T00:00:00Z", 0, &at, &err), 0);
	assert_int_equal(when_parse("yesterday", 0, &at, &err), -1);
}

/* 16 KiB is what a record of a log may have; three bytes a character fall on every place of a
 * piece. */
static void
test_long_text(void **state)
{
	char text[16384 + 8] = "\t\033x\t", want[sizeof(text) + 8] = "\t\\x1bx\t";
	static char got[sizeof(want) + 8];

	(void)state;
	while (strlen(text) < 16380) {
		text_format(text + strlen(text), 8, "\u20ac");
		text_format(want + strlen(want), 8, "\u20ac");
	}
	for (size_t at = 0; at < 8; at++) {
		FILE *f = tmpfile();
		size_t n;

		assert_non_null(f);
		cli_put_text(f, at < 4, text + at);
		rewind(f);
		n = fread(got, 1, sizeof(got) - 1, f);
		got[n] = 0;
		fclose(f);
		if (at == 0)
			assert_string_equal(got, want);
		else if (at >= 4)
			assert_string_equal(got, text + at);
		else
			assert_string_equal(got + strlen(got) - 12000, want + strlen(want) - 12000);
	}
}

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	return json_read_open(&err);
}

/* A run is ready for nothing: "starting" until its end would be no help. */
static void
test_run_state(void **state)
{
	static const struct {
		const char *run, *word;
	} cases[] = {
		{"{\"state\":\"pending\",\"container\":null}", "pending"},
		{"{\"state\":\"creating\",\"container\":{\"state\":\"creating\"}}", "creating"},
		{"{\"state\":\"starting\",\"container\":{\"state\":\"running\"}}", "running"},
		{"{\"state\":\"stopped\",\"container\":{\"state\":\"exited\"}}", "ended"},
		{"{\"state\":\"failed\",\"container\":null}", "ended"},
		{"{\"state\":\"starting\",\"here\":true,\"container\":null}", "starting"},
		{"{\"state\":\"starting\",\"here\":false,\"container\":null}", "running"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *run = json(cases[i].run);

		assert_string_equal(job_state(run), cases[i].word);
		json_read_free(run);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_crons),
		cmocka_unit_test(test_run_state),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_status_of_a_cluster),
		cmocka_unit_test(test_members_of_the_store),
		cmocka_unit_test(test_where_the_kernel_balances),
		cmocka_unit_test(test_replicas),
		cmocka_unit_test(test_progress_tells_that_it_watches),
		cmocka_unit_test(test_event),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_progress_of_a_change),
		cmocka_unit_test(test_progress_sees_each_end),
		cmocka_unit_test(test_unasked),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_long_text),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
