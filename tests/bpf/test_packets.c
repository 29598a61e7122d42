/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the programs as metrics, and the ends of what the maps can have: as many peers as
 * there may be, devices that are not there.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "dataplane/packets.h"
#include "dataplane/skel.h"
#include "ring/flow.h"
#include "ring/metrics.h"
#include "tests/bpf/tunnel_rig.h"

enum { SERIES = 256, MANY = TUNNEL_PEERS_MAX + 1 };

/* ---- metrics ---- */

static uint64_t
value_of(struct metric_page *page, enum metrics_id id, const char *interface, const char *label,
	 const char *value)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "interface", interface);
	metric_label(&labels, label, value);
	return metrics_get(page, id, &labels)->values[0];
}

static unsigned
shown(const struct metric_page *page)
{
	struct metric_series out;
	unsigned n = 0;

	for (uint32_t i = 0; i < SERIES; i++)
		n += metric_read(page, i, &out) ? 1 : 0;
	return n;
}

/* One packet more of each counter that programs can come to is one more of its own series. */
static void
test_metrics(void **state)
{
	static uint64_t per_cpu[4096];
	size_t bytes = metric_page_bytes(SERIES);
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
	struct metric_page *page;
	struct packets packets = {0};
	struct err err = {0};
	unsigned series;

	(void)state;
	assert_non_null(memory);
	memset(memory, 0, bytes);
	page = metric_page_init(memory, bytes);
	open_all(LOOPBACK);
	packets_begin(&packets, page);
	series = shown(page);
	assert_in_range(series, 30, SERIES / 2);
	/* What was counted before is a predecessor's. */
	assert_int_equal(packets_look(&packets, veth, page, &err), 0);
	for (uint32_t key = 0; key < TC_COUNTS; key++) {
		int fd = libbpf.bpf_map__fd(veth_loaded(veth)->maps.counts);

		assert_int_equal(libbpf.bpf_map_lookup_elem(fd, &key, per_cpu), 0);
		per_cpu[0] += 1 + key;
		assert_int_equal(libbpf.bpf_map_update_elem(fd, &key, per_cpu, BPF_ANY), 0);
	}
	assert_int_equal(packets_look(&packets, veth, page, &err), 0);
	assert_int_equal(shown(page), series);
	assert_int_equal(value_of(page, METRICS_DATAPLANE_PACKETS, "veth", "verdict", "redirect"),
			 1 + TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_LOCAL));
	assert_int_equal(value_of(page, METRICS_DATAPLANE_PACKETS, "veth", "verdict", "sealed"),
			 1 + TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_SEALED));
	assert_int_equal(value_of(page, METRICS_DATAPLANE_PACKETS, "tunnel", "verdict", "pass"),
			 1 + TC_COUNT_WAY(MSG_FLOW_TUNNEL, MSG_FLOW_STACK));
	assert_int_equal(value_of(page, METRICS_DATAPLANE_DROPS, "vxlan", "reason", "unsealed"),
			 1 + TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_UNSEALED));
	assert_int_equal(value_of(page, METRICS_DATAPLANE_DROPS, "veth", "reason", "too_large"),
			 1 + TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_TOO_LARGE));
	assert_int_equal(value_of(page, METRICS_DATAPLANE_DROPS, "fabric", "reason", "no_way"),
			 1 + TC_COUNT_DROP(MSG_FLOW_FABRIC, FLOW_NO_WAY));
	assert_int_equal(shown(page), series);
	/* Nothing came since. */
	assert_int_equal(packets_look(&packets, veth, page, &err), 0);
	assert_int_equal(value_of(page, METRICS_DATAPLANE_DROPS, "veth", "reason", "isolated"),
			 1 + TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_ISOLATED));
	close_all();
	free(memory);
}

/* ---- many peers ---- */

static struct msg_peer peers[MANY];
static struct tunnel_row rows[MANY];

/* Of this machine, all of them. */
static void
outer_of(unsigned i, char out[32])
{
	text_format(out, 32, "127.1.%u.%u", 2 + i / 250, 1 + i % 250);
}

/* A container of that peer. */
static void
inner_of(unsigned i, char out[32])
{
	text_format(out, 32, "10.%u.%u.5", 100 + i / 256, i % 256);
}

static void
make_peers(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		char outer[32], v4[32], v6[32];

		outer_of(i, outer);
		text_format(v4, sizeof(v4), "10.%u.%u.0/24", 100 + i / 256, i % 256);
		text_format(v6, sizeof(v6), "fd00:%x::/64", 0x100 + i);
		peers[i] = peer(1000 + i, outer, v4, v6);
		rows[i] = (struct tunnel_row){.peer = &peers[i]};
	}
}

static unsigned
keys_of(const struct bpf_map *map)
{
	int fd = libbpf.bpf_map__fd(map);
	uint8_t key[32];
	unsigned n = 0;

	for (void *from = NULL; libbpf.bpf_map_get_next_key(fd, from, key) == 0; from = key)
		n++;
	return n;
}

static void
expect_peers(unsigned count)
{
	const struct tc_veth *loaded = veth_loaded(veth);

	assert_int_equal(keys_of(loaded->maps.peers4), count);
	assert_int_equal(keys_of(loaded->maps.peers6), count);
	assert_int_equal(keys_of(loaded->maps.remotes), count);
	assert_int_equal(keys_of(loaded->maps.peer_bytes), count);
}

static void
put_vxlan(uint32_t ifindex, uint32_t sealed, int want)
{
	struct msg_underlay u = {.vni = VNI, .ifindex = ifindex};
	struct msg_tunnel t = {.state = MSG_TUNNEL_UP, .ifindex = sealed};
	struct msg_prefix p = {.mtu = 1420};
	const struct tunnel_devices devices = {.underlay = &u, .tunnel = &t, .prefix = &p};
	struct err err = {0};

	assert_int_equal(tunnel_devices(tunnel, &devices, &err), want);
	assert_int_equal(err.kind != ERR_NONE, want < 0);
}

static void
goes_to(unsigned peer, bool sent)
{
	char inner[32];

	inner_of(peer, inner);
	expect(veth_program(veth), "10.200.7.2", inner, 0, sent ? TC_ACT_REDIRECT : TC_ACT_OK,
	       sent ? SENT : LEFT);
}

/* All that there may be; one more is left out, and all that go are gone. */
static void
test_many_peers(void **state)
{
	struct err err = {0};

	(void)state;
	make_peers();
	open_all(LOOPBACK);
	put_vxlan(if_nametoindex("vxlan"), 0, 0);
	assert_int_equal(tunnel_peers(tunnel, rows, MANY, &err), 0);
	expect_peers(TUNNEL_PEERS_MAX);
	goes_to(0, true);
	goes_to(TUNNEL_PEERS_MAX - 1, true);
	goes_to(TUNNEL_PEERS_MAX, false);
	/* Others in place of half of them. */
	assert_int_equal(tunnel_peers(tunnel, rows + MANY / 2, MANY - MANY / 2, &err), 0);
	expect_peers(MANY - MANY / 2);
	goes_to(0, false);
	goes_to(TUNNEL_PEERS_MAX, true);
	assert_int_equal(tunnel_peers(tunnel, NULL, 0, &err), 0);
	expect_peers(0);
	put_vxlan(0, 0, 0);
	close_all();
}

static void
comes_from(unsigned peer, unsigned source, int counter)
{
	char outer[32], inner[32];

	outer_of(peer, outer);
	inner_of(source, inner);
	comes(outer, VNI, inner, "10.200.7.2", 100, counter);
}

/* Each is known by where it is, with what is its own; all others are strangers. */
static void
test_many_come(void **state)
{
	const unsigned last = TUNNEL_PEERS_MAX - 1;
	struct err err = {0};

	(void)state;
	make_peers();
	open_all(if_nametoindex("a0"));
	put_vxlan(if_nametoindex("vxlan"), 0, 0);
	assert_int_equal(tunnel_peers(tunnel, rows, MANY, &err), 0);
	comes_from(0, 0, DELIVERED);
	comes_from(last, last, DELIVERED);
	comes_from(last, 0, DROP_SOURCE);
	comes_from(last + 1, last + 1, DROP_PEER);
	comes("127.9.9.9", VNI, "10.100.0.5", "10.200.7.2", 100, DROP_PEER);
	assert_int_equal(tunnel_peers(tunnel, rows, last, &err), 0);
	comes_from(last, last, DROP_PEER);
	comes_from(last - 1, last - 1, DELIVERED);
	assert_int_equal(tunnel_peers(tunnel, NULL, 0, &err), 0);
	put_vxlan(0, 0, 0);
	close_all();
}

/* ---- devices ---- */

/* One that is not there does not keep the other one back, whichever of the two. */
static void
test_missing_device(void **state)
{
	const uint32_t nowhere = 4711;
	struct err err = {0};

	(void)state;
	make_peers();
	open_all(LOOPBACK);
	peers[0].ways = MSG_WAY_PLAIN | MSG_WAY_SEALED | MSG_WAY_TRUSTED;
	assert_int_equal(tunnel_peers(tunnel, rows, 1, &err), 0);
	put_vxlan(if_nametoindex("vxlan"), nowhere, -1);
	expect(veth_program(veth), "10.200.7.2", "10.100.0.5", 0, TC_ACT_REDIRECT, SENT);
	put_vxlan(nowhere, if_nametoindex("a0"), -1);
	expect(veth_program(veth), "10.200.7.2", "10.100.0.5", 0, TC_ACT_REDIRECT,
	       TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_SEALED));
	put_vxlan(nowhere, nowhere, -1);
	expect(veth_program(veth), "10.200.7.2", "10.100.0.5", 0, TC_ACT_OK, LEFT);
	put_vxlan(0, 0, 0);
	close_all();
}

static int
prepare(void **state)
{
	(void)state;
	return bpf_world_enter(RIG_LINKS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_many_peers),
		cmocka_unit_test(test_many_come),
		cmocka_unit_test(test_missing_device),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
