/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading of edge.bpf.c and writing of its maps. The kernel's maps are the truth that survives.
 *
 * A table is a map of its own, filled before anybody sees it, put into its place by one write, and
 * pinned so that a successor can read it: the map of maps itself tells nobody but root what is in
 * it.
 */
#include "dataplane/lb.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/addr.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/skel.h"

#define PREFIX "edge1-"

enum { PIN_BYTES = 64, STALE_KEYS = 1024 };

_Static_assert(EDGE_ABI == 1, "the pins are named by it");

struct lb {
	struct edge *skel;
	char folder[16];
	int veth_chain;
	bool adopted; /* the map that it calls */
	int root;     /* xdp_root: the one that is attached, if a predecessor left it */
	int cpus;
	void *per_cpu; /* room for the largest per-CPU value */
	struct edge_table_big scratch;
};

static const struct {
	size_t key_bytes, value_bytes;
} sets[LB_SETS] = {
	[LB_PORTS] = {sizeof(uint32_t), sizeof(uint32_t)},
	[LB_SPEAKERS4] = {sizeof(struct edge_speaker4), sizeof(struct edge_voice)},
	[LB_SPEAKERS6] = {sizeof(struct edge_speaker6), sizeof(struct edge_voice)},
	[LB_DENIED] = {sizeof(struct edge_prefix), sizeof(uint32_t)},
	[LB_ALLOWED] = {sizeof(struct edge_prefix), sizeof(uint32_t)},
	[LB_VIPS4] = {sizeof(struct edge_vip4), sizeof(struct edge_vip)},
	[LB_VIPS6] = {sizeof(struct edge_vip6), sizeof(struct edge_vip)},
};

enum { KEY_BYTES_MAX = 32, VALUE_BYTES_MAX = 32 };

static int
fail(struct err *err, int rc, const char *what)
{
	return err_sys(err, rc < 0 ? -rc : errno, "%s", what);
}

/* ---- rows ---- */

void
lb_rows_init(struct lb_rows *rows, enum lb_set set)
{
	*rows = (struct lb_rows){
		.key_bytes = sets[set].key_bytes,
		.value_bytes = sets[set].value_bytes,
	};
}

void
lb_rows_fini(struct lb_rows *rows)
{
	mem_free(rows->bytes);
	rows->bytes = NULL;
}

static size_t
row_bytes(const struct lb_rows *rows)
{
	return rows->key_bytes + rows->value_bytes;
}

void
lb_rows_add(struct lb_rows *rows, const void *key, const void *value)
{
	size_t each = row_bytes(rows);

	if (rows->count == rows->capacity) {
		size_t more = rows->capacity ? rows->capacity * 2 : 64;
		uint8_t *grown = mem_resize(MEM_DATAPLANE, rows->bytes, more, each);

		if (!grown) {
			rows->failed = true;
			return;
		}
		rows->bytes = grown;
		rows->capacity = more;
	}
	memcpy(rows->bytes + rows->count * each, key, rows->key_bytes);
	memcpy(rows->bytes + rows->count * each + rows->key_bytes, value, rows->value_bytes);
	rows->count++;
}

static int
compare(const void *a, const void *b, void *bytes)
{
	return memcmp(a, b, *(const size_t *)bytes);
}

static bool
in_rows(const struct lb_rows *rows, const void *key)
{
	size_t low = 0, high = rows->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = memcmp(key, rows->bytes + middle * row_bytes(rows), rows->key_bytes);

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* ---- maps ---- */

static struct bpf_map *
map_of(const struct lb *lb, enum lb_set set)
{
	struct bpf_map *const maps[LB_SETS] = {
		[LB_PORTS] = lb->skel->maps.ports,
		[LB_SPEAKERS4] = lb->skel->maps.speakers4,
		[LB_SPEAKERS6] = lb->skel->maps.speakers6,
		[LB_DENIED] = lb->skel->maps.denied,
		[LB_ALLOWED] = lb->skel->maps.allowed,
		[LB_VIPS4] = lb->skel->maps.vips4,
		[LB_VIPS6] = lb->skel->maps.vips6,
	};

	return maps[set];
}

static int
put(const struct bpf_map *map, const void *key, const void *value, struct err *err)
{
	int rc = libbpf.bpf_map_update_elem(libbpf.bpf_map__fd(map), key, value, BPF_ANY);

	if (rc == -E2BIG || rc == -ENOSPC)
		return err_set(err, ERR_LIMIT, "a map of the balancer is full");
	return rc < 0 ? fail(err, rc, "cannot write a map of the balancer") : 0;
}

int
lb_put(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err)
{
	uint8_t old[VALUE_BYTES_MAX];
	const struct bpf_map *map = map_of(lb, set);
	/* The same number may be another device, and a trie finds shorter prefixes too. */
	bool always = set == LB_PORTS || set == LB_DENIED || set == LB_ALLOWED;

	if (rows->failed)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's maps");
	for (size_t i = 0; i < rows->count; i++) {
		const uint8_t *key = rows->bytes + i * row_bytes(rows);
		const uint8_t *value = key + rows->key_bytes;

		if (!always && libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(map), key, old) == 0 &&
		    memcmp(old, value, rows->value_bytes) == 0)
			continue;
		if (put(map, key, value, err) == 0)
			continue;
		/* A device that is gone, of a replica that will be gone. */
		if (set != LB_PORTS || (err->code != EINVAL && err->code != ENODEV))
			return -1;
		err_clear(err);
	}
	return 0;
}

/* Keys are collected before any is deleted: deleting the key that the kernel continues from would
 * begin anew. */
static size_t
stale_keys(int fd, const struct lb_rows *rows, uint8_t (*out)[KEY_BYTES_MAX])
{
	uint8_t key[KEY_BYTES_MAX];
	size_t count = 0;

	for (void *from = NULL; count < STALE_KEYS; from = key) {
		if (libbpf.bpf_map_get_next_key(fd, from, key) < 0)
			break;
		if (!in_rows(rows, key))
			memcpy(out[count++], key, rows->key_bytes);
	}
	return count;
}

int
lb_prune(struct lb *lb, enum lb_set set, struct lb_rows *rows, struct err *err)
{
	static uint8_t stale[STALE_KEYS][KEY_BYTES_MAX];
	int fd = libbpf.bpf_map__fd(map_of(lb, set));
	size_t count;

	if (rows->failed)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's maps");
	if (rows->count)
		qsort_r(rows->bytes, rows->count, row_bytes(rows), compare, &rows->key_bytes);
	do {
		count = stale_keys(fd, rows, stale);
		for (size_t i = 0; i < count; i++)
			(void)libbpf.bpf_map_delete_elem(fd, stale[i]);
	} while (count == STALE_KEYS);
	return 0;
}

int
lb_config(struct lb *lb, const struct edge_config *config, struct err *err)
{
	uint32_t zero = 0;

	return put(lb->skel->maps.config, &zero, config, err);
}

int
lb_backend(struct lb *lb, uint32_t index, const struct edge_backend *b, struct err *err)
{
	return put(lb->skel->maps.backends, &index, b, err);
}

bool
lb_adopt_backend(struct lb *lb, uint32_t index, struct edge_backend *out)
{
	int fd = libbpf.bpf_map__fd(lb->skel->maps.backends);

	return libbpf.bpf_map_lookup_elem(fd, &index, out) == 0 && out->generation != 0;
}

/* ---- tables ---- */

static void
pin_path(const struct lb *lb, const char *name, char out[PIN_BYTES])
{
	text_format(out, PIN_BYTES, "%s/" PREFIX "%s", lb->folder, name);
}

static void
table_path(const struct lb *lb, uint32_t service, const char *suffix, char out[PIN_BYTES])
{
	text_format(out, PIN_BYTES, "%s/" PREFIX "table-%u%s", lb->folder, service, suffix);
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
		return fail(err, fd, "cannot make a table of the balancer");
	lb->scratch.epoch = plan->epoch;
	memcpy(lb->scratch.slots, plan->slots, plan->slots_count * sizeof(plan->slots[0]));
	int rc = libbpf.bpf_map_update_elem(fd, &zero, &lb->scratch, BPF_ANY);
	if (rc < 0)
		return fail(err, rc, "cannot write a table of the balancer");
	*fd_out = fd_take(&fd);
	return 0;
}

int
lb_table(struct lb *lb, uint32_t service, uint64_t stream, const struct plan *plan, struct err *err)
{
	struct edge_service row = {.stream = stream, .big = plan->slots_count == EDGE_SLOTS_BIG};
	struct bpf_map *outer = row.big ? lb->skel->maps.tables_big : lb->skel->maps.tables_small;
	char path[PIN_BYTES], fresh[PIN_BYTES];
	defer_close int fd = -1;

	if (make_table(lb, plan, &fd, err) < 0)
		return -1;
	table_path(lb, service, "", path);
	table_path(lb, service, "-next", fresh);
	unlink(fresh);
	int rc = libbpf.bpf_obj_pin(fd, fresh);
	if (rc < 0)
		return fail(err, rc, "cannot pin a table of the balancer");
	if (put(outer, &service, &fd, err) < 0)
		return -1;
	if (rename(fresh, path) < 0)
		return fail(err, -errno, "cannot pin a table of the balancer");
	return put(lb->skel->maps.registry, &service, &row, err);
}

void
lb_table_remove(struct lb *lb, uint32_t service)
{
	struct edge_service row = {0};
	struct edge_service_count *zero = lb->per_cpu;
	struct err err = {0};
	char path[PIN_BYTES];

	(void)put(lb->skel->maps.registry, &service, &row, &err);
	(void)libbpf.bpf_map_delete_elem(libbpf.bpf_map__fd(lb->skel->maps.tables_big), &service);
	(void)libbpf.bpf_map_delete_elem(libbpf.bpf_map__fd(lb->skel->maps.tables_small), &service);
	memset(zero, 0, (size_t)lb->cpus * sizeof(*zero));
	(void)put(lb->skel->maps.services, &service, zero, &err);
	table_path(lb, service, "", path);
	unlink(path);
	table_path(lb, service, "-next", path);
	unlink(path);
}

bool
lb_adopt_table(struct lb *lb, uint32_t service, uint64_t *stream_out, struct plan *plan,
	       uint64_t now_ms)
{
	struct edge_service row = {0};
	char path[PIN_BYTES];
	uint32_t zero = 0;

	if (libbpf.bpf_map_lookup_elem(libbpf.bpf_map__fd(lb->skel->maps.registry), &service,
				       &row) < 0 ||
	    row.stream == 0)
		return false;
	table_path(lb, service, "", path);
	defer_close int fd = libbpf.bpf_obj_get(path);
	if (fd < 0 || libbpf.bpf_map_lookup_elem(fd, &zero, &lb->scratch) < 0)
		return false;
	*stream_out = row.stream;
	return plan_adopt(plan, lb->scratch.slots, row.big ? EDGE_SLOTS_BIG : EDGE_SLOTS_SMALL,
			  lb->scratch.epoch, now_ms) == 0;
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
	return rc < 0 ? fail(err, rc, "cannot read the balancer's counters") : 0;
}

int
lb_back_counts(struct lb *lb, struct edge_count *out, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < EDGE_BACKS; i++)
		rc = sum(lb, lb->skel->maps.backs, i, 2, &out[i].packets);
	return rc < 0 ? fail(err, rc, "cannot read the balancer's counters") : 0;
}

bool
lb_service_count(struct lb *lb, uint32_t service, struct edge_service_count *out)
{
	return sum(lb, lb->skel->maps.services, service, 3, &out->packets) == 0;
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
		out[i].epoch = pins[i].epoch;
	}
	return count;
}

/* ---- opening ---- */

struct named_map {
	const char *name;
	struct bpf_map *map;
};

enum { MAPS = 22 };

static void
list_maps(const struct lb *lb, struct named_map out[MAPS])
{
#define MAP(map)                         \
	{                                \
#map, lb->skel->maps.map \
	}
	const struct named_map all[MAPS] = {
		MAP(vips4),    MAP(vips6),        MAP(backends),  MAP(flows4),    MAP(flows6),
		MAP(notes),    MAP(fragments),    MAP(speakers4), MAP(speakers6), MAP(config),
		MAP(registry), MAP(counts),       MAP(drops),     MAP(services),  MAP(leaving),
		MAP(backs),    MAP(ports),        MAP(denied),    MAP(allowed),   MAP(tables_big),
		MAP(chain),    MAP(tables_small),
	};
#undef MAP
	memcpy(out, all, sizeof(all));
}

/* A map of another size than is asked for now is left behind, and pins of flows with it. */
static bool
fits(int fd, const struct bpf_map *map, uint32_t max_flows, const struct lb *lb)
{
	struct bpf_map_info info = {0};
	uint32_t bytes = sizeof(info);

	if (map != lb->skel->maps.flows4 && map != lb->skel->maps.flows6 &&
	    map != lb->skel->maps.notes)
		return true;
	return libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 &&
	       info.max_entries == max_flows;
}

static int
adopt_map(struct lb *lb, const struct named_map *m, uint32_t max_flows, struct err *err)
{
	char path[PIN_BYTES];

	pin_path(lb, m->name, path);
	defer_close int fd = libbpf.bpf_obj_get(path);
	if (fd < 0)
		return 0;
	if (!fits(fd, m->map, max_flows, lb)) {
		unlink(path);
		return 0;
	}
	int rc = libbpf.bpf_map__reuse_fd(m->map, fd);
	lb->adopted |= m->map == lb->skel->maps.chain;
	return rc < 0 ? fail(err, rc, "cannot take over a pinned map of the balancer") : 0;
}

static int
pin(int fd, const char *path, struct err *err)
{
	int rc = libbpf.bpf_obj_pin(fd, path);

	if (rc < 0 && rc != -EEXIST)
		return fail(err, rc, "cannot pin a part of the balancer");
	return 0;
}

static int
pin_program(struct lb *lb, const char *name, const struct bpf_program *program, struct err *err)
{
	char path[PIN_BYTES];

	text_format(path, sizeof(path), "%s/%s", lb->folder, name);
	unlink(path);
	return pin(libbpf.bpf_program__fd(program), path, err);
}

/* The one that stands on interfaces is not replaced: it calls the map that was taken over, and
 * what it has taken of time goes on. */
static int
keep_root(struct lb *lb, struct err *err)
{
	char path[PIN_BYTES];

	text_format(path, sizeof(path), "%s/" LB_PIN_ROOT, lb->folder);
	lb->root = lb->adopted ? libbpf.bpf_obj_get(path) : -1;
	if (lb->root >= 0)
		return 0;
	return pin_program(lb, LB_PIN_ROOT, lb->skel->progs.xdp_root, err);
}

static int
pin_all(struct lb *lb, const struct named_map *maps, struct err *err)
{
	char path[PIN_BYTES];

	for (size_t i = 0; i < MAPS; i++) {
		pin_path(lb, maps[i].name, path);
		if (pin(libbpf.bpf_map__fd(maps[i].map), path, err) < 0)
			return -1;
	}
	if (keep_root(lb, err) < 0)
		return -1;
	return pin_program(lb, LB_PIN_UPLINK, lb->skel->progs.tc_uplink, err);
}

static int
chain_put(const struct bpf_map *chain, uint32_t slot, const struct bpf_program *program,
	  struct err *err)
{
	int fd = libbpf.bpf_program__fd(program);

	return put(chain, &slot, &fd, err);
}

/* What is called stands before what calls it. */
static int
chain_all(struct lb *lb, struct err *err)
{
	enum { STAGE_EDGE, STAGE_ICMP };
	uint32_t zero = 0;
	int back = libbpf.bpf_program__fd(lb->skel->progs.tc_back);

	if (chain_put(lb->skel->maps.chain, STAGE_ICMP, lb->skel->progs.xdp_icmp, err) < 0 ||
	    chain_put(lb->skel->maps.chain, STAGE_EDGE, lb->skel->progs.xdp_edge, err) < 0)
		return -1;
	if (lb->veth_chain < 0)
		return 0;
	int rc = libbpf.bpf_map_update_elem(lb->veth_chain, &zero, &back, BPF_ANY);
	return rc < 0 ? fail(err, rc, "cannot put the way back into its place") : 0;
}

/* The kernel lets programs call each other by a map when their types of attachment are the same,
 * and one under libxdp's dispatcher has none. */
static int
be_alike(struct lb *lb)
{
	struct bpf_program *all[] = {lb->skel->progs.xdp_root, lb->skel->progs.xdp_edge,
				     lb->skel->progs.xdp_icmp};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = libbpf.bpf_program__set_expected_attach_type(all[i], (enum bpf_attach_type)0);
	return rc;
}

static int
load(struct lb *lb, uint32_t max_flows, struct err *err)
{
	struct named_map maps[MAPS];

	lb->skel = edge__open();
	if (!lb->skel)
		return fail(err, -errno, "cannot open the balancer's programs");
	list_maps(lb, maps);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.flows4, max_flows);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.flows6, max_flows);
	libbpf.bpf_map__set_max_entries(lb->skel->maps.notes, max_flows);
	for (size_t i = 0; i < MAPS; i++)
		if (adopt_map(lb, &maps[i], max_flows, err) < 0)
			return -1;
	int rc = be_alike(lb);
	if (rc == 0)
		rc = edge__load(lb->skel);
	if (rc < 0)
		return fail(err, rc, "the kernel refuses the balancer's programs");
	if (pin_all(lb, maps, err) < 0)
		return -1;
	return chain_all(lb, err);
}

int
lb_open(const char *folder, uint32_t max_flows, int veth_chain, struct lb **out, struct err *err)
{
	struct lb *lb = mem_zalloc(MEM_DATAPLANE, sizeof(*lb));

	if (!lb)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer");
	text_copy(lb->folder, sizeof(lb->folder), folder);
	lb->veth_chain = veth_chain;
	lb->root = -1;
	lb->cpus = libbpf.libbpf_num_possible_cpus();
	if (lb->cpus > 0)
		lb->per_cpu = mem_array(MEM_DATAPLANE, (size_t)lb->cpus,
					sizeof(struct edge_service_count));
	if (!lb->per_cpu)
		err_set(err, ERR_NO_MEMORY, "no memory for the balancer's counters");
	if (!lb->per_cpu || load(lb, max_flows, err) < 0) {
		lb_close(lb);
		return -1;
	}
	*out = lb;
	return 0;
}

void
lb_close(struct lb *lb)
{
	if (!lb)
		return;
	if (lb->skel)
		edge__destroy(lb->skel);
	fd_close(&lb->root);
	mem_free(lb->per_cpu);
	mem_free(lb);
}

void
lb_remove(struct lb *lb)
{
	uint32_t zero = 0;
	DIR *dir = opendir(lb->folder);
	struct dirent *entry;

	if (lb->veth_chain >= 0)
		(void)libbpf.bpf_map_delete_elem(lb->veth_chain, &zero);
	while (dir && (entry = readdir(dir)) != NULL)
		if (text_starts(entry->d_name, PREFIX))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	lb_close(lb);
}

bool
lb_stands(const char *folder)
{
	char path[PIN_BYTES];

	text_format(path, sizeof(path), "%s/" LB_PIN_ROOT, folder);
	return access(path, F_OK) == 0;
}

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
