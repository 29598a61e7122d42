/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading of the maps of edge.bpf.c. The kernel's maps are the truth that survives.
 *
 * A table is a map of its own, filled before anybody sees it, put into its place by one write, and
 * pinned so that a successor can read it: the map of maps itself tells nobody but root what is in
 * it.
 */
#include "dataplane/lb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/addr.h"
#include "base/fd.h"
#include "base/text.h"
#include "dataplane/lb_private.h"

enum { VALUE_BYTES_MAX = 32 };

int
lb_fail(struct err *err, int rc, const char *what)
{
	return err_sys(err, rc < 0 ? -rc : errno, "%s", what);
}

/* ---- maps ---- */

static struct bpf_map *
map_of(const struct lb *lb, enum lb_set set)
{
	struct bpf_map *const maps[LB_SETS] = {
		[LB_PORTS] = lb->skel->maps.ports,
		[LB_SPEAKERS4] = lb->skel->maps.speakers4,
		[LB_SPEAKERS6] = lb->skel->maps.speakers6,
		[LB_ENDPOINTS4] = lb->skel->maps.endpoints4,
		[LB_ENDPOINTS6] = lb->skel->maps.endpoints6,
		[LB_DENIED] = lb->skel->maps.denied,
		[LB_ALLOWED] = lb->skel->maps.allowed,
		[LB_VIPS4] = lb->skel->maps.vips4,
		[LB_VIPS6] = lb->skel->maps.vips6,
	};

	return maps[set];
}

int
lb_write(const struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	if (rc == -E2BIG || rc == -ENOSPC)
		return err_set(err, ERR_LIMIT, "a map of the balancer is full");
	return rc < 0 ? lb_fail(err, rc, "cannot write a map of the balancer") : 0;
}

int
lb_put(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err)
{
	uint8_t old[VALUE_BYTES_MAX];
	const struct bpf_map *map = map_of(lb, set);
	/* A trie finds shorter prefixes too. A device is never written over itself: in between the
	 * kernel's map has neither, and the packets of that moment are lost; the entry of one that
	 * is gone goes with it. */
	bool always = set == LB_DENIED || set == LB_ALLOWED;

	if (rows->failed)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's maps");
	for (size_t i = 0; i < rows->count; i++) {
		const uint8_t *key = rows->bytes + i * lb_rows_each_bytes(rows);
		const uint8_t *value = key + rows->key_bytes;

		if (!always && libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(map), key, old) == 0 &&
		    memcmp(old, value, rows->value_bytes) == 0)
			continue;
		if (lb_write(map, key, value, err) == 0)
			continue;
		/* A device that is gone, of a replica that will be gone. */
		if (set != LB_PORTS || (err->code != EINVAL && err->code != ENODEV))
			return -1;
		err_clear(err);
	}
	return 0;
}

int
lb_prune(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err)
{
	if (rows->failed)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's maps");
	lb_rows_prune(rows, libbpf.bpf_map__fd(map_of(lb, set)));
	return 0;
}

void
lb_wait_programs(void)
{
	/* An RCU grace period, in which programs run. Kernels with tickless CPUs have no such call;
	 * there a run of some microseconds may lose its packet. */
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int
lb_config(struct lb *lb, const struct edge_config *config, struct err *err)
{
	uint32_t zero = 0;

	return lb_write(lb->skel->maps.config, &zero, config, err);
}

int
lb_backend(struct lb *lb, uint32_t index, const struct edge_backend *b, struct err *err)
{
	return lb_write(lb->skel->maps.backends, &index, b, err);
}

bool
lb_adopt_backend(struct lb *lb, uint32_t index, struct edge_backend *out)
{
	int fd = libbpf.bpf_map__fd(lb->skel->maps.backends);

	return libbpf.bpf_map_lookup_elem(fd, &index, out) == 0 && out->generation != 0;
}

/* ---- tables ---- */

static void
table_path(const struct lb *lb, uint32_t service, const char *suffix, char out[LB_PIN_BYTES])
{
	text_format(out, LB_PIN_BYTES, "%s/" LB_PREFIX "table-%u%s", lb->folder, service, suffix);
}

static size_t
table_bytes(bool big)
{
	return big ? sizeof(struct edge_table_big) : sizeof(struct edge_table_small);
}

static int
make_table(struct lb *lb, const struct plan *plan, int *fd_out, struct err *err)
{
	bool big = plan->slots_count == EDGE_SLOTS_BIG;
	uint32_t zero = 0;
	defer_close int fd = libbpf.bpf_map_create(BPF_MAP_TYPE_ARRAY, "zl_table", sizeof(zero),
						   (uint32_t)table_bytes(big), 1, NULL);

	if (fd < 0)
		return lb_fail(err, fd, "cannot make a table of the balancer");
	lb->scratch.epoch = plan->epoch;
	memcpy(lb->scratch.slots, plan->slots, plan->slots_count * sizeof(plan->slots[0]));
	int rc = libbpf.bpf_map_update_elem(fd, &zero, &lb->scratch, BPF_ANY);
	if (rc < 0)
		return lb_fail(err, rc, "cannot write a table of the balancer");
	*fd_out = fd_take(&fd);
	return 0;
}

int
lb_table(struct lb *lb, uint32_t service, uint64_t stream, const struct plan *plan, struct err *err)
{
	struct edge_service row = {.stream = stream, .big = plan->slots_count == EDGE_SLOTS_BIG};
	struct bpf_map *outer = row.big ? lb->skel->maps.tables_big : lb->skel->maps.tables_small;
	char path[LB_PIN_BYTES], fresh[LB_PIN_BYTES];
	defer_close int fd = -1;

	if (make_table(lb, plan, &fd, err) < 0)
		return -1;
	table_path(lb, service, "", path);
	table_path(lb, service, "-next", fresh);
	unlink(fresh);
	int rc = libbpf.bpf_obj_pin(fd, fresh);
	if (rc < 0)
		return lb_fail(err, rc, "cannot pin a table of the balancer");
	if (lb_write(outer, &service, &fd, err) < 0)
		return -1;
	if (rename(fresh, path) < 0)
		return lb_fail(err, -errno, "cannot pin a table of the balancer");
	return lb_write(lb->skel->maps.registry, &service, &row, err);
}

void
lb_table_remove(struct lb *lb, uint32_t service)
{
	struct edge_service row = {0};
	struct edge_service_count *zero = lb->per_cpu;
	struct err err = {0};
	char path[LB_PIN_BYTES];

	(void)lb_write(lb->skel->maps.registry, &service, &row, &err);
	(void)libbpf.bpf_map_delete_elem(libbpf.bpf_map__fd(lb->skel->maps.tables_big), &service);
	(void)libbpf.bpf_map_delete_elem(libbpf.bpf_map__fd(lb->skel->maps.tables_small), &service);
	memset(zero, 0, (size_t)lb->cpus * sizeof(*zero));
	(void)lb_write(lb->skel->maps.services, &service, zero, &err);
	table_path(lb, service, "", path);
	unlink(path);
	table_path(lb, service, "-next", path);
	unlink(path);
}

/* The table that is in force, to lb->scratch; how many slots it has, 0: there is none. */
static size_t
read_table(struct lb *lb, uint32_t service, struct edge_service *row)
{
	char path[LB_PIN_BYTES];
	uint32_t zero = 0;

	if (libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(lb->skel->maps.registry), &service, row) <
		    0 ||
	    row->stream == 0)
		return 0;
	table_path(lb, service, "", path);
	defer_close int fd = libbpf.bpf_obj_get(path);
	if (fd < 0 || libbpf.bpf_map_lookup_elem(fd, &zero, &lb->scratch) < 0)
		return 0;
	return row->big ? EDGE_SLOTS_BIG : EDGE_SLOTS_SMALL;
}

bool
lb_adopt_table(struct lb *lb, uint32_t service, uint64_t *stream_out, struct plan *plan,
	       uint64_t now_ms)
{
	struct edge_service row = {0};
	size_t count = read_table(lb, service, &row);

	*stream_out = row.stream;
	return count && plan_adopt(plan, lb->scratch.slots, count, lb->scratch.epoch, now_ms) == 0;
}

void
lb_table_opened(struct lb *lb, uint32_t service, struct plan *plan, uint64_t now_ms)
{
	struct edge_service row = {0};
	size_t count = read_table(lb, service, &row);

	if (count)
		plan_opened(plan, lb->scratch.slots, count, now_ms);
}

/* ---- counters ---- */

static int
sum(struct lb *lb, const struct bpf_map *map, uint32_t key, size_t words, __u64 *out)
{
	const __u64 *values = lb->per_cpu;
	int rc = libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(map), &key, lb->per_cpu);

	memset(out, 0, words * sizeof(*out));
	for (int cpu = 0; rc == 0 && cpu < lb->cpus; cpu++)
		for (size_t i = 0; i < words; i++)
			out[i] += values[(size_t)cpu * words + i];
	return rc;
}

int
lb_counts(struct lb *lb, struct edge_count *out, __u64 *drops_out, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < EDGE_LINKS * EDGE_VERDICTS; i++)
		rc = sum(lb, lb->skel->maps.counts, i, 2, &out[i].packets);
	for (uint32_t i = 0; rc == 0 && i < EDGE_LINKS * EDGE_REASONS; i++)
		rc = sum(lb, lb->skel->maps.drops, i, 1, &drops_out[i]);
	return rc < 0 ? lb_fail(err, rc, "cannot read the balancer's counters") : 0;
}

int
lb_back_counts(struct lb *lb, struct edge_count *out, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < EDGE_BACKS; i++)
		rc = sum(lb, lb->skel->maps.backs, i, 2, &out[i].packets);
	return rc < 0 ? lb_fail(err, rc, "cannot read the balancer's counters") : 0;
}

bool
lb_service_count(struct lb *lb, uint32_t service, struct edge_service_count *out)
{
	return sum(lb, lb->skel->maps.services, service, sizeof(*out) / sizeof(__u64),
		   &out->packets) == 0;
}

uint64_t
lb_leaving_count(struct lb *lb, uint32_t backend)
{
	__u64 n = 0;

	return sum(lb, lb->skel->maps.leaving, backend, 1, &n) == 0 ? n : 0;
}

/* ---- flows ---- */

static size_t
next_batch(const struct bpf_map *map, struct lb_flows *walk, void *keys, struct edge_pin *pins)
{
	__u32 count = LB_FLOWS_BATCH;
	int rc = libbpf.bpf_map_lookup_batch(libbpf.bpf_map__fd(map),
					     walk->begun ? &walk->token : NULL, &walk->token, keys,
					     pins, &count, NULL);

	walk->begun = true;
	walk->ended = rc < 0;
	return rc == 0 || rc == -ENOENT ? count : 0;
}

size_t
lb_flows(struct lb *lb, bool v6, struct lb_flows *walk, struct lb_flow *out)
{
	static union {
		struct edge_flow4 v4[LB_FLOWS_BATCH];
		struct edge_flow6 v6[LB_FLOWS_BATCH];
	} keys;
	static struct edge_pin pins[LB_FLOWS_BATCH];
	size_t count =
		next_batch(v6 ? lb->skel->maps.flows6 : lb->skel->maps.flows4, walk, &keys, pins);

	for (size_t i = 0; i < count; i++) {
		struct addr a;

		if (v6)
			memcpy(a.ip, keys.v6[i].dest, sizeof(a.ip));
		else
			addr_from_v4_be(keys.v4[i].dest, 0, &a);
		memcpy(out[i].dest, a.ip, sizeof(out[i].dest));
		out[i].port = ntohs(v6 ? keys.v6[i].dest_port : keys.v4[i].dest_port);
		out[i].epoch = pins[i].epoch & EDGE_PIN_EPOCH;
	}
	return count;
}

/* ---- programs ---- */

int
lb_program_root(const struct lb *lb)
{
	return lb->root >= 0 ? lb->root : libbpf.bpf_program__fd(lb->skel->progs.xdp_root);
}

int
lb_program_edge(const struct lb *lb)
{
	return libbpf.bpf_program__fd(lb->skel->progs.xdp_edge);
}

int
lb_program_back(const struct lb *lb)
{
	return libbpf.bpf_program__fd(lb->skel->progs.tc_back);
}

int
lb_program_uplink(const struct lb *lb)
{
	return libbpf.bpf_program__fd(lb->skel->progs.tc_uplink);
}

struct edge *
lb_loaded(const struct lb *lb)
{
	return lb->skel;
}
