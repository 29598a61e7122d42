/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer's XDP program, in nanoseconds per packet on one core: BPF_PROG_TEST_RUN with a fresh
 * packet each time (bench/bpf/again.bpf.c). Needs root; works in a mount and a network namespace of
 * its own.
 *
 *   floor       a program that returns at once, called the same way: loop, writing of the headers
 *               and the call; it is the peer of every row and is measured in turns with it
 *   hit         data of established connections, of so many flows, drawn at random
 *   syn         the first packet of a new connection each time
 *   change      the same while half of the backends drain, and so half of the slots change hands:
 *               SYNs are pinned in the table of flows
 *   pass        a packet that is for nobody here
 *
 * bench-lb [--json] [--rounds N]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>
#include "base/text.h"
#include "bench/bench.h"
#include "dataplane/libbpf.h"
#include "dataplane/services.h"
#include "dataplane/veth.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "bench/lb.skel.h"
#pragma GCC diagnostic pop

enum { REPEAT = 1000000, ROUNDS = 5, ROUNDS_MAX = 99, BACKENDS = 10, PORT = 5432, CLAIM = 15 };

static const char vip4[] = "192.0.2.1", vip6[] = "2001:db8::1";

struct rig {
	struct veth *veth;
	struct lb *lb;
	struct services *services;
	struct lb_again *again;
	bool json;
	size_t rounds;
};

struct bench_case {
	const char *name;
	uint32_t flows; /* a power of two */
	bool v6, syn, other_port, changing;
};

static const struct bench_case cases[] = {
	{.name = "hit 1 flow", .flows = 1},
	{.name = "hit 1 k flows", .flows = 1 << 10},
	{.name = "hit 64 k flows", .flows = 1 << 16},
	{.name = "hit 1 M flows", .flows = 1 << 20},
	{.name = "syn new flows", .flows = 1 << 24, .syn = true},
	{.name = "non-vip", .flows = 1 << 16, .other_port = true},
	{.name = "ipv6 hit 1 flow", .flows = 1, .v6 = true},
	{.name = "ipv6 hit", .flows = 1 << 16, .v6 = true},
	{.name = "ipv6 hit 1 M flows", .flows = 1 << 20, .v6 = true},
	{.name = "ipv6 non-vip", .flows = 1 << 16, .v6 = true, .other_port = true},
	{.name = "changing hit", .flows = 1 << 16, .changing = true},
	{.name = "changing syn", .flows = 1 << 24, .syn = true, .changing = true},
};

static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "bench-lb: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
check(int rc, const struct err *err)
{
	if (rc == 0)
		return;
	err_print(err, "bench-lb", stderr);
	exit(1);
}

static char folder[] = "/tmp/zlayer-bench-XXXXXX";

static void
isolate(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(1, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
	must(unshare(CLONE_NEWNS | CLONE_NEWNET) == 0, "needs root");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount");
	must(mkdtemp(folder) != NULL, folder);
	must(mount("bpf", folder, "bpf", 0, NULL) == 0 && chdir(folder) == 0, folder);
	must(system("ip link add a0 type veth peer name b0") == 0, "ip");
}

static void
fill(struct services_input *in, struct msg_stream *stream, struct msg_backend *backends,
     struct msg_veth *veths)
{
	char text[64];

	*stream = (struct msg_stream){.id = 1,
				      .service = 1,
				      .service_label = "bench/lb",
				      .endpoint = "tcp",
				      .protocol = MSG_STREAM_TCP,
				      .flags = MSG_STREAM_PUBLIC,
				      .port = PORT};
	for (unsigned i = 0; i < BACKENDS; i++) {
		backends[i] = (struct msg_backend){.replica = i + 1,
						   .service = 1,
						   .state = MSG_BACKEND_ACTIVE,
						   .ports_count = 1,
						   .ports = {6432}};
		veths[i] = (struct msg_veth){.replica = i + 1, .ifindex = if_nametoindex("a0")};
		text_format(text, sizeof(text), "10.200.7.%u", i + 2);
		must(addr_parse_ip(text, &veths[i].addr4), text);
		text_format(text, sizeof(text), "fd00::%u", i + 2);
		must(addr_parse_ip(text, &veths[i].addr6), text);
	}
	must(addr_parse_ip(vip4, &in->addresses[0]) && addr_parse_ip(vip6, &in->addresses[1]),
	     "addresses");
	in->addresses_count = in->own_count = 2;
	in->mtu = 1420;
	in->attached = true;
}

static void
update(struct rig *rig, bool changing)
{
	static uint64_t now = 1000;
	struct msg_stream stream;
	struct msg_backend backends[BACKENDS];
	struct msg_veth veths[BACKENDS];
	const struct msg_stream *streams[] = {&stream};
	const struct msg_backend *all[BACKENDS];
	const struct msg_veth *links[BACKENDS];
	struct services_input in = {.streams = streams,
				    .streams_count = 1,
				    .backends = all,
				    .backends_count = BACKENDS,
				    .veths = links,
				    .veths_count = BACKENDS};
	struct err err = {0};

	fill(&in, &stream, backends, veths);
	for (size_t i = 0; i < BACKENDS; i++) {
		all[i] = &backends[i];
		links[i] = &veths[i];
		if (changing && i < BACKENDS / 2)
			backends[i].state = MSG_BACKEND_DRAINING;
	}
	check(services_update(rig->services, &in, now, &err), &err);
	for (int i = 0; !changing && i < 3; i++) {
		services_tick(rig->services, now);
		now += PLAN_IDLE_MS + PLAN_SETTLE_MS;
	}
}

static void
be_alike(struct bpf_program *program)
{
	must(libbpf.bpf_program__set_expected_attach_type(program, (enum bpf_attach_type)0) == 0,
	     "cannot prepare the bench's programs");
}

static void
open_rig(struct rig *rig)
{
	struct err err = {0};

	check(veth_open(getuid(), &rig->veth, &err), &err);
	const struct lb_calls calls = {veth_chain(rig->veth), veth_denied(rig->veth)};
	check(lb_open(veth_folder(rig->veth), EDGE_FLOWS_DEFAULT, &calls, &rig->lb, &err), &err);
	check(services_new(rig->lb, 1000, &rig->services, &err), &err);
	rig->again = lb_again__open();
	must(rig->again != NULL, "cannot open the bench's programs");
	/* The balancer's have none, and programs that call each other by a map must be alike. */
	be_alike(rig->again->progs.xdp_again);
	be_alike(rig->again->progs.xdp_floor);
	must(lb_again__load(rig->again) == 0, "cannot load the bench's programs");
}

static double
run(struct rig *rig, const struct bench_case *c, int program)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .repeat = REPEAT);
	struct lb_again__bss *g = rig->again->bss;
	uint8_t packet[86] = {0}, out[128];
	uint32_t zero = 0;

	must(libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(rig->again->maps.target), &zero,
					&program, BPF_ANY) == 0,
	     "target");
	g->flows_mask = c->flows - 1;
	g->is_v6 = c->v6;
	inet_pton(AF_INET, vip4, &g->dest4);
	inet_pton(AF_INET6, vip6, g->dest6);
	g->dest_port = htons(c->other_port ? 80 : PORT);
	g->tcp_flags = c->syn ? 0x02 : 0x10;
	opts.data_in = packet;
	opts.data_size_in = sizeof(packet);
	opts.data_out = out;
	opts.data_size_out = sizeof(out);
	int rc = libbpf.bpf_prog_test_run_opts(libbpf.bpf_program__fd(rig->again->progs.xdp_again),
					       &opts);
	must(rc == 0, "test run");
	return opts.duration;
}

static void
measure_floor(struct rig *rig)
{
	static const struct bench_case any = {.flows = 1};
	int peer = libbpf.bpf_program__fd(rig->again->progs.xdp_floor);
	double floors[ROUNDS_MAX];

	update(rig, false);
	(void)run(rig, &any, peer);
	for (size_t i = 0; i < rig->rounds; i++)
		floors[i] = run(rig, &any, peer);
	double ns = bench_quantile(floors, rig->rounds, 0.5);
	struct bench_row row = {.bench = "lb",
				.row = "floor",
				.unit = "ns",
				.ours = ns,
				.peer_name = "floor",
				.peer = ns};
	bench_print(rig->json, &row);
}

static double
measure(struct rig *rig, const struct bench_case *c)
{
	double ours[ROUNDS_MAX], floors[ROUNDS_MAX];
	int peer = libbpf.bpf_program__fd(rig->again->progs.xdp_floor);

	update(rig, c->changing);
	(void)run(rig, c, lb_program_edge(rig->lb));
	for (size_t i = 0; i < rig->rounds; i++) {
		floors[i] = run(rig, c, peer);
		ours[i] = run(rig, c, lb_program_edge(rig->lb));
	}
	struct bench_row row = {.bench = "lb",
				.row = c->name,
				.unit = "ns",
				.ours = bench_quantile(ours, rig->rounds, 0.5),
				.peer_name = "floor",
				.peer = bench_quantile(floors, rig->rounds, 0.5)};
	bench_print(rig->json, &row);
	return row.ours;
}

static void
claim(double one, double many, bool json)
{
	if (!json)
		printf("\nhit at 1 M flows is within %d %% of hit at 1 flow: %s (%+.1f %%)\n",
		       CLAIM, many <= one * (100 + CLAIM) / 100 ? "yes" : "NO",
		       (many / one - 1) * 100);
}

int
main(int argc, char **argv)
{
	struct rig rig = {.rounds = ROUNDS};
	double one = 0, many = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			rig.json = true;
		else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
			rig.rounds = (size_t)strtoul(argv[++i], NULL, 10);
	}
	if (!rig.rounds || rig.rounds > ROUNDS_MAX)
		rig.rounds = ROUNDS;
	isolate();
	open_rig(&rig);
	measure_floor(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double ns = measure(&rig, &cases[i]);

		if (strcmp(cases[i].name, "hit 1 flow") == 0)
			one = ns;
		if (strcmp(cases[i].name, "hit 1 M flows") == 0)
			many = ns;
	}
	claim(one, many, rig.json);
	lb_again__destroy(rig.again);
	services_free(rig.services);
	lb_remove(rig.lb);
	veth_close(rig.veth);
	must(chdir("/") == 0 && umount2(folder, MNT_DETACH) == 0 && rmdir(folder) == 0, folder);
	return 0;
}
